//! What is between nodes at present: all that was put there and not lifted yet, each by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use conflux::MemoryChannel;
use conflux::channel::Faults;

/// One thing between nodes.
#[derive(Clone, Debug)]
pub(crate) enum Between {
    /// Only those in one group hear each other. Of several partitions, the last one holds.
    Parted(Vec<Vec<&'static str>>),
    /// The second does not hear the first.
    Cut(&'static str, &'static str),
    /// What the first sends to the second takes so much longer.
    Slow(&'static str, &'static str, Duration),
    /// Something befalls messages by chance. Of several, the worst holds.
    Rain(Faults),
}

impl Between {
    /// The links that it is on, each from one to another; of what befalls all of them, none.
    pub(crate) fn links(&self) -> Vec<(&'static str, &'static str)> {
        match self {
            Between::Cut(from, to) | Between::Slow(from, to, _) => vec![(*from, *to)],
            Between::Parted(groups) => {
                let all: BTreeSet<&'static str> = groups.iter().flatten().copied().collect();
                let together = |one: &'static str, other: &'static str| {
                    groups.iter().any(|group| group.contains(&one) && group.contains(&other))
                };
                let pairs = all.iter().flat_map(|one| all.iter().map(move |other| (*one, *other)));
                pairs.filter(|(one, other)| one != other && !together(one, other)).collect()
            }
            Between::Rain(_) => Vec::new(),
        }
    }
}

/// All of it. What is on the channel is set anew with each change.
#[derive(Debug, Default)]
pub(crate) struct Weather {
    put: u64,
    present: BTreeMap<u64, Between>,
}

impl Weather {
    /// Puts something between nodes, to be lifted by its number.
    pub(crate) fn put(&mut self, between: Between, channel: &MemoryChannel) -> u64 {
        self.put += 1;
        self.present.insert(self.put, between);
        self.set(channel);
        self.put
    }

    /// Lifts one thing, if it is still there.
    pub(crate) fn lift(&mut self, number: u64, channel: &MemoryChannel) {
        self.present.remove(&number);
        self.set(channel);
    }

    /// Lifts everything.
    pub(crate) fn clear(&mut self, channel: &MemoryChannel) {
        self.present.clear();
        self.set(channel);
    }

    fn set(&self, channel: &MemoryChannel) {
        channel.heal();
        let mut all = Faults::default();
        for between in self.present.values() {
            match between {
                Between::Parted(groups) => {
                    let groups: Vec<&[&str]> = groups.iter().map(Vec::as_slice).collect();
                    channel.partition(&groups);
                }
                Between::Cut(from, to) => channel.cut(from, to),
                Between::Slow(from, to, by) => channel.slow(from, to, *by),
                Between::Rain(Faults { loss, duplicate, corrupt, delay }) => {
                    all.loss = all.loss.max(*loss);
                    all.duplicate = all.duplicate.max(*duplicate);
                    all.corrupt = all.corrupt.max(*corrupt);
                    all.delay.end = all.delay.end.max(delay.end);
                }
            }
        }
        channel.set_faults(all);
    }
}

#[cfg(test)]
mod tests {
    use conflux::channel::Channel;

    use super::*;

    #[test]
    fn a_partition_is_on_the_links_between_its_sides() {
        let bridge = Between::Parted(vec![vec!["a", "b"], vec!["b", "c"]]);
        assert_eq!(bridge.links(), [("a", "c"), ("c", "a")]);
        assert_eq!(Between::Cut("a", "b").links(), [("a", "b")]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_lifted_leaves_the_rest_where_it_is() {
        let channel = MemoryChannel::new();
        let a = channel.attach("a".into()).await.expect("the name is free");
        let mut b = channel.attach("b".into()).await.expect("the name is free");
        let mut heard = |what: &'static str| {
            a.port.send(&"b".into(), what.into());
            b.inbox.try_recv().is_some()
        };
        let mut weather = Weather::default();
        assert!(heard("nothing is between them"));
        let parted = weather.put(Between::Parted(vec![vec!["a"], vec!["b"]]), &channel);
        let cut = weather.put(Between::Cut("a", "b"), &channel);
        let loss = weather.put(Between::Rain(Faults { loss: 1.0, ..Faults::default() }), &channel);
        let other = weather.put(Between::Rain(Faults { duplicate: 1.0, ..Faults::default() }), &channel);
        for number in [parted, other, cut] {
            weather.lift(number, &channel);
            assert!(!heard("something is left"), "{weather:?}");
        }
        weather.lift(loss, &channel);
        assert!(heard("all is lifted"));
        weather.put(Between::Cut("a", "b"), &channel);
        weather.clear(&channel);
        assert!(heard("all is lifted at once"));
    }
}
