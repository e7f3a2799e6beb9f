//! Two workers, one lock, three nodes, and what goes wrong on a normal day.

use std::error::Error;
use std::time::Duration;

use conflux::{MemoryChannel, Node, PerformError};

use crate::locks::{Action, Locks, Method};

/// What the lock protects. It knows nothing of clocks or leases: it refuses tokens that are older than one it has seen.
#[derive(Default)]
struct Storage {
    newest_token: u64,
    written: Vec<&'static str>,
}

impl Storage {
    fn write(&mut self, token: u64, what: &'static str) -> Result<(), String> {
        if token < self.newest_token {
            return Err(format!("refused: token {token} is older than {}", self.newest_token));
        }
        self.newest_token = token;
        self.written.push(what);
        Ok(())
    }
}

/// Runs to its end in about three seconds.
pub(crate) async fn run() -> Result<(), Box<dyn Error>> {
    let channel = MemoryChannel::new();
    let mut nodes = Vec::new();
    for id in ["a", "b", "c"] {
        nodes.push(Node::builder(Locks, id).cluster_size(3).channel(channel.clone()).open().await?);
    }
    let mut storage = Storage::default();

    let first = acquire(&nodes[0], "worker-1", 2_000).await?;
    println!("worker-1 has the lock, token {first}, for 2 s");
    match acquire(&nodes[1], "worker-2", 60_000).await {
        Err(PerformError::Rejected { .. }) => println!("worker-2, at another node, is refused: worker-1 holds it"),
        other => return Err(format!("two hold the lock: {other:?}").into()),
    }

    println!("worker-1 pauses in the middle of its work, longer than its lease");
    let second = loop {
        match acquire(&nodes[1], "worker-2", 60_000).await {
            Err(PerformError::Rejected { .. }) => tokio::time::sleep(Duration::from_millis(20)).await,
            done => break done?,
        }
    };
    println!("worker-2 has the lock, token {second}");
    storage.write(second, "worker-2's report")?;

    println!("worker-1 wakes up, sure that it still has the lock, and writes");
    let Err(refusal) = storage.write(first, "worker-1's report") else {
        return Err("the storage took a write under a lost lock".into());
    };
    println!("the storage: {refusal}");

    let leader = nodes[0].linearizable_state().await.map(|_| nodes[0].status().leader)?;
    let leading = nodes.iter().position(|node| Some(node.id()) == leader.as_ref()).unwrap_or(0);
    nodes.remove(leading).close().await;
    println!("the leader is gone; the others go on by themselves");
    let renewed = nodes[0].perform(Method::Renew("report".into(), second, 120_000)).await?;
    println!("worker-2 renews its lease at index {}", renewed.index);
    let released = nodes[1].perform(Method::Release("report".into(), second)).await?;
    println!("worker-2 releases the lock at index {}", released.index);

    for node in &nodes {
        let table = node.linearizable_state().await?;
        assert!(table.held.is_empty() && table.last_token == second, "all nodes hold the same table");
    }
    println!("the lock is free on every node; written: {}", storage.written.join(", "));
    for node in nodes {
        node.close().await;
    }
    Ok(())
}

/// Acquires the lock "report", and gives its token.
async fn acquire(node: &Node<Locks>, holder: &str, lease_ms: u64) -> Result<u64, PerformError<crate::locks::Refusal>> {
    let done = node.perform(Method::Acquire("report".into(), holder.into(), lease_ms)).await?;
    match done.action.as_deref() {
        Some(Action::Acquired { token, .. }) => Ok(*token),
        other => unreachable!("acquire either acquires or is refused, but it came to {other:?}"),
    }
}
