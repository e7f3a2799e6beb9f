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

    /// Whether it is the same failure as another one, as far as can be told: what is made shorter must not become another.
    /// A promise of ours is broken in one way mostly; a container has several invariants, and a node many reasons to stop.
    pub(crate) fn is_like(&self, other: &Wrong) -> bool {
        let by_words = matches!(self.promise, Promise::Liveness | Promise::Invariant);
        self.promise == other.promise && (!by_words || self.reads_like(other))
    }

    /// Whether it is told in the same words: names of nodes and numbers differ.
    pub(crate) fn reads_like(&self, other: &Wrong) -> bool {
        let words = |wrong: &'_ Wrong| -> Vec<String> {
            let line = wrong.what.lines().next().unwrap_or_default().to_owned();
            let words = line.split(|letter: char| !letter.is_alphabetic()).filter(|word| word.len() > 1);
            words.take(WORDS).map(str::to_owned).collect()
        };
        words(self) == words(other)
    }
}

/// So many words of a failure say what it is. Behind them it is told how all nodes are.
const WORDS: usize = 8;

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_invariant_is_another_failure() {
        let invariant = |what: &str| Wrong::new(Promise::Invariant, what);
        let twice = invariant("at 17: key 3 is held twice\n  the state: 4");
        assert!(twice.is_like(&invariant("at 5: key 1 is held twice")));
        assert!(!twice.is_like(&invariant("at 5: key 1 is held by nobody")));
        let stuck = |how: &str| {
            Wrong::new(Promise::Liveness, format!("a does not get its seat again, within 20s after the faults: {how}"))
        };
        assert!(stuck("b is down").is_like(&stuck("c leads")));
        assert!(!stuck("b is down").is_like(&Wrong::new(Promise::Liveness, "the run does not end")));
        let read = |what: &str| Wrong::new(Promise::Reads, what);
        assert!(read("a is read at 3").is_like(&read("b went back")), "a promise of ours is one");
    }
}
