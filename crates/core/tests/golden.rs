//! The bytes of a batch and of a snapshot, for ever: a log written by one version is read by the next.
//!
//! When one of these fails, the layout has changed: that takes a new layout number, and code that reads the old one.

mod common;

use std::sync::Arc;
use std::time::Duration;

use common::{Action, Board, Method, bytes_of, quiet_planned_panics, session};
use conflux_core::*;
use serde_json::{Map, json};

const BATCH: &str = "
    020300000000000000fe0000000000000002000000000000000300000000000000fe0000000000000001000000000000
    00000000000000000001000000000000000000000000000000000000000368e5cf8b010000005ed0b200000000f0debc
    9a785634120109040101016101016209000000000000000340420f000000000000ca9a3b0000000000010100c0026964
    5c1d4167f6d46f17e0dee0982af8cbd00881a5436c61696d011f00000081a7436c61696d656483a4736c6f7401a37361
    7700a67469636b6574cd012c000102010100010302820881a5436c61696d011200000082a76d657373616765a26e6fa4
    646174610700010402032000000082a76d657373616765a869742062726f6b65a26174aa626f6172642e6a733a370001
    0502440269645c1d4167f6d46f17e0dee0982af8cbd00001060245026964010000000000000000000000000000000202
    0100
";

const SNAPSHOT: &str = "
    030100000000000000000000000000000000000000000000000000000001000000000000000a01000000000000030000
    0000000000fe0000000000000002000000000000000368e5cf8b010000005ed0b2000000000240420f00000000000201
    01610700000000000000010000000000000004005ed0b2000000000303012000000082a76d657373616765a869742062
    726f6b65a26174aa626f6172642e6a733a3700011f00000081a7436c61696d656483a4736c6f7401a373617700a67469
    636b6574cd012c05000201610700000000000000020000000000000001005ed0b2000000000110010269645c1d4167f6
    d46f17e0dee0982af8cbd0005ed0b20000000000011f00000081a7436c61696d656483a4736c6f7401a373617700a674
    69636b6574cd012c01010161010162090000000000000082a5736c6f74738101a161a57472616365cf849addc47f4122
    803d6e4a1a9b1d30ec9e3e49dc28871ed9
";

const DIGESTS: [&str; 5] = [
    "scalars 52d307da1c450e93610c94dfc9b48342",
    "texts 29871299e2aceedd3cf9c6cf681c91dc",
    "lists 26f34b71eb62ba78a74901462be51a5e",
    "maps 8694af20cfc294a0462764a2946e81b0",
    "nested c73bd5797e91941ed175b0d9cd67256a",
];

fn id(counter: u64) -> BatchId {
    BatchId { term: 3, incarnation: Incarnation(0xfe), counter }
}

fn header(counter: u64, base: u64, seconds: u64, compare: bool) -> Header {
    let prev = if counter == 1 { BatchId::ROOT } else { id(counter - 1) };
    Header {
        id: id(counter),
        prev,
        base: Index(base),
        version: 1,
        code: Digest::default(),
        stamps: Stamps { time_ms: 1_700_000_000_000 + seconds, elapsed: Duration::from_secs(seconds) },
        seed: 0x1234_5678_9abc_def0,
        compare,
    }
}

fn call(number: u64, chosen: Option<&str>, audit: bool, verdict: Verdict<Board>) -> Record<Board> {
    let method = bytes_of(&Method::Claim(1));
    Record::Call {
        session: SessionKey(1),
        number: CallNumber(number),
        floor: CallNumber(number.saturating_sub(2).max(1)),
        chosen: chosen.map(|id| ChosenId { id: id.into(), call: Digest::of_bytes(&method) }),
        audit: audit.then(|| method.into()),
        verdict,
    }
}

/// A batch that opens two sessions, and one with a record of every kind.
fn batches() -> [Batch<Board>; 2] {
    let opens = (1..3).map(|number| Record::Open(session("a", number))).collect();
    let claimed = Action::Claimed { slot: 1, saw: 0, ticket: 300 };
    let failure = Failure { message: "it broke".into(), at: Some("board.js:7".into()) };
    let other = match call(6, Some("id"), false, Verdict::Conflict) {
        Record::Call { session, number, floor, audit, verdict, .. } => {
            let chosen = Some(ChosenId { id: "id".into(), call: Digest(1) });
            Record::Call { session, number, floor, chosen, audit, verdict }
        }
        _ => unreachable!("it is a call"),
    };
    let remove = RosterChange::Remove { name: "b".into(), incarnations: [Incarnation(9)].into() };
    let voters = ["a", "b"].map(NodeName::from).into();
    let roster = Roster::default().after(&remove, &voters).expect("one is left");
    let records = vec![
        Record::Roster(roster),
        Record::Sweep { sessions_before: Duration::from_millis(1), ids_before: Duration::from_secs(1) },
        call(1, Some("id"), true, Verdict::Action(Arc::new(claimed))),
        call(2, None, false, Verdict::Nothing),
        call(3, None, true, Verdict::Rejected(Arc::new(Reject { message: "no".into(), data: Some(7.into()) }))),
        call(4, None, false, Verdict::Failed(Arc::new(failure))),
        call(5, Some("id"), false, Verdict::Repeated),
        other,
        Record::Void { session: SessionKey(2), number: CallNumber(1), floor: CallNumber(1) },
    ];
    let first = Batch { header: header(1, 0, 2, false), records: opens };
    [first, Batch { header: header(2, 0, 3, true), records }]
}

fn store() -> Store<Board> {
    quiet_planned_panics();
    let mut store = Store::new(Arc::new(Board));
    for batch in batches() {
        assert!(matches!(store.apply(&batch, |_, _, _| {}), Ok(Applied::Changes(_))));
    }
    store
}

#[test]
fn a_batch() {
    let [_, batch] = batches();
    let is = hex(&batch.encode().expect("it is written"));
    assert_eq!(is, flat(BATCH), "in lines:\n{}", lines(&is));
    let read = Batch::<Board>::decode(&unhex(BATCH)).expect("it is read");
    assert_eq!(format!("{read:?}"), format!("{batch:?}"));
}

#[test]
fn a_snapshot() {
    let store = store();
    let is = hex(&store.save().expect("it is written"));
    assert_eq!(is, flat(SNAPSHOT), "in lines:\n{}", lines(&is));
    let read = Store::restore(Arc::new(Board), &unhex(SNAPSHOT)).expect("it is read");
    assert_eq!((read.index(), read.head(), read.stamps()), (Index(1), id(2), store.stamps()));
    assert_eq!(read.state(), store.state());
    for (number, expected) in
        (1..=7).zip(["orgotten", "orgotten", "orgotten", "Failed", "Committed", "Conflict", "Undecided"])
    {
        let found = format!("{:?}", read.sessions().find(&session("a", 1), CallNumber(number)));
        assert!(found.contains(expected), "call {number}: {found}");
    }
    assert!(matches!(read.sessions().find_chosen("id"), Some(Outcome::Committed { index: Index(1), .. })));
}

/// Replicas of two releases compare digests: the same value must come to the same one in both.
#[test]
fn digests() {
    let text = |length: usize| json!("x".repeat(length));
    let list = |length: u64| (0..length).map(|number| number * 1_000).collect::<Vec<_>>();
    let map = |length: u64| (0..length).map(|number| (format!("key {number}"), json!(number))).collect::<Map<_, _>>();
    let values = [
        ("scalars", json!([null, true, false, 0, 127, 128, 65_535, 4_294_967_296u64, -1, -33, -70_000, 1.5])),
        ("texts", json!(["", text(1), text(31), text(32), text(255), text(256), text(65_536)])),
        ("lists", json!([[], list(1), list(15), list(16), list(70_000)])),
        ("maps", json!([{}, map(1), map(15), map(16), map(70_000)])),
        ("nested", json!({"a": [{"b": {"c": [[[["d"]]], text(300), {}]}}, 7], "e": map(3)})),
    ];
    let is: Vec<_> =
        values.iter().map(|(name, value)| format!("{name} {}", value.digest().expect("it is written"))).collect();
    assert_eq!(is, DIGESTS);
    // The same a piece at a time.
    for (name, value) in &values {
        let digest = value.write(&mut Vec::new()).expect("it is written");
        assert_eq!(digest, value.digest().expect("it is written"), "{name}");
    }
}

#[test]
fn a_verdict_alone() {
    let [_, batch] = batches();
    let mut kinds = 0;
    for record in &batch.records {
        let Record::Call { verdict, .. } = record else { continue };
        let bytes = verdict.to_bytes().expect("it is written");
        let read = Verdict::<Board>::from_bytes(&bytes).expect("it is read");
        assert_eq!(format!("{read:?}"), format!("{verdict:?}"));
        Verdict::<Board>::from_bytes(&[&*bytes, &[0]].concat()).expect_err("something follows");
        kinds += 1;
    }
    assert_eq!(kinds, 6);
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn flat(text: &str) -> String {
    text.split_whitespace().collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let text = flat(text);
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("it is hex")).collect()
}

fn lines(hex: &str) -> String {
    hex.as_bytes().chunks(96).map(|line| format!("    {}\n", std::str::from_utf8(line).expect("it is hex"))).collect()
}
