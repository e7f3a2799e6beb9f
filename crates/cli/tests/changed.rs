//! A script is edited, and goes on with the data that it made before.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Ran, conflux, directory};
use serde_json::json;

const OLD: &str = "
export const initialState = []
export const methods = { append: (_, word) => ({ type: 'APPEND', word }) }
export const reduce = (state, action) => [...state, action.word]
";

/// It has a method more.
const NEW: &str = "
export const initialState = []
export const methods = {
  append: (_, word) => ({ type: 'APPEND', word }),
  shout: (_, word) => ({ type: 'APPEND', word: word.toUpperCase() }),
}
export const reduce = (state, action) => [...state, action.word]
";

/// Its reducer will not have what the old one took.
const PICKY: &str = "
export const initialState = []
export const methods = { append: (_, word) => ({ type: 'APPEND', word }) }
export function reduce(state, action) {
  if (action.word === 'bar') throw new Error('no bar')
  return [...state, action.word]
}
";

/// A script beside its data.
struct App {
    script: PathBuf,
    data: PathBuf,
}

impl App {
    fn new(name: &str) -> App {
        let place = directory(name);
        let app = App { script: place.join("app.js"), data: place.join("data") };
        app.edit(OLD);
        app
    }

    fn edit(&self, text: &str) {
        fs::write(&self.script, text).expect("it is written");
    }

    fn dev(&self, flags: &[&str], input: &str) -> Ran {
        let mut arguments = vec!["dev".as_ref(), self.script.as_os_str(), "--data".as_ref(), self.data.as_os_str()];
        arguments.extend(flags.iter().map(std::ffi::OsStr::new));
        conflux(&arguments, input)
    }

    /// `recover`, for the node whose data it is.
    fn recover(&self, id: &str, flags: &[&str]) -> Ran {
        let data = self.data.join(id);
        let mut arguments = vec!["recover".as_ref(), self.script.as_os_str(), "--data".as_ref(), data.as_os_str()];
        arguments.extend(["--id", id].into_iter().chain(flags.iter().copied()).map(std::ffi::OsStr::new));
        conflux(&arguments, "")
    }

    fn directories(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.data).expect("it is read");
        let names = entries.map(|entry| entry.expect("it is read").file_name().into_string().expect("it is UTF-8"));
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

fn states(ran: &Ran) -> Vec<serde_json::Value> {
    ran.answers().into_iter().filter(|answer| answer.get("state").is_some()).collect()
}

/// A node that has joined only now is asked once it has performed.
const ALL: &str = "@b append \"b\"\n@c append \"c\"\n@c :state\n";

/// What was there and what asking added is on the node that was asked last, and by the table at the end on each.
#[track_caller]
fn assert_on_all(ran: &Ran, words: &[&str]) {
    let words = [words, &["b", "c"]].concat();
    assert_eq!(states(ran)[0], json!({"state": words, "index": words.len()}));
    let digests = ran.digests();
    assert!(digests.len() == 3 && digests.iter().all(|(_, digest)| *digest == digests[0].1), "{}", ran.stderr);
}

#[test]
fn an_edited_script_is_refused_with_the_way_and_goes_on_when_it_is_meant() {
    let app = App::new("edited");
    app.dev(&[], "append \"foo\"\n@b append \"bar\"\n").ended_with(0);
    // Nothing to change is no error.
    app.dev(&["--changed"], "").ended_with(0);
    assert_eq!(app.directories(), ["a", "b", "c"]);

    app.edit(NEW);
    app.dev(&[], "shout \"baz\"\n").refused_with(&[
        "app.js is not what made the data in",
        "made by code",
        "add --changed",
    ]);
    assert_eq!(app.directories(), ["a", "b", "c"]);
    let ran = app.dev(&["--changed"], &format!("shout \"baz\"\n{ALL}")).ended_with(0);
    assert_eq!(ran.answers()[0], json!({"method": "shout", "index": 3, "action": {"type": "APPEND", "word": "BAZ"}}));
    assert_on_all(&ran, &["foo", "bar", "BAZ"]);
    assert!(ran.stderr.contains("all 2 actions are reduced by the code at hand"), "{}", ran.stderr);
    assert!(ran.stderr.contains(": a.aside-1, b.aside-1, c.aside-1\n"), "{}", ran.stderr);
    assert_eq!(app.directories(), ["a", "a.aside-1", "b", "b.aside-1", "c", "c.aside-1"]);

    // From here on it is as ever, and all nodes are what they were.
    let ran = app.dev(&[], ALL).ended_with(0);
    assert_on_all(&ran, &["foo", "bar", "BAZ", "b", "c"]);

    // And back: the old script with the data set aside.
    app.edit(OLD);
    for name in ["a", "b", "c"] {
        fs::rename(app.data.join(name), app.data.join(format!("{name}.new"))).expect("it is renamed");
        fs::rename(app.data.join(format!("{name}.aside-1")), app.data.join(name)).expect("it is renamed");
    }
    let ran = app.dev(&[], ALL).ended_with(0);
    assert_on_all(&ran, &["foo", "bar"]);
    // Another time has another number, whatever was put back.
    app.edit(NEW);
    let ran = app.dev(&["--changed"], ":state\n").ended_with(0);
    assert_eq!(states(&ran), [json!({"state": ["foo", "bar", "b", "c"], "index": 4})]);
    assert!(ran.stderr.contains("a.aside-1"), "{}", ran.stderr);
}

#[test]
fn a_reducer_that_will_not_have_an_old_action_changes_nothing() {
    let app = App::new("picky");
    app.dev(&[], "append \"foo\"\nappend \"bar\"\n").ended_with(0);
    app.edit(PICKY);
    let parts = ["cannot go on with what other code made", "index", "no bar", "Nothing was changed"];
    app.dev(&["--changed"], "").refused_with(&parts);
    app.recover("a", &["--changed", "--yes"]).refused_with(&parts);
    assert_eq!(app.directories(), ["a", "b", "c"]);
    app.edit(OLD);
    let ran = app.dev(&[], "append \"baz\"\n:state\n").ended_with(0);
    assert_eq!(states(&ran), [json!({"state": ["foo", "bar", "baz"], "index": 3})]);
}

#[test]
fn what_was_cut_off_is_finished() {
    let app = App::new("cut-off");
    app.dev(&[], "append \"foo\"\n").ended_with(0);
    app.edit(NEW);
    // Alone, so that nobody has joined it yet.
    app.dev(&["--changed", "--nodes", "1"], "").ended_with(0);
    assert_eq!(app.directories(), ["a", "a.aside-1", "b.aside-1", "c.aside-1"]);
    // As it was between the renames, with one node set aside and two not.
    let rename = |from: &str, to: &str| fs::rename(app.data.join(from), app.data.join(to)).expect("it is renamed");
    rename("a", "a.next-1");
    rename("a.aside-1", "a");
    rename("b.aside-1", "b");
    let ran = app.dev(&[], ALL).ended_with(0);
    assert_on_all(&ran, &["foo"]);
    assert_eq!(app.directories(), ["a", "a.aside-1", "b", "b.aside-1", "c", "c.aside-1"]);
}

#[test]
fn a_node_that_would_not_run_and_holds_the_most_is_named() {
    let app = App::new("fewer-nodes");
    app.dev(&["--nodes", "2"], "append \"foo\"\n").ended_with(0);
    fs::remove_dir_all(app.data.join("a")).expect("it is removed");
    app.edit(NEW);
    app.dev(&["--nodes", "1", "--changed"], "").refused_with(&["node \"b\" holds the most", "--nodes 2"]);
}

#[test]
fn recover_and_node_say_what_has_changed_and_what_goes_on_with_it() {
    let app = App::new("recovered");
    app.dev(&[], "append \"foo\"\n").ended_with(0);
    app.edit(NEW);
    app.recover("a", &["--yes"]).refused_with(&["made by code", "say --changed to go on with the one at hand"]);
    let data = app.data.join("a");
    let flags = ["--id", "a", "--listen", "127.0.0.1:0", "--cluster-size", "3"];
    for check in [&["--check"][..], &[]] {
        let mut arguments = vec!["node".as_ref(), app.script.as_os_str(), "--data".as_ref(), data.as_os_str()];
        arguments.extend(flags.iter().chain(check).map(std::ffi::OsStr::new));
        let way = format!("--id a --data {} --changed --dry-run", data.display());
        conflux(&arguments, "").refused_with(&["is not what made the data in", "conflux recover", &way]);
    }
    let ran = app.recover("a", &["--changed", "--dry-run"]).ended_with(0);
    assert!(ran.stdout.contains("it was made by other code (version 1, code "), "{}", ran.stdout);
    assert!(ran.stdout.contains("all 1 actions are reduced by the code at hand"), "{}", ran.stdout);
    app.recover("a", &["--changed", "--yes"]).ended_with(0);
    let ran = app.recover("a", &["--changed", "--dry-run"]).ended_with(0);
    assert!(!ran.stdout.contains("other code"), "{}", ran.stdout);
    // The others are of the old code, and of another cluster.
    app.dev(&[], "").refused_with(&["add --changed"]);
    let ran = app.dev(&["--changed"], "shout \"bar\"\n:state\n").ended_with(0);
    assert_eq!(states(&ran), [json!({"state": ["foo", "BAR"], "index": 2})]);
}

#[test]
fn the_flag_needs_data() {
    let app = App::new("no-data");
    conflux(&["dev".as_ref(), app.script.as_os_str(), "--changed".as_ref()], "").refused_with(&["--data"]);
    // Data that are yet to be are not of other code.
    app.dev(&["--changed"], "append \"foo\"\n").ended_with(0);
    assert!(Path::new(&app.data).join("a").exists());
}
