//! Promise 7: every committed action in order, or an explicit reset with the state and the index.

use crate::container::State;
use crate::plan::Plan;
use crate::record::Heard;
use crate::world::Known;

pub(super) fn check(known: &Known, end: &State) -> Vec<String> {
    let mut broken = Vec::new();
    for (listener, all) in known.listeners.iter().enumerate() {
        let mut last = None;
        let mut at = "";
        for heard in &all.heard {
            match heard {
                Heard::Began { slot, after } => {
                    at = Plan::name(*slot);
                    if last.is_some_and(|last| last != *after) {
                        broken
                            .push(format!("listener {listener} asked {at} for what comes after {after}, not {last:?}"));
                    }
                    last = Some(*after);
                }
                Heard::Change { previous, index, action, .. } => {
                    if last != Some(*previous) || *index != previous + 1 || action.seen.length != *previous {
                        broken.push(format!("listener {listener} heard {previous}, {index} from {at} after {last:?}"));
                    }
                    last = Some(*index);
                }
                Heard::Reset { index, .. } => {
                    if last.is_some_and(|last| last > *index) {
                        broken.push(format!("listener {listener} was sent back by {at} from {last:?} to {index}"));
                    }
                    last = Some(*index);
                }
            }
        }
        // A listener at rest has heard everything.
        if last.is_some_and(|last| last > end.entries.len() as u64) {
            broken.push(format!("listener {listener} heard {last:?}, and the end is {}", end.entries.len()));
        }
    }
    broken
}
