//! The commands that ask running nodes, against real ones.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Node, conflux, conflux_into, container, directory};
use serde_json::{Value, json};

/// An address at which nobody listens.
fn nobody() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").to_string()
}

#[test]
fn a_perform_ends_as_it_went() {
    let node = Node::start(&container("words.js"), &[]);
    let done = node.ask(&["perform", "append", "\"foo\""]).ended_with(0);
    assert_eq!(done.answers(), [json!({"index": 1, "action": {"type": "APPEND", "word": "foo"}})]);
    assert_eq!(done.stderr, "");

    let long = format!("\"{}\"", "x".repeat(81));
    let rejected = node.ask(&["perform", "append", &long]).ended_with(3);
    assert_eq!(rejected.answers(), [json!({"rejected": "too long", "rejection": {"message": "too long"}, "index": 1})]);
    assert_eq!(rejected.stderr, "conflux: rejected: too long\n");

    let failed = node.ask(&["perform", "crash"]).ended_with(1);
    assert!(failed.stderr.starts_with("conflux: failed: ") && failed.stderr.contains("words.js:"), "{}", failed.stderr);

    node.ask(&["perform", "clear"]).ended_with(0);
    let nothing = node.ask(&["perform", "clear", "--timeout", "5s"]).ended_with(0);
    assert_eq!(nothing.answers(), [json!({"index": 2, "action": null})]);
    // What looks like a flag and is a number.
    let rejected = node.ask(&["perform", "append", "-5"]).ended_with(3);
    assert_eq!(rejected.answers()[0]["rejected"], "a word is a string");
}

#[test]
fn a_wrong_command_line_performs_nothing() {
    let node = Node::start(&container("words.js"), &[]);
    node.ask(&["perform", "apend", "\"foo\""]).refused_with(&["there is no method \"apend\"", "did you mean append?"]);
    node.ask(&["perform", "append", "foo"])
        .refused_with(&["argument 1, foo, is not JSON", "\"foo\" inside the shell's"]);
    node.ask(&["perform", "append", "\"a\"", "--timeout", "5d"]).refused_with(&["times are written with their unit"]);
    node.ask(&["perform", "append", "\"a\"", "--request-id", ""])
        .refused_with(&["request_id cannot be used: it is empty"]);
    node.ask(&["perform"]).refused_with(&["<METHOD>"]);
    node.ask(&["state", "--token-file", "no/such/file"]).refused_with(&["--token-file no/such/file: "]);
    conflux(&["state", "--at", "https://x"], "").refused_with(&["https is not spoken here"]);
    let elsewhere = format!("http://{}/foo", node.at.trim_start_matches("http://"));
    conflux(&["state", "--at", &elsewhere], "").refused_with(&[&elsewhere, "has nothing at this path", "HOST:PORT"]);
    let nowhere = node.ask(&["backup", "/nonexistent/x"]).ended_with(2).stderr;
    assert!(nowhere.contains("/nonexistent/x: No such file") && !nowhere.contains(".part"), "{nowhere}");
    let state = node.ask(&["state"]).ended_with(0);
    assert_eq!(state.answers(), [json!({"index": 0, "state": []})]);
}

#[cfg(target_os = "linux")]
#[test]
fn what_was_done_and_cannot_be_told_is_no_usage_error() {
    let node = Node::start(&container("words.js"), &[]);
    let into = |arguments: &[&str], output: Stdio| conflux_into(&[arguments, &["--at", &node.at]].concat(), "", output);
    let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").expect("every Linux has it"));
    let told = into(&["perform", "append", "\"foo\""], full()).ended_with(1);
    assert!(told.stderr.contains("standard output cannot be written: "), "{}", told.stderr);
    let closed = || Stdio::from(std::io::pipe().expect("every Unix has pipes").1);
    let quiet = into(&["perform", "append", "\"bar\""], closed()).ended_with(141);
    assert_eq!(quiet.stderr, "");
    // Whoever only reads may have seen enough.
    into(&["state"], closed()).ended_with(0);
    assert_eq!(node.ask(&["state"]).answers(), [json!({"index": 2, "state": ["foo", "bar"]})]);
}

#[test]
fn the_same_request_id_is_performed_once_and_asked_for() {
    let node = Node::start(&container("words.js"), &[]);
    let first = node.ask(&["perform", "append", "\"foo\"", "--request-id", "order-17"]).ended_with(0);
    let again = node.ask(&["perform", "append", "\"foo\"", "--request-id", "order-17"]).ended_with(0);
    let asked = node.ask(&["outcome", "order-17"]).ended_with(0);
    assert_eq!((again.answers(), asked.answers()), (first.answers(), first.answers()));
    node.ask(&["perform", "clear", "--request-id", "order-17"]).refused_with(&["was used for another call"]);
    let unknown = node.ask(&["outcome", "order-18"]).ended_with(4);
    assert!(unknown.stderr.contains("the log knows no call \"order-18\""), "{}", unknown.stderr);
    node.ask(&["outcome", "a/1/1/1"]).ended_with(4);
}

#[test]
fn states_and_methods_are_shown() {
    let node = Node::start(&container("words.js"), &[]);
    node.ask(&["perform", "append", "\"foo\""]).ended_with(0);
    for command in [&["state"][..], &["state", "--linearizable"], &["provisional"]] {
        assert_eq!(node.ask(command).ended_with(0).answers(), [json!({"index": 1, "state": ["foo"]})]);
    }
    assert_eq!(node.ask(&["methods"]).ended_with(0).stdout, "append\nclear\ncrash\n");
}

#[test]
fn status_shows_every_node_that_is_named() {
    let node = Node::start(&container("words.js"), &[]);
    node.ask(&["perform", "append", "\"foo\""]).ended_with(0);
    let gone = nobody();
    let shown = node.ask(&["status", "--at", &gone]).ended_with(0);
    let lines: Vec<Vec<&str>> = shown.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["at", "id", "role", "term", "leader", "index"]);
    assert_eq!(lines[1][1..], ["-", "-", "-", "-", "-"]);
    assert_eq!((lines[2][0], lines[2][1], lines[2][2]), (&*format!("http://{}", node.at), "a", "leader"));
    assert_eq!((lines[2][4], lines[2][5]), ("a", "1"));
    assert!(shown.stdout.contains("voters: a") && shown.stdout.contains("refused"), "{}", shown.stdout);

    let told = node.ask(&["status", "--json", "--at", &gone]).ended_with(0);
    let Value::Array(nodes) = &told.answers()[0] else { panic!("{} is no array", told.stdout) };
    assert!(nodes[0]["error"].is_string() && nodes[1]["role"] == "leader", "{}", told.stdout);

    // Two addresses of one node: what they hold is the same.
    let twice = node.ask(&["status", "--at", &node.at]).ended_with(0);
    assert!(twice.stdout.starts_with("at ") && twice.stdout.contains("digest at 1"), "{}", twice.stdout);
    conflux(&["status", "--at", &gone], "").ended_with(5);
}

#[test]
fn a_node_that_hangs_does_not_keep_status_from_showing_the_others() {
    let node = Node::start(&container("words.js"), &[]);
    node.ask(&["perform", "append", "\"foo\""]).ended_with(0);
    // It takes connections, and answers none.
    let hung = std::net::TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let hung = hung.local_addr().map(|address| (address.to_string(), hung)).expect("it is bound");
    let begun = Instant::now();
    let shown = node.ask(&["status", "--at", &hung.0, "--at", &node.at]).ended_with(0);
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(shown.stdout.contains("leader") && shown.stdout.contains("digest at 1"), "{}", shown.stdout);
    assert!(shown.stdout.contains("did not answer in time"), "{}", shown.stdout);
}

/// A program that goes with the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn a_watched_status_goes_on_with_the_nodes_and_ends_with_its_reader() {
    let node = Node::start(&container("words.js"), &[]);
    node.ask(&["perform", "append", "\"one\""]).ended_with(0);
    let watch = |more: &[&str]| {
        let mut watch = Command::new(env!("CARGO_BIN_EXE_conflux"))
            .args(["status", "--watch", "--at", &node.at])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let lines = BufReader::new(watch.stdout.take().expect("it is piped")).lines();
        (Program(watch), lines.map(|line| line.expect("it is text")))
    };
    let (mut as_json, mut told) = watch(&["--json"]);
    let mut next = || -> Value {
        let line = told.next().expect("a line comes");
        serde_json::from_str::<Value>(&line).expect("it is JSON")[0].take()
    };
    let first = next();
    assert_eq!((&first["id"], &first["role"], &first["index"]), (&json!("a"), &json!("leader"), &json!(1)));
    let (table, mut shown) = watch(&[]);
    let head = shown.next().expect("a table comes");
    assert!(head.starts_with("at ") && head.contains("index"), "{head}");

    // Both show what has changed, and say it when the node is gone.
    node.ask(&["perform", "append", "\"two\""]).ended_with(0);
    while next()["index"] != 2 {}
    assert!(shown.any(|line| line.split_whitespace().rev().take(2).eq(["2", "a"])));
    drop(node);
    while !next()["error"].is_string() {}
    assert!(shown.any(|line| line.contains("refused")));

    // Whoever does not read any more ends it, without a word.
    drop(told);
    drop(shown);
    for Program(watch) in [&mut as_json, &mut { table }] {
        assert!(watch.wait().expect("it ends").success());
        let mut said = String::new();
        watch.stderr.take().expect("it is piped").read_to_string(&mut said).expect("it is text");
        assert_eq!(said, "");
    }
}

#[test]
fn nodes_that_are_gone_are_passed_over_and_said_when_all_are() {
    let node = Node::start(&container("words.js"), &[]);
    let gone = nobody();
    let done = conflux(&["perform", "append", "\"foo\"", "--at", &gone, "--at", &node.at], "").ended_with(0);
    assert_eq!(done.answers()[0]["index"], 1);
    for command in
        [&["perform", "clear"][..], &["state"], &["watch"], &["methods"], &["outcome", "x"], &["provisional"]]
    {
        let ran = conflux(&[command, &["--at", &gone]].concat(), "").ended_with(5);
        assert!(ran.stderr.contains("no node can be reached") && ran.stderr.contains(&gone), "{}", ran.stderr);
        assert_eq!((ran.stdout.as_str(), ran.stderr.lines().count()), ("", 1));
    }
}

#[test]
fn the_environment_says_where_nodes_are() {
    let node = Node::start(&container("words.js"), &[]);
    let output = Command::new(env!("CARGO_BIN_EXE_conflux"))
        .args(["perform", "append", "\"foo\""])
        .env("CONFLUX_AT", format!("{}, {}", nobody(), node.at))
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn watching_prints_each_action_and_ends_with_its_reader() {
    let node = Node::start(&container("words.js"), &[]);
    for word in ["\"one\"", "\"two\""] {
        node.ask(&["perform", "append", word]).ended_with(0);
    }
    let mut watch = Command::new(env!("CARGO_BIN_EXE_conflux"))
        .args(["watch", "--from", "0", "--at", &node.at])
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program runs");
    let mut lines = BufReader::new(watch.stdout.take().expect("it is piped")).lines();
    let mut next = || -> Value {
        let line = lines.next().expect("a line comes").expect("it is text");
        serde_json::from_str(&line).expect("it is JSON")
    };
    for (index, word) in [(1, "one"), (2, "two")] {
        let event = next();
        assert_eq!(
            (&event["index"], &event["action"]["word"], &event["origin"]),
            (&json!(index), &json!(word), &json!("a"))
        );
    }
    node.ask(&["perform", "append", "\"three\""]).ended_with(0);
    assert_eq!(next()["action"]["word"], "three");
    drop(lines);
    // It notices that nobody reads when it has something to say.
    node.ask(&["perform", "append", "\"four\""]).ended_with(0);
    assert!(watch.wait().expect("it ends").success());
}

#[test]
fn tokens_come_from_a_file() {
    let path: PathBuf = directory("tokens").join("tokens");
    let mut file = std::fs::File::create(&path).expect("the directory is there");
    write!(file, "# ours\nread rrrrrrrrrrrrrrrrrrrr\nperform pppppppppppppppppppp\n").expect("it is writable");
    let path = path.to_str().expect("the path is UTF-8");
    let node = Node::start(&container("words.js"), &["--token-file", path]);
    node.ask(&["state"]).refused_with(&["the header Authorization is missing", "--token-file"]);
    node.ask(&["perform", "append", "\"foo\"", "--token-file", path]).ended_with(0);
    let weak = directory("weak").join("tokens");
    std::fs::write(&weak, "read rrrrrrrrrrrrrrrrrrrr").expect("the directory is there");
    let weak = weak.to_str().expect("the path is UTF-8");
    node.ask(&["state", "--token-file", weak]).ended_with(0);
    node.ask(&["perform", "clear", "--token-file", weak]).ended_with(2);
}

#[test]
fn members_are_shown_and_what_cannot_be_is_refused() {
    let node = Node::start(&container("words.js"), &["--deadline", "500ms"]);
    // It listens for others before it founds alone, for longer than the deadline that the rest of this wants.
    node.ask(&["perform", "append", "\"foo\"", "--timeout", "10s"]).ended_with(0);
    let shown = node.ask(&["member", "list"]).ended_with(0);
    let lines: Vec<Vec<&str>> = shown.stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!((lines.len(), lines[1][0], &lines[1][2..6]), (2, "a", &["yes", "yes", "yes", "yes"][..]));
    let told = node.ask(&["member", "list", "--json"]).ended_with(0);
    assert_eq!(told.answers()[0][0]["name"], "a");
    let refused = node.ask(&["member", "remove", "nobody"]).ended_with(1);
    assert!(refused.stderr.contains("nobody"), "{}", refused.stderr);
    // A seat for one that has not come: it is written down, and waited for.
    let added = node.ask(&["member", "add", "b"]).ended_with(4);
    assert_eq!(added.stdout, "b: it is written down, and not done yet\n");
    let shown = node.ask(&["member", "list"]).ended_with(0);
    assert!(shown.stdout.contains("not there yet"), "{}", shown.stdout);
    for change in ["remove", "demote"] {
        // A seat that nobody came to can be taken back.
        let removed = node.ask(&["member", change, "b"]).ended_with(0);
        assert!(!removed.stdout.contains("not there yet"), "{}", removed.stdout);
        node.ask(&["member", "add", "b"]).ended_with(4);
    }
    node.ask(&["leader", "transfer", "nobody"]).ended_with(1);
}

#[test]
fn a_backup_is_whole_and_overwrites_nothing() {
    let node = Node::start(&container("words.js"), &[]);
    node.ask(&["perform", "append", "\"foo\""]).ended_with(0);
    let directory = directory("backups");
    let file = directory.join("monday.backup");
    let file = file.to_str().expect("the path is UTF-8");
    let taken = node.ask(&["backup", file]).ended_with(0);
    assert!(taken.stderr.contains("everything up to 1"), "{}", taken.stderr);
    let bytes = std::fs::read(file).expect("it is there");
    assert_eq!(::conflux::Backup::decode(&bytes).expect("it is a backup").index.0, 1);
    node.ask(&["backup", file]).refused_with(&["already there, and never overwritten"]);
    node.ask(&["backup", directory.join("no/such").to_str().expect("it is UTF-8")]).refused_with(&["no/such: "]);
    // One that could not be taken leaves nothing.
    let other = directory.join("tuesday.backup");
    conflux(&["backup", other.to_str().expect("it is UTF-8"), "--at", &nobody()], "").ended_with(5);

    assert_eq!(std::fs::read_dir(&directory).expect("it is there").count(), 1);

    // It is of one script, and goes on with another when that is meant.
    let edited = directory.join("edited.js");
    let text = std::fs::read_to_string(container("words.js")).expect("it is read") + "// edited\n";
    std::fs::write(&edited, text).expect("it is written");
    let data = directory.join("a");
    let restore = |flags: &[&str]| {
        let mut arguments =
            vec!["restore".as_ref(), file.as_ref(), edited.as_os_str(), "--data".as_ref(), data.as_os_str()];
        arguments.extend(["--id", "a"].into_iter().chain(flags.iter().copied()).map(std::ffi::OsStr::new));
        conflux(&arguments, "")
    };
    restore(&[]).refused_with(&["made by code", "say --changed"]);
    let ran = restore(&["--changed"]).ended_with(0);
    assert!(
        ran.stdout.contains("the state at index 1 is taken as it was saved; no action is reduced"),
        "{}",
        ran.stdout
    );
    let dev = [
        "dev".as_ref(),
        edited.as_os_str(),
        "--nodes".as_ref(),
        "1".as_ref(),
        "--data".as_ref(),
        directory.as_os_str(),
    ];
    let ran = conflux(&dev, "append \"more\"\n").ended_with(0);
    assert_eq!(ran.answers()[0]["index"], 2);
}

#[test]
fn a_snapshot_is_taken_and_an_incident_is_kept() {
    let node = Node::start(&container("words.js"), &[]);
    for word in ["\"one\"", "\"two\""] {
        node.ask(&["perform", "append", word]).ended_with(0);
    }
    let taken = node.ask(&["snapshot"]).ended_with(0);
    assert_eq!(taken.answers()[0]["index"], 2);
    node.ask(&["perform", "append", "\"three\""]).ended_with(0);
    let directory = directory("incidents");
    let file = directory.join("monday.incident");
    let file = file.to_str().expect("the path is UTF-8");
    let kept = node.ask(&["incident", "-o", file]).ended_with(0);
    assert!(kept.stderr.contains(": a at index 3, a snapshot, "), "{}", kept.stderr);
    let bytes = std::fs::read(file).expect("it is there");
    let incident = ::conflux::Incident::decode(&bytes.into()).expect("it is an incident");
    assert_eq!((&*incident.node, incident.index.0), ("a", 3));
    assert!(incident.batches().count() >= 1, "what came behind the snapshot is in the log");
    let status: Value = serde_json::from_str(&incident.status).expect("it is JSON");
    assert_eq!((&status["role"], &status["index"]), (&json!("leader"), &json!(3)));
    node.ask(&["incident", "-o", file]).refused_with(&["already there, and never overwritten"]);
    node.ask(&["incident"]).refused_with(&["--output"]);
    node.ask(&["incident", "-o", "-"]).refused_with(&["standard output is not written to"]);
    let place = directory.to_str().expect("the path is UTF-8");
    node.ask(&["incident", "-o", place]).refused_with(&["it is a directory; name a file in it"]);
    let gone = directory.join("gone.incident");
    conflux(&["incident", "-o", gone.to_str().expect("it is UTF-8"), "--at", &nobody()], "").ended_with(5);
    assert_eq!(std::fs::read_dir(&directory).expect("it is there").count(), 1);
}
