//! Developer commands: `cargo xtask --help`.
//!
//! Nothing but the standard library, so that it is built in a moment.

mod checks;
mod examples;
mod readme;
mod steps;
mod tools;
mod words;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

const HELP: &str = "\
Developer commands of conflux.

Usage: cargo xtask COMMAND

Commands:
  test [--quick] [--keep-going]
          everything that CI checks, and the set-up for it
          --quick         leave out documentation and examples
          --keep-going    do not stop at the first step that fails
  bless   run the examples, and write what they print as what is expected of them
  help    this text";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match arguments.as_slice() {
        ["test", flags @ ..] if flags.iter().all(|flag| matches!(*flag, "--quick" | "--keep-going")) => {
            checks::test(&root(), flags.contains(&"--quick"), flags.contains(&"--keep-going"))
        }
        ["bless"] => checks::bless(&root()),
        ["help" | "--help" | "-h"] | ["test" | "bless", "--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        [] => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
        other => {
            eprintln!("xtask: there is no command {:?} (see `cargo xtask --help`)", other.join(" "));
            return ExitCode::from(2);
        }
    };
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The directory of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in the workspace").to_owned()
}
