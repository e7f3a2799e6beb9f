//! The promises of the core, over any order of events, against a model that is too simple to be wrong: a plain list,
//! gone through from the start.
//!
//! The world below plays leaders, clients, an engine that loses, delays and repeats batches, and replicas that lag and
//! restart. What they saw is written down; afterwards the model goes through the log and says what they should have.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::{Board, Method, State, bytes_of, quiet_planned_panics, session};
use conflux_core::{
    Applied, Batch, BatchId, CallNumber, ChosenId, Committed, Container, Context, Digest, Fork, Found, History,
    Incarnation, Index, Origin, Outcome, Owed, Payload, Record, Request, Retention, SessionId, SessionKey, Stamps,
    Store, Verdict,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree;

const RETENTION: Retention =
    Retention { session: Duration::from_secs(100), chosen_id: Duration::from_secs(60), chosen_ids_max: usize::MAX };
/// The retention of odd terms: leaders need not agree on it.
const RETENTION_ODD: Retention =
    Retention { session: Duration::from_secs(400), chosen_id: Duration::from_secs(30), chosen_ids_max: usize::MAX };
const REPLICAS: usize = 3;

fn retention(term: u64) -> Retention {
    if term % 2 == 1 { RETENTION_ODD } else { RETENTION }
}

// What may happen.

#[derive(Clone, Debug)]
enum Op {
    /// A replica catches up and leads a new term.
    Elect(usize),
    /// The leader catches up and forks again, in its term.
    Refork,
    /// The leader makes a batch.
    Make {
        asks: Vec<Ask>,
        seconds: u64,
        compare: bool,
        fate: Fate,
    },
    /// A delayed batch reaches the log, or one that is in it reaches it again.
    Deliver {
        which: usize,
        again: bool,
    },
    Apply {
        replica: usize,
        entries: usize,
    },
    /// A replica restarts from what it saved.
    Restart(usize),
    /// A replica is overwritten by the snapshot of another that is ahead.
    Install {
        from: usize,
        to: usize,
    },
    Poll {
        replica: usize,
        max: usize,
    },
}

/// What becomes of a batch on its way to the log.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Logged,
    Refused,
    Delayed,
}

#[derive(Clone, Debug)]
enum Ask {
    Open {
        client: usize,
        replica: usize,
    },
    /// A copy of an earlier `Open` arrives late.
    OpenAgain(usize),
    Call {
        session: usize,
        number: Pick,
        floor: u64,
        chosen: Option<u8>,
        method: Method,
    },
    Void {
        session: usize,
        number: Pick,
        floor: u64,
    },
}

#[derive(Clone, Copy, Debug)]
enum Pick {
    Next,
    Gap,
    Old(u64),
}

fn method() -> impl Strategy<Value = Method> {
    prop_oneof![
        8 => (0..3u8).prop_map(Method::Claim),
        6 => (0..3u8).prop_map(Method::Release),
        1 => Just(Method::Panic),
        1 => Just(Method::PanicInReducer),
    ]
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![12 => Just(Pick::Next), 1 => Just(Pick::Gap), 2 => (1..4u64).prop_map(Pick::Old)]
}

fn ask() -> impl Strategy<Value = Ask> {
    let chosen = prop_oneof![1 => Just(None), 1 => (0..3u8).prop_map(Some)];
    prop_oneof![
        2 => (0..3usize, 0..REPLICAS).prop_map(|(client, replica)| Ask::Open { client, replica }),
        2 => any::<usize>().prop_map(Ask::OpenAgain),
        10 => (any::<usize>(), pick(), 0..5u64, chosen, method())
            .prop_map(|(session, number, floor, chosen, method)| Ask::Call { session, number, floor, chosen, method }),
        1 => (any::<usize>(), pick(), 0..5u64)
            .prop_map(|(session, number, floor)| Ask::Void { session, number, floor }),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let seconds = prop_oneof![10 => 0..3u64, 3 => 15..40u64, 1 => 55..70u64, 1 => 95..140u64];
    let fate = prop_oneof![8 => Just(Fate::Logged), 1 => Just(Fate::Refused), 1 => Just(Fate::Delayed)];
    prop_oneof![
        2 => (0..REPLICAS).prop_map(Op::Elect),
        5 => Just(Op::Refork),
        14 => (prop::collection::vec(ask(), 0..7), seconds, any::<bool>(), fate)
            .prop_map(|(asks, seconds, compare, fate)| Op::Make { asks, seconds, compare, fate }),
        2 => (any::<usize>(), any::<bool>()).prop_map(|(which, again)| Op::Deliver { which, again }),
        5 => (0..REPLICAS, 1..6usize).prop_map(|(replica, entries)| Op::Apply { replica, entries }),
        1 => (0..REPLICAS).prop_map(Op::Restart),
        1 => (0..REPLICAS, 0..REPLICAS).prop_map(|(from, to)| Op::Install { from, to }),
        3 => (0..REPLICAS, 0..5usize).prop_map(|(replica, max)| Op::Poll { replica, max }),
    ]
}

// The world.

/// What a replica was seen to be after so many entries of the log.
struct Seen {
    entries: usize,
    state: State,
    index: Index,
    head: BatchId,
    stamps: Stamps,
    digest: Digest,
    /// What the table says of every call that was ever asked for.
    table: Vec<String>,
    told: Vec<(SessionKey, CallNumber, String)>,
}

struct Replica {
    store: Store<Board>,
    entries: usize,
    history: History<Board>,
    /// A subscriber, how far it is and what it heard.
    subscriber: Index,
    heard: Vec<Heard>,
}

enum Heard {
    Change(Index, Vec<u8>),
    Reset(Index, State),
}

struct Leader {
    fork: Fork<Board>,
    replica: usize,
    term: u64,
    /// What was forked, and every batch since.
    base: Store<Board>,
    tail: Vec<Batch<Board>>,
}

/// How often something of a kind happened: a run in which nothing does proves nothing.
type Tally = BTreeMap<&'static str, u64>;

struct World {
    log: Vec<Vec<u8>>,
    delayed: Vec<Vec<u8>>,
    replicas: Vec<Replica>,
    leader: Option<Leader>,
    term: u64,
    counter: u64,
    opens: Vec<(SessionId, Duration)>,
    clients: [u64; 3],
    seen: Vec<Seen>,
    tally: Tally,
}

impl World {
    fn new(actions_max: usize) -> World {
        let replica = || {
            let store = Store::new(Arc::new(Board));
            let history = History::new(store.index(), store.state().clone(), actions_max, usize::MAX);
            Replica { store, entries: 0, history, subscriber: Index(0), heard: Vec::new() }
        };
        World {
            log: Vec::new(),
            delayed: Vec::new(),
            replicas: (0..REPLICAS).map(|_| replica()).collect(),
            leader: None,
            term: 0,
            counter: 0,
            opens: Vec::new(),
            clients: [0; 3],
            seen: Vec::new(),
            tally: Tally::new(),
        }
    }

    fn count(&mut self, what: &'static str) {
        *self.tally.entry(what).or_default() += 1;
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Elect(replica) => {
                self.term += 1;
                self.lead(replica);
            }
            Op::Refork => {
                let replica = self.leader.as_ref().map_or(0, |leader| leader.replica);
                self.lead(replica);
            }
            Op::Make { asks, seconds, compare, fate } => self.make(asks, seconds, compare, fate),
            Op::Deliver { which, again } => {
                let batch = if again && !self.log.is_empty() {
                    self.log[which % self.log.len()].clone()
                } else if !self.delayed.is_empty() {
                    self.delayed.remove(which % self.delayed.len())
                } else {
                    return;
                };
                self.count("delivered late");
                self.log.push(batch);
            }
            Op::Apply { replica, entries } => self.apply(replica, entries),
            Op::Restart(replica) => {
                let replica = &mut self.replicas[replica];
                let bytes = replica.store.save().expect("a state can be saved");
                replica.store = Store::restore(Arc::new(Board), &bytes).expect("what was saved is restored");
                assert_eq!(replica.store.save().as_ref(), Ok(&bytes), "a snapshot of a snapshot is the same");
                replica.history.reset(replica.store.index(), replica.store.state().clone());
            }
            Op::Install { from, to } => {
                if self.replicas[from].entries <= self.replicas[to].entries {
                    return;
                }
                let bytes = self.replicas[from].store.save().expect("a state can be saved");
                let entries = self.replicas[from].entries;
                let to = &mut self.replicas[to];
                to.store = Store::restore(Arc::new(Board), &bytes).expect("what was saved is restored");
                to.entries = entries;
                to.history.reset(to.store.index(), to.store.state().clone());
                self.count("installed");
            }
            Op::Poll { replica, max } => self.poll(replica, max),
        }
    }

    fn lead(&mut self, replica: usize) {
        self.apply(replica, usize::MAX);
        let base = self.replicas[replica].store.clone();
        let term = self.term.max(1);
        self.term = term;
        let fork = Fork::new(base.clone(), term, Incarnation(replica as u64 + 1), retention(term));
        self.leader = Some(Leader { fork, replica, term, base, tail: Vec::new() });
    }

    fn make(&mut self, asks: Vec<Ask>, seconds: u64, compare: bool, fate: Fate) {
        if self.leader.as_ref().is_none_or(|leader| leader.fork.is_damaged()) {
            let replica = self.leader.as_ref().map_or(0, |leader| leader.replica);
            self.lead(replica);
        }
        let (requests, due) = self.requests(asks);
        self.counter += 1;
        let (counter, term) = (self.counter, self.term);
        let leader = self.leader.as_mut().expect("there is one now");
        let now = leader.fork.store().stamps().elapsed + Duration::from_secs(seconds);
        let stamps = Stamps { time_ms: counter * 10, elapsed: now };
        let opens: Vec<_> = requests
            .iter()
            .filter_map(|it| if let Request::Open { id, as_of } = it { Some((id.clone(), *as_of)) } else { None })
            .collect();
        let batch = leader.fork.batch(counter, stamps, counter * 31, requests, compare).expect("the fork is sound");
        let sessions = leader.fork.store().sessions();
        let refused = opens.iter().filter(|(id, _)| sessions.key(id).is_none()).count();
        // Whoever asked after the last that expired is let in, and what is due is decided.
        for (id, as_of) in &opens {
            assert!(*as_of < sessions.swept_before() || sessions.key(id).is_some(), "{id} may be open, and is not");
        }
        for (key, number) in due.iter().filter(|_| !leader.fork.is_damaged()) {
            let decided = |record: &Record<Board>| match record {
                Record::Call { session, number, .. } | Record::Void { session, number, .. } => {
                    Some((*session, *number))
                }
                _ => None,
            };
            let mut decided = batch.iter().flat_map(|batch| &batch.records).filter_map(decided);
            let is_open = sessions.get(*key).is_some();
            assert!(!is_open || decided.any(|it| it == (*key, *number)), "call {number:?} of {key:?} is left out");
            *self.tally.entry("due").or_default() += u64::from(is_open);
        }
        *self.tally.entry("opens refused").or_default() += refused as u64;
        let Some(batch) = batch else { return };
        assert!(!leader.fork.is_due(now), "a batch forgets what is due");
        let id = BatchId { term: leader.term, incarnation: Incarnation(leader.replica as u64 + 1), counter };
        assert_eq!((batch.header.id, leader.term), (id, term));

        // The bytes say it all.
        let bytes = batch.encode().expect("a batch can be written");
        let read = Batch::<Board>::decode(&bytes).expect("what was written is read");
        assert_eq!(read.encode().as_ref(), Ok(&bytes));
        assert_eq!(Batch::<Board>::peek(&bytes).as_ref(), Ok(&batch.header));
        assert_eq!(format!("{read:?}"), format!("{batch:?}"));

        // Promise 8: the uncommitted tail, on the state that was forked, is the provisional state.
        leader.tail.push(read);
        let mut alone = leader.base.clone();
        for batch in &leader.tail {
            let applied = alone.apply(batch, |_, _, _| {}).expect("it passed on the fork");
            assert!(matches!(applied, Applied::Changes(_)));
        }
        let fork = leader.fork.store();
        assert_eq!((alone.index(), alone.head(), alone.stamps()), (fork.index(), fork.head(), fork.stamps()));
        if leader.fork.is_damaged() {
            *self.tally.entry("damaged").or_default() += 1;
        } else {
            assert_eq!(alone.state(), fork.state());
            assert_eq!(alone.save(), fork.save(), "the tables agree too");
        }
        match fate {
            Fate::Logged => self.log.push(bytes),
            Fate::Refused => self.count("refused"),
            Fate::Delayed => self.delayed.push(bytes),
        }
    }

    /// What is asked for; and, of that, the calls that are the next of their sessions.
    fn requests(&mut self, asks: Vec<Ask>) -> (Vec<Request<Board>>, Vec<(SessionKey, CallNumber)>) {
        let mut due = Vec::new();
        let mut nexts: BTreeMap<SessionKey, u64> = BTreeMap::new();
        let mut requests = Vec::new();
        for ask in asks {
            let fork = &self.leader.as_ref().expect("there is a leader").fork;
            // A session that is open on the fork mostly; else one that is not (any more, or yet).
            let keys: Vec<_> = self.opens.iter().filter_map(|(id, _)| fork.store().sessions().key(id)).collect();
            let key = |which: usize| match keys.get(which % (keys.len() + 1)) {
                Some(key) => *key,
                None => SessionKey(which as u64 % 9),
            };
            let mut take = |key: SessionKey, pick: Pick, below: u64| {
                let next = nexts.entry(key).or_insert_with(|| fork.next(key).map_or(1, |next| next.0));
                let number = match pick {
                    Pick::Next => {
                        *next += 1;
                        // One that is opened by this same batch has no calls yet.
                        if fork.next(key).is_some() {
                            due.push((key, CallNumber(*next - 1)));
                        }
                        *next - 1
                    }
                    Pick::Gap => *next + 1,
                    Pick::Old(back) => next.saturating_sub(back).max(1),
                };
                (CallNumber(number), CallNumber(number.saturating_sub(below).max(1)))
            };
            requests.push(match ask {
                Ask::Open { client, replica } => {
                    self.clients[client] += 1;
                    let id = session(["a", "b", "c"][client], self.clients[client]);
                    let as_of = self.replicas[replica].store.stamps().elapsed;
                    self.opens.push((id.clone(), as_of));
                    Request::Open { id, as_of }
                }
                Ask::OpenAgain(_) if self.opens.is_empty() => continue,
                Ask::OpenAgain(which) => {
                    let (id, as_of) = self.opens[which % self.opens.len()].clone();
                    Request::Open { id, as_of }
                }
                Ask::Call { session, number, floor, chosen, method } => {
                    let key = key(session);
                    let (number, floor) = take(key, number, floor);
                    let bytes = bytes_of(&method);
                    let call = Digest::of_bytes(&bytes);
                    let chosen = chosen.map(|id| ChosenId { id: format!("id-{id}").into(), call });
                    Request::Call { session: key, number, floor, chosen, audit: Some(bytes.into()), method }
                }
                Ask::Void { session, number, floor } => {
                    let key = key(session);
                    let (number, floor) = take(key, number, floor);
                    Request::Void { session: key, number, floor }
                }
            });
        }
        (requests, due)
    }

    fn apply(&mut self, replica: usize, entries: usize) {
        let to = self.log.len().min(self.replicas[replica].entries.saturating_add(entries));
        while self.replicas[replica].entries < to {
            let it = &mut self.replicas[replica];
            let batch = Batch::decode(&self.log[it.entries]).expect("what was written is read");
            let mut told = Vec::new();
            let applied = it
                .store
                .apply(&batch, |session, number, outcome| told.push((session, number, text(outcome))))
                .expect("a batch that a fork made halts no node");
            it.entries += 1;
            match applied {
                Applied::Skipped => assert!(told.is_empty(), "nothing of a skipped batch is told"),
                Applied::Changes(changes) => it.history.extend(changes, 0, it.store.state()),
            }
            let seen = Seen {
                entries: it.entries,
                state: (**it.store.state()).clone(),
                index: it.store.index(),
                head: it.store.head(),
                stamps: it.store.stamps(),
                digest: it.store.digest().expect("a state can be written"),
                table: table(&it.store, &self.opens),
                told,
            };
            self.seen.push(seen);
        }
    }

    fn poll(&mut self, replica: usize, max: usize) {
        let it = &mut self.replicas[replica];
        assert_eq!(it.history.last(), it.store.index());
        match it.history.since(it.subscriber, max) {
            Owed::Nothing => assert!(it.subscriber >= it.store.index(), "only who has seen all is owed nothing"),
            Owed::Changes(changes) => {
                assert!(changes.len() <= max);
                for change in changes {
                    it.subscriber = change.index;
                    it.heard.push(Heard::Change(change.index, bytes_of(&*change.action)));
                }
            }
            Owed::Reset => {
                assert!(it.subscriber < it.history.first(), "a reset only where the past is gone");
                it.subscriber = it.store.index();
                it.heard.push(Heard::Reset(it.store.index(), (**it.store.state()).clone()));
            }
        }
    }
}

fn text(outcome: &Outcome<Board>) -> String {
    match outcome {
        // The model tells a failure by its message alone.
        Outcome::Failed { index, failure } => format!("Failed {{ index: {index:?}, failure: {:?} }}", failure.message),
        _ => format!("{outcome:?}"),
    }
}

fn table(store: &Store<Board>, opens: &[(SessionId, Duration)]) -> Vec<String> {
    let sessions = store.sessions();
    let mut lines = Vec::new();
    let mut ids: Vec<_> = opens.iter().map(|(id, _)| id).collect();
    ids.dedup();
    for id in ids {
        let Some(key) = sessions.key(id) else { continue };
        let next = sessions.get(key).expect("a key is that of a session").next();
        let mut line = format!("{id} {} next {}", key.0, next.0);
        for number in 1..=next.0 {
            match sessions.find(id, CallNumber(number)) {
                Found::Decided(outcome) => line += &format!("; {}", text(&outcome)),
                Found::Undecided => line += "; undecided",
                Found::Forgotten => line += "; forgotten",
            }
        }
        lines.push(line);
    }
    lines.sort();
    for id in 0..3 {
        lines.push(format!("{:?}", sessions.find_chosen(&format!("id-{id}")).as_ref().map(text)));
    }
    lines
}

// The model.

struct ModelSession {
    key: u64,
    id: SessionId,
    /// All outcomes, from call 1.
    outcomes: Vec<String>,
    floor: u64,
    seen: Duration,
    expired: bool,
}

struct ModelChosen {
    id: Arc<str>,
    call: Digest,
    outcome: String,
    at: Duration,
}

#[derive(Default)]
struct Model {
    state: State,
    index: u64,
    head: BatchId,
    stamps: Stamps,
    sessions: Vec<ModelSession>,
    chosen: Vec<ModelChosen>,
    /// Every place: its action, and the state after it.
    places: Vec<(Vec<u8>, State)>,
    tally: Tally,
}

/// SplitMix64, once more.
fn mixed(seed: u64) -> u64 {
    let z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn caught<T>(what: &str, run: impl FnOnce() -> T) -> Result<T, String> {
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(run)).map_err(|panic| {
        let said = panic.downcast_ref::<String>().cloned();
        let said = said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
        format!("{what} panicked: {}", said.expect("it says something"))
    })
}

impl Model {
    /// Takes the model through one entry of the log; gives what is to be told.
    fn entry(&mut self, bytes: &[u8]) -> Vec<(SessionKey, CallNumber, String)> {
        let Batch { header, records } = Batch::<Board>::decode(bytes).expect("what was written is read");
        if header.prev != self.head {
            *self.tally.entry("skipped").or_default() += 1;
            return Vec::new();
        }
        assert_eq!(header.base, Index(self.index), "a batch begins where its predecessor ended");
        assert!(header.stamps.elapsed >= self.stamps.elapsed);
        let now = header.stamps.elapsed;
        let mut told = Vec::new();
        let mut broken = false;
        let mut nth = 0;
        for record in records {
            match record {
                Record::Roster(_) => unreachable!("nobody asks for one here: see `edges.rs`"),
                Record::Sweep { sessions_before, ids_before } => {
                    let kept = retention(header.id.term);
                    assert_eq!(sessions_before, now.saturating_sub(kept.session));
                    assert_eq!(ids_before, now.saturating_sub(kept.chosen_id));
                    for session in self.sessions.iter_mut().filter(|session| session.seen < sessions_before) {
                        session.expired = true;
                        *self.tally.entry("expired").or_default() += 1;
                    }
                    let chosen = self.chosen.len();
                    self.chosen.retain(|chosen| chosen.at >= ids_before);
                    *self.tally.entry("ids forgotten").or_default() += (chosen - self.chosen.len()) as u64;
                }
                Record::Open(id) => {
                    let ever = self.sessions.iter().find(|session| session.id == id);
                    assert!(ever.is_none(), "{id} is opened again: what it has decided could be decided again");
                    let key = self.sessions.len() as u64 + 1;
                    let outcomes = Vec::new();
                    self.sessions.push(ModelSession { key, id, outcomes, floor: 1, seen: now, expired: false });
                }
                Record::Void { session, number, floor } => {
                    self.decided(session, number, floor, now, "Void".into());
                    told.push((session, number, "Void".into()));
                }
                Record::Call { session, number, floor, chosen, audit, verdict } => {
                    let method = Method::decode(&audit.expect("every call is audited")).expect("it was written");
                    let remembered = chosen.as_ref().and_then(|ChosenId { id, call }| {
                        let it = self.chosen.iter().find(|chosen| chosen.id == *id)?;
                        Some(if it.call == *call { it.outcome.clone() } else { "Conflict".into() })
                    });
                    let outcome = match remembered {
                        Some(outcome) => {
                            let expected = if outcome == "Conflict" { "Conflict" } else { "Repeated" };
                            assert_eq!(format!("{verdict:?}"), expected);
                            *self.tally.entry("repeated").or_default() += u64::from(expected == "Repeated");
                            outcome
                        }
                        None => {
                            assert!(!broken, "nothing is judged on a half-written state");
                            let outcome =
                                self.judge(&header.context().stamps, header.seed, nth, session, number, method);
                            nth += 1;
                            broken =
                                matches!(&verdict, Verdict::Failed(failure) if failure.message.contains("reducer"));
                            assert_eq!(verdict_text(&verdict, self.index), outcome, "judged on the state before it");
                            if let Some(ChosenId { id, call }) = chosen {
                                self.chosen.push(ModelChosen { id, call, outcome: outcome.clone(), at: now });
                            }
                            outcome
                        }
                    };
                    self.decided(session, number, floor, now, outcome.clone());
                    told.push((session, number, outcome));
                }
            }
        }
        let life = retention(header.id.term).session;
        let overdue = self.sessions.iter().find(|it| !it.expired && it.seen < now.saturating_sub(life));
        assert!(overdue.is_none(), "what is due is forgotten by the next batch");
        self.stamps = header.stamps;
        self.head = header.id;
        told
    }

    /// Runs the method, and its action, on the state as it is.
    fn judge(
        &mut self,
        stamps: &Stamps,
        seed: u64,
        nth: u64,
        session: SessionKey,
        number: CallNumber,
        method: Method,
    ) -> String {
        let id = &self.sessions[session.0 as usize - 1].id;
        let origin = Origin { session: id.clone(), number };
        let context = |stream: u64| {
            let seed = mixed(seed ^ (nth * 2 + stream).wrapping_mul(0xd6e8_feb8_6659_fd93));
            Context::new(Index(self.index + 1), *stamps, &origin, seed)
        };
        let failed = |message| format!("Failed {{ index: {:?}, failure: {message:?} }}", Index(self.index));
        match caught("the method", || Board.decide(&self.state, method, &context(0))) {
            Err(message) => failed(message),
            Ok(Err(rejection)) => format!("Rejected {{ index: {:?}, rejection: {rejection:?} }}", Index(self.index)),
            Ok(Ok(None)) => format!("Nothing {{ index: {:?} }}", Index(self.index)),
            Ok(Ok(Some(action))) => {
                let mut state = self.state.clone();
                match caught("the reducer", || Board.reduce(&mut state, &action, &context(1))) {
                    Err(message) => failed(message),
                    Ok(()) => {
                        self.index += 1;
                        self.state = state;
                        self.places.push((bytes_of(&action), self.state.clone()));
                        format!("Committed {{ index: {:?}, action: {action:?} }}", Index(self.index))
                    }
                }
            }
        }
    }

    fn decided(&mut self, session: SessionKey, number: CallNumber, floor: CallNumber, now: Duration, outcome: String) {
        let it = self.sessions.get_mut(session.0 as usize - 1).expect("a call is of a session that was opened");
        assert!(!it.expired, "a call of an expired session takes no effect");
        assert_eq!(number.0, it.outcomes.len() as u64 + 1, "each call is decided once, in order");
        let kind = ["Committed", "Nothing", "Rejected", "Failed", "Void", "Conflict"]
            .into_iter()
            .find(|kind| outcome.starts_with(kind));
        *self.tally.entry(kind.expect("it is one of these")).or_default() += 1;
        it.outcomes.push(outcome);
        it.floor = it.floor.max(floor.0);
        it.seen = now;
    }

    fn table(&self) -> Vec<String> {
        let open = self.sessions.iter().filter(|session| !session.expired);
        let mut lines: Vec<_> = open
            .map(|ModelSession { key, id, outcomes, floor, .. }| {
                let mut line = format!("{id} {key} next {}", outcomes.len() + 1);
                for (outcome, number) in outcomes.iter().zip(1..) {
                    line += &format!("; {}", if number < *floor { "forgotten" } else { outcome.as_str() });
                }
                line + "; undecided"
            })
            .collect();
        lines.sort();
        for id in 0..3 {
            let known = self.chosen.iter().find(|chosen| *chosen.id == *format!("id-{id}"));
            lines.push(format!("{:?}", known.map(|chosen| &chosen.outcome)));
        }
        lines
    }
}

/// As the outcome that the verdict stands for reads.
fn verdict_text(verdict: &Verdict<Board>, index: u64) -> String {
    let index = Index(index);
    match verdict {
        Verdict::Action(action) => format!("Committed {{ index: {index:?}, action: {action:?} }}"),
        Verdict::Nothing => format!("Nothing {{ index: {index:?} }}"),
        Verdict::Rejected(rejection) => format!("Rejected {{ index: {index:?}, rejection: {rejection:?} }}"),
        Verdict::Failed(failure) => format!("Failed {{ index: {index:?}, failure: {:?} }}", failure.message),
        Verdict::Repeated | Verdict::Conflict => format!("{verdict:?}"),
    }
}

fn check(world: &World) -> Tally {
    let mut model = Model::default();
    let mut after = vec![(State::default(), 0, BatchId::ROOT, Stamps::default(), model.table(), Vec::new())];
    for bytes in &world.log {
        let told = model.entry(bytes);
        after.push((model.state.clone(), model.index, model.head, model.stamps, model.table(), told));
    }

    // Promises 1, 4 and 5: whatever a replica was seen to be is what the log says.
    for seen in &world.seen {
        let (state, index, head, stamps, table, told) = &after[seen.entries];
        assert_eq!((&seen.state, seen.index.0, seen.head, seen.stamps), (state, *index, *head, *stamps));
        assert_eq!(Ok(seen.digest), state.digest());
        assert_eq!(&seen.told, told, "what is told is what became of it");
        assert_eq!(&seen.table, table, "the table after entry {}", seen.entries);
    }

    // Promise 7: no holes, and the past is what it was.
    let state_at = |index: Index| match index.0 {
        0 => State::default(),
        place => model.places[place as usize - 1].1.clone(),
    };
    for replica in &world.replicas {
        let mut last = Index(0);
        for heard in &replica.heard {
            match heard {
                Heard::Change(index, action) => {
                    assert_eq!(*index, last.next(), "subscriptions have no holes");
                    assert_eq!(*action, model.places[index.0 as usize - 1].0);
                    last = *index;
                }
                Heard::Reset(index, state) => {
                    assert!(*index > last, "a reset only goes forward");
                    assert_eq!(*state, state_at(*index));
                    last = *index;
                }
            }
        }
        let history = &replica.history;
        for index in history.first().0..=history.last().0 {
            let (mut state, path): (_, Vec<Committed<Board>>) =
                history.path_to(Index(index)).map(|(state, path)| ((*state).clone(), path)).expect("it is held");
            for change in path {
                change.reduce(&Board, &mut state).expect("it was reduced before");
            }
            assert_eq!(state, state_at(Index(index)));
        }
        assert!(history.path_to(history.last().next()).is_none());
        assert!(history.first().0 == 0 || history.path_to(Index(history.first().0 - 1)).is_none());
        let resets = replica.heard.iter().filter(|heard| matches!(heard, Heard::Reset(..))).count();
        *model.tally.entry("resets").or_default() += resets as u64;
    }
    model.tally
}

fn run(actions_max: usize, ops: Vec<Op>) -> Tally {
    quiet_planned_panics();
    let mut world = World::new(actions_max);
    for op in ops {
        world.step(op);
    }
    for replica in 0..REPLICAS {
        world.apply(replica, usize::MAX);
        world.poll(replica, usize::MAX);
    }
    let mut tally = check(&world);
    tally.extend(world.tally);
    tally
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1024, ..ProptestConfig::default() })]

    #[test]
    fn the_promises_hold_in_any_order_of_events(
        actions_max in 0..9usize,
        ops in prop::collection::vec(op(), 1..100),
    ) {
        run(actions_max, ops);
    }
}

#[test]
fn the_runs_are_not_idle() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut total = Tally::new();
    for actions_max in 0..200 {
        let ops = prop::collection::vec(op(), 60..100).new_tree(&mut runner).expect("ops can be made").current();
        for (what, count) in run(actions_max % 9, ops) {
            *total.entry(what).or_default() += count;
        }
    }
    let kinds = [
        "Committed",
        "Nothing",
        "Rejected",
        "Failed",
        "Void",
        "Conflict",
        "repeated",
        "expired",
        "ids forgotten",
        "skipped",
        "refused",
        "delivered late",
        "damaged",
        "installed",
        "resets",
        "opens refused",
        "due",
    ];
    for kind in kinds {
        assert!(total.get(kind).is_some_and(|count| *count >= 50), "{kind} hardly happens: {total:?}");
    }
}
