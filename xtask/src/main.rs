//! Developer commands: `cargo xtask --help`.
//!
//! Little but the standard library, so that it is built in a moment.

mod bench;
#[cfg(unix)]
mod chaos;
mod checks;
mod examples;
mod instructions;
mod readme;
mod selects;
mod soak;
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
          --quick         leave out documentation, examples and chaos
          --keep-going    do not stop at the first step that fails
  chaos [--minutes N] [--seed N] [--nodes N] [--channel tcp|redis|relay] [--faults KIND,...]
          kill, stop, part, wipe, add and remove real nodes while clients call, and check every answer:
          `cargo xtask chaos --help` says more
  soak [--minutes N] [--from SEED]
          seeds of the simulation, for as long as one likes
  bench [compare|alone]
          conflux beside its peers and the limits of the machine, and by itself: `cargo xtask bench --help` says more
  instructions [--bless]
          count the instructions of the core's hot paths, against those that are known
          --bless         what is counted is what is known from now on
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
        ["chaos", words @ ..] => return chaos(words),
        ["soak", words @ ..] => return soak(words),
        ["instructions"] => told(instructions::check(&root(), false)),
        ["instructions", "--bless"] => told(instructions::check(&root(), true)),
        ["bench", "--help" | "-h"] => {
            println!("{}", bench::HELP);
            return ExitCode::SUCCESS;
        }
        ["bench", words @ ..] => told(bench::bench(&root(), words)),
        ["help" | "--help" | "-h"] | ["test" | "bless" | "instructions", "--help" | "-h"] => {
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

/// Whether it went well; says why not.
fn told(done: Result<(), steps::Failure>) -> bool {
    done.inspect_err(|failure| eprintln!("\n{failure}")).is_ok()
}

#[cfg(unix)]
fn chaos(words: &[&str]) -> ExitCode {
    if words.iter().any(|word| matches!(*word, "--help" | "-h")) {
        println!("{}", chaos::options::HELP);
        return ExitCode::SUCCESS;
    }
    let options = match chaos::options::Options::parse(words) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("xtask: {wrong} (see `cargo xtask chaos --help`)");
            return ExitCode::from(2);
        }
    };
    let root = root();
    match chaos::run(&root, &examples::built(&root, "conflux"), &options) {
        Ok(chaos::Ended::Good) => ExitCode::SUCCESS,
        Ok(chaos::Ended::Interrupted) => ExitCode::from(130),
        Err(failure) => {
            eprintln!("\n{failure}");
            ExitCode::FAILURE
        }
    }
}

#[cfg(not(unix))]
fn chaos(_: &[&str]) -> ExitCode {
    eprintln!("xtask: chaos sends signals: it needs a Unix system");
    ExitCode::from(2)
}

fn soak(words: &[&str]) -> ExitCode {
    if words.iter().any(|word| matches!(*word, "--help" | "-h")) {
        println!("{}", soak::HELP);
        return ExitCode::SUCCESS;
    }
    match soak::Options::parse(words) {
        Ok(options) => match soak::soak(&root(), &options) {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                eprintln!("\n{failure}");
                ExitCode::FAILURE
            }
        },
        Err(wrong) => {
            eprintln!("xtask: {wrong} (see `cargo xtask soak --help`)");
            ExitCode::from(2)
        }
    }
}

/// The directory of the workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in the workspace").to_owned()
}
