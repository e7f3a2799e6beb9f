//! What others say of the same runs: the judge of traces that goes by the model's rules, and shares no line with the core;
//! and a checker of linearizability that is not ours, which searches for an order instead of trusting the places.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use conflux::{Applied, Batch, BatchId, Record, SessionKey, Store, Verdict};
use conflux_model::batch as model;
use conflux_model::ledger;
use conflux_model::trace::{Answer, Event, Refusal, Seen, validate};
use stateright::semantics::{ConsistencyTester, LinearizabilityTester, SequentialSpec};

use crate::observed::Observed;
use crate::record::{Claim, Fate};
use crate::run::{Looked, run_and_look};
use crate::schedule::{Schedule, Wanted};
use crate::subject::Subject;
use crate::world::World;

#[path = "../tests/common/mod.rs"]
mod common;

use common::{Ledger, Method};

/// A run whose end is looked at.
fn after<R>(seed: u64, look: impl FnOnce(&World<Ledger>) -> R) -> R {
    let subject = Subject::new(|| Ok(Arc::new(Ledger))).with_calls(Method::draw);
    let schedule = Schedule::draw(seed, &Wanted { length: Duration::from_secs(20), ..Wanted::default() });
    let (run, seen) = run_and_look(&schedule, &subject, Looked::default(), look).expect("it can be run");
    assert_eq!(run.wrong, None, "seed {seed}");
    seen
}

type Sessions = BTreeMap<SessionKey, String>;

/// A batch as the model has it. Sessions of one that nobody applies have no names.
fn in_short(batch: &Batch<Observed<Ledger>>, sessions: &Sessions) -> model::Batch {
    let name = |key: &SessionKey| sessions.get(key).cloned().unwrap_or_else(|| format!("key {}", key.0));
    let nanos = |time: &Duration| time.as_nanos() as u64;
    let records = batch.records.iter().map(|record| match record {
        Record::Open(id) => model::Record::Open { session: id.to_string() },
        Record::Call { session, number, floor, chosen, verdict, .. } => model::Record::Call {
            session: name(session),
            number: number.0,
            floor: floor.0,
            chosen: chosen
                .as_ref()
                .map(|chosen| model::Chosen { id: chosen.id.to_string(), call: format!("{:?}", chosen.call) }),
            verdict: match verdict {
                Verdict::Action(_) => model::Verdict::Action,
                Verdict::Nothing => model::Verdict::Nothing,
                Verdict::Rejected(_) => model::Verdict::Rejected,
                Verdict::Failed(_) => model::Verdict::Failed,
                Verdict::Repeated => model::Verdict::Repeated,
                Verdict::Conflict => model::Verdict::Conflict,
            },
        },
        Record::Void { session, number, floor } => {
            model::Record::Void { session: name(session), number: number.0, floor: floor.0 }
        }
        Record::Sweep { sessions_before, ids_before } => {
            model::Record::Sweep { sessions_before: nanos(sessions_before), ids_before: nanos(ids_before) }
        }
        Record::Roster(_) => model::Record::Other,
    });
    let header = &batch.header;
    model::Batch {
        id: header.id.to_string(),
        prev: header.prev.to_string(),
        base: header.base.0,
        elapsed: nanos(&header.stamps.elapsed),
        records: records.collect(),
    }
}

/// All that leaders proposed, all that was committed with what the store made of it, and all that callers were told.
fn events(world: &World<Ledger>) -> Vec<Event> {
    let known = world.known();
    let container = Observed { inner: Arc::new(Ledger), version_ahead: 0, ballast: 0, decided: world.decided.clone() };
    let mut store = Store::new(Arc::new(container));
    let decoded = |bytes| Batch::<Observed<Ledger>>::decode(bytes).expect("it was read before");
    let mut named = BTreeMap::new();
    let mut committed = Vec::new();
    for line in &known.logs.committed {
        let Some(bytes) = &line.batch else {
            committed.push(Event::Committed { index: line.id.index, batch: None });
            continue;
        };
        let batch = decoded(bytes);
        let mut sessions = Sessions::new();
        let mut note = |store: &Store<Observed<Ledger>>| {
            for record in &batch.records {
                if let Record::Call { session, .. } | Record::Void { session, .. } = record
                    && let Some(known) = store.sessions().get(*session)
                {
                    sessions.insert(*session, known.id().to_string());
                }
            }
        };
        // A batch may open a session, and end one.
        note(&store);
        let applied = store.apply(&batch, |_, _, _| {}).expect("it was applied before");
        note(&store);
        let batch = in_short(&batch, &sessions);
        let (id, index) = (batch.id.clone(), line.id.index);
        committed.push(Event::Committed { index, batch: Some(id.clone()) });
        let verdict = match applied {
            Applied::Changes(_) => ledger::Applied::Applied,
            Applied::Skipped => ledger::Applied::Skipped,
        };
        let (node, place) = ("history".into(), store.index().0);
        committed.push(Event::Applied { node, index, batch: id.clone(), verdict, place });
        named.insert(id, batch);
    }
    let mut events = Vec::new();
    let mut made = BTreeSet::from([BatchId::ROOT.to_string()]);
    for ((name, incarnation), line) in &known.proposed {
        let Some(bytes) = &line.batch else { continue };
        let batch = decoded(bytes);
        let id = batch.header.id.to_string();
        let in_short = named.get(&id).cloned().unwrap_or_else(|| in_short(&batch, &Sessions::new()));
        let (node, term) = (format!("{name}/{incarnation}"), line.id.term);
        if made.insert(in_short.prev.clone()) {
            // No disk has it: the engine refused it.
            events.push(Event::Proposed { node: node.clone(), term, batch: stand_in(&in_short) });
            events.push(Event::Refused { batch: in_short.prev.clone() });
        }
        made.insert(id.clone());
        events.push(Event::Proposed { node, term, batch: in_short });
        events.push(Event::Appended { index: line.id.index, batch: id });
    }
    events.extend(committed);
    let by_tag = world.decided.by_tag();
    let mut tries: BTreeMap<u64, usize> = BTreeMap::new();
    known.tries.iter().for_each(|one| *tries.entry(one.tag).or_default() += 1);
    // Of a call that was tried anew under its own id, it is not known which try has which name.
    for one in known.tries.iter().filter(|one| tries[&one.tag] == 1) {
        let Some([(session, number)]) = by_tag.get(&one.tag).map(Vec::as_slice) else { continue };
        let answers = one.claims.iter().filter_map(answer);
        events.extend(answers.map(|answer| Event::Told {
            node: "history".into(),
            session: session.to_string(),
            number: number.0,
            answer,
        }));
    }
    events
}

/// For a batch of which only a child is known: any that leads to where that one was judged.
fn stand_in(child: &model::Batch) -> model::Batch {
    let action = |number| model::Record::Call {
        session: "unknown".into(),
        number,
        floor: 1,
        chosen: None,
        verdict: model::Verdict::Action,
    };
    let records = (1..=child.base).map(action).collect();
    model::Batch { id: child.prev.clone(), prev: BatchId::ROOT.to_string(), base: 0, elapsed: 0, records }
}

fn answer(claim: &Claim) -> Option<Answer> {
    Some(match claim {
        Claim::Decided { fate, index: place, .. } => match fate {
            Fate::Action => Answer::Done { place: *place },
            Fate::Nothing => Answer::Nothing { place: *place },
            Fate::Rejected => Answer::Rejected { place: *place },
            Fate::Failed => Answer::Failed { place: *place },
        },
        Claim::NotVisible { index, .. } => Answer::NotVisible { place: *index },
        Claim::NeverProposed { .. } => Answer::NeverProposed,
        Claim::Unknown { .. } => Answer::Unknown,
        Claim::Conflict => Answer::Conflict,
        Claim::Closed { .. } => return None,
    })
}

/// Judges as the model has it.
fn judge(events: &[Event]) -> Result<Seen, Refusal> {
    validate(&BatchId::ROOT.to_string(), events)
}

const SEEDS: std::ops::Range<u64> = 500..512;

#[test]
fn the_model_allows_what_happens() {
    let (mut skipped, mut told, mut voids) = (0, 0, 0);
    for seed in SEEDS {
        let seen: Result<Seen, Refusal> = after(seed, |world| judge(&events(world)));
        let seen = seen.unwrap_or_else(|refusal| panic!("seed {seed}: {refusal}"));
        (skipped, told, voids) = (skipped + seen.skipped, told + seen.told, voids + seen.voids);
    }
    assert!(skipped > 0 && told > 1000 && voids > 0, "{skipped} skipped, {told} told, {voids} voids");
}

/// What the test of this name in `tests/seeds.rs` runs is judged here, for as long as these runs are.
#[test]
fn of_the_environment() {
    let Ok(range) = std::env::var("SIM_SEEDS") else { return };
    let (from, to) = range.split_once("..").expect("SIM_SEEDS is a range, from..to");
    let number = |text: &str| text.parse::<u64>().expect("SIM_SEEDS is a range of numbers, from..to");
    for seed in number(from)..number(to) {
        let seen = after(seed, |world| judge(&events(world)));
        seen.unwrap_or_else(|refusal| panic!("seed {seed}: {refusal}"));
    }
}

/// A run that is doctored is not allowed: a batch in another's place, and an answer that is another.
#[test]
fn the_model_does_not_allow_everything() {
    let good = after(SEEDS.start, events);
    assert!(judge(&good).is_ok());
    let position = |wanted: fn(&Event) -> bool| good.iter().rposition(wanted).expect("it happened");
    let mut other = good.clone();
    let told = position(|event| matches!(event, Event::Told { answer: Answer::Done { .. }, .. }));
    if let Event::Told { answer: Answer::Done { place }, .. } = &mut other[told] {
        *place += 1;
    }
    assert_eq!(judge(&other).map_err(|refusal| refusal.at), Err(told));
    let mut other = good.clone();
    let applied = position(|event| matches!(event, Event::Applied { .. }));
    if let Event::Applied { verdict, .. } = &mut other[applied] {
        *verdict = match verdict {
            ledger::Applied::Applied => ledger::Applied::Skipped,
            ledger::Applied::Skipped => ledger::Applied::Applied,
        };
    }
    assert_eq!(judge(&other).map_err(|refusal| refusal.at), Err(applied));
}

/// A history as some of its callers see it: places grow, and between two that are seen there may be others'.
#[derive(Clone, Copy, Debug)]
struct Places(u64);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Seeing {
    /// An action takes a place of its own.
    Takes(u64),
    /// It is judged where the history is.
    At(u64),
}

impl SequentialSpec for Places {
    type Op = Seeing;
    type Ret = Seeing;

    fn invoke(&mut self, op: &Seeing) -> Seeing {
        let (Seeing::Takes(index) | Seeing::At(index)) = *op;
        self.0 = index;
        *op
    }

    fn is_valid_step(&mut self, op: &Seeing, _: &Seeing) -> bool {
        let allowed = match op {
            Seeing::Takes(index) => *index > self.0,
            Seeing::At(index) => *index >= self.0,
        };
        self.invoke(op);
        allowed
    }
}

/// A perform: when it began, when it was answered, and what was seen of the places.
type Interval = (u64, u64, Seeing);

fn intervals(world: &World<Ledger>) -> Vec<Interval> {
    let known = world.known();
    let seen = known.tries.iter().filter(|one| one.chosen.is_none()).filter_map(|one| {
        let seeing = match one.claims.first()? {
            Claim::Decided { fate: Fate::Action, index, .. } => Seeing::Takes(*index),
            Claim::Decided { index, .. } => Seeing::At(*index),
            _ => return None,
        };
        Some((one.began, one.answered?, seeing))
    });
    seen.collect()
}

/// Whether there is an order.
fn is_linearizable(intervals: &[Interval]) -> bool {
    let mut tester = LinearizabilityTester::new(Places(0));
    let ends = |(call, (began, answered, _)): (usize, &Interval)| [(*began, 0, call), (*answered, 1, call)];
    let mut ends: Vec<(u64, u8, usize)> = intervals.iter().enumerate().flat_map(ends).collect();
    // What begins in the instant in which another is answered may have begun before.
    ends.sort_unstable();
    for (_, end, call) in ends {
        let seeing = intervals[call].2;
        let told = match end {
            0 => tester.on_invoke(call, seeing).map(drop),
            _ => tester.on_return(call, seeing).map(drop),
        };
        told.expect("each call is a thread of its own");
    }
    tester.is_consistent()
}

/// As many as the search can look at; of each three windows it looks at one.
const WINDOW: usize = 24;

#[test]
fn there_is_an_order_of_effects() {
    let mut windows = 0;
    for seed in SEEDS {
        let intervals = after(seed, intervals);
        for window in intervals.windows(WINDOW).step_by(3 * WINDOW) {
            assert!(is_linearizable(window), "seed {seed}: {window:?}");
            windows += 1;
        }
    }
    assert!(windows > 20, "{windows} windows");
}

#[test]
fn there_is_no_order_where_an_early_call_is_seen_late() {
    let intervals = after(SEEDS.start, intervals);
    let mut window = intervals[..WINDOW].to_vec();
    let apart = |one: &Interval, other: &Interval| {
        one.1 < other.0 && matches!((one.2, other.2), (Seeing::Takes(_), Seeing::Takes(_)))
    };
    let pairs = (0..WINDOW).flat_map(|one| (one + 1..WINDOW).map(move |other| (one, other)));
    let (one, other) =
        pairs.into_iter().find(|(one, other)| apart(&window[*one], &window[*other])).expect("some are apart");
    (window[one].2, window[other].2) = (window[other].2, window[one].2);
    assert!(!is_linearizable(&window), "{window:?}");
}
