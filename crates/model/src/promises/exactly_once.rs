//! Promise 4: a call takes effect at most once; what is told of it is so, everywhere and for ever; and the calls of one
//! origin are decided in the order in which they were made.

use crate::batch::Verdict;
use crate::container::{Call, History};
use crate::model::Model;
use crate::store::Store;
use crate::world::{Answer, World};

/// Promise 4.
pub const EXACTLY_ONCE: &str = "4: exactly once, in order";

pub(super) fn holds(_: &Model, world: &World) -> bool {
    let once =
        world.nodes.iter().all(|node| at_most_once(node.store.state) && in_order(&node.store, world.spent.crashes > 0));
    once && world.told.iter().all(|told| world.nodes.iter().all(|node| is_so(told.call, told.answer, &node.store)))
}

fn at_most_once(state: History) -> bool {
    state.calls().enumerate().all(|(at, call)| state.calls().skip(at + 1).all(|other| other != call))
}

/// Each call is decided once, and behind all earlier ones of its origin that are. A node that has crashed promises that for
/// what is begun after its start alone: a message that it sent before may still be on its way, and come last.
fn in_order(store: &Store, has_crashed: bool) -> bool {
    store.decided.iter().enumerate().all(|(at, one)| {
        let mut later = store.decided[at + 1..].iter().filter(|later| later.call.origin == one.call.origin);
        later.all(|later| later.call.nth > one.call.nth || (has_crashed && later.call != one.call))
    })
}

/// Whether what was told agrees with a node's history, as far as that has come.
fn is_so(call: Call, answer: Answer, store: &Store) -> bool {
    let takes_effect = || store.state.calls().any(|other| other == call);
    match answer {
        Answer::Done { place } if store.state.len() >= place => store.state.call(place) == Some(call),
        Answer::Done { .. } => !takes_effect(),
        Answer::Rejected { place, .. } => {
            let decided = store.decided.iter().find(|decision| decision.call == call);
            decided.is_none_or(|decision| decision.verdict == Some(Verdict::Rejected) && decision.seen.len() == place)
        }
        Answer::NeverProposed | Answer::Void => !takes_effect(),
        Answer::Unknown => true,
    }
}
