//! Sessions.

use std::time::Duration;

use conflux::{Asked, CallNumber, Done, Index, Node, OpenError, PerformError, Prediction, RequestId, Retention};
use futures_util::FutureExt;

use super::board::{Board, claim, free, say};
use super::cluster::{Cluster, pass_ms, waits_ms};
use super::post::{APPEND, CALLS, Order};

const SECOND: Duration = Duration::from_secs(1);

/// Sessions that live as long as the default deadline lets them.
fn short() -> Retention {
    Retention { session: SECOND * 40, ..Retention::default() }
}

/// It comes late, once more, when its session has expired: a call that opened a session would be done again.
#[tokio::test(start_paused = true)]
async fn a_late_copy_of_a_call_does_not_open_its_session_again() {
    let cluster = Cluster::with(&["a", "b", "c"], |_, builder| builder.retention(short())).await;
    let b = cluster.node("b");
    cluster.post.order("b", "a", CALLS, Order::Copy);
    let once = b.perform(say("once")).start();
    let id = once.request_id().expect("it has its place").clone();
    once.await.expect("they serve");
    cluster.post.pass();
    // Nobody calls; a leader lets sessions expire by itself.
    pass_ms(100_000).await;
    let asked = cluster.node("c").outcome(&id).await.expect("they serve");
    assert!(matches!(asked, Asked::Forgotten), "{asked:?}");
    cluster.post.deliver();
    pass_ms(1_000).await;
    assert_eq!(cluster.words().await, ["once"]);
    assert_eq!(b.perform(say("again")).await.expect("they serve").index, Index(2));
}

/// Its outcome is dropped once its origin says that it has it, and its session lives on: nothing but the floor tells that
/// a copy which comes later was decided.
#[tokio::test(start_paused = true)]
async fn a_late_copy_of_a_call_below_its_floor_is_not_done_again() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let b = cluster.node("b");
    cluster.post.order("b", "a", CALLS, Order::Copy);
    let once = b.perform(say("once")).start();
    let id = once.request_id().expect("it has its place").clone();
    once.await.expect("they serve");
    cluster.post.pass();
    b.perform(say("next")).await.expect("they serve");
    let asked = cluster.node("c").outcome(&id).await.expect("they serve");
    assert!(matches!(asked, Asked::Forgotten), "{asked:?}");
    cluster.post.deliver();
    pass_ms(1_000).await;
    assert_eq!(cluster.words().await, ["once", "next"]);
    assert_eq!(b.perform(say("again")).await.expect("they serve").index, Index(3));
}

/// A number that was taken by a perform that nobody polls would be a gap that all others wait behind.
#[tokio::test(start_paused = true)]
async fn a_perform_has_its_place_from_the_first_poll_on_and_keeps_it_when_it_is_dropped() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    for (round, name) in ["a", "b"].into_iter().enumerate() {
        let node = cluster.node(name).clone();
        let never = node.perform(say("never"));
        let second = node.perform(say("second"));
        let mut first = node.perform(say("first"));
        assert!((&mut first).now_or_never().is_none());
        drop(first);
        // It is a future like any other.
        let base = round as u64 * 5;
        assert_eq!(second.await.expect("they serve").index, Index(base + 2));
        let third = tokio::spawn(node.perform(say("third"))).await.expect("no panic");
        assert_eq!(third.expect("they serve").index, Index(base + 3));
        let (fourth, fifth) = tokio::join!(node.perform(say("fourth")), node.perform(say("fifth")));
        assert_eq!(fourth.expect("they serve").index.next(), fifth.expect("they serve").index);
        drop(never);
        assert_eq!(cluster.words().await[base as usize..], ["first", "second", "third", "fourth", "fifth"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_full_node_says_so_and_takes_no_number_for_it() {
    let cluster = Cluster::with(&["a", "b", "c"], |_, builder| builder.in_flight_max(2)).await;
    let b = cluster.node("b");
    cluster.channel.partition(&[&["b"]]);
    let (one, two) = (b.perform(say("one")).start(), b.perform(say("two")).start());
    let three = b.perform(say("three")).now_or_never().expect("it is told at once");
    let Err(PerformError::NeverProposed { reason }) = three else { panic!("{three:?}") };
    assert!(reason.contains("overloaded"), "{reason}");
    cluster.channel.heal();
    one.await.expect("they serve");
    two.await.expect("they serve");
    let four = b.perform(say("four")).start();
    assert!(matches!(four.request_id(), Some(RequestId::Call(_, CallNumber(3)))));
    four.await.expect("they serve");
    assert_eq!(cluster.words().await, ["one", "two", "four"]);
}

/// Those that hold all places are given up, so nobody waits for them any more; one of them was decided and one was not,
/// which this node does not know. Had they made room, more and more could be on their way whose outcome nobody has.
#[tokio::test(start_paused = true)]
async fn a_window_stays_full_until_it_is_known_what_became_of_what_is_in_it() {
    let cluster = Cluster::with(&["a", "b", "c"], |_, builder| builder.in_flight_max(2)).await;
    let b = cluster.node("b");
    let before = b.perform(say("before")).await.expect("they serve").index;
    // What b sends comes; it hears nothing.
    cluster.channel.cut("a", "b");
    cluster.channel.cut("c", "b");
    let one = b.perform(say("one")).timeout(SECOND).start();
    pass_ms(10).await;
    cluster.post.order("b", "a", CALLS, Order::Lose);
    let two = b.perform(say("two")).timeout(SECOND).start();
    let mut unknown = Vec::new();
    for told in [one.await, two.await] {
        let Err(PerformError::Unknown { request_id }) = told else { panic!("{told:?}") };
        unknown.push(request_id);
    }
    for _ in 0..3 {
        let refused = b.perform(say("too many")).now_or_never().expect("it is told at once");
        assert!(matches!(refused, Err(PerformError::NeverProposed { .. })), "{refused:?}");
        pass_ms(1_000).await;
    }
    cluster.post.pass();
    cluster.channel.heal();
    let asked = b.outcome(&unknown[0]).await.expect("they serve");
    assert!(matches!(asked, Asked::Decided(Ok(Done { index, .. })) if index == before.next()), "{asked:?}");
    let asked = b.outcome(&unknown[1]).await.expect("they serve");
    assert!(matches!(asked, Asked::Decided(Err(PerformError::NeverProposed { .. }))), "{asked:?}");
    // There is room again, and nothing was done twice.
    assert_eq!(b.perform(say("after")).await.expect("they serve").index, Index(3));
    assert_eq!(cluster.words().await, ["before", "one", "after"]);
}

/// The message with one is lost, that with two comes.
#[tokio::test(start_paused = true)]
async fn a_call_is_not_judged_before_the_one_that_was_lost() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let b = cluster.node("b");
    for base in [0, 2] {
        cluster.post.order("b", "a", CALLS, Order::Lose);
        let mut one = b.perform(say("one")).start();
        waits_ms(1, &mut one).await;
        cluster.post.pass();
        let two = b.perform(say("two")).start();
        assert_eq!(one.await.expect("they serve").index, Index(base + 1));
        assert_eq!(two.await.expect("they serve").index, Index(base + 2));
    }
    assert_eq!(cluster.words().await, ["one", "two", "one", "two"]);
}

/// Its message is under way longer than anybody waits. Told "never proposed" at its deadline, it would take effect all the same.
#[tokio::test(start_paused = true)]
async fn a_call_that_was_given_up_is_void_wherever_it_comes() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let b = cluster.node("b");
    b.perform(say("before")).await.expect("they serve");
    cluster.post.order("b", "a", CALLS, Order::Keep);
    let late = b.perform(say("late")).timeout(SECOND).await;
    let Err(PerformError::Unknown { request_id }) = late else { panic!("{late:?}") };
    cluster.post.pass();
    assert_eq!(b.perform(say("after")).await.expect("they serve").index, Index(2));
    // Not before that it is certain.
    for node in cluster.nodes() {
        let asked = node.outcome(&request_id).await.expect("they serve");
        assert!(matches!(asked, Asked::Decided(Err(PerformError::NeverProposed { .. }))), "{asked:?}");
    }
    cluster.post.deliver();
    pass_ms(1_000).await;
    assert_eq!(cluster.words().await, ["before", "after"]);
}

/// Nobody leads yet. What is told is certain: the call takes no effect when somebody does.
#[tokio::test(start_paused = true)]
async fn a_call_that_never_left_its_node_was_never_proposed() {
    let mut cluster = Cluster::empty(1, |_, builder| builder);
    cluster.open("a").await;
    let told = cluster.node("a").perform(say("kept")).timeout(SECOND).await;
    assert!(matches!(told, Err(PerformError::NeverProposed { .. })), "{told:?}");
    cluster.open("b").await;
    cluster.open("c").await;
    assert_eq!(cluster.node("a").perform(say("first")).await.expect("they found a cluster").index, Index(1));
    assert_eq!(cluster.words().await, ["first"]);
}

/// It is decided, its origin does not hear of it, gives it up, and names it as void.
#[tokio::test(start_paused = true)]
async fn a_call_that_was_decided_before_it_was_given_up_stays_decided() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let b = cluster.node("b");
    b.perform(say("before")).await.expect("they serve");
    cluster.channel.cut("a", "b");
    cluster.channel.cut("c", "b");
    let told = b.perform(say("decided")).request_id("order").timeout(SECOND).await;
    assert!(matches!(told, Err(PerformError::Unknown { .. })), "{told:?}");
    // Asked for again elsewhere meanwhile, it is not done again.
    let again = cluster.node("c").perform(say("decided")).request_id("order").await;
    assert_eq!(again.expect("two of three serve").index, Index(2));
    cluster.channel.heal();
    let asked = b.outcome(&RequestId::parse("order")).await.expect("they serve");
    assert!(matches!(asked, Asked::Decided(Ok(Done { index: Index(2), .. }))), "{asked:?}");
    assert_eq!(b.perform(say("after")).await.expect("they serve").index, Index(3));
    assert_eq!(cluster.words().await, ["before", "decided", "after"]);
}

/// A session that expired under a call that still waits could not say any more whether it was done.
#[tokio::test(start_paused = true)]
async fn a_deadline_is_over_before_its_session_can_expire() {
    let cluster = Cluster::with(&["a", "b", "c"], |_, builder| builder.retention(short())).await;
    cluster.channel.partition(&[&["b"]]);
    let begun = tokio::time::Instant::now();
    let told = cluster.node("b").perform(say("long")).timeout(SECOND * 1_000).await;
    assert!(matches!(told, Err(PerformError::Unknown { .. })), "{told:?}");
    assert!(begun.elapsed() <= short().session / 4, "{:?}", begun.elapsed());

    let builder = Node::builder(Board, "x").cluster_size(1).channel(cluster.channel.clone()).retention(short());
    match builder.default_deadline(SECOND * 11).open().await {
        Err(OpenError::Option(error)) => {
            assert!(error.to_string().contains("a quarter of a session's life"), "{error}")
        }
        other => panic!("it opens: {}", other.is_ok()),
    }
}

#[tokio::test(start_paused = true)]
async fn what_became_of_a_call_is_told_until_its_origin_has_it() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let (b, c) = (cluster.node("b"), cluster.node("c"));
    let ask = async |id: &RequestId| c.outcome(id).await.expect("they serve");
    let mut ids = Vec::new();
    for (nth, method) in [claim("x"), claim("x"), free("y")].into_iter().enumerate() {
        let started = b.perform(method).start();
        ids.push(started.request_id().expect("it has its place").clone());
        let (done, asked) = (started.await, ask(&ids[nth]).await);
        match nth {
            0 => {
                let Asked::Decided(Ok(Done { index: Index(1), action: Some(action) })) = asked else {
                    panic!("{asked:?}")
                };
                assert_eq!(format!("{:?}", action.method), format!("{:?}", claim("x")));
            }
            _ => {
                assert!(matches!(done, Err(PerformError::Rejected { .. })), "{done:?}");
                let told = matches!(asked, Asked::Decided(Err(PerformError::Rejected { index: Index(1), .. })));
                assert!(told, "{asked:?}");
            }
        }
    }
    // Each call says what its origin has; that is held no longer.
    assert!(matches!(ask(&ids[0]).await, Asked::Forgotten));
    assert!(matches!(ask(&RequestId::parse("never used")).await, Asked::Undecided));
}

/// The leader that predicts it is deposed, and x is claimed elsewhere.
#[tokio::test(start_paused = true)]
async fn a_prediction_may_come_to_something_else() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    cluster.channel.partition(&[&["a"]]);
    let perform = cluster.node("a").perform(claim("x")).timeout(SECOND * 30);
    let (prediction, mut outcome) = perform.proposed().await.expect("it leads still, as far as it knows");
    assert!(matches!(prediction, Prediction::Action(_)), "{prediction:?}");
    cluster.node("c").perform(claim("x")).await.expect("two of three serve");
    waits_ms(10, &mut outcome).await;
    cluster.channel.heal();
    let outcome = outcome.await;
    assert!(matches!(outcome, Err(PerformError::Rejected { index: Index(1), .. })), "{outcome:?}");
    assert_eq!(cluster.words().await, ["claim x"]);
}

/// All others have it, and its own node has not: told then, its caller would not find it in `state()`.
#[tokio::test(start_paused = true)]
async fn success_waits_for_the_nodes_own_state() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let b = cluster.node("b");
    b.perform(say("one")).await.expect("they serve");
    cluster.post.order("a", "b", APPEND, Order::Lose);
    let mut two = b.perform(say("two")).start();
    waits_ms(100, &mut two).await;
    assert_eq!((cluster.node("c").state().index(), b.state().index()), (Index(2), Index(1)));
    cluster.post.pass();
    assert_eq!(two.await.expect("it is committed").index, Index(2));
    assert_eq!(b.state().words, ["one", "two"]);
}
