//! Promise 11: whatever the bytes are, reading them gives a value or an error; it never panics, and holds no more memory
//! than the bytes account for.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use common::{Board, Method, bytes_of, quiet_planned_panics, session};
use conflux_core::*;
use proptest::prelude::*;

/// Counts what each thread holds, and the most it ever held.
struct Counting;

thread_local! {
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

#[expect(unsafe_code, reason = "an allocator is unsafe; this one only counts")]
// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = HELD.try_with(|it| {
            let (held, most) = it.get();
            let held = held.saturating_add(layout.size());
            it.set((held, most.max(held)));
        });
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        let _ = HELD.try_with(|it| {
            let (held, most) = it.get();
            it.set((held.saturating_sub(layout.size()), most));
        });
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// The most memory that `run` held at a time.
fn most_held(run: impl FnOnce()) -> usize {
    HELD.set((0, 0));
    run();
    HELD.get().1
}

/// A store that has something of everything, and a batch on top of it.
fn sample(calls: u64) -> (Store<Board>, Batch<Board>) {
    quiet_planned_panics();
    let mut store = Store::new(Arc::new(Board));
    let mut fork = Fork::new(store.clone(), 1, Incarnation(1), Retention::default());
    let opens = (1..4).map(|number| Request::Open { id: session("a", number), as_of: Duration::ZERO }).collect();
    let opened = fork.batch(1, Stamps { time_ms: 5, elapsed: Duration::from_secs(1) }, 1, opens, true);
    let methods = [Method::Claim(1), Method::Claim(1), Method::Release(2), Method::Panic, Method::Release(1)];
    let requests = |from: u64, void: u64| -> Vec<Request<Board>> {
        let call = |number: u64| {
            let method = methods[number as usize % methods.len()].clone();
            let bytes = bytes_of(&method);
            let chosen = number
                .is_multiple_of(3)
                .then(|| ChosenId { id: format!("id-{}", number / 6).into(), call: Digest::of_bytes(&bytes) });
            let (session, number, floor) = (SessionKey(1), CallNumber(number), CallNumber(1));
            Request::Call { session, number, floor, chosen, audit: Some(bytes.into()), method }
        };
        let void = Request::Void { session: SessionKey(2), number: CallNumber(void), floor: CallNumber(1) };
        (from..from + calls).map(call).chain([void]).collect()
    };
    let first = fork.batch(2, Stamps { time_ms: 6, elapsed: Duration::from_secs(2) }, 2, requests(1, 1), true);
    // Late enough for the third session to expire.
    let late = Stamps { time_ms: 7, elapsed: Duration::from_millis(3_601_500) };
    let last = fork.batch(3, late, 3, requests(1 + calls, 2), false).expect("sound").expect("something to log");
    for batch in [opened, first] {
        let batch = batch.expect("sound").expect("something to log");
        store.apply(&batch, |_, _, _| {}).expect("it fits");
    }
    assert!(last.records.len() > calls as usize);
    (store, last)
}

/// All that can be done with bytes from outside. What can be read is used, as a node would.
fn feed(store: &Store<Board>, bytes: &[u8]) {
    let _ = Batch::<Board>::peek(bytes);
    if let Ok(batch) = Batch::<Board>::decode(bytes) {
        let again = batch.encode().expect("what was read is written");
        Batch::<Board>::decode(&again).expect("and read again");
        let mut store = store.clone();
        let fits = Batch {
            header: Header { prev: store.head(), base: store.index(), compare: false, ..batch.header },
            ..batch
        };
        if store.apply(&fits, |_, _, _| {}).is_ok() {
            go_on(store);
        }
    }
    if let Ok(store) = Store::restore(Arc::new(Board), bytes) {
        go_on(store);
    }
}

/// A store that was taken for good must go on working.
fn go_on(store: Store<Board>) {
    let bytes = store.save().expect("it can be saved");
    let mut store = Store::restore(Arc::new(Board), &bytes).expect("and restored");
    let mut fork = Fork::new(store.clone(), u64::MAX, Incarnation(9), Retention::default());
    for (counter, seconds) in [(1, 0), (2, 1_000), (3, 10_000)] {
        let session_key = store.sessions().key(&session("a", 1)).unwrap_or(SessionKey(1));
        let number = fork.next(session_key).unwrap_or(CallNumber::FIRST);
        let requests = vec![
            Request::Open { id: session("new", counter), as_of: store.stamps().elapsed },
            Request::Call {
                session: session_key,
                number,
                floor: CallNumber(number.0 / 2),
                chosen: Some(ChosenId { id: "id-0".into(), call: Digest(5) }),
                audit: None,
                method: Method::Claim(9),
            },
        ];
        let stamps = fork.stamps(0, Duration::from_secs(seconds));
        let Some(batch) = fork.batch(counter, stamps, 0, requests, true).expect("the fork is sound") else { continue };
        let batch = Batch::decode(&batch.encode().expect("it is written")).expect("and read");
        store.apply(&batch, |_, _, _| {}).expect("what the fork made is applied");
        store.save().expect("it can be saved");
    }
}

#[derive(Clone, Debug)]
enum Damage {
    Set(usize, u8),
    Flip(usize, u8),
    Cut(usize),
    Insert(usize, Vec<u8>),
    /// A part comes twice.
    Repeat(usize, usize),
    /// A number becomes as large as can be.
    Fill(usize, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        4 => (any::<usize>(), any::<u8>()).prop_map(|(at, to)| Damage::Set(at, to)),
        4 => (any::<usize>(), 0..8u8).prop_map(|(at, bit)| Damage::Flip(at, bit)),
        1 => any::<usize>().prop_map(Damage::Cut),
        1 => (any::<usize>(), prop::collection::vec(any::<u8>(), 1..12)).prop_map(|(at, it)| Damage::Insert(at, it)),
        1 => (any::<usize>(), 1..40usize).prop_map(|(at, len)| Damage::Repeat(at, len)),
        2 => (any::<usize>(), 1..9usize).prop_map(|(at, len)| Damage::Fill(at, len)),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: Vec<Damage>) -> Vec<u8> {
    for damage in damages {
        let len = bytes.len();
        if len == 0 {
            break;
        }
        match damage {
            Damage::Set(at, to) => bytes[at % len] = to,
            Damage::Flip(at, bit) => bytes[at % len] ^= 1 << bit,
            Damage::Cut(at) => bytes.truncate(at % len),
            Damage::Insert(at, it) => drop(bytes.splice(at % len..at % len, it)),
            Damage::Repeat(at, count) => {
                let from = at % len;
                let part = bytes[from..len.min(from + count)].to_vec();
                bytes.splice(from..from, part);
            }
            Damage::Fill(at, count) => {
                let from = at % len;
                bytes[from..len.min(from + count)].fill(0xff);
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes: Vec<u8>) {
        let (store, _) = sample(3);
        feed(&store, &bytes);
        // Behind a right first byte and a right header there is more to get wrong.
        feed(&store, &[&[1], &*bytes].concat());
        let header = Batch::<Board> { header: sample(0).1.header, records: Vec::new() }.encode().expect("it is written");
        feed(&store, &[&header[..header.len() - 1], &*bytes].concat());
    }

    #[test]
    fn a_damaged_batch(calls in 0..8u64, damages in prop::collection::vec(damage(), 1..4)) {
        let (store, batch) = sample(calls);
        feed(&store, &damaged(batch.encode().expect("it is written"), damages));
    }

    #[test]
    fn a_damaged_snapshot(calls in 0..8u64, damages in prop::collection::vec(damage(), 1..4)) {
        let (store, _) = sample(calls);
        feed(&store, &damaged(store.save().expect("it is written"), damages));
    }

    #[test]
    fn any_text_is_a_request_id(text in "\\PC*|([a-c]|/|[0-9a-f+]{1,3}){0,10}|[a-z/]{1,4}/[0-9a-f]{1,17}/[0-9]{1,21}/[0-9]{1,21}") {
        let id = RequestId::parse(&text);
        prop_assert_eq!(id.to_string(), text, "no two texts are one id");
        prop_assert_eq!(RequestId::parse(&id.to_string()), id);
    }

    #[test]
    fn reading_holds_no_more_than_came(damages in prop::collection::vec(damage(), 0..3), snapshot: bool) {
        let (store, batch) = sample(40);
        let bytes = if snapshot { store.save() } else { batch.encode() }.expect("it is written");
        let bytes = damaged(bytes, damages);
        let most = most_held(|| {
            let _ = Batch::<Board>::decode(&bytes);
            let _ = Store::restore(Arc::new(Board), &bytes);
        });
        prop_assert!(most <= 64 * bytes.len() + 4096, "{most} bytes were held to read {}", bytes.len());
    }
}

#[test]
fn every_cut_and_every_byte() {
    let (store, batch) = sample(5);
    let (batch, snapshot) = (batch.encode().expect("it is written"), store.save().expect("it is written"));
    for cut in 0..batch.len() {
        assert!(Batch::<Board>::decode(&batch[..cut]).is_err());
    }
    for cut in 0..snapshot.len() {
        assert!(Store::restore(Arc::new(Board), &snapshot[..cut]).is_err());
    }
    let more = |bytes: &[u8]| [bytes, &[0]].concat();
    assert!(
        Batch::<Board>::decode(&more(&batch)).is_err() && Store::restore(Arc::new(Board), &more(&snapshot)).is_err()
    );
    for bytes in [batch, snapshot] {
        for at in 0..bytes.len() {
            for to in [0, 1, 0x7f, 0x80, 0xff, bytes[at] ^ 0x40, bytes[at].wrapping_add(1)] {
                let mut bytes = bytes.clone();
                bytes[at] = to;
                feed(&store, &bytes);
            }
        }
    }
}

#[test]
fn a_large_state_is_written_a_piece_at_a_time() {
    let state = [vec!["x".repeat(100_000)], vec!["y".repeat(100); 100_000]].concat();
    let most = most_held(|| {
        state.write(&mut std::io::sink()).expect("it is written");
    });
    assert!(most < 1 << 20, "{most} bytes were held");
}

#[test]
fn large_counts_are_not_believed() {
    let (_, batch) = sample(0);
    let header = Batch { records: Vec::new(), ..batch }.encode().expect("it is written");
    let most = most_held(|| {
        for count in [1u64 << 20, 1 << 40, u64::MAX] {
            let mut bytes = header[..header.len() - 1].to_vec();
            codec::Writer::put_varint(&mut bytes, count);
            bytes.extend([0; 100]);
            assert!(Batch::<Board>::decode(&bytes).is_err());
        }
    });
    assert!(most < 8192, "{most} bytes were held");
}
