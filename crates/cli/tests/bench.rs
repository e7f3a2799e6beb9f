//! `conflux bench`, as its users run it.

mod common;

use common::conflux;

#[test]
fn programs_get_a_row_for_each_number_of_callers() {
    let ran = conflux(&["bench", "--callers", "1,8", "--seconds", "0.2", "--json"], "").ended_with(0);
    let answers = ran.answers();
    let [bench] = answers.as_slice() else { panic!("one object, not {answers:?}") };
    assert_eq!((&bench["nodes"], &bench["channel"], &bench["at"]), (&3.into(), &"memory".into(), &"leader".into()));
    let rows = bench["rows"].as_array().expect("rows are an array");
    assert_eq!(rows.iter().map(|row| row["callers"].as_u64()).collect::<Vec<_>>(), [Some(1), Some(8)]);
    for row in rows {
        assert!(row["performs_per_second"].as_f64() > Some(0.0) && row["p50_us"].as_f64() > Some(0.0), "{row}");
        assert_eq!(row["failed"], 0);
    }
}

#[test]
fn people_get_a_table() {
    let ran =
        conflux(&["bench", "--callers", "2", "--performs", "1000", "--nodes", "1", "--at", "all"], "").ended_with(0);
    assert!(ran.stdout.contains("callers") && ran.stdout.contains("p999"), "{}", ran.stdout);
    assert_eq!(ran.stdout.lines().filter(|line| line.contains(" performs: ")).count(), 10, "{}", ran.stdout);
}

#[test]
fn as_many_callers_as_are_allowed_all_get_an_answer() {
    let ran =
        conflux(&["bench", "--callers", "66000", "--performs", "200000", "--nodes", "1", "--json"], "").ended_with(0);
    let row = ran.answers()[0]["rows"][0].clone();
    assert_eq!((&row["callers"], &row["performs"], &row["failed"]), (&66_000.into(), &200_000.into(), &0.into()));
    conflux(&["bench", "--callers", "600000"], "").refused_with(&["'600000'", "--callers", "from 1 to 524288"]);
}

#[test]
fn processes_with_disks_are_measured_beside_what_the_machine_can_do() {
    let data = tempfile::tempdir().expect("there is a directory for temporary files");
    let path = data.path().to_str().expect("the path is UTF-8");
    for at in ["leader", "follower"] {
        let arguments =
            ["bench", "--channel", "tcp", "--callers", "1", "--seconds", "0.2", "--at", at, "--limits", "--json"];
        let ran = conflux(&[arguments.as_slice(), &["--data", path]].concat(), "").ended_with(0);
        let bench = ran.answers()[0].clone();
        assert_eq!(
            (&bench["channel"], &bench["at"], &bench["rows"][0]["failed"]),
            (&"tcp".into(), &at.into(), &0.into())
        );
        let number = |value: &serde_json::Value| value.as_f64().expect("a number");
        let floor = number(&bench["limits"]["append_and_two_round_trips_us"]);
        let round_trip = number(&bench["limits"]["loopback_round_trip"]["p50_us"]);
        assert!(round_trip > 0.0 && floor > 2.0 * round_trip, "{bench}");
        assert!(
            number(&bench["rows"][0]["p50_us"]) > round_trip,
            "another process has it before it is answered: {bench}"
        );
        let left = std::fs::read_dir(path).expect("it is there").count();
        assert_eq!(left, 0, "the disks are gone");
    }
}

#[test]
fn disks_can_be_had_in_one_process_too() {
    let data = tempfile::tempdir().expect("there is a directory for temporary files");
    let path = data.path().to_str().expect("the path is UTF-8");
    let ran = conflux(&["bench", "--callers", "2", "--seconds", "0.1", "--data", path, "--limits"], "").ended_with(0);
    assert!(ran.stdout.contains("4 KiB appended, fdatasync"), "{}", ran.stdout);
}

#[test]
fn a_script_is_measured_by_a_line() {
    let place = tempfile::tempdir().expect("there is a directory for temporary files");
    let file = place.path().join("counter.js");
    let script = "export const initialState = 0
export const methods = { add: (_, number) => ({ type: 'ADD', number }) }
export const reduce = (count, action) => count + action.number";
    std::fs::write(&file, script).expect("there is room");
    let app = file.to_str().expect("the path is UTF-8");
    for channel in ["memory", "tcp"] {
        let arguments = ["bench", app, "--call", "add 1", "--callers", "2", "--performs", "50", "--json"];
        let ran = conflux(&[&arguments[..], &["--channel", channel]].concat(), "").ended_with(0);
        let bench = ran.answers()[0].clone();
        assert_eq!((&bench["rows"][0]["failed"], &bench["container"]), (&0.into(), &app.into()), "{bench}");
    }
    conflux(&["bench", app], "").refused_with(&["--call"]);
    conflux(&["bench", "--call", "add 1"], "").refused_with(&["APP.js"]);
    conflux(&["bench", app, "--call", "subtract 1"], "").refused_with(&["--call", "subtract"]);
}

#[test]
fn usage_errors_name_the_thing() {
    conflux(&["bench", "--channel", "tcp", "--at", "all"], "").refused_with(&["--at all", "leader or follower"]);
    conflux(&["bench", "--nodes", "1", "--at", "follower"], "").refused_with(&["--at follower", "--nodes is 1"]);
    conflux(&["bench", "--channel", "tcp", "--data", "/dev/null/x"], "").refused_with(&["/dev/null/x"]);
    conflux(&["bench", "--callers", "0"], "").refused_with(&["'0'", "--callers"]);
    conflux(&["bench", "--seconds", "soon"], "").refused_with(&["'soon'", "--seconds"]);
    conflux(&["bench", "--channel", "pigeon"], "").refused_with(&["'pigeon'", "--channel", "memory"]);
    conflux(&["bench", "--nodes", "65"], "").refused_with(&["'65'", "--nodes", "from 1 to 64"]);
}
