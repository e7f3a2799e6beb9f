//! A channel by the publish and subscribe of a Redis server that is there anyway.
//!
//! The server is trusted with nothing but its work: nodes sign what they send with the [cluster's key](ClusterKey), and
//! take nothing that was recorded and is sent again. Nothing is stored there.
//!
//! ```no_run
//! # async fn f() -> Result<(), Box<dyn std::error::Error>> {
//! use conflux::channel::redis::{ClusterKey, RedisChannel, RedisOptions};
//!
//! let options = RedisOptions::new("redis://10.0.0.9/?channel=words").key(ClusterKey::from_file("cluster.key")?);
//! let channel = RedisChannel::new(options)?;
//! // Node::builder(Words, "a").cluster_size(3).channel(channel)
//! # Ok(()) }
//! ```
//!
//! Redis ends the connection of a subscriber that has 32 MiB waiting. Where snapshots are larger, raise its
//! `client-output-buffer-limit pubsub`.
//!
//! Let nobody publish there who should not: what comes is measured only after the client library has read it whole, and it
//! holds what the node has not taken yet. A value can have the server's `proto-max-bulk-len`, 512 MiB unless set: set it to
//! `16mb`, which is more than any frame has, and give nodes a user of their own who alone may use the channel (`ACL SETUSER
//! … resetchannels &words*`).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ::redis::aio::{MultiplexedConnection, PubSubSink, PubSubStream};
use ::redis::{AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, RedisError};
use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_util::StreamExt;
use tokio::time::timeout;

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests begin tasks of no node")]
mod tests;

pub use super::shared::{ClusterKey, KeyError, SharedError, SharedStatus};

use super::shared::envelope::{ENVELOPE_BYTES_MAX, Signer};
use super::shared::{self, Link, LinkReceiver, LinkSender, Medium, SILENCE_MAX, Stations};
use super::{Attachment, Channel, ChannelError, Name};

/// How long the server may take to connect, and to answer.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// What a node publishes to itself, to hear whether it still hears. No envelope begins like this.
const BEAT: &[u8] = b"beat";

/// How an address must look.
const FORM: &str = "redis://[USER:PASSWORD@]HOST[:PORT]/[DB]?channel=NAME, as in redis://127.0.0.1/?channel=words; the name \
                    of letters, digits and -_.:/";

/// Describes a [`RedisChannel`].
#[derive(Clone)]
pub struct RedisOptions {
    address: String,
    key: Option<ClusterKey>,
    insecure: bool,
}

impl RedisOptions {
    /// The server and the channel there: `redis://HOST:PORT/?channel=NAME`. Clusters are told apart by the channel's name.
    pub fn new(address: impl Into<String>) -> RedisOptions {
        RedisOptions { address: address.into(), key: None, insecure: false }
    }

    /// What the nodes sign with.
    pub fn key(mut self, key: ClusterKey) -> Self {
        self.key = Some(key);
        self
    }

    /// Go without a key although the server is on another machine: whoever can publish there can be any node.
    pub fn insecure(mut self, insecure: bool) -> Self {
        self.insecure = insecure;
        self
    }
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The address may hold a password.
        f.debug_struct("RedisOptions").field("key", &self.key).field("insecure", &self.insecure).finish_non_exhaustive()
    }
}

/// A channel by a Redis server. It serves every node that is attached through it, each with connections of its own. Clones
/// are the same channel. See the [module](self).
#[derive(Clone)]
pub struct RedisChannel {
    server: Arc<Server>,
    signer: Signer,
    stations: Arc<Stations>,
}

/// A server, and a channel there.
struct Server {
    client: Client,
    /// For people: without a password.
    address: String,
    channel: String,
}

impl RedisChannel {
    /// A channel by a server, which is not connected before a node is attached.
    ///
    /// # Errors
    /// When the address is none, and when the server is on another machine and there is no key.
    pub fn new(options: RedisOptions) -> Result<RedisChannel, SharedError> {
        // Not as it came: there may be a password in it.
        let bad = |came: &str| SharedError::BadAddress { came: came.into(), form: FORM };
        let (url, query) = options.address.split_once('?').ok_or_else(|| bad("without ?channel="))?;
        let channel = query.strip_prefix("channel=").ok_or_else(|| bad("without ?channel="))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:/".contains(c);
        if channel.is_empty() || channel.len() > 256 || !channel.chars().all(plain) {
            return Err(bad(query));
        }
        if !url.starts_with("redis://") {
            return Err(bad(url.split("://").next().unwrap_or_default()));
        }
        let client = Client::open(url).map_err(|error| bad(&error.to_string()))?;
        let addr = client.get_connection_info().addr();
        let host = match addr {
            ConnectionAddr::Tcp(host, _) => host.clone(),
            _ => return Err(bad("of another kind")),
        };
        let signer = shared::signer(options.key.as_ref(), &host, channel, options.insecure)?;
        let server = Server { address: addr.to_string(), client, channel: channel.into() };
        Ok(RedisChannel { server: Arc::new(server), signer, stations: Arc::default() })
    }

    /// The server and the channel there, for people: without a password.
    pub fn address(&self) -> String {
        format!("redis://{}/?channel={}", self.server.address, self.server.channel)
    }

    /// How the nodes that are attached through this channel are connected.
    pub fn status(&self) -> Vec<SharedStatus> {
        self.stations.status()
    }

    /// Detach every node, for good: who attaches afterwards gets [`ChannelError::Closed`]. Returns when what waited was sent, or a moment has passed.
    pub async fn close(&self) {
        self.stations.close().await;
    }
}

impl Channel for RedisChannel {
    fn attach(&self, name: Name) -> BoxFuture<'_, Result<Attachment, ChannelError>> {
        Box::pin(self.stations.attach(self.server.clone(), self.signer.clone(), name))
    }
}

impl fmt::Debug for RedisChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisChannel")
            .field("server", &self.server.address)
            .field("channel", &self.server.channel)
            .field("status", &self.status())
            .finish()
    }
}

impl Server {
    /// What is published for one node only. No channel's name has a line break in it.
    fn channel_of(&self, name: &Name) -> String {
        format!("{}\n{name}", self.channel)
    }

    async fn subscribe(&self, name: &Name) -> Result<Link, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(ANSWER_TIME))
            .set_response_timeout(Some(ANSWER_TIME));
        let publish = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        let (mut sink, stream) = self.client.get_async_pubsub().await?.split();
        sink.subscribe(&[self.channel.clone(), self.channel_of(name)][..]).await?;
        let (own, all) = (self.channel_of(name), self.channel.clone());
        Ok(Link {
            sender: Box::new(Sender { publish, own, all }),
            receiver: Box::new(Receiver { stream, _sink: sink, address: self.address.clone() }),
        })
    }
}

impl Medium for Server {
    fn connect(&self, name: &Name) -> BoxFuture<'_, Result<Link, String>> {
        let name = name.clone();
        Box::pin(
            async move { self.subscribe(&name).await.map_err(|error| format!("{}: {}", self.address, told(&error))) },
        )
    }
}

/// An error on one line; of what is no Redis server, the library shows where its answer begins to be none.
fn told(error: &RedisError) -> String {
    match error.kind() {
        ErrorKind::Parse => "something answers there that is no Redis server".to_owned(),
        _ => error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

struct Sender {
    publish: MultiplexedConnection,
    /// Where this node hears what is for it alone.
    own: String,
    /// Where all hear.
    all: String,
}

impl LinkSender for Sender {
    fn send(&mut self, batch: Vec<(Option<Name>, Bytes)>) -> BoxFuture<'_, Result<(), String>> {
        let mut pipe = ::redis::pipe();
        for (to, bytes) in batch {
            let channel = to.map_or_else(|| self.all.clone(), |to| format!("{}\n{to}", self.all));
            pipe.cmd("PUBLISH").arg(channel).arg(&*bytes).ignore();
        }
        Box::pin(async move { pipe.query_async::<()>(&mut self.publish).await.map_err(|error| told(&error)) })
    }

    fn beat(&mut self) -> BoxFuture<'_, Result<(), String>> {
        let mut publish = ::redis::cmd("PUBLISH");
        publish.arg(&self.own).arg(BEAT);
        Box::pin(async move { publish.query_async::<()>(&mut self.publish).await.map_err(|error| told(&error)) })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        // What was sent was answered; the connections end when they are dropped.
        Box::pin(std::future::ready(()))
    }
}

struct Receiver {
    stream: PubSubStream,
    /// Without it the subscription would end.
    _sink: PubSubSink,
    address: String,
}

impl LinkReceiver for Receiver {
    fn recv(&mut self) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            loop {
                let message = match timeout(SILENCE_MAX, self.stream.next()).await {
                    Err(_) => return Err(format!("{} was silent for {SILENCE_MAX:?}", self.address)),
                    Ok(None) => return Err(format!("{} closed the connection", self.address)),
                    Ok(Some(message)) => message,
                };
                let bytes = message.get_payload_bytes();
                // What is too long is none of ours, and not copied.
                if bytes != BEAT && bytes.len() <= ENVELOPE_BYTES_MAX {
                    return Ok(Bytes::copy_from_slice(bytes));
                }
            }
        })
    }
}
