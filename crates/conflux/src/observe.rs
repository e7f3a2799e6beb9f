//! What nodes wrote and sent, read from outside: for the checkers of a simulation, which know a node by its disk and its
//! messages only.

use std::collections::BTreeSet;

use bytes::Bytes;
use conflux_core::{Incarnation, NodeName};

use crate::disk::{self, LogEntry};
use crate::identity::Identity;
use crate::message;
use crate::raft;
use crate::wire::{Frame, Limits, Role};

pub use crate::raft::is_batch;

/// A member of a cluster: a node's name, in one of its lives.
pub type MemberId = (NodeName, Incarnation);

/// A vote as a disk holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vote {
    /// The term.
    pub term: u64,
    /// For whom.
    pub candidate: MemberId,
    /// Whether that one leads the term, as far as the voter knows.
    pub leads: bool,
}

/// Reads the content of [`Change::Vote`](crate::disk::Change::Vote); `None` where it is no vote.
#[must_use]
pub fn vote(bytes: &Bytes) -> Option<Vote> {
    raft::vote_of(bytes)
}

/// Who votes from an entry on, if it says so: one group, or while a change is under way the old one and the new one, each
/// of which has to agree.
#[must_use]
pub fn voters(entry: &LogEntry) -> Option<Vec<BTreeSet<MemberId>>> {
    raft::voters_of(entry)
}

/// Who voted at the place where a snapshot ends, as above.
#[must_use]
pub fn snapshot_voters(meta: &Bytes) -> Option<Vec<BTreeSet<MemberId>>> {
    raft::snapshot_voters_of(meta)
}

/// Reads whose disk it is from the content of [`Change::Identity`](crate::disk::Change::Identity).
#[must_use]
pub fn incarnation(bytes: &Bytes) -> Option<Incarnation> {
    Identity::decode(bytes).ok().map(|identity| identity.incarnation)
}

/// The vote that a frame on a channel stands for, if it does: that of a candidate that asks for others', or the one that
/// a voter answers that it has given.
#[must_use]
pub fn cast_vote(frame: &Bytes) -> Option<Vote> {
    let Frame { head, role, payload: bytes, count: 1, .. } = Frame::decode(frame.clone(), &Limits::default()).ok()?
    else {
        return None;
    };
    match role {
        Role::Request if head.kind == message::kind::VOTE => raft::vote_asked_for(&bytes),
        Role::Response if head.kind == message::kind::VOTE => raft::vote_given(&bytes),
        _ => None,
    }
}

/// How many bytes at the beginning of a log file are known, by what stands behind them, to have been durable: whatever is
/// damaged there is no torn write. 0 where it is no log file.
#[must_use]
pub fn proven(log_file: &[u8]) -> usize {
    disk::proven(log_file)
}

/// What a frame on a channel is about, in a few words; `None` where it is no frame.
#[must_use]
pub fn message(frame: &Bytes) -> Option<String> {
    let Frame { head, role, index, count, total, .. } = Frame::decode(frame.clone(), &Limits::default()).ok()?;
    let what = message::kind::name(head.kind);
    let what = match role {
        Role::Post | Role::Request => what.to_owned(),
        Role::Response => format!("{what} answered"),
        Role::Refusal => format!("{what} refused"),
    };
    let piece = if count > 1 { format!(", piece {} of {count}", index + 1) } else { String::new() };
    Some(format!("{what}, {total} bytes{piece}"))
}
