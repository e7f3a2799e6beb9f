//! A member votes for one candidate a term, and never goes back to an earlier term (Raft, 5.2 and 5.4.1). Which of its
//! disks it is on does not matter: a member that votes with amnesia is found here. A vote counts once it is durable, and
//! not before may anybody hear of it (Raft, figure 2: persistent state).

use std::collections::BTreeMap;

use conflux::observe::{MemberId, Vote};

use super::Step;
use crate::logs::Noted;
use crate::wrong::{Checked, hold};

#[derive(Default)]
pub(super) struct OneVote {
    /// For whom each member voted, by term.
    votes: BTreeMap<MemberId, BTreeMap<u64, MemberId>>,
}

impl OneVote {
    /// What a disk is handed.
    pub(super) fn step(&self, step: &Step<'_>) -> Checked {
        let Noted::Vote(vote) = step.noted else { return Ok(()) };
        let (member, term) = (&step.member.0, vote.term);
        let before = step.log.vote.as_ref().map_or(0, |vote| vote.term);
        hold!(OneVote, term >= before, "{member} is in term {before}, and goes back to {term}");
        Ok(())
    }

    /// A vote is durable.
    pub(super) fn durable(&mut self, member: &MemberId, vote: &Vote) -> Checked {
        // Whom a member takes for the leader is no vote: it hears of it when the others have voted.
        if vote.leads {
            return Ok(());
        }
        let votes = self.votes.entry(member.clone()).or_default();
        let voted = votes.entry(vote.term).or_insert_with(|| vote.candidate.clone());
        let (member, one, other, term) = (&member.0, &voted.0, &vote.candidate.0, vote.term);
        hold!(OneVote, *voted == vote.candidate, "{member} votes for {one} and for {other} in term {term}");
        Ok(())
    }

    /// The node of this name sends a message that stands for a vote, as the one who casts it or as the one whom it is asked
    /// for. It must have been durable by then.
    pub(super) fn cast(&self, name: &str, member: Option<&MemberId>, vote: &Vote) -> Checked {
        let votes = member.and_then(|member| self.votes.get(member));
        let durable = votes.and_then(|votes| votes.get(&vote.term));
        let (candidate, term) = (&vote.candidate.0, vote.term);
        hold!(
            OneVote,
            durable == Some(&vote.candidate),
            "{name} tells its vote for {candidate} in term {term}, which is not on its disk"
        );
        Ok(())
    }
}
