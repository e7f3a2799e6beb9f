//! The library's own container under everything that can go wrong.
//!
//! `SIM_SEEDS=1000..2000 cargo nextest run -p conflux-sim --test seeds of_the_environment --no-capture` runs other seeds.

mod common;

use std::ops::Range;

use common::{Ledger, Method};
use conflux_sim::{Looked, Progress, Simulation};

fn ledger(seeds: Range<u64>) -> Simulation<Ledger> {
    conflux_sim::check(Ledger).calls(Method::draw).seeds(seeds)
}

#[test]
fn of_the_environment() {
    if let Ok(seed) = std::env::var("SIM_SEED") {
        let kept = std::env::var("SIM_KEPT").unwrap_or_default().parse().expect("SIM_KEPT is a part of a schedule");
        let looked = Looked { full: std::env::var("SIM_FULL").is_ok(), print: true };
        let seed = seed.parse().expect("SIM_SEED is a number");
        let run = ledger(0..0).run_one(seed, &kept, looked).expect("it can be run");
        println!("{}hash {:016x}", run.tally, run.hash);
        assert_eq!(run.wrong, None);
        return;
    }
    let Ok(range) = std::env::var("SIM_SEEDS") else { return };
    let (from, to) = range.split_once("..").expect("SIM_SEEDS is a range, from..to");
    let number = |text: &str| text.parse::<u64>().expect("SIM_SEEDS is a range of numbers, from..to");
    let begun = std::time::Instant::now();
    let told = |progress: &Progress| eprintln!("{progress:?}");
    let passed = ledger(number(from)..number(to)).progress(told).run();
    println!("{passed} in {:?}", begun.elapsed());
}
