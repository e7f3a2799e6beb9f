//! Purged <= snapshot <= applied <= committed <= last, and none of them goes back. What is applied is what a node shows: see
//! [`shown`](super::shown). A snapshot is of what was applied, and so of what is committed.

use conflux::disk::EntryId;
use conflux::observe::MemberId;

use super::Step;
use crate::logs::{Log, Noted, Taken};
use crate::wrong::{Checked, hold};

pub(super) fn step(step: &Step<'_>) -> Checked {
    let (member, log) = (&step.member.0, step.log);
    let snapshot = log.snapshot.as_ref().and_then(|taken| taken.last);
    match step.noted {
        Noted::Purge(upto) => {
            hold!(
                OrderOfIndexes,
                Some(*upto) <= snapshot,
                "{member} purges up to {upto}, its snapshot ends at {snapshot:?}"
            );
            hold!(OrderOfIndexes, Some(*upto) >= log.purged, "{member} purged up to {:?}, and now {upto}", log.purged);
        }
        Noted::Committed(id) => {
            let last = log.last().max(snapshot);
            hold!(OrderOfIndexes, Some(*id) <= last, "{member} takes {id} for committed, its log ends at {last:?}");
            let before = log.committed;
            hold!(OrderOfIndexes, Some(*id) >= before, "{member} knew {before:?} to be committed, and now {id}");
        }
        Noted::Truncate(from) => {
            // A snapshot that was kept may be all that a log that it does not fit is replaced by (Raft, section 7).
            let covered = snapshot.is_some() && snapshot >= log.committed;
            let committed = log.committed.map_or(0, |id| id.index + 1);
            hold!(
                OrderOfIndexes,
                *from >= committed || covered,
                "{member} truncates from {from}, {:?} is committed",
                log.committed
            );
        }
        _ => {}
    }
    Ok(())
}

/// A snapshot is kept in place of the one before; `committed` is the last entry that is committed anywhere.
pub(crate) fn kept(member: &MemberId, log: &Log, taken: &Taken, committed: Option<EntryId>) -> Checked {
    let before = log.snapshot.as_ref().and_then(|before| before.last);
    let (member, last) = (&member.0, taken.last);
    hold!(
        OrderOfIndexes,
        last >= before,
        "{member} keeps a snapshot up to {last:?} over a newer one, up to {before:?}"
    );
    hold!(
        OrderOfIndexes,
        last <= committed,
        "{member} keeps a snapshot up to {last:?}, and what is committed ends at {committed:?}"
    );
    Ok(())
}
