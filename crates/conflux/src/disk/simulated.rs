//! Files in memory that fail as real ones do: what was not synced is lost or torn, the Nth operation fails, the disk is
//! full, a bit flips. What happens follows from a seed.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conflux_core::Random;

use super::files::{Exclusive, FileHandle, Files, Open};

/// What a disk writes in one step, and tears between.
const SECTOR_BYTES: usize = 512;

/// What is left, after a crash, of what was not synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// All of it: the process was killed, the machine goes on.
    Everything,
    /// Nothing: power was lost, and all of it was in memory.
    Nothing,
    /// Some of it, in any order and down to parts of a sector: power was lost while it was being written.
    Some,
}

/// A simulated file system. Clones are the same one.
///
/// ```
/// use std::path::Path;
/// use conflux::disk::{Files, Keep, Open, SimulatedFiles};
///
/// # fn main() -> std::io::Result<()> {
/// let files = SimulatedFiles::new(7);
/// files.create_directory(Path::new("/a"))?;
/// files.sync_directory(Path::new("/"))?;
/// let file = files.open(Path::new("/a/file"), Open::Create)?;
/// file.write_at(0, b"synced")?;
/// file.sync()?;
/// files.sync_directory(Path::new("/a"))?;
/// file.write_at(6, b", and not")?;
/// files.crash(Keep::Nothing);
/// assert!(file.length().is_err(), "what was open before a crash is of no use after it");
/// assert_eq!(files.open(Path::new("/a/file"), Open::Read)?.length()?, 6);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct SimulatedFiles {
    world: Arc<Mutex<World>>,
    /// Those of a process that ends with the first crash.
    epoch: Option<u64>,
}

struct World {
    random: Random,
    /// How often it crashed: handles and locks of before are of no use.
    epoch: u64,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    directories: BTreeMap<PathBuf, u64>,
    /// Those that were made since the one above was synced.
    fresh_directories: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    /// What happened to names since their directory was synced, in order.
    renamed: Vec<Renamed>,
    locks: BTreeSet<PathBuf>,
    /// How often each file is open in the present process.
    handles: BTreeMap<u64, usize>,
    machine: Option<String>,
    operations: u64,
    failures: u64,
    losses: Losses,
    failing: Option<(u64, Fault)>,
    room: Option<u64>,
    /// Called by the next crash.
    at_crash: Option<Box<dyn FnOnce() + Send>>,
}

#[derive(Clone, Copy)]
enum Fault {
    Error(io::ErrorKind),
    Crash(Keep),
}

/// What crashes took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Losses {
    /// So many writes that were not synced did not come to the disk, or not whole.
    pub writes: u64,
    /// Of those, so many are there in part.
    pub torn: u64,
}

#[derive(Default)]
struct Inode {
    durable: Vec<u8>,
    present: Vec<u8>,
    /// What was written since the last sync, in order.
    written: Vec<Range<usize>>,
    /// The same, as it was then: a later write may cover it.
    content: Vec<Vec<u8>>,
    /// `present` may be another than `durable`.
    dirty: bool,
}

/// A change of names, which happens as a whole or not at all.
struct Renamed {
    directory: PathBuf,
    gone: Option<PathBuf>,
    come: Option<(PathBuf, u64)>,
}

impl SimulatedFiles {
    /// An empty file system.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let world = World {
            random: Random::new(seed),
            epoch: 0,
            inodes: BTreeMap::new(),
            next_inode: 1,
            directories: BTreeMap::new(),
            fresh_directories: BTreeSet::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            renamed: Vec::new(),
            locks: BTreeSet::new(),
            handles: BTreeMap::new(),
            machine: Some("simulated".into()),
            operations: 0,
            failures: 0,
            losses: Losses::default(),
            failing: None,
            room: None,
            at_crash: None,
        };
        SimulatedFiles { world: Arc::new(Mutex::new(world)), epoch: None }
    }

    fn lock_world(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file system, unless the process is gone.
    fn act(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.lock_world();
        if self.epoch.is_some_and(|epoch| epoch != world.epoch) { Err(gone()) } else { Ok(world) }
    }

    /// Ends every process that has files open, and with [`Keep::Nothing`] and [`Keep::Some`] the machine's power; what is
    /// left then is durable. Faults that were asked for are over.
    pub fn crash(&self, keep: Keep) {
        self.lock_world().crash(keep);
    }

    /// Lets the `nth` operation from now on (1 is the next one) that changes anything fail: a write after a part of it, a
    /// sync so that what was to be synced is never durable, others without any effect.
    pub fn fail(&self, nth: u64, kind: io::ErrorKind) {
        let mut world = self.lock_world();
        world.failing = Some((world.operations + nth, Fault::Error(kind)));
    }

    /// Crashes in the middle of the `nth` operation from now on that changes anything.
    pub fn crash_at(&self, nth: u64, keep: Keep) {
        let mut world = self.lock_world();
        world.failing = Some((world.operations + nth, Fault::Crash(keep)));
    }

    /// Has `act` called at the next crash, in the middle of the operation that crashes: whoever has files open is to end
    /// there. It must not look at the files.
    pub fn at_crash(&self, act: impl FnOnce() + Send + 'static) {
        self.lock_world().at_crash = Some(Box::new(act));
    }

    /// Lets everything succeed again.
    pub fn heal(&self) {
        let mut world = self.lock_world();
        world.failing = None;
        world.room = None;
    }

    /// How many operations there were that change anything.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.lock_world().operations
    }

    /// How many of them failed, because that was asked for or for want of room.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.lock_world().failures
    }

    /// What crashes took away since this was asked last.
    #[must_use]
    pub fn take_losses(&self) -> Losses {
        std::mem::take(&mut self.lock_world().losses)
    }

    /// How many more bytes fit on the disk: files cannot grow by more.
    pub fn set_room(&self, bytes: u64) {
        self.lock_world().room = Some(bytes);
    }

    /// The machine's id from now on.
    pub fn set_machine(&self, id: Option<&str>) {
        self.lock_world().machine = id.map(str::to_owned);
    }

    /// The content of a file as it would be read now; `None` when there is no such file.
    #[must_use]
    pub fn content(&self, file: &Path) -> Option<Vec<u8>> {
        let world = self.lock_world();
        Some(world.inodes[world.names.get(file)?].present.clone())
    }

    /// Puts a file's content in place of what it is, durably: for damage of any kind, and for files of earlier versions.
    pub fn set_content(&self, file: &Path, content: Vec<u8>) {
        let mut world = self.lock_world();
        let inode = world.names.get(file).copied().unwrap_or_else(|| world.create(file));
        world.durable_names.insert(file.to_owned(), inode);
        let durable = content.clone();
        world.inodes.insert(inode, Inode { durable, present: content, ..Inode::default() });
    }

    /// Copies the files of a directory into another one.
    pub fn copy(&self, from: &Path, to: &Path) {
        let names: Vec<PathBuf> = {
            let mut world = self.lock_world();
            world.make_directory(to);
            world.names.keys().filter(|name| name.parent() == Some(from)).cloned().collect()
        };
        for name in names {
            let content = self.content(&name).expect("it was listed");
            self.set_content(&to.join(name.file_name().expect("a file has a name")), content);
        }
    }
}

impl World {
    /// Counts an operation that changes something; an error when it is to fail.
    fn operate(&mut self) -> io::Result<()> {
        self.operations += 1;
        match self.failing {
            Some((nth, fault)) if nth == self.operations => {
                self.failing = None;
                match fault {
                    Fault::Error(kind) => {
                        self.failures += 1;
                        Err(io::Error::new(kind, "a fault was asked for"))
                    }
                    Fault::Crash(keep) => {
                        self.crash(keep);
                        Err(gone())
                    }
                }
            }
            _ => Ok(()),
        }
    }

    fn create(&mut self, file: &Path) -> u64 {
        let inode = self.next_inode;
        self.next_inode += 1;
        self.inodes.insert(inode, Inode::default());
        self.names.insert(file.to_owned(), inode);
        inode
    }

    /// `false` when it was there.
    fn make_directory(&mut self, directory: &Path) -> bool {
        let made = !self.directories.contains_key(directory);
        if made {
            self.directories.insert(directory.to_owned(), self.next_inode);
            self.next_inode += 1;
        }
        made
    }

    fn rename(&mut self, gone: Option<&Path>, come: Option<(&Path, u64)>) -> io::Result<()> {
        let path = gone.or(come.map(|(path, _)| path)).expect("something changes");
        let directory = path.parent().ok_or(io::ErrorKind::InvalidInput)?.to_owned();
        if let Some(gone) = gone {
            self.names.remove(gone);
        }
        let come = come.map(|(path, inode)| (path.to_owned(), inode));
        if let Some((path, inode)) = &come {
            self.names.insert(path.clone(), *inode);
        }
        self.renamed.push(Renamed { directory, gone: gone.map(Path::to_owned), come });
        Ok(())
    }

    fn make_durable(&mut self, renamed: Renamed) {
        if let Some(gone) = renamed.gone {
            self.durable_names.remove(&gone);
        }
        if let Some((path, inode)) = renamed.come {
            self.durable_names.insert(path, inode);
        }
    }

    fn crash(&mut self, keep: Keep) {
        self.epoch += 1;
        self.locks.clear();
        self.handles.clear();
        self.failing = None;
        self.room = None;
        if let Some(act) = self.at_crash.take() {
            act();
        }
        if keep == Keep::Everything {
            // The machine's memory has it still, be it what the disk has or not.
            return self.sweep();
        }
        let renamed = std::mem::take(&mut self.renamed);
        // A file system keeps changes of names in order, so a first part of them is left.
        let kept = match keep {
            Keep::Some => self.random.below(renamed.len() as u64 + 1) as usize,
            _ => 0,
        };
        renamed.into_iter().take(kept).for_each(|renamed| self.make_durable(renamed));
        for directory in std::mem::take(&mut self.fresh_directories) {
            if keep == Keep::Nothing || self.random.below(2) == 0 {
                // And with it what is in it, synced or not.
                self.directories.retain(|path, _| !path.starts_with(&directory));
                self.durable_names.retain(|path, _| !path.starts_with(&directory));
            }
        }
        self.names.clone_from(&self.durable_names);
        for inode in self.inodes.values_mut().filter(|inode| inode.dirty) {
            inode.crash(keep, &mut self.random, &mut self.losses);
        }
        self.sweep();
    }

    /// Forgets files that have no name any more, nor can have one again, and are not open.
    fn sweep(&mut self) {
        let World { inodes, names, durable_names, renamed, handles, .. } = self;
        let to_come = renamed.iter().filter_map(|one| one.come.as_ref().map(|(_, inode)| inode));
        let kept: BTreeSet<u64> =
            names.values().chain(durable_names.values()).chain(handles.keys()).chain(to_come).copied().collect();
        inodes.retain(|inode, _| kept.contains(inode));
    }

    fn inode(&mut self, inode: u64, epoch: u64) -> io::Result<&mut Inode> {
        if epoch != self.epoch {
            return Err(gone());
        }
        Ok(self.inodes.get_mut(&inode).expect("what is open is not forgotten"))
    }
}

impl Inode {
    fn write(&mut self, offset: usize, bytes: &[u8]) {
        put(&mut self.present, offset, bytes);
        self.dirty = true;
        self.written.push(offset..offset + bytes.len());
        self.content.push(bytes.to_vec());
    }

    fn crash(&mut self, keep: Keep, random: &mut Random, losses: &mut Losses) {
        let written = std::mem::take(&mut self.written);
        let content = std::mem::take(&mut self.content);
        self.dirty = false;
        if keep == Keep::Some {
            for (range, content) in written.into_iter().zip(&content) {
                let likely = random.below(5);
                let (mut at, mut came) = (0, 0);
                while at < content.len() {
                    // Sectors are at fixed places of the file.
                    let sector_end = ((range.start + at) / SECTOR_BYTES + 1) * SECTOR_BYTES - range.start;
                    let end = sector_end.min(content.len());
                    if random.below(4) < likely {
                        let torn = random.below(8) == 0;
                        let to = if torn { at + random.below((end - at) as u64) as usize } else { end };
                        put(&mut self.durable, range.start + at, &content[at..to]);
                        came += to - at;
                    }
                    at = end;
                }
                losses.writes += u64::from(came < content.len());
                losses.torn += u64::from(came > 0 && came < content.len());
            }
        } else {
            losses.writes += written.len() as u64;
        }
        self.present.clone_from(&self.durable);
    }
}

fn gone() -> io::Error {
    io::Error::other("the process that had it open is gone")
}

fn put(into: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if into.len() < end {
        into.resize(end, 0);
    }
    into[offset..end].copy_from_slice(bytes);
}

impl Files for SimulatedFiles {
    fn for_process(&self) -> Arc<dyn Files> {
        let epoch = Some(self.lock_world().epoch);
        Arc::new(SimulatedFiles { world: self.world.clone(), epoch })
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.act()?;
        if !world.directories.contains_key(directory) {
            world.operate()?;
            for above in directory.ancestors() {
                let made = world.make_directory(above);
                if made && above.parent().is_some() {
                    world.fresh_directories.insert(above.to_owned());
                }
            }
        }
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let world = self.act()?;
        if !world.directories.contains_key(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = world.names.keys().filter(|name| name.parent() == Some(directory));
        Ok(inside.filter_map(|name| Some(name.file_name()?.to_str()?.to_owned())).collect())
    }

    fn open(&self, file: &Path, how: Open) -> io::Result<Arc<dyn FileHandle>> {
        let mut world = self.act()?;
        if how == Open::Create {
            world.operate()?;
            if !file.parent().is_some_and(|directory| world.directories.contains_key(directory)) {
                return Err(io::ErrorKind::NotFound.into());
            }
            // An existing one counts as another, too: that an emptied file may keep its content is of no interest here.
            let inode = world.create(file);
            world.rename(None, Some((file, inode)))?;
        }
        let inode = *world.names.get(file).ok_or(io::ErrorKind::NotFound)?;
        let epoch = world.epoch;
        *world.handles.entry(inode).or_default() += 1;
        Ok(Arc::new(Handle { world: self.world.clone(), inode, epoch, writes: how == Open::Create }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.act()?;
        world.operate()?;
        let inode = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        world.rename(Some(from), Some((to, inode)))
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        let mut world = self.act()?;
        world.operate()?;
        if !world.names.contains_key(file) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.rename(Some(file), None)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        let mut world = self.act()?;
        world.operate()?;
        let (synced, rest) = std::mem::take(&mut world.renamed).into_iter().partition(|one| one.directory == directory);
        world.renamed = rest;
        world.fresh_directories.retain(|fresh| fresh.parent() != Some(directory));
        let synced: Vec<Renamed> = synced;
        synced.into_iter().for_each(|renamed| world.make_durable(renamed));
        world.sweep();
        Ok(())
    }

    fn lock(&self, file: &Path) -> io::Result<Option<Exclusive>> {
        let mut world = self.act()?;
        if !world.names.contains_key(file) {
            world.operate()?;
            let inode = world.create(file);
            world.rename(None, Some((file, inode)))?;
        }
        let epoch = world.epoch;
        if !world.locks.insert(file.to_owned()) {
            return Ok(None);
        }
        Ok(Some(Box::new(Locked { world: self.world.clone(), file: file.to_owned(), epoch })))
    }

    fn inode(&self, directory: &Path) -> io::Result<Option<u64>> {
        self.act()?.directories.get(directory).copied().map(Some).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn machine(&self) -> Option<String> {
        self.lock_world().machine.clone()
    }

    fn draw(&self) -> u64 {
        self.lock_world().random.next_u64()
    }
}

struct Locked {
    world: Arc<Mutex<World>>,
    file: PathBuf,
    epoch: u64,
}

impl Drop for Locked {
    fn drop(&mut self) {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if world.epoch == self.epoch {
            world.locks.remove(&self.file);
        }
    }
}

struct Handle {
    world: Arc<Mutex<World>>,
    inode: u64,
    epoch: u64,
    writes: bool,
}

impl Handle {
    fn with<R>(&self, act: impl FnOnce(&mut World) -> io::Result<R>) -> io::Result<R> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.inode(self.inode, self.epoch)?;
        act(&mut world)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if world.epoch != self.epoch {
            return;
        }
        if let Some(handles) = world.handles.get_mut(&self.inode) {
            *handles -= 1;
            if *handles == 0 {
                world.handles.remove(&self.inode);
                world.sweep();
            }
        }
    }
}

impl FileHandle for Handle {
    fn length(&self) -> io::Result<u64> {
        self.with(|world| Ok(world.inode(self.inode, self.epoch)?.present.len() as u64))
    }

    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize> {
        self.with(|world| {
            let present = &world.inode(self.inode, self.epoch)?.present;
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(present.len());
            let count = into.len().min(present.len() - from);
            into[..count].copy_from_slice(&present[from..from + count]);
            Ok(count)
        })
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if !self.writes {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        self.with(|world| {
            let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
            let length = world.inode(self.inode, self.epoch)?.present.len();
            let growth = (offset + bytes.len()).saturating_sub(length) as u64;
            if matches!(world.failing, Some((nth, Fault::Crash(_))) if nth == world.operations + 1) {
                // It was on its way.
                world.inode(self.inode, self.epoch)?.write(offset, bytes);
            }
            let mut result = world.operate();
            if result.is_ok() && world.room.is_some_and(|room| room < growth) {
                world.failures += 1;
                result = Err(io::ErrorKind::StorageFull.into());
            }
            let count = match &result {
                Ok(()) => bytes.len(),
                Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                    let room = usize::try_from(world.room.unwrap_or(0)).unwrap_or(usize::MAX);
                    bytes.len().min(length.saturating_sub(offset) + room)
                }
                Err(_) => world.random.below(bytes.len() as u64 + 1) as usize,
            };
            if let Some(room) = &mut world.room {
                *room -= ((offset + count).saturating_sub(length) as u64).min(*room);
            }
            world.inode(self.inode, self.epoch)?.write(offset, &bytes[..count]);
            result
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|world| {
            let result = world.operate();
            let inode = world.inode(self.inode, self.epoch)?;
            let written = std::mem::take(&mut inode.written);
            let content = std::mem::take(&mut inode.content);
            if result.is_ok() {
                for (range, content) in written.into_iter().zip(&content) {
                    put(&mut inode.durable, range.start, content);
                }
                // One that failed before has left something that no later one writes.
                inode.dirty = inode.present != inode.durable;
            }
            // A sync that failed has lost it: the memory calls it clean, and the next sync has nothing to do.
            result
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_is_one_story() {
        let story = |seed| {
            let files = SimulatedFiles::new(seed);
            let directory = Path::new("/d");
            files.create_directory(directory).unwrap();
            files.sync_directory(Path::new("/")).unwrap();
            for name in ["a", "b"] {
                let file = files.open(&directory.join(name), Open::Create).unwrap();
                file.write_at(0, &[7; 5000]).unwrap();
                files.sync_directory(directory).unwrap();
                file.write_at(3000, &[9; 9000]).unwrap();
            }
            files.crash(Keep::Some);
            ["a", "b"].map(|name| files.content(&directory.join(name)))
        };
        assert_eq!(story(1), story(1));
        assert_ne!(story(1), story(2));
    }

    #[test]
    fn what_a_failed_sync_lost_is_read_and_never_durable() {
        let files = SimulatedFiles::new(0);
        let directory = Path::new("/d");
        files.create_directory(directory).unwrap();
        files.sync_directory(Path::new("/")).unwrap();
        let path = directory.join("a");
        let file = files.open(&path, Open::Create).unwrap();
        file.sync().unwrap();
        files.sync_directory(directory).unwrap();
        file.write_at(0, b"lost").unwrap();
        files.fail(1, io::ErrorKind::Other);
        file.sync().unwrap_err();
        assert_eq!(files.content(&path).unwrap(), b"lost");
        file.sync().unwrap();
        files.crash(Keep::Nothing);
        assert_eq!(files.content(&path).unwrap(), b"");
    }

    #[test]
    fn what_has_no_name_and_is_not_open_is_forgotten() {
        let files = SimulatedFiles::new(0);
        let directory = Path::new("/d");
        files.create_directory(directory).unwrap();
        files.sync_directory(Path::new("/")).unwrap();
        let many = || files.lock_world().inodes.len();
        let file = files.open(&directory.join("a"), Open::Create).unwrap();
        files.sync_directory(directory).unwrap();
        files.remove(&directory.join("a")).unwrap();
        drop(file);
        assert_eq!(many(), 1, "it has its name again if the power goes");
        files.sync_directory(directory).unwrap();
        assert_eq!(many(), 0);
        let file = files.open(&directory.join("b"), Open::Create).unwrap();
        file.write_at(0, b"here").unwrap();
        files.remove(&directory.join("b")).unwrap();
        files.sync_directory(directory).unwrap();
        let mut read = [0; 4];
        assert_eq!((file.read_at(0, &mut read).unwrap(), &read), (4, b"here"), "it is open");
        files.crash(Keep::Nothing);
        assert_eq!(many(), 0);
    }

    #[test]
    fn losses_are_counted() {
        let lost = |seed, synced, keep| {
            let files = SimulatedFiles::new(seed);
            let directory = Path::new("/d");
            files.create_directory(directory).unwrap();
            files.sync_directory(Path::new("/")).unwrap();
            let file = files.open(&directory.join("a"), Open::Create).unwrap();
            files.sync_directory(directory).unwrap();
            file.write_at(0, &[7; 50_000]).unwrap();
            if synced {
                file.sync().unwrap();
            }
            files.crash(keep);
            let losses = files.take_losses();
            assert_eq!(files.take_losses(), Losses::default(), "they are told once");
            (losses.writes, losses.torn)
        };
        assert_eq!((lost(0, false, Keep::Everything), lost(0, true, Keep::Nothing)), ((0, 0), (0, 0)));
        assert_eq!(lost(0, false, Keep::Nothing), (1, 0));
        let some: BTreeSet<_> = (0..50).map(|seed| lost(seed, false, Keep::Some)).collect();
        assert!(some.contains(&(1, 1)) && some.contains(&(1, 0)), "{some:?}");
    }

    #[test]
    fn names_are_durable_with_their_directory() {
        let files = SimulatedFiles::new(0);
        let directory = Path::new("/d");
        files.create_directory(directory).unwrap();
        files.sync_directory(Path::new("/")).unwrap();
        files.open(&directory.join("a"), Open::Create).unwrap();
        files.sync_directory(directory).unwrap();
        files.rename(&directory.join("a"), &directory.join("b")).unwrap();
        files.crash(Keep::Nothing);
        assert_eq!(files.list(directory).unwrap(), ["a"]);
        files.rename(&directory.join("a"), &directory.join("b")).unwrap();
        files.crash(Keep::Everything);
        assert_eq!(files.list(directory).unwrap(), ["b"]);
        files.crash(Keep::Nothing);
        assert_eq!(files.list(directory).unwrap(), ["a"]);
    }
}
