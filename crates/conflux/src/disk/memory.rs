//! A disk made of memory.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use conflux_core::bugs::{self, Bug};

use super::{
    Change, Contents, Disk, DiskError, Done, Draft, EntryId, Finished, Journal, KeptSnapshot, LogEntry, Opened,
    SnapshotBytes, SnapshotHead,
};

/// A disk made of memory: it outlives the node that writes on it, and not the process.
///
/// Open a node with the same value again and it goes on where it was; with a fresh one, it has lost its memory and
/// joins as new.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    shelf: Arc<Mutex<Shelf>>,
}

#[derive(Default)]
struct Shelf {
    identity: Option<Bytes>,
    vote: Option<Bytes>,
    committed: Option<EntryId>,
    purged: Option<EntryId>,
    /// Contiguous; the first follows `purged` in any log that the engine writes.
    entries: VecDeque<LogEntry>,
    snapshot: Option<KeptSnapshot>,
    /// A node has it open: two on one disk would write over each other.
    open: bool,
}

impl MemoryDisk {
    /// A disk with nothing on it.
    #[must_use]
    pub fn new() -> Self {
        MemoryDisk::default()
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many entries are in the log.
    #[cfg(test)]
    pub(crate) fn log_length(&self) -> usize {
        self.lock().entries.len()
    }
}

impl Disk for MemoryDisk {
    fn open(&self, _: &str) -> Result<Opened, DiskError> {
        let mut shelf = self.lock();
        if std::mem::replace(&mut shelf.open, true) {
            return Err(DiskError::InUse { disk: PathBuf::from("in memory"), by: " by another node".into() });
        }
        let contents = Contents {
            identity: shelf.identity.clone(),
            moved: false,
            vote: shelf.vote.clone(),
            committed: shelf.committed,
            purged: shelf.purged,
            entries: shelf.entries.iter().cloned().collect(),
            snapshot: shelf.snapshot.clone(),
        };
        let opened = OpenMemory { shelf: self.shelf.clone(), closed: Mutex::new(false) };
        Ok((contents, Arc::new(opened)))
    }

    fn blocks(&self) -> bool {
        false
    }
}

/// One opening of a memory disk.
struct OpenMemory {
    shelf: Arc<Mutex<Shelf>>,
    /// Taken before `shelf`. A task of a closed node must not write on what another has open by now.
    closed: Mutex<bool>,
}

impl Shelf {
    fn position(&self, index: u64) -> usize {
        let first = self.entries.front().map_or(index, |entry| entry.id.index);
        usize::try_from(index.saturating_sub(first)).map_or(usize::MAX, |at| at.min(self.entries.len()))
    }

    fn take(&mut self, change: Change) {
        match change {
            Change::Append(entries) => {
                for entry in entries {
                    self.entries.truncate(self.position(entry.id.index));
                    self.entries.push_back(entry);
                }
            }
            Change::Truncate(from) => self.entries.truncate(self.position(from)),
            Change::Purge(upto) => {
                self.entries.drain(..self.position(upto.index + 1));
                self.purged = Some(upto);
            }
            Change::Vote(vote) => self.vote = Some(vote),
            Change::Committed(id) => self.committed = Some(id),
            Change::Identity(identity) => self.identity = Some(identity),
        }
    }
}

impl OpenMemory {
    fn with<R>(&self, look: impl FnOnce(&mut Shelf) -> R) -> Result<R, DiskError> {
        let closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if *closed {
            return Err(DiskError::Closed);
        }
        Ok(look(&mut self.shelf.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}

impl Journal for OpenMemory {
    fn write(&self, change: Change, done: Done) {
        done(self.write_now(change));
    }

    fn write_now(&self, change: Change) -> Result<(), DiskError> {
        self.with(|shelf| shelf.take(change))
    }

    fn draft(&self, head: SnapshotHead) -> Result<Box<dyn Draft>, DiskError> {
        self.with(|_| ())?;
        Ok(Box::new(MemoryDraft { head, bytes: Vec::new(), shelf: self.shelf.clone() }))
    }

    fn snapshot(&self) -> Option<KeptSnapshot> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner).snapshot.clone()
    }

    fn failure(&self) -> Option<DiskError> {
        self.with(|_| ()).err()
    }

    fn blocks(&self) -> bool {
        false
    }

    fn takes_states_off_tasks(&self) -> bool {
        crate::process::has_threads()
    }

    fn close(&self) {
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::replace(&mut *closed, true) {
            self.shelf.lock().unwrap_or_else(PoisonError::into_inner).open = false;
        }
    }
}

impl Drop for OpenMemory {
    fn drop(&mut self) {
        self.close();
    }
}

struct MemoryDraft {
    head: SnapshotHead,
    bytes: Vec<u8>,
    shelf: Arc<Mutex<Shelf>>,
}

impl Draft for MemoryDraft {
    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<Arc<dyn Finished>, DiskError> {
        let bytes = Arc::new(InMemory(self.bytes.into()));
        Ok(Arc::new(MemoryFinished { kept: KeptSnapshot { head: self.head, bytes }, shelf: self.shelf }))
    }
}

struct MemoryFinished {
    kept: KeptSnapshot,
    shelf: Arc<Mutex<Shelf>>,
}

impl std::fmt::Debug for MemoryFinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.kept.fmt(f)
    }
}

impl Finished for MemoryFinished {
    fn bytes(&self) -> Arc<dyn SnapshotBytes> {
        self.kept.bytes.clone()
    }

    fn keep(&self) -> Result<bool, DiskError> {
        let mut shelf = self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let newer = shelf.snapshot.as_ref().is_none_or(|old| old.head.last <= self.kept.head.last)
            || bugs::is(Bug::OlderSnapshotOverNewer);
        if newer {
            shelf.snapshot = Some(self.kept.clone());
        }
        Ok(newer)
    }
}

struct InMemory(Bytes);

impl std::fmt::Debug for InMemory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes in memory", self.0.len())
    }
}

impl SnapshotBytes for InMemory {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&self, offset: u64, max: usize) -> Result<Bytes, DiskError> {
        let length = self.0.len();
        let from = usize::try_from(offset).map_or(length, |offset| offset.min(length));
        Ok(self.0.slice(from..length.min(from.saturating_add(max))))
    }

    fn read_all(&self) -> Result<Bytes, DiskError> {
        Ok(self.0.clone())
    }
}
