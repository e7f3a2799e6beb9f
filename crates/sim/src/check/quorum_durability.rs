//! What is committed is durable on the disks of a majority at that moment, and so are those whom a change of members asks,
//! old and new ones (Raft, 5.3 and 6; Ongaro's thesis, 10.2.1). A leader counts the copies of its own entries only: those of
//! earlier terms are committed with them (Raft, 5.4.2).

use super::Step;
use crate::logs::{Line, Noted};
use crate::wrong::{Checked, hold};

pub(super) fn step(step: &Step<'_>) -> Checked {
    let Noted::Committed(id) = step.noted else { return Ok(()) };
    let (logs, member) = (step.logs, step.member);
    // Whoever notes it later has heard of it.
    if logs.committed_at(id.index).is_some() {
        return Ok(());
    }
    let led = step.log.vote.as_ref().filter(|vote| vote.leads && vote.candidate == *member).map(|vote| vote.term);
    let own = led.is_none_or(|term| term == id.term);
    hold!(QuorumDurability, own, "{} leads term {led:?}, and takes {id} for committed by its copies", member.0);
    // Which members a leader counted depends on how far its log was, which may be further than this one's; never on less
    // than what it commits by.
    let said = |line: &&Line| line.id.index <= id.index && line.voters.is_some();
    let committed = logs.committed.iter().rev().find(said);
    let least = step.log.lines.iter().rev().find(said).or(committed).map_or(0, |line| line.id.index);
    let lines = logs.shelves.values().flat_map(|shelf| &shelf.present.lines).chain(committed);
    let mut asked = lines.filter(|line| line.id.index >= least).filter_map(|line| line.voters.as_ref());
    let on_most = asked.any(|voters| logs.is_on_most(*id, voters));
    hold!(QuorumDurability, on_most, "{} takes {id} for committed, which is not on the disks of most", member.0);
    Ok(())
}
