//! A member votes for one candidate a term, and never goes back to an earlier term (Raft, 5.2 and 5.4.1). Which of its
//! disks it is on does not matter: a member that votes with amnesia is found here.

use std::collections::BTreeMap;

use conflux::observe::MemberId;

use super::Step;
use crate::logs::Noted;
use crate::wrong::{Checked, hold};

#[derive(Default)]
pub(super) struct OneVote {
    /// For whom each member voted, by term.
    votes: BTreeMap<MemberId, BTreeMap<u64, MemberId>>,
}

impl OneVote {
    pub(super) fn step(&mut self, step: &Step<'_>) -> Checked {
        let Noted::Vote(vote) = step.noted else { return Ok(()) };
        let (member, term) = (&step.member.0, vote.term);
        let before = step.log.vote.as_ref().map_or(0, |vote| vote.term);
        hold!(OneVote, term >= before, "{member} is in term {before}, and goes back to {term}");
        // Whom a member takes for the leader is no vote: it hears of it when the others have voted.
        if !vote.leads {
            let votes = self.votes.entry(step.member.clone()).or_default();
            let voted = votes.entry(term).or_insert_with(|| vote.candidate.clone());
            let (one, other) = (&voted.0, &vote.candidate.0);
            hold!(OneVote, *voted == vote.candidate, "{member} votes for {one} and for {other} in term {term}");
        }
        Ok(())
    }
}
