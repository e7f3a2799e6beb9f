//! What the engine is told of our types. Nothing outside this folder names the engine's own.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use conflux_core::{Incarnation, NodeName};
use openraft::impls::{Vote, leader_id_std};

use super::runtime::NodeRuntime;

/// A node as the engine knows it. A node that lost its memory is another member, so it never votes under the seat of
/// the one it was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Member {
    pub(crate) name: NodeName,
    pub(crate) incarnation: Incarnation,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.incarnation)
    }
}

/// One batch on its way through the log: its bytes, and the batch itself where it was made, so that a leader never
/// decodes its own.
#[derive(Clone)]
pub(crate) struct Proposal {
    pub(crate) bytes: Bytes,
    made: Option<Arc<Mutex<Option<Made>>>>,
}

type Made = Arc<dyn Any + Send + Sync>;

impl Proposal {
    pub(crate) fn received(bytes: Bytes) -> Proposal {
        Proposal { bytes, made: None }
    }

    pub(crate) fn made_here(bytes: Bytes, batch: Made) -> Proposal {
        Proposal { bytes, made: Some(Arc::new(Mutex::new(Some(batch)))) }
    }

    /// The batch itself, if it was made here and not taken yet.
    pub(crate) fn made(&self) -> Option<Made> {
        self.made.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same, for the last time: it is several times as large as its bytes, which stay in the log for long.
    pub(crate) fn take_made(&self) -> Option<Made> {
        self.made.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proposal({} bytes)", self.bytes.len())
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a batch of {} bytes", self.bytes.len())
    }
}

/// What the state machine says of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It took effect, or it was no batch.
    Applied,
    /// The chain refused it, the same on every node.
    Skipped,
}

/// The engine's choice of types.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Types;

impl openraft::RaftTypeConfig for Types {
    type D = Proposal;
    type R = Verdict;
    type NodeId = Member;
    type Node = openraft::EmptyNode;
    type Term = u64;
    // At most one leader a term: the fence of a write is its term alone.
    type LeaderId = LeaderId;
    type Vote = EngineVote;
    type Payload = Payload;
    type Entry = Entry;
    type AsyncRuntime = NodeRuntime;
    type Responder<T>
        = openraft::impls::ProgressResponder<Self, T>
    where
        T: Send + 'static;
    type Batch<T>
        = openraft::impls::InlineBatch<T>
    where
        T: Send + 'static;
    type ErrorSource = openraft::impls::BoxedErrorSource;
}

pub(crate) type LeaderId = leader_id_std::LeaderId<u64, Member>;
pub(crate) type CommittedLeaderId = <LeaderId as openraft::vote::RaftLeaderId>::Committed;
pub(crate) type LogId = openraft::LogId<CommittedLeaderId>;
pub(crate) type EngineVote = Vote<LeaderId>;
pub(crate) type Payload = openraft::EntryPayload<Proposal, Member, openraft::EmptyNode>;
pub(crate) type Entry = openraft::Entry<CommittedLeaderId, Payload>;
pub(crate) type Membership = openraft::Membership<Member, openraft::EmptyNode>;
pub(crate) type StoredMembership = openraft::StoredMembership<CommittedLeaderId, Member, openraft::EmptyNode>;
pub(crate) type SnapshotMeta = openraft::storage::SnapshotMeta<CommittedLeaderId, Member, openraft::EmptyNode>;
pub(super) type Snapshot =
    openraft::storage::Snapshot<CommittedLeaderId, Member, openraft::EmptyNode, super::machine::SnapshotData>;
