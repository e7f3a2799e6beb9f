//! Calls that are made up for a simulation.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use conflux_core::{Container, Random};
use conflux_script::{Options, ScriptContainer};

const REST: &str = "export const initialState = 0\nexport const reduce = (state) => state\n";

fn container(text: &str) -> ScriptContainer {
    let options = Options { method_time: Duration::from_millis(100), ..Options::default() };
    ScriptContainer::from_sources("app.js", [("app.js", format!("{REST}{text}").as_str())], options).unwrap()
}

/// A container with a `sample` of this body.
fn sampling(body: &str) -> ScriptContainer {
    container(&format!(
        "export const methods = {{ add() {{ return null }}, take() {{ return null }} }}\nexport function sample({{ random }}) {{ {body} }}"
    ))
}

fn calls(container: &ScriptContainer, seed: u64) -> Vec<Result<Option<String>, String>> {
    let mut random = Random::new(seed);
    (0..200).map(|_| container.sample(&mut random).map(|call| call.map(|call| format!("{call:?}")))).collect()
}

#[test]
fn any_method_is_called_with_as_many_arguments_as_it_names() {
    let methods = "export const methods = {
        none() { return null }, only(context) { return null }, one(context, a) { return null },
        three: ({ state }, a, b, c) => null, rest(context, ...rest) { return null },
    }";
    let container = container(methods);
    let mut random = Random::new(1);
    let mut seen = BTreeSet::new();
    for _ in 0..300 {
        let call = container.sample(&mut random).unwrap().unwrap();
        let arguments: Vec<serde_json::Value> = serde_json::from_str(call.arguments()).unwrap();
        let expected = match call.name() {
            "one" => 1,
            "three" => 3,
            _ => 0,
        };
        assert_eq!(arguments.len(), expected, "{call:?}");
        seen.insert(call.name().to_owned());
        container.method(call.name(), arguments).unwrap();
    }
    assert_eq!(seen.len(), 5, "{seen:?}");
    assert_eq!(calls(&container, 5), calls(&container.another().unwrap(), 5));
    assert_ne!(calls(&container, 5), calls(&container, 6));
}

#[test]
fn in_the_form_of_2016_all_of_them_are_arguments() {
    let text =
        "module.exports = { methods: { append: function (thing) { return thing } }, reduce: function () { return 1 } }";
    let container = ScriptContainer::from_source("app.js", text).unwrap();
    let call = container.sample(&mut Random::new(1)).unwrap().unwrap();
    let arguments: Vec<serde_json::Value> = serde_json::from_str(call.arguments()).unwrap();
    assert_eq!((call.name(), arguments.len()), ("append", 1));
}

#[test]
fn a_script_makes_its_own() {
    let body = "if (random() < 0.2) return null
        const n = Math.floor(random() * 10)
        return n < 5 ? ['add', n, { at: Date.now() }] : ['take', Math.random() < 0.5]";
    let container = sampling(body);
    let mut random = Random::new(3);
    container.initial();
    let made: BTreeSet<_> = (0..300).map(|_| format!("{:?}", container.sample(&mut random).unwrap())).collect();
    assert!(
        made.contains("None") && made.contains("Some(add(4,{\"at\":0}))") && made.contains("Some(take(true))"),
        "{made:?}"
    );
    assert_eq!(made.len(), 8, "{made:?}");
    // The stream is all that counts, and not what ran before.
    let other = sampling(body);
    common::decide(&container, &mut container.initial(), "add", &serde_json::json!([]));
    assert_eq!(calls(&container, 9), calls(&other, 9));
    assert_ne!(calls(&container, 9), calls(&container, 10));
    assert_eq!(sampling("").sample(&mut random).unwrap(), None);
}

#[test]
fn what_is_wrong_with_it_is_told() {
    for (body, said) in [
        ("throw new Error('no idea')", "sample: Error: no idea at app.js:4"),
        ("return [nothing]", "sample: ReferenceError: nothing is not defined at app.js:4"),
        (
            "return 'add'",
            "sample returned \"add\"; it returns [name, ...arguments], or null for nothing this time at app.js:4",
        ),
        ("return []", "sample returned an array; it returns [name"),
        ("return [7]", "sample returned an array that begins with 7; it returns [name"),
        (
            "return ['ad']",
            "sample returned a call of \"ad\", and there is no such method; the methods are add, take at app.js:4",
        ),
        ("return ['add', { a: [() => 1] }]", "sample returned a function at call[1].a[0] at app.js:4"),
        ("return ['add', undefined]", "sample returned undefined (use null) at call[1]"),
        ("for (;;) {}", "sample ran longer than 100ms and was stopped at app.js:4"),
        ("const f = () => f(); f()", "sample recursed deeper than its 512 KiB of stack"),
    ] {
        let error = sampling(body).sample(&mut Random::new(1)).unwrap_err();
        assert!(error.starts_with(said), "{body}: {error}");
    }
    let asynchronous = container("export const methods = { a() {} }\nexport async function sample() { return ['a'] }");
    let error = asynchronous.sample(&mut Random::new(1)).unwrap_err();
    assert!(error.starts_with("sample returned a Promise; "), "{error}");
    let text = format!("{REST}export const methods = {{ a() {{}} }}\nexport const sample = 1");
    let error = ScriptContainer::from_source("app.js", &text).map(drop).unwrap_err().to_string();
    assert_eq!(error, "app.js: \"sample\" is 1, but must be a function");
    // It goes on after it was stopped.
    let container = sampling("if (random() < 0.5) for (;;) {} return ['add']");
    let made: Vec<_> = (0..6).map(|seed| container.sample(&mut Random::new(seed)).is_ok()).collect();
    assert!(made.contains(&true) && made.contains(&false), "{made:?}");
}
