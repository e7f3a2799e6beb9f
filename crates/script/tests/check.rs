//! The development check: state that hides is found.

mod common;

use std::time::Duration;

use common::{action, apply, batch, call, decide, failure};
use conflux_core::{Container, Decision, Payload};
use conflux_script::{Action, Options, ScriptContainer};
use serde_json::json;

fn checked(text: &str) -> ScriptContainer {
    let options = Options { check: true, method_time: Duration::from_secs(5), ..Options::default() };
    ScriptContainer::from_sources("app.js", [("app.js", text)], options).unwrap()
}

/// Decides until the check finds something; the first batch of a heap is in step with a fresh one.
fn found(container: &ScriptContainer) -> String {
    let mut state = container.initial();
    for _ in 0..3 {
        if let Decision::Failed(failure) = decide(container, &mut state, "go", &json!([])) {
            assert_eq!(failure.at.as_deref(), Some("app.js"));
            let reports = container.reports();
            assert_eq!(reports.len(), 1);
            assert_eq!(failure.message, reports[0].to_string());
            assert!(container.reports().is_empty());
            return failure.message;
        }
    }
    panic!("nothing was found: {state:?}");
}

#[test]
fn a_variable_of_the_module_is_found() {
    let container = checked(
        "let count = 0; export const initialState = { jobs: [] }; export const methods = { go: () => ({ type: 'GO' }) }; \
        export const reduce = (s) => ({ jobs: [...s.jobs, { n: ++count }] })",
    );
    let said = found(&container);
    assert!(said.contains("the call go() of app.js had another result in a fresh heap"), "{said}");
    assert!(said.contains("state.jobs[1].n: 2 | 1"), "{said}");
}

#[test]
fn a_method_that_remembers_is_found() {
    let container = checked(
        "const seen = new Map(); export const initialState = 0; \
        export const methods = { go: () => { seen.set(seen.size, 1); return { type: 'GO', seen: [...seen.keys()] } } }; export const reduce = (s) => s",
    );
    assert!(found(&container).contains("action.seen[1]: 1 | nothing"));
}

#[test]
fn an_order_that_is_not_the_states_is_found() {
    let container = checked(
        "const order = ['b', 'a']; export const initialState = {}; export const methods = { go: () => 1 }; \
        export const reduce = (s) => { order.reverse(); return { x: Object.fromEntries(order.map(k => [k, 1])) } }",
    );
    assert!(found(&container).contains("state.x (order of keys)"));
}

#[test]
fn a_shared_object_that_is_changed_is_found() {
    let container = checked(
        "const shared = new Set(); export const initialState = []; export const methods = { go: () => 1 }; \
        export const reduce = (s) => { shared.add(shared.size); return [...shared] }",
    );
    assert!(found(&container).contains("state[1]: 1 | nothing"));
}

#[test]
fn applying_is_checked_too() {
    let container = checked(
        "let last = null; export const initialState = { a: null }; export const methods = { go: () => 1 }; \
        export const reduce = (s, a) => { const before = last; last = a; return { a: before } }",
    );
    let mut state = container.initial();
    let actions = ["1", "2", "3"].map(|json| Action::decode(json.as_bytes()).unwrap());
    apply(&container, &mut state, &actions[..2], 0).unwrap();
    let error = apply(&container, &mut state, &actions[2..], 2).unwrap_err();
    assert!(error.message.contains("the action 3 at 3 of app.js"), "{error}");
    assert!(error.message.contains("state.a: 2 | null"), "{error}");
}

#[test]
fn a_getter_is_found() {
    let container = checked(
        "export const initialState = 0; export const methods = { go: () => 1 }; \
        export const reduce = (s) => ({ get now() { return 1 } })",
    );
    let failure = failure(decide(&container, &mut container.initial(), "go", &json!([])));
    assert_eq!(failure.message, "reduce returned a getter (store the value) at state.now");
}

#[test]
fn what_is_pure_passes() {
    let container = checked(
        "export const initialState = { words: [] }; \
        export const methods = { go({ random, time, reject }, w) { if (!w) reject('no'); return w === 'none' ? null : { w, r: random(), time } } }; \
        export const reduce = (s, a, { index, random }) => ({ words: [...s.words, { ...a, index, r2: random() }] })",
    );
    let mut state = container.initial();
    for base in [0, 2, 4] {
        let calls = ["a", "", "none", "b"].map(|word| call(&container, "go", &json!([word]))).to_vec();
        let decided = container.decide_batch(&mut state, &batch(base), calls);
        let kinds: Vec<_> = decided.decisions.iter().map(|decision| format!("{decision:?}")[..3].to_owned()).collect();
        assert_eq!(kinds, ["Act", "Rej", "Not", "Act"]);
    }
    assert_eq!(state.to_json().unwrap()["words"][5]["index"], json!(6));
    let one = Action::decode(b"{\"w\":\"x\"}").unwrap();
    apply(&container, &mut state, &[one.clone(), one], 6).unwrap();
    action(decide(&container, &mut state, "go", &json!(["z"])));
    assert!(container.reports().is_empty());
}
