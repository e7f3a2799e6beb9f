//! The smallest container: a number on which all nodes agree.
//!
//! ```text
//! cargo run -p conflux-example-counter -- dev        then: add 5
//! ```

use std::process::ExitCode;

use conflux::{Container, Context, Never};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    Add(u64),
}

#[derive(Debug, Serialize, Deserialize)]
enum Action {
    Added(u64),
}

struct Counter;

impl Container for Counter {
    type State = u64;
    type Method = Method;
    type Action = Action;
    type Rejection = Never;

    fn initial(&self) -> u64 {
        0
    }

    fn decide(&self, _: &u64, Method::Add(number): Method, _: &Context<'_>) -> Result<Option<Action>, Never> {
        Ok((number > 0).then_some(Action::Added(number)))
    }

    fn reduce(&self, count: &mut u64, Action::Added(number): &Action, _: &Context<'_>) {
        // `+` would panic in one build and wrap in another: nodes of both would part.
        *count = count.saturating_add(*number);
    }
}

fn main() -> ExitCode {
    conflux_cli::main(Counter)
}
