//! The log in memory, and the rest of what a node must not forget while it lives: vote, commit, snapshot, identity.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{LogIdOptionExt, RaftLogReader};

use super::types::{EngineVote, Entry, LogId, Payload, Proposal, SnapshotMeta, Types};
use crate::founding::Identity;

/// About how many bytes of the log go in one message.
const APPEND_BYTES: usize = 1024 * 1024;

/// A disk made of memory: it outlives the node that writes on it, and not the process.
///
/// Open a node with the same value again and it goes on where it was; with a fresh one, it has lost its memory and
/// joins as new.
#[derive(Clone, Default)]
pub struct MemoryDisk {
    shelf: Arc<Mutex<Shelf>>,
}

/// `purged <= snapshot <= applied <= committed <= last`, as far as each is known here.
#[derive(Default)]
pub(super) struct Shelf {
    identity: Option<Identity>,
    vote: Option<EngineVote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    /// Contiguous; the first follows `purged` in any log that the engine writes.
    entries: VecDeque<Entry>,
    /// The bytes of all batches in `entries`.
    bytes: usize,
    snapshot: Option<(SnapshotMeta, Bytes)>,
    /// Nodes that have it open: two on one disk would write over each other.
    open: bool,
}

impl Shelf {
    fn first_index(&self) -> u64 {
        self.entries.front().map_or_else(|| self.purged.next_index(), |entry| entry.index())
    }

    fn position(&self, index: u64) -> usize {
        usize::try_from(index.saturating_sub(self.first_index())).map_or(usize::MAX, |at| at.min(self.entries.len()))
    }

    fn last(&self) -> Option<LogId> {
        self.entries.back().map(|entry| entry.log_id()).or(self.purged)
    }
}

fn bytes_of(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Normal(proposal) => proposal.bytes.len(),
        _ => 0,
    }
}

impl MemoryDisk {
    /// A disk with nothing on it.
    #[must_use]
    pub fn new() -> Self {
        MemoryDisk::default()
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Marks the disk as in use; `false` when it is already.
    pub(crate) fn acquire(&self) -> bool {
        !std::mem::replace(&mut self.lock().open, true)
    }

    pub(crate) fn release(&self) {
        self.lock().open = false;
    }

    pub(crate) fn identity(&self) -> Option<Identity> {
        self.lock().identity.clone()
    }

    /// Changes the identity in one step; `None` when there is none.
    pub(crate) fn change_identity<R>(&self, change: impl FnOnce(&mut Identity) -> R) -> Option<R> {
        self.lock().identity.as_mut().map(change)
    }

    pub(crate) fn save_identity(&self, identity: Identity) {
        self.lock().identity = Some(identity);
    }

    pub(super) fn snapshot(&self) -> Option<(SnapshotMeta, Bytes)> {
        self.lock().snapshot.clone()
    }

    /// Keeps a snapshot unless a newer one is there: a build may be overtaken by an install.
    pub(super) fn save_snapshot(&self, meta: SnapshotMeta, bytes: Bytes) -> bool {
        let mut shelf = self.lock();
        let newer = shelf.snapshot.as_ref().is_none_or(|(old, _)| old.last_log_id <= meta.last_log_id);
        if newer {
            shelf.snapshot = Some((meta, bytes));
        }
        newer
    }

    /// How much is in the log: entries, and bytes of their batches.
    pub(crate) fn size(&self) -> (usize, usize) {
        let shelf = self.lock();
        (shelf.entries.len(), shelf.bytes)
    }

    /// The same, of what a snapshot does not hold.
    pub(super) fn size_after(&self, snapshot: Option<LogId>) -> (usize, usize) {
        let shelf = self.lock();
        let from = shelf.position(snapshot.next_index());
        (shelf.entries.len() - from, shelf.entries.range(from..).map(bytes_of).sum())
    }

    /// Up to which index the log can go, once a snapshot holds everything up to `built`, if a tail of at most `batches`
    /// entries and `bytes` bytes is to stay.
    pub(super) fn purgeable(&self, built: LogId, batches: usize, bytes: usize) -> Option<u64> {
        let shelf = self.lock();
        let end = shelf.position(built.index + 1);
        let mut kept = 0;
        let tail = shelf.entries.range(..end).rev().take(batches).take_while(|entry| {
            kept += bytes_of(entry);
            kept <= bytes
        });
        let gone = end - tail.count();
        (gone > 0).then(|| shelf.first_index() + gone as u64 - 1)
    }

    /// The batches of the log after an index.
    pub(super) fn proposals_after(&self, applied: Option<LogId>) -> Vec<Proposal> {
        let shelf = self.lock();
        let from = shelf.position(applied.next_index());
        let proposals = shelf.entries.range(from..).filter_map(|entry| match &entry.payload {
            Payload::Normal(proposal) => Some(proposal.clone()),
            _ => None,
        });
        proposals.collect()
    }
}

impl RaftLogReader<Types> for MemoryDisk {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        let shelf = self.lock();
        // What is purged is left out: the engine's suite wants the rest.
        let from = match range.start_bound() {
            Bound::Included(index) => shelf.position(*index),
            Bound::Excluded(index) => shelf.position(index + 1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => shelf.position(index + 1),
            Bound::Excluded(index) => shelf.position(*index),
            Bound::Unbounded => shelf.entries.len(),
        };
        Ok(shelf.entries.range(from..to.max(from)).cloned().collect())
    }

    /// About [`APPEND_BYTES`] at a time, and one entry at least: what one message to a follower carries.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        let mut entries = self.try_get_log_entries(start..end).await?;
        let mut bytes = 0;
        let fits = entries.iter().take_while(|entry| {
            let first = bytes == 0;
            bytes += bytes_of(entry) + 1;
            first || bytes <= APPEND_BYTES
        });
        let fits = fits.count();
        entries.truncate(fits);
        Ok(entries)
    }

    async fn read_vote(&mut self) -> Result<Option<EngineVote>, io::Error> {
        Ok(self.lock().vote.clone())
    }
}

impl RaftLogStorage<Types> for MemoryDisk {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let shelf = self.lock();
        Ok(LogState { last_purged_log_id: shelf.purged, last_log_id: shelf.last() })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &EngineVote) -> Result<(), io::Error> {
        self.lock().vote = Some(vote.clone());
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.lock().committed = committed;
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        {
            let mut shelf = self.lock();
            for entry in entries {
                let position = shelf.position(entry.index());
                // Entries that are there already are written over: a new leader's replace the old one's.
                let gone: usize = shelf.entries.range(position..).map(bytes_of).sum();
                shelf.entries.truncate(position);
                shelf.bytes = shelf.bytes - gone + bytes_of(&entry);
                shelf.entries.push_back(entry);
            }
        }
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let mut shelf = self.lock();
        let position = shelf.position(last.next_index());
        let gone: usize = shelf.entries.range(position..).map(bytes_of).sum();
        shelf.entries.truncate(position);
        shelf.bytes -= gone;
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let mut shelf = self.lock();
        let position = shelf.position(upto.index + 1);
        let gone: usize = shelf.entries.drain(..position).map(|entry| bytes_of(&entry)).sum();
        shelf.bytes -= gone;
        shelf.purged = Some(upto);
        Ok(())
    }
}
