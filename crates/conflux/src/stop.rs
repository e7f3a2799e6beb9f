//! Why a node goes no further.

use conflux_core::{BatchError, Halt, PayloadError, RestoreError};

use crate::disk::DiskError;

/// A node that stops by itself says why. None of these is ever skipped over.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// A batch cannot be applied here.
    #[error(transparent)]
    Halt(#[from] Halt),
    /// A batch cannot be read.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// A snapshot cannot be used.
    #[error(transparent)]
    Restore(#[from] RestoreError),
    /// The state cannot be written for a snapshot.
    #[error("the state cannot be saved: {0}")]
    Save(#[from] PayloadError),
    /// This node was removed from its cluster.
    #[error(
        "this node was removed from its cluster; to let it in again as a new one, give it an empty disk and the name a seat"
    )]
    Removed,
    /// The disk cannot be used, or not any more.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Something on the disk is whole, and not what this version writes.
    #[error("{0} on the disk cannot be used: {1}")]
    Contents(String, String),
    /// The engine stopped.
    #[error("the engine stopped: {0}")]
    Engine(String),
}

impl Stop {
    /// Whether what the node held explains why it stopped. A disk that failed is not written to, either.
    pub(crate) fn leaves_incident(&self) -> bool {
        !matches!(self, Stop::Removed | Stop::Disk(_))
    }

    /// Whether another version or other code of the container made what the node is to go on with: somebody changed it.
    /// [`Recovery::changed`](crate::Recovery::changed) goes on with the one at hand.
    #[must_use]
    pub fn is_other_code(&self) -> bool {
        matches!(self, Stop::Halt(halt) | Stop::Restore(RestoreError::Halt(halt)) if halt.is_other_code())
    }
}
