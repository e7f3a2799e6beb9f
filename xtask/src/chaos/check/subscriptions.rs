//! Promise 7: every committed action in order, or a reset with the state and the place, where the actions are gone.

use super::super::record::{Heard, Record};
use super::{Broken, Log};

const HOLES: &str = "promise 7, subscriptions have no holes";

pub(super) fn check(record: &Record, log: Log<'_>) -> Vec<Broken> {
    let mut broken = Vec::new();
    for (listener, heard) in record.listeners.iter().enumerate() {
        let first = heard.first().map_or(0, |first| if let Heard::Began { after, .. } = first { *after } else { 0 });
        let (mut last, mut at) = (first, "");
        for one in heard {
            match one {
                Heard::Began { node, after } => {
                    at = node;
                    if *after != last {
                        let what = format!("where subscriber {listener} goes on at {at}");
                        broken.push(Broken::new(HOLES, what, last, after));
                    }
                }
                Heard::Change { index, .. } => {
                    if *index != last + 1 {
                        let what = format!("what subscriber {listener} heard at {at} after {last}");
                        broken.push(Broken::new(HOLES, what, last + 1, index));
                    }
                    last = *index;
                }
                Heard::Reset { index, .. } => {
                    // Nodes forget actions that a snapshot holds, and no others: there are never so many here.
                    if record.snapshots.is_empty() {
                        let what = format!("the reset of subscriber {listener} at {at}");
                        broken.push(Broken::new(HOLES, what, "none: no node has a snapshot", index));
                    }
                    if *index < last {
                        let what = format!("the reset of subscriber {listener} at {at}");
                        broken.push(Broken::new(HOLES, what, format!("{last} or later"), index));
                    }
                    last = *index;
                }
                Heard::Left => {}
                Heard::Odd(what) => {
                    let event = format!("an event for subscriber {listener} at {at}");
                    broken.push(Broken::new(HOLES, event, "one that is described", what));
                }
            }
        }
        if last != log.len() as u64 && !matches!(heard.last(), Some(Heard::Left)) {
            let what = format!("the last that subscriber {listener} heard, at {at}");
            broken.push(Broken::new(HOLES, what, log.len(), last));
        }
    }
    broken
}

#[cfg(test)]
mod tests {
    use super::super::super::record::Heard;
    use super::super::sample::*;

    #[test]
    fn a_hole_and_a_repetition_are_found() {
        let mut doctored = record();
        doctored.listeners[0].remove(3);
        assert_broken(&doctored, "no holes", &["heard at b after 1", "expected: 2", "came:     4"]);
        let mut doctored = record();
        let again = doctored.listeners[0][1].clone();
        doctored.listeners[0].insert(2, again);
        assert_broken(&doctored, "no holes", &["heard at a after 1", "came:     1"]);
    }

    #[test]
    fn a_reset_that_goes_back_is_found() {
        let mut doctored = record();
        let back = Heard::Reset { index: 2, sum: state(&[entry(0, 1), entry(1, 2)], 0).sum() };
        doctored.listeners[0].push(back);
        assert_broken(&doctored, "no holes", &["the reset of subscriber 0 at b", "4 or later"]);
    }

    #[test]
    fn a_reset_without_a_cause_is_found() {
        let mut doctored = record();
        doctored.snapshots.clear();
        assert_broken(&doctored, "no holes", &["the reset of subscriber 0 at b", "no node has a snapshot"]);
    }

    #[test]
    fn a_subscriber_that_is_left_behind_and_an_odd_event_are_found() {
        let mut doctored = record();
        doctored.listeners[0].pop();
        assert_broken(&doctored, "no holes", &["the last that subscriber 0 heard", "expected: 4", "came:     3"]);
        doctored.listeners[0].push(Heard::Odd("an id of another place".into()));
        assert_broken(&doctored, "no holes", &["an id of another place"]);
        doctored.listeners[0].pop();
        doctored.listeners[0].push(Heard::Left);
        assert_eq!(super::super::all(&doctored), []);
    }
}
