//! The harness is able to fail: each planted bug is found, by a seed that is known to find it.
//!
//! `BUGS=all cargo nextest run -p conflux-sim --features bugs --test bugs how_many_seeds --no-capture` counts anew how many
//! seeds each takes; `BUGS=StaleRead,NoChainCheck` only those.

#![expect(clippy::disallowed_methods, reason = "a bug is planted on a thread of its own")]

mod common;

use std::time::Duration;

use common::{Ledger, Method};
use conflux::bugs::{Bug, plant};
use conflux_sim::{Kept, Looked, Promise, Simulation, Wrong};

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

/// The first seed that finds each, and which promise it says is broken.
const FOUND: [(Bug, u64, Promise); 22] = [
    (Bug::NoChainCheck, 0, Promise::ExactValidation),
    (Bug::SessionsLostInSnapshot, 0, Promise::Liveness),
    (Bug::SessionsExpireByLocalClock, 0, Promise::Liveness),
    (Bug::DoubleApplyAfterRestart, 0, Promise::OneHistory),
    (Bug::RejectionBeforeItsBatch, 0, Promise::HonestRejections),
    (Bug::VoteBeforeSync, 2, Promise::OneVote),
    (Bug::VoteBehindLog, 0, Promise::OneVote),
    (Bug::AppendBeforeSync, 1, Promise::QuorumDurability),
    (Bug::HoleAfterTruncate, 3, Promise::OrderOfIndexes),
    (Bug::StaleAppendTruncates, 0, Promise::OrderOfIndexes),
    (Bug::DamageTakenForTear, 3, Promise::WholeDisks),
    (Bug::SnapshotWithoutMembership, 0, Promise::Liveness),
    (Bug::SnapshotIndexAhead, 0, Promise::Subscriptions),
    (Bug::OlderSnapshotOverNewer, 0, Promise::OrderOfIndexes),
    (Bug::StaleRead, 3, Promise::Reads),
    (Bug::ProvisionalWithoutTail, 21, Promise::Provisional),
    (Bug::UnknownSentAnew, 0, Promise::ExactlyOnce),
    (Bug::GapAtSnapshot, 0, Promise::Subscriptions),
    (Bug::NoUpToDateCheck, 0, Promise::LeaderCompleteness),
    (Bug::StaleAcknowledgement, 0, Promise::QuorumDurability),
    (Bug::ApplyBeforeCommit, 0, Promise::HonestRejections),
    (Bug::IncarnationOfTheName, 0, Promise::SafeMembership),
];

#[test]
fn each_is_found() {
    for (bug, seed, promise) in FOUND {
        let wrong = found(Some(bug), seed).map(|wrong| wrong.map(|wrong| wrong.promise));
        assert_eq!(wrong, Some(Ok(promise)), "{bug:?} by seed {seed}");
    }
}

/// Without one, the same seeds hold: what is found is the bug.
#[test]
fn nothing_is_found_where_nothing_is_planted() {
    let seeds: std::collections::BTreeSet<u64> = FOUND.iter().map(|(_, seed, _)| *seed).collect();
    for seed in seeds {
        assert_eq!(found(None, seed), None, "seed {seed}");
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
