//! What a state and an action may hold.

mod common;

use common::{action, batch, call, failure, go, rejection, saved, script, script_with};
use conflux_core::{Container, Decision, Reject};
use conflux_script::{Options, ScriptContainer};
use serde_json::json;

/// What is put in, and how it is called.
const BAD: &[(&str, &str)] = &[
    ("NaN", "NaN"),
    ("Infinity", "Infinity"),
    ("-Infinity", "-Infinity"),
    ("10n", "a BigInt"),
    ("new Date(0)", "a Date"),
    ("new Map()", "a Map"),
    ("new Set()", "a Set"),
    ("new (class Job {})", "an instance of Job"),
    ("new Uint8Array(2)", "an instance of Uint8Array"),
    ("/x/", "an instance of RegExp"),
    ("new Error('x')", "an instance of Error"),
    ("() => 1", "a function"),
    ("Symbol('x')", "a symbol"),
    ("(() => { const a = {}; a.a = a; return a })()", "a cycle"),
    ("(() => { const a = []; a.push([a]); return a })()", "a cycle"),
    ("'\\ud83d'", "a string with a lone surrogate"),
    ("{ ['\\udc00']: 1 }", "a key with a lone surrogate"),
    ("[1, undefined]", "undefined (use null)"),
    ("{ [Symbol('x')]: 1 }", "a property with a symbol as its key"),
    ("(() => { let a = []; for (let i = 0; i < 200; i++) a = [a]; return a })()", "values nested more than 100 deep"),
];

#[test]
fn an_action_that_is_not_json_is_refused_with_its_path() {
    for (value, what) in BAD {
        let container = script(&format!("() => ({{ type: 'X', list: [0, {value}] }})"), "s => s");
        let failure = failure(go(&container));
        assert!(failure.message.starts_with(&format!("go returned {what}")), "{value}: {failure}");
        assert!(failure.message.contains(" at action.list[1]"), "{value}: {failure}");
        assert_eq!(failure.at.as_deref(), Some("t.js:3"), "{value}");
    }
}

#[test]
fn a_state_that_is_not_json_is_refused_with_its_path() {
    for (value, what) in BAD {
        let container = script("() => 1", &format!("s => ({{ ...s, 'a b': {{ x: {value} }} }})"));
        let mut state = container.initial();
        let failure = failure(common::decide(&container, &mut state, "go", &json!([])));
        assert!(failure.message.starts_with(&format!("reduce returned {what}")), "{value}: {failure}");
        assert!(failure.message.contains(" at state[\"a b\"].x"), "{value}: {failure}");
        assert_eq!(failure.at.as_deref(), Some("t.js:5"), "{value}");
        assert_eq!(&*state.json().unwrap(), r#"{"n":0}"#);
    }
}

#[test]
fn text_that_only_looks_like_a_lone_surrogate_passes() {
    let container = script(r"() => ({ text: '\\ud83d', face: '😀' })", "(s, a) => ({ ...s, ...a })");
    assert_eq!(action(go(&container)), r#"{"text":"\\ud83d","face":"😀"}"#);
}

#[test]
fn minus_zero_and_undefined_go() {
    let container = script(
        "() => ({ a: -0, b: undefined, c: [-0] })",
        "(s, a) => ({ ...a, same: Object.is(a.a, 0) && !('b' in a), d: -0, e: undefined, f: [-0], \
          g: Object.freeze({ h: undefined, i: -0, j: 1 }), k: Object.assign(Object.create(null), { l: 1 }) })",
    );
    let mut state = container.initial();
    let said = common::decide(&container, &mut state, "go", &json!([]));
    assert_eq!(action(said), r#"{"a":0,"c":[0]}"#);
    assert_eq!(&*state.json().unwrap(), r#"{"a":0,"c":[0],"same":true,"d":0,"f":[0],"g":{"i":0,"j":1},"k":{"l":1}}"#);
    // The heap holds what a restored one would: seen from inside.
    let looking = script(
        "() => 1",
        "(s) => s.g === undefined ? { g: -0, k: Object.create(null), u: undefined } : \
        { ok: Object.is(s.g, 0) && !('u' in s) && 'toString' in s.k }",
    );
    let mut state = looking.initial();
    for _ in 0..2 {
        common::decide(&looking, &mut state, "go", &json!([]));
    }
    assert_eq!(&*state.json().unwrap(), r#"{"ok":true}"#);
}

#[test]
fn depth_counts_through_what_was_checked_before() {
    let container = script("() => 1", "s => ({ s })");
    let mut state = container.initial();
    let calls = || (0..200).map(|_| call(&container, "go", &json!([]))).collect();
    let decided = container.decide_batch(&mut state, &batch(0), calls());
    let good = decided.decisions.iter().filter(|decision| matches!(decision, Decision::Action(_))).count();
    assert_eq!(good, 99);
    assert!(
        matches!(&decided.decisions[99], Decision::Failed(failure) if failure.message.contains("nested more than 100 deep"))
    );
    // What passes can be shown and restored.
    assert!(conflux_core::Payload::to_json(&state).is_ok());
    assert!(container.restore(&mut &*saved(&container, &state)).is_ok());
}

#[test]
fn keys_keep_their_order() {
    let container = script("() => ({ z: 1, a: { y: 1, b: 2 } })", "(s, a) => ({ second: a, first: s.n })");
    let mut state = container.initial();
    assert_eq!(action(common::decide(&container, &mut state, "go", &json!([]))), r#"{"z":1,"a":{"y":1,"b":2}}"#);
    assert_eq!(&*state.json().unwrap(), r#"{"second":{"z":1,"a":{"y":1,"b":2}},"first":0}"#);
    let again = container.another().unwrap();
    assert_eq!(again.restore(&mut &*saved(&container, &state)).unwrap(), state);
}

#[test]
fn mutation_says_what_to_do() {
    for (go_text, reduce) in [
        ("({ state }) => { state.n = 1 }", "s => s"),
        ("({ state }) => { state.m = 1 }", "s => s"),
        ("({ state }) => { delete state.n }", "s => s"),
        ("() => 1", "s => { s.n++; return s }"),
        ("() => ({ list: [1] })", "(s, a) => { a.list.push(2); return s }"),
        ("() => ({ list: [2, 1] })", "(s, a) => { a.list.sort(); return s }"),
        ("() => ({ list: [2, 1] })", "(s, a) => { a.list.length = 0; return s }"),
        ("() => { Array.prototype.hidden = 1 }", "s => s"),
        ("() => { globalThis.hidden = 1 }", "s => s"),
        ("() => { Object.prototype.toString = 1 }", "s => s"),
    ] {
        let failure = failure(go(&script(go_text, reduce)));
        assert!(failure.message.contains("TypeError"), "{failure}");
        assert!(failure.message.contains("frozen"), "{go_text} {reduce}: {failure}");
        assert!(failure.at.is_some(), "{failure}");
    }
    // Undeclared variables are strict mode's.
    assert!(failure(go(&script("() => { hidden = 1 }", "s => s"))).message.contains("hidden is not defined"));
}

#[test]
fn ways_to_say_no() {
    let said = |text: &str| rejection(go(&script(text, "s => s")));
    assert_eq!(said("({ reject }) => reject('too long')").message, "too long");
    assert_eq!(said("({ reject }) => reject('x', { a: [1] })").data, Some(json!({"a": [1]})));
    assert_eq!(said("() => { throw new Error('no') }").message, "no");
    assert_eq!(said("() => new Error('no')").message, "no");
    assert_eq!(said("() => { throw Object.assign(new Error('no'), { data: 7 }) }").data, Some(json!(7)));
    assert_eq!(said("() => { class Full extends Error { constructor() { super('full'); this.name = 'Full' } } throw new Full() }").message, "full");
    assert_eq!(said("({ reject }) => reject({ a: 1 })").message, "{\"a\":1}");
    assert_eq!(
        said("({ reject }) => reject([1, 'x'], 7)"),
        Reject { message: "[1,\"x\"]".into(), data: Some(json!(7)) }
    );
    assert_eq!(said("() => { throw new Error() }").message, "Error without a message, at t.js:3");
    assert_eq!(
        said("() => Object.assign(new Error(''), { data: 7 })"),
        Reject { message: "Error without a message, at t.js:3".into(), data: Some(json!(7)) }
    );
    for nothing in ["() => null", "() => {}"] {
        assert!(matches!(go(&script(nothing, "s => s")), Decision::Nothing));
    }
    let broken = |text: &str| failure(go(&script(text, "s => s")));
    for (text, part) in [
        ("() => { null.x }", "go: TypeError: "),
        ("() => nothing", "go: ReferenceError: nothing is not defined"),
        ("() => { throw new RangeError('r') }", "go: RangeError: r"),
        ("() => JSON.parse('{')", "go: SyntaxError: "),
        ("() => { throw 'no' }", "go threw \"no\", which is no Error; throw an Error instead"),
        ("({ reject }) => reject('x', { a: NaN })", "go rejected with NaN at data.a"),
        ("async () => 1", "go returned a Promise; a method is synchronous: fetch first, then perform with the result"),
    ] {
        let failure = broken(text);
        assert!(failure.message.starts_with(part), "{text}: {failure}");
        assert_eq!(failure.at.as_deref(), Some("t.js:3"), "{text}");
    }
}

#[test]
fn a_reducer_that_breaks_fails_the_call_only() {
    for (reduce, part) in [
        ("s => undefined", "reduce returned undefined: return the state"),
        ("s => { throw new Error('no') }", "reduce: Error: no"),
        ("async s => s", "reduce returned a Promise"),
        ("s => null.x", "reduce: TypeError"),
    ] {
        let failure = failure(go(&script("() => 1", reduce)));
        assert!(failure.message.starts_with(part), "{failure}");
        assert_eq!(failure.at.as_deref(), Some("t.js:5"), "{failure}");
    }
    let container = script("(_, a) => a", "(s, a) => { if (a === 2) throw new Error('two'); return { n: s.n + a } }");
    let mut state = container.initial();
    let calls = [1, 2, 3].map(|n| call(&container, "go", &json!([n]))).to_vec();
    let decided = container.decide_batch(&mut state, &batch(0), calls);
    assert!(!decided.damaged);
    assert_eq!(decided.decisions.len(), 3);
    assert_eq!(&*state.json().unwrap(), r#"{"n":4}"#);
    let two = conflux_core::Payload::decode(b"2").unwrap();
    assert!(common::apply(&container, &mut state, &[two], 2).unwrap_err().message.contains("two"));
    assert_eq!(&*state.json().unwrap(), r#"{"n":4}"#);
}

/// One rule, whatever else is in the script, in the batch, or checked: what a call newly made is refused with its path.
#[test]
fn getters_are_refused_everywhere() {
    for check in [false, true] {
        for (value, at) in [
            ("{ n: 1, get x() { return 1 } }", "a getter (store the value) at .x"),
            ("{ n: 1, set x(to) {} }", "a getter (store the value) at .x"),
            ("{ get /* far */ 'a b' () { return 1 } }", "a getter (store the value) at [\"a b\"]"),
            ("{ a: [{ get ['x']() { return 1 } }] }", "a getter (store the value) at .a[0].x"),
            ("Object.defineProperty({}, 'x', { get: () => 1, enumerable: true })", "a getter (store the value) at .x"),
            (
                "Object.defineProperties({}, { x: { get: () => 1, enumerable: true } })",
                "a getter (store the value) at .x",
            ),
            (
                "Object.create(Object.prototype, { x: { get: () => 1, enumerable: true } })",
                "a getter (store the value) at .x",
            ),
            (
                "(() => { const o = {}; Reflect.defineProperty(o, 'x', { get: () => 1, enumerable: true }); return o })()",
                "a getter (store the value) at .x",
            ),
            (
                "(() => { const o = {}; o.__defineGetter__('x', () => 1); return o })()",
                "a getter (store the value) at .x",
            ),
            ("Object.defineProperty({}, 'x', { value: 1 })", "a property that is not enumerable at .x"),
            (
                "Object.defineProperty(Array.from({ length: 100 }, () => 1), 70, { get: () => 1, enumerable: true })",
                "a getter (store the value) at [70]",
            ),
            ("Object.assign([1], { x: 1 })", "an array with a named property at .x"),
            ("'abc'.match(/b/)", "an array with a named property at .index"),
        ] {
            let options = Options { check, ..Options::default() };
            let (thing, place) = at.split_once(" at ").unwrap();
            let method = format!("go returned {thing} at action{place}");
            let reducer = format!("reduce returned {thing} at state{place}");
            let container = script_with(&format!("() => ({value})"), "s => s", options.clone());
            assert_eq!(failure(go(&container)).message, method, "{value}");
            let container = script_with("(_, n) => n", &format!("(s, a) => a === 2 ? ({value}) : {{ n: a }}"), options);
            let mut state = container.initial();
            let calls = (1..=3).map(|n| call(&container, "go", &json!([n]))).collect();
            let mut decided = container.decide_batch(&mut state, &batch(0), calls).decisions;
            assert_eq!(failure(decided.remove(1)).message, reducer, "{value}");
            assert!(decided.into_iter().all(|decision| matches!(decision, Decision::Action(_))));
            assert_eq!(&*state.json().unwrap(), "{\"n\":3}");
            let two = conflux_core::Payload::decode(b"2").unwrap();
            assert_eq!(common::apply(&container, &mut state, &[two], 2).unwrap_err().message, reducer, "{value}");
        }
    }
}

#[test]
fn what_is_lent_to_methods_cannot_hold_anything() {
    let plain = |method: &str| {
        let text = format!("module.exports = {{ methods: {{ go() {{ {method} }} }}, reduce: (s = 0) => s }}");
        failure(go(&ScriptContainer::from_source("t.js", &text).unwrap()))
    };
    for method in
        ["this.x = 1", "this.getProvisionalState.x = 1", "this.getProvisionalState = 1", "this.getState.x = 1"]
    {
        let failed = plain(method);
        assert!(
            failed.message.starts_with("go: TypeError: ") && failed.message.contains("`this` are frozen"),
            "{failed}"
        );
        assert!(failed.message.contains("what is to be kept goes into the state"), "{failed}");
    }
    for method in ["(c) => { c.x = 1 }", "({ random }) => { random.x = 1 }", "({ reject }) => { reject.x = 1 }"] {
        assert!(failure(go(&script(method, "s => s"))).message.contains("are frozen"), "{method}");
    }
    // How much of a stack there is, neither.
    assert_eq!(
        action(go(&script("() => { Error.stackTraceLimit = 3; return Error.stackTraceLimit }", "s => s"))),
        "10"
    );
}
