//! A node that lost its disk rejoins while the others serve: `cargo bench -p conflux --bench rejoin [ACTIONS [MEGABYTES]]`.
//!
//! Three nodes, TCP on loopback, synced disks. They are loaded as far as they go, then with half of that; then the disk of
//! a follower is taken away, and it comes back with an empty one.

#![expect(clippy::disallowed_methods, reason = "real time is measured")]

#[path = "table/mod.rs"]
mod table;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use conflux::channel::tcp::{TcpChannel, TcpOptions};
use conflux::{FileDisk, Node, Role, Status};
use futures_util::future;
use table::{Method, ROW_BYTES, Table};
use tokio::time::{MissedTickBehavior, interval};

type Rows = imbl::OrdMap<u64, String>;

const NAMES: [&str; 3] = ["a", "b", "c"];
const CALLERS: u32 = 256;
const MEASURED: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let actions: u64 = numbers.next().unwrap_or(1_000_000);
    let megabytes: u64 = numbers.next().unwrap_or(50);
    let rows = megabytes * 1_000_000 / ROW_BYTES as u64;
    let data = tempfile::tempdir().expect("there is a directory for temporary files");

    let mut channels = Vec::new();
    for _ in NAMES {
        channels.push(TcpChannel::bind(TcpOptions::new("127.0.0.1:0")).await.expect("loopback works"));
    }
    for (own, channel) in channels.iter().enumerate() {
        for (peer, there) in channels.iter().enumerate().filter(|(peer, _)| *peer != own) {
            channel.set_peer(NAMES[peer], there.local_address().to_string()).expect("it is an address");
        }
    }
    let open = |nth: usize| {
        let builder = Node::builder(Table::<Rows>::new(), NAMES[nth]).founders(NAMES).channel(channels[nth].clone());
        builder.disk(FileDisk::new(data.path().join(NAMES[nth]))).default_deadline(Duration::from_secs(60)).open()
    };
    let mut nodes = future::try_join_all((0..NAMES.len()).map(open)).await.expect("the nodes open");
    let leader = nodes[0].watch_status().find(|status| status.leader.clone()).await.expect("it is open");
    let leads = nodes.iter().position(|node| *node.id() == leader).expect("it is one of them");
    let lost = (leads + 1) % NAMES.len();
    println!("{actions} actions, {megabytes} MB of rows, three nodes with synced disks by TCP in this process");

    for from in (0..rows).step_by(10_000) {
        nodes[leads].perform(Method::Fill(from, 10_000)).await.expect("it is committed");
    }
    let before = nodes[leads].state().index().0;
    let load = Load::begin(&nodes[leads], rows, None);
    let max = load.rate(MEASURED).await;
    while nodes[leads].state().index().0 - before < actions {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    load.end().await;
    println!("as much as it can, {CALLERS} callers: {max:.0} performs a second");

    let load = Load::begin(&nodes[leads], rows, Some(max / 2.0));
    let offered = load.rate(MEASURED).await;
    println!("half of that is offered: {offered:.0} performs a second");

    nodes.remove(lost).close().await;
    std::fs::remove_dir_all(data.path().join(NAMES[lost])).expect("it was its disk");
    let leader = &nodes[if leads > lost { leads - 1 } else { leads }];
    let (behind, begun, answered) = (leader.state().index(), Instant::now(), load.answered());
    let node = open(lost).await.expect("it opens");
    let caught_up = |status: &Status| (status.role == Role::Follower && status.index >= behind).then_some(());
    node.watch_status().find(caught_up).await.expect("it is open");
    let took = begun.elapsed();
    let during = (load.answered() - answered) as f64 / took.as_secs_f64();
    println!(
        "without its disk a node votes again, and holds all that was there, after {:.1} s; meanwhile {during:.0} performs a \
         second were answered, {:.0} % of before",
        took.as_secs_f64(),
        during / offered * 100.0
    );
    load.end().await;
    future::join_all(nodes.iter().chain([&node]).map(Node::close)).await;
}

/// Callers that perform until they are told to end.
struct Load {
    over: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    callers: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    /// At a rate, or as fast as they are answered.
    fn begin(node: &Node<Table<Rows>>, rows: u64, rate: Option<f64>) -> Load {
        let (over, answered) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let caller = |nth: u32| {
            let (node, over, answered) = (node.clone(), over.clone(), answered.clone());
            let pause = rate.map(|rate| Duration::from_secs_f64(f64::from(CALLERS) / rate));
            tokio::spawn(async move {
                let mut tick = pause.map(interval);
                if let Some(tick) = &mut tick {
                    // What could not be offered in time is not made up for.
                    tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
                }
                let mut key = u64::from(nth);
                while !over.load(Ordering::Relaxed) {
                    if let Some(tick) = &mut tick {
                        tick.tick().await;
                    }
                    key = (key + 7919) % rows;
                    node.perform(Method::Put(key)).await.expect("it is committed");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let callers = (0..CALLERS).map(caller).collect();
        Load { over, answered, callers }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    async fn rate(&self, time: Duration) -> f64 {
        let (before, begun) = (self.answered(), Instant::now());
        tokio::time::sleep(time).await;
        (self.answered() - before) as f64 / begun.elapsed().as_secs_f64()
    }

    async fn end(self) {
        self.over.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.expect("a caller does not panic");
        }
    }
}
