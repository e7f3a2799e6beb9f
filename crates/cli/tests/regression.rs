//! What went wrong at a node becomes a test: an incident, and what it has to come to.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Node, Ran, conflux, directory};

/// Words, of which some are wrong.
const WORDS: &str = "
export const initialState = { words: [] }
export const methods = { append: (_, word) => ({ type: 'APPEND', word }) }
export const reduce = (state, { word }) => ({ words: [...state.words, word] })
export const invariant = (state) => !state.words.includes('bad') || 'there is a bad word'
";

/// A directory with a script in it, what a node that ran it held, and tests.
struct Place {
    directory: PathBuf,
    incident: PathBuf,
}

impl Place {
    /// A node appends words; a snapshot is taken where one of them is empty.
    fn new(name: &str, words: &[&str]) -> Place {
        let place = Place { directory: directory(name), incident: directory(name).join("monday.incident") };
        let node = Node::start(&place.script("app.js", WORDS), &[]);
        for word in words {
            match *word {
                "" => node.ask(&["snapshot"]).ended_with(0),
                word => node.ask(&["perform", "append", &format!("\"{word}\"")]).ended_with(0),
            };
        }
        node.ask(&["incident", "-o", place.incident.to_str().expect("the path is UTF-8")]).ended_with(0);
        place
    }

    fn script(&self, name: &str, text: &str) -> PathBuf {
        let path = self.directory.join(name);
        fs::write(&path, text).expect("it is written");
        path
    }

    fn tests(&self) -> PathBuf {
        self.directory.join("tests")
    }

    fn test(&self) -> PathBuf {
        self.tests().join("monday.replay.jsonl")
    }

    fn write(&self, app: &Path, flags: &[&str]) -> Ran {
        let (incident, tests) = (self.incident.as_os_str(), self.tests());
        let mut arguments = vec!["replay".as_ref(), incident, app.as_os_str(), "--test".as_ref(), tests.as_os_str()];
        arguments.extend(flags.iter().map(std::ffi::OsStr::new));
        conflux(&arguments, "")
    }

    fn check(&self, app: &Path) -> Ran {
        conflux(&["check".as_ref(), app.as_os_str(), self.test().as_os_str()], "")
    }
}

#[track_caller]
fn assert_has(text: &str, parts: &[&str]) {
    assert!(parts.iter().all(|part| text.contains(part)), "it lacks one of {parts:?}:\n{text}");
}

#[test]
fn a_test_of_an_incident_passes_until_the_reducer_is_changed() {
    let place = Place::new("regression", &["one", "", "two", "three"]);
    let app = place.directory.join("app.js");
    let ran = place.write(&app, &[]).ended_with(0);
    assert_has(
        &ran.stdout,
        &["monday.incident\n", "monday.replay.jsonl: 2 actions after index 1\n", "now: conflux check "],
    );
    assert!(!ran.stderr.contains("warning"), "{}", ran.stderr);
    #[cfg(unix)]
    for file in ["monday.incident", "monday.replay.jsonl"] {
        let found = fs::metadata(place.tests().join(file)).expect("it was written");
        let mode = std::os::unix::fs::PermissionsExt::mode(&found.permissions());
        assert_eq!(mode & 0o777, 0o600, "{file} is for its owner only");
    }
    let text = fs::read_to_string(place.test()).expect("it was written");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(r#"{"replay":"monday.incident","index":1,"digest":""#), "{text}");
    assert!(lines[2].starts_with(r#"{"index":3,"action":{"type":"APPEND","word":"three"},"digest":""#), "{text}");
    assert!(lines[2].ends_with(r#","state":{"words":["one","two","three"]}}"#), "{text}");

    // It needs nothing but what is beside it.
    fs::remove_file(&place.incident).expect("it is there");
    assert_has(&place.check(&app).ended_with(0).stdout, &["monday.replay.jsonl: 2 actions, all as expected\n"]);
    // What methods do is not its business.
    let other = place.script("methods.js", &WORDS.replace("append: (_, word)", "append: (_, word, more)"));
    place.check(&other).ended_with(0);
    // Nor is a class of words that did not come.
    let other = place.script("four.js", &WORDS.replace("word]", "word === 'four' ? 'FOUR' : word]"));
    place.check(&other).ended_with(0);

    let loud = place.script("loud.js", &WORDS.replace("word]", "word.toUpperCase()]"));
    let told = r#"monday.replay.jsonl:2: at index 2 {"type":"APPEND","word":"two"}: state.words[1] is "TWO", and "two" is expected"#;
    let ran = place.check(&loud).ended_with(1);
    assert_has(&ran.stdout, &[told, "if that is meant: delete ", "monday.incident ... --test "]);
    let picky = place.script("picky.js", &WORDS.replace("({ words", "word === 'three' ? no() : ({ words"));
    let told = r#"monday.replay.jsonl:3: at index 3 {"type":"APPEND","word":"three"}: the reducer fails: "#;
    assert_has(&place.check(&picky).ended_with(1).stdout, &[told, "picky.js:4"]);
    let strict = place.script("strict.js", &WORDS.replace("'bad'", "'two'"));
    let told = "at index 2 {\"type\":\"APPEND\",\"word\":\"two\"}: the invariant does not hold: there is a bad word";
    assert_has(&place.check(&strict).ended_with(1).stdout, &[told]);
    // The state that it begins with is one that the script of that day saved.
    let renamed = place.script("renamed.js", &WORDS.replace("words", "all"));
    assert_has(&place.check(&renamed).ended_with(1).stdout, &["jsonl:1: at index 1, where it begins: the invariant "]);

    // Lines and tests are checked together.
    let lines = place.script("lines.txt", "append \"four\"\n");
    let files = [lines.as_os_str(), place.test().as_os_str()].map(ToOwned::to_owned);
    let ran = conflux(&["check".into(), app.into_os_string(), files[0].clone(), files[1].clone()], "").ended_with(0);
    assert_has(&ran.stdout, &["methods: append\n1 actions, ", "2 actions, all as expected\n"]);
}

#[test]
fn what_broke_is_a_test_that_fails_until_it_is_corrected() {
    let place = Place::new("regression-broken", &["one", "bad", "two"]);
    let app = place.directory.join("app.js");
    let ran = place.write(&app, &[]).ended_with(1);
    let told = r#"at index 2 {"type":"APPEND","word":"bad"} breaks the invariant: there is a bad word"#;
    assert_has(&ran.stderr, &[told, "No state is expected from there on"]);
    assert_has(&place.check(&app).ended_with(1).stdout, &["jsonl:3: at index 2 ", "the invariant does not hold"]);
    let mended = WORDS.replace("...state.words, word", "...state.words, word === 'bad' ? '***' : word");
    let mended = place.script("mended.js", &mended);
    place.check(&mended).ended_with(0);
    // Now that it is right, it is to stay so.
    fs::remove_file(place.test()).expect("it was written");
    let ran = place.write(&mended, &[]).ended_with(0);
    assert!(!ran.stdout.contains("monday.incident\n"), "it was there: {}", ran.stdout);
    assert_has(&ran.stderr, &["warning: ", "mended.js is not what the node ran"]);
    place.check(&mended).ended_with(0);
    let worse = place.script("worse.js", &fs::read_to_string(&mended).expect("it is there").replace("***", "###"));
    let told = r####"state.words[1] is "###", and "***" is expected"####;
    assert_has(&place.check(&worse).ended_with(1).stdout, &[told]);
}

#[test]
fn a_part_of_an_incident_is_a_test_too() {
    let place = Place::new("regression-part", &["one", "two", "three"]);
    let app = place.directory.join("app.js");
    assert_has(
        &place.write(&app, &["--to", "4"]).ended_with(2).stderr,
        &["--to 4 is not in the incident: it goes from 0 to 3; --uncommitted"],
    );
    assert!(!place.tests().exists());
    place.write(&app, &["--to", "2"]).ended_with(0);
    assert_has(&place.check(&app).ended_with(0).stdout, &["2 actions, all as expected"]);
    // By hand: what a state has to be, without a digest.
    let edit = |from: &str, to: &str| {
        let text = fs::read_to_string(place.test()).expect("it was written");
        let digest = text.lines().nth(2).and_then(|line| line.split_once(r#""digest":""#)).map(|(_, rest)| &rest[..32]);
        let text = digest.map_or(text.clone(), |digest| text.replace(&format!(r#""digest":"{digest}","#), ""));
        assert!(text.contains(from), "{text}");
        fs::write(place.test(), text.replace(from, to)).expect("it is written");
    };
    edit(r#"["one","two"]"#, r#"["one","zwei"]"#);
    assert_has(&place.check(&app).ended_with(1).stdout, &[r#"state.words[1] is "two", and "zwei" is expected"#]);
    edit(r#"["one","zwei"]"#, r#"["one","two"]"#);
    place.check(&app).ended_with(0);
    edit(r#""word":"two"}"#, r#""word":"zwei"}"#);
    let told =
        r#"{"type":"APPEND","word":"zwei"}: the incident has another action there: {"type":"APPEND","word":"two"}"#;
    assert_has(&place.check(&app).ended_with(1).stdout, &[told]);
}

#[test]
fn what_is_no_test_and_what_would_be_lost_is_told() {
    let place = Place::new("regression-refused", &["one", "two", ""]);
    let app = place.directory.join("app.js");
    assert_has(
        &place.write(&app, &[]).ended_with(2).stderr,
        &["monday.incident: it holds no action behind its snapshot at index 2, so there is nothing to test: "],
    );
    assert!(!place.tests().exists());
    place.write(&app, &["--state"]).refused_with(&["cannot be used with"]);

    let place = Place::new("regression-refused", &["one"]);
    place.write(&app, &[]).ended_with(0);
    place.write(&app, &[]).refused_with(&["monday.replay.jsonl: already there, and never overwritten; delete it"]);
    let kept = place.tests().join("monday.incident");
    let test = fs::read_to_string(place.test()).expect("it was written");
    fs::remove_file(place.test()).expect("it was written");
    fs::write(&kept, "mine").expect("it is written");
    place.write(&app, &[]).refused_with(&["monday.incident: already there, never overwritten, and not this incident"]);
    assert_eq!(fs::read_to_string(&kept).expect("it is there"), "mine");

    let refused = |text: &str, part: &str| {
        fs::write(place.test(), text).expect("it is written");
        place.check(&app).refused_with(&[part]);
    };
    refused(&test, "monday.incident: this is no incident of conflux");
    fs::remove_file(&kept).expect("it was written");
    refused(&test, "tests/monday.incident: No such file");
    refused("{\"index\":1}\n", "monday.replay.jsonl:1: this is no test of a replay: its first line has no \"replay\"");
    refused(&test.replace("\"action\"", "\"axtion\""), "jsonl:2: \"axtion\" is no part of such a line");
    refused(&test.replace("\"digest\":\"", "\"digest\":\"x"), "jsonl:1: its \"digest\" is none");
    refused(&format!("{test}{{\n"), "jsonl:3: EOF while parsing");
    // The incident of another day.
    let other = Place::new("regression-other", &["zero", "", "one"]);
    fs::write(place.test(), &test).expect("it is written");
    fs::copy(&other.incident, &kept).expect("it is written");
    assert_has(
        &place.check(&app).ended_with(1).stdout,
        &["jsonl:1: at index 0, where it begins: ", "belongs to this test?"],
    );
}
