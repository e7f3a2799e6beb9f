//! `conflux check` and `conflux init`, as their users run them.

mod common;

use common::{conflux, container, directory};

fn check(name: &str, input: &str) -> common::Ran {
    conflux(&["check".as_ref(), container(name).as_os_str(), "-".as_ref()], input)
}

#[test]
fn methods_are_listed() {
    let ran = conflux(&["check".as_ref(), container("words.js").as_os_str()], "").ended_with(0);
    assert!(ran.stdout.contains("words.js: methods: append, clear, crash\n"), "{}", ran.stdout);
}

#[test]
fn an_honest_container_passes() {
    let lines = "append \"again\"\n".repeat(200);
    let ran = check("words.js", &format!("# words\n{lines}clear\nclear\nappend 7\n:state\n")).ended_with(0);
    let last = ran.stdout.lines().last().unwrap_or_default();
    assert_eq!(
        last,
        "201 actions, 1 with nothing to do, 1 rejections, 0 failed, 0 bad lines, 1 command passed over; no difference when made again on a \
         restored state"
    );
}

#[test]
fn hidden_state_is_found() {
    let ran = check("hidden.js", &"add\n".repeat(100)).ended_with(1);
    assert!(ran.stdout.contains("hidden.js") && ran.stdout.contains("total"), "{}", ran.stdout);
}

#[test]
fn an_invariant_that_breaks_is_found() {
    let ran = check("invariant.js", "mend\nboom\nboom\nmend\n").ended_with(1);
    assert_eq!(ran.stdout.matches("the invariant does not hold: n is negative").count(), 1, "{}", ran.stdout);
    assert!(ran.stdout.contains("line 2: boom: "), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("; the invariant was broken once\n"), "{}", ran.stdout);
    check("invariant.js", "mend\n").ended_with(0);
    let ran = check("false.js", "up\n").ended_with(1);
    assert!(
        ran.stdout.contains("false.js: the invariant does not hold: it is false at false.js:4\n"),
        "{}",
        ran.stdout
    );
}

#[test]
fn an_initial_state_that_breaks_the_invariant_is_found() {
    let ran = check("broken-at-first.js", "mend\n").ended_with(1);
    assert!(ran.stdout.contains("the initial state: "), "{}", ran.stdout);
    let app = container("broken-at-first.js");
    conflux(&["check".as_ref(), app.as_os_str()], "").ended_with(1);
    let ran = conflux(&["dev".as_ref(), app.as_os_str()], "mend\n").ended_with(1);
    assert!(ran.stderr.contains("the initial state broke the invariant"), "{}", ran.stderr);
}

#[test]
fn bad_lines_and_failures_are_told() {
    let ran = check("words.js", "append foo\nappendd foo\ncrash\nappend \"a\"\n").ended_with(1);
    assert!(ran.stdout.contains("line 1: append: argument 1 is not JSON"), "{}", ran.stdout);
    assert!(ran.stdout.contains("line 2: there is no method \"appendd\"; did you mean append?"), "{}", ran.stdout);
    assert!(ran.stdout.contains("line 3: crash: failed:"), "{}", ran.stdout);
}

#[test]
fn files_that_are_missing_are_named() {
    conflux(&["check", "no/such/app.js"], "").refused_with(&["no/such/app.js"]);
    let app = container("words.js");
    let ran = conflux(&["check".as_ref(), app.as_os_str(), "no/such/lines.txt".as_ref()], "").ended_with(2);
    assert!(ran.stderr.contains("no/such/lines.txt: No such file"), "{}", ran.stderr);
    let directory = directory("no-lines");
    let ran = conflux(&["check".as_ref(), app.as_os_str(), directory.as_os_str()], "").ended_with(2);
    assert!(ran.stderr.contains("no-lines: "), "{}", ran.stderr);
}

#[test]
fn the_application_to_start_from_works() {
    let directory = directory("started");
    let at = directory.join("todo");
    conflux(&["init".as_ref(), at.as_os_str()], "").ended_with(0);
    let app = at.join("app.js");
    let lines = "add \"buy milk\"\nadd \"call home\"\nadd \"buy milk\"\nadd\ndone 1\ndone 1\ndone 9\nclear\nclear\n";
    conflux(&["check".as_ref(), app.as_os_str(), "-".as_ref()], lines).ended_with(0);
    let ran = conflux(&["dev".as_ref(), app.as_os_str()], &format!("{lines}:state\n")).ended_with(0);
    let answers = ran.answers();
    assert_eq!(answers[2]["rejected"], "\"buy milk\" is on the list already");
    assert_eq!(answers[5]["action"], serde_json::Value::Null);
    assert_eq!(answers[6]["rejected"], "there is no todo 9");
    assert_eq!(
        answers[9]["state"],
        serde_json::json!({"next": 3, "todos": [{"id": 2, "title": "call home", "done": false}]})
    );
    // The README's own lines.
    let lines = at.join("lines.txt");
    let ran = conflux(&["check".as_ref(), app.as_os_str(), lines.as_os_str()], "").ended_with(0);
    assert!(ran.stdout.contains(" 1 rejections, 0 failed, 0 bad lines, 1 command passed over"), "{}", ran.stdout);
    let text = std::fs::read_to_string(&lines).expect("it was written");
    conflux(&["dev".as_ref(), app.as_os_str()], &text).ended_with(0);
    // A second time, everything is there.
    let ran = conflux(&["init".as_ref(), at.as_os_str()], "").ended_with(2);
    assert!(
        ["app.js", "conflux.d.ts", "lines.txt", "README.md"].iter().all(|name| ran.stderr.contains(name)),
        "{}",
        ran.stderr
    );
}
