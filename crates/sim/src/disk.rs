//! A disk that is looked at: whatever is handed to it, and whatever it says, is told to the world.

use std::sync::Arc;

use conflux::disk::{
    Change, Disk, DiskError, Done, Draft, Finished, Incidents, Journal, KeptSnapshot, Opened, SnapshotBytes,
    SnapshotHead,
};

use crate::logs::{Log, Noted, Taken, taken};

/// Who is told.
pub(crate) trait Watch: Send + Sync + 'static {
    /// A node opened it, and finds this.
    fn opened(&self, found: &Log);
    /// It is handed a change.
    fn handed(&self, noted: &Noted);
    /// It says that the oldest change which was not durable is.
    fn durable(&self);
    /// A snapshot is not written to its end, or not kept: its writer fails, or dies.
    fn gives_up(&self);
    /// It has kept a snapshot.
    fn keeps(&self, taken: &Taken);
}

pub(crate) struct WatchedDisk {
    pub(crate) inner: Arc<dyn Disk>,
    pub(crate) watch: Arc<dyn Watch>,
}

impl Disk for WatchedDisk {
    fn open(&self, node: &str) -> Result<Opened, DiskError> {
        let (contents, inner) = self.inner.open(node)?;
        self.watch.opened(&Log::of(&contents));
        if let Some(identity) = &contents.identity {
            self.watch.handed(&Noted::of(&Change::Identity(identity.clone())));
            self.watch.durable();
        }
        Ok((contents, Arc::new(WatchedJournal { inner, watch: self.watch.clone() })))
    }

    fn blocks(&self) -> bool {
        self.inner.blocks()
    }
}

struct WatchedJournal {
    inner: Arc<dyn Journal>,
    watch: Arc<dyn Watch>,
}

impl Journal for WatchedJournal {
    fn write(&self, change: Change, done: Done) {
        self.watch.handed(&Noted::of(&change));
        let watch = self.watch.clone();
        let done: Done = Box::new(move |result| {
            if result.is_ok() {
                watch.durable();
            }
            done(result);
        });
        self.inner.write(change, done);
    }

    fn write_now(&self, change: Change) -> Result<(), DiskError> {
        self.watch.handed(&Noted::of(&change));
        self.inner.write_now(change).inspect(|()| self.watch.durable())
    }

    fn draft(&self, head: SnapshotHead) -> Result<Box<dyn Draft>, DiskError> {
        let taken = taken(&KeptSnapshot { head: head.clone(), bytes: Arc::new(NoBytes) });
        Ok(Box::new(WatchedDraft { inner: Some(self.inner.draft(head)?), taken, watch: self.watch.clone() }))
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

    fn metrics(&self) -> Option<conflux::metrics::DiskMetrics> {
        self.inner.metrics()
    }

    fn close(&self) {
        self.inner.close();
    }
}

/// Stands for a content that nobody reads.
#[derive(Debug)]
struct NoBytes;

impl SnapshotBytes for NoBytes {
    fn length(&self) -> u64 {
        0
    }

    fn read(&self, _: u64, _: usize) -> Result<bytes::Bytes, DiskError> {
        Ok(bytes::Bytes::new())
    }
}

struct WatchedDraft {
    /// `None` once it is finished.
    inner: Option<Box<dyn Draft>>,
    taken: Taken,
    watch: Arc<dyn Watch>,
}

impl Draft for WatchedDraft {
    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.inner.as_mut().expect("it is finished once").write(bytes)
    }

    fn finish(mut self: Box<Self>) -> Result<Arc<dyn Finished>, DiskError> {
        let inner = self.inner.take().expect("it is finished once").finish();
        let inner = inner.inspect_err(|_| self.watch.gives_up())?;
        Ok(Arc::new(WatchedFinished { inner, taken: self.taken.clone(), watch: self.watch.clone() }))
    }
}

impl Drop for WatchedDraft {
    fn drop(&mut self) {
        if self.inner.is_some() {
            self.watch.gives_up();
        }
    }
}

struct WatchedFinished {
    inner: Arc<dyn Finished>,
    taken: Taken,
    watch: Arc<dyn Watch>,
}

impl std::fmt::Debug for WatchedFinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.inner.fmt(f)
    }
}

impl Finished for WatchedFinished {
    fn bytes(&self) -> Arc<dyn SnapshotBytes> {
        self.inner.bytes()
    }

    fn keep(&self) -> Result<bool, DiskError> {
        let kept = self.inner.keep().inspect_err(|_| self.watch.gives_up())?;
        if kept {
            self.watch.keeps(&self.taken);
        }
        Ok(kept)
    }
}
