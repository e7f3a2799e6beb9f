//! The engine's state machine: hands batches to the replica, makes snapshots and installs them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use tokio::time::Instant;

use super::log::{self, Log, head_of, meta_of};
use super::types::{Entry, LogId, Payload, Proposal, Snapshot, SnapshotMeta, StoredMembership, Types, Verdict};
use crate::disk::{DiskError, Finished, Journal, KeptSnapshot, SnapshotBytes, SnapshotHead};
use crate::stop::Stop;
use crate::watch;

/// A saved state on its way to be written: made under the lock, written outside it.
pub(crate) type Saved = Box<dyn FnOnce() -> Result<Vec<u8>, Stop> + Send + Sync>;

/// Puts a store that was read in place of the present one.
pub(crate) type Install = Box<dyn FnOnce() + Send>;

/// The typed side of a node, behind which no engine is seen.
pub(crate) trait Replica: Send + Sync + 'static {
    /// Takes the store through a run of batches and publishes the result once; one answer a batch.
    fn apply(&self, batches: &[Proposal]) -> Result<Vec<Verdict>, Stop>;

    /// The present store, to be written for a snapshot.
    fn save(&self) -> Saved;

    /// Reads a store. It takes the place of the present one when the result is called, which takes no time.
    fn restore(self: Arc<Self>, bytes: &[u8]) -> Result<Install, Stop>;
}

/// How many batches are applied before the result is published.
const RUN_MAX: usize = 64;

pub(super) struct Machine {
    replica: Arc<dyn Replica>,
    log: Log,
    position: Arc<Mutex<Position>>,
    parted: watch::Sender<bool>,
}

/// How far the machine is: kept beside the replica, under one lock with it while either changes.
#[derive(Clone, Default)]
pub(super) struct Position {
    applied: Option<LogId>,
    /// The same, for those who must not wait for reducers.
    told: Arc<Mutex<Option<LogId>>>,
    membership: StoredMembership,
    /// The replica parted from the others and waits for another state. The engine goes on: its log counts for others.
    parted: bool,
    /// What came to be applied meanwhile, and was not.
    passed: Option<LogId>,
}

impl Machine {
    /// Starts from the disk's snapshot, if there is one; the engine applies the committed log after it.
    pub(super) fn open(replica: Arc<dyn Replica>, log: Log, parted: watch::Sender<bool>) -> Result<Machine, Stop> {
        let mut position = Position::default();
        if let Some(KeptSnapshot { head, bytes }) = log.journal().snapshot() {
            let meta = meta_of(&head)?;
            (replica.clone().restore(&bytes.read_all()?)?)();
            position.stand_at(&meta);
        }
        Ok(Machine { replica, log, position: Arc::new(Mutex::new(position)), parted })
    }

    /// How far it is, readable from outside the engine.
    pub(super) fn position(&self) -> Arc<Mutex<Position>> {
        self.position.clone()
    }
}

impl Position {
    pub(super) fn applied(&self) -> Option<LogId> {
        self.applied
    }

    /// How far it is, readable while something is applied.
    pub(super) fn told(&self) -> Arc<Mutex<Option<LogId>>> {
        self.told.clone()
    }

    /// From now on nothing is applied, until there is another state.
    pub(super) fn part(&mut self) {
        self.parted = true;
    }

    /// Goes on with another state that was put in place, through a run of what was passed over behind it. When there was
    /// none any more, it is not parted, and this gives false.
    pub(super) fn go_on(&mut self, replica: &dyn Replica, log: &Log) -> Result<bool, Stop> {
        let run = log.entries_between(self.applied, self.passed, RUN_MAX);
        if run.is_empty() {
            (self.parted, self.passed) = (false, None);
            return Ok(false);
        }
        replica.apply(&batches(run.iter()))?;
        self.follow(run.iter());
        Ok(true)
    }

    /// Stands where a snapshot ends.
    pub(super) fn stand_at(&mut self, meta: &SnapshotMeta) {
        self.applied = meta.last_log_id;
        self.membership = meta.last_membership.clone();
        self.tell();
    }

    fn tell(&self) {
        *self.told.lock().unwrap_or_else(PoisonError::into_inner) = self.applied;
    }

    /// Takes note of entries that were applied.
    fn follow<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) {
        for entry in entries {
            self.applied = Some(entry.log_id);
            if let Payload::Membership(membership) = &entry.payload {
                self.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
            }
        }
        self.tell();
    }
}

fn batches<'a>(entries: impl Iterator<Item = &'a Entry>) -> Vec<Proposal> {
    let proposals = entries.filter_map(|entry| match &entry.payload {
        Payload::Normal(proposal) => Some(proposal.clone()),
        _ => None,
    });
    proposals.collect()
}

/// A snapshot's content, wherever it lies.
#[derive(Clone, Debug)]
pub(super) struct SnapshotData {
    pub(super) bytes: Arc<dyn SnapshotBytes>,
    /// It was written to this disk as it came in, which has still to keep it.
    pub(super) finished: Option<Arc<dyn Finished>>,
}

/// Runs what may wait for a disk, off the task if it does.
pub(crate) async fn off_task<R: Send + 'static>(
    journal: &Arc<dyn Journal>,
    act: impl FnOnce() -> R + Send + 'static,
) -> io::Result<R> {
    // When the runtime shuts down, it is not run, and there is nobody left to tell.
    if journal.blocks() { tokio::task::spawn_blocking(act).await.map_err(io::Error::other) } else { Ok(act()) }
}

fn write_snapshot(journal: &dyn Journal, head: SnapshotHead, content: &[u8]) -> Result<Arc<dyn Finished>, DiskError> {
    let mut draft = journal.draft(head)?;
    draft.write(content)?;
    draft.finish()
}

fn io_error(stop: Stop) -> io::Error {
    io::Error::other(stop)
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        Ok((position.applied, position.membership.clone()))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        let mut runs = entries.ready_chunks(RUN_MAX);
        while let Some(run) = runs.next().await {
            let run = run.into_iter().collect::<Result<Vec<_>, _>>()?;
            let (applied_before, verdicts) = {
                let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
                // The first index is 0.
                let before = position.applied.map(|applied| applied.index);
                // What a state that was put in place holds already is not applied again.
                let fresh = || run.iter().map(|(entry, _)| entry).filter(|entry| Some(entry.log_id.index) > before);
                if position.parted {
                    position.passed = run.last().map(|(entry, _)| entry.log_id);
                    (Some(u64::MAX), Vec::new())
                } else {
                    let verdicts = self.replica.apply(&batches(fresh())).map_err(io_error)?;
                    position.follow(fresh());
                    (before, verdicts)
                }
            };
            let mut verdicts = verdicts.into_iter();
            for (entry, responder) in run {
                let verdict = match entry.payload {
                    Payload::Normal(_) if Some(entry.log_id.index) <= applied_before => Verdict::Skipped,
                    Payload::Normal(_) => verdicts.next().expect("one verdict a batch"),
                    _ => Verdict::Applied,
                };
                if let Some(responder) = responder {
                    responder.send(verdict);
                }
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // Position and state are taken together, so that the snapshot's index is that of its state.
        let position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        Builder { saved: Some(self.replica.save()), position: position.clone(), log: self.log.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let SnapshotData { bytes, finished } = snapshot;
        let (replica, journal, head) = (self.replica.clone(), self.log.journal().clone(), head_of(meta));
        let begun = Instant::now();
        // First it must be one that can be read, then durable; then it is shown. All but that may take long.
        let restored = off_task(self.log.journal(), move || {
            let content = bytes.read_all().map_err(log::io_error)?;
            let install = replica.restore(&content).map_err(io_error)?;
            let finished = finished.map_or_else(|| write_snapshot(&*journal, head, &content), Ok);
            finished.and_then(|finished| finished.keep()).map_err(log::io_error)?;
            Ok::<_, io::Error>(install)
        });
        let install = restored.await??;
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        install();
        // Whatever it held before is gone, and with it what it may have parted by.
        (position.parted, position.passed) = (false, None);
        position.stand_at(meta);
        drop(position);
        self.parted.send(false);
        self.log.snapshot_meters().installed_time.record_time(begun.elapsed());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        let Some(KeptSnapshot { head, bytes }) = self.log.journal().snapshot() else { return Ok(None) };
        let meta = meta_of(&head).map_err(io_error)?;
        Ok(Some(Snapshot { meta, snapshot: SnapshotData { bytes, finished: None } }))
    }
}

pub(super) struct Builder {
    saved: Option<Saved>,
    position: Position,
    log: Log,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let saved = self.saved.take().ok_or_else(|| io::Error::other("a builder builds one snapshot"))?;
        let meta =
            SnapshotMeta { last_log_id: self.position.applied, last_membership: self.position.membership.clone() };
        let (journal, head) = (self.log.journal().clone(), head_of(&meta));
        let begun = Instant::now();
        let bytes = off_task(self.log.journal(), move || {
            let content = saved().map_err(io_error)?;
            let finished = write_snapshot(&*journal, head, &content)?;
            conflux_core::release(content);
            finished.keep()?;
            Ok::<_, SnapshotError>(finished.bytes())
        });
        let bytes = bytes.await?.map_err(|SnapshotError(error)| error)?;
        self.log.snapshot_meters().built_time.record_time(begun.elapsed());
        Ok(Snapshot { meta, snapshot: SnapshotData { bytes, finished: None } })
    }
}

struct SnapshotError(io::Error);

impl From<io::Error> for SnapshotError {
    fn from(error: io::Error) -> Self {
        SnapshotError(error)
    }
}

impl From<DiskError> for SnapshotError {
    fn from(error: DiskError) -> Self {
        SnapshotError(log::io_error(error))
    }
}
