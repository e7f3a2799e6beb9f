//! Promises 6 and 8: what reads showed.

use super::super::record::{ReadKind, Record};
use super::history::differs;
use super::{Broken, Log};

const READS: &str = "promise 6, reads";
const PROVISIONAL: &str = "promise 8, provisional state";
const ODD: &str = "promise 11, answers";

/// A linearizable read is as new as anything that was told before it; no node shows less than it told. A provisional state
/// begins with all that is committed, as it is.
pub(super) fn check(record: &Record, log: Log<'_>) -> Vec<Broken> {
    let mut broken = Vec::new();
    for read in &record.reads {
        let index = read.index;
        if read.kind == ReadKind::Linearizable && index < read.told_by_any {
            let what = format!("a linearizable read at {}", read.node);
            let expected = format!("{} or later, as that was told before it", read.told_by_any);
            broken.push(Broken::new(READS, what, expected, index));
        }
        if let Some(life) = &read.life
            && index < read.told_by_node
        {
            let (promise, kind) = match read.kind {
                ReadKind::Provisional => (PROVISIONAL, "provisional"),
                _ => (READS, "committed"),
            };
            let what = format!("a {kind} state of {life}");
            let expected = format!("{} or later, as it told that itself before", read.told_by_node);
            broken.push(Broken::new(promise, what, expected, index));
        }
        if let Some(committed) = &read.committed {
            let what = format!("the committed part of a provisional state of {}", read.node);
            broken.extend(differs(PROVISIONAL, &what, log, read.told_by_node, committed));
        }
        if index != read.sum.dropped + read.sum.length {
            let what = format!("the place of a state of {}", read.node);
            let promise = if read.kind == ReadKind::Provisional { PROVISIONAL } else { READS };
            broken.push(Broken::new(promise, what, read.sum.dropped + read.sum.length, index));
        }
    }
    for odd in &record.odd {
        broken.push(Broken::new(ODD, "what came over HTTP", "an answer that is described", odd));
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::super::sample::*;
    use super::*;

    #[test]
    fn a_stale_read_is_found() {
        let mut doctored = record();
        doctored.reads[1].told_by_any = 4;
        assert_broken(&doctored, "reads", &["a linearizable read at a", "4 or later", "came:     3"]);
    }

    #[test]
    fn a_state_that_goes_back_is_found() {
        let mut doctored = record();
        doctored.reads[0].told_by_node = 3;
        assert_broken(&doctored, "reads", &["a committed state of a (process 1)", "3 or later"]);
        // Another process may be behind.
        doctored.reads[0].life = None;
        assert_eq!(super::super::all(&doctored), []);
    }

    #[test]
    fn a_provisional_state_below_the_committed_one_is_found() {
        let mut doctored = record();
        doctored.reads[0].kind = ReadKind::Provisional;
        doctored.reads[0].told_by_node = 3;
        assert_broken(&doctored, "provisional", &["3 or later"]);
        let mut doctored = record();
        let mut other = state(&[entry(0, 1), entry(7, 2), entry(2, 3)], 0);
        other.entries.truncate(2);
        doctored.reads[2].committed = other.sum_to(2);
        assert_broken(&doctored, "provisional", &["the committed part of a provisional state of a at 2", "0.7@1"]);
    }

    #[test]
    fn a_place_that_is_not_the_states_is_found() {
        let mut doctored = record();
        doctored.reads[0].index = 3;
        assert_broken(&doctored, "reads", &["the place of a state", "expected: 2"]);
        doctored.odd.push("a: GET /state answered 418".into());
        assert_broken(&doctored, "answers", &["418"]);
    }
}
