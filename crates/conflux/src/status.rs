//! How a node is, for people and programs.

use std::fmt;

use conflux_core::{Incarnation, Index, NodeName};

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
    /// The place of its committed state.
    pub index: Index,
    /// The cluster it belongs to, once it does.
    pub cluster: Option<u64>,
    /// The names of the voters.
    pub voters: Vec<NodeName>,
    /// The names of the learners.
    pub learners: Vec<NodeName>,
    /// What it waits for or was refused by, in words, if anything.
    pub notice: Option<String>,
    /// Why it stopped by itself, if it did.
    pub stopped: Option<String>,
}
