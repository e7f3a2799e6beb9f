//! What a batch costs the core, on the leader and on every node: `cargo bench -p conflux-core [part of a name]`.
//!
//! `--count NAME` runs what has that name once, for `cargo xtask instructions`: it counts what [`measured`] does.
//!
//! Its own small harness: criterion would bring some forty crates for a table of a dozen medians.
#![expect(clippy::disallowed_types, clippy::disallowed_methods, reason = "a benchmark reads the clock")]

#[path = "../tests/common/mod.rs"]
mod common;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Board, Counter, Method, session};
use conflux_core::*;

const SAMPLES: usize = 31;
const SAMPLE_AT_LEAST: Duration = Duration::from_millis(10);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let count = arguments.iter().any(|argument| argument == "--count");
    let filter = arguments.iter().find(|argument| !argument.starts_with('-'));
    let wanted = |name: &str| filter.is_none_or(|filter| name.contains(filter.as_str()));
    let measure = |name: &str, each: u64, setup: &mut dyn FnMut() -> Box<dyn FnMut()>| {
        if count && filter.is_some_and(|filter| name == filter) {
            // Once before, so that what is made on first use is made.
            setup()();
            measured(&mut *setup());
        } else if !count && wanted(name) {
            report(name, each, setup);
        }
    };

    for calls in [1, 64, 1024] {
        let (base, batch) = (counting(), added(calls));
        let fork = || Fork::new(base.clone(), 1, Incarnation(1), Retention::default());
        measure(&format!("fork.batch of {calls}"), calls, &mut || {
            let (mut fork, requests) = (fork(), requests(calls));
            let mut requests = Some(requests);
            Box::new(move || drop(black_box(fork.batch(2, STAMPS, 7, requests.take().expect("run once"), false))))
        });
        let bytes = batch.encode().expect("it is written");
        measure(&format!("batch.encode of {calls}"), calls, &mut || {
            let batch = batch.clone();
            Box::new(move || drop(black_box(batch.encode())))
        });
        measure(&format!("batch.decode of {calls}"), calls, &mut || {
            let bytes = bytes.clone();
            Box::new(move || drop(black_box(Batch::<Counter>::decode(&bytes))))
        });
        measure(&format!("store.apply of {calls}"), calls, &mut || {
            let (mut store, batch) = (base.clone(), batch.clone());
            Box::new(move || drop(black_box(store.apply(&batch, |_, _, outcome| drop(black_box(outcome.clone()))))))
        });
    }
    for sessions in [10, 1_000] {
        let store = with_sessions(sessions);
        measure(&format!("sessions.find among {sessions}"), 1, &mut || {
            let (store, id) = (store.clone(), session("a", sessions / 2));
            Box::new(move || drop(black_box(store.sessions().find(&id, CallNumber(1)))))
        });
        measure(&format!("fork.is_due among {sessions}"), 1, &mut || {
            let mut fork = Fork::new(store.clone(), 1, Incarnation(1), Retention::default());
            Box::new(move || {
                black_box(fork.is_due(Duration::from_secs(1)));
            })
        });
        measure(&format!("store.clone (a fork) with {sessions} sessions"), 1, &mut || {
            let store = store.clone();
            Box::new(move || drop(black_box(store.clone())))
        });
        measure(&format!("store.save with {sessions} sessions"), 1, &mut || {
            let store = store.clone();
            Box::new(move || drop(black_box(store.save())))
        });
        let bytes = store.save().expect("it is written");
        measure(&format!("store.restore of {sessions} sessions ({} bytes)", bytes.len()), 1, &mut || {
            let bytes = bytes.clone();
            Box::new(move || drop(black_box(Store::restore(Arc::new(Board), &bytes))))
        });
    }
}

/// By its name, and so that there is one, instructions are counted.
#[inline(never)]
fn measured(run: &mut dyn FnMut()) {
    run();
}

const STAMPS: Stamps = Stamps { time_ms: 1, elapsed: Duration::from_secs(1) };

/// A store of a counter, with one session.
fn counting() -> Store<Counter> {
    let mut store = Store::new(Arc::new(Counter));
    let mut fork = Fork::new(store.clone(), 1, Incarnation(1), Retention::default());
    let open = Request::Open { id: session("a", 1), as_of: Duration::ZERO };
    let batch = fork.batch(1, STAMPS, 0, vec![open], false).expect("sound").expect("something to log");
    store.apply(&batch, |_, _, _| {}).expect("it fits");
    store
}

fn requests(calls: u64) -> Vec<Request<Counter>> {
    let call = |number| Request::Call {
        session: SessionKey(1),
        number: CallNumber(number),
        floor: CallNumber(number.saturating_sub(64).max(1)),
        chosen: None,
        audit: None,
        method: 5,
    };
    (1..=calls).map(call).collect()
}

fn added(calls: u64) -> Batch<Counter> {
    let mut fork = Fork::new(counting(), 1, Incarnation(1), Retention::default());
    fork.batch(2, STAMPS, 7, requests(calls), false).expect("sound").expect("something to log")
}

/// A store of a board with so many sessions, each with one outcome.
fn with_sessions(sessions: u64) -> Store<Board> {
    let mut store = Store::new(Arc::new(Board));
    let mut fork = Fork::new(store.clone(), 1, Incarnation(1), Retention::default());
    let opens =
        (1..=sessions).map(|number| Request::Open { id: session("a", number), as_of: Duration::ZERO }).collect();
    let calls = (1..=sessions).map(|key| Request::Call {
        session: SessionKey(key),
        number: CallNumber(1),
        floor: CallNumber(1),
        chosen: Some(ChosenId { id: format!("id-{key}").into(), call: Digest(1) }),
        audit: None,
        method: Method::Claim(key as u8),
    });
    let opened = fork.batch(1, STAMPS, 0, opens, false);
    let called = fork.batch(2, STAMPS, 0, calls.collect(), false);
    for batch in [opened, called] {
        store.apply(&batch.expect("sound").expect("something to log"), |_, _, _| {}).expect("it fits");
    }
    store
}

/// Medians, so that another program on the machine does not count. `setup` is not measured, and each run has its own.
fn report(name: &str, each: u64, setup: &mut dyn FnMut() -> Box<dyn FnMut()>) {
    let mut once = setup();
    let from = Instant::now();
    once();
    let runs = (SAMPLE_AT_LEAST.as_nanos() / from.elapsed().as_nanos().max(50)).clamp(1, 20_000) as usize;
    let mut nanos: Vec<f64> = (0..SAMPLES)
        .map(|_| {
            let mut prepared: Vec<_> = (0..runs).map(|_| setup()).collect();
            let from = Instant::now();
            prepared.iter_mut().for_each(|run| run());
            from.elapsed().as_nanos() as f64 / runs as f64
        })
        .collect();
    nanos.sort_by(f64::total_cmp);
    let median = nanos[SAMPLES / 2];
    let per_call = if each > 1 { format!("{:>10.1} ns a call", median / each as f64) } else { String::new() };
    println!("{name:<48} {:>12.2} us {per_call}", median / 1000.0);
}
