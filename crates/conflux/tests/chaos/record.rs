//! What the harness saw, for the checkers.

use std::sync::Arc;

use conflux::{Done, PerformError, Performed, RequestId};

use crate::container::{Action, Ledger, Method, Rejection, Seen};

/// One perform.
pub(crate) struct Try {
    pub(crate) method: Method,
    pub(crate) slot: usize,
    /// The how-many-th opening of any node: one session order each.
    pub(crate) opening: u64,
    pub(crate) chosen: Option<String>,
    /// All that was ever told of it: its answer, and what it was asked about again.
    pub(crate) claims: Vec<Claim>,
}

/// What a caller is told of a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Claim {
    Done {
        index: u64,
        action: Option<Arc<Action>>,
    },
    Rejected {
        index: u64,
        rejection: Arc<Rejection>,
    },
    Failed {
        index: u64,
    },
    NeverProposed {
        reason: String,
    },
    Unknown {
        id: RequestId,
    },
    /// Committed, and not visible on its node yet.
    NotVisible {
        id: RequestId,
        index: u64,
    },
    Conflict,
    /// The node was closed; whether the call may have left it.
    Closed {
        id: Option<RequestId>,
    },
}

impl Claim {
    pub(crate) fn of(performed: Performed<Ledger>) -> Claim {
        match performed {
            Ok(Done { index, action }) => Claim::Done { index: index.0, action },
            Err(PerformError::Rejected { rejection, index }) => Claim::Rejected { index: index.0, rejection },
            Err(PerformError::Failed { index, .. }) => Claim::Failed { index: index.0 },
            Err(PerformError::NeverProposed { reason }) => Claim::NeverProposed { reason },
            Err(PerformError::Unknown { request_id }) => Claim::Unknown { id: request_id },
            Err(PerformError::NotVisible { request_id, index }) => Claim::NotVisible { id: request_id, index: index.0 },
            Err(PerformError::Conflict { .. }) => Claim::Conflict,
            Err(PerformError::Closed { request_id }) => Claim::Closed { id: request_id },
        }
    }

    /// The place at which the call was judged, or that it took.
    pub(crate) fn index(&self) -> Option<u64> {
        match self {
            Claim::Done { index, .. }
            | Claim::Rejected { index, .. }
            | Claim::Failed { index }
            | Claim::NotVisible { index, .. } => Some(*index),
            _ => None,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Claim::Done { action: Some(_), .. } => "answer: done",
            Claim::Done { action: None, .. } => "answer: nothing",
            Claim::Rejected { .. } => "answer: rejected",
            Claim::Failed { .. } => "answer: failed",
            Claim::NeverProposed { .. } => "answer: never proposed",
            Claim::Unknown { .. } => "answer: unknown",
            Claim::NotVisible { .. } => "answer: not visible",
            Claim::Conflict => "answer: conflict",
            Claim::Closed { .. } => "answer: closed",
        }
    }
}

impl std::fmt::Display for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Claim::Unknown { id } | Claim::Closed { id: Some(id) } => write!(f, ", {id}"),
            Claim::NeverProposed { reason } => write!(f, ", {reason}"),
            _ => self.index().map_or(Ok(()), |index| write!(f, " at {index}")),
        }
    }
}

/// One subscriber, across the nodes it listened to.
#[derive(Default)]
pub(crate) struct Listener {
    pub(crate) heard: Vec<Heard>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It subscribed: to what comes after this place.
    Began {
        slot: usize,
        after: u64,
    },
    Change {
        previous: u64,
        index: u64,
        action: Action,
        state: Seen,
    },
    Reset {
        index: u64,
        state: Seen,
    },
}

/// A state that was read from a node.
pub(crate) struct Read {
    pub(crate) slot: usize,
    pub(crate) opening: u64,
    pub(crate) index: u64,
    pub(crate) state: Seen,
    /// For a linearizable read: the highest index that anyone had been told when it began.
    pub(crate) at_least: Option<u64>,
}
