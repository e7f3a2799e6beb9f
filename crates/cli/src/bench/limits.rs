//! What the machine itself can do, measured beside the performs: no synced perform is faster.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::run::NANOS_MAX;

/// How much is written before each sync, in bytes.
const BLOCK: usize = 4096;

/// How much goes each way of a round trip, in bytes: a small batch and its frame.
const MESSAGE: usize = 128;

/// How long each limit is measured, each time.
const TIME: Duration = Duration::from_millis(300);

/// How long each thing took, in nanoseconds, over all times that it was measured.
#[derive(Debug)]
pub(crate) struct Limits {
    /// 4 KiB written over what is there, and `fdatasync`.
    pub(crate) overwrite: Histogram<u64>,
    /// 4 KiB appended, and `fdatasync`.
    pub(crate) append: Histogram<u64>,
    /// There and back by TCP on loopback, between two threads that block.
    pub(crate) round_trip: Histogram<u64>,
}

impl Limits {
    pub(crate) fn new() -> Limits {
        let empty = || Histogram::new_with_bounds(1, NANOS_MAX, 3).expect("the bounds are in order");
        Limits { overwrite: empty(), append: empty(), round_trip: empty() }
    }

    /// Measures all of them once more, the disk's in `directory`. Blocks.
    pub(crate) fn measure(&mut self, directory: &Path) -> io::Result<()> {
        sync(&mut self.overwrite, directory, true)?;
        sync(&mut self.append, directory, false)?;
        round_trip(&mut self.round_trip)
    }

    /// The least that a synced perform on another node's disk takes, in nanoseconds: an append that is synced, and two
    /// round trips.
    pub(crate) fn floor(&self) -> u64 {
        self.append.value_at_quantile(0.5) + 2 * self.round_trip.value_at_quantile(0.5)
    }
}

fn sync(times: &mut Histogram<u64>, directory: &Path, over: bool) -> io::Result<()> {
    // It has no name, and goes with its handle.
    let mut file = tempfile::tempfile_in(directory)?;
    let block = [0x5a; BLOCK];
    file.write_all(&block)?;
    file.sync_all()?;
    repeat(times, || {
        if over {
            file.seek(SeekFrom::Start(0))?;
        }
        file.write_all(&block)?;
        file.sync_data()
    })
}

fn round_trip(times: &mut Histogram<u64>) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut message = [0; MESSAGE];
            // Ends with the connection.
            while far.read_exact(&mut message).is_ok() && far.write_all(&message).is_ok() {}
        });
        let mut message = [0x5a; MESSAGE];
        let measured = repeat(times, || {
            near.write_all(&message)?;
            near.read_exact(&mut message)
        });
        drop(near);
        measured
    })
}

fn repeat(times: &mut Histogram<u64>, mut once: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    let begun = Instant::now();
    let mut last = begun;
    while last - begun < TIME {
        once()?;
        let now = Instant::now();
        times.saturating_record(u64::try_from((now - last).as_nanos()).unwrap_or(u64::MAX));
        last = now;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_measured_and_none_is_free() {
        let directory = tempfile::tempdir().expect("there is a directory for temporary files");
        let mut limits = Limits::new();
        limits.measure(directory.path()).expect("files and loopback work");
        for times in [&limits.overwrite, &limits.append, &limits.round_trip] {
            assert!(!times.is_empty() && times.value_at_quantile(0.5) > 0);
        }
        assert!(limits.floor() >= 2 * limits.round_trip.value_at_quantile(0.5));
        let left = std::fs::read_dir(directory.path()).expect("it is there").count();
        assert_eq!(left, 0, "the files are gone");
    }
}
