//! How a node is, as it is told over HTTP.

use std::time::Duration;

use conflux::{Compacted, Index, MemberStatus, Status};
use serde::{Deserialize, Serialize};

/// What `GET /status` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusReport {
    /// The node's id.
    pub id: String,
    /// Its incarnation, in hexadecimal digits: 64 bits are more than a number in JavaScript holds.
    pub incarnation: String,
    /// What it is: waiting, leader, follower, candidate, learner or stopped.
    pub role: String,
    /// The Raft term it is in.
    pub term: u64,
    /// The leader it knows of.
    pub leader: Option<String>,
    /// Whether a majority of the voters is heard, as far as it can tell: without one nothing is committed.
    pub quorum: bool,
    /// The place of its committed state.
    pub index: Index,
    /// The last place at which most voters had the same state, as far as it knows.
    pub agreed: Option<Index>,
    /// How often its state was another than that of most voters, and replaced by theirs.
    pub parted: u64,
    /// Whether its state is being replaced by theirs right now: what is read from it meanwhile is known to be wrong.
    pub mending: bool,
    /// Which history its places are of: another one begins when a backup is restored.
    pub generation: u64,
    /// The cluster it belongs to, once it does, in hexadecimal digits.
    pub cluster: Option<String>,
    /// The names of the voters.
    pub voters: Vec<String>,
    /// The names of the learners.
    pub learners: Vec<String>,
    /// What it waits for or was refused by, if anything.
    pub notice: Option<String>,
    /// Why it stopped, if it did.
    pub stopped: Option<String>,
}

impl From<Status> for StatusReport {
    fn from(status: Status) -> StatusReport {
        let Status {
            id,
            incarnation,
            role,
            term,
            leader,
            has_quorum,
            index,
            agreed,
            parted,
            is_mending,
            generation,
            cluster,
            voters,
            learners,
            notice,
            stopped,
        } = status;
        let names = |names: Vec<conflux::NodeName>| names.iter().map(|name| name.to_string()).collect();
        StatusReport {
            id: id.to_string(),
            incarnation: incarnation.to_string(),
            role: role.to_string(),
            term,
            leader: leader.map(|leader| leader.to_string()),
            quorum: has_quorum,
            index,
            agreed,
            parted,
            mending: is_mending,
            generation,
            cluster: cluster.map(|cluster| format!("{cluster:x}")),
            voters: names(voters),
            learners: names(learners),
            notice,
            stopped,
        }
    }
}

/// What `POST /snapshot` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotReport {
    /// The place up to which the snapshot holds everything, at least.
    pub index: Index,
    /// Its bytes.
    pub bytes: u64,
    /// How many entries the log has now.
    pub log_entries: usize,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

impl From<Compacted> for SnapshotReport {
    fn from(compacted: Compacted) -> SnapshotReport {
        let Compacted { index, bytes, log_entries, took } = compacted;
        SnapshotReport { index, bytes, log_entries, took_ms: millis(took) }
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A member of the cluster, as `GET /members` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberReport {
    /// Its name: the id of the node.
    pub name: String,
    /// Its incarnation, in hexadecimal digits; `None` for a name that has a seat and has not joined yet.
    pub incarnation: Option<String>,
    /// Whether it votes.
    pub votes: bool,
    /// Whether it is meant to vote.
    pub seated: bool,
    /// Whether it leads.
    pub leads: bool,
    /// Whether it holds all that is committed; `None` where the node that was asked cannot tell: only the leader can.
    pub caught_up: Option<bool>,
    /// For how long the leader has not heard it, in milliseconds; `None` where the node that was asked cannot tell.
    pub silent_ms: Option<u64>,
}

impl From<MemberStatus> for MemberReport {
    fn from(member: MemberStatus) -> MemberReport {
        let MemberStatus { name, incarnation, votes, seated, leads, caught_up, silent } = member;
        MemberReport {
            name: name.to_string(),
            incarnation: incarnation.map(|incarnation| incarnation.to_string()),
            votes,
            seated,
            leads,
            caught_up,
            silent_ms: silent.map(millis),
        }
    }
}
