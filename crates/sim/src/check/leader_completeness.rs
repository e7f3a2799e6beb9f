//! Leader completeness: an entry that is committed in a given term is in the logs of the leaders of all higher terms
//! (Raft, figure 3). Looked at when a member notes that it leads.

use super::Step;
use crate::logs::Noted;
use crate::wrong::{Checked, hold};

pub(super) fn step(step: &Step<'_>) -> Checked {
    let Noted::Vote(vote) = step.noted else { return Ok(()) };
    if !vote.leads || &vote.candidate != step.member {
        return Ok(());
    }
    let first = step.log.first();
    for line in step.logs.committed.iter().filter(|line| line.id.index >= first && line.id.term < vote.term) {
        let (member, term) = (&step.member.0, vote.term);
        hold!(
            LeaderCompleteness,
            step.log.holds(line.id),
            "{member} leads term {term} without {}, which is committed",
            line.id
        );
    }
    Ok(())
}
