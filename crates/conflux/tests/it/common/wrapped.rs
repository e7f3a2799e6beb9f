//! A disk around another one, with something done on the way.

use std::sync::Arc;

use conflux::Disk;
use conflux::disk::{Change, DiskError, Done, Draft, Incidents, Journal, KeptSnapshot, Opened, SnapshotHead};

/// What is done on the way.
pub(crate) trait Meddler: Send + Sync + 'static {
    /// With what is told of a change.
    fn done(&self, done: Done) -> Done {
        done
    }

    /// Before a snapshot is begun.
    fn draft(&self) {}
}

/// The disk.
pub(crate) struct Wrapped<D, M> {
    inner: D,
    meddler: Arc<M>,
}

impl<D, M> Wrapped<D, M> {
    pub(crate) fn new(inner: D, meddler: &Arc<M>) -> Self {
        Wrapped { inner, meddler: meddler.clone() }
    }
}

impl<D: Disk, M: Meddler> Disk for Wrapped<D, M> {
    fn open(&self, node: &str) -> Result<Opened, DiskError> {
        let (contents, inner) = self.inner.open(node)?;
        Ok((contents, Arc::new(WrappedJournal { inner, meddler: self.meddler.clone() })))
    }

    fn blocks(&self) -> bool {
        self.inner.blocks()
    }
}

struct WrappedJournal<M> {
    inner: Arc<dyn Journal>,
    meddler: Arc<M>,
}

impl<M: Meddler> Journal for WrappedJournal<M> {
    fn write(&self, change: Change, done: Done) {
        self.inner.write(change, self.meddler.done(done));
    }

    fn write_now(&self, change: Change) -> Result<(), DiskError> {
        self.inner.write_now(change)
    }

    fn draft(&self, head: SnapshotHead) -> Result<Box<dyn Draft>, DiskError> {
        self.meddler.draft();
        self.inner.draft(head)
    }

    fn snapshot(&self) -> Option<KeptSnapshot> {
        self.inner.snapshot()
    }

    fn failure(&self) -> Option<DiskError> {
        self.inner.failure()
    }

    fn blocks(&self) -> bool {
        self.inner.blocks()
    }

    fn incidents(&self) -> Option<&dyn Incidents> {
        self.inner.incidents()
    }

    fn close(&self) {
        self.inner.close();
    }
}
