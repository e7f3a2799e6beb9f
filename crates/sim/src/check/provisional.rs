//! Promise 8: the provisional state is the committed state plus every uncommitted action in that node's log, those of
//! earlier leaders included.

use crate::observed::Trail;
use crate::wrong::{Checked, hold};

/// What a node shows, and what its log comes to.
pub(crate) fn provisional(name: &str, shown: (u64, Trail), expected: (u64, Trail)) -> Checked {
    let ((index, state), (end, known)) = (shown, expected);
    hold!(
        Provisional,
        shown == expected,
        "{name} shows {state} at {index} as its provisional state; its log comes to {known} at {end}"
    );
    Ok(())
}
