//! Promise 3: what was told to have taken effect survives the crash of every node at once, once enough disks to make a
//! quorum come back. So in every state: of whichever quorum, whoever can be elected comes, from its disk alone, to a
//! history with that action at that place.

use crate::model::Model;
use crate::world::{Answer, World};

/// Promise 3.
pub const DURABLE: &str = "3: durable";

pub(super) fn holds(model: &Model, world: &World) -> bool {
    let mut told = world.told.iter().filter_map(|told| match told.answer {
        Answer::Done { place } => Some((told.call, place)),
        _ => None,
    });
    let Some(first) = told.next() else { return true };
    let told: Vec<_> = [first].into_iter().chain(told).collect();
    let log = |node: usize| (world.nodes[node].log.last().map(|entry| entry.term), world.nodes[node].log.len());
    let holds: Vec<bool> = (0..world.nodes.len())
        .map(|node| {
            let state = world.from_disk(node, model.mutant).state;
            told.iter().all(|(call, place)| state.call(*place) == Some(*call))
        })
        .collect();
    // Of three nodes: of every two, the one whose log is the newer; of equal ones, either.
    (0..world.nodes.len())
        .all(|one| (0..world.nodes.len()).all(|other| one == other || log(one) < log(other) || holds[one]))
}
