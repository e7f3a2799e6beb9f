//! After the faults: every node comes back, has its seat, and serves, each within a bound. So no promise is kept by standing
//! still.

use std::time::Duration;

use conflux::Role;

use crate::wrong::{Checked, Promise, Wrong, hold};

/// Within this much simulated time, what was broken is whole again: a node's seat, and then its service.
pub(crate) const WITHIN: Duration = Duration::from_secs(20);

/// What was killed comes back within what its killer meant, and this.
pub(crate) const BACK_WITHIN: Duration = Duration::from_secs(40);

/// Something that had to come by itself did not, within a bound; `how` is how the nodes are.
pub(crate) fn stuck(what: &str, within: Duration, how: &str) -> Wrong {
    Wrong::new(Promise::Liveness, format!("{what}, within {within:?} after the faults: {how}"))
}

/// What a node says that stopped because its state is another than it ought to be.
const DIVERGED: &str = "not deterministic";

/// A node stopped by itself, or does not open, without a reason.
pub(crate) fn stopped(name: &str, why: &str) -> Wrong {
    if why.contains(DIVERGED) {
        return Wrong::new(Promise::OneHistory, format!("{name} stopped by itself: {why}"));
    }
    Wrong::new(Promise::Liveness, format!("{name} stopped by itself, or does not open: {why}"))
}

/// In the end each node has a part in the cluster.
pub(crate) fn has_its_part(name: &str, role: Role) -> Checked {
    hold!(Liveness, matches!(role, Role::Leader | Role::Follower), "in the end {name} is a {role}");
    Ok(())
}
