//! The relay: a server that passes on what comes, room by room, and understands nothing of it.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use subtle::ConstantTimeEq;
use tokio::net::{TcpListener, TcpStream, lookup_host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout, timeout_at};
use tokio_tungstenite::tungstenite::handshake::server::{Callback, ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::http::{HeaderMap, StatusCode};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

use super::rooms::{Rooms, Seat};
use super::{NODE_HEADER, ROOM_BYTES_MAX, limits};
use crate::channel::shared::{BEAT, SILENCE_MAX};
use crate::channel::{Inbox, NAME_BYTES_MAX, Name};
use crate::secret;

/// How long a handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(5);

/// How many handshakes may be under way: who has shown no token yet takes no place from those who have.
const HANDSHAKES_MAX: usize = 128;

/// The shortest token, in bytes.
const TOKEN_BYTES_MIN: usize = 16;

/// How many may be in one room, unless told otherwise.
const GUESTS_MAX: usize = 64;

/// How much may wait for all guests together, unless told otherwise.
const WAITING_BYTES_MAX: usize = 1 << 30;

/// The longest file of rooms and tokens.
const ROOMS_BYTES_MAX: u64 = 1 << 20;

/// How long to wait when the system gives no more sockets.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// How much is sent before the system is made to take it.
const BATCH_BYTES: usize = 256 * 1024;

/// Describes a [`Relay`].
#[derive(Clone, Debug)]
pub struct RelayOptions {
    listen: String,
    tokens: Option<BTreeMap<String, String>>,
    insecure: bool,
    connections_max: usize,
    guests_max: usize,
    waiting_bytes_max: usize,
}

impl RelayOptions {
    /// Listen at `HOST:PORT`; port 0 takes any that is free.
    pub fn new(listen: impl Into<String>) -> RelayOptions {
        RelayOptions {
            listen: listen.into(),
            tokens: None,
            insecure: false,
            connections_max: 1024,
            guests_max: GUESTS_MAX,
            waiting_bytes_max: WAITING_BYTES_MAX,
        }
    }

    /// A room, and the token that lets nodes in, of at least 16 bytes. With one, there are no rooms but those that have one.
    pub fn room(mut self, room: impl Into<String>, token: impl Into<String>) -> Self {
        self.tokens.get_or_insert_default().insert(room.into().trim_matches('/').into(), token.into());
        self
    }

    /// Rooms and their tokens from a file: a line for each, the room, a space, and the token. A line that begins with `#`
    /// is a comment.
    ///
    /// # Errors
    /// When the file cannot be read, and with the line that is no room and token, has a token of fewer than 16 bytes, or a
    /// room that had one before.
    pub fn rooms_from_file(mut self, path: impl AsRef<Path>) -> Result<Self, RelayError> {
        let path = path.as_ref();
        let file = || path.display().to_string();
        let text = secret::read(path, ROOMS_BYTES_MAX)
            .and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other))
            .map_err(|error| RelayError::Read { file: file(), error })?;
        self.tokens.get_or_insert_default();
        for (at, line) in text.lines().enumerate() {
            let bad = |what| RelayError::BadLine { file: file(), line: at + 1, what };
            if line.trim_start().starts_with('#') {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let (room, token) = match *words {
                [] => continue,
                [room, token] => (room, token),
                _ => return Err(bad("it must be a room, a space, and a token")),
            };
            if token.len() < TOKEN_BYTES_MIN {
                return Err(bad("the token has fewer than 16 characters: draw a longer one"));
            }
            if self.tokens.as_ref().is_some_and(|tokens| tokens.contains_key(room.trim_matches('/'))) {
                return Err(bad("the room had a token already: take one of the two lines away"));
            }
            self = self.room(room, token);
        }
        Ok(self)
    }

    /// Listen elsewhere than on the loopback interface although there are no tokens: whoever reaches the port can be in
    /// any room.
    pub fn insecure(mut self, insecure: bool) -> Self {
        self.insecure = insecure;
        self
    }

    /// How many connections there may be; 1024 unless given.
    pub fn connections_max(mut self, connections: usize) -> Self {
        self.connections_max = connections;
        self
    }

    /// How many connections there may be in one room; 64 unless given.
    pub fn guests_max(mut self, guests: usize) -> Self {
        self.guests_max = guests;
        self
    }

    /// How many bytes may wait for all nodes together that are too slow to take them; 1 GiB unless given, and 320 MiB for
    /// each at most. What does not fit is lost.
    pub fn waiting_bytes_max(mut self, bytes: usize) -> Self {
        self.waiting_bytes_max = bytes;
        self
    }
}

/// Why there is no relay.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RelayError {
    /// The tokens cannot be read.
    #[error("{file}: {error}")]
    Read {
        /// The file.
        file: String,
        /// What the system says.
        error: io::Error,
    },
    /// A line is none.
    #[error("{file}, line {line}: {what}")]
    BadLine {
        /// The file.
        file: String,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it, and what to do.
        what: &'static str,
    },
    /// A token would let in whoever guesses it.
    #[error("the token of the room {room:?} has {len} bytes: it must have at least 16")]
    ShortToken {
        /// The room.
        room: String,
        /// The length of the token.
        len: usize,
    },
    /// Whoever reaches it could use it.
    #[error(
        "{address} can be reached from other machines: give the rooms tokens (--token-file), or say that whoever reaches it \
         may use it (--insecure), or listen at 127.0.0.1"
    )]
    Insecure {
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// The system does not let us listen there.
    #[error("cannot listen at {address}: {error}; choose another address or port")]
    Listen {
        /// Where.
        address: String,
        /// What the system says.
        error: io::Error,
    },
}

/// A server that passes on what nodes send, to the others in the same room. It needs no key and can read no more than who
/// sends to whom and the frames themselves, which are signed but not encrypted.
#[derive(Debug)]
pub struct Relay {
    local: SocketAddr,
    task: JoinHandle<()>,
}

/// What the tasks share.
struct Server {
    options: RelayOptions,
    rooms: Arc<Rooms>,
}

impl Relay {
    /// Listens and serves, until it is dropped.
    ///
    /// # Errors
    /// When the address cannot be listened at, when others could reach it and nothing says that they may, and when a token
    /// is too short.
    pub async fn bind(options: RelayOptions) -> Result<Relay, RelayError> {
        let tokens = options.tokens.iter().flatten();
        if let Some((room, token)) = tokens.into_iter().find(|(_, token)| token.len() < TOKEN_BYTES_MIN) {
            return Err(RelayError::ShortToken { room: room.clone(), len: token.len() });
        }
        let bad = |error| RelayError::Listen { address: options.listen.clone(), error };
        let addresses: Vec<SocketAddr> = lookup_host(&options.listen).await.map_err(bad)?.collect();
        let open = addresses.iter().find(|address| !address.ip().to_canonical().is_loopback());
        if let (Some(&address), None, false) = (open, &options.tokens, options.insecure) {
            return Err(RelayError::Insecure { address });
        }
        let listener = TcpListener::bind(&*addresses).await.map_err(bad)?;
        let local = listener.local_addr().map_err(bad)?;
        let rooms = Arc::new(Rooms::new(options.guests_max, options.waiting_bytes_max));
        #[expect(clippy::disallowed_methods, reason = "a relay is a process of its own")]
        let task = tokio::spawn(serve(listener, Arc::new(Server { options, rooms })));
        Ok(Relay { local, task })
    }

    /// Where it listens: with the port that was taken, if that was left open.
    pub fn local_address(&self) -> SocketAddr {
        self.local
    }

    /// Ends it. When this returns, the port is free.
    pub async fn close(mut self) {
        self.task.abort();
        // It says that it was aborted.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(listener: TcpListener, server: Arc<Server>) {
    let room_left = Arc::new(Semaphore::new(server.options.connections_max));
    let doorstep = Arc::new(Semaphore::new(HANDSHAKES_MAX));
    let mut tasks = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!("no connection can be taken: {error}");
                sleep(EXHAUSTED_PAUSE).await;
                continue;
            }
        };
        // Who waits here for longer than a moment is not waited for: others come and go.
        let Ok(waiting) = doorstep.clone().try_acquire_owned() else {
            tracing::debug!("{from} is let go: {HANDSHAKES_MAX} handshakes are under way");
            continue;
        };
        let (server, room_left) = (server.clone(), room_left.clone());
        tasks.spawn(async move {
            let welcomed = timeout(HANDSHAKE_TIME, server.welcome(stream, room_left)).await;
            drop(waiting);
            match welcomed {
                Err(_) => tracing::debug!("{from} did not finish the handshake"),
                Ok(Err(error)) => tracing::info!("{from} was not let in: {error}"),
                Ok(Ok((socket, Entry { room, name, seat, inbox, permit }))) => {
                    tracing::info!(room, node = &*name, guests = server.rooms.guests(), "{from} came");
                    let end = attend(socket, seat, inbox).await;
                    tracing::info!(room, node = &*name, "{from} went: {}", end.err().unwrap_or_default());
                    drop(permit);
                }
            }
        });
    }
}

/// A guest who is let in.
struct Entry {
    room: String,
    name: Name,
    seat: Seat,
    inbox: Inbox,
    permit: OwnedSemaphorePermit,
}

/// Looks at the request of a guest.
struct Doorkeeper<'a> {
    server: &'a Server,
    room_left: Arc<Semaphore>,
    entry: &'a mut Option<Entry>,
}

impl Callback for Doorkeeper<'_> {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        match self.server.admit(request.uri().path(), request.headers(), self.room_left) {
            Ok(entry) => {
                *self.entry = Some(entry);
                Ok(response)
            }
            Err((status, reason)) => {
                let mut refusal = ErrorResponse::new(Some(reason.to_owned()));
                *refusal.status_mut() = status;
                Err(refusal)
            }
        }
    }
}

impl Server {
    fn admit(
        &self,
        path: &str,
        headers: &HeaderMap,
        room_left: Arc<Semaphore>,
    ) -> Result<Entry, (StatusCode, &'static str)> {
        // Browsers say which page asks, and nodes are no pages: one could be on a relay of this machine without a token.
        if headers.contains_key("Origin") {
            return Err((StatusCode::FORBIDDEN, "pages in a browser are not let in"));
        }
        let room = path.trim_matches('/');
        if room.is_empty() || path.len() > ROOM_BYTES_MAX {
            return Err((StatusCode::NOT_FOUND, "a room is named by the path, as in /words"));
        }
        if let Some(tokens) = &self.options.tokens {
            let shown = headers.get("Authorization").and_then(|value| value.to_str().ok());
            let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
            let good = tokens.get(room).is_some_and(|token| token.as_bytes().ct_eq(shown.as_bytes()).into());
            if !good {
                // The same for a room that there is not.
                return Err((StatusCode::UNAUTHORIZED, "the token is not that of the room"));
            }
        }
        let name = headers.get(NODE_HEADER).map(|value| value.as_bytes()).unwrap_or_default();
        let name = from_hex(name).ok_or((StatusCode::BAD_REQUEST, "the node's name is not in hexadecimal digits"))?;
        // Who has no name would hear what is for others.
        if name.is_empty() {
            return Err((StatusCode::BAD_REQUEST, "the node does not say its name"));
        }
        let permit = room_left
            .try_acquire_owned()
            .map_err(|_| (StatusCode::SERVICE_UNAVAILABLE, "there are as many connections as the relay takes"))?;
        let (seat, inbox) = self
            .rooms
            .enter(room, name.clone())
            .ok_or((StatusCode::SERVICE_UNAVAILABLE, "there are as many in the room as the relay takes"))?;
        Ok(Entry { room: room.into(), name, seat, inbox, permit })
    }

    async fn welcome(
        &self,
        stream: TcpStream,
        room_left: Arc<Semaphore>,
    ) -> Result<(WebSocketStream<TcpStream>, Entry), tungstenite::Error> {
        stream.set_nodelay(true)?;
        let mut entry = None;
        let doorkeeper = Doorkeeper { server: self, room_left, entry: &mut entry };
        let socket = accept_hdr_async_with_config(stream, doorkeeper, Some(limits())).await?;
        let entry = entry.expect("whoever is let in was looked at");
        Ok((socket, entry))
    }
}

/// Passes on what comes, and what others send, until one side ends it. The error says why.
async fn attend(socket: WebSocketStream<TcpStream>, seat: Seat, mut inbox: Inbox) -> Result<(), String> {
    let (mut sink, mut stream) = socket.split();
    let hearing = async {
        loop {
            let deadline = Instant::now() + SILENCE_MAX;
            match timeout_at(deadline, stream.next()).await {
                Err(_) => return Err(format!("it was silent for {SILENCE_MAX:?}")),
                Ok(None) => return Ok(()),
                Ok(Some(Err(error))) => return Err(error.to_string()),
                Ok(Some(Ok(Message::Binary(bytes)))) if !seat.pass_on(&bytes) => {
                    return Err("what it sent is none of ours".to_owned());
                }
                Ok(Some(Ok(_))) => {}
            }
        }
    };
    let telling = async {
        let mut beat = interval_at(Instant::now() + BEAT, BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let first = tokio::select! {
                biased;
                _ = beat.tick() => Message::Ping(Default::default()),
                message = inbox.recv() => match message {
                    Some(message) => Message::Binary(message.frame),
                    None => return Ok(()),
                },
            };
            // One that takes nothing for so long is as good as gone.
            let sending = send_with_more(&mut sink, first, &mut inbox);
            match timeout(SILENCE_MAX, sending).await {
                Ok(sent) => sent.map_err(|error| error.to_string())?,
                Err(_) => return Err("it does not read".to_owned()),
            }
        }
    };
    let end = tokio::select! {
        biased;
        end = hearing => end,
        end = telling => end,
    };
    if let Err(reason) = &end {
        let close = CloseFrame { code: CloseCode::Policy, reason: reason.as_str().into() };
        // It may not hear it any more.
        let _ = timeout(Duration::from_secs(1), sink.send(Message::Close(Some(close)))).await;
    }
    end
}

/// Sends a message, and with it what else waits.
async fn send_with_more(
    sink: &mut (impl SinkExt<Message, Error = tungstenite::Error> + Unpin),
    first: Message,
    inbox: &mut Inbox,
) -> Result<(), tungstenite::Error> {
    let mut bytes = first.len();
    sink.feed(first).await?;
    while bytes < BATCH_BYTES
        && let Some(message) = inbox.try_recv()
    {
        bytes += message.frame.len();
        sink.feed(Message::Binary(message.frame)).await?;
    }
    sink.flush().await
}

fn from_hex(digits: &[u8]) -> Option<Name> {
    if digits.len() > 2 * NAME_BYTES_MAX || !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    Some(String::from_utf8(bytes?).ok()?.into())
}
