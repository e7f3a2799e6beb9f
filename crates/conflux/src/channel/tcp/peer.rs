//! What a node knows of one other node, and has with it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;

use super::layout::{Refusal, RefusalKind};
use super::outbox::{Outbox, QueueLimits};
use crate::channel::Name;

/// How one other node is connected, for people and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// The node.
    pub name: Name,
    /// Where it is dialled.
    pub address: String,
    /// It was not in the options: it connected, or another node told of it.
    pub learned: bool,
    /// Frames can go there now.
    pub sends: bool,
    /// Frames can come from there now.
    pub hears: bool,
    /// Why frames cannot go there, if an attempt failed since they last could.
    pub trouble: Option<String>,
    /// How often a connection to it was made.
    pub connections: u64,
    /// Frames handed to the system. Some may have been lost with a connection.
    pub frames_sent: u64,
    /// Frames that are known to be lost: the queue was full, an attempt to connect failed, a connection broke.
    pub frames_lost: u64,
    /// Frames that wait.
    pub frames_waiting: usize,
}

/// One other node.
pub(super) struct Peer {
    pub(super) name: Name,
    pub(super) outbox: Outbox,
    pub(super) lane: Lane,
    /// Rings when it should be dialled now: it was heard, or its address is new.
    pub(super) wake: Notify,
    state: Mutex<State>,
    /// True: the node is to be let go.
    stop: watch::Sender<bool>,
}

struct State {
    address: String,
    learned: bool,
    /// What it says of itself, where it is dialled by another address.
    advertised: Option<String>,
    connected: bool,
    connections: u64,
    trouble: Option<String>,
}

impl Peer {
    pub(super) fn new(name: Name, address: String, learned: bool, limits: QueueLimits) -> Peer {
        let state = State { address, learned, advertised: None, connected: false, connections: 0, trouble: None };
        Peer {
            name,
            outbox: Outbox::new(limits),
            lane: Lane::default(),
            wake: Notify::new(),
            state: Mutex::new(state),
            stop: watch::Sender::new(false),
        }
    }

    /// Ends its connections, once what waits was sent or a moment has passed.
    pub(super) fn stop(&self) {
        self.outbox.close();
        self.stop.send_replace(true);
    }

    pub(super) fn is_stopped(&self) -> bool {
        *self.stop.borrow()
    }

    /// Waits until it is to be let go.
    pub(super) async fn stopped(&self) {
        // An error says that the sender is gone, and it is in `self`.
        let _ = self.stop.subscribe().wait_for(|stop| *stop).await;
    }

    pub(super) fn address(&self) -> String {
        self.lock().address.clone()
    }

    /// Where others reach it: what it says itself, before what this node was told.
    pub(super) fn address_for_others(&self) -> String {
        let state = self.lock();
        state.advertised.as_ref().unwrap_or(&state.address).clone()
    }

    /// An address from the options. It is dialled there from now on.
    pub(super) fn configure(&self, address: &str) {
        let mut state = self.lock();
        state.learned = false;
        if state.address != address {
            state.address = address.into();
            drop(state);
            self.wake.notify_one();
        }
    }

    /// An address that it says itself, or that another node told. One from the options is kept.
    pub(super) fn learn(&self, address: &str, from_itself: bool) {
        let mut state = self.lock();
        if from_itself {
            state.advertised = Some(address.into());
        }
        // What it says itself counts for more than what others say of it.
        if state.learned && (from_itself || state.advertised.is_none()) {
            state.address = address.into();
        }
    }

    pub(super) fn is_learned(&self) -> bool {
        self.lock().learned
    }

    /// No connection either way.
    pub(super) fn is_idle(&self) -> bool {
        !self.lock().connected && !self.lane.is_taken()
    }

    /// Notes that it is connected. True when there was trouble before.
    pub(super) fn connected(&self) -> bool {
        let mut state = self.lock();
        state.connected = true;
        state.connections += 1;
        state.trouble.take().is_some()
    }

    pub(super) fn disconnected(&self) {
        self.lock().connected = false;
    }

    /// Notes why it is not connected. False when that is no news.
    pub(super) fn note(&self, trouble: &str) -> bool {
        let mut state = self.lock();
        let news = state.trouble.as_deref() != Some(trouble);
        if news {
            state.trouble = Some(trouble.into());
        }
        news
    }

    pub(super) fn status(&self) -> PeerStatus {
        let hears = self.lane.is_taken();
        let (frames_sent, frames_lost, frames_waiting) = self.outbox.counts();
        let state = self.lock();
        PeerStatus {
            name: self.name.clone(),
            address: state.address.clone(),
            learned: state.learned,
            sends: state.connected,
            hears,
            trouble: state.trouble.clone(),
            connections: state.connections,
            frames_sent,
            frames_lost,
            frames_waiting,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a process has to say that it is still there when another one comes with its name.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Whose frames are taken for this peer's: those of one connection at a time.
///
/// A newer connection of the same process takes the lane over. A connection of another process gets it only when the
/// earlier process does not answer any more. Whoever delivers holds the lock, and looks first whether the lane is still
/// its own: so nothing of an older connection comes behind something of a newer one.
#[derive(Default)]
pub(super) struct Lane {
    current: Mutex<Option<Current>>,
}

struct Current {
    /// Which connection it is, of all that were accepted.
    connection: u64,
    /// As in the hello.
    life: u64,
    /// As in the hello.
    number: u64,
    /// Where it comes from, for people.
    at: String,
    ask: mpsc::Sender<oneshot::Sender<()>>,
    /// Dropped to tell the connection that it was superseded.
    _end: oneshot::Sender<()>,
}

/// A connection's hold on a lane.
pub(super) struct Claim {
    peer: Arc<Peer>,
    connection: u64,
    /// Questions whether the process is still there.
    pub(super) asks: mpsc::Receiver<oneshot::Sender<()>>,
    /// Ends when a newer connection has the lane.
    pub(super) superseded: oneshot::Receiver<()>,
}

/// What a connection says of itself when it claims a lane.
pub(super) struct Claimant {
    pub(super) connection: u64,
    pub(super) life: u64,
    pub(super) number: u64,
    pub(super) at: String,
}

impl Lane {
    fn is_taken(&self) -> bool {
        self.lock().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Current>> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim {
    /// Takes the lane of a peer.
    pub(super) async fn take(peer: &Arc<Peer>, claimant: &Claimant) -> Result<Claim, Refusal> {
        loop {
            let (earlier, asker, at) = {
                let mut current = peer.lane.lock();
                match &*current {
                    None => return Ok(Claim::over(peer, &mut current, claimant)),
                    Some(earlier) if earlier.life == claimant.life => {
                        if earlier.number < claimant.number {
                            return Ok(Claim::over(peer, &mut current, claimant));
                        }
                        let reason = format!("connection {} of this process is open", earlier.number);
                        return Err(Refusal { kind: RefusalKind::Stale, reason });
                    }
                    Some(earlier) => (earlier.connection, earlier.ask.clone(), earlier.at.clone()),
                }
            };
            let (asked, answer) = oneshot::channel();
            let asking = async {
                // An error says that the connection ended.
                asker.send(asked).await.ok()?;
                answer.await.ok()
            };
            match timeout(ANSWER_TIME, asking).await {
                Ok(Some(())) => {
                    let reason = format!(
                        "another process is connected as {:?} from {at}, and alive: end one of the two, or give it \
                         another name",
                        peer.name
                    );
                    return Err(Refusal { kind: RefusalKind::NameTaken, reason });
                }
                Ok(None) => tokio::task::yield_now().await,
                Err(_) => {
                    let mut current = peer.lane.lock();
                    if current.as_ref().is_some_and(|current| current.connection == earlier) {
                        return Ok(Claim::over(peer, &mut current, claimant));
                    }
                }
            }
        }
    }

    fn over(peer: &Arc<Peer>, current: &mut Option<Current>, claimant: &Claimant) -> Claim {
        let (ask, asks) = mpsc::channel(1);
        let (end, superseded) = oneshot::channel();
        let &Claimant { connection, life, number, ref at } = claimant;
        *current = Some(Current { connection, life, number, at: at.clone(), ask, _end: end });
        Claim { peer: peer.clone(), connection, asks, superseded }
    }

    /// Does something as the holder of the lane. False when it is not any more.
    pub(super) fn hold(&self, work: impl FnOnce()) -> bool {
        let current = self.peer.lane.lock();
        let own = current.as_ref().is_some_and(|current| current.connection == self.connection);
        if own {
            work();
        }
        own
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.peer.lane.lock().take_if(|current| current.connection == self.connection);
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests begin tasks of no node")]
mod tests {
    use super::*;

    fn peer() -> Arc<Peer> {
        Arc::new(Peer::new("b".into(), "127.0.0.1:1".into(), false, QueueLimits::default()))
    }

    fn claimant(connection: u64, life: u64, number: u64) -> Claimant {
        Claimant { connection, life, number, at: "somewhere".into() }
    }

    #[tokio::test]
    async fn a_newer_connection_of_the_same_process_supersedes_and_an_older_one_does_not() {
        let peer = peer();
        let mut first = Claim::take(&peer, &claimant(1, 7, 1)).await.expect("the lane is free");
        assert!(first.hold(|| {}));
        assert!(first.superseded.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Empty));
        let third = Claim::take(&peer, &claimant(2, 7, 3)).await.expect("it is newer");
        assert!(!first.hold(|| panic!("it was superseded")));
        assert!(first.superseded.try_recv().is_err_and(|error| error == oneshot::error::TryRecvError::Closed));
        let second = Claim::take(&peer, &claimant(3, 7, 2)).await;
        assert_eq!(second.err().expect("it is older").kind, RefusalKind::Stale);
        drop(first);
        assert!(third.hold(|| {}), "the end of an older connection changes nothing");
        drop(third);
        assert!(!peer.lane.is_taken());
    }

    #[tokio::test(start_paused = true)]
    async fn another_process_is_refused_while_the_first_answers() {
        let peer = peer();
        let mut first = Claim::take(&peer, &claimant(1, 7, 1)).await.expect("the lane is free");
        let (other, imposter) = (peer.clone(), claimant(2, 8, 1));
        let taking = tokio::spawn(async move { Claim::take(&other, &imposter).await.err() });
        first.asks.recv().await.expect("a question").send(()).expect("it is waited for");
        let refusal = taking.await.expect("no panic").expect("the name is taken");
        assert_eq!(refusal.kind, RefusalKind::NameTaken);
        assert!(refusal.reason.contains("connected as \"b\" from somewhere"), "{refusal}");

        // It does not answer any more.
        let second = Claim::take(&peer, &claimant(3, 8, 1)).await.expect("the first is silent");
        assert!(!first.hold(|| panic!("it was superseded")));

        // It ends while it is asked.
        let other = peer.clone();
        let taking = tokio::spawn(async move { Claim::take(&other, &claimant(4, 9, 1)).await.is_ok() });
        tokio::task::yield_now().await;
        drop(second);
        assert!(taking.await.expect("no panic"));
    }
}
