//! What the tests share: batches without a cluster.

#![allow(dead_code, reason = "each test file uses a part")]

use std::time::Duration;

use conflux_core::{
    BatchContext, Call, CallNumber, Container, Decision, Failure, Incarnation, Index, Origin, Reduction, Reject,
    SessionId, Stamps,
};
use conflux_script::{Action, Options, ScriptContainer, ScriptState};
use serde_json::Value;

pub(crate) type ScriptDecision = Decision<Action, Reject>;

pub(crate) fn origin() -> Origin {
    let session = SessionId { node: "n1".into(), incarnation: Incarnation(1), number: 1 };
    Origin { session, number: CallNumber(1) }
}

pub(crate) fn batch(base: u64) -> BatchContext {
    let stamps = Stamps { time_ms: 1_700_000_000_123, elapsed: Duration::from_millis(4567) };
    BatchContext { base: Index(base), stamps, seed: 7 }
}

/// An ES module around a method `go` and a reducer, both given as text.
pub(crate) fn script(go: &str, reduce: &str) -> ScriptContainer {
    script_with(go, reduce, Options::default())
}

pub(crate) fn script_with(go: &str, reduce: &str, options: Options) -> ScriptContainer {
    let text = format!(
        "export const initialState = {{ n: 0 }}\nexport const methods = {{\ngo: {go}\n}}\nexport const reduce = {reduce}\n"
    );
    ScriptContainer::from_sources("t.js", [("t.js", text.as_str())], options).unwrap()
}

pub(crate) fn call(container: &ScriptContainer, name: &str, arguments: &Value) -> Call<conflux_script::Method> {
    let arguments = arguments.as_array().expect("arguments are an array").clone();
    Call { method: container.method(name, arguments).unwrap(), origin: origin() }
}

/// Decides one call.
pub(crate) fn decide(
    container: &ScriptContainer,
    state: &mut ScriptState,
    name: &str,
    arguments: &Value,
) -> ScriptDecision {
    let mut decided = container.decide_batch(state, &batch(0), vec![call(container, name, arguments)]);
    assert!(!decided.damaged);
    assert_eq!(decided.decisions.len(), 1);
    decided.decisions.pop().unwrap()
}

/// Decides `go` on the initial state.
pub(crate) fn go(container: &ScriptContainer) -> ScriptDecision {
    decide(container, &mut container.initial(), "go", &serde_json::json!([]))
}

pub(crate) fn action(decision: ScriptDecision) -> String {
    match decision {
        Decision::Action(action) => action.json().to_owned(),
        other => panic!("no action: {other:?}"),
    }
}

pub(crate) fn failure(decision: ScriptDecision) -> Failure {
    match decision {
        Decision::Failed(failure) => failure,
        other => panic!("no failure: {other:?}"),
    }
}

pub(crate) fn rejection(decision: ScriptDecision) -> Reject {
    match decision {
        Decision::Rejected(rejection) => rejection,
        other => panic!("no rejection: {other:?}"),
    }
}

/// Applies actions as a follower does.
pub(crate) fn apply(
    container: &ScriptContainer,
    state: &mut ScriptState,
    actions: &[Action],
    base: u64,
) -> Result<(), Failure> {
    let origin = origin();
    let reductions: Vec<_> = actions
        .iter()
        .zip(base + 1..)
        .enumerate()
        .map(|(nth, (action, index))| Reduction {
            action,
            index: Index(index),
            nth,
            session: &origin.session,
            number: origin.number,
        })
        .collect();
    container.reduce_batch(state, &batch(base), &reductions)
}

/// A state as it is written for a snapshot.
pub(crate) fn saved(container: &ScriptContainer, state: &ScriptState) -> Vec<u8> {
    let mut bytes = Vec::new();
    container.save(state, &mut bytes).unwrap();
    bytes
}
