//! Promise 5: a rejection is told only once the state it was judged on is committed. So: the state that its method saw is
//! one that the committed entries go through.

use crate::model::Model;
use crate::world::{Answer, World};

/// Promise 5.
pub const HONEST_REJECTIONS: &str = "5: honest rejections";

pub(super) fn holds(_: &Model, world: &World) -> bool {
    let mut seen = world.told.iter().filter_map(|told| match told.answer {
        Answer::Rejected { place, seen } => Some((place, seen)),
        _ => None,
    });
    let Some(first) = seen.next() else { return true };
    let committed = super::by_the_rules(&world.committed).state;
    [first].into_iter().chain(seen).all(|(place, seen)| committed.at(place) == Some(seen))
}
