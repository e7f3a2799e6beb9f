//! One row of a benchmark: so many callers, for so long or so often.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use conflux::{Node, PerformError};
use conflux_core::Container;
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use super::usage::{busy, resident_bytes};

/// How many histograms the callers share: few enough to keep them out of the memory figure.
const SHARDS: usize = 16;

/// The longest time that is told apart, in nanoseconds: ten minutes.
pub(super) const NANOS_MAX: u64 = 600_000_000_000;

/// How many memory figures a row of so many performs gets.
const POINTS: u64 = 10;

/// When a row ends.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Length {
    /// After a time, which a warm-up precedes.
    Time { warm_up: Duration, measured: Duration },
    /// After so many performs, all of them measured.
    Performs(u64),
}

/// What a row measured.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) callers: usize,
    pub(crate) elapsed: Duration,
    /// How long each perform took, in nanoseconds.
    pub(crate) latency: Histogram<u64>,
    /// Performs that got no answer, and what the first of them was told.
    pub(crate) failed: u64,
    pub(crate) failure: Option<String>,
    /// How long the processes ran on a core meanwhile.
    pub(crate) busy: Option<Duration>,
    pub(crate) memory: Option<u64>,
    /// Resident memory after so many performs, along the way.
    pub(crate) points: Vec<(u64, Option<u64>)>,
}

/// Lets `callers` tasks perform `method`, each awaiting its answer before the next, spread over `nodes`. `others` are the
/// processes of nodes that are not in this one.
pub(crate) async fn run<C: Container>(
    nodes: &[Node<C>],
    method: &C::Method,
    callers: usize,
    length: Length,
    others: Vec<u32>,
) -> Row {
    let run = Arc::new(Run::new(length, others));
    let mut tasks = JoinSet::new();
    let mut begun = (Instant::now(), busy(&run.others));
    for (nth, node) in (0..callers).zip(nodes.iter().cycle()) {
        tasks.spawn(call(node.clone(), method.clone(), run.clone(), nth));
    }
    if let Length::Time { warm_up, measured } = length {
        tokio::time::sleep(warm_up).await;
        begun = (Instant::now(), busy(&run.others));
        run.enter(Phase::Measuring);
        tokio::time::sleep(measured).await;
        run.enter(Phase::Over);
    }
    let mut over = (Instant::now(), busy(&run.others));
    // The answers that are still under way are not measured, but awaited: the next row starts with idle nodes.
    while let Some(ended) = tasks.join_next().await {
        if let Err(panic) = ended.map_err(tokio::task::JoinError::try_into_panic) {
            std::panic::resume_unwind(panic.expect("no caller is cancelled"));
        }
    }
    if let Length::Performs(_) = length {
        over = (Instant::now(), busy(&run.others));
    }
    let busy = over.1.zip(begun.1).map(|(after, before)| after.saturating_sub(before));
    run.row(callers, over.0 - begun.0, busy)
}

async fn call<C: Container>(node: Node<C>, method: C::Method, run: Arc<Run>, nth: usize) {
    while run.goes_on() {
        let begun = Instant::now();
        let failure = match node.perform(method.clone()).await {
            Ok(_) | Err(PerformError::Rejected { .. }) => None,
            Err(error) => Some(error.to_string()),
        };
        let failed = failure.is_some();
        run.record(nth, begun.elapsed(), failure);
        if failed {
            // One that is refused at once must not keep the others from their answers.
            tokio::task::yield_now().await;
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    WarmUp,
    Measuring,
    Over,
}

struct Run {
    phase: AtomicU8,
    /// How many performs were begun, where their number ends the row.
    begun: AtomicU64,
    limit: Option<u64>,
    answered: AtomicU64,
    shards: Vec<Mutex<Shard>>,
    points: Mutex<Vec<(u64, Option<u64>)>>,
    /// Processes whose memory counts too.
    others: Vec<u32>,
}

struct Shard {
    latency: Histogram<u64>,
    failed: u64,
    failure: Option<String>,
}

impl Shard {
    fn new() -> Shard {
        let latency = Histogram::new_with_bounds(1, NANOS_MAX, 3).expect("the bounds are in order");
        Shard { latency, failed: 0, failure: None }
    }
}

impl Run {
    fn new(length: Length, others: Vec<u32>) -> Run {
        let (phase, limit) = match length {
            Length::Time { .. } => (Phase::WarmUp, None),
            Length::Performs(limit) => (Phase::Measuring, Some(limit)),
        };
        Run {
            phase: AtomicU8::new(phase as u8),
            begun: AtomicU64::new(0),
            limit,
            answered: AtomicU64::new(0),
            shards: (0..SHARDS).map(|_| Mutex::new(Shard::new())).collect(),
            points: Mutex::default(),
            others,
        }
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    /// Whether a caller may perform once more.
    fn goes_on(&self) -> bool {
        match self.limit {
            Some(limit) => self.begun.fetch_add(1, Ordering::Relaxed) < limit,
            None => self.phase.load(Ordering::Relaxed) != Phase::Over as u8,
        }
    }

    fn record(&self, caller: usize, took: Duration, failure: Option<String>) {
        if self.phase.load(Ordering::Relaxed) != Phase::Measuring as u8 {
            return;
        }
        let mut shard = self.shards[caller % SHARDS].lock().unwrap_or_else(PoisonError::into_inner);
        match failure {
            None => shard.latency.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX)),
            Some(failure) => {
                shard.failed += 1;
                shard.failure.get_or_insert(failure);
            }
        }
        drop(shard);
        if let Some(limit) = self.limit {
            let answered = self.answered.fetch_add(1, Ordering::Relaxed) + 1;
            if answered * POINTS / limit > (answered - 1) * POINTS / limit {
                self.points
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push((answered, resident_bytes(&self.others)));
            }
        }
    }

    fn row(&self, callers: usize, elapsed: Duration, busy: Option<Duration>) -> Row {
        let mut all = Shard::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            all.latency.add(&shard.latency).expect("the histograms have the same bounds");
            all.failed += shard.failed;
            all.failure = all.failure.take().or_else(|| shard.failure.clone());
        }
        let mut points = std::mem::take(&mut *self.points.lock().unwrap_or_else(PoisonError::into_inner));
        points.sort_unstable();
        Row {
            callers,
            elapsed,
            latency: all.latency,
            failed: all.failed,
            failure: all.failure,
            busy,
            memory: resident_bytes(&self.others),
            points,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_of_performs_is_kept_to_and_has_ten_points() {
        for limit in [1, 3, 10, 1_000] {
            let run = Run::new(Length::Performs(limit), vec![]);
            let mut performs = 0;
            while run.goes_on() {
                run.record(performs, Duration::from_micros(5), None);
                performs += 1;
            }
            let row = run.row(1, Duration::from_secs(1), None);
            assert_eq!(row.latency.len(), limit);
            assert_eq!(row.points.len() as u64, limit.min(POINTS));
            assert_eq!(row.points.last().map(|point| point.0), Some(limit));
        }
    }

    #[test]
    fn only_what_is_answered_while_measuring_counts() {
        let run = Run::new(Length::Time { warm_up: Duration::ZERO, measured: Duration::ZERO }, vec![]);
        run.record(0, Duration::from_micros(1), None);
        run.enter(Phase::Measuring);
        run.record(1, Duration::from_micros(2), None);
        run.record(2, Duration::from_micros(2), Some("no leader".into()));
        run.enter(Phase::Over);
        run.record(3, Duration::from_micros(3), None);
        assert!(!run.goes_on());
        let row = run.row(4, Duration::from_secs(1), None);
        assert_eq!((row.latency.len(), row.failed, row.failure.as_deref()), (1, 1, Some("no leader")));
    }
}
