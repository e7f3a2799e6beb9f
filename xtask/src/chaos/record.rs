//! What was seen from outside, for the checks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde_json::Value;

/// Whose call it is, and the how-many-th of theirs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Tag {
    pub(super) caller: usize,
    pub(super) number: u64,
}

/// What one action left in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) tag: Tag,
    /// The place before it, as its method saw it.
    pub(super) seen: u64,
}

/// A method of `ledger.js`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Append,
    Judge,
    Drop { up_to: u64 },
    Crash,
}

/// What a method comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judged {
    Action,
    Nothing,
    Rejected,
    Failed,
}

impl Method {
    /// What `ledger.js` makes of it after so many actions.
    pub(super) fn judge(self, tag: Tag, place: u64) -> Judged {
        match self {
            Method::Append => Judged::Action,
            Method::Judge => match (place + tag.number) % 3 {
                0 => Judged::Rejected,
                1 => Judged::Nothing,
                _ => Judged::Action,
            },
            Method::Drop { up_to } if up_to > place => Judged::Rejected,
            Method::Drop { .. } => Judged::Action,
            Method::Crash => Judged::Failed,
        }
    }
}

/// One perform, however often it was sent.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) tag: Tag,
    pub(super) method: Method,
    /// Its own, or that of an earlier call of which it is no repetition.
    pub(super) id: Option<String>,
    /// The id that a node gave it, where it has none of its own and was asked about again.
    pub(super) given: Option<String>,
    /// The call that had the id first.
    pub(super) misuses: Option<Tag>,
    /// When it began, counted from the beginning of the run.
    pub(super) begun: Duration,
    /// The highest place that anybody had been told when it began.
    pub(super) told_before: u64,
    /// Whether it was asked about once nothing was broken any more, so that somebody must know.
    pub(super) asked_in_the_end: bool,
    /// All that was said of it, in order.
    pub(super) answers: Vec<Answer>,
}

impl Call {
    /// What it came to, if that was ever told.
    pub(super) fn verdict(&self) -> Option<&Answer> {
        self.answers.iter().find(|answer| answer.claim.is_verdict())
    }
}

/// What one node, or the way to it, said of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// Who was asked.
    pub(super) node: String,
    pub(super) claim: Claim,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Claim {
    Done {
        index: u64,
        entry: Option<Entry>,
    },
    Rejected {
        index: u64,
        seen: Option<u64>,
    },
    Failed,
    Conflict,
    NeverProposed,
    Unknown,
    /// Committed, and not visible where it was asked.
    NotVisible {
        index: u64,
    },
    Undecided,
    Forgotten,
    /// The node closes, or has too much to do.
    Busy,
    /// It did not leave.
    Unreachable,
    /// It may have arrived, and nothing came back.
    Lost,
    /// What no node may say.
    Odd(String),
}

impl Claim {
    /// Whether it says what the call came to, for good.
    pub(super) fn is_verdict(&self) -> bool {
        matches!(self, Claim::Done { .. } | Claim::Rejected { .. } | Claim::Failed | Claim::Conflict)
    }

    /// The place that it tells.
    pub(super) fn index(&self) -> Option<u64> {
        match self {
            Claim::Done { index, .. } | Claim::Rejected { index, .. } | Claim::NotVisible { index } => Some(*index),
            _ => None,
        }
    }

    /// The word it is counted by.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Claim::Done { entry: Some(_), .. } => "done",
            Claim::Done { entry: None, .. } => "nothing to do",
            Claim::Rejected { .. } => "rejected",
            Claim::Failed => "failed",
            Claim::Conflict => "conflict",
            Claim::NeverProposed => "never proposed",
            Claim::Unknown => "unknown",
            Claim::NotVisible { .. } => "not visible",
            Claim::Undecided => "undecided",
            Claim::Forgotten => "forgotten",
            Claim::Busy => "busy",
            Claim::Unreachable => "unreachable",
            Claim::Lost => "lost",
            Claim::Odd(_) => "odd",
        }
    }
}

/// A state, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sum {
    pub(super) dropped: u64,
    pub(super) length: u64,
    pub(super) hash: u64,
    /// The last entry, as it is written.
    pub(super) last: String,
}

/// A state, in full.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) index: u64,
    pub(super) dropped: u64,
    pub(super) entries: Vec<Entry>,
}

impl State {
    /// Reads the body of `GET /state`, or the data of a reset.
    pub(super) fn parse(body: &Value) -> Result<State, String> {
        let bad = || {
            let text = body.to_string();
            format!("no state of ledger.js: {}", text.chars().take(200).collect::<String>())
        };
        let state = &body["state"];
        let number = |value: &Value| value.as_u64().ok_or_else(bad);
        let entries = state["entries"].as_array().ok_or_else(bad)?;
        let entry = |value: &Value| value.as_str().and_then(Entry::parse).ok_or_else(bad);
        Ok(State {
            index: number(&body["index"])?,
            dropped: number(&state["dropped"])?,
            entries: entries.iter().map(entry).collect::<Result<_, _>>()?,
        })
    }

    pub(super) fn sum(&self) -> Sum {
        Sum::of(self.dropped, &self.entries)
    }

    /// The same without what comes after a place, where that is not dropped.
    pub(super) fn sum_to(&self, index: u64) -> Option<Sum> {
        let length = usize::try_from(index.checked_sub(self.dropped)?).ok()?;
        Some(Sum::of(self.dropped, self.entries.get(..length)?))
    }
}

impl Sum {
    pub(super) fn of(dropped: u64, entries: &[Entry]) -> Sum {
        // FNV-1a, over what is written.
        let mut hash = 0xcbf2_9ce4_8422_2325_u64;
        for entry in entries {
            for number in [entry.tag.caller as u64, entry.tag.number, entry.seen] {
                for byte in number.to_le_bytes() {
                    hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
                }
            }
        }
        let last = entries.last().map(ToString::to_string).unwrap_or_default();
        Sum { dropped, length: entries.len() as u64, hash, last }
    }
}

/// A process of a node: the how-many-th of its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Life {
    pub(super) node: String,
    pub(super) number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadKind {
    Committed,
    Linearizable,
    Provisional,
}

/// A state that was read.
#[derive(Clone, Debug)]
pub(super) struct Read {
    /// Which process answered: `None` where it could be one or the next.
    pub(super) life: Option<Life>,
    pub(super) node: String,
    pub(super) kind: ReadKind,
    pub(super) index: u64,
    pub(super) sum: Sum,
    /// Of a provisional state: the part of it that was committed, up to `told_by_node`, unless that was dropped from it.
    pub(super) committed: Option<Sum>,
    /// The highest place that this process had told when the read began.
    pub(super) told_by_node: u64,
    /// The highest place that anybody had been told when it began.
    pub(super) told_by_any: u64,
}

/// What a subscriber heard.
#[derive(Clone, Debug)]
pub(super) enum Heard {
    /// It asked a node for what comes after a place. The first time, it had heard nothing before.
    Began {
        node: String,
        after: u64,
    },
    Change {
        index: u64,
        entry: Entry,
    },
    Reset {
        index: u64,
        sum: Sum,
    },
    /// It went away, before the end.
    Left,
    /// What no node may send.
    Odd(String),
}

/// A process that ended by itself.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) life: Life,
    pub(super) status: String,
    pub(super) last_line: String,
}

/// Everything.
#[derive(Clone, Debug, Default)]
pub(super) struct Record {
    pub(super) calls: Vec<Call>,
    pub(super) reads: Vec<Read>,
    pub(super) listeners: Vec<Vec<Heard>>,
    pub(super) endings: Vec<Ending>,
    /// Who led, by term, as nodes told.
    pub(super) leaders: BTreeSet<(u64, String)>,
    /// The nodes that hold a snapshot in the end.
    pub(super) snapshots: Vec<&'static str>,
    /// Nodes that said that their state had parted from the others', and how often it had.
    pub(super) parted: BTreeMap<String, u64>,
    /// Lines of panics in what the nodes wrote.
    pub(super) panics: Vec<String>,
    /// Answers that no node may give.
    pub(super) odd: Vec<String>,
    pub(super) log: Log,
    /// What each node held in the end.
    pub(super) finals: Vec<(String, State)>,
    /// Where the digests were asked for, and what each node said.
    pub(super) digests: (u64, Vec<(String, String)>),
}

/// The log, as it was read bit by bit before it was dropped from the state.
#[derive(Clone, Debug, Default)]
pub(super) struct Log {
    entries: BTreeMap<u64, Entry>,
    /// Places that were read twice, with different entries.
    pub(super) conflicts: Vec<(u64, Entry, Entry)>,
}

impl Log {
    /// Takes what a committed state holds.
    pub(super) fn take(&mut self, state: &State) {
        for (nth, entry) in state.entries.iter().enumerate() {
            let place = state.dropped + nth as u64 + 1;
            let held = *self.entries.entry(place).or_insert(*entry);
            if held != *entry {
                self.conflicts.push((place, held, *entry));
            }
        }
    }

    /// Up to which place it has no hole.
    pub(super) fn whole_to(&self) -> u64 {
        let last = self.entries.last_key_value().map_or(0, |(place, _)| *place);
        if self.entries.len() as u64 == last {
            return last;
        }
        (1..=last).find(|place| !self.entries.contains_key(place)).map_or(last, |hole| hole - 1)
    }

    /// The entries from place 1 on, as far as there is no hole.
    pub(super) fn entries(&self) -> Vec<Entry> {
        (1..=self.whole_to()).map(|place| self.entries[&place]).collect()
    }
}

impl Tag {
    fn parse(text: &str) -> Option<Tag> {
        let (caller, number) = text.split_once('.')?;
        Some(Tag { caller: caller.parse().ok()?, number: number.parse().ok()? })
    }
}

impl Entry {
    /// `TAG@SEEN`, as `ledger.js` writes it.
    pub(super) fn parse(text: &str) -> Option<Entry> {
        let (tag, seen) = text.split_once('@')?;
        Some(Entry { tag: Tag::parse(tag)?, seen: seen.parse().ok()? })
    }

    /// What an action leaves.
    pub(super) fn of_action(action: &Value) -> Option<Entry> {
        Some(Entry { tag: Tag::parse(action["tag"].as_str()?)?, seen: action["seen"].as_u64()? })
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.caller, self.number)
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.tag, self.seen)
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.node, self.number)
    }
}

impl fmt::Display for Claim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Claim::Done { index, entry: Some(entry) } => write!(f, " at {index}: {entry}"),
            Claim::Done { index, .. } | Claim::Rejected { index, .. } | Claim::NotVisible { index } => {
                write!(f, " at {index}")
            }
            Claim::Odd(what) => write!(f, ": {what}"),
            _ => Ok(()),
        }
    }
}

/// A time, for people.
pub(super) fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
