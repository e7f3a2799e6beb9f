//! The world inside: what is there, what is not, and what is the same everywhere.

mod common;

use common::{action, batch, call, decide, failure, go, script};
use conflux_core::{Container, Index};
use conflux_script::{Options, ScriptContainer};
use serde_json::{Value, json};

/// What an expression gives inside a method.
fn eval(expression: &str) -> Value {
    let said = go(&script(&format!("(context) => ({{ it: {expression} }})"), "s => s"));
    serde_json::from_str::<Value>(&action(said)).unwrap()["it"].take()
}

#[test]
fn the_context_tells_time_place_and_origin() {
    assert_eq!(
        eval("[context.time, context.elapsed, context.origin, context.index, context.state.n]"),
        json!([1_700_000_000_123_u64, 4567, "n1", 1, 0])
    );
    let container = script("() => 1", "(s, a, { index, time, elapsed, origin }) => ({ index, time, elapsed, origin })");
    let mut state = container.initial();
    let calls = (0..3).map(|_| call(&container, "go", &json!([]))).collect();
    container.decide_batch(&mut state, &batch(41), calls);
    assert_eq!(&*state.json().unwrap(), r#"{"index":44,"time":1700000000123,"elapsed":4567,"origin":"n1"}"#);
}

#[test]
fn randomness_is_the_contexts() {
    let container = script(
        "({ random }) => [random(), Math.random(), random()]",
        "(s, a, { random }) => ({ decided: a, drawn: [...(s.drawn ?? []), random(), random()] })",
    );
    let origin = common::origin();
    let batch = batch(0);
    let mut state = container.initial();
    let calls = (0..2).map(|_| call(&container, "go", &json!([]))).collect();
    let decided = container.decide_batch(&mut state, &batch, calls);
    let mut drawn = Vec::new();
    let mut actions = Vec::new();
    for (nth, decision) in decided.decisions.into_iter().enumerate() {
        let mut stream = batch.deciding(nth, Index(1), &origin).random();
        let expected = json!([stream.unit(), stream.unit(), stream.unit()]);
        let conflux_core::Decision::Action(made) = decision else { panic!("an action") };
        assert_eq!(serde_json::from_str::<Value>(made.json()).unwrap(), expected);
        let mut stream = batch.reducing(nth, Index(1), &origin).random();
        drawn.extend([stream.unit(), stream.unit()]);
        actions.push(made);
    }
    let shown: Value = serde_json::from_str(&state.json().unwrap()).unwrap();
    assert_eq!(shown["drawn"], json!(drawn));
    // The follower draws the same.
    let follower = container.another().unwrap();
    let mut there = follower.initial();
    common::apply(&follower, &mut there, &actions, 0).unwrap();
    assert_eq!(there, state);
}

#[test]
fn clocks_and_chance_are_refused_in_reducers() {
    for (text, what, instead) in [
        ("Date.now()", "Date.now()", "`time`"),
        ("new Date()", "new Date()", "`time`"),
        ("Date()", "Date()", "`time`"),
        ("Math.random()", "Math.random()", "`random`"),
        ("performance.now()", "performance.now()", "`elapsed`"),
    ] {
        let failure = failure(go(&script("() => 1", &format!("s => ({{ n: {text} }})"))));
        assert!(failure.message.contains(&format!("{what} in a reducer would differ between nodes")), "{failure}");
        assert!(failure.message.contains(instead), "{failure}");
        assert_eq!(failure.at.as_deref(), Some("t.js:5"));
    }
    assert_eq!(
        eval("[Date.now(), +new Date(), performance.now()]"),
        json!([1_700_000_000_123_u64, 1_700_000_000_123_u64, 4567])
    );
    assert_eq!(eval("Date()"), json!("Tue Nov 14 2023 22:13:20 GMT+0000 (Coordinated Universal Time)"));
}

#[test]
fn dates_are_in_utc() {
    assert_eq!(eval("new Date(2020, 5, 1, 12).toISOString()"), json!("2020-06-01T12:00:00.000Z"));
    assert_eq!(eval("new Date('2020-06-01T12:00:00').getTime()"), json!(1_591_012_800_000_u64));
    assert_eq!(eval("new Date('2020-06-01T12:00:00+02:00').getHours()"), json!(10));
    assert_eq!(eval("new Date(0).getTimezoneOffset()"), json!(0));
    assert_eq!(eval("new Date(0).toString()"), json!("Thu Jan 01 1970 00:00:00 GMT+0000 (Coordinated Universal Time)"));
    assert_eq!(eval("Date.parse(new Date(86400000).toString())"), json!(86_400_000));
    assert_eq!(eval("Date.parse(new Date(86400000).toUTCString())"), json!(86_400_000));
    assert_eq!(eval("new Date(0).toLocaleString()"), json!("1970-01-01 00:00:00"));
    assert_eq!(eval("String(Date.parse('June 1, 2020'))"), json!("NaN"));
    assert_eq!(eval("new Date(new Date(5)).getTime()"), json!(5));
    assert_eq!(
        eval("[new Date(0) instanceof Date, new Date(0).constructor === Date, Date.name, Date.UTC(1970)]"),
        json!([true, true, "Date", 0])
    );
    assert_eq!(
        eval("(() => { const d = new Date(0); d.setHours(5); d.setFullYear(1971); return d.toJSON() })()"),
        json!("1971-01-01T05:00:00.000Z")
    );
    assert_eq!(
        eval("(() => { class Day extends Date { n() { return this.getDate() } } return new Day(0).n() })()"),
        json!(1)
    );
}

#[test]
fn mathematics_is_portable() {
    for (text, expected) in [
        ("Math.sin(0.5)", libm::sin(0.5)),
        ("Math.exp(1.1)", libm::exp(1.1)),
        ("Math.pow(1.1, 2.2)", libm::pow(1.1, 2.2)),
        ("Math.atan2('1', 2)", libm::atan2(1.0, 2.0)),
        ("Math.hypot(3, 4, 12)", 13.0),
        ("Math.log10(1000)", 3.0),
        // What the operator must give on every platform.
        ("10 ** 15", 1e15),
        ("3 ** 30", 205_891_132_094_649.0),
        ("2 ** -1", 0.5),
    ] {
        assert_eq!(eval(&format!("String({text})")), eval(&format!("String({expected:?})")), "{text}");
    }
    assert_eq!(eval("[Math.pow(1, Infinity), Math.hypot(NaN), Math.sin()].map(String)"), json!(["NaN", "NaN", "NaN"]));
    assert_eq!(eval("[Math.hypot(), Math.hypot(NaN, -Infinity)].map(String)"), json!(["0", "Infinity"]));
    assert_eq!(eval("[Math.sqrt(2) === Math.SQRT2, Math.sin.name, Math.atan2.length]"), json!([true, "sin", 2]));
}

#[test]
fn what_is_not_there_is_explained() {
    for (text, part) in [
        ("setTimeout(() => {}, 1)", "synchronous"),
        ("fetch('http://x')", "fetch first, then perform"),
        ("require('lodash')", "ES module"),
        ("queueMicrotask(() => {})", "synchronous"),
        ("new WeakRef({})", "hold the value itself"),
        ("Atomics.add", "nothing runs beside"),
        ("process.env.X", "pass what is needed"),
        ("crypto.randomUUID()", "`random`"),
    ] {
        let failure = failure(go(&script(&format!("() => {text}"), "s => s")));
        assert!(failure.message.contains(" is not defined") && failure.message.contains(part), "{failure}");
        assert_eq!(failure.at.as_deref(), Some("t.js:3"));
    }
    // Libraries that look first can do without.
    assert_eq!(
        eval("[typeof WeakRef, typeof setTimeout, typeof Proxy, typeof Reflect]"),
        json!(["undefined", "undefined", "function", "object"])
    );
}

#[test]
fn structured_clone_copies() {
    let text = "(() => { const a = { list: [1, { x: 'y' }], when: new Date(5), map: new Map([[1, { k: 2 }]]) }; a.self = a; \
                const b = structuredClone(a); b.list[1].x = 'z'; \
                return [a.list[1].x, b.list[1].x, b.when.getTime(), b.map.get(1).k, b.self === b, b !== a] })()";
    assert_eq!(eval(text), json!(["y", "z", 5, 2, true, true]));
    assert_eq!(eval("(() => { const s = structuredClone(context.state); s.n++; return s })()"), json!({"n": 1}));
    assert!(
        failure(go(&script("() => structuredClone(() => 1)", "s => s"))).message.contains("cannot copy a function")
    );
}

#[test]
fn overriding_what_is_frozen_works_on_objects_of_ones_own() {
    let text = "(() => { const counts = {}; for (const w of ['constructor', 'toString', 'x']) counts[w] = (Object.hasOwn(counts, w) ? counts[w] : 0) + 1; return counts })()";
    assert_eq!(eval(text), json!({"constructor": 1, "toString": 1, "x": 1}));
    assert_eq!(eval("(() => { const f = () => 1; f.toString = () => 'f'; return String(f) })()"), json!("f"));
    assert_eq!(
        eval("(() => { const e = new TypeError('x'); e.name = 'Mine'; e.message = 'm'; return String(e) })()"),
        json!("Mine: m")
    );
}

#[test]
fn jobs_never_run() {
    let container =
        script("() => { Promise.resolve().then(() => { globalThis.x.y }); return 1 }", "s => ({ n: s.n + 1 })");
    let mut state = container.initial();
    for _ in 0..10 {
        action(decide(&container, &mut state, "go", &json!([])));
    }
    assert_eq!(&*state.json().unwrap(), r#"{"n":10}"#);
}

#[test]
fn console_does_not_disturb() {
    assert_eq!(
        eval(
            "(console.log('a', { b: 1 }, Symbol('x'), 10n, undefined, () => 1), console.assert(false, 'x'), console.error(new Error('e')), 1)"
        ),
        json!(1)
    );
}

#[test]
fn imports_of_both_forms() {
    let module = ScriptContainer::from_sources(
        "main.js",
        [
            ("main.js", "import { add } from './lib/math.js'\nimport limits from './limits.json'\n\
                         export const initialState = 0\nexport const methods = { go: () => limits.step }\nexport const reduce = add"),
            ("lib/math.js", "import { plus } from '../plus'\nexport const add = (a, b) => plus(a, b)"),
            ("plus.js", "export const plus = (a, b) => a + b"),
            ("limits.json", "{ \"step\": 3 }"),
            ("unused.js", "this is not JavaScript"),
        ],
        Options::default(),
    )
    .unwrap();
    let mut state = module.initial();
    decide(&module, &mut state, "go", &json!([]));
    assert_eq!(&*state.json().unwrap(), "3");

    let commonjs = ScriptContainer::from_sources(
        "main.js",
        [
            (
                "main.js",
                "var add = require('./lib/add'), limits = require('./limits.json')\n\
                         module.exports = { methods: { go: function () { return limits.step } }, \
                         reduce: function (s, a) { switch (a.type) { default: return s == null ? 1 : add(s, a) } } }",
            ),
            ("lib/add.js", "exports.unused = require('../main.js')\nmodule.exports = function (a, b) { return a + b }"),
            ("limits.json", "{ \"step\": 3 }"),
        ],
        Options::default(),
    )
    .unwrap();
    let mut state = commonjs.initial();
    assert_eq!(&*state.json().unwrap(), "1");
    decide(&commonjs, &mut state, "go", &json!([]));
    assert_eq!(&*state.json().unwrap(), "4");
}

#[test]
fn arguments_of_2016_are_arguments_only() {
    let text = "module.exports = { methods: { go: function (a, b) { return [arguments.length, a === undefined ? null : a, b === undefined ? 'none' : b, this.getProvisionalState()] } },
      reduce: function (state, action) { return state === undefined ? [] : state.concat([action]) } }";
    let container = ScriptContainer::from_source("old.js", text).unwrap();
    let mut state = container.initial();
    assert_eq!(action(decide(&container, &mut state, "go", &json!([7]))), r#"[1,7,"none",[]]"#);
    assert_eq!(action(decide(&container, &mut state, "go", &json!([]))), r#"[0,null,"none",[[1,7,"none",[]]]]"#);
}
