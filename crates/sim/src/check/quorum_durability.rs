//! What is committed is durable on the disks of a majority at that moment, and so are those whom a change of members asks,
//! old and new ones (Raft, 5.3 and 6; Ongaro's thesis, 10.2.1). An entry of an earlier term is committed with one of the
//! leader's own only (Raft, 5.4.2): so its fate is that of the last one.

use super::Step;
use crate::logs::{Noted, Voters};
use crate::wrong::{Checked, hold};

pub(super) fn step(step: &Step<'_>) -> Checked {
    let Noted::Committed(id) = step.noted else { return Ok(()) };
    let logs = step.logs;
    if logs.committed_at(id.index).is_some() {
        return Ok(());
    }
    // Which members a leader counted depends on how far its log was, which may be further than this one's.
    let said = |voters: &Option<Voters>| voters.clone();
    let behind =
        logs.shelves.values().flat_map(|shelf| shelf.present.lines.iter()).filter_map(|line| said(&line.voters));
    let before = step.log.voters().cloned();
    let committed = logs.committed.iter().rev().find_map(|line| line.voters.clone());
    let on_most = before.into_iter().chain(committed).chain(behind).any(|voters| logs.is_on_most(*id, &voters));
    hold!(QuorumDurability, on_most, "{} takes {id} for committed, which is not on the disks of most", step.member.0);
    Ok(())
}
