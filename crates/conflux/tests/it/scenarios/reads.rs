//! Reads and subscriptions.

use std::time::Duration;

use conflux::{Event, Index, PerformError, Role};

use super::board::say;
use super::cluster::{Cluster, pass_ms, until_index, waits_ms};
use super::post::{APPEND, Order};

/// A leader that is cut off has a tail in its log which the others never see.
#[tokio::test(start_paused = true)]
async fn a_tail_that_is_cut_off_was_provisional_only_and_is_gone_then() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let a = cluster.node("a");
    a.perform(say("one")).await.expect("they serve");
    cluster.channel.partition(&[&["a"]]);
    let mut tail = a.perform(say("tail")).timeout(Duration::from_secs(1)).start();
    waits_ms(10, &mut tail).await;
    assert_eq!((a.provisional_state().words.len(), &*a.state().words), (2, &["one".to_owned()][..]));
    let told = tail.await;
    assert!(matches!(told, Err(PerformError::Unknown { .. })), "{told:?}");
    cluster.node("c").perform(say("two")).await.expect("two of three serve");
    cluster.channel.heal();
    let mut last = a.state().index();
    while last < Index(2) {
        pass_ms(1).await;
        let now = a.state();
        assert!(now.index() >= last, "it goes back from {last} to {}", now.index());
        assert!(now.words.iter().all(|word| word != "tail"));
        last = now.index();
    }
    assert_eq!(cluster.words().await, ["one", "two"]);
    assert_eq!(a.provisional_state().words, ["one", "two"]);
}

/// It was cut off, or stood still, while another was elected, and takes itself for the leader still.
#[tokio::test(start_paused = true)]
async fn a_leader_that_was_deposed_without_knowing_answers_no_read_by_itself() {
    for stands_still in [false, true] {
        let cluster = Cluster::of(&["a", "b", "c"]).await;
        let a = cluster.node("a");
        a.perform(say("before")).await.expect("they serve");
        cluster.channel.partition(&[&["a"]]);
        if stands_still {
            cluster.process("a").pause();
        }
        cluster.node("b").perform(say("meanwhile")).await.expect("two of three serve");
        cluster.process("a").resume();
        assert_eq!((a.status().role, &a.state().words[..]), (Role::Leader, &["before".to_owned()][..]));
        let mut read = Box::pin(a.linearizable_state());
        waits_ms(100, &mut read).await;
        cluster.channel.heal();
        assert_eq!(read.await.expect("they serve").words, ["before", "meanwhile"]);
    }
}

/// Its read index comes at once, what it stands for does not.
#[tokio::test(start_paused = true)]
async fn a_read_waits_until_its_own_node_has_come_so_far() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let b = cluster.node("b");
    cluster.post.order("a", "b", APPEND, Order::Lose);
    cluster.node("a").perform(say("one")).await.expect("two of three serve");
    let mut read = Box::pin(b.linearizable_state());
    waits_ms(100, &mut read).await;
    assert_eq!(b.state().index(), Index(0));
    cluster.post.pass();
    assert_eq!(read.await.expect("they serve").words, ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_subscriber_who_is_ahead_of_its_node_waits_for_it() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let b = cluster.node("b");
    cluster.channel.partition(&[&["b"]]);
    for word in ["one", "two", "three"] {
        cluster.node("c").perform(say(word)).await.expect("two of three serve");
    }
    let mut changes = b.subscribe_from(Index(3));
    waits_ms(100, &mut Box::pin(changes.next())).await;
    cluster.channel.heal();
    until_index(b, 3).await;
    waits_ms(100, &mut Box::pin(changes.next())).await;
    cluster.node("c").perform(say("four")).await.expect("they serve");
    let Some(Event::Change(change)) = changes.next().await else { panic!("it misses nothing") };
    assert_eq!((change.previous, change.index, change.state.words.len()), (Index(3), Index(4), 4));
}

/// What it missed is in no log any more.
#[tokio::test(start_paused = true)]
async fn a_subscriber_across_a_snapshot_hears_one_reset_and_then_each_action() {
    let cluster = Cluster::with(&["a", "b", "c"], |_, builder| builder.compaction(16, 1 << 20)).await;
    let mut changes = cluster.node("b").subscribe();
    cluster.node("a").perform(say("0")).await.expect("they serve");
    assert!(matches!(changes.next().await, Some(Event::Change(_))));
    cluster.channel.partition(&[&["b"]]);
    for n in 1..100 {
        cluster.node("a").perform(say(&n.to_string())).await.expect("two of three serve");
    }
    cluster.channel.heal();
    until_index(cluster.node("b"), 100).await;
    for n in 100..110 {
        cluster.node("a").perform(say(&n.to_string())).await.expect("they serve");
    }
    let mut resets = 0;
    let mut last = Index(1);
    while last < Index(110) {
        let (state, index) = match changes.next().await.expect("the node is open") {
            Event::Change(change) => {
                assert_eq!((change.previous, change.index), (last, last.next()));
                (change.state, change.index)
            }
            Event::Reset { state, index } => {
                assert!(index > last.next());
                resets += 1;
                (state, index)
            }
        };
        assert_eq!(state.words, (0..index.0).map(|n| n.to_string()).collect::<Vec<_>>());
        last = index;
    }
    assert_eq!(resets, 1);
}
