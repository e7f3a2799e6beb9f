//! The plain path, in both forms.

mod common;

use std::path::Path;

use common::{action, apply, batch, call, decide, rejection, saved};
use conflux_core::{Container, Decision, Digest, Payload};
use conflux_script::{Action, ScriptContainer};
use serde_json::json;

fn example(name: &str) -> ScriptContainer {
    ScriptContainer::load(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)).unwrap()
}

#[test]
fn words_go_through_a_batch() {
    let words = example("words.js");
    let follower = words.another().unwrap();
    let mut fork = words.initial();
    let calls = vec![
        call(&words, "append", &json!(["foo"])),
        call(&words, "append", &json!(["x".repeat(81)])),
        call(&words, "append", &json!(["bar"])),
    ];
    let decided = words.decide_batch(&mut fork, &batch(0), calls);
    let said: Vec<_> = decided.decisions.iter().map(|decision| format!("{decision:?}")).collect();
    assert_eq!(
        said,
        [
            r#"Action({"type":"APPEND","word":"foo"})"#,
            r#"Rejected(Reject { message: "too long", data: None })"#,
            r#"Action({"type":"APPEND","word":"bar"})"#
        ]
    );
    assert_eq!(&*fork.json().unwrap(), r#"["foo","bar"]"#);
    assert_eq!(&*words.initial().json().unwrap(), "[]");

    // The follower sees bytes only.
    let actions: Vec<Action> = decided
        .decisions
        .iter()
        .filter_map(|decision| match decision {
            Decision::Action(action) => {
                let mut bytes = Vec::new();
                action.encode(&mut bytes).unwrap();
                Some(Action::decode(&bytes).unwrap())
            }
            _ => None,
        })
        .collect();
    let mut state = follower.initial();
    apply(&follower, &mut state, &actions, 0).unwrap();
    assert_eq!(state, fork);
    assert_eq!(state.digest().unwrap(), Digest::of_bytes(br#"["foo","bar"]"#));

    let saved = saved(&follower, &state);
    let third = words.another().unwrap();
    let mut restored = third.restore(&mut &*saved).unwrap();
    assert_eq!(restored.to_json().unwrap(), json!(["foo", "bar"]));
    apply(&third, &mut restored, &actions[..1], 2).unwrap();
    assert_eq!(&*restored.json().unwrap(), r#"["foo","bar","foo"]"#);
    assert_eq!(third.invariant(&restored), Ok(()));
    let too_long = third.restore(&mut json!(["x".repeat(99)]).to_string().as_bytes()).unwrap();
    let said = third.invariant(&too_long).unwrap_err();
    assert!(said.starts_with("it is false at words.js:"), "{said}");

    assert_eq!(words.code(), third.code());
    assert_ne!(words.code(), example("conflux-2016.js").code());
    assert_eq!((words.version(), words.methods(), words.files()), (1, vec!["append".into()], vec!["words.js".into()]));
}

#[test]
fn the_form_of_2016() {
    let container = example("conflux-2016.js");
    let mut state = container.initial();
    assert_eq!(&*state.json().unwrap(), "[]");
    assert_eq!(action(decide(&container, &mut state, "append", &json!(["foo"]))), "\"foo\"");
    assert_eq!(&*state.json().unwrap(), r#"["foo"]"#);
    assert!(matches!(decide(&container, &mut state, "append", &json!(["foo"])), Decision::Nothing));
    assert_eq!(rejection(decide(&container, &mut state, "append", &json!([1]))).message, "a word is a string");
    assert_eq!(container.invariant(&state), Ok(()));
}

#[test]
fn the_single_functions_do_the_same() {
    let words = example("words.js");
    let origin = common::origin();
    let batch = batch(0);
    let context = batch.deciding(0, conflux_core::Index(1), &origin);
    let mut state = words.initial();
    let method = words.method("append", vec![json!("foo")]).unwrap();
    let action = words.decide(&state, method, &context).unwrap().unwrap();
    assert_eq!(&*state.json().unwrap(), "[]");
    words.reduce(&mut state, &action, &context);
    assert_eq!(&*state.json().unwrap(), r#"["foo"]"#);
    let long = words.method("append", vec![json!("x".repeat(81))]).unwrap();
    assert_eq!(words.decide(&state, long, &context).unwrap_err().message, "too long");
    let error = words.method("apend", vec![]).unwrap_err().to_string();
    assert_eq!(error, "there is no method \"apend\"; did you mean append?");
}

#[test]
fn a_state_of_another_heap_is_taken() {
    let (a, b) = (example("words.js"), example("words.js"));
    let mut state = a.initial();
    decide(&a, &mut state, "append", &json!(["foo"]));
    decide(&b, &mut state, "append", &json!(["bar"]));
    assert_eq!(&*state.json().unwrap(), r#"["foo","bar"]"#);
}

#[test]
fn hostile_bytes_are_errors() {
    let words = example("words.js");
    for bytes in [&b""[..], b"\xff\xfe", b"[1,", b"\"\\ud800\"", b"1e999", "[".repeat(1 << 20).as_bytes()] {
        assert!(words.restore(&mut &*bytes).is_err());
        assert!(Action::decode(bytes).is_err());
        assert!(conflux_script::Method::decode(bytes).is_err());
    }
    assert!(conflux_script::ScriptState::decode(b"[]").unwrap_err().to_string().contains("Container::restore"));
    // A method that this script does not have, from a node that has another one.
    let method = conflux_script::Method::decode(br#"["explode",1]"#).unwrap();
    let calls = vec![conflux_core::Call { method, origin: common::origin() }];
    let decided = words.decide_batch(&mut words.initial(), &batch(0), calls);
    assert!(
        matches!(&decided.decisions[0], Decision::Failed(failure) if failure.message.contains("no method \"explode\""))
    );
}

#[test]
fn dropping_a_state_never_waits_and_frees_it() {
    let words = std::sync::Arc::new(example("words.js"));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let words = words.clone();
            std::thread::spawn(move || {
                for round in 0..200 {
                    let mut state = words.initial();
                    decide(&words, &mut state, "append", &json!([format!("w{round}")]));
                    let copy = state.clone();
                    drop(state);
                    assert_eq!(&*copy.json().unwrap(), format!("[\"w{round}\"]"));
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}
