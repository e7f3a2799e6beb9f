//! The engine's state machine: hands batches to the replica, makes snapshots and installs them.

use std::io::{self, Read, Write};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use conflux_core::bugs::{self, Bug};
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};
use tokio::time::Instant;

use super::log::{self, Log, head_of, meta_of};
use super::types::{Entry, LogId, Payload, Proposal, Snapshot, SnapshotMeta, StoredMembership, Types, Verdict};
use crate::disk::{DiskError, Draft, Finished, Journal, KeptSnapshot, SnapshotBytes, SnapshotHead};
use crate::stop::Stop;
use crate::watch;

/// A saved state on its way to be written: made under the lock, written outside it, a piece at a time.
pub(crate) type Saved = Box<dyn FnOnce(&mut dyn Write) -> Result<(), Stop> + Send + Sync>;

/// Puts a store that was read in place of the present one.
pub(crate) type Install = Box<dyn FnOnce() + Send>;

/// The typed side of a node, behind which no engine is seen.
pub(crate) trait Replica: Send + Sync + 'static {
    /// Takes the store through a run of batches and publishes the result once; one answer a batch.
    fn apply(&self, batches: &[Proposal]) -> Result<Vec<Verdict>, Stop>;

    /// The present store, to be written for a snapshot.
    fn save(&self) -> Saved;

    /// Reads a store of so many bytes. It takes the place of the present one when the result is called, which takes no time.
    fn restore(self: Arc<Self>, input: &mut dyn Read, length: u64) -> Result<Install, Stop>;

    /// Keeps why nothing more is applied here: the engine stops on an error, and tells it in its own words.
    fn say(&self, stop: &Stop);
}

/// So many bytes of a snapshot are read at once.
const PIECE_BYTES: usize = 1 << 20;

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
            restored(replica.clone(), &*bytes)?();
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

    /// Applies what the log holds, whether or not it is committed.
    #[cfg(feature = "bugs")]
    pub(super) fn run_ahead(&mut self, replica: &dyn Replica, log: &Log) -> Result<(), Stop> {
        let run = log.entries_between(self.applied, log.last(), usize::MAX);
        replica.apply(&batches(run.iter()))?;
        self.follow(run.iter());
        Ok(())
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
    if journal.blocks() { crate::process::off_task(act).await.map_err(io::Error::other) } else { Ok(act()) }
}

/// Runs what goes through a whole state, off the task where the disk asks for it.
pub(super) async fn off_task_state<R: Send + 'static>(
    journal: &Arc<dyn Journal>,
    act: impl FnOnce() -> R + Send + 'static,
) -> io::Result<R> {
    if journal.takes_states_off_tasks() {
        crate::process::off_task(act).await.map_err(io::Error::other)
    } else {
        Ok(act())
    }
}

/// What writes to a draft. A write that fails is kept: whoever writes cannot say so.
struct Drafted {
    draft: Box<dyn Draft>,
    failed: Option<DiskError>,
}

impl Write for Drafted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.draft.write(bytes) {
            Ok(()) => Ok(bytes.len()),
            Err(error) => {
                self.failed.get_or_insert_with(|| error.clone());
                Err(log::io_error(error))
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What reads a snapshot. A read that fails is kept, as above.
struct Opened<'a> {
    bytes: &'a dyn SnapshotBytes,
    offset: u64,
    piece: Bytes,
    failed: Option<DiskError>,
}

impl Read for Opened<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.piece.is_empty() {
            self.piece = self.bytes.read(self.offset, PIECE_BYTES).map_err(|error| {
                self.failed.get_or_insert_with(|| error.clone());
                log::io_error(error)
            })?;
            self.offset += self.piece.len() as u64;
        }
        let taken = self.piece.split_to(into.len().min(self.piece.len()));
        into[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

/// Reads a snapshot's store into a replica: a piece at a time, so that only what comes of it is held.
pub(super) fn restored(replica: Arc<dyn Replica>, bytes: &dyn SnapshotBytes) -> Result<Install, Stop> {
    let mut opened = Opened { bytes, offset: 0, piece: Bytes::new(), failed: None };
    let restored = replica.restore(&mut opened, bytes.length());
    // What cannot be read is no fault of what is in it.
    opened.failed.map_or(restored, |error| Err(error.into()))
}

/// Writes what a replica saves as a snapshot, a piece at a time.
fn write_saved(journal: &dyn Journal, head: SnapshotHead, saved: Saved) -> Result<Arc<dyn Finished>, Stop> {
    let mut drafted = Drafted { draft: journal.draft(head)?, failed: None };
    let written = saved(&mut drafted);
    drafted.failed.map_or(written, |error| Err(error.into()))?;
    Ok(drafted.draft.finish()?)
}

fn copy(journal: &dyn Journal, head: SnapshotHead, bytes: &dyn SnapshotBytes) -> Result<Arc<dyn Finished>, DiskError> {
    let mut draft = journal.draft(head)?;
    let mut offset = 0;
    while offset < bytes.length() {
        let piece = bytes.read(offset, PIECE_BYTES)?;
        draft.write(&piece)?;
        offset += piece.len() as u64;
    }
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
        Builder {
            saved: Some(self.replica.save()),
            position: position.clone(),
            log: self.log.clone(),
            #[cfg(feature = "bugs")]
            machine: self.position.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> Result<(), io::Error> {
        let SnapshotData { bytes, finished } = snapshot;
        let (replica, journal, head) = (self.replica.clone(), self.log.journal().clone(), head_of(meta));
        let begun = Instant::now();
        // First it must be one that can be read, then durable; then it is shown. All but that may take long.
        let installed = off_task_state(self.log.journal(), move || {
            let install = restored(replica.clone(), &*bytes).inspect_err(|stop| replica.say(stop)).map_err(io_error)?;
            let finished = finished.map_or_else(|| copy(&*journal, head, &*bytes), Ok);
            finished.and_then(|finished| finished.keep()).map_err(log::io_error)?;
            Ok::<_, io::Error>(install)
        });
        let install = installed.await??;
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
    #[cfg(feature = "bugs")]
    machine: Arc<Mutex<Position>>,
}

#[cfg(feature = "bugs")]
impl Builder {
    /// Takes its time, as a large state does; and gets the order wrong.
    async fn err(&mut self) {
        let slow = self.position.applied.is_some_and(|id| id.index % 2 == 1);
        if bugs::is(Bug::OlderSnapshotOverNewer) && slow {
            // Those of others, which are faster, overtake it.
            tokio::time::sleep(std::time::Duration::from_secs(8)).await;
        }
        if bugs::is(Bug::SnapshotIndexAhead) {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            self.position = self.machine.lock().unwrap_or_else(PoisonError::into_inner).clone();
        }
    }
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let saved = self.saved.take().ok_or_else(|| io::Error::other("a builder builds one snapshot"))?;
        #[cfg(feature = "bugs")]
        self.err().await;
        let mut meta =
            SnapshotMeta { last_log_id: self.position.applied, last_membership: self.position.membership.clone() };
        if bugs::is(Bug::SnapshotWithoutMembership) {
            meta.last_membership = StoredMembership::default();
        }
        let (journal, head) = (self.log.journal().clone(), head_of(&meta));
        let begun = Instant::now();
        let bytes = off_task_state(self.log.journal(), move || {
            let finished = write_saved(&*journal, head, saved).map_err(io_error)?;
            finished.keep().map_err(log::io_error)?;
            Ok::<_, io::Error>(finished.bytes())
        });
        let bytes = bytes.await??;
        self.log.snapshot_meters().built_time.record_time(begun.elapsed());
        Ok(Snapshot { meta, snapshot: SnapshotData { bytes, finished: None } })
    }
}
