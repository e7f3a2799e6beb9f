//! The container of all scenarios: words in their order, things that only one can have, and what everybody was told.

use std::collections::BTreeSet;
use std::time::Duration;

use conflux::{Container, Context, Reject};
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};

/// What can be asked for. What comes of it is the same, with what its method was told.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    Say(String),
    /// Refused while it is taken.
    Claim(String),
    /// Refused while it is not.
    Free(String),
    /// Its reducer breaks, halfway.
    Break,
    /// Its reducer takes so many milliseconds, in which its thread does nothing else.
    Toil(u64),
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) index: u64,
    pub(crate) time_ms: u64,
    pub(crate) elapsed: Duration,
    /// The first number of its randomness.
    pub(crate) draw: u64,
}

impl Told {
    fn by(context: &Context<'_>) -> Told {
        let (index, time_ms, elapsed) = (context.index().0, context.time_ms(), context.elapsed());
        Told { index, time_ms, elapsed, draw: context.random().next_u64() }
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Action {
    pub(crate) method: Method,
    told: Told,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) words: Vec<String>,
    taken: BTreeSet<String>,
    /// What the method and the reducer of each action were told.
    pub(crate) told: Vec<(Told, Told)>,
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
        match &method {
            Method::Claim(thing) if state.taken.contains(thing) => Err("it is taken".into()),
            Method::Free(thing) if !state.taken.contains(thing) => Err("it is free".into()),
            _ => Ok(Some(Action { method, told: Told::by(context) })),
        }
    }

    fn reduce(&self, state: &mut State, action: &Action, context: &Context<'_>) {
        state.words.push(match &action.method {
            Method::Say(word) => word.clone(),
            Method::Claim(thing) => {
                assert!(state.taken.insert(thing.clone()), "{thing} is claimed on a state that its method did not see");
                format!("claim {thing}")
            }
            Method::Free(thing) => {
                assert!(state.taken.remove(thing), "{thing} is freed on a state that its method did not see");
                format!("free {thing}")
            }
            Method::Break => {
                state.words.clear();
                panic!("it breaks, as planned");
            }
            Method::Toil(ms) => {
                // The clock is set on at once; what would be waited for afterwards is the thread's next turn.
                let _ = tokio::time::advance(Duration::from_millis(*ms)).now_or_never();
                format!("toil {ms}")
            }
        });
        state.told.push((action.told, Told::by(context)));
    }
}

pub(crate) fn say(word: &str) -> Method {
    Method::Say(word.into())
}

pub(crate) fn claim(thing: &str) -> Method {
    Method::Claim(thing.into())
}

pub(crate) fn free(thing: &str) -> Method {
    Method::Free(thing.into())
}
