//! Promise 10: an incarnation is one memory. A member that has lost its disk is another one: no two disks are ever those of
//! one member.

use std::collections::BTreeMap;

use conflux::observe::MemberId;

use crate::logs::DiskNumber;
use crate::wrong::{Checked, hold};

#[derive(Default)]
pub(crate) struct SafeMembership {
    disks: BTreeMap<MemberId, DiskNumber>,
}

impl SafeMembership {
    pub(crate) fn named(&mut self, member: &MemberId, disk: DiskNumber) -> Checked {
        let known = *self.disks.entry(member.clone()).or_insert(disk);
        let (name, incarnation) = member;
        hold!(
            SafeMembership,
            known == disk,
            "{name}#{incarnation} is on another disk than it was: it has lost its memory"
        );
        Ok(())
    }
}

/// A node of another version came to the cluster's door: nothing is given to it.
pub(crate) fn not_let_in(name: &str, has_any: bool) -> Checked {
    hold!(SafeMembership, !has_any, "{name}, of another version, was let in, and holds batches of this one's");
    Ok(())
}
