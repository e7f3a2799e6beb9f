//! All that will be done in a run, drawn from its seed before it begins: so a part of it can be left out, and the rest is
//! what it was.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;
use std::time::Duration;

use conflux::Random;

use crate::fault::{Fault, FaultKind};

pub(crate) fn chance(random: &mut Random, percent: u64) -> bool {
    random.below(100) < percent
}

pub(crate) fn within(random: &mut Random, range: &Range<u64>) -> u64 {
    range.start + random.below(range.end - range.start)
}

pub(crate) fn pick<T: Clone>(random: &mut Random, all: &[T]) -> T {
    all[random.below(all.len() as u64) as usize].clone()
}

/// The most nodes of a simulation.
pub const NODES_MAX: usize = 9;

/// What a node is called.
#[must_use]
pub(crate) fn name(node: usize) -> &'static str {
    ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"][node]
}

/// Sessions live so long in runs with short ones; deadlines are a quarter of it at most.
pub(crate) const SHORT_SESSION: Duration = Duration::from_secs(8);
/// How long a chosen id is remembered in those runs. Nobody tries again for longer than [`RETRY_MAX`] and a deadline.
pub(crate) const SHORT_CHOSEN_ID: Duration = Duration::from_secs(14);
/// No id is tried again later than this after its first try.
pub(crate) const RETRY_MAX: Duration = Duration::from_secs(6);
/// A call of more bytes is a huge one.
pub(crate) const HUGE: u32 = 1 << 15;
/// So many performs a minute there are at least.
const PERFORMS_MIN: usize = 1_300;
/// More actions than a run has: a subscriber that is reset all the same met a snapshot.
pub(crate) const HISTORY_LONG: usize = 65_536;

/// What the cluster of a run is like.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How many nodes found it, and vote.
    pub nodes: usize,
    /// The founders are named.
    pub named: bool,
    /// How long callers call and things go wrong.
    pub length: Duration,
    /// Logs and snapshots are in memory: they outlive a node, and not its wipe.
    pub in_memory: bool,
    /// How long a disk takes for a write and its sync.
    pub disk_latency: Duration,
    /// When logs are cut: batches, and bytes.
    pub compaction: (usize, usize),
    /// How many actions are held for subscribers.
    pub history: usize,
    /// Sessions expire.
    pub short_sessions: bool,
    /// How often states are compared: every so many actions.
    pub digest_every: u64,
    /// How many calls a node has under way at most.
    pub in_flight_max: usize,
    /// Bytes that make snapshots long.
    pub ballast: usize,
    /// The election timeout in milliseconds.
    pub election_ms: (u64, u64),
    /// The heartbeat in milliseconds.
    pub heartbeat_ms: u64,
}

impl Settings {
    /// The number of nodes whose disks may be gone at once.
    pub(crate) fn minority(&self) -> usize {
        (self.nodes - 1) / 2
    }

    /// The longest deadline that a perform can have.
    pub(crate) fn patience_max(&self) -> Duration {
        if self.short_sessions { SHORT_SESSION / 4 } else { Duration::from_secs(4) }
    }

    /// That of reads, and of whoever says nothing.
    pub(crate) fn deadline(&self) -> Duration {
        self.patience_max() / 2
    }
}

/// What somebody does at a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deed {
    /// Performs, and waits for the answer.
    Perform,
    /// Performs, waits for the prediction, and then for the answer.
    Propose,
    /// Performs, and drops the future once it was polled.
    Drop,
    /// Reads by a linearizable read.
    Read,
    /// Looks at the provisional state.
    Look,
}

impl Deed {
    fn performs(self) -> bool {
        matches!(self, Deed::Perform | Deed::Propose | Deed::Drop)
    }
}

/// Somebody wants something.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    /// At which node.
    pub node: usize,
    /// What.
    pub deed: Deed,
    /// For how long.
    pub patience: Duration,
    /// Under a request id of its own.
    pub chosen: bool,
    /// Bytes that make it long.
    pub padding: u32,
    /// For what else is drawn as it happens.
    pub seed: u64,
}

/// What is done when.
#[derive(Clone, Debug, PartialEq)]
pub struct Timed<T> {
    /// Its number among all that were drawn.
    pub number: usize,
    /// How long after the beginning.
    pub at: Duration,
    /// What.
    pub what: T,
}

/// All that will be done.
#[derive(Clone, Debug, PartialEq)]
pub struct Schedule {
    /// What it was drawn from, and what else is drawn from as the run goes on.
    pub seed: u64,
    /// What the cluster is like.
    pub settings: Settings,
    /// What goes wrong, in order.
    pub faults: Vec<Timed<Fault>>,
    /// What is asked for, in order.
    pub asks: Vec<Timed<Ask>>,
}

/// What a schedule is drawn for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wanted {
    /// How many nodes; drawn where it is `None`.
    pub nodes: Option<usize>,
    /// How long.
    pub length: Duration,
    /// What may go wrong.
    pub faults: Vec<FaultKind>,
}

impl Default for Wanted {
    fn default() -> Self {
        Wanted { nodes: None, length: Duration::from_secs(60), faults: FaultKind::ALL.to_vec() }
    }
}

impl Schedule {
    /// Draws one.
    #[must_use]
    pub fn draw(seed: u64, wanted: &Wanted) -> Schedule {
        let mut random = Random::new(seed ^ 0x5c4e_d01e);
        let settings = draw_settings(seed, wanted, &mut Random::new(random.next_u64()));
        let faults = draw_faults(&settings, &wanted.faults, &mut Random::new(random.next_u64()));
        let mut asks = draw_asks(&settings, &mut Random::new(random.next_u64()));
        let faults = with_joins(faults, &settings, &wanted.faults, &mut Random::new(random.next_u64()));
        if !wanted.faults.contains(&FaultKind::HugeCall) {
            asks.iter_mut().for_each(|ask| ask.what.padding = ask.what.padding.min(PADDING_MAX));
        }
        Schedule { seed, settings, faults, asks }
    }

    /// Whether all that a part names is in it.
    ///
    /// # Errors
    /// What is not.
    pub fn has(&self, kept: &Kept) -> Result<(), String> {
        if let Some(nodes) = kept.nodes.filter(|nodes| *nodes > self.settings.nodes) {
            return Err(format!("nodes={nodes}, and it has {}", self.settings.nodes));
        }
        let lists = [("faults", &kept.faults, self.faults.len()), ("asks", &kept.asks, self.asks.len())];
        for (what, numbers, count) in lists {
            let end = numbers.as_ref().and_then(|numbers| numbers.0.iter().map(|range| range.end).max());
            if let Some(end) = end.filter(|end| *end > count) {
                let there = match count {
                    0 => "none".to_owned(),
                    count => format!("those from 0 to {}", count - 1),
                };
                return Err(format!("{what} goes to {}, and it has {there}", end - 1));
            }
        }
        Ok(())
    }

    /// The part of it that is kept.
    #[must_use]
    pub fn keep(&self, kept: &Kept) -> Schedule {
        let mut schedule = self.clone();
        schedule.settings.nodes = kept.nodes.unwrap_or(self.settings.nodes).min(self.settings.nodes);
        let nodes = schedule.settings.nodes;
        schedule.faults.retain(|fault| {
            kept.faults.as_ref().is_none_or(|kept| kept.contains(fault.number))
                && fault.what.node < nodes
                && fault.what.other < nodes.max(2)
        });
        schedule.asks.retain(|ask| kept.asks.as_ref().is_none_or(|kept| kept.contains(ask.number)));
        schedule.asks.iter_mut().for_each(|ask| ask.what.node %= nodes);
        schedule
    }
}

const PADDING_MAX: u32 = 3000;

fn draw_settings(seed: u64, wanted: &Wanted, random: &mut Random) -> Settings {
    // What must not be left to chance alone: some runs are made for sessions that expire, some for snapshots.
    let short_sessions = seed % 4 == 1;
    let snapshots = seed % 4 == 2;
    let (election_ms, heartbeat_ms) = pick(random, &[((300, 500), 50), ((300, 500), 50), ((150, 280), 20)]);
    let nodes = pick(random, &[3, 3, 3, 3, 3, 3, 5, 5, 4, 2, 1]);
    Settings {
        nodes: wanted.nodes.unwrap_or(nodes),
        // By size alone, fewer than twice as many nodes may start before the cluster has formed.
        named: wanted.nodes.unwrap_or(nodes) < 3 || chance(random, 40),
        length: wanted.length,
        in_memory: chance(random, 20),
        disk_latency: Duration::from_millis(pick(random, &[0, 1, 1, 3])),
        compaction: match snapshots {
            true => pick(random, &[(16, 64 * 1024), (4, 64 * 1024), (2, 1024), (10_000, 4096)]),
            false => pick(random, &[(8_192, 16 << 20), (64, 1 << 20), (16, 64 * 1024)]),
        },
        history: if snapshots { HISTORY_LONG } else { pick(random, &[0, 4, 64, HISTORY_LONG]) },
        short_sessions,
        digest_every: if chance(random, 60) { 1 + random.below(20) } else { 1000 },
        in_flight_max: pick(random, &[65_536, 65_536, 65_536, 8]),
        ballast: pick(random, &[0, 0, 0, 600 * 1024]),
        election_ms,
        heartbeat_ms,
    }
}

fn draw_faults(settings: &Settings, kinds: &[FaultKind], random: &mut Random) -> Vec<Timed<Fault>> {
    let mut faults = Vec::new();
    if kinds.iter().all(|kind| *kind == FaultKind::Join) {
        return faults;
    }
    // A run has some of the kinds, each more often: all of them at once would leave no peace for any.
    let kinds: Vec<FaultKind> = kinds.iter().copied().filter(|kind| *kind != FaultKind::Join).collect();
    let some: Vec<FaultKind> = kinds.iter().copied().filter(|_| chance(random, 40)).collect();
    let some = if some.is_empty() { vec![pick(random, &kinds)] } else { some };
    let calm_ms = pick(random, &[200..1500, 500..3000, 1000..6000]);
    let mut at = within(random, &(0..3000));
    let end = settings.length.as_millis() as u64;
    while at < end {
        let fault = Fault::draw(pick(random, &some), settings.nodes, random);
        faults.push(Timed { number: faults.len(), at: Duration::from_millis(at), what: fault });
        at += within(random, &calm_ms);
    }
    faults
}

/// With nodes that join, in some runs: there is one at a time, and it stays for longer than other faults last.
fn with_joins(
    mut faults: Vec<Timed<Fault>>,
    settings: &Settings,
    kinds: &[FaultKind],
    random: &mut Random,
) -> Vec<Timed<Fault>> {
    let only = kinds.len() == 1;
    if !kinds.contains(&FaultKind::Join) || !(only || chance(random, 30)) {
        return faults;
    }
    let mut at = within(random, &(1_000..20_000));
    while at < settings.length.as_millis() as u64 {
        let what = Fault::draw(FaultKind::Join, settings.nodes, random);
        faults.push(Timed { number: 0, at: Duration::from_millis(at), what });
        at += within(random, &(10_000..40_000));
    }
    faults.sort_by_key(|fault| fault.at);
    faults.iter_mut().enumerate().for_each(|(number, fault)| fault.number = number);
    faults
}

fn draw_asks(settings: &Settings, random: &mut Random) -> Vec<Timed<Ask>> {
    let mut asks = Vec::new();
    let pause_ms = pick(random, &[4..40, 10..60, 20..50]);
    let patience_max = settings.patience_max().as_millis() as u64;
    let mut at = 0;
    let end = settings.length.as_millis() as u64;
    while at < end {
        // Now and then nobody calls for so long that sessions expire.
        at += if settings.short_sessions && random.below(1000) < 2 { 9_000 } else { within(random, &pause_ms) };
        let burst = if chance(random, 3) { 1 + random.below(20) } else { 1 };
        let node = random.below(settings.nodes as u64) as usize;
        for _ in 0..burst {
            let deed = match random.below(100) {
                0..8 => Deed::Propose,
                8..12 => Deed::Drop,
                12..16 => Deed::Read,
                16..20 => Deed::Look,
                _ => Deed::Perform,
            };
            let patience = match random.below(10) {
                0 => 1 + random.below(20),
                1..=3 => 20 + random.below(300),
                _ => 300 + random.below(patience_max - 300),
            };
            let padding = match random.below(1000) {
                0 => 1 << (15 + random.below(7)),
                1..30 => random.below(u64::from(PADDING_MAX)) as u32,
                _ => 0,
            };
            let ask = Ask {
                node,
                deed,
                patience: Duration::from_millis(patience),
                chosen: chance(random, 20),
                padding,
                seed: random.next_u64(),
            };
            asks.push(Timed { number: asks.len(), at: Duration::from_millis(at), what: ask });
        }
    }
    fill(&mut asks, settings, random);
    asks
}

/// Puts performs between what there is, where it is little.
fn fill(asks: &mut Vec<Timed<Ask>>, settings: &Settings, random: &mut Random) {
    let performs = |asks: &[Timed<Ask>]| asks.iter().filter(|ask| ask.what.deed.performs()).count();
    let wanted = PERFORMS_MIN * settings.length.as_millis() as usize / 60_000;
    let there = asks.len();
    for _ in performs(asks)..wanted {
        if there == 0 {
            break;
        }
        // At a moment at which somebody asks for something anyway: whoever is silent on purpose stays so.
        let like = asks[random.below(there as u64) as usize].clone();
        let node = random.below(settings.nodes as u64) as usize;
        let what = Ask { node, deed: Deed::Perform, padding: 0, seed: random.next_u64(), ..like.what };
        asks.push(Timed { number: 0, at: like.at, what });
    }
    asks.sort_by_key(|ask| ask.at);
    asks.iter_mut().enumerate().for_each(|(number, ask)| ask.number = number);
}

/// Numbers, in ranges where they follow each other. Written `0-3,7`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbers(Vec<Range<usize>>);

impl Numbers {
    /// Those of a list that is in order.
    #[must_use]
    pub fn of(numbers: impl IntoIterator<Item = usize>) -> Numbers {
        let mut ranges: Vec<Range<usize>> = Vec::new();
        for number in numbers {
            match ranges.last_mut() {
                Some(last) if last.end == number => last.end += 1,
                _ => ranges.push(number..number + 1),
            }
        }
        Numbers(ranges)
    }

    fn contains(&self, number: usize) -> bool {
        self.0.iter().any(|range| range.contains(&number))
    }
}

impl fmt::Display for Numbers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, range) in self.0.iter().enumerate() {
            f.write_str(if at > 0 { "," } else { "" })?;
            match range.len() {
                1 => write!(f, "{}", range.start)?,
                _ => write!(f, "{}-{}", range.start, range.end - 1)?,
            }
        }
        Ok(())
    }
}

impl FromStr for Numbers {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<usize>().map_err(|_| format!("{text:?} is no number, nor a range"));
        let range = |text: &str| match text.split_once('-') {
            Some((from, to)) => match number(from)?..number(to)?.saturating_add(1) {
                range if range.is_empty() => Err(format!("{text:?} goes down: a range is FROM-TO, as in 3-9")),
                range => Ok(range),
            },
            None => number(text).map(|one| one..one.saturating_add(1)),
        };
        // Of nothing there is nothing: that is how it is written.
        if text.is_empty() {
            return Ok(Numbers::default());
        }
        text.split(',').map(range).collect::<Result<_, _>>().map(Numbers)
    }
}

/// Which part of a schedule is kept; all where nothing is said. Written `nodes=3;faults=0-3,7;asks=12`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// So many nodes.
    pub nodes: Option<usize>,
    /// These faults.
    pub faults: Option<Numbers>,
    /// These asks.
    pub asks: Option<Numbers>,
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            self.nodes.map(|nodes| format!("nodes={nodes}")),
            self.faults.as_ref().map(|faults| format!("faults={faults}")),
            self.asks.as_ref().map(|asks| format!("asks={asks}")),
        ];
        f.write_str(&parts.into_iter().flatten().collect::<Vec<_>>().join(";"))
    }
}

impl FromStr for Kept {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut kept = Kept::default();
        for part in text.split(';').filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some(("nodes", nodes)) => match nodes.parse() {
                    Ok(nodes @ 1..=NODES_MAX) => kept.nodes = Some(nodes),
                    _ => return Err(format!("nodes is 1 to {NODES_MAX}, not {nodes:?}")),
                },
                Some(("faults", faults)) => kept.faults = Some(faults.parse()?),
                Some(("asks", asks)) => kept.asks = Some(asks.parse()?),
                _ => return Err(format!("{part:?} is none of nodes=N, faults=LIST and asks=LIST")),
            }
        }
        Ok(kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_back() {
        for text in ["", "nodes=3", "faults=0-3,7;asks=12", "nodes=2;faults=;asks=0-1"] {
            let kept: Kept = text.parse().expect("it is well written");
            assert_eq!(kept.to_string(), text);
        }
        for text in ["nodes=0", "nodes=x", "asks=3-", "faults", "more=1", "asks=1-2-3", "asks=9-3", "asks=1,,2"] {
            assert!(text.parse::<Kept>().is_err(), "{text}");
        }
        assert_eq!(Numbers::of([0, 1, 2, 3, 7]).to_string(), "0-3,7");
    }

    #[test]
    fn a_part_that_is_none_is_told() {
        let whole = Schedule::draw(7, &Wanted { nodes: Some(3), ..Wanted::default() });
        let (faults, asks) = (whole.faults.len(), whole.asks.len());
        for text in ["", "nodes=3", "nodes=1;faults=;asks=", &format!("faults=0-{};asks={}", faults - 1, asks - 1)] {
            assert_eq!(whole.has(&text.parse().expect("it is well written")), Ok(()), "{text}");
        }
        for text in ["nodes=4", &format!("faults={faults}"), &format!("asks=1-3,{asks}")] {
            assert!(whole.has(&text.parse().expect("it is well written")).is_err(), "{text}");
        }
    }

    #[test]
    fn a_part_is_what_it_was_in_the_whole() {
        let whole = Schedule::draw(7, &Wanted { nodes: Some(5), ..Wanted::default() });
        let part = whole.keep(&Kept { nodes: Some(3), faults: Some(Numbers::of([1, 2])), asks: None });
        assert!(part.faults.iter().all(|fault| whole.faults.contains(fault)));
        assert_eq!(part.asks.len(), whole.asks.len());
        assert!(part.asks.iter().all(|ask| ask.what.node < 3));
    }
}
