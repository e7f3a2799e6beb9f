//! Nodes as processes in simulated time, with the test's hand on what is between them.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use conflux::process::Process;
use conflux::{Index, MemoryChannel, MemoryDisk, Node, NodeBuilder, Role, Status};
use tokio::time::{sleep, timeout};

use super::board::Board;
use super::post::Post;

type Set = Box<dyn Fn(&str, NodeBuilder<Board>) -> NodeBuilder<Board>>;

pub(crate) struct Cluster {
    pub(crate) channel: MemoryChannel,
    pub(crate) post: Post,
    set: Set,
    /// What each name remembers when its process has ended.
    disks: BTreeMap<String, MemoryDisk>,
    lives: BTreeMap<String, (Node<Board>, Process)>,
    seed: u64,
}

impl Cluster {
    /// Nobody is there yet. `set` gives a node its options; with nothing said, three found a cluster.
    pub(crate) fn empty(seed: u64, set: impl Fn(&str, NodeBuilder<Board>) -> NodeBuilder<Board> + 'static) -> Cluster {
        conflux::seed_thread(seed);
        let channel = MemoryChannel::seeded(seed);
        let (disks, lives) = (BTreeMap::new(), BTreeMap::new());
        Cluster { post: Post::new(channel.clone()), channel, set: Box::new(set), disks, lives, seed: seed << 16 }
    }

    /// They have founded a cluster, and the first leads.
    pub(crate) async fn of(names: &[&str]) -> Cluster {
        Cluster::with(names, |_, builder| builder).await
    }

    pub(crate) async fn with(
        names: &[&str],
        set: impl Fn(&str, NodeBuilder<Board>) -> NodeBuilder<Board> + 'static,
    ) -> Cluster {
        let size = names.len();
        let mut cluster = Cluster::empty(1, move |name, builder| set(name, builder.cluster_size(size)));
        for name in names {
            cluster.open(name).await;
        }
        for name in names {
            cluster.node(name).linearizable_state().await.expect("they found a cluster");
        }
        cluster.lead(names[0]).await;
        cluster
    }

    /// Opens a node, on what it remembers.
    pub(crate) async fn open(&mut self, name: &str) {
        let channel = self.channel.clone();
        let detached = name.to_owned();
        let process = Process::new(move || channel.detach(&detached));
        let disk = self.disks.entry(name.into()).or_default();
        self.seed += 1;
        let builder = Node::builder(Board, name).cluster_size(3).channel(self.post.clone()).disk(disk.clone());
        let builder = (self.set)(name, builder.seed(self.seed));
        let opened = process.spawn(builder.open()).await.expect("nobody kills it");
        self.lives.insert(name.into(), (opened.expect("the options are good"), process));
    }

    /// As SIGKILL does; ends when all of it is gone.
    pub(crate) async fn kill(&mut self, name: &str) {
        let (node, process) = self.lives.remove(name).expect("it is open");
        process.kill();
        node.close().await;
    }

    /// It remembers nothing.
    pub(crate) fn wipe(&mut self, name: &str) {
        assert!(!self.lives.contains_key(name), "{name} is open");
        self.disks.remove(name);
    }

    /// What a node that is not open any more remembers.
    pub(crate) fn disk(&self, name: &str) -> &MemoryDisk {
        &self.disks[name]
    }

    pub(crate) fn node(&self, name: &str) -> &Node<Board> {
        &self.lives[name].0
    }

    pub(crate) fn nodes(&self) -> impl Iterator<Item = &Node<Board>> {
        self.lives.values().map(|(node, _)| node)
    }

    pub(crate) fn process(&self, name: &str) -> &Process {
        &self.lives[name].1
    }

    /// Has a node lead and judge, and all know of it.
    pub(crate) async fn lead(&self, name: &str) {
        let led = self.node(name).transfer_leadership(Some(name)).await;
        assert_eq!(&*led.expect("it has caught up"), name);
        for node in self.nodes() {
            until(node, |status| (status.leader.as_deref() == Some(name)).then_some(())).await;
        }
        assert_eq!(self.node(name).status().role, Role::Leader);
        // And has forked.
        pass_ms(1).await;
    }

    /// All words, at all nodes.
    pub(crate) async fn words(&self) -> Vec<String> {
        let mut all = Vec::new();
        for node in self.nodes() {
            let read = node.linearizable_state().await;
            all.push(read.unwrap_or_else(|error| panic!("{}: {error}", node.id())).into_inner());
        }
        assert!(all.windows(2).all(|two| two[0] == two[1]), "{all:?}");
        all[0].words.clone()
    }
}

pub(crate) async fn pass_ms(ms: u64) {
    sleep(Duration::from_millis(ms)).await;
}

/// Lets so much time pass, in which that does not end.
pub(crate) async fn waits_ms<F: Future + Unpin>(ms: u64, future: &mut F)
where
    F::Output: std::fmt::Debug,
{
    if let Ok(ended) = timeout(Duration::from_millis(ms), future).await {
        panic!("it ends: {ended:?}");
    }
}

/// Waits until a node is as it is looked for.
pub(crate) async fn until<R>(node: &Node<Board>, wanted: impl FnMut(&Status) -> Option<R>) -> R {
    let found = timeout(Duration::from_secs(60), node.watch_status().find(wanted)).await;
    found.unwrap_or_else(|_| panic!("{:?}", node.status())).expect("it is open")
}

pub(crate) async fn until_index(node: &Node<Board>, index: u64) {
    until(node, |status| (status.index >= Index(index)).then_some(())).await;
}
