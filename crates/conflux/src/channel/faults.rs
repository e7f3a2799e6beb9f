//! What goes wrong between nodes: partitions, cuts, loss, duplication, delay.
//!
//! [`Weather`] is the part of the memory channel that decides. It is told the time and draws its chance from a seed, so
//! the same sends under the same seed meet the same fate.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;

use super::Name;

/// What happens by chance to each message between two different nodes.
///
/// The order on a link is kept whatever happens: a duplicate comes right behind its original, and a message with a short
/// delay waits for the one before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// The probability, 0 to 1, that a message is lost.
    pub loss: f64,
    /// The probability, 0 to 1, that a message which is not lost comes twice.
    pub duplicate: f64,
    /// The probability, 0 to 1, that one bit of a message comes as another: no channel may do that, and whoever takes
    /// messages in must see it.
    pub corrupt: f64,
    /// How long a message takes, drawn evenly. An empty range means always its start.
    pub delay: Range<Duration>,
}

impl Default for Faults {
    /// Nothing goes wrong.
    fn default() -> Self {
        Faults { loss: 0.0, duplicate: 0.0, corrupt: 0.0, delay: Duration::ZERO..Duration::ZERO }
    }
}

impl Faults {
    pub(super) fn assert_valid(&self) {
        for (name, probability) in [("loss", self.loss), ("duplicate", self.duplicate), ("corrupt", self.corrupt)] {
            assert!((0.0..=1.0).contains(&probability), "Faults::{name} must be 0 to 1, but {probability} came");
        }
    }

    pub(super) fn delays(&self) -> bool {
        !self.delay.start.is_zero() || self.delay.start < self.delay.end
    }

    fn delay(&self, chance: &mut Chance) -> Duration {
        let spread = self.delay.end.saturating_sub(self.delay.start);
        if spread.is_zero() {
            return self.delay.start;
        }
        // Microseconds are finer than any timer here, and fit 64 bits for longer than any test.
        let micros = u64::try_from(spread.as_micros()).unwrap_or(u64::MAX).max(1);
        self.delay.start + Duration::from_micros(chance.below(micros))
    }
}

/// How many messages met which fault so far: a fault that was set has happened once its number grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FaultCounts {
    /// Lost to a partition or a cut.
    pub blocked: u64,
    /// Lost by chance.
    pub lost: u64,
    /// Delivered twice.
    pub duplicated: u64,
    /// Delivered with a bit flipped.
    pub corrupted: u64,
    /// Put on their way to arrive later.
    pub delayed: u64,
    /// Of those, on a link that was made slow.
    pub slowed: u64,
    /// Lost under way by a reset.
    pub reset: u64,
}

impl FaultCounts {
    fn and(self, other: &FaultCounts) -> FaultCounts {
        FaultCounts {
            blocked: self.blocked + other.blocked,
            lost: self.lost + other.lost,
            duplicated: self.duplicated + other.duplicated,
            corrupted: self.corrupted + other.corrupted,
            delayed: self.delayed + other.delayed,
            slowed: self.slowed + other.slowed,
            reset: self.reset + other.reset,
        }
    }
}

/// The state of all links, and the messages that are on their way.
pub(super) struct Weather {
    seed: u64,
    faults: Faults,
    /// By (from, to).
    counts: BTreeMap<(Name, Name), FaultCounts>,
    /// The groups each name was listed in; a name that is not here is in the group of the unlisted.
    groups: BTreeMap<Name, BTreeSet<usize>>,
    /// One-way cuts, as (from, to).
    cuts: BTreeSet<(Name, Name)>,
    /// What messages take longer by, by (from, to).
    slow: BTreeMap<(Name, Name), Duration>,
    /// By (from, to), from the first message under faults on.
    links: BTreeMap<(Name, Name), Link>,
    /// By due time, then in the order of sending.
    flights: BTreeMap<(Instant, u64), Flight>,
    flights_begun: u64,
}

struct Link {
    chance: Chance,
    /// When the last message put on its way is due. A later one is never due before it.
    last_due: Option<Instant>,
    /// How many of this link's messages are in `Weather::flights`.
    flying: usize,
}

/// A message on its way.
pub(super) struct Flight {
    pub(super) from: Name,
    pub(super) to: Name,
    /// Which attachment of `to` it was sent to; a later one under the same name does not get it.
    pub(super) attachment: u64,
    pub(super) frame: Bytes,
}

/// What becomes of a message as it is sent: neither is where it is lost.
pub(super) struct Sent {
    pub(super) frame: Bytes,
    /// How many copies are to be delivered now.
    pub(super) at_once: usize,
    /// How many come later.
    pub(super) under_way: usize,
}

fn landed(links: &mut BTreeMap<(Name, Name), Link>, flight: &Flight) {
    let link = links.get_mut(&(flight.from.clone(), flight.to.clone()));
    link.expect("a flight's link was made when it was sent").flying -= 1;
}

impl Weather {
    pub(super) fn new(seed: u64) -> Self {
        Weather {
            seed,
            faults: Faults::default(),
            counts: BTreeMap::new(),
            groups: BTreeMap::new(),
            cuts: BTreeSet::new(),
            slow: BTreeMap::new(),
            links: BTreeMap::new(),
            flights: BTreeMap::new(),
            flights_begun: 0,
        }
    }

    /// Whether every message can be delivered at once, with no question asked.
    pub(super) fn is_calm(&self) -> bool {
        self.faults == Faults::default()
            && self.groups.is_empty()
            && self.cuts.is_empty()
            && self.slow.is_empty()
            && self.flights.is_empty()
    }

    pub(super) fn set_faults(&mut self, faults: Faults) {
        self.faults = faults;
    }

    pub(super) fn counts(&self) -> FaultCounts {
        self.counts.values().fold(FaultCounts::default(), |all, link| all.and(link))
    }

    pub(super) fn counts_between(&self, from: &Name, to: &Name) -> FaultCounts {
        self.counts.get(&(from.clone(), to.clone())).copied().unwrap_or_default()
    }

    pub(super) fn partition<N: AsRef<str>>(&mut self, groups: &[&[N]]) {
        self.groups.clear();
        for (number, group) in groups.iter().enumerate() {
            for name in *group {
                self.groups.entry(name.as_ref().into()).or_default().insert(number);
            }
        }
    }

    pub(super) fn cut(&mut self, from: Name, to: Name) {
        self.cuts.insert((from, to));
    }

    pub(super) fn slow(&mut self, from: Name, to: Name, by: Duration) {
        self.slow.insert((from, to), by);
    }

    /// Loses what is under way between two nodes.
    pub(super) fn reset(&mut self, one: &Name, other: &Name) {
        let between = |flight: &Flight| {
            (&flight.from == one && &flight.to == other) || (&flight.from == other && &flight.to == one)
        };
        let (links, counts) = (&mut self.links, &mut self.counts);
        self.flights.retain(|_, flight| {
            let lost = between(flight);
            if lost {
                landed(links, flight);
                counts.entry((flight.from.clone(), flight.to.clone())).or_default().reset += 1;
            }
            !lost
        });
    }

    pub(super) fn heal(&mut self) {
        self.groups.clear();
        self.cuts.clear();
        self.slow.clear();
    }

    /// Whether a partition or a cut lies between two nodes. A node always hears itself.
    pub(super) fn blocks(&self, from: &Name, to: &Name) -> bool {
        if from == to {
            return false;
        }
        let parted = match (self.groups.get(from), self.groups.get(to)) {
            (None, None) => false,
            (Some(from), Some(to)) => from.is_disjoint(to),
            _ => true,
        };
        parted || self.cuts.contains(&(from.clone(), to.clone()))
    }

    /// Decide a message's fate at its sending.
    pub(super) fn send(&mut self, mut flight: Flight, now: Instant) -> Sent {
        if flight.from == flight.to {
            return Sent { frame: flight.frame, at_once: 1, under_way: 0 };
        }
        let between = (flight.from.clone(), flight.to.clone());
        let slow = self.slow.get(&between).copied().unwrap_or_default();
        let blocked = self.blocks(&flight.from, &flight.to);
        let counts = self.counts.entry(between.clone()).or_default();
        if blocked {
            counts.blocked += 1;
            return Sent { frame: flight.frame, at_once: 0, under_way: 0 };
        }
        let seed = self.seed;
        let link = self.links.entry(between).or_insert_with(|| Link {
            chance: Chance::for_link(seed, &flight.from, &flight.to),
            last_due: None,
            flying: 0,
        });
        if link.chance.happens(self.faults.loss) {
            counts.lost += 1;
            return Sent { frame: flight.frame, at_once: 0, under_way: 0 };
        }
        if link.chance.happens(self.faults.corrupt) && !flight.frame.is_empty() {
            let mut bytes = flight.frame.to_vec();
            let bit = link.chance.below(8 * bytes.len() as u64);
            bytes[(bit / 8) as usize] ^= 1 << (bit % 8);
            flight.frame = bytes.into();
            counts.corrupted += 1;
        }
        let copies = if link.chance.happens(self.faults.duplicate) { 2 } else { 1 };
        counts.duplicated += copies - 1;
        let (mut at_once, mut under_way) = (0, 0);
        for _ in 0..copies {
            let due = now + slow + self.faults.delay(&mut link.chance);
            if due == now && link.flying == 0 {
                at_once += 1;
                continue;
            }
            counts.delayed += u64::from(due > now);
            counts.slowed += u64::from(!slow.is_zero());
            let due = link.last_due.map_or(due, |last| last.max(due));
            link.last_due = Some(due);
            link.flying += 1;
            let copy = Flight {
                from: flight.from.clone(),
                to: flight.to.clone(),
                attachment: flight.attachment,
                frame: flight.frame.clone(),
            };
            self.flights.insert((due, self.flights_begun), copy);
            self.flights_begun += 1;
            under_way += 1;
        }
        Sent { frame: flight.frame, at_once, under_way }
    }

    /// Take the next message that is due, unless a partition or a cut has come between since.
    pub(super) fn land(&mut self, now: Instant) -> Option<Flight> {
        loop {
            let next = self.flights.first_entry().filter(|next| next.key().0 <= now)?;
            let flight = next.remove();
            landed(&mut self.links, &flight);
            if !self.blocks(&flight.from, &flight.to) {
                return Some(flight);
            }
            self.counts.entry((flight.from, flight.to)).or_default().blocked += 1;
        }
    }

    /// When the next message is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.flights.first_key_value().map(|((due, _), _)| *due)
    }
}

/// SplitMix64: small, seeded, the same everywhere. Each link has its own, so that what befalls one link does not depend
/// on how the traffic of others interleaves with it.
pub(super) struct Chance(u64);

impl Chance {
    fn for_link(seed: u64, from: &str, to: &str) -> Self {
        // FNV-1a over "from 0xff to": the byte is not in UTF-8, so no two pairs read alike.
        let bytes = from.bytes().chain([0xff]).chain(to.bytes());
        let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        let mut mixed = Chance(seed);
        Chance(mixed.next() ^ hash)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number under `bound`, evenly enough for faults.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    fn happens(&mut self, probability: f64) -> bool {
        // 53 bits, as a double has; 0 never happens and 1 always does.
        probability > 0.0 && ((self.next() >> 11) as f64) / ((1u64 << 53) as f64) < probability
    }
}
