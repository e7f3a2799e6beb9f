//! Feeds hostile bytes to what reads a log, a snapshot and a request id: nothing may panic, what is read must be written
//! the same way again, and a store that was taken for good must go on working.
//!
//! The first byte chooses which; a batch gets a right header, so that its records are reached.
#![no_main]

use std::sync::Arc;
use std::time::Duration;

use conflux_core::{
    Batch, Container, Context, Digest, Fork, Header, Incarnation, Reject, Request, RequestId,
    Retention, SessionId, Store,
};
use libfuzzer_sys::fuzz_target;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
enum Tree {
    Leaf(String),
    Node(Vec<Tree>),
    In(Box<Tree>),
}

#[derive(Debug)]
struct Trees;

impl Container for Trees {
    type State = Vec<Tree>;
    type Method = Tree;
    type Action = Tree;
    type Rejection = Reject;

    fn initial(&self) -> Vec<Tree> {
        Vec::new()
    }

    fn decide(&self, _: &Vec<Tree>, tree: Tree, _: &Context<'_>) -> Result<Option<Tree>, Reject> {
        Ok(Some(tree))
    }

    fn reduce(&self, trees: &mut Vec<Tree>, tree: &Tree, _: &Context<'_>) {
        trees.push(tree.clone());
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((how, bytes)) = input.split_first() else { return };
    match how % 4 {
        0 => {
            let _ = Batch::<Trees>::peek(bytes);
            if let Ok(batch) = Batch::<Trees>::decode(bytes) {
                apply(batch);
            }
        }
        1 => {
            let store = Store::new(Arc::new(Trees));
            let header = Header {
                id: conflux_core::BatchId { counter: 1, ..store.head() },
                prev: store.head(),
                base: store.index(),
                version: 1,
                code: Digest::default(),
                stamps: store.stamps(),
                seed: 0,
                compare: false,
            };
            let empty = Batch::<Trees> { header, records: Vec::new() };
            let mut whole = empty.encode().expect("it is written");
            // The count of records is the last byte of an empty batch.
            whole.pop();
            whole.extend_from_slice(bytes);
            if let Ok(batch) = Batch::<Trees>::decode(&whole) {
                apply(batch);
            }
        }
        2 => {
            if let Ok(store) = Store::restore(Arc::new(Trees), bytes) {
                go_on(store);
            }
        }
        _ => {
            let Ok(text) = std::str::from_utf8(bytes) else { return };
            let id = RequestId::parse(text);
            assert_eq!(id.to_string(), text);
            assert_eq!(RequestId::parse(&id.to_string()), id);
        }
    }
});

fn apply(batch: Batch<Trees>) {
    let again = batch.encode().expect("what was read is written");
    Batch::<Trees>::decode(&again).expect("and read again");
    let mut store = Store::new(Arc::new(Trees));
    if store.apply(&batch, |_, _, _| {}).is_ok() {
        go_on(store);
    }
}

fn go_on(store: Store<Trees>) {
    // A state may have become too deep to be written; that is an error, and nothing worse.
    let Ok(bytes) = store.save() else { return };
    let mut store = Store::restore(Arc::new(Trees), &bytes).expect("what was saved is restored");
    let mut fork = Fork::new(store.clone(), u64::MAX, Incarnation(9), Retention::default());
    for (counter, seconds) in [(1, 0), (2, 10_000)] {
        let id = SessionId { node: "new".into(), incarnation: Incarnation(9), number: counter };
        let open = Request::Open { id, as_of: store.stamps().elapsed };
        let stamps = fork.stamps(0, Duration::from_secs(seconds));
        let made = fork.batch(counter, stamps, 0, vec![open], true).expect("the fork is sound");
        let Some(batch) = made else { continue };
        let bytes = batch.encode().expect("it is written");
        let batch = Batch::decode(&bytes).expect("and read");
        store.apply(&batch, |_, _, _| {}).expect("what the fork made is applied");
        store.save().expect("it can be saved");
    }
}
