//! Running the built program.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// What the program wrote, and how it ended.
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: i32,
}

impl Ran {
    /// Every line of the output as JSON.
    pub(crate) fn answers(&self) -> Vec<Value> {
        let parse = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?} is no JSON: {error}"));
        self.stdout.lines().map(parse).collect()
    }

    /// The last column of the table, by the id in its first; a node that is down has `-`.
    pub(crate) fn digests(&self) -> Vec<(String, String)> {
        let rows = self.stderr.lines().skip_while(|line| !line.starts_with("id ")).skip(1);
        let cells = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
        cells.take_while(|cells| cells.len() == 5).map(|cells| (cells[0].to_owned(), cells[4].to_owned())).collect()
    }

    /// Asserts an exit status, and shows everything if it was another.
    #[track_caller]
    pub(crate) fn ended_with(self, status: i32) -> Ran {
        assert_eq!(self.status, status, "\n--- stdout\n{}\n--- stderr\n{}", self.stdout, self.stderr);
        self
    }

    /// Asserts a usage error: status 2, nothing on the output, one line that holds all of `parts`.
    #[track_caller]
    pub(crate) fn refused_with(self, parts: &[&str]) {
        let ran = self.ended_with(2);
        assert_eq!(ran.stdout, "");
        assert_eq!(ran.stderr.lines().count(), 1, "{}", ran.stderr);
        assert!(parts.iter().all(|part| ran.stderr.contains(part)), "{:?} lacks one of {parts:?}", ran.stderr);
    }
}

/// Runs the program to its end with an input.
pub(crate) fn conflux<A: AsRef<std::ffi::OsStr>>(arguments: &[A], input: &str) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_conflux"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built for this test");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    // A program that refuses its arguments reads nothing.
    let feed = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("the program ends");
    feed.join().expect("the input does not panic");
    Ran {
        stdout: String::from_utf8(output.stdout).expect("answers are UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("messages are UTF-8"),
        status: output.status.code().expect("the program is not killed by a signal"),
    }
}

/// Runs the program with its output going into `output`.
pub(crate) fn conflux_into<A: AsRef<std::ffi::OsStr>>(arguments: &[A], input: &str, output: Stdio) -> Ran {
    let mut child = Command::new(env!("CARGO_BIN_EXE_conflux"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(output)
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program was built for this test");
    let mut stdin = child.stdin.take().expect("it is piped");
    let input = input.to_owned();
    let feed = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("the program ends");
    feed.join().expect("the input does not panic");
    Ran {
        stdout: String::new(),
        stderr: String::from_utf8(output.stderr).expect("messages are UTF-8"),
        status: output.status.code().expect("the program is not killed by a signal"),
    }
}

/// A node in a process of its own, which goes with the test.
pub(crate) struct Node {
    child: Child,
    /// Where it serves HTTP.
    pub(crate) at: String,
}

impl Node {
    /// A cluster of one.
    pub(crate) fn start(app: &Path, options: &[&str]) -> Node {
        let mut child = Command::new(env!("CARGO_BIN_EXE_conflux"))
            .arg("node")
            .arg(app)
            .args(["--id", "a", "--cluster-size", "1", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(options)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program was built for this test");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let said = lines.find_map(|line| {
            let line = line.expect("it is text");
            Some(line.split_once("serves http://")?.1.split(',').next()?.to_owned())
        });
        // What it says later has to go somewhere.
        std::thread::spawn(move || lines.for_each(drop));
        Node { child, at: said.expect("it says where it serves") }
    }

    pub(crate) fn ask(&self, arguments: &[&str]) -> Ran {
        conflux(&[arguments, &["--at", &self.at]].concat(), "")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A container that the tests bring along.
pub(crate) fn container(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/containers").join(name)
}

/// A new, empty directory.
pub(crate) fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    if path.exists() {
        std::fs::remove_dir_all(&path).expect("it was made by an earlier run");
    }
    std::fs::create_dir_all(&path).expect("cargo's directory is writable");
    path
}
