//! Election safety: at most one leader can be elected in a given term (Raft, figure 3).

use std::collections::BTreeMap;

use conflux::observe::MemberId;

use super::Step;
use crate::logs::Noted;
use crate::wrong::{Checked, hold};

#[derive(Default)]
pub(super) struct ElectionSafety {
    leaders: BTreeMap<u64, MemberId>,
}

impl ElectionSafety {
    pub(super) fn step(&mut self, step: &Step<'_>) -> Checked {
        let Noted::Vote(vote) = step.noted else { return Ok(()) };
        if vote.leads {
            let leader = self.leaders.entry(vote.term).or_insert_with(|| vote.candidate.clone());
            let (term, one, other) = (vote.term, &leader, &vote.candidate);
            hold!(ElectionSafety, *leader == vote.candidate, "term {term} is led by {} and by {}", one.0, other.0);
        }
        Ok(())
    }
}
