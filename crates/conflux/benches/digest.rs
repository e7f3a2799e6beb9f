//! What the comparison of the replicas' states costs: `cargo bench -p conflux --bench digest [PAIRS]`.
//!
//! Two clusters, one whose replicas compare their states as often as is usual and one whose never do, are loaded in turn,
//! so that what else goes on at the machine hits both alike. Both never take a snapshot, which would hide it. A large state
//! is compared rarely, and in few of the turns: what counts is what all of them come to.

#![expect(clippy::disallowed_methods, reason = "real time is measured")]

#[path = "table/mod.rs"]
mod table;

use std::time::{Duration, Instant};

use conflux::{Index, MemoryChannel, Node};
use futures_util::future;
use table::{Method, Table};

type Rows = imbl::OrdMap<u64, String>;

const CALLERS: u64 = 256;
const TURN: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let pairs: usize = numbers.next().unwrap_or(21);
    println!("three nodes in one process, {CALLERS} callers, {pairs} pairs of turns of {TURN:?}");
    println!("{:>8} {:>12} {:>12} {:>8} {:>16}", "state", "compared/s", "never/s", "costs", "quarter to three");
    for (told, rows) in [("100 B", 1), ("1 MB", 10_000), ("50 MB", 500_000)] {
        let [compared, never] = [Cluster::open(rows, None).await, Cluster::open(rows, Some(u64::MAX)).await];
        let mut rates = Vec::new();
        for turn in 0..=pairs {
            let (with, without) = if turn % 2 == 0 {
                let with = compared.rate(rows).await;
                (with, never.rate(rows).await)
            } else {
                let without = never.rate(rows).await;
                (compared.rate(rows).await, without)
            };
            // The first pair warms up.
            if turn > 0 {
                rates.push((with, without));
            }
        }
        let at = |part: f64, mut of: Vec<f64>| {
            of.sort_unstable_by(f64::total_cmp);
            of[((of.len() - 1) as f64 * part).round() as usize]
        };
        let costs = |part| at(part, rates.iter().map(|(with, without)| (1.0 - with / without) * 100.0).collect());
        let total = |rate: fn(&(f64, f64)) -> f64| rates.iter().map(rate).sum::<f64>();
        println!(
            "{told:>8} {:>12.0} {:>12.0} {:>6.1} % {:>6.1} to {:>4.1} %",
            at(0.5, rates.iter().map(|rate| rate.0).collect()),
            at(0.5, rates.iter().map(|rate| rate.1).collect()),
            (1.0 - total(|rate| rate.0) / total(|rate| rate.1)) * 100.0,
            costs(0.25),
            costs(0.75),
        );
        compared.close().await;
        never.close().await;
    }
}

struct Cluster {
    nodes: Vec<Node<Table<Rows>>>,
    leads: usize,
}

impl Cluster {
    /// With a table of so many rows.
    async fn open(rows: u64, digest_every: Option<u64>) -> Cluster {
        let hub = MemoryChannel::new();
        let open = |name| {
            let builder = Node::builder(Table::<Rows>::new(), name).cluster_size(3).channel(hub.clone());
            let builder = builder.compaction(usize::MAX, usize::MAX);
            match digest_every {
                Some(actions) => builder.digest_every(actions),
                None => builder,
            }
            .open()
        };
        let nodes = future::try_join_all(["a", "b", "c"].map(open)).await.expect("the nodes open");
        let leader = nodes[0].watch_status().find(|status| status.leader.clone()).await.expect("it is open");
        let leads = nodes.iter().position(|node| *node.id() == leader).expect("it is one of them");
        for from in (0..rows).step_by(10_000) {
            nodes[leads].perform(Method::Fill(from, 10_000.min(rows - from))).await.expect("it is committed");
        }
        Cluster { nodes, leads }
    }

    /// How many performs a second are answered in one turn.
    async fn rate(&self, rows: u64) -> f64 {
        let begun = Instant::now();
        let caller = |nth: u64| {
            let node = self.nodes[self.leads].clone();
            tokio::spawn(async move {
                let (mut key, mut answered) = (nth, 0_u64);
                while begun.elapsed() < TURN {
                    key = (key + 7919) % rows;
                    node.perform(Method::Put(key)).await.expect("it is committed");
                    answered += 1;
                }
                answered
            })
        };
        let answered = future::try_join_all((0..CALLERS).map(caller)).await.expect("a caller does not panic");
        let rate = answered.iter().sum::<u64>() as f64 / begun.elapsed().as_secs_f64();
        // What the others have still to apply is no part of the next turn.
        let last: Index = self.nodes[self.leads].state().index();
        for node in &self.nodes {
            node.watch_status().find(|status| (status.index >= last).then_some(())).await.expect("it is open");
        }
        rate
    }

    async fn close(self) {
        future::join_all(self.nodes.iter().map(Node::close)).await;
    }
}
