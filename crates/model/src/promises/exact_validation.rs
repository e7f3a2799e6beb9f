//! Promise 2: an action that takes effect at place i was produced by its method run against exactly the state after place
//! i-1. So for every decision in any node's history: what its method saw is what the actions before it come to, and the
//! method comes to the same there. That is more than promised: it holds of rejections too.

use crate::batch::Verdict;
use crate::container::History;
use crate::model::Model;
use crate::world::World;

/// Promise 2.
pub const EXACT_VALIDATION: &str = "2: exact validation";

pub(super) fn holds(_: &Model, world: &World) -> bool {
    world.nodes.iter().all(|node| {
        let mut state = History::EMPTY;
        let exact = node.store.decided.iter().all(|decision| {
            let Some(verdict) = decision.verdict else { return true };
            let exact = decision.seen == state && decision.call.judge(state) == verdict;
            if verdict == Verdict::Action {
                state = state.then(decision.call);
            }
            exact
        });
        exact && state == node.store.state
    })
}
