//! A node: what an application embeds.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use conflux_core::{Committed, Container, Digest, Found, Index, NodeName, Payload, RequestId, RosterChange};

use crate::backup::{Backup, TakeError};
use crate::builder::NodeBuilder;
use crate::compaction::{CompactError, Compacted};
use crate::core::Core;
use crate::incident::{Incident, RecordError};
use crate::members::{MemberError, MemberStatus};
use crate::metrics::Metrics;
use crate::perform::{Perform, Performed, answer};
use crate::reads::ReadError;
use crate::status::{Status, StatusWatch};
use crate::subscription::{Actions, Event, Guard, Subscription};

/// One replica of a container, in this process.
///
/// Cheap to clone; the last clone that is dropped closes it.
///
/// ```
/// use conflux::{Container, Context, MemoryChannel, Never, Node};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// enum Method { Add(u64) }
/// struct Counter;
/// impl Container for Counter {
///     type State = u64;
///     type Method = Method;
///     type Action = u64;
///     type Rejection = Never;
///     fn initial(&self) -> u64 { 0 }
///     fn decide(&self, _: &u64, Method::Add(n): Method, _: &Context<'_>) -> Result<Option<u64>, Never> { Ok(Some(n)) }
///     fn reduce(&self, count: &mut u64, n: &u64, _: &Context<'_>) { *count += n }
/// }
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = Node::builder(Counter, "a").cluster_size(1).channel(MemoryChannel::new()).open().await?;
/// let done = node.perform(Method::Add(5)).await?;
/// assert_eq!(done.index.0, 1);
/// assert_eq!(*node.state(), 5);
/// node.close().await;
/// # Ok(()) }
/// ```
pub struct Node<C: Container> {
    handle: Arc<Handle<C>>,
}

impl<C: Container> Clone for Node<C> {
    fn clone(&self) -> Self {
        Node { handle: self.handle.clone() }
    }
}

/// Closes the node when the last clone goes; the node's own tasks hold the core, not this.
struct Handle<C: Container> {
    core: Arc<Core<C>>,
    runtime: tokio::runtime::Handle,
}

impl<C: Container> Drop for Handle<C> {
    fn drop(&mut self) {
        let core = self.core.clone();
        core.stop_listening();
        self.runtime.spawn(async move { core.shutdown().await });
    }
}

/// A committed state: a snapshot that stays as it is, and knows its place.
#[derive(Debug)]
pub struct Snapshot<S> {
    state: Arc<S>,
    index: Index,
}

impl<S> Clone for Snapshot<S> {
    fn clone(&self) -> Self {
        Snapshot { state: self.state.clone(), index: self.index }
    }
}

impl<S> Snapshot<S> {
    /// The place of the state.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// The state itself.
    #[must_use]
    pub fn into_inner(self) -> Arc<S> {
        self.state
    }
}

impl<S> std::ops::Deref for Snapshot<S> {
    type Target = S;

    fn deref(&self) -> &S {
        &self.state
    }
}

/// What became of a perform that is asked about again.
pub enum Asked<C: Container> {
    /// It was decided.
    Decided(Performed<C>),
    /// The log does not know it: it may be on its way, and still take effect. Of a chosen id it cannot be told whether
    /// it is on its way, was forgotten after its time, or was never used.
    Undecided,
    /// It was decided and is not held any more, or its session has expired.
    Forgotten,
}

// By hand: the container itself need not be printable.
impl<C: Container> fmt::Debug for Asked<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asked::Decided(performed) => f.debug_tuple("Decided").field(performed).finish(),
            Asked::Undecided => f.write_str("Undecided"),
            Asked::Forgotten => f.write_str("Forgotten"),
        }
    }
}

impl<C: Container> Node<C> {
    pub(crate) fn of(core: Arc<Core<C>>) -> Node<C> {
        Node { handle: Arc::new(Handle { core, runtime: tokio::runtime::Handle::current() }) }
    }

    #[cfg(test)]
    pub(crate) fn core(&self) -> &Arc<Core<C>> {
        &self.handle.core
    }

    /// Begins to describe a node.
    pub fn builder(container: C, id: impl Into<String>) -> NodeBuilder<C> {
        NodeBuilder::new(container, id.into())
    }

    /// Asks for a method to be performed. Nothing happens until the future is polled or started.
    pub fn perform(&self, method: C::Method) -> Perform<C> {
        Perform::new(self.handle.core.clone(), method)
    }

    /// Asks again what became of a perform, here or on any other node, by its request id.
    ///
    /// An id that was chosen tells of the first call that was decided with it. Whoever used it for another call, and was told
    /// [`Conflict`](crate::PerformError::Conflict), gets the first one's outcome here, too: the id is that one's.
    ///
    /// # Errors
    /// When no leader answers before the default deadline: then this node may not know yet.
    pub async fn outcome(&self, id: &RequestId) -> Result<Asked<C>, ReadError> {
        let core = &self.handle.core;
        if let RequestId::Call(session, number) = id
            && let Some(outcome) = core.origin.late(session, *number)
        {
            return Ok(Asked::Decided(answer(outcome, || id.clone())));
        }
        core.read_barrier(core.options.deadline).await?;
        let store = core.local.store();
        let found: Found<C> = match id {
            // A session that is not open yet is as unknown as one that was forgotten; its own node can tell.
            RequestId::Call(session, _) if core.origin.is_opening(session) => Found::Undecided,
            RequestId::Call(session, number) => store.sessions().find(session, *number),
            RequestId::Chosen(text) => store.sessions().find_chosen(text).map_or(Found::Undecided, Found::Decided),
        };
        Ok(match found {
            Found::Decided(outcome) => Asked::Decided(answer(outcome, || id.clone())),
            Found::Undecided => Asked::Undecided,
            Found::Forgotten => Asked::Forgotten,
        })
    }

    /// The committed state on this node. Never goes back.
    #[must_use]
    pub fn state(&self) -> Snapshot<C::State> {
        let store = self.handle.core.local.store();
        Snapshot { state: store.state().clone(), index: store.index() }
    }

    /// The committed state with every uncommitted action of this node's log on top, those of earlier leaders included.
    /// It may never come to be.
    #[must_use]
    pub fn provisional_state(&self) -> Snapshot<C::State> {
        let core = &self.handle.core;
        let uncommitted = core.engine.uncommitted();
        let store = core.local.ahead(&uncommitted);
        Snapshot { state: store.state().clone(), index: store.index() }
    }

    /// The committed state, at least as new as anything any node had been told before this was called.
    ///
    /// # Errors
    /// When no leader answers before the default deadline.
    pub async fn linearizable_state(&self) -> Result<Snapshot<C::State>, ReadError> {
        let core = &self.handle.core;
        core.read_barrier(core.options.deadline).await?;
        Ok(self.state())
    }

    /// The place of this node's committed state, which holds by then everything any node had been told before this was
    /// called: a place beyond it has not come to be anywhere.
    ///
    /// # Errors
    /// When no leader answers before the default deadline.
    pub async fn linearizable_index(&self) -> Result<Index, ReadError> {
        let core = &self.handle.core;
        core.read_barrier(core.options.deadline).await?;
        Ok(core.local.store().index())
    }

    /// A copy of the state, the sessions and the index, at least as new as anything any node had been told before this was
    /// called.
    ///
    /// # Errors
    /// When no leader answers before the default deadline, or the state cannot be written.
    pub async fn backup(&self) -> Result<Backup, TakeError> {
        self.handle.core.back_up().await
    }

    /// Takes a snapshot of everything that this node has applied when this is called, and cuts its log down. Nodes do so by
    /// themselves when the log has outgrown its limits: see [`compaction`](NodeBuilder::compaction).
    ///
    /// # Errors
    /// When the node is closed or has stopped.
    pub async fn compact(&self) -> Result<Compacted, CompactError> {
        self.handle.core.compact_now().await
    }

    /// Records everything that this node holds: its last snapshot, its log, and how it is. Works on a node that has stopped,
    /// too, and asks no other one.
    ///
    /// # Errors
    /// When the snapshot cannot be read.
    pub async fn incident(&self) -> Result<Incident, RecordError> {
        self.handle.core.record_incident().await
    }

    /// Every action committed from now on.
    #[must_use]
    pub fn subscribe(&self) -> Subscription<C> {
        Subscription::from_now(self.handle.core.local.clone())
    }

    /// Every action after `last`. If this node is not that far, it waits; if those actions are not held any more, the
    /// first event is a reset.
    #[must_use]
    pub fn subscribe_from(&self, last: Index) -> Subscription<C> {
        Subscription::from(self.handle.core.local.clone(), last)
    }

    /// Calls `callback` with every event from now on, until the guard is dropped or the node closed.
    pub fn on_event(&self, callback: impl FnMut(Event<C>) + Send + 'static) -> Guard {
        Guard::new(self.subscribe(), callback)
    }

    /// How the node is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.handle.core.status()
    }

    /// How the node is, now and whenever anything of it changes, until it is closed.
    #[must_use]
    pub fn watch_status(&self) -> StatusWatch {
        StatusWatch::new(self.handle.core.clone())
    }

    /// What the node has counted and measured since it was opened.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.handle.core.metrics()
    }

    /// The members of the cluster, in the order of their names, and names that have a seat and have not joined yet. What
    /// only the leader knows is there when this node leads.
    #[must_use]
    pub fn members(&self) -> Vec<MemberStatus> {
        self.handle.core.members()
    }

    /// Gives a name a seat: a node of that name votes once it has joined and caught up. Waits until it does, for as long
    /// as the default deadline. Nodes join as learners by themselves.
    ///
    /// # Errors
    /// When the leader refuses, when there is none, or when the node has not come or caught up in time: then it gets its
    /// vote later.
    pub async fn add_member(&self, name: &str) -> Result<(), MemberError> {
        self.change_members(RosterChange::Seat(name.into())).await
    }

    /// Takes a node's vote; it goes on as a learner. A leader hands over first.
    ///
    /// # Errors
    /// As [`add_member`](Self::add_member); also when nobody would be left to vote, or those who are cannot be heard.
    pub async fn demote_member(&self, name: &str) -> Result<(), MemberError> {
        self.change_members(RosterChange::Unseat(name.into())).await
    }

    /// Removes a node for good: it says so and stops, and only with an empty disk, as a new one, is it let in again. A
    /// leader hands over first.
    ///
    /// # Errors
    /// As [`demote_member`](Self::demote_member).
    pub async fn remove_member(&self, name: &str) -> Result<(), MemberError> {
        self.change_members(RosterChange::Remove { name: name.into(), incarnations: BTreeSet::new() }).await
    }

    async fn change_members(&self, change: RosterChange) -> Result<(), MemberError> {
        let core = &self.handle.core;
        core.change_members(change, core.options.deadline).await
    }

    /// Has another voter lead: the named one, or any that has caught up. Gives the name of the new leader.
    ///
    /// # Errors
    /// When that node cannot lead now, or no other leads before the default deadline.
    pub async fn transfer_leadership(&self, to: Option<&str>) -> Result<NodeName, MemberError> {
        let core = &self.handle.core;
        core.hand_over(to.map(NodeName::from), core.options.deadline).await
    }

    /// What comes after a place, or after the present.
    pub(crate) fn actions(&self, last: Option<Index>) -> Actions<C> {
        let local = self.handle.core.local.clone();
        match last {
            Some(last) => Actions::from(local, last),
            None => Actions::from_now(local).0,
        }
    }

    /// The state as it was at a place, if this node still holds that much history.
    #[must_use]
    pub fn state_at(&self, index: Index) -> Option<Snapshot<C::State>> {
        // The present is at hand; the past is made again from an earlier state, action by action.
        let present = self.state();
        if present.index == index {
            return Some(present);
        }
        self.handle.core.local.state_at(index).map(|(state, _)| Snapshot { state, index })
    }

    /// The last `count` committed actions that this node still holds, the oldest first.
    #[must_use]
    pub fn log(&self, count: usize) -> Vec<Committed<C>> {
        self.handle.core.local.history(|history| history.tail(count).cloned().collect())
    }

    /// The digest of a state, equal on all nodes that agree.
    #[must_use]
    pub fn digest_at(&self, index: Index) -> Option<Digest> {
        self.state_at(index)?.digest().ok()
    }

    /// The container.
    #[must_use]
    pub fn container(&self) -> Arc<C> {
        self.handle.core.local.store().container().clone()
    }

    /// The node's id.
    #[must_use]
    pub fn id(&self) -> &NodeName {
        &self.handle.core.me().name
    }

    /// The default deadline of a perform.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.handle.core.options.deadline
    }

    /// Closes the node: no more calls, subscriptions end, the engine stops, the channel is left. Closing it again, from
    /// any clone, waits for the same end.
    pub async fn close(&self) {
        self.handle.core.shutdown().await;
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use conflux_core::{Context, Never};

    use super::*;
    use crate::channel::MemoryChannel;
    use crate::disk::MemoryDisk;

    /// A container in which there is never anything to do.
    pub(crate) struct Idle;

    impl Container for Idle {
        type State = u64;
        type Method = u64;
        type Action = u64;
        type Rejection = Never;

        fn initial(&self) -> u64 {
            0
        }

        fn decide(&self, _: &u64, _: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
            Ok(None)
        }

        fn reduce(&self, _: &mut u64, _: &u64, _: &Context<'_>) {}
    }

    #[tokio::test(start_paused = true)]
    async fn the_log_is_compacted_when_nothing_changes_too() {
        let disk = MemoryDisk::new();
        let builder = Node::builder(Idle, "a").cluster_size(1).channel(MemoryChannel::new());
        let node = builder.disk(disk.clone()).compaction(16, 1 << 20).open().await.expect("the options are good");
        for n in 0..200 {
            assert!(node.perform(n).await.expect("it serves").action.is_none());
        }
        assert_eq!(node.state().index(), Index(0));
        // Compaction runs beside; the clock is simulated, so looking again costs nothing.
        while disk.log_length() > 16 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}
