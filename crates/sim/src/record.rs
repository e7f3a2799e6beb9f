//! What callers and listeners saw.

use std::fmt;

use conflux::{Container, Done, PerformError, Performed, RequestId};

use crate::observed::{Observed, Tagged, Trail};

/// One perform.
pub(crate) struct Try {
    /// The call, among all of the run; tries of one call share it.
    pub(crate) tag: u64,
    pub(crate) node: usize,
    /// The how-many-th opening of any node.
    pub(crate) opening: u64,
    pub(crate) chosen: Option<String>,
    /// When it was started, and when it was answered, in microseconds.
    pub(crate) began: u64,
    pub(crate) answered: Option<u64>,
    /// All that was ever told of it: its answer, and what it was asked about again.
    pub(crate) claims: Vec<Claim>,
}

/// What became of a call, or is said to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fate {
    Action,
    Nothing,
    Rejected,
    Failed,
}

/// What a caller is told of a call.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Claim {
    /// It was decided so, and has this place or was judged at it.
    Decided {
        fate: Fate,
        index: u64,
        tag: Option<u64>,
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
    pub(crate) fn of<C: Container>(performed: &Performed<Observed<C>>) -> Claim {
        let decided = |fate, index: &conflux::Index, tag| Claim::Decided { fate, index: index.0, tag };
        let tag = |tagged: &Tagged<_>| Some(tagged.tag);
        match performed {
            Ok(Done { index, action: Some(action) }) => decided(Fate::Action, index, Some(action.tag)),
            Ok(Done { index, action: None }) => decided(Fate::Nothing, index, None),
            Err(PerformError::Rejected { rejection, index }) => decided(Fate::Rejected, index, tag(rejection)),
            Err(PerformError::Failed { index, .. }) => decided(Fate::Failed, index, None),
            Err(PerformError::NeverProposed { reason }) => Claim::NeverProposed { reason: reason.clone() },
            Err(PerformError::Unknown { request_id }) => Claim::Unknown { id: request_id.clone() },
            Err(PerformError::NotVisible { request_id, index }) => {
                Claim::NotVisible { id: request_id.clone(), index: index.0 }
            }
            Err(PerformError::Conflict { .. }) => Claim::Conflict,
            Err(PerformError::Closed { request_id }) => Claim::Closed { id: request_id.clone() },
        }
    }

    /// The place at which the call was judged, or that it took.
    pub(crate) fn index(&self) -> Option<u64> {
        match self {
            Claim::Decided { index, .. } | Claim::NotVisible { index, .. } => Some(*index),
            _ => None,
        }
    }

    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Claim::Decided { fate: Fate::Action, .. } => "answer: done",
            Claim::Decided { fate: Fate::Nothing, .. } => "answer: nothing to do",
            Claim::Decided { fate: Fate::Rejected, .. } => "answer: rejected",
            Claim::Decided { fate: Fate::Failed, .. } => "answer: failed",
            Claim::NeverProposed { .. } => "answer: never proposed",
            Claim::Unknown { .. } => "answer: unknown",
            Claim::NotVisible { .. } => "answer: not visible",
            Claim::Conflict => "answer: conflict",
            Claim::Closed { .. } => "answer: closed",
        }
    }

    /// What the call can be asked for again by, if its fate is open.
    pub(crate) fn question(&self) -> Option<RequestId> {
        match self {
            Claim::Unknown { id } | Claim::NotVisible { id, .. } | Claim::Closed { id: Some(id) } => Some(id.clone()),
            _ => None,
        }
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind())?;
        match self {
            Claim::Unknown { id } | Claim::Closed { id: Some(id) } => write!(f, ", {id}"),
            Claim::NeverProposed { reason } => write!(f, ", {reason}"),
            _ => self.index().map_or(Ok(()), |index| write!(f, " at {index}")),
        }
    }
}

/// One subscriber, across the nodes it listened to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Listener {
    /// The last place it heard of.
    pub(crate) last: Option<u64>,
}

/// What a subscriber hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It subscribed: to what comes after this place.
    Began {
        after: u64,
    },
    Change {
        previous: u64,
        index: u64,
        tag: u64,
        state: Trail,
    },
    Reset {
        index: u64,
        state: Trail,
    },
}
