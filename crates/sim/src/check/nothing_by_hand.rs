//! Promise 9: every perform is answered by its deadline, and is not given up before it: a missing leader is waited for.

use std::time::Duration;

use crate::record::Claim;
use crate::wrong::{Checked, Promise, Wrong, hold};

/// What a try waits for, its answer or a prediction, did not come by its deadline.
pub(crate) fn late(number: usize, what: &str, patience: Duration) -> Wrong {
    Wrong::new(Promise::NothingByHand, format!("perform {number} has no {what} after its deadline, {patience:?}"))
}

/// A linearizable read says neither what it read nor that it cannot.
pub(crate) fn read_late(name: &str, deadline: Duration) -> Wrong {
    Wrong::new(Promise::NothingByHand, format!("{name} does not answer a read by its deadline, {deadline:?}"))
}

/// How a try stood as it was answered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// How long that took.
    pub(crate) after: Duration,
    /// Its deadline.
    pub(crate) patience: Duration,
    /// It had an id of its caller's.
    pub(crate) chosen: bool,
    /// Its session has expired, as far as that can be known.
    pub(crate) session_is_over: bool,
    /// Its node was closed, killed, or stopped by then.
    pub(crate) node_ended: bool,
}

/// What a node that has no room says at once.
const NO_ROOM: [&str; 2] = ["this node is overloaded", "the cluster remembers as many chosen request ids as it may"];

/// A try was answered: that nobody knows, or that nothing came of it, is said at its deadline only, or for a reason.
pub(crate) fn waited_out(number: usize, claim: &Claim, given: Given) -> Checked {
    let Given { after, patience, .. } = given;
    let in_time = after >= patience;
    let fair = match claim {
        Claim::Decided { .. } => true,
        Claim::NeverProposed { reason } => in_time || NO_ROOM.iter().any(|full| reason.starts_with(full)),
        // What had left for a session that expired meanwhile is known to nobody.
        Claim::Unknown { .. } => in_time || given.session_is_over,
        Claim::NotVisible { .. } => in_time,
        Claim::Conflict => given.chosen,
        Claim::Closed { .. } => given.node_ended,
    };
    hold!(NothingByHand, fair, "perform {number} was told '{claim}' after {after:?}, its deadline is {patience:?}");
    Ok(())
}

/// In the end nobody waits any more.
pub(crate) fn all_answered(waiting: u64) -> Checked {
    hold!(NothingByHand, waiting == 0, "{waiting} performs are never answered");
    Ok(())
}
