//! Timing.

use std::time::Duration;

use tokio::time::Instant;

use super::board::say;
use super::cluster::{Cluster, pass_ms, until};

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
    for node in cluster.nodes() {
        let status = node.status();
        assert_eq!((status.leader, status.term), (before.leader.clone(), before.term));
    }
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
