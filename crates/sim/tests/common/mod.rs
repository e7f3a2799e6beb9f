//! A container whose methods look at everything, and come to all that a method can come to.

use std::fmt;

use conflux::{Container, Context, Random};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Method {
    /// Always makes an action.
    Put(u64),
    /// Makes an action, nothing or a rejection, as the state has it.
    Judge(u64),
    /// As the state has it, makes an action or breaks.
    BreakHere(u64),
    /// As the state has it, makes an action that reduces or one that breaks the reducer.
    BreakReducer(u64),
}

impl Method {
    pub(crate) fn draw(random: &mut Random) -> Method {
        let salt = random.next_u64();
        match random.below(20) {
            0..9 => Method::Judge(salt),
            9 => Method::BreakHere(salt),
            10 => Method::BreakReducer(salt),
            _ => Method::Put(salt),
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Action {
    salt: u64,
    draw: u64,
    breaks: bool,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Refused(u64);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not on a state of length {}", self.0)
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct State {
    length: u64,
    hash: u64,
}

pub(crate) struct Ledger;

fn mix(value: u64) -> u64 {
    Random::new(value).next_u64()
}

impl Container for Ledger {
    type State = State;
    type Method = Method;
    type Action = Action;
    type Rejection = Refused;

    fn initial(&self) -> State {
        State { length: 0, hash: 0x5eed }
    }

    fn decide(&self, state: &State, method: Method, context: &Context<'_>) -> Result<Option<Action>, Refused> {
        assert_eq!(context.index().0, state.length + 1, "a method knows the place that its action takes");
        let (Method::Put(salt) | Method::Judge(salt) | Method::BreakHere(salt) | Method::BreakReducer(salt)) = method;
        let lot = mix(state.hash ^ mix(salt)) % 4;
        let action = Action { salt, draw: context.random().next_u64(), breaks: false };
        match (method, lot) {
            (Method::Judge(_), 0) => Ok(None),
            (Method::Judge(_), 1) => Err(Refused(state.length)),
            (Method::BreakHere(_), 0 | 1) => panic!("the method of {salt}, on purpose"),
            (Method::BreakReducer(_), 0 | 1) => Ok(Some(Action { breaks: true, ..action })),
            _ => Ok(Some(action)),
        }
    }

    fn reduce(&self, state: &mut State, action: &Action, context: &Context<'_>) {
        state.length += 1;
        let told = [action.salt, action.draw, context.index().0, context.random().next_u64(), context.time_ms()];
        state.hash = told.iter().fold(state.hash, |hash, told| mix(hash ^ told));
        // Half-way, so that what is left of it would be seen.
        assert!(!action.breaks, "the reducer, on purpose");
    }

    fn invariant(&self, state: &State) -> Result<(), String> {
        if state.length == 0 && state.hash != 0x5eed { Err("the beginning is another".into()) } else { Ok(()) }
    }
}
