//! Rules that are left out, one at a time: a model in which that breaks nothing proves nothing.

use crate::bounds::Bounds;
use crate::promises::{DURABLE, EXACT_VALIDATION, EXACTLY_ONCE, HONEST_REJECTIONS, NOTHING_CONTRADICTS, PROVISIONAL};

/// A rule that is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mutant {
    /// None is: the protocol as it is.
    #[default]
    None,
    /// A store applies every batch, whatever its predecessor.
    ChainUnchecked,
    /// The id of a refused batch is given to the next one.
    RefusedIdReused,
    /// A leader forks at once, before its term's first entry is applied.
    ForkedEarly,
    /// The provisional state leaves out what an earlier leader left in the log.
    TailForgotten,
    /// A rejection is told when it is judged, before its batch is applied.
    RejectionToldEarly,
    /// A success is told when its batch is in the leader's log.
    SuccessToldEarly,
    /// A snapshot holds no sessions.
    SessionsForgotten,
    /// A snapshot holds no head of the chain.
    HeadForgotten,
    /// A call that is given up is told that it was never proposed, though it left its node.
    NeverProposedToldLate,
    /// A call that is given up is sent again under another number.
    RetriedAnew,
    /// A call is decided though one before it of its session is not.
    GapsTaken,
    /// The opening of a session is taken however old it is.
    OpeningNotDated,
    /// A node lets its sessions expire by its own clock.
    ExpiredLocally,
}

impl Mutant {
    /// All but `None`.
    pub const ALL: [Mutant; 13] = [
        Mutant::ChainUnchecked,
        Mutant::RefusedIdReused,
        Mutant::ForkedEarly,
        Mutant::TailForgotten,
        Mutant::RejectionToldEarly,
        Mutant::SuccessToldEarly,
        Mutant::SessionsForgotten,
        Mutant::HeadForgotten,
        Mutant::NeverProposedToldLate,
        Mutant::RetriedAnew,
        Mutant::GapsTaken,
        Mutant::OpeningNotDated,
        Mutant::ExpiredLocally,
    ];

    /// Within which bounds it shows in few steps, and the property that it breaks.
    #[must_use]
    pub fn shows(self) -> (Bounds, &'static str) {
        match self {
            Mutant::None => (Bounds::PIPELINE, NOTHING_CONTRADICTS),
            Mutant::ChainUnchecked => (Bounds::PIPELINE, EXACT_VALIDATION),
            Mutant::RefusedIdReused => (Bounds { batch: 2, give_ups: 1, ..Bounds::PIPELINE }, EXACT_VALIDATION),
            Mutant::ForkedEarly | Mutant::TailForgotten => (Bounds::LEADERS, PROVISIONAL),
            Mutant::RejectionToldEarly => (Bounds::LEADERS, HONEST_REJECTIONS),
            Mutant::SuccessToldEarly => (Bounds::LEADERS, DURABLE),
            Mutant::SessionsForgotten => (Bounds::SNAPSHOTS, EXACTLY_ONCE),
            Mutant::HeadForgotten => (Bounds::SNAPSHOTS, PROVISIONAL),
            Mutant::NeverProposedToldLate | Mutant::RetriedAnew => (Bounds::LEADERS, EXACTLY_ONCE),
            Mutant::GapsTaken => (Bounds::PIPELINE, EXACTLY_ONCE),
            Mutant::OpeningNotDated | Mutant::ExpiredLocally => (Bounds::SESSIONS, EXACTLY_ONCE),
        }
    }
}
