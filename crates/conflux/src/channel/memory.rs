//! A channel between nodes of one process, with faults to test against.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures_core::future::BoxFuture;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::faults::{FaultCounts, Faults, Flight, Sent, Weather};
use super::inbox::{Deliver, Inbox, InboxLimits};
use super::{Attachment, Channel, ChannelError, Message, Name, Port, check_name};
use crate::metrics::ChannelMetrics;

/// A channel in memory: a hub that nodes of one process attach to. Clones are the same hub.
///
/// A send is one look-up and one push onto the other node's queue. Faults can be set, changed and lifted at any time;
/// they never touch what a node sends to itself. All chance comes from the seed, per link: the same seed and the same
/// sends on a link give the same losses, duplicates and delays.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use conflux::channel::{Channel, MemoryChannel};
///
/// let channel = MemoryChannel::new();
/// let a = channel.attach("a".into()).await?;
/// let mut b = channel.attach("b".into()).await?;
///
/// a.port.send(&"b".into(), "hello".into());
/// assert_eq!(b.inbox.recv().await.unwrap().frame, "hello");
///
/// channel.partition(&[&["a"], &["b"]]);
/// a.port.send(&"b".into(), "lost".into());
/// channel.heal();
/// a.port.send(&"b".into(), "heard".into());
/// assert_eq!(b.inbox.recv().await.unwrap().frame, "heard");
/// # Ok::<_, conflux::channel::ChannelError>(()) }).unwrap();
/// ```
#[derive(Clone)]
pub struct MemoryChannel {
    hub: Arc<Hub>,
}

impl MemoryChannel {
    /// A hub with the seed 0.
    pub fn new() -> Self {
        Self::seeded(0)
    }

    /// A hub that draws its faults from this seed.
    pub fn seeded(seed: u64) -> Self {
        let state = State {
            nodes: BTreeMap::new(),
            attached: 0,
            calm: true,
            closed: false,
            pumped: false,
            weather: Weather::new(seed),
            tap: None,
        };
        MemoryChannel { hub: Arc::new(Hub { state: RwLock::new(state), bell: Arc::new(Notify::new()) }) }
    }

    /// Part the nodes, in place of any earlier partition. Two nodes hear each other if some group lists both, so a node
    /// in two groups bridges them. Nodes in no group form one more group among themselves. Delayed messages that would
    /// cross while it holds are lost.
    pub fn partition<N: AsRef<str>>(&self, groups: &[&[N]]) {
        self.hub.change(|weather| weather.partition(groups));
    }

    /// Lose everything that `from` sends to `to`, and nothing the other way. Cuts add up until [`heal`](Self::heal).
    pub fn cut(&self, from: &str, to: &str) {
        self.hub.change(|weather| weather.cut(from.into(), to.into()));
    }

    /// Let all that `from` sends to `to` take so much longer.
    ///
    /// # Panics
    /// As [`set_faults`](Self::set_faults) with a delay.
    pub fn slow(&self, from: &str, to: &str, by: Duration) {
        self.hub.pump();
        self.hub.change(|weather| weather.slow(from.into(), to.into(), by));
    }

    /// Lose what is under way between two nodes, as when their connection breaks.
    pub fn reset(&self, one: &str, other: &str) {
        self.hub.change(|weather| weather.reset(&one.into(), &other.into()));
    }

    /// Detach a node whose port nobody closes: it was killed. Nothing that is left of it is heard any more.
    pub fn detach(&self, name: &str) {
        let mut state = self.hub.write();
        let node = state.nodes.remove(name);
        if let Some(node) = &node {
            node.closed.store(true, Ordering::Relaxed);
        }
        drop(state);
        if let Some(node) = node {
            node.deliver.close();
        }
    }

    /// Have every message told of, from one node to another: as it is sent, and those that take time as they arrive. For
    /// simulations: everything takes the longer way from here on.
    pub fn tap(&self, hear: impl Fn(&Name, &Name, &Bytes, Fate) + Send + Sync + 'static) {
        let mut state = self.hub.write();
        state.tap = Some(Arc::new(hear));
        state.calm = false;
    }

    /// Lift the partition, all cuts, and what was made slow. The [`Faults`] stay as they are.
    pub fn heal(&self) {
        self.hub.change(Weather::heal);
    }

    /// Set what happens by chance from now on. Messages already on their way keep their time.
    ///
    /// # Panics
    /// When a probability is not 0 to 1, or when a delay is set outside of a tokio runtime: one task there delivers
    /// what is delayed.
    pub fn set_faults(&self, faults: Faults) {
        faults.assert_valid();
        if faults.delays() {
            self.hub.pump();
        }
        self.hub.change(|weather| weather.set_faults(faults));
    }

    /// How many messages met which fault so far.
    pub fn fault_counts(&self) -> FaultCounts {
        self.hub.read().weather.counts()
    }

    /// The same of those that one node sent to another.
    pub fn fault_counts_between(&self, from: &str, to: &str) -> FaultCounts {
        self.hub.read().weather.counts_between(&from.into(), &to.into())
    }

    /// Detach every node and let none attach again.
    pub fn close(&self) {
        let mut state = self.hub.write();
        state.closed = true;
        let nodes = std::mem::take(&mut state.nodes);
        drop(state);
        for node in nodes.values() {
            node.deliver.close();
        }
    }
}

impl Default for MemoryChannel {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.hub.read();
        f.debug_struct("MemoryChannel")
            .field("nodes", &state.nodes.keys())
            .field("calm", &state.calm)
            .field("closed", &state.closed)
            .finish()
    }
}

impl Channel for MemoryChannel {
    fn attach(&self, name: Name) -> BoxFuture<'_, Result<Attachment, ChannelError>> {
        Box::pin(async move { self.hub.attach(name) })
    }
}

struct MemoryPort {
    name: Name,
    attachment: u64,
    hub: Arc<Hub>,
    closed: Arc<AtomicBool>,
}

impl Port for MemoryPort {
    fn name(&self) -> &Name {
        &self.name
    }

    fn send(&self, to: &Name, frame: Bytes) {
        let state = self.hub.read();
        if state.calm {
            if let (true, Some(node)) = (self.is_open(), state.nodes.get(to)) {
                node.deliver.deliver(Message { from: self.name.clone(), frame });
            }
            return;
        }
        drop(state);
        self.hub.weathered(|state| {
            if self.is_open() {
                state.send(&self.name, to, frame);
            }
        });
    }

    fn broadcast(&self, frame: Bytes) {
        let state = self.hub.read();
        if state.calm {
            if self.is_open() {
                for (_, node) in state.nodes.iter().filter(|(to, _)| **to != self.name) {
                    node.deliver.deliver(Message { from: self.name.clone(), frame: frame.clone() });
                }
            }
            return;
        }
        drop(state);
        self.hub.weathered(|state| {
            if self.is_open() {
                let others: Vec<Name> = state.nodes.keys().filter(|to| **to != self.name).cloned().collect();
                for to in others {
                    state.send(&self.name, &to, frame.clone());
                }
            }
        });
    }

    fn metrics(&self) -> ChannelMetrics {
        let state = self.hub.read();
        let own = state.nodes.get(&self.name).filter(|node| node.attachment == self.attachment);
        ChannelMetrics { inbox_lost: own.map_or(0, |node| node.deliver.lost()), ..ChannelMetrics::default() }
    }

    fn close(&self) {
        let mut state = self.hub.write();
        self.closed.store(true, Ordering::Relaxed);
        let own = state.nodes.get(&self.name).is_some_and(|node| node.attachment == self.attachment);
        let node = if own { state.nodes.remove(&self.name) } else { None };
        drop(state);
        if let Some(node) = node {
            node.deliver.close();
        }
    }
}

impl MemoryPort {
    fn is_open(&self) -> bool {
        // The hub's lock, which the caller holds, orders this.
        !self.closed.load(Ordering::Relaxed)
    }
}

impl Drop for MemoryPort {
    fn drop(&mut self) {
        self.close();
    }
}

struct Hub {
    state: RwLock<State>,
    /// Rung when the pump should look again: something flies earlier than before, or the hub is gone.
    bell: Arc<Notify>,
}

struct State {
    nodes: BTreeMap<Name, Node>,
    /// How many attachments there have been; numbers them.
    attached: u64,
    /// Whether nothing can go wrong and nobody listens: kept here to be cheap to ask.
    calm: bool,
    closed: bool,
    /// Whether the pump was started.
    pumped: bool,
    weather: Weather,
    tap: Option<Arc<Tap>>,
}

type Tap = dyn Fn(&Name, &Name, &Bytes, Fate) + Send + Sync;

/// What becomes of a message: see [`MemoryChannel::tap`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It is there.
    Delivered,
    /// It will be, unless something comes between.
    UnderWay,
    /// It is lost.
    Lost,
    /// It was under way, and is there.
    Arrived,
    /// It was under way, and whom it was sent to is not there any more.
    Missed,
}

impl Fate {
    /// Whether it is told as the message is sent: of one that is under way it is told once more.
    #[must_use]
    pub fn is_sending(self) -> bool {
        matches!(self, Fate::Delivered | Fate::UnderWay | Fate::Lost)
    }
}

struct Node {
    attachment: u64,
    deliver: Deliver,
    /// Nothing more is taken from its port. Set under the hub's write lock; read under its read lock.
    closed: Arc<AtomicBool>,
}

impl Hub {
    fn attach(self: &Arc<Self>, name: Name) -> Result<Attachment, ChannelError> {
        check_name(&name)?;
        let mut state = self.write();
        if state.closed {
            return Err(ChannelError::Closed);
        }
        if state.nodes.contains_key(&name) {
            return Err(ChannelError::NameTaken { name });
        }
        let (deliver, inbox) = Inbox::new(InboxLimits::default());
        state.attached += 1;
        let attachment = state.attached;
        let closed = Arc::new(AtomicBool::new(false));
        state.nodes.insert(name.clone(), Node { attachment, deliver, closed: closed.clone() });
        drop(state);
        let port = MemoryPort { name, attachment, hub: self.clone(), closed };
        Ok(Attachment { port: Arc::new(port), inbox })
    }

    /// Starts the task that delivers what takes time, unless it runs.
    fn pump(self: &Arc<Self>) {
        let runtime = Handle::current();
        if !std::mem::replace(&mut self.write().pumped, true) {
            runtime.spawn(pump(Arc::downgrade(self), self.bell.clone()));
        }
    }

    fn change(&self, change: impl FnOnce(&mut Weather)) {
        let mut state = self.write();
        change(&mut state.weather);
        state.see();
    }

    /// Send with the faults in force, and tell the pump if it has to look earlier than it meant to.
    fn weathered(&self, send: impl FnOnce(&mut State)) {
        let mut state = self.write();
        let before = state.weather.next_due();
        send(&mut state);
        let after = state.weather.next_due();
        drop(state);
        if after != before {
            self.bell.notify_one();
        }
    }

    /// Deliver what is due; returns when to look again.
    fn land(&self, now: Instant) -> Option<Instant> {
        let mut state = self.write();
        while let Some(Flight { from, to, attachment, frame }) = state.weather.land(now) {
            let node = state.nodes.get(&to).filter(|node| node.attachment == attachment);
            state.hear(&from, &to, &frame, if node.is_some() { Fate::Arrived } else { Fate::Missed });
            if let Some(node) = node {
                node.deliver.deliver(Message { from, frame });
            }
        }
        state.see();
        state.weather.next_due()
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.bell.notify_one();
    }
}

impl State {
    fn send(&mut self, from: &Name, to: &Name, frame: Bytes) {
        let Some(node) = self.nodes.get(to) else {
            return self.hear(from, to, &frame, Fate::Lost);
        };
        let flight = Flight { from: from.clone(), to: to.clone(), attachment: node.attachment, frame };
        let Sent { frame, at_once, under_way } = self.weather.send(flight, Instant::now());
        self.hear(
            from,
            to,
            &frame,
            match (at_once, under_way) {
                (0, 0) => Fate::Lost,
                (0, _) => Fate::UnderWay,
                _ => Fate::Delivered,
            },
        );
        for _ in 0..at_once {
            node.deliver.deliver(Message { from: from.clone(), frame: frame.clone() });
        }
    }

    fn hear(&self, from: &Name, to: &Name, frame: &Bytes, fate: Fate) {
        if let Some(tap) = self.tap.as_ref().filter(|_| from != to) {
            tap(from, to, frame, fate);
        }
    }

    fn see(&mut self) {
        self.calm = self.tap.is_none() && self.weather.is_calm();
    }
}

/// Delivers what is delayed, for as long as the hub lives. One task for all messages.
async fn pump(hub: Weak<Hub>, bell: Arc<Notify>) {
    loop {
        let Some(next_due) = hub.upgrade().map(|hub| hub.land(Instant::now())) else {
            return;
        };
        let Some(next_due) = next_due else {
            bell.notified().await;
            continue;
        };
        tokio::select! {
            biased;
            () = bell.notified() => {}
            () = sleep_until(next_due) => {}
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests begin tasks of no node")]
mod tests;
