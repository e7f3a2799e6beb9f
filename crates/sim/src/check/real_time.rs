//! A perform takes effect between its start and its answer: it comes behind everything that anybody was told before it
//! started (Herlihy and Wing, "Linearizability", 1990). The order of places is the order of effects, so that the highest
//! place told so far is all that has to be remembered.

use crate::record::{Claim, Fate};
use crate::wrong::{Checked, hold};

/// Somebody is told of a call that was asked for at `began`, and first when `told` was the highest place that anybody had been told.
pub(crate) fn in_real_time(tag: u64, began: u64, told: u64, claim: &Claim) -> Checked {
    let (behind, index) = match claim {
        Claim::Decided { fate: Fate::Action, index, .. } => (*index > told, *index),
        // It was judged on the state at this place.
        Claim::Decided { index, .. } => (*index >= told, *index),
        _ => return Ok(()),
    };
    hold!(RealTime, behind, "call {tag} began at {began} us, when {told} had been told, and was decided at {index}");
    Ok(())
}
