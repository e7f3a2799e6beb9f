//! A cluster by a relay: three nodes that only dial out.

use std::time::Duration;

use crate::common::{Words, append, serving};
use conflux::channel::websocket::{ClusterKey, Relay, RelayOptions, WebsocketChannel, WebsocketOptions};
use conflux::{MemoryDisk, Node};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_serve_and_go_on_when_the_relay_and_one_of_them_come_back() {
    let relay = Relay::bind(RelayOptions::new("127.0.0.1:0")).await.expect("a port is free");
    let address = relay.local_address();
    let key = ClusterKey::new(*b"the key of all our nodes").expect("it is long enough");
    let room = || WebsocketOptions::new(format!("ws://{address}/words")).key(key.clone());
    let open = async |name: &str, disk: &MemoryDisk| {
        let channel = WebsocketChannel::new(room()).expect("it is an address");
        let builder = Node::builder(Words, name).cluster_size(3).channel(channel).disk(disk.clone());
        builder.open().await.expect("the options are good")
    };
    let (names, disks) = (["a", "b", "c"], [(); 3].map(|()| MemoryDisk::new()));
    let mut nodes = Vec::new();
    for (name, disk) in names.iter().zip(&disks) {
        nodes.push(open(name, disk).await);
    }
    serving(&nodes).await;
    for (node, name) in nodes.iter().zip(names) {
        node.perform(append(name)).await.expect("the cluster serves");
    }

    relay.close().await;
    let waiting = nodes[1].perform(append("through")).timeout(Duration::from_secs(60)).start();
    let _relay = Relay::bind(RelayOptions::new(address.to_string())).await.expect("the port is free");
    waiting.await.expect("they meet again");

    let gone = nodes.remove(2);
    gone.close().await;
    drop(gone);
    nodes[0].perform(append("without")).await.expect("two of three serve");
    nodes.push(open("c", &disks[2]).await);
    nodes[2].perform(append("back")).timeout(Duration::from_secs(60)).await.expect("it is let in again");
    for node in &nodes {
        let state = node.linearizable_state().await.expect("the cluster serves");
        assert_eq!(*state, ["a", "b", "c", "through", "without", "back"]);
    }
    for node in &nodes {
        node.close().await;
    }
}
