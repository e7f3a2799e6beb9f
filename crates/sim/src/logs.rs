//! What is on the disks of all nodes, as far as it was handed to them: a node is known by that.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use conflux::disk::{Change, Contents, EntryId, KeptSnapshot, LogEntry};
use conflux::observe::{self, MemberId, Vote};
use conflux::{Digest, Incarnation};

/// Who has to agree: one group, or two while a change of members is under way.
pub(crate) type Voters = Vec<BTreeSet<MemberId>>;

/// An entry of a log, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) id: EntryId,
    pub(crate) digest: Digest,
    /// What it says of members, if that is what it is about.
    pub(crate) voters: Option<Voters>,
    /// Its batch, if it is one.
    pub(crate) batch: Option<Bytes>,
}

impl Line {
    pub(crate) fn of(entry: &LogEntry) -> Line {
        Line {
            id: entry.id,
            digest: Digest::of_pieces([&[entry.kind], &entry.bytes[..]]),
            voters: observe::voters(entry),
            batch: observe::is_batch(entry).then(|| entry.bytes.clone()),
        }
    }
}

/// A snapshot, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) last: Option<EntryId>,
    pub(crate) voters: Voters,
}

/// A disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Log {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<EntryId>,
    pub(crate) purged: Option<EntryId>,
    pub(crate) lines: VecDeque<Line>,
    pub(crate) snapshot: Option<Taken>,
}

impl Log {
    /// What a node finds as it opens.
    pub(crate) fn of(contents: &Contents) -> Log {
        Log {
            vote: contents.vote.as_ref().and_then(observe::vote),
            committed: contents.committed,
            purged: contents.purged,
            lines: contents.entries.iter().map(Line::of).collect(),
            snapshot: contents.snapshot.as_ref().map(taken),
        }
    }

    /// The first index that is in it, or would be.
    pub(crate) fn first(&self) -> u64 {
        self.lines.front().map_or_else(|| self.purged.map_or(0, |id| id.index + 1), |line| line.id.index)
    }

    pub(crate) fn last(&self) -> Option<EntryId> {
        self.lines.back().map(|line| line.id).or(self.purged)
    }

    /// Whether anything of a container is in it.
    pub(crate) fn has_batches(&self) -> bool {
        self.snapshot.is_some() || self.lines.iter().any(|line| line.batch.is_some())
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.first())).map_or(usize::MAX, |at| at.min(self.lines.len()))
    }

    pub(crate) fn at(&self, index: u64) -> Option<&Line> {
        self.lines.get(self.position(index)).filter(|line| line.id.index == index)
    }

    /// What stands at an index, if that is known.
    pub(crate) fn id_at(&self, index: u64) -> Option<EntryId> {
        let snapshot = self.snapshot.as_ref().and_then(|taken| taken.last);
        self.at(index)
            .map(|line| line.id)
            .or_else(|| [self.purged, snapshot].into_iter().flatten().find(|id| id.index == index))
    }

    /// Whether it has an entry, or a snapshot that holds its effect.
    pub(crate) fn holds(&self, id: EntryId) -> bool {
        self.at(id.index).is_some_and(|line| line.id == id)
            || self.snapshot.as_ref().is_some_and(|taken| taken.last.is_some_and(|last| last.index >= id.index))
    }

    pub(crate) fn take(&mut self, noted: &Noted) {
        match noted {
            Noted::Append(lines) => {
                for line in lines {
                    self.lines.truncate(self.position(line.id.index));
                    self.lines.push_back(line.clone());
                }
            }
            Noted::Truncate(from) => self.lines.truncate(self.position(*from)),
            Noted::Purge(upto) => {
                self.lines.drain(..self.position(upto.index + 1));
                self.purged = Some(*upto);
            }
            Noted::Vote(vote) => self.vote = Some(vote.clone()),
            Noted::Committed(id) => self.committed = Some(*id),
            Noted::Identity(_) | Noted::Nothing => {}
        }
    }

    /// Who votes by the last that it says of it.
    pub(crate) fn voters(&self) -> Option<&Voters> {
        let said = self.lines.iter().rev().find_map(|line| line.voters.as_ref());
        said.or_else(|| self.snapshot.as_ref().map(|taken| &taken.voters))
    }
}

pub(crate) fn taken(kept: &KeptSnapshot) -> Taken {
    Taken { last: kept.head.last, voters: observe::snapshot_voters(&kept.head.meta).unwrap_or_default() }
}

/// A change of a disk, in short.
#[derive(Clone, Debug)]
pub(crate) enum Noted {
    Append(Vec<Line>),
    Truncate(u64),
    Purge(EntryId),
    Vote(Vote),
    Committed(EntryId),
    Identity(Option<Incarnation>),
    Nothing,
}

impl Noted {
    pub(crate) fn of(change: &Change) -> Noted {
        match change {
            Change::Append(entries) => Noted::Append(entries.iter().map(Line::of).collect()),
            Change::Truncate(from) => Noted::Truncate(*from),
            Change::Purge(upto) => Noted::Purge(*upto),
            Change::Vote(bytes) => observe::vote(bytes).map_or(Noted::Nothing, Noted::Vote),
            Change::Committed(id) => Noted::Committed(*id),
            Change::Identity(bytes) => Noted::Identity(observe::incarnation(bytes)),
        }
    }
}

/// Names a disk among all of a run.
pub(crate) type DiskNumber = usize;

/// One node's disk: what it was handed, and what of that it has said is durable.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shelf {
    /// Whose it is, once somebody has noted that on it.
    pub(crate) member: Option<MemberId>,
    pub(crate) present: Log,
    pub(crate) durable: Log,
    /// What is not durable yet, in order.
    pub(crate) waiting: VecDeque<Noted>,
    /// How many changes it was handed.
    pub(crate) handed: u64,
}

/// All disks of a run, also those that nobody has any more.
#[derive(Default)]
pub(crate) struct Logs {
    pub(crate) shelves: BTreeMap<DiskNumber, Shelf>,
    /// What is committed anywhere, from the first entry on.
    pub(crate) committed: Vec<Line>,
}

impl Logs {
    /// What is committed at an index, if anything is known to be.
    pub(crate) fn committed_at(&self, index: u64) -> Option<&Line> {
        self.committed.get(usize::try_from(index).ok()?)
    }

    /// Whether an entry is on the disks of a majority of each group.
    pub(crate) fn is_on_most(&self, id: EntryId, voters: &Voters) -> bool {
        let holds = |member: &&MemberId| {
            self.shelves.values().any(|shelf| shelf.member.as_ref() == Some(*member) && shelf.durable.holds(id))
        };
        !voters.is_empty() && voters.iter().all(|group| group.iter().filter(holds).count() > group.len() / 2)
    }
}
