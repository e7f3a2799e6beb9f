//! What each way of performing, reading and subscribing promises, on a live cluster.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::{Action, Method, Words, append, open, open_each, open_one, serving};
use conflux::disk::DiskError;
use conflux::{
    Asked, Event, Index, MemoryChannel, MemoryDisk, Node, OpenError, PerformError, Prediction, RequestId, Retention,
    Role, Status,
};

#[tokio::test]
async fn a_prediction_comes_with_a_handle_on_the_outcome() {
    let nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    for node in &nodes {
        let (prediction, started) = node.perform(append("soon")).proposed().await.expect("the cluster serves");
        assert!(
            matches!(prediction, Prediction::Action(action) if matches!(&*action, Action::Appended(word) if word == "soon"))
        );
        let done = started.await.expect("nothing goes wrong here");
        assert!(node.state().index() >= done.index);
    }
}

#[tokio::test]
async fn a_chosen_id_is_performed_once_from_whichever_node() {
    let nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    let first = nodes[0].perform(append("once")).request_id("order-1").await.expect("the cluster serves");
    let again = nodes[1].perform(append("once")).request_id("order-1").await.expect("it is the same call");
    assert_eq!(first.index, again.index);
    let other = nodes[2].perform(append("twice")).request_id("order-1").await;
    assert!(matches!(other, Err(PerformError::Conflict { .. })), "{other:?}");
    assert_eq!(*nodes[2].linearizable_state().await.expect("the cluster serves"), ["once"]);

    let asked = nodes[2].outcome(&RequestId::parse("order-1")).await.expect("the cluster serves");
    assert!(matches!(asked, Asked::Decided(Ok(done)) if done.index == first.index));
    let never = nodes[2].outcome(&RequestId::parse("order-2")).await.expect("the cluster serves");
    assert!(matches!(never, Asked::Undecided));
}

#[tokio::test]
async fn the_same_id_twice_at_once_is_performed_once() {
    let nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    let started: Vec<_> = (0..30).map(|n| nodes[n % 3].perform(append("once")).request_id("order").start()).collect();
    for started in started {
        assert_eq!(started.await.expect("it is the same call").index, Index(1));
    }
    assert_eq!(*nodes[0].linearizable_state().await.expect("the cluster serves"), ["once"]);
}

#[tokio::test(start_paused = true)]
async fn without_a_majority_a_call_is_unknown_or_never_proposed_and_the_unknown_can_be_asked_for() {
    let channel = MemoryChannel::new();
    let nodes = open(&channel, &["a", "b", "c"]).await;
    serving(&nodes).await;
    let leader = nodes[0].status().leader.expect("it serves");
    let (led, others): (Vec<_>, Vec<_>) = nodes.iter().partition(|node| *node.id() == leader);
    let (leader, follower) = (led[0], others[0]);
    channel.partition(&[&[&**leader.id()]]);

    // The leader takes the call into its log and cannot commit it.
    let lost = leader.perform(append("lost")).timeout(Duration::from_secs(2)).await;
    let Err(PerformError::Unknown { request_id }) = lost else { panic!("{lost:?}") };
    // By now it knows that it leads nobody: what comes now never leaves it.
    let kept = leader.perform(append("kept")).timeout(Duration::from_secs(2)).await;
    assert!(matches!(&kept, Err(PerformError::NeverProposed { .. } | PerformError::Unknown { .. })), "{kept:?}");
    follower.perform(append("majority")).await.expect("the others serve");

    channel.heal();
    serving(&nodes).await;
    let asked = leader.outcome(&request_id).await.expect("it serves again");
    let state = leader.linearizable_state().await.expect("it serves again");
    match asked {
        Asked::Decided(Ok(_)) => assert!(state.iter().any(|word| word == "lost")),
        Asked::Decided(Err(PerformError::NeverProposed { .. })) => assert!(state.iter().all(|word| word != "lost")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn subscribers_hear_every_action_in_order_with_its_state() {
    let nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    let mut changes = nodes[1].subscribe();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let guard = nodes[2].on_event({
        let heard = heard.clone();
        move |event| {
            if let Event::Change(change) = event {
                heard.lock().expect("nothing panics").push(change.index.0);
            }
        }
    });
    for n in 0..50 {
        drop(nodes[0].perform(append(&n.to_string())).start());
    }
    for n in 0..50u64 {
        let Some(Event::Change(change)) = changes.next().await else { panic!("the log is whole") };
        assert_eq!((change.previous, change.index), (Index(n), Index(n + 1)));
        assert_eq!(change.state.len() as u64, n + 1, "the state is that after this action, not a later one");
        assert_eq!(&**change.origin.node(), "a");
    }
    let mut late = nodes[1].subscribe_from(Index(40));
    let Some(Event::Change(change)) = late.next().await else { panic!("40 actions are held") };
    assert_eq!((change.index, change.state.len()), (Index(41), 41));
    assert_eq!(nodes[1].state_at(Index(7)).expect("it is held").len(), 7);

    nodes[2].linearizable_state().await.expect("the cluster serves");
    guard.unsubscribe();
    let count = heard.lock().expect("nothing panics").len();
    nodes[0].perform(append("unheard")).await.expect("the cluster serves");
    nodes[2].linearizable_state().await.expect("the cluster serves");
    let after = heard.lock().expect("nothing panics").len();
    assert!(after <= count.max(50), "{after} events after unsubscribing at {count}");
    nodes[1].close().await;
    while changes.next().await.is_some() {}
}

#[tokio::test]
async fn a_subscriber_that_was_overrun_is_told_so() {
    let channel = MemoryChannel::new();
    let node =
        Node::builder(Words, "a").cluster_size(1).history(8).channel(channel).open().await.expect("good options");
    let mut slow = node.subscribe();
    for n in 0..100 {
        node.perform(append(&n.to_string())).await.expect("it serves");
    }
    let mut index = Index(0);
    let mut resets = 0;
    while index < Index(100) {
        match slow.next().await.expect("the node is open") {
            Event::Reset { state, index: at } => {
                assert_eq!(state.len() as u64, at.0);
                resets += 1;
                index = at;
            }
            Event::Change(change) => {
                assert_eq!(change.previous, index);
                index = change.index;
            }
        }
    }
    assert_eq!(resets, 1);
}

#[tokio::test]
async fn a_late_comer_learns_and_a_wiped_node_takes_its_seat_again() {
    let channel = MemoryChannel::new();
    let mut nodes = open(&channel, &["a", "b", "c"]).await;
    nodes[0].perform(append("first")).await.expect("the cluster serves");
    let late = open_one(&channel, "d", MemoryDisk::new()).await;
    late.perform(append("from d")).await.expect("a learner performs too");
    assert_eq!(late.status().role, Role::Learner);
    assert_eq!(*late.state(), ["first", "from d"]);

    nodes.remove(1).close().await;
    let wiped = open_one(&channel, "b", MemoryDisk::new()).await;
    wiped.perform(append("from b")).await.expect("it is let in");
    let seated = |status: &Status| {
        let waits = matches!(status.role, Role::Learner | Role::Waiting) || status.voters.len() != 3;
        (!waits).then(|| status.clone())
    };
    let status = wiped.watch_status().find(seated).await.expect("it is open");
    assert_eq!(status.voters.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(*wiped.linearizable_state().await.expect("it serves"), ["first", "from d", "from b"]);
}

#[tokio::test]
async fn a_node_that_restarts_with_its_disk_goes_on_where_it_was() {
    let channel = MemoryChannel::new();
    let disks = [MemoryDisk::new(), MemoryDisk::new(), MemoryDisk::new()];
    let mut incarnations = Vec::new();
    for round in 0..3u64 {
        let mut nodes = Vec::new();
        for (name, disk) in ["a", "b", "c"].into_iter().zip(&disks) {
            nodes.push(open_one(&channel, name, disk.clone()).await);
        }
        let done = nodes[0].perform(append("again")).await.expect("all memories are there");
        assert_eq!(done.index, Index(round + 1));
        incarnations.push(nodes[0].status().incarnation);
        for node in nodes {
            node.close().await;
        }
    }
    incarnations.dedup();
    assert_eq!(incarnations.len(), 1);
}

#[tokio::test]
async fn a_second_node_of_one_name_and_a_second_cluster_are_refused() {
    let channel = MemoryChannel::new();
    let nodes = open(&channel, &["a", "b", "c"]).await;
    serving(&nodes).await;
    let twin = Node::builder(Words, "a").cluster_size(3).channel(channel.clone()).open().await;
    let Err(OpenError::Channel(error)) = twin else { panic!("a twin was let in") };
    assert!(error.to_string().contains('a'), "{error}");

    // Another cluster forms on a channel of its own, and then its nodes come here with their disks.
    let elsewhere = MemoryChannel::new();
    let disks = [MemoryDisk::new(), MemoryDisk::new(), MemoryDisk::new()];
    let mut others = Vec::new();
    for (name, disk) in ["x", "y", "z"].into_iter().zip(&disks) {
        others.push(open_one(&elsewhere, name, disk.clone()).await);
    }
    others[0].perform(append("theirs")).await.expect("they serve");
    for other in others.drain(..) {
        other.close().await;
    }
    let x = open_one(&channel, "x", disks[0].clone()).await;
    let refused = x.perform(append("mixed")).timeout(Duration::from_secs(2)).await;
    match refused {
        Err(PerformError::NeverProposed { reason }) => assert!(reason.contains("cluster"), "{reason}"),
        // It was a follower over there, and sent the call to the leader it knew.
        Err(PerformError::Unknown { .. }) => {}
        other => panic!("{other:?}"),
    }
    let notice = x.status().notice.expect("it has heard of this cluster");
    assert!(notice.contains("two clusters cannot share a channel"), "{notice}");
    nodes[0].perform(append("ours")).await.expect("they serve on");
    assert_eq!(*nodes[1].linearizable_state().await.expect("they serve on"), ["ours"]);
}

#[tokio::test]
async fn closing_ends_what_is_on_its_way() {
    let channel = MemoryChannel::new();
    let node = open_one(&channel, "a", MemoryDisk::new()).await;
    let waiting = node.perform(append("alone")).start();
    let mut changes = node.subscribe();
    node.close().await;
    assert!(matches!(waiting.await, Err(PerformError::Closed { .. })));
    assert!(changes.next().await.is_none());
    assert!(matches!(node.perform(append("late")).await, Err(PerformError::Closed { .. })));
    assert_eq!(node.status().role, Role::Stopped);
    // The name is free again at once.
    open_one(&channel, "a", MemoryDisk::new()).await;
}

#[tokio::test]
async fn dropping_the_last_handle_closes_the_node() {
    let channel = MemoryChannel::new();
    let node = open_one(&channel, "a", MemoryDisk::new()).await;
    let mut changes = node.subscribe();
    let clone = node.clone();
    drop(node);
    drop(clone);
    assert!(changes.next().await.is_none());
    open_one(&channel, "a", MemoryDisk::new()).await;
}

#[tokio::test]
async fn bad_options_are_named() {
    let message = |result: Result<Node<Words>, OpenError>| result.err().expect("it must not open").to_string();
    let builder = |id: &str| Node::builder(Words, id).channel(MemoryChannel::new());
    let ms = Duration::from_millis;
    for (opened, starts) in [
        (builder("").cluster_size(3).open().await, "id is"),
        (builder("a").cluster_size(0).open().await, "cluster_size is 0"),
        (builder("a").open().await, "cluster_size is"),
        (builder("a").founders(Vec::<String>::new()).open().await, "founders is"),
        (builder("a").cluster_size(3).founders(["a"]).open().await, "cluster_size is 3"),
        (Node::builder(Words, "a").cluster_size(3).open().await, "channel is"),
        (builder("a").cluster_size(3).heartbeat_interval(ms(300)).open().await, "heartbeat_interval is 300ms"),
        (builder("a").cluster_size(3).election_timeout(ms(500), ms(300)).open().await, "election_timeout_min is 500ms"),
        (builder("a").cluster_size(3).default_deadline(Duration::ZERO).open().await, "default_deadline is 0:"),
        (builder("a").cluster_size(3).in_flight_max(0).open().await, "in_flight_max is 0"),
        (builder("a").founders(["a", ""]).open().await, "founders is [\"a\", \"\"]: each name"),
        (builder("a").founders(["a", "a"]).open().await, "founders is [\"a\", \"a\"]: no node"),
        (
            builder("a").cluster_size(3).election_timeout(ms(300), Duration::MAX).open().await,
            "election_timeout_max is 18446744073709551615",
        ),
    ] {
        let message = message(opened);
        assert!(message.starts_with(starts), "{message}");
    }
    // Short, and good: what the engine makes of it must be good as well.
    let short = builder("a").cluster_size(1).election_timeout(ms(10), ms(20)).heartbeat_interval(ms(2)).open().await;
    short.expect("these can be").close().await;
    let disk = MemoryDisk::new();
    let _open = builder("a").cluster_size(3).disk(disk.clone()).open().await.expect("good options");
    assert!(matches!(
        builder("b").cluster_size(3).disk(disk).open().await,
        Err(OpenError::Disk(DiskError::InUse { .. }))
    ));
}

#[tokio::test]
async fn a_panicking_method_or_reducer_fails_that_call_alone() {
    let nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    let calls = [append("one"), Method::Panic, append("two"), Method::PanicInReducer, append("three")];
    let started: Vec<_> = calls.into_iter().map(|call| nodes[0].perform(call).start()).collect();
    let mut failed = Vec::new();
    for (at, started) in started.into_iter().enumerate() {
        match started.await {
            Ok(_) => {}
            Err(PerformError::Failed { failure, .. }) => failed.push((at, failure.message.clone())),
            Err(other) => panic!("{other}"),
        }
    }
    let expected = [(1, "the method panicked: no".to_owned()), (3, "the reducer panicked: not that".to_owned())];
    assert_eq!(failed, expected);
    for node in &nodes {
        assert_eq!(*node.linearizable_state().await.expect("the cluster serves"), ["one", "two", "three"]);
    }
}

#[tokio::test]
async fn an_action_that_is_too_large_fails_and_large_ones_go_through_in_several_batches() {
    let nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    let started: Vec<_> = (0..6).map(|_| nodes[1].perform(Method::Large(1_500_000)).start()).collect();
    for started in started {
        started.await.expect("each is within the limit");
    }
    let failed = nodes[1].perform(Method::Large(5_000_000)).await;
    let Err(PerformError::Failed { failure, .. }) = failed else { panic!("{failed:?}") };
    assert!(failure.message.contains("bytes, more than the"), "{failure}");
    assert_eq!(nodes[2].linearizable_state().await.expect("the cluster serves").len(), 6);
}

#[tokio::test(start_paused = true)]
async fn provisional_state_shows_the_uncommitted_log_of_each_node_and_what_a_new_leader_inherits() {
    let channel = MemoryChannel::new();
    let mut nodes = open(&channel, &["a", "b", "c"]).await;
    serving(&nodes).await;
    nodes[0].perform(append("committed")).await.expect("the cluster serves");
    serving(&nodes).await;
    let leader = nodes[0].status().leader.expect("it serves");
    let at = nodes.iter().position(|node| *node.id() == leader).expect("it is one of them");
    let leader = nodes.remove(at);
    // The followers hear the leader and take what it sends; it never hears that they did, and cannot commit.
    for follower in &nodes {
        channel.cut(follower.id(), leader.id());
    }
    let pending = leader.perform(append("tail")).start();
    for node in nodes.iter().chain([&leader]) {
        // There is no event for what is not committed; the clock is simulated, so looking again costs nothing.
        while node.provisional_state().len() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(*node.provisional_state(), ["committed", "tail"]);
        assert_eq!(*node.state(), ["committed"]);
    }
    leader.close().await;
    drop(pending);
    // Whoever leads now inherits the tail: a call is judged on top of it, and it is committed first.
    nodes[0].perform(append("next")).await.expect("the others serve");
    assert_eq!(*nodes[1].linearizable_state().await.expect("the others serve"), ["committed", "tail", "next"]);
}

/// A container whose actions have a field that does not travel.
#[derive(Debug)]
struct Forgetful;

#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
struct Partly {
    kept: u64,
    #[serde(skip)]
    lost: u64,
}

impl conflux::Container for Forgetful {
    type State = u64;
    type Method = u64;
    type Action = Partly;
    type Rejection = conflux::Never;

    fn initial(&self) -> u64 {
        0
    }

    fn decide(&self, _: &u64, method: u64, _: &conflux::Context<'_>) -> Result<Option<Partly>, conflux::Never> {
        Ok(Some(Partly { kept: method, lost: method }))
    }

    fn reduce(&self, state: &mut u64, action: &Partly, _: &conflux::Context<'_>) {
        *state += action.kept + action.lost;
    }
}

#[tokio::test]
async fn what_does_not_travel_is_lost_on_the_leader_too() {
    let channel = MemoryChannel::new();
    let builder = |name: &str| Node::builder(Forgetful, name).cluster_size(3).channel(channel.clone());
    let nodes = open_each(&["a", "b", "c"], builder).await;
    nodes[0].perform(7).await.expect("the cluster serves");
    for node in &nodes {
        assert_eq!(*node.linearizable_state().await.expect("the cluster serves"), 7);
    }
}

#[tokio::test(start_paused = true)]
async fn a_backup_holds_what_was_committed_and_what_became_of_each_call() {
    let nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    nodes[0].perform(append("one")).request_id("order 1").await.expect("the cluster serves");
    let backup = nodes[2].backup().await.expect("a majority is there");
    let backup = conflux::Backup::decode(&backup.encode()).expect("it was just written");
    assert_eq!(backup.index, Index(1));
    let store = backup.store(nodes[2].container()).expect("it is of this container");
    assert_eq!(**store.state(), ["one"]);
    assert!(store.sessions().find_chosen("order 1").is_some());
}

#[tokio::test(start_paused = true)]
async fn a_node_that_could_found_alone_joins_the_cluster_that_is_there() {
    let channel = MemoryChannel::new();
    let nodes = open(&channel, &["a", "b", "c"]).await;
    nodes[0].perform(append("one")).await.expect("the cluster serves");
    let alone = Node::builder(Words, "x").cluster_size(1).channel(channel.clone()).open().await.expect("good options");
    let named = Node::builder(Words, "y").founders(["y"]).channel(channel.clone()).open().await.expect("good options");
    for node in [&alone, &named] {
        node.perform(append("two")).await.expect("it is let in");
        assert_eq!(node.status().cluster, nodes[0].status().cluster);
        assert_eq!(node.status().role, Role::Learner);
    }
}

#[tokio::test]
async fn more_chosen_ids_than_are_remembered_are_never_proposed() {
    let channel = MemoryChannel::new();
    let retention = Retention { chosen_ids_max: 2, ..Retention::default() };
    let builder = |name: &str| Node::builder(Words, name).cluster_size(3).channel(channel.clone()).retention(retention);
    let nodes = open_each(&["a", "b", "c"], builder).await;
    serving(&nodes).await;
    let with = |node: usize, id: &'static str, word| nodes[node].perform(append(word)).request_id(id);
    assert_eq!(with(0, "1", "one").await.expect("there is room").index, Index(1));
    assert_eq!(with(1, "2", "two").await.expect("there is room").index, Index(2));
    for (node, at) in nodes.iter().enumerate() {
        let refused = with(node, "3", "three").await.expect_err("there is none");
        let PerformError::NeverProposed { reason } = &refused else { panic!("{refused:?}") };
        assert!(reason.contains("chosen_ids_max") && reason.contains("without an id of your own"), "{reason}");
        // Nothing was forgotten, and nobody else is kept out.
        assert_eq!(with(node, "1", "one").await.expect("it is remembered").index, Index(1));
        let index = at.perform(append("more")).await.expect("it needs no room").index;
        assert_eq!(index, Index(3 + node as u64));
        let asked = at.outcome(&RequestId::parse("3")).await.expect("it serves");
        assert!(matches!(asked, Asked::Undecided | Asked::Forgotten), "{asked:?}");
    }
    assert_eq!(*nodes[0].linearizable_state().await.expect("it serves"), ["one", "two", "more", "more", "more"]);
}
