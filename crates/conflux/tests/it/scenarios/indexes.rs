//! Indexes.

use conflux::{Index, PerformError};

use super::board::{claim, say};
use super::cluster::Cluster;

/// Were they the engine's, a blank entry of a new leader, or one of the membership, would slip in between, and the calls of
/// one batch would share one.
#[tokio::test(start_paused = true)]
async fn places_are_dense_whatever_lies_between_in_the_log() {
    let mut cluster = Cluster::of(&["a", "b", "c"]).await;
    let mut places = Vec::new();
    for leader in ["a", "b", "a"] {
        cluster.lead(leader).await;
        // One batch, and not all of it makes an action.
        let started: Vec<_> = ["x", "x", "y"].map(|thing| cluster.node(leader).perform(claim(thing)).start()).into();
        for started in started {
            match started.await {
                Ok(done) => places.push(done.index),
                Err(PerformError::Rejected { index, .. }) => assert_eq!(Some(&index), places.last()),
                Err(error) => panic!("{error}"),
            }
        }
    }
    cluster.open("d").await;
    cluster.node("b").add_member("d").await.expect("it catches up");
    cluster.node("a").demote_member("c").await.expect("three are left");
    for name in ["d", "c", "b"] {
        places.push(cluster.node(name).perform(say(name)).await.expect("they serve").index);
    }
    assert_eq!(places, (1..=5).map(Index).collect::<Vec<_>>());
    assert_eq!(cluster.words().await, ["claim x", "claim y", "d", "c", "b"]);
    // And so it was told to each method beforehand, and to each reducer.
    let told: Vec<_> =
        cluster.node("c").state().told.iter().map(|(method, reducer)| (method.index, reducer.index)).collect();
    assert_eq!(told, (1..=5).map(|place| (place, place)).collect::<Vec<_>>());
}
