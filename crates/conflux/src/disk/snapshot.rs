//! Snapshot files.
//!
//! ```text
//! header   magic "CNFLXSNP"  version u32  disk u128  has last u8  term u64  index u64
//!          length of meta u32  meta  length of content u64  checksum u32
//! content  chunks of a checksum u32 and 64 KiB, the last one shorter
//! ```
//!
//! A chunk's checksum is over its number, too. A snapshot is written under a temporary name, synced, and renamed; a
//! temporary one that is found at opening is removed.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use conflux_core::codec::{Reader, Writer};

use super::files::{FileHandle, Files, Open};
use super::{DiskError, EntryId, KeptSnapshot, SnapshotBytes, SnapshotHead};

const MAGIC: &[u8; 8] = b"CNFLXSNP";
const VERSION: u32 = 1;
const CHUNK_BYTES: usize = 64 * 1024;
/// So many chunks are synced at a time, 1 MiB: a file system may have a sync of the log wait for all that was written to
/// other files.
const CHUNKS_SYNCED: u64 = 16;
const PREFIX: &str = "snapshot-";
/// A membership of hundreds of nodes is far smaller.
const META_BYTES_MAX: usize = 16 * 1024 * 1024;
const FIXED_BYTES: usize = 8 + 4 + 16 + 1 + 8 + 8 + 4;

pub(super) fn name_of(last: Option<EntryId>) -> String {
    let EntryId { term, index } = last.unwrap_or(EntryId { term: 0, index: 0 });
    format!("{PREFIX}{term:016x}-{index:016x}")
}

/// What a file's name says of its last entry, if it is the name of a snapshot.
pub(super) fn last_of(name: &str) -> Option<EntryId> {
    let (term, index) = name.strip_prefix(PREFIX)?.split_once('-')?;
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    let id = EntryId { term: number(term)?, index: number(index)? };
    (name_of(Some(id)) == name).then_some(id)
}

fn header(disk: u128, head: &SnapshotHead, length: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(FIXED_BYTES + head.meta.len() + 12);
    bytes.put(MAGIC);
    bytes.put_u32(VERSION);
    bytes.put(&disk.to_le_bytes());
    bytes.put_u8(u8::from(head.last.is_some()));
    let last = head.last.unwrap_or(EntryId { term: 0, index: 0 });
    bytes.put_u64(last.term);
    bytes.put_u64(last.index);
    bytes.put_u32(u32::try_from(head.meta.len()).expect("what the engine says of a snapshot is short"));
    bytes.put(&head.meta);
    bytes.put_u64(length);
    let checksum = crc32fast::hash(&bytes);
    bytes.put_u32(checksum);
    bytes
}

fn checksum(number: u64, chunk: &[u8]) -> [u8; 4] {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&number.to_le_bytes());
    hasher.update(chunk);
    hasher.finalize().to_le_bytes()
}

/// A snapshot file that is being written.
pub(super) struct Writing {
    files: Arc<dyn Files>,
    path: PathBuf,
    handle: Arc<dyn FileHandle>,
    disk: u128,
    head: SnapshotHead,
    content: u64,
    /// What does not fill a chunk yet.
    rest: Vec<u8>,
    chunks: u64,
    done: bool,
}

impl Writing {
    pub(super) fn begin(
        files: Arc<dyn Files>,
        path: PathBuf,
        disk: u128,
        head: SnapshotHead,
    ) -> Result<Writing, DiskError> {
        let handle = files.open(&path, Open::Create).map_err(|error| DiskError::io("create", &path, &error))?;
        let content = header(disk, &head, 0).len() as u64;
        Ok(Writing { files, path, handle, disk, head, content, rest: Vec::new(), chunks: 0, done: false })
    }

    pub(super) fn write(&mut self, mut bytes: &[u8]) -> Result<(), DiskError> {
        while !bytes.is_empty() {
            let fits = bytes.len().min(CHUNK_BYTES - self.rest.len());
            self.rest.extend_from_slice(&bytes[..fits]);
            bytes = &bytes[fits..];
            if self.rest.len() == CHUNK_BYTES {
                self.put_chunk()?;
            }
        }
        Ok(())
    }

    fn put_chunk(&mut self) -> Result<(), DiskError> {
        let mut bytes = Vec::with_capacity(4 + self.rest.len());
        bytes.put(&checksum(self.chunks, &self.rest));
        bytes.put(&self.rest);
        let at = self.content + self.chunks * (4 + CHUNK_BYTES as u64);
        self.put(at, &bytes)?;
        self.chunks += 1;
        self.rest.clear();
        if self.chunks.is_multiple_of(CHUNKS_SYNCED) {
            self.sync()?;
        }
        Ok(())
    }

    fn put(&self, at: u64, bytes: &[u8]) -> Result<(), DiskError> {
        self.handle.write_at(at, bytes).map_err(|error| DiskError::io("write to", &self.path, &error))
    }

    fn sync(&self) -> Result<(), DiskError> {
        self.handle.sync().map_err(|error| DiskError::io("sync", &self.path, &error))
    }

    /// Writes the rest and the header, and syncs.
    pub(super) fn finish(mut self) -> Result<Written, DiskError> {
        let length = self.chunks * CHUNK_BYTES as u64 + self.rest.len() as u64;
        if !self.rest.is_empty() {
            self.put_chunk()?;
        }
        self.put(0, &header(self.disk, &self.head, length))?;
        self.sync()?;
        self.done = true;
        let bytes =
            Arc::new(Content { path: self.path.clone(), handle: self.handle.clone(), content: self.content, length });
        let files = self.files.clone();
        let temporary = self.path.clone();
        Ok(Written { files, temporary, head: self.head.clone(), bytes, kept: AtomicBool::new(false) })
    }
}

impl Drop for Writing {
    fn drop(&mut self) {
        if !self.done {
            // What cannot be removed now is removed at the next opening.
            let _ = self.files.remove(&self.path);
        }
    }
}

/// A snapshot file that is whole, under its temporary name.
pub(super) struct Written {
    files: Arc<dyn Files>,
    temporary: PathBuf,
    pub(super) head: SnapshotHead,
    pub(super) bytes: Arc<Content>,
    kept: AtomicBool,
}

impl Written {
    /// Gives it its name.
    pub(super) fn keep(&self, directory: &Path) -> Result<KeptSnapshot, DiskError> {
        let path = directory.join(name_of(self.head.last));
        self.files.rename(&self.temporary, &path).map_err(|error| DiskError::io("rename", &self.temporary, &error))?;
        self.kept.store(true, Ordering::Relaxed);
        self.files.sync_directory(directory).map_err(|error| DiskError::io("sync", directory, &error))?;
        Ok(KeptSnapshot { head: self.head.clone(), bytes: self.bytes.clone() })
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        if !self.kept.load(Ordering::Relaxed) {
            let _ = self.files.remove(&self.temporary);
        }
    }
}

/// Opens a snapshot file. Its content is checked whenever it is read.
pub(super) fn open(files: &dyn Files, path: &Path, disk: u128) -> Result<KeptSnapshot, DiskError> {
    let failed = |error: &_| DiskError::io("read", path, error);
    let damaged = |what: &str| DiskError::damaged(path, 0, None, what);
    let handle = files.open(path, Open::Read).map_err(|error| failed(&error))?;
    let size = handle.length().map_err(|error| failed(&error))?;
    let mut fixed = [0; FIXED_BYTES];
    if handle.read_at(0, &mut fixed).map_err(|error| failed(&error))? < FIXED_BYTES || !fixed.starts_with(MAGIC) {
        return Err(damaged("it does not begin as a snapshot does"));
    }
    let short = |_| damaged("it ends in its header");
    let mut reader = Reader::new(&fixed[MAGIC.len()..]);
    let version = reader.u32("a version").map_err(short)?;
    let owner = reader.digest("a disk's id").map_err(short)?.0;
    let has_last = reader.u8("whether it has a last entry").map_err(short)?;
    let last = EntryId { term: reader.u64("a term").map_err(short)?, index: reader.u64("an index").map_err(short)? };
    let meta_length = reader.u32("a length").map_err(short)? as usize;
    if meta_length > META_BYTES_MAX {
        return Err(damaged("its header holds what it cannot"));
    }
    let mut all = vec![0; FIXED_BYTES + meta_length + 12];
    if handle.read_at(0, &mut all).map_err(|error| failed(&error))? < all.len() {
        return Err(damaged("it ends in its header"));
    }
    let (head, sum) = all.split_at(all.len() - 4);
    if crc32fast::hash(head).to_le_bytes() != sum {
        return Err(damaged("its header does not have its checksum"));
    }
    if version != VERSION {
        return Err(DiskError::Version { file: path.to_owned(), came: version, allowed: VERSION });
    }
    if last.index == u64::MAX {
        return Err(damaged("its header holds what it cannot"));
    }
    if owner != disk {
        return Err(damaged("it belongs to another disk"));
    }
    let (meta, length) = head[FIXED_BYTES..].split_at(meta_length);
    let length = Reader::new(length).u64("a length").map_err(short)?;
    let chunks = length.div_ceil(CHUNK_BYTES as u64);
    let expected = chunks.checked_mul(4).and_then(|sums| sums.checked_add(length)?.checked_add(all.len() as u64));
    if expected != Some(size) {
        return Err(damaged("it does not have the length that its header says"));
    }
    let head = SnapshotHead { last: (has_last == 1).then_some(last), meta: Bytes::copy_from_slice(meta) };
    let bytes = Arc::new(Content { path: path.to_owned(), handle, content: all.len() as u64, length });
    Ok(KeptSnapshot { head, bytes })
}

/// The content of a snapshot file.
pub(super) struct Content {
    path: PathBuf,
    handle: Arc<dyn FileHandle>,
    /// Where it begins in the file.
    content: u64,
    length: u64,
}

impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes in {}", self.length, self.path.display())
    }
}

impl SnapshotBytes for Content {
    fn length(&self) -> u64 {
        self.length
    }

    fn read(&self, offset: u64, max: usize) -> Result<Bytes, DiskError> {
        let end = self.length.min(offset.saturating_add(max as u64));
        if offset >= end {
            return Ok(Bytes::new());
        }
        let chunk_bytes = CHUNK_BYTES as u64;
        let (first, behind) = (offset / chunk_bytes, end.div_ceil(chunk_bytes));
        let from = self.content + first * (4 + chunk_bytes);
        let to = self.content
            + (behind - 1) * (4 + chunk_bytes)
            + 4
            + (self.length - (behind - 1) * chunk_bytes).min(chunk_bytes);
        let mut raw = vec![0; usize::try_from(to - from).expect("it is about as much as was asked for")];
        let read = self.handle.read_at(from, &mut raw).map_err(|error| DiskError::io("read", &self.path, &error))?;
        if read < raw.len() {
            return Err(DiskError::damaged(&self.path, from + read as u64, None, "it ends too early"));
        }
        let mut content = Vec::with_capacity(raw.len());
        for (number, chunk) in (first..).zip(raw.chunks(4 + CHUNK_BYTES)) {
            let (sum, chunk) = chunk.split_at(4);
            if checksum(number, chunk) != sum {
                let at = self.content + number * (4 + chunk_bytes);
                return Err(DiskError::damaged(&self.path, at, None, "a piece does not have its checksum"));
            }
            content.extend_from_slice(chunk);
        }
        let skip = usize::try_from(offset - first * chunk_bytes).expect("it is less than a chunk");
        let take = usize::try_from(end - offset).expect("it is at most what was asked for");
        Ok(Bytes::from(content).slice(skip..skip + take))
    }
}
