//! How a node is, for people and programs.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use conflux_core::{Container, Incarnation, Index, NodeName};
use futures_core::Stream;

use crate::core::Core;
use crate::raft::Watcher;
use crate::replica::News;
use crate::watch;

/// What stands between two things of one [notice](Status::notice).
pub const NOTICES: &str = "; also ";

/// What a node is in its cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The cluster has not been founded yet, or this node has not been let in yet.
    Waiting,
    /// It proposes.
    Leader,
    /// It votes and follows.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It follows and has no vote.
    Learner,
    /// It is closed, or stopped by an error: see [`Status::stopped`].
    Stopped,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Waiting => "waiting",
            Role::Leader => "leader",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Learner => "learner",
            Role::Stopped => "stopped",
        })
    }
}

/// A node's status at an instant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The node's id.
    pub id: NodeName,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// What it is.
    pub role: Role,
    /// The Raft term it is in.
    pub term: u64,
    /// The leader it knows of.
    pub leader: Option<NodeName>,
    /// Whether a majority of the voters is heard, as far as this node can tell: without one nothing is committed, also where
    /// somebody leads still.
    pub has_quorum: bool,
    /// The place of its committed state.
    pub index: Index,
    /// The last place at which the states of most voters were compared with this one and found equal.
    pub agreed: Option<Index>,
    /// How often this node's state was found to be another than that of most voters, since it was opened. It goes on with
    /// theirs.
    pub parted: u64,
    /// Whether its state is being replaced by theirs right now: what is read here meanwhile is known to be wrong.
    pub is_mending: bool,
    /// The name of the history since it was taken up again from a backup or after a lost majority; 0 for the one that was
    /// founded. Actions at the same place in two generations may differ. At most 2^53 - 1.
    pub generation: u64,
    /// The cluster it belongs to, once it does.
    pub cluster: Option<u64>,
    /// The names of the voters.
    pub voters: Vec<NodeName>,
    /// The names of the learners.
    pub learners: Vec<NodeName>,
    /// What it waits for or was refused by, in words, if anything.
    ///
    /// Where there are several things to say, [`NOTICES`] stands between them.
    pub notice: Option<String>,
    /// Why it stopped by itself, if it did.
    pub stopped: Option<String>,
}

/// A stream of a node's status: the present one first, then whenever anything of it is another than the last one seen.
/// What changes faster than it is looked at is seen once. Ends after the status that says the node is closed.
pub struct StatusWatch {
    look: Box<dyn Fn() -> Status + Send + Sync>,
    engine: Watcher,
    published: watch::Receiver<News>,
    notices: [watch::Receiver<Option<String>>; 5],
    seen: Option<Status>,
}

impl StatusWatch {
    pub(crate) fn new<C: Container>(core: Arc<Core<C>>) -> Self {
        let [stopped, met] = [core.stopped.subscribe(), core.meeting.watch()];
        let notices = [stopped, met, core.quorum.watch(), core.comparison.watch(), core.local.watchdog.watch()];
        let (engine, published) = (core.engine.watch(), core.local.news());
        StatusWatch { look: Box::new(move || core.status()), engine, published, notices, seen: None }
    }

    /// The next status that is another than the last; `None` once the node is closed.
    pub async fn next(&mut self) -> Option<Status> {
        poll_fn(|context| self.poll_status(context)).await
    }

    /// Waits for a status in which `wanted` finds what it looks for; `None` when the node is closed before.
    pub async fn find<R>(&mut self, mut wanted: impl FnMut(&Status) -> Option<R>) -> Option<R> {
        loop {
            if let Some(found) = wanted(&self.next().await?) {
                return Some(found);
            }
        }
    }

    fn poll_status(&mut self, context: &mut Context<'_>) -> Poll<Option<Status>> {
        if self.seen.as_ref().is_some_and(|seen| seen.role == Role::Stopped) {
            return Poll::Ready(None);
        }
        loop {
            let status = (self.look)();
            if self.seen.as_ref() != Some(&status) {
                self.seen = Some(status.clone());
                return Poll::Ready(Some(status));
            }
            // Whoever is pending has taken note of the waker; whoever is ready may have brought news. A sender that is
            // gone brings none any more: what stops a node is told by `stopped`, which the node holds to its end.
            let mut news = self.engine.poll_changed(context) == Poll::Ready(Ok(()));
            news |= self.published.poll_changed(context) == Poll::Ready(Ok(()));
            for notice in &mut self.notices {
                news |= notice.poll_changed(context) == Poll::Ready(Ok(()));
            }
            if !news {
                return Poll::Pending;
            }
        }
    }
}

impl Stream for StatusWatch {
    type Item = Status;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Status>> {
        self.poll_status(context)
    }
}
