//! The development check: state that hides is found.

mod common;

use std::time::Duration;

use common::{action, apply, batch, call, decide, failure};
use conflux_core::{Container, Payload};
use conflux_script::{Action, Options, ScriptContainer};
use serde_json::json;

fn checked(text: &str) -> ScriptContainer {
    let options = Options { check: true, method_time: Duration::from_secs(5), ..Options::default() };
    ScriptContainer::from_sources("app.js", [("app.js", text)], options).unwrap()
}

/// What the check finds in the very first call.
fn found(container: &ScriptContainer) -> String {
    let mut state = container.initial();
    let failure = failure(decide(container, &mut state, "go", &json!([])));
    assert_eq!(failure.at.as_deref(), Some("app.js:1"));
    let reports = container.reports();
    assert_eq!(reports.len(), 1);
    assert_eq!(failure.message, reports[0].to_string());
    assert!(container.reports().is_empty());
    assert_eq!(state, container.initial(), "a call that failed changes nothing");
    failure.message
}

#[test]
fn a_variable_of_the_module_is_found() {
    let container = checked(
        "let count = 0; export const initialState = { jobs: [] }; export const methods = { go: () => ({ type: 'GO' }) }; \
        export const reduce = (s) => ({ jobs: [...s.jobs, { n: ++count }] })",
    );
    let said = found(&container);
    assert!(
        said.starts_with(
            "the call go() had another result in a second heap, from the same state, but after other calls (app.js:1)"
        ),
        "{said}"
    );
    assert!(said.contains("state.jobs[0].n: "), "{said}");
}

#[test]
fn a_method_that_remembers_is_found() {
    let container = checked(
        "const seen = new Map(); export const initialState = 0; \
        export const methods = { go: () => { seen.set(seen.size, 1); return { type: 'GO', seen: [...seen.keys()] } } }; export const reduce = (s) => s",
    );
    assert!(found(&container).contains("action.seen["));
}

#[test]
fn a_limit_that_only_the_check_hits_blames_nobody() {
    // In the order of the calls nothing is deep; the check also tries another order, in which the limit is hit and caught.
    let container = checked(
        "const f = (n) => n === 0 ? 0 : f(n - 1) + 1; export const initialState = { n: 0 }; \
        export const methods = { go: (_, n) => n }; \
        export const reduce = (s, a) => { if (a !== s.n + 1) { try { f(1e6) } catch {} } return { n: a } }",
    );
    let mut state = container.initial();
    for base in 0..3 {
        let calls = (1..=8).map(|n| call(&container, "go", &json!([base * 8 + n]))).collect();
        let decided = container.decide_batch(&mut state, &batch(base * 8), calls);
        for decision in decided.decisions {
            action(decision);
        }
    }
    let reports = container.reports();
    assert!(reports.is_empty(), "{}", reports[0]);
    assert_eq!(&*state.json().unwrap(), r#"{"n":24}"#);
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
    assert!(found(&container).contains("state["));
}

#[test]
fn applying_is_checked_too() {
    let container = checked(
        "let last = null; export const initialState = { a: null }; export const methods = { go: () => 1 }; \
        export const reduce = (s, a) => { const before = last; last = a; return { a: before } }",
    );
    let mut state = container.initial();
    let one = Action::decode(b"1").unwrap();
    // Nodes that looked at other batches must not stop differently: it is reported, and applied.
    apply(&container, &mut state, &[one], 0).unwrap();
    assert_eq!(&*state.json().unwrap(), r#"{"a":null}"#);
    let said = container.reports()[0].to_string();
    assert!(said.contains("the action 1 at 1 had another result in a second heap"), "{said}");
    assert!(said.contains("state.a: the running heap has null, the second heap has 1"), "{said}");
}

#[test]
fn what_was_kept_of_an_old_state_is_found_when_the_state_has_moved_on() {
    let container = checked(
        "let rate; export const initialState = { rate: 1, sum: 0 }; \
        export const methods = { go: () => ({ add: 1 }), set: (_, rate) => ({ rate }) }; \
        export const reduce = (s, a) => a.rate ? { ...s, rate: a.rate } : { ...s, sum: s.sum + a.add * (rate ??= s.rate) }",
    );
    let mut state = container.initial();
    action(decide(&container, &mut state, "go", &json!([])));
    action(decide(&container, &mut state, "set", &json!([5])));
    let said = failure(decide(&container, &mut state, "go", &json!([]))).message;
    assert!(said.contains("state.sum: the running heap has 2, the second heap has 6."), "{said}");
}

#[test]
fn the_call_that_differs_is_named_among_others() {
    let container = checked(
        "let count = 0; export const initialState = []; \
        export const methods = { go: () => ({ n: count++ }), fine: (_, x) => ({ x }) }; \
        export const reduce = (s, a) => [...s, a]",
    );
    let mut state = container.initial();
    let names = [("fine", json!([1])), ("go", json!([])), ("fine", json!([2]))];
    let calls = names.map(|(name, arguments)| call(&container, name, &arguments)).to_vec();
    let decided = container.decide_batch(&mut state, &batch(0), calls);
    let kinds: Vec<_> = decided.decisions.iter().map(|decision| format!("{decision:?}")[..3].to_owned()).collect();
    assert_eq!(kinds, ["Act", "Fai", "Act"]);
    assert_eq!(&*state.json().unwrap(), r#"[{"x":1},{"x":2}]"#);
    let reports = container.reports();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].what, "the call go()");
}

#[test]
fn what_is_near_a_limit_is_left_alone() {
    let options = Options { check: true, method_time: Duration::from_millis(100), ..Options::default() };
    let text = "export const initialState = 0; export const reduce = (s) => s + 1; \
        export const methods = { go(_, endless) { while (endless) {} return 1 } }";
    let container = ScriptContainer::from_sources("app.js", [("app.js", text)], options).unwrap();
    let mut state = container.initial();
    assert!(failure(decide(&container, &mut state, "go", &json!([true]))).message.contains("was stopped"));
    action(decide(&container, &mut state, "go", &json!([])));
    assert!(container.reports().is_empty());
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

#[test]
fn only_the_guilty_call_fails_and_says_where() {
    // Once anything was seen, it is rejected; that is not in the state. The others have nothing to do with it.
    let text = "\
const seen = new Set()
export const initialState = []
export const methods = {
  claim({ reject }, x) {
    if (seen.has(x)) reject('taken')
    seen.add(x)
    return { x }
  },
  fine: (_, x) => ({ x }),
  never: ({ reject }) => reject('no'),
}
export const reduce = (s, a) => [...s, a.x]";
    let container = checked(text);
    let mut state = container.initial();
    let lines = [
        ("fine", json!([1])),
        ("never", json!([])),
        ("fine", json!([2])),
        ("claim", json!(["a"])),
        ("fine", json!([3])),
        ("never", json!([])),
        ("fine", json!([4])),
    ];
    let calls = lines.map(|(name, arguments)| call(&container, name, &arguments)).to_vec();
    let decided = container.decide_batch(&mut state, &batch(0), calls);
    let kinds: Vec<_> = decided.decisions.iter().map(|decision| format!("{decision:?}")[..3].to_owned()).collect();
    assert_eq!(kinds, ["Act", "Rej", "Act", "Fai", "Act", "Rej", "Act"]);
    assert_eq!(&*state.json().unwrap(), "[1,2,3,4]");
    let reports = container.reports();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].at.as_deref(), Some("app.js:4"));
    assert_eq!(
        reports[0].to_string(),
        "the call claim(\"a\") had another result in a second heap, from the same state, but after other calls (app.js:4): \
         outcome: the running heap has {\"x\":\"a\"}, the second heap has \"rejected: taken\". Is there state outside the state: a variable of the \
         module, an object that is shared and changed?"
    );
}

#[test]
fn a_reducer_is_named_by_its_place() {
    let container = checked(
        "let total = 0\nexport const initialState = { n: 0 }\nexport const methods = { go: (_, x) => x, none: () => null }\n\
        export function reduce(s, a) { if (a === 2) total += 7; return a === 2 ? { n: total } : s }",
    );
    let mut state = container.initial();
    let lines = [("go", json!([1])), ("none", json!([])), ("go", json!([2])), ("go", json!([3]))];
    let calls = lines.map(|(name, arguments)| call(&container, name, &arguments)).to_vec();
    let decided = container.decide_batch(&mut state, &batch(0), calls);
    let kinds: Vec<_> = decided.decisions.iter().map(|decision| format!("{decision:?}")[..3].to_owned()).collect();
    assert_eq!(kinds, ["Act", "Not", "Fai", "Act"]);
    let said = container.reports().pop().unwrap();
    assert_eq!((said.what.as_str(), said.at.as_deref()), ("the call go(2)", Some("app.js:4")));
    assert!(said.to_string().contains("state.n: the running heap has 7, the second heap has 14."), "{said}");
}

#[test]
fn an_invariant_says_true_false_or_why() {
    for (returned, said) in [
        ("true", None),
        ("undefined", None),
        ("''", None),
        ("false", Some("it is false at app.js:4")),
        ("'too many'", Some("too many at app.js:4")),
        ("new Error('too many')", Some("too many at app.js:4")),
        ("new Error()", Some("it is an Error without a message at app.js:4")),
        ("(() => { throw new Error() })()", Some("it is an Error without a message at app.js:4")),
        ("1", Some("it returned 1, which is neither true, false, a text nor an Error at app.js:4")),
        ("({})", Some("it returned an object, which is neither true, false, a text nor an Error at app.js:4")),
        ("Promise.resolve(true)", Some("it returned a Promise; an invariant is synchronous at app.js:4")),
    ] {
        let container = checked(&format!(
            "export const initialState = 0\nexport const methods = {{ add: () => 1 }}\n\
            export const reduce = (s, a) => s + a\nexport const invariant = () => {returned}"
        ));
        let holds = container.invariant(&container.initial());
        assert_eq!(holds.err().as_deref(), said, "{returned}");
    }
}

#[test]
fn an_invariant_that_breaks_is_reported_once_with_its_action() {
    for (invariant, said) in [
        ("(s) => s.n < 5", "it is false"),
        ("(s) => s.n < 5 ? '' : 'n is ' + s.n", "n is 6"),
        ("(s) => { if (s.n >= 5) throw new Error('n is ' + s.n) }", "n is 6"),
    ] {
        let container = checked(&format!(
            "export const initialState = {{ n: 0 }}\nexport const methods = {{ add: (_, x) => ({{ x }}) }}\n\
            export const reduce = (s, a) => ({{ n: s.n + a.x }})\nexport const invariant = {invariant}"
        ));
        let mut state = container.initial();
        let calls = [1, 2, 3, 4].map(|n| call(&container, "add", &json!([n]))).to_vec();
        let decided = container.decide_batch(&mut state, &batch(10), calls);
        assert_eq!(decided.decisions.len(), 4);
        let reports = container.reports();
        assert_eq!(reports.len(), 1);
        assert_eq!(
            reports[0].to_string(),
            format!("the action {{\"x\":3}} at 13 broke the invariant (app.js:4): {said}")
        );
        // While it stays broken, it is news only if it says something else.
        action(decide(&container, &mut state, "add", &json!([0])));
        let again = container.reports();
        assert!(again.len() <= 1, "{again:?}");
        // Mended, and broken again.
        action(decide(&container, &mut state, "add", &json!([-10])));
        action(decide(&container, &mut state, "add", &json!([6])));
        assert_eq!(container.reports().len(), 1);
    }
}

#[test]
fn an_invariant_that_does_not_end_is_reported_and_left_alone() {
    let options = Options { check: true, method_time: Duration::from_millis(100), ..Options::default() };
    let text = "export const initialState = 0; export const reduce = (s) => s + 1; export const methods = { go: () => 1 };\n\
        export const invariant = () => { for (;;) {} }";
    let container = ScriptContainer::from_sources("app.js", [("app.js", text)], options).unwrap();
    let mut state = container.initial();
    for _ in 0..3 {
        action(decide(&container, &mut state, "go", &json!([])));
    }
    let reports = container.reports();
    assert_eq!(reports.len(), 1);
    assert!(reports[0].to_string().contains("invariant ran longer than 100ms and was stopped"), "{}", reports[0]);
}
