//! Promise 2: an action at place i was produced by its method run against exactly the state after place i-1. Every
//! method is run again.

use std::collections::BTreeMap;

use crate::container::{Judged, State};
use crate::world::Known;

pub(super) fn check(known: &Known, end: &State) -> Vec<String> {
    let methods: BTreeMap<u64, _> = known.tries.iter().map(|one| (one.method.tag, &one.method)).collect();
    let mut broken = Vec::new();
    for (before, entry) in end.entries.iter().enumerate() {
        let index = before + 1;
        let state = end.seen_at(before as u64).expect("it is on the way to the end");
        if entry.seen != state {
            broken.push(format!("the action at {index} was judged on {:?}, and there was {state:?}", entry.seen));
        }
        match methods.get(&entry.tag).map(|method| method.judge(state)) {
            Some(Judged::Action) => {}
            judged => broken.push(format!("the method of {} at {index} comes to {judged:?}", entry.tag)),
        }
    }
    broken
}
