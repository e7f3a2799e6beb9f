//! How a node is described and opened.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use conflux_core::ids::NODE_NAME_BYTES_MAX;
use conflux_core::{Container, NodeName, Random, Retention};

use crate::channel::{Channel, ChannelError};
use crate::clock::WallClock;
use crate::core::Core;
use crate::disk::{Disk, DiskError, MemoryDisk};
use crate::founding::Founders;
use crate::message::FOUNDERS_MAX;
use crate::node::Node;
use crate::options::{BadOption, Timing, written};
use crate::raft::Compaction;
use crate::stop::Stop;

/// The shortest life of a session: calls must be over before theirs can expire.
const SESSION_LIFE_MIN: Duration = Duration::from_secs(1);

/// What a node was told.
pub(crate) struct Options {
    pub(crate) founders: Founders,
    pub(crate) timing: Timing,
    pub(crate) deadline: Duration,
    pub(crate) in_flight_max: usize,
    pub(crate) history_max: usize,
    pub(crate) retention: Retention,
    pub(crate) compaction: Compaction,
    pub(crate) digest_every: u64,
    pub(crate) wall_clock: WallClock,
}

/// Why a node did not open.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// An option cannot be.
    #[error(transparent)]
    Option(#[from] BadOption),
    /// The channel did not take the node.
    #[error(transparent)]
    Channel(#[from] ChannelError),
    /// The disk cannot be opened.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// What is on the disk cannot be used.
    #[error("the node cannot go on from its disk: {0}")]
    Stop(#[source] Stop),
}

impl From<Stop> for OpenError {
    fn from(stop: Stop) -> Self {
        match stop {
            Stop::Disk(error) => OpenError::Disk(error),
            stop => OpenError::Stop(stop),
        }
    }
}

/// Describes a node. Only [`channel`](Self::channel) and one of [`cluster_size`](Self::cluster_size) and
/// [`founders`](Self::founders) must be given.
pub struct NodeBuilder<C: Container> {
    container: C,
    id: String,
    size: Option<usize>,
    founders: Option<Vec<String>>,
    channel: Option<Arc<dyn Channel>>,
    disk: Option<Arc<dyn Disk>>,
    timing: Timing,
    deadline: Duration,
    in_flight_max: usize,
    history_max: usize,
    retention: Retention,
    compaction: Compaction,
    digest_every: u64,
    seed: Option<u64>,
    wall_clock: WallClock,
}

impl<C: Container> NodeBuilder<C> {
    pub(crate) fn new(container: C, id: String) -> Self {
        NodeBuilder {
            container,
            id,
            size: None,
            founders: None,
            channel: None,
            disk: None,
            timing: Timing::default(),
            deadline: Duration::from_secs(10),
            in_flight_max: 65_536,
            history_max: 16_384,
            retention: Retention::default(),
            compaction: Compaction { batches_max: 8_192, bytes_max: 16 * 1024 * 1024 },
            digest_every: 1000,
            seed: None,
            wall_clock: WallClock::system(),
        }
    }

    /// How many nodes found the cluster: the first so many that find each other on the channel. Those that come later
    /// join. Safe as long as fewer than twice as many start before it has formed; otherwise name the
    /// [`founders`](Self::founders).
    pub fn cluster_size(mut self, nodes: usize) -> Self {
        self.size = Some(nodes);
        self
    }

    /// Which nodes found the cluster.
    pub fn founders<S: Into<String>>(mut self, ids: impl IntoIterator<Item = S>) -> Self {
        self.founders = Some(ids.into_iter().map(Into::into).collect());
        self
    }

    /// How the nodes talk.
    pub fn channel(mut self, channel: impl Channel) -> Self {
        self.channel = Some(Arc::new(channel));
        self
    }

    /// Where the node keeps what it must not forget, a [`FileDisk`](crate::FileDisk) for instance; a fresh
    /// [`MemoryDisk`] unless given.
    pub fn disk(mut self, disk: impl Disk) -> Self {
        self.disk = Some(Arc::new(disk));
        self
    }

    /// How long the leader must be silent before another node takes over: a random time between these. 300 to 500 ms
    /// unless given.
    pub fn election_timeout(mut self, min: Duration, max: Duration) -> Self {
        self.timing.election_timeout_min = min;
        self.timing.election_timeout_max = max;
        self
    }

    /// How often the leader is heard when nothing happens; 50 ms unless given.
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.timing.heartbeat = interval;
        self
    }

    /// How long a perform may take unless it says so itself; 10 s unless given.
    pub fn default_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// How many calls of this node may be on their way at once; 65,536 unless given. More are told *never proposed*.
    pub fn in_flight_max(mut self, calls: usize) -> Self {
        self.in_flight_max = calls;
        self
    }

    /// How many committed actions are held for slow subscribers and earlier states; 16,384 unless given. Each half of them
    /// is one more copy of the state, where that is no persistent collection: with very few, or 0, nearly each batch is.
    pub fn history(mut self, actions: usize) -> Self {
        self.history_max = actions;
        self
    }

    /// How long sessions and chosen request ids are kept, and how many of those ids; an hour, five minutes, and 1,048,576
    /// unless given. The leader's is what counts. While so many ids are remembered, a perform with another one is told
    /// *never proposed*.
    pub fn retention(mut self, retention: Retention) -> Self {
        self.retention = retention;
        self
    }

    /// When the log is made into a snapshot: with more batches, or more bytes, than this. 8,192 and 16 MiB unless
    /// given. Beside a large snapshot the log may grow to a quarter of its bytes, up to eight times these limits.
    pub fn compaction(mut self, batches: usize, bytes: usize) -> Self {
        self.compaction = Compaction { batches_max: batches, bytes_max: bytes };
        self
    }

    /// Has the replicas compare their states about every so many actions, 1,000 unless given, so that one that parted is
    /// noticed while the cluster runs, and goes on with the state of the others. Each time costs a walk over the state,
    /// beside its work, and a copy of it where it is no persistent collection. At most 1/250 of the time goes into it,
    /// and it is done ten times a second at most.
    pub fn digest_every(mut self, actions: u64) -> Self {
        self.digest_every = actions;
        self
    }

    /// Makes everything that the node draws follow from a seed. For tests: a node that is opened twice with one seed
    /// and no disk is taken for the same one, which it is not.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// Another wall clock than the machine's, in milliseconds since 1970. For tests.
    pub fn wall_clock(mut self, now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.wall_clock = WallClock::of(now_ms);
        self
    }

    /// Opens the node: it has taken up what its disk holds, and finds its cluster by itself from here.
    ///
    /// # Errors
    /// When an option cannot be (the message names it, what came and what is allowed), when the channel does not take
    /// the id, or when the disk cannot be used.
    pub async fn open(self) -> Result<Node<C>, OpenError> {
        let founders = self.check()?;
        let channel = self.channel.expect("it was checked");
        let name: NodeName = self.id.into();
        let disk = self.disk.unwrap_or_else(|| Arc::new(MemoryDisk::new()));
        let opened = if disk.blocks() {
            let (disk, name) = (disk.clone(), name.clone());
            let opened = crate::process::off_task(move || disk.open(&name)).await;
            opened.map_err(|error| Stop::Engine(error.to_string()))??
        } else {
            disk.open(&name)?
        };
        let journal = opened.1.clone();
        let attached = match channel.attach(name.clone()).await {
            Ok(attached) => attached,
            Err(error) => {
                journal.close();
                return Err(error.into());
            }
        };
        let options = Options {
            founders,
            timing: self.timing,
            deadline: self.deadline,
            in_flight_max: self.in_flight_max,
            history_max: self.history_max,
            retention: self.retention,
            compaction: self.compaction,
            digest_every: self.digest_every,
            wall_clock: self.wall_clock,
        };
        #[expect(clippy::disallowed_methods, reason = "where no seed is given")]
        let random = Random::new(self.seed.unwrap_or_else(rand::random));
        let (port, inbox) = (attached.port.clone(), attached.inbox);
        let opened = Core::open(self.container, name, options, opened, port, inbox, random).await;
        opened.map(Node::of).map_err(|stop| {
            attached.port.close();
            journal.close();
            stop.into()
        })
    }

    fn check(&self) -> Result<Founders, BadOption> {
        if self.id.is_empty() || self.id.len() > NODE_NAME_BYTES_MAX {
            let allowed = format!("it must have 1 to {NODE_NAME_BYTES_MAX} bytes");
            return Err(BadOption::new("id", &self.id, allowed));
        }
        self.timing.check()?;
        if self.retention.session < SESSION_LIFE_MIN {
            let allowed = format!("a session must live for at least {SESSION_LIFE_MIN:?}");
            return Err(BadOption::time("retention", self.retention.session, allowed));
        }
        if self.deadline.is_zero() || self.deadline > self.retention.session / 4 {
            let allowed = format!(
                "it must be above zero and at most a quarter of a session's life, which is {}",
                written(self.retention.session / 4)
            );
            return Err(BadOption::time("default_deadline", self.deadline, allowed));
        }
        // Less than what a leader holds of a session: that includes calls whose answers have not been noticed yet.
        let most = conflux_core::session::OUTCOMES_MAX / 2;
        if !(1..=most).contains(&self.in_flight_max) {
            return Err(BadOption::new("in_flight_max", self.in_flight_max, format!("it must be 1 to {most}")));
        }
        if self.compaction.batches_max < 2 || self.compaction.bytes_max < 1024 {
            let came = (self.compaction.batches_max, self.compaction.bytes_max);
            return Err(BadOption::new("compaction", came, "it must be at least 2 batches and 1024 bytes"));
        }
        if self.digest_every == 0 {
            return Err(BadOption::new("digest_every", 0, "it must be at least 1"));
        }
        if self.channel.is_none() {
            return Err(BadOption::missing("channel", "a node must have one, MemoryChannel::new() for instance"));
        }
        match (&self.founders, self.size) {
            (Some(founders), None) => {
                let named: BTreeSet<NodeName> = founders.iter().map(|id| NodeName::from(id.as_str())).collect();
                let allowed = if founders.iter().any(|id| !(1..=NODE_NAME_BYTES_MAX).contains(&id.len())) {
                    format!("each name must have 1 to {NODE_NAME_BYTES_MAX} bytes")
                } else if named.len() < founders.len() {
                    "no node may be named twice".to_owned()
                } else if !(1..=FOUNDERS_MAX).contains(&named.len()) {
                    format!("it must name 1 to {FOUNDERS_MAX} nodes")
                } else {
                    return Ok(Founders::Named(named));
                };
                Err(BadOption::new("founders", founders, allowed))
            }
            (None, Some(size)) if (1..=FOUNDERS_MAX).contains(&size) => Ok(Founders::Size(size)),
            (None, Some(size)) => {
                let allowed = format!("it must be 1 to {FOUNDERS_MAX}: an odd number, usually 3 or 5");
                Err(BadOption::new("cluster_size", size, allowed))
            }
            (None, None) => Err(BadOption::missing("cluster_size", "give it, or name the founders")),
            (Some(_), Some(size)) => {
                Err(BadOption::new("cluster_size", size, "it must not be given together with founders"))
            }
        }
    }
}
