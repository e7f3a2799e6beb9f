//! Nodes are added, demoted and removed, and leadership is handed over, while the cluster serves.

#![expect(clippy::disallowed_methods, reason = "the test has a task of no node")]

use std::time::Duration;

use crate::common::{Words, append, open, open_each, open_one, serving};
use conflux::{MemberError, MemoryChannel, MemoryDisk, Node, NodeName, Role, Status};

/// The names of those who vote, as `node` sees it.
fn voters(node: &Node<Words>) -> String {
    node.status().voters.join(" ")
}

/// Five that vote.
async fn open_five(channel: &MemoryChannel) -> Vec<Node<Words>> {
    let builder = |name: &str| Node::builder(Words, name).cluster_size(5).channel(channel.clone());
    let nodes = open_each(&["a", "b", "c", "d", "e"], builder).await;
    serving(&nodes).await;
    nodes
}

async fn until_voters(node: &Node<Words>, expected: &str) {
    let found = node.watch_status().find(|status| (status.voters.join(" ") == expected).then_some(())).await;
    found.expect("it is open");
}

fn position(nodes: &[Node<Words>], name: &str) -> usize {
    nodes.iter().position(|node| **node.id() == *name).expect("it is one of them")
}

fn leader(nodes: &[Node<Words>]) -> NodeName {
    nodes[0].status().leader.expect("it serves")
}

#[tokio::test(start_paused = true)]
async fn a_late_comer_votes_once_it_has_a_seat_and_a_demoted_one_goes_on_as_a_learner() {
    let channel = MemoryChannel::new();
    let mut nodes = open(&channel, &["a", "b", "c"]).await;
    serving(&nodes).await;
    // The seat first, the node later.
    let none = nodes[1].add_member("d").await;
    let Err(MemberError::Pending(_, why)) = none else { panic!("{none:?}") };
    assert_eq!(why, "d has not joined yet");
    assert!(
        nodes[1].members().iter().any(|member| &*member.name == "d" && member.seated && member.incarnation.is_none())
    );
    nodes.push(open_one(&channel, "d", MemoryDisk::new()).await);
    until_voters(&nodes[3], "a b c d").await;
    // The node first, the seat later; asked for at the node itself.
    nodes.push(open_one(&channel, "e", MemoryDisk::new()).await);
    nodes[4].perform(append("as a learner")).await.expect("it is let in");
    nodes[4].add_member("e").await.expect("it has caught up");
    assert_eq!(voters(&nodes[4]), "a b c d e");

    nodes[0].demote_member("d").await.expect("a majority is left");
    let d = &nodes[position(&nodes, "d")];
    let learns = |status: &Status| (status.role == Role::Learner).then_some(());
    d.watch_status().find(learns).await.expect("it is open");
    d.perform(append("from the learner")).await.expect("a learner performs too");
    assert_eq!(voters(&nodes[0]), "a b c e");
    nodes[0].add_member("d").await.expect("it has caught up");
    // Two of five may be down now.
    nodes.remove(1).close().await;
    nodes.remove(1).close().await;
    nodes[0].perform(append("three of five")).await.expect("a majority is left");
}

#[tokio::test(start_paused = true)]
async fn a_removed_node_says_so_and_stops_and_comes_back_only_as_a_new_one() {
    let channel = MemoryChannel::new();
    let disks: Vec<MemoryDisk> = (0..3).map(|_| MemoryDisk::new()).collect();
    let mut nodes = Vec::new();
    for (name, disk) in ["a", "b", "c"].into_iter().zip(&disks) {
        nodes.push(open_one(&channel, name, disk.clone()).await);
    }
    serving(&nodes).await;
    let leading = leader(&nodes);
    let gone = nodes.iter().find(|node| **node.id() != *leading).expect("two follow").id().clone();
    let at = position(&nodes, &gone);
    let disk = disks[at].clone();
    let removed = nodes.remove(at);
    nodes[0].remove_member(&gone).await.expect("two are left");
    assert!(!voters(&nodes[0]).contains(&*gone));
    let says = |status: &Status| status.stopped.clone();
    let why = removed.watch_status().find(says).await.expect("it stops");
    assert!(why.starts_with("this node was removed from its cluster"), "{why}");
    removed.close().await;
    drop(removed);

    // With the disk it had, it is told again; with an empty one it joins as a learner, and votes once it has a seat.
    let again = open_one(&channel, &gone, disk).await;
    let why = again.watch_status().find(says).await.expect("it stops");
    assert!(why.starts_with("this node was removed from its cluster"), "{why}");
    again.close().await;
    drop(again);
    let fresh = open_one(&channel, &gone, MemoryDisk::new()).await;
    fresh.perform(append("as a new one")).await.expect("it is let in");
    assert_eq!(fresh.status().role, Role::Learner);
    fresh.add_member(&gone).await.expect("it has caught up");
    assert_eq!(voters(&fresh), "a b c");
}

#[tokio::test(start_paused = true)]
async fn a_leader_that_is_removed_or_demoted_hands_over_first() {
    let channel = MemoryChannel::new();
    let mut nodes = open_five(&channel).await;
    for (round, remove) in [true, false].into_iter().enumerate() {
        serving(&nodes).await;
        let leading = leader(&nodes);
        let at = position(&nodes, &leading);
        // Asked for at the leader itself.
        let asked =
            if remove { nodes[at].remove_member(&leading).await } else { nodes[at].demote_member(&leading).await };
        asked.expect("others are left");
        let was = nodes.remove(at);
        let (role, stopped) = (was.status().role, was.status().stopped);
        let ends = |status: &Status| match remove {
            true => status.stopped.clone(),
            false => (status.role == Role::Learner).then(String::new),
        };
        was.watch_status().find(ends).await.unwrap_or_else(|| panic!("{role} {stopped:?}"));
        let done = nodes[0].perform(append(&round.to_string())).await.expect("the others serve");
        assert_eq!(done.index.0, round as u64 + 1);
        assert!(!voters(&nodes[0]).contains(&*leading), "{}", voters(&nodes[0]));
        if !remove {
            nodes.push(was);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn leadership_goes_to_who_is_named_and_what_was_asked_meanwhile_is_served() {
    let nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    serving(&nodes).await;
    for to in ["b", "c", "a", "a"] {
        let started: Vec<_> = (0..100).map(|n| nodes[n % 3].perform(append(to)).start()).collect();
        assert_eq!(&*nodes[1].transfer_leadership(Some(to)).await.expect("it has caught up"), to);
        for started in started {
            started.await.expect("nobody has to ask again");
        }
    }
    let before = leader(&nodes);
    let after = nodes[0].transfer_leadership(None).await.expect("another one is fit");
    assert_ne!(before, after);
    assert_eq!(nodes[2].linearizable_state().await.expect("it serves").len(), 400);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_is_refused_with_the_reason() {
    let mut nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    serving(&nodes).await;
    let why = |asked: Result<(), MemberError>| match asked {
        Err(MemberError::Refused(why)) => why,
        other => panic!("{other:?}"),
    };
    assert_eq!(why(nodes[0].remove_member("x").await), "there is no member x; the members are a, b, c");
    let to_stranger = nodes[0].transfer_leadership(Some("x")).await.map(drop);
    assert_eq!(why(to_stranger), "x does not vote, so it cannot lead; the voters are a, b, c");

    // With one of three down, the other two are all there is.
    let leading = leader(&nodes);
    let down = nodes.iter().position(|node| *node.id() != leading).expect("two follow");
    let down = nodes.remove(down);
    let name = down.id().clone();
    down.close().await;
    let other = nodes.iter().find(|node| *node.id() != leading).expect("one follows");
    // Until the leader has noticed that it is silent it would be let go.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let refused = why(other.remove_member(other.id()).await);
    assert!(refused.contains(&format!("{name} cannot be heard")), "{refused}");
    other.remove_member(&name).await.expect("the one that is down may go");
    other.perform(append("two of two")).await.expect("they serve");
    let last = other.id().clone();
    nodes[position(&nodes, &leading)].remove_member(&last).await.expect("one is left");
    let alone = &nodes[position(&nodes, &leading)];
    alone.perform(append("alone")).await.expect("it serves");
    assert_eq!(
        why(alone.remove_member(&leading).await),
        format!("{leading} is the only voter: give another node a seat first")
    );
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_leader_began_is_finished_by_the_next() {
    for cut_after_ms in [0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89] {
        let channel = MemoryChannel::new();
        channel.set_faults(conflux::channel::Faults {
            delay: Duration::from_millis(1)..Duration::from_millis(3),
            ..Default::default()
        });
        let mut nodes = open_five(&channel).await;
        let leading = leader(&nodes);
        let at = position(&nodes, &leading);
        let leaving = nodes.iter().map(Node::id).find(|name| **name != leading).expect("four follow").clone();
        let asking = nodes[(at + 1) % 5].clone();
        let asked = leaving.clone();
        let change = tokio::spawn(async move { asking.remove_member(&asked).await });
        tokio::time::sleep(Duration::from_millis(cut_after_ms)).await;
        nodes.remove(at).close().await;
        // Whoever asked may be the one that leaves.
        change.await.expect("no panic").expect("the next leader finishes it");
        nodes.retain(|node| *node.id() != leaving);
        nodes[0].perform(append("after")).await.expect("the others serve");
        assert!(!voters(&nodes[0]).contains(&*leaving), "{} ms: {}", cut_after_ms, voters(&nodes[0]));
    }
}

#[tokio::test(start_paused = true)]
async fn two_removals_at_once_leave_a_majority_that_is_heard() {
    let channel = MemoryChannel::new();
    let builder = |name: &str| Node::builder(Words, name).cluster_size(4).channel(channel.clone());
    let mut nodes = open_each(&["a", "b", "c", "d"], builder).await;
    serving(&nodes).await;
    let leading = leader(&nodes);
    let others: Vec<NodeName> = nodes.iter().map(Node::id).filter(|name| **name != leading).cloned().collect();
    // One is down; each removal alone would leave two of three that are heard, both together one of two.
    nodes.remove(position(&nodes, &others[0])).close().await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let ask = nodes[position(&nodes, &leading)].clone();
    let (first, second) = tokio::join!(ask.remove_member(&others[1]), ask.remove_member(&others[2]));
    assert!(first.is_ok() || second.is_ok(), "{first:?} {second:?}");
    let refused = [&first, &second].into_iter().filter_map(|asked| asked.as_ref().err());
    for error in refused {
        assert!(matches!(error, MemberError::Pending(..) | MemberError::Refused(_)), "{error}");
    }
    // Whatever became of the two: somebody serves.
    ask.perform(append("still")).await.expect("a majority of those that vote is heard");
    assert!(ask.status().voters.len() >= 3, "{:?}", ask.status().voters);
}

#[tokio::test(start_paused = true)]
async fn a_hand_over_that_is_asked_twice_because_its_answer_was_lost_moves_leadership_once() {
    let channel = MemoryChannel::new();
    let nodes = open(&channel, &["a", "b", "c"]).await;
    serving(&nodes).await;
    let leading = leader(&nodes);
    let asking = nodes.iter().rev().find(|node| *node.id() != leading).expect("two follow");
    let before = asking.status().term;
    // It is heard, and hears nothing of the leader: it asks the next one again.
    channel.cut(&leading, asking.id());
    let after = asking.transfer_leadership(None).await.expect("another one is fit");
    assert_ne!(after, leading);
    channel.heal();
    // Long enough for another election, had there been one.
    tokio::time::sleep(Duration::from_secs(3)).await;
    serving(&nodes).await;
    let now = asking.status();
    assert_eq!((now.leader.as_ref(), now.term), (Some(&after), before + 1));
}

/// It knows nothing of the node that came meanwhile under the name of one that was removed: to it, there is nothing to do.
#[tokio::test(start_paused = true)]
async fn a_leader_that_is_parted_from_the_others_does_not_say_that_a_node_is_removed() {
    let channel = MemoryChannel::new();
    let mut nodes = open(&channel, &["a", "b", "c"]).await;
    serving(&nodes).await;
    let gone = open_one(&channel, "d", MemoryDisk::new()).await;
    nodes[0].add_member("d").await.expect("it has caught up");
    nodes[0].remove_member("d").await.expect("there are others");
    gone.close().await;
    let parted = nodes.remove(position(&nodes, &leader(&nodes)));
    channel.partition(&[&[&**parted.id()]]);
    let asked = async { parted.remove_member("d").await };
    let meanwhile = async {
        let mut status = nodes[0].watch_status();
        let next = status.find(|status| status.leader.clone().filter(|leader| leader != parted.id()));
        next.await.expect("it is open");
        let comer = open_one(&channel, "d", MemoryDisk::new()).await;
        nodes[0].add_member("d").await.expect("it has caught up");
        comer
    };
    let (removed, _comer) = tokio::join!(asked, meanwhile);
    assert!(matches!(removed, Err(MemberError::Deadline(..))), "{removed:?}");
    assert!(voters(&nodes[0]).contains('d'), "{}", voters(&nodes[0]));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_asked_for_at_a_node_that_lags() {
    let channel = MemoryChannel::new();
    let mut nodes = open(&channel, &["a", "b", "c"]).await;
    serving(&nodes).await;
    nodes.push(open_one(&channel, "d", MemoryDisk::new()).await);
    nodes[3].perform(append("as a learner")).await.expect("it is let in");
    let leading = leader(&nodes);
    let late = nodes[..3].iter().find(|node| *node.id() != leading).expect("two follow");
    let ahead = &nodes[position(&nodes, &leading)];
    for (name, asked) in [("d", "demoted"), ("d", "removed")] {
        // It does not come to know that d votes, or has voted.
        channel.partition(&[&[&**late.id()]]);
        ahead.add_member(name).await.expect("it has caught up");
        for n in 0..50 {
            ahead.perform(append(&n.to_string())).await.expect("they serve");
        }
        assert!(!voters(late).contains(name) && voters(ahead).contains(name), "{asked}: {}", voters(late));
        channel.heal();
        let done = if asked == "demoted" { late.demote_member(name).await } else { late.remove_member(name).await };
        done.unwrap_or_else(|error| panic!("{asked}: {error}"));
        // By what it says it is done, at itself and where it was done.
        assert!(!voters(late).contains(name), "{asked}: {}", voters(late));
        ahead.linearizable_state().await.expect("it serves");
        assert!(!voters(ahead).contains(name), "{asked}: {}", voters(ahead));
    }
    assert!(late.members().iter().all(|member| &*member.name != "d"), "{:?}", late.members());
}
