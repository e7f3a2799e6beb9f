//! What a seed's run is like.

use std::ops::Range;
use std::time::Duration;

use conflux::Random;
use conflux::options::BadOption;

pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// The founders; one more may come later.
    pub(crate) nodes: usize,
    pub(crate) named: bool,
    pub(crate) late_comer: bool,
    pub(crate) compaction: (usize, usize),
    pub(crate) history: usize,
    /// Sessions live shortly, so that they expire.
    pub(crate) short_sessions: bool,
    pub(crate) digest_every: u64,
    pub(crate) in_flight_max: usize,
    pub(crate) ballast: usize,
    pub(crate) election_ms: (u64, u64),
    pub(crate) heartbeat_ms: u64,
    /// Faults while the cluster is being founded, too.
    pub(crate) rough_start: bool,
    pub(crate) length: Duration,
    /// Between two faults.
    pub(crate) calm_ms: Range<u64>,
    /// Between two performs of a caller.
    pub(crate) pause_ms: Range<u64>,
}

/// More actions than a run has: a subscriber that is reset all the same met a snapshot.
pub(crate) const HISTORY_LONG: usize = 16_384;
/// The longest session in runs with short ones; deadlines are a quarter of it at most.
pub(crate) const SHORT_SESSION: Duration = Duration::from_secs(8);
/// How long a chosen id is remembered in those runs. Nobody retries for longer than [`RETRY_MAX`] and a deadline.
pub(crate) const SHORT_CHOSEN_ID: Duration = Duration::from_secs(14);
/// No id is tried again later than this after its first try.
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(6);

pub(crate) fn chance(random: &mut Random, percent: u64) -> bool {
    random.below(100) < percent
}

pub(crate) fn within(random: &mut Random, range: &Range<u64>) -> u64 {
    range.start + random.below(range.end - range.start)
}

pub(crate) fn pick<T: Clone>(random: &mut Random, all: &[T]) -> T {
    all[random.below(all.len() as u64) as usize].clone()
}

impl Plan {
    pub(crate) fn draw(seed: u64) -> Self {
        let random = &mut Random::new(seed ^ 0x0c4a_05c4_a05c);
        // What must not be left to chance alone: some runs are made for sessions that expire, some for snapshots.
        let short_sessions = seed % 4 == 1;
        let snapshots = seed % 4 == 2;
        let (election_ms, heartbeat_ms) = pick(random, &[((300, 500), 50), ((300, 500), 50), ((150, 280), 20)]);
        let nodes = pick(random, &[3, 3, 3, 3, 3, 3, 5, 5, 4, 2, 1]);
        Plan {
            seed,
            nodes,
            // By size alone, fewer than twice that many nodes may start before the cluster has formed.
            named: nodes < 3 || chance(random, 40),
            late_comer: chance(random, 25),
            compaction: match snapshots {
                true => pick(random, &[(16, 64 * 1024), (4, 64 * 1024), (2, 1024), (10_000, 4096)]),
                false => pick(random, &[(8_192, 16 << 20), (8_192, 16 << 20), (16, 64 * 1024), (4, 64 * 1024)]),
            },
            history: if snapshots { HISTORY_LONG } else { pick(random, &[0, 4, 64, HISTORY_LONG]) },
            short_sessions,
            digest_every: if chance(random, 60) { 1 + random.below(20) } else { 1000 },
            in_flight_max: pick(random, &[65_536, 65_536, 65_536, 8]),
            ballast: pick(random, &[0, 0, 0, 600 * 1024]),
            election_ms,
            heartbeat_ms,
            rough_start: chance(random, 50),
            length: Duration::from_millis(if short_sessions { 40_000 } else { 10_000 + random.below(15_000) }),
            // An opening must be older than a session's life for its session to expire.
            calm_ms: if short_sessions { 1500..6000 } else { pick(random, &[50..400, 200..1500, 1000..4000]) },
            pause_ms: pick(random, &[10..120, 20..400, 100..1500]),
        }
    }

    /// The number of nodes whose memory may be gone at once.
    pub(crate) fn minority(&self) -> usize {
        (self.nodes - 1) / 2
    }

    pub(crate) fn slots(&self) -> usize {
        self.nodes + usize::from(self.late_comer)
    }

    pub(crate) fn name(slot: usize) -> &'static str {
        ["a", "b", "c", "d", "e", "f"][slot]
    }

    /// The longest deadline that a perform can have.
    pub(crate) fn timeout_max(&self) -> Duration {
        if self.short_sessions { SHORT_SESSION / 4 } else { Duration::from_secs(4) }
    }
}

/// An open that can never come good.
pub(crate) fn is_bad_option(error: &conflux::OpenError) -> Option<&BadOption> {
    match error {
        conflux::OpenError::Option(bad) => Some(bad),
        _ => None,
    }
}
