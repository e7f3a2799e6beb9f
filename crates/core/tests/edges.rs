//! Corners that no random run is likely to meet; most of them were bugs once.

mod common;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use common::{Action, Board, Counter, Method, bytes_of, quiet_planned_panics, session};
use conflux_core::codec::Writer;
use conflux_core::*;
use serde::{Deserialize, Serialize};

const HOUR: Duration = Duration::from_secs(3600);

fn at(elapsed: Duration) -> Stamps {
    Stamps { time_ms: 0, elapsed }
}

fn fork<C: Container>(store: &Store<C>, retention: Retention) -> Fork<C> {
    Fork::new(store.clone(), 1, Incarnation(1), retention)
}

fn call<C: Container>(number: u64, floor: u64, chosen: Option<ChosenId>, method: C::Method) -> Request<C> {
    let (session, number, floor) = (SessionKey(1), CallNumber(number), CallNumber(floor));
    Request::Call { session, number, floor, chosen, audit: None, method }
}

fn chosen(id: &str) -> Option<ChosenId> {
    Some(ChosenId { id: id.into(), call: Digest(1) })
}

/// A store with session 1 open, at batch 1.
fn opened<C: Container>(container: C) -> Store<C> {
    let mut store = Store::new(Arc::new(container));
    let open = Request::Open { id: session("a", 1), as_of: Duration::ZERO };
    let batch = fork(&store, Retention::default()).batch(1, at(Duration::ZERO), 0, vec![open], false);
    store.apply(&batch.expect("sound").expect("something to log"), |_, _, _| {}).expect("it fits");
    store
}

/// A batch that fits `store`, whatever is in it.
fn batch<C: Container>(store: &Store<C>, counter: u64, records: Vec<Record<C>>) -> Batch<C> {
    let id = BatchId { term: 1, incarnation: Incarnation(1), counter };
    let header = Header {
        id,
        prev: store.head(),
        base: store.index(),
        version: 1,
        code: Digest::default(),
        stamps: store.stamps(),
        seed: 0,
        compare: false,
    };
    Batch { header, records }
}

fn nothing<C: Container>(number: u64, chosen: Option<ChosenId>, verdict: Verdict<C>) -> Record<C> {
    let (session, number, floor) = (SessionKey(1), CallNumber(number), CallNumber(1));
    Record::Call { session, number, floor, chosen, audit: None, verdict }
}

fn corrupt<C: Container>(store: &Store<C>, batch: &Batch<C>) -> Corrupt {
    match store.clone().apply(batch, |_, _, _| {}) {
        Err(Halt::Corrupt(corrupt)) => corrupt,
        other => panic!("it is not refused as corrupt: {}", other.is_ok()),
    }
}

#[test]
fn a_batch_can_be_gone_through_action_by_action() {
    quiet_planned_panics();
    let mut store = opened(Board);
    let methods = [Method::Claim(1), Method::Claim(1), Method::Panic, Method::Claim(2), Method::Release(1)];
    let calls = (1..).zip(methods).map(|(number, method)| call(number, 1, None, method)).collect();
    let stamps = Stamps { time_ms: 5, elapsed: Duration::from_secs(1) };
    let batch = fork(&store, Retention::default()).batch(2, stamps, 5, calls, false);
    let batch = batch.expect("sound").expect("something to log");
    assert_eq!(batch.actions(), 3);

    let before = (store.index(), store.head(), bytes_of(&**store.state()));
    let actions = store.actions_in(&batch).expect("it fits");
    assert_eq!((store.index(), store.head(), bytes_of(&**store.state())), before);
    assert_eq!(actions.iter().map(|action| action.index.0).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(actions.iter().all(|action| action.stamps() == stamps));
    let mut state = (**store.state()).clone();
    for action in &actions {
        action.reduce(&Board, &mut state).expect("it passed on the leader");
    }
    let mut places = Vec::new();
    let heard = |_, _, outcome: &Outcome<Board>| places.push(outcome.index());
    let Ok(Applied::Changes(changes)) = store.apply(&batch, heard) else { panic!("it fits") };
    assert_eq!((&state, changes.len()), (&**store.state(), 3));
    assert_eq!(
        places,
        [1, 1, 1, 2, 3].map(|index| Some(Index(index))),
        "what made no action was judged at a place, too"
    );

    // Now it follows on something else, as any other does that is to be skipped.
    assert!(store.actions_in(&batch).expect("it is skipped").is_empty());
    let mut misplaced = self::batch(&store, 9, vec![]);
    misplaced.header.base = Index(7);
    assert!(matches!(store.actions_in(&misplaced), Err(Corrupt::Place { came: Index(7), is: Index(3) })));
}

#[test]
fn a_state_that_somebody_holds_is_not_touched() {
    let mut store = opened(Counter);
    let add = |store: &mut Store<Counter>, number| {
        let made = fork(store, Retention::default()).batch(
            1 + number,
            store.stamps(),
            0,
            vec![call(number, 1, None, 5)],
            false,
        );
        store.apply(&made.expect("sound").expect("something to log"), |_, _, _| {}).expect("it fits");
    };
    add(&mut store, 1);
    let (index, held) = (store.index(), store.state().clone());
    store.unshare();
    assert!(**store.state() == *held && !Arc::ptr_eq(store.state(), &held), "it is copied when it is asked for");
    add(&mut store, 2);
    assert_eq!((*held, **store.state()), (5, 10));
    // As a node does whose reducer broke halfway: its readers see the last state that was whole.
    store.put_back(index, held);
    assert_eq!((store.index(), **store.state()), (Index(1), 5));
}

#[test]
fn a_session_opens_however_long_the_cluster_was_idle() {
    // Nothing was logged, so the clock of every store stands still, and the leader's goes on.
    let mut store = Store::new(Arc::new(Counter));
    let mut leader = fork(&store, Retention::default());
    // The second comes when nothing is due yet, so that nothing but itself could move the clock.
    for (number, minutes) in [(1, 300), (2, 340), (3, 3_000)] {
        let now = leader.stamps(0, HOUR / 60 * minutes);
        // Two tries: the first may only log that something was forgotten.
        for attempt in 0..2 {
            let open = Request::Open { id: session("a", number), as_of: store.stamps().elapsed };
            let batch = leader.batch(number * 2 + attempt, now, 0, vec![open], false).expect("sound");
            if let Some(batch) = batch {
                store.apply(&batch, |_, _, _| {}).expect("it fits");
            }
        }
        assert!(store.sessions().key(&session("a", number)).is_some(), "session {number} after {minutes} minutes");
    }
}

#[test]
fn an_expired_session_stays_expired_under_a_leader_that_keeps_sessions_longer() {
    let mut store = opened(Counter);
    let short = Retention { session: Duration::from_secs(10), ..Retention::default() };
    let sweep = fork(&store, short).batch(2, at(Duration::from_secs(20)), 0, vec![], false);
    store.apply(&sweep.expect("sound").expect("a sweep"), |_, _, _| {}).expect("it fits");
    assert!(store.sessions().key(&session("a", 1)).is_none());

    let store = Store::restore(Arc::new(Counter), &store.save().expect("it can be saved")).expect("and restored");
    let late = Request::Open { id: session("a", 1), as_of: Duration::ZERO };
    let made = fork(&store, Retention::default()).batch(3, at(Duration::from_secs(20)), 0, vec![late], false);
    assert!(made.expect("sound").is_none(), "a late copy of its opening brings it to life");
}

#[test]
fn a_session_that_goes_on_is_not_swept_when_one_that_was_idle_is() {
    // The bound by which a sweep is spared must follow the sessions that were seen since.
    let mut store = opened(Counter);
    let mut leader = fork(&store, Retention::default());
    let open = Request::Open { id: session("b", 1), as_of: Duration::ZERO };
    let batch = leader.batch(2, at(HOUR / 2), 0, vec![open, call(1, 1, None, 5)], false).expect("sound");
    store.apply(&batch.expect("something to log"), |_, _, _| {}).expect("it fits");
    for (counter, quarters, calls, left) in
        [(3, 5, true, "ab"), (4, 7, false, "a"), (5, 8, false, "a"), (6, 10, false, "")]
    {
        let requests = if calls { vec![call(2, 2, None, 5)] } else { vec![] };
        if let Some(batch) = leader.batch(counter, at(HOUR / 4 * quarters), 0, requests, false).expect("sound") {
            store.apply(&batch, |_, _, _| {}).expect("it fits");
        }
        let open = |name: &&str| store.sessions().key(&session(name, 1)).is_some();
        let open: String = ["a", "b"].into_iter().filter(open).collect();
        assert_eq!(open, left, "after {quarters} quarters of an hour");
    }
}

#[test]
fn an_idle_leader_is_asked_whether_something_is_due() {
    let mut store = opened(Counter);
    let made = fork(&store, Retention::default()).batch(2, at(HOUR), 0, vec![call(1, 1, chosen("x"), 5)], false);
    store.apply(&made.expect("sound").expect("something to log"), |_, _, _| {}).expect("it fits");
    let mut leader = Fork::new(store, 3, Incarnation(1), Retention::default());
    assert_eq!(leader.term(), 3);
    let forgets = |leader: &mut Fork<Counter>, counter, elapsed| {
        let due = leader.is_due(elapsed);
        let made = leader.batch(counter, at(elapsed), 0, vec![], false).expect("sound");
        assert_eq!(made.is_some(), due, "{elapsed:?}");
        due
    };
    // An instant later than it is kept: first the chosen id, then the session.
    for (counter, kept) in [(3, HOUR + Duration::from_secs(300)), (5, HOUR * 2)] {
        assert!(!forgets(&mut leader, counter, kept), "{kept:?}");
        assert!(forgets(&mut leader, counter + 1, kept + Duration::from_nanos(1)), "{kept:?}");
    }
}

#[test]
fn an_origin_that_never_says_what_it_has_is_not_served_for_ever() {
    let mut store = opened(Counter);
    let mut leader = fork(&store, Retention::default());
    let mut next = 1;
    for counter in 2.. {
        let last = next + (1 << 16);
        let voids = (next..last).map(|number| Request::Void {
            session: SessionKey(1),
            number: CallNumber(number),
            floor: CallNumber(1),
        });
        let made = leader.batch(counter, at(Duration::ZERO), 0, voids.collect(), false).expect("sound");
        let Some(batch) = made else { break };
        store.apply(&batch, |_, _, _| {}).expect("it fits");
        next = last;
        assert!(next as usize <= 2 * conflux_core::session::OUTCOMES_MAX, "nothing bounds what is held");
    }
    // What it may do is to ask for no more, and to raise its floor: the session itself goes on as it is.
    assert_eq!(leader.next(SessionKey(1)), Some(CallNumber(next)));
}

#[test]
fn a_store_that_is_taken_up_again_is_the_next_generation() {
    let roster = Roster::default().after(&RosterChange::Seat("b".into()), &["a".into()].into()).expect("there is room");
    let store = opened(Counter).reborn(7, Roster::default()).reborn(2, roster.clone());
    let again = Store::restore(Arc::new(Counter), &store.save().expect("it can be saved")).expect("and restored");
    assert_eq!((again.generation(), again.head(), again.index()), (2, store.head(), store.index()));
    assert_eq!(again.roster(), &roster);
    assert!(again.sessions().key(&session("a", 1)).is_some(), "retries of before must find what became of them");
    // A name that was drawn is one that JavaScript holds exactly, and never that of the founded one.
    let name = |drawn| opened(Counter).reborn(drawn, Roster::default()).generation();
    assert_eq!((name(0), name(u64::MAX)), (1, 9_007_199_254_740_991));
}

#[test]
fn who_is_meant_to_vote_is_part_of_the_history() {
    let mut store = opened(Counter);
    let mut leader = fork(&store, Retention::default());
    let voters: std::collections::BTreeSet<NodeName> = ["a", "b"].map(NodeName::from).into();
    let ask = |change| Request::Roster { change, voters: voters.clone() };
    let remove = RosterChange::Remove { name: "a".into(), incarnations: [Incarnation(3)].into() };
    // Two in one batch build on each other; what would leave nobody is left out.
    let requests = vec![ask(remove), ask(RosterChange::Seat("c".into())), ask(RosterChange::Unseat("b".into()))];
    let batch = leader.batch(2, at(Duration::ZERO), 0, requests, false).expect("sound").expect("something to log");
    let batch = Batch::decode(&batch.encode().expect("it is written")).expect("it is read");
    store.apply(&batch, |_, _, _| {}).expect("it fits");
    let store = Store::restore(Arc::new(Counter), &store.save().expect("it can be saved")).expect("and restored");
    assert_eq!(store.roster().seats(), Some(&["c".into()].into()));
    assert!(store.roster().is_removed(&"a".into(), Incarnation(3)));
    for nothing in [RosterChange::Seat("c".into()), RosterChange::Unseat("c".into()), RosterChange::Seat("".into())] {
        let made = leader.batch(3, at(Duration::ZERO), 0, vec![ask(nothing.clone())], false).expect("sound");
        assert!(made.is_none(), "{nothing}");
    }
}

#[test]
fn what_is_swept_in_a_batch_is_not_called_in_it() {
    let mut store = opened(Counter);
    let now = at(HOUR + Duration::from_secs(1));
    let again = Request::Open { id: session("a", 1), as_of: Duration::ZERO };
    let fresh = Request::Open { id: session("a", 2), as_of: now.elapsed };
    let requests = vec![again, fresh, call(1, 1, None, 5)];
    let made = fork(&store, Retention::default()).batch(2, now, 0, requests, false).expect("sound").expect("a sweep");
    assert!(matches!(&*made.records, [Record::Sweep { .. }, Record::Open(id)] if id.number == 2));
    store.apply(&made, |_, _, _| {}).expect("it fits");
    assert_eq!(store.sessions().key(&session("a", 1)), None);
    assert_eq!(store.sessions().key(&session("a", 2)), Some(SessionKey(2)), "keys are never used again");
}

#[test]
fn what_stands_behind_a_broken_reducer_is_told_or_left_out() {
    quiet_planned_panics();
    let store = opened(Board);
    let mut leader = fork(&store, Retention::default());
    let void = Request::Void { session: SessionKey(1), number: CallNumber(3), floor: CallNumber(1) };
    let requests = vec![
        call(1, 1, chosen("x"), Method::PanicInReducer),
        call(2, 1, chosen("x"), Method::PanicInReducer),
        void,
        call(4, 1, None, Method::Claim(1)),
        call(5, 1, chosen("x"), Method::PanicInReducer),
    ];
    let made = leader.batch(2, store.stamps(), 0, requests, false).expect("sound").expect("something to log");
    assert!(leader.is_damaged());
    assert_eq!(made.records.len(), 3, "{:?}", made.records);
    assert!(matches!(made.records[1], Record::Call { verdict: Verdict::Repeated, .. }));
    let mut store = store;
    let mut told = Vec::new();
    store.apply(&made, |_, number, outcome| told.push((number.0, outcome.clone()))).expect("it fits");
    assert!(matches!(&*told, [(1, Outcome::Failed { .. }), (2, Outcome::Failed { .. }), (3, Outcome::Void)]));
    assert_eq!(told[2].1.index(), None);
    assert_eq!(**store.state(), Board.initial());
}

#[test]
fn a_request_that_no_replica_could_read_back_is_left_out() {
    let store = opened(Counter);
    let long = "x".repeat(257);
    let requests = vec![
        // Once this went round 2^64 times.
        call(1, u64::MAX, None, 1),
        Request::Void { session: SessionKey(1), number: CallNumber(1), floor: CallNumber(2) },
        call(1, 1, chosen(&long), 1),
        Request::Open { id: session(&long, 1), as_of: Duration::MAX },
        Request::Open { id: session("", 1), as_of: Duration::ZERO },
    ];
    assert!(fork(&store, Retention::default()).batch(2, store.stamps(), 0, requests, false).expect("sound").is_none());
    // What just fits is taken, and read back.
    let fits = "x".repeat(256);
    let requests = vec![call(1, 1, chosen(&fits), 1), Request::Open { id: session(&fits, 1), as_of: Duration::MAX }];
    let made = fork(&store, Retention::default()).batch(2, store.stamps(), 0, requests, false).expect("sound");
    let made = made.expect("something to log");
    assert_eq!(made.records.len(), 2);
    Batch::<Counter>::decode(&made.encode().expect("it is written")).expect("it is read");
}

#[test]
fn a_floor_forgets_and_never_comes_back() {
    let mut store = opened(Counter);
    let requests = vec![call(1, 1, None, 1), call(2, 2, None, 1), call(3, 1, None, 1), call(4, 0, None, 1)];
    let made = fork(&store, Retention::default()).batch(2, store.stamps(), 0, requests, false).expect("sound");
    store.apply(&made.expect("something to log"), |_, _, _| {}).expect("it fits");
    let find = |number| store.sessions().find(&session("a", 1), CallNumber(number));
    assert!(matches!(find(1), Found::Forgotten));
    assert!(matches!(find(2), Found::Decided(Outcome::Committed { index: Index(2), .. })));
    assert!(matches!(find(4), Found::Decided(_)));
    assert!(matches!(find(5), Found::Undecided));
    assert!(matches!(find(u64::MAX), Found::Undecided));

    // In memory nothing keeps a floor below its call.
    let (session, number, floor) = (SessionKey(1), CallNumber(5), CallNumber(u64::MAX));
    let void = batch(&store, 3, vec![Record::Void { session, number, floor }]);
    store.apply(&void, |_, _, _| {}).expect("a floor above is as high as it gets");
    assert_eq!(store.sessions().get(SessionKey(1)).map(Session::next), Some(CallNumber(6)));
    Store::restore(Arc::new(Counter), &store.save().expect("it can be saved")).expect("and restored");
}

#[test]
fn a_batch_that_contradicts_the_table_stops_the_node() {
    let mut store = opened(Counter);
    let first = batch(&store, 2, vec![nothing(1, chosen("x"), Verdict::Nothing)]);
    store.apply(&first, |_, _, _| {}).expect("it fits");
    let is = |record| corrupt(&store, &batch(&store, 3, vec![record]));
    let other = Some(ChosenId { id: "x".into(), call: Digest(2) });

    assert!(matches!(is(nothing(1, None, Verdict::Nothing)), Corrupt::NotNext { came: 1, next: 2, .. }));
    assert!(matches!(is(nothing(3, None, Verdict::Nothing)), Corrupt::NotNext { came: 3, next: 2, .. }));
    // Once this made a table that could not be saved after the next sweep.
    assert!(matches!(is(nothing(2, chosen("x"), Verdict::Nothing)), Corrupt::Remembered(_)));
    assert!(matches!(is(nothing(2, other.clone(), Verdict::Nothing)), Corrupt::Remembered(_)));
    assert!(matches!(is(nothing(2, other, Verdict::Repeated)), Corrupt::NotRemembered(_)));
    assert!(matches!(is(nothing(2, chosen("x"), Verdict::Conflict)), Corrupt::NotRemembered(_)));
    assert!(matches!(is(nothing(2, chosen("y"), Verdict::Repeated)), Corrupt::NotRemembered(_)));
    assert!(matches!(is(nothing(2, None, Verdict::Repeated)), Corrupt::NotRemembered(_)));
    assert!(matches!(is(nothing(2, None, Verdict::Conflict)), Corrupt::NotRemembered(_)));
    assert!(matches!(is(Record::Open(session("a", 1))), Corrupt::OpenTwice(_)));
    let (session, number, floor) = (SessionKey(2), CallNumber(1), CallNumber(1));
    assert!(matches!(is(Record::Void { session, number, floor }), Corrupt::UnknownSession(_)));

    let refuse = |change: fn(&mut Header)| {
        let mut batch = batch(&store, 3, vec![]);
        change(&mut batch.header);
        corrupt(&store, &batch)
    };
    assert!(matches!(refuse(|header| header.base = Index(1)), Corrupt::Place { .. }));
    assert!(matches!(refuse(|header| header.id = header.prev), Corrupt::OwnPredecessor(_)));

    let mut late = batch(&store, 3, vec![]);
    late.header.stamps.elapsed = HOUR;
    store.apply(&late, |_, _, _| {}).expect("it fits");
    let mut early = batch(&store, 4, vec![]);
    early.header.stamps.elapsed = HOUR - Duration::from_nanos(1);
    assert!(matches!(corrupt(&store, &early), Corrupt::Clock { .. }));
}

#[test]
fn a_batch_of_other_code_stops_the_node() {
    let store = opened(Counter);
    let refuse = |change: fn(&mut Header)| {
        let mut batch = batch(&store, 2, vec![]);
        change(&mut batch.header);
        store.clone().apply(&batch, |_, _, _| {}).expect_err("it is refused")
    };
    // For these alone somebody is told to start the node with the right code.
    assert!(
        refuse(|header| header.version = 2).is_other_code() && refuse(|header| header.code = Digest(1)).is_other_code()
    );
    assert!(!refuse(|header| header.base = Index(7)).is_other_code());
    assert!(matches!(refuse(|header| header.version = 2), Halt::Version { came: 2, is: 1 }));
    assert!(matches!(refuse(|header| header.code = Digest(1)), Halt::Code { .. }));
}

#[test]
fn chosen_ids_beyond_the_most_are_not_taken_and_none_is_forgotten_early() {
    let mut store = opened(Counter);
    let retention = Retention { chosen_ids_max: 2, ..Retention::default() };
    let mut counter = 1;
    // One batch each, or all in one: what a batch holds itself counts.
    let mut outcomes = |elapsed, calls: &[(u64, Option<&str>)]| {
        counter += 1;
        let requests = calls.iter().map(|(number, id)| call(*number, 1, id.and_then(chosen), 1)).collect();
        let made = fork(&store, retention).batch(counter, at(elapsed), 0, requests, false).expect("sound");
        let made = made.expect("something to log");
        // As a replica reads it.
        let made = Batch::decode(&made.encode().expect("it is written")).expect("it is read");
        let mut told = String::new();
        let heard = |_, _, outcome: &Outcome<Counter>| {
            told.push(match outcome {
                Outcome::Committed { index, .. } => char::from(b'0' + u8::try_from(index.0).expect("few")),
                Outcome::Void => '-',
                Outcome::Conflict => 'x',
                _ => '?',
            });
        };
        store.apply(&made, heard).expect("it fits");
        told
    };
    let (now, later) = (Duration::ZERO, Duration::from_secs(301));
    assert_eq!(outcomes(now, &[(1, Some("a")), (2, Some("b")), (3, Some("c")), (4, None)]), "12-3");
    // Those that are remembered are answered; ids of their own are not needed.
    assert_eq!(outcomes(now, &[(5, Some("a")), (6, Some("c")), (7, None), (8, Some("b"))]), "1-42");
    // When some are forgotten there is room again, for what was not taken too.
    assert_eq!(outcomes(later, &[(9, Some("c")), (10, Some("d")), (11, Some("e"))]), "56-");
    assert_eq!(store.sessions().chosen_count(), 2);
    assert!(store.sessions().find_chosen("a").is_none() && store.sessions().find_chosen("c").is_some());
}

#[test]
fn nothing_is_told_of_a_batch_that_stops_the_node() {
    quiet_planned_panics();
    let store = opened(Board);
    let good = || nothing(1, None, Verdict::Nothing);
    let poison = nothing(2, None, Verdict::Action(Arc::new(Action::Poison)));
    for bad in [nothing(9, None, Verdict::Nothing), poison] {
        let batch = batch(&store, 2, vec![good(), bad]);
        let halted = store.clone().apply(&batch, |_, _, _| panic!("it was told before its batch took effect"));
        assert!(halted.is_err());
    }
}

#[test]
fn the_clock_stops_at_its_end() {
    let mut store = opened(Counter);
    let mut end = batch(&store, 2, vec![]);
    end.header.stamps.elapsed = Duration::from_nanos(u64::MAX);
    store.apply(&end, |_, _, _| {}).expect("it fits");
    let mut leader = fork(&store, Retention::default());
    let stamps = leader.stamps(u64::MAX, Duration::MAX);
    let made = leader.batch(3, stamps, 0, vec![], true).expect("sound").expect("a comparison");
    Batch::<Counter>::decode(&made.encode().expect("it is written")).expect("it is read");
}

/// Fields of a snapshot of a [`Counter`], to be made wrong.
#[derive(Clone)]
struct Snapshot {
    generation: u64,
    index: u64,
    opened: u64,
    /// Keys, numbers and floors.
    sessions: Vec<(u64, u64, u64)>,
    chosen: Vec<&'static str>,
}

impl Snapshot {
    fn restore(&self) -> Result<Store<Counter>, RestoreError> {
        let mut bytes = Vec::new();
        bytes.put_batch_id(BatchId::ROOT);
        bytes.put_u64(0);
        bytes.put_u64(0);
        bytes.put_varint(self.opened);
        bytes.put_u64(0);
        bytes.put_varint(self.sessions.len() as u64);
        for (key, number, floor) in &self.sessions {
            bytes.put_varint(*key);
            bytes.put_session_id(&session("a", *number));
            bytes.put_varint(*floor);
            bytes.put_u64(0);
            bytes.put_varint(1);
            bytes.put_u8(0x10);
        }
        bytes.put_varint(self.chosen.len() as u64);
        for id in &self.chosen {
            bytes.put_bytes(id.as_bytes());
            bytes.put_digest(Digest(1));
            bytes.put_u64(0);
            bytes.put_u8(0x10);
        }
        // The roster: no seats were named, nobody was removed.
        bytes.extend([0, 0]);
        let table = std::mem::replace(&mut bytes, vec![3]);
        bytes.put_u32(1);
        bytes.put_digest(Digest::default());
        bytes.put_u64(self.generation);
        bytes.put_u64(self.index);
        bytes.put_u64(table.len() as u64);
        bytes.put(&table);
        bytes.put(&bytes_of(&0u64));
        bytes.put_digest(Payload::digest(&0u64).expect("a number has a digest"));
        Store::restore(Arc::new(Counter), &bytes)
    }
}

#[test]
fn a_snapshot_that_contradicts_itself_is_refused() {
    let (generation, sessions) = ((1 << 53) - 1, vec![(1, 1, 1), (2, 2, 1)]);
    let good = Snapshot { generation, index: 0, opened: 2, sessions, chosen: vec!["x", "y"] };
    let store = good.restore().expect("it is sound");
    assert!(matches!(store.sessions().find(&session("a", 2), CallNumber(1)), Found::Decided(Outcome::Void)));
    let wrong: [fn(&mut Snapshot); 9] = [
        |it| it.sessions[1].0 = 1,
        |it| it.sessions[0].0 = 3,
        |it| it.sessions[1].1 = 1,
        |it| it.opened = 1,
        |it| it.chosen[1] = "x",
        |it| it.index = u64::MAX,
        |it| it.generation += 1,
        |it| it.opened = u64::MAX,
        |it| it.sessions[0].2 = u64::MAX - 1,
    ];
    for (nth, wrong) in wrong.into_iter().enumerate() {
        let mut snapshot = good.clone();
        wrong(&mut snapshot);
        assert!(snapshot.restore().is_err(), "wrong in way {nth}");
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Nested {
    Leaf,
    In(Box<Nested>),
}

#[test]
fn a_hostile_value_cannot_exhaust_the_stack() {
    // The reader's own limit does not count enums: once this aborted the process.
    let mut hostile = [0x81, 0xa2, b'I', b'n'].repeat(1_000_000);
    hostile.extend([0xa4, b'L', b'e', b'a', b'f']);
    Nested::decode(&hostile).expect_err("it is too deep");
    let arrays = [vec![0x91; 1_000_000], vec![0xc0]].concat();
    <serde_json::Value as Payload>::decode(&arrays).expect_err("it is too deep");
    // Depth behind all kinds of scalars, so that none is measured wrong.
    let mut skipped = vec![0xdc, 0, 12];
    skipped.extend([0xcb, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91, 0x91]);
    skipped.extend([0xcd, 0x91, 0x91, 0xd0, 0x91, 0xce, 0x91, 0x91, 0x91, 0x91]);
    skipped.extend([0xa2, b'a', b'b', 0xd9, 1, b'a', 0xda, 0, 1, b'a', 0xdb, 0, 0, 0, 1, b'a', 0xff, 0x7f, 0xc3]);
    let ok = [skipped.clone(), vec![0x91; 255], vec![0xc0]].concat();
    <serde_json::Value as Payload>::decode(&ok).expect("it is just deep enough");
    let deep = [skipped, vec![0x91; 256], vec![0xc0]].concat();
    <serde_json::Value as Payload>::decode(&deep).expect_err("it is too deep");
}

#[test]
fn what_is_written_can_be_read() {
    let mut nested = Nested::Leaf;
    let mut value = serde_json::Value::Array(vec![]);
    for depth in 1..=300 {
        nested = Nested::In(Box::new(nested));
        value = serde_json::Value::Array(vec![value]);
        let mut bytes = Vec::new();
        let written = nested.encode(&mut bytes);
        assert_eq!(written.is_ok(), Nested::decode(&bytes).is_ok(), "an enum, {depth} deep");
        assert_eq!(written.is_ok(), depth <= 256);
        let mut bytes = Vec::new();
        let written = value.encode(&mut bytes);
        assert_eq!(written.is_ok(), serde_json::Value::decode(&bytes).is_ok(), "an array, {depth} deep");
        assert_eq!(written.is_ok(), Payload::digest(&value).is_ok());
    }
}

#[test]
fn a_history_keeps_what_it_says() {
    for actions_max in [0, 1, 2, 5, 10] {
        for sizes in [vec![1; 40], vec![9, 2, 9, 2, 1, 1, 30, 1, 1], vec![3; 20], vec![0, 1, 0, 0, 100, 0, 1]] {
            let mut store = opened(Counter);
            let mut history = History::new(store.index(), store.state().clone(), actions_max, usize::MAX);
            let mut last_sizes = VecDeque::new();
            for (size, counter) in sizes.iter().zip(2..) {
                let from = store.index().0 + 1;
                let requests = (from..from + size).map(|number| call(number, number, None, 1)).collect();
                let made = fork(&store, Retention::default()).batch(counter, store.stamps(), 0, requests, true);
                let made = made.expect("sound").expect("a comparison");
                let Applied::Changes(changes) = store.apply(&made, |_, _, _| {}).expect("it fits") else {
                    panic!("it is skipped");
                };
                history.extend(changes, 0, store.state());
                last_sizes.push_back(*size);
                let held = (history.last().0 - history.first().0) as usize;
                let ever = store.index().0 as usize;
                assert_eq!(history.last(), store.index());
                assert_eq!(history.tail(usize::MAX).count(), held);
                let largest = last_sizes.iter().copied().max().unwrap_or_default() as usize;
                assert!(held <= if actions_max == 0 { 0 } else { actions_max + largest }, "{actions_max}: {held}");
                assert!(held >= ever.min(actions_max / 2), "{actions_max}: {held} of {ever}");
                for index in history.first().0..=history.last().0 {
                    let (state, path) = history.path_to(Index(index)).expect("it is held");
                    assert_eq!(*state + path.len() as u64, index);
                }
            }
        }
    }
}

#[test]
fn a_subscriber_at_the_edge_of_the_past_misses_nothing() {
    let mut store = opened(Counter);
    // A reset for each snapshot that was installed.
    let mut history = History::new(Index(7), Arc::new(0), 8, usize::MAX);
    assert_eq!(history.resets(), 0);
    for resets in 1..4 {
        history.reset(store.index(), store.state().clone());
        assert_eq!(history.resets(), resets);
        let number = store.index().0 + 1;
        let made = fork(&store, Retention::default()).batch(
            1 + number,
            store.stamps(),
            0,
            vec![call(number, 1, None, 1)],
            false,
        );
        let made = made.expect("sound").expect("a call");
        let Applied::Changes(changes) = store.apply(&made, |_, _, _| {}).expect("it fits") else { panic!("it fits") };
        history.extend(changes, 1, store.state());
        assert_eq!((history.first(), history.last()), (Index(number - 1), Index(number)));
        assert!(matches!(history.since(Index(number - 1), 9), Owed::Changes(changes) if changes.len() == 1));
        assert!(matches!(history.since(Index(number), 9), Owed::Nothing));
        assert!(number == 1 || matches!(history.since(Index(number - 2), 9), Owed::Reset));
    }
}

#[test]
fn a_history_of_large_actions_holds_fewer() {
    let mut store = opened(Counter);
    let mut history = History::new(store.index(), store.state().clone(), 1_000_000, 1000);
    for counter in 2..200 {
        let number = store.index().0 + 1;
        let made = fork(&store, Retention::default()).batch(
            counter,
            store.stamps(),
            0,
            vec![call(number, number, None, 1)],
            false,
        );
        let made = made.expect("sound").expect("a call");
        let Applied::Changes(changes) = store.apply(&made, |_, _, _| {}).expect("it fits") else {
            panic!("it is skipped");
        };
        history.extend(changes, 100, store.state());
        let held = history.last().0 - history.first().0;
        assert!(held <= 10 && held >= (number - 1).min(5), "{held} at {number}");
    }
}

/// Wraps what it is given, so that what just fits a request does not fit the log.
#[derive(Debug)]
struct Wraps;

impl Container for Wraps {
    type State = u64;
    type Method = Nested;
    type Action = Nested;
    type Rejection = Reject;

    fn initial(&self) -> u64 {
        0
    }

    fn decide(&self, _: &u64, method: Nested, _: &Context<'_>) -> Result<Option<Nested>, Reject> {
        Ok(Some(Nested::In(Box::new(method))))
    }

    fn reduce(&self, state: &mut u64, _: &Nested, _: &Context<'_>) {
        *state += 1;
    }
}

#[test]
fn an_action_that_cannot_be_written_fails_its_call_alone() {
    let store = opened(Wraps);
    let deepest = (0..256).fold(Nested::Leaf, |nested, _| Nested::In(Box::new(nested)));
    Nested::decode(&bytes_of(&deepest)).expect("it fits a request");
    let requests = vec![call(1, 1, None, deepest), call(2, 1, None, Nested::Leaf)];
    let mut leader = fork(&store, Retention::default());
    let made = leader.batch(2, store.stamps(), 0, requests, false).expect("sound").expect("something to log");
    assert!(!leader.is_damaged());
    Batch::<Wraps>::decode(&made.encode().expect("it is written")).expect("it is read");
    let verdicts: Vec<_> = made.records.iter().map(|record| format!("{record:?}")).collect();
    assert!(verdicts[0].contains("the action cannot be written"), "{verdicts:?}");
    assert_eq!((made.actions(), **leader.store().state()), (1, 1));
}

/// Makes a text of so many bytes; with the five in front of it that say how long it is.
#[derive(Debug)]
struct Large;

impl Container for Large {
    type State = u64;
    type Method = usize;
    type Action = String;
    type Rejection = Reject;

    fn initial(&self) -> u64 {
        0
    }

    fn decide(&self, _: &u64, bytes: usize, _: &Context<'_>) -> Result<Option<String>, Reject> {
        Ok(Some("x".repeat(bytes - 5)))
    }

    fn reduce(&self, state: &mut u64, action: &String, _: &Context<'_>) {
        *state += action.len() as u64;
    }
}

#[test]
fn a_batch_stays_small_enough_for_a_heartbeat_to_pass() {
    const MAX: usize = 4 << 20;
    let store = opened(Large);
    let decide = |sizes: &[usize]| {
        let calls = (1..).zip(sizes).map(|(number, size)| call(number, 1, None, *size)).collect();
        let made = fork(&store, Retention::default()).batch(2, store.stamps(), 0, calls, false);
        let records = made.expect("sound").expect("something to log").records;
        let verdict = |record| if let Record::Call { verdict, .. } = record { verdict } else { panic!("it is a call") };
        records.into_iter().map(verdict).collect::<Vec<Verdict<Large>>>()
    };
    // What goes over the bound ends the batch, and what is behind it is for the next one.
    let decided = decide(&[MAX, 70_000, 70_000]);
    assert!(matches!(&*decided, [Verdict::Action(_), Verdict::Action(_)]));
    assert_eq!(decide(&[MAX / 2, MAX / 2, 70_000, 70_000]).len(), 3);
    let decided = decide(&[MAX + 1, 70_000]);
    let [Verdict::Failed(failure)] = &*decided else { panic!("it is too large") };
    assert!(failure.message.contains("4194305 bytes, more than the 4194304 allowed"), "{failure}");
}

/// Keeps who performed, as methods and as reducers see it.
struct Who;

impl Container for Who {
    type State = Vec<String>;
    type Method = ();
    type Action = String;
    type Rejection = Never;

    fn initial(&self) -> Vec<String> {
        Vec::new()
    }

    fn decide(&self, _: &Vec<String>, (): (), context: &Context<'_>) -> Result<Option<String>, Never> {
        Ok(Some(format!("{} {:?}", context.node(), context.origin())))
    }

    fn reduce(&self, seen: &mut Vec<String>, decided: &String, context: &Context<'_>) {
        seen.extend([decided.clone(), format!("{} {:?}", context.node(), context.origin())]);
    }
}

#[test]
fn methods_and_reducers_are_told_who_performs() {
    let mut store = opened(Who);
    let batch = fork(&store, Retention::default()).batch(2, at(Duration::ZERO), 0, vec![call(1, 1, None, ())], false);
    let applied = store.apply(&batch.expect("sound").expect("something to log"), |_, _, _| {}).expect("it fits");
    let origin = Origin { session: session("a", 1), number: CallNumber(1) };
    let who = format!("a {origin:?}");
    assert_eq!(**store.state(), [who.clone(), who]);
    let Applied::Changes(changes) = applied else { panic!("it is the next batch") };
    assert_eq!((changes[0].node(), changes[0].origin()), (&NodeName::from("a"), origin));
}

#[test]
fn what_a_container_need_not_say() {
    assert_eq!((Who.version(), Who.code(), Who.may_take_long()), (1, Digest::default(), false));
    assert_eq!(Who.invariant(&Vec::new()), Ok(()));
    assert!(Who.methods().is_empty());
    assert_eq!(Who.sample(&mut Random::new(1)), Ok(Some(())));
    assert_eq!(Board.methods(), ["Claim", "Release", "Panic", "PanicInReducer"]);
}
