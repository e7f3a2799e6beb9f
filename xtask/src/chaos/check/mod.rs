//! The promises, each against all that was seen from outside. What is right is the log: it holds every action that ever
//! took effect.

mod calls;
mod history;
mod processes;
mod reads;
mod subscriptions;

use std::collections::BTreeMap;
use std::fmt;

use super::record::{Entry, Record};

/// A promise that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub(super) promise: &'static str,
    /// Where.
    pub(super) what: String,
    pub(super) expected: String,
    pub(super) came: String,
}

impl Broken {
    fn new(
        promise: &'static str,
        what: impl Into<String>,
        expected: impl fmt::Display,
        came: impl fmt::Display,
    ) -> Self {
        Broken { promise, what: what.into(), expected: expected.to_string(), came: came.to_string() }
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken { promise, what, expected, came } = self;
        write!(f, "{promise}: {what}\n    expected: {expected}\n    came:     {came}")
    }
}

/// The whole log, entry by entry.
type Log<'a> = &'a [Entry];

/// All that is broken.
pub(super) fn all(record: &Record) -> Vec<Broken> {
    let log = record.log.entries();
    let checks: [fn(&Record, Log<'_>) -> Vec<Broken>; 14] = [
        history::whole,
        history::one_history,
        history::exact_validation,
        history::digests,
        history::none_parted,
        history::one_leader,
        calls::nothing_lost,
        calls::exactly_once,
        calls::in_order,
        calls::honest_rejections,
        calls::answered,
        reads::check,
        subscriptions::check,
        processes::check,
    ];
    checks.into_iter().flat_map(|check| check(record, &log)).collect()
}

/// How often a promise that is broken is shown to be.
const SHOWN_MAX: usize = 3;

/// The first of each promise, and how many more there are.
pub(super) fn shown(broken: &[Broken]) -> Vec<String> {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut shown = Vec::new();
    for one in broken {
        let count = counts.entry(one.promise).or_default();
        *count += 1;
        if *count <= SHOWN_MAX {
            shown.push(one.to_string());
        }
    }
    let more = counts.into_iter().filter(|(_, count)| *count > SHOWN_MAX);
    shown.extend(more.map(|(promise, count)| format!("{promise}: {} more of it", count - SHOWN_MAX)));
    shown
}

/// What is at a place, for people.
fn at(log: Log<'_>, index: u64) -> String {
    let entry = index.checked_sub(1).and_then(|before| log.get(usize::try_from(before).ok()?));
    entry.map_or_else(|| format!("nothing at {index}, the log ends at {}", log.len()), |it| format!("{it} at {index}"))
}

/// A part of the log: the entries after `from`, up to `to`.
fn part(log: Log<'_>, from: u64, to: u64) -> Option<&[Entry]> {
    log.get(usize::try_from(from).ok()?..usize::try_from(to).ok()?)
}

/// Records in which all is well, for tests that then change one thing.
#[cfg(test)]
mod sample {
    use std::time::Duration;

    use super::super::record::*;
    use super::Broken;

    pub(super) fn entry(number: u64, place: u64) -> Entry {
        Entry { tag: Tag { caller: 0, number }, seen: place - 1 }
    }

    pub(super) fn call(number: u64, method: Method, told_before: u64, claims: &[Claim]) -> Call {
        let tag = Tag { caller: 0, number };
        let answers = claims.iter().map(|claim| Answer { node: "a".into(), claim: claim.clone() }).collect();
        Call {
            tag,
            method,
            id: Some(tag.to_string()),
            given: None,
            misuses: None,
            begun: Duration::ZERO,
            told_before,
            asked_in_the_end: false,
            answers,
        }
    }

    pub(super) fn done(number: u64, place: u64) -> Claim {
        Claim::Done { index: place, entry: Some(entry(number, place)) }
    }

    pub(super) fn state(log: &[Entry], dropped: u64) -> State {
        let entries = log[usize::try_from(dropped).expect("it is small")..].to_vec();
        State { index: log.len() as u64, dropped, entries }
    }

    /// Calls 0, 1, 2 and 4 take effect at 1 to 4, the second one sent twice; 3 is rejected after 3 of them; 5 is unknown
    /// and never took effect.
    pub(super) fn record() -> Record {
        let log: Vec<Entry> = [(0, 1), (1, 2), (2, 3), (4, 4)].map(|(number, place)| entry(number, place)).into();
        let calls = vec![
            call(0, Method::Append, 0, &[done(0, 1)]),
            call(1, Method::Append, 1, &[Claim::Lost, done(1, 2), done(1, 2)]),
            call(2, Method::Append, 2, &[done(2, 3)]),
            call(3, Method::Judge, 3, &[Claim::Rejected { index: 3, seen: Some(3) }]),
            call(4, Method::Append, 3, &[done(4, 4)]),
            call(5, Method::Append, 4, &[Claim::Unknown, Claim::Undecided]),
        ];
        let life = Some(Life { node: "a".into(), number: 1 });
        let read = |kind, index: u64, dropped: u64, told_by_node, told_by_any| {
            let state = state(&log[..usize::try_from(index).expect("it is small")], dropped);
            let (sum, provisional) = (state.sum(), kind == ReadKind::Provisional);
            let committed = if provisional { state.sum_to(told_by_node) } else { None };
            Read { life: life.clone(), node: "a".into(), kind, index, sum, committed, told_by_node, told_by_any }
        };
        let reads = vec![
            read(ReadKind::Committed, 2, 0, 2, 3),
            read(ReadKind::Linearizable, 3, 1, 2, 3),
            read(ReadKind::Provisional, 4, 0, 2, 3),
        ];
        let change =
            |place: u64| Heard::Change { index: place, entry: log[usize::try_from(place).expect("small") - 1] };
        let heard = vec![
            Heard::Began { node: "a".into(), after: 0 },
            change(1),
            Heard::Began { node: "b".into(), after: 1 },
            Heard::Reset { index: 3, sum: state(&log[..3], 1).sum() },
            change(4),
        ];
        let mut whole = Log::default();
        whole.take(&state(&log, 0));
        let finals = ["a", "b", "c"].map(|node| (node.to_owned(), state(&log, 1))).into();
        let digests = (4, ["a", "b", "c"].map(|node| (node.to_owned(), "1f".to_owned())).into());
        let leaders = [(1, "a".to_owned()), (3, "b".to_owned())].into();
        let listeners = vec![heard];
        Record {
            calls,
            reads,
            listeners,
            log: whole,
            finals,
            digests,
            leaders,
            snapshots: vec!["b"],
            ..Record::default()
        }
    }

    /// The promises that are broken.
    #[track_caller]
    pub(super) fn assert_broken(record: &Record, promise: &str, words: &[&str]) {
        let broken: Vec<Broken> = super::all(record);
        let text: Vec<String> = broken.iter().map(ToString::to_string).collect();
        let found = broken.iter().any(|one| {
            let text = one.to_string();
            one.promise.contains(promise) && words.iter().all(|word| text.contains(word))
        });
        assert!(found, "{promise:?} with {words:?} is not among {text:#?}");
    }

    #[test]
    fn each_promise_is_shown_however_often_another_is_broken() {
        let broken = |promise, nth: usize| Broken::new(promise, format!("call {nth}"), "one", "two");
        let mut all: Vec<Broken> = (0..9).map(|nth| broken("first", nth)).collect();
        all.push(broken("second", 0));
        let shown = super::shown(&all);
        assert_eq!(shown.len(), 5);
        assert!(shown[3].starts_with("second: call 0\n") && shown[4] == "first: 6 more of it", "{shown:#?}");
    }

    #[test]
    fn where_all_is_well_nothing_is_broken() {
        assert_eq!(super::all(&record()), []);
    }
}
