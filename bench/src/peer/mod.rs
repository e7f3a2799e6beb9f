//! What conflux is put beside, each as its own documentation sets it up. Three nodes each.

#[cfg(feature = "etcd")]
pub(crate) mod etcd;
pub(crate) mod hiqlite;
pub(crate) mod openraft_alone;

use clap::ValueEnum;

use crate::load::{Length, Row};

/// Whom to measure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Peer {
    /// Three nodes of the engine in this process, with a minimal store in memory
    Openraft,
    /// Three processes of etcd with synced disks, callers at the leader
    Etcd,
    /// hiqlite's cache: three nodes in this process that talk by loopback, nothing synced
    HiqliteCache,
    /// hiqlite's SQL: the same, its log written at once and synced by the system when that likes
    HiqliteSql,
}

impl Peer {
    /// Runs a row on a cluster of its own.
    pub(crate) async fn measure(self, callers: usize, length: Length) -> Result<Row, String> {
        match self {
            Peer::Openraft => Ok(openraft_alone::measure(callers, length).await),
            #[cfg(feature = "etcd")]
            Peer::Etcd => etcd::measure(callers, length).await,
            #[cfg(not(feature = "etcd"))]
            Peer::Etcd => {
                Err("its client was not built: `sudo apt-get install protobuf-compiler libprotobuf-dev`".to_owned())
            }
            Peer::HiqliteCache => hiqlite::measure(hiqlite::Path::Cache, callers, length).await,
            Peer::HiqliteSql => hiqlite::measure(hiqlite::Path::Sql, callers, length).await,
        }
    }
}
