//! The log as a row of files. One writer; nothing is read but at opening.
//!
//! A file begins with a summary of everything before it but the entries, so that the files before it can be removed once
//! their entries are purged. A file is made under a temporary name, with its first group, synced, and renamed: one that
//! has its name is whole up to there. Zeros are written ahead of the groups, so that a sync need not change the file's
//! length.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::time::Instant;

use super::files::{FileHandle, Files, Open};
use super::record::{self, BadHeader, HEADER_BYTES, Header, RecordKind, Salt, VERSION};
use super::replay::{self, Replayed, Summary};
use super::{Change, DiskError, LogEntry};
use crate::metrics::Histogram;

/// How many zeros are written ahead, at most: a sixteenth of a file.
const AHEAD_BYTES: usize = 512 * 1024;

/// More than this in a file cannot be ours.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// With more files than this at opening, what is left of them goes into one.
const FILES_MAX: usize = 16;

/// When a file is ended and another begun, unless told otherwise.
pub(super) const SEGMENT_BYTES: u64 = 8 * 1024 * 1024;

pub(super) const TEMPORARY: &str = ".tmp";

const PREFIX: &str = "log-";

/// The log's files in a directory, open for writing.
pub(super) struct Segments {
    files: Arc<dyn Files>,
    directory: PathBuf,
    disk: u128,
    segment_bytes: u64,
    ahead_bytes: usize,
    summary: Summary,
    /// The files before the present one.
    older: VecDeque<Older>,
    present: Present,
    /// The last group that was written, and the last that is known to be durable.
    sequence: u64,
    durable: u64,
    buffer: Vec<u8>,
    syncs: Arc<Histogram>,
}

struct Older {
    number: u64,
    highest: Option<u64>,
}

struct Present {
    number: u64,
    path: PathBuf,
    handle: Arc<dyn FileHandle>,
    salt: Salt,
    /// Where the next group goes.
    end: u64,
    /// Where the zeros end.
    ahead: u64,
    /// The highest index of an entry in it.
    highest: Option<u64>,
}

/// What is found in a directory, by name.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok().filter(|number| name_of(*number) == name)
}

fn name_of(number: u64) -> String {
    format!("{PREFIX}{number:016x}")
}

/// What a group that was written needs still.
#[must_use]
pub(super) struct Owed {
    /// Something in it must not be forgotten.
    lasting: bool,
    /// Files may be of no use any more.
    purges: bool,
}

/// A log that was opened.
pub(super) struct OpenLog {
    pub(super) segments: Segments,
    pub(super) summary: Summary,
    pub(super) entries: Vec<LogEntry>,
}

impl Segments {
    /// Makes the first file of a log.
    pub(super) fn create(
        files: Arc<dyn Files>,
        directory: &Path,
        disk: u128,
        segment_bytes: u64,
    ) -> Result<Segments, DiskError> {
        let header = Header { disk, number: 1, base: true, previous_end: 0, sequence: 1 };
        let summary = Summary::default();
        let mut first = Vec::new();
        summary.put(&mut first, header.salt());
        let present = begin(&*files, directory, header, &mut first, None, ahead(segment_bytes))?;
        Ok(Segments {
            files,
            directory: directory.to_owned(),
            disk,
            segment_bytes,
            ahead_bytes: ahead(segment_bytes),
            summary,
            older: VecDeque::new(),
            present,
            sequence: 1,
            durable: 1,
            buffer: Vec::new(),
            syncs: Arc::new(Histogram::of_times()),
        })
    }

    /// Reads the log back, and begins a file of its own. `numbers` are those of the files that are there.
    pub(super) fn open(
        files: Arc<dyn Files>,
        directory: &Path,
        disk: u128,
        segment_bytes: u64,
        mut numbers: Vec<u64>,
    ) -> Result<OpenLog, DiskError> {
        numbers.sort_unstable();
        let mut read = Vec::with_capacity(numbers.len());
        for number in &numbers {
            read.push(Source::read(&*files, directory, disk, *number)?);
        }
        // What is before a base is of no use, and removed below.
        let base = read.iter().rposition(|source| source.header.base).unwrap_or(0);
        let useless = read.drain(..base).map(|source| source.header.number).collect::<Vec<_>>();
        for pair in read.windows(2) {
            if pair[0].header.number + 1 != pair[1].header.number {
                let missing = directory.join(name_of(pair[0].header.number + 1));
                return Err(DiskError::damaged(
                    &missing,
                    0,
                    None,
                    "it is missing, although the files around it are there",
                ));
            }
        }
        let mut replayed = Replayed::default();
        let mut older = VecDeque::new();
        // What the last file has behind what is known to be durable.
        let mut again = Vec::new();
        let mut durable_summary = Summary::default();
        let (mut sequence, mut previous_end) = (0, 0);
        for (nth, source) in read.iter().enumerate() {
            let header = source.header;
            let end = read.get(nth + 1).map(|next| next.header.previous_end);
            let end = end.map(|end| usize::try_from(end).unwrap_or(usize::MAX));
            let groups =
                replay::groups(&source.path, &source.bytes, header.salt(), HEADER_BYTES, header.sequence, end)?;
            let last = end.is_none();
            // The first group was synced before the file had its name.
            let durable = groups.groups.iter().map(|group| group.durable).max().unwrap_or(0).max(header.sequence);
            let mut highest = None;
            durable_summary.clone_from(&replayed.summary);
            if groups.groups.is_empty() {
                let what = "its first group is not what was written there";
                return Err(DiskError::damaged(&source.path, HEADER_BYTES as u64, None, what));
            }
            for group in &groups.groups {
                let known = !last || group.sequence <= durable;
                let mut group_highest = None;
                for record in &group.records {
                    let offset = record.bytes.as_ptr() as usize - source.bytes.as_ptr() as usize;
                    replayed
                        .take(record)
                        .map_err(|what| DiskError::damaged(&source.path, offset as u64, Some(record.index), what))?;
                    if record.kind == RecordKind::Entry {
                        group_highest = group_highest.max(Some(record.index));
                    }
                }
                sequence = group.sequence;
                if known {
                    highest = highest.max(group_highest);
                    durable_summary.clone_from(&replayed.summary);
                    previous_end = group.end as u64;
                } else {
                    again.extend(group.records.iter().copied());
                }
            }
            if let Some(torn) = groups.torn {
                tracing::warn!(
                    "{}: what was being written when the node ended, {} bytes at {torn}, is torn and was cut: nothing \
                     of it was answered",
                    source.path.display(),
                    source.bytes[torn..].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1),
                );
            }
            older.push_back(Older { number: header.number, highest });
        }
        if let Some(index) = replayed.hole() {
            let file = read.first().map_or_else(|| directory.join(name_of(1)), |source| source.path.clone());
            let what = format!("entry {index} is missing before what is there: a file before this one is gone");
            return Err(DiskError::damaged(&file, 0, Some(index), what));
        }

        let base = older.len() > FILES_MAX;
        let number = older.back().map_or(0, |last| last.number) + 1;
        sequence += 1;
        let header = Header { disk, number, base, previous_end, sequence };
        let salt = header.salt();
        let mut first = Vec::new();
        let mut highest = None;
        if base {
            let purged = replayed.summary.purged;
            let next = purged.map_or(0, |purged| purged.index + 1);
            Summary { next, ..replayed.summary.clone() }.put(&mut first, salt);
            let entries = replayed.entries.values().cloned().collect();
            record::put_change(&mut first, salt, &Change::Append(entries));
            highest = replayed.entries.keys().next_back().copied();
        } else {
            durable_summary.put(&mut first, salt);
            for record in &again {
                record::put(&mut first, salt, record.kind, record.index, record.term, &[record.bytes]);
                if record.kind == RecordKind::Entry {
                    highest = highest.max(Some(record.index));
                }
            }
        }
        let present = begin(&*files, directory, header, &mut first, highest, ahead(segment_bytes))?;
        let mut segments = Segments {
            files,
            directory: directory.to_owned(),
            disk,
            segment_bytes,
            ahead_bytes: ahead(segment_bytes),
            summary: replayed.summary.clone(),
            older,
            present,
            sequence,
            durable: sequence,
            buffer: Vec::new(),
            syncs: Arc::new(Histogram::of_times()),
        };
        let useless =
            if base { segments.older.drain(..).map(|older| older.number).chain(useless).collect() } else { useless };
        segments.remove(&useless)?;
        segments.remove_purged()?;
        Ok(OpenLog { segments, summary: replayed.summary, entries: replayed.entries.into_values().collect() })
    }

    /// Whether all there is is a first file on which nothing was written yet.
    pub(super) fn is_blank(files: &dyn Files, directory: &Path) -> bool {
        let path = directory.join(name_of(1));
        let Ok(bytes) = read_whole(files, &path, FILE_BYTES_MAX) else { return false };
        let Ok(header) = Header::decode(&bytes) else { return false };
        let groups = replay::groups(&path, &bytes, header.salt(), HEADER_BYTES, header.sequence, None);
        groups.is_ok_and(|read| read.groups.len() == 1 && read.torn.is_none())
    }

    /// Writes changes as one group, which is as good as written once it is [settled](Self::settle).
    ///
    /// After an error nothing may be written any more.
    pub(super) fn write(&mut self, changes: &[Change]) -> Result<Owed, DiskError> {
        if self.present.end >= self.segment_bytes {
            self.roll()?;
        }
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let (salt, mut purges, mut lasting) = (self.present.salt, false, false);
        for change in changes {
            record::put_change(&mut buffer, salt, change);
            self.summary.take(change);
            lasting |= !matches!(change, Change::Committed(_));
            match change {
                Change::Append(entries) => {
                    self.present.highest = self.present.highest.max(entries.last().map(|entry| entry.id.index));
                }
                Change::Purge(_) => purges = true,
                _ => {}
            }
        }
        self.sequence += 1;
        record::put(&mut buffer, salt, RecordKind::Commit, self.sequence, self.durable, &[]);
        let end = self.present.end + buffer.len() as u64;
        if end > self.present.ahead {
            buffer.resize(buffer.len() + self.ahead_bytes, 0);
        }
        let Present { handle, path, .. } = &self.present;
        let written = handle.write_at(self.present.end, &buffer);
        written.map_err(|error| DiskError::io("write to", path, &error))?;
        self.present.ahead = self.present.ahead.max(self.present.end + buffer.len() as u64);
        self.present.end = end;
        self.buffer = buffer;
        // What one large group needed is not held for ever.
        self.buffer.shrink_to(4 * AHEAD_BYTES);
        Ok(Owed { lasting, purges })
    }

    /// Makes the last group durable, unless all of it may be forgotten.
    ///
    /// After an error nothing may be written any more.
    pub(super) fn settle(&mut self, Owed { lasting, purges }: Owed) -> Result<(), DiskError> {
        if lasting {
            self.sync()?;
        }
        if purges {
            self.remove_purged()?;
        }
        Ok(())
    }

    /// How long each sync took.
    pub(super) fn syncs(&self) -> &Arc<Histogram> {
        &self.syncs
    }

    /// Makes everything that was written durable.
    pub(super) fn sync(&mut self) -> Result<(), DiskError> {
        if self.durable < self.sequence {
            let begun = Instant::now();
            let synced = self.present.handle.sync();
            synced.map_err(|error| DiskError::io("sync", &self.present.path, &error))?;
            self.durable = self.sequence;
            self.syncs.record_time(begun.elapsed());
        }
        Ok(())
    }

    /// Ends the present file and begins another.
    fn roll(&mut self) -> Result<(), DiskError> {
        // Its end is named in the next file as one that is durable.
        self.sync()?;
        self.sequence += 1;
        let header = Header {
            disk: self.disk,
            number: self.present.number + 1,
            base: false,
            previous_end: self.present.end,
            sequence: self.sequence,
        };
        let mut first = Vec::new();
        self.summary.put(&mut first, header.salt());
        let next = begin(&*self.files, &self.directory, header, &mut first, None, self.ahead_bytes)?;
        self.durable = self.sequence;
        let present = std::mem::replace(&mut self.present, next);
        self.older.push_back(Older { number: present.number, highest: present.highest });
        self.remove_purged()
    }

    /// Removes the oldest files for as long as all their entries are purged.
    fn remove_purged(&mut self) -> Result<(), DiskError> {
        let purged = self.summary.purged.map(|purged| purged.index);
        let mut numbers = Vec::new();
        while let Some(oldest) = self.older.pop_front_if(|oldest| oldest.highest <= purged) {
            numbers.push(oldest.number);
        }
        self.remove(&numbers)
    }

    fn remove(&self, numbers: &[u64]) -> Result<(), DiskError> {
        for number in numbers {
            let file = self.directory.join(name_of(*number));
            self.files.remove(&file).map_err(|error| DiskError::io("remove", &file, &error))?;
        }
        Ok(())
    }
}

fn ahead(segment_bytes: u64) -> usize {
    usize::try_from(segment_bytes / 16).map_or(AHEAD_BYTES, |bytes| bytes.min(AHEAD_BYTES))
}

/// Makes a file with its first group.
fn begin(
    files: &dyn Files,
    directory: &Path,
    header: Header,
    first: &mut Vec<u8>,
    highest: Option<u64>,
    ahead_bytes: usize,
) -> Result<Present, DiskError> {
    let path = directory.join(name_of(header.number));
    let temporary = directory.join(name_of(header.number) + TEMPORARY);
    let salt = header.salt();
    record::put(first, salt, RecordKind::Commit, header.sequence, header.sequence - 1, &[]);
    let mut bytes = header.encode();
    bytes.append(first);
    let end = bytes.len() as u64;
    bytes.resize(bytes.len() + ahead_bytes, 0);
    let handle = files.open(&temporary, Open::Create).map_err(|error| DiskError::io("create", &temporary, &error))?;
    handle.write_at(0, &bytes).map_err(|error| DiskError::io("write to", &temporary, &error))?;
    handle.sync().map_err(|error| DiskError::io("sync", &temporary, &error))?;
    files.rename(&temporary, &path).map_err(|error| DiskError::io("rename", &temporary, &error))?;
    files.sync_directory(directory).map_err(|error| DiskError::io("sync", directory, &error))?;
    Ok(Present { number: header.number, path, handle, salt, end, ahead: bytes.len() as u64, highest })
}

/// A file that was read.
struct Source {
    path: PathBuf,
    header: Header,
    bytes: Vec<u8>,
}

impl Source {
    fn read(files: &dyn Files, directory: &Path, disk: u128, number: u64) -> Result<Source, DiskError> {
        let path = directory.join(name_of(number));
        let bytes = read_whole(files, &path, FILE_BYTES_MAX)?;
        let header = match Header::decode(&bytes) {
            Ok(header) => header,
            Err(BadHeader::Version(came)) => return Err(DiskError::Version { file: path, came, allowed: VERSION }),
            Err(BadHeader::Damaged(what)) => return Err(DiskError::damaged(&path, 0, None, what)),
        };
        if header.disk != disk {
            return Err(DiskError::damaged(&path, 0, None, "it belongs to another disk"));
        }
        if header.number != number {
            let what = format!("it is file {:x} of the log by its content, and {number:x} by its name", header.number);
            return Err(DiskError::damaged(&path, 0, None, what));
        }
        Ok(Source { path, header, bytes })
    }
}

/// The content of a file, if it has no more than `max` bytes.
pub(super) fn read_whole(files: &dyn Files, path: &Path, max: u64) -> Result<Vec<u8>, DiskError> {
    let failed = |error: &_| DiskError::io("read", path, error);
    let handle = files.open(path, Open::Read).map_err(|error| failed(&error))?;
    let length = handle.length().map_err(|error| failed(&error))?;
    if length > max {
        let what = format!("it has {length} bytes, more than {max} cannot be");
        return Err(DiskError::damaged(path, 0, None, what));
    }
    let mut bytes = vec![0; usize::try_from(length).expect("it was compared with a limit")];
    let read = handle.read_at(0, &mut bytes).map_err(|error| failed(&error))?;
    bytes.truncate(read);
    Ok(bytes)
}
