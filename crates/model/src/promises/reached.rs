//! What has to happen somewhere within the bounds.

use stateright::Property;

use crate::bounds::Bounds;
use crate::model::Model;
use crate::store::ROOT;
use crate::world::{Answer, World};

type Reached = fn(&Model, &World) -> bool;

pub(super) fn within(bounds: &Bounds) -> Vec<Property<Model>> {
    let several = bounds.in_flight > 1;
    let all: [(&str, bool, Reached); 12] = [
        ("reached: a success is told", true, |_, world| told(world, |answer| matches!(answer, Answer::Done { .. }))),
        ("reached: a rejection is told", true, |_, world| {
            told(world, |answer| matches!(answer, Answer::Rejected { .. }))
        }),
        ("reached: everything is told", true, everything_is_told),
        ("reached: batches are in flight", several, |_, world| in_flight(world).any(|count| count > 1)),
        ("reached: a batch is skipped", bounds.refusals + bounds.losses > 0 && several, |_, world| skips(world)),
        ("reached: a tail is inherited", bounds.terms > 1, |_, world| inherits(world)),
        ("reached: two lead, with batches in flight", bounds.terms > 1, |_, world| {
            world.nodes.iter().filter(|node| node.leading.is_some()).count() > 1
                && in_flight(world).any(|count| count > 0)
        }),
        ("reached: a call is unknown, and then done", bounds.give_ups > 0, |_, world| {
            let unknown = world.told.iter().filter(|told| told.answer == Answer::Unknown);
            let done =
                |call| world.told.iter().any(|told| told.call == call && matches!(told.answer, Answer::Done { .. }));
            unknown.map(|told| told.call).any(done)
        }),
        ("reached: a call is unknown, and then void", bounds.give_ups > 0, |_, world| {
            told(world, |answer| answer == Answer::Void)
        }),
        ("reached: a session is renewed and goes on", bounds.sweeps > 0, |_, world| {
            world.lines.iter().any(|line| line.session > 1 && line.opened)
        }),
        ("reached: a snapshot is installed", bounds.snapshots > 0, |_, world| world.spent.installs > 0),
        ("reached: a node starts from its snapshot", bounds.snapshots > 0 && bounds.crashes > 0, |_, world| {
            let starts = |node: &crate::world::Node| node.saved.as_ref().is_some_and(|saved| saved.0 == node.applied);
            world.spent.crashes > 0 && world.nodes.iter().any(starts)
        }),
    ];
    all.into_iter()
        .filter(|(_, expected, _)| *expected)
        .map(|(name, _, reached)| Property::sometimes(name, reached))
        .collect()
}

fn told(world: &World, is: impl Fn(Answer) -> bool) -> bool {
    world.told.iter().any(|told| is(told.answer))
}

fn everything_is_told(model: &Model, world: &World) -> bool {
    let calls: u8 = model.bounds.calls.iter().sum();
    world.told.len() >= usize::from(calls) && world.lines.iter().all(|line| line.pending.is_empty())
}

fn in_flight(world: &World) -> impl Iterator<Item = usize> {
    world.nodes.iter().filter_map(|node| Some(node.leading.as_ref()?.in_flight.len()))
}

fn skips(world: &World) -> bool {
    let mut head = ROOT;
    World::batches(&world.committed).any(|made| {
        let skipped = made.batch.prev != head;
        if !skipped {
            head = made.batch.id;
        }
        skipped
    })
}

/// A leader has a batch of an earlier term that is not committed yet.
fn inherits(world: &World) -> bool {
    world.nodes.iter().filter(|node| node.leading.is_some()).any(|node| {
        let tail = node.log.get(world.committed.len()..).unwrap_or_default();
        tail.iter().any(|entry| entry.batch.is_some() && entry.term < node.term)
    })
}
