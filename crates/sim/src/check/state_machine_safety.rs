//! State machine safety: no two servers apply different entries at one index (Raft, figure 3). A node notes how far its log
//! is committed before it applies it: up to there it must be that of all others.

use super::Step;
use crate::logs::Noted;
use crate::wrong::{Checked, hold};

pub(super) fn step(step: &Step<'_>) -> Checked {
    let Noted::Committed(id) = step.noted else { return Ok(()) };
    let member = &step.member.0;
    for line in step.log.lines.iter().filter(|line| line.id.index <= id.index) {
        let Some(committed) = step.logs.committed_at(line.id.index) else { continue };
        hold!(
            StateMachineSafety,
            committed == line,
            "{member} takes {} for committed, where {} is",
            line.id,
            committed.id
        );
    }
    Ok(())
}
