//! Limits and determinism.

use conflux::{Index, PerformError, Retention};

use super::board::say;
use super::cluster::{Cluster, until_index};

/// b remembers one chosen id at most, the others many. Did that bind where batches are applied, b would part from them.
#[tokio::test(start_paused = true)]
async fn a_limit_binds_the_leader_and_nobody_who_applies() {
    let cluster = Cluster::with(&["a", "b", "c"], |name, builder| {
        let chosen_ids_max = if name == "b" { 1 } else { 100 };
        builder.retention(Retention { chosen_ids_max, ..Retention::default() })
    });
    let cluster = cluster.await;
    let b = cluster.node("b");
    for id in ["one", "two", "three"] {
        b.perform(say(id)).request_id(id).await.expect("a has room");
    }
    until_index(b, 3).await;
    assert_eq!(b.status().stopped, None);
    cluster.lead("b").await;
    let refused = cluster.node("c").perform(say("four")).request_id("four").await;
    assert!(matches!(refused, Err(PerformError::NeverProposed { .. })), "{refused:?}");
    // All three are remembered, by its own limit or not.
    for (nth, id) in (1..).zip(["one", "two", "three"]) {
        let again = cluster.node("a").perform(say(id)).request_id(id).await;
        assert_eq!(again.expect("it is remembered").index, Index(nth));
    }
    assert_eq!(cluster.words().await, ["one", "two", "three"]);
}
