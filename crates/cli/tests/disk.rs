//! Data directories that are not what they are given for.

mod common;

use std::fs;
use std::path::Path;

use common::{conflux, container, directory};

fn node(data: &Path) -> common::Ran {
    let app = container("words.js");
    let flags = ["--id", "a", "--listen", "127.0.0.1:0", "--cluster-size", "1", "--check", "--data"];
    let mut arguments = vec!["node".as_ref(), app.as_os_str()];
    arguments.extend(flags.iter().map(std::ffi::OsStr::new));
    arguments.push(data.as_os_str());
    conflux(&arguments, "")
}

#[test]
fn a_directory_of_something_else_is_refused() {
    let junk = directory("junk");
    fs::create_dir_all(&junk).expect("it is made");
    fs::write(junk.join("notes.txt"), "mine").expect("it is written");
    let ran = node(&junk).ended_with(2);
    assert!(ran.stderr.contains("is no data directory: it holds \"notes.txt\""), "{}", ran.stderr);
    assert_eq!(fs::read_dir(&junk).expect("it is read").count(), 1, "nothing was left there");
    let ran = node(&junk.join("notes.txt")).ended_with(2);
    assert!(ran.stderr.contains("is no data directory: it is no directory"), "{}", ran.stderr);
}

#[test]
fn a_copy_is_recovered_when_it_is_meant() {
    let (data, app) = (directory("to-copy"), container("words.js"));
    let dev = ["dev".as_ref(), app.as_os_str(), "--nodes".as_ref(), "1".as_ref(), "--data".as_ref(), data.as_os_str()];
    conflux(&dev, "append \"foo\"\n").ended_with(0);
    let copy = directory("the-copy");
    fs::create_dir_all(&copy).expect("it is made");
    for file in fs::read_dir(data.join("a")).expect("it is read") {
        let file = file.expect("it is read");
        fs::copy(file.path(), copy.join(file.file_name())).expect("it is copied");
    }
    let recover = |flags: &[&str]| {
        let mut arguments = vec![
            "recover".as_ref(),
            app.as_os_str(),
            "--id".as_ref(),
            "a".as_ref(),
            "--data".as_ref(),
            copy.as_os_str(),
        ];
        arguments.extend(flags.iter().map(std::ffi::OsStr::new));
        conflux(&arguments, "")
    };
    let ran = recover(&["--yes"]).ended_with(2);
    assert!(ran.stderr.contains("say --moved"), "{}", ran.stderr);
    recover(&["--moved", "--dry-run"]).ended_with(0);
    // A dry run takes nothing over.
    recover(&["--yes"]).ended_with(2);
    let ran = recover(&["--moved", "--yes"]).ended_with(0);
    assert!(ran.stdout.contains("done: "), "{}", ran.stdout);
    node(&copy).ended_with(0);
}
