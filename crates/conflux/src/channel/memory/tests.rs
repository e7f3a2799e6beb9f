use std::time::Duration;

use super::*;
use crate::channel::contract;

fn fresh() -> Arc<dyn Channel> {
    Arc::new(MemoryChannel::new())
}

macro_rules! keeps_the_contract {
    ($($check:ident)*) => {
        mod keeps_the_contract {
            $(#[tokio::test(start_paused = true)]
            async fn $check() {
                super::contract::$check(async || super::fresh()).await;
            })*
        }
    };
}

contract::each_check!(keeps_the_contract);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keeps_the_contract_on_many_threads() {
    contract::all(async || fresh()).await;
}

#[tokio::test(start_paused = true)]
async fn keeps_the_contract_under_loss_and_delay() {
    contract::all(async || {
        let channel = MemoryChannel::seeded(7);
        channel.set_faults(Faults { loss: 0.3, delay: millis(0)..millis(40), ..Faults::default() });
        Arc::new(channel) as Arc<dyn Channel>
    })
    .await;
}

async fn three(channel: &MemoryChannel) -> [Attachment; 3] {
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        nodes.push(channel.attach(name.into()).await.unwrap());
    }
    nodes.try_into().ok().unwrap()
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn text(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

fn drain(node: &mut Attachment) -> Vec<String> {
    std::iter::from_fn(|| node.inbox.try_recv())
        .map(|message| format!("{}: {}", message.from, String::from_utf8_lossy(&message.frame)))
        .collect()
}

/// Every node sends its text to every other, and one to all.
fn chatter(nodes: &mut [Attachment; 3]) -> [Vec<String>; 3] {
    for from in nodes.iter() {
        for to in nodes.iter() {
            from.port.send(to.port.name(), text("x"));
        }
    }
    nodes.each_mut().map(drain)
}

#[tokio::test]
async fn without_faults_nothing_is_lost() {
    let channel = MemoryChannel::new();
    let [a, mut b, _c] = three(&channel).await;
    for _ in 0..1000 {
        a.port.send(b.port.name(), text("x"));
        a.port.broadcast(text("y"));
    }
    assert_eq!(drain(&mut b), ["a: x", "a: y"].repeat(1000));
}

#[tokio::test]
async fn a_partition_parts_its_groups_and_the_unlisted_are_one_more() {
    let channel = MemoryChannel::new();
    let mut nodes = three(&channel).await;
    let whole = [["a: x", "b: x", "c: x"]; 3].map(|heard| heard.map(String::from).to_vec());
    assert_eq!(chatter(&mut nodes), whole);

    channel.partition(&[&["a"], &["b", "c"]]);
    assert_eq!(chatter(&mut nodes), [vec!["a: x"], vec!["b: x", "c: x"], vec!["b: x", "c: x"]]);
    nodes[0].port.broadcast(text("lost"));
    nodes[1].port.broadcast(text("heard"));
    assert_eq!(nodes.each_mut().map(drain), [vec![], vec![], vec!["b: heard".to_string()]]);

    // In place of the one before; b and c are not listed.
    channel.partition(&[&["a"]]);
    assert_eq!(chatter(&mut nodes), [vec!["a: x"], vec!["b: x", "c: x"], vec!["b: x", "c: x"]]);

    // b bridges.
    channel.partition(&[&["a", "b"], &["b", "c"]]);
    assert_eq!(chatter(&mut nodes), [vec!["a: x", "b: x"], vec!["a: x", "b: x", "c: x"], vec!["b: x", "c: x"]]);

    channel.heal();
    assert_eq!(chatter(&mut nodes), whole);
}

#[tokio::test]
async fn a_cut_is_one_way_and_cuts_add_up() {
    let channel = MemoryChannel::new();
    let mut nodes = three(&channel).await;
    channel.cut("a", "b");
    assert_eq!(chatter(&mut nodes), [vec!["a: x", "b: x", "c: x"], vec!["b: x", "c: x"], vec!["a: x", "b: x", "c: x"]]);
    channel.cut("c", "b");
    assert_eq!(chatter(&mut nodes)[1], ["b: x"]);
    channel.cut("b", "b");
    assert_eq!(chatter(&mut nodes)[1], ["b: x"], "a node always hears itself");
    channel.heal();
    assert_eq!(chatter(&mut nodes)[1], ["a: x", "b: x", "c: x"]);
}

/// Which of 200 numbered messages from a to b arrive, while c makes `noise` messages in between.
async fn lost_and_doubled(seed: u64, noise: usize) -> Vec<u8> {
    let channel = MemoryChannel::seeded(seed);
    let [a, mut b, c] = three(&channel).await;
    channel.set_faults(Faults { loss: 0.3, duplicate: 0.2, ..Faults::default() });
    for number in 0..200 {
        a.port.send(b.port.name(), Bytes::from(vec![number]));
        for _ in 0..noise {
            c.port.broadcast(text("noise"));
        }
    }
    let heard = std::iter::from_fn(|| b.inbox.try_recv());
    heard.filter(|message| &*message.from == "a").map(|message| message.frame[0]).collect()
}

#[tokio::test]
async fn the_same_seed_gives_the_same_losses_and_another_seed_others() {
    let heard = lost_and_doubled(1, 0).await;
    assert_eq!(heard, lost_and_doubled(1, 0).await);
    assert_eq!(heard, lost_and_doubled(1, 2).await, "other links' traffic makes no difference");
    assert_ne!(heard, lost_and_doubled(2, 0).await);

    assert!(heard.is_sorted(), "duplicates come right behind their originals");
    let mut once = heard.clone();
    once.dedup();
    let (lost, doubled) = (200 - once.len(), heard.len() - once.len());
    assert!((30..90).contains(&lost), "{lost} of 200 lost at 0.3");
    assert!((10..50).contains(&doubled), "{doubled} of {} doubled at 0.2", once.len());
}

#[tokio::test]
async fn certain_loss_loses_all_and_certain_duplication_doubles_all() {
    let channel = MemoryChannel::new();
    let mut nodes = three(&channel).await;
    channel.set_faults(Faults { loss: 1.0, ..Faults::default() });
    assert_eq!(chatter(&mut nodes), [["a: x"], ["b: x"], ["c: x"]]);
    channel.set_faults(Faults { duplicate: 1.0, ..Faults::default() });
    assert_eq!(chatter(&mut nodes)[0], ["a: x", "b: x", "b: x", "c: x", "c: x"]);
    channel.set_faults(Faults::default());
    assert_eq!(chatter(&mut nodes)[0], ["a: x", "b: x", "c: x"]);
}

#[tokio::test(start_paused = true)]
async fn a_delay_holds_a_message_back_for_its_time() {
    let channel = MemoryChannel::new();
    let [a, mut b, _c] = three(&channel).await;
    channel.set_faults(Faults { delay: millis(30)..millis(30), ..Faults::default() });
    let begun = Instant::now();
    a.port.send(b.port.name(), text("late"));
    a.port.send(a.port.name(), text("to itself"));
    assert_eq!(b.inbox.try_recv(), None);
    assert_eq!(b.inbox.recv().await.unwrap().frame, "late");
    let took = begun.elapsed();
    assert!((millis(30)..=millis(31)).contains(&took), "{took:?}");
}

/// When each of 100 messages came, from the first sending on.
async fn delays(seed: u64) -> Vec<(Duration, u8)> {
    let channel = MemoryChannel::seeded(seed);
    let [a, mut b, _c] = three(&channel).await;
    channel.set_faults(Faults { delay: millis(0)..millis(50), duplicate: 0.2, ..Faults::default() });
    let begun = Instant::now();
    let port = a.port.clone();
    tokio::spawn(async move {
        for number in 0..100 {
            port.send(&"b".into(), Bytes::from(vec![number]));
            tokio::time::sleep(millis(3)).await;
        }
        port.close();
    });
    let mut heard = Vec::new();
    while heard.last().is_none_or(|(_, number)| *number != 99) {
        let message = b.inbox.recv().await.unwrap();
        heard.push((begun.elapsed(), message.frame[0]));
    }
    heard
}

#[tokio::test(start_paused = true)]
async fn delays_differ_but_keep_the_order_and_follow_the_seed() {
    let heard = delays(5).await;
    assert!(heard.iter().map(|(_, number)| number).is_sorted());
    assert_eq!(heard, delays(5).await);
    assert_ne!(heard, delays(6).await);
}

#[tokio::test(start_paused = true)]
async fn a_message_without_delay_does_not_overtake_a_delayed_one() {
    let channel = MemoryChannel::new();
    let [a, mut b, c] = three(&channel).await;
    channel.set_faults(Faults { delay: millis(30)..millis(30), ..Faults::default() });
    a.port.send(b.port.name(), text("first"));
    channel.set_faults(Faults::default());
    a.port.send(b.port.name(), text("second"));
    c.port.send(b.port.name(), text("another link"));
    assert_eq!(b.inbox.recv().await.unwrap().frame, "another link");
    assert_eq!(b.inbox.recv().await.unwrap().frame, "first");
    assert_eq!(b.inbox.recv().await.unwrap().frame, "second");
    assert!(channel.hub.read().calm, "nothing is on its way any more");
}

#[tokio::test(start_paused = true)]
async fn a_shorter_delay_on_another_link_wakes_the_pump_early() {
    let channel = MemoryChannel::new();
    let [a, mut b, c] = three(&channel).await;
    channel.set_faults(Faults { delay: millis(500)..millis(500), ..Faults::default() });
    a.port.send(b.port.name(), text("slow"));
    tokio::task::yield_now().await;
    channel.set_faults(Faults { delay: millis(5)..millis(5), ..Faults::default() });
    let begun = Instant::now();
    c.port.send(b.port.name(), text("fast"));
    assert_eq!(b.inbox.recv().await.unwrap().frame, "fast");
    assert!(begun.elapsed() < millis(10));
    assert_eq!(b.inbox.recv().await.unwrap().frame, "slow");
}

#[tokio::test(start_paused = true)]
async fn a_partition_also_loses_what_is_on_its_way() {
    let channel = MemoryChannel::new();
    let [a, mut b, _c] = three(&channel).await;
    channel.set_faults(Faults { delay: millis(10)..millis(10), ..Faults::default() });
    a.port.send(b.port.name(), text("lost"));
    tokio::time::advance(millis(5)).await;
    a.port.send(b.port.name(), text("passes"));
    // The first is due while the partition holds, the second after.
    channel.partition(&[&["a"]]);
    tokio::time::sleep(millis(7)).await;
    channel.heal();
    assert_eq!(b.inbox.recv().await.unwrap().frame, "passes");
}

#[tokio::test(start_paused = true)]
async fn what_is_on_its_way_to_an_earlier_attachment_is_lost() {
    let channel = MemoryChannel::new();
    let [a, mut b, _c] = three(&channel).await;
    channel.set_faults(Faults { delay: millis(10)..millis(10), ..Faults::default() });
    a.port.send(b.port.name(), text("to the earlier b"));
    b.port.close();
    assert_eq!(b.inbox.recv().await, None);
    let mut again = channel.attach("b".into()).await.unwrap();
    a.port.send(b.port.name(), text("to the later b"));
    assert_eq!(again.inbox.recv().await.unwrap().frame, "to the later b");
    // The earlier port is without effect, also on its name.
    b.port.close();
    drop(b);
    a.port.send(again.port.name(), text("still there"));
    assert_eq!(again.inbox.recv().await.unwrap().frame, "still there");
}

#[tokio::test(start_paused = true)]
async fn the_pump_ends_with_the_hub() {
    let channel = MemoryChannel::new();
    let a = channel.attach("a".into()).await.unwrap();
    channel.set_faults(Faults { delay: millis(10)..millis(20), ..Faults::default() });
    let tasks = || Handle::current().metrics().num_alive_tasks();
    assert_eq!(tasks(), 1);
    channel.set_faults(Faults { delay: millis(20)..millis(30), ..Faults::default() });
    assert_eq!(tasks(), 1, "one pump is enough");
    a.port.send(a.port.name(), text("x"));
    drop((channel, a));
    while tasks() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_is_left_of_a_node_that_was_detached_is_not_heard() {
    let channel = MemoryChannel::new();
    let [a, mut b, mut c] = three(&channel).await;
    channel.detach("a");
    a.port.send(b.port.name(), text("from the dead"));
    a.port.broadcast(text("from the dead"));
    let again = channel.attach("a".into()).await.unwrap();
    a.port.send(b.port.name(), text("in another's name"));
    again.port.broadcast(text("from the living"));
    for node in [&mut b, &mut c] {
        assert_eq!(node.inbox.recv().await.unwrap().frame, "from the living");
    }
}

#[tokio::test]
async fn faults_are_counted_as_messages_meet_them() {
    let channel = MemoryChannel::new();
    let [a, b, _c] = three(&channel).await;
    let send = || a.port.send(b.port.name(), text("x"));
    send();
    assert_eq!(channel.fault_counts(), FaultCounts::default());
    channel.cut("a", "b");
    send();
    channel.heal();
    channel.set_faults(Faults { loss: 1.0, ..Faults::default() });
    send();
    channel.set_faults(Faults { duplicate: 1.0, ..Faults::default() });
    send();
    channel.set_faults(Faults { corrupt: 1.0, ..Faults::default() });
    send();
    channel.set_faults(Faults { delay: millis(10)..millis(10), ..Faults::default() });
    channel.slow("a", "b", millis(10));
    send();
    channel.reset("a", "b");
    let counts = FaultCounts { blocked: 1, lost: 1, duplicated: 1, corrupted: 1, delayed: 1, slowed: 1, reset: 1 };
    assert_eq!(channel.fault_counts(), counts);
}

#[tokio::test]
async fn closing_the_channel_detaches_everyone() {
    let channel = MemoryChannel::new();
    let mut nodes = three(&channel).await;
    channel.close();
    for node in &mut nodes {
        assert_eq!(node.inbox.recv().await, None);
        node.port.broadcast(text("x"));
        node.port.close();
    }
    assert!(matches!(channel.attach("d".into()).await, Err(ChannelError::Closed)));
}

#[test]
#[should_panic(expected = "Faults::loss must be 0 to 1, but 1.5 came")]
fn a_probability_over_one_is_refused() {
    MemoryChannel::new().set_faults(Faults { loss: 1.5, ..Faults::default() });
}
