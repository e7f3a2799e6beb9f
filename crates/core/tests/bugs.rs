//! Bugs that are planted show.
#![cfg(feature = "bugs")]

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Counter, session};
use conflux_core::bugs::{self, Bug};
use conflux_core::*;

fn fork(store: &Store<Counter>) -> Fork<Counter> {
    Fork::new(store.clone(), 1, Incarnation(1), Retention::default())
}

fn call(number: u64, method: u64) -> Request<Counter> {
    let (session, number, floor) = (SessionKey(1), CallNumber(number), CallNumber(1));
    Request::Call { session, number, floor, chosen: None, audit: None, method }
}

fn next(fork: &mut Fork<Counter>, counter: u64, request: Request<Counter>) -> Batch<Counter> {
    let batch = fork.batch(counter, Stamps::default(), 0, vec![request], false);
    batch.expect("sound").expect("something to log")
}

fn apply(store: &mut Store<Counter>, batch: &Batch<Counter>) -> bool {
    matches!(store.apply(batch, |_, _, _| {}).expect("it fits"), Applied::Changes(_))
}

/// A store with session 1 open.
fn opened() -> Store<Counter> {
    let mut store = Store::new(Arc::new(Counter));
    let open = Request::Open { id: session("a", 1), as_of: Duration::ZERO };
    let batch = next(&mut fork(&store), 1, open);
    assert!(apply(&mut store, &batch));
    store
}

#[test]
fn each_is_planted_alone() {
    assert!(Bug::ALL.iter().all(|bug| !bugs::is(*bug)));
    for bug in Bug::ALL {
        bugs::plant(Some(bug));
        assert!(Bug::ALL.iter().all(|other| bugs::is(*other) == (*other == bug)));
    }
    bugs::plant(None);
    assert!(Bug::ALL.is_sorted());
}

#[test]
fn a_chain_that_is_not_checked_takes_what_does_not_fit() {
    let mut store = opened();
    let mut fork = fork(&store);
    let open = Request::Open { id: session("b", 1), as_of: Duration::ZERO };
    let (_refused, behind) = (next(&mut fork, 2, open), next(&mut fork, 3, call(1, 5)));
    assert!(!apply(&mut store, &behind));
    bugs::plant(Some(Bug::NoChainCheck));
    assert!(apply(&mut store, &behind));
    assert_eq!(**store.state(), 5);
    bugs::plant(None);
}

#[test]
fn sessions_are_lost() {
    let store = opened();
    bugs::plant(Some(Bug::SessionsLostInSnapshot));
    let saved = store.save().expect("it can be written");
    bugs::plant(None);
    let restored = Store::restore(Arc::new(Counter), &saved).expect("it can be read");
    assert_eq!(restored.head(), store.head());
    assert_eq!(restored.sessions().key(&session("a", 1)), None);

    let mut store = store;
    store.forget_sessions(Duration::from_secs(1));
    assert_eq!(store.sessions().key(&session("a", 1)), None);
}

#[test]
fn a_subscriber_has_a_gap() {
    let mut store = opened();
    let mut fork = fork(&store);
    let batches: Vec<_> = (1..=4).map(|number| next(&mut fork, number + 1, call(number, 5))).collect();
    for batch in &batches[..3] {
        assert!(apply(&mut store, batch));
    }
    // A snapshot of the first three.
    let mut history = History::new(Index(0), Arc::new(0), 8, 1024);
    history.reset(store.index(), store.state().clone());
    let Applied::Changes(changes) = store.apply(&batches[3], |_, _, _| {}).expect("it fits") else { panic!("it fits") };
    history.extend(changes, 10, store.state());
    assert!(matches!(history.since(Index(1), 9), Owed::Reset));
    bugs::plant(Some(Bug::GapAtSnapshot));
    let Owed::Changes(changes) = history.since(Index(1), 9) else { panic!("there is one") };
    assert_eq!(changes.iter().map(|change| change.index).collect::<Vec<_>>(), [Index(4)]);
    bugs::plant(None);
}
