//! A container was changed, and goes on with what it made before.

mod common;

use std::sync::Arc;

use common::{quiet_planned_panics, session};
use conflux_core::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Action {
    Added(u64),
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Old {
    sum: u64,
}

/// As it was.
#[derive(Debug)]
struct Before;

impl Container for Before {
    type State = Old;
    type Method = u64;
    type Action = Action;
    type Rejection = Never;

    fn initial(&self) -> Old {
        Old::default()
    }

    fn decide(&self, _: &Old, n: u64, _: &Context<'_>) -> Result<Option<Action>, Never> {
        Ok(Some(Action::Added(n)))
    }

    fn reduce(&self, state: &mut Old, Action::Added(n): &Action, _: &Context<'_>) {
        state.sum += n;
    }
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct New {
    sum: u64,
    /// A field more: the same state has another digest.
    #[serde(default)]
    largest: u64,
}

/// As it is: it doubles, and will have no 13.
#[derive(Debug)]
struct After;

impl Container for After {
    type State = New;
    type Method = u64;
    type Action = Action;
    type Rejection = Never;

    fn version(&self) -> u32 {
        2
    }

    fn code(&self) -> Digest {
        Digest(7)
    }

    fn initial(&self) -> New {
        New::default()
    }

    fn decide(&self, _: &New, n: u64, _: &Context<'_>) -> Result<Option<Action>, Never> {
        Ok(Some(Action::Added(n)))
    }

    fn reduce(&self, state: &mut New, Action::Added(n): &Action, _: &Context<'_>) {
        assert!(*n != 13, "planned: no 13");
        state.sum += 2 * n;
        state.largest = state.largest.max(*n);
    }
}

/// A snapshot of the old container, and the bytes of a batch behind it.
fn made(first: u64, second: u64) -> (Vec<u8>, Vec<u8>) {
    let mut store = Store::new(Arc::new(Before));
    let mut fork = Fork::new(store.clone(), 1, Incarnation(1), Retention::default());
    let call = |number, method| {
        let (session, number, floor) = (SessionKey(1), CallNumber(number), CallNumber(1));
        Request::Call { session, number, floor, chosen: None, audit: None, method }
    };
    let open = Request::Open { id: session("a", 1), as_of: std::time::Duration::ZERO };
    let mut batches = Vec::new();
    for (counter, request) in [open, call(1, first), call(2, second)].into_iter().enumerate() {
        let batch = fork.batch(counter as u64 + 1, Stamps::default(), 0, vec![request], false);
        batches.push(batch.expect("sound").expect("something to log"));
    }
    for batch in &batches[..2] {
        store.apply(batch, |_, _, _| {}).expect("it fits");
    }
    (store.save().expect("it is written"), batches[2].encode().expect("it is written"))
}

#[test]
fn a_state_of_other_code_is_refused_unless_it_is_meant() {
    let (snapshot, batch) = made(5, 6);
    let refused = Store::restore(Arc::new(After), &snapshot).err();
    assert_eq!(refused, Some(RestoreError::Halt(Halt::Version { came: 1, is: 2 })));
    let origins = conflux_core::Origins::of_snapshot(&snapshot).expect("it has one");
    assert_eq!(origins, Origins { version: 1, code: Digest::default(), index: Index(1) });

    let mut store = Store::restore_by(Arc::new(After), &snapshot, Code::Changed).expect("it is meant");
    assert_eq!((store.index(), &**store.state()), (Index(1), &New { sum: 5, largest: 0 }), "as it was saved");
    let batch = Batch::<After>::decode(&batch).expect("the actions are the same");
    let refused = store.clone().apply(&batch, |_, _, _| {}).err();
    assert_eq!(refused, Some(Halt::Version { came: 1, is: 2 }));
    assert!(refused.is_some_and(|halt| halt.is_other_code()));
    let applied = store.apply_by(&batch, Code::Changed, |_, _, _| {}).expect("it is meant");
    assert!(matches!(applied, Applied::Changes(changes) if changes.len() == 1));
    assert_eq!((store.index(), &**store.state()), (Index(2), &New { sum: 17, largest: 6 }), "as this code reduces");

    // From here on it is this code's.
    let again = Store::restore(Arc::new(After), &store.save().expect("it is written")).expect("it is its own");
    assert_eq!((again.index(), again.state()), (Index(2), store.state()));
}

#[test]
fn the_chain_and_the_table_are_checked_all_the_same() {
    let (snapshot, batch) = made(5, 6);
    let store = Store::restore_by(Arc::new(After), &snapshot, Code::Changed).expect("it is meant");
    let batch = Batch::<After>::decode(&batch).expect("the actions are the same");
    let apply = |change: fn(&mut Batch<After>)| {
        let mut batch = batch.clone();
        change(&mut batch);
        store.clone().apply_by(&batch, Code::Changed, |_, _, _| {})
    };
    let skipped = apply(|batch| batch.header.prev = BatchId::ROOT).expect("another place in the chain");
    assert!(matches!(skipped, Applied::Skipped));
    let halted = apply(|batch| batch.header.base = Index(7)).expect_err("another place");
    assert!(matches!(halted, Halt::Corrupt(Corrupt::Place { .. })), "{halted}");
    let halted = apply(|batch| batch.records.push(batch.records[0].clone())).expect_err("a call twice");
    assert!(matches!(halted, Halt::Corrupt(Corrupt::NotNext { .. })), "{halted}");
}

#[test]
fn of_a_batch_that_does_not_fit_no_call_is_heard() {
    let (snapshot, batch) = made(5, 6);
    let mut store = Store::restore(Arc::new(Before), &snapshot).expect("it is its own");
    let sound = Batch::<Before>::decode(&batch).expect("it is its own");
    let mut twice = sound.clone();
    twice.records.push(twice.records[0].clone());
    let mut decided = vec![(CallNumber(9), Outcome::Void)];
    // Its first call is decided before the second contradicts it.
    store.clone().apply_for(&twice, Some(SessionKey(1)), &mut decided).expect_err("a call twice");
    assert_eq!(decided.len(), 1);
    store.clone().apply_for(&sound, Some(SessionKey(2)), &mut decided).expect("it fits");
    assert_eq!(decided.len(), 1, "no call of another session is heard");
    store.apply_for(&sound, Some(SessionKey(1)), &mut decided).expect("it fits");
    assert!(matches!(&decided[..], [_, (CallNumber(2), Outcome::Committed { index: Index(2), .. })]), "{decided:?}");
}

#[test]
fn a_reducer_that_will_not_have_an_old_action_says_where() {
    quiet_planned_panics();
    let (snapshot, batch) = made(5, 13);
    let mut store = Store::restore_by(Arc::new(After), &snapshot, Code::Changed).expect("it is meant");
    let batch = Batch::<After>::decode(&batch).expect("the actions are the same");
    let halted = store.apply_by(&batch, Code::Changed, |_, _, _| {}).expect_err("it will not");
    assert!(matches!(&halted, Halt::Reducer { index: Index(1), failure } if failure.message.contains("no 13")));
}

#[test]
fn damage_is_damage_whoever_made_it() {
    let (snapshot, _) = made(5, 6);
    for cut in 0..snapshot.len() {
        assert!(Store::restore_by(Arc::new(After), &snapshot[..cut], Code::Changed).is_err(), "cut at {cut}");
    }
}
