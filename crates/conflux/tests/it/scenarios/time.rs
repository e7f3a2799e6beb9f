//! Time and chance.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conflux::{Asked, Index, RequestId, Retention};

use super::board::say;
use super::cluster::{Cluster, pass_ms};

const YEAR_MS: u64 = 365 * 86_400 * 1000;

/// The wall clock of a can be set; those of the others stand at 1970.
async fn clocks(retention: Retention) -> (Cluster, Arc<AtomicU64>) {
    let clock = Arc::new(AtomicU64::new(1));
    let of_a = clock.clone();
    let cluster = Cluster::with(&["a", "b", "c"], move |name, builder| {
        let builder = builder.retention(retention);
        let clock = of_a.clone();
        match name {
            "a" => builder.wall_clock(move || clock.load(Ordering::Relaxed)),
            _ => builder.wall_clock(|| 2),
        }
    });
    (cluster.await, clock)
}

/// The leader's clock is set a year ahead, and everybody's session and request ids with it.
#[tokio::test(start_paused = true)]
async fn a_clock_set_a_year_ahead_expires_nothing() {
    let second = Duration::from_secs(1);
    let retention = Retention { session: second * 40, chosen_id: second * 40, ..Retention::default() };
    let (cluster, clock) = clocks(retention).await;
    let b = cluster.node("b");
    let session = async |word: &str| {
        let started = b.perform(say(word)).start();
        let Some(RequestId::Call(session, _)) = started.request_id().cloned() else { panic!("it has its place") };
        started.await.expect("they serve");
        session
    };
    b.perform(say("once")).request_id("order").await.expect("they serve");
    let before = session("before").await;
    clock.store(YEAR_MS, Ordering::Relaxed);
    pass_ms(5_000).await;
    assert_eq!(session("after").await, before);
    let again = b.perform(say("once")).request_id("order").await;
    assert_eq!(again.expect("it is remembered").index, Index(1));
    let told = b.state().told.clone();
    let [(_, once), _, (_, after)] = told[..] else { panic!("{told:?}") };
    assert_eq!((once.time_ms, after.time_ms), (1, YEAR_MS));
    assert!(after.elapsed - once.elapsed < second * 6, "{told:?}");
}

/// The next leader's clock is a year behind, and it knows nothing of how long the one before has led.
#[tokio::test(start_paused = true)]
async fn neither_clock_goes_back_with_another_leader() {
    let (cluster, clock) = clocks(Retention::default()).await;
    clock.store(YEAR_MS, Ordering::Relaxed);
    for leader in ["a", "b", "c", "a"] {
        cluster.lead(leader).await;
        for _ in 0..2 {
            pass_ms(5_000).await;
            cluster.node("b").perform(say(leader)).await.expect("they serve");
        }
    }
    cluster.words().await;
    let told: Vec<_> = cluster.node("b").state().told.iter().map(|(_, reducer)| *reducer).collect();
    for two in told.windows(2) {
        let passed = two[1].elapsed - two[0].elapsed;
        assert!(two[0].time_ms == YEAR_MS && two[1].time_ms == YEAR_MS, "{two:?}");
        // What passes between two leaders may be missed; all else counts.
        let least = if two[1].index % 2 == 0 { 5_000 } else { 0 };
        assert!((least..5_500).contains(&passed.as_millis()), "{two:?}");
    }
}

/// Nothing is performed that would bring the time along.
#[tokio::test(start_paused = true)]
async fn an_idle_leader_forgets_what_is_due() {
    let retention = Retention { chosen_id: Duration::from_secs(5), ..Retention::default() };
    let cluster = Cluster::with(&["a", "b", "c"], move |_, builder| builder.retention(retention)).await;
    let perform = async || {
        let performed = cluster.node("b").perform(say("once")).request_id("order").await;
        performed.expect("they serve").index
    };
    assert_eq!(perform().await, Index(1));
    pass_ms(3_000).await;
    assert_eq!(perform().await, Index(1));
    pass_ms(10_000).await;
    for node in cluster.nodes() {
        let asked = node.outcome(&RequestId::parse("order")).await.expect("they serve");
        assert!(matches!(asked, Asked::Undecided), "{asked:?}");
    }
    // After its time it is another call.
    assert_eq!(perform().await, Index(2));
}

/// A method that saw another time than its reducer could not tell what it does; and one that drew the numbers that its
/// reducer draws would know them before they are due.
#[tokio::test(start_paused = true)]
async fn a_method_and_its_reducer_share_a_stamp_and_no_chance() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let started: Vec<_> = (0..20).map(|nth: u64| cluster.node("b").perform(say(&nth.to_string())).start()).collect();
    for started in started {
        started.await.expect("they serve");
    }
    // The same on all nodes.
    cluster.words().await;
    let state = cluster.node("c").state();
    for (method, reducer) in &state.told {
        assert_eq!((method.index, method.time_ms, method.elapsed), (reducer.index, reducer.time_ms, reducer.elapsed));
    }
    let draws: BTreeSet<u64> = state.told.iter().flat_map(|(method, reducer)| [method.draw, reducer.draw]).collect();
    assert_eq!(draws.len(), 40);
}
