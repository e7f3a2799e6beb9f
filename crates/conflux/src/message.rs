//! The messages between nodes that are not the engine's, and the numbers of all kinds.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conflux_core::codec::{CodecError, Reader, Writer};
use conflux_core::ids::REQUEST_ID_BYTES_MAX;
use conflux_core::{BatchId, CallNumber, ChosenId, Digest, Incarnation, Index, NodeName, SessionId};

use crate::raft::Member;

/// The kinds of messages. A number is never used for another thing.
pub(crate) mod kind {
    use crate::wire::Kind;

    pub(crate) const APPEND: Kind = Kind(1);
    pub(crate) const VOTE: Kind = Kind(2);
    pub(crate) const PRE_VOTE: Kind = Kind(3);
    pub(crate) const SNAPSHOT: Kind = Kind(4);
    pub(crate) const TRANSFER: Kind = Kind(5);
    pub(crate) const READ_INDEX: Kind = Kind(6);
    pub(crate) const HELLO: Kind = Kind(16);
    pub(crate) const PROPOSE: Kind = Kind(17);
    pub(crate) const IS_ON: Kind = Kind(18);
    pub(crate) const JOIN: Kind = Kind(19);
    pub(crate) const ROSTER: Kind = Kind(20);
    pub(crate) const HAND_OVER: Kind = Kind(21);
    pub(crate) const CALLS: Kind = Kind(32);
    pub(crate) const EXPECT: Kind = Kind(33);
    pub(crate) const LEADING: Kind = Kind(34);
    pub(crate) const PREDICTED: Kind = Kind(35);
    pub(crate) const DECIDED: Kind = Kind(36);
    pub(crate) const COMPARED: Kind = Kind(48);
    pub(crate) const DIGEST_AT: Kind = Kind(49);
    pub(crate) const STATE_WANTED: Kind = Kind(50);

    /// What people call it.
    pub(crate) fn name(kind: Kind) -> &'static str {
        match kind {
            APPEND => "append",
            VOTE => "vote",
            PRE_VOTE => "pre-vote",
            SNAPSHOT => "snapshot",
            TRANSFER => "transfer",
            READ_INDEX => "read index",
            HELLO => "hello",
            PROPOSE => "propose",
            IS_ON => "is on",
            JOIN => "join",
            ROSTER => "roster",
            HAND_OVER => "hand over",
            CALLS => "calls",
            EXPECT => "expect",
            LEADING => "leading",
            PREDICTED => "predicted",
            DECIDED => "decided",
            COMPARED => "compared",
            DIGEST_AT => "digest at",
            STATE_WANTED => "state wanted",
            _ => "unknown",
        }
    }
}

/// The most founders a cluster may have.
pub(crate) const FOUNDERS_MAX: usize = 64;

/// What a node runs: those that run another container do not work together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// The container's version.
    pub(crate) version: u32,
    /// The digest of its code, where there is one.
    pub(crate) code: Digest,
}

/// "I am here": sent to all, by nodes without a cluster until they have one, and by leaders now and then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hello {
    pub(crate) incarnation: Incarnation,
    pub(crate) source: Source,
    /// The cluster it belongs to; 0 for none.
    pub(crate) cluster: u64,
    /// Whether it leads that cluster, so that one can ask it to be let in.
    pub(crate) leads: bool,
}

/// "Let us found a cluster": from its lowest member to the others. Answered with a pledge, or a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Propose {
    pub(crate) founders: BTreeSet<Member>,
    /// Drawn by the proposer, so that no two proposals have one id.
    pub(crate) nonce: u64,
    /// What the founders run.
    pub(crate) source: Source,
}

/// "Let me in": to the leader of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Join {
    pub(crate) incarnation: Incarnation,
    pub(crate) source: Source,
}

/// What a leader says to a [`Join`] that it does not refuse for now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Welcome {
    /// The node belongs to this cluster from now on.
    In(u64),
    /// This incarnation was removed from the cluster, for good.
    Removed,
}

/// How a proposal stands, as its proposer knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It waits for pledges.
    Waiting,
    /// It became a cluster.
    Founded,
    /// The proposer gave it up, or knows nothing of it: it is another incarnation.
    Gone,
}

/// Calls of one session, to the leader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) session: SessionId,
    /// Set until the origin has seen the session open: how far its store was when it asked.
    pub(crate) open: Option<Duration>,
    pub(crate) floor: CallNumber,
    /// The number of the first of `calls`.
    pub(crate) first: CallNumber,
    pub(crate) calls: Vec<RemoteCall>,
}

/// One call of [`Calls`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RemoteCall {
    /// To be run.
    Run {
        method: Bytes,
        chosen: Option<ChosenId>,
        /// The origin wants to hear what the leader made of it before it is committed.
        predict: bool,
    },
    /// Given up by its origin.
    Void,
}

/// "Of this session I expect that call next": from a leader that found a gap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expect {
    pub(crate) session: SessionId,
    pub(crate) next: CallNumber,
}

/// "Those calls are committed, and judged at these places": from the leader, to an origin that sends them again because
/// its own log has not come so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) session: SessionId,
    pub(crate) first: CallNumber,
    /// Of the calls from `first` on; none for a void, and for one whose request id another call had.
    pub(crate) places: Vec<Option<Index>>,
}

/// "I decided that call so": from the leader, before the commit. The record is a batch of that one call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Predicted {
    pub(crate) session: SessionId,
    pub(crate) number: CallNumber,
    pub(crate) verdict: Bytes,
}

/// Where states are compared: before this batch, at that index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) batch: BatchId,
    pub(crate) index: Index,
}

/// "There my state has this digest": to all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Compared {
    pub(crate) incarnation: Incarnation,
    pub(crate) place: Place,
    pub(crate) digest: Digest,
}

/// "My state parted from yours: send me yours": to the leader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateWanted {
    pub(crate) incarnation: Incarnation,
}

/// "Let another voter lead": to the leader, and to the next one again when no answer comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HandOver {
    /// The term of the leader that is meant. One of a later term has nothing to hand on: the first asking did it.
    pub(crate) term: u64,
    /// Who is to lead; any other that can, if nobody is named.
    pub(crate) to: Option<NodeName>,
}

fn whole<T>(body: &[u8], read: impl FnOnce(&mut Reader<'_>) -> Result<T, CodecError>) -> Result<T, CodecError> {
    let mut reader = Reader::new(body);
    let message = read(&mut reader)?;
    reader.end()?;
    Ok(message)
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version {} with code {}", self.version, self.code)
    }
}

impl Source {
    pub(crate) fn write(self, bytes: &mut Vec<u8>) {
        bytes.put_u32(self.version);
        bytes.put_digest(self.code);
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        Ok(Source { version: reader.u32("a container's version")?, code: reader.digest("a container's code")? })
    }
}

impl Hello {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(37);
        bytes.put_u64(self.incarnation.0);
        self.source.write(&mut bytes);
        bytes.put_u64(self.cluster);
        bytes.put_u8(u8::from(self.leads));
        bytes.into()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, CodecError> {
        whole(body, |reader| {
            let (incarnation, source) = (Incarnation(reader.u64("an incarnation")?), Source::read(reader)?);
            Ok(Hello { incarnation, source, cluster: reader.u64("a cluster id")?, leads: reader.flag("a leadership")? })
        })
    }
}

impl HandOver {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(32);
        bytes.put_u64(self.term);
        bytes.put_u8(u8::from(self.to.is_some()));
        if let Some(to) = &self.to {
            bytes.put_bytes(to.as_bytes());
        }
        bytes.into()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, CodecError> {
        whole(body, |reader| {
            let term = reader.u64("a term")?;
            let to = if reader.flag("whether one is named")? { Some(reader.node_name()?) } else { None };
            Ok(HandOver { term, to })
        })
    }
}

impl Compared {
    pub(crate) fn encode(&self) -> Bytes {
        let Compared { incarnation, place: Place { batch, index }, digest } = self;
        let mut bytes = Vec::with_capacity(56);
        bytes.put_u64(incarnation.0);
        bytes.put_batch_id(*batch);
        bytes.put_u64(index.0);
        bytes.put_digest(*digest);
        bytes.into()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, CodecError> {
        whole(body, |reader| {
            let incarnation = Incarnation(reader.u64("an incarnation")?);
            let place = Place { batch: reader.batch_id()?, index: Index(reader.u64("an index")?) };
            Ok(Compared { incarnation, place, digest: reader.digest("the digest of a state")? })
        })
    }

    /// The answer to [`kind::DIGEST_AT`].
    pub(crate) fn encode_digest(digest: Digest) -> Bytes {
        let mut bytes = Vec::with_capacity(16);
        bytes.put_digest(digest);
        bytes.into()
    }

    /// The other way.
    pub(crate) fn decode_digest(body: &[u8]) -> Result<Digest, CodecError> {
        whole(body, |reader| reader.digest("the digest of a state"))
    }
}

impl StateWanted {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(8);
        bytes.put_u64(self.incarnation.0);
        bytes.into()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, CodecError> {
        whole(body, |reader| Ok(StateWanted { incarnation: Incarnation(reader.u64("an incarnation")?) }))
    }
}

impl Propose {
    /// The id of the proposal, and of the cluster that it becomes.
    pub(crate) fn id(&self) -> u64 {
        // 0 stands for no cluster.
        (conflux_core::Digest::of_bytes(&self.encode()).0 as u64).max(1)
    }

    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::new();
        bytes.put_u64(self.nonce);
        self.source.write(&mut bytes);
        bytes.put_varint(self.founders.len() as u64);
        for founder in &self.founders {
            bytes.put_bytes(founder.name.as_bytes());
            bytes.put_u64(founder.incarnation.0);
        }
        bytes.into()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, CodecError> {
        whole(body, |reader| {
            let (nonce, source) = (reader.u64("a nonce")?, Source::read(reader)?);
            let count = reader.count("the founders", 10)?;
            if count > FOUNDERS_MAX {
                return Err(CodecError::invalid("the founders", count));
            }
            let mut founders = BTreeSet::new();
            for _ in 0..count {
                let name = reader.node_name()?;
                founders.insert(Member { name, incarnation: Incarnation(reader.u64("an incarnation")?) });
            }
            Ok(Propose { founders, nonce, source })
        })
    }
}

impl Join {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(28);
        bytes.put_u64(self.incarnation.0);
        self.source.write(&mut bytes);
        bytes.into()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, CodecError> {
        whole(body, |reader| {
            let incarnation = Incarnation(reader.u64("an incarnation")?);
            Ok(Join { incarnation, source: Source::read(reader)? })
        })
    }
}

impl Welcome {
    pub(crate) fn encode(self) -> Bytes {
        match self {
            Welcome::In(cluster) => encode_id(cluster),
            // No cluster has this id.
            Welcome::Removed => encode_id(0),
        }
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, CodecError> {
        Ok(match decode_id(body)? {
            0 => Welcome::Removed,
            cluster => Welcome::In(cluster),
        })
    }
}

impl Standing {
    pub(crate) fn encode(self) -> Bytes {
        Bytes::from_static(match self {
            Standing::Waiting => &[0],
            Standing::Founded => &[1],
            Standing::Gone => &[2],
        })
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, CodecError> {
        whole(body, |reader| match reader.u8("a standing")? {
            0 => Ok(Standing::Waiting),
            1 => Ok(Standing::Founded),
            2 => Ok(Standing::Gone),
            other => Err(CodecError::invalid("a standing", other)),
        })
    }
}

/// A cluster's or proposal's id alone: what [`kind::IS_ON`] asks about, and what a pledge says.
pub(crate) fn encode_id(id: u64) -> Bytes {
    let mut bytes = Vec::with_capacity(8);
    bytes.put_u64(id);
    bytes.into()
}

/// Reads what [`encode_id`] wrote.
pub(crate) fn decode_id(body: &[u8]) -> Result<u64, CodecError> {
    whole(body, |reader| reader.u64("an id"))
}

const VOID: u8 = 1;
const HAS_ID: u8 = 2;
const PREDICT: u8 = 4;

impl Calls {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(64 + self.calls.len() * 48);
        bytes.put_session_id(&self.session);
        bytes.put_u8(u8::from(self.open.is_some()));
        if let Some(as_of) = self.open {
            bytes.put_u64(as_of.as_nanos() as u64);
        }
        bytes.put_varint(self.floor.0);
        bytes.put_varint(self.first.0);
        bytes.put_varint(self.calls.len() as u64);
        for call in &self.calls {
            match call {
                RemoteCall::Void => bytes.put_u8(VOID),
                RemoteCall::Run { method, chosen, predict } => {
                    let has_id = if chosen.is_some() { HAS_ID } else { 0 };
                    bytes.put_u8(has_id | if *predict { PREDICT } else { 0 });
                    if let Some(ChosenId { id, call }) = chosen {
                        bytes.put_bytes(id.as_bytes());
                        bytes.put_digest(*call);
                    }
                    bytes.put_bytes(method);
                }
            }
        }
        bytes.into()
    }

    pub(crate) fn decode(body: &Bytes) -> Result<Self, CodecError> {
        whole(body, |reader| {
            let session = reader.session_id()?;
            let open = reader.flag("whether to open")?;
            let open = if open { Some(Duration::from_nanos(reader.u64("an elapsed time")?)) } else { None };
            let floor = CallNumber(reader.varint("a floor")?);
            let first = CallNumber(reader.varint("a call's number")?);
            let count = reader.count("the calls", 1)?;
            if floor > first || first.0.checked_add(count as u64).is_none() {
                return Err(CodecError::invalid("a call's number", first.0));
            }
            let calls = (0..count).map(|_| RemoteCall::decode(reader, body)).collect::<Result<_, _>>()?;
            Ok(Calls { session, open, floor, first, calls })
        })
    }
}

impl RemoteCall {
    fn decode(reader: &mut Reader<'_>, body: &Bytes) -> Result<Self, CodecError> {
        let flags = reader.u8("the kind of a call")?;
        if flags == VOID {
            return Ok(RemoteCall::Void);
        }
        if flags & !(HAS_ID | PREDICT) != 0 {
            return Err(CodecError::invalid("the kind of a call", flags));
        }
        let chosen = if flags & HAS_ID == 0 {
            None
        } else {
            let id: Arc<str> = reader.text("a request id", REQUEST_ID_BYTES_MAX)?.into();
            Some(ChosenId { id, call: reader.digest("the call of a request id")? })
        };
        let method = body.slice_ref(reader.bytes("a method")?);
        Ok(RemoteCall::Run { method, chosen, predict: flags & PREDICT != 0 })
    }
}

impl Expect {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(64);
        bytes.put_session_id(&self.session);
        bytes.put_varint(self.next.0);
        bytes.into()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, CodecError> {
        whole(body, |reader| {
            let session = reader.session_id()?;
            Ok(Expect { session, next: CallNumber(reader.varint("a call's number")?) })
        })
    }
}

impl Decided {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(64 + self.places.len() * 4);
        bytes.put_session_id(&self.session);
        bytes.put_varint(self.first.0);
        bytes.put_varint(self.places.len() as u64);
        for place in &self.places {
            // None is 0, and place 0 is 1.
            bytes.put_varint(place.map_or(0, |place| place.0.saturating_add(1)));
        }
        bytes.into()
    }

    pub(crate) fn decode(body: &[u8]) -> Result<Self, CodecError> {
        whole(body, |reader| {
            let session = reader.session_id()?;
            let first = CallNumber(reader.varint("a call's number")?);
            let count = reader.count("the places of calls", 1)?;
            if first.0.checked_add(count as u64).is_none() {
                return Err(CodecError::invalid("a call's number", first.0));
            }
            let places = (0..count)
                .map(|_| Ok(reader.varint("a place")?.checked_sub(1).map(Index)))
                .collect::<Result<_, _>>()?;
            Ok(Decided { session, first, places })
        })
    }
}

impl Predicted {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = Vec::with_capacity(64 + self.verdict.len());
        bytes.put_session_id(&self.session);
        bytes.put_varint(self.number.0);
        bytes.put_bytes(&self.verdict);
        bytes.into()
    }

    pub(crate) fn decode(body: &Bytes) -> Result<Self, CodecError> {
        whole(body, |reader| {
            let session = reader.session_id()?;
            let number = CallNumber(reader.varint("a call's number")?);
            Ok(Predicted { session, number, verdict: body.slice_ref(reader.bytes("a verdict")?) })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn calls_are_read_back() {
        let session = SessionId { node: "a".into(), incarnation: Incarnation(3), number: 1 };
        let calls = Calls {
            session,
            open: Some(Duration::from_secs(3)),
            floor: CallNumber(4),
            first: CallNumber(6),
            calls: vec![
                RemoteCall::Void,
                RemoteCall::Run { method: Bytes::from_static(b"m"), chosen: None, predict: true },
                RemoteCall::Run {
                    method: Bytes::new(),
                    chosen: Some(ChosenId { id: "order".into(), call: Digest(9) }),
                    predict: false,
                },
            ],
        };
        assert_eq!(Calls::decode(&calls.encode()), Ok(calls));
    }

    #[test]
    fn what_was_decided_is_read_back() {
        let session = SessionId { node: "b".into(), incarnation: Incarnation(3), number: 1 };
        let decided = Decided { session, first: CallNumber(7), places: vec![Some(Index(300)), None, Some(Index(0))] };
        assert_eq!(Decided::decode(&decided.encode()), Ok(decided));
        let source = Source { version: 2, code: Digest(9) };
        let hello = Hello { incarnation: Incarnation(1), source, cluster: 4, leads: true };
        assert_eq!(Hello::decode(&hello.encode()), Ok(hello));
        let join = Join { incarnation: Incarnation(1), source };
        assert_eq!(Join::decode(&join.encode()), Ok(join));
        for to in [None, Some("b".into())] {
            let hand_over = HandOver { term: 7, to };
            assert_eq!(HandOver::decode(&hand_over.encode()), Ok(hand_over));
        }
    }

    proptest! {
        #[test]
        fn hostile_bytes_are_errors(bytes: Vec<u8>) {
            let bytes = Bytes::from(bytes);
            let _ = Hello::decode(&bytes);
            let _ = Propose::decode(&bytes);
            let _ = Join::decode(&bytes);
            let _ = Welcome::decode(&bytes);
            let _ = Standing::decode(&bytes);
            let _ = Calls::decode(&bytes);
            let _ = Expect::decode(&bytes);
            let _ = Predicted::decode(&bytes);
            let _ = Decided::decode(&bytes);
            let _ = HandOver::decode(&bytes);
        }
    }
}
