//! The library's own container under everything that can go wrong.
//!
//! `SIM_SEEDS=1000..2000 cargo nextest run -p conflux-sim --test seeds of_the_environment --no-capture` runs other seeds;
//! with `SIM_MINUTES=5` for so long at most, and past those that fail.

mod common;

use std::ops::Range;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use common::{Ledger, Method};
use conflux_sim::{FaultKind, Kept, Looked, Progress, Simulation};

fn ledger(seeds: Range<u64>) -> Simulation<Ledger> {
    conflux_sim::check(Ledger).calls(Method::draw).seeds(seeds)
}

/// Seeds that once broke a promise.
const THAT_FAILED: [u64; 23] = [
    4, 5, 8, 15, 19, 21, 34, 58, 1054, 10093, 10126, 10257, 15053, 15149, 15161, 15277, 15319, 15383, 15413, 20645,
    30189, 31202, 31379,
];

#[test]
fn that_failed_once() {
    for seed in THAT_FAILED {
        let run = ledger(0..0).run_one(seed, &Kept::default(), Looked::default()).expect("it can be run");
        assert_eq!(run.wrong, None, "seed {seed}; its end:\n{}", run.tail.join("\n"));
    }
}

/// So many that every fault happens: else this fails.
#[test]
fn in_which_everything_happens() {
    let passed = ledger(1000..1030).faults(FaultKind::ALL.iter().copied()).run();
    println!("{passed}");
    for what in WANTED {
        assert!(passed.tally.get(what) > 0, "{what} never happened:\n{passed}");
    }
}

/// What has to happen beside the faults: a simulation that never does what it is for proves nothing.
const WANTED: [&str; 28] = [
    "another version at the door",
    "answer: closed",
    "answer: conflict",
    "answer: done",
    "answer: failed",
    "answer: never proposed",
    "answer: nothing to do",
    "answer: rejected",
    "answer: unknown",
    "asked again: decided",
    "batch skipped",
    "asked again: forgotten",
    "call dropped",
    "damage found",
    "died as it opened",
    "died in the middle of a snapshot",
    "id tried again",
    "leader change",
    "linearizable read",
    "predicted",
    "provisional: a tail",
    "session expired",
    "snapshot kept",
    "subscription: reset",
    "subscription: resumed",
    "subscription: slow",
    "unsynced write lost",
    "write torn",
];

#[test]
fn are_one_trace_each() {
    for seed in [2, 7, 13] {
        let run = || ledger(0..0).run_one(seed, &Kept::default(), Looked::default()).expect("it can be run").hash;
        let first = run();
        // Not the first run of this thread, so nothing that it keeps between runs decides anything.
        assert_eq!(first, run(), "seed {seed}");
    }
}

#[test]
fn are_one_trace_each_in_another_process() {
    // The program that runs, even if another was built to its path meanwhile: that one may go another way.
    let running = std::path::PathBuf::from("/proc/self/exe");
    let program =
        if running.exists() { running } else { std::env::current_exe().expect("the system says what it runs") };
    for seed in [3, 17] {
        let output = Command::new(&program)
            .args(["--exact", "of_the_environment", "--nocapture"])
            .env("SIM_SEED", seed.to_string())
            .env("SIM_MESSAGES", "")
            .output()
            .expect("what runs here runs once more");
        let output = String::from_utf8_lossy(&output.stdout).into_owned();
        let there = output.lines().find_map(|line| line.strip_prefix(HASH)).map(str::to_owned);
        let run = |seed| {
            // With every message.
            let looked = Looked { messages: true, ..Looked::default() };
            ledger(0..0).run_one(seed, &Kept::default(), looked).expect("it can be run").hash
        };
        // Not the first run of this process, so nothing that a process keeps between runs decides anything.
        let _ = run(seed + 1);
        assert_eq!(there, Some(format!("{:016x}", run(seed))), "seed {seed}");
    }
}

/// What comes before the hash in the output of one seed.
const HASH: &str = "hash ";

#[test]
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "how long it takes here")]
fn of_the_environment() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let kept = std::env::var("SIM_KEPT").unwrap_or_default().parse().expect("SIM_KEPT is a part of a schedule");
        let looked = Looked { messages: std::env::var("SIM_MESSAGES").is_ok(), view: false, print: true };
        let seed = seed.parse().expect("SIM_SEED is a number");
        let run = ledger(0..0).run_one(seed, &kept, looked).expect("it can be run");
        println!("{}{HASH}{:016x}", run.tally, run.hash);
        assert_eq!(run.wrong, None);
        return;
    }
    let Ok(range) = std::env::var("SIM_SEEDS") else { return };
    let (from, to) = range.split_once("..").expect("SIM_SEEDS is a range, from..to");
    let number = |text: &str| text.parse::<u64>().expect("SIM_SEEDS is a range of numbers, from..to");
    let seeds = number(from)..number(to);
    let begun = std::time::Instant::now();
    if let Ok(minutes) = std::env::var("SIM_MINUTES") {
        let minutes: f64 = minutes.parse().expect("SIM_MINUTES is a number");
        go_on(seeds, begun + Duration::from_secs_f64(minutes * 60.0));
        return;
    }
    let told = |progress: &Progress| eprintln!("{progress:?}");
    let passed = ledger(seeds).progress(told).run();
    println!("{passed} in {:?}", begun.elapsed());
}

/// Runs seeds until they or the time are over, past all that break a promise, which are told as they are found.
#[expect(clippy::disallowed_methods, clippy::disallowed_types, reason = "how long it takes here")]
fn go_on(seeds: Range<u64>, until: std::time::Instant) {
    let begun = std::time::Instant::now();
    let (next, held, broken) = (AtomicU64::new(seeds.start), AtomicU64::new(0), AtomicU64::new(0));
    let fewest = AtomicU64::new(u64::MAX);
    let work = || {
        while std::time::Instant::now() < until {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let run = ledger(0..0).run_one(seed, &Kept::default(), Looked::default()).expect("it can be run");
            let many = held.fetch_add(1, Ordering::Relaxed) + 1;
            fewest.fetch_min(run.tally.get("perform"), Ordering::Relaxed);
            if let Some(wrong) = run.wrong {
                broken.fetch_add(1, Ordering::Relaxed);
                println!("BROKEN seed {seed}: {wrong}");
            }
            if many.is_multiple_of(20) {
                println!("{many} seeds in {:.0} s, the last is {seed}", begun.elapsed().as_secs_f64());
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(work))));
    let (many, broken) = (held.into_inner(), broken.into_inner());
    let fewest = fewest.into_inner();
    println!("{many} seeds in {:?}, {fewest} performs in each at least; {broken} break a promise", begun.elapsed());
    assert_eq!(broken, 0, "`SIM_SEED=N` shows one, and `SIM_SEEDS=N..N+1` shrinks it");
}
