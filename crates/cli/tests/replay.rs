//! What an incident holds is gone through again.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ::conflux::json::{JsonNode, JsonOutcome, JsonPerform};
use ::conflux::{Incident, Index, MemoryChannel};
use common::{Node, Ran, conflux, conflux_into, container, directory};
use conflux_core::{Batch, Digest};
use conflux_script::ScriptContainer;
use serde_json::{Value, json};

/// Words, as they are in all of the other scripts, too.
const PLAIN: &str = "
export const initialState = []
export const methods = { append: (_, word) => ({ type: 'APPEND', word }) }
export const reduce = (state, action) => [...state, action.word]
";

/// The same actions come to another state.
const LOUD: &str = "
export const initialState = []
export const methods = { append: (_, word) => ({ type: 'APPEND', word }) }
export const reduce = (state, action) => [...state, action.word.toUpperCase()]
";

/// It does not take one of them.
const PICKY: &str = "
export const initialState = []
export const methods = { append: (_, word) => ({ type: 'APPEND', word }) }
export function reduce(state, action) {
  if (action.word === 'three') throw new Error('no three')
  return [...state, action.word]
}
";

/// It takes its time.
const SLOW: &str = "
export const initialState = []
export const methods = { append: (_, word) => ({ type: 'APPEND', word }) }
export function reduce(state, action) {
  let n = 0
  while (n < 500000) n += 1
  return [...state, action.word]
}
";

/// Only where its method ran does its reducer take the last word: not on followers, nor in a replay.
const ODD: &str = "
let asked = false
export const initialState = []
export const methods = { append(_, word) { asked = true; return { type: 'APPEND', word } } }
export function reduce(state, action) {
  if (action.word === 'last' && !asked) throw new Error('nobody asked here')
  return [...state, action.word]
}
";

const SAME: &str = "which is what the incident recorded";

/// A directory with a script in it, and what is made of that.
struct Place(PathBuf);

impl Place {
    fn new(name: &str) -> Place {
        Place(directory(name))
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, text).expect("it is written");
        path
    }

    fn keep(&self, incident: &Incident) -> PathBuf {
        let path = self.0.join("kept.incident");
        fs::write(&path, incident.encode()).expect("it is written");
        path
    }
}

/// What a node in this process holds after it appended words, called one after another, or all before the first is answered.
fn recorded(app: &Path, words: &[&str], at_once: bool) -> Incident {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("there are threads");
    runtime.block_on(async {
        let script = ScriptContainer::load(app).expect("it is a container");
        let builder = ::conflux::Node::builder(script, "a").cluster_size(1).channel(MemoryChannel::new());
        let node = builder.open().await.expect("the options are good");
        let mut started = Vec::new();
        for word in words {
            let perform = JsonNode::perform(&node, "append", vec![json!(word)], JsonPerform::default());
            started.push(perform.expect("there is such a method"));
            if !at_once {
                started.pop().expect("it was just started").await;
            }
        }
        for outcome in started {
            assert!(matches!(outcome.await, JsonOutcome::Committed { .. }));
        }
        let incident = node.incident().await.expect("it is read");
        node.close().await;
        assert_eq!(incident.index, Index(words.len() as u64));
        incident
    })
}

fn replay(file: &Path, app: &Path, flags: &[&str]) -> Ran {
    let mut arguments = vec!["replay".as_ref(), file.as_os_str(), app.as_os_str()];
    arguments.extend(flags.iter().map(std::ffi::OsStr::new));
    conflux(&arguments, "")
}

/// The places and words of the actions that were printed.
fn printed(ran: &Ran) -> Vec<(u64, String)> {
    let read = |answer: Value| {
        let keys: Vec<&str> = answer.as_object().expect("it is one").keys().map(String::as_str).collect();
        assert_eq!(keys[..4], ["index", "action", "origin", "time_ms"]);
        assert_eq!(answer["origin"], "a");
        let word = answer["action"]["word"].as_str().expect("it is a word");
        (answer["index"].as_u64().expect("it is a place"), word.to_owned())
    };
    ran.answers().into_iter().map(read).collect()
}

fn numbered(words: &[&str]) -> Vec<(u64, String)> {
    (1..).zip(words.iter().map(|word| (*word).to_owned())).collect()
}

#[track_caller]
fn assert_says(ran: &Ran, parts: &[&str]) {
    assert!(parts.iter().all(|part| ran.stderr.contains(part)), "it lacks one of {parts:?}:\n{}", ran.stderr);
}

#[test]
fn a_running_node_s_incident_comes_to_the_same_state() {
    let (place, app) = (Place::new("replay-node"), container("words.js"));
    let node = Node::start(&app, &[]);
    let file = place.0.join("monday.incident");
    let name = file.to_str().expect("the path is UTF-8");
    for word in ["\"one\"", "\"two\""] {
        node.ask(&["perform", "append", word]).ended_with(0);
    }
    node.ask(&["snapshot"]).ended_with(0);
    node.ask(&["perform", "crash"]).ended_with(1);
    node.ask(&["perform", "append", "\"three\""]).ended_with(0);
    node.ask(&["incident", "-o", name]).ended_with(0);
    let watched = Command::new(env!("CARGO_BIN_EXE_conflux"))
        .args(["watch", "--from", "2", "--at", &node.at])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map(|mut child| {
            let mut line = String::new();
            let output = child.stdout.take().expect("it is piped");
            std::io::BufRead::read_line(&mut std::io::BufReader::new(output), &mut line).expect("it is text");
            drop(child.kill());
            drop(child.wait());
            line
        });

    let ran = replay(&file, &app, &[]).ended_with(0);
    // A line is the same as that of `watch`.
    assert_eq!(ran.stdout, watched.expect("the program was built for this test"));
    assert_eq!(printed(&ran), [(3, "three".to_owned())]);
    assert_says(
        &ran,
        &["node \"a\" of cluster ", "taken 20", " UTC by conflux ", "version 1, code ", "it was at index 3"],
    );
    assert_says(&ran, &["a snapshot at index 2", "at index 3 the state has digest ", SAME]);
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);

    let state = |to: &str| replay(&file, &app, &["--state", "--to", to]).ended_with(0);
    assert_eq!(state("3").answers(), [json!({"index": 3, "state": ["one", "two", "three"]})]);
    assert_says(&state("3"), &[SAME]);
    assert_eq!(state("2").answers(), [json!({"index": 2, "state": ["one", "two"]})]);
    assert_says(&state("2"), &["at index 2 the state has digest ", "recorded the digest of index 3 only"]);
    assert_eq!(replay(&file, &app, &["--state"]).ended_with(0).answers()[0]["index"], 3);
    let ran = replay(&file, &app, &["--from", "3"]).ended_with(0);
    assert_eq!(ran.stdout, "");
    assert!(
        ran.stderr.contains("--from 3 leaves nothing to print: what was gone through ends at index 3"),
        "{}",
        ran.stderr
    );
    replay(&file, &app, &["--from", "3", "--to", "1"]).ended_with(2);

    let beyond = replay(&file, &app, &["--to", "4", "--state"]).ended_with(2);
    assert_eq!(beyond.stdout, "");
    assert_says(&beyond, &["--to 4 is not in the incident: it goes to index 3; --uncommitted"]);
    assert_says(&replay(&file, &app, &["--to", "1"]).ended_with(2), &["--to 1 is before index 2", "snapshot"]);
}

#[test]
fn other_code_is_told_and_shown_at_work() {
    let place = Place::new("replay-changed");
    let file = place.keep(&recorded(&place.script("plain.js", PLAIN), &["one", "two", "three", "four"], false));
    let ran = replay(&file, &place.script("loud.js", LOUD), &["--state"]).ended_with(6);
    assert_eq!(ran.answers(), [json!({"index": 4, "state": ["ONE", "TWO", "THREE", "FOUR"]})]);
    assert_says(
        &ran,
        &["loud.js is not what the node ran: its code is ", "a recorded ", "that is what other code made of it"],
    );

    let picky = place.script("picky.js", PICKY);
    let ran = replay(&file, &picky, &[]).ended_with(1);
    assert_eq!(printed(&ran), numbered(&["one", "two"]));
    assert_says(
        &ran,
        &["warning: ", "stopped at index 3: ", r#"{"type":"APPEND","word":"three"}"#, "no three at picky.js:5"],
    );
    let ran = replay(&file, &picky, &["--state"]).ended_with(1);
    assert_eq!(ran.answers(), [json!({"index": 2, "state": ["one", "two"]})]);
    // Up to there nothing is wrong with it.
    replay(&file, &picky, &["--to", "2"]).ended_with(0);

    // Of the same shape and not the same text: it is told, and comes to the same.
    let ran = replay(&file, &place.script("again.js", &format!("{PLAIN}\n// again")), &[]).ended_with(0);
    assert_says(&ran, &["again.js is not what the node ran", SAME]);
    assert_eq!(printed(&ran), numbered(&["one", "two", "three", "four"]));
}

#[test]
fn a_node_that_stopped_left_what_stops_a_replay() {
    let place = Place::new("replay-stopped");
    let (app, data) = (place.script("odd.js", ODD), place.0.join("data"));
    let dev = ["dev".as_ref(), app.as_os_str(), "--no-check".as_ref(), "--data".as_ref(), data.as_os_str()];
    // What the performer is told depends on how far its node comes; that the followers stop does not.
    let ran = conflux(&dev, "append \"one\"\nappend \"last\"\n");
    let left = ["a", "b", "c"].iter().flat_map(|name| fs::read_dir(data.join(name)).expect("it is there"));
    let left: Vec<PathBuf> = left.map(|entry| entry.expect("it is there").path()).collect();
    let is_incident =
        |path: &&PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("incident"));
    let file = left.iter().find(is_incident).unwrap_or_else(|| panic!("no node stopped:\n{}", ran.stderr));
    assert_says(&ran, &[&format!("`conflux replay {} APP.js`", file.display())]);

    let ran = replay(file, &app, &[]).ended_with(1);
    assert_eq!(printed(&ran), numbered(&["one"]));
    assert_says(&ran, &["it stopped: ", "nobody asked here at odd.js:6", "stopped at index 2: ", SAME]);
    // The reducer as it should have been: it goes through what the node could not apply.
    let ran = replay(file, &place.script("plain.js", PLAIN), &["--state"]).ended_with(0);
    assert_eq!(ran.answers(), [json!({"index": 2, "state": ["one", "last"]})]);
    assert_says(&ran, &[SAME, "the node had not come so far"]);
}

#[test]
fn every_place_inside_a_batch_can_be_asked_for() {
    let place = Place::new("replay-batch");
    let words = ["one", "two", "three", "four", "five"];
    let app = place.script("plain.js", PLAIN);
    let incident = recorded(&app, &words, true);
    let script = Batch::<ScriptContainer>::decode;
    let sizes = incident.batches().map(|(_, bytes)| script(bytes).expect("it is whole").records.len());
    assert!(sizes.max() >= Some(3), "calls that are made at once share a batch");
    let file = place.keep(&incident);
    for to in 0..=5 {
        let name = to.to_string();
        let ran = replay(&file, &app, &["--to", &name]).ended_with(0);
        assert_eq!(printed(&ran), numbered(&words[..to]));
        assert_eq!(ran.stderr.contains(SAME), to == 5, "{}", ran.stderr);
        let ran = replay(&file, &app, &["--to", &name, "--state"]).ended_with(0);
        assert_eq!(ran.answers(), [json!({"index": to, "state": words[..to]})]);
    }
    let ran = replay(&file, &place.script("picky.js", PICKY), &[]).ended_with(1);
    assert_eq!(printed(&ran), numbered(&words[..2]));
    assert_says(&ran, &["stopped at index 3: ", "no three at picky.js:5"]);
}

/// Words, of which only so many are allowed.
const FEW: &str = "
export const initialState = []
export const methods = { append: (_, word) => ({ type: 'APPEND', word }) }
export const reduce = (state, action) => action.word === 'clear' ? [] : [...state, action.word]
export const invariant = (state) => state.length < 2 || `${state.length} are too many`
";

#[test]
fn the_action_that_breaks_the_invariant_is_named() {
    let place = Place::new("replay-invariant");
    let app = place.script("few.js", FEW);
    for at_once in [false, true] {
        let words = ["one", "two", "clear", "three"];
        let file = place.keep(&recorded(&app, &words, at_once));
        let ran = replay(&file, &app, &[]).ended_with(1);
        assert_eq!(printed(&ran), numbered(&words));
        let told = r#"at index 2 {"type":"APPEND","word":"two"}, performed at a and in entry "#;
        assert_says(&ran, &[told, ", broke the invariant: 2 are too many", SAME]);
        assert_eq!(ran.stderr.matches("broke the invariant").count(), 1, "{}", ran.stderr);
        replay(&file, &app, &["--to", "1"]).ended_with(0);
        assert_says(&replay(&file, &app, &["--to", "2", "--state"]).ended_with(1), &[told]);
    }
    let file = place.keep(&recorded(&app, &["one", "two"], false));
    let strict = place.script("strict.js", &FEW.replace("< 2", "< 0"));
    let ran = replay(&file, &strict, &[]).ended_with(1);
    assert_says(&ran, &["at index 0, where it begins, the state breaks the invariant: 0 are too many", "at index 1 "]);
}

#[test]
fn what_is_not_known_to_be_committed_is_left_out_or_marked() {
    let place = Place::new("replay-uncommitted");
    let app = place.script("plain.js", PLAIN);
    let two = recorded(&app, &["one", "two"], false);
    let mut incident = recorded(&app, &["one", "two", "three"], false);
    // As a node would have it that heard of the last one, and not what became of it.
    let base = |bytes: &[u8]| Batch::<ScriptContainer>::decode(bytes).expect("it is whole").header.base;
    let before = incident.batches().take_while(|(_, bytes)| base(bytes) < Index(2)).last().map(|(id, _)| id);
    (incident.committed, incident.applied) = (before, before);
    (incident.index, incident.digest) = (two.index, two.digest);
    let file = place.keep(&incident);
    let ran = replay(&file, &app, &[]).ended_with(0);
    assert_eq!(printed(&ran), numbered(&["one", "two"]));
    assert_says(&ran, &[SAME, "1 batch follows that was not known to be committed", "--uncommitted"]);
    let ran = replay(&file, &app, &["--uncommitted"]).ended_with(0);
    assert_eq!(printed(&ran), numbered(&["one", "two", "three"]));
    let marks: Vec<Value> = ran.answers().into_iter().map(|answer| answer["uncommitted"].clone()).collect();
    assert_eq!(marks, [Value::Null, Value::Null, json!(true)]);
    assert_says(&ran, &[SAME, "at index 3 the state has digest ", "the node had not come so far"]);

    // It could not be told what its state was.
    incident.digest = None;
    let ran = replay(&place.keep(&incident), &app, &[]).ended_with(0);
    assert_says(&ran, &["no digest;", "the incident recorded none to compare it with"]);
    // The same code comes to another state.
    incident.digest = Some(Digest(7));
    let ran = replay(&place.keep(&incident), &app, &["--uncommitted"]).ended_with(6);
    assert_says(
        &ran,
        &["at index 2 the state has digest ", "the container is not deterministic, or what the node held"],
    );
    assert_eq!(printed(&ran).len(), 3);
}

#[test]
fn what_is_no_whole_incident_is_refused() {
    let place = Place::new("replay-damaged");
    let app = place.script("plain.js", PLAIN);
    let incident = recorded(&app, &["one", "two"], false);
    let bytes = incident.encode();
    let file = place.0.join("broken.incident");
    let refused = |bytes: &[u8], part: &str| {
        fs::write(&file, bytes).expect("it is written");
        replay(&file, &app, &[]).refused_with(&["broken.incident: ", part]);
    };
    refused(&bytes[..bytes.len() - 5], "the incident was cut");
    refused(&bytes[..9], "the incident was cut");
    let mut changed = bytes.clone();
    changed[bytes.windows(3).position(|text| text == b"two").expect("it is in there")] ^= 1;
    refused(&changed, "the incident is damaged");
    let mut newer = bytes;
    newer[8] = 9;
    refused(&newer, "has format 9");
    refused(b"", "this is no incident of conflux");
    // The names in the other order.
    replay(&app, &file, &[]).refused_with(&["plain.js: this is no incident of conflux"]);
    replay(&place.0.join("gone"), &app, &[]).refused_with(&["gone: "]);
    replay(&place.0, &app, &[]).refused_with(&["irectory"]);
    let file = place.keep(&incident);
    replay(&file, &place.0.join("gone.js"), &[]).refused_with(&["gone.js"]);
    replay(&file, &app, &["--to", "-1"]).refused_with(&["'-1' for '--to <INDEX>': an index is a whole number"]);
    replay(&file, &app, &["--from", "1", "--state"]).refused_with(&["cannot be used with"]);
    conflux(&["replay".as_ref(), file.as_os_str()], "").refused_with(&["<APP.js>", "`conflux replay --help`"]);

    // Whole, and the beginning of the log is not in it.
    let mut holed = incident;
    holed.entries.remove(0);
    let ran = replay(&place.keep(&holed), &app, &[]).ended_with(2);
    assert_says(&ran, &["kept.incident: the incident has a hole: its log begins at entry 1"]);
    assert_eq!(ran.stdout, "");
}

#[cfg(unix)]
#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let place = Place::new("replay-pipe");
    let pipe = place.0.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().expect("every Unix has it").success());
    replay(&pipe, &place.script("plain.js", PLAIN), &[]).refused_with(&["it is a pipe or a device"]);
}

#[cfg(unix)]
#[test]
fn whoever_has_read_enough_ends_it_quietly() {
    let place = Place::new("replay-unread");
    let app = place.script("plain.js", PLAIN);
    let file = place.keep(&recorded(&app, &["one", "two"], false));
    for flags in [&[][..], &["--state"]] {
        let (reader, writer) = std::io::pipe().expect("every Unix has pipes");
        drop(reader);
        let mut arguments = vec!["replay".as_ref(), file.as_os_str(), app.as_os_str()];
        arguments.extend(flags.iter().map(|flag| std::ffi::OsStr::new(*flag)));
        let ran = conflux_into(&arguments, "", Stdio::from(writer)).ended_with(141);
        assert!(!ran.stderr.contains("panicked") && !ran.stderr.contains("written"), "{}", ran.stderr);
        if cfg!(target_os = "linux") {
            let full = fs::File::options().write(true).open("/dev/full").expect("every Linux has it");
            let ran = conflux_into(&arguments, "", Stdio::from(full)).ended_with(1);
            assert_says(&ran, &["standard output cannot be written: "]);
        }
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_cleanly() {
    use std::io::{BufRead, BufReader};

    let place = Place::new("replay-interrupted");
    // Many batches, so that it is between two of them in good time.
    let words: Vec<String> = (0..400).map(|n| n.to_string()).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let file = place.keep(&recorded(&place.script("plain.js", PLAIN), &words, false));
    let mut child = Command::new(env!("CARGO_BIN_EXE_conflux"))
        .args(["replay".as_ref(), file.as_os_str(), place.script("slow.js", SLOW).as_os_str(), "--state".as_ref()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built for this test");
    let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines().map(|line| line.expect("text"));
    assert!(lines.any(|line| line.starts_with("warning: ")), "it says that it begins");
    assert!(
        Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("every Unix has it").success()
    );
    let rest: Vec<String> = lines.collect();
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{rest:?}");
    assert!(rest.iter().any(|line| line.starts_with("ended at index ")), "{rest:?}");
    assert!(output.stdout.is_empty());
}
