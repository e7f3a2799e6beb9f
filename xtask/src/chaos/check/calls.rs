//! Promises 3, 4, 5 and 9: what was told of performs.

use std::collections::BTreeMap;

use super::super::record::{Call, Claim, Judged, Record, Tag};
use super::{Broken, Log, at};

const DURABLE: &str = "promise 3, durable";
const ONCE: &str = "promise 4, exactly once";
const ORDER: &str = "promise 4, in order";
const HONEST: &str = "promise 5, honest rejections";
const ANSWERED: &str = "promise 9, nothing to retry by hand";

/// The places that each call took.
fn places(log: Log<'_>) -> BTreeMap<Tag, Vec<u64>> {
    let mut places: BTreeMap<Tag, Vec<u64>> = BTreeMap::new();
    for (before, entry) in log.iter().enumerate() {
        places.entry(entry.tag).or_default().push(before as u64 + 1);
    }
    places
}

/// What was told to be committed is at the place that was told.
pub(super) fn nothing_lost(record: &Record, log: Log<'_>) -> Vec<Broken> {
    let mut broken = Vec::new();
    for call in &record.calls {
        for answer in &call.answers {
            if let (Claim::NotVisible { index }, Some(verdict)) = (&answer.claim, call.verdict())
                && verdict.claim.index().is_some_and(|decided| decided != *index)
            {
                let what = format!("call {}, told by {} to be committed", call.tag, answer.node);
                broken.push(Broken::new(DURABLE, what, &answer.claim, &verdict.claim));
            }
            if let Claim::Done { index, entry: Some(entry) } = answer.claim {
                let (expected, came) = (format!("{entry} at {index}"), at(log, index));
                if expected != came || entry.tag != call.tag {
                    let what = format!("call {}, told by {} to be done", call.tag, answer.node);
                    broken.push(Broken::new(DURABLE, what, expected, came));
                }
            }
        }
    }
    broken
}

/// Nothing twice, one verdict a call, and nothing in the log of what was told to have come to nothing.
pub(super) fn exactly_once(record: &Record, log: Log<'_>) -> Vec<Broken> {
    let places = places(log);
    let mut broken = Vec::new();
    for (tag, places) in places.iter().filter(|(_, places)| places.len() > 1) {
        broken.push(Broken::new(ONCE, format!("how often {tag} took effect"), "once", format!("at {places:?}")));
    }
    for call in &record.calls {
        let tag = call.tag;
        let mut told = call.answers.iter().filter(|answer| answer.claim.is_verdict());
        if let Some(first) = told.next()
            && let Some(other) = told.find(|other| other.claim != first.claim)
        {
            let came = format!("{}, by {}", other.claim, other.node);
            broken.push(Broken::new(ONCE, format!("what call {tag} came to"), &first.claim, came));
        }
        let Some(place) = places.get(&tag).map(|places| places[0]) else { continue };
        let was_told = |claim: &str| Broken::new(ONCE, format!("the end of call {tag}"), claim, at(log, place));
        if let Some(answer) = call.verdict()
            && !matches!(answer.claim, Claim::Done { entry: Some(_), .. })
        {
            broken.push(was_told(&format!("no effect, as {} told: {}", answer.node, answer.claim)));
        }
        // Each try of it was told that it never took effect.
        let never = |claim: &Claim| matches!(claim, Claim::NeverProposed | Claim::Busy | Claim::Unreachable);
        if !call.answers.is_empty() && call.answers.iter().all(|answer| never(&answer.claim)) {
            broken.push(was_told("no effect: it was never proposed"));
        }
        if let Some(other) = call.misuses {
            broken.push(was_told(&format!("no effect: its id is that of call {other}")));
        }
        if let Some(Claim::Undecided) = call.answers.last().map(|answer| &answer.claim) {
            broken.push(was_told("no effect: in the end the log did not know it"));
        }
    }
    broken
}

/// A call comes after everything that anybody was told before it began: so also after the earlier calls of its caller.
pub(super) fn in_order(record: &Record, log: Log<'_>) -> Vec<Broken> {
    let places = places(log);
    let mut broken = Vec::new();
    for call in &record.calls {
        if let Some(place) = places.get(&call.tag).map(|places| places[0])
            && place <= call.told_before
        {
            let what = format!("the place of call {}", call.tag);
            let expected = format!("after {}, which was told when it began", call.told_before);
            broken.push(Broken::new(ORDER, what, expected, place));
        }
    }
    broken
}

/// A call that came to nothing says the place where it was judged: there it comes to the same again.
pub(super) fn honest_rejections(record: &Record, log: Log<'_>) -> Vec<Broken> {
    let mut broken = Vec::new();
    for call in &record.calls {
        for answer in &call.answers {
            broken.extend(dishonest(call, &answer.claim, log.len() as u64).map(|(expected, came)| {
                let what = format!("call {}, told by {}: {}", call.tag, answer.node, answer.claim);
                Broken::new(HONEST, what, expected, came)
            }));
        }
    }
    broken
}

fn dishonest(call: &Call, claim: &Claim, end: u64) -> Option<(String, String)> {
    let (index, told) = match claim {
        Claim::Done { index, entry: None } => (*index, Judged::Nothing),
        Claim::Rejected { index, .. } => (*index, Judged::Rejected),
        Claim::Failed if call.method.judge(call.tag, 0) != Judged::Failed => {
            return Some(("a method that does not fail".to_owned(), "failed".to_owned()));
        }
        _ => return None,
    };
    if index > end {
        return Some((format!("a place up to {end}, where the log ends"), index.to_string()));
    }
    if index < call.told_before {
        return Some((format!("judged at {} or later, as that was told before", call.told_before), index.to_string()));
    }
    if let Claim::Rejected { seen, .. } = claim
        && *seen != Some(index)
    {
        return Some((format!("judged on the state at {index}"), format!("judged on the state at {seen:?}")));
    }
    let judged = call.method.judge(call.tag, index);
    (judged != told).then(|| (format!("{judged:?} at {index}"), format!("{told:?}")))
}

/// Every answer is one that there may be: no "not the leader", no page of a proxy. Once nothing is broken any more,
/// somebody knows of each call.
pub(super) fn answered(record: &Record, _: Log<'_>) -> Vec<Broken> {
    let mut broken = Vec::new();
    for call in &record.calls {
        for answer in &call.answers {
            let expected = match (&answer.claim, call.misuses) {
                (Claim::Odd(_), _) => "an answer that is described",
                (Claim::Conflict, None) => "no conflict: the id is its own",
                (Claim::Done { .. } | Claim::Rejected { .. } | Claim::Failed, Some(_)) => "a conflict: the id was used",
                _ => continue,
            };
            let what = format!("what {} told of call {}", answer.node, call.tag);
            broken.push(Broken::new(ANSWERED, what, expected, &answer.claim));
        }
        let last = call.answers.last().map(|answer| &answer.claim);
        if call.asked_in_the_end
            && call.verdict().is_none()
            && let Some(last) = last
            && !matches!(last, Claim::Undecided | Claim::Forgotten)
        {
            let what = format!("what became of call {}, when nothing was broken any more", call.tag);
            broken.push(Broken::new(ANSWERED, what, "what it came to, or that no log knows it", last));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::super::super::record::{Answer, Entry, Log as Whole, Method};
    use super::super::sample::*;
    use super::*;

    fn with_log(entries: &[Entry]) -> Record {
        let mut record = record();
        record.log = Whole::default();
        record.log.take(&state(entries, 0));
        record.finals.iter_mut().for_each(|(_, last)| *last = state(entries, 0));
        record
    }

    fn answer(claim: Claim) -> Answer {
        Answer { node: "b".into(), claim }
    }

    #[test]
    fn a_lost_answer_is_found() {
        let lost = with_log(&[entry(0, 1), entry(1, 2), entry(2, 3)]);
        assert_broken(&lost, "durable", &["call 0.4", "0.4@3 at 4", "nothing at 4, the log ends at 3"]);
        let moved = with_log(&[entry(1, 1), entry(0, 2), entry(2, 3), entry(4, 4)]);
        assert_broken(&moved, "durable", &["call 0.0", "0.0@0 at 1", "0.1@0 at 1"]);
        let mut twice_decided = record();
        twice_decided.calls[1].answers.insert(0, answer(Claim::NotVisible { index: 1 }));
        assert_broken(&twice_decided, "durable", &["call 0.1", "not visible at 1", "done at 2"]);
    }

    #[test]
    fn a_double_is_found() {
        let twice = with_log(&[entry(0, 1), entry(1, 2), entry(2, 3), entry(4, 4), entry(1, 5)]);
        assert_broken(&twice, "exactly once", &["how often 0.1", "[2, 5]"]);
        let mut doctored = record();
        doctored.calls[1].answers.push(answer(done(1, 3)));
        assert_broken(&doctored, "exactly once", &["what call 0.1 came to", "by b"]);
    }

    #[test]
    fn an_effect_that_was_denied_is_found() {
        for (claims, word) in [
            (vec![Claim::Rejected { index: 4, seen: Some(4) }], "as b told"),
            (vec![Claim::NeverProposed, Claim::Unreachable], "never proposed"),
            (vec![Claim::Lost, Claim::Undecided], "did not know it"),
        ] {
            let mut doctored = with_log(&[entry(0, 1), entry(1, 2), entry(2, 3), entry(4, 4), entry(5, 5)]);
            doctored.calls[5].answers = claims.into_iter().map(answer).collect();
            assert_broken(&doctored, "exactly once", &["the end of call 0.5", word]);
        }
        let mut doctored = with_log(&[entry(0, 1), entry(1, 2), entry(2, 3), entry(4, 4), entry(5, 5)]);
        doctored.calls[5].misuses = Some(Tag { caller: 0, number: 1 });
        assert_broken(&doctored, "exactly once", &["its id is that of call 0.1"]);
    }

    #[test]
    fn a_broken_order_is_found() {
        let mut doctored = record();
        doctored.calls[2].told_before = 3;
        assert_broken(&doctored, "in order", &["call 0.2", "after 3"]);
    }

    #[test]
    fn a_dishonest_rejection_is_found() {
        let rejected = |index, seen| answer(Claim::Rejected { index, seen: Some(seen) });
        for (claim, words) in [
            (rejected(9, 9), "where the log ends"),
            (rejected(0, 0), "or later"),
            (rejected(3, 2), "judged on the state at Some(2)"),
            (rejected(4, 4), "Nothing at 4"),
            (answer(Claim::Done { index: 3, entry: None }), "Rejected at 3"),
            (answer(Claim::Failed), "does not fail"),
        ] {
            let mut doctored = record();
            doctored.calls[3].answers = vec![claim];
            assert_broken(&doctored, "honest rejections", &["call 0.3", words]);
        }
    }

    #[test]
    fn an_answer_that_there_may_not_be_is_found() {
        let mut doctored = record();
        doctored.calls[5].answers.push(answer(Claim::Odd("status 307".into())));
        assert_broken(&doctored, "nothing to retry", &["0.5", "status 307"]);
        let mut doctored = record();
        doctored.calls[5].answers.push(answer(Claim::Conflict));
        assert_broken(&doctored, "nothing to retry", &["0.5", "the id is its own"]);
        let mut doctored = record();
        doctored.calls[3].misuses = Some(Tag { caller: 0, number: 2 });
        assert_broken(&doctored, "nothing to retry", &["0.3", "a conflict"]);
        let mut doctored = record();
        doctored.calls[5].answers = vec![answer(Claim::Unknown), answer(Claim::Lost)];
        assert_eq!(super::super::all(&doctored), []);
        doctored.calls[5].asked_in_the_end = true;
        assert_broken(&doctored, "nothing to retry", &["became of call 0.5", "came:     lost"]);
        assert_eq!(doctored.calls[3].method, Method::Judge);
    }
}
