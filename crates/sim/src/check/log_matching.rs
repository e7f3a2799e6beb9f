//! Log matching: if two logs contain an entry with the same index and term, then they are identical up to there (Raft,
//! figure 3). By induction it is enough that such an entry is the same one everywhere, and so is the one before it.

use std::collections::BTreeMap;

use conflux::Digest;
use conflux::disk::EntryId;

use super::Step;
use crate::logs::Noted;
use crate::wrong::{Checked, hold};

#[derive(Default)]
pub(super) struct LogMatching {
    entries: BTreeMap<EntryId, (Digest, Option<EntryId>)>,
}

impl LogMatching {
    pub(super) fn step(&mut self, step: &Step<'_>) -> Checked {
        let Noted::Append(lines) = step.noted else { return Ok(()) };
        let member = &step.member.0;
        let mut before: Option<EntryId> = None;
        for line in lines {
            let index = line.id.index;
            let follows = match before {
                Some(before) => index == before.index + 1,
                None => index <= step.log.last().map_or(0, |last| last.index + 1) || step.log.lines.is_empty(),
            };
            hold!(LogMatching, follows, "{member} appends {} behind a hole", line.id);
            if before.is_none() && index > 0 {
                before = step.log.id_at(index - 1);
            }
            let after_term = before.is_none_or(|before| before.term <= line.id.term);
            hold!(LogMatching, after_term, "{member} appends {} behind {before:?}", line.id);
            let (digest, follows) = self.entries.entry(line.id).or_insert((line.digest, before));
            hold!(LogMatching, *digest == line.digest, "there are two entries {}: {member} has another", line.id);
            // Behind a snapshot it may not be known.
            if let (Some(one), Some(other)) = (*follows, before) {
                hold!(LogMatching, one == other, "{} follows {one}, and at {member} {other}", line.id);
            }
            before = Some(line.id);
        }
        Ok(())
    }
}
