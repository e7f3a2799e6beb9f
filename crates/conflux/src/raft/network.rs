//! The engine's network, over the wire.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use conflux_core::bugs::{self, Bug};
use futures_core::Stream;
use futures_util::{FutureExt, StreamExt};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{Backoff, RPCOption, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{EmptyNode, RPCTypes};

use super::machine::{SnapshotData, off_task};
use super::rpc::{Addressed, Message, Piece};
use super::types::{EngineVote, Member, Snapshot, Types};
use crate::disk::Journal;
use crate::message::kind;
use crate::wire::{Head, Kind, Wire};

/// How many appends to one follower may be on their way at once.
const APPENDS_IN_FLIGHT: usize = 16;

/// How much of a snapshot goes in one message.
const PIECE_BYTES: usize = 256 * 1024;

/// How long to wait before a follower that is taking up a snapshot is asked again how it went. It takes its time to answer,
/// too.
const ASK_AGAIN: Duration = Duration::from_millis(50);

/// The id of the cluster this node belongs to; 0 until it is known. Shared by all that send.
pub(crate) type ClusterId = Arc<AtomicU64>;

#[derive(Clone)]
pub(super) struct Peers {
    pub(super) wire: Wire,
    pub(super) cluster: ClusterId,
    /// How long a follower may take to answer an append.
    pub(super) append_timeout: Duration,
    /// Whose snapshots are sent.
    pub(super) journal: Arc<dyn Journal>,
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Link;

    async fn new_client(&mut self, target: Member, _: &EmptyNode) -> Link {
        Link { peers: self.clone(), target }
    }
}

/// The way to one member.
#[derive(Clone)]
pub(super) struct Link {
    peers: Peers,
    target: Member,
}

type RpcError = RPCError<Types>;
type BoxFuture<'s, T> = Pin<Box<dyn Future<Output = T> + Send + 's>>;
type BoxStream<'s, T> = Pin<Box<dyn Stream<Item = T> + Send + 's>>;

fn unreachable(reason: impl ToString) -> RpcError {
    RPCError::Unreachable(Unreachable::from_string(reason))
}

impl Link {
    /// Sends at once, when called; the future waits for the answer.
    fn ask<A: Message, M: Message>(
        &self,
        kind: Kind,
        message: M,
        rpc: RPCTypes,
        option: &RPCOption,
    ) -> impl Future<Output = Result<A, RpcError>> + Send + use<A, M> {
        let head = Head { kind, group: 0, cluster: self.peers.cluster.load(Ordering::Relaxed) };
        let body = Addressed { to: self.target.incarnation, message }.encode();
        let pending = self.peers.wire.request(&self.target.name, head, body);
        let timeout = tokio::time::timeout(option.hard_ttl(), pending);
        let target = self.target.clone();
        async move {
            match timeout.await {
                Err(_) => Err(unreachable(format!("no answer from {target} to {rpc}"))),
                Ok(Err(error)) => Err(unreachable(error)),
                Ok(Ok(body)) => A::decode(&body).map_err(unreachable),
            }
        }
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RpcError> {
        self.ask(kind::APPEND, rpc, RPCTypes::AppendEntries, &option).await
    }

    /// Many appends on their way at once; the answers are taken in order, and the first that is not a plain success
    /// ends the stream.
    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<Types>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<Types>> + Send + Unpin + 'static,
    {
        let link = self.clone();
        // The engine allows a heartbeat's time, which is right for a heartbeat. An append may carry megabytes.
        let option = RPCOption::new(option.hard_ttl().max(self.peers.append_timeout));
        let answers = input.map(move |request| {
            let prev = request.prev_log_id;
            let last = request.entries.last().map(|entry| entry.log_id).or(prev);
            let answer =
                link.ask::<AppendEntriesResponse<Types>, _>(kind::APPEND, request, RPCTypes::AppendEntries, &option);
            answer.map(move |mut answer| {
                if bugs::is(Bug::StaleAcknowledgement) && !matches!(answer, Ok(AppendEntriesResponse::HigherVote(_))) {
                    answer = Ok(AppendEntriesResponse::Success);
                }
                let partial = matches!(&answer, Ok(AppendEntriesResponse::PartialSuccess(upto)) if *upto != last);
                let result = answer.map(|answer| answer.into_stream_result(prev, last));
                let ends = partial || !matches!(result, Ok(Ok(_)));
                (result, ends)
            })
        });
        let answers = Box::pin(answers.buffered(APPENDS_IN_FLIGHT));
        let results = futures_util::stream::unfold(Some(answers), |answers| async move {
            let mut answers = answers?;
            let (result, ends) = answers.next().await?;
            Some((result, (!ends).then_some(answers)))
        });
        let results: BoxStream<'s, _> = Box::pin(results);
        std::future::ready(Ok(results)).boxed()
    }

    async fn vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RpcError> {
        self.ask(kind::VOTE, rpc, RPCTypes::Vote, &option).await
    }

    async fn pre_vote(&mut self, rpc: VoteRequest<Types>, option: RPCOption) -> Result<VoteResponse<Types>, RpcError> {
        self.ask(kind::PRE_VOTE, rpc, RPCTypes::Vote, &option).await
    }

    async fn full_snapshot(
        &mut self,
        vote: EngineVote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let mut cancel = std::pin::pin!(cancel);
        let Snapshot { meta, snapshot: SnapshotData { bytes: content, .. } } = snapshot;
        let total = content.length();
        let mut offset = 0;
        loop {
            let read = {
                let content = content.clone();
                off_task(&self.peers.journal, move || content.read(offset, PIECE_BYTES)).await
            };
            let bytes = read.map_err(unreachable)?.map_err(unreachable)?;
            let (begin, end) = (offset, offset + bytes.len() as u64);
            let piece = Piece { vote: vote.clone(), meta: meta.clone(), offset, total, bytes };
            let answer = self.ask::<Option<SnapshotResponse<Types>>, _>(
                kind::SNAPSHOT,
                piece,
                RPCTypes::InstallSnapshot,
                &option,
            );
            let answer = tokio::select! {
                biased;
                closed = &mut cancel => return Err(closed.into()),
                answer = answer => answer?,
            };
            // With the last piece, or earlier if it knows better, the follower says how it went.
            if let Some(response) = answer {
                return Ok(response);
            }
            if begin == total {
                // It has all and is still at it: this asked again, with a piece of nothing.
                tokio::time::sleep(ASK_AGAIN).await;
            }
            offset = end;
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RpcError> {
        self.ask::<(), _>(kind::TRANSFER, request, RPCTypes::TransferLeader, &option).await.map(Ok)
    }

    fn backoff(&self) -> Option<Backoff> {
        // A peer that comes back is heard of within a heartbeat or two, not within a second.
        Some(Backoff::new(std::iter::repeat(Duration::from_millis(50))))
    }
}
