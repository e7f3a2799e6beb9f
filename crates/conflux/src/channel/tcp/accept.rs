//! The connections that others dial: they are only read.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::endpoint::{Alive, Endpoint, whole_address};
use super::layout::{LayoutError, Opening, Record, Records, Refusal, RefusalKind, Welcome};
use super::peer::{Claim, Claimant, Peer};
use super::stream::{HANDSHAKE_TIME, OpenError, Stream, read_opening, refuse, write_opening};
use super::tls::explain;

/// The most connections that are in their handshake. One more ends the oldest: a node's takes milliseconds, so the oldest
/// is the one that means no good.
const OPENING_MAX: usize = 256;

/// How long to wait when the system gives no more sockets.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections until the endpoint is detached.
pub(super) async fn accept(endpoint: Arc<Endpoint>, listener: Arc<TcpListener>, _alive: Alive) {
    let mut tasks = JoinSet::new();
    let mut opening: VecDeque<(AbortHandle, Arc<AtomicBool>)> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = endpoint.closed() => break,
            Some(_) = tasks.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                let why = format!("no connection can be taken: {error}");
                if endpoint.is_news("accept", &why) {
                    tracing::warn!(node = &*endpoint.name, "{why}");
                }
                sleep(EXHAUSTED_PAUSE).await;
                continue;
            }
        };
        opening.retain(|(task, opened)| !task.is_finished() && !opened.load(Ordering::Relaxed));
        if opening.len() >= OPENING_MAX
            && let Some((oldest, _)) = opening.pop_front()
        {
            oldest.abort();
        }
        let opened = Arc::new(AtomicBool::new(false));
        let task = tasks.spawn(serve(endpoint.clone(), stream, from, opened.clone()));
        opening.push_back((task, opened));
    }
    tasks.shutdown().await;
}

/// A connection from its handshake to its end.
async fn serve(endpoint: Arc<Endpoint>, stream: TcpStream, from: SocketAddr, opened: Arc<AtomicBool>) {
    match timeout(HANDSHAKE_TIME, open(&endpoint, stream, from)).await {
        Err(_) => tracing::debug!(node = &*endpoint.name, "{from} did not finish the handshake"),
        Ok(Err(unwanted)) => unwanted.log(&endpoint, from),
        Ok(Ok((stream, peer, claim))) => {
            opened.store(true, Ordering::Relaxed);
            let end = receive(&endpoint, &peer, claim, stream).await;
            let why = match end {
                Ok(why) => why.to_owned(),
                Err(OpenError::Io(error)) => explain(&error),
                Err(OpenError::Layout(error)) => {
                    tracing::warn!(
                        node = &*endpoint.name,
                        peer = &*peer.name,
                        "what came from {from} is no good: {error}"
                    );
                    return;
                }
            };
            tracing::debug!(node = &*endpoint.name, peer = &*peer.name, "connection from {from} ended: {why}");
        }
    }
}

/// Why a connection was not taken.
enum Unwanted {
    /// The other side went, or is no node.
    Stranger(String),
    /// It said who it is, and one of the two does not want the other.
    Refused { about: String, why: String, stale: bool },
}

impl Unwanted {
    fn log(self, endpoint: &Endpoint, from: SocketAddr) {
        let node = &*endpoint.name;
        match self {
            Unwanted::Stranger(why) => {
                if endpoint.is_news(&from.ip().to_string(), &why) {
                    tracing::warn!(node, "a connection from {from} was not taken: {why}");
                }
            }
            // The process that dials has moved on by itself.
            Unwanted::Refused { why, stale: true, .. } => {
                tracing::debug!(node, "a connection from {from} was not taken: {why}");
            }
            Unwanted::Refused { about, why, .. } => {
                if endpoint.is_news(&about, &why) {
                    tracing::error!(node, "a connection from {from} was not taken: {why}");
                }
            }
        }
    }
}

type Opened = (Box<dyn Stream>, Arc<Peer>, Claim);

async fn open(endpoint: &Arc<Endpoint>, stream: TcpStream, from: SocketAddr) -> Result<Opened, Unwanted> {
    stream.set_nodelay(true).map_err(|error| Unwanted::Stranger(error.to_string()))?;
    let tls = endpoint.tls.current();
    let (mut stream, certificates): (Box<dyn Stream>, _) = match &tls {
        None => (Box::new(stream), None),
        Some(tls) => {
            let stream = tls.accept(stream).await.map_err(|error| Unwanted::Stranger(explain(&error)))?;
            let certificates = stream.get_ref().1.peer_certificates().map(<[_]>::to_vec);
            (Box::new(stream), certificates)
        }
    };
    let opening = match read_opening(&mut *stream).await {
        Ok(opening) => opening,
        Err(OpenError::Io(error)) => return Err(Unwanted::Stranger(explain(&error))),
        Err(OpenError::Layout(error)) => {
            let kind = match &error {
                LayoutError::Version { .. } => RefusalKind::Version,
                _ => RefusalKind::Malformed,
            };
            // Said also to what is no conflux node: a person may read it there.
            let reason = format!("{:?} says: {error}", endpoint.name);
            refuse(&mut *stream, &Opening::Refusal(Refusal { kind, reason })).await;
            return Err(Unwanted::Stranger(error.to_string()));
        }
    };
    let hello = match opening {
        Opening::Hello(hello) => hello,
        Opening::Refusal(refusal) => {
            let about = format!("refused by {}", from.ip());
            return Err(Unwanted::Refused { about, why: format!("it refuses this node: {refusal}"), stale: false });
        }
        Opening::Welcome(_) => return Err(Unwanted::Stranger("it began with a welcome".into())),
    };

    let wanted = async {
        if let Some(tls) = &tls {
            tls.check_name(certificates.as_deref(), &hello.from)?;
        }
        if hello.to != endpoint.name {
            let reason = format!("{:?} was dialled, but {:?} is here", hello.to, endpoint.name);
            return Err(Refusal { kind: RefusalKind::WrongName, reason });
        }
        if hello.from == endpoint.name {
            let reason = format!("{:?} is this node's own name: give one of the two another", hello.from);
            return Err(Refusal { kind: RefusalKind::NameTaken, reason });
        }
        let Some(address) = whole_address(&hello.address, from) else {
            let reason =
                format!("{:?} says that it is dialled at {:?}, which is no HOST:PORT", hello.from, hello.address);
            return Err(Refusal { kind: RefusalKind::Malformed, reason });
        };
        let peer = endpoint.learn(&hello.from, &address, true)?;
        let connection = endpoint.next_connection();
        let claimant = Claimant { connection, life: hello.life, number: hello.number, at: from.to_string() };
        let claim = Claim::take(&peer, &claimant).await?;
        Ok((peer, claim))
    };
    let (peer, claim) = match wanted.await {
        Ok(wanted) => wanted,
        Err(refusal) => {
            refuse(&mut *stream, &Opening::Refusal(refusal.clone())).await;
            let stale = refusal.kind == RefusalKind::Stale;
            return Err(Unwanted::Refused { about: format!("node {}", hello.from), why: refusal.reason, stale });
        }
    };

    let welcome = Opening::Welcome(Welcome { life: endpoint.life, name: endpoint.name.clone() });
    let introduction = Record::Introduce(endpoint.introductions(&peer.name)).encode();
    let welcomed = async {
        write_opening(&mut *stream, &welcome).await?;
        stream.write_all(&introduction).await?;
        stream.flush().await
    };
    welcomed.await.map_err(|error| Unwanted::Stranger(explain(&error)))?;
    endpoint.forgive(&format!("node {}", peer.name));
    // Whoever dials can be dialled.
    peer.wake.notify_one();
    Ok((stream, peer, claim))
}

/// Delivers what comes, for as long as the connection lasts. Returns why it ended.
async fn receive(
    endpoint: &Endpoint,
    peer: &Peer,
    mut claim: Claim,
    stream: Box<dyn Stream>,
) -> Result<&'static str, OpenError> {
    let (mut read, mut write) = tokio::io::split(stream);
    let (every, silence_max) = (endpoint.options.keep_alive, endpoint.options.silence_max);
    let mut beat = interval_at(Instant::now() + every, every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut records = Records::new();
    // Counted in beats and not by the clock: if this process was held for a while, what came meanwhile is read first.
    let mut silent_beats = 0;
    let mut asked: Vec<(u64, oneshot::Sender<()>)> = Vec::new();
    let mut nonce = 0;
    loop {
        let due = tokio::select! {
            biased;
            () = peer.stopped() => return Ok("this node let it go"),
            _ = &mut claim.superseded => return Ok("a newer one took its place"),
            Some(answer) = claim.asks.recv() => {
                asked.retain(|(_, answer)| !answer.is_closed());
                nonce += 1;
                asked.push((nonce, answer));
                Record::Ask(nonce)
            }
            _ = beat.tick() => {
                silent_beats += 1;
                if every * silent_beats > silence_max {
                    return Ok("it was silent");
                }
                Record::Beat
            }
            count = read.read_buf(records.room()) => {
                if count? == 0 {
                    return Ok("it was closed");
                }
                silent_beats = 0;
                let mut good = Ok(());
                let held = claim.hold(|| good = take_in(endpoint, peer, &mut records, &mut asked));
                good?;
                if !held {
                    return Ok("a newer one took its place");
                }
                continue;
            }
        };
        let writing = async {
            write.write_all(&due.encode()).await?;
            write.flush().await
        };
        match timeout(silence_max, writing).await {
            Ok(written) => written?,
            Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "it does not read").into()),
        }
    }
}

/// Delivers every record that is whole. The caller holds the peer's lane.
fn take_in(
    endpoint: &Endpoint,
    peer: &Peer,
    records: &mut Records,
    asked: &mut Vec<(u64, oneshot::Sender<()>)>,
) -> Result<(), LayoutError> {
    while let Some(record) = records.take()? {
        match record {
            Record::Frame(frame) => endpoint.deliver(peer.name.clone(), frame),
            Record::Beat => {}
            Record::Answer(nonce) => {
                for (_, answer) in asked.extract_if(.., |(earlier, _)| *earlier <= nonce) {
                    // Who asked may have gone.
                    let _ = answer.send(());
                }
            }
            Record::Ask(_) | Record::Introduce(_) => {
                return Err(LayoutError::Malformed { what: "a record", why: "only who was dialled sends such" });
            }
        }
    }
    Ok(())
}
