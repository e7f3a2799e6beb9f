//! What a node must not forget: its log, its vote, its identity and its newest snapshot.
//!
//! The log is short (it is cut down to a snapshot again and again) and the state is in memory anyway, so a node reads its
//! disk only when it opens. From then on a disk is a [`Journal`]: changes go in, in order, and each is reported once it is
//! durable. [`MemoryDisk`] keeps them for as long as the process lives, [`FileDisk`] in a directory. [`contract`] has what
//! every disk must keep, as checks to run.

pub mod contract;
mod file;
mod files;
mod incidents;
mod memory;
mod place;
mod record;
mod replay;
mod segments;
mod simulated;
mod snapshot;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::metrics::DiskMetrics;

pub use self::file::FileDisk;
pub use self::files::{Exclusive, FileHandle, Files, Open, RealFiles};
pub use self::memory::MemoryDisk;
pub(crate) use self::replay::proven;
pub use self::simulated::{Keep, Losses, SimulatedFiles};

/// Where in the log an entry is. Entries are compared by term, then by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct EntryId {
    /// The term of the leader that wrote it.
    pub term: u64,
    /// Its index; the first of a log is 0.
    pub index: u64,
}

impl fmt::Display for EntryId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of term {}", self.index, self.term)
    }
}

/// An entry of the log. What is in it is the engine's business.
#[derive(Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Where it is.
    pub id: EntryId,
    /// What kind of entry the engine takes it for.
    pub kind: u8,
    /// Its content.
    pub bytes: Bytes,
}

impl fmt::Debug for LogEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LogEntry({}, kind {}, {} bytes)", self.id, self.kind, self.bytes.len())
    }
}

/// One thing to remember.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// Entries that follow each other and the log. Where the log has entries at those indexes, they and all behind them
    /// are replaced.
    Append(Vec<LogEntry>),
    /// Entries from this index on are gone.
    Truncate(u64),
    /// Entries up to this one are gone; a snapshot that was kept holds what they did. When the log does not reach so far,
    /// it goes on behind this one.
    Purge(EntryId),
    /// The vote, in place of the last one.
    Vote(Bytes),
    /// How far the log is known to be committed. This one may be forgotten when power is lost; the others never.
    Committed(EntryId),
    /// The node's identity, in place of the last one.
    Identity(Bytes),
}

/// What is told of a change: that it is durable, or why it is not.
pub type Done = Box<dyn FnOnce(Result<(), DiskError>) + Send>;

/// Everything that a node finds when it opens its disk.
#[derive(Default)]
pub struct Contents {
    /// The identity; `None` on a disk that is new.
    pub identity: Option<Bytes>,
    /// The data were moved here, and are to be used as those of another node: see [`FileDisk::moved`].
    pub moved: bool,
    /// The vote.
    pub vote: Option<Bytes>,
    /// How far the log is known to be committed.
    pub committed: Option<EntryId>,
    /// The last entry that was purged.
    pub purged: Option<EntryId>,
    /// The log behind it, without a hole.
    pub entries: Vec<LogEntry>,
    /// The newest snapshot. Its content is checked whenever it is read.
    pub snapshot: Option<KeptSnapshot>,
}

/// What a snapshot says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotHead {
    /// The last entry whose effect it holds.
    pub last: Option<EntryId>,
    /// What else the engine wants to know of it.
    pub meta: Bytes,
}

/// The content of a snapshot, wherever it lies. It can be read for as long as this is held, even if a newer snapshot has
/// taken its place.
pub trait SnapshotBytes: Send + Sync + fmt::Debug {
    /// How many bytes there are.
    fn length(&self) -> u64;

    /// Some bytes from `offset` on: at least one and at most `max`, or none at the end.
    ///
    /// # Errors
    /// When they cannot be read, or are not what was written.
    fn read(&self, offset: u64, max: usize) -> Result<Bytes, DiskError>;

    /// All of them.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    fn read_all(&self) -> Result<Bytes, DiskError> {
        let mut all = Vec::new();
        loop {
            let bytes = self.read(all.len() as u64, 1 << 20)?;
            if bytes.is_empty() {
                return Ok(all.into());
            }
            all.extend_from_slice(&bytes);
        }
    }
}

/// A snapshot that a disk has kept.
#[derive(Clone, Debug)]
pub struct KeptSnapshot {
    /// What it says of itself.
    pub head: SnapshotHead,
    /// Its content.
    pub bytes: Arc<dyn SnapshotBytes>,
}

/// A snapshot that is being written. Dropped, it leaves nothing behind.
pub trait Draft: Send {
    /// Adds bytes.
    ///
    /// # Errors
    /// When they cannot be written.
    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError>;

    /// Ends writing. The content can be read; it is not kept until [`Finished::keep`].
    ///
    /// # Errors
    /// When something cannot be written.
    fn finish(self: Box<Self>) -> Result<Arc<dyn Finished>, DiskError>;
}

/// A snapshot that is written and not kept yet.
pub trait Finished: Send + Sync + fmt::Debug {
    /// Its content.
    fn bytes(&self) -> Arc<dyn SnapshotBytes>;

    /// Makes it the disk's snapshot, durably, unless the disk has one that is newer; `false` then. Everything that was
    /// handed to the journal before is durable first. Blocks.
    ///
    /// # Errors
    /// When it cannot be made durable.
    fn keep(&self) -> Result<bool, DiskError>;
}

/// An open disk.
pub trait Journal: Send + Sync {
    /// Takes a change, after those it has taken already. Never blocks. `done` may be called before this returns, and from
    /// any thread; in the order of the changes.
    ///
    /// After the first error nothing is written any more, and every change is refused with that error.
    fn write(&self, change: Change, done: Done);

    /// The same, and blocks until it is durable: for what is rare and must be remembered before the next step.
    ///
    /// # Errors
    /// When it is not durable.
    fn write_now(&self, change: Change) -> Result<(), DiskError>;

    /// Begins to write a snapshot.
    ///
    /// # Errors
    /// When it cannot be begun.
    fn draft(&self, head: SnapshotHead) -> Result<Box<dyn Draft>, DiskError>;

    /// The newest snapshot that was kept.
    fn snapshot(&self) -> Option<KeptSnapshot>;

    /// Why the journal takes no more changes.
    fn failure(&self) -> Option<DiskError>;

    /// Whether what is said to block does so for long enough to keep it off a task.
    fn blocks(&self) -> bool;

    /// Whether to keep what goes through a whole state off a task: however fast the disk is, that takes as long as the state
    /// is large.
    fn takes_states_off_tasks(&self) -> bool {
        self.blocks()
    }

    /// Where the incident of a node that stops can be left; `None` where there is no place for files.
    fn incidents(&self) -> Option<&dyn Incidents> {
        None
    }

    /// What it measures, if it does.
    fn metrics(&self) -> Option<DiskMetrics> {
        None
    }

    /// Writes what is left and lets another node open the disk. Blocks. Later changes are refused.
    fn close(&self);
}

/// Where incidents are left for people, beside a node's data.
pub trait Incidents {
    /// Writes one, as a whole or not at all, and gives the file. A few of them are kept: the oldest goes first. `taken_ms` is
    /// when it was taken, in milliseconds since 1970. Blocks. Works after the journal has failed, too.
    ///
    /// # Errors
    /// When it cannot be written.
    fn keep(&self, taken_ms: u64, pieces: &[Bytes]) -> Result<PathBuf, DiskError>;
}

/// What is on a disk, and the way to write on it.
pub type Opened = (Contents, Arc<dyn Journal>);

/// Where a node keeps what it must not forget.
pub trait Disk: Send + Sync + 'static {
    /// Opens it for a node, and gives what is on it. Blocks.
    ///
    /// # Errors
    /// When it is open already, cannot be read, or holds what cannot be relied on.
    fn open(&self, node: &str) -> Result<Opened, DiskError>;

    /// Whether opening it takes long enough to keep it off a task.
    fn blocks(&self) -> bool;
}

/// Why a disk cannot be used, or not any more.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DiskError {
    /// It is open in another node.
    #[error("the disk {} is in use{by}: close that node first, or give this one a disk of its own", disk.display())]
    InUse {
        /// The disk.
        disk: PathBuf,
        /// By whom, as far as is known.
        by: String,
    },
    /// The operating system refused.
    #[error("cannot {doing} {}: {reason}{}", file.display(), advice(*kind))]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file or directory.
        file: PathBuf,
        /// What kind of error it was.
        kind: io::ErrorKind,
        /// What the operating system said.
        reason: String,
    },
    /// What was durable once is not what it was.
    #[error(
        "{} is damaged at byte {offset}{}: {what}. What follows cannot be relied on. Put a copy of the directory from \
         before the damage in its place; or move the directory away and open the node on an empty one: then it joins as \
         a new node, and the others must serve meanwhile",
        file.display(),
        index.map_or_else(String::new, |index| format!(", in or behind the entry with index {index}"))
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// The index of the log at that place, if one is known.
        index: Option<u64>,
        /// What is wrong.
        what: String,
    },
    /// Another version of this program wrote it.
    #[error("{} has format {came}, this version reads format {allowed}: use the version that wrote it", file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// The format that came.
        came: u32,
        /// The format that is known.
        allowed: u32,
    },
    /// It is another node's.
    #[error("the disk {} belongs to node {was:?}, not to {asked:?}: give each node a disk of its own", disk.display())]
    OtherNode {
        /// The disk.
        disk: PathBuf,
        /// The node it belongs to.
        was: String,
        /// The node that was to be opened.
        asked: String,
    },
    /// It is not a node's, nor is it empty.
    #[error("{} is no data directory: {what}; name one that is empty, or not there yet", disk.display())]
    Foreign {
        /// The disk.
        disk: PathBuf,
        /// What is there.
        what: String,
    },
    /// It is a copy, or was moved.
    #[error(
        "the disk {} was made {what}: if it is a copy, the node may run twice, and must not. If the original is gone for \
         good, open it with `moved`: it joins as a new node, which keeps the data but not the vote",
        disk.display()
    )]
    Moved {
        /// The disk.
        disk: PathBuf,
        /// What differs.
        what: &'static str,
    },
    /// Whoever was to hear of a change broke, so nobody knows what came of it.
    #[error(
        "what became of a change on the disk {} was not heard: {reason}. Nothing more is written there; nothing that was \
         answered is lost: open the node again, and report this",
        disk.display()
    )]
    Unheard {
        /// The disk.
        disk: PathBuf,
        /// How it broke.
        reason: String,
    },
    /// It was closed.
    #[error("the disk is closed")]
    Closed,
}

fn advice(kind: io::ErrorKind) -> &'static str {
    match kind {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ". Nothing that was answered is lost: make room and open the node again"
        }
        io::ErrorKind::PermissionDenied => ". The node must be allowed to read and write there",
        _ => "",
    }
}

impl DiskError {
    pub(crate) fn io(doing: &'static str, file: &Path, error: &io::Error) -> DiskError {
        DiskError::Io { doing, file: file.to_owned(), kind: error.kind(), reason: error.to_string() }
    }

    fn damaged(file: &Path, offset: u64, index: Option<u64>, what: impl Into<String>) -> DiskError {
        DiskError::Damaged { file: file.to_owned(), offset, index, what: what.into() }
    }
}
