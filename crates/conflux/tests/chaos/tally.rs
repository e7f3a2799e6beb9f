//! How often each thing happened: a chaos that never does what it is for proves nothing.

use std::collections::BTreeMap;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

/// What must have happened at least once in any twenty seeds.
pub(crate) const WANTED: &[&str] = &[
    "kill: closed",
    "kill: dropped",
    "kill: the leader",
    "kill: all at once",
    "restart",
    "wipe",
    "wipe: seated again",
    "old disk after a wipe",
    "partition",
    "partition: the leader alone",
    "cut one way",
    "heal",
    "loss",
    "duplication",
    "delay",
    "leader change",
    "answer: done",
    "answer: nothing",
    "answer: rejected",
    "answer: failed",
    "answer: never proposed",
    "answer: unknown",
    "answer: closed",
    "answer: conflict",
    "answer: dropped",
    "asked again: decided",
    "id tried again",
    "subscription: resumed",
    "subscription: reset",
    "snapshot: started from",
    "snapshot: installed",
    "session expired",
    "proposed",
];

impl Tally {
    pub(crate) fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        for (what, times) in &other.0 {
            *self.0.entry(what).or_default() += times;
        }
    }

    pub(crate) fn missing(&self) -> Vec<&'static str> {
        WANTED.iter().filter(|what| !self.0.contains_key(*what)).copied().collect()
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (what, times) in &self.0 {
            writeln!(f, "{times:>8}  {what}")?;
        }
        Ok(())
    }
}
