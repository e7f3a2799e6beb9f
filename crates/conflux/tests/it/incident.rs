//! The flight recorder: what it holds can be gone through again, and comes to the same state.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{Method, Words, append, open, open_each, serving};
use conflux::disk::SimulatedFiles;
use conflux::incident::{IncidentError, ReplayError};
use conflux::{Container, Context, Disk, FileDisk, Incident, Index, MemoryChannel, Never, Node, ReadError};
use conflux_core::{Batch, Code};

/// As it comes back from a file.
async fn recorded(node: &Node<Words>) -> Incident {
    let incident = node.incident().await.expect("it can be read");
    let read = Incident::decode(&incident.encode().into()).expect("it is whole");
    assert_eq!(read, incident);
    read
}

#[track_caller]
fn comes_to_the_same(incident: &Incident, words: &[&str]) {
    let store = incident.replay(Arc::new(Words)).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(**store.state(), *words);
    assert_eq!((store.index(), store.digest().ok()), (incident.index, incident.digest));
    assert!(incident.digest.is_some());
}

#[tokio::test]
async fn it_is_gone_through_from_the_beginning_or_from_a_snapshot() {
    let builder = Node::builder(Words, "a").cluster_size(1).channel(MemoryChannel::new());
    // A tail of two entries stays in the log.
    let node = builder.compaction(4, 1 << 20).open().await.expect("the options are good");
    node.perform(append("one")).await.expect("it serves");
    let incident = recorded(&node).await;
    assert!(incident.snapshot.is_none() && incident.purged.is_none());
    assert_eq!((&*incident.node, incident.index, incident.program.as_str()), ("a", Index(1), "0.1.0"));
    assert_eq!(Some(incident.cluster), node.status().cluster);
    comes_to_the_same(&incident, &["one"]);

    // A failure is in the log, too, and nothing that a replay trips over.
    node.perform(Method::Panic).await.expect_err("it panics");
    node.perform(append("two")).await.expect("it serves");
    let done = node.compact().await.expect("it is open");
    assert!(done.index == Index(2) && done.bytes > 0 && done.log_entries <= 4, "{done:?}");
    let at_snapshot = recorded(&node).await;
    assert_eq!(at_snapshot.entries.len(), done.log_entries);
    assert!(at_snapshot.purged.is_some() && at_snapshot.batches().next().is_none());
    comes_to_the_same(&at_snapshot, &["one", "two"]);
    node.perform(append("three")).await.expect("it serves");
    let behind = recorded(&node).await;
    assert_eq!(behind.batches().count(), 1);
    comes_to_the_same(&behind, &["one", "two", "three"]);
    // Again, with nothing new but what is behind: it holds that now.
    assert_eq!(node.compact().await.expect("it is open").index, Index(3));
    assert!(recorded(&node).await.batches().next().is_none());

    // A node that is closed has no snapshot to take, and still says what it held.
    node.close().await;
    let error = node.compact().await.expect_err("it is closed").to_string();
    assert!(error.contains("closed"), "{error}");
    let last = recorded(&node).await;
    comes_to_the_same(&last, &["one", "two", "three"]);
    assert!(last.status.contains("\"role\": \"stopped\""), "{}", last.status);
}

#[tokio::test]
async fn other_code_goes_through_the_same_and_a_hole_is_not_passed_over() {
    let builder = Node::builder(Words, "a").cluster_size(1).channel(MemoryChannel::new());
    let node = builder.compaction(4, 1 << 20).open().await.expect("the options are good");
    node.perform(append("one")).await.expect("it serves");
    let beginning = recorded(&node).await;
    node.compact().await.expect("it is open");
    node.perform(append("two")).await.expect("it serves");
    let mut incident = recorded(&node).await;
    node.close().await;

    let newer = Arc::new(Newer);
    let refused = incident.replay(newer.clone()).err().expect("it is of another version").to_string();
    assert!(refused.contains("version 1") && refused.contains("version 2"), "{refused}");
    let mut store = incident.store_by(newer, Code::Changed).expect("the state has the same shape");
    for (_, bytes) in incident.batches() {
        let batch = Batch::decode(bytes).expect("so have the actions");
        store.apply_by(&batch, Code::Changed, |_, _, _| {}).expect("it is taken");
    }
    assert_eq!(**store.state(), ["one", "TWO"]);

    // Without the snapshot there is no way to what came behind it.
    incident.snapshot = None;
    let error = incident.replay(Arc::new(Words)).err().expect("what it begins with is gone");
    assert!(matches!(error, ReplayError::Incident(IncidentError::Hole { missing: 0, .. })), "{error}");
    incident.entries.clear();
    let error = incident.store(Arc::new(Words)).err().expect("nor is there with nothing").to_string();
    assert!(error.contains("nothing in it has the effect of entry 0"), "{error}");
    let mut late = beginning;
    late.entries.remove(0);
    let error = late.store(Arc::new(Words)).err().expect("the first one is missing");
    assert_eq!(error, IncidentError::Hole { first: 1, missing: 0 });
}

/// The same actions mean something else.
struct Newer;

impl Container for Newer {
    type State = Vec<String>;
    type Method = Method;
    type Action = <Words as Container>::Action;
    type Rejection = <Words as Container>::Rejection;

    fn version(&self) -> u32 {
        2
    }

    fn initial(&self) -> Vec<String> {
        Words.initial()
    }

    fn decide(
        &self,
        state: &Vec<String>,
        method: Method,
        context: &Context<'_>,
    ) -> Result<Option<Self::Action>, Self::Rejection> {
        Words.decide(state, method, context)
    }

    fn reduce(&self, state: &mut Vec<String>, action: &Self::Action, context: &Context<'_>) {
        Words.reduce(state, action, context);
        if let Some(word) = state.last_mut() {
            *word = word.to_uppercase();
        }
    }
}

#[tokio::test]
async fn asking_twice_at_once_takes_both_to_their_end() {
    let files = SimulatedFiles::new(1);
    let disk = FileDisk::simulated(files, Path::new("/data/a"), Duration::ZERO);
    let builder = Node::builder(Words, "a").cluster_size(1).channel(MemoryChannel::new()).disk(disk);
    let node = builder.open().await.expect("the options are good");
    for round in 1..=20_u64 {
        node.perform(append(&round.to_string())).await.expect("it serves");
        let (one, two) = tokio::join!(node.compact(), node.compact());
        assert_eq!((one.expect("it is open").index, two.expect("it is open").index), (Index(round), Index(round)));
    }
    assert!(recorded(&node).await.batches().next().is_none());
    node.close().await;
}

#[tokio::test]
async fn what_is_uncommitted_is_told_and_not_gone_through() {
    let channel = MemoryChannel::new();
    let nodes = open(&channel, &["a", "b", "c"]).await;
    serving(&nodes).await;
    nodes[0].perform(append("one")).await.expect("they serve");
    let leader = nodes[0].status().leader.expect("one leads");
    let leading = nodes.iter().find(|node| *node.id() == leader).expect("it is one of them");
    channel.partition(&[&[&*leader]]);
    let lost = leading.perform(append("lost")).start();
    let incident = loop {
        let incident = recorded(leading).await;
        if incident.entries.last().map(|entry| entry.id) > incident.applied {
            break incident;
        }
        tokio::task::yield_now().await;
    };
    comes_to_the_same(&incident, &["one"]);
    let uncommitted = incident.batches().filter(|(id, _)| Some(*id) > incident.applied).count();
    assert!(uncommitted > 0);
    drop(lost);
    for node in nodes {
        node.close().await;
    }
}

/// Counts, and on one node wrongly.
struct Odd {
    is_odd: bool,
}

impl Container for Odd {
    type State = u64;
    type Method = u64;
    type Action = u64;
    type Rejection = Never;

    fn initial(&self) -> u64 {
        0
    }

    fn decide(&self, _: &u64, number: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
        Ok(Some(number))
    }

    fn reduce(&self, count: &mut u64, number: &u64, _: &Context<'_>) {
        assert!(!self.is_odd || *number != 13, "not that one");
        *count += number;
    }
}

#[tokio::test]
async fn a_node_that_parts_from_the_others_leaves_what_it_held_beside_its_data() {
    let place = tempfile::tempdir().expect("there is a place for temporary files");
    let channel = MemoryChannel::new();
    let builder = |id: &str| {
        let builder = Node::builder(Odd { is_odd: id == "b" }, id).cluster_size(3).channel(channel.clone());
        builder.disk(FileDisk::new(place.path().join(id)))
    };
    let nodes = open_each(&["a", "b", "c"], builder).await;
    nodes[1].linearizable_state().await.expect("they serve");
    nodes[0].transfer_leadership(Some("a")).await.expect("it has caught up");
    nodes[0].perform(7).await.expect("they serve");
    nodes[1].linearizable_state().await.expect("they serve");
    nodes[0].perform(13).await.expect("two of three go on");

    // Whoever is told that it is closed can ask why.
    assert_eq!(nodes[1].linearizable_state().await.err(), Some(ReadError::Closed));
    let why = nodes[1].status().stopped.expect("it says why");
    let directory = place.path().join("b");
    let left = std::fs::read_dir(&directory).expect("it is there").map(|entry| entry.expect("it is there").path());
    let left: Vec<_> = left.filter(|path| path.to_string_lossy().contains("incident")).collect();
    let [file] = &left[..] else { panic!("{left:?}") };
    assert!(why.contains("not that one"), "{why}");
    assert!(why.contains(&format!("`conflux replay {} APP.js`", file.display())), "{why}");
    assert!(why.contains(&format!("`replay {}`", file.display())), "{why}");
    let incident = Incident::decode(&std::fs::read(file).expect("it is there").into()).expect("it is whole");
    assert_eq!((&*incident.node, incident.index), ("b", Index(1)));
    assert!(incident.status.contains("not that one"), "{}", incident.status);
    // The batch that it stopped at is in it.
    let sound = incident.replay(Arc::new(Odd { is_odd: true })).expect("as far as it came");
    assert_eq!((**sound.state(), sound.index()), (7, Index(1)));
    let stops_at = incident.batches().find(|(id, _)| Some(*id) > incident.applied).expect("it is in the log").1;
    let mut store = sound;
    let batch = Batch::decode(stops_at).expect("it is whole");
    assert!(store.apply(&batch, |_, _, _| {}).is_err());
    for node in &nodes {
        node.close().await;
    }
    // The directory is a node's still.
    drop(FileDisk::new(&directory).open("b").expect("it is whole"));
    assert!(file.exists());
    // The others have none.
    assert!(
        !std::fs::read_dir(place.path().join("a"))
            .expect("it is there")
            .any(|entry| { entry.expect("it is there").file_name().to_string_lossy().contains("incident") })
    );
}
