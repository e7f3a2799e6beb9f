//! A promise that was broken.

use std::fmt;

/// What is promised, and was not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
#[allow(missing_docs, reason = "each is named by its text")]
pub enum Promise {
    OneHistory,
    ExactValidation,
    Durable,
    ExactlyOnce,
    RealTime,
    HonestRejections,
    Reads,
    Subscriptions,
    Provisional,
    NothingByHand,
    SafeMembership,
    HostileBytes,
    ElectionSafety,
    OneVote,
    LogMatching,
    LeaderCompleteness,
    StateMachineSafety,
    QuorumDurability,
    OrderOfIndexes,
    WholeDisks,
    Liveness,
    Invariant,
    Samples,
    CallsEnd,
}

impl fmt::Display for Promise {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Promise::OneHistory => "promise 1, one history",
            Promise::ExactValidation => "promise 2, exact validation",
            Promise::Durable => "promise 3, durable",
            Promise::ExactlyOnce => "promise 4, exactly once, in order",
            Promise::RealTime => "a perform takes effect between its start and its answer",
            Promise::HonestRejections => "promise 5, honest rejections",
            Promise::Reads => "promise 6, reads",
            Promise::Subscriptions => "promise 7, subscriptions have no holes",
            Promise::Provisional => "promise 8, provisional state is what it says",
            Promise::NothingByHand => "promise 9, nothing to retry by hand",
            Promise::SafeMembership => "promise 10, safe membership",
            Promise::HostileBytes => "promise 11, hostile bytes are harmless",
            Promise::ElectionSafety => "election safety (Raft, figure 3)",
            Promise::OneVote => "one vote a term, and never back (Raft, 5.2)",
            Promise::LogMatching => "log matching (Raft, figure 3)",
            Promise::LeaderCompleteness => "leader completeness (Raft, figure 3)",
            Promise::StateMachineSafety => "state machine safety (Raft, figure 3)",
            Promise::QuorumDurability => "what is committed is on the disks of a majority",
            Promise::OrderOfIndexes => "purged <= snapshot <= applied <= committed <= last",
            Promise::WholeDisks => "a disk holds what it said it holds",
            Promise::Liveness => "after the faults, the cluster serves",
            Promise::Invariant => "the container's own invariant",
            Promise::Samples => "the container makes calls up",
            Promise::CallsEnd => "the container's calls come to an end",
        })
    }
}

/// How one was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// What was promised.
    pub promise: Promise,
    /// What came instead.
    pub what: String,
}

impl Wrong {
    pub(crate) fn new(promise: Promise, what: impl Into<String>) -> Wrong {
        Wrong { promise, what: what.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.promise, self.what)
    }
}

pub(crate) type Checked = Result<(), Wrong>;

/// Fails with what was broken, unless it holds.
macro_rules! hold {
    ($promise:ident, $holds:expr, $($what:tt)+) => {
        if !$holds {
            return Err($crate::wrong::Wrong::new($crate::wrong::Promise::$promise, format!($($what)+)));
        }
    };
}
pub(crate) use hold;
