//! The file system as a disk needs it, so that the same code runs over real files and over simulated ones.

use std::any::Any;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// To be read. It must exist.
    Read,
    /// To be read and written, with nothing in it; an existing one is emptied.
    Create,
}

/// Holds a lock for as long as it lives.
pub type Exclusive = Box<dyn Any + Send + Sync>;

/// A file system. Every operation may fail as the operating system's do.
///
/// As on a real one, nothing is durable until it is synced: content by the file's own sync; names, of files that were
/// created, renamed or removed, by the sync of their directory.
pub trait Files: Send + Sync + 'static {
    /// The same files for one opening of a disk. A simulation lets it end in a crash; else there is nothing to do.
    fn for_process(&self) -> Arc<dyn Files>;

    /// Makes a directory, and those above it, where they are missing.
    fn create_directory(&self, directory: &Path) -> io::Result<()>;

    /// The names in a directory, in any order.
    fn list(&self, directory: &Path) -> io::Result<Vec<String>>;

    /// Opens a file.
    fn open(&self, file: &Path, how: Open) -> io::Result<Arc<dyn FileHandle>>;

    /// Gives a file another name in the same directory, replacing what has it, in one step.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Whoever has it open can read it still.
    fn remove(&self, file: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_directory(&self, directory: &Path) -> io::Result<()>;

    /// Locks a file for as long as the value lives, creating it where it is missing; `None` when it is locked already.
    fn lock(&self, file: &Path) -> io::Result<Option<Exclusive>>;

    /// A number that a directory keeps when it is renamed and that a copy of it does not have; `None` where there is
    /// none.
    fn inode(&self, directory: &Path) -> io::Result<Option<u64>>;

    /// The machine's id; `None` where it has none.
    fn machine(&self) -> Option<String>;

    /// 64 random bits.
    fn draw(&self) -> u64;
}

/// An open file.
pub trait FileHandle: Send + Sync {
    /// How long it is, in bytes.
    fn length(&self) -> io::Result<u64>;

    /// Reads bytes at an offset: as many as there are, up to the length of `into`.
    fn read_at(&self, offset: u64, into: &mut [u8]) -> io::Result<usize>;

    /// Writes bytes at an offset. After an error, any part of them may have been written.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes the content durable, and the length.
    fn sync(&self) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealFiles;

impl Files for RealFiles {
    fn for_process(&self) -> Arc<dyn Files> {
        Arc::new(RealFiles)
    }

    fn create_directory(&self, directory: &Path) -> io::Result<()> {
        let mut builder = std::fs::DirBuilder::new();
        // The state may be nobody else's business.
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.recursive(true).create(directory)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<String>> {
        let entries = std::fs::read_dir(directory)?;
        // A name that is no text is none of ours.
        entries.filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose()).collect()
    }

    fn open(&self, file: &Path, how: Open) -> io::Result<Arc<dyn FileHandle>> {
        let mut options = OpenOptions::new();
        options.read(true);
        if how == Open::Create {
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        }
        Ok(Arc::new(RealFile(Mutex::new(options.open(file)?))))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove(&self, file: &Path) -> io::Result<()> {
        std::fs::remove_file(file)
    }

    fn sync_directory(&self, directory: &Path) -> io::Result<()> {
        // Elsewhere a directory cannot be opened, and renaming is durable by itself.
        if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
    }

    fn lock(&self, file: &Path) -> io::Result<Option<Exclusive>> {
        let mut locked = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(file)?;
        match locked.try_lock() {
            Ok(()) => {
                // For people, and for the message that the next one gets.
                locked.set_len(0)?;
                writeln!(locked, "{}", std::process::id())?;
                Ok(Some(Box::new(locked)))
            }
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn inode(&self, directory: &Path) -> io::Result<Option<u64>> {
        #[cfg(unix)]
        let inode = Some(std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(directory)?));
        #[cfg(not(unix))]
        let inode = std::fs::metadata(directory).map(|_| None)?;
        Ok(inode)
    }

    fn machine(&self) -> Option<String> {
        let id = std::fs::read_to_string("/etc/machine-id").ok()?;
        Some(id.trim().to_owned()).filter(|id| !id.is_empty())
    }

    #[expect(clippy::disallowed_methods, reason = "these files are real: SimulatedFiles has a seed")]
    fn draw(&self) -> u64 {
        rand::random()
    }
}

struct RealFile(Mutex<File>);

impl RealFile {
    fn at(&self, offset: u64) -> io::Result<std::sync::MutexGuard<'_, File>> {
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        Ok(file)
    }
}

impl FileHandle for RealFile {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).metadata()?.len())
    }

    fn read_at(&self, offset: u64, mut into: &mut [u8]) -> io::Result<usize> {
        let mut file = self.at(offset)?;
        let mut read = 0;
        while !into.is_empty() {
            match file.read(into) {
                Ok(0) => break,
                Ok(count) => {
                    read += count;
                    into = &mut into[count..];
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.at(offset)?.write_all(bytes)
    }

    fn sync(&self) -> io::Result<()> {
        // `fdatasync`, which writes the length, too; `F_FULLFSYNC` on macOS, where less does not reach the disk.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).sync_data()
    }
}
