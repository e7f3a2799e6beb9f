//! What the engine knows of itself and the cluster, in our words.

use std::collections::BTreeSet;
use std::task::{Context, Poll};

use openraft::ServerState;

use super::types::{LogId, Member, Types};
use crate::status::Role;
use crate::watch;

/// What the engine knows of itself and the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct View {
    pub(crate) role: Role,
    pub(crate) term: u64,
    pub(crate) leader: Option<Member>,
    pub(crate) voters: BTreeSet<Member>,
    pub(crate) learners: BTreeSet<Member>,
    /// A membership change was begun and is not finished.
    pub(crate) joint: bool,
    /// The voters once it is.
    pub(crate) target_voters: BTreeSet<Member>,
    /// All that was said of members is committed.
    pub(crate) settled: bool,
    /// Where in the log all this was said.
    pub(super) membership_id: Option<LogId>,
}

/// Waits for changes of what the engine knows.
pub(crate) struct Watcher(pub(super) watch::Receiver<openraft::metrics::RaftServerMetrics<Types>>);

impl Watcher {
    pub(crate) fn view(&mut self) -> View {
        view(&self.0.borrow_and_update())
    }

    pub(crate) fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Result<(), watch::Gone>> {
        self.0.poll_changed(context)
    }

    /// Waits for another view; an error when the engine has stopped.
    pub(crate) async fn changed(&mut self) -> Result<(), watch::Gone> {
        self.0.changed().await
    }
}

pub(super) fn view(metrics: &openraft::metrics::RaftServerMetrics<Types>) -> View {
    let membership = metrics.membership_config.membership();
    let voters: BTreeSet<Member> = membership.voter_ids().collect();
    let role = match metrics.state {
        _ if voters.is_empty() => Role::Waiting,
        ServerState::Leader => Role::Leader,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner => Role::Learner,
        ServerState::Shutdown => Role::Stopped,
    };
    View {
        role,
        term: metrics.vote.leader_id.term,
        leader: metrics.current_leader.clone(),
        learners: membership.learner_ids().collect(),
        settled: metrics.membership_config.log_id() == metrics.committed_membership_config.log_id(),
        membership_id: *metrics.membership_config.log_id(),
        joint: membership.get_joint_config().len() > 1,
        target_voters: membership.get_joint_config().last().cloned().unwrap_or_default(),
        voters,
    }
}
