//! Standard output that is closed or full: the program never panics, and says what there is to say.

#![cfg(unix)]

mod common;

use std::ffi::OsString;
use std::process::Stdio;

use common::{conflux, conflux_into, container, directory};

/// Commands that write to standard output, and their input.
fn commands(name: &str) -> Vec<(Vec<OsString>, &'static str)> {
    let app = container("words.js").into_os_string();
    let directory = directory(name);
    let text = |parts: &[&str]| parts.iter().map(OsString::from).collect::<Vec<_>>();
    let mut node = text(&["node"]);
    node.push(app.clone());
    node.extend(text(&["--id", "a", "--cluster-size", "1", "--listen", "127.0.0.1:0", "--check"]));
    vec![
        (vec!["dev".into(), app.clone()], "append \"a\"\nappend \"b\"\n"),
        (vec!["check".into(), app.clone(), "-".into()], "append \"a\"\nappend foo\n"),
        (text(&["bench", "--callers", "1", "--performs", "100", "--nodes", "1"]), ""),
        (text(&["bench", "--callers", "1", "--performs", "100", "--nodes", "1", "--json"]), ""),
        (vec!["init".into(), directory.join("app").into_os_string()], ""),
        (vec!["tls".into(), "init".into(), directory.join("tls").into_os_string(), "--names".into(), "a".into()], ""),
        (node, ""),
        (text(&["--help"]), ""),
    ]
}

#[test]
fn a_closed_output_ends_it_quietly() {
    for (arguments, input) in commands("closed-output") {
        let (reader, writer) = std::io::pipe().expect("every Unix has pipes");
        drop(reader);
        let ran = conflux_into(&arguments, input, Stdio::from(writer));
        assert!(!ran.stderr.contains("panicked"), "{arguments:?}: {}", ran.stderr);
        // Lines of `dev` took effect, and nobody has the answers, as nobody has what `check` and `bench` found. The others
        // had nothing to say that matters.
        let answers = ["dev", "check", "bench"].iter().any(|command| arguments[0] == *command);
        let expected = if answers { 141 } else { 0 };
        assert_eq!(ran.status, expected, "{arguments:?}: {}", ran.stderr);
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_output_is_told() {
    for (arguments, input) in commands("full-output") {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("every Linux has it");
        let ran = conflux_into(&arguments, input, Stdio::from(full));
        assert!(!ran.stderr.contains("panicked"), "{arguments:?}: {}", ran.stderr);
        assert_eq!(ran.status, 1, "{arguments:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("standard output cannot be written: "), "{arguments:?}: {}", ran.stderr);
    }
}

#[test]
fn what_an_unread_output_announces_is_done() {
    let at = directory("unread-init").join("app");
    let (reader, writer) = std::io::pipe().expect("every Unix has pipes");
    drop(reader);
    conflux_into(&["init".as_ref(), at.as_os_str()], "", Stdio::from(writer)).ended_with(0);
    assert!(["app.js", "conflux.d.ts", "lines.txt", "README.md"].iter().all(|name| at.join(name).exists()));
}

#[cfg(target_os = "linux")]
#[test]
fn no_input_is_read_without_bound() {
    conflux(&["dev", "/dev/zero"], "").refused_with(&["/dev/zero", "bytes"]);
    let app = container("words.js");
    let ran = conflux(&["check".as_ref(), app.as_os_str(), "/dev/zero".as_ref()], "").ended_with(1);
    assert!(ran.stdout.contains("it is no list of lines"), "{}", ran.stdout);
}
