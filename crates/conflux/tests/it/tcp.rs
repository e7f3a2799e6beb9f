//! A cluster over TCP: three nodes, each with a channel of its own.

use std::time::Duration;

use crate::common::{Method, Words, append, serving};
use conflux::channel::tcp::{TcpChannel, TcpOptions};
use conflux::{MemoryDisk, Node};

const NAMES: [&str; 3] = ["a", "b", "c"];

async fn open(channel: &TcpChannel, name: &str, disk: &MemoryDisk) -> Node<Words> {
    let builder = Node::builder(Words, name).founders(NAMES).channel(channel.clone()).disk(disk.clone());
    builder.open().await.expect("the options are good")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_serve_and_go_on_when_one_is_away_and_when_it_is_back() {
    let mut channels = Vec::new();
    for _ in NAMES {
        channels.push(TcpChannel::bind(TcpOptions::new("127.0.0.1:0")).await.expect("a port is free"));
    }
    let addresses: Vec<_> = channels.iter().map(|channel| channel.local_address().to_string()).collect();
    for (at, channel) in channels.iter().enumerate() {
        for (other, address) in addresses.iter().enumerate().filter(|(other, _)| *other != at) {
            channel.set_peer(NAMES[other], address).expect("it is an address");
        }
    }
    let disks = [(); 3].map(|()| MemoryDisk::new());
    let mut nodes = Vec::new();
    for ((channel, name), disk) in channels.iter().zip(NAMES).zip(&disks) {
        nodes.push(open(channel, name, disk).await);
    }
    serving(&nodes).await;
    for (node, name) in nodes.iter().zip(NAMES) {
        node.perform(append(name)).await.expect("the cluster serves");
    }

    // Its address stays, as that of a restarted process does.
    let gone = nodes.remove(2);
    gone.close().await;
    drop(gone);
    channels[2].close().await;
    for (node, word) in nodes.iter().zip(["without", "c"]) {
        node.perform(append(word)).await.expect("two of three serve");
    }

    // It knows only one of the others, and is told of the second.
    let options = TcpOptions::new(&addresses[2]).peer("a", &addresses[0]);
    channels[2] = TcpChannel::bind(options).await.expect("the port is free again");
    nodes.push(open(&channels[2], "c", &disks[2]).await);
    let done = nodes[2].perform(append("back")).timeout(Duration::from_secs(30)).await.expect("it is let in again");
    assert_eq!(done.index.0, 6);
    let channel = nodes[0].metrics().channel;
    assert!(channel.connected == 2 && channel.reconnects >= 1 && channel.frames_sent > 0, "{channel:?}");
    for node in &nodes {
        let state = node.linearizable_state().await.expect("the cluster serves");
        assert_eq!(*state, ["a", "b", "c", "without", "c", "back"]);
    }
    for node in &nodes {
        node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn large_actions_and_a_large_snapshot_get_through() {
    const LARGE: usize = 3 * 1024 * 1024;
    let channel_a = TcpChannel::bind(TcpOptions::new("127.0.0.1:0")).await.expect("a port is free");
    let to_a = TcpOptions::new("127.0.0.1:0").peer("a", channel_a.local_address().to_string());
    let channel_b = TcpChannel::bind(to_a).await.expect("a port is free");
    let builder = |name: &str| Node::builder(Words, name).founders(["a"]).compaction(4, 64 * 1024 * 1024);
    let a = builder("a").channel(channel_a).open().await.expect("the options are good");
    for _ in 0..10 {
        a.perform(Method::Large(LARGE)).await.expect("it is within the limit");
    }
    // It joins, and is sent all of it.
    let b = builder("b").channel(channel_b).open().await.expect("the options are good");
    let state = b.linearizable_state().await.expect("the cluster serves");
    assert_eq!((state.len(), state[9].len()), (10, LARGE));
    b.perform(Method::Large(LARGE)).await.expect("it is within the limit");
    assert_eq!(a.linearizable_state().await.expect("the cluster serves").len(), 11);
}
