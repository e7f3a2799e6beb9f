//! What a node counts and measures.

use std::path::Path;
use std::time::Duration;

use crate::common::{Method, Words, append, open, serving};
use conflux::disk::SimulatedFiles;
use conflux::metrics::{Answers, Metrics};
use conflux::{FileDisk, MemoryChannel, Node, PerformError, Role};

fn in_order(metrics: &Metrics) {
    let log = &metrics.log;
    assert!(log.purged <= log.snapshot && log.snapshot <= log.applied, "{log:?}");
    assert!(log.applied <= log.committed && log.committed <= log.last, "{log:?}");
}

#[tokio::test]
async fn what_happens_is_counted() {
    let files = SimulatedFiles::new(1);
    let disk = FileDisk::simulated(files, Path::new("/data/a"), Duration::from_millis(1));
    let builder = Node::builder(Words, "a").cluster_size(1).channel(MemoryChannel::new()).disk(disk);
    let node = builder.compaction(4, 1 << 20).open().await.expect("the options are good");
    for word in ["one", "two", "three"] {
        node.perform(append(word)).await.expect("it serves");
    }
    node.perform(Method::Panic).await.expect_err("it panics");
    node.perform(append("four")).request_id("x").await.expect("it serves");
    node.perform(append("five")).request_id("x").await.expect_err("the id was used");
    let metrics = node.metrics();
    let expected = Answers { committed: 4, failed: 1, conflict: 1, ..Answers::default() };
    assert_eq!((metrics.answers, metrics.calls_in_flight), (expected, 0));
    assert_eq!((metrics.role, metrics.leader.as_deref(), metrics.index.0), (Role::Leader, Some("a"), 4));
    // Each was awaited, so each was a batch of its own; opening the session was one more.
    assert!(metrics.batch_calls.sum >= 6 && metrics.batch_calls.count() >= 6, "{:?}", metrics.batch_calls);
    assert_eq!(metrics.batch_calls.counts[0], metrics.batch_calls.count());
    assert_eq!(metrics.batch_decide_us.count(), metrics.batch_calls.count());
    assert!(metrics.batch_commit_us.count() >= 6 && metrics.forks >= 1, "{metrics:?}");
    in_order(&metrics);
    let disk = metrics.disk.as_ref().expect("it has one");
    assert!(disk.sync_us.count() >= 6 && disk.group_changes.sum >= disk.group_changes.count(), "{disk:?}");

    let before = metrics.snapshot_build_us.count();
    let compacted = node.compact().await.expect("it is open");
    let metrics = node.metrics();
    assert!(metrics.snapshot_build_us.count() > before || metrics.log.snapshot == metrics.log.applied);
    assert_eq!((metrics.snapshot_bytes, metrics.log.entries), (compacted.bytes, compacted.log_entries));
    assert_eq!((metrics.log.snapshot, metrics.snapshot_install_us.count()), (metrics.log.applied, 0));
    in_order(&metrics);

    let (before, held) = (metrics.state_copy_us.count(), node.state());
    node.perform(append("six")).await.expect("it serves");
    let copied = node.metrics().state_copy_us.count();
    assert!(copied > before && held.index() < node.state().index());
    node.close().await;
}

#[tokio::test]
async fn what_is_not_known_and_what_was_never_proposed_is_counted_by_its_origin() {
    let channel = MemoryChannel::new();
    let nodes = open(&channel, &["a", "b", "c"]).await;
    serving(&nodes).await;
    let leader = nodes[0].status().leader.expect("one leads");
    let (leading, following): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| *node.id() == leader);
    following[0].perform(append("one")).await.expect("they serve");
    let metrics = [leading[0].metrics(), following[0].metrics(), following[1].metrics()];
    assert_eq!(metrics.each_ref().map(|metrics| metrics.answers.committed), [0, 1, 0]);
    // Only the leader proposes.
    assert_eq!(metrics.each_ref().map(|metrics| metrics.batch_calls.count() > 0), [true, false, false]);
    assert_eq!(metrics.each_ref().map(|metrics| metrics.voters), [3; 3]);

    channel.partition(&[&[&*leader]]);
    let lost = leading[0].perform(append("lost")).timeout(Duration::from_millis(100)).await;
    match lost.expect_err("there is no majority") {
        PerformError::Unknown { .. } => assert_eq!(leading[0].metrics().answers.unknown, 1),
        PerformError::NeverProposed { .. } => assert_eq!(leading[0].metrics().answers.never_proposed, 1),
        other => panic!("{other}"),
    }
    channel.heal();
    for node in nodes {
        node.close().await;
    }
}
