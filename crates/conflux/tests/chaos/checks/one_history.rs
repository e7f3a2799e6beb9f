//! Promise 1: all nodes go through the same states in the same order.

use crate::container::State;
use crate::plan::Plan;
use crate::record::Heard;
use crate::world::Known;

pub(super) fn check(known: &Known, end: &State) -> Vec<String> {
    let mut broken = Vec::new();
    for (listener, heard) in known
        .listeners
        .iter()
        .enumerate()
        .flat_map(|(listener, all)| all.heard.iter().map(move |heard| (listener, heard)))
    {
        match heard {
            Heard::Began { .. } => {}
            Heard::Change { index, action, state, .. } => {
                let there = end.entries.get(*index as usize - 1).map(|entry| entry.tag);
                if there != Some(action.tag) || end.seen_at(*index) != Some(*state) {
                    broken.push(format!("listener {listener} heard {} at {index}, where {there:?} is", action.tag));
                }
            }
            Heard::Reset { index, state } => {
                if end.seen_at(*index) != Some(*state) {
                    broken.push(format!("listener {listener} was given another state at {index}"));
                }
            }
        }
    }
    for read in &known.reads {
        if end.seen_at(read.index) != Some(read.state) {
            broken.push(format!("{} showed another state at {}", Plan::name(read.slot), read.index));
        }
    }
    broken
}
