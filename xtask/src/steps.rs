//! Steps that are run one after another, until one fails.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// What went wrong, for people.
pub(crate) type Failure = String;

/// How a run of steps has gone so far.
pub(crate) struct Steps {
    root: PathBuf,
    count: usize,
    keep_going: bool,
    /// What was run, for how long, and whether it went well.
    done: Vec<(&'static str, Duration, bool)>,
    begun: Instant,
}

impl Steps {
    /// A run of `count` steps in a directory, to the first failure unless told to keep going.
    pub(crate) fn new(root: &Path, count: usize, keep_going: bool) -> Self {
        Steps { root: root.to_owned(), count, keep_going, done: Vec::new(), begun: Instant::now() }
    }

    /// The directory.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn failed(&self) -> impl Iterator<Item = &'static str> {
        self.done.iter().filter(|(_, _, good)| !good).map(|(name, _, _)| *name)
    }

    /// Runs a step, unless one before it failed.
    pub(crate) fn step(&mut self, name: &'static str, work: impl FnOnce(&Path) -> Result<(), Failure>) {
        if !self.keep_going && self.failed().next().is_some() {
            return;
        }
        println!("\n==== {}/{} {name}", self.done.len() + 1, self.count);
        let begun = Instant::now();
        let result = work(&self.root);
        self.done.push((name, begun.elapsed(), result.is_ok()));
        if let Err(failure) = result {
            eprintln!("\n{failure}");
        }
    }

    /// Runs one command as a step.
    pub(crate) fn cargo(&mut self, name: &'static str, line: &str, environment: &[(&str, &str)]) {
        self.step(name, |root| run(root, line, environment));
    }

    /// Prints the summary; `true` when all went well.
    pub(crate) fn finish(self) -> bool {
        println!();
        for (name, elapsed, good) in &self.done {
            println!("{:>6}  {:>7.1} s  {name}", if *good { "ok" } else { "FAILED" }, elapsed.as_secs_f64());
        }
        let all = self.begun.elapsed().as_secs_f64();
        let failed: Vec<&str> = self.failed().collect();
        let left = self.count - self.done.len();
        match failed.as_slice() {
            [] => println!("all {} steps passed in {all:.1} s", self.count),
            failed => println!("failed after {all:.1} s: {}; {left} steps were not run", failed.join(", ")),
        }
        failed.is_empty()
    }
}

/// Runs a command line whose words are parted by spaces, with its output shown.
pub(crate) fn run(root: &Path, line: &str, environment: &[(&str, &str)]) -> Result<(), Failure> {
    let shown: String = environment.iter().map(|(name, value)| format!("{name}='{value}' ")).collect();
    let shown = format!("{shown}{line}");
    println!("     {shown}");
    let mut command = typed(root, line);
    let status = command.envs(environment.iter().copied()).status();
    let status = status.map_err(|error| format!("cannot run: {shown}\n{error}"))?;
    if status.success() { Ok(()) } else { Err(format!("failed ({status}): {shown}")) }
}

/// A command line whose words are parted by spaces, as if it were typed by hand.
pub(crate) fn typed(root: &Path, line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().expect("a command line has a program"));
    command.args(words).current_dir(root);
    // What cargo tells this program of itself. `ring` is built anew when any of it is another than the last time, and with it
    // most of the workspace: once here, and once at the next command that is typed by hand.
    for (name, _) in std::env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command
}

/// What a program printed, and its exit status.
pub(crate) struct Ran {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: Option<i32>,
}

/// Runs a program to its end with an input, and ends it when that takes longer than `patience`.
pub(crate) fn feed(
    root: &Path,
    program: &Path,
    arguments: &[&str],
    input: &str,
    patience: Duration,
) -> Result<Ran, Failure> {
    let shown = [&[program.to_str().unwrap_or("program")], arguments].concat().join(" ");
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(|error| format!("cannot run: {shown}\n{error}"))?;
    let mut stdin = child.stdin.take().expect("it is piped");
    let (mut out, mut err) = (child.stdout.take().expect("it is piped"), child.stderr.take().expect("it is piped"));
    let input = input.to_owned();
    // A program may end before it has read everything.
    thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let stdout = thread::spawn(move || std::io::read_to_string(&mut out));
    let stderr = thread::spawn(move || std::io::read_to_string(&mut err));
    let deadline = Instant::now() + patience;
    let status = loop {
        match child.try_wait().map_err(|error| format!("cannot wait for: {shown}\n{error}"))? {
            Some(status) => break status,
            None if Instant::now() < deadline => thread::sleep(Duration::from_millis(10)),
            None => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("still running after {patience:?}: {shown}"));
            }
        }
    };
    let text = |reader: thread::JoinHandle<std::io::Result<String>>| {
        reader.join().expect("reading does not panic").map_err(|error| format!("no text came from: {shown}\n{error}"))
    };
    Ok(Ran { stdout: text(stdout)?, stderr: text(stderr)?, status: status.code() })
}
