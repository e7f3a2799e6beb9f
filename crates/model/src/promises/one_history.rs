//! Promise 1: all nodes go through the same states in the same order. A state of the model is its whole past, so that is:
//! of any two, one is the beginning of the other.

use crate::model::Model;
use crate::world::World;

/// Promise 1.
pub const ONE_HISTORY: &str = "1: one history";

pub(super) fn holds(_: &Model, world: &World) -> bool {
    let states = || world.nodes.iter().map(|node| node.store.state);
    states().all(|one| states().all(|other| one.is_prefix_of(other) || other.is_prefix_of(one)))
}
