//! A cluster on disks: what was answered survives the end of all its nodes.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::wrapped::{Meddler, Wrapped};
use crate::common::{Words, append};
use conflux::disk::{DiskError, Done, Keep, SimulatedFiles};
use conflux::{Asked, Container, Context, Disk, FileDisk, MemoryChannel, MemoryDisk, Never, Node, OpenError, Role};

const NAMES: [&str; 3] = ["a", "b", "c"];

async fn open_on(channel: &MemoryChannel, name: &str, disk: impl Disk) -> Node<Words> {
    let builder = Node::builder(Words, name).cluster_size(3).channel(channel.clone()).disk(disk);
    builder.compaction(64, 1 << 20).open().await.unwrap_or_else(|error| panic!("{name}: {error}"))
}

async fn open_all<D: Disk>(channel: &MemoryChannel, disk: impl Fn(&str) -> D) -> Vec<Node<Words>> {
    let mut nodes = Vec::new();
    for name in NAMES {
        nodes.push(open_on(channel, name, disk(name)).await);
    }
    nodes
}

async fn close_all(nodes: Vec<Node<Words>>) {
    for node in &nodes {
        node.close().await;
    }
}

/// Waits until a node holds what is committed.
async fn caught_up(node: &Node<Words>) -> Vec<String> {
    node.linearizable_state().await.expect("the cluster serves").to_vec()
}

#[tokio::test]
async fn what_was_answered_survives_the_end_of_all_nodes() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let disk = |name: &str| FileDisk::new(directory.path().join(name)).segment_bytes(16 * 1024);
    let mut expected: Vec<String> = Vec::new();
    let mut ids = Vec::new();
    for round in 0..4 {
        let channel = MemoryChannel::new();
        let nodes = open_all(&channel, disk).await;
        for n in 0..100 {
            // Its own round a call: the log is compacted several times.
            let word = format!("{round}.{n}");
            let started = nodes[n % 3].perform(append(&word)).request_id(word.clone()).start();
            ids.push((word.clone(), started.request_id().cloned()));
            started.await.expect("the cluster serves");
            expected.push(word);
        }
        for node in &nodes {
            assert_eq!(caught_up(node).await, expected);
        }
        // Whatever was performed before is known, by either id, and asked for again it is not done again.
        for (word, id) in ids.iter().step_by(37) {
            assert_eq!(id.as_ref().map(ToString::to_string).as_deref(), Some(word.as_str()));
            let again = nodes[1].perform(append(word)).request_id(word.clone()).await.expect("it was done");
            let place = expected.iter().position(|other| other == word).expect("it was performed") as u64 + 1;
            assert_eq!(again.index.0, place);
            if let Some(id) = id {
                let asked = nodes[2].outcome(id).await.expect("the cluster serves");
                assert!(matches!(asked, Asked::Decided(Ok(done)) if done.index.0 == place), "{word}");
            }
        }
        let state = nodes[0].state();
        close_all(nodes).await;
        // It is there as soon as a node is open, before there is a leader.
        let alone = open_on(&MemoryChannel::new(), "a", disk("a")).await;
        assert_eq!(*alone.state(), *state);
        alone.close().await;
    }
}

#[tokio::test]
async fn a_wiped_node_joins_as_a_new_one() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let disk = |name: &str| FileDisk::new(directory.path().join(name));
    let channel = MemoryChannel::new();
    let mut nodes = open_all(&channel, disk).await;
    for n in 0..200 {
        nodes[0].perform(append(&n.to_string())).await.expect("the cluster serves");
    }
    let before = nodes[2].status().incarnation;
    nodes[2].close().await;
    std::fs::remove_dir_all(directory.path().join("c")).expect("it was closed");
    nodes[2] = open_on(&channel, "c", disk("c")).await;
    assert_ne!(nodes[2].status().incarnation, before);
    assert_eq!(caught_up(&nodes[2]).await.len(), 200);
    // It has its seat again, and its data stay now.
    nodes[2].watch_status().find(|status| (status.role == Role::Follower).then_some(())).await.expect("it is open");
    let now = nodes[2].status().incarnation;
    nodes[2].close().await;
    nodes[2] = open_on(&channel, "c", disk("c")).await;
    assert_eq!(nodes[2].status().incarnation, now);
    assert_eq!(nodes[2].state().len(), 200);
    close_all(nodes).await;
}

#[tokio::test]
async fn a_copied_directory_is_refused_and_a_moved_one_is_a_new_node() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let path = |name: &str| directory.path().join(name);
    let channel = MemoryChannel::new();
    let mut nodes = open_all(&channel, |name: &str| FileDisk::new(path(name))).await;
    nodes[0].perform(append("word")).await.expect("the cluster serves");
    caught_up(&nodes[2]).await;
    let before = nodes[2].status().incarnation;
    nodes[2].close().await;
    copy(&path("c"), &path("copy"));
    let builder = || Node::builder(Words, "c").cluster_size(3).channel(channel.clone());
    let refused = builder().disk(FileDisk::new(path("copy"))).open().await;
    assert!(matches!(refused, Err(OpenError::Disk(DiskError::Moved { .. }))));
    let other = Node::builder(Words, "d").cluster_size(3).channel(channel.clone()).disk(FileDisk::new(path("c")));
    assert!(matches!(other.open().await, Err(OpenError::Disk(DiskError::OtherNode { .. }))));

    let moved = builder().disk(FileDisk::new(path("copy")).moved(true)).open().await.expect("it is said to be moved");
    assert_ne!(moved.status().incarnation, before);
    assert_eq!(*moved.state(), ["word"], "its data are there at once");
    nodes[2] = moved;
    nodes[0].perform(append("more")).await.expect("the cluster serves");
    assert_eq!(caught_up(&nodes[2]).await, ["word", "more"]);
    close_all(nodes).await;
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).expect("nothing fails");
    for entry in std::fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("it is there");
        std::fs::copy(entry.path(), to.join(entry.file_name())).expect("nothing fails");
    }
}

#[tokio::test(start_paused = true)]
async fn power_is_lost_on_all_nodes_at_once() {
    for seed in 0..20 {
        conflux::seed_thread(seed);
        let files: Vec<SimulatedFiles> = (0..3).map(|n| SimulatedFiles::new(seed * 3 + n)).collect();
        let disk = |name: &str| {
            let files = files[NAMES.iter().position(|other| *other == name).expect("it is one of them")].clone();
            FileDisk::simulated(files, "/data", Duration::from_millis(1 + seed % 7)).segment_bytes(4096)
        };
        let mut answered: Vec<String> = Vec::new();
        for round in 0..4 {
            let channel = MemoryChannel::seeded(seed * 10 + round);
            let nodes = open_all(&channel, disk).await;
            for node in &nodes {
                let state = caught_up(node).await;
                let kept: Vec<&String> = state.iter().filter(|word| answered.contains(word)).collect();
                assert_eq!(kept, answered.iter().collect::<Vec<_>>(), "seed {seed}, round {round}");
            }
            // Many at once, of which some are on their way when power fails.
            let mut started: Vec<_> = (0..60)
                .map(|n| {
                    let word = format!("{round}.{n}");
                    (word.clone(), Box::pin(nodes[n % 3].perform(append(&word)).start()))
                })
                .collect();
            let cut = tokio::time::sleep(Duration::from_millis(3 + seed * 2 + round));
            tokio::pin!(cut);
            let mut done = Vec::new();
            std::future::poll_fn(|context| {
                use std::future::Future;
                started.retain_mut(|(word, call)| match call.as_mut().poll(context) {
                    std::task::Poll::Ready(Ok(performed)) => {
                        done.push((performed.index, word.clone()));
                        false
                    }
                    std::task::Poll::Ready(Err(error)) => panic!("{word}: {error}"),
                    std::task::Poll::Pending => true,
                });
                cut.as_mut().poll(context)
            })
            .await;
            done.sort();
            answered.extend(done.into_iter().map(|(_, word)| word));
            for files in &files {
                files.crash([Keep::Some, Keep::Nothing][seed as usize % 2]);
            }
            drop(started);
            close_all(nodes).await;
        }
        assert!(!answered.is_empty(), "seed {seed}: nothing was answered in time");
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_disk_fails_stops_and_says_why() {
    let files: Vec<SimulatedFiles> = (0..3).map(SimulatedFiles::new).collect();
    let channel = MemoryChannel::new();
    let nodes = open_all(&channel, |name: &str| {
        let files = files[NAMES.iter().position(|other| *other == name).expect("it is one of them")].clone();
        FileDisk::simulated(files, "/data", Duration::from_millis(1))
    })
    .await;
    nodes[0].perform(append("before")).await.expect("the cluster serves");
    files[1].fail(2, std::io::ErrorKind::Other);
    // The others go on.
    for n in 0..5 {
        nodes[0].perform(append(&n.to_string())).await.expect("two of three serve");
    }
    let why = nodes[1].watch_status().find(|status| status.stopped.clone()).await.expect("its disk has failed");
    assert!(why.starts_with("cannot sync /data/log-"), "{why}");
    nodes[1].close().await;
    // What the failed sync lost is not taken for granted: the node is opened again and goes on.
    let again = open_on(&channel, "b", FileDisk::simulated(files[1].clone(), "/data", Duration::from_millis(1))).await;
    assert_eq!(caught_up(&again).await.len(), 6);
}

/// Lets what is told of a change break, once that is asked for.
#[derive(Default)]
struct Breaks(AtomicBool);

impl Meddler for Breaks {
    fn done(&self, done: Done) -> Done {
        match self.0.load(Ordering::Relaxed) {
            true => Box::new(|_| panic!("it cannot bear it")),
            false => done,
        }
    }
}

#[tokio::test]
async fn a_node_that_breaks_on_hearing_of_its_disk_stops_and_says_why() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let breaks: Arc<Breaks> = Arc::default();
    let channel = MemoryChannel::new();
    let disk = Wrapped::new(FileDisk::new(directory.path().join("a")), &breaks);
    let node = Node::builder(Words, "a").cluster_size(1).channel(channel).disk(disk).open().await;
    let node = node.expect("the options are good");
    node.perform(append("before")).await.expect("it serves");
    breaks.0.store(true, Ordering::Relaxed);
    let unheard = node.perform(append("unheard")).timeout(Duration::from_secs(30)).start();
    let why = node.watch_status().find(|status| status.stopped.clone()).await.expect("its disk has ended");
    assert!(why.contains("was not heard") && why.contains("it cannot bear it"), "{why}");
    unheard.await.expect_err("nobody knows what became of it");
    node.close().await;
    let again = FileDisk::new(directory.path().join("a"));
    let again = Node::builder(Words, "a").cluster_size(1).channel(MemoryChannel::new()).disk(again).open().await;
    let again = again.expect("what was written is whole");
    assert_eq!(caught_up(&again).await[0], "before");
    again.close().await;
}

/// A container of a version, and nothing else.
struct Versioned(u32);

impl Container for Versioned {
    type State = u64;
    type Method = u64;
    type Action = u64;
    type Rejection = Never;

    fn initial(&self) -> u64 {
        0
    }

    fn decide(&self, _: &u64, _: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
        Ok(None)
    }

    fn reduce(&self, _: &mut u64, _: &u64, _: &Context<'_>) {}

    fn version(&self) -> u32 {
        self.0
    }
}

/// Nothing was performed yet, so nothing in the log says what made it: what such a node writes would stop all others.
#[tokio::test(start_paused = true)]
async fn another_version_is_refused_on_a_disk_with_nothing_in_its_log() {
    let (channel, disk) = (MemoryChannel::new(), MemoryDisk::new());
    let open = async |version| {
        let builder = Node::builder(Versioned(version), "a").cluster_size(1).channel(channel.clone());
        builder.disk(disk.clone()).open().await
    };
    let node = open(1).await.expect("it is new");
    node.watch_status().find(|status| (status.role == Role::Leader).then_some(())).await.expect("it founds alone");
    node.close().await;
    match open(2).await {
        Err(OpenError::Stop(stop)) => assert!(stop.is_other_code(), "{stop}"),
        other => panic!("it has another version: {:?}", other.map(|node| node.status())),
    }
    open(1).await.expect("it has the version that it joined with").close().await;
}
