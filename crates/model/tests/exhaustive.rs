//! Every state within the bounds is looked at: every promise holds in each of them, and what has to happen somewhere does.
//!
//! The count of states is asserted too. If it changes, the model has: then `docs/model.md` has to say the new one.

use std::time::Instant;

use conflux_model::{Bounds, Model};
use stateright::{Checker, Model as _};

#[track_caller]
fn holds(bounds: Bounds, states: usize) {
    let begun = Instant::now();
    let checker = Model::new(bounds).checker().threads(2).spawn_dfs().join();
    let (unique, generated, depth) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    println!("{unique} states, reached in {generated} ways, at most {depth} deep, in {:?}", begun.elapsed());
    assert!(checker.is_done());
    checker.assert_properties();
    assert_eq!(unique, states);
}

#[test]
fn promises_hold_while_an_engine_refuses_and_loses_answers() {
    holds(Bounds::PIPELINE, 1_869_235);
}

#[test]
fn promises_hold_while_larger_batches_change_hands() {
    holds(Bounds::BATCHES, 954_038);
}

#[test]
fn promises_hold_while_leaders_change() {
    holds(Bounds::LEADERS, 923_987);
}

#[test]
fn promises_hold_with_snapshots_and_crashes() {
    holds(Bounds::SNAPSHOTS, 1_021_186);
}

#[test]
fn promises_hold_while_sessions_expire() {
    holds(Bounds::SESSIONS, 650_540);
}
