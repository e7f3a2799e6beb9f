//! Timing.

use std::time::Duration;

use conflux::Status;
use tokio::time::Instant;

use super::board::{Method, say};
use super::cluster::{Cluster, pass_ms, until, until_index};

/// With the heartbeat before it, that is silence of less than 300 ms.
#[tokio::test(start_paused = true)]
async fn a_silence_shorter_than_the_timeout_deposes_nobody() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let before = cluster.node("a").status();
    for _ in 0..20 {
        cluster.channel.partition(&[&["a"]]);
        pass_ms(240).await;
        cluster.channel.heal();
        cluster.node("c").perform(say("on")).await.expect("they serve");
        pass_ms(130).await;
    }
    nobody_was_deposed(&cluster, &before);
}

/// No sooner than after 300 ms from the last that was heard of it, which is a heartbeat ago at most; and soon after 500.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_gone_is_followed_after_its_timeout() {
    for after_ms in 0..20 {
        let mut cluster = Cluster::of(&["a", "b", "c"]).await;
        pass_ms(1_000 + after_ms * 7).await;
        cluster.kill("a").await;
        let begun = Instant::now();
        until(cluster.node("b"), |status| status.leader.clone().filter(|leader| &**leader != "a")).await;
        let took = begun.elapsed();
        assert!((Duration::from_millis(250)..Duration::from_millis(600)).contains(&took), "{took:?}");
    }
}

/// Nobody leads in another term than before.
fn nobody_was_deposed(cluster: &Cluster, before: &Status) {
    for node in cluster.nodes() {
        let status = node.status();
        assert_eq!((&status.leader, status.term), (&before.leader, before.term), "{}", node.id());
    }
}

/// All that waits would hold up its thread for longer than the timeout, were it judged at once, and heartbeats go by that
/// thread. Whoever leads next would be asked the same, and be deposed by it, too: nothing would ever be answered.
#[tokio::test(start_paused = true)]
async fn a_slow_container_deposes_nobody() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let before = cluster.node("a").status();
    let perform = |name| cluster.node(name).perform(Method::Toil(1)).timeout(Duration::from_secs(60)).start();
    let started: Vec<_> = (0..250).flat_map(|_| ["a", "b", "c"].map(perform)).collect();
    for started in started {
        started.await.expect("they serve");
    }
    nobody_was_deposed(&cluster, &before);
}

/// It takes longer to come than anybody may be silent.
#[tokio::test(start_paused = true)]
async fn a_large_snapshot_deposes_nobody() {
    let cluster = Cluster::with(&["a", "b", "c"], |_, builder| builder.compaction(16, 1 << 20)).await;
    let before = cluster.node("a").status();
    cluster.channel.partition(&[&["c"]]);
    let word = "x".repeat(200_000);
    for _ in 0..50 {
        cluster.node("b").perform(say(&word)).await.expect("two of three serve");
    }
    cluster.node("a").compact().await.expect("it is open");
    cluster.channel.heal();
    cluster.channel.slow("a", "c", Duration::from_millis(20));
    cluster.channel.slow("c", "a", Duration::from_millis(20));
    let begun = Instant::now();
    until_index(cluster.node("c"), 50).await;
    nobody_was_deposed(&cluster, &before);
    assert!(begun.elapsed() > Duration::from_secs(1), "{:?}", begun.elapsed());
}
