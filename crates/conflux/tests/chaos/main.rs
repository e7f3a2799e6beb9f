//! Chaos in one process: nodes are killed, wiped, parted and rained on while callers call and subscribers listen. Time
//! and chance belong to the harness: a seed is a run, the same one each time.
//!
//! `CHAOS_SEED=7 cargo nextest run -p conflux --test chaos the_seeds_of_the_environment --no-capture` runs one seed and
//! prints what happens; `CHAOS_SEEDS=1000..2000` runs others.

mod callers;
mod checks;
mod container;
mod faults;
mod plan;
mod record;
mod run;
mod subscribers;
mod tally;
mod trace;
mod world;

use std::fmt::Write;
use std::ops::Range;
use std::process::Command;

use tally::Tally;

/// Runs seeds, and fails with all that they broke.
fn hold(seeds: Range<u64>) -> Tally {
    let mut tally = Tally::default();
    let mut failures = String::new();
    let mut failed = Vec::new();
    for seed in seeds {
        let report = run::run(seed, false);
        tally.add(&report.tally);
        if !report.broken.is_empty() {
            failed.push(seed);
            let _ = writeln!(failures, "seed {seed}:");
            for broken in report.broken.iter().take(10) {
                let _ = writeln!(failures, "    {broken}");
            }
        }
    }
    assert!(failures.is_empty(), "seeds {failed:?} break promises (CHAOS_SEED=n shows one):\n{failures}");
    tally
}

/// As [`hold`], for so many seeds that everything must have happened.
fn hold_all(seeds: Range<u64>) {
    let tally = hold(seeds);
    println!("{tally}");
    let missing = tally.missing();
    assert!(missing.is_empty(), "these never happened: {missing:?}\n{tally}");
}

macro_rules! seeds {
    ($($name:ident: $seeds:expr;)*) => {
        $(#[test]
        fn $name() {
            hold_all($seeds);
        })*
    };
}

seeds! {
    seeds_0_to_24: 0..25;
    seeds_25_to_49: 25..50;
    seeds_50_to_74: 50..75;
    seeds_75_to_99: 75..100;
    seeds_100_to_124: 100..125;
    seeds_125_to_149: 125..150;
    seeds_150_to_174: 150..175;
    seeds_175_to_199: 175..200;
}

#[test]
fn the_seeds_of_the_environment() {
    if let Some(seed) = number("CHAOS_SEED") {
        // With RUST_LOG, what the engine says is printed in between.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        tracing_subscriber::fmt().with_env_filter(filter).without_time().with_ansi(false).with_test_writer().init();
        let report = run::run(seed, true);
        println!("{}", report.tally);
        println!("{} actions", report.actions);
        println!("{HASH}{:016x}", report.hash);
        assert!(report.broken.is_empty(), "seed {seed} breaks promises:\n{}", report.broken.join("\n"));
    } else if let Ok(range) = std::env::var("CHAOS_SEEDS") {
        let (from, to) = range.split_once("..").expect("CHAOS_SEEDS is a range, from..to");
        let number = |text: &str| text.parse::<u64>().expect("CHAOS_SEEDS is a range of numbers, from..to");
        println!("{}", hold(number(from)..number(to)));
    }
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is a number, not {text:?}")))
}

/// What comes before the hash in the output of one seed.
const HASH: &str = "trace hash ";

#[test]
fn a_seed_is_one_trace() {
    for seed in 0..12 {
        let (first, second) = (run::run(seed, false), run::run(seed, false));
        assert_eq!(
            first.hash, second.hash,
            "seed {seed} went another way; its end:\n{}\n\n{}",
            first.tail, second.tail
        );
    }
}

#[test]
fn a_seed_is_one_trace_in_another_process() {
    // The program that runs, even if another was built to its path meanwhile: that one may go another way.
    let running = std::path::PathBuf::from("/proc/self/exe");
    let program =
        if running.exists() { running } else { std::env::current_exe().expect("the system says what it runs") };
    for seed in [3, 17, 40, 41] {
        let output = Command::new(&program)
            .args(["--exact", "the_seeds_of_the_environment", "--nocapture"])
            .env("CHAOS_SEED", seed.to_string())
            .output()
            .expect("what runs here runs once more");
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let there = output.lines().find_map(|line| line.strip_prefix(HASH)).map(str::to_owned);
        // Not the first run of this process, so nothing that a process keeps between runs decides anything.
        let _ = run::run(seed + 1, false);
        let here = run::run(seed, false);
        assert_eq!(there, Some(format!("{:016x}", here.hash)), "seed {seed}; its end:\n{}", here.tail);
    }
}
