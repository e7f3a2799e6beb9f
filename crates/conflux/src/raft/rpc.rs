//! The engine's messages as bytes, in a layout of our own: the engine's serde layouts change between its alphas.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use conflux_core::Incarnation;
use conflux_core::codec::{CodecError, Reader, Writer};
use openraft::EmptyNode;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};

use super::types::{
    CommittedLeaderId, EngineVote, Entry, LeaderId, LogId, Member, Membership, Payload, Proposal, SnapshotMeta,
    StoredMembership, Types,
};

/// A message that has a byte form.
pub(super) trait Message: Sized {
    fn write(&self, bytes: &mut Vec<u8>);
    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError>;

    fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(128);
        self.write(&mut bytes);
        bytes.into()
    }

    fn decode(body: &Bytes) -> Result<Self, CodecError> {
        let mut reader = Reader::new(body);
        let message = Self::read(&mut reader, body)?;
        reader.end()?;
        Ok(message)
    }
}

/// Any message, to the incarnation it is meant for.
pub(super) struct Addressed<M> {
    pub(super) to: Incarnation,
    pub(super) message: M,
}

impl<M: Message> Message for Addressed<M> {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.put_u64(self.to.0);
        self.message.write(bytes);
    }

    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        let to = Incarnation(reader.u64("an incarnation")?);
        Ok(Addressed { to, message: M::read(reader, body)? })
    }
}

impl<M: Message> Message for Option<M> {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.put_u8(u8::from(self.is_some()));
        if let Some(message) = self {
            message.write(bytes);
        }
    }

    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        Ok(if reader.flag("an optional value")? { Some(M::read(reader, body)?) } else { None })
    }
}

impl Message for Member {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.put_bytes(self.name.as_bytes());
        bytes.put_u64(self.incarnation.0);
    }

    fn read(reader: &mut Reader<'_>, _: &Bytes) -> Result<Self, CodecError> {
        let name = reader.node_name()?;
        Ok(Member { name, incarnation: Incarnation(reader.u64("an incarnation")?) })
    }
}

impl Message for LogId {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.put_u64(self.leader_id.term);
        bytes.put_u64(self.index);
    }

    fn read(reader: &mut Reader<'_>, _: &Bytes) -> Result<Self, CodecError> {
        let leader_id = CommittedLeaderId { term: reader.u64("a log id")? };
        Ok(LogId { leader_id, index: reader.u64("a log id")? })
    }
}

impl Message for EngineVote {
    fn write(&self, bytes: &mut Vec<u8>) {
        bytes.put_u64(self.leader_id.term);
        self.leader_id.voted_for.write(bytes);
        bytes.put_u8(u8::from(self.committed));
    }

    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        let term = reader.u64("a vote")?;
        let leader_id = LeaderId { term, voted_for: Member::read(reader, body)? };
        Ok(EngineVote { leader_id, committed: reader.flag("a vote")? })
    }
}

impl Message for Membership {
    fn write(&self, bytes: &mut Vec<u8>) {
        let nodes: Vec<_> = self.nodes().map(|(member, _)| member).collect();
        bytes.put_varint(nodes.len() as u64);
        for member in nodes {
            member.write(bytes);
        }
        bytes.put_varint(self.get_joint_config().len() as u64);
        for config in self.get_joint_config() {
            bytes.put_varint(config.len() as u64);
            for member in config {
                member.write(bytes);
            }
        }
    }

    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        let mut nodes = BTreeMap::new();
        for _ in 0..reader.count("the nodes of a membership", 10)? {
            nodes.insert(Member::read(reader, body)?, EmptyNode {});
        }
        let mut configs = Vec::new();
        for _ in 0..reader.count("the configs of a membership", 1)? {
            let count = reader.count("the voters of a membership", 10)?;
            let config = (0..count).map(|_| Member::read(reader, body)).collect::<Result<BTreeSet<_>, _>>()?;
            configs.push(config);
        }
        Membership::new(configs, nodes).map_err(|error| CodecError::invalid("a membership", error))
    }
}

const BLANK: u8 = 0;
const BATCH: u8 = 1;
const MEMBERSHIP: u8 = 2;

impl Message for Entry {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.log_id.write(bytes);
        match &self.payload {
            Payload::Blank => bytes.put_u8(BLANK),
            Payload::Normal(proposal) => {
                bytes.put_u8(BATCH);
                bytes.put_bytes(&proposal.bytes);
            }
            Payload::Membership(membership) => {
                bytes.put_u8(MEMBERSHIP);
                membership.write(bytes);
            }
        }
    }

    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        let log_id = LogId::read(reader, body)?;
        let payload = match reader.u8("the kind of an entry")? {
            BLANK => Payload::Blank,
            // The batch stays where it arrived: no copy.
            BATCH => Payload::Normal(Proposal::received(body.slice_ref(reader.bytes("a batch")?))),
            MEMBERSHIP => Payload::Membership(Membership::read(reader, body)?),
            other => return Err(CodecError::invalid("the kind of an entry", other)),
        };
        Ok(Entry { log_id, payload })
    }
}

impl Message for AppendEntriesRequest<Types> {
    fn write(&self, bytes: &mut Vec<u8>) {
        let batches: usize = self
            .entries
            .iter()
            .map(|entry| match &entry.payload {
                Payload::Normal(proposal) => proposal.bytes.len() + 32,
                _ => 64,
            })
            .sum();
        bytes.reserve(batches);
        self.vote.write(bytes);
        self.prev_log_id.write(bytes);
        self.leader_commit.write(bytes);
        bytes.put_varint(self.entries.len() as u64);
        for entry in &self.entries {
            entry.write(bytes);
        }
    }

    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        let vote = EngineVote::read(reader, body)?;
        let prev_log_id = Option::read(reader, body)?;
        let leader_commit = Option::read(reader, body)?;
        let count = reader.count("the entries of an append", 17)?;
        let entries = (0..count).map(|_| Entry::read(reader, body)).collect::<Result<_, _>>()?;
        Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
    }
}

impl Message for AppendEntriesResponse<Types> {
    fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            AppendEntriesResponse::Success => bytes.put_u8(0),
            AppendEntriesResponse::PartialSuccess(log_id) => {
                bytes.put_u8(1);
                log_id.write(bytes);
            }
            AppendEntriesResponse::Conflict => bytes.put_u8(2),
            AppendEntriesResponse::HigherVote(vote) => {
                bytes.put_u8(3);
                vote.write(bytes);
            }
        }
    }

    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        Ok(match reader.u8("an answer to an append")? {
            0 => AppendEntriesResponse::Success,
            1 => AppendEntriesResponse::PartialSuccess(Option::read(reader, body)?),
            2 => AppendEntriesResponse::Conflict,
            3 => AppendEntriesResponse::HigherVote(EngineVote::read(reader, body)?),
            other => return Err(CodecError::invalid("an answer to an append", other)),
        })
    }
}

impl Message for VoteRequest<Types> {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.vote.write(bytes);
        self.last_log_id.write(bytes);
        bytes.put_u8(u8::from(self.leadership_transfer));
    }

    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        let mut request = VoteRequest::new(EngineVote::read(reader, body)?, Option::read(reader, body)?);
        request.leadership_transfer = reader.flag("a vote request")?;
        Ok(request)
    }
}

impl Message for VoteResponse<Types> {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.vote.write(bytes);
        self.last_log_id.write(bytes);
        bytes.put_u8(u8::from(self.vote_granted));
    }

    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        let (vote, last) = (EngineVote::read(reader, body)?, Option::<LogId>::read(reader, body)?);
        Ok(VoteResponse::new(vote, last, reader.flag("an answer to a vote request")?))
    }
}

impl Message for TransferLeaderRequest<Types> {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.from_leader().write(bytes);
        self.to_node_id().write(bytes);
        self.last_log_id().copied().write(bytes);
    }

    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        let from = EngineVote::read(reader, body)?;
        let to = Member::read(reader, body)?;
        Ok(TransferLeaderRequest::new(from, to, Option::read(reader, body)?))
    }
}

/// Nothing to say but that it was done.
impl Message for () {
    fn write(&self, _: &mut Vec<u8>) {}

    fn read(_: &mut Reader<'_>, _: &Bytes) -> Result<Self, CodecError> {
        Ok(())
    }
}

impl Message for SnapshotMeta {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.last_log_id.write(bytes);
        self.last_membership.log_id().write(bytes);
        self.last_membership.membership().write(bytes);
    }

    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        let last_log_id = Option::read(reader, body)?;
        let membership_log_id = Option::read(reader, body)?;
        let last_membership = StoredMembership::new(membership_log_id, Membership::read(reader, body)?);
        Ok(SnapshotMeta { last_log_id, last_membership })
    }
}

/// A piece of a snapshot. Pieces come in order; the first one starts anew.
pub(super) struct Piece {
    pub(super) vote: EngineVote,
    pub(super) meta: SnapshotMeta,
    pub(super) offset: u64,
    pub(super) total: u64,
    pub(super) bytes: Bytes,
}

impl Message for Piece {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.vote.write(bytes);
        self.meta.write(bytes);
        bytes.put_u64(self.offset);
        bytes.put_u64(self.total);
        bytes.put_bytes(&self.bytes);
    }

    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        let (vote, meta) = (EngineVote::read(reader, body)?, SnapshotMeta::read(reader, body)?);
        let (offset, total) = (reader.u64("a piece's offset")?, reader.u64("a snapshot's length")?);
        Ok(Piece { vote, meta, offset, total, bytes: body.slice_ref(reader.bytes("a piece")?) })
    }
}

impl Message for SnapshotResponse<Types> {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.vote.write(bytes);
    }

    fn read(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        Ok(SnapshotResponse::new(EngineVote::read(reader, body)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn member(name: &str) -> Member {
        Member { name: name.into(), incarnation: Incarnation(7) }
    }

    #[test]
    fn appends_are_read_back_and_any_cut_is_an_error() {
        let id = |index| LogId { leader_id: CommittedLeaderId { term: 3 }, index };
        let members = BTreeSet::from([member("a"), member("b")]);
        let nodes: BTreeMap<_, _> = members.iter().cloned().map(|member| (member, EmptyNode {})).collect();
        let membership = Membership::new(vec![members], nodes).expect("all voters are nodes");
        let request = AppendEntriesRequest::<Types> {
            vote: EngineVote { leader_id: LeaderId { term: 3, voted_for: member("a") }, committed: true },
            prev_log_id: Some(id(4)),
            leader_commit: None,
            entries: vec![
                Entry { log_id: id(5), payload: Payload::Blank },
                Entry { log_id: id(6), payload: Payload::Normal(Proposal::received(Bytes::from_static(b"batch"))) },
                Entry { log_id: id(7), payload: Payload::Membership(membership) },
            ],
        };
        let bytes = request.encode();
        let back = AppendEntriesRequest::<Types>::decode(&bytes).expect("it was just written");
        assert_eq!(format!("{back:?}"), format!("{request:?}"));
        for length in 0..bytes.len() {
            assert!(AppendEntriesRequest::<Types>::decode(&bytes.slice(..length)).is_err(), "cut at {length}");
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_errors(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let _ = Addressed::<AppendEntriesRequest<Types>>::decode(&bytes);
            let _ = Addressed::<VoteRequest<Types>>::decode(&bytes);
            let _ = Addressed::<Piece>::decode(&bytes);
            let _ = TransferLeaderRequest::<Types>::decode(&bytes);
        }
    }
}
