//! Nodes whose disk or whose container takes its time: a snapshot takes longer to take up than any message may be waited for,
//! or cannot be begun; a new leader has still to apply what it holds.

#![expect(clippy::disallowed_methods, reason = "the test waits on threads, and has tasks of no node")]

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use crate::common::wrapped::{Meddler, Wrapped};
use crate::common::{Words, append, open_each};
use conflux::{Container, Context, FileDisk, MemoryChannel, Never, Node, Status};
use serde::{Deserialize, Deserializer, Serialize};

/// Longer than the ten seconds that the answer to a piece may take.
const LONG: Duration = Duration::from_secs(12);

/// Reading a state takes long from here on.
static SLOW: AtomicBool = AtomicBool::new(false);
static READ: AtomicUsize = AtomicUsize::new(0);

#[derive(Clone, Serialize)]
struct Heavy(Vec<u64>);

impl<'de> Deserialize<'de> for Heavy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if SLOW.load(Ordering::Relaxed) {
            READ.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(LONG);
        }
        Vec::deserialize(deserializer).map(Heavy)
    }
}

struct List;

impl Container for List {
    type State = Heavy;
    type Method = u64;
    type Action = u64;
    type Rejection = Never;

    fn initial(&self) -> Heavy {
        // More than one piece.
        Heavy(vec![u64::MAX; 60_000])
    }

    fn decide(&self, _: &Heavy, number: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
        Ok(Some(number))
    }

    fn reduce(&self, list: &mut Heavy, number: &u64, _: &Context<'_>) {
        list.0.push(*number);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_state_that_takes_long_to_read_is_sent_once() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let channel = MemoryChannel::new();
    let builder = |name: &str, path: &str| {
        let builder = Node::builder(List, name).cluster_size(3).channel(channel.clone()).compaction(16, 1 << 20);
        builder.disk(FileDisk::new(directory.path().join(path)))
    };
    let nodes = open_each(&["a", "b", "c"], |name| builder(name, name)).await;
    for n in 0..100 {
        nodes[0].perform(n).await.expect("the cluster serves");
    }
    nodes[2].close().await;
    SLOW.store(true, Ordering::Relaxed);
    // On an empty disk, so that it needs a snapshot.
    let wiped = builder("c", "another").open().await.expect("the options are good");
    let mut watch = wiped.watch_status();
    let caught_up = watch.find(|status| (status.index.0 >= 100).then_some(()));
    tokio::time::timeout(LONG * 4, caught_up).await.expect("it is not sent for ever").expect("it is open");
    assert_eq!(wiped.state().0.len(), 60_100);
    assert_eq!(READ.load(Ordering::Relaxed), 1, "it was sent again while it was being read");
    for node in [&nodes[0], &nodes[1], &wiped] {
        node.close().await;
    }
}

/// Snapshots cannot be begun until it is opened.
#[derive(Default)]
struct Gate {
    /// Whether one waits, and whether it is open.
    stands: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn open(&self) {
        self.stands.lock().expect("nothing panics").1 = true;
        self.changed.notify_all();
    }

    fn wait(&self, until: impl Fn(&(bool, bool)) -> bool) {
        let stands = self.stands.lock().expect("nothing panics");
        drop(self.changed.wait_while(stands, |stands| !until(stands)).expect("nothing panics"));
    }
}

impl Meddler for Gate {
    fn draft(&self) {
        self.stands.lock().expect("nothing panics").0 = true;
        self.changed.notify_all();
        self.wait(|stands| stands.1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn messages_are_taken_in_while_a_disk_does_not_let_a_snapshot_begin() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let channel = MemoryChannel::new();
    let builder = |name: &str| Node::builder(Words, name).cluster_size(3).channel(channel.clone());
    let disk = |path: &str| FileDisk::new(directory.path().join(path));
    let nodes = open_each(&["a", "b", "c"], |name| builder(name).compaction(16, 1 << 20).disk(disk(name))).await;
    for n in 0..100 {
        nodes[0].perform(append(&n.to_string())).await.expect("the cluster serves");
    }
    nodes[2].close().await;
    // On an empty disk, so that it needs a snapshot.
    let gate: Arc<Gate> = Arc::default();
    let slow = builder("c").disk(Wrapped::new(disk("another"), &gate)).open().await.expect("the options are good");
    let waits = gate.clone();
    tokio::task::spawn_blocking(move || waits.wait(|stands| stands.0)).await.expect("it comes");
    let leader = slow.watch_status().find(|status| status.leader.clone()).await.expect("it is open");
    // The answer to this comes in as a message.
    let asked = tokio::time::timeout(Duration::from_secs(8), slow.transfer_leadership(Some(&leader))).await;
    assert_eq!(asked.ok().and_then(Result::ok), Some(leader), "nothing is taken in");
    assert_eq!(slow.state().len(), 0);
    gate.open();
    let caught_up = |status: &Status| (status.index.0 >= 100).then_some(());
    slow.watch_status().find(caught_up).await.expect("it is open");
    for node in [&nodes[0], &nodes[1], &slow] {
        node.close().await;
    }
}

impl Gate {
    fn shut(&self) {
        *self.stands.lock().expect("nothing panics") = (false, false);
    }
}

/// Opens a gate when it goes.
struct Opened(Arc<Gate>);

impl Drop for Opened {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// Its reducer waits for the gate, where there is one.
struct Slow(Option<Arc<Gate>>);

impl Container for Slow {
    type State = Vec<u64>;
    type Method = u64;
    type Action = u64;
    type Rejection = Never;

    fn initial(&self) -> Vec<u64> {
        vec![]
    }

    fn decide(&self, _: &Vec<u64>, number: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
        Ok(Some(number))
    }

    fn reduce(&self, list: &mut Vec<u64>, number: &u64, _: &Context<'_>) {
        if let Some(gate) = &self.0 {
            gate.draft();
        }
        list.push(*number);
    }

    fn may_take_long(&self) -> bool {
        true
    }
}

/// Three that a leads; b waits for the gate, which is shut.
async fn three_of_which_one_is_slow(gate: &Arc<Gate>) -> Vec<Node<Slow>> {
    let channel = MemoryChannel::new();
    gate.open();
    let slow = |name: &str| Slow((name == "b").then(|| gate.clone()));
    let builder = |name: &str| Node::builder(slow(name), name).cluster_size(3).channel(channel.clone());
    let nodes = open_each(&["a", "b", "c"], builder).await;
    nodes[0].linearizable_state().await.expect("they serve");
    nodes[0].transfer_leadership(Some("a")).await.expect("it has caught up");
    nodes[0].perform(0).await.expect("they serve");
    gate.shut();
    nodes
}

/// Nothing may stop it, for then the nodes would differ.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reducer_that_does_not_come_back_is_told_of() {
    let gate: Arc<Gate> = Arc::default();
    let nodes = three_of_which_one_is_slow(&gate).await;
    // A test that fails must not wait for it.
    let _opened = Opened(gate.clone());
    nodes[0].perform(1).await.expect("two of three serve");
    let mut watch = nodes[1].watch_status();
    let notice = watch.find(|status| status.notice.clone());
    let notice = tokio::time::timeout(Duration::from_secs(60), notice).await.expect("it is told").expect("it is open");
    assert!(notice.contains("has been applied for more than 5s"), "{notice}");
    nodes[0].perform(2).await.expect("two of three serve");
    gate.open();
    let goes_on = |status: &Status| (status.notice.is_none() && status.index.0 == 3).then_some(());
    watch.find(goes_on).await.expect("it is open");
    for node in &nodes {
        assert_eq!(*node.linearizable_state().await.expect("they serve"), [0, 1, 2]);
    }
    for node in &nodes {
        node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_leader_that_has_still_to_apply_what_it_holds_judges_once_it_has() {
    let gate: Arc<Gate> = Arc::default();
    let nodes = three_of_which_one_is_slow(&gate).await;
    // A test that fails must not wait for it.
    let _opened = Opened(gate.clone());
    for n in 1..10 {
        nodes[0].perform(n).await.expect("they serve");
    }
    let waits = gate.clone();
    tokio::task::spawn_blocking(move || waits.wait(|stands| stands.0)).await.expect("it comes");
    assert_eq!(&*nodes[0].transfer_leadership(Some("b")).await.expect("it holds all"), "b");
    // Of what it leads it has applied next to nothing; whoever asks waits for that.
    let performed = nodes[0].perform(10).start();
    let asking = nodes[2].clone();
    let demoted = tokio::spawn(async move { asking.demote_member("c").await });
    let heard = nodes[2].watch_status().find(|status| status.leader.clone().filter(|leader| &**leader == "b")).await;
    assert!(heard.is_some() && !demoted.is_finished());
    gate.open();
    assert_eq!(performed.await.expect("they serve").index.0, 11);
    demoted.await.expect("nothing panics").expect("two are left to vote");
    for node in &nodes {
        assert_eq!(*node.linearizable_state().await.expect("they serve"), (0..=10).collect::<Vec<_>>());
        assert_eq!(node.status().voters.join(" "), "a b");
    }
    for node in &nodes {
        node.close().await;
    }
}

/// Whether a state that is written waits: not at all, until it is let go on, or it was and may.
static HELD: Mutex<Held> = Mutex::new(Held::No);
static HELD_CHANGED: Condvar = Condvar::new();

#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    No,
    Next,
    Now,
}

fn hold(held: Held) {
    *HELD.lock().expect("nothing panics") = held;
    HELD_CHANGED.notify_all();
}

#[derive(Clone, Deserialize)]
struct Waits(u64);

impl Serialize for Waits {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut held = HELD.lock().expect("nothing panics");
        if *held == Held::Next {
            *held = Held::Now;
            HELD_CHANGED.notify_all();
            // A test that fails must not wait for ever.
            drop(HELD_CHANGED.wait_timeout_while(held, Duration::from_secs(10), |held| *held == Held::Now));
        }
        self.0.serialize(serializer)
    }
}

struct Adds;

impl Container for Adds {
    type State = Waits;
    type Method = u64;
    type Action = u64;
    type Rejection = Never;

    fn initial(&self) -> Waits {
        Waits(0)
    }

    fn decide(&self, _: &Waits, number: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
        Ok(Some(number))
    }

    fn reduce(&self, sum: &mut Waits, number: &u64, _: &Context<'_>) {
        sum.0 += number;
    }
}

/// On one thread, with a disk that never blocks: it was stalled for as long as the state took to be written.
#[tokio::test]
async fn callers_are_answered_while_a_state_is_written_to_memory() {
    let node = Node::builder(Adds, "a").cluster_size(1).channel(MemoryChannel::new()).open().await.expect("it is good");
    node.perform(1).await.expect("it serves");
    hold(Held::Next);
    let writing = node.clone();
    let compacted = tokio::spawn(async move { writing.compact().await });
    let begun = tokio::task::spawn_blocking(|| {
        let held = HELD.lock().expect("nothing panics");
        drop(HELD_CHANGED.wait_while(held, |held| *held == Held::Next).expect("nothing panics"));
    });
    begun.await.expect("it is written");
    node.perform(2).await.expect("it serves");
    assert!(
        *HELD.lock().expect("nothing panics") == Held::Now && !compacted.is_finished(),
        "nobody was answered meanwhile"
    );
    hold(Held::No);
    assert_eq!(compacted.await.expect("nothing panics").expect("it is open").index.0, 1);
    assert_eq!(node.state().0, 3);
    node.close().await;
}
