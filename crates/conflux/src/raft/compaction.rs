//! Snapshots of what is applied, and a log that stays short.

use std::sync::PoisonError;
use std::time::Duration;

use super::Engine;
use super::types::LogId;
use crate::stop::Stop;
use crate::watch;

/// When the log is compacted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compaction {
    /// More batches than this in the log make a snapshot.
    pub(crate) batches_max: usize,
    /// More bytes than this in the log make a snapshot.
    pub(crate) bytes_max: usize,
}

/// The log may have the bytes of this part of a snapshot, where that is more than it may have anyway.
const SNAPSHOT_PART: u64 = 4;

/// How many times its limits the log may have for the sake of a large snapshot: memory holds it, and a start goes through it.
const SCALE_MAX: u64 = 8;

impl Compaction {
    /// The limits where a snapshot has so many bytes. A large one is not written again for every few actions.
    fn beside(self, snapshot_bytes: u64) -> Compaction {
        let scale = (snapshot_bytes / SNAPSHOT_PART / self.bytes_max.max(1) as u64).clamp(1, SCALE_MAX) as usize;
        Compaction {
            batches_max: self.batches_max.saturating_mul(scale),
            bytes_max: self.bytes_max.saturating_mul(scale),
        }
    }
}

/// How long to wait for a snapshot before the engine is asked for one again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl Engine {
    /// Snapshots and purges when the log has outgrown its limits. Call whenever batches were applied.
    pub(crate) async fn compact(&self) {
        let _alone = self.compacting.lock().await;
        let (entries, bytes) = self.log.size();
        let Compaction { batches_max, bytes_max } = self.limits();
        if (entries <= batches_max && bytes <= bytes_max) || self.is_parted() {
            return;
        }
        let (new_entries, new_bytes) = self.log.size_after(self.log.snapshot_id());
        // The engine may put a purge off for a follower that is late: that is no reason for another snapshot.
        if (new_entries > batches_max / 2 || new_bytes > bytes_max / 2)
            && self.snapshot_upto(self.applied_id()).await.is_err()
        {
            return;
        }
        if let Some(built) = self.log.snapshot_id() {
            self.purge(built).await;
        }
    }

    /// Snapshots everything that is applied, and purges, whether or not the log has outgrown its limits. Gives the bytes of
    /// the snapshot, how many entries are in the log, and what `look` sees before: the snapshot holds it.
    pub(crate) async fn compact_now<R>(&self, look: impl FnOnce() -> R) -> Result<(u64, usize, R), Stop> {
        let _alone = self.compacting.lock().await;
        let (applied, seen) = {
            let position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
            (position.applied(), look())
        };
        self.snapshot_upto(applied).await?;
        if let Some(built) = self.log.snapshot_id()
            && let Some(upto) = self.purge(built).await
        {
            let mut metrics = self.raft.data_metrics();
            let purged = metrics.find(|metrics| metrics.purged.filter(|purged| purged.index >= upto));
            // The engine may put it off for a follower that is late.
            let _ = tokio::time::timeout(ASK_AGAIN, purged).await;
        }
        Ok((self.snapshot_bytes(), self.log.size().0, seen))
    }

    fn snapshot_bytes(&self) -> u64 {
        self.log.journal().snapshot().map_or(0, |kept| kept.bytes.length())
    }

    fn limits(&self) -> Compaction {
        self.compaction.beside(self.snapshot_bytes())
    }

    /// Sees to it that the disk's snapshot holds everything up to an entry that is applied. Whoever calls it holds
    /// `compacting`.
    pub(super) async fn snapshot_upto(&self, applied: Option<LogId>) -> Result<(), Stop> {
        let over = |error: String| Stop::Engine(self.stopped().unwrap_or(error));
        loop {
            let snapshot = self.log.snapshot_id();
            if snapshot >= applied {
                return Ok(());
            }
            if self.is_parted() {
                return Err(Stop::Engine(
                    "the state is another than that of most voters, and is being replaced".into(),
                ));
            }
            self.raft.trigger().snapshot().await.map_err(|error| over(error.to_string()))?;
            let mut metrics = self.raft.data_metrics();
            let built = metrics.find(|metrics| metrics.snapshot.filter(|built| Some(*built) > snapshot));
            // The engine passes over being asked while it builds one, or is not done with the last one.
            if let Ok(Err(watch::Gone)) = tokio::time::timeout(ASK_AGAIN, built).await {
                return Err(over("it was closed".into()));
            }
        }
    }

    /// A tail stays behind for followers that are only a little late: half of what the limits allow.
    async fn purge(&self, built: LogId) -> Option<u64> {
        let Compaction { batches_max, bytes_max } = self.limits();
        let upto = self.log.purgeable(built, batches_max / 2, bytes_max / 2)?;
        self.raft.trigger().purge_log(upto).await.is_ok().then_some(upto)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_snapshot_is_made_less_often() {
        let compaction = Compaction { batches_max: 100, bytes_max: 1_000 };
        let beside = |bytes| {
            let Compaction { batches_max, bytes_max } = compaction.beside(bytes);
            (batches_max, bytes_max)
        };
        assert_eq!([0, 7_999].map(beside), [(100, 1_000); 2]);
        assert_eq!([8_000, 20_000].map(beside), [(200, 2_000), (500, 5_000)]);
        assert_eq!([32_000, u64::MAX].map(beside), [(800, 8_000); 2]);
        let none = Compaction { batches_max: usize::MAX, bytes_max: 0 }.beside(1 << 40);
        assert_eq!((none.batches_max, none.bytes_max), (usize::MAX, 0));
    }
}
