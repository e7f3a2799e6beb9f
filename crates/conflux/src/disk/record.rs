//! The bytes of a log file.
//!
//! ```text
//! file     header, then groups, then zeros that were written ahead
//! header   magic "CNFLXLOG"  version u32  disk u128  number u64  base u8  previous end u64  sequence u64  checksum u32
//! group    records, then a COMMIT: everything that went out with one write
//! record   checksum u32  length u32  kind u8  index u64  term u64  bytes
//! ```
//!
//! Integers are little-endian. A record's checksum is a CRC-32 over the file's salt and everything in the record behind
//! the checksum; the salt is a CRC-32 over the disk's id and the file's number, so that no record passes for one of
//! another file. What `index` and `term` hold depends on the kind.

use bytes::Bytes;
use conflux_core::codec::{Reader, Writer};

use super::{Change, EntryId, LogEntry};

pub(super) const MAGIC: &[u8; 8] = b"CNFLXLOG";
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 8 + 4 + 16 + 8 + 1 + 8 + 8 + 4;
pub(super) const RECORD_HEADER_BYTES: usize = 4 + 4 + 1 + 8 + 8;

/// The first bytes of a log file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// The id of the disk it belongs to.
    pub(super) disk: u128,
    /// The number in its name: one more than that of the file before it.
    pub(super) number: u64,
    /// It begins with everything there is, so the files before it are of no use any more.
    pub(super) base: bool,
    /// How many bytes of the file before it count. They were durable when this file was made; those behind them were
    /// not, or are repeated here.
    pub(super) previous_end: u64,
    /// The sequence number of its first group.
    pub(super) sequence: u64,
}

/// Why bytes are no header.
pub(super) enum BadHeader {
    Version(u32),
    Damaged(&'static str),
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER_BYTES);
        bytes.put(MAGIC);
        bytes.put_u32(VERSION);
        bytes.put(&self.disk.to_le_bytes());
        bytes.put_u64(self.number);
        bytes.put_u8(u8::from(self.base));
        bytes.put_u64(self.previous_end);
        bytes.put_u64(self.sequence);
        let checksum = crc32fast::hash(&bytes);
        bytes.put_u32(checksum);
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Header, BadHeader> {
        let Some(bytes) = bytes.get(..HEADER_BYTES) else { return Err(BadHeader::Damaged("it ends in its header")) };
        if !bytes.starts_with(MAGIC) {
            return Err(BadHeader::Damaged("it does not begin as a log file does"));
        }
        let (content, checksum) = bytes.split_at(HEADER_BYTES - 4);
        let mut reader = Reader::new(&content[MAGIC.len()..]);
        let wrong = |_| BadHeader::Damaged("its header holds what it cannot");
        let version = reader.u32("a version").map_err(wrong)?;
        let whole = crc32fast::hash(content).to_le_bytes() == checksum;
        match (whole, version) {
            (true, VERSION) => {}
            (true, other) => return Err(BadHeader::Version(other)),
            (false, _) => return Err(BadHeader::Damaged("its header does not have its checksum")),
        }
        let header = Header {
            disk: reader.digest("a disk's id").map_err(wrong)?.0,
            number: reader.u64("a number").map_err(wrong)?,
            base: reader.flag("whether it is a base").map_err(wrong)?,
            previous_end: reader.u64("an end").map_err(wrong)?,
            sequence: reader.u64("a sequence number").map_err(wrong)?,
        };
        // Both are counted up from 1: nothing happened 2^63 times.
        let counted = |count: u64| count > 0 && count >> 63 == 0;
        if counted(header.number) && counted(header.sequence) {
            Ok(header)
        } else {
            Err(BadHeader::Damaged("its header holds what it cannot"))
        }
    }

    pub(super) fn salt(&self) -> Salt {
        let mut bytes = Vec::with_capacity(24);
        bytes.put(&self.disk.to_le_bytes());
        bytes.put_u64(self.number);
        Salt(crc32fast::hash(&bytes))
    }
}

/// What goes into every checksum of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Salt(u32);

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum RecordKind {
    /// Ends a group. `index`: its sequence number; `term`: the last one that was known to be durable.
    Commit = 1,
    /// An entry. The first byte of `bytes` is the engine's kind.
    Entry = 2,
    /// Entries from `index` on are gone.
    Truncate = 3,
    /// Entries up to `index`, which was of `term`, are gone.
    Purge = 4,
    /// The vote is `bytes`.
    Vote = 5,
    /// The log is committed up to `index`, which is of `term`.
    Committed = 6,
    /// The identity is `bytes`.
    Identity = 7,
    /// The log's next entry has this index. At the head of a file, where the entries are in files before it.
    Next = 8,
}

impl RecordKind {
    fn of(byte: u8) -> Option<RecordKind> {
        use RecordKind::{Commit, Committed, Entry, Identity, Next, Purge, Truncate, Vote};
        [Commit, Entry, Truncate, Purge, Vote, Committed, Identity, Next].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A record that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record<'a> {
    pub(super) kind: RecordKind,
    pub(super) index: u64,
    pub(super) term: u64,
    pub(super) bytes: &'a [u8],
    /// All of it, as it stands in the file.
    pub(super) length: usize,
}

/// What is at a place where a record could be.
pub(super) enum Read<'a> {
    Record(Record<'a>),
    /// Its checksum is right, and its kind is not known here.
    Unknown(u8),
    Nothing,
}

/// Appends a record.
pub(super) fn put(into: &mut Vec<u8>, salt: Salt, kind: RecordKind, index: u64, term: u64, bytes: &[&[u8]]) {
    let start = into.len();
    let length: usize = bytes.iter().map(|part| part.len()).sum();
    into.put_u32(0);
    into.put_u32(u32::try_from(length).expect("an entry is smaller than 4 GiB: batches are bounded"));
    into.put_u8(kind as u8);
    into.put_u64(index);
    into.put_u64(term);
    for part in bytes {
        into.put(part);
    }
    let checksum = checksum(salt, &into[start + 4..]);
    into[start..start + 4].copy_from_slice(&checksum.to_le_bytes());
}

fn checksum(Salt(salt): Salt, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

/// Reads the record at the front of `bytes`.
pub(super) fn read(bytes: &[u8], salt: Salt) -> Read<'_> {
    let mut reader = Reader::new(bytes);
    let mut header = || {
        let checksum = reader.u32("a checksum").ok()?;
        let length = reader.u32("a length").ok()? as usize;
        let kind = reader.u8("a kind").ok()?;
        let (index, term) = (reader.u64("an index").ok()?, reader.u64("a term").ok()?);
        Some((checksum, kind, index, term, reader.take("a record", length).ok()?))
    };
    let Some((expected, kind, index, term, content)) = header() else { return Read::Nothing };
    let length = RECORD_HEADER_BYTES + content.len();
    if checksum(salt, &bytes[4..length]) != expected {
        return Read::Nothing;
    }
    match RecordKind::of(kind) {
        Some(kind) => Read::Record(Record { kind, index, term, bytes: content, length }),
        None => Read::Unknown(kind),
    }
}

/// The commits anywhere in `bytes`, whatever is between them: their sequence number, and what they know to be durable.
pub(super) fn commits(bytes: &[u8], salt: Salt) -> impl Iterator<Item = (u64, u64)> + '_ {
    bytes.windows(RECORD_HEADER_BYTES).filter_map(move |at| {
        // Cheap to refuse: nearly every place is none.
        if at[8] != RecordKind::Commit as u8 || at[4..8] != [0; 4] {
            return None;
        }
        match read(at, salt) {
            Read::Record(record) => Some((record.index, record.term)),
            _ => None,
        }
    })
}

/// Appends the records of a change.
pub(super) fn put_change(into: &mut Vec<u8>, salt: Salt, change: &Change) {
    match change {
        Change::Append(entries) => {
            for LogEntry { id, kind, bytes } in entries {
                put(into, salt, RecordKind::Entry, id.index, id.term, &[&[*kind], bytes]);
            }
        }
        Change::Truncate(from) => put(into, salt, RecordKind::Truncate, *from, 0, &[]),
        Change::Purge(upto) => put(into, salt, RecordKind::Purge, upto.index, upto.term, &[]),
        Change::Vote(vote) => put(into, salt, RecordKind::Vote, 0, 0, &[vote]),
        Change::Committed(id) => put(into, salt, RecordKind::Committed, id.index, id.term, &[]),
        Change::Identity(identity) => put(into, salt, RecordKind::Identity, 0, 0, &[identity]),
    }
}

impl Record<'_> {
    /// The entry of an [`Entry`](RecordKind::Entry) record; `None` without the byte that says its kind.
    pub(super) fn entry(&self) -> Option<LogEntry> {
        let (kind, bytes) = self.bytes.split_first()?;
        let id = EntryId { term: self.term, index: self.index };
        Some(LogEntry { id, kind: *kind, bytes: Bytes::copy_from_slice(bytes) })
    }
}
