//! The engine, behind one folder: nothing outside it names a type of openraft's.

mod compaction;
mod log;
mod machine;
mod network;
mod parted;
#[cfg(all(test, feature = "bugs"))]
mod planted;
mod rebirth;
mod receive;
mod rpc;
mod runtime;
#[cfg(test)]
mod suite;
mod types;
mod view;

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conflux_core::bugs::{self, Bug};
use conflux_core::codec::{CodecError, Reader, Writer};
use openraft::errors::{ClientWriteError, RaftError};
use openraft::impls::ProgressResponder;
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse};
use openraft::{Config, EmptyNode, LogIdOptionExt, Precondition, Raft, ReadPolicy, ServerState, SnapshotPolicy};

use self::log::Log;
use self::machine::{Machine, Position};
use self::network::Peers;
use self::receive::Receiving;
use self::rpc::{Addressed, Message};
use self::types::{CommittedLeaderId, EngineVote, LogId, Membership, Payload, SnapshotMeta, Types};

pub(crate) use self::compaction::Compaction;
pub use self::log::is_batch;
pub(crate) use self::machine::{Install, Replica, Saved, off_task};
pub(crate) use self::network::ClusterId;
pub(crate) use self::rebirth::{Held, Unfit, begin};
pub use self::runtime::seed_thread;
pub(crate) use self::types::{Member, Proposal, Verdict};
use self::view::view;
pub(crate) use self::view::{View, Watcher};
use crate::disk::{DiskError, EntryId, KeptSnapshot, LogEntry, Opened};
use crate::message::kind;
use crate::metrics::{LogMetrics, SnapshotMeters};
use crate::observe::{MemberId, Vote};
use crate::options::Timing;
use crate::stop::Stop;
use crate::watch;
use crate::wire::{Arrival, Kind, Wire};

/// A vote, as it was written to a disk.
pub(crate) fn vote_of(bytes: &Bytes) -> Option<Vote> {
    EngineVote::decode(bytes).ok().map(vote_in_short)
}

fn vote_in_short(vote: EngineVote) -> Vote {
    let Member { name, incarnation } = vote.leader_id.voted_for;
    Vote { term: vote.leader_id.term, candidate: (name, incarnation), leads: vote.committed }
}

/// What a candidate votes for, as it asks others to: itself.
pub(crate) fn vote_asked_for(body: &Bytes) -> Option<Vote> {
    let asked: Addressed<VoteRequest<Types>> = Addressed::decode(body).ok()?;
    Some(vote_in_short(asked.message.vote))
}

/// What a voter says that it voted for, if it says that it did.
pub(crate) fn vote_given(body: &Bytes) -> Option<Vote> {
    let answer = VoteResponse::<Types>::decode(body).ok()?;
    answer.vote_granted.then(|| vote_in_short(answer.vote))
}

/// The voters, where an entry of a disk says who votes.
pub(crate) fn voters_of(entry: &LogEntry) -> Option<Vec<BTreeSet<MemberId>>> {
    match log::from_disk(entry.clone()).ok()?.payload {
        Payload::Membership(membership) => Some(groups(&membership)),
        _ => None,
    }
}

/// The voters that a snapshot was taken with.
pub(crate) fn snapshot_voters_of(meta: &Bytes) -> Option<Vec<BTreeSet<MemberId>>> {
    Some(groups(SnapshotMeta::decode(meta).ok()?.last_membership.membership()))
}

fn groups(membership: &Membership) -> Vec<BTreeSet<MemberId>> {
    let id = |member: &Member| (member.name.clone(), member.incarnation);
    membership.get_joint_config().iter().map(|group| group.iter().map(id).collect()).collect()
}

/// What a node holds of the log, and how far it is.
pub(crate) struct Recorded {
    pub(crate) applied: Option<EntryId>,
    pub(crate) committed: Option<EntryId>,
    pub(crate) purged: Option<EntryId>,
    pub(crate) entries: Vec<LogEntry>,
    pub(crate) snapshot: Option<KeptSnapshot>,
}

/// The engine of one node.
pub(crate) struct Engine {
    raft: Raft<Types, Machine>,
    me: Member,
    log: Log,
    cluster: ClusterId,
    position: Arc<Mutex<Position>>,
    /// How far the replica is, readable while something is applied.
    applied: Arc<Mutex<Option<LogId>>>,
    receiving: Mutex<Option<Receiving>>,
    replica: Arc<dyn Replica>,
    peers: Peers,
    /// The replica parted from the others: see [`Engine::part`].
    parted: watch::Sender<bool>,
    /// Who is being sent a state.
    sending: Mutex<BTreeSet<Member>>,
    /// Held while a snapshot is made or put in place.
    compacting: tokio::sync::Mutex<()>,
    /// A leader replicated to this member since that was asked last.
    heard_leader: AtomicBool,
    compaction: Compaction,
}

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proposed {
    /// It is committed and took effect.
    Applied,
    /// It is committed and the chain refused it.
    Skipped,
    /// It never reached the log.
    Refused,
    /// It may or may not come to be committed.
    Unknown,
}

/// This node does not lead that term (any more), or could not make sure that it does.
#[derive(Clone, Debug)]
pub(crate) struct NotLeading(pub(crate) String);

impl Engine {
    /// Starts the engine on a disk. Returns once everything up to the saved commit is applied again.
    pub(crate) async fn open(
        me: Member,
        timing: &Timing,
        compaction: Compaction,
        (contents, journal): Opened,
        wire: Wire,
        cluster: ClusterId,
        replica: Arc<dyn Replica>,
    ) -> Result<Engine, Stop> {
        let (timeout_min, timeout_max) = timing.engine_timeout_ms();
        let config = Config {
            cluster_name: "conflux".into(),
            election_timeout_min: timeout_min,
            election_timeout_max: timeout_max,
            heartbeat_interval: timing.heartbeat.as_millis() as u64,
            install_snapshot_timeout: 10_000,
            // Ours, by count and by bytes: see `compact`.
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            replication_lag_threshold: u64::MAX,
            max_payload_entries: 64,
            enable_pre_vote: Some(true),
            enable_leader_restore: Some(false),
            ..Config::default()
        };
        let config = config.validate().map_err(|error| Stop::Engine(error.to_string()))?;
        let log = Log::open(contents, journal.clone())?;
        let parted = watch::channel(false).0;
        let machine = Machine::open(replica.clone(), log.clone(), parted.clone())?;
        let position = machine.position();
        let applied = position.lock().unwrap_or_else(PoisonError::into_inner).told();
        let peers = Peers { wire, cluster: cluster.clone(), append_timeout: timing.election_timeout_max, journal };
        let raft = Raft::new(me.clone(), Arc::new(config), peers.clone(), log.clone(), machine);
        let raft = raft.await.map_err(|error| Stop::Engine(error.to_string()))?;
        Ok(Engine {
            raft,
            me,
            log,
            cluster,
            position,
            applied,
            receiving: Mutex::default(),
            replica,
            peers,
            parted,
            sending: Mutex::default(),
            compacting: tokio::sync::Mutex::default(),
            heard_leader: AtomicBool::new(false),
            compaction,
        })
    }

    /// Who this is.
    pub(crate) fn me(&self) -> &Member {
        &self.me
    }

    /// Waits on what the engine knows.
    pub(crate) fn watch(&self) -> Watcher {
        Watcher(self.raft.server_metrics())
    }

    /// What the engine knows.
    pub(crate) fn view(&self) -> View {
        view(&self.raft.server_metrics().borrow())
    }

    /// Why the engine stopped, if it did.
    pub(crate) fn stopped(&self) -> Option<String> {
        self.raft.metrics().borrow().running_state.as_ref().err().map(ToString::to_string)
    }

    /// Makes this node the first of a cluster of `members`. Harmless when it is part of one already.
    pub(crate) async fn found(&self, members: &BTreeSet<Member>) -> Result<(), Stop> {
        let members = members.iter().map(|member| (member.clone(), EmptyNode {}));
        match self.raft.initialize(members.collect::<std::collections::BTreeMap<_, _>>()).await {
            // Another start of the same founding was first.
            Ok(()) | Err(RaftError::APIError(openraft::errors::InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(Stop::Engine(error.to_string())),
        }
    }

    /// Waits until the replica holds everything up to the first entry of `term`, which this node must lead: there the
    /// fork is made. A read index is at least the leader's first entry (Raft, section 8; Ongaro's thesis, 6.4).
    pub(crate) async fn fork_point(&self, term: u64) -> Result<(), NotLeading> {
        let leads = |what: &str, is: u64| {
            if is == term { Ok(()) } else { Err(NotLeading(format!("{what} is of term {is}, not {term}"))) }
        };
        leads("the leadership", self.leading().ok_or_else(|| NotLeading("this node follows".into()))?)?;
        let read = self.raft.ensure_linearizable(ReadPolicy::ReadIndex).await;
        let read = read.map_err(|error| NotLeading(error.to_string()))?;
        leads("the read index", read.committed_leader_id().term)?;
        leads("the applied index", self.applied_id().map_or(0, |id| id.leader_id.term))
    }

    /// The term this node leads, as far as it knows.
    pub(crate) fn leading(&self) -> Option<u64> {
        // Asked of the same watch that `Watcher` waits on: the engine publishes its several metrics one after another,
        // and whoever was woken by one and looked at another would miss the news for good.
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow();
        let leads = metrics.state == ServerState::Leader
            && metrics.vote.committed
            && metrics.vote.leader_id.voted_for == self.me;
        leads.then_some(metrics.vote.leader_id.term)
    }

    /// Whether this node leads and its replica holds everything up to its term's first entry: only then does it know what
    /// was committed before.
    pub(crate) fn leads_with_all(&self) -> bool {
        self.leading().is_some_and(|term| self.applied_id().is_some_and(|id| id.leader_id.term == term))
    }

    /// Whether a leader has replicated to this member since this was asked last. What the engine tells of the leader
    /// comes from the vote on its disk, which may be of long ago.
    pub(crate) fn heard_leader(&self) -> bool {
        self.heard_leader.swap(false, Ordering::Relaxed)
    }

    fn applied_id(&self) -> Option<LogId> {
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a batch to the log, fenced with `term`. The first future ends when the engine has it in its queue, which
    /// keeps the order; the second says what became of it.
    pub(crate) async fn propose(
        &self,
        term: u64,
        proposal: Proposal,
    ) -> impl Future<Output = Proposed> + Send + 'static {
        // As an engine may: rarely does it.
        let refused = bugs::is(Bug::NoChainCheck) && crc32fast::hash(&proposal.bytes).is_multiple_of(16);
        let (responder, answer) = ProgressResponder::complete_only();
        let write = self.raft.write(proposal).with_leader(CommittedLeaderId { term }).responder(responder);
        let queued = !refused && write.await.is_ok();
        async move {
            if !queued {
                return Proposed::Refused;
            }
            match answer.await {
                Ok(Ok(response)) => match response.data {
                    Verdict::Applied => Proposed::Applied,
                    Verdict::Skipped => Proposed::Skipped,
                },
                Ok(Err(ClientWriteError::LogEntryDiscarded(_))) | Err(_) => Proposed::Unknown,
                Ok(Err(_)) => Proposed::Refused,
            }
        }
    }

    /// The log index up to which a read that begins now must see, agreed with a quorum (leader only).
    pub(crate) async fn read_index(&self) -> Result<u64, NotLeading> {
        if bugs::is(Bug::StaleRead)
            && self.leads_with_all()
            && let Some(applied) = self.applied_id()
        {
            return Ok(applied.index);
        }
        let read = self.raft.get_read_linearizer(ReadPolicy::ReadIndex).await;
        Ok(read.map_err(|error| NotLeading(error.to_string()))?.read_log_id().index())
    }

    /// Waits until the replica has published everything up to a log index.
    pub(crate) async fn wait_applied(&self, index: u64) -> Result<(), Stop> {
        // Mostly it is there, and nobody has to be told when it comes.
        if self.applied_id().index() >= Some(index) && !*self.parted.borrow() {
            return Ok(());
        }
        let mut metrics = self.raft.data_metrics();
        let reached = metrics.find(|metrics| (metrics.last_applied.index() >= Some(index)).then_some(())).await;
        reached.map_err(|watch::Gone| Stop::Engine(self.stopped().unwrap_or_else(|| "it was closed".into())))?;
        // What the engine takes for applied is passed over by a replica that parted. The sender is in `self`.
        let _ = self.parted.subscribe().find(|parted| (!parted).then_some(())).await;
        Ok(())
    }

    /// The batches in this node's log that are not applied, in order.
    pub(crate) fn uncommitted(&self) -> Vec<Proposal> {
        self.log.proposals_after(self.applied_id())
    }

    /// Lets a node in without a vote; ends when the change is committed.
    pub(crate) async fn add_learner(&self, member: &Member) -> Result<(), NotLeading> {
        let added = self.raft.add_learner(member.clone(), EmptyNode {}, false).await;
        added.map(|_| ()).map_err(|error| NotLeading(error.to_string()))
    }

    /// Gives the votes to exactly these, who must be members; those who lose theirs stay as learners, or leave. Guarded
    /// against any change that came between `view` and this.
    pub(crate) async fn set_voters(
        &self,
        view: &View,
        voters: BTreeSet<Member>,
        losers_stay: bool,
    ) -> Result<(), NotLeading> {
        let seen = view.membership_id;
        let unchanged = Precondition::LastMembershipLogId { last_membership_log_id: seen };
        let changed = self.raft.change_membership_if(voters, losers_stay, [unchanged]).await;
        changed.map(|_| ()).map_err(|error| NotLeading(error.to_string()))
    }

    /// Asks a voter to take over at once. This leader takes no more batches from here on; whether the other one is elected
    /// is seen by whoever watches. If it is not, the next election comes by silence.
    pub(crate) async fn hand_over(&self, to: &Member) -> Result<(), NotLeading> {
        let asked = self.raft.trigger().transfer_leader(to.clone()).await;
        asked.map_err(|error| NotLeading(error.to_string()))
    }

    /// Lets members without a vote go.
    pub(crate) async fn remove_learners(&self, members: BTreeSet<Member>) -> Result<(), NotLeading> {
        let change = openraft::ChangeMembers::RemoveNodes(members);
        let changed = self.raft.change_membership(change, false).await;
        changed.map(|_| ()).map_err(|error| NotLeading(error.to_string()))
    }

    /// How far a member's log matches this leader's, and for how long it has been silent; `None` when it is not
    /// replicated to, or was never heard.
    pub(crate) fn progress(&self, member: &Member) -> Option<Progress> {
        let metrics = self.raft.data_metrics();
        let metrics = metrics.borrow();
        let matched = metrics.replication.as_ref()?.get(member)?.index();
        let heard = metrics.heartbeat.as_ref().and_then(|all| all.get(member).copied().flatten());
        let silent = heard.map(|heard| openraft::Instant::elapsed(&*heard));
        let committed = metrics.cluster_committed.index();
        Some(Progress { caught_up: matched.is_some() && matched >= committed, silent })
    }

    /// Waits until somebody answered this leader, or until then.
    ///
    /// # Errors
    /// When the engine has stopped: nobody answers any more.
    pub(crate) async fn progressed(&self, until: tokio::time::Instant) -> Result<(), watch::Gone> {
        let mut metrics = self.raft.data_metrics();
        // What there is was looked at already.
        metrics.borrow_and_update();
        tokio::time::timeout_at(until, metrics.changed()).await.unwrap_or(Ok(()))
    }

    /// What is in the log and on the disk, and what `look` sees while nothing is applied.
    pub(crate) fn record<R>(&self, look: impl FnOnce() -> R) -> (Recorded, R) {
        let position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
        // First the log: nothing is purged that the snapshot which is asked for after it does not hold.
        let (entries, committed, purged) = self.log.contents();
        let snapshot = self.log.journal().snapshot();
        let applied = position.applied().map(log::entry_id);
        (Recorded { applied, committed, purged, entries, snapshot }, look())
    }

    /// How far the log is.
    pub(crate) fn log_metrics(&self) -> LogMetrics {
        self.log.metrics(|| self.applied_id())
    }

    /// What is measured of snapshots.
    pub(crate) fn snapshot_meters(&self) -> &SnapshotMeters {
        self.log.snapshot_meters()
    }

    /// Stops the engine; everything it has is on its disk.
    pub(crate) async fn shutdown(&self) {
        // An error says that the engine's task panicked; there is nothing left to stop then.
        let _ = self.raft.shutdown().await;
    }

    /// Handles a message if it is the engine's. The future answers it. It must be polled at once, and without a bound on
    /// the task's turn, so that messages keep their order on the way in.
    pub(crate) fn serve(
        self: &Arc<Self>,
        arrival: Arrival,
    ) -> Result<impl Future<Output = ()> + Send + 'static, Arrival> {
        if !matches!(
            arrival.head.kind,
            kind::APPEND | kind::VOTE | kind::PRE_VOTE | kind::SNAPSHOT | kind::TRANSFER | kind::READ_INDEX
        ) {
            return Err(arrival);
        }
        let engine = self.clone();
        Ok(async move {
            let Some(reply) = arrival.reply else { return };
            let cluster = engine.cluster.load(Ordering::Relaxed);
            // Nothing reaches the engine before this node belongs to a cluster, nor from another one.
            if cluster == 0 || arrival.head.cluster != cluster {
                reply.refuse("this node belongs to another cluster, or to none yet");
                return;
            }
            match engine.answer(arrival.head.kind, &arrival.from, &arrival.body).await {
                Ok(body) => reply.send(body),
                Err(Refusal(reason)) => reply.refuse(&reason),
            }
        })
    }

    async fn answer(self: &Arc<Self>, kind: Kind, from: &str, body: &Bytes) -> Result<Bytes, Refusal> {
        Ok(match kind {
            kind::APPEND => {
                let request: AppendEntriesRequest<Types> = self.addressed(body)?;
                #[cfg(feature = "bugs")]
                self.truncate_behind(&request).await?;
                let response = self.raft.append_entries(request).await?;
                #[cfg(feature = "bugs")]
                self.run_ahead()?;
                if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
                    self.heard_leader.store(true, Ordering::Relaxed);
                }
                response.encode()
            }
            kind::VOTE => {
                let request: VoteRequest<Types> = self.addressed(body)?;
                #[cfg(feature = "bugs")]
                let request = self.up_to_date(request);
                self.raft.vote(request).await?.encode()
            }
            kind::PRE_VOTE => {
                let request: VoteRequest<Types> = self.addressed(body)?;
                #[cfg(feature = "bugs")]
                let request = self.up_to_date(request);
                self.raft.pre_vote(request).await?.encode()
            }
            kind::TRANSFER => {
                let request: TransferLeaderRequest<Types> = self.addressed(body)?;
                self.raft.handle_transfer_leader(request).await?.map_err(|error| Refusal(error.to_string()))?;
                ().encode()
            }
            kind::SNAPSHOT => self.receive(from, self.addressed(body)?).await?.encode(),
            kind::READ_INDEX => {
                let index = self.read_index().await.map_err(|NotLeading(why)| Refusal(why))?;
                let mut bytes = Vec::with_capacity(8);
                bytes.put_u64(index);
                bytes.into()
            }
            other => return Err(Refusal(format!("{other:?} is not the engine's"))),
        })
    }

    /// Reads a message that must be meant for this incarnation: a node that lost its memory does not answer for the
    /// one it was.
    fn addressed<M: Message>(&self, body: &Bytes) -> Result<M, Refusal> {
        let Addressed { to, message } = Addressed::decode(body)?;
        if to != self.me.incarnation {
            return Err(Refusal(format!("incarnation {to} is gone, this is {}", self.me)));
        }
        Ok(message)
    }
}

/// What goes wrong in here where it is planted.
#[cfg(feature = "bugs")]
impl Engine {
    /// Cuts off what is behind entries that were sent again.
    async fn truncate_behind(&self, request: &AppendEntriesRequest<Types>) -> Result<(), Refusal> {
        use openraft::storage::RaftLogStorage;
        if let Some(last) = request.entries.last().map(|entry| entry.log_id)
            && bugs::is(Bug::StaleAppendTruncates)
            && self.log.holds(last)
            && self.log.last() > Some(last)
        {
            self.log.clone().truncate_after(Some(last)).await.map_err(|error| Refusal(error.to_string()))?;
        }
        Ok(())
    }

    /// Applies what was appended.
    fn run_ahead(&self) -> Result<(), Refusal> {
        if bugs::is(Bug::ApplyBeforeCommit) {
            let mut position = self.position.lock().unwrap_or_else(PoisonError::into_inner);
            position.run_ahead(&*self.replica, &self.log).map_err(|stop| Refusal(stop.to_string()))?;
        }
        Ok(())
    }

    /// Takes a candidate's log for at least as good as this one.
    fn up_to_date(&self, mut request: VoteRequest<Types>) -> VoteRequest<Types> {
        if bugs::is(Bug::NoUpToDateCheck) {
            request.last_log_id = request.last_log_id.max(self.log.last());
        }
        request
    }
}

/// How a follower or learner does, seen from the leader.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    /// It holds everything that is committed.
    pub(crate) caught_up: bool,
    /// How long ago it last answered a heartbeat.
    pub(crate) silent: Option<Duration>,
}

/// Why a message is not answered as its sender hoped.
struct Refusal(String);

impl From<DiskError> for Refusal {
    fn from(error: DiskError) -> Self {
        Refusal(error.to_string())
    }
}

impl From<CodecError> for Refusal {
    fn from(error: CodecError) -> Self {
        Refusal(error.to_string())
    }
}

impl<E: std::fmt::Debug + std::error::Error> From<RaftError<Types, E>> for Refusal {
    fn from(error: RaftError<Types, E>) -> Self {
        Refusal(error.to_string())
    }
}

impl From<openraft::errors::Fatal<Types>> for Refusal {
    fn from(error: openraft::errors::Fatal<Types>) -> Self {
        Refusal(error.to_string())
    }
}

/// Reads the answer to [`kind::READ_INDEX`].
pub(crate) fn decode_read_index(body: &[u8]) -> Result<u64, CodecError> {
    Reader::new(body).u64("a read index")
}
