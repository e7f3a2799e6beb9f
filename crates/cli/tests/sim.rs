//! `conflux sim`, as its users run it.

mod common;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Ran, conflux, conflux_into, container, directory};

const SHORT: [&str; 8] =
    ["--seeds", "2", "--seconds", "5", "--nodes", "3", "--faults", "kill,partition,loss,duplication,delay"];

#[test]
fn an_honest_container_holds() {
    let app = container("words.js");
    let arguments = [&["sim".as_ref(), app.as_os_str()][..], &SHORT.map(AsRef::as_ref)].concat();
    // Of so few seeds none may have had a fault; then that is what it says.
    let ran = conflux(&arguments, "");
    assert!(ran.stdout.contains("2 seeds hold: "), "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("answer: done"), "{}", ran.stdout);
}

/// The last of all seeds is not followed by the first.
#[test]
fn seeds_end_where_numbers_do() {
    let app = container("words.js");
    let range = format!("{}..{}", u64::MAX - 2, u64::MAX);
    let arguments = ["--seeds", &range, "--seconds", "1", "--threads", "2"];
    let arguments = [&["sim".as_ref(), app.as_os_str()][..], &arguments.map(AsRef::as_ref)].concat();
    let ran = conflux(&arguments, "").ended_with(0);
    assert!(ran.stdout.contains("\n2 seeds hold: "), "{}", ran.stdout);
}

/// What a failure prints is enough to repeat it, and it is made short.
#[test]
fn a_broken_invariant_is_made_short_and_repeated() {
    let app = container("invariant.js");
    let arguments = [&["sim".as_ref(), app.as_os_str()][..], &SHORT.map(AsRef::as_ref)].concat();
    let ran = conflux(&arguments, "").ended_with(1);
    assert!(ran.stdout.contains("breaks the container's own invariant: at 1: n is negative"), "{}", ran.stdout);
    assert!(
        ["3 nodes, 0 faults, ", "1 node, 0 faults, "].iter().any(|nodes| {
            // The probe at the end may be enough.
            ["0 asks\n", "1 ask\n"].iter().any(|asks| ran.stdout.contains(&format!("{nodes}{asks}")))
        }),
        "{}",
        ran.stdout
    );
    let again = ran.stdout.lines().last().expect("it says how to run it again").trim();
    let words: Vec<String> = again.split(' ').skip(1).map(|word| word.trim_matches('\'').to_owned()).collect();
    let words: Vec<&std::ffi::OsStr> = words.iter().map(AsRef::as_ref).collect();
    let (one, other) = (conflux(&words, "").ended_with(1), conflux(&words, "").ended_with(1));
    assert!(one.stdout.contains("breaks the container's own invariant"), "{}", one.stdout);
    assert_eq!(one.stdout, other.stdout, "a seed is one trace, in any process");
}

#[test]
fn what_cannot_be_simulated_is_told() {
    let app = container("words.js");
    for (arguments, told) in [
        (vec!["--seeds", "5..5"], "there are no seeds in it"),
        (vec!["--faults", "plague"], "there is no fault \"plague\"; there are partition, "),
        (vec!["--nodes", "12"], "the number of nodes is a number from 1 to 9"),
        (vec!["--keep", "nodes=1"], "--seed"),
        (vec!["--seeds", "3", "--keep", "nodes=1"], "cannot be used with"),
        (vec!["--nodes", "1", "--faults", "join"], "--faults join cannot happen with --nodes 1"),
        (vec!["--seed", "1", "--keep", "nodes=none"], "nodes is 1 to 9"),
        (vec!["--seed", "1", "--keep", ""], "it names nothing"),
        (vec!["--seed", "1", "--keep", "asks=9-3"], "\"9-3\" goes down"),
        (vec!["--seed", "1", "--keep", "asks=99999"], "asks goes to 99999, and it has those from 0 to "),
        (vec!["--seed", "1", "--nodes", "3", "--keep", "nodes=4"], "nodes=4, and it has 3"),
        (vec!["--nodes", "1", "--faults", "partition"], "--faults partition cannot happen with --nodes 1"),
        (vec!["--calls", "nowhere.txt"], "nowhere.txt"),
        (vec!["--trace", "nowhere/trace.json"], "--trace nowhere/trace.json: the trace cannot be written there"),
    ] {
        let arguments =
            [&["sim".as_ref(), app.as_os_str()][..], &arguments.iter().map(AsRef::as_ref).collect::<Vec<_>>()].concat();
        let ran = conflux(&arguments, "").ended_with(2);
        assert!(ran.stderr.contains(told), "{told}: {}", ran.stderr);
    }
}

/// Runs `sim` on a script that is written for the test.
struct Place(PathBuf);

impl Place {
    fn new(name: &str, script: &str) -> Place {
        let place = Place(directory(name));
        place.write("app.js", script);
        place
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).expect("it is written");
        path
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).expect("it is there")
    }

    fn arguments(&self, options: &[&str]) -> Vec<std::ffi::OsString> {
        let app = self.0.join("app.js");
        ["sim".into(), app.into()].into_iter().chain(options.iter().map(Into::into)).collect()
    }

    fn sim(&self, options: &[&str]) -> Ran {
        conflux(&self.arguments(options), "")
    }
}

const COUNTER: &str = "
export const initialState = { n: 0 }
export const methods = { up: () => ({ d: 1 }), down: (_, why) => ({ d: -1 }) }
export const reduce = (state, { d }) => ({ n: state.n + d })
";

fn counter(name: &str, more: &str) -> Place {
    Place::new(name, &format!("{COUNTER}{more}"))
}

#[test]
fn an_initial_state_that_breaks_the_invariant_is_told() {
    let place = counter("sim-initial", "export const invariant = ({ n }) => n > 0");
    let ran = place.sim(&["--seed", "0", "--seconds", "1", "--nodes", "1"]).ended_with(1);
    assert!(ran.stdout.contains("the initial state: {\"n\":0}"), "{}", ran.stdout);
    place.sim(&["--seeds", "2", "--seconds", "1"]).ended_with(1);
}

#[test]
fn what_was_called_is_told_and_only_what_broke_first() {
    let place = counter("sim-told", "export const invariant = ({ n }) => n >= 0 || `n is ${n}`");
    let ran = place.sim(&["--seeds", "3", "--seconds", "5"]).ended_with(1);
    for part in ["perform ", ": down ", "whose action is {\"d\":-1}\n  before: {\"n\":0}\n  after:  {\"n\":-1}"] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
    assert_eq!(ran.stdout.matches("BROKEN").count(), 1, "{}", ran.stdout);
}

#[test]
fn a_call_without_an_end_ends_the_run() {
    let place = Place::new("sim-endless", &COUNTER.replace("() => ({ d: 1 })", "() => { for (;;) {} }"));
    let run = || place.sim(&["--seed", "3", "--seconds", "3", "--nodes", "1"]).ended_with(1).stdout;
    let first = run();
    for part in ["the container's calls come to an end: up: up ran longer than 500ms and was stopped at ", "app.js:3"] {
        assert!(first.contains(part), "{part}: {first}");
    }
    assert_eq!(first, run(), "it is stopped by its steps");
}

#[test]
fn calls_that_fail_are_told_and_are_no_success_where_nothing_else_is() {
    let throws = COUNTER.replace("() => ({ d: 1 })", "({ state }) => state.no.way");
    let place = Place::new("sim-failing", &throws);
    let ran = place.sim(&["--seeds", "2", "--seconds", "5"]).ended_with(0);
    assert!(ran.stdout.contains(" calls FAILED, as this one: up: up: TypeError: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("app.js:3") && !ran.stdout.contains("WARNING"), "{}", ran.stdout);
    place.write("app.js", &throws.replace("(_, why) => ({ d: -1 })", "() => no()"));
    for options in [["--seeds", "2", "--seconds", "5"], ["--seed", "1", "--seconds", "5"]] {
        let ran = place.sim(&options).ended_with(1);
        assert!(ran.stdout.contains("WARNING: no call made an action"), "{}", ran.stdout);
    }
    // That nobody wants anything is no failure.
    place.write("app.js", &COUNTER.replace("({ d: 1 })", "null").replace("({ d: -1 })", "null"));
    let ran = place.sim(&["--seeds", "2", "--seconds", "5"]).ended_with(0);
    assert!(ran.stdout.contains("WARNING: no call made an action"), "{}", ran.stdout);
}

#[test]
fn a_container_that_is_never_called_is_no_success() {
    let place = counter("sim-idle", "export const sample = () => null");
    let ran = place.sim(&["--seeds", "1", "--seconds", "2"]).ended_with(1);
    assert!(ran.stdout.contains("WARNING: there was no call, so nothing is known"), "{}", ran.stdout);
}

#[test]
fn a_reducer_that_is_not_deterministic_is_told_as_that() {
    let script = "
let calls = 0
export const initialState = { n: 0 }
export const methods = { up: () => ({ d: 1 }) }
export const reduce = (state, { d }) => { calls += 1; return { n: calls } }
";
    let place = Place::new("sim-different", script);
    let ran = place.sim(&["--seeds", "2", "--seconds", "5"]).ended_with(1);
    for part in ["breaks promise 1, one history: ", "state.n: ", "conflux check "] {
        assert!(ran.stdout.contains(part), "{part}: {}", ran.stdout);
    }
}

#[test]
fn a_trace_replaces_nothing_before_it_is_there() {
    let place = counter("sim-trace", "");
    let trace = place.write("trace.json", "mine").into_os_string().into_string().expect("it is UTF-8");
    let app = place.0.join("app.js").into_os_string().into_string().expect("it is UTF-8");
    let lines = place.write("lines.txt", "up\n").into_os_string().into_string().expect("it is UTF-8");
    let short = ["--seconds", "1", "--nodes", "3"];
    place.sim(&[&["--seeds", "1", "--trace", &trace][..], &short].concat()).ended_with(0);
    assert_eq!(place.read("trace.json"), "mine", "there was nothing to write");
    for input in [&app, &lines] {
        place
            .sim(&[&["--seed", "1", "--calls", &lines, "--trace", input][..], &short].concat())
            .refused_with(&["it would replace ", "name another file"]);
    }
    assert_eq!(place.read("app.js"), COUNTER);
    let ran = place.sim(&[&["--seed", "1", "--trace", &trace][..], &short].concat()).ended_with(0);
    assert!(ran.stdout.contains(" world  seed 1: "), "it is shown as well: {}", ran.stdout);
    assert!(place.read("trace.json").starts_with("{\"traceEvents\":["));
    assert_eq!(std::fs::read_dir(&place.0).expect("it is there").count(), 3, "nothing else stays");
}

#[test]
fn what_is_no_call_is_told() {
    let place = counter("sim-calls", "");
    for (line, told) in [(":kill a", "it is a command of `dev`"), ("@z up", "leave out @z"), ("sideways", "sideways")] {
        let lines = place.write("lines.txt", &format!("up\n{line}\n"));
        let lines = lines.to_str().expect("it is UTF-8");
        place.sim(&["--calls", lines]).refused_with(&["lines.txt:2: ", told]);
    }
    place.write("app.js", &format!("{COUNTER}export const sample = () => ['sideways']"));
    place.sim(&["--seeds", "1"]).refused_with(&["seed 0: no call could be made up: ", "sideways"]);
}

#[test]
fn a_fault_that_did_not_happen_is_told_of_one_seed_too() {
    let place = counter("sim-missing", "");
    let options = ["--seed", "1", "--seconds", "0.001", "--faults", "kill,kill"];
    let ran = place.sim(&options).ended_with(1);
    assert!(ran.stdout.contains("never happened, so nothing is known about them: kill\n"), "{}", ran.stdout);
}

/// Nodes that stop by a fault say so in their logs, which are not the user's.
#[test]
fn simulated_nodes_say_nothing_here() {
    let place = counter("sim-silent", "methods.up = () => { console.log('hello'); return { d: 1 } }");
    let script = COUNTER.replace("() => ({ d: 1 })", "() => { console.log('hello'); return { d: 1 } }");
    place.write("app.js", &script);
    let ran = place.sim(&["--seeds", "6", "--seconds", "10", "--faults", "disk-full,disk-error"]);
    assert_eq!(ran.stderr, "");
    let ran = place.sim(&["--seed", "3", "--seconds", "3"]).ended_with(0);
    assert!(ran.stdout.lines().any(|line| line.contains(" log  ") && line.contains("hello")), "{}", ran.stdout);
    assert_eq!(ran.stderr, "");
}

#[cfg(target_os = "linux")]
#[test]
fn an_output_that_cannot_be_written_is_no_broken_promise() {
    let place = counter("sim-full", "");
    let full = std::fs::File::options().write(true).open(Path::new("/dev/full")).expect("it is there");
    let arguments = place.arguments(&["--seeds", "1", "--seconds", "1"]);
    conflux_into(&arguments, "", Stdio::from(full)).ended_with(2);
}

#[cfg(unix)]
#[test]
fn whoever_interrupts_it_is_told_how_far_it_was() {
    use std::io::{BufRead, BufReader, Read};
    use std::os::unix::process::ExitStatusExt;

    let place = counter("sim-interrupted", "");
    let begun = |arguments: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_conflux"))
            .args(place.arguments(arguments))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built for this test")
    };
    let ended = |mut child: std::process::Child, signal: &str, status: i32| {
        let killed = Command::new("kill").args([signal, &child.id().to_string()]).status();
        assert!(killed.expect("it is there").success());
        let ended = child.wait().expect("it ends");
        assert_eq!((ended.code(), ended.signal()), (Some(status), None));
    };

    // Of many seeds it tells now and then.
    let mut child = begun(&["--seeds", "100000", "--threads", "1"]);
    let mut told = BufReader::new(child.stderr.take().expect("it is piped"));
    let mut line = String::new();
    while !line.ends_with(" of 100000 seeds hold\n") {
        line.clear();
        assert!(told.read_line(&mut line).expect("it is text") > 0, "it ended");
    }
    ended(child, "-INT", 130);
    line.clear();
    told.read_line(&mut line).expect("it is text");
    assert!(line.starts_with("interrupted: ") && line.ends_with(" of 100000 seeds hold\n"), "{line}");

    // One seed is printed as it happens.
    let mut child = begun(&["--seed", "1", "--seconds", "3600"]);
    let mut told = child.stderr.take().expect("it is piped");
    let mut printed = BufReader::new(child.stdout.take().expect("it is piped"));
    printed.read_line(&mut line).expect("it is text");
    ended(child, "-TERM", 143);
    let mut last = String::new();
    told.read_to_string(&mut last).expect("it is text");
    assert!(last.starts_with("interrupted: seed 1 "), "{last}");
}
