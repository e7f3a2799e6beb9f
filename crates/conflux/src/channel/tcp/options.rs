//! What a TCP channel is told, and what it refuses to be told.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use super::layout::ADDRESS_BYTES_MAX;
use super::outbox::QueueLimits;
use super::tls::{TlsError, TlsFiles};
use crate::channel::{ChannelError, Name, check_name};

/// Describes a [`TcpChannel`](super::TcpChannel).
#[derive(Clone, Debug)]
pub struct TcpOptions {
    pub(super) listen: String,
    pub(super) advertise: Option<String>,
    pub(super) peers: BTreeMap<Name, String>,
    pub(super) tls: Option<TlsFiles>,
    pub(super) insecure: bool,
    pub(super) queue: QueueLimits,
    pub(super) learned_max: usize,
    pub(super) keep_alive: Duration,
    pub(super) silence_max: Duration,
}

impl TcpOptions {
    /// Listen at `HOST:PORT`; port 0 takes any that is free.
    pub fn new(listen: impl Into<String>) -> TcpOptions {
        TcpOptions {
            listen: listen.into(),
            advertise: None,
            peers: BTreeMap::new(),
            tls: None,
            insecure: false,
            queue: QueueLimits::default(),
            learned_max: 256,
            keep_alive: Duration::from_secs(1),
            silence_max: Duration::from_secs(5),
        }
    }

    /// Another node, and where it listens: `HOST:PORT`. The host is looked up anew at each connection.
    pub fn peer(mut self, name: impl Into<Name>, address: impl Into<String>) -> Self {
        self.peers.insert(name.into(), address.into());
        self
    }

    /// Where other nodes reach this one, if that is not where it listens: `HOST:PORT`. Nodes that do not have this one in
    /// their options dial it there.
    pub fn advertise(mut self, address: impl Into<String>) -> Self {
        self.advertise = Some(address.into());
        self
    }

    /// Encrypt, and take only nodes with a certificate of their name.
    pub fn tls(mut self, files: TlsFiles) -> Self {
        self.tls = Some(files);
        self
    }

    /// Listen elsewhere than on the loopback interface although there is no TLS: whoever reaches the port can then be any
    /// node, read everything and change everything.
    pub fn insecure(mut self, insecure: bool) -> Self {
        self.insecure = insecure;
        self
    }

    /// How much waits for one peer.
    pub fn queue(mut self, limits: QueueLimits) -> Self {
        self.queue = limits;
        self
    }

    /// How many nodes that are not in the options may be learned; 256 unless given. One more takes the place of one that
    /// has no connection, or is refused.
    pub fn learned_max(mut self, nodes: usize) -> Self {
        self.learned_max = nodes;
        self
    }

    /// How often each side of a connection gives a sign of life, and after what silence it is given up; 1 s and 5 s
    /// unless given. All nodes should have the same.
    pub fn keep_alive(mut self, interval: Duration, silence_max: Duration) -> Self {
        self.keep_alive = interval;
        self.silence_max = silence_max;
        self
    }

    pub(super) fn check(&self) -> Result<(), TcpError> {
        let what = "the address to listen at";
        let (host, port) = self.listen.rsplit_once(':').unwrap_or_default();
        if host.is_empty() || port.parse::<u16>().is_err() || self.listen.len() > ADDRESS_BYTES_MAX {
            return Err(TcpError::BadAddress { what: what.into(), came: self.listen.clone() });
        }
        if let Some(advertise) = &self.advertise {
            check_address("the advertised address", advertise)?;
        }
        for (name, address) in &self.peers {
            check_name(name).map_err(|error| TcpError::BadPeer { error: error.into() })?;
            check_address(&format!("the address of {name:?}"), address)?;
        }
        if self.queue.frames_max == 0 || self.queue.bytes_max == 0 {
            return Err(TcpError::BadQueue { came: self.queue });
        }
        if self.keep_alive < Duration::from_millis(1) || self.silence_max < self.keep_alive * 2 {
            return Err(TcpError::BadKeepAlive { interval: self.keep_alive, silence_max: self.silence_max });
        }
        Ok(())
    }
}

/// Checks the address of another node: `HOST:PORT`, and the port not 0.
pub(super) fn check_address(what: &str, address: &str) -> Result<(), TcpError> {
    let (host, port) = address.rsplit_once(':').unwrap_or_default();
    let good = !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0);
    if good && address.len() <= ADDRESS_BYTES_MAX {
        return Ok(());
    }
    Err(TcpError::BadAddress { what: what.into(), came: address.into() })
}

/// Why there is no TCP channel, or why it does not take what it was told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TcpError {
    /// An address is none.
    #[error("{what} is {came:?}: it must be HOST:PORT, as in 10.0.0.2:7001, node-b.example:7001 or [::1]:7001")]
    BadAddress {
        /// Which address.
        what: String,
        /// What it was set to.
        came: String,
    },
    /// A peer's name is none.
    #[error("the name of a peer cannot be: {error}")]
    BadPeer {
        /// What is wrong with it.
        error: Box<ChannelError>,
    },
    /// The queue of a peer has no room.
    #[error("a peer's queue is {came:?}: it must have room for at least one frame and one byte")]
    BadQueue {
        /// What it was set to.
        came: QueueLimits,
    },
    /// The times of the keep-alive do not go together.
    #[error(
        "the keep-alive interval is {interval:?} and the longest silence {silence_max:?}: the interval must be at least \
         1 ms, the silence at least twice the interval"
    )]
    BadKeepAlive {
        /// How often a sign of life is given.
        interval: Duration,
        /// How long there may be none.
        silence_max: Duration,
    },
    /// Others than this machine could connect, and nothing says who they are.
    #[error(
        "{address} can be reached from other machines, and without TLS whoever reaches it can be any node: give \
         certificates (TcpOptions::tls; --tls-cert, --tls-key and --tls-ca; `conflux tls init` makes some), or say that \
         the network is safe (TcpOptions::insecure; --insecure), or listen at 127.0.0.1"
    )]
    Insecure {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// A host name leads to no address.
    #[error("{address} cannot be resolved: {error}; check the host's name")]
    Resolve {
        /// What was looked up.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// The system does not let us listen there.
    #[error("cannot listen at {address}: {error}; {}", listen_hint(.error))]
    Listen {
        /// Where.
        address: String,
        /// What the system says.
        error: io::Error,
    },
    /// A certificate, a key or what they say cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

fn listen_hint(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => "another process listens there: end it, or choose another port",
        io::ErrorKind::AddrNotAvailable => {
            "the address is none of this machine's: listen at one that is, or at 0.0.0.0"
        }
        io::ErrorKind::PermissionDenied => "ports below 1024 are reserved: choose a higher one",
        _ => "choose another address",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_options_say_what_came_and_what_is_allowed() {
        let good = || TcpOptions::new("127.0.0.1:0");
        let refused = [
            (TcpOptions::new("7001"), "the address to listen at is \"7001\": it must be HOST:PORT"),
            (TcpOptions::new("127.0.0.1:70001"), "\"127.0.0.1:70001\""),
            (good().peer("b", "host:0"), "the address of \"b\" is \"host:0\""),
            (good().peer("b", ":7001"), "the address of \"b\" is \":7001\""),
            (good().peer("", "host:7001"), "1 to 256 bytes, but 0 bytes came"),
            (good().advertise("nowhere"), "the advertised address is \"nowhere\""),
            (good().queue(QueueLimits { frames_max: 0, bytes_max: 1 }), "frames_max: 0"),
            (good().keep_alive(Duration::from_secs(2), Duration::from_secs(3)), "interval is 2s"),
        ];
        for (options, expected) in refused {
            let error = options.check().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
        good().peer("b", "[::1]:7001").peer("c", "node-c.example:1").check().expect("these are good");
    }
}
