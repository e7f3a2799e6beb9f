//! What can go wrong, by name.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use conflux::Random;
use conflux::disk::Keep;

use crate::schedule::{chance, pick, within};

macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident $name:literal,)+) => {
        /// A kind of fault.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum FaultKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl FaultKind {
            /// All of them.
            pub const ALL: &[FaultKind] = &[$(FaultKind::$kind,)+];

            /// Its name.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(FaultKind::$kind => $name,)+
                }
            }
        }
    };
}

kinds! {
    /// The nodes are parted in two groups.
    Partition "partition",
    /// The leader hears nobody.
    LeaderAlone "leader-alone",
    /// One node is not heard by another.
    OneWay "one-way",
    /// Two groups that only one node hears both of.
    Bridge "bridge",
    /// Messages are lost, up to 30 of 100.
    Loss "loss",
    /// Messages come twice, up to 50 of 100.
    Duplication "duplication",
    /// Messages take time, each link another, so that they overtake those of other links.
    Delay "delay",
    /// One link is slow.
    SlowLink "slow-link",
    /// What is under way between two nodes is lost.
    Reset "reset",
    /// Bits of messages are flipped.
    Corruption "corruption",
    /// A call of up to two megabytes.
    HugeCall "huge-call",
    /// A node is killed where it stands. What it wrote stays.
    Kill "kill",
    /// A node loses its power: what was not synced is gone, or in part.
    PowerLoss "power-loss",
    /// A node dies at one of the next awaits of its tasks.
    KillAtAwait "kill-at-await",
    /// A node loses its power in the middle of one of its next operations on the disk: between a write and its sync, a sync
    /// and the answer, the pieces of a snapshot.
    KillAtDisk "kill-at-disk",
    /// All nodes lose their power at once.
    PowerLossOfAll "power-loss-of-all",
    /// One node after the other is closed and opened.
    RollingRestart "rolling-restart",
    /// A node is closed.
    Close "close",
    /// A node stands still, and goes on.
    Pause "pause",
    /// One of the next operations of a disk fails.
    DiskError "disk-error",
    /// A disk is full.
    DiskFull "disk-full",
    /// A disk is slow.
    SlowDisk "slow-disk",
    /// A bit of a file flips while its node is down.
    BitFlip "bit-flip",
    /// A node's wall clock is set.
    ClockJump "clock-jump",
    /// A node loses its vote, and gets it again.
    Seat "seat",
    /// A node is removed for good, and another one takes its name.
    Replace "replace",
    /// A node loses its disk.
    Wipe "wipe",
    /// A node's lost disk comes back, after another incarnation has its seat.
    OldDisk "old-disk",
    /// The leader is killed in the middle of a change of members.
    ChangeInterrupted "change-interrupted",
    /// Leadership is handed over.
    Transfer "transfer",
    /// A node of another version is opened in the place of one.
    OtherVersion "other-version",
    /// One node more comes, votes for a while, and is removed.
    Join "join",
}

impl FaultKind {
    /// With how many nodes it can happen. A node that [joins](FaultKind::Join) counts, too, but where a node
    /// [loses its memory](Self::takes_memory).
    #[must_use]
    pub fn nodes_min(self) -> usize {
        match self {
            FaultKind::Partition
            | FaultKind::LeaderAlone
            | FaultKind::OneWay
            | FaultKind::Loss
            | FaultKind::Duplication
            | FaultKind::Delay
            | FaultKind::SlowLink
            | FaultKind::Reset
            | FaultKind::Corruption
            | FaultKind::Seat
            | FaultKind::ChangeInterrupted
            | FaultKind::Join
            | FaultKind::Transfer => 2,
            // Two that do not hear each other; a disk is lost only where the others are most.
            FaultKind::Bridge | FaultKind::BitFlip | FaultKind::Replace | FaultKind::Wipe | FaultKind::OldDisk => 3,
            _ => 1,
        }
    }

    /// Whether a node's disk is lost, or of no use any more: most must keep theirs.
    #[must_use]
    pub fn takes_memory(self) -> bool {
        matches!(self, FaultKind::BitFlip | FaultKind::Replace | FaultKind::Wipe | FaultKind::OldDisk)
    }
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for FaultKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        FaultKind::ALL.iter().copied().find(|kind| kind.name() == text).ok_or_else(|| {
            let names: Vec<_> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
            format!("there is no fault {text:?}; there are {}", names.join(", "))
        })
    }
}

/// One thing that goes wrong, with all that was drawn for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// What it is.
    pub kind: FaultKind,
    /// The node that it befalls, or the first of two; where it is about the leader, who leads then.
    pub node: usize,
    /// The other one, where there are two.
    pub other: usize,
    /// For how long.
    pub lasts: Duration,
    /// How strong it is, from 0 to 1.
    pub strength: f64,
    /// The one after so many: polls, or operations of a disk.
    pub nth: u64,
    /// What is left of what was not synced.
    pub keep: Keep,
    /// For what else is drawn as it happens.
    pub seed: u64,
}

impl Fault {
    pub(crate) fn draw(kind: FaultKind, nodes: usize, random: &mut Random) -> Fault {
        let node = random.below(nodes as u64) as usize;
        let other = (node + 1 + random.below(nodes.max(2) as u64 - 1) as usize) % nodes.max(2);
        let lasts = Duration::from_millis(pick(random, &[30, 400, 1200, 3000]) + within(random, &(0..600)));
        let strength = (1 + random.below(100)) as f64 / 100.0;
        let nth = if chance(random, 60) { random.below(12) } else { random.below(300) };
        let keep = match kind {
            // Where all stays, it is a kill.
            FaultKind::PowerLoss | FaultKind::PowerLossOfAll => pick(random, &[Keep::Nothing, Keep::Some]),
            _ => pick(random, &[Keep::Everything, Keep::Nothing, Keep::Some, Keep::Some]),
        };
        Fault { kind, node, other, lasts, strength, nth, keep, seed: random.next_u64() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { kind, node, other, lasts, strength, nth, keep, .. } = self;
        let (node, other) = (crate::schedule::name(*node), crate::schedule::name(*other));
        let percent = (100.0 * strength).round();
        match kind {
            FaultKind::Partition | FaultKind::Bridge | FaultKind::LeaderAlone => write!(f, "{kind} for {lasts:?}"),
            FaultKind::OneWay => write!(f, "{kind}: {node} is not heard by {other}, for {lasts:?}"),
            FaultKind::Loss | FaultKind::Duplication | FaultKind::Delay | FaultKind::Corruption => {
                write!(f, "{kind} of strength {percent} % for {lasts:?}")
            }
            FaultKind::SlowLink | FaultKind::Reset => write!(f, "{kind}: {node} and {other}, for {lasts:?}"),
            FaultKind::KillAtAwait => write!(f, "{kind}: {node} after {nth} polls, back after {lasts:?}"),
            FaultKind::KillAtDisk => {
                write!(f, "{kind}: {node} in operation {nth}, keeping {keep:?}, back after {lasts:?}")
            }
            FaultKind::PowerLoss => write!(f, "{kind}: {node}, keeping {keep:?}, back after {lasts:?}"),
            FaultKind::PowerLossOfAll => write!(f, "{kind}, keeping {keep:?}, back after {lasts:?}"),
            FaultKind::DiskError => write!(f, "{kind}: {node} in operation {nth}"),
            FaultKind::RollingRestart | FaultKind::ChangeInterrupted | FaultKind::Transfer => write!(f, "{kind}"),
            FaultKind::Join => write!(f, "{kind} for {lasts:?}"),
            FaultKind::ClockJump | FaultKind::HugeCall => write!(f, "{kind}: {node}"),
            _ => write!(f, "{kind}: {node}, {lasts:?}"),
        }
    }
}
