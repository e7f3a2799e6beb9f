//! A channel with a hand on single messages: some are lost, some come later, some come twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use conflux::MemoryChannel;
use conflux::channel::{Attachment, Channel, ChannelError, Name, Port};
use conflux::wire::{Frame, Kind, Limits, Role};
use futures_core::future::BoxFuture;

/// The engine's appends.
pub(crate) const APPEND: Kind = Kind(1);
/// What a founder is asked for its pledge by.
pub(crate) const PROPOSE: Kind = Kind(17);
/// Calls on their way to the leader.
pub(crate) const CALLS: Kind = Kind(32);

/// What is done with messages from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Lose,
    /// They come when what was kept is delivered.
    Keep,
    /// They come, and come once more when what was kept is delivered.
    Copy,
}

/// The channel. Answers, and what is sent to all, go their way.
#[derive(Clone, Default)]
pub(crate) struct Post {
    inner: MemoryChannel,
    desk: Arc<Mutex<Desk>>,
}

#[derive(Default)]
struct Desk {
    ports: BTreeMap<Name, Arc<dyn Port>>,
    order: Option<(Name, Name, Kind, Order)>,
    kept: Vec<(Name, Name, Bytes)>,
}

impl Post {
    pub(crate) fn new(inner: MemoryChannel) -> Self {
        Post { inner, desk: Arc::default() }
    }

    /// The one order there is. It ends with [`pass`](Self::pass).
    pub(crate) fn order(&self, from: &str, to: &str, kind: Kind, order: Order) {
        self.desk().order = Some((from.into(), to.into(), kind, order));
    }

    pub(crate) fn pass(&self) {
        self.desk().order = None;
    }

    pub(crate) fn kept(&self) -> usize {
        self.desk().kept.len()
    }

    /// Delivers what was kept.
    pub(crate) fn deliver(&self) {
        let kept = std::mem::take(&mut self.desk().kept);
        assert!(!kept.is_empty(), "nothing was kept");
        for (from, to, frame) in kept {
            let port = self.desk().ports[&from].clone();
            port.send(&to, frame);
        }
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Channel for Post {
    fn attach(&self, name: Name) -> BoxFuture<'_, Result<Attachment, ChannelError>> {
        Box::pin(async move {
            let Attachment { port, inbox } = self.inner.attach(name.clone()).await?;
            self.desk().ports.insert(name, port.clone());
            Ok(Attachment { port: Arc::new(Counter { inner: port, post: self.clone() }), inbox })
        })
    }
}

/// Where a node hands in what it sends.
struct Counter {
    inner: Arc<dyn Port>,
    post: Post,
}

impl Port for Counter {
    fn name(&self) -> &Name {
        self.inner.name()
    }

    fn send(&self, to: &Name, frame: Bytes) {
        let order = {
            let mut desk = self.post.desk();
            let read = Frame::decode(frame.clone(), &Limits::default()).expect("nodes send frames");
            let is_answer = matches!(read.role, Role::Response | Role::Refusal);
            let meant = desk
                .order
                .as_ref()
                .filter(|(by, whom, kind, _)| !is_answer && (by, whom, *kind) == (self.name(), to, read.head.kind));
            let order = meant.map(|(.., order)| *order);
            if matches!(order, Some(Order::Keep | Order::Copy)) {
                desk.kept.push((self.name().clone(), to.clone(), frame.clone()));
            }
            order
        };
        if !matches!(order, Some(Order::Lose | Order::Keep)) {
            self.inner.send(to, frame);
        }
    }

    fn broadcast(&self, frame: Bytes) {
        self.inner.broadcast(frame);
    }

    fn close(&self) {
        self.inner.close();
    }
}
