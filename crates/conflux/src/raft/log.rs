//! The log as the engine reads it: in memory, all of it, and written to a disk.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use conflux_core::bugs::{self, Bug};
use openraft::entry::RaftEntry;
use openraft::storage::{IOFlushed, LogState, RaftLogStorage};
use openraft::{LogIdOptionExt, RaftLogReader};
use tokio::sync::oneshot;

use super::rpc::Message;
use super::types::{CommittedLeaderId, EngineVote, Entry, LogId, Membership, Payload, Proposal, SnapshotMeta, Types};
use crate::disk::{Change, Contents, DiskError, Done, EntryId, Journal, LogEntry, SnapshotHead};
use crate::metrics::{LogMetrics, SnapshotMeters};
use crate::stop::Stop;

/// About how many bytes of the log go in one message.
const APPEND_BYTES: usize = 1024 * 1024;

/// The log, and the way to the disk.
#[derive(Clone)]
pub(super) struct Log {
    shelf: Arc<Mutex<Shelf>>,
    journal: Arc<dyn Journal>,
    snapshots: Arc<SnapshotMeters>,
}

/// What the disk holds, or will in a moment. `purged <= snapshot <= applied <= committed <= last`, as far as each is known
/// here.
#[derive(Default)]
struct Shelf {
    vote: Option<EngineVote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    /// Contiguous; the first follows `purged` in any log that the engine writes.
    entries: VecDeque<Entry>,
    /// The bytes of all batches in `entries`.
    bytes: usize,
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

    fn is_inherited(&self, entry: &Entry) -> bool {
        self.vote.as_ref().is_some_and(|vote| entry.log_id.leader_id.term < vote.leader_id.term)
    }

    fn truncate(&mut self, position: usize) {
        let gone: usize = self.entries.range(position..).map(bytes_of).sum();
        self.entries.truncate(position);
        self.bytes -= gone;
    }
}

fn bytes_of(entry: &Entry) -> usize {
    match &entry.payload {
        Payload::Normal(proposal) => proposal.bytes.len(),
        _ => 0,
    }
}

pub(super) fn entry_id(id: LogId) -> EntryId {
    EntryId { term: id.leader_id.term, index: id.index }
}

pub(super) fn log_id(id: EntryId) -> LogId {
    LogId { leader_id: CommittedLeaderId { term: id.term }, index: id.index }
}

const BLANK: u8 = 0;
const BATCH: u8 = 1;
const MEMBERSHIP: u8 = 2;

/// Whether an entry of a disk carries a batch.
pub fn is_batch(entry: &LogEntry) -> bool {
    entry.kind == BATCH
}

fn to_disk(entry: &Entry) -> LogEntry {
    let (kind, bytes) = match &entry.payload {
        Payload::Blank => (BLANK, Bytes::new()),
        Payload::Normal(proposal) => (BATCH, proposal.bytes.clone()),
        Payload::Membership(membership) => (MEMBERSHIP, membership.encode()),
    };
    LogEntry { id: entry_id(entry.log_id), kind, bytes }
}

pub(super) fn from_disk(entry: LogEntry) -> Result<Entry, Stop> {
    let unusable = |what: String| Stop::Contents(format!("entry {}", entry.id), what);
    let payload = match entry.kind {
        BLANK => Payload::Blank,
        BATCH => Payload::Normal(Proposal::received(entry.bytes)),
        MEMBERSHIP => {
            Payload::Membership(Membership::decode(&entry.bytes).map_err(|error| unusable(error.to_string()))?)
        }
        other => return Err(unusable(format!("it is of kind {other}, which is not known"))),
    };
    Ok(Entry { log_id: log_id(entry.id), payload })
}

/// What is said of a snapshot on the disk.
pub(super) fn head_of(meta: &SnapshotMeta) -> SnapshotHead {
    SnapshotHead { last: meta.last_log_id.map(entry_id), meta: meta.encode() }
}

/// The other way.
pub(super) fn meta_of(head: &SnapshotHead) -> Result<SnapshotMeta, Stop> {
    SnapshotMeta::decode(&head.meta).map_err(|error| Stop::Contents("the snapshot".into(), error.to_string()))
}

pub(super) fn io_error(error: DiskError) -> io::Error {
    io::Error::other(error)
}

impl Log {
    /// Takes up what a disk holds.
    pub(super) fn open(contents: Contents, journal: Arc<dyn Journal>) -> Result<Log, Stop> {
        let Contents { vote, committed, mut purged, mut entries, snapshot, .. } = contents;
        // A snapshot was kept, and what comes of it for the log was not written any more: what it holds goes, and what
        // contradicts it with all behind it (Raft, section 7).
        if let Some(last) = snapshot.and_then(|snapshot| snapshot.head.last)
            && purged.is_none_or(|purged| purged.index < last.index)
            && !entries.iter().any(|entry| entry.id == last)
        {
            journal.write_now(Change::Truncate(purged.map_or(0, |purged| purged.index + 1)))?;
            journal.write_now(Change::Purge(last))?;
            entries.clear();
            purged = Some(last);
        }
        let vote = vote.map(|vote| EngineVote::decode(&vote)).transpose();
        let vote = vote.map_err(|error| Stop::Contents("the vote".into(), error.to_string()))?;
        let entries = entries.into_iter().map(from_disk).collect::<Result<VecDeque<_>, _>>()?;
        let bytes = entries.iter().map(bytes_of).sum();
        let (committed, purged) = (committed.map(log_id), purged.map(log_id));
        let shelf = Shelf { vote, committed, purged, entries, bytes };
        Ok(Log { shelf: Arc::new(Mutex::new(shelf)), journal, snapshots: Arc::default() })
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn journal(&self) -> &Arc<dyn Journal> {
        &self.journal
    }

    /// What is measured of the snapshots of this log.
    pub(super) fn snapshot_meters(&self) -> &Arc<SnapshotMeters> {
        &self.snapshots
    }

    /// How far it is. `applied` is asked in between, so that the order of the indexes holds.
    pub(super) fn metrics(&self, applied: impl FnOnce() -> Option<LogId>) -> LogMetrics {
        let purged = self.lock().purged.map(|id| id.index);
        let snapshot = self.snapshot_id().map(|id| id.index);
        let applied = applied().map(|id| id.index);
        let shelf = self.lock();
        LogMetrics {
            last: shelf.last().map(|id| id.index),
            committed: shelf.committed.map(|id| id.index),
            applied,
            snapshot,
            purged,
            entries: shelf.entries.len(),
            bytes: shelf.bytes,
        }
    }

    /// The last entry of the disk's snapshot.
    pub(super) fn snapshot_id(&self) -> Option<LogId> {
        self.journal.snapshot().and_then(|snapshot| snapshot.head.last).map(log_id)
    }

    /// Hands a change to the disk of which nobody waits to hear: what is handed over after it fails if it does.
    fn write(&self, change: Change) {
        self.journal.write(change, Box::new(|_| ()));
    }

    /// How much is in the log: entries, and bytes of their batches.
    pub(super) fn size(&self) -> (usize, usize) {
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

    /// Everything in the log, how far it is known to be committed, and the last entry that was purged.
    pub(super) fn contents(&self) -> (Vec<LogEntry>, Option<EntryId>, Option<EntryId>) {
        let shelf = self.lock();
        (shelf.entries.iter().map(to_disk).collect(), shelf.committed.map(entry_id), shelf.purged.map(entry_id))
    }

    /// The last entry that is in the log, or was.
    #[cfg(feature = "bugs")]
    pub(super) fn last(&self) -> Option<LogId> {
        self.lock().last()
    }

    /// Whether this entry is in the log, or was and is purged.
    pub(super) fn holds(&self, id: LogId) -> bool {
        let shelf = self.lock();
        let position = shelf.position(id.index);
        let found = shelf.entries.get(position).is_some_and(|entry| entry.log_id == id);
        found || shelf.purged.is_some_and(|purged| purged.index >= id.index)
    }

    /// The entries after one up to another, at most so many.
    pub(super) fn entries_between(&self, after: Option<LogId>, upto: Option<LogId>, max: usize) -> Vec<Entry> {
        let shelf = self.lock();
        let (from, to) = (shelf.position(after.next_index()), shelf.position(upto.next_index()));
        shelf.entries.range(from..to.max(from)).take(max).cloned().collect()
    }

    /// The batches of the log after an index.
    pub(super) fn proposals_after(&self, applied: Option<LogId>) -> Vec<Proposal> {
        let shelf = self.lock();
        let from = shelf.position(applied.next_index());
        let proposals = shelf.entries.range(from..).filter_map(|entry| match &entry.payload {
            Payload::Normal(_) if bugs::is(Bug::ProvisionalWithoutTail) && shelf.is_inherited(entry) => None,
            Payload::Normal(proposal) => Some(proposal.clone()),
            _ => None,
        });
        proposals.collect()
    }
}

impl RaftLogReader<Types> for Log {
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

impl RaftLogStorage<Types> for Log {
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
        if bugs::is(Bug::VoteBehindLog) {
            return Ok(());
        }
        let (sender, receiver) = oneshot::channel();
        let done: Done = Box::new(move |result| drop(sender.send(result)));
        self.journal.write(Change::Vote(vote.encode()), done);
        if bugs::is(Bug::VoteBeforeSync) {
            return Ok(());
        }
        receiver.await.unwrap_or(Err(DiskError::Closed)).map_err(io_error)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.lock().committed = committed;
        if let Some(committed) = committed {
            self.write(Change::Committed(entry_id(committed)));
        }
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
        let mut written = Vec::new();
        {
            let mut shelf = self.lock();
            for entry in entries {
                written.push(to_disk(&entry));
                // Entries that are there already are written over: a new leader's replace the old one's.
                let position = shelf.position(entry.index());
                shelf.truncate(position);
                shelf.bytes += bytes_of(&entry);
                shelf.entries.push_back(entry);
            }
        }
        // Readable from here on; durable once the disk says so.
        let mut done: Done = Box::new(move |result| callback.io_completed(result.map_err(io_error)));
        if bugs::is(Bug::AppendBeforeSync) {
            std::mem::replace(&mut done, Box::new(|_| ()))(Ok(()));
        }
        self.journal.write(Change::Append(written), done);
        let late = self.lock().vote.as_ref().filter(|_| bugs::is(Bug::VoteBehindLog)).map(Message::encode);
        if let Some(vote) = late {
            self.write(Change::Vote(vote));
        }
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        let from = last.next_index();
        let mut shelf = self.lock();
        let position = shelf.position(from);
        shelf.truncate(position);
        drop(shelf);
        self.write(Change::Truncate(from.saturating_sub(u64::from(bugs::is(Bug::HoleAfterTruncate)))));
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        let mut shelf = self.lock();
        let position = shelf.position(upto.index + 1);
        let gone: usize = shelf.entries.drain(..position).map(|entry| bytes_of(&entry)).sum();
        shelf.bytes -= gone;
        shelf.purged = Some(upto);
        drop(shelf);
        // The engine purges what a snapshot that was kept holds.
        self.write(Change::Purge(entry_id(upto)));
        Ok(())
    }
}
