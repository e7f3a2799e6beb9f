//! The program around a container in Rust goes through an incident again.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A node in a process of its own, which goes with the test.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

fn counter(arguments: &[&str]) -> Output {
    let ran = Command::new(env!("CARGO_BIN_EXE_conflux-example-counter")).args(arguments).stdin(Stdio::null()).output();
    ran.expect("the program was built for this test")
}

#[track_caller]
fn ended(output: &Output, status: i32, stdout: &str) -> String {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), &*out), (Some(status), stdout), "{err}");
    err.into_owned()
}

/// What a node held that added 5 and 7, and how it would be asked.
fn incident() -> PathBuf {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("counter.incident");
    // There from an earlier run, or not.
    drop(std::fs::remove_file(&file));
    let mut child = Command::new(env!("CARGO_BIN_EXE_conflux-example-counter"))
        .args(["node", "--id", "a", "--cluster-size", "1", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built for this test");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
    let node = Node(child);
    let at = lines
        .find_map(|line| Some(line.expect("it is text").split_once("serves http://")?.1.split(',').next()?.to_owned()));
    std::thread::spawn(move || lines.for_each(drop));
    let at = at.expect("it says where it serves");
    for number in ["5", "7"] {
        assert!(counter(&["perform", "add", number, "--at", &at]).status.success());
    }
    let kept = counter(&["incident", "-o", file.to_str().expect("the path is UTF-8"), "--at", &at]);
    ended(&kept, 0, "");
    drop(node);
    file
}

#[test]
fn an_incident_comes_to_the_same_state() {
    let file = incident();
    let file = file.to_str().expect("the path is UTF-8");
    let ran = counter(&["replay", file, "--state"]);
    let said = ended(&ran, 0, "{\"index\":2,\"state\":12}\n");
    assert!(said.contains("which is what the incident recorded") && !said.contains("warning"), "{said}");
    let ran = counter(&["replay", file]);
    let lines: Vec<_> = std::str::from_utf8(&ran.stdout).expect("it is JSON").lines().collect();
    assert_eq!(lines.len(), 2);
    assert!(lines[1].starts_with(r#"{"index":2,"action":{"Added":7},"origin":"a","time_ms":"#), "{}", lines[1]);
    ended(&counter(&["replay", file, "--state", "--to", "1"]), 0, "{\"index\":1,\"state\":5}\n");

    // It becomes a test, which the program runs; in a library, `conflux::regression::assert_replays` would.
    let tests = Path::new(env!("CARGO_TARGET_TMPDIR")).join("counter-tests");
    drop(std::fs::remove_dir_all(&tests));
    let tests = tests.to_str().expect("the path is UTF-8");
    let ran = counter(&["replay", file, "--test", tests]);
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let test = format!("{tests}/counter.replay.jsonl");
    let expected = format!("conflux-example-counter: methods: add\n{test}: 2 actions, all as expected\n");
    ended(&counter(&["check", &test]), 0, &expected);

    // There is no file with a container to be named.
    let said = ended(&counter(&["replay", file, "app.js"]), 2, "");
    assert!(said.contains("'app.js'"), "{said}");
    let said = ended(&counter(&["replay", "Cargo.toml"]), 2, "");
    assert!(said.contains("Cargo.toml: this is no incident of conflux"), "{said}");
}
