//! Several nodes in one process, on real threads and a real clock.

use std::time::Duration;

use crate::common::{append, open, open_one, serving};
use conflux::{MemoryChannel, MemoryDisk, PerformError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_have_one_state() {
    let nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    let started: Vec<_> = (0..1000).map(|n| nodes[n / 400].perform(append(&format!("word {n}"))).start()).collect();
    for started in started {
        started.await.expect("the cluster serves");
    }
    let rejected = nodes[1].perform(append(&"x".repeat(81))).await;
    assert!(matches!(rejected, Err(PerformError::Rejected { .. })), "{rejected:?}");
    for node in &nodes {
        let state = node.linearizable_state().await.expect("the cluster serves");
        assert_eq!(state.len(), 1000);
        let positions: Vec<_> = (0..400).map(|n| state.iter().position(|word| *word == format!("word {n}"))).collect();
        assert!(positions.is_sorted(), "calls of one node take effect in order");
        assert_eq!(*state, *nodes[0].state());
        assert_eq!(*state, *node.provisional_state(), "nothing is uncommitted now");
    }
    for node in &nodes {
        node.close().await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_the_leader_is_killed_the_next_perform_is_answered_within_three_election_timeouts() {
    let mut nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    serving(&nodes).await;
    let leader = nodes[0].status().leader.expect("it serves");
    let at = nodes.iter().position(|node| *node.id() == leader).expect("it is one of them");
    nodes.remove(at).close().await;
    // The clock is tokio's, and stands still while there is work: the bound is exact, however slow the machine.
    let begun = tokio::time::Instant::now();
    nodes[0].perform(append("after")).await.expect("the others serve");
    assert!(begun.elapsed() < Duration::from_millis(500) * 3, "it took {:?}", begun.elapsed());
}

/// Clusters that found themselves, lose their leader and take it back, many at once and on real threads: a wake-up that is
/// lost between two of them shows as a test that does not end.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_clusters_come_up_lose_their_leader_and_take_it_back() {
    let mut clusters = tokio::task::JoinSet::new();
    for _ in 0..24 {
        clusters.spawn(async {
            let channel = MemoryChannel::new();
            let disks = [MemoryDisk::new(), MemoryDisk::new(), MemoryDisk::new()];
            let mut nodes = Vec::new();
            for (name, disk) in ["a", "b", "c"].into_iter().zip(&disks) {
                nodes.push(open_one(&channel, name, disk.clone()).await);
            }
            for round in 0..3 {
                for node in &nodes {
                    node.perform(append("on")).await.expect("the cluster serves");
                }
                let leader = nodes[0].status().leader.expect("it serves");
                let at = nodes.iter().position(|node| *node.id() == leader).expect("it is one of them");
                nodes.remove(at).close().await;
                nodes[0].perform(append("two of three")).await.expect("a majority is left");
                let disk = disks[usize::from(leader.as_bytes()[0] - b'a')].clone();
                nodes.push(open_one(&channel, &leader, disk).await);
                for node in &nodes {
                    let state = node.linearizable_state().await.expect("the cluster serves");
                    assert_eq!(state.len(), (round + 1) * 4);
                }
            }
        });
    }
    while let Some(cluster) = clusters.join_next().await {
        cluster.expect("no cluster fails");
    }
}
