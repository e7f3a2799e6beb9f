//! What is broken, when and for how long: all of it from the seed. Who leads when it comes to that is not.

use std::fmt;

use super::options::{Medium, Options};
use super::random::Random;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Kill,
    End,
    Pause,
    Partition,
    Slow,
    Wipe,
    Members,
    Transfer,
    Server,
}

const KINDS: [Kind; 9] = [
    Kind::Kill,
    Kind::End,
    Kind::Pause,
    Kind::Partition,
    Kind::Slow,
    Kind::Wipe,
    Kind::Members,
    Kind::Transfer,
    Kind::Server,
];

impl Kind {
    /// All that there are with a channel.
    pub(super) fn of(medium: Medium) -> Vec<Kind> {
        KINDS.into_iter().filter(|kind| *kind != Kind::Server || medium != Medium::Tcp).collect()
    }

    pub(super) fn parse(word: &str, medium: Medium) -> Result<Kind, String> {
        let all = Kind::of(medium);
        all.iter().find(|kind| kind.word() == word.trim()).copied().ok_or_else(|| {
            let words: Vec<&str> = all.iter().map(|kind| kind.word()).collect();
            format!("with --channel {}, --faults are {}, not {word:?}", medium.word(), words.join(", "))
        })
    }

    pub(super) fn word(self) -> &'static str {
        match self {
            Kind::Kill => "kill",
            Kind::End => "end",
            Kind::Pause => "pause",
            Kind::Partition => "partition",
            Kind::Slow => "slow",
            Kind::Wipe => "wipe",
            Kind::Members => "members",
            Kind::Transfer => "transfer",
            Kind::Server => "server",
        }
    }
}

/// Whom it hits, of those who are members then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    /// Whoever leads.
    Leader,
    /// So many, beginning with the one that the lot falls on.
    Lot {
        count: usize,
        lot: u64,
    },
    All,
}

/// What a link does with what it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Both,
    /// What they send gets lost, what they are sent arrives.
    Out,
    /// The other way round.
    In,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    Kill {
        who: Who,
        hold_ms: u64,
    },
    End {
        who: Who,
        hold_ms: u64,
    },
    Pause {
        who: Who,
        hold_ms: u64,
    },
    /// `stall`: connections stay and pass nothing on; else they break, and new ones do, too.
    Partition {
        who: Who,
        way: Way,
        stall: bool,
        hold_ms: u64,
    },
    Slow {
        who: Who,
        delay_ms: u64,
        hold_ms: u64,
    },
    /// `rough`: while the node joins, whoever leads is killed, and starts at once.
    Wipe {
        who: Who,
        rough: bool,
    },
    /// One is added, and then these are removed.
    Members {
        who: Who,
        rough: bool,
    },
    Transfer,
    Server {
        hold_ms: u64,
    },
}

impl Fault {
    pub(super) fn kind(&self) -> Kind {
        match self {
            Fault::Kill { .. } => Kind::Kill,
            Fault::End { .. } => Kind::End,
            Fault::Pause { .. } => Kind::Pause,
            Fault::Partition { .. } => Kind::Partition,
            Fault::Slow { .. } => Kind::Slow,
            Fault::Wipe { .. } => Kind::Wipe,
            Fault::Members { .. } => Kind::Members,
            Fault::Transfer => Kind::Transfer,
            Fault::Server { .. } => Kind::Server,
        }
    }

    /// How long it lasts, where that is planned.
    pub(super) fn hold_ms(&self) -> Option<u64> {
        match self {
            Fault::Kill { hold_ms, .. }
            | Fault::End { hold_ms, .. }
            | Fault::Pause { hold_ms, .. }
            | Fault::Partition { hold_ms, .. }
            | Fault::Slow { hold_ms, .. }
            | Fault::Server { hold_ms } => Some(*hold_ms),
            Fault::Wipe { .. } | Fault::Members { .. } | Fault::Transfer => None,
        }
    }
}

/// Faults that begin one after another, the second while the first lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    /// Before it begins.
    pub(super) calm_ms: u64,
    pub(super) fault: Fault,
    /// Begins in the middle of the first.
    pub(super) meanwhile: Option<Fault>,
}

/// The steps of a seed, without end: as many are taken as there is time for.
pub(super) struct Plan {
    random: Random,
    nodes: usize,
    faults: Vec<Kind>,
    /// What comes before any kind comes again.
    bag: Vec<Kind>,
}

impl Plan {
    pub(super) fn new(options: &Options) -> Plan {
        let faults = options.faults.clone();
        Plan { random: Random::new(options.seed, 0), nodes: options.nodes, faults, bag: Vec::new() }
    }

    fn who(&mut self) -> Who {
        let lot = self.random.below(1 << 16);
        let nodes = self.nodes as u64;
        match self.random.below(10) {
            0..4 => Who::Leader,
            4..6 => Who::All,
            _ => Who::Lot { count: 1 + self.random.below(nodes - 1) as usize, lot },
        }
    }

    /// Some, and not all of them.
    fn side(&mut self) -> Who {
        loop {
            let who = self.who();
            if who != Who::All {
                return who;
            }
        }
    }

    fn one(&mut self) -> Who {
        match self.side() {
            Who::Lot { lot, .. } => Who::Lot { count: 1, lot },
            who => who,
        }
    }

    fn fault(&mut self, kind: Kind) -> Fault {
        match kind {
            Kind::Kill => {
                // Half of them come back at once.
                let hold_ms = if self.random.chance(50) { 0 } else { self.random.within(100..1_500) };
                Fault::Kill { who: self.who(), hold_ms }
            }
            Kind::End => Fault::End { who: self.who(), hold_ms: self.random.below(1_000) },
            Kind::Pause => Fault::Pause { who: self.who(), hold_ms: self.random.within(200..3_000) },
            Kind::Partition => {
                let way = *self.random.pick(&[Way::Both, Way::Both, Way::Out, Way::In]);
                let stall = self.random.chance(50);
                Fault::Partition { who: self.side(), way, stall, hold_ms: self.random.within(500..4_000) }
            }
            Kind::Slow => {
                let delay_ms = self.random.within(5..100);
                Fault::Slow { who: self.side(), delay_ms, hold_ms: self.random.within(1_000..3_000) }
            }
            Kind::Wipe => Fault::Wipe { who: self.one(), rough: self.random.chance(50) },
            Kind::Members => Fault::Members { who: self.one(), rough: self.random.chance(50) },
            Kind::Transfer => Fault::Transfer,
            Kind::Server => Fault::Server { hold_ms: self.random.below(2_000) },
        }
    }
}

impl Iterator for Plan {
    type Item = Step;

    fn next(&mut self) -> Option<Step> {
        if self.bag.is_empty() {
            self.bag = self.faults.clone();
            self.random.shuffle(&mut self.bag);
        }
        let kind = self.bag.pop()?;
        let calm_ms = self.random.within(200..1_200);
        let fault = self.fault(kind);
        let lasts = matches!(fault, Fault::Pause { .. } | Fault::Partition { .. } | Fault::Slow { .. });
        let mixes = lasts && self.faults.contains(&Kind::Kill) && self.random.chance(40);
        let meanwhile = mixes.then(|| Fault::Kill { who: self.one(), hold_ms: self.random.below(800) });
        Some(Step { calm_ms, fault, meanwhile })
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Leader => f.write_str("the leader"),
            Who::All => f.write_str("all"),
            Who::Lot { count, lot } => write!(f, "{count} by lot {lot}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind().word())?;
        match self {
            Fault::Kill { who, .. } | Fault::End { who, .. } | Fault::Pause { who, .. } => write!(f, ": {who}")?,
            Fault::Partition { who, way, stall, .. } => {
                let way = match way {
                    Way::Both => "",
                    Way::Out => ", only what they send",
                    Way::In => ", only what they are sent",
                };
                write!(f, ": {who} from the rest, {}{way}", if *stall { "stalled" } else { "cut" })?;
            }
            Fault::Slow { who, delay_ms, .. } => write!(f, ": {who}, by {delay_ms} ms")?,
            Fault::Wipe { who, rough } | Fault::Members { who, rough } => {
                write!(f, ": {who}{}", if *rough { ", and the leader is killed meanwhile" } else { "" })?;
            }
            Fault::Transfer | Fault::Server { .. } => {}
        }
        self.hold_ms().map_or(Ok(()), |hold_ms| write!(f, ", for {hold_ms} ms"))
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.fault)?;
        self.meanwhile.as_ref().map_or(Ok(()), |meanwhile| write!(f, "; meanwhile {meanwhile}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_seed_is_one_plan_and_another_seed_is_another() {
        let plan = |seed| Plan::new(&Options::new(Duration::from_secs(1), seed)).take(50).collect::<Vec<_>>();
        assert_eq!(plan(7), plan(7));
        assert_ne!(plan(7), plan(8));
    }

    #[test]
    fn every_kind_comes_before_any_comes_again() {
        for seed in 0..20 {
            let options = Options::new(Duration::from_secs(1), seed);
            let kinds: BTreeSet<Kind> =
                Plan::new(&options).take(options.faults.len()).map(|step| step.fault.kind()).collect();
            assert_eq!(kinds.into_iter().collect::<Vec<_>>(), options.faults);
        }
    }

    #[test]
    fn what_would_end_the_cluster_is_never_planned() {
        for step in Plan::new(&Options::new(Duration::from_secs(1), 3)).take(2_000) {
            match step.fault {
                Fault::Wipe { who, .. } | Fault::Members { who, .. } => {
                    assert!(matches!(who, Who::Leader | Who::Lot { count: 1, .. }), "{step}");
                }
                Fault::Partition { who, .. } => assert_ne!(who, Who::All, "nothing would be parted"),
                _ => {}
            }
        }
    }
}
