//! The container that benchmarks run: as little of its own work as can be.

use conflux_core::{Container, Context, Never};
use serde::{Deserialize, Serialize};

/// A number that is added to.
pub(crate) struct Counter;

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    Add(u64),
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Added(u64),
}

impl Container for Counter {
    type State = u64;
    type Method = Method;
    type Action = Action;
    type Rejection = Never;

    fn initial(&self) -> u64 {
        0
    }

    fn decide(&self, _: &u64, Method::Add(number): Method, _: &Context<'_>) -> Result<Option<Action>, Never> {
        Ok(Some(Action::Added(number)))
    }

    fn reduce(&self, count: &mut u64, Action::Added(number): &Action, _: &Context<'_>) {
        *count = count.wrapping_add(*number);
    }
}
