//! A link between two processes, which can be cut, stalled and slowed.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::network::Mode;

/// How long a read waits before it looks whether the link was cut.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is passed on at once.
const CHUNK_BYTES: usize = 16 << 10;

/// What became of what a link was given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) passed_bytes: u64,
    /// Connections that were closed because the link was cut, or not let in.
    pub(super) broken: u64,
    /// Chunks that waited for the link to pass again.
    pub(super) stalled: u64,
    /// Chunks that were late.
    pub(super) slowed: u64,
}

impl Counts {
    pub(super) fn plus(self, other: Counts) -> Counts {
        Counts {
            passed_bytes: self.passed_bytes + other.passed_bytes,
            broken: self.broken + other.broken,
            stalled: self.stalled + other.stalled,
            slowed: self.slowed + other.slowed,
        }
    }
}

/// A link; the process that dials is given [`port`](Link::port). It ends when this is dropped.
pub(super) struct Link {
    port: u16,
    shared: Arc<Shared>,
}

struct Shared {
    to: SocketAddr,
    state: Mutex<State>,
    changed: Condvar,
    passed_bytes: AtomicU64,
    broken: AtomicU64,
    stalled: AtomicU64,
    slowed: AtomicU64,
}

struct State {
    mode: Mode,
    ended: bool,
}

impl Link {
    /// Listens on this machine, and passes on to a port of it.
    pub(super) fn open(to: u16) -> std::io::Result<Link> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared {
            to: SocketAddr::from(([127, 0, 0, 1], to)),
            state: Mutex::new(State { mode: Mode::Pass, ended: false }),
            changed: Condvar::new(),
            passed_bytes: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            slowed: AtomicU64::new(0),
        });
        let accepting = shared.clone();
        std::thread::spawn(move || accept(&accepting, &listener));
        Ok(Link { port, shared })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn set(&self, mode: Mode) {
        self.shared.lock().mode = mode;
        self.shared.changed.notify_all();
    }

    pub(super) fn counts(&self) -> Counts {
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Shared { passed_bytes, broken, stalled, slowed, .. } = &*self.shared;
        Counts { passed_bytes: load(passed_bytes), broken: load(broken), stalled: load(stalled), slowed: load(slowed) }
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.shared.lock().ended = true;
        self.shared.changed.notify_all();
        // Wakes the one who accepts.
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether connections are to be closed.
    fn closes(&self) -> bool {
        let state = self.lock();
        state.ended || state.mode == Mode::Cut
    }

    /// Waits until a chunk may go on; `false` when its connection is to be closed.
    fn admit(&self) -> bool {
        let mut state = self.lock();
        if state.mode == Mode::Stall {
            self.stalled.fetch_add(1, Ordering::Relaxed);
        }
        while state.mode == Mode::Stall && !state.ended {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if let Mode::Slow(delay) = state.mode {
            self.slowed.fetch_add(1, Ordering::Relaxed);
            // A link that is cut meanwhile need not wait.
            let waited =
                self.changed.wait_timeout_while(state, delay, |now| now.mode == Mode::Slow(delay) && !now.ended);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        !state.ended && state.mode != Mode::Cut
    }
}

fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    for from in listener.incoming() {
        if shared.lock().ended {
            return;
        }
        let Ok(from) = from else { continue };
        let shared = shared.clone();
        // Connecting may take its time.
        std::thread::spawn(move || carry(&shared, &from));
    }
}

/// Serves one connection to its end.
fn carry(shared: &Arc<Shared>, from: &TcpStream) {
    if shared.closes() || !shared.admit() {
        shared.broken.fetch_add(1, Ordering::Relaxed);
        return;
    }
    // Nobody there: the dialler is told by the end of its connection.
    let Ok(to) = TcpStream::connect_timeout(&shared.to, Duration::from_secs(1)) else { return };
    std::thread::scope(|scope| {
        let back = scope.spawn(|| pump(shared, &to, from));
        let cut = pump(shared, from, &to);
        let cut = back.join().expect("pumping does not panic") || cut;
        if cut {
            shared.broken.fetch_add(1, Ordering::Relaxed);
        }
    });
}

/// Passes on until either side ends; `true` when the link was cut.
fn pump(shared: &Shared, mut from: &TcpStream, mut to: &TcpStream) -> bool {
    let mut chunk = vec![0; CHUNK_BYTES];
    let ready = from.set_read_timeout(Some(LOOK_EVERY)).is_ok() && to.set_nodelay(true).is_ok();
    let cut = loop {
        if !ready || shared.closes() {
            break ready;
        }
        match from.read(&mut chunk) {
            Ok(0) => break false,
            Ok(length) => {
                if !shared.admit() {
                    break true;
                }
                if to.write_all(&chunk[..length]).is_err() {
                    break false;
                }
                shared.passed_bytes.fetch_add(length as u64, Ordering::Relaxed);
            }
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => break false,
        }
    };
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
    cut
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One that sends back what it gets.
    fn echo() -> u16 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a loopback");
        let port = listener.local_addr().expect("it is bound").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
        port
    }

    fn dial(link: &Link) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", link.port())).expect("the link listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("it is a time");
        stream
    }

    fn say(mut stream: &TcpStream, word: &[u8; 2]) -> std::io::Result<[u8; 2]> {
        stream.write_all(word)?;
        let mut back = [0; 2];
        stream.read_exact(&mut back).map(|()| back)
    }

    #[test]
    fn a_link_passes_stalls_slows_and_cuts() {
        let link = Link::open(echo()).expect("there is a loopback");
        let stream = dial(&link);
        assert_eq!(say(&stream, b"ab").expect("it passes"), *b"ab");
        link.set(Mode::Slow(Duration::from_millis(30)));
        let begun = std::time::Instant::now();
        assert_eq!(say(&stream, b"cd").expect("it is slow"), *b"cd");
        assert!(begun.elapsed() >= Duration::from_millis(60), "there and back");
        assert!(link.counts().slowed >= 2);

        link.set(Mode::Stall);
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("it is a time");
        say(&stream, b"ef").expect_err("nothing comes through");
        assert_eq!(link.counts().stalled, 1);
        link.set(Mode::Pass);
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("it is a time");
        let mut late = [0; 2];
        (&stream).read_exact(&mut late).expect("it was held, not lost");
        assert_eq!(late, *b"ef");

        link.set(Mode::Cut);
        assert_eq!((&stream).read(&mut late).unwrap_or(0), 0, "the connection is closed");
        assert!(say(&dial(&link), b"gh").is_err(), "and so is a new one");
        link.set(Mode::Pass);
        assert_eq!(say(&dial(&link), b"ij").expect("it passes again"), *b"ij");
        assert!(link.counts().broken >= 2, "{:?}", link.counts());
    }
}
