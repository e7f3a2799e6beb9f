//! The container under test: its state is the whole history, and every action says what its method saw, so that any
//! method can be run again afterwards on exactly the state it was judged on.

use std::fmt;
use std::sync::Arc;

use conflux::{Container, Context};
use serde::{Deserialize, Serialize};

/// How the panics that the container makes on purpose begin.
pub(crate) const ON_PURPOSE: &str = "chaos, on purpose";

/// One call. The tag names it among all calls of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Method {
    pub(crate) tag: u64,
    pub(crate) kind: Kind,
    /// Bytes that only make the log longer.
    pub(crate) padding: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// Always makes an action.
    Put,
    /// Makes an action, nothing or a rejection, as the state has it.
    Judge,
    /// As the state has it, makes an action or breaks.
    BreakMethod,
    /// As the state has it, makes an action that reduces or one that breaks the reducer.
    BreakReducer,
}

/// What a method comes to on a state: a function of both and of nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Judged {
    Action,
    Nothing,
    Rejected,
    Broken,
}

impl Method {
    pub(crate) fn judge(&self, seen: Seen) -> Judged {
        let lot = mix(seen.hash ^ mix(self.tag)) % 4;
        match (self.kind, lot) {
            (Kind::Put, _) => Judged::Action,
            (Kind::Judge, 0) => Judged::Nothing,
            (Kind::Judge, 1) => Judged::Rejected,
            (Kind::BreakMethod | Kind::BreakReducer, 0 | 1) => Judged::Broken,
            _ => Judged::Action,
        }
    }
}

/// A state, in short: what a method says that it was run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Seen {
    pub(crate) length: u64,
    pub(crate) hash: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Action {
    pub(crate) tag: u64,
    pub(crate) seen: Seen,
    draw: u64,
    breaks: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Rejection {
    pub(crate) tag: u64,
    pub(crate) seen: Seen,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not to be on a state of length {}", self.tag, self.seen.length)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) entries: Vec<Entry>,
    hash: u64,
    /// Makes a snapshot long enough to travel in pieces.
    ballast: Arc<str>,
}

/// One action that took effect. Written short, as a run has thousands of them in each of many snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "[u64; 4]", from = "[u64; 4]")]
pub(crate) struct Entry {
    pub(crate) tag: u64,
    /// What the method saw.
    pub(crate) seen: Seen,
    /// The hash of the state after it.
    pub(crate) after: u64,
}

impl From<Entry> for [u64; 4] {
    fn from(Entry { tag, seen, after }: Entry) -> Self {
        [tag, seen.length, seen.hash, after]
    }
}

impl From<[u64; 4]> for Entry {
    fn from([tag, length, hash, after]: [u64; 4]) -> Self {
        Entry { tag, seen: Seen { length, hash }, after }
    }
}

impl State {
    pub(crate) fn seen(&self) -> Seen {
        Seen { length: self.entries.len() as u64, hash: self.hash }
    }

    /// What the state was in short when it had `length` entries.
    pub(crate) fn seen_at(&self, length: u64) -> Option<Seen> {
        let hash = match length {
            0 => START,
            _ => self.entries.get(length as usize - 1)?.after,
        };
        Some(Seen { length, hash })
    }
}

const START: u64 = 0x5eed;

#[derive(Debug)]
pub(crate) struct Ledger {
    pub(crate) ballast: usize,
}

impl Container for Ledger {
    type State = State;
    type Method = Method;
    type Action = Action;
    type Rejection = Rejection;

    fn initial(&self) -> State {
        State { entries: Vec::new(), hash: START, ballast: "b".repeat(self.ballast).into() }
    }

    fn decide(&self, state: &State, method: Method, context: &Context<'_>) -> Result<Option<Action>, Rejection> {
        let (tag, seen) = (method.tag, state.seen());
        assert_eq!(context.index().0, seen.length + 1, "a method knows the place that its action takes");
        let action = Action { tag, seen, draw: context.random().next_u64(), breaks: false };
        match (method.judge(seen), method.kind) {
            (Judged::Action, _) => Ok(Some(action)),
            (Judged::Nothing, _) => Ok(None),
            (Judged::Rejected, _) => Err(Rejection { tag, seen }),
            (Judged::Broken, Kind::BreakReducer) => Ok(Some(Action { breaks: true, ..action })),
            (Judged::Broken, _) => panic!("{ON_PURPOSE}: the method of {tag}"),
        }
    }

    fn reduce(&self, state: &mut State, action: &Action, context: &Context<'_>) {
        // All that a reducer is told goes into the hash: replicas that are told different things part.
        let origin = context.origin();
        let name = origin.node.bytes().fold(0, |hash, byte| mix(hash ^ u64::from(byte)));
        let told = [
            action.tag,
            action.draw,
            context.index().0,
            context.time_ms(),
            context.elapsed().as_nanos() as u64,
            context.random().next_u64(),
            origin.session.number,
            origin.session.incarnation.0,
            origin.number.0,
            name,
        ];
        state.hash = told.into_iter().fold(state.hash, |hash, word| mix(hash ^ word));
        // After the state was touched: a fork that broke is half-written.
        assert!(!action.breaks, "{ON_PURPOSE}: the reducer of {}", action.tag);
        state.entries.push(Entry { tag: action.tag, seen: action.seen, after: state.hash });
    }
}

fn mix(word: u64) -> u64 {
    conflux::Random::new(word).next_u64()
}
