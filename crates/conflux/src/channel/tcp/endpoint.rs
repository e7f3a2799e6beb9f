//! A node that is attached to a TCP channel: its peers, and how frames go to them.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use bytes::Bytes;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};

use super::dial;
use super::layout::{FRAME_BYTES_MAX, INTRODUCED_MAX, Refusal, RefusalKind};
use super::options::{TcpOptions, check_address};
use super::peer::Peer;
use super::tls::TlsSlot;
use crate::channel::{Deliver, Message, Name, Port};
use crate::metrics::ChannelMetrics;

/// The most different things that are remembered as having been logged about strangers.
const TOLD_MAX: usize = 256;

/// Held by every task of an attachment: once all are gone, so is the attachment.
pub(super) type Alive = mpsc::Sender<Infallible>;

/// What the tasks of an attachment share.
pub(super) struct Endpoint {
    pub(super) name: Name,
    /// Drawn at each attachment.
    pub(super) life: u64,
    pub(super) options: Arc<TcpOptions>,
    pub(super) tls: Arc<TlsSlot>,
    /// What this node says of where it is dialled.
    pub(super) advertised: String,
    deliver: Deliver,
    peers: RwLock<BTreeMap<Name, Arc<Peer>>>,
    runtime: Handle,
    /// True once detached. Changed under the write lock of `peers`, so that no peer is added afterwards.
    closing: watch::Sender<bool>,
    /// None once detached.
    alive: Mutex<Option<Alive>>,
    /// Numbers the connections, accepted and dialled.
    connections: AtomicU64,
    too_large: AtomicU64,
    /// What was logged about whom, so that it is not logged at each retry.
    told: Mutex<BTreeMap<String, String>>,
}

impl Endpoint {
    pub(super) fn new(
        name: Name,
        options: Arc<TcpOptions>,
        tls: Arc<TlsSlot>,
        advertised: String,
        deliver: Deliver,
        alive: Alive,
    ) -> Endpoint {
        Endpoint {
            name,
            #[expect(clippy::disallowed_methods, reason = "a channel between processes, which no simulation has")]
            life: rand::random(),
            options,
            tls,
            advertised,
            deliver,
            peers: RwLock::default(),
            runtime: Handle::current(),
            closing: watch::Sender::new(false),
            alive: Mutex::new(Some(alive)),
            connections: AtomicU64::new(0),
            too_large: AtomicU64::new(0),
            told: Mutex::default(),
        }
    }

    pub(super) fn alive(&self) -> Option<Alive> {
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The number of the next connection.
    pub(super) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(super) fn send(&self, to: &Name, frame: Bytes) {
        if *to == self.name {
            self.deliver(self.name.clone(), frame);
        } else if self.may_be_sent(&frame)
            && let Some(peer) = self.read().get(to)
        {
            peer.outbox.push(frame);
        }
    }

    pub(super) fn broadcast(&self, frame: &Bytes) {
        if self.may_be_sent(frame) {
            for peer in self.read().values() {
                peer.outbox.push(frame.clone());
            }
        }
    }

    pub(super) fn deliver(&self, from: Name, frame: Bytes) {
        // What does not fit is lost, and counted in the inbox.
        self.deliver.deliver(Message { from, frame });
    }

    fn may_be_sent(&self, frame: &Bytes) -> bool {
        let fits = frame.len() <= FRAME_BYTES_MAX;
        if !fits && self.too_large.fetch_add(1, Ordering::Relaxed) == 0 {
            let (len, limit) = (frame.len(), FRAME_BYTES_MAX);
            tracing::warn!(len, limit, "a frame over the limit was not sent, and later ones will not be either");
        }
        fits
    }

    /// Adds a peer of the options, or gives it another address.
    pub(super) fn configure(self: &Arc<Self>, name: &Name, address: &str) {
        if *name == self.name {
            return;
        }
        let mut peers = self.write();
        match peers.get(name) {
            Some(peer) => peer.configure(address),
            None => {
                self.add(&mut peers, name, address, false);
            }
        }
    }

    /// Lets go of a peer. It is learned anew if it connects again.
    pub(super) fn forget(&self, name: &Name) -> bool {
        let forgotten = self.write().remove(name);
        if let Some(peer) = &forgotten {
            peer.stop();
        }
        forgotten.is_some()
    }

    /// The peer of that name, which said itself, or of which another node said, that it is dialled there. A new one is
    /// learned while there is room.
    pub(super) fn learn(self: &Arc<Self>, name: &Name, address: &str, from_itself: bool) -> Result<Arc<Peer>, Refusal> {
        let mut peers = self.write();
        if let Some(peer) = peers.get(name) {
            peer.learn(address, from_itself);
            return Ok(peer.clone());
        }
        let max = self.options.learned_max;
        if peers.values().filter(|peer| peer.is_learned()).count() >= max {
            let idle = peers.values().find(|peer| peer.is_learned() && peer.is_idle()).map(|peer| peer.name.clone());
            let Some(peer) = idle.filter(|_| from_itself).and_then(|idle| peers.remove(&idle)) else {
                let reason =
                    format!("{:?} knows {max} nodes beside those in its options, and takes no more", self.name);
                return Err(Refusal { kind: RefusalKind::TooMany, reason });
            };
            peer.stop();
        }
        let peer = self.add(&mut peers, name, address, true);
        peer.learn(address, from_itself);
        Ok(peer)
    }

    fn add(
        self: &Arc<Self>,
        peers: &mut BTreeMap<Name, Arc<Peer>>,
        name: &Name,
        address: &str,
        learned: bool,
    ) -> Arc<Peer> {
        let peer = Arc::new(Peer::new(name.clone(), address.into(), learned, self.options.queue));
        match self.alive() {
            Some(alive) if !*self.closing.borrow() => {
                peers.insert(name.clone(), peer.clone());
                self.runtime.spawn(dial::keep(self.clone(), peer.clone(), alive));
            }
            _ => peer.stop(),
        }
        peer
    }

    /// The other nodes, to tell one of them.
    pub(super) fn introductions(&self, to: &Name) -> Vec<(Name, String)> {
        let peers = self.read();
        let others = peers.values().filter(|peer| peer.name != *to && !peer.is_idle());
        others.take(INTRODUCED_MAX).map(|peer| (peer.name.clone(), peer.address_for_others())).collect()
    }

    /// Learns the nodes that another one told of.
    pub(super) fn introduced(self: &Arc<Self>, nodes: Vec<(Name, String)>) {
        for (name, address) in nodes {
            // Whether there is room, and whether the address is right, shows when it is dialled.
            if name != self.name && check_address("", &address).is_ok() {
                let _ = self.learn(&name, &address, false);
            }
        }
    }

    pub(super) fn peers(&self) -> Vec<Arc<Peer>> {
        self.read().values().cloned().collect()
    }

    /// Whether that is news about a stranger. To be logged, then.
    pub(super) fn is_news(&self, about: &str, what: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.get(about).is_some_and(|told| told == what) {
            return false;
        }
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        told.insert(about.into(), what.into());
        true
    }

    /// What was logged about that one is over.
    pub(super) fn forgive(&self, about: &str) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).remove(about);
    }

    pub(super) fn is_closed(&self) -> bool {
        *self.closing.borrow()
    }

    /// Waits until it is detached.
    pub(super) async fn closed(&self) {
        let _ = self.closing.subscribe().wait_for(|closing| *closing).await;
    }

    /// Detaches. What waits is still sent, for a moment.
    pub(super) fn close(&self) {
        let peers = self.write();
        if self.closing.send_replace(true) {
            return;
        }
        for peer in peers.values() {
            peer.stop();
        }
        drop(peers);
        self.deliver.close();
        self.alive.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn read(&self) -> RwLockReadGuard<'_, BTreeMap<Name, Arc<Peer>>> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, BTreeMap<Name, Arc<Peer>>> {
        self.peers.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending half of an attachment. The tasks hold the endpoint, so it detaches when this goes.
pub(super) struct TcpPort(pub(super) Arc<Endpoint>);

impl Port for TcpPort {
    fn name(&self) -> &Name {
        &self.0.name
    }

    fn send(&self, to: &Name, frame: Bytes) {
        self.0.send(to, frame);
    }

    fn broadcast(&self, frame: Bytes) {
        self.0.broadcast(&frame);
    }

    fn metrics(&self) -> ChannelMetrics {
        let mut metrics = ChannelMetrics { inbox_lost: self.0.deliver.lost(), ..ChannelMetrics::default() };
        for peer in self.0.peers() {
            let status = peer.status();
            metrics.connected += usize::from(status.sends);
            metrics.reconnects += status.connections.saturating_sub(1);
            metrics.frames_sent += status.frames_sent;
            metrics.frames_lost += status.frames_lost;
            metrics.frames_waiting += status.frames_waiting;
        }
        metrics
    }

    fn close(&self) {
        self.0.close();
    }
}

impl Drop for TcpPort {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// An address as another node said it of itself, made whole: `:PORT` is at the address that it connected from.
pub(super) fn whole_address(said: &str, from: SocketAddr) -> Option<String> {
    let address = match said.strip_prefix(':') {
        Some(port) => SocketAddr::new(from.ip().to_canonical(), port.parse().ok()?).to_string(),
        None => said.into(),
    };
    check_address("", &address).is_ok().then_some(address)
}
