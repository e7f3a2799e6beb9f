//! Snapshots: a node that was cut off for long takes one up, and has to know all that it would know from the log.

use std::time::Duration;

use conflux::{Asked, Done, Event, Index, RequestId, Role};

use super::board::{claim, say};
use super::cluster::{Cluster, until, until_index};

const CLOCK_MS: u64 = 1_000_000;

async fn compacting() -> Cluster {
    Cluster::with(&["a", "b", "c"], |name, builder| {
        let clock = if name == "b" { 1 } else { CLOCK_MS };
        builder.compaction(16, 1 << 20).wall_clock(move || clock)
    })
    .await
}

/// Has b go from what it holds to what the others hold by a snapshot.
async fn take_up(cluster: &Cluster) {
    let b = cluster.node("b");
    for n in 0..100 {
        cluster.node("a").perform(say(&n.to_string())).await.expect("two of three serve");
    }
    for name in ["a", "c"] {
        // All of it is in the snapshot.
        cluster.node(name).linearizable_state().await.expect("two of three serve");
        cluster.node(name).compact().await.expect("it is open");
    }
    let mut changes = b.subscribe();
    cluster.channel.heal();
    until_index(b, cluster.node("a").state().index().0).await;
    assert!(matches!(changes.next().await, Some(Event::Reset { .. })), "it took up no snapshot");
}

/// Without the head of the chain it would skip everything afterwards; without the sessions and the request ids it would do
/// things again, as a leader; without the clocks it would count from the start.
#[tokio::test(start_paused = true)]
async fn who_took_up_a_snapshot_goes_on_as_if_it_had_been_there() {
    let cluster = compacting().await;
    let (b, c) = (cluster.node("b"), cluster.node("c"));
    cluster.channel.partition(&[&["b"]]);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let order = c.perform(claim("x")).request_id("order").await.expect("two of three serve").index;
    let call = c.perform(say("call")).start();
    let id = call.request_id().expect("it has its place").clone();
    let call = call.await.expect("two of three serve").index;
    take_up(&cluster).await;

    cluster.lead("b").await;
    let next = b.perform(say("behind it")).await.expect("they serve").index;
    assert_eq!(next, Index(103));
    let again = c.perform(claim("x")).request_id("order").await;
    assert_eq!(again.expect("it is remembered").index, order);
    let asked = b.outcome(&RequestId::parse("order")).await.expect("they serve");
    assert!(matches!(asked, Asked::Decided(Ok(Done { index, .. })) if index == order), "{asked:?}");
    // What was decided under another id is forgotten since its origin has called again, and is not undecided.
    let asked = b.outcome(&id).await.expect("they serve");
    assert!(matches!(asked, Asked::Forgotten) && call == order.next(), "{asked:?}");
    assert_eq!(c.perform(say("led by b")).await.expect("they serve").index, next.next());

    cluster.words().await;
    let told = b.state().told.clone();
    let [.., (_, before), (_, after), _] = told[..] else { panic!("there are more") };
    assert!(after.time_ms == CLOCK_MS && after.elapsed >= before.elapsed, "{before:?} {after:?}");
    assert!(after.elapsed > Duration::from_secs(60), "{after:?}");
}

/// Who was removed is in the snapshot, too: or it would be let in again by who never heard of it.
#[tokio::test(start_paused = true)]
async fn who_took_up_a_snapshot_knows_who_was_removed() {
    let mut cluster = compacting().await;
    cluster.open("d").await;
    cluster.node("d").perform(say("a learner")).await.expect("it is let in");
    cluster.kill("d").await;
    cluster.channel.partition(&[&["b"]]);
    cluster.node("c").remove_member("d").await.expect("it does not vote");
    take_up(&cluster).await;
    cluster.lead("b").await;
    cluster.open("d").await;
    let why = until(cluster.node("d"), |status| status.stopped.clone()).await;
    assert!(why.starts_with("this node was removed from its cluster"), "{why}");
    assert_eq!(cluster.node("b").status().role, Role::Leader);
}
