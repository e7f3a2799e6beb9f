//! Three nodes of openraft in this process, each with a log and a state in memory that do as little as can be: nothing is
//! encoded, a message is a call of the other node, an action adds to a counter. So it is what the engine itself takes.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::{Arc, Mutex, MutexGuard};

use futures::{Stream, StreamExt};
use openraft::alias::{EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf};
use openraft::entry::RaftEntry;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse};
use openraft::storage::{
    EntryResponder, IOFlushed, LogState, RaftLogReader, RaftLogStorage, RaftSnapshotBuilder, RaftStateMachine,
};
use openraft::{Config, EmptyNode, EntryPayload, LogIdOptionExt, Raft, SnapshotPolicy};

use crate::load::{Length, Row, load};
use crate::usage::Processes;

openraft::declare_raft_types!(
    pub(crate) Types: D = Add, R = u64, Node = EmptyNode, AsyncRuntime = openraft_rt_tokio::TokioRuntime,
);

/// The action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Add(u64);

impl std::fmt::Display for Add {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "add {}", self.0)
    }
}

type Node = Raft<Types, Machine>;

/// Runs a row on a cluster of its own.
pub(crate) async fn measure(callers: usize, length: Length) -> Row {
    let network = Network::default();
    let config = Config {
        heartbeat_interval: 50,
        election_timeout_min: 300,
        election_timeout_max: 500,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(100_000),
        max_in_snapshot_log_to_keep: 0,
        ..Config::default()
    };
    let config = Arc::new(config.validate().expect("the configuration is sound"));
    for id in 0..3 {
        let node = Node::new(id, config.clone(), network.clone(), Log::default(), Machine::default());
        let node = node.await.expect("a node with an empty store opens");
        network.lock().insert(id, node);
    }
    let nodes: Vec<Node> = network.lock().values().cloned().collect();
    let members: BTreeMap<u64, EmptyNode> = (0..3).map(|id| (id, EmptyNode {})).collect();
    nodes[0].initialize(members).await.expect("it is the first time");
    let leader = loop {
        match nodes[0].current_leader().await {
            Some(leader) => break leader,
            None => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
        }
    };
    let leader = nodes[leader as usize].clone();
    let row = load(callers, length, Processes::own(), |_| {
        let leader = leader.clone();
        move || {
            let leader = leader.clone();
            async move { leader.client_write(Add(1)).await.is_ok() }
        }
    });
    let row = row.await;
    for node in nodes {
        node.shutdown().await.expect("its tasks end");
    }
    network.lock().clear();
    row
}

/// Everybody's handle.
#[derive(Clone, Default)]
struct Network(Arc<Mutex<BTreeMap<u64, Node>>>);

impl Network {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Node>> {
        self.0.lock().expect("nobody panicked")
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, _: &EmptyNode) -> Link {
        Link { network: self.clone(), target, node: None }
    }
}

struct Link {
    network: Network,
    target: u64,
    node: Option<Node>,
}

impl Link {
    fn node(&mut self) -> Result<&Node, RPCError<Types>> {
        if self.node.is_none() {
            self.node = self.network.lock().get(&self.target).cloned();
        }
        self.node.as_ref().ok_or_else(|| RPCError::Unreachable(Unreachable::from_string("it is not there yet")))
    }
}

fn failed(error: impl ToString) -> RPCError<Types> {
    RPCError::Unreachable(Unreachable::from_string(error))
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = u64;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Types>,
        _: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        self.node()?.append_entries(request).await.map_err(failed)
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Types>,
        _: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.node()?.vote(request).await.map_err(failed)
    }

    async fn full_snapshot(
        &mut self,
        vote: VoteOf<Types>,
        snapshot: SnapshotOf<Types, u64>,
        _: impl Future<Output = ReplicationClosed> + Send + 'static,
        _: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let node = self.node()?;
        node.install_full_snapshot(vote, snapshot).await.map_err(|error| failed(error).into())
    }
}

/// The log of a node.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Shelf>>);

#[derive(Default)]
struct Shelf {
    vote: Option<VoteOf<Types>>,
    purged: Option<LogIdOf<Types>>,
    entries: VecDeque<EntryOf<Types>>,
}

impl Shelf {
    fn position(&self, index: u64) -> usize {
        let first = self.entries.front().map_or_else(|| self.purged.next_index(), |entry| entry.index());
        (index.saturating_sub(first) as usize).min(self.entries.len())
    }
}

impl Log {
    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.0.lock().expect("nobody panicked")
    }
}

impl RaftLogReader<Types> for Log {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> Result<Vec<EntryOf<Types>>, io::Error> {
        let shelf = self.lock();
        let from = match range.start_bound() {
            Bound::Included(index) => shelf.position(*index),
            Bound::Excluded(index) => shelf.position(index + 1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(index) => shelf.position(index + 1),
            Bound::Excluded(index) => shelf.position(*index),
            Bound::Unbounded => shelf.entries.len(),
        };
        Ok(shelf.entries.range(from..to.max(from)).cloned().collect())
    }

    async fn read_vote(&mut self) -> Result<Option<VoteOf<Types>>, io::Error> {
        Ok(self.lock().vote)
    }
}

impl RaftLogStorage<Types> for Log {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Types>, io::Error> {
        let shelf = self.lock();
        let last = shelf.entries.back().map(|entry| entry.log_id()).or(shelf.purged);
        Ok(LogState { last_purged_log_id: shelf.purged, last_log_id: last })
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &VoteOf<Types>) -> Result<(), io::Error> {
        self.lock().vote = Some(*vote);
        Ok(())
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = EntryOf<Types>> + Send,
        I::IntoIter: Send,
    {
        self.lock().entries.extend(entries);
        callback.io_completed(Ok(()));
        Ok(())
    }

    async fn truncate_after(&mut self, last: Option<LogIdOf<Types>>) -> Result<(), io::Error> {
        let mut shelf = self.lock();
        let position = shelf.position(last.next_index());
        shelf.entries.truncate(position);
        Ok(())
    }

    async fn purge(&mut self, upto: LogIdOf<Types>) -> Result<(), io::Error> {
        let mut shelf = self.lock();
        let position = shelf.position(upto.index() + 1);
        shelf.entries.drain(..position);
        shelf.purged = Some(upto);
        Ok(())
    }
}

/// The state of a node: a counter.
#[derive(Clone, Default)]
struct Machine {
    applied: Option<LogIdOf<Types>>,
    membership: StoredMembershipOf<Types>,
    count: u64,
}

impl RaftStateMachine<Types> for Machine {
    type SnapshotData = u64;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogIdOf<Types>>, StoredMembershipOf<Types>), io::Error> {
        Ok((self.applied, self.membership.clone()))
    }

    async fn apply<S>(&mut self, mut entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<Types>, io::Error>> + Unpin + Send,
    {
        while let Some(entry) = entries.next().await {
            let (entry, responder) = entry?;
            self.applied = Some(entry.log_id);
            match entry.payload {
                EntryPayload::Normal(Add(more)) => self.count += more,
                EntryPayload::Membership(membership) => {
                    self.membership = StoredMembershipOf::<Types>::new(Some(entry.log_id), membership);
                }
                EntryPayload::Blank => {}
            }
            if let Some(responder) = responder {
                responder.send(self.count);
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMetaOf<Types>, count: u64) -> Result<(), io::Error> {
        (self.applied, self.membership, self.count) = (meta.last_log_id, meta.last_membership.clone(), count);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<SnapshotOf<Types, u64>>, io::Error> {
        Ok(None)
    }
}

impl RaftSnapshotBuilder<Types> for Machine {
    type SnapshotData = u64;

    async fn build_snapshot(&mut self) -> Result<SnapshotOf<Types, u64>, io::Error> {
        let meta = SnapshotMetaOf::<Types> { last_log_id: self.applied, last_membership: self.membership.clone() };
        Ok(SnapshotOf::<Types, u64> { meta, snapshot: self.count })
    }
}
