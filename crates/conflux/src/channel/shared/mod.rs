//! What channels have in common on which everybody hears everybody: a relay's room, a channel of Redis.
//!
//! Others may be there, too. So everything is signed with the key of the cluster, and nothing is taken that was recorded
//! and is sent again: see [`ClusterKey`] and [`envelope`]. It is not encrypted: who is there can read it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout, timeout_at};

pub mod envelope;
mod key;
mod queue;
mod trust;

pub use key::{ClusterKey, KeyError};

use super::{Attachment, ChannelError, Deliver, Inbox, InboxLimits, Message, Name, Port, check_name};
use crate::metrics::ChannelMetrics;
use envelope::{Envelope, EnvelopeError, FRAME_BYTES_MAX, Kind, Life, Signer};
use queue::{Item, Queue};
use trust::{Trust, Verdict};

/// What a node of that name delivers of envelopes that come one after another, when each of its challenges is the same: for
/// fuzzing.
#[doc(hidden)]
pub fn delivered(name: Name, envelopes: impl IntoIterator<Item = Envelope>) -> Vec<Message> {
    let mut trust = Trust::new(name, 1, || 7);
    let now = Instant::now();
    let verdicts = envelopes.into_iter().map(|envelope| trust.judge(envelope, now));
    verdicts.filter_map(|verdict| if let Verdict::Deliver(message) = verdict { Some(message) } else { None }).collect()
}

/// How long connecting may take.
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// How long a node that has a name already has to say so. It is asked twice.
const CLAIM_TIME: Duration = Duration::from_millis(250);

/// How often a sign of life is given.
pub(super) const BEAT: Duration = Duration::from_secs(5);

/// After what silence a connection is given up.
pub(super) const SILENCE_MAX: Duration = Duration::from_secs(15);

/// How long what waits is still sent when a node detaches.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// How long the log hears nothing more of what was refused, whatever comes.
const WARNING_PAUSE: Duration = Duration::from_secs(10);

/// A connection that lasted this long was good: the next attempt is made at once.
const GOOD_TIME: Duration = Duration::from_secs(1);

/// The pauses between attempts: each is twice as long as the one before.
const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Where all nodes hear each other.
pub(super) trait Medium: Send + Sync + 'static {
    /// Connects for a node of this name. An error says what to do.
    fn connect(&self, name: &Name) -> BoxFuture<'_, Result<Link, String>>;
}

/// A connection to a medium.
pub(super) struct Link {
    pub(super) sender: Box<dyn LinkSender>,
    pub(super) receiver: Box<dyn LinkReceiver>,
}

/// The half of a link that sends.
pub(super) trait LinkSender: Send {
    /// Sends these, in this order: to the node named, or to all.
    fn send(&mut self, batch: Vec<(Option<Name>, Bytes)>) -> BoxFuture<'_, Result<(), String>>;

    /// Gives a sign of life.
    fn beat(&mut self) -> BoxFuture<'_, Result<(), String>>;

    /// Says goodbye.
    fn close(&mut self) -> BoxFuture<'_, ()>;
}

/// The half of a link that receives.
pub(super) trait LinkReceiver: Send {
    /// The next that comes. May give what is for others and what this node sent itself. Dropping the future loses nothing.
    /// An error says that the connection is over, also when nothing at all came for [`SILENCE_MAX`].
    fn recv(&mut self) -> BoxFuture<'_, Result<Bytes, String>>;
}

/// How a node is connected, for people and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SharedStatus {
    /// The node.
    pub name: Name,
    /// Frames can go and come now.
    pub connected: bool,
    /// Why they cannot, or last could not.
    pub trouble: Option<String>,
    /// How often a connection was made.
    pub connections: u64,
    /// Frames handed to the system. Some may have been lost with a connection.
    pub frames_sent: u64,
    /// Frames that are known to be lost.
    pub frames_lost: u64,
    /// What came and was not signed as it should be, or was none of ours.
    pub refused: u64,
    /// The latest reason for that.
    pub refusal: Option<String>,
}

/// A node that is attached by a shared medium.
struct Station {
    name: Name,
    life: Life,
    medium: Arc<dyn Medium>,
    signer: Signer,
    queue: Queue,
    deliver: Deliver,
    trust: Mutex<Trust>,
    /// Of the latest envelope.
    number: AtomicU64,
    too_large: AtomicU64,
    closing: watch::Sender<bool>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    connected: bool,
    connections: u64,
    trouble: Option<String>,
    refused: u64,
    refusal: Option<String>,
    /// When the log was told last, and how many were refused since.
    warned: Option<Instant>,
    untold: u64,
}

impl State {
    /// Counts what was refused. When the log is to be told, how often it was not since the last time: by the clock, for who
    /// forges may say another thing each time.
    fn refuse(&mut self, why: &str, now: Instant) -> Option<u64> {
        self.refused += 1;
        self.refusal = Some(why.to_owned());
        if self.warned.is_some_and(|at| now - at < WARNING_PAUSE) {
            self.untold += 1;
            return None;
        }
        self.warned = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

/// Why a link is of no use.
enum Unusable {
    Broken(String),
    Taken,
}

/// The nodes that are attached through one channel.
#[derive(Default)]
pub(super) struct Stations {
    attached: Mutex<Attached>,
}

#[derive(Default)]
struct Attached {
    stations: Vec<(Weak<Station>, JoinHandle<()>)>,
    /// Nobody can be attached any more, also who had begun to.
    closed: bool,
}

impl Stations {
    pub(super) async fn attach(
        &self,
        medium: Arc<dyn Medium>,
        signer: Signer,
        name: Name,
    ) -> Result<Attachment, ChannelError> {
        if self.lock().closed {
            return Err(ChannelError::Closed);
        }
        let (station, link, inbox) = enter(medium, signer, name).await?;
        let mut attached = self.lock();
        if attached.closed {
            return Err(ChannelError::Closed);
        }
        #[expect(clippy::disallowed_methods, reason = "a channel between processes, which no simulation has")]
        let task = tokio::spawn(keep(station.clone(), link));
        attached.stations.retain(|(_, task)| !task.is_finished());
        attached.stations.push((Arc::downgrade(&station), task));
        Ok(Attachment { port: Arc::new(SharedPort(station)), inbox })
    }

    pub(super) fn status(&self) -> Vec<SharedStatus> {
        let attached = self.lock();
        let stations = attached.stations.iter().filter_map(|(station, _)| station.upgrade());
        stations.filter(|station| !station.is_closed()).map(|station| station.status()).collect()
    }

    /// Detaches every node, for good. Returns when what waited was sent, or a moment has passed.
    pub(super) async fn close(&self) {
        let attached = {
            let mut attached = self.lock();
            attached.closed = true;
            std::mem::take(&mut attached.stations)
        };
        for (station, _) in &attached {
            if let Some(station) = station.upgrade() {
                station.close();
            }
        }
        for (_, task) in attached {
            // It ends by itself; an error would say that it panicked, which it told already.
            let _ = task.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Attached> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Connects a node, and sees to it that it is the only one of its name.
#[expect(clippy::disallowed_methods, reason = "a channel between processes, which no simulation has")]
async fn enter(
    medium: Arc<dyn Medium>,
    signer: Signer,
    name: Name,
) -> Result<(Arc<Station>, Link, Inbox), ChannelError> {
    check_name(&name)?;
    let (deliver, inbox) = Inbox::new(InboxLimits::default());
    let life = rand::random();
    let station = Arc::new(Station {
        medium,
        signer,
        queue: Queue::new(InboxLimits::default()),
        deliver,
        trust: Mutex::new(Trust::new(name.clone(), life, rand::random)),
        number: AtomicU64::new(0),
        too_large: AtomicU64::new(0),
        closing: watch::Sender::new(false),
        state: Mutex::default(),
        name: name.clone(),
        life,
    });
    match station.open().await {
        Ok(link) => Ok((station, link, inbox)),
        Err(Unusable::Taken) => Err(ChannelError::NameTaken { name }),
        Err(Unusable::Broken(reason)) => Err(ChannelError::Unreachable { reason }),
    }
}

impl Station {
    fn status(&self) -> SharedStatus {
        let (frames_sent, frames_lost) = self.queue.counts();
        let state = self.state();
        SharedStatus {
            name: self.name.clone(),
            connected: state.connected,
            trouble: state.trouble.clone(),
            connections: state.connections,
            frames_sent,
            frames_lost,
            refused: state.refused,
            refusal: state.refusal.clone(),
        }
    }

    fn is_closed(&self) -> bool {
        *self.closing.borrow()
    }

    async fn closed(&self) {
        // An error says that the sender is gone, and it is in `self`.
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    fn close(&self) {
        self.closing.send_replace(true);
        self.queue.close();
        self.deliver.close();
    }

    /// Connects, and makes sure that nobody else has the name.
    async fn open(&self) -> Result<Link, Unusable> {
        let mut link = match timeout(CONNECT_TIME, self.medium.connect(&self.name)).await {
            Ok(connected) => connected.map_err(Unusable::Broken)?,
            Err(_) => return Err(Unusable::Broken(format!("no connection within {CONNECT_TIME:?}"))),
        };
        for _ in 0..2 {
            self.send(&mut *link.sender, Item { kind: Kind::Claim, to: None, about: 0, frame: Bytes::new() }).await?;
            let deadline = Instant::now() + CLAIM_TIME;
            while let Ok(came) = timeout_at(deadline, link.receiver.recv()).await {
                match self.judge(came.map_err(Unusable::Broken)?) {
                    Some(Verdict::Taken) => return Err(Unusable::Taken),
                    // Of two that come together the one with the smaller life goes on, and says so. The other one does not
                    // give way to a claim, which may be an old one that somebody sent again: only to this answer, which
                    // names its life.
                    Some(Verdict::Claimed(other)) if other > self.life => {
                        let to = Some(self.name.clone());
                        self.send(&mut *link.sender, Item { kind: Kind::Taken, to, about: other, frame: Bytes::new() })
                            .await?;
                    }
                    // It is lost, and what is asked will be asked again.
                    Some(Verdict::Deliver(_) | Verdict::Reply(..) | Verdict::Claimed(_) | Verdict::Nothing) | None => {}
                }
            }
        }
        Ok(link)
    }

    async fn send(&self, sender: &mut dyn LinkSender, item: Item) -> Result<(), Unusable> {
        let sealed = self.seal(item);
        sender.send(vec![sealed]).await.map_err(Unusable::Broken)
    }

    fn seal(&self, item: Item) -> (Option<Name>, Bytes) {
        let Item { kind, to, about, frame } = item;
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        let (from, life) = (self.name.clone(), self.life);
        let envelope = Envelope { kind, to: to.clone(), from, life, number, about, frame };
        (to, envelope.encode(&self.signer))
    }

    /// What comes of bytes from the medium; nothing when they are no good.
    fn judge(&self, bytes: Bytes) -> Option<Verdict> {
        match Envelope::decode(bytes, &self.signer) {
            Ok(envelope) => {
                Some(self.trust.lock().unwrap_or_else(PoisonError::into_inner).judge(envelope, Instant::now()))
            }
            Err(error) => {
                self.refuse(&error);
                None
            }
        }
    }

    fn refuse(&self, error: &EnvelopeError) {
        let error = error.to_string();
        let untold = self.state().refuse(&error, Instant::now());
        if let Some(untold) = untold {
            let untold = Some(untold).filter(|untold| *untold > 0);
            tracing::warn!(node = &*self.name, untold, "{error}");
        }
    }

    fn note(&self, trouble: String) {
        let mut state = self.state();
        if state.trouble.as_ref() != Some(&trouble) {
            tracing::warn!(node = &*self.name, "not connected, and it is tried again: {trouble}");
            state.trouble = Some(trouble);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a node connected until it is detached.
async fn keep(station: Arc<Station>, first: Link) {
    let mut opened = Ok(first);
    let mut pause = PAUSE_MIN;
    loop {
        match opened {
            Ok(link) => {
                let begun = Instant::now();
                {
                    let mut state = station.state();
                    state.connected = true;
                    state.connections += 1;
                    if state.trouble.take().is_some() {
                        tracing::info!(node = &*station.name, "connected again");
                    }
                }
                let end = converse(&station, link).await;
                station.state().connected = false;
                if station.is_closed() {
                    return;
                }
                station.note(end);
                if begun.elapsed() >= GOOD_TIME {
                    pause = Duration::ZERO;
                }
            }
            Err(unusable) => {
                // What waited for this attempt is stale when the next one is made.
                station.queue.clear();
                station.note(match unusable {
                    Unusable::Broken(why) => why,
                    Unusable::Taken => format!(
                        "another process has the name {:?}, and is alive: end one of the two, or give it another name",
                        station.name
                    ),
                });
            }
        }
        #[expect(clippy::disallowed_methods, reason = "a channel between processes, which no simulation has")]
        let waited = pause.mul_f64(rand::random_range(0.5..=1.0));
        pause = (pause * 2).clamp(PAUSE_MIN, PAUSE_MAX);
        opened = tokio::select! {
            biased;
            () = station.closed() => return,
            opened = async { sleep(waited).await; station.open().await } => opened,
        };
    }
}

/// Sends and receives for as long as a link lasts. Returns why it ended.
async fn converse(station: &Station, link: Link) -> String {
    let Link { sender, receiver } = link;
    let ended = tokio::select! {
        biased;
        ended = listen(station, receiver) => ended,
        ended = talk(station, sender) => ended,
        () = async { station.closed().await; sleep(FLUSH_TIME).await } => Ok(()),
    };
    ended.err().unwrap_or_else(|| "it was closed".into())
}

async fn talk(station: &Station, mut sender: Box<dyn LinkSender>) -> Result<(), String> {
    let mut beat = interval_at(Instant::now() + BEAT, BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = beat.tick() => sender.beat().await?,
            () = station.queue.ready() => {}
        }
        let items = station.queue.take();
        if !items.is_empty() {
            let frames = items.iter().filter(|item| item.kind == Kind::Frame).count() as u64;
            let mut flight = Flight { queue: &station.queue, frames, sent: false };
            sender.send(items.into_iter().map(|item| station.seal(item)).collect()).await?;
            flight.sent = true;
        }
        if station.queue.is_done() {
            sender.close().await;
            return Ok(());
        }
    }
}

/// Frames between the queue and the system: sent, or lost with the connection.
struct Flight<'a> {
    queue: &'a Queue,
    frames: u64,
    sent: bool,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.queue.count(self.frames, self.sent);
    }
}

async fn listen(station: &Station, mut receiver: Box<dyn LinkReceiver>) -> Result<(), String> {
    loop {
        let bytes = receiver.recv().await?;
        match station.judge(bytes) {
            // What does not fit is lost, and counted in the inbox.
            Some(Verdict::Deliver(message)) => {
                station.deliver.deliver(message);
            }
            Some(Verdict::Reply(kind, to, about)) => station.queue.push_control(kind, to, about),
            // Once closed, the queue takes no more: the name is free.
            Some(Verdict::Claimed(life)) => station.queue.push_control(Kind::Taken, station.name.clone(), life),
            Some(Verdict::Taken | Verdict::Nothing) | None => {}
        }
    }
}

/// The sending half of an attachment. The task holds the station, so it detaches when this goes.
struct SharedPort(Arc<Station>);

impl Port for SharedPort {
    fn name(&self) -> &Name {
        &self.0.name
    }

    fn send(&self, to: &Name, frame: Bytes) {
        if *to == self.0.name {
            self.0.deliver.deliver(Message { from: to.clone(), frame });
        } else if self.0.fits(&frame) {
            self.0.queue.push_frame(Some(to.clone()), frame);
        }
    }

    fn broadcast(&self, frame: Bytes) {
        if self.0.fits(&frame) {
            self.0.queue.push_frame(None, frame);
        }
    }

    fn metrics(&self) -> ChannelMetrics {
        let status = self.0.status();
        ChannelMetrics {
            connected: usize::from(status.connected),
            reconnects: status.connections.saturating_sub(1),
            frames_sent: status.frames_sent,
            frames_lost: status.frames_lost,
            frames_waiting: self.0.queue.frames_waiting(),
            inbox_lost: self.0.deliver.lost(),
        }
    }

    fn close(&self) {
        self.0.close();
    }
}

impl Drop for SharedPort {
    fn drop(&mut self) {
        self.0.close();
    }
}

impl Station {
    fn fits(&self, frame: &Bytes) -> bool {
        let fits = frame.len() <= FRAME_BYTES_MAX;
        if !fits && self.too_large.fetch_add(1, Ordering::Relaxed) == 0 {
            let (len, limit) = (frame.len(), FRAME_BYTES_MAX);
            tracing::warn!(len, limit, "a frame over the limit was not sent, and later ones will not be either");
        }
        fits
    }
}

/// A channel that is told something that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SharedError {
    /// The address is none.
    #[error("the address is {came:?}: it must be {form}")]
    BadAddress {
        /// What it was set to.
        came: String,
        /// How it must look.
        form: &'static str,
    },
    /// Others than this machine could send, and nothing tells the nodes from them.
    #[error(
        "{host} is not this machine, and without a cluster key whoever is there can be any node: give all nodes one \
         (--cluster-key-file; `openssl rand -hex 32` makes one), or say that everybody there is trusted (--insecure)"
    )]
    NoKey {
        /// Where the medium is.
        host: String,
    },
    /// A file cannot be used.
    #[error("{file}: {reason}")]
    File {
        /// Which.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Whether a host, as it stands in an address, can only be this machine.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare == "localhost" || bare.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

/// What the nodes sign with at this place.
pub(super) fn signer(key: Option<&ClusterKey>, host: &str, place: &str, insecure: bool) -> Result<Signer, SharedError> {
    match key {
        None if !insecure && !is_loopback(host) => Err(SharedError::NoKey { host: host.into() }),
        // Without one it is a checksum only.
        key => Ok(Signer::new(key.map(ClusterKey::bytes).unwrap_or_default(), place)),
    }
}

#[cfg(test)]
mod tests;
