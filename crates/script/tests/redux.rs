//! What people bring along from Redux.

mod common;

use std::path::Path;

use common::{action, apply, decide, rejection, saved};
use conflux_core::{Container, Payload};
use conflux_script::{Action, Options, ScriptContainer};
use serde_json::json;

fn bundle(name: &str, options: Options) -> ScriptContainer {
    ScriptContainer::load_with(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name), options)
        .unwrap()
}

#[test]
fn a_bundled_toolkit_slice_and_combine_reducers_run() {
    for check in [false, true] {
        let container = bundle("redux-toolkit.bundle.js", Options { check, ..Options::default() });
        let mut state = container.initial();
        assert_eq!(&*state.json().unwrap(), r#"{"todos":{"list":[],"done":0},"visits":0}"#);
        let added = action(decide(&container, &mut state, "add", &json!(["milk"])));
        assert_eq!(added, r#"{"type":"todos/added","payload":"milk"}"#);
        decide(&container, &mut state, "add", &json!(["bread"]));
        decide(&container, &mut state, "toggle", &json!([1]));
        decide(&container, &mut state, "visit", &json!([]));
        let expected = json!({
            "todos": { "list": [{ "text": "milk", "done": false }, { "text": "bread", "done": true }], "done": 1 },
            "visits": 1
        });
        assert_eq!(state.to_json().unwrap(), expected);
        assert_eq!(rejection(decide(&container, &mut state, "toggle", &json!([7]))).message, "there is no todo 7");

        // On a follower, from a snapshot.
        let follower = container.another().unwrap();
        let mut restored = follower.restore(&mut &*saved(&container, &state)).unwrap();
        let toggle = Action::decode(br#"{"type":"todos/toggled","payload":0}"#).unwrap();
        apply(&follower, &mut restored, &[toggle], 4).unwrap();
        assert_eq!(restored.to_json().unwrap()["todos"]["done"], json!(2));
        decide(&container, &mut state, "clear", &json!([]));
        assert_eq!(&*state.json().unwrap(), r#"{"todos":{"list":[],"done":0},"visits":1}"#);
    }
}
