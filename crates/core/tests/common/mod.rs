//! A container in which everything that could go wrong shows: its state depends on the order of the actions and on all
//! that a context tells, and its actions carry what their methods saw.
#![allow(dead_code, reason = "each test file uses another part")]

use std::collections::BTreeMap;

use conflux_core::{Container, Context, Digest, Incarnation, Never, Payload, Reject, SessionId};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Method {
    /// Rejected if it is taken.
    Claim(u8),
    /// Nothing to do if it is not taken.
    Release(u8),
    /// Panics.
    Panic,
    /// Its reducer panics halfway.
    PanicInReducer,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Action {
    Claimed { slot: u8, saw: u64, ticket: u64 },
    Released { slot: u8, saw: u64 },
    Poison,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) slots: BTreeMap<u8, String>,
    /// A hash of all that ever happened.
    pub(crate) trace: u64,
}

#[derive(Debug)]
pub(crate) struct Board;

impl Container for Board {
    type State = State;
    type Method = Method;
    type Action = Action;
    type Rejection = Reject;

    fn initial(&self) -> State {
        State::default()
    }

    fn decide(&self, state: &State, method: Method, context: &Context<'_>) -> Result<Option<Action>, Reject> {
        match method {
            Method::Claim(slot) if state.slots.contains_key(&slot) => {
                Err(format!("{slot} is taken, {:x}", state.trace).into())
            }
            Method::Claim(slot) => {
                let ticket = context.random().next_u64() ^ context.index().0;
                Ok(Some(Action::Claimed { slot, saw: state.trace, ticket }))
            }
            Method::Release(slot) => {
                Ok(state.slots.contains_key(&slot).then_some(Action::Released { slot, saw: state.trace }))
            }
            Method::Panic => panic!("planned, {:x}", state.trace),
            Method::PanicInReducer => Ok(Some(Action::Poison)),
        }
    }

    fn reduce(&self, state: &mut State, action: &Action, context: &Context<'_>) {
        let origin = context.origin();
        let what = format!(
            "{:x} {action:?} {} {} {:?} {} {} {}",
            state.trace,
            context.index(),
            context.time_ms(),
            context.elapsed(),
            origin.session,
            origin.number.0,
            context.random().next_u64(),
        );
        state.trace = Digest::of_bytes(what.as_bytes()).0 as u64;
        match action {
            Action::Claimed { slot, .. } => drop(state.slots.insert(*slot, origin.node().to_string())),
            Action::Released { slot, .. } => drop(state.slots.remove(slot)),
            Action::Poison => panic!("planned, halfway"),
        }
    }
}

/// Adds numbers: the smallest container there is.
#[derive(Debug)]
pub(crate) struct Counter;

impl Container for Counter {
    type State = u64;
    type Method = u64;
    type Action = u64;
    type Rejection = Never;

    fn initial(&self) -> u64 {
        0
    }

    fn decide(&self, _: &u64, method: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
        Ok(Some(method))
    }

    fn reduce(&self, state: &mut u64, action: &u64, _: &Context<'_>) {
        *state = state.wrapping_add(*action);
    }
}

pub(crate) fn session(node: &str, number: u64) -> SessionId {
    SessionId { node: node.into(), incarnation: Incarnation(7), number }
}

pub(crate) fn bytes_of<T: Payload>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes).expect("test values can be written");
    bytes
}

pub(crate) fn quiet_planned_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let message = panic.payload_as_str().unwrap_or_default();
            if !message.starts_with("planned") {
                usual(panic);
            }
        }));
    });
}
