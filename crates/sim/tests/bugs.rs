//! The harness is able to fail: each planted bug is found, by a seed that is known to find it.
//!
//! `BUGS=all cargo nextest run -p conflux-sim --features bugs --test bugs how_many_seeds --no-capture` counts anew how many
//! seeds each takes; `BUGS=StaleRead,NoChainCheck` only those.

mod common;

use std::time::Duration;

use common::{Ledger, Method};
use conflux::bugs::{Bug, plant};
use conflux_sim::{Kept, Looked, Simulation, Wrong};

fn ledger() -> Simulation<Ledger> {
    conflux_sim::check(Ledger).calls(Method::draw).length(Duration::from_secs(60))
}

/// What is found wrong in a seed with a bug in it. A bug may go so far as to break the engine.
fn found(bug: Option<Bug>, seed: u64) -> Option<Result<Wrong, String>> {
    // Each in a thread of its own: a bug is planted in one.
    let run = std::thread::spawn(move || {
        plant(bug);
        ledger().run_one(seed, &Kept::default(), Looked::default())
    });
    match run.join() {
        Ok(Ok(run)) => run.wrong.map(Ok),
        Ok(Err(error)) => Some(Err(error)),
        Err(_) => Some(Err("it panics".into())),
    }
}

#[test]
fn how_many_seeds() {
    let Ok(wanted) = std::env::var("BUGS") else { return };
    for bug in Bug::ALL {
        let name = format!("{bug:?}");
        if wanted != "all" && !wanted.split(',').any(|wanted| wanted == name) {
            continue;
        }
        let by = (0..100).find_map(|seed| Some((seed, found(Some(bug), seed)?)));
        match by {
            Some((seed, wrong)) => println!("| `{name}` | {} | {wrong:?} |", seed + 1),
            None => println!("| `{name}` | not in 100 | |"),
        }
    }
}
