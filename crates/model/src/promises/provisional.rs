//! Promise 8: provisional state is the committed state plus every uncommitted action in that node's log, those inherited
//! from an earlier leader included. So: what a node shows is what its whole log comes to from the very beginning.
//!
//! Methods see the leader's fork, which runs ahead of its log by what the engine has not taken yet. It is the same thing as
//! long as the engine did as it was asked: nothing on it was refused, skipped or lost. (After that the chain alone keeps
//! what is judged on it from taking effect, and promise 2 says so.)

use crate::engine::Entry;
use crate::model::Model;
use crate::mutant::Mutant;
use crate::sequencer::Stage;
use crate::store::Store;
use crate::world::{Node, World};

/// Promise 8.
pub const PROVISIONAL: &str = "8: provisional state is what it says";

pub(super) fn holds(model: &Model, world: &World) -> bool {
    let mut last: Option<(&[Entry], Store)> = None;
    for (at, node) in world.nodes.iter().enumerate().filter(|(_, node)| !node.stopped) {
        // Most logs are the same as the one before.
        let known = last.take().filter(|(log, _)| *log == node.log).map(|(_, whole)| whole);
        let whole = known.unwrap_or_else(|| super::by_the_rules(&node.log));
        if world.provisional(at, model.mutant) != whole || !fork_is(node, &whole) {
            return false;
        }
        last = Some((&node.log, whole));
    }
    true
}

fn fork_is(node: &Node, log: &Store) -> bool {
    let Some(leading) = &node.leading else { return true };
    let Some(fork) = &leading.fork else { return true };
    if leading.lost || leading.draining || !leading.in_flight.iter().all(|ticket| ticket.stage.is_well()) {
        return true;
    }
    let queued = leading.in_flight.iter().filter(|ticket| ticket.stage == Stage::Queued).map(|ticket| &ticket.made);
    log.clone().behind(queued, Mutant::None) == **fork
}
