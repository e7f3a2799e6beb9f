//! Reading log files back: what counts, what is a torn tail, and what is damage.
//!
//! A group goes out with one write, and the next one only after that was synced, or when no sync was asked for. Power may
//! fail meanwhile: then any part of what was not synced is missing, and what is there may be in any order. So the end of
//! the last file may be anything. What can be told:
//!
//! - Every commit names the last group that was durable before it. A group that is broken although a commit behind it
//!   calls it durable is **damage**. So is anything broken in a file that is not the last one, below the end that the next
//!   file's header names; so is a missing file between two others, or before the first entry that is not purged.
//! - A broken group that no commit behind it calls durable is a **torn tail**: it is cut, with all behind it. Nothing of it
//!   was answered, unless it was the very last group that was synced, nothing was written after it, and it was damaged
//!   since; that cannot be told from a tear. Nor can a last file that lost its end, or the loss of the last file.
//! - A group behind the last one that is called durable may have been synced or not. It counts, but not on the word of
//!   the machine's memory, which after a failed sync holds what the disk does not: whoever opens the log writes it again
//!   into a file of its own, syncs that, and names the end of what was durable in its header.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use conflux_core::bugs::{self, Bug};

use super::record::{self, HEADER_BYTES, Header, Read, Record, RecordKind, Salt};
use super::{Change, DiskError, EntryId, LogEntry};

/// What a log comes to, but for its entries: a file begins with this, so that those before it can go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) identity: Option<Bytes>,
    pub(super) vote: Option<Bytes>,
    pub(super) committed: Option<EntryId>,
    pub(super) purged: Option<EntryId>,
    /// The index of the next entry.
    pub(super) next: u64,
}

impl Summary {
    pub(super) fn take(&mut self, change: &Change) {
        match change {
            Change::Append(entries) => {
                if let Some(last) = entries.last() {
                    self.next = last.id.index + 1;
                }
            }
            Change::Truncate(from) => self.next = self.next.min(*from),
            Change::Purge(upto) => {
                self.next = self.next.max(upto.index + 1);
                self.purged = Some(*upto);
            }
            Change::Vote(vote) => self.vote = Some(vote.clone()),
            Change::Committed(id) => self.committed = Some(*id),
            Change::Identity(identity) => self.identity = Some(identity.clone()),
        }
    }

    /// Appends the records that say all of it.
    pub(super) fn put(&self, into: &mut Vec<u8>, salt: Salt) {
        if let Some(identity) = &self.identity {
            record::put(into, salt, RecordKind::Identity, 0, 0, &[identity]);
        }
        if let Some(vote) = &self.vote {
            record::put(into, salt, RecordKind::Vote, 0, 0, &[vote]);
        }
        if let Some(purged) = self.purged {
            record::put(into, salt, RecordKind::Purge, purged.index, purged.term, &[]);
        }
        record::put(into, salt, RecordKind::Next, self.next, 0, &[]);
        if let Some(committed) = self.committed {
            record::put(into, salt, RecordKind::Committed, committed.index, committed.term, &[]);
        }
    }
}

/// A log as far as it was replayed.
#[derive(Default)]
pub(super) struct Replayed {
    pub(super) summary: Summary,
    pub(super) entries: BTreeMap<u64, LogEntry>,
}

impl Replayed {
    /// Goes on with a record.
    pub(super) fn take(&mut self, record: &Record<'_>) -> Result<(), String> {
        let id = EntryId { term: record.term, index: record.index };
        if record.index == u64::MAX {
            return Err("an index of 2^64 - 1".into());
        }
        let change = match record.kind {
            RecordKind::Commit => return Ok(()),
            RecordKind::Next => {
                // Entries between are in files that are gone, which is right only if they were purged: that is seen at
                // the end.
                self.summary.next = record.index;
                return Ok(());
            }
            RecordKind::Entry => {
                let entry = record.entry().ok_or("an entry has no kind")?;
                if record.index > self.summary.next {
                    return Err(format!("entry {id} follows entries up to {} only", self.summary.next));
                }
                self.entries.split_off(&record.index);
                self.entries.insert(record.index, entry);
                self.summary.next = record.index + 1;
                return Ok(());
            }
            RecordKind::Truncate => Change::Truncate(record.index),
            RecordKind::Purge => Change::Purge(id),
            RecordKind::Vote => Change::Vote(Bytes::copy_from_slice(record.bytes)),
            RecordKind::Committed => Change::Committed(id),
            RecordKind::Identity => Change::Identity(Bytes::copy_from_slice(record.bytes)),
        };
        self.summary.take(&change);
        match change {
            Change::Truncate(from) => drop(self.entries.split_off(&from)),
            Change::Purge(upto) => self.entries = self.entries.split_off(&(upto.index + 1)),
            _ => {}
        }
        Ok(())
    }

    /// The first index that should be there and is not.
    pub(super) fn hole(&self) -> Option<u64> {
        let mut expected = self.summary.purged.map_or(0, |purged| purged.index + 1);
        for index in self.entries.keys() {
            if *index != expected {
                return Some(expected);
            }
            expected += 1;
        }
        (expected != self.summary.next).then_some(expected)
    }
}

/// A whole group.
pub(super) struct Group<'a> {
    pub(super) sequence: u64,
    /// The last group that was known to be durable when this was written.
    pub(super) durable: u64,
    pub(super) records: Vec<Record<'a>>,
    /// Where it ends in its file.
    pub(super) end: usize,
}

/// What became of reading a file.
pub(super) struct Groups<'a> {
    pub(super) groups: Vec<Group<'a>>,
    /// Where the torn tail begins that was cut.
    pub(super) torn: Option<usize>,
}

/// How many bytes of a log file a later group says were durable; see [`crate::observe::proven`].
pub(crate) fn proven(bytes: &[u8]) -> usize {
    let Ok(header) = Header::decode(bytes) else { return 0 };
    let read = groups(Path::new("log"), bytes, header.salt(), HEADER_BYTES, header.sequence, None);
    let groups = read.map(|read| read.groups).unwrap_or_default();
    let durable = groups.iter().map(|group| group.durable).max();
    groups.iter().rev().find(|group| Some(group.sequence) <= durable).map_or(0, |group| group.end)
}

/// Reads the groups of a file, from `start` on. `end` is where it ends, if the file behind it says so.
pub(super) fn groups<'a>(
    file: &Path,
    bytes: &'a [u8],
    salt: Salt,
    start: usize,
    sequence: u64,
    end: Option<usize>,
) -> Result<Groups<'a>, DiskError> {
    let damaged = |at: usize, index: Option<u64>, what: String| Err(DiskError::damaged(file, at as u64, index, what));
    let limit = end.unwrap_or(bytes.len());
    if limit > bytes.len() || limit < start {
        return damaged(bytes.len(), None, format!("it has {} bytes, the file behind it counts {limit}", bytes.len()));
    }
    let bytes = &bytes[..limit];
    let mut read = Groups { groups: Vec::new(), torn: None };
    let (mut at, mut begin, mut records, mut last) = (start, start, Vec::new(), None);
    while end.is_none() || begin < limit {
        let next = read.groups.last().map_or(sequence, |group: &Group<'_>| group.sequence + 1);
        match record::read(&bytes[at..], salt) {
            Read::Record(record) if record.kind == RecordKind::Commit => {
                if record.index != next || record.term >= next {
                    let what =
                        format!("group {} (durable: {}) is where group {next} should be", record.index, record.term);
                    return damaged(at, last, what);
                }
                at += record.length;
                let records = std::mem::take(&mut records);
                read.groups.push(Group { sequence: next, durable: record.term, records, end: at });
                begin = at;
            }
            Read::Record(record) => {
                if record.kind == RecordKind::Entry {
                    last = Some(record.index);
                }
                at += record.length;
                records.push(record);
            }
            Read::Unknown(kind) => {
                return damaged(at, last, format!("a record is of kind {kind}, which only another version can write"));
            }
            Read::Nothing if end.is_some() => {
                return damaged(at, last, "a record is not what was written there".into());
            }
            Read::Nothing => {
                let rest = &bytes[begin..];
                if record::commits(rest, salt).any(|(_, durable)| durable >= next) && !bugs::is(Bug::DamageTakenForTear)
                {
                    let what =
                        "a record is not what was written there, and what was written later says that it was durable";
                    return damaged(at, last, what.into());
                }
                // Zeros were written ahead: that is where a log ends that was not torn.
                read.torn = rest.iter().any(|byte| *byte != 0).then_some(begin);
                break;
            }
        }
    }
    Ok(read)
}
