//! Promise 6: what is shown is committed, and never goes back; a node that performed sees its effect; a linearizable read is
//! as new as anything that anyone had been told before it began. Promise 1: it is the same everywhere.

use crate::observed::Trail;
use crate::wrong::{Checked, hold};

/// A state that a node showed.
pub(crate) fn shown(name: &str, index: u64, state: Trail, trails: &[Trail]) -> Checked {
    let Some(known) = trails.get(index as usize) else {
        let committed = trails.len() - 1;
        return Err(crate::wrong::Wrong::new(
            crate::wrong::Promise::Reads,
            format!("{name} shows a state at {index}, and what is committed ends at {committed}"),
        ));
    };
    hold!(OneHistory, *known == state, "{name} shows {state} at {index}, where {known} is");
    Ok(())
}

/// What a node showed, and shows now.
pub(crate) fn went_on(name: &str, before: u64, now: u64) -> Checked {
    hold!(Reads, before <= now, "{name} showed {before}, and then {now}");
    Ok(())
}

/// A linearizable read.
pub(crate) fn linearizable(name: &str, index: u64, told: u64) -> Checked {
    hold!(
        Reads,
        index >= told,
        "{name} read {index} by a linearizable read, when {told} had been told before it began"
    );
    Ok(())
}
