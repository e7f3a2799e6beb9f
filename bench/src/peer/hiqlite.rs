//! Three nodes of hiqlite in this process, which talk by loopback: set up as its own example `bench` does, and called as
//! that one calls.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hiqlite::macros::{CacheVariants, params};
use hiqlite::{Client, Node, NodeConfig, start_node_with_cache};

use crate::load::{Length, Row, load};
use crate::usage::Processes;

/// Which of its two clusters.
#[derive(Clone, Copy)]
pub(crate) enum Path {
    Cache,
    Sql,
}

/// Between two looks whether all nodes have joined.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long the cluster may take until it serves.
const START_WAIT: Duration = Duration::from_secs(60);

#[derive(Debug, CacheVariants)]
enum Cache {
    One,
}

/// Runs a row on a cluster of its own, which goes with the process: to shut it down in order takes ten seconds.
pub(crate) async fn measure(path: Path, callers: usize, length: Length) -> Result<Row, String> {
    let data = tempfile::Builder::new().prefix("hiqlite-").tempdir().map_err(|error| error.to_string())?;
    let begun = tokio::time::timeout(START_WAIT, start(data.path()));
    let client = begun.await.map_err(|_| format!("hiqlite does not serve after {} s", START_WAIT.as_secs()))??;
    let row = match path {
        Path::Cache => {
            load(callers, length, Processes::own(), |caller| {
                let (client, key) = (client.clone(), format!("caller-{caller:08}"));
                move || {
                    let (client, key) = (client.clone(), key.clone());
                    async move { client.put(Cache::One, key, &1u64, None).await.is_ok() }
                }
            })
            .await
        }
        Path::Sql => {
            let table = "CREATE TABLE counted (id INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL)";
            client.execute(table, params!()).await.map_err(|error| error.to_string())?;
            let next = Arc::new(AtomicI64::new(1));
            load(callers, length, Processes::own(), |_| {
                let (client, next) = (client.clone(), next.clone());
                move || {
                    let (client, id) = (client.clone(), next.fetch_add(1, Ordering::Relaxed));
                    async move {
                        let insert = "INSERT INTO counted (id, name) VALUES ($1, $2)";
                        client.execute(insert, params!(id, "sixteen bytes ab")).await.is_ok()
                    }
                }
            })
            .await
        }
    };
    Ok(row)
}

async fn start(data: &std::path::Path) -> Result<Client, String> {
    let nodes: Vec<Node> = (1..=3)
        .map(|id| Node {
            id,
            addr_api: format!("127.0.0.1:{}", 48_100 + id),
            addr_raft: format!("127.0.0.1:{}", 48_200 + id),
        })
        .collect();
    let mut clients = Vec::new();
    for node in &nodes {
        let mut raft_config = NodeConfig::default_raft_config(10_000);
        raft_config.heartbeat_interval = 500;
        raft_config.election_timeout_min = 1500;
        raft_config.election_timeout_max = 2500;
        raft_config.max_payload_entries = 128;
        let directory = data.join(node.id.to_string());
        std::fs::create_dir_all(&directory).map_err(|error| error.to_string())?;
        let config = NodeConfig {
            node_id: node.id,
            nodes: nodes.clone(),
            raft_config,
            data_dir: directory.to_string_lossy().into_owned().into(),
            cache_storage_disk: false,
            wal_size: 8 << 20,
            secret_raft: "a secret of sixteen and more".to_owned(),
            secret_api: "another secret of sixteen and more".to_owned(),
            ..NodeConfig::default()
        };
        clients.push(start_node_with_cache::<Cache>(config).await.map_err(|error| error.to_string())?);
    }
    for client in &clients {
        client.wait_until_healthy_db().await;
        client.wait_until_healthy_cache().await;
    }
    let first = clients.swap_remove(0);
    loop {
        let voters = |metrics: Result<_, hiqlite::Error>| metrics.map_err(|error| error.to_string());
        let (db, cache) = (voters(first.metrics_db().await)?, voters(first.metrics_cache().await)?);
        if [db, cache].iter().all(|metrics| metrics.membership_config.voter_ids().count() == nodes.len()) {
            return Ok(first);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
