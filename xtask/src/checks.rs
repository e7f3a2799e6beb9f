//! What CI checks.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::examples::{self, Compare};
use crate::steps::{Failure, Steps, run};
use crate::{instructions, readme, selects, tools, words};

/// Everything; the quick form leaves out documentation, examples and chaos.
pub(crate) fn test(root: &Path, quick: bool, keep_going: bool) -> bool {
    let mut steps = Steps::new(root, if quick { 6 } else { 17 }, keep_going);
    steps.step("set-up", set_up);
    steps.cargo("format", "cargo fmt --all --check", &[]);
    steps.step("select!", selects::check);
    steps.cargo("clippy", "cargo clippy --workspace --all-targets -- -D warnings", &[]);
    // With all targets, so that the tests and the examples below share what is built here.
    steps.cargo("build", BUILD, &[]);
    steps.cargo("tests", "cargo nextest run --workspace", &[]);
    if !quick {
        steps.cargo("tests in documentation", "cargo test --doc --workspace", &[]);
        steps.cargo("documentation", "cargo doc --workspace --no-deps", &[("RUSTDOCFLAGS", "-D warnings")]);
        steps.step("examples", |root| examples::all(root, Compare::Check));
        steps.step("README", readme::check);
        steps.step("the words of 2016", words::check);
        steps.step("seeds of this commit", seeds_of_this_commit);
        steps.step("instructions", |root| instructions::check(root, false));
        // Built apart: nothing else may have bugs planted in it.
        steps.cargo("planted bugs", PLANTED, &[]);
        steps.cargo("chaos", "cargo xtask chaos --minutes 1 --seed 1 --network proxies", &[]);
        for (what, channel) in [("chaos by Redis", "redis"), ("chaos by a relay", "relay")] {
            let faults = "kill,partition,wipe,server";
            let command = format!(
                "cargo xtask chaos --minutes 0.3 --seed 2 --channel {channel} --network proxies --faults {faults}"
            );
            steps.cargo(what, &command, &[]);
        }
    }
    steps.finish()
}

/// Writes the outputs of the examples as what is expected of them.
pub(crate) fn bless(root: &Path) -> bool {
    let mut steps = Steps::new(root, 2, false);
    steps.cargo("build", BUILD, &[]);
    steps.step("examples", |root| examples::all(root, Compare::Write));
    println!("\nLook at what changed in {} before you keep it.", steps.root().join("examples").display());
    steps.finish()
}

/// How many seeds of the simulation are run that no commit before had.
const SEEDS: u64 = 60;

/// Simulates seeds that follow from the commit: each one looks where none has looked before, and can be looked at again.
fn seeds_of_this_commit(root: &Path) -> Result<(), Failure> {
    let head = Command::new("git").args(["rev-parse", "HEAD"]).current_dir(root).output();
    let head = head.map_err(|error| format!("git does not say which commit this is: {error}"))?;
    let head = String::from_utf8_lossy(&head.stdout).trim().to_owned();
    let digits = head.get(..8).ok_or("git does not say which commit this is: is this a clone of the repository?")?;
    let from = u64::from_str_radix(digits, 16).map_err(|error| format!("{head:?} is no commit: {error}"))?;
    let seeds = format!("{from}..{}", from + SEEDS);
    // The whole workspace, so that nothing is built once more; tests of their own processes, with no end to their patience.
    let line = "cargo nextest run --workspace --no-capture -E test(=of_the_environment)|test(=second_opinion::of_the_environment)";
    run(root, line, &[("SIM_SEEDS", &seeds)])
}

/// Each bug is found by the simulation, and is what it says by a small test where it is planted.
const PLANTED: &str = "cargo nextest run -p conflux-core -p conflux -p conflux-sim --features conflux-sim/bugs --lib \
    --test bugs -E binary(bugs)|test(planted)|test(taken_for_a_tear)";

const BUILD: &str = "cargo build --workspace --all-targets";

/// Installs what is missing. The toolchain itself is given.
fn set_up(root: &Path) -> Result<(), Failure> {
    if is_there(&["nextest", "--version"]) {
        println!("     cargo-nextest is there");
    } else {
        println!("     cargo-nextest is missing, so it is installed");
        run(root, "cargo install --locked cargo-nextest", &[])?;
    }
    for (component, arguments) in [("rustfmt", ["fmt", "--version"]), ("clippy", ["clippy", "--version"])] {
        if !is_there(&arguments) {
            println!("     {component} is missing, so it is installed");
            run(root, &format!("rustup component add {component}"), &[])?;
        }
    }
    tools::set_up(root)
}

fn is_there(arguments: &[&str]) -> bool {
    let mut command = Command::new("cargo");
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
