//! Limits: they bind on the leader only, and the heap goes on afterwards.

mod common;

use std::time::Duration;

use common::{action, batch, call, decide, failure, go, script, script_with};
use conflux_core::{Container, Decision, Payload};
use conflux_script::{Action, Options, ScriptContainer};
use serde_json::json;

fn tight() -> Options {
    Options { method_time: Duration::from_millis(100), memory_bytes: 16 << 20, ..Options::default() }
}

#[test]
fn an_endless_method_is_stopped_and_the_rest_goes_on() {
    let container = script_with(
        "(_, n) => {\n  if (n === 2) { try {\n    for (;;) {} } catch {} finally {} }\n  return n }",
        "(s, a) => ({ n: s.n + a })",
        tight(),
    );
    let mut state = container.initial();
    let calls = |from: i32| (from..=3).map(|n| call(&container, "go", &json!([n]))).collect();
    let decided = container.decide_batch(&mut state, &batch(0), calls(1));
    // It stops early: what waits behind the heap has waited enough.
    assert_eq!(decided.decisions.len(), 2);
    assert!(!decided.damaged);
    let Decision::Failed(failure) = &decided.decisions[1] else { panic!("{:?}", decided.decisions[1]) };
    assert_eq!(failure.message, "go ran longer than 100ms and was stopped");
    // An empty loop has no line of its own: that of the statement before is told.
    assert_eq!(failure.at.as_deref(), Some("t.js:4"));
    let decided = container.decide_batch(&mut state, &batch(1), calls(3));
    assert_eq!(decided.decisions.len(), 1);
    assert_eq!(&*state.json().unwrap(), r#"{"n":4}"#);
}

#[test]
fn an_endless_reducer_is_stopped_on_the_leader() {
    let container = script_with("() => 1", "(s, a) => { while (true) {} }", tight());
    let failure = failure(go(&container));
    assert_eq!(failure.message, "reduce, for the action of go, ran longer than 100ms and was stopped");
    assert_eq!(failure.at.as_deref(), Some("t.js:5"));
}

#[test]
fn every_call_has_the_whole_time() {
    // Each takes more than half of the limit.
    let text =
        "() => { const until = performance.now(); let x = 0; for (let i = 0; i < 600000; i++) x += i; return 1 }";
    let container =
        script_with(text, "(s, a) => ({ n: s.n + a })", Options { method_time: Duration::from_millis(400), ..tight() });
    let mut state = container.initial();
    let mut left = 30;
    while left > 0 {
        let calls = (0..left).map(|_| call(&container, "go", &json!([]))).collect();
        let decided = container.decide_batch(&mut state, &batch(0), calls);
        for decision in &decided.decisions {
            assert!(matches!(decision, Decision::Action(_)), "{decision:?}");
        }
        left -= decided.decisions.len();
    }
    assert_eq!(&*state.json().unwrap(), r#"{"n":30}"#);
}

#[test]
fn a_method_that_eats_memory_is_stopped_and_the_heap_goes_on() {
    for hog in [
        "const a = []; for (;;) a.push([1, 2, 3])",
        "let s = 'x'; for (;;) s += s",
        "const m = new Map(); for (let i = 0; ; i++) m.set(i, { i })",
        "return 'x'.repeat(1 << 29)",
        "return new ArrayBuffer(1 << 29) && 1",
    ] {
        let options = Options { method_time: Duration::from_secs(20), ..tight() };
        let container = script_with(
            &format!("(_, n) => {{ if (n === 2) {{ {hog} }} return n }}"),
            "(s, a) => ({ n: s.n + a })",
            options,
        );
        let mut state = container.initial();
        let calls = (1..=3).map(|n| call(&container, "go", &json!([n]))).collect();
        let decided = container.decide_batch(&mut state, &batch(0), calls);
        assert_eq!(decided.decisions.len(), 3, "{hog}");
        let Decision::Failed(failure) = &decided.decisions[1] else { panic!("{hog}: {:?}", decided.decisions[1]) };
        assert!(
            failure.message.contains("needed more than 16 MiB of memory")
                || failure.message.contains("string too long"),
            "{hog}: {failure}"
        );
        assert_eq!(&*state.json().unwrap(), r#"{"n":4}"#, "{hog}");
    }
}

#[test]
fn a_state_larger_than_the_limit_is_no_reason_to_stop() {
    // Grows by 3 MiB a call to 60; the limit of 16 is what a batch may add.
    let container =
        script_with("() => 1", "s => ({ n: s.n + 1, list: [...(s.list ?? []), 'x'.repeat(3 << 20)] })", tight());
    let mut state = container.initial();
    for _ in 0..20 {
        action(decide(&container, &mut state, "go", &json!([])));
    }
    assert!(state.json().unwrap().len() > 60 << 20);
}

#[test]
fn applying_has_no_limits() {
    let container = script_with(
        "(_, n) => n",
        "(s, a) => { const l = []; for (let i = 0; i < a; i++) l.push([i]); return { n: l.length } }",
        Options { method_time: Duration::from_millis(1), ..tight() },
    );
    let mut state = container.initial();
    let said = decide(&container, &mut state, "go", &json!([1_000_000]));
    assert!(matches!(said, Decision::Failed(_)));
    common::apply(&container, &mut state, &[Action::decode(b"1000000").unwrap()], 0).unwrap();
    assert_eq!(&*state.json().unwrap(), r#"{"n":1000000}"#);
}

#[test]
fn deep_recursion_fails_also_on_a_small_stack() {
    let run = || {
        for (go_text, reduce) in [
            ("() => { const f = (n) => f(n + 1) + 1; return f(0) }", "s => s"),
            ("() => 1", "s => { const f = (n) => f(n + 1) + 1; return f(0) }"),
            ("() => { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return JSON.stringify(a) }", "s => s"),
            ("() => JSON.parse('['.repeat(1e5))", "s => s"),
            (
                "() => [1].flat(Infinity).concat(/(?:(a))*/.exec('a'.repeat(1e5)) && [].map.call([1], function g() { return [1].map(g) }))",
                "s => s",
            ),
            ("() => { const f = () => new Proxy({}, { get: (t, k, r) => r[k] }).x; return f() }", "s => s"),
        ] {
            let container = script(go_text, reduce);
            let failure = failure(go(&container));
            assert!(
                failure.message.contains("Maximum call stack size exceeded") || failure.message.contains("stack"),
                "{go_text}: {failure}"
            );
            let mut state = container.initial();
            assert!(conflux_core::Container::restore(&container, b"{\"n\":5}").is_ok());
            drop(decide(&container, &mut state, "go", &json!([])));
        }
        // Too deep for JSON, with no recursion in the script.
        let container = script("() => { let a = []; for (let i = 0; i < 1e5; i++) a = [a]; return a }", "s => s");
        assert!(failure(go(&container)).message.contains("nested more than 100 deep"));
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
}

#[test]
fn large_actions_are_refused() {
    let container = script("(_, n) => 'x'.repeat(n)", "s => s");
    let mut state = container.initial();
    assert!(matches!(decide(&container, &mut state, "go", &json!([1000])), Decision::Action(_)));
    let failure = failure(decide(&container, &mut state, "go", &json!([2_000_000])));
    assert_eq!(failure.message, "go returned an action of 2000002 characters of JSON; at most 1048576 are allowed");
}

#[test]
fn what_is_too_large_is_never_reduced_and_what_is_said_is_bounded() {
    let container = script(
        "({ reject }, kind) => { const text = 'x'.repeat(2e6); if (kind === 1) reject(text); \
        if (kind === 2) throw new TypeError(text); if (kind === 3) reject('no', { text }); return text }",
        "(s, a) => ({ n: s.n + 1 })",
    );
    let mut state = container.initial();
    for kind in 0..4 {
        let failure = failure(decide(&container, &mut state, "go", &json!([kind])));
        assert!(failure.message.len() < 5000, "{kind}");
    }
    assert_eq!(state, container.initial());
}

#[test]
fn catastrophic_patterns_are_stopped() {
    let container = script_with("() => /^(a+)+$/.test('a'.repeat(40) + 'b') ? 1 : 2", "s => s", tight());
    let failure = failure(go(&container));
    assert!(failure.message.contains("ran longer than"), "{failure}");
}

#[test]
fn a_slow_load_is_stopped() {
    let options = Options { load_time: Duration::from_millis(100), memory_bytes: 16 << 20, ..Options::default() };
    let load = |text: &str| {
        ScriptContainer::from_sources("x.js", [("x.js", text)], options.clone()).err().unwrap().to_string()
    };
    assert_eq!(load("for (;;) {}"), "x.js:1: it did not finish loading within 100ms: an endless loop?");
    // Where there is no memory for an error either, the line is not known.
    let options = Options { load_time: Duration::from_secs(20), ..options.clone() };
    let text = "\n\nexport const a = []; for (;;) a.push([1])";
    let error = ScriptContainer::from_sources("x.js", [("x.js", text)], options).err().unwrap().to_string();
    assert!(error.starts_with("x.js") && error.ends_with(": it needed more than 16 MiB of memory to load"), "{error}");
    let error = load("module.exports = { methods: { a() {} }, reduce() { for (;;) {} } }");
    assert_eq!(error, "x.js:1: it did not finish loading within 100ms: an endless loop?");
    let error = load("const f = () => f() + 1; f()");
    assert!(error.contains("Maximum call stack size exceeded"), "{error}");
}
