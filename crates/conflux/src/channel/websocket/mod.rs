//! A channel over websockets, by a relay: for nodes that cannot be reached, but can dial out.
//!
//! Every node dials a [`Relay`] and names a room by the path of the address. What one sends the relay passes on to the
//! others of the room. The relay is trusted with nothing but its work: nodes sign what they send with the
//! [cluster's key](ClusterKey), and take nothing that was recorded and is sent again.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use conflux::channel::Channel;
//! use conflux::channel::websocket::{Relay, RelayOptions, WebsocketChannel, WebsocketOptions};
//!
//! let relay = Relay::bind(RelayOptions::new("127.0.0.1:0")).await?;
//! let room = format!("ws://{}/words", relay.local_address());
//! let channel = WebsocketChannel::new(WebsocketOptions::new(room))?;
//! let mut a = channel.attach("a".into()).await?;
//! let b = channel.attach("b".into()).await?;
//! # for _ in 0..100 {
//! b.port.broadcast("hello".into());
//! # if a.inbox.try_recv().is_some() { return Ok(()) }
//! # tokio::time::sleep(std::time::Duration::from_millis(20)).await;
//! # }
//! # panic!("not heard");
//! # }
//! ```

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_tungstenite::tungstenite::http::Uri;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, ClientRequestBuilder, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

mod relay;
mod rooms;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests begin tasks of no node")]
mod tests;

pub use super::shared::{ClusterKey, KeyError, SharedError, SharedStatus};
pub use relay::{Relay, RelayError, RelayOptions};

use super::shared::envelope::{ENVELOPE_BYTES_MAX, Signer};
use super::shared::{self, Link, LinkReceiver, LinkSender, Medium, SILENCE_MAX, Stations};
use super::{Attachment, Channel, ChannelError, Name};

/// Where a node says its name to the relay, in hexadecimal digits: so the relay need not send it what is for others.
const NODE_HEADER: &str = "conflux-node";

/// How long one of several addresses of a relay may take to answer.
const ADDRESS_TIME: Duration = Duration::from_secs(3);

/// The longest path of a room.
const ROOM_BYTES_MAX: usize = 256;

/// Describes a [`WebsocketChannel`].
#[derive(Clone, Debug)]
pub struct WebsocketOptions {
    address: String,
    key: Option<ClusterKey>,
    token: Option<String>,
    ca: Option<PathBuf>,
    insecure: bool,
}

impl WebsocketOptions {
    /// The room: `ws://HOST:PORT/ROOM`, or `wss://HOST/ROOM` for a relay behind a server that does TLS.
    pub fn new(address: impl Into<String>) -> WebsocketOptions {
        WebsocketOptions { address: address.into(), key: None, token: None, ca: None, insecure: false }
    }

    /// What the nodes sign with.
    pub fn key(mut self, key: ClusterKey) -> Self {
        self.key = Some(key);
        self
    }

    /// What the relay wants to see before it lets anybody into the room. Without `wss` others can read it on its way.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The authorities that sign the certificate of the relay's server, in a PEM file. Those of the web unless given.
    pub fn ca(mut self, file: impl Into<PathBuf>) -> Self {
        self.ca = Some(file.into());
        self
    }

    /// Go without a key although the relay is on another machine: whoever gets into the room can be any node.
    pub fn insecure(mut self, insecure: bool) -> Self {
        self.insecure = insecure;
        self
    }
}

/// A channel by a relay. It serves every node that is attached through it, each with a connection of its own. Clones are
/// the same channel. See the [module](self).
#[derive(Clone)]
pub struct WebsocketChannel {
    room: Arc<Room>,
    signer: Signer,
    stations: Arc<Stations>,
}

/// Where a room is.
struct Room {
    uri: Uri,
    /// `HOST:PORT`.
    address: String,
    token: Option<String>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

impl WebsocketChannel {
    /// A channel by a relay, which is not connected before a node is attached.
    ///
    /// # Errors
    /// When the address is none, when the relay is on another machine and there is no key, and when the authorities' file
    /// cannot be used.
    pub fn new(options: WebsocketOptions) -> Result<WebsocketChannel, SharedError> {
        let bad = || SharedError::BadAddress {
            came: options.address.clone(),
            form: "ws://HOST:PORT/ROOM or wss://HOST/ROOM, as in ws://127.0.0.1:9000/words",
        };
        let uri: Uri = options.address.parse().map_err(|_| bad())?;
        let secure = match uri.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(bad()),
        };
        let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(bad)?.to_owned();
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let place = uri.path().trim_matches('/');
        if place.is_empty() || uri.path().len() > ROOM_BYTES_MAX || uri.query().is_some() {
            return Err(bad());
        }
        let signer = shared::signer(options.key.as_ref(), &host, place, options.insecure)?;
        let tls = if secure {
            let name = host.trim_start_matches('[').trim_end_matches(']').to_owned();
            Some((connector(options.ca.as_ref())?, ServerName::try_from(name).map_err(|_| bad())?))
        } else {
            None
        };
        let room = Room { address: format!("{host}:{port}"), token: options.token, tls, uri };
        Ok(WebsocketChannel { room: Arc::new(room), signer, stations: Arc::default() })
    }

    /// The relay and the room there, as it was given.
    pub fn address(&self) -> String {
        self.room.uri.to_string()
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

impl Channel for WebsocketChannel {
    fn attach(&self, name: Name) -> BoxFuture<'_, Result<Attachment, ChannelError>> {
        Box::pin(self.stations.attach(self.room.clone(), self.signer.clone(), name))
    }
}

impl fmt::Debug for WebsocketChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebsocketChannel").field("uri", &self.room.uri).field("status", &self.status()).finish()
    }
}

fn connector(ca: Option<&PathBuf>) -> Result<TlsConnector, SharedError> {
    let mut roots = RootCertStore::empty();
    match ca {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(file) => {
            let bad = |reason: String| SharedError::File { file: file.display().to_string(), reason };
            for certificate in CertificateDer::pem_file_iter(file).map_err(|error| bad(error.to_string()))? {
                let certificate = certificate.map_err(|error| bad(error.to_string()))?;
                roots.add(certificate).map_err(|error| bad(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(bad("there is no -----BEGIN CERTIFICATE----- in it".into()));
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .expect("the provider has what TLS needs")
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

/// The limits on what comes from a websocket.
fn limits() -> WebSocketConfig {
    WebSocketConfig::default().max_message_size(Some(ENVELOPE_BYTES_MAX)).max_frame_size(Some(ENVELOPE_BYTES_MAX))
}

/// What bytes go over.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

type Socket = WebSocketStream<Box<dyn Stream>>;

/// Connects to the first that answers. One that says nothing must not use up the time of all.
async fn connect(found: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::AddrNotAvailable, "it resolves to nothing");
    for address in found {
        failed = match timeout(ADDRESS_TIME, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => error,
            Err(_) => io::Error::new(io::ErrorKind::TimedOut, format!("{address} did not answer in {ADDRESS_TIME:?}")),
        };
    }
    Err(failed)
}

impl Room {
    async fn dial(&self, name: &Name) -> Result<Socket, String> {
        let address = &self.address;
        let found: Vec<SocketAddr> = match lookup_host(address).await {
            Ok(found) => found.collect(),
            Err(error) => return Err(format!("{address} cannot be resolved: {error}")),
        };
        let stream = connect(&found).await.map_err(|error| format!("{address}: {error}"))?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let stream: Box<dyn Stream> = match &self.tls {
            None => Box::new(stream),
            Some((connector, name)) => {
                let connected = connector.connect(name.clone(), stream).await;
                Box::new(connected.map_err(|error: io::Error| format!("{address}: {error}"))?)
            }
        };
        let node: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
        let mut request = ClientRequestBuilder::new(self.uri.clone()).with_header(NODE_HEADER, node);
        if let Some(token) = &self.token {
            request = request.with_header("Authorization", format!("Bearer {token}"));
        }
        match client_async_with_config(request, stream, Some(limits())).await {
            Ok((socket, _)) => Ok(socket),
            Err(tungstenite::Error::Http(response)) => {
                let reason = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
                Err(format!("{address} refuses this node: {}: {}", response.status(), reason.trim()))
            }
            Err(error) => Err(format!("{address} is no relay: {error}")),
        }
    }
}

impl Medium for Room {
    fn connect(&self, name: &Name) -> BoxFuture<'_, Result<Link, String>> {
        let name = name.clone();
        Box::pin(async move {
            let (sink, stream) = self.dial(&name).await?.split();
            Ok(Link { sender: Box::new(Sender(sink)), receiver: Box::new(Receiver(stream)) })
        })
    }
}

struct Sender(SplitSink<Socket, Message>);

impl LinkSender for Sender {
    fn send(&mut self, batch: Vec<(Option<Name>, Bytes)>) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            for (_, bytes) in batch {
                self.0.feed(Message::Binary(bytes)).await.map_err(|error| error.to_string())?;
            }
            self.0.flush().await.map_err(|error| error.to_string())
        })
    }

    fn beat(&mut self) -> BoxFuture<'_, Result<(), String>> {
        // The relay answers, so something comes.
        Box::pin(async move { self.0.send(Message::Ping(Bytes::new())).await.map_err(|error| error.to_string()) })
    }

    fn close(&mut self) -> BoxFuture<'_, ()> {
        Box::pin(async move {
            // It is gone in any case.
            let _ = self.0.close().await;
        })
    }
}

struct Receiver(SplitStream<Socket>);

impl LinkReceiver for Receiver {
    fn recv(&mut self) -> BoxFuture<'_, Result<Bytes, String>> {
        Box::pin(async move {
            loop {
                match timeout(SILENCE_MAX, self.0.next()).await {
                    Err(_) => return Err(format!("the relay was silent for {SILENCE_MAX:?}")),
                    Ok(None) => return Err("the relay closed the connection".into()),
                    Ok(Some(Err(error))) => return Err(error.to_string()),
                    Ok(Some(Ok(Message::Binary(bytes)))) => return Ok(bytes),
                    Ok(Some(Ok(Message::Close(Some(close))))) => {
                        return Err(format!("the relay closed the connection: {}", close.reason));
                    }
                    Ok(Some(Ok(_))) => {}
                }
            }
        })
    }
}
