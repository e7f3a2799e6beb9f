//! What lies above every channel, once: framing, checksums, limits, requests and responses, large messages.
//!
//! A [`Wire`] wraps the [`Port`] of an attached node. It has no task of its own: the node passes each message of its
//! inbox to [`Wire::accept`], and handles the [`Arrival`] that may come back. Responses are matched inside.
//!
//! ```
//! # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
//! use conflux::channel::{Channel, MemoryChannel};
//! use conflux::wire::{Head, Kind, Limits, Wire};
//!
//! let channel = MemoryChannel::new();
//! let mut a = channel.attach("a".into()).await?;
//! let mut b = channel.attach("b".into()).await?;
//! let (wire_a, wire_b) = (Wire::new(a.port, Limits::default()), Wire::new(b.port, Limits::default()));
//!
//! let head = Head { kind: Kind(7), group: 0, cluster: 0 };
//! let pending = wire_a.request(&"b".into(), head, "ping".into());
//!
//! let arrival = wire_b.accept(b.inbox.recv().await.unwrap())?.unwrap();
//! assert_eq!((arrival.head, &*arrival.body), (head, &b"ping"[..]));
//! arrival.reply.unwrap().send("pong".into());
//!
//! assert!(wire_a.accept(a.inbox.recv().await.unwrap())?.is_none());
//! assert_eq!(pending.await?, "pong");
//! # Ok::<_, Box<dyn std::error::Error>>(()) }).unwrap();
//! ```
//!
//! Everything here is best effort, as the channel is: a post may be lost or come twice, and a request without an answer
//! waits until its caller gives up. What does arrive is exactly what was sent.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::channel::{Message, Name, Port};
use crate::metrics::ChannelMetrics;

mod assembly;
mod frame;
mod limits;
mod request;
mod stats;

pub use frame::{Frame, FrameError, HEADER_BYTES, Head, Kind, Role, VERSION};
pub use limits::{Limits, LimitsError};
pub use request::{Pending, REFUSAL_BYTES_MAX, Reply, RequestError};
pub use stats::Stats;

use assembly::{Assembly, Progress};
use request::Requests;
use stats::Counters;

/// A node's end of all its connections. Clones are the same end.
#[derive(Clone)]
pub struct Wire {
    shared: Arc<Shared>,
}

/// A message that the node must handle.
#[derive(Debug)]
pub struct Arrival {
    /// Who sent it.
    pub from: Name,
    /// What it is.
    pub head: Head,
    /// Its content.
    pub body: Bytes,
    /// How to answer, if it is a request.
    pub reply: Option<Reply>,
}

struct Shared {
    port: Arc<dyn Port>,
    limits: Limits,
    next_id: AtomicU64,
    requests: Requests,
    assembly: Mutex<Assembly>,
    counters: Counters,
    closed: AtomicBool,
}

impl Wire {
    /// Wrap a port. Message ids start at 0: see [`seeded`](Self::seeded) for when that will not do.
    ///
    /// # Panics
    /// When the limits do not pass [`Limits::check`].
    pub fn new(port: Arc<dyn Port>, limits: Limits) -> Wire {
        Self::starting_at(port, limits, 0)
    }

    /// Wrap a port, with message ids that start at a place given by the seed.
    ///
    /// A node that comes back under an earlier node's name should use this with a seed of its own (its incarnation, say):
    /// then an answer still on its way to the earlier node is not taken for an answer to the new one.
    ///
    /// # Panics
    /// When the limits do not pass [`Limits::check`].
    pub fn seeded(port: Arc<dyn Port>, limits: Limits, seed: u64) -> Wire {
        // The finalizer of SplitMix64, so that seeds 1, 2, 3 start far apart.
        let z = (seed ^ (seed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self::starting_at(port, limits, z ^ (z >> 31))
    }

    fn starting_at(port: Arc<dyn Port>, limits: Limits, first_id: u64) -> Wire {
        if let Err(error) = limits.check() {
            panic!("{error}");
        }
        let shared = Shared {
            port,
            limits,
            next_id: AtomicU64::new(first_id),
            requests: Requests::new(limits.requests_max),
            assembly: Mutex::new(Assembly::new(limits)),
            counters: Counters::default(),
            closed: AtomicBool::new(false),
        };
        Wire { shared: Arc::new(shared) }
    }

    /// The name under which the node is attached.
    pub fn name(&self) -> &Name {
        self.shared.port.name()
    }

    /// Send one way. A body over the limit is not sent, but counted in [`Stats::unsent_too_large`].
    pub fn post(&self, to: &Name, head: Head, body: Bytes) {
        let id = self.shared.take_id();
        self.shared.send(Some(to), Role::Post, head, id, body);
    }

    /// Send one way to every other node. A body over the limit is not sent, but counted.
    pub fn broadcast(&self, head: Head, body: Bytes) {
        let id = self.shared.take_id();
        self.shared.send(None, Role::Post, head, id, body);
    }

    /// Ask one node, which may be this one. It is sent when this returns, whether or not the answer is awaited; dropping
    /// the [`Pending`] forgets the question. There is no timeout here: the caller adds its own.
    pub fn request(&self, to: &Name, head: Head, body: Bytes) -> Pending {
        let (len, limit) = (body.len(), self.shared.limits.message_bytes_max);
        if len > limit {
            self.shared.counters.unsent_too_large();
            return Pending::failed(RequestError::TooLarge { len, limit });
        }
        let id = self.shared.take_id();
        match self.shared.requests.begin(id, to.clone()) {
            Err(error) => Pending::failed(error),
            Ok(answer) => {
                self.shared.send(Some(to), Role::Request, head, id, body);
                Pending::waiting(id, answer, Arc::downgrade(&self.shared))
            }
        }
    }

    /// Take in one message of the inbox. Returns what the node must handle, if that completes anything for it.
    ///
    /// An error says that the sender is broken, hostile, or of another version. The frame was dropped and counted; nothing
    /// else has to be done.
    pub fn accept(&self, message: Message) -> Result<Option<Arrival>, FrameError> {
        let Message { from, frame } = message;
        let shared = &self.shared;
        if shared.closed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let accepted = Frame::decode(frame, &shared.limits).and_then(|frame| shared.assemble(&from, frame));
        let Some(whole) = accepted.inspect_err(|error| shared.counters.refused(error))? else {
            return Ok(None);
        };
        let (head, body) = (whole.head, whole.payload);
        let reply = match whole.role {
            Role::Post => None,
            Role::Request => Some(Reply { wire: self.clone(), to: from.clone(), head, id: whole.id }),
            Role::Response => {
                shared.answer(whole.id, &from, Ok(body));
                return Ok(None);
            }
            Role::Refusal => {
                shared.answer(whole.id, &from, Err(RequestError::refused(&body)));
                return Ok(None);
            }
        };
        Ok(Some(Arrival { from, head, body, reply }))
    }

    /// Detach, fail every pending request with [`RequestError::Closed`], and drop what was half received. Later requests
    /// fail at once; what is sent or accepted later does nothing.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Relaxed);
        self.shared.port.close();
        self.shared.requests.close();
        self.shared.assembly().close();
    }

    /// What the connections under it count.
    pub fn channel_metrics(&self) -> ChannelMetrics {
        self.shared.port.metrics()
    }

    /// What was refused, lost or left over, and what is held.
    pub fn stats(&self) -> Stats {
        let mut stats = self.shared.counters.read();
        let assembly = self.shared.assembly();
        stats.partials = assembly.len();
        stats.partial_bytes = assembly.bytes_held();
        stats.partials_abandoned = assembly.abandoned();
        drop(assembly);
        stats.requests_pending = self.shared.requests.len();
        stats
    }
}

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Wire").field("name", self.name()).field("stats", &self.stats()).finish_non_exhaustive()
    }
}

impl Shared {
    fn take_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Send a whole message, in as many frames as it needs. To everyone when `to` is none.
    fn send(&self, to: Option<&Name>, role: Role, head: Head, id: u64, body: Bytes) {
        let limit = self.limits.message_bytes_max;
        if body.len() > limit {
            self.counters.unsent_too_large();
            tracing::warn!(len = body.len(), limit, kind = head.kind.0, "a message over the limit was not sent");
            return;
        }
        let total = body.len() as u64;
        // An empty body is one empty chunk.
        let count = body.len().div_ceil(self.limits.chunk_bytes).max(1);
        let count = u32::try_from(count).expect("Limits::check bounds the chunks of a message");
        let body_checksum = if count == 1 { 0 } else { crc32fast::hash(&body) };
        let mut rest = body;
        for index in 0..count {
            let payload = rest.split_to(rest.len().min(self.limits.chunk_bytes));
            let frame = Frame { head, role, id, index, count, total, body_checksum, payload }.encode();
            match to {
                Some(to) => self.port.send(to, frame),
                None => self.port.broadcast(frame),
            }
        }
    }

    /// Put a frame with the earlier ones of its message. Returns the message as one frame once it is whole.
    fn assemble(&self, from: &Name, frame: Frame) -> Result<Option<Frame>, FrameError> {
        if frame.count == 1 {
            return Ok(Some(frame));
        }
        // A chunk of an answer that nobody waits for is not worth keeping.
        if frame.role.is_answer() && !self.requests.expects(frame.id, from) {
            self.counters.unexpected_answer();
            return Ok(None);
        }
        match self.assembly().add(from, frame)? {
            Progress::Whole(whole) => Ok(Some(whole)),
            Progress::Partial => Ok(None),
            Progress::Gap => {
                self.counters.gap();
                Ok(None)
            }
        }
    }

    fn answer(&self, id: u64, from: &Name, answer: Result<Bytes, RequestError>) {
        if !self.requests.end(id, from, answer) {
            self.counters.unexpected_answer();
        }
    }

    fn assembly(&self) -> MutexGuard<'_, Assembly> {
        self.assembly.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;
