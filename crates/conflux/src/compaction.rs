//! Snapshots that are asked for.

use std::time::Duration;

use conflux_core::{Container, Index};
use tokio::time::Instant;

use crate::core::Core;

/// What a snapshot that was asked for came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The place up to which the snapshot holds everything, at least.
    pub index: Index,
    /// Its bytes.
    pub bytes: u64,
    /// How many entries the log has now. A tail stays, for followers that are only a little late.
    pub log_entries: usize,
    /// How long it took.
    pub took: Duration,
}

/// A snapshot that could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompactError {
    /// The node is closed, or has stopped.
    #[error("no snapshot can be taken: {0}")]
    Stopped(String),
}

impl<C: Container> Core<C> {
    /// Takes a snapshot of everything that is applied when this is called, and cuts the log down.
    pub(crate) async fn compact_now(&self) -> Result<Compacted, CompactError> {
        if let Some(stopped) = self.stopped.borrow().clone() {
            return Err(CompactError::Stopped(stopped));
        }
        let begun = Instant::now();
        let done = self.engine.compact_now(|| self.local.index()).await;
        let (bytes, log_entries, index) = done.map_err(|stop| CompactError::Stopped(stop.to_string()))?;
        Ok(Compacted { index, bytes, log_entries, took: begun.elapsed() })
    }
}
