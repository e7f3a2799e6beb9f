//! A channel over TCP, for nodes in different processes and on different machines.
//!
//! Each node listens, and dials every other node that it knows. It sends only on connections that it dialled and hears
//! only on those that it accepted, so there is one connection a direction. A node that dials and is not known is learned
//! and dialled back; a node that was dialled tells of the others that it knows. So one that comes late needs to know only
//! one of the others.
//!
//! A connection begins with a handshake (see [`layout`]): both sides say who they are. What does not fit is refused with
//! a reason that both sides log, once: another version, another node at that address, a second process of the same name, a
//! certificate for another name.
//!
//! With [certificates](TcpOptions::tls) both sides are who they say, and what goes over is encrypted. Without, the channel
//! listens only where no other machine can reach it, unless it is told that this is [safe](TcpOptions::insecure).
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use conflux::channel::Channel;
//! use conflux::channel::tcp::{TcpChannel, TcpOptions};
//!
//! // Port 0 is any that is free. Usually the addresses are known, and given by `TcpOptions::peer`.
//! let channel_a = TcpChannel::bind(TcpOptions::new("127.0.0.1:0")).await?;
//! let to_a = TcpOptions::new("127.0.0.1:0").peer("a", channel_a.local_address().to_string());
//! let channel_b = TcpChannel::bind(to_a).await?;
//!
//! let mut a = channel_a.attach("a".into()).await?;
//! let b = channel_b.attach("b".into()).await?;
//! b.port.send(&"a".into(), "hello".into());
//! assert_eq!(a.inbox.recv().await.unwrap().frame, "hello");
//!
//! // It did not know b, but heard from it.
//! a.port.broadcast("hello to all".into());
//! # let mut b = b;
//! assert_eq!(b.inbox.recv().await.unwrap().frame, "hello to all");
//! # Ok(()) }
//! ```

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use futures_core::future::BoxFuture;
use tokio::net::{TcpListener, lookup_host};
use tokio::sync::mpsc;

mod accept;
mod dial;
mod endpoint;
pub mod layout;
mod options;
mod outbox;
mod peer;
mod stream;
mod tls;

pub use options::{TcpError, TcpOptions};
pub use outbox::QueueLimits;
pub use peer::PeerStatus;
pub use tls::{CertificateName, TlsError, TlsFiles, certificate_name};

use super::{Attachment, Channel, ChannelError, Inbox, InboxLimits, Name, check_name};
use endpoint::{Endpoint, TcpPort};
use options::check_address;
use tls::TlsSlot;

/// A channel over TCP. It serves one node at a time; clones are the same channel. See the [module](self).
#[derive(Clone)]
pub struct TcpChannel {
    shared: Arc<Shared>,
}

struct Shared {
    options: Arc<TcpOptions>,
    tls: Arc<TlsSlot>,
    local: SocketAddr,
    state: Mutex<State>,
    /// Held while a node is attached or the channel is closed: one after the other.
    turn: tokio::sync::Mutex<()>,
}

struct State {
    /// None once the channel is closed.
    listener: Option<Arc<TcpListener>>,
    /// The peers of the options, with what was changed since.
    peers: BTreeMap<Name, String>,
    attached: Weak<Endpoint>,
    /// Ends when every task of the latest attachment has.
    ended: Option<mpsc::Receiver<Infallible>>,
}

impl TcpChannel {
    /// Listen. Nothing is accepted or dialled before a node is attached.
    ///
    /// # Errors
    /// When an option cannot be, when the certificates cannot be used, when the address is not this machine's or taken,
    /// and when others could reach it and nothing says that they may.
    pub async fn bind(options: TcpOptions) -> Result<TcpChannel, TcpError> {
        options.check()?;
        let tls = TlsSlot::load(options.tls.clone())?;
        let listen = &options.listen;
        let resolve = |error| TcpError::Resolve { address: listen.clone(), error };
        let addresses: Vec<SocketAddr> = lookup_host(listen).await.map_err(resolve)?.collect();
        let open = addresses.iter().find(|address| !address.ip().to_canonical().is_loopback());
        if let (Some(&address), None, false) = (open, &options.tls, options.insecure) {
            return Err(TcpError::Insecure { address });
        }
        let bad = |error| TcpError::Listen { address: listen.clone(), error };
        let listener = TcpListener::bind(&*addresses).await.map_err(bad)?;
        let local = listener.local_addr().map_err(bad)?;
        let state = State {
            listener: Some(Arc::new(listener)),
            peers: options.peers.clone(),
            attached: Weak::new(),
            ended: None,
        };
        let shared = Shared {
            options: Arc::new(options),
            tls: Arc::new(tls),
            local,
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
        };
        Ok(TcpChannel { shared: Arc::new(shared) })
    }

    /// Where it listens: with the port that was taken, if that was left open.
    pub fn local_address(&self) -> SocketAddr {
        self.shared.local
    }

    /// Add a peer, or say that it is elsewhere now: at this `HOST:PORT`. It is dialled there at once when it is not
    /// connected, and else when the connection breaks.
    ///
    /// # Errors
    /// When the name or the address cannot be one.
    pub fn set_peer(&self, name: &str, address: impl Into<String>) -> Result<(), TcpError> {
        let address = address.into();
        check_name(name).map_err(|error| TcpError::BadPeer { error: error.into() })?;
        check_address(&format!("the address of {name:?}"), &address)?;
        let name = Name::from(name);
        let mut state = self.shared.lock();
        if let Some(endpoint) = state.attached.upgrade() {
            endpoint.configure(&name, &address);
        }
        state.peers.insert(name, address);
        Ok(())
    }

    /// Let a peer go: its connections end once what waits was sent. It is learned anew if it still knows this node.
    /// False when there is no such peer.
    pub fn remove_peer(&self, name: &str) -> bool {
        let mut state = self.shared.lock();
        let known = state.peers.remove(name).is_some();
        let forgotten = state.attached.upgrade().is_some_and(|endpoint| endpoint.forget(&name.into()));
        known || forgotten
    }

    /// How the node is connected, in the order of the peers' names. Nothing while no node is attached.
    pub fn peers(&self) -> Vec<PeerStatus> {
        let attached = self.shared.lock().attached.upgrade();
        attached.map(|endpoint| endpoint.peers().iter().map(|peer| peer.status()).collect()).unwrap_or_default()
    }

    /// Read the files of the certificates again. New connections use what they hold now; those that are open go on.
    ///
    /// # Errors
    /// When they cannot be used: the error names the file, and what was in use stays in use.
    pub fn reload_tls(&self) -> Result<(), TlsError> {
        let node = self.shared.lock().attached.upgrade().map(|endpoint| endpoint.name.clone());
        self.shared.tls.reload(node.as_deref())
    }

    /// Detach the node if there is one, and listen no more. Returns when what waited was sent, or a moment has passed, and
    /// the port is free.
    pub async fn close(&self) {
        let _turn = self.shared.turn.lock().await;
        let (endpoint, ended) = {
            let mut state = self.shared.lock();
            state.listener = None;
            (state.attached.upgrade(), state.ended.take())
        };
        if let Some(endpoint) = endpoint {
            endpoint.close();
        }
        if let Some(mut ended) = ended {
            ended.recv().await;
        }
    }

    async fn attach_one(&self, name: Name) -> Result<Attachment, ChannelError> {
        check_name(&name)?;
        let shared = &self.shared;
        let _turn = shared.turn.lock().await;
        let (attached, ended) = {
            let mut state = shared.lock();
            let attached = state.attached.upgrade().filter(|endpoint| !endpoint.is_closed());
            (attached, if state.ended.is_some() { state.ended.take() } else { None })
        };
        if let Some(attached) = attached {
            shared.lock().ended = ended;
            if attached.name == name {
                return Err(ChannelError::NameTaken { name });
            }
            let reason =
                format!("{:?} is attached to it, and it serves one node: make a channel for each", attached.name);
            return Err(ChannelError::Unreachable { reason });
        }
        if let Some(mut ended) = ended {
            // The earlier node's connections end first: others would take this one for a second of its name.
            ended.recv().await;
        }
        if let Some(tls) = shared.tls.current() {
            tls.check_own_name(&name).map_err(TcpError::from)?;
        }

        let (alive, ended) = mpsc::channel(1);
        let (deliver, inbox) = Inbox::new(InboxLimits::default());
        let (options, tls) = (shared.options.clone(), shared.tls.clone());
        let endpoint = Endpoint::new(name, options, tls, shared.advertised(), deliver, alive.clone());
        let endpoint = Arc::new(endpoint);
        let mut state = shared.lock();
        let Some(listener) = state.listener.clone() else {
            return Err(ChannelError::Closed);
        };
        #[expect(clippy::disallowed_methods, reason = "a channel between processes, which no simulation has")]
        tokio::spawn(accept::accept(endpoint.clone(), listener, alive));
        for (name, address) in &state.peers {
            endpoint.configure(name, address);
        }
        state.attached = Arc::downgrade(&endpoint);
        state.ended = Some(ended);
        Ok(Attachment { port: Arc::new(TcpPort(endpoint)), inbox })
    }
}

impl Shared {
    /// What the node says of where it is dialled.
    fn advertised(&self) -> String {
        match &self.options.advertise {
            Some(address) => address.clone(),
            // Every address of this machine: the other side sees by which it came.
            None if self.local.ip().is_unspecified() => format!(":{}", self.local.port()),
            None => self.local.to_string(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel for TcpChannel {
    fn attach(&self, name: Name) -> BoxFuture<'_, Result<Attachment, ChannelError>> {
        Box::pin(self.attach_one(name))
    }
}

impl fmt::Debug for TcpChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attached = self.shared.lock().attached.upgrade().map(|endpoint| endpoint.name.clone());
        f.debug_struct("TcpChannel")
            .field("local", &self.shared.local)
            .field("attached", &attached)
            .field("tls", &self.shared.tls.current().is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "sockets are real, and so is the time they take")]
mod tests;
