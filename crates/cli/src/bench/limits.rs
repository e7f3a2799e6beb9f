//! What the machine itself can do, measured beside the performs: no synced perform is faster.

use std::hint::black_box;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use conflux_core::Payload;
use hdrhistogram::Histogram;

use super::run::NANOS_MAX;

/// How much is written before each sync, in bytes.
const BLOCK: usize = 4096;

/// How much goes each way of a round trip, in bytes: a small batch and its frame.
const MESSAGE: usize = 128;

/// How much memory is copied at once, in bytes: more than caches hold.
const COPIED: usize = 64 << 20;

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
    /// [`COPIED`] bytes copied from one place in memory to another.
    pub(crate) copy: Histogram<u64>,
    /// What is performed, encoded [`TIMES`](Self::TIMES) times, and decoded as often.
    pub(crate) encode: Histogram<u64>,
    pub(crate) decode: Histogram<u64>,
}

impl Limits {
    /// What takes nanoseconds is measured so many times at once.
    pub(crate) const TIMES: u64 = 1000;

    pub(crate) fn new() -> Limits {
        let empty = || Histogram::new_with_bounds(1, NANOS_MAX, 3).expect("the bounds are in order");
        let [overwrite, append, round_trip, copy, encode, decode] = std::array::from_fn(|_| empty());
        Limits { overwrite, append, round_trip, copy, encode, decode }
    }

    /// Measures all of them once more, the disk's in `directory`, encoding with `method`. Blocks.
    pub(crate) fn measure<M: Payload>(&mut self, directory: &Path, method: &M) -> io::Result<()> {
        sync(&mut self.overwrite, directory, true)?;
        sync(&mut self.append, directory, false)?;
        round_trip(&mut self.round_trip)?;
        copy(&mut self.copy)?;
        code(&mut self.encode, &mut self.decode, method)
    }

    /// How many bytes of memory are copied in a second.
    pub(crate) fn copied_per_second(&self) -> u64 {
        let nanos = u128::from(self.copy.value_at_quantile(0.5).max(1));
        u64::try_from(COPIED as u128 * 1_000_000_000 / nanos).unwrap_or(u64::MAX)
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

fn copy(times: &mut Histogram<u64>) -> io::Result<()> {
    let from = vec![0x5a_u8; COPIED];
    // Pages are there before it is timed.
    let mut to = vec![0xa5_u8; COPIED];
    repeat(times, || {
        to.copy_from_slice(black_box(&from));
        black_box(&mut to);
        Ok(())
    })
}

fn code<M: Payload>(encode: &mut Histogram<u64>, decode: &mut Histogram<u64>, method: &M) -> io::Result<()> {
    let mut bytes = Vec::new();
    repeat(encode, || {
        for _ in 0..Limits::TIMES {
            bytes.clear();
            black_box(method).encode(&mut bytes).map_err(io::Error::other)?;
        }
        Ok(())
    })?;
    repeat(decode, || {
        for _ in 0..Limits::TIMES {
            black_box(M::decode(black_box(&bytes)).map_err(io::Error::other)?);
        }
        Ok(())
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
        limits.measure(directory.path(), &7_u64).expect("files and loopback work");
        let Limits { overwrite, append, round_trip, copy, encode, decode } = &limits;
        for times in [overwrite, append, round_trip, copy, encode, decode] {
            assert!(!times.is_empty() && times.value_at_quantile(0.5) > 0);
        }
        assert!(limits.copied_per_second() > 1 << 20);
        assert!(limits.floor() >= 2 * limits.round_trip.value_at_quantile(0.5));
        let left = std::fs::read_dir(directory.path()).expect("it is there").count();
        assert_eq!(left, 0, "the files are gone");
    }
}
