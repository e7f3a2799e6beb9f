//! The engine's state machine: hands batches to the replica, makes snapshots and installs them.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftSnapshotBuilder, RaftStateMachine};

use super::log::MemoryDisk;
use super::types::{LogId, Payload, Proposal, Snapshot, SnapshotMeta, StoredMembership, Types, Verdict};
use crate::stop::Stop;

/// A saved state on its way to be written: made under the lock, written outside it.
pub(crate) type Saved = Box<dyn FnOnce() -> Result<Vec<u8>, Stop> + Send + Sync>;

/// The typed side of a node, behind which no engine is seen.
pub(crate) trait Replica: Send + Sync + 'static {
    /// Takes the store through a run of batches and publishes the result once; one answer a batch.
    fn apply(&self, batches: &[Proposal]) -> Result<Vec<Verdict>, Stop>;

    /// The present store, to be written for a snapshot.
    fn save(&self) -> Saved;

    /// Replaces the store.
    fn install(&self, bytes: &[u8]) -> Result<(), Stop>;
}

/// How many batches are applied before the result is published.
const RUN_MAX: usize = 64;

pub(super) struct Machine {
    replica: Arc<dyn Replica>,
    disk: MemoryDisk,
    position: Arc<Mutex<Position>>,
}

/// How far the machine is: kept beside the replica, under one lock with it while either changes.
#[derive(Clone, Default)]
pub(super) struct Position {
    applied: Option<LogId>,
    membership: StoredMembership,
}

impl Machine {
    /// Starts from the disk's snapshot, if there is one; the engine applies the committed log after it.
    pub(super) fn open(replica: Arc<dyn Replica>, disk: MemoryDisk) -> Result<Machine, Stop> {
        let mut position = Position::default();
        if let Some((meta, bytes)) = disk.snapshot() {
            replica.install(&bytes)?;
            position = Position { applied: meta.last_log_id, membership: meta.last_membership };
        }
        Ok(Machine { replica, disk, position: Arc::new(Mutex::new(position)) })
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
}

fn io_error(stop: Stop) -> io::Error {
    io::Error::other(stop)
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = Bytes;
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
            let batches: Vec<Proposal> = run
                .iter()
                .filter_map(|(entry, _)| match &entry.payload {
                    Payload::Normal(proposal) => Some(proposal.clone()),
                    _ => None,
                })
                .collect();
            let verdicts = {
                let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
                let verdicts = self.replica.apply(&batches).map_err(io_error)?;
                for (entry, _) in &run {
                    position.applied = Some(entry.log_id);
                    if let Payload::Membership(membership) = &entry.payload {
                        position.membership = StoredMembership::new(Some(entry.log_id), membership.clone());
                    }
                }
                verdicts
            };
            let mut verdicts = verdicts.into_iter();
            for (entry, responder) in run {
                let verdict = match entry.payload {
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
        Builder { saved: Some(self.replica.save()), position: position.clone(), disk: self.disk.clone() }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Bytes) -> Result<(), io::Error> {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        self.replica.install(&snapshot).map_err(io_error)?;
        *position = Position { applied: meta.last_log_id, membership: meta.last_membership.clone() };
        self.disk.save_snapshot(meta.clone(), snapshot);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        Ok(self.disk.snapshot().map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

pub(super) struct Builder {
    saved: Option<Saved>,
    position: Position,
    disk: MemoryDisk,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = Bytes;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let saved = self.saved.take().ok_or_else(|| io::Error::other("a builder builds one snapshot"))?;
        let snapshot = Bytes::from(saved().map_err(io_error)?);
        let meta =
            SnapshotMeta { last_log_id: self.position.applied, last_membership: self.position.membership.clone() };
        self.disk.save_snapshot(meta.clone(), snapshot.clone());
        Ok(Snapshot { meta, snapshot })
    }
}
