//! What a node counts and measures, for whoever asks: plain numbers, no recorder.
//!
//! Everything that happens often is counted once a batch, or under a lock that is held anyhow. Depths of queues are looked
//! at when somebody asks.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use conflux_core::{Container, Index, NodeName};

use crate::core::Core;
use crate::status::{Role, Status};
use crate::wire::Stats;

/// Upper bounds of times, in microseconds: 50 us to 30 s.
pub const TIME_BOUNDS_US: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 5_000_000,
    30_000_000,
];

/// Upper bounds of how many are in one batch or group: 1 to 1,024.
pub const COUNT_BOUNDS: &[u64] = &[1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024];

/// How values are spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Distribution {
    /// The upper bounds, each included; ascending.
    pub bounds: &'static [u64],
    /// How many values there were up to each bound and above the one before it; and one more, above all bounds.
    pub counts: Vec<u64>,
    /// The sum of all values.
    pub sum: u64,
}

impl Distribution {
    /// How many values there were.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }
}

/// Takes values. Each number stands alone, so none needs an order with the others.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [u64],
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

impl Histogram {
    fn new(bounds: &'static [u64]) -> Histogram {
        let counts = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, counts, sum: AtomicU64::new(0) }
    }

    /// Of times, in microseconds.
    pub(crate) fn of_times() -> Histogram {
        Histogram::new(TIME_BOUNDS_US)
    }

    /// Of how many there are in one.
    pub(crate) fn of_counts() -> Histogram {
        Histogram::new(COUNT_BOUNDS)
    }

    pub(crate) fn record(&self, value: u64) {
        let at = self.bounds.partition_point(|bound| *bound < value);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(value, Ordering::Relaxed);
    }

    pub(crate) fn record_time(&self, time: Duration) {
        self.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn read(&self) -> Distribution {
        Distribution {
            bounds: self.bounds,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

/// What the sequencer measures.
pub(crate) struct SequencerMeters {
    pub(crate) batch_calls: Histogram,
    pub(crate) decide_time: Histogram,
    pub(crate) commit_time: Histogram,
    pub(crate) in_flight: AtomicUsize,
    pub(crate) forks: AtomicU64,
}

impl Default for SequencerMeters {
    fn default() -> Self {
        SequencerMeters {
            batch_calls: Histogram::of_counts(),
            decide_time: Histogram::of_times(),
            commit_time: Histogram::of_times(),
            in_flight: AtomicUsize::new(0),
            forks: AtomicU64::new(0),
        }
    }
}

/// What is measured of snapshots.
pub(crate) struct SnapshotMeters {
    pub(crate) built_time: Histogram,
    pub(crate) installed_time: Histogram,
}

impl Default for SnapshotMeters {
    fn default() -> Self {
        SnapshotMeters { built_time: Histogram::of_times(), installed_time: Histogram::of_times() }
    }
}

/// Everything that a node counts and measures, since it was opened. What changes is told by other numbers at the next call:
/// nothing is reset.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Metrics {
    /// The node.
    pub node: NodeName,
    /// The Raft term that it is in.
    pub term: u64,
    /// What it is.
    pub role: Role,
    /// The leader it knows of.
    pub leader: Option<NodeName>,
    /// Whether a majority of the voters is heard, as far as it can tell.
    pub has_quorum: bool,
    /// How many members vote.
    pub voters: usize,
    /// How many members follow without a vote.
    pub learners: usize,
    /// The place of its committed state.
    pub index: Index,
    /// The last place at which most voters had the same state, as far as it is known here.
    pub agreed: Option<Index>,
    /// How often the node's state was another than that of most voters, and replaced by theirs.
    pub parted: u64,
    /// Its log.
    pub log: LogMetrics,
    /// What became of the performs of this node.
    pub answers: Answers,
    /// Performs of this node on their way.
    pub calls_in_flight: usize,
    /// Calls from other nodes that wait for the sequencer here.
    pub inbound_calls: usize,
    /// Their bytes.
    pub inbound_bytes: usize,
    /// Messages with calls from other nodes that were dropped because too much waited; they are sent again.
    pub inbound_dropped: u64,
    /// Batches of this node's sequencer on their way through the log.
    pub batches_in_flight: usize,
    /// How many calls there were in each batch that this node proposed: [`COUNT_BOUNDS`].
    pub batch_calls: Distribution,
    /// How long the methods and reducers of each took, in microseconds: [`TIME_BOUNDS_US`].
    pub batch_decide_us: Distribution,
    /// How long it took from then until each was committed and applied here, in microseconds: [`TIME_BOUNDS_US`].
    pub batch_commit_us: Distribution,
    /// How often the sequencer began anew, from the applied state: once a leadership, and once whenever a batch came to
    /// nothing.
    pub forks: u64,
    /// The disk, where there is one that measures.
    pub disk: Option<DiskMetrics>,
    /// How long each snapshot took that was built here, in microseconds: [`TIME_BOUNDS_US`].
    pub snapshot_build_us: Distribution,
    /// How long it took to copy the state, in microseconds, whenever it was to be changed and somebody held it: a snapshot, a
    /// comparison, a change that was kept. It takes long where a large state is no persistent collection.
    pub state_copy_us: Distribution,
    /// How long each took to be taken up that came from the leader, in microseconds: [`TIME_BOUNDS_US`].
    pub snapshot_install_us: Distribution,
    /// The bytes of the newest snapshot; 0 where there is none.
    pub snapshot_bytes: u64,
    /// The connections to the other nodes.
    pub channel: ChannelMetrics,
    /// Messages, above the channel.
    pub wire: Stats,
}

/// How far the log is. Its indexes are the engine's; those of actions are other ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogMetrics {
    /// The last entry.
    pub last: Option<u64>,
    /// The last that is known to be committed.
    pub committed: Option<u64>,
    /// The last that is applied.
    pub applied: Option<u64>,
    /// The last that the snapshot holds.
    pub snapshot: Option<u64>,
    /// The last that was purged.
    pub purged: Option<u64>,
    /// How many there are.
    pub entries: usize,
    /// The bytes of their batches.
    pub bytes: usize,
}

/// How many performs of a node were answered, by what they were told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// Committed, with an action.
    pub committed: u64,
    /// There was nothing to do.
    pub nothing: u64,
    /// The method refused.
    pub rejected: u64,
    /// The method or the reducer broke.
    pub failed: u64,
    /// It never left the node before its deadline, or the node was overloaded.
    pub never_proposed: u64,
    /// Its deadline passed, and it may have taken effect.
    pub unknown: u64,
    /// It is committed, and this node had not come so far at its deadline.
    pub not_visible: u64,
    /// Its request id was used for another call.
    pub conflict: u64,
    /// The node was closed.
    pub closed: u64,
}

/// What a disk measures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskMetrics {
    /// How long each sync of the log took, in microseconds: [`TIME_BOUNDS_US`].
    pub sync_us: Distribution,
    /// How many changes went out with each write: [`COUNT_BOUNDS`].
    pub group_changes: Distribution,
    /// Changes that wait to be written.
    pub changes_waiting: usize,
}

/// What the connections of one node count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChannelMetrics {
    /// Connections that are there now.
    pub connected: usize,
    /// Connections that were made again, after the first one with the same node.
    pub reconnects: u64,
    /// Frames handed to the system. Some may have been lost with a connection.
    pub frames_sent: u64,
    /// Frames that are known to be lost on their way out.
    pub frames_lost: u64,
    /// Frames that wait on their way out.
    pub frames_waiting: usize,
    /// Frames that came and were lost, because the node did not take them fast enough.
    pub inbox_lost: u64,
}

impl Metrics {
    /// Those of a node of which nothing is known but its name: for what stands in for a node.
    #[must_use]
    pub fn nothing(node: impl Into<NodeName>) -> Metrics {
        Metrics {
            node: node.into(),
            term: 0,
            role: Role::Waiting,
            leader: None,
            has_quorum: false,
            voters: 0,
            learners: 0,
            index: Index::default(),
            agreed: None,
            parted: 0,
            log: LogMetrics::default(),
            answers: Answers::default(),
            calls_in_flight: 0,
            inbound_calls: 0,
            inbound_bytes: 0,
            inbound_dropped: 0,
            batches_in_flight: 0,
            batch_calls: Histogram::of_counts().read(),
            batch_decide_us: Histogram::of_times().read(),
            batch_commit_us: Histogram::of_times().read(),
            forks: 0,
            disk: None,
            snapshot_build_us: Histogram::of_times().read(),
            state_copy_us: Histogram::of_times().read(),
            snapshot_install_us: Histogram::of_times().read(),
            snapshot_bytes: 0,
            channel: ChannelMetrics::default(),
            wire: Stats::default(),
        }
    }
}

impl<C: Container> Core<C> {
    /// What is counted and measured.
    pub(crate) fn metrics(&self) -> Metrics {
        let Status { role, term, leader, has_quorum, index, agreed, parted, voters, learners, .. } = self.status();
        let (answers, calls_in_flight) = self.origin.metrics();
        let (inbound_calls, inbound_bytes, inbound_dropped) = self.inbound.metrics();
        let meters = &self.meters;
        let snapshots = self.engine.snapshot_meters();
        Metrics {
            node: self.me().name.clone(),
            term,
            role,
            leader,
            has_quorum,
            voters: voters.len(),
            learners: learners.len(),
            index,
            agreed,
            parted,
            log: self.engine.log_metrics(),
            answers,
            calls_in_flight,
            inbound_calls,
            inbound_bytes,
            inbound_dropped,
            batches_in_flight: meters.in_flight.load(Ordering::Relaxed),
            batch_calls: meters.batch_calls.read(),
            batch_decide_us: meters.decide_time.read(),
            batch_commit_us: meters.commit_time.read(),
            forks: meters.forks.load(Ordering::Relaxed),
            disk: self.keeper.journal().metrics(),
            snapshot_build_us: snapshots.built_time.read(),
            state_copy_us: self.local.state_copy_time.read(),
            snapshot_install_us: snapshots.installed_time.read(),
            snapshot_bytes: self.keeper.journal().snapshot().map_or(0, |kept| kept.bytes.length()),
            channel: self.wire.channel_metrics(),
            wire: self.wire.stats(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_counted_up_to_their_bound() {
        let histogram = Histogram::of_counts();
        for value in [0, 1, 2, 3, 1_024, 1_025, u64::from(u32::MAX)] {
            histogram.record(value);
        }
        let read = histogram.read();
        assert_eq!(read.counts, [2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1, 2]);
        assert_eq!((read.count(), read.sum), (7, 1 + 2 + 3 + 1_024 + 1_025 + u64::from(u32::MAX)));
    }

    #[test]
    fn times_are_in_microseconds() {
        let histogram = Histogram::of_times();
        histogram.record_time(Duration::from_micros(50));
        histogram.record_time(Duration::from_millis(3));
        let read = histogram.read();
        assert_eq!((read.counts[0], read.counts[6], read.sum), (1, 1, 3_050));
        assert!(TIME_BOUNDS_US.is_sorted() && COUNT_BOUNDS.is_sorted());
    }
}
