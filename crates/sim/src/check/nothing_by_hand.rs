//! Promise 9: every perform is answered by its deadline, and is not given up before it: a missing leader is waited for.

use std::time::Duration;

use crate::record::Claim;
use crate::wrong::{Checked, Promise, Wrong, hold};

/// What a try waits for, its answer or a prediction, did not come by its deadline.
pub(crate) fn late(number: usize, what: &str, patience: Duration) -> Wrong {
    Wrong::new(Promise::NothingByHand, format!("try {number} has no {what} after its deadline, {patience:?}"))
}

/// A try was answered after so long. `full`: its node may have had no room for it, which it says at once.
pub(crate) fn waited_out(number: usize, claim: &Claim, after: Duration, patience: Duration, full: bool) -> Checked {
    let Claim::NeverProposed { reason } = claim else { return Ok(()) };
    hold!(
        NothingByHand,
        full || after >= patience,
        "try {number} was given up after {after:?}, its deadline is {patience:?}: {reason}"
    );
    Ok(())
}

/// In the end nobody waits any more.
pub(crate) fn all_answered(waiting: u64) -> Checked {
    hold!(NothingByHand, waiting == 0, "{waiting} performs are never answered");
    Ok(())
}
