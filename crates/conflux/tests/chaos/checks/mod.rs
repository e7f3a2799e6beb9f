//! The promises of DESIGN.md, each against all that was seen from outside. The oracle is the state at the end: it holds
//! every action that ever took effect, and every state on the way, in short.

mod exact_validation;
mod exactly_once;
mod honest_rejections;
mod one_history;
mod reads;
mod subscriptions;

use crate::container::State;
use crate::world::Known;

type Check = fn(&Known, &State) -> Vec<String>;

/// What is broken, and which promise that breaks.
pub(crate) fn all(known: &Known, end: &State) -> Vec<String> {
    let checks: [(&str, Check); 6] = [
        ("promise 1, one history", one_history::check),
        ("promise 2, exact validation", exact_validation::check),
        ("promise 4, exactly once, in order", exactly_once::check),
        ("promise 5, honest rejections", honest_rejections::check),
        ("promise 6, reads", reads::check),
        ("promise 7, subscriptions have no holes", subscriptions::check),
    ];
    checks
        .into_iter()
        .flat_map(|(promise, check)| check(known, end).into_iter().map(move |broken| format!("{promise}: {broken}")))
        .collect()
}
