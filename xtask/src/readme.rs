//! What the README shows is what happens. (Its Rust code is compiled and run as a test of the crate `conflux`.)

use std::path::Path;
use std::time::Duration;

use crate::examples::{built, read};
use crate::steps::{Failure, feed};

/// What stands before the arguments of the program in a command of the README.
const PROGRAM: &str = "cargo run --release -- ";

const PATIENCE: Duration = Duration::from_secs(60);

/// Runs its commands, and compares what it shows with the files that are tested.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let text = read(&root.join("README.md"))?;
    // The examples' outputs were compared with these files before.
    for (file, what) in [
        ("examples/words.js", "the container in JavaScript"),
        ("examples/conflux-2016.js", "the container in the form of 2016"),
        ("examples/words.lines", "the lines of the session"),
        ("examples/words.expected", "the answers of the session"),
    ] {
        let shown = read(&root.join(file))?;
        if !text.contains(shown.trim_end()) {
            return Err(format!("README.md does not show {what} as it is in {file}"));
        }
        println!("     shows {file} as it is");
    }
    // What a shell would strip: the prompt, a comment, and where the input comes from.
    for line in text.lines() {
        let line = line.trim().trim_start_matches("$ ");
        let Some(rest) = line.strip_prefix(PROGRAM) else { continue };
        let rest = rest.split(" #").next().unwrap_or(rest).trim();
        let (arguments, input) = match rest.split_once(" < ") {
            Some((arguments, file)) => (arguments, read(&root.join(file.trim()))?),
            None => (rest, String::new()),
        };
        println!("     {PROGRAM}{rest}");
        let arguments: Vec<&str> = arguments.split_whitespace().collect();
        // In the profile that everything else was built in.
        let ran = feed(root, &built(root, "conflux"), &arguments, &input, PATIENCE)?;
        if ran.status != Some(0) {
            return Err(format!(
                "a command of README.md ended with {:?}: {line}\n{}{}",
                ran.status, ran.stdout, ran.stderr
            ));
        }
    }
    Ok(())
}
