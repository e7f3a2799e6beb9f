//! A replica that parted from the others: it waits for the state of one that did not, and goes on from there.
//!
//! The engine is not told. It would refuse a snapshot of what it holds already, and the log of this member is as good as
//! ever: it goes on, and counts.

use std::sync::PoisonError;
use std::time::Duration;

use openraft::EmptyNode;
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};

use super::log;
use super::machine::{SnapshotData, off_task, restored};
use super::types::{LogId, Member, Snapshot, SnapshotMeta};
use super::{Engine, NotLeading, Refusal};
use crate::disk::Draft;
use crate::watch;

/// How long a piece of a snapshot may take to be answered.
const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How long the log may take to come to what a snapshot holds already.
const LOG_WAIT: Duration = Duration::from_secs(2);

impl Engine {
    /// Nothing more is applied until another member's state was put in place; if that is `still` so, which is asked while
    /// nobody can put one in place.
    pub(crate) fn part(&self, still: impl FnOnce() -> bool) -> bool {
        let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        let still = still();
        if still {
            position.part();
            // Before the first batch is passed over: whoever waits for that to be applied must know.
            self.parted.send(true);
        }
        still
    }

    /// Waits on whether the replica is parted.
    pub(crate) fn watch_parted(&self) -> watch::Receiver<bool> {
        self.parted.subscribe()
    }

    pub(crate) fn is_parted(&self) -> bool {
        *self.parted.borrow()
    }

    /// Sends the present state to a member that parted. Harmless while it is being sent already.
    pub(crate) async fn send_state(&self, to: &Member) -> Result<(), NotLeading> {
        if !self.sending.lock().unwrap_or_else(PoisonError::into_inner).insert(to.clone()) {
            return Ok(());
        }
        let _sending = Sending { engine: self, to };
        self.try_send_state(to).await
    }

    async fn try_send_state(&self, to: &Member) -> Result<(), NotLeading> {
        let failed = |error: &dyn std::fmt::Display| NotLeading(error.to_string());
        let snapshot = {
            let _alone = self.compacting.lock().await;
            self.snapshot_upto(self.applied_id()).await.map_err(|stop| failed(&stop))?;
            self.log.journal().snapshot().ok_or_else(|| failed(&"there is no state yet"))?
        };
        let meta = log::meta_of(&snapshot.head).map_err(|error| failed(&error))?;
        let snapshot = Snapshot { meta, snapshot: SnapshotData { bytes: snapshot.bytes, finished: None } };
        let vote = self.raft.server_metrics().borrow().vote.clone();
        let mut link = self.peers.clone().new_client(to.clone(), &EmptyNode {}).await;
        let sent = link.full_snapshot(vote, snapshot, std::future::pending(), RPCOption::new(ANSWER_WAIT)).await;
        sent.map(drop).map_err(|error| failed(&error))
    }

    /// Whether the log holds what a snapshot ends with, now or in a moment. Otherwise this member is late, too, and the
    /// engine takes the snapshot as from any leader.
    pub(super) async fn is_in_log(&self, last: Option<LogId>) -> bool {
        let Some(last) = last else { return false };
        let mut metrics = self.raft.data_metrics();
        let seen = metrics.find(|metrics| (metrics.last_log >= Some(last)).then_some(()));
        // Late or not, what the log holds now is what counts.
        let _ = tokio::time::timeout(LOG_WAIT, seen).await;
        self.log.holds(last)
    }

    /// Puts a snapshot in the place of the state that parted, and goes through what was passed over behind it.
    pub(super) async fn replace(&self, meta: SnapshotMeta, draft: Box<dyn Draft>) -> Result<(), Refusal> {
        let _alone = self.compacting.lock().await;
        let (replica, log, position) = (self.replica.clone(), self.log.clone(), self.position.clone());
        let parted = self.parted.clone();
        let put = off_task(self.log.journal(), move || {
            let finished = draft.finish()?;
            let install = restored(replica.clone(), &*finished.bytes()).map_err(|error| Refusal(error.to_string()))?;
            let mut there = position.lock().unwrap_or_else(PoisonError::into_inner);
            // What was published is not taken back.
            if there.applied() > meta.last_log_id {
                return Err(Refusal(format!("this state is older than the one here, at {:?}", there.applied())));
            }
            finished.keep()?;
            install();
            there.stand_at(&meta);
            // A run at a time: others want to know the position meanwhile, and more is passed over.
            while there.go_on(&*replica, &log).map_err(|error| Refusal(error.to_string()))? {
                drop(there);
                there = position.lock().unwrap_or_else(PoisonError::into_inner);
            }
            parted.send(false);
            Ok(())
        });
        put.await.map_err(|error| Refusal(error.to_string()))?
    }
}

/// A state is on its way to a member, until this goes.
struct Sending<'a> {
    engine: &'a Engine,
    to: &'a Member,
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.engine.sending.lock().unwrap_or_else(PoisonError::into_inner).remove(self.to);
    }
}
