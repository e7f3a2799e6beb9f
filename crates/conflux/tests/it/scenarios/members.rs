//! Members.

use std::collections::BTreeSet;
use std::time::Duration;

use conflux::{Index, PerformError, Role};

use super::board::say;
use super::cluster::{Cluster, pass_ms, until};
use super::post::{APPEND, Order, PROPOSE};

const LONG: Duration = Duration::from_secs(30);

/// X is on a and b; b restarts blank, and votes for c: X would be lost.
#[tokio::test(start_paused = true)]
async fn who_lost_its_memory_does_not_vote_for_one_who_knows_less() {
    let mut cluster = Cluster::of(&["a", "b", "c"]).await;
    cluster.channel.partition(&[&["c"]]);
    cluster.node("a").perform(say("x")).await.expect("two of three serve");
    cluster.kill("b").await;
    cluster.wipe("b");
    // It is let in again, and told nothing.
    cluster.post.order("a", "b", APPEND, Order::Lose);
    cluster.open("b").await;
    until(cluster.node("b"), |status| status.cluster).await;
    assert_eq!(cluster.node("b").state().index(), Index(0));
    cluster.kill("a").await;
    cluster.post.pass();
    cluster.channel.heal();
    let told = cluster.node("c").perform(say("y")).timeout(Duration::from_secs(10)).await;
    assert!(matches!(told, Err(PerformError::NeverProposed { .. } | PerformError::Unknown { .. })), "{told:?}");
    assert!(cluster.nodes().all(|node| node.status().role != Role::Leader));
    // With a, two of the three are there again, and b has its seat from them.
    cluster.open("a").await;
    cluster.node("b").perform(say("z")).timeout(LONG).await.expect("it is let in");
    let words = cluster.words().await;
    assert_eq!((&*words[0], words.last().map(String::as_str)), ("x", Some("z")));
    until(cluster.node("b"), |status| matches!(status.role, Role::Follower | Role::Leader).then_some(())).await;
    assert_eq!(cluster.node("b").status().voters.len(), 3);
}

/// Two of three come back blank, and a third that is new with them: as many as found a cluster. What a holds would be
/// gone without a word.
#[tokio::test(start_paused = true)]
async fn who_hears_of_a_cluster_founds_none() {
    let mut cluster = Cluster::of(&["a", "b", "c"]).await;
    cluster.node("b").perform(say("x")).await.expect("they serve");
    cluster.words().await;
    for name in ["b", "c"] {
        cluster.kill(name).await;
        cluster.wipe(name);
    }
    for name in ["b", "c", "d"] {
        cluster.open(name).await;
    }
    let told = cluster.node("d").perform(say("y")).timeout(Duration::from_secs(20)).await;
    assert!(matches!(told, Err(PerformError::NeverProposed { .. } | PerformError::Unknown { .. })), "{told:?}");
    let was = cluster.node("a").status().cluster;
    for name in ["b", "c", "d"] {
        let status = cluster.node(name).status();
        assert!(status.role != Role::Leader && (status.cluster.is_none() || status.cluster == was), "{status:?}");
    }
    assert_eq!(cluster.node("a").state().words, ["x"]);
}

/// One hears two that do not hear each other, and two found a cluster. By the names, the one proposes to one of them, or
/// both of them to it.
#[tokio::test(start_paused = true)]
async fn who_is_heard_by_two_is_a_founder_of_one() {
    for (middle, one, other) in [("b", "a", "c"), ("b", "c", "a"), ("c", "a", "b"), ("c", "b", "a")] {
        let mut founders = BTreeSet::new();
        for wait_ms in [0, 5, 30, 60, 90] {
            let mut cluster = Cluster::empty(wait_ms, |_, builder| builder.cluster_size(2));
            cluster.channel.cut(one, other);
            cluster.channel.cut(other, one);
            // So that both ask before either is answered.
            cluster.channel.slow(middle, one, Duration::from_millis(20));
            cluster.channel.slow(middle, other, Duration::from_millis(20));
            cluster.open(middle).await;
            cluster.open(one).await;
            pass_ms(wait_ms).await;
            cluster.open(other).await;
            pass_ms(5_000).await;
            let formed: BTreeSet<_> = cluster.nodes().filter_map(|node| node.status().cluster).collect();
            assert_eq!(formed.len(), 1, "{middle} in the middle, {wait_ms} ms");
            founders.insert(cluster.node(middle).status().voters.join(" "));
            cluster.channel.heal();
            for name in ["a", "b", "c"] {
                cluster.node(name).perform(say(name)).timeout(LONG).await.expect("it is let in");
            }
            assert_eq!(cluster.words().await.len(), 3);
        }
        println!("{middle} in the middle, {one} first: {founders:?}");
    }
}

/// Fewer than twice as many as found a cluster are there, parted in all sorts of ways: one cluster at most comes of them.
/// From twice as many on two may, and then they say so.
#[tokio::test(start_paused = true)]
async fn fewer_than_twice_as_many_as_found_a_cluster_found_one() {
    const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    let parted: [(&[&[&str]], usize, usize); 8] = [
        (&[&["a", "b", "c"], &["d", "e"]], 5, 1),
        (&[&["a", "b"], &["c", "d", "e"]], 5, 1),
        (&[&["a", "c", "e"], &["b", "d"]], 5, 1),
        // Who is in two groups hears both.
        (&[&["a", "b", "c"], &["c", "d", "e"]], 5, 1),
        (&[&["b", "c", "a"], &["a", "d", "e"]], 5, 1),
        (&[&["a", "b", "e"], &["c", "d", "e"]], 5, 1),
        (&[&["a", "b"], &["c", "d"]], 5, 0),
        (&[&["a", "b", "c"], &["d", "e", "f"]], 6, 2),
    ];
    for (seed, (groups, count, formed)) in (1..).zip(parted) {
        let mut cluster = Cluster::empty(seed, |_, builder| builder.cluster_size(3));
        cluster.channel.partition(groups);
        for name in &NAMES[..count] {
            cluster.open(name).await;
        }
        pass_ms(10_000).await;
        let clusters =
            |cluster: &Cluster| -> BTreeSet<_> { cluster.nodes().filter_map(|node| node.status().cluster).collect() };
        assert_eq!(clusters(&cluster).len(), formed, "{groups:?}");
        cluster.channel.heal();
        if formed < 2 {
            for name in &NAMES[..count] {
                cluster.node(name).perform(say(name)).timeout(LONG).await.expect("it is let in");
            }
            assert_eq!((clusters(&cluster).len(), cluster.words().await.len()), (1, count), "{groups:?}");
        } else {
            let said = until(cluster.node("a"), |status| status.notice.clone()).await;
            assert!(said.contains("two clusters cannot share a channel"), "{said}");
        }
    }
}

/// b has pledged itself to a, which founds with it and is not heard again. Freed by time, or by its own end where it has a
/// disk, b would found another with c.
#[tokio::test(start_paused = true)]
async fn a_pledge_binds_however_long_its_proposer_is_silent() {
    for ends in [false, true] {
        let mut cluster = Cluster::empty(1, |_, builder| builder.cluster_size(2));
        // Whatever a says after it has founded is lost on the way.
        cluster.channel.slow("a", "b", Duration::from_millis(20));
        cluster.open("a").await;
        cluster.open("b").await;
        until(cluster.node("a"), |status| status.cluster).await;
        cluster.channel.partition(&[&["a"]]);
        if ends {
            cluster.kill("b").await;
            cluster.open("b").await;
        }
        cluster.open("c").await;
        for _ in 0..30 {
            pass_ms(1_000).await;
            assert_eq!(["b", "c"].map(|name| cluster.node(name).status().cluster), [None; 2]);
        }
        cluster.channel.heal();
        for name in ["a", "b", "c"] {
            cluster.node(name).perform(say(name)).timeout(LONG).await.expect("it is let in");
        }
        let clusters: BTreeSet<_> = cluster.nodes().map(|node| node.status().cluster).collect();
        assert_eq!((clusters.len(), cluster.words().await.len()), (1, 3));
    }
}

/// Its proposer is killed before it has heard of the pledge, and comes back with nothing.
#[tokio::test(start_paused = true)]
async fn a_pledge_is_freed_by_the_new_incarnation_of_its_proposer() {
    let mut cluster = Cluster::empty(1, |_, builder| builder.cluster_size(2));
    cluster.channel.slow("b", "a", Duration::from_millis(20));
    cluster.post.order("a", "b", PROPOSE, Order::Copy);
    cluster.open("a").await;
    cluster.open("b").await;
    while cluster.post.kept() == 0 {
        pass_ms(1).await;
    }
    cluster.post.pass();
    pass_ms(1).await;
    assert_eq!(cluster.node("a").status().cluster, None);
    cluster.kill("a").await;
    cluster.channel.heal();
    cluster.open("c").await;
    pass_ms(10_000).await;
    assert_eq!(["b", "c"].map(|name| cluster.node(name).status().cluster), [None; 2]);
    cluster.wipe("a");
    cluster.open("a").await;
    for name in ["b", "c", "a"] {
        cluster.node(name).perform(say(name)).timeout(LONG).await.expect("they found a cluster");
    }
    assert_eq!(cluster.words().await, ["b", "c", "a"]);
}

/// Two of three come back with nothing: what they voted for is gone, and nothing can be committed until `recover`. Those
/// that are heard under their names are others.
#[tokio::test(start_paused = true)]
async fn a_majority_that_lost_its_memory_is_missed() {
    let mut cluster = Cluster::of(&["a", "b", "c"]).await;
    for name in ["b", "c"] {
        cluster.kill(name).await;
        cluster.wipe(name);
        cluster.open(name).await;
    }
    pass_ms(20_000).await;
    let status = cluster.node("a").status();
    assert!(!status.has_quorum, "{status:?}");
    assert!(status.notice.as_ref().is_some_and(|notice| notice.contains("no majority")), "{status:?}");
}
