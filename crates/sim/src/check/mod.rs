//! The checkers, one a file. Those of Raft's properties look at each change of a disk before it is made; those of the
//! promises at what callers, readers and listeners are told, against the history that came to be.

mod election_safety;
mod exact_validation;
mod exactly_once;
mod honest_answers;
mod hostile_bytes;
mod leader_completeness;
mod liveness;
mod log_matching;
mod nothing_by_hand;
mod one_history;
mod one_vote;
mod order_of_indexes;
mod provisional;
mod quorum_durability;
mod reads;
mod real_time;
mod safe_membership;
mod state_machine_safety;
mod subscriptions;
mod whole_disks;

pub(crate) use exact_validation::{Judged, comes_to_the_same, judged_on};
pub(crate) use exactly_once::{ExactlyOnce, denied_and_done, has_a_rival, out_of_order};
pub(crate) use honest_answers::{Fates, answered, forgotten, undecided};
pub(crate) use hostile_bytes::{no_panic, opening_ended, unreadable, what_was_asked};
pub(crate) use liveness::{BACK_WITHIN, WITHIN, has_its_part, stopped, stuck};
pub(crate) use nothing_by_hand::{Given, all_answered, late, read_late, waited_out};
pub(crate) use one_history::{Stand, is_one, of_another_version, one_by_one};
pub(crate) use order_of_indexes::kept;
pub(crate) use provisional::provisional;
pub(crate) use reads::{linearizable, shown, went_on};
pub(crate) use real_time::in_real_time;
pub(crate) use safe_membership::{SafeMembership, not_let_in};
pub(crate) use subscriptions::{heard, heard_all};
pub(crate) use whole_disks::reopened;

use conflux::observe::{MemberId, Vote};

use crate::logs::{Log, Logs, Noted};
use crate::wrong::Checked;

/// A change that is about to be made to a disk.
pub(crate) struct Step<'a> {
    pub(crate) logs: &'a Logs,
    /// Whose disk it is.
    pub(crate) member: &'a MemberId,
    /// The disk before.
    pub(crate) log: &'a Log,
    pub(crate) noted: &'a Noted,
}

/// The checkers of Raft's properties, with what they remember.
#[derive(Default)]
pub(crate) struct RaftChecks {
    election_safety: election_safety::ElectionSafety,
    one_vote: one_vote::OneVote,
    log_matching: log_matching::LogMatching,
}

impl RaftChecks {
    pub(crate) fn step(&mut self, step: &Step<'_>) -> Checked {
        self.election_safety.step(step)?;
        self.one_vote.step(step)?;
        self.log_matching.step(step)?;
        leader_completeness::step(step)?;
        state_machine_safety::step(step)?;
        quorum_durability::step(step)?;
        order_of_indexes::step(step)
    }

    /// A vote is durable.
    pub(crate) fn voted(&mut self, member: &MemberId, vote: &Vote) -> Checked {
        self.one_vote.durable(member, vote)
    }

    /// A message tells a vote of the node of this name, which is this member, if it is one yet.
    pub(crate) fn cast(&self, name: &str, member: Option<&MemberId>, vote: &Vote) -> Checked {
        self.one_vote.cast(name, member, vote)
    }
}

#[cfg(test)]
pub(crate) mod tests;
