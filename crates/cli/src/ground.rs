//! What the nodes of a cluster stand on: the channel between them and a disk for each.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conflux::json::JsonNode;
use conflux::{FileDisk, MemoryChannel, MemoryDisk};
use conflux_core::{NodeName, Random};
use futures_core::future::BoxFuture;
use tokio::time::timeout;

use crate::exit::Refusal;
use crate::factory::Factory;

/// How long a node may take to open before it is given up. It replays its disk first.
const OPEN_WAIT: Duration = Duration::from_secs(30);

/// How long a perform is tried unless told: the library's own default.
pub(crate) const DEADLINE: Duration = Duration::from_secs(10);

/// Opens nodes. They are forgotten by it once open; their disks are not.
pub(crate) trait Ground: Send + Sync {
    /// Opens a node on its disk.
    fn open(&self, name: &NodeName) -> BoxFuture<'_, Result<Arc<dyn JsonNode>, Refusal>>;

    /// Puts an empty disk in place of the node's. The node is not open.
    fn wipe(&self, name: &NodeName) -> Result<(), Refusal>;

    /// Parts the nodes into groups that do not hear each other.
    fn partition(&self, groups: &[Vec<String>]);

    /// Lets all nodes hear each other again.
    fn heal(&self);

    /// What the nodes' containers found wrong with themselves since it was last asked.
    fn findings(&self) -> Vec<String>;
}

/// Options of the library that the program passes on; `None` leaves the library's own default.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeOptions {
    pub(crate) election_timeout_min: Option<Duration>,
    pub(crate) election_timeout_max: Option<Duration>,
    pub(crate) heartbeat_interval: Option<Duration>,
    pub(crate) deadline: Option<Duration>,
    pub(crate) seed: Option<u64>,
    /// Where each node has a directory of its name for its disk; in memory without it.
    pub(crate) data: Option<PathBuf>,
    pub(crate) in_flight_max: Option<usize>,
}

/// Real nodes in this process, over a memory channel.
pub(crate) struct MemoryGround<F> {
    factory: F,
    cluster_size: usize,
    channel: MemoryChannel,
    disks: Mutex<BTreeMap<NodeName, Standing>>,
    options: NodeOptions,
}

/// A node's disk, and how often the node was opened.
#[derive(Default)]
struct Standing {
    disk: MemoryDisk,
    opened: u64,
}

impl<F: Factory> MemoryGround<F> {
    pub(crate) fn new(factory: F, cluster_size: usize, options: NodeOptions) -> Self {
        let channel = options.seed.map_or_else(MemoryChannel::new, MemoryChannel::seeded);
        MemoryGround { factory, cluster_size, channel, disks: Mutex::default(), options }
    }

    fn directory(&self, name: &NodeName) -> Option<PathBuf> {
        self.options.data.as_ref().map(|data| data.join(&**name))
    }

    /// Opens a node, and keeps its type: for callers that do not go through JSON.
    pub(crate) async fn open_typed(&self, name: &NodeName) -> Result<conflux::Node<F::Container>, Refusal> {
        let container = self.factory.make()?;
        let (disk, opened) = {
            let mut disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
            let standing = disks.entry(name.clone()).or_default();
            standing.opened += 1;
            (standing.disk.clone(), standing.opened)
        };
        let builder = conflux::Node::builder(container, &**name);
        let mut builder = builder.cluster_size(self.cluster_size).channel(self.channel.clone());
        builder = match self.directory(name) {
            Some(directory) => builder.disk(FileDisk::new(directory)),
            None => builder.disk(disk),
        };
        let NodeOptions { election_timeout_min: min, election_timeout_max: max, .. } = self.options;
        if min.is_some() || max.is_some() {
            let (min, max) = election_timeout(min, max);
            builder = builder.election_timeout(min, max);
        }
        if let Some(interval) = self.options.heartbeat_interval {
            builder = builder.heartbeat_interval(interval);
        }
        if let Some(deadline) = self.options.deadline {
            builder = builder.default_deadline(deadline);
        }
        if let Some(calls) = self.options.in_flight_max {
            builder = builder.in_flight_max(calls);
        }
        if let Some(seed) = self.options.seed {
            builder = builder.seed(seed_of(seed, name, opened));
        }
        match timeout(OPEN_WAIT, builder.open()).await {
            Ok(opened) => opened.map_err(Refusal::in_flags),
            Err(_) => {
                let seconds = OPEN_WAIT.as_secs();
                Err(Refusal::new(format!("node {name:?} did not open within {seconds} s; is a partition in its way?")))
            }
        }
    }
}

/// The range of election timeouts; where only one end is given, the other is the library's default.
pub(crate) fn election_timeout(min: Option<Duration>, max: Option<Duration>) -> (Duration, Duration) {
    (min.unwrap_or(Duration::from_millis(300)), max.unwrap_or(Duration::from_millis(500)))
}

/// Nodes with one seed would draw the same election timeouts and split every vote; a node restarted with its old seed
/// would draw its old incarnation.
fn seed_of(seed: u64, name: &str, opened: u64) -> u64 {
    name.bytes().fold(Random::new(seed ^ opened.rotate_left(32)).next_u64(), |seed, byte| {
        Random::new(seed ^ u64::from(byte)).next_u64()
    })
}

impl<F: Factory> Ground for MemoryGround<F> {
    fn open(&self, name: &NodeName) -> BoxFuture<'_, Result<Arc<dyn JsonNode>, Refusal>> {
        let name = name.clone();
        Box::pin(async move { Ok(Arc::new(self.open_typed(&name).await?) as Arc<dyn JsonNode>) })
    }

    fn wipe(&self, name: &NodeName) -> Result<(), Refusal> {
        let mut disks = self.disks.lock().unwrap_or_else(PoisonError::into_inner);
        disks.entry(name.clone()).or_default().disk = MemoryDisk::new();
        match self.directory(name) {
            Some(directory) if directory.exists() => std::fs::remove_dir_all(&directory)
                .map_err(|error| Refusal::new(format!("cannot remove {}: {error}", directory.display()))),
            _ => Ok(()),
        }
    }

    fn partition(&self, groups: &[Vec<String>]) {
        let groups: Vec<&[String]> = groups.iter().map(Vec::as_slice).collect();
        self.channel.partition(&groups);
    }

    fn heal(&self) {
        self.channel.heal();
    }

    fn findings(&self) -> Vec<String> {
        self.factory.findings()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_openings_have_one_seed() {
        let mut seeds: Vec<u64> =
            ["a", "b", "aa"].iter().flat_map(|name| (1..4).map(|opened| seed_of(0, name, opened))).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 9);
    }
}
