//! Replicas whose reducer does another thing on one of them.

use std::collections::BTreeMap;
use std::io;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use conflux::{Container, Context, Event, Index, MemoryChannel, MemoryDisk, Never, Node, Status};

/// What a node's reducer does wrong, from when it is armed.
#[derive(Clone, Default)]
struct Skew(Arc<Mutex<Skewed>>);

#[derive(Default)]
struct Skewed {
    /// At these places.
    at: Option<RangeInclusive<u64>>,
    /// From this time on that an action is reduced: a leader does it on its fork, and again when it is committed.
    from: u64,
    /// Up to this time.
    to: u64,
    /// It breaks instead.
    breaks: bool,
    times: BTreeMap<u64, u64>,
}

impl Skew {
    fn arm(&self, at: RangeInclusive<u64>, times: RangeInclusive<u64>) {
        let (from, to) = times.into_inner();
        *self.0.lock().expect("no test panicked") = Skewed { at: Some(at), from, to, ..Skewed::default() };
    }

    fn break_at(&self, index: u64) {
        let at = Some(index..=index);
        *self.0.lock().expect("no test panicked") = Skewed { at, to: u64::MAX, breaks: true, ..Skewed::default() };
    }

    fn breaks(&self) -> bool {
        self.0.lock().expect("no test panicked").breaks
    }

    fn is_wrong(&self, index: u64) -> bool {
        let mut skewed = self.0.lock().expect("no test panicked");
        if !skewed.at.as_ref().is_some_and(|at| at.contains(&index)) {
            return false;
        }
        let (from, to) = (skewed.from, skewed.to);
        let time = skewed.times.entry(index).or_default();
        *time += 1;
        (from..=to).contains(time)
    }
}

struct Numbers(Skew);

impl Container for Numbers {
    type State = Vec<u64>;
    type Method = u64;
    type Action = u64;
    type Rejection = Never;

    fn initial(&self) -> Vec<u64> {
        vec![]
    }

    fn decide(&self, _: &Vec<u64>, method: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
        Ok(Some(method))
    }

    fn reduce(&self, numbers: &mut Vec<u64>, action: &u64, context: &Context<'_>) {
        let wrong = self.0.is_wrong(context.index().0);
        numbers.push(action + u64::from(wrong));
        assert!(!wrong || !self.0.breaks(), "it breaks");
    }
}

struct Cluster {
    channel: MemoryChannel,
    disks: Vec<MemoryDisk>,
    skews: Vec<Skew>,
    nodes: Vec<Node<Numbers>>,
}

impl Cluster {
    async fn open(size: usize) -> Cluster {
        let mut cluster = Cluster {
            channel: MemoryChannel::new(),
            disks: (0..size).map(|_| MemoryDisk::new()).collect(),
            skews: (0..size).map(|_| Skew::default()).collect(),
            nodes: Vec::new(),
        };
        for at in 0..size {
            cluster.nodes.push(cluster.open_one(at).await);
        }
        for node in &cluster.nodes {
            node.linearizable_state().await.expect("they found a cluster");
        }
        cluster
    }

    async fn open_one(&self, at: usize) -> Node<Numbers> {
        let builder =
            Node::builder(Numbers(self.skews[at].clone()), ["a", "b", "c"][at]).cluster_size(self.disks.len());
        let builder = builder.channel(self.channel.clone()).disk(self.disks[at].clone()).digest_every(10);
        builder.open().await.expect("the options are good")
    }

    /// The number of the node that leads, and of one that does not.
    fn roles(&self) -> (usize, usize) {
        let leader = self.nodes[0].status().leader.expect("it serves");
        let leads = self.nodes.iter().position(|node| *node.id() == leader).expect("it is one of them");
        (leads, (leads + 1) % self.nodes.len())
    }

    /// Performs the numbers, slowly enough that states are compared along the way.
    async fn perform(&self, at: usize, numbers: RangeInclusive<u64>) {
        for number in numbers {
            let performed = self.nodes[at].perform(number).await;
            performed.unwrap_or_else(|error| panic!("{error}: {:?}", self.nodes[at].status()));
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until all hold the numbers from 1 on, and it was looked at not long ago.
    async fn agree(&self, last: u64) {
        let expected: Vec<u64> = (1..=last).collect();
        for node in &self.nodes {
            let mut watch = node.watch_status();
            let fine = |status: &Status| status.agreed >= Some(Index(last - 20)) && status.index == Index(last);
            let agreed = watch.find(|status| fine(status).then_some(()));
            let agreed = tokio::time::timeout(Duration::from_secs(30), agreed).await;
            agreed.unwrap_or_else(|_| panic!("{:?}", node.status())).expect("it is open");
            assert_eq!(*node.state(), expected, "{}", node.id());
            assert_eq!(node.status().notice, None);
        }
    }

    fn parted(&self) -> Vec<u64> {
        self.nodes.iter().map(|node| node.status().parted).collect()
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panicked").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn begin() -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no test panicked").clone()).expect("logs are text")
    }
}

#[tokio::test(start_paused = true)]
async fn a_follower_that_parts_names_the_action_and_goes_on_with_the_state_of_the_others() {
    let (log, _guard) = Log::begin();
    let mut cluster = Cluster::open(3).await;
    let (leads, follows) = cluster.roles();
    cluster.skews[follows].arm(25..=25, 1..=u64::MAX);
    let mut changes = cluster.nodes[follows].subscribe();
    cluster.perform(leads, 1..=100).await;
    cluster.agree(100).await;
    let mut expected = vec![0; 3];
    expected[follows] = 1;
    assert_eq!(cluster.parted(), expected);
    let (text, name) = (log.text(), cluster.nodes[follows].id().clone());
    assert!(text.contains(&format!("{name} parted from the others by the action at 25: 25")), "{text}");
    assert!(text.contains("has another state at"), "{text}");
    // What it had published is taken back in the open.
    let mut last = 0;
    let mut resets = 0;
    while last < 100 {
        match changes.next().await.expect("the node is open") {
            Event::Change(change) => last = change.index.0,
            Event::Reset { state, index } => {
                resets += 1;
                last = index.0;
                assert_eq!(*state, (1..=last).collect::<Vec<u64>>());
            }
        }
    }
    assert_eq!(resets, 1);
    // The disk holds it, too: the wrong state does not come back.
    cluster.nodes.remove(follows).close().await;
    let node = cluster.open_one(follows).await;
    cluster.nodes.insert(follows, node);
    cluster.perform(follows, 101..=120).await;
    cluster.agree(120).await;
    assert_eq!(cluster.nodes[follows].status().parted, 0);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_from_elsewhere_hears_that_the_state_was_replaced_at_the_place_it_stands_at() {
    let cluster = Cluster::open(3).await;
    let (leads, follows) = cluster.roles();
    let node = &cluster.nodes[follows];
    cluster.skews[follows].arm(25..=25, 1..=u64::MAX);
    let mut watch = node.watch_status();
    let (mut last, mut missed) = (0, 0);
    let mending = loop {
        last += 1;
        cluster.nodes[leads].perform(last).await.expect("it serves");
        let mending = watch.find(|status| status.is_mending.then_some(status.index));
        match tokio::time::timeout(Duration::from_millis(20), mending).await {
            Ok(mending) => break mending.expect("it is open"),
            Err(_) => assert!(last < 1000, "it is noticed"),
        }
        if cluster.parted()[follows] > missed {
            // It began and ended while somebody performed: once more.
            missed = cluster.parted()[follows];
            cluster.skews[follows].arm(last + 10..=last + 10, 1..=u64::MAX);
        }
    };
    // Nothing comes behind, so the other state stands at the same place.
    assert_eq!(mending, Index(last));
    let mut changes = node.subscribe_from(mending);
    assert!(tokio::time::timeout(Duration::ZERO, changes.next()).await.is_err(), "there is nothing yet");
    assert!(node.status().is_mending);
    let reset = tokio::time::timeout(Duration::from_secs(30), changes.next()).await;
    match reset.expect("it is mended").expect("the node is open") {
        Event::Reset { state, index } => {
            assert_eq!((index, (*state).clone()), (Index(last), (1..=last).collect::<Vec<u64>>()));
        }
        Event::Change(change) => panic!("{change:?}"),
    }
    cluster.agree(last).await;
    assert!(!node.status().is_mending);
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_parts_hands_over_and_follows() {
    let (log, _guard) = Log::begin();
    let cluster = Cluster::open(3).await;
    let (leads, follows) = cluster.roles();
    // Its fork is right: only when the action is committed is it reduced to something else, once.
    cluster.skews[leads].arm(25..=25, 2..=2);
    cluster.perform(follows, 1..=100).await;
    cluster.agree(100).await;
    let mut expected = vec![0; 3];
    expected[leads] = 1;
    assert_eq!(cluster.parted(), expected);
    assert_ne!(cluster.roles().0, leads);
    let text = log.text();
    assert!(text.contains("it does not depend on its actions alone"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn a_replica_that_parts_again_and_again_stops_and_says_why() {
    let cluster = Cluster::open(3).await;
    let (leads, follows) = cluster.roles();
    cluster.skews[follows].arm(25..=1000, 1..=u64::MAX);
    cluster.perform(leads, 1..=200).await;
    let stopped = cluster.nodes[follows].status().stopped.expect("it stopped");
    assert!(stopped.contains("it ought to be"), "{stopped}");
    let others = cluster.nodes.iter().filter(|node| node.status().stopped.is_none());
    assert_eq!(others.count(), 2);
    assert_eq!(*cluster.nodes[leads].state(), (1..=200).collect::<Vec<u64>>());
}

#[tokio::test(start_paused = true)]
async fn of_a_batch_that_breaks_a_replica_it_shows_nothing() {
    let cluster = Cluster::open(3).await;
    let (leads, follows) = cluster.roles();
    cluster.perform(leads, 1..=10).await;
    let mut watch = cluster.nodes[follows].watch_status();
    watch.find(|status| (status.index == Index(10)).then_some(())).await.expect("it is open");
    cluster.skews[follows].break_at(13);
    // Asked for at once, they make one batch.
    let performs: Vec<_> = (11..=15).map(|number| cluster.nodes[leads].perform(number).start()).collect();
    for perform in performs {
        perform.await.expect("the others serve");
    }
    let stopped = watch.find(|status| status.stopped.clone()).await.expect("it says why");
    assert!(stopped.contains("it breaks"), "{stopped}");
    let state = cluster.nodes[follows].state();
    assert_eq!((*state).clone(), (1..=10).collect::<Vec<u64>>());
    assert_eq!(state.index(), Index(10));
}

/// Serves well, and cannot be written once it is no longer empty.
struct Unwritable;

#[derive(Clone, Default)]
struct Count(u64);

impl serde::Serialize for Count {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        assert_eq!(self.0, 0, "it was never meant to be written");
        serializer.serialize_u64(self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Count {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Count, D::Error> {
        <u64 as serde::Deserialize>::deserialize(deserializer).map(Count)
    }
}

impl Container for Unwritable {
    type State = Count;
    type Method = u64;
    type Action = u64;
    type Rejection = Never;

    fn initial(&self) -> Count {
        Count(0)
    }

    fn decide(&self, _: &Count, method: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
        Ok(Some(method))
    }

    fn reduce(&self, count: &mut Count, action: &u64, _: &Context<'_>) {
        count.0 += action;
    }
}

#[tokio::test(start_paused = true)]
async fn a_state_that_cannot_be_written_is_not_compared_and_goes_on() {
    let (log, _guard) = Log::begin();
    let channel = MemoryChannel::new();
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        let builder = Node::builder(Unwritable, name).cluster_size(3).channel(channel.clone()).digest_every(10);
        nodes.push(builder.open().await.expect("the options are good"));
    }
    for _ in 0..50 {
        nodes[0].perform(1).await.expect("the cluster serves");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for node in &nodes {
        assert_eq!(node.linearizable_state().await.expect("the cluster serves").0, 50);
        assert_eq!((node.status().stopped, node.status().agreed), (None, None));
    }
    assert!(log.text().contains("is not compared: writing it panicked"), "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn where_no_state_is_that_of_most_all_stop() {
    let cluster = Cluster::open(2).await;
    let (leads, follows) = cluster.roles();
    cluster.skews[follows].arm(25..=25, 1..=u64::MAX);
    for node in &cluster.nodes {
        let _ = node.perform(0).await.expect("the cluster serves");
    }
    let performing = async {
        for number in 3..=1000 {
            if cluster.nodes[leads].perform(number).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("they go on with different states");
    };
    performing.await;
    for node in &cluster.nodes {
        let mut watch = node.watch_status();
        let stopped = watch.find(|status| status.stopped.clone()).await.expect("it says why");
        assert!(stopped.contains("none is that of most"), "{stopped}");
    }
}
