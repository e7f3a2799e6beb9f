//! The channel of a node that runs in a process of its own.

use std::fmt;
use std::path::Path;

use conflux::channel::redis::{RedisChannel, RedisOptions};
use conflux::channel::shared::ClusterKey;
use conflux::channel::tcp::{TcpChannel, TcpOptions, TlsFiles};
use conflux::channel::websocket::{WebsocketChannel, WebsocketOptions};
use conflux::{NodeBuilder, secret};
use conflux_core::Container;

use super::settings::{Medium, Settings};
use crate::exit::Refusal;

/// The longest token of a room.
const TOKEN_BYTES_MAX: u64 = 4096;

/// How this node talks to the others.
pub(super) enum NodeChannel {
    Tcp { channel: TcpChannel, with_tls: bool },
    Redis { channel: RedisChannel, with_key: bool },
    Relay { channel: WebsocketChannel, with_key: bool },
}

impl NodeChannel {
    /// Listens, or looks at the address and the key of a channel that is dialed when the node opens.
    pub(super) async fn open(settings: &Settings) -> Result<NodeChannel, Refusal> {
        let key = |file: &Path| {
            ClusterKey::from_file(file).map_err(|error| Refusal::naming(file, &error).of_option("--cluster-key-file"))
        };
        match &settings.medium {
            Medium::Tcp { listen, advertise, peers, tls } => {
                let mut options = TcpOptions::new(listen).insecure(settings.insecure);
                for (name, address) in peers {
                    options = options.peer(&**name, address);
                }
                if let Some(address) = advertise {
                    options = options.advertise(address);
                }
                if let Some(tls) = tls {
                    options = options.tls(TlsFiles::new(&tls.cert, &tls.key, &tls.ca));
                }
                let channel = TcpChannel::bind(options).await.map_err(Refusal::new)?;
                Ok(NodeChannel::Tcp { channel, with_tls: tls.is_some() })
            }
            Medium::Redis { url, key_file } => {
                let mut options = RedisOptions::new(url).insecure(settings.insecure);
                if let Some(file) = key_file {
                    options = options.key(key(file)?);
                }
                let channel = RedisChannel::new(options).map_err(Refusal::new)?;
                Ok(NodeChannel::Redis { channel, with_key: key_file.is_some() })
            }
            Medium::Relay { url, key_file, token_file, ca } => {
                let mut options = WebsocketOptions::new(url).insecure(settings.insecure);
                if let Some(file) = key_file {
                    options = options.key(key(file)?);
                }
                if let Some(file) = token_file {
                    options = options.token(token(file).map_err(|error| error.of_option("--room-token-file"))?);
                }
                if let Some(file) = ca {
                    options = options.ca(file);
                }
                let channel = WebsocketChannel::new(options).map_err(Refusal::new)?;
                Ok(NodeChannel::Relay { channel, with_key: key_file.is_some() })
            }
        }
    }

    /// Has a node talk by it.
    pub(super) fn give<C: Container>(&self, builder: NodeBuilder<C>) -> NodeBuilder<C> {
        match self {
            NodeChannel::Tcp { channel, .. } => builder.channel(channel.clone()),
            NodeChannel::Redis { channel, .. } => builder.channel(channel.clone()),
            NodeChannel::Relay { channel, .. } => builder.channel(channel.clone()),
        }
    }

    /// Reads the certificates again, where there are some.
    pub(super) fn reload_tls(&self) -> Option<Result<(), impl fmt::Display>> {
        match self {
            NodeChannel::Tcp { channel, with_tls: true } => Some(channel.reload_tls()),
            _ => None,
        }
    }

    /// Leaves nothing open. Returns when what waited was sent, or a moment has passed.
    pub(super) async fn close(&self) {
        match self {
            NodeChannel::Tcp { channel, .. } => channel.close().await,
            NodeChannel::Redis { channel, .. } => channel.close().await,
            NodeChannel::Relay { channel, .. } => channel.close().await,
        }
    }
}

impl fmt::Display for NodeChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let signed =
            |with_key: &bool| if *with_key { ", signed with the cluster's key" } else { ", without a cluster key" };
        match self {
            NodeChannel::Tcp { channel, with_tls } => {
                let with = if *with_tls { ", with certificates" } else { "" };
                write!(f, "listens at {}{with}", channel.local_address())
            }
            NodeChannel::Redis { channel, with_key } => write!(f, "talks by {}{}", channel.address(), signed(with_key)),
            NodeChannel::Relay { channel, with_key } => write!(f, "talks by {}{}", channel.address(), signed(with_key)),
        }
    }
}

/// The token in a file: one line.
fn token(file: &Path) -> Result<String, Refusal> {
    let of_file = |error| Refusal::of_file(file, &error);
    let bad = |what: &str| Refusal::new(format!("{}: {what}", file.display()));
    let bytes = secret::read(file, TOKEN_BYTES_MAX).map_err(of_file)?;
    let text = String::from_utf8(bytes).map_err(|_| bad("it is no text: is it the right file?"))?;
    match text.trim() {
        "" => Err(bad("there is no token in it")),
        token if token.lines().count() > 1 => Err(bad("there is more than one line in it, and a token is one")),
        token => Ok(token.to_owned()),
    }
}
