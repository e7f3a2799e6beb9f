//! A disk in a directory.
//!
//! ```text
//! disk                     whose directory this is, in which format, where it was made
//! lock                     locked by the process that has it open; holds its id
//! log-0000000000000001     the log, in files of about 8 MiB
//! snapshot-TERM-INDEX      the newest snapshot
//! incident-TIME            what the node held when it stopped by itself; for people
//! *.tmp                    what is being written: removed at opening
//! ```
//!
//! One thread writes. It takes all changes that wait, writes them at once, syncs once, and reports them: under load many
//! calls share a sync.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use conflux_core::Failure;
use conflux_core::bugs::{self, Bug};

use super::files::{Exclusive, Files, RealFiles};
use super::incidents;
use super::place::{self, Place};
use super::segments::{OpenLog, Owed, SEGMENT_BYTES, Segments, TEMPORARY, number_of, read_whole};
use super::simulated::SimulatedFiles;
use super::snapshot::{self, Content, Writing, Written};
use super::{
    Change, Contents, Disk, DiskError, Done, Draft, Finished, Incidents, Journal, KeptSnapshot, Opened, SnapshotBytes,
    SnapshotHead,
};
use crate::metrics::{DiskMetrics, Histogram};
use crate::process;

const LOCK: &str = "lock";

/// About how many bytes go out with one write.
const GROUP_BYTES: usize = 4 * 1024 * 1024;

/// A disk in a directory of its own: what was answered survives the end of the process, and of the machine's power.
///
/// The directory is made where it is missing. It must be on a file system that keeps what `fdatasync` said it keeps. One
/// process at a time can have it open.
#[derive(Clone)]
pub struct FileDisk {
    files: Arc<dyn Files>,
    path: PathBuf,
    moved: bool,
    segment_bytes: u64,
    pace: Pace,
}

/// Who writes.
#[derive(Clone, Debug)]
enum Pace {
    /// A thread, which sleeps in the operating system.
    Thread,
    /// A task, so that a simulation owns time: a group is durable so many microseconds after its first change.
    Task(Arc<AtomicU64>),
}

impl FileDisk {
    /// A disk in this directory.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let files = Arc::new(RealFiles);
        FileDisk { files, path: path.into(), moved: false, segment_bytes: SEGMENT_BYTES, pace: Pace::Thread }
    }

    /// A disk on simulated files. No thread is involved: a group is synced `latency` after its first change was taken, and
    /// written before that, so that the power can go in between.
    pub fn simulated(files: SimulatedFiles, path: impl Into<PathBuf>, latency: Duration) -> Self {
        let pace = Pace::Task(Arc::new(AtomicU64::new(latency.as_micros() as u64)));
        FileDisk { files: Arc::new(files), path: path.into(), moved: false, segment_bytes: SEGMENT_BYTES, pace }
    }

    /// Lets a disk on simulated files, and all its clones, take longer or shorter from now on. Real ones take the time they
    /// take.
    pub fn set_latency(&self, latency: Duration) {
        if let Pace::Task(present) = &self.pace {
            present.store(latency.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// Opens the directory although it was made elsewhere: it was moved here, or is a copy of one that is gone. The node
    /// keeps its data and joins as a new one, for it could have voted there meanwhile. Of a cluster, move a minority at a
    /// time. Changes nothing for a directory that is where it was made.
    #[must_use]
    pub fn moved(mut self, moved: bool) -> Self {
        self.moved = moved;
        self
    }

    /// When a file of the log is ended and another begun: at about so many bytes. 8 MiB unless given.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn lock(&self, files: &dyn Files) -> Result<Exclusive, DiskError> {
        let file = self.path.join(LOCK);
        let locked = files.lock(&file).map_err(|error| DiskError::io("lock", &file, &error))?;
        locked.ok_or_else(|| {
            let holder = read_whole(files, &file, 64).ok().and_then(|bytes| String::from_utf8(bytes).ok());
            let by = holder.map(|id| id.trim().to_owned()).filter(|id| !id.is_empty());
            let by = by.map_or_else(String::new, |id| {
                if id == std::process::id().to_string() {
                    " in this process".into()
                } else {
                    format!(" by process {id}")
                }
            });
            DiskError::InUse { disk: self.path.clone(), by }
        })
    }
}

impl From<&Path> for FileDisk {
    fn from(path: &Path) -> Self {
        FileDisk::new(path)
    }
}

impl Disk for FileDisk {
    fn open(&self, node: &str) -> Result<Opened, DiskError> {
        let shared_files = self.files.for_process();
        let (files, path) = (&*shared_files, &*self.path);
        let made = missing(files, path);
        files.create_directory(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                DiskError::Foreign { disk: self.path.clone(), what: "it is no directory".into() }
            }
            _ => DiskError::io("create", path, &error),
        })?;
        let list = || files.list(path).map_err(|error| DiskError::io("list", path, &error));
        // Before anything is written or removed there.
        let names = list()?;
        if let (false, Some(foreign)) =
            (names.iter().any(|name| name == place::NAME), names.iter().find(|name| !is_ours(name)))
        {
            let what = format!("it holds {foreign:?}, and no node's data");
            return Err(DiskError::Foreign { disk: self.path.clone(), what });
        }
        let exclusive = self.lock(files)?;
        let mut names = list()?;
        names.sort_unstable();
        for name in names.iter().filter(|name| is_temporary(name)) {
            let file = path.join(name);
            files.remove(&file).map_err(|error| DiskError::io("remove", &file, &error))?;
        }
        let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_of(name)).collect();
        let mut snapshots: Vec<_> = names.iter().filter_map(|name| snapshot::last_of(name)).collect();
        let is_new = !names.iter().any(|name| name == place::NAME);
        if is_new && !numbers.is_empty() {
            // The first file of the log is made before the file `disk`.
            if numbers != [1] || !snapshots.is_empty() || !Segments::is_blank(files, path) {
                let file = path.join(place::NAME);
                return Err(DiskError::damaged(&file, 0, None, "it is missing, although files of a log are there"));
            }
            numbers.clear();
        }

        let place = if is_new {
            let disk = u128::from(files.draw()) << 64 | u128::from(files.draw());
            Place::of(files, path, node, disk)?
        } else {
            Place::read(files, path)?
        };
        if place.node != node {
            let disk = self.path.clone();
            return Err(DiskError::OtherNode { disk, was: place.node, asked: node.to_owned() });
        }
        let here = Place::of(files, path, node, place.disk)?;
        let moved = place.differs(&here);
        if let (Some(what), false) = (moved, self.moved) {
            return Err(DiskError::Moved { disk: self.path.clone(), what });
        }

        let mut contents = Contents { moved: moved.is_some(), ..Contents::default() };
        let segments = if is_new {
            let segments = Segments::create(shared_files.clone(), path, place.disk, self.segment_bytes)?;
            // Before the file `disk`: with it, the directory counts as one that is there.
            sync_names(files, path, &made)?;
            place.write(files, path)?;
            segments
        } else if numbers.is_empty() {
            let what = "it says that there is a log, but all files of the log are gone";
            return Err(DiskError::damaged(&path.join(place::NAME), 0, None, what));
        } else {
            let OpenLog { segments, summary, entries } =
                Segments::open(shared_files.clone(), path, place.disk, self.segment_bytes, numbers)?;
            contents.identity = summary.identity;
            contents.vote = summary.vote;
            contents.committed = summary.committed;
            contents.purged = summary.purged;
            contents.entries = entries;
            segments
        };
        snapshots.sort_unstable();
        if let Some(newest) = snapshots.pop() {
            let file = path.join(snapshot::name_of(Some(newest)));
            contents.snapshot = Some(snapshot::open(files, &file, place.disk)?);
        }
        let held = contents.snapshot.as_ref().and_then(|snapshot| snapshot.head.last);
        if contents.purged.map(|id| id.index) > held.map(|id| id.index) {
            let index = contents.purged.map(|id| id.index);
            let what = "the snapshot that holds what was before the log is missing";
            return Err(DiskError::damaged(path, 0, index, what));
        }
        for older in snapshots {
            let file = path.join(snapshot::name_of(Some(older)));
            files.remove(&file).map_err(|error| DiskError::io("remove", &file, &error))?;
        }

        let shared = Arc::new(Shared {
            files: shared_files.clone(),
            path: self.path.clone(),
            disk: place.disk,
            pace: self.pace.clone(),
            queue: Mutex::default(),
            ring: Condvar::new(),
            syncs: segments.syncs().clone(),
            groups: Histogram::of_counts(),
            store: Mutex::new(segments),
            begun: Mutex::default(),
            exclusive: Mutex::new(Some(exclusive)),
            snapshot: Mutex::new(contents.snapshot.clone()),
            // Names that no draft of an earlier opening has, which may still be about to go.
            drafts: AtomicU64::new(files.draw()),
            arrival: Mutex::new(moved.is_some().then_some(here)),
        });
        let thread = match &self.pace {
            Pace::Task(_) => None,
            #[expect(clippy::disallowed_methods, reason = "files that are real; simulated ones have Pace::Task")]
            Pace::Thread => {
                let writer = shared.clone();
                let thread =
                    std::thread::Builder::new().name("conflux-disk".into()).spawn(move || writer.serve_to_the_end());
                Some(thread.map_err(|error| DiskError::io("start a thread for", path, &error))?)
            }
        };
        Ok((contents, Arc::new(FileJournal { shared, thread: Mutex::new(thread) })))
    }

    fn blocks(&self) -> bool {
        matches!(self.pace, Pace::Thread)
    }
}

/// Those of a directory and the ones above it that are not there, from the bottom up.
fn missing<'a>(files: &dyn Files, directory: &'a Path) -> Vec<&'a Path> {
    let is_missing = |directory: &&Path| {
        !directory.as_os_str().is_empty()
            && files.inode(directory).is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    directory.ancestors().take_while(is_missing).collect()
}

/// Makes the name of a new data directory durable, and those of all above it: this opening `made` some of them, and an
/// earlier one that was cut off may have made others.
fn sync_names(files: &dyn Files, directory: &Path, made: &[&Path]) -> Result<(), DiskError> {
    for above in directory.ancestors() {
        let Some(parent) = above.parent() else { break };
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match files.sync_directory(parent) {
            // Of those that were there before, the last may be another's, and out of reach.
            Err(error) if above == directory || made.contains(&above) => {
                return Err(DiskError::io("sync", parent, &error));
            }
            Ok(()) | Err(_) => {}
        }
    }
    Ok(())
}

/// Whether a name is one that stands in a data directory, or in one that is empty.
fn is_ours(name: &str) -> bool {
    name == LOCK
        || name == place::NAME
        // At the root of a file system, which is often given to a node as a whole.
        || name == "lost+found"
        || is_temporary(name)
        || number_of(name).is_some()
        || snapshot::last_of(name).is_some()
        || incidents::taken_of(name).is_some()
}

fn is_temporary(name: &str) -> bool {
    name.strip_suffix(TEMPORARY).is_some_and(|name| {
        name == place::NAME
            || number_of(name).is_some()
            || name.starts_with("snapshot-")
            || incidents::taken_of(name).is_some()
    })
}

/// What the thread, the journal and the snapshots share.
struct Shared {
    files: Arc<dyn Files>,
    path: PathBuf,
    disk: u128,
    pace: Pace,
    queue: Mutex<Queue>,
    ring: Condvar,
    syncs: Arc<Histogram>,
    /// How many changes went out with each write.
    groups: Histogram,
    store: Mutex<Segments>,
    /// The group that was written and is not settled yet.
    begun: Mutex<Option<Begun>>,
    exclusive: Mutex<Option<Exclusive>>,
    /// Held while a snapshot is put in place of it, so that never an older one takes the place of a newer.
    snapshot: Mutex<Option<KeptSnapshot>>,
    drafts: AtomicU64,
    /// Where the directory is now, to be noted once the node has noted who it is now.
    arrival: Mutex<Option<Place>>,
}

/// A group that was written.
struct Begun {
    owed: Result<Owed, DiskError>,
    dones: Vec<Done>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(Change, Done)>,
    /// A task will take what waits.
    expected: bool,
    /// No more changes are taken, and the thread ends once none waits.
    closing: bool,
    /// Why nothing is written any more.
    failure: Option<DiskError>,
}

fn size_of(change: &Change) -> usize {
    match change {
        Change::Append(entries) => entries.iter().map(|entry| entry.bytes.len() + 32).sum(),
        Change::Vote(bytes) | Change::Identity(bytes) => bytes.len(),
        _ => 0,
    }
}

impl Queue {
    /// Takes what goes out with one write.
    fn take(&mut self) -> (Vec<Change>, Vec<Done>) {
        let mut bytes = 0;
        let (mut changes, mut dones) = (Vec::new(), Vec::new());
        while let Some((change, done)) = self.waiting.pop_front_if(|_| bytes < GROUP_BYTES) {
            bytes += size_of(&change);
            changes.push(change);
            dones.push(done);
        }
        (changes, dones)
    }
}

impl Shared {
    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread. Whatever breaks in it, those who wait hear of it.
    fn serve_to_the_end(&self) {
        while let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| self.serve())) {
            let reason = Failure::of_panic("the disk's thread", &*panic).message;
            self.fail(&DiskError::Unheard { disk: self.path.clone(), reason });
        }
    }

    fn serve(&self) {
        loop {
            {
                let queue = self.queue();
                let queue = self
                    .ring
                    .wait_while(queue, |queue| queue.waiting.is_empty() && !queue.closing)
                    .unwrap_or_else(PoisonError::into_inner);
                if queue.waiting.is_empty() {
                    return;
                }
            }
            self.begin_group();
            self.end_group();
        }
    }

    /// What the thread does, here and now.
    fn drain(&self) {
        self.end_group();
        while self.begin_group() {
            self.end_group();
        }
    }

    fn begun(&self) -> MutexGuard<'_, Option<Begun>> {
        self.begun.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what goes out with one write. `false` when nothing waits.
    fn begin_group(&self) -> bool {
        let (changes, dones) = {
            let mut queue = self.queue();
            queue.expected = false;
            queue.take()
        };
        if changes.is_empty() {
            return false;
        }
        let failed = self.queue().failure.clone();
        let owed = match failed {
            Some(failure) => Err(failure),
            None => {
                self.groups.record(changes.len() as u64);
                self.touch(|store| store.write(&changes))
            }
        };
        *self.begun() = Some(Begun { owed, dones });
        true
    }

    /// Makes it durable, and tells those who wait.
    fn end_group(&self) {
        let Some(Begun { owed, dones }) = self.begun().take() else { return };
        let result = owed.and_then(|owed| self.touch(|store| store.settle(owed)));
        for done in dones {
            let told = result.clone();
            // Nobody knows what its panic left half done, but for the others nothing has changed.
            if let Err(panic) = std::panic::catch_unwind(AssertUnwindSafe(|| done(told))) {
                let reason = Failure::of_panic("what was told of it", &*panic).message;
                self.fail(&DiskError::Unheard { disk: self.path.clone(), reason });
            }
        }
    }

    /// Puts a change behind those that wait.
    fn enqueue(self: &Arc<Self>, change: Change, done: Done) {
        let refusal = {
            let mut queue = self.queue();
            match &queue.failure {
                Some(failure) => failure.clone(),
                None if queue.closing => DiskError::Closed,
                None => {
                    queue.waiting.push_back((change, done));
                    match &self.pace {
                        // Whoever is woken takes the queue.
                        Pace::Thread => {
                            drop(queue);
                            self.ring.notify_one();
                        }
                        Pace::Task(latency) => {
                            let latency = Duration::from_micros(latency.load(Ordering::Relaxed));
                            if !std::mem::replace(&mut queue.expected, true) {
                                let shared = self.clone();
                                process::spawn(shared.write_and_sync(latency));
                            }
                        }
                    }
                    return;
                }
            }
        };
        done(Err(refusal));
    }

    /// What a task does, with time before the write, and between it and the sync.
    async fn write_and_sync(self: Arc<Self>, latency: Duration) {
        let before = Duration::from_millis(latency.as_millis() as u64 / 2);
        tokio::time::sleep(before).await;
        // Where another group is on its way, this one goes out behind it.
        if self.begun().is_none() {
            self.begin_group();
        }
        tokio::task::yield_now().await;
        tokio::time::sleep(latency - before).await;
        self.drain();
    }

    /// The same, and waits until it is durable.
    fn enqueue_and_wait(self: &Arc<Self>, change: Change) -> Result<(), DiskError> {
        let (sender, receiver) = mpsc::channel();
        let done: Done = Box::new(move |result| drop(sender.send(result)));
        self.enqueue(change, done);
        if matches!(self.pace, Pace::Task(_)) {
            self.drain();
        }
        receiver.recv().unwrap_or(Err(DiskError::Closed))
    }

    /// Does something to the log; after the first error, nothing more.
    fn touch<R>(&self, act: impl FnOnce(&mut Segments) -> Result<R, DiskError>) -> Result<R, DiskError> {
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        let acted = std::panic::catch_unwind(AssertUnwindSafe(|| act(&mut store)));
        let result = acted.unwrap_or_else(|panic| {
            let reason = Failure::of_panic("the disk's thread", &*panic).message;
            Err(DiskError::io("write to", &self.path, &std::io::Error::other(reason)))
        });
        result.inspect_err(|failure| self.fail(failure))
    }

    /// From now on every change is refused.
    fn fail(&self, failure: &DiskError) {
        tracing::error!("nothing more is written to {}: {failure}", self.path.display());
        self.queue().failure.get_or_insert_with(|| failure.clone());
    }
}

struct FileJournal {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Journal for FileJournal {
    fn write(&self, change: Change, done: Done) {
        self.shared.enqueue(change, done);
    }

    fn write_now(&self, change: Change) -> Result<(), DiskError> {
        let is_identity = matches!(change, Change::Identity(_));
        self.shared.enqueue_and_wait(change)?;
        let mut arrival = self.shared.arrival.lock().unwrap_or_else(PoisonError::into_inner);
        if is_identity && let Some(here) = &*arrival {
            here.write(&*self.shared.files, &self.shared.path)?;
            *arrival = None;
        }
        Ok(())
    }

    fn draft(&self, head: SnapshotHead) -> Result<Box<dyn Draft>, DiskError> {
        if let Some(failure) = self.failure() {
            return Err(failure);
        }
        let number = self.shared.drafts.fetch_add(1, Ordering::Relaxed);
        let file = self.shared.path.join(format!("snapshot-{number:x}{TEMPORARY}"));
        let writing = Writing::begin(self.shared.files.clone(), file, self.shared.disk, head)?;
        Ok(Box::new(FileDraft { writing, shared: self.shared.clone() }))
    }

    fn snapshot(&self) -> Option<KeptSnapshot> {
        self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn failure(&self) -> Option<DiskError> {
        let queue = self.shared.queue();
        queue.failure.clone().or_else(|| queue.closing.then_some(DiskError::Closed))
    }

    fn blocks(&self) -> bool {
        matches!(self.shared.pace, Pace::Thread)
    }

    fn incidents(&self) -> Option<&dyn Incidents> {
        Some(self)
    }

    fn metrics(&self) -> Option<DiskMetrics> {
        let Shared { syncs, groups, .. } = &*self.shared;
        let changes_waiting = self.shared.queue().waiting.len();
        Some(DiskMetrics { sync_us: syncs.read(), group_changes: groups.read(), changes_waiting })
    }

    fn close(&self) {
        self.shared.queue().closing = true;
        self.shared.ring.notify_one();
        match self.thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // It catches what panics in it.
            Some(thread) => drop(thread.join()),
            None => self.shared.drain(),
        }
        // A snapshot that is just being kept is waited for: the next one who opens the directory must find it whole.
        let _snapshot = self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(exclusive) = self.shared.exclusive.lock().unwrap_or_else(PoisonError::into_inner).take() else {
            return;
        };
        if self.shared.queue().failure.is_none() {
            // An error is logged, and nobody waits for what it concerns.
            let _ = self.shared.touch(Segments::sync);
        }
        drop(exclusive);
    }
}

impl Incidents for FileJournal {
    fn keep(&self, taken_ms: u64, pieces: &[Bytes]) -> Result<PathBuf, DiskError> {
        incidents::keep(&*self.shared.files, &self.shared.path, taken_ms, pieces)
    }
}

impl Drop for FileJournal {
    fn drop(&mut self) {
        self.close();
    }
}

struct FileDraft {
    writing: Writing,
    shared: Arc<Shared>,
}

impl Draft for FileDraft {
    fn write(&mut self, bytes: &[u8]) -> Result<(), DiskError> {
        self.writing.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<Arc<dyn Finished>, DiskError> {
        Ok(Arc::new(FileFinished { written: self.writing.finish()?, shared: self.shared }))
    }
}

struct FileFinished {
    written: Written,
    shared: Arc<Shared>,
}

impl std::fmt::Debug for FileFinished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.written.bytes.fmt(f)
    }
}

impl Finished for FileFinished {
    fn bytes(&self) -> Arc<dyn SnapshotBytes> {
        let content: Arc<Content> = self.written.bytes.clone();
        content
    }

    fn keep(&self) -> Result<bool, DiskError> {
        let shared = &self.shared;
        let mut present = shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        if present.as_ref().is_some_and(|present| present.head.last > self.written.head.last)
            && !bugs::is(Bug::OlderSnapshotOverNewer)
        {
            return Ok(false);
        }
        // A log that the snapshot contradicts was truncated before, and that must not be forgotten.
        shared.enqueue_and_wait(Change::Append(Vec::new()))?;
        let kept = self.written.keep(&shared.path).and_then(|kept| {
            let older = present.replace(kept);
            let Some(older) = older.filter(|older| older.head.last != self.written.head.last) else { return Ok(()) };
            let file = shared.path.join(snapshot::name_of(older.head.last));
            shared.files.remove(&file).map_err(|error| DiskError::io("remove", &file, &error))
        });
        // Nobody knows now which one it has.
        kept.inspect_err(|failure| shared.fail(failure))?;
        Ok(true)
    }
}
