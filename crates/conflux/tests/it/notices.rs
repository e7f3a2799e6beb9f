//! What a node says of itself when it is behind, alone, or of another source.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{Action, Method, Words, append, open, open_each, serving};
use bytes::Bytes;
use conflux::channel::{Attachment, Channel, ChannelError, Name, Port};
use conflux::wire::{Frame, Kind, Limits, Role as FrameRole};
use conflux::{
    Asked, Container, Context, Digest, Done, Index, MemoryChannel, Node, PerformError, Reject, Role, Status,
};
use futures_core::future::BoxFuture;

/// The engine's appends.
const APPEND: Kind = Kind(1);

/// A channel on which one node gets no appends while it is closed, and everything else.
#[derive(Clone)]
struct Sieve {
    inner: MemoryChannel,
    closed_to: &'static str,
    closed: Arc<AtomicBool>,
}

struct SievePort {
    inner: Arc<dyn Port>,
    sieve: Sieve,
}

impl Channel for Sieve {
    fn attach(&self, name: Name) -> BoxFuture<'_, Result<Attachment, ChannelError>> {
        Box::pin(async move {
            let Attachment { port, inbox } = self.inner.attach(name).await?;
            Ok(Attachment { port: Arc::new(SievePort { inner: port, sieve: self.clone() }), inbox })
        })
    }
}

impl Port for SievePort {
    fn name(&self) -> &Name {
        self.inner.name()
    }

    fn send(&self, to: &Name, frame: Bytes) {
        if self.sieve.closed.load(Ordering::Relaxed) && **to == *self.sieve.closed_to {
            let read = Frame::decode(frame.clone(), &Limits::default()).expect("nodes send frames");
            if read.head.kind == APPEND && read.role == FrameRole::Request {
                return;
            }
        }
        self.inner.send(to, frame);
    }

    fn broadcast(&self, frame: Bytes) {
        self.inner.broadcast(frame);
    }

    fn close(&self) {
        self.inner.close();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_committed_and_not_visible_here_is_told_so() {
    let sieve = Sieve { inner: MemoryChannel::new(), closed_to: "c", closed: Arc::default() };
    let builder = |name: &str| Node::builder(Words, name).cluster_size(3).channel(sieve.clone());
    let mut nodes = open_each(&["a", "b", "c"], builder).await;
    let behind = nodes.pop().expect("three were opened");
    // It must follow: a leader appends to itself.
    behind.perform(append("first")).await.expect("the cluster serves");
    if behind.status().role == Role::Leader {
        sieve.inner.partition(&[&["a", "b"], &["c"]]);
        nodes[0].perform(append("led elsewhere")).await.expect("a majority is left");
        sieve.inner.heal();
        behind.linearizable_state().await.expect("it is back");
    }
    let before = behind.state().index();
    sieve.closed.store(true, Ordering::Relaxed);
    let told = behind.perform(append("seen by the others")).timeout(Duration::from_secs(2)).await;
    let Err(PerformError::NotVisible { request_id, index }) = told else { panic!("{told:?}") };
    assert_eq!(index, before.next());
    assert_eq!(behind.state().index(), before);
    // Any other node tells at once what it came to, and this one once its own log has come so far.
    for node in [&nodes[0], &behind] {
        sieve.closed.store(false, Ordering::Relaxed);
        let asked = node.outcome(&request_id).await.expect("a majority is there");
        let Asked::Decided(Ok(Done { index: at, action: Some(action) })) = asked else { panic!("{asked:?}") };
        assert_eq!(at, index);
        assert!(matches!(&*action, Action::Appended(word) if word == "seen by the others"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_majority_is_said_and_taken_back() {
    let channel = MemoryChannel::new();
    let nodes = open(&channel, &["a", "b", "c"]).await;
    serving(&nodes).await;
    let mut watch = nodes[0].watch_status();
    channel.partition(&[&["a"], &["b"], &["c"]]);
    let notice = watch.find(|status| status.notice.clone()).await.expect("it is open");
    assert!(notice.starts_with("no majority: of the 3 voters b, c are silent, 2 are needed"), "{notice}");
    assert!(!nodes[0].status().has_quorum && !nodes[0].metrics().has_quorum);
    let told = nodes[0].perform(append("lost")).timeout(Duration::from_secs(1)).await;
    assert!(matches!(told, Err(PerformError::Unknown { .. } | PerformError::NeverProposed { .. })), "{told:?}");
    channel.heal();
    let cleared = |status: &Status| (status.notice.is_none() && status.has_quorum).then_some(());
    let found = tokio::time::timeout(Duration::from_secs(60), watch.find(cleared)).await;
    found.unwrap_or_else(|_| panic!("{:?}", nodes.iter().map(Node::status).collect::<Vec<_>>())).expect("it is open");
    nodes[0].perform(append("back")).await.expect("a majority is there again");
}

#[tokio::test(start_paused = true)]
async fn an_idle_cluster_misses_nobody() {
    let nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    serving(&nodes).await;
    // The leader hears nothing but answers to its heartbeats.
    for _ in 0..30 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        for node in &nodes {
            assert_eq!(node.status().notice, None, "{}", node.id());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_status_watch_tells_each_change_and_ends_with_the_node() {
    let node = Node::builder(Words, "a").cluster_size(1).channel(MemoryChannel::new()).open().await.expect("good");
    let mut watch = node.watch_status();
    let led = |status: &Status| (status.role == Role::Leader).then_some(());
    watch.find(led).await.expect("it is open");
    node.perform(append("one")).await.expect("it serves");
    watch.find(|status| (status.index == Index(1)).then_some(())).await.expect("it is open");
    node.close().await;
    let mut last = None;
    while let Some(status) = watch.next().await {
        last = Some(status);
    }
    assert_eq!(last.map(|status| status.role), Some(Role::Stopped));
}

/// The same container from another source.
struct Other;

impl Container for Other {
    type State = Vec<String>;
    type Method = Method;
    type Action = Action;
    type Rejection = Reject;

    fn initial(&self) -> Vec<String> {
        Words.initial()
    }

    fn decide(&self, state: &Vec<String>, method: Method, context: &Context<'_>) -> Result<Option<Action>, Reject> {
        Words.decide(state, method, context)
    }

    fn reduce(&self, state: &mut Vec<String>, action: &Action, context: &Context<'_>) {
        Words.reduce(state, action, context);
    }

    fn code(&self) -> Digest {
        Digest::of_bytes(b"other")
    }
}

#[tokio::test(start_paused = true)]
async fn another_source_is_refused_at_the_door_and_both_are_shown() {
    let channel = MemoryChannel::new();
    // Before there is a cluster: it is not taken for a founder.
    let stranger = Node::builder(Other, "aa").cluster_size(3).channel(channel.clone()).open().await.expect("good");
    let nodes = open(&channel, &["a", "b", "c"]).await;
    serving(&nodes).await;
    assert!(nodes[0].status().voters.iter().all(|name| &**name != "aa"));
    // And after: it is not let in.
    let late = Node::builder(Other, "d").cluster_size(3).channel(channel.clone()).open().await.expect("good");
    for refused in [&stranger, &late] {
        let both = |status: &Status| {
            let notice = status.notice.clone()?;
            let shown = notice.contains(&Digest::of_bytes(b"other").to_string())
                && notice.contains(&Digest::default().to_string());
            shown.then_some(())
        };
        refused.watch_status().find(both).await.expect("it is open");
        assert_eq!(refused.status().role, Role::Waiting);
    }
    nodes[0].perform(append("undisturbed")).await.expect("the cluster serves");
}
