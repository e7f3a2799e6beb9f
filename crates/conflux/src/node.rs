//! A node: what an application embeds.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conflux_core::{
    ChosenId, Committed, Container, Digest, Failure, Found, Incarnation, Index, NodeName, Payload, Random, RequestId,
};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt, StreamExt};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, timeout_at};

use crate::builder::{NodeBuilder, Options};
use crate::channel::Inbox;
use crate::disk::{Contents, Journal};
use crate::founding::Meeting;
use crate::identity::Keeper;
use crate::members::Joining;
use crate::message::{Calls, Expect, Predicted, kind};
use crate::origin::Origin;
use crate::perform::{Perform, PerformError, Performed, Prediction, Started, Wish, answer};
use crate::raft::{ClusterId, Engine, Member, NotLeading, View, decode_read_index};
use crate::replica::Local;
use crate::sequencer::{Inbound, prediction};
use crate::status::{Role, Status};
use crate::stop::Stop;
use crate::subscription::{Event, Guard, Subscription};
use crate::watch;
use crate::wire::{Arrival, Head, Kind, Wire};

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

/// Everything a node is made of.
pub(crate) struct Core<C: Container> {
    pub(crate) options: Options,
    pub(crate) keeper: Keeper,
    pub(crate) wire: Wire,
    pub(crate) engine: Arc<Engine>,
    pub(crate) local: Arc<Local<C>>,
    pub(crate) origin: Arc<Origin<C>>,
    pub(crate) inbound: Inbound,
    pub(crate) meeting: Meeting,
    pub(crate) joining: Joining,
    pub(crate) cluster: ClusterId,
    /// Rings for the sequencer, and for the courier to a leader elsewhere: only one of them has work.
    pub(crate) ring: Arc<Notify>,
    batches: Mutex<(u64, Random)>,
    /// Why the node stopped, and a count of what is worth looking at again.
    stopped: watch::Sender<Option<String>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Its tasks may end: somebody closes it.
    stopping: AtomicBool,
    closing: tokio::sync::Mutex<bool>,
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
#[derive(Debug)]
pub enum Asked<C: Container> {
    /// It was decided.
    Decided(Performed<C>),
    /// The log does not know it: it may be on its way, and still take effect. Of a chosen id it cannot be told whether
    /// it is on its way, was forgotten after its time, or was never used.
    Undecided,
    /// It was decided and is not held any more, or its session has expired.
    Forgotten,
}

/// A read that could not be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader answered before the deadline.
    #[error("no leader answered within {0:?}: {1}")]
    Deadline(Duration, String),
    /// The node is closed.
    #[error("the node is closed")]
    Closed,
}

impl<C: Container> Node<C> {
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

    /// Waits until the node is other than `seen` in anything but its index, and says how.
    pub async fn status_after(&self, seen: &Status) -> Status {
        self.handle.core.status_after(seen).await
    }

    /// The state as it was at a place, if this node still holds that much history.
    #[must_use]
    pub fn state_at(&self, index: Index) -> Option<Snapshot<C::State>> {
        let local = &self.handle.core.local;
        let (mut state, path) = local.history(|history| history.path_to(index))?;
        let container = local.store().container().clone();
        for change in path {
            change.reduce(&container, Arc::make_mut(&mut state)).ok()?;
        }
        Some(Snapshot { state, index })
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

impl<C: Container> Core<C> {
    pub(crate) fn me(&self) -> &Member {
        self.engine.me()
    }

    /// Makes a node of its options.
    pub(crate) async fn open(
        container: C,
        name: NodeName,
        options: Options,
        contents: Contents,
        journal: Arc<dyn Journal>,
        port: Arc<dyn crate::channel::Port>,
        inbox: Inbox,
        mut random: Random,
    ) -> Result<Node<C>, Stop> {
        let incarnation = Incarnation(random.next_u64());
        let keeper = Keeper::open(contents.identity.as_deref(), contents.moved, incarnation, journal.clone())?;
        let identity = keeper.get();
        let me = Member { name, incarnation: identity.incarnation };
        let cluster: ClusterId = Arc::new(AtomicU64::new(identity.cluster));
        let wire = Wire::seeded(port, crate::wire::Limits::default(), random.next_u64());
        let ring: Arc<Notify> = Arc::default();
        // The sessions of earlier openings may still be open under this incarnation: numbers never meet.
        let session = (identity.starts << 32) + 1;
        let origin =
            Arc::new(Origin::new(me.name.clone(), me.incarnation, session, options.in_flight_max, ring.clone()));
        let local = Arc::new(Local::new(Arc::new(container), origin.clone(), options.history_max));
        let engine = Engine::open(
            me,
            &options.timing,
            options.compaction,
            contents,
            journal,
            wire.clone(),
            cluster.clone(),
            local.clone(),
        )
        .await?;
        let (stopped, _) = watch::channel(None);
        let core = Arc::new(Core {
            meeting: Meeting::new(Random::new(random.next_u64())),
            joining: Joining::default(),
            inbound: Inbound::new(ring.clone()),
            batches: Mutex::new((0, Random::new(random.next_u64()))),
            tasks: Mutex::default(),
            stopping: AtomicBool::new(false),
            closing: tokio::sync::Mutex::new(false),
            engine: Arc::new(engine),
            options,
            keeper,
            wire,
            local,
            origin,
            cluster,
            ring,
            stopped,
        });
        core.finish_founding().await?;
        core.start(inbox);
        Ok(Node { handle: Arc::new(Handle { core, runtime: tokio::runtime::Handle::current() }) })
    }

    fn start(self: &Arc<Self>, inbox: Inbox) {
        let tasks = vec![
            tokio::spawn(self.clone().guard(self.clone().pump(inbox))),
            tokio::spawn(self.clone().guard(self.clone().sequence())),
            tokio::spawn(self.clone().guard(self.clone().carry())),
            tokio::spawn(self.clone().guard(self.clone().watch_deadlines())),
            tokio::spawn(self.clone().guard(self.clone().found_or_join())),
            tokio::spawn(self.clone().guard(self.clone().drive_members())),
            tokio::spawn(self.clone().guard(self.clone().keep_house())),
        ];
        *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
    }

    /// Runs a task. Closing aborts it; when it ends by itself or panics, the node cannot go on, and says why.
    async fn guard(self: Arc<Self>, task: impl Future<Output = ()> + Send) {
        let ended = AssertUnwindSafe(task).catch_unwind().await;
        let stop = match ended {
            Err(panic) => Stop::Engine(Failure::of_panic("a task of the node", &*panic).message),
            Ok(()) => self.local.stopped().or_else(|| self.disk_failure()).unwrap_or_else(|| {
                Stop::Engine(self.engine.stopped().unwrap_or_else(|| "the channel was closed".into()))
            }),
        };
        if !self.stopping.load(Ordering::Acquire) {
            self.halt(&stop);
        }
    }

    /// Why the disk takes nothing more; the engine tells it in its own words.
    fn disk_failure(&self) -> Option<Stop> {
        self.keeper.journal().failure().map(Stop::Disk)
    }

    /// Gives a call its place. The other end of [`Perform`].
    pub(crate) fn begin(wish: Wish<C>, predict: Option<oneshot::Sender<Prediction<C>>>) -> Started<C> {
        let Wish { core, method, timeout, request_id } = wish;
        let refuse = |reason: String| Started::ready(None, Err(PerformError::NeverProposed { reason }));
        let chosen = match request_id {
            None => None,
            Some(id) if id.len() > conflux_core::ids::REQUEST_ID_BYTES_MAX => {
                let max = conflux_core::ids::REQUEST_ID_BYTES_MAX;
                return refuse(format!("the request id has {} bytes, at most {max} are allowed", id.len()));
            }
            Some(id) if id.is_empty() => return refuse("the request id is empty".into()),
            Some(id) if !matches!(RequestId::parse(&id), RequestId::Chosen(_)) => {
                return refuse(format!("the request id {id:?} has the form of the ids that conflux gives itself"));
            }
            Some(id) => match method.digest() {
                Ok(call) => Some(ChosenId { id, call }),
                Err(error) => return refuse(format!("the method cannot be written: {error}")),
            },
        };
        // A deadline must be over before the session that carries the call can expire.
        let longest = core.options.retention.session / 4;
        let deadline = Instant::now() + timeout.unwrap_or(core.options.deadline).min(longest);
        core.origin.begin(method, chosen, deadline, predict)
    }

    /// The counter and the seed of the next batch.
    pub(crate) fn next_batch(&self) -> (u64, u64) {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.0 += 1;
        (batches.0, batches.1.next_u64())
    }

    pub(crate) fn post(&self, to: &NodeName, kind: Kind, body: Bytes) {
        let cluster = self.cluster.load(Ordering::Relaxed);
        self.wire.post(to, Head { kind, group: 0, cluster }, body);
    }

    /// The task that takes messages in, in order, and answers them.
    async fn pump(self: Arc<Self>, mut inbox: Inbox) {
        let mut answers = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                message = inbox.recv() => {
                    let Some(message) = message else { return };
                    let arrival = match self.wire.accept(message) {
                        Ok(Some(arrival)) => arrival,
                        Ok(None) => continue,
                        Err(error) => {
                            tracing::debug!("a frame was refused: {error}");
                            continue;
                        }
                    };
                    self.welcome(arrival.head.cluster);
                    match self.engine.serve(arrival) {
                        Ok(answer) => {
                            // Into the engine's queue at once, even when this task has used up its turn: else those that
                            // come after a long burst would overtake each other in `answers`, and the engine takes an
                            // append that overtook another for a follower that lost its log.
                            let mut answer = Box::pin(unconstrained(answer));
                            if (&mut answer).now_or_never().is_none() {
                                answers.push(answer);
                            }
                        }
                        Err(arrival) => self.handle(arrival),
                    }
                }
                Some(()) = answers.next(), if !answers.is_empty() => {}
            }
        }
    }

    fn handle(&self, arrival: Arrival) {
        let cluster = self.cluster.load(Ordering::Relaxed);
        match arrival.head.kind {
            kind::HELLO | kind::PROPOSE | kind::IS_ON | kind::JOIN => self.meet(arrival),
            // The rest is between members of one cluster.
            _ if cluster == 0 || arrival.head.cluster != cluster => {}
            kind::CALLS => {
                if let Ok(calls) = Calls::decode(&arrival.body)
                    && calls.session.node == arrival.from
                {
                    self.inbound.push(calls, arrival.body.len());
                }
            }
            kind::EXPECT => {
                if let Ok(Expect { session, next }) = Expect::decode(&arrival.body) {
                    self.origin.rewind(Some(&session), Some(next));
                }
            }
            kind::LEADING => self.origin.rewind(None, None),
            kind::PREDICTED => {
                if let Ok(Predicted { session, number, verdict }) = Predicted::decode(&arrival.body)
                    && let Ok(verdict) = conflux_core::Verdict::<C>::from_bytes(&verdict)
                    && let Some(prediction) = prediction(&verdict)
                {
                    self.origin.predict(&session, number, prediction);
                }
            }
            other => tracing::debug!("a message of unknown kind {other:?} came from {}", arrival.from),
        }
    }

    /// The task that carries this node's calls to a leader elsewhere, and sends them again when nothing comes of them.
    async fn carry(self: Arc<Self>) {
        let again = self.options.timing.heartbeat * 4;
        let mut watcher = self.engine.watch();
        let mut leader: Option<Member> = None;
        let mut stuck = (Instant::now(), self.origin.first());
        loop {
            let View { leader: now, voters, .. } = watcher.view();
            if now != leader {
                leader = now;
                self.origin.rewind(None, None);
            }
            // A node that has not been let in knows nothing of the time: its sessions could not be told from old ones.
            let elsewhere = leader.as_ref().filter(|leader| *leader != self.me() && !voters.is_empty());
            if let Some(leader) = elsewhere {
                let as_of = self.local.store().stamps().elapsed;
                while let Some(calls) = self.origin.take_remote(as_of) {
                    self.post(&leader.name, kind::CALLS, calls.encode());
                }
            }
            let waiting = self.origin.is_waiting();
            tokio::select! {
                biased;
                changed = watcher.changed() => if changed.is_err() { return },
                () = self.ring.notified(), if elsewhere.is_some() => {}
                () = tokio::time::sleep_until(stuck.0 + again), if waiting => {
                    let first = self.origin.first();
                    if first == stuck.1 {
                        self.origin.rewind(None, None);
                    }
                    stuck = (Instant::now(), first);
                }
            }
        }
    }

    /// The task that gives up calls whose deadline has passed.
    async fn watch_deadlines(self: Arc<Self>) {
        loop {
            let earliest = self.origin.earliest();
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                biased;
                () = self.origin.sooner.notified() => {}
                () = tokio::time::sleep_until(earliest.unwrap_or(far)) => {
                    self.origin.expire(Instant::now(), || self.waiting_for());
                }
            }
        }
    }

    /// What a call that is not served waits for, in words.
    fn waiting_for(&self) -> String {
        if let Some(notice) = self.meeting.notice() {
            return notice;
        }
        let view = self.engine.view();
        match (view.role, view.leader) {
            (Role::Waiting, _) => "this node has not been let into a cluster yet".into(),
            (_, None) => "there was no leader".into(),
            (_, Some(leader)) => format!("{} led, but did not reach a majority", leader.name),
        }
    }

    /// The task that keeps the log short.
    async fn keep_house(self: Arc<Self>) {
        loop {
            self.local.applied.notified().await;
            self.engine.compact().await;
        }
    }

    /// Ends when this node's published state holds everything that was committed anywhere when this began.
    async fn read_barrier(&self, patience: Duration) -> Result<(), ReadError> {
        let deadline = Instant::now() + patience;
        let mut watcher = self.engine.watch();
        let pause = self.options.timing.heartbeat;
        loop {
            let read = timeout_at(deadline, self.read_index(watcher.view())).await;
            match read {
                Ok(Ok(index)) => {
                    return match timeout_at(deadline, self.engine.wait_applied(index)).await {
                        Ok(Ok(())) => Ok(()),
                        Ok(Err(_)) => Err(ReadError::Closed),
                        Err(_) => Err(ReadError::Deadline(patience, "this node is behind the leader".into())),
                    };
                }
                Ok(Err(NotLeading(_))) if Instant::now() + pause < deadline => {
                    // Another leader may be known in a moment.
                    if matches!(tokio::time::timeout(pause, watcher.changed()).await, Ok(Err(_))) {
                        return Err(ReadError::Closed);
                    }
                }
                _ => return Err(ReadError::Deadline(patience, self.waiting_for())),
            }
        }
    }

    async fn read_index(&self, view: View) -> Result<u64, NotLeading> {
        match view.leader {
            None => Err(NotLeading("there is no leader".into())),
            Some(leader) if leader == *self.me() => self.engine.read_index().await,
            Some(leader) => {
                let cluster = self.cluster.load(Ordering::Relaxed);
                let head = Head { kind: kind::READ_INDEX, group: 0, cluster };
                let answer = self.wire.request(&leader.name, head, Bytes::new());
                let answer = tokio::time::timeout(self.options.timing.election_timeout_max, answer).await;
                let body = answer
                    .map_err(|_| NotLeading("the leader did not answer".into()))?
                    .map_err(|error| NotLeading(error.to_string()))?;
                decode_read_index(&body).map_err(|error| NotLeading(error.to_string()))
            }
        }
    }

    fn status(&self) -> Status {
        let View { role, term, leader, voters, learners, .. } = self.engine.view();
        let names =
            |members: std::collections::BTreeSet<Member>| members.into_iter().map(|member| member.name).collect();
        let stopped = self.stopped.borrow().clone().or_else(|| self.engine.stopped());
        let cluster = self.cluster.load(Ordering::Relaxed);
        Status {
            id: self.me().name.clone(),
            incarnation: self.me().incarnation,
            role: if stopped.is_some() { Role::Stopped } else { role },
            term,
            leader: leader.map(|leader| leader.name),
            index: self.local.store().index(),
            cluster: (cluster != 0).then_some(cluster),
            voters: names(voters),
            learners: names(learners),
            notice: self.meeting.notice(),
            stopped,
        }
    }

    async fn status_after(&self, seen: &Status) -> Status {
        let mut watcher = self.engine.watch();
        let mut stopped = self.stopped.subscribe();
        loop {
            let _ = watcher.view();
            let status = self.status();
            if (Status { index: seen.index, ..status.clone() }) != *seen {
                return status;
            }
            tokio::select! {
                biased;
                changed = watcher.changed() => if changed.is_err() { return self.status() },
                changed = stopped.changed() => if changed.is_err() { return self.status() },
            }
        }
    }

    /// Stops serving because of an error that must not be passed over.
    pub(crate) fn halt(&self, stop: &Stop) {
        let first = self.stopped.modify(|stopped| {
            let first = stopped.is_none();
            stopped.get_or_insert_with(|| stop.to_string());
            first
        });
        if first {
            tracing::error!("{} stops: {stop}", self.me());
            self.origin.close();
            self.local.close();
            self.wire.close();
            // It must not go on leading: others can serve.
            let engine = self.engine.clone();
            tokio::spawn(async move { engine.shutdown().await });
        }
    }

    /// Takes no more calls or messages, and ends what listens. The first half of closing, which needs no waiting.
    fn stop_listening(&self) {
        self.stopping.store(true, Ordering::Release);
        self.origin.close();
        self.local.close();
        self.wire.close();
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
    }

    async fn shutdown(&self) {
        let mut closed = self.closing.lock().await;
        if *closed {
            return;
        }
        self.stop_listening();
        self.engine.shutdown().await;
        let journal = self.keeper.journal().clone();
        // An error says that the runtime is shutting down: dropping the journal closes it, too.
        let _ = crate::raft::off_task(self.keeper.journal(), move || journal.close()).await;
        // Only now: a closing that was cut off is taken up by the next one.
        *closed = true;
        let mut said = false;
        self.stopped.modify(|stopped| {
            said = stopped.is_none();
            stopped.get_or_insert_with(|| "it was closed".into());
            said
        });
    }
}

#[cfg(test)]
mod tests {
    use conflux_core::{Context, Never};

    use super::*;
    use crate::channel::MemoryChannel;
    use crate::disk::MemoryDisk;

    /// A container in which there is never anything to do.
    struct Idle;

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
