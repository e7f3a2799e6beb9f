//! The chain. What an engine may do, and this one does not, is done by hand to three stores.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use conflux::disk::Disk;
use conflux::{
    Applied, Asked, Batch, CallNumber, Fork, Found, Incarnation, Index, PerformError, Prediction, Request, Retention,
    Role, SessionId, SessionKey, Stamps, Store, observe,
};

use super::board::{Board, Method, claim, free, say};
use super::cluster::{Cluster, pass_ms, until, waits_ms};

fn session() -> SessionId {
    SessionId { node: "a".into(), incarnation: Incarnation(1), number: 1 }
}

fn fork(store: &Store<Board>) -> Fork<Board> {
    Fork::new(store.clone(), 1, Incarnation(1), Retention::default())
}

/// The next batch, of calls of the one session.
fn make(fork: &mut Fork<Board>, counter: u64, first: u64, methods: &[Method]) -> Batch<Board> {
    let floor = CallNumber(1);
    let calls = (first..).zip(methods).map(|(number, method)| Request::Call {
        session: SessionKey(1),
        number: CallNumber(number),
        floor,
        chosen: None,
        audit: None,
        method: method.clone(),
    });
    let batch = fork.batch(counter, Stamps::default(), counter, calls.collect(), false).expect("it is sound");
    batch.expect("something to log")
}

/// Has all replicas come to a batch in their logs, and says whether it took effect: the same on each.
fn apply(replicas: &mut [Store<Board>], batch: &Batch<Board>) -> bool {
    let mut taken = BTreeSet::new();
    for replica in replicas {
        let before = (replica.head(), replica.index(), replica.state().clone());
        let mut told = 0;
        let applied = replica.apply(batch, |_, _, _| told += 1).expect("nothing contradicts the table");
        let took = matches!(applied, Applied::Changes(_));
        if !took {
            assert_eq!((told, (replica.head(), replica.index(), replica.state().clone())), (0, before));
        }
        taken.insert(took);
    }
    assert_eq!(taken.len(), 1, "they differ");
    taken.contains(&true)
}

/// Three replicas, with the session open.
fn replicas() -> [Store<Board>; 3] {
    let mut replicas = [(); 3].map(|()| Store::new(Arc::new(Board)));
    let open = Request::Open { id: session(), as_of: Duration::ZERO };
    let opened = fork(&replicas[0]).batch(1, Stamps::default(), 0, vec![open], false).expect("it is sound");
    assert!(apply(&mut replicas, &opened.expect("something to log")));
    replicas
}

/// The engine refuses "claim x" and takes "free x", which was judged where x was taken.
#[test]
fn a_batch_whose_predecessor_was_refused_is_skipped_by_all() {
    let mut replicas = replicas();
    let mut leader = fork(&replicas[0]);
    let _refused = make(&mut leader, 2, 1, &[claim("x")]);
    let child = make(&mut leader, 3, 2, &[free("x")]);
    assert_eq!(child.actions(), 1);
    assert!(!apply(&mut replicas, &child));
    // Nothing of it is decided: both are run again, in their order, on what there is.
    assert!(matches!(replicas[1].sessions().find(&session(), CallNumber(1)), Found::Undecided));
    let again = make(&mut fork(&replicas[0]), 4, 1, &[claim("x"), free("x")]);
    assert!(apply(&mut replicas, &again));
    assert_eq!(replicas[2].state().words, ["claim x", "free x"]);
    // It may come once more.
    assert!(!apply(&mut replicas, &again));
}

/// "claim x" is refused, and its child "free x" is late. Had the next batch the id of the refused one, the child would fit.
#[test]
fn a_late_child_of_a_refused_batch_finds_no_namesake() {
    for namesake in [false, true] {
        let mut replicas = replicas();
        let mut leader = fork(&replicas[0]);
        let refused = make(&mut leader, 2, 1, &[say("refused")]);
        let late = make(&mut leader, 3, 2, &[say("late")]);
        let mut leader = fork(&replicas[0]);
        let next = make(&mut leader, if namesake { 2 } else { 4 }, 1, &[say("another")]);
        assert_eq!(next.header.id == refused.header.id, namesake);
        assert!(apply(&mut replicas, &next));
        assert_eq!(apply(&mut replicas, &late), namesake, "it saw the word 'refused'");
    }
}

/// The same, on a node: each fork of a term goes on counting.
#[tokio::test(start_paused = true)]
async fn no_id_of_a_batch_is_used_twice() {
    let mut cluster = Cluster::of(&["a", "b", "c"]).await;
    let term = cluster.node("a").status().term;
    for round in 0..3 {
        cluster.node("b").perform(say(&round.to_string())).await.expect("they serve");
        // The fork is thrown away with it.
        let failed = cluster.node("b").perform(Method::Break).await;
        assert!(matches!(failed, Err(PerformError::Failed { .. })), "{failed:?}");
    }
    assert_eq!(cluster.node("a").status().term, term);
    assert!(cluster.node("a").metrics().forks > 3);
    cluster.kill("a").await;
    let (contents, _journal) = cluster.disk("a").open("a").expect("its node is gone");
    let batches = contents.entries.iter().filter(|entry| observe::is_batch(entry));
    let ids: Vec<_> =
        batches.map(|entry| Batch::<Board>::decode(&entry.bytes).expect("it was written").header.id).collect();
    assert!(ids.len() > 6);
    assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{ids:?}");
}

/// 6 is rejected and 7 committed, the leader dies before their origin hears of it, and both are sent again to the next. Were
/// the rejection not in the log, 6 would be judged anew, and take effect after 7.
#[tokio::test(start_paused = true)]
async fn what_was_rejected_is_not_judged_again_by_the_next_leader() {
    let mut cluster = Cluster::of(&["a", "b", "c"]).await;
    let b = cluster.node("b").clone();
    // a hears b, and is not heard.
    cluster.channel.cut("a", "b");
    let mut six = b.perform(free("x")).start();
    let seven = b.perform(claim("x")).start();
    waits_ms(100, &mut six).await;
    assert_eq!(cluster.node("c").state().words, ["claim x"]);
    cluster.kill("a").await;
    cluster.channel.heal();
    let six = six.await;
    assert!(matches!(six, Err(PerformError::Rejected { index: Index(0), .. })), "{six:?}");
    assert_eq!(seven.await.expect("it was committed").index, Index(1));
    assert_eq!(cluster.words().await, ["claim x"]);
}

/// The second claim is rejected because of the first, which never comes to be.
#[tokio::test(start_paused = true)]
async fn a_rejection_is_not_told_while_what_it_was_judged_on_may_never_come_to_be() {
    let cluster = Cluster::of(&["a", "b", "c"]).await;
    let a = cluster.node("a");
    cluster.channel.partition(&[&["a"]]);
    let first = a.perform(claim("x")).timeout(Duration::from_secs(1)).start();
    let id = first.request_id().expect("it has its place").clone();
    let mut second = a.perform(claim("x")).timeout(Duration::from_secs(30)).start();
    waits_ms(10, &mut second).await;
    assert_eq!(a.provisional_state().words, ["claim x"]);
    let given_up = first.await;
    assert!(matches!(given_up, Err(PerformError::Unknown { .. })), "{given_up:?}");
    cluster.node("b").perform(say("elsewhere")).await.expect("two of three serve");
    waits_ms(10, &mut second).await;
    cluster.channel.heal();
    assert_eq!(second.await.expect("x is free").index, Index(2));
    let asked = a.outcome(&id).await.expect("they serve");
    assert!(matches!(asked, Asked::Decided(Err(PerformError::NeverProposed { .. }))), "{asked:?}");
    assert_eq!(cluster.words().await, ["elsewhere", "claim x"]);
}

/// A deposed leader's log is cut: its own calls and those that were sent to it go back to where they came from.
#[tokio::test(start_paused = true)]
async fn what_came_to_nothing_is_run_again_in_order_ahead_of_what_came_later() {
    let cluster = Cluster::of(&["a", "b", "c", "d", "e"]).await;
    for name in ["a", "b"] {
        cluster.node(name).perform(say("opened")).await.expect("they serve");
    }
    cluster.channel.partition(&[&["a", "b"], &["c", "d", "e"]]);
    let mut started = Vec::new();
    let mut ask = |round: u64| {
        for name in ["a", "b"] {
            let perform = cluster.node(name).perform(say(&format!("{name}{round}")));
            started.push(perform.timeout(Duration::from_secs(30)).start());
        }
    };
    for round in 0..3 {
        ask(round);
        // Each round is a batch.
        pass_ms(10).await;
    }
    // Four are under way, the others wait.
    assert_eq!(cluster.node("b").provisional_state().words.len(), 6);
    cluster.node("c").perform(say("elsewhere")).await.expect("three of five serve");
    ask(3);
    pass_ms(10).await;
    cluster.channel.heal();
    ask(4);
    for started in started {
        started.await.expect("they serve");
    }
    let words = cluster.words().await;
    assert_eq!((words.len(), &*words[2]), (13, "elsewhere"));
    for name in ["a", "b"] {
        let own: Vec<&String> = words.iter().filter(|word| word.starts_with(name)).collect();
        assert_eq!(own, (0..5).map(|round| format!("{name}{round}")).collect::<Vec<_>>().iter().collect::<Vec<_>>());
    }
}

/// Whoever leads anew forks where all that it inherited has been applied, and shows it as provisional until then.
#[tokio::test(start_paused = true)]
async fn a_new_leader_judges_on_what_it_inherited() {
    let mut cluster = Cluster::of(&["a", "b", "c"]).await;
    // b takes what a sends; a never hears that it did, so nothing is committed.
    cluster.channel.cut("b", "a");
    cluster.channel.partition(&[&["a", "b"], &["b", "c"]]);
    let lost = cluster.node("a").perform(claim("x")).start();
    pass_ms(1).await;
    cluster.kill("a").await;
    drop(lost);
    // It is elected, and what it has to hear from c before anything is committed is under way.
    cluster.channel.slow("c", "b", Duration::from_millis(40));
    let b = cluster.node("b");
    let asked = tokio::spawn(b.perform(claim("x")).proposed());
    until(b, |status| (status.role == Role::Leader).then_some(())).await;
    pass_ms(1).await;
    assert_eq!((b.state().index(), &b.provisional_state().words[..]), (Index(0), &["claim x".to_owned()][..]));
    let (prediction, outcome) = asked.await.expect("nothing panics").expect("they serve");
    assert!(matches!(prediction, Prediction::Rejected(_)), "{prediction:?}");
    let outcome = outcome.await;
    assert!(matches!(outcome, Err(PerformError::Rejected { index: Index(1), .. })), "{outcome:?}");
    assert_eq!(cluster.words().await, ["claim x"]);
}
