//! Not a promise, but what all of them lean on: no batch that fits the chain contradicts the session table, or a node would
//! have to stop.

use crate::model::Model;
use crate::world::World;

/// No node stops.
pub const NOTHING_CONTRADICTS: &str = "no batch contradicts the table";

pub(super) fn holds(_: &Model, world: &World) -> bool {
    world.nodes.iter().all(|node| !node.stopped)
}
