//! The connections that a node dials, one to each peer: only on these it sends.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, sleep_until, timeout, timeout_at};

use super::endpoint::{Alive, Endpoint};
use super::layout::{Hello, LayoutError, Opening, Record, Records, Refusal, RefusalKind};
use super::outbox::Batch;
use super::peer::Peer;
use super::stream::{HANDSHAKE_TIME, OpenError, Stream, read_opening, refuse, write_opening};
use super::tls::explain;

/// How long the system may take to look up a name, and to connect to one address.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// How long a peer that is let go is still sent what waits.
const FLUSH_TIME: Duration = Duration::from_secs(1);

/// A connection that lasted this long was good: the next attempt is made at once.
const GOOD_TIME: Duration = Duration::from_secs(1);

/// The first pause after an attempt that failed. Each further one is twice as long.
const PAUSE_MIN: Duration = Duration::from_millis(50);

/// The longest pause while something waits to be sent.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The longest pause while nothing does.
const IDLE_PAUSE_MAX: Duration = Duration::from_secs(5);

/// Keeps a peer connected until it is let go.
pub(super) async fn keep(endpoint: Arc<Endpoint>, peer: Arc<Peer>, _alive: Alive) {
    let mut pause = Pause::default();
    let mut number = 0;
    while !peer.is_stopped() {
        number += 1;
        let opened = tokio::select! {
            biased;
            () = peer.stopped() => return,
            opened = open(&endpoint, &peer, number) => opened,
        };
        match opened {
            Ok(stream) => {
                let begun = Instant::now();
                if peer.connected() {
                    tracing::info!(node = &*endpoint.name, peer = &*peer.name, "connected again");
                }
                let end = converse(&endpoint, &peer, stream).await;
                peer.disconnected();
                if peer.is_stopped() {
                    return;
                }
                tracing::debug!(node = &*endpoint.name, peer = &*peer.name, "connection lost: {end}");
                if begun.elapsed() >= GOOD_TIME {
                    pause = Pause::default();
                    continue;
                }
            }
            Err(trouble) => {
                // What waited for this attempt is stale when the next one is made.
                peer.outbox.clear();
                trouble.log(&endpoint, &peer);
            }
        }
        pause.wait(&peer).await;
    }
}

/// Why an attempt to connect failed.
enum Trouble {
    /// It may well be that nothing is wrong: the other node is not up.
    Unreachable(String),
    /// One of the two does not want the other.
    Refused(String),
}

impl Trouble {
    fn log(self, endpoint: &Endpoint, peer: &Peer) {
        let (node, name) = (&*endpoint.name, &*peer.name);
        match self {
            Trouble::Unreachable(why) => {
                if peer.note(&why) {
                    tracing::info!(node, peer = name, "no connection yet, and it is tried again: {why}");
                }
            }
            Trouble::Refused(why) => {
                if peer.note(&why) {
                    tracing::error!(node, peer = name, "no connection: {why}");
                }
            }
        }
    }
}

/// Connects, and gets through the handshake.
async fn open(endpoint: &Endpoint, peer: &Peer, number: u64) -> Result<Box<dyn Stream>, Trouble> {
    let address = peer.address();
    let stream = connect(&address).await.map_err(Trouble::Unreachable)?;
    match timeout(HANDSHAKE_TIME, greet(endpoint, peer, number, stream, &address)).await {
        Ok(opened) => opened,
        Err(_) => Err(Trouble::Unreachable(format!("{address} took the connection, but said nothing"))),
    }
}

async fn connect(address: &str) -> Result<TcpStream, String> {
    let found = match timeout(CONNECT_TIME, lookup_host(address)).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(format!("{address} cannot be resolved: {error}")),
        Err(_) => return Err(format!("{address} cannot be resolved: the name server does not answer")),
    };
    let mut failed = format!("{address} cannot be resolved: the name has no address");
    for socket in found {
        match timeout(CONNECT_TIME, TcpStream::connect(socket)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(|error| error.to_string())?;
                return Ok(stream);
            }
            Ok(Err(error)) => failed = format!("{address}: {error}"),
            Err(_) => failed = format!("{address} does not answer"),
        }
    }
    Err(failed)
}

async fn greet(
    endpoint: &Endpoint,
    peer: &Peer,
    number: u64,
    stream: TcpStream,
    address: &str,
) -> Result<Box<dyn Stream>, Trouble> {
    let mut stream: Box<dyn Stream> = match endpoint.tls.current() {
        None => Box::new(stream),
        Some(tls) => {
            let mut stream = tls.connect(stream).await.map_err(|error| tell(&error, address))?;
            let refusal = tls.check_name(stream.get_ref().1.peer_certificates(), &peer.name);
            if let Err(refusal) = refusal {
                refuse(&mut stream, &Opening::Refusal(refusal.clone())).await;
                return Err(Trouble::Refused(format!("{address}: {refusal}")));
            }
            Box::new(stream)
        }
    };
    let hello = Hello {
        life: endpoint.life,
        number,
        from: endpoint.name.clone(),
        to: peer.name.clone(),
        address: endpoint.advertised.clone(),
    };
    let written = write_opening(&mut *stream, &Opening::Hello(hello)).await;
    // Although it may have failed: the other side may have said why it closed.
    let answer = match read_opening(&mut *stream).await {
        Ok(answer) => answer,
        Err(OpenError::Io(error)) => return Err(tell(&error, address)),
        Err(OpenError::Layout(error)) => {
            if !matches!(error, LayoutError::Magic { .. } | LayoutError::Tls) {
                let refusal = Refusal { kind: RefusalKind::Malformed, reason: error.to_string() };
                refuse(&mut *stream, &Opening::Refusal(refusal)).await;
            }
            return Err(Trouble::Refused(format!("{address}: {error}")));
        }
    };
    match answer {
        Opening::Welcome(welcome) if welcome.name == peer.name => match written {
            Ok(()) => Ok(stream),
            Err(error) => Err(tell(&error, address)),
        },
        Opening::Welcome(welcome) => {
            let reason = format!("{:?} was dialled at {address}, but {:?} answered", peer.name, welcome.name);
            let refusal = Refusal { kind: RefusalKind::WrongName, reason };
            refuse(&mut *stream, &Opening::Refusal(refusal.clone())).await;
            Err(Trouble::Refused(refusal.reason))
        }
        Opening::Refusal(refusal) => Err(Trouble::Refused(format!("{address} refuses this node: {refusal}"))),
        Opening::Hello(_) => {
            Err(Trouble::Refused(format!("{address} answered as only one who dials would: it is no conflux node")))
        }
    }
}

/// What a failed handshake means.
fn tell(error: &io::Error, address: &str) -> Trouble {
    match error.kind() {
        // What TLS says.
        io::ErrorKind::InvalidData => Trouble::Refused(format!("{address}: {}", explain(error))),
        io::ErrorKind::UnexpectedEof => Trouble::Unreachable(format!("{address} closed the connection")),
        _ => Trouble::Unreachable(format!("{address}: {error}")),
    }
}

/// Sends what waits, for as long as the connection lasts. Returns why it ended.
async fn converse(endpoint: &Arc<Endpoint>, peer: &Peer, stream: Box<dyn Stream>) -> String {
    let (read, write) = tokio::io::split(stream);
    let ended = tokio::select! {
        biased;
        ended = listen(endpoint, peer, read) => ended,
        ended = talk(endpoint, peer, write) => ended,
        () = async { peer.stopped().await; sleep(FLUSH_TIME).await } => Ok(()),
    };
    match ended {
        Ok(()) => "it was closed".into(),
        Err(OpenError::Io(error)) => explain(&error),
        Err(OpenError::Layout(error)) => error.to_string(),
    }
}

/// Writes batches of what waits, and signs of life when nothing does.
async fn talk(endpoint: &Endpoint, peer: &Peer, mut write: WriteHalf<Box<dyn Stream>>) -> Result<(), OpenError> {
    let every = endpoint.options.keep_alive;
    let mut beat = interval_at(Instant::now() + every, every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut batch = Batch::default();
    loop {
        tokio::select! {
            biased;
            _ = beat.tick() => batch.put(&Record::Beat.encode()),
            () = peer.outbox.ready() => {}
        }
        let mut flight = Flight { peer, frames: peer.outbox.fill(&mut batch), sent: false };
        batch.finish();
        write.write_all_buf(&mut batch).await?;
        write.flush().await?;
        flight.sent = true;
        drop(flight);
        if peer.outbox.is_done() {
            // The other side closes when it has read all, and `listen` ends.
            write.shutdown().await?;
            return std::future::pending().await;
        }
    }
}

/// Frames between the queue and the system: sent, or lost with the connection.
struct Flight<'a> {
    peer: &'a Peer,
    frames: u64,
    sent: bool,
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        self.peer.outbox.count(self.frames, self.sent);
    }
}

/// Reads what the other side says about the connection, and notices when it says nothing.
async fn listen(endpoint: &Arc<Endpoint>, peer: &Peer, mut read: ReadHalf<Box<dyn Stream>>) -> Result<(), OpenError> {
    let mut records = Records::new();
    loop {
        let deadline = Instant::now() + endpoint.options.silence_max;
        let Ok(count) = timeout_at(deadline, read.read_buf(records.room())).await else {
            let silence = format!("the peer was silent for {:?}", endpoint.options.silence_max);
            return Err(io::Error::new(io::ErrorKind::TimedOut, silence).into());
        };
        if count? == 0 {
            return Ok(());
        }
        while let Some(record) = records.take()? {
            match record {
                Record::Beat => {}
                // While it is let go, it is as good as gone.
                Record::Ask(nonce) if !peer.is_stopped() => peer.outbox.answer(nonce),
                Record::Ask(_) => {}
                Record::Introduce(nodes) => endpoint.introduced(nodes),
                Record::Frame(_) | Record::Answer(_) => {
                    return Err(LayoutError::Malformed { what: "a record", why: "only who dials sends such" }.into());
                }
            }
        }
    }
}

/// The pause between two attempts.
struct Pause(Duration);

impl Default for Pause {
    fn default() -> Self {
        Pause(PAUSE_MIN)
    }
}

impl Pause {
    /// Waits: for the next pause of the series, less up to half of it by chance, so that nodes that lost a peer together do
    /// not come back together. A long one is cut short when there is something to send, and any by news of the peer.
    async fn wait(&mut self, peer: &Peer) {
        let begun = Instant::now();
        #[expect(clippy::disallowed_methods, reason = "a channel between processes, which no simulation has")]
        let jittered = self.0.mul_f64(rand::random_range(0.5..=1.0));
        self.0 = (self.0 * 2).min(IDLE_PAUSE_MAX);
        let waited = async {
            sleep(jittered.min(PAUSE_MAX)).await;
            tokio::select! {
                biased;
                () = peer.outbox.ready() => {}
                () = sleep_until(begun + jittered) => {}
            }
        };
        tokio::select! {
            biased;
            () = peer.stopped() => {}
            () = peer.wake.notified() => self.0 = PAUSE_MIN,
            () = waited => {}
        }
    }
}
