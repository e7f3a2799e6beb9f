//! Promises 1 and 2: one history, and each action judged on exactly the state before it.

use std::collections::{BTreeMap, BTreeSet};

use super::super::record::{Heard, Judged, Method, ReadKind, Record, Sum, Tag};
use super::{Broken, Log, at, part};

const ONE: &str = "promise 1, one history";
const EXACT: &str = "promise 2, exact validation";

/// The log was read without holes, and up to where the nodes ended.
pub(super) fn whole(record: &Record, log: Log<'_>) -> Vec<Broken> {
    let end = record.finals.iter().map(|(_, state)| state.index).max().unwrap_or(0);
    if log.len() as u64 == end {
        return Vec::new();
    }
    vec![Broken::new(
        ONE,
        "the log that was read bit by bit",
        format!("places 1 to {end}"),
        format!("1 to {}", log.len()),
    )]
}

/// Whoever showed anything of the log showed the same.
pub(super) fn one_history(record: &Record, log: Log<'_>) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (place, held, other) in &record.log.conflicts {
        broken.push(Broken::new(ONE, format!("what was read at {place}, twice"), held, other));
    }
    for (node, state) in &record.finals {
        broken.extend(differs(ONE, &format!("the last state of {node}"), log, state.index, &state.sum()));
        let newest = record.finals.iter().map(|(_, state)| state.index).max().unwrap_or(0);
        if state.index != newest {
            broken.push(Broken::new(ONE, format!("the last place of {node}"), newest, state.index));
        }
    }
    for read in record.reads.iter().filter(|read| read.kind != ReadKind::Provisional) {
        broken.extend(differs(ONE, &format!("a state that {} showed", read.node), log, read.index, &read.sum));
    }
    for (listener, heard) in record.listeners.iter().enumerate() {
        for heard in heard {
            match heard {
                Heard::Change { index, entry } if at(log, *index) != format!("{entry} at {index}") => {
                    let what = format!("an action that subscriber {listener} heard");
                    broken.push(Broken::new(ONE, what, at(log, *index), format!("{entry} at {index}")));
                }
                Heard::Reset { index, sum } => {
                    let what = format!("the state that subscriber {listener} was given");
                    broken.extend(differs(ONE, &what, log, *index, sum));
                }
                _ => {}
            }
        }
    }
    broken
}

pub(super) fn differs(promise: &'static str, what: &str, log: Log<'_>, index: u64, sum: &Sum) -> Option<Broken> {
    let expected = part(log, sum.dropped, index).map(|entries| Sum::of(sum.dropped, entries));
    if expected.as_ref() == Some(sum) {
        return None;
    }
    let expected = expected.map_or_else(|| at(log, index), |sum| format!("{sum:?}"));
    Some(Broken::new(promise, format!("{what} at {index}"), expected, format!("{sum:?}")))
}

/// Each action says which place its method saw, and its method comes to an action there.
pub(super) fn exact_validation(record: &Record, log: Log<'_>) -> Vec<Broken> {
    let mut broken = Vec::new();
    let methods: BTreeMap<Tag, Method> = record.calls.iter().map(|call| (call.tag, call.method)).collect();
    for (before, entry) in log.iter().enumerate() {
        let before = before as u64;
        if entry.seen != before {
            broken.push(Broken::new(EXACT, format!("the place that {} saw", entry.tag), before, entry.seen));
        }
        match methods.get(&entry.tag) {
            None => {
                let what = format!("the action at {}", before + 1);
                broken.push(Broken::new(EXACT, what, "one that was performed", format!("{entry}, by nobody")));
            }
            Some(method) => match method.judge(entry.tag, before) {
                Judged::Action => {}
                judged => {
                    let what = format!("{} of {} after {before}", entry.tag, method_name(*method));
                    broken.push(Broken::new(EXACT, what, format!("{judged:?}"), "an action"));
                }
            },
        }
    }
    broken
}

fn method_name(method: Method) -> String {
    format!("{method:?}").to_lowercase()
}

/// No node was found to have another state than most: it goes on with theirs, so that in the end nothing shows it.
pub(super) fn none_parted(record: &Record, _: Log<'_>) -> Vec<Broken> {
    let parted = record.parted.iter().filter(|(_, times)| **times > 0);
    parted.map(|(node, times)| Broken::new(ONE, format!("how often the state of {node} parted"), 0, times)).collect()
}

/// A term has one leader.
pub(super) fn one_leader(record: &Record, _: Log<'_>) -> Vec<Broken> {
    let pairs = record.leaders.iter().zip(record.leaders.iter().skip(1));
    let twice = pairs.filter(|((term, _), (next, _))| term == next);
    twice.map(|((term, one), (_, other))| Broken::new(ONE, format!("who led in term {term}"), one, other)).collect()
}

/// All nodes name one digest for one place.
pub(super) fn digests(record: &Record, _: Log<'_>) -> Vec<Broken> {
    let (index, all) = &record.digests;
    let different: BTreeSet<&str> = all.iter().map(|(_, digest)| &**digest).collect();
    if different.len() == 1 && all.len() == record.finals.len() {
        return Vec::new();
    }
    let came: Vec<String> = all.iter().map(|(node, digest)| format!("{node} {digest}")).collect();
    let expected = format!("one of {} nodes", record.finals.len());
    vec![Broken::new(ONE, format!("the digests at {index}"), expected, came.join(", "))]
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn a_differing_digest_is_found() {
        let mut record = record();
        record.digests.1[2].1 = "2e".into();
        assert_broken(&record, "one history", &["digests at 4", "c 2e"]);
        record.digests.1.pop();
        assert_broken(&record, "one history", &["digests at 4", "one of 3 nodes"]);
    }

    #[test]
    fn a_state_that_parted_on_the_way_is_found() {
        let mut record = record();
        record.parted.extend([("a".to_owned(), 0), ("b".to_owned(), 2)]);
        assert_broken(&record, "one history", &["the state of b parted", "came:     2"]);
    }

    #[test]
    fn two_leaders_of_one_term_are_found() {
        let mut record = record();
        record.leaders.insert((3, "c".to_owned()));
        assert_broken(&record, "one history", &["who led in term 3", "expected: b", "came:     c"]);
    }

    #[test]
    fn another_state_is_found_whoever_shows_it() {
        let mut doctored = record();
        doctored.reads[0].sum.hash ^= 1;
        assert_broken(&doctored, "one history", &["a state that a showed at 2"]);
        let mut doctored = record();
        doctored.finals[1].1.entries[0].tag.number = 9;
        assert_broken(&doctored, "one history", &["the last state of b"]);
        let mut doctored = record();
        doctored.listeners[0][1] = Heard::Change { index: 1, entry: entry(7, 1) };
        assert_broken(&doctored, "one history", &["subscriber 0", "0.0@0 at 1", "0.7@0 at 1"]);
        let mut doctored = record();
        let mut other = state(&[entry(0, 1), entry(8, 2)], 0);
        other.index = 2;
        doctored.log.take(&other);
        assert_broken(&doctored, "one history", &["at 2, twice", "0.1@1", "0.8@1"]);
    }

    #[test]
    fn a_node_that_stays_behind_and_a_hole_in_the_log_are_found() {
        let mut doctored = record();
        doctored.finals[0].1.index = 3;
        doctored.finals[0].1.entries.pop();
        assert_broken(&doctored, "one history", &["the last place of a", "expected: 4"]);
        let mut doctored = record();
        doctored.finals.iter_mut().for_each(|(_, state)| state.index = 6);
        assert_broken(&doctored, "one history", &["bit by bit", "1 to 6"]);
    }

    #[test]
    fn an_action_that_was_judged_on_another_state_is_found() {
        let mut doctored = record();
        let log: Vec<_> = [(0, 1), (1, 2), (2, 3), (4, 3)].map(|(number, place)| entry(number, place)).into();
        doctored.log = super::super::super::record::Log::default();
        doctored.log.take(&state(&log, 0));
        assert_broken(&doctored, "exact validation", &["the place that 0.4 saw", "expected: 3", "came:     2"]);
        let mut doctored = record();
        doctored.calls[2].method = Method::Judge;
        assert_broken(&doctored, "exact validation", &["0.2 of judge after 2", "Nothing", "an action"]);
        let mut doctored = record();
        doctored.calls.remove(0);
        assert_broken(&doctored, "exact validation", &["0.0@0, by nobody"]);
    }
}
