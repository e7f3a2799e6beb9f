//! How long performs wait for a snapshot of a large state: `cargo bench -p conflux --bench stall [MEGABYTES [NODES]]`.
//!
//! One caller performs all the time. At first there is no snapshot, then one after another is taken, on every node at once.

#![expect(clippy::disallowed_methods, reason = "real time is measured")]

#[path = "table/mod.rs"]
mod table;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use conflux::{FileDisk, MemoryChannel, Node};
use futures_util::future;
use table::{Method, ROW_BYTES, Rows, Table, Times};

/// How long performs are measured without a snapshot.
const QUIET: Duration = Duration::from_secs(3);

/// How often a snapshot is taken.
const SNAPSHOTS: usize = 3;

#[tokio::main]
async fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|argument| argument.parse().ok());
    let megabytes: usize = numbers.next().unwrap_or(500);
    let nodes: usize = numbers.next().unwrap_or(1);
    println!("{megabytes} MB of rows, nodes {nodes}, synced disks; heartbeat interval 50 ms; performs in ms");
    println!("{:36} {:>9} {:>9} {:>9} {:>9}", "", "performs", "p50", "p99", "longest");
    run::<imbl::OrdMap<u64, String>>("persistent", megabytes, nodes).await;
    run::<BTreeMap<u64, String>>("plain", megabytes, nodes).await;
}

async fn run<R: Rows>(name: &str, megabytes: usize, nodes: usize) {
    let data = tempfile::tempdir().expect("there is a directory for temporary files");
    let channel = MemoryChannel::new();
    let open = |nth: usize| {
        let builder = Node::builder(Table::<R>::new(), nth.to_string()).cluster_size(nodes).channel(channel.clone());
        // Nothing is compared, and no snapshot is taken but those that are asked for.
        let builder = builder.digest_every(u64::MAX).compaction(1 << 40, 1 << 40);
        builder.disk(FileDisk::new(data.path().join(nth.to_string()))).default_deadline(Duration::from_secs(120)).open()
    };
    let opened = future::try_join_all((0..nodes).map(open)).await.expect("the nodes open");
    let node = &opened[0];
    let rows = (megabytes * 1_000_000 / ROW_BYTES) as u64;
    for from in (0..rows).step_by(10_000) {
        node.perform(Method::Fill(from, 10_000)).await.expect("it is committed");
    }

    measure(&format!("{name}, no snapshot"), node, rows, tokio::time::sleep(QUIET)).await;
    for _ in 0..SNAPSHOTS {
        let mut took = None;
        let snapshots = async {
            let begun = Instant::now();
            let done = future::try_join_all(opened.iter().map(Node::compact)).await.expect("a snapshot is taken");
            took = Some((begun.elapsed(), done[0].bytes / 1_000_000));
        };
        measure(&format!("{name}, a snapshot is taken"), node, rows, snapshots).await;
        let (time, size) = took.expect("it was taken");
        println!("{:36} {size} MB in {:.1} s", "", time.as_secs_f64());
    }
    future::join_all(opened.iter().map(Node::close)).await;
}

/// Has a caller perform until `during` is over, and prints how long each perform took.
async fn measure<R: Rows>(what: &str, node: &Node<Table<R>>, rows: u64, during: impl Future<Output = ()>) {
    let over = Arc::new(AtomicBool::new(false));
    let caller = tokio::spawn({
        let (node, over) = (node.clone(), over.clone());
        async move {
            let mut times = Times::default();
            for key in (0..rows).cycle() {
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let begun = Instant::now();
                node.perform(Method::Put(key)).await.expect("it is committed");
                times.record(begun);
            }
            times
        }
    });
    during.await;
    over.store(true, Ordering::Relaxed);
    let times = caller.await.expect("the caller does not panic");
    println!("{what:36} {}", times.told());
}
