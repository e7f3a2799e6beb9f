//! `conflux dev`, as its users run it.

mod common;

use std::path::Path;

use common::{Ran, conflux, container, directory};
use serde_json::{Value, json};

fn dev(options: &[&str], input: &str) -> Ran {
    let app = container("words.js");
    let app = app.to_str().expect("the path is UTF-8");
    conflux(&[&["dev", app], options].concat(), input)
}

fn append(word: &str) -> String {
    format!("append {}\n", Value::from(word))
}

fn appended(index: usize, word: &str) -> Value {
    json!({"method": "append", "index": index, "action": {"type": "APPEND", "word": word}})
}

/// Some 2,000 words with everything in them that text may have; none is longer than the container takes.
fn words() -> Vec<String> {
    let odd = [
        "\"quoted\"",
        "back\\slash",
        "naïve",
        "日本語",
        "👩‍👩‍👧",
        "e\u{301}",
        "\u{202e}rtl",
        "tab\there",
        "#no-comment",
        ":no-command",
        "@nobody",
        "{\"a\":1}",
        "null",
        "0",
        "\u{0}",
        "\u{feff}",
        "it's",
        "<!-- -->",
        "`code`",
        "\u{2028}",
    ];
    let long = "x".repeat(80);
    (0..2_000)
        .map(|n| match n % 7 {
            0 => odd[n / 7 % odd.len()].to_owned(),
            1 => long.clone(),
            _ => format!("word{n}"),
        })
        .collect()
}

/// All words answered in order, the same list everywhere.
fn list_them(app: &Path, words: &[String]) {
    let mut input: String = words.iter().map(|word| append(word)).collect();
    input.push_str(":state\n@b :state\n@c :state\n");
    let ran = conflux(&["dev".as_ref(), app.as_os_str()], &input).ended_with(0);
    let answers = ran.answers();
    assert_eq!(answers.len(), words.len() + 3);
    for (n, word) in words.iter().enumerate() {
        let action = &answers[n]["action"];
        assert_eq!((&answers[n]["index"], &action["word"]), (&json!(n + 1), &json!(word)));
    }
    assert_eq!(answers[words.len()]["state"], json!(words));
    assert_one_digest(&ran, 3);
}

#[track_caller]
fn assert_one_digest(ran: &Ran, nodes: usize) {
    let digests = ran.digests();
    assert_eq!(digests.len(), nodes, "{}", ran.stderr);
    let living: Vec<&String> = digests.iter().map(|(_, digest)| digest).filter(|digest| *digest != "-").collect();
    assert!(!living.is_empty() && living.windows(2).all(|pair| pair[0] == pair[1]), "{}", ran.stderr);
}

#[test]
fn words_come_out_as_they_went_in() {
    list_them(&container("words.js"), &words());
}

#[test]
fn the_readme_of_2016_comes_out_as_it_went_in() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let app = root.join("examples/words.js");
    // The text belongs to others and is not ours to ship; where it lies beside the project, it is the better input.
    let Ok(text) = std::fs::read_to_string(root.join("../shared/reference/conflux-1.1.8-readme.txt")) else { return };
    let app = if app.exists() { app } else { container("words.js") };
    // As `tr -s ' ' '\n'` parts them.
    let words: Vec<String> = text.split([' ', '\n']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    assert!(words.len() > 100);
    list_them(&app, &words);
}

#[test]
fn every_shape_of_an_answer() {
    let long = "y".repeat(81);
    let input = format!("clear\n{}{}@b append \"b\"\ncrash\nclear\n", append("a"), append(&long));
    let ran = dev(&[], &input).ended_with(1);
    let answers = ran.answers();
    assert_eq!(
        answers[..4],
        [
            json!({"method": "clear", "index": 0, "action": null}),
            appended(1, "a"),
            json!({"method": "append", "rejected": "too long"}),
            appended(2, "b"),
        ]
    );
    assert_eq!(answers[4]["method"], "crash");
    assert!(
        answers[4]["failed"].as_str().is_some_and(|message| message.contains("undefinedVariable")),
        "{}",
        answers[4]
    );
    assert!(answers[4]["at"].as_str().is_some_and(|at| at.contains("words.js:14")), "{}", answers[4]);
    assert_eq!(answers[5], json!({"method": "clear", "index": 3, "action": {"type": "CLEAR"}}));
    assert_one_digest(&ran, 3);
}

#[test]
fn bad_lines_are_told_and_the_rest_goes_on() {
    let input = "append foo\nappendd \"a\"\n@z append \"a\"\n@\n:stat\n:kill\n\n# fine\nappend \"a\"\n";
    let ran = dev(&[], input).ended_with(1);
    let answers = ran.answers();
    let lines: Vec<&Value> = answers.iter().map(|answer| &answer["line"]).collect();
    assert_eq!(lines, [&json!(1), &json!(2), &json!(3), &json!(4), &json!(5), &json!(6), &Value::Null]);
    let error = |n: usize| answers[n]["error"].as_str().unwrap_or_default();
    assert!(error(0).contains("in double quotes, as in \"foo\""), "{}", error(0));
    assert!(error(1).contains("did you mean append?"), "{}", error(1));
    assert!(error(2).contains("the nodes are a, b, c"), "{}", error(2));
    assert!(error(4).contains("did you mean :state or :status?"), "{}", error(4));
    assert_eq!(answers[6], appended(1, "a"));
}

#[test]
fn a_rejection_is_no_failure() {
    dev(&[], &append(&"z".repeat(81))).ended_with(0);
    dev(&[], "").ended_with(0);
}

#[test]
fn any_number_of_nodes() {
    for nodes in ["1", "2", "5"] {
        let ran = dev(&["--nodes", nodes, "--seed", "7"], &append("a")).ended_with(0);
        assert_eq!(ran.answers(), [appended(1, "a")]);
        assert_one_digest(&ran, nodes.parse().expect("a number"));
    }
}

#[test]
fn the_leader_may_die_and_come_back() {
    let input = format!(
        "{}:kill a\n{}:status\n:restart a\n{}:kill b\n{}:restart b --wiped\n@b {}:state\n",
        append("one"),
        append("two"),
        append("three"),
        append("four"),
        append("five"),
    );
    let ran = dev(&[], &input).ended_with(0);
    let answers = ran.answers();
    assert_eq!(answers[0], appended(1, "one"));
    assert_eq!(answers[1], json!({"killed": "a"}));
    assert_eq!(answers[2], appended(2, "two"));
    assert_eq!(answers[3]["status"][0], json!({"id": "a", "role": "down"}));
    assert_eq!(answers[4], json!({"restarted": "a", "wiped": false}));
    assert_eq!(answers[5], appended(3, "three"));
    assert_eq!(answers[7], appended(4, "four"));
    assert_eq!(answers[8], json!({"restarted": "b", "wiped": true}));
    assert_eq!(answers[9], appended(5, "five"));
    assert_eq!(answers[10]["state"], json!(["one", "two", "three", "four", "five"]));
    assert_one_digest(&ran, 3);
}

#[test]
fn with_a_directory_it_goes_on_where_it_was() {
    let directory = std::env::temp_dir().join(format!("conflux-dev-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&directory);
    let options = ["--data", directory.to_str().expect("the path is UTF-8")];
    let ran = dev(&options, &format!("{}{}", append("one"), append("two"))).ended_with(0);
    assert_eq!(ran.answers(), [appended(1, "one"), appended(2, "two")]);
    for name in ["a", "b", "c"] {
        assert!(directory.join(name).join("log-0000000000000001").exists(), "{name} has no disk");
    }

    // The second time a node is wiped: it comes back as a new one, and the third time it is still there.
    let input = format!("@b {}:restart c --wiped\n@c {}", append("three"), append("four"));
    let answers = dev(&options, &input).ended_with(0).answers();
    assert_eq!(answers[0], appended(3, "three"));
    assert_eq!(answers[1], json!({"restarted": "c", "wiped": true, "was_up": true}));
    assert_eq!(answers[2], appended(4, "four"));
    let ran = dev(&options, &format!("@c {}@c :state\n", append("five"))).ended_with(0);
    assert_eq!(ran.answers()[1]["state"], json!(["one", "two", "three", "four", "five"]));
    assert_one_digest(&ran, 3);

    // What is damaged is said, and nothing is opened.
    let log = std::fs::read(directory.join("a/disk")).expect("it is there");
    std::fs::write(directory.join("a/disk"), &log[1..]).expect("it can be written");
    let ran = dev(&options, "").ended_with(2);
    assert!(ran.stderr.contains("a/disk is damaged at byte 0"), "{}", ran.stderr);
    assert!(dev(&["--data", "x", "--seed", "1"], "").ended_with(2).stderr.contains("cannot be used with"));
    std::fs::remove_dir_all(&directory).expect("nobody has it open");
}

#[test]
fn a_killed_node_is_down_in_the_table() {
    let ran = dev(&[], &format!("{}:kill c\n@c {}{}", append("one"), append("never"), append("two"))).ended_with(1);
    assert!(ran.answers()[2]["error"].as_str().is_some_and(|error| error.contains("`:restart c`")));
    assert_eq!(ran.digests()[2], ("c".to_owned(), "-".to_owned()));
    assert!(ran.stderr.lines().any(|line| line.starts_with("c   down")), "{}", ran.stderr);
    assert_one_digest(&ran, 3);
}

#[test]
fn a_majority_goes_on_while_one_node_is_parted() {
    let input =
        format!("{}:partition a b | c\n{}:heal\n@c {}@c :state\n", append("one"), append("two"), append("three"));
    let ran = dev(&[], &input).ended_with(0);
    let answers = ran.answers();
    assert_eq!(answers[1], json!({"partition": [["a", "b"], ["c"]]}));
    assert_eq!(answers[2], appended(2, "two"));
    assert_eq!(answers[3], json!({"healed": true}));
    assert_eq!(answers[4], appended(3, "three"));
    assert_eq!(answers[5]["state"], json!(["one", "two", "three"]));
    assert_one_digest(&ran, 3);
}

#[test]
fn a_minority_gives_up_at_its_deadline() {
    let input = format!("{}:partition a b | c\n@c {}:heal\n{}", append("one"), append("lost"), append("two"));
    let ran = dev(&["--deadline", "1s"], &input).ended_with(1);
    let answers = ran.answers();
    let lost = answers[2].as_object().expect("an answer is an object");
    assert!(lost.contains_key("never_proposed") || lost.contains_key("unknown"), "{lost:?}");
    assert_eq!(answers[4]["method"], "append");
    assert_one_digest(&ran, 3);
}

#[test]
fn time_can_be_walked() {
    let input = format!(
        "{}{}:at 1\n:at 0\n:diff 1 2\n:diff 2 2\n:log 1\n:log\n:provisional\n:help\n:at 99\n",
        append("a"),
        append("b")
    );
    let ran = dev(&[], &input).ended_with(1);
    let answers = ran.answers();
    assert_eq!(answers[2], json!({"state": ["a"], "index": 1}));
    assert_eq!(answers[3], json!({"state": [], "index": 0}));
    assert_eq!(answers[4]["changed"].as_array().map(Vec::len), Some(1), "{}", answers[4]);
    assert_eq!(answers[5], json!({"from": 2, "to": 2, "changed": []}));
    assert_eq!(answers[6]["log"][0]["index"], 2);
    assert_eq!(answers[6]["log"][0]["action"], json!({"type": "APPEND", "word": "b"}));
    assert_eq!(answers[6]["log"][0]["origin"], "a");
    assert_eq!(answers[7]["log"].as_array().map(Vec::len), Some(2));
    assert_eq!(answers[8], json!({"provisional": ["a", "b"]}));
    assert!(answers[9]["commands"].is_array());
    assert_eq!(answers[10]["line"], 11);
}

#[test]
fn usage_errors_name_the_thing() {
    let refused = |options: &[&str], parts: &[&str]| dev(options, "").refused_with(parts);
    refused(&["--nodes", "0"], &["'0'", "--nodes", "from 1 to 64"]);
    refused(&["--nodes", "many"], &["'many'", "--nodes"]);
    refused(&["--nodes", "-1"], &["'-1'", "--nodes", "from 1 to 64"]);
    refused(&["--seed", "-1"], &["'-1'", "--seed", "whole number"]);
    refused(&["--deadline", "5"], &["'5'", "--deadline", "unit"]);
    refused(&["--node", "3"], &["--node", "--nodes"]);
    refused(&["--heartbeat-interval", "400ms"], &["--heartbeat-interval", "400ms", "300ms"]);
    refused(&["--election-timeout-max", "10ms"], &["--election-timeout-min is 300ms", "10ms"]);
    conflux(&["dev"], "").refused_with(&["APP.js"]);
    conflux(&["dev", "no/such/app.js"], "").refused_with(&["no/such/app.js"]);
}

#[test]
fn scripts_that_cannot_run_are_refused() {
    let directory = common::directory("bad-scripts");
    for (name, text, parts) in [
        ("syntax.js", "export const methods = {", "syntax.js"),
        ("throws.js", "throw new Error('on purpose')", "on purpose"),
        ("no-reduce.js", "export const initialState = 0; export const methods = {}", "reduce"),
        ("no-methods.js", "export const initialState = 0; export function reduce(s) { return s }", "methods"),
    ] {
        let path = directory.join(name);
        std::fs::write(&path, text).expect("the directory is writable");
        conflux(&["dev".as_ref(), path.as_os_str()], "").refused_with(&[name, parts]);
    }
}

#[test]
fn help_is_no_error() {
    for arguments in [
        &["--help"][..],
        &["dev", "--help"],
        &["check", "--help"],
        &["init", "--help"],
        &["bench", "--help"],
        &["--version"],
    ] {
        let ran = conflux(arguments, "").ended_with(0);
        assert!(!ran.stdout.is_empty() && ran.stderr.is_empty());
        assert!(arguments == ["--version"] || ran.stdout.contains("Example"), "{}", ran.stdout);
    }
}

#[cfg(unix)]
#[test]
fn enough_is_enough_for_head() {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_conflux"))
        .arg("dev")
        .arg(container("words.js"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built for this test");
    let mut stdin = child.stdin.take().expect("it is piped");
    // Endless input: only the reader's going away ends the program.
    let feed = std::thread::spawn(move || while stdin.write_all(append("again").as_bytes()).is_ok() {});
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut first = String::new();
    stdout.read_line(&mut first).expect("the first answer comes");
    assert_eq!(serde_json::from_str::<Value>(&first).expect("it is JSON"), appended(1, "again"));
    drop(stdout);
    let output = child.wait_with_output().expect("the program ends");
    feed.join().expect("the input does not panic");
    // Quietly, and not as a success: lines took effect whose answers nobody has.
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(141), "{told}");
    assert!(told.contains("digest at") && !told.contains("badly"), "the nodes end as ever: {told}");
    assert_eq!(told.lines().count(), 4, "nothing but the table is said: {told}");
}

#[test]
fn commands_wait_until_the_cluster_is_founded() {
    let ran = dev(&[], ":kill a\nappend \"x\"\n").ended_with(0);
    assert_eq!(ran.answers(), [json!({"killed": "a"}), appended(1, "x")]);
    let ran = dev(&[], "").ended_with(0);
    assert!(!ran.stderr.contains("waiting"), "{}", ran.stderr);
    assert_one_digest(&ran, 3);
}

#[test]
fn a_call_at_a_wiped_majority_is_told_what_it_waits_for() {
    let input = ":kill a\n:kill b\n:restart a --wiped\n:restart b --wiped\n:status\nappend \"b\"\n";
    let ran = dev(&["--deadline", "500ms"], input).ended_with(1);
    let answers = ran.answers();
    let reason = "to be let in again as a new node, for which a majority of the cluster must be up";
    assert!(answers[4].to_string().contains(&format!("waits {reason}")), "{}", answers[4]);
    assert!(answers[5].to_string().contains(&format!("node a waited {reason}")), "{}", answers[5]);
}

#[test]
fn too_few_nodes_for_a_directory_are_refused_at_once() {
    let (data, app) = (directory("too-few"), container("words.js"));
    let dev = |nodes: &str, input: &str| {
        conflux(
            &["dev".as_ref(), app.as_os_str(), "--nodes".as_ref(), nodes.as_ref(), "--data".as_ref(), data.as_os_str()],
            input,
        )
    };
    dev("3", &append("kept")).ended_with(0);
    dev("1", ":state\n").refused_with(&["too-few holds the data of 3 nodes, a, b, c", "--nodes 1", "say --nodes 3"]);
    let ran = dev("2", ":state\n").ended_with(0);
    assert_eq!(ran.answers()[0]["state"], json!(["kept"]), "two of three are a majority");
    dev("4", ":state\n").ended_with(0);
}

#[test]
fn a_wiped_node_says_when_it_has_its_vote() {
    let ran =
        dev(&[], ":kill a\n:kill b\n:restart b --wiped\n:status\n:restart a\nappend \"x\"\n:restart c\n").ended_with(0);
    let answers = ran.answers();
    assert_eq!(answers[3]["status"][1]["votes"], false, "{}", answers[3]);
    let notice = answers[3]["status"][1]["notice"].as_str().unwrap_or_default();
    assert!(notice.contains("as a new node"), "{notice}");
    assert_eq!(answers[3]["status"][2]["votes"], true);
    assert_eq!(answers[6], json!({"restarted": "c", "wiped": false, "was_up": true}));
}

#[test]
fn an_outcome_can_be_asked_for_again() {
    let ran = dev(&["--deadline", "500ms"], ":partition a | b c\n@a append \"x\"\n:heal\nappend \"y\"\n").ended_with(1);
    let lost = ran.answers()[1].clone();
    assert!(lost.get("unknown").or(lost.get("never_proposed")).is_some(), "{lost}");
    // Of an id that was never used nothing is known; the answer has the shape of every other.
    let ran = dev(&[], ":outcome nonsense\n:outcome\n").ended_with(1);
    let answers = ran.answers();
    assert_eq!(answers[0]["outcome"], "nonsense", "{}", answers[0]);
    assert!(answers[1]["error"].as_str().is_some_and(|error| error.contains("the request id is missing")));
}

#[test]
fn findings_of_the_development_check_are_told_by_the_exit_status() {
    let input = "add\n".repeat(20);
    let ran = conflux(&["dev".as_ref(), container("hidden.js").as_os_str()], &input);
    assert!(ran.stderr.contains("hidden.js"), "{}", ran.stderr);
    assert!([1, 6].contains(&ran.status), "{}: {}", ran.status, ran.stderr);
    // One node cannot differ from itself.
    let ran = conflux(&["dev".as_ref(), container("hidden.js").as_os_str(), "--nodes".as_ref(), "1".as_ref()], &input);
    ran.ended_with(1);
}

#[test]
fn a_slow_container_lets_no_line_pass_its_deadline() {
    // All lines together take many times the deadline.
    let input = "append 60000\n".repeat(600);
    let app = container("slow.js");
    let arguments = ["dev".as_ref(), app.as_os_str(), "--no-check".as_ref(), "--deadline".as_ref(), "2s".as_ref()];
    let ran = conflux(&arguments, &input).ended_with(0);
    assert_eq!(ran.answers().len(), 600);
}

/// Runs `dev` on endless input, sends it a signal once there are answers, and gives what it wrote and its exit status.
#[cfg(unix)]
fn signalled(signal: &str, app: &str, line: &str) -> (usize, String, Option<i32>, std::time::Duration) {
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};
    let mut child = Command::new(env!("CARGO_BIN_EXE_conflux"))
        .arg("dev")
        .arg(container(app))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built for this test");
    let mut stdin = child.stdin.take().expect("it is piped");
    let line = format!("{line}\n");
    // Endless: only the signal ends the program.
    let feed = std::thread::spawn(move || while stdin.write_all(line.as_bytes()).is_ok() {});
    let mut stdout = BufReader::new(child.stdout.take().expect("it is piped"));
    let mut first = String::new();
    stdout.read_line(&mut first).expect("the first answer comes");
    let sent = Command::new("kill").args([signal, &child.id().to_string()]).status().expect("every Unix has kill");
    assert!(sent.success());
    let begun = std::time::Instant::now();
    let rest = std::thread::spawn(move || stdout.lines().count());
    let output = child.wait_with_output().expect("the program ends");
    let took = begun.elapsed();
    feed.join().expect("the input does not panic");
    let answers = 1 + rest.join().expect("answers are read");
    (answers, String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code(), took)
}

#[cfg(unix)]
#[test]
fn signals_end_it_cleanly() {
    for (signal, how, status) in [("-INT", "interrupted", 130), ("-TERM", "terminated", 143), ("-HUP", "hung up", 129)]
    {
        let (answers, stderr, code, _) = signalled(signal, "words.js", "append \"a\"");
        assert_eq!(code, Some(status), "{stderr}");
        assert!(stderr.contains(&format!("{how}: {answers} lines were answered")), "{answers}: {stderr}");
        assert!(stderr.lines().any(|line| line.starts_with("id ")), "{stderr}");
    }
}

#[cfg(unix)]
#[test]
fn a_slow_container_is_interrupted_all_the_same() {
    let (_, stderr, code, took) = signalled("-INT", "slow.js", "append 400000");
    assert_eq!(code, Some(130), "{stderr}");
    assert!(stderr.contains("interrupted: "), "{stderr}");
    // Two and a half seconds at most, and some for a machine that is busy.
    assert!(took < std::time::Duration::from_secs(4), "{took:?}");
}
