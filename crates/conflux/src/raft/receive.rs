//! A snapshot on its way in: its pieces become a draft, and the whole becomes the engine's.
//!
//! At most one is on its way, and at most one piece of it waits to be written. Files are touched beside the task that takes
//! messages in.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse};
use tokio::task::JoinHandle;

use super::log::head_of;
use super::machine::{SnapshotData, off_task};
use super::rpc::Piece;
use super::types::{EngineVote, Member, Snapshot, SnapshotMeta, Types};
use super::{Engine, Refusal};
use crate::disk::{DiskError, Draft};
use crate::process;
use crate::watch;

/// The largest snapshot that is taken in.
const SNAPSHOT_BYTES_MAX: u64 = 64 << 30;

/// The largest piece of it. Smaller ones are sent.
const PIECE_BYTES_MAX: usize = 4 << 20;

/// How long the answer to a snapshot's last piece waits for the snapshot to be taken up. Well below what the sender allows
/// for one answer: it asks again.
const INSTALL_WAIT: Duration = Duration::from_secs(2);

/// A snapshot on its way in.
pub(super) struct Receiving {
    from: Member,
    meta: SnapshotMeta,
    total: u64,
    received: u64,
    stage: Stage,
}

type Outcome = watch::Receiver<Option<Result<SnapshotResponse<Types>, String>>>;

enum Stage {
    /// A piece is being written, to the disk or to memory.
    Writing,
    /// The next piece is waited for.
    Collecting(Box<dyn Draft>),
    /// All are there, and it is taken up.
    Installing(JoinHandle<()>, Outcome),
}

impl Receiving {
    fn is_of(&self, sender: &Member, piece: &Piece) -> bool {
        self.from == *sender && (&self.meta, self.total) == (&piece.meta, piece.total)
    }
}

/// What comes next of a piece.
enum Next {
    /// It is written: behind what is there, or, with none, in the place of what was there before.
    Write(Option<Box<dyn Draft>>, Option<Receiving>),
    /// All were written, and the outcome is waited for.
    Wait(Outcome),
}

impl Engine {
    /// Takes a piece of a snapshot; answers with the outcome once it is whole and taken up. A piece of nothing behind the
    /// end asks for the outcome.
    pub(super) async fn receive(
        self: &Arc<Self>,
        from: &str,
        piece: Piece,
    ) -> Result<Option<SnapshotResponse<Types>>, Refusal> {
        let sender = piece.vote.leader_id.voted_for.clone();
        if &*sender.name != from {
            return Err(Refusal(format!("{from} sent a snapshot in the name of {sender}")));
        }
        let (total, length) = (piece.total, piece.bytes.len());
        if total == 0 || total > SNAPSHOT_BYTES_MAX {
            return Err(Refusal(format!("a snapshot of {total} bytes: 1 to {SNAPSHOT_BYTES_MAX} are allowed")));
        }
        if length > PIECE_BYTES_MAX {
            return Err(Refusal(format!("a piece of {length} bytes: at most {PIECE_BYTES_MAX} are allowed")));
        }
        let outcome = match self.next(&sender, &piece)? {
            Next::Wait(outcome) => outcome,
            Next::Write(draft, before) => {
                let (log, meta, bytes) = (self.log.clone(), piece.meta.clone(), piece.bytes.clone());
                let written = off_task(self.log.journal(), move || {
                    // Its file is removed.
                    drop(before);
                    let mut draft = match draft {
                        Some(draft) => draft,
                        None => log.journal().draft(head_of(&meta))?,
                    };
                    draft.write(&bytes)?;
                    Ok::<_, DiskError>(draft)
                });
                let written =
                    written.await.map_err(|error| Refusal(error.to_string())).and_then(|written| Ok(written?));
                match self.written(piece, written)? {
                    Some(outcome) => outcome,
                    None => return Ok(None),
                }
            }
        };
        match tokio::time::timeout(INSTALL_WAIT, outcome.clone().find(Clone::clone)).await {
            Err(_) => Ok(None),
            Ok(Ok(outcome)) => outcome.map(Some).map_err(Refusal),
            Ok(Err(watch::Gone)) => Err(Refusal("it was not taken up".into())),
        }
    }

    /// What comes next of a piece; from here on to [`written`](Self::written) no other is taken.
    fn next(&self, sender: &Member, piece: &Piece) -> Result<Next, Refusal> {
        let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        match receiving.as_mut().map(|current| (current.is_of(sender, piece), &current.stage)) {
            Some((_, Stage::Writing)) => {
                return Err(Refusal("an earlier piece of a snapshot is being written still".into()));
            }
            Some((is_same, Stage::Installing(task, outcome))) if !task.is_finished() => {
                return match is_same {
                    // Also when it is sent anew, because an answer was lost.
                    true => Ok(Next::Wait(outcome.clone())),
                    false => Err(Refusal("an earlier snapshot is being taken up still".into())),
                };
            }
            _ => {}
        }
        if piece.offset == 0 {
            let (from, meta, total) = (sender.clone(), piece.meta.clone(), piece.total);
            let fresh = Receiving { from, meta, total, received: 0, stage: Stage::Writing };
            return Ok(Next::Write(None, receiving.replace(fresh)));
        }
        let Some(current) = receiving.as_mut().filter(|current| {
            current.is_of(sender, piece)
                && current.received == piece.offset
                && piece.bytes.len() as u64 <= current.total - current.received
        }) else {
            return Err(Refusal(format!("a piece at {} does not go on where the last one ended", piece.offset)));
        };
        match std::mem::replace(&mut current.stage, Stage::Writing) {
            Stage::Collecting(draft) => Ok(Next::Write(Some(draft), None)),
            Stage::Installing(task, outcome) => {
                let told = outcome.clone();
                current.stage = Stage::Installing(task, outcome);
                Ok(Next::Wait(told))
            }
            Stage::Writing => unreachable!("a piece that is being written was seen above"),
        }
    }

    /// Takes note that a piece was written, and begins to take the whole up when it was the last.
    fn written(
        self: &Arc<Self>,
        piece: Piece,
        written: Result<Box<dyn Draft>, Refusal>,
    ) -> Result<Option<Outcome>, Refusal> {
        let mut receiving = self.receiving.lock().unwrap_or_else(PoisonError::into_inner);
        let draft = match written {
            Ok(draft) => draft,
            Err(refusal) => {
                *receiving = None;
                return Err(refusal);
            }
        };
        let current = receiving.as_mut().expect("nothing takes the place of a piece that is being written");
        current.received += piece.bytes.len() as u64;
        if current.received < current.total {
            current.stage = Stage::Collecting(draft);
            return Ok(None);
        }
        let (said, outcome) = watch::channel(None);
        let engine = self.clone();
        // A task of its own: it may take longer than any answer may be waited for.
        let task = process::spawn(async move {
            let installed = engine.install(piece.vote, piece.meta, draft).await;
            said.send(Some(installed.map_err(|Refusal(reason)| reason)));
        });
        current.stage = Stage::Installing(task, outcome.clone());
        Ok(Some(outcome))
    }

    async fn install(
        &self,
        vote: EngineVote,
        meta: SnapshotMeta,
        draft: Box<dyn Draft>,
    ) -> Result<SnapshotResponse<Types>, Refusal> {
        if self.is_parted() && self.is_in_log(meta.last_log_id).await {
            self.replace(meta, draft).await?;
            return Ok(SnapshotResponse::new(vote));
        }
        // The engine (0.10.0-alpha.37) breaks on a snapshot of what its log holds already, uncommitted, and more: it takes
        // the snapshot's last entry for the end of the log (`log_progress.submit` in `run_state_machine`). A leader that
        // has just begun may send one. So it is asked first whether the log fits, as by an append of nothing.
        let append = AppendEntriesRequest {
            vote: vote.clone(),
            prev_log_id: meta.last_log_id,
            entries: Vec::new(),
            leader_commit: meta.last_log_id,
        };
        match self.raft.append_entries(append).await? {
            AppendEntriesResponse::Success => Ok(SnapshotResponse::new(vote)),
            AppendEntriesResponse::HigherVote(vote) => Ok(SnapshotResponse::new(vote)),
            AppendEntriesResponse::Conflict | AppendEntriesResponse::PartialSuccess(_) => {
                let finished = off_task(self.log.journal(), move || draft.finish()).await;
                let finished = finished.map_err(|error| Refusal(error.to_string()))??;
                let snapshot = SnapshotData { bytes: finished.bytes(), finished: Some(finished) };
                Ok(self.raft.install_full_snapshot(vote, Snapshot { meta, snapshot }).await?)
            }
        }
    }
}
