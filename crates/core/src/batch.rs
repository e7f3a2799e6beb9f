//! The unit in the Raft log: many records in order, linked to a predecessor.

use std::sync::Arc;
use std::time::Duration;

use crate::codec::{CodecError, Reader, Writer, put_sized, put_varints, take_sized};
use crate::container::{BatchContext, Container, Failure};
use crate::context::Stamps;
use crate::digest::Digest;
use crate::ids::{BatchId, CallNumber, Index, REQUEST_ID_BYTES_MAX, SessionId, SessionKey};
use crate::payload::{Payload, PayloadError};
use crate::roster::Roster;

/// The version of the batch layout.
const LAYOUT: u8 = 2;

/// What a batch says of itself, before its records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// Its name.
    pub id: BatchId,
    /// The batch that it was judged on top of. The store applies it onto that one only.
    pub prev: BatchId,
    /// The place of its predecessor: its first action is the one after.
    pub base: Index,
    /// The container's version.
    pub version: u32,
    /// The container's code, where it has a digest.
    pub code: Digest,
    /// The clocks, fixed before its methods ran.
    pub stamps: Stamps,
    /// The source of its calls' randomness.
    pub seed: u64,
    /// Whether the replicas compare the states they apply it to: one that parted is noticed here.
    pub compare: bool,
}

impl Header {
    /// What its methods and reducers see of it.
    #[must_use]
    pub fn context(&self) -> BatchContext {
        BatchContext { base: self.base, stamps: self.stamps, seed: self.seed }
    }
}

/// What became of a call. Every decided call leaves one, so that nothing is judged twice.
#[derive(Debug)]
pub enum Verdict<C: Container> {
    /// It made this action.
    Action(Arc<C::Action>),
    /// There was nothing to do.
    Nothing,
    /// It was refused.
    Rejected(Arc<C::Rejection>),
    /// The method or reducer broke.
    Failed(Arc<Failure>),
    /// Its request id was used before, for the same call: the outcome is that call's.
    Repeated,
    /// Its request id was used before, for another call.
    Conflict,
}

impl<C: Container> Clone for Verdict<C> {
    fn clone(&self) -> Self {
        match self {
            Verdict::Action(action) => Verdict::Action(action.clone()),
            Verdict::Nothing => Verdict::Nothing,
            Verdict::Rejected(rejection) => Verdict::Rejected(rejection.clone()),
            Verdict::Failed(failure) => Verdict::Failed(failure.clone()),
            Verdict::Repeated => Verdict::Repeated,
            Verdict::Conflict => Verdict::Conflict,
        }
    }
}

/// A request id that the user chose, with a fingerprint of the call it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChosenId {
    /// The id.
    pub id: Arc<str>,
    /// The digest of the method's bytes: the same id with another call is an error.
    pub call: Digest,
}

/// The method behind a call, kept in the log where the audit option asks for it.
pub type Audit = Arc<[u8]>;

/// One thing that a batch does. Everything that changes replicated state is one of these.
#[derive(Debug)]
pub enum Record<C: Container> {
    /// A node opens a session.
    Open(SessionId),
    /// A call was decided.
    Call {
        /// Its session.
        session: SessionKey,
        /// Its number there: the one that is next.
        number: CallNumber,
        /// The origin holds the outcomes of all calls below this one: they can be forgotten.
        floor: CallNumber,
        /// The request id, if the user chose one.
        chosen: Option<ChosenId>,
        /// The encoded method, if kept.
        audit: Option<Audit>,
        /// What became of it.
        verdict: Verdict<C>,
    },
    /// A call was given up by its origin before it was decided: it will never take effect.
    Void {
        /// Its session.
        session: SessionKey,
        /// Its number there.
        number: CallNumber,
        /// As in `Call`.
        floor: CallNumber,
    },
    /// Sessions not seen since `sessions_before`, and chosen ids committed before `ids_before`, are forgotten.
    Sweep {
        /// Sessions last seen before this instant expire.
        sessions_before: Duration,
        /// Chosen ids decided before this instant are forgotten.
        ids_before: Duration,
    },
    /// From here on, these are meant to vote.
    Roster(Roster),
}

impl<C: Container> Clone for Record<C> {
    fn clone(&self) -> Self {
        match self {
            Record::Open(id) => Record::Open(id.clone()),
            Record::Call { session, number, floor, chosen, audit, verdict } => Record::Call {
                session: *session,
                number: *number,
                floor: *floor,
                chosen: chosen.clone(),
                audit: audit.clone(),
                verdict: verdict.clone(),
            },
            Record::Void { session, number, floor } => {
                Record::Void { session: *session, number: *number, floor: *floor }
            }
            Record::Sweep { sessions_before, ids_before } => {
                Record::Sweep { sessions_before: *sessions_before, ids_before: *ids_before }
            }
            Record::Roster(roster) => Record::Roster(roster.clone()),
        }
    }
}

/// Many records in order, judged on exactly the state at `header.prev`.
#[derive(Debug)]
pub struct Batch<C: Container> {
    /// What it says of itself.
    pub header: Header,
    /// What it does.
    pub records: Vec<Record<C>>,
}

impl<C: Container> Clone for Batch<C> {
    fn clone(&self) -> Self {
        Batch { header: self.header.clone(), records: self.records.clone() }
    }
}

/// A batch that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// The layout is broken.
    #[error("a batch is not in the layout of version {LAYOUT}: {0}")]
    Layout(#[from] CodecError),
    /// A value inside is not one of this container's.
    #[error("a batch holds {what} that this container cannot read: {error}")]
    Payload {
        /// Which value.
        what: &'static str,
        /// Why.
        error: PayloadError,
    },
}

const CALL: u8 = 0;
const OPEN: u8 = 1;
const VOID: u8 = 2;
const SWEEP: u8 = 3;
const ROSTER: u8 = 4;

const ACTION: u8 = 0;
const NOTHING: u8 = 1;
const REJECTED: u8 = 2;
const FAILED: u8 = 3;
const REPEATED: u8 = 4;
const CONFLICT: u8 = 5;
/// Flags beside the verdict, in the same byte.
const HAS_ID: u8 = 0x40;
const HAS_AUDIT: u8 = 0x80;

impl<C: Container> Batch<C> {
    /// The batch as bytes.
    ///
    /// # Errors
    /// When a value refuses to be written.
    pub fn encode(&self) -> Result<Vec<u8>, PayloadError> {
        let mut bytes = Vec::with_capacity(160 + self.records.len() * 48);
        let Header { id, prev, base, version, code, stamps, seed, compare } = &self.header;
        bytes.put_u8(LAYOUT);
        bytes.put_batch_id(*id);
        bytes.put_batch_id(*prev);
        bytes.put_u64(base.0);
        bytes.put_u32(*version);
        bytes.put_digest(*code);
        bytes.put_u64(stamps.time_ms);
        put_elapsed(&mut bytes, stamps.elapsed);
        bytes.put_u64(*seed);
        bytes.put_u8(u8::from(*compare));
        bytes.put_varint(self.records.len() as u64);
        for record in &self.records {
            record.encode(&mut bytes)?;
        }
        Ok(bytes)
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// When the bytes are no batch of this container.
    pub fn decode(bytes: &[u8]) -> Result<Self, BatchError> {
        let mut reader = Reader::new(bytes);
        let header = decode_header(&mut reader)?;
        let count = reader.count("the records of a batch", 3)?;
        // A record takes more memory than its bytes: a count alone gets room for so many at most.
        let mut records = Vec::with_capacity(count.min(RECORDS_AT_ONCE));
        for _ in 0..count {
            records.push(Record::decode(&mut reader)?);
        }
        reader.end()?;
        Ok(Batch { header, records })
    }

    /// Reads only what a batch says of itself.
    ///
    /// # Errors
    /// When the bytes are too short or of another layout.
    pub fn peek(bytes: &[u8]) -> Result<Header, BatchError> {
        Ok(decode_header(&mut Reader::new(bytes))?)
    }

    /// How many actions it holds.
    #[must_use]
    pub fn actions(&self) -> u64 {
        let is_action = |record: &&Record<C>| matches!(record, Record::Call { verdict: Verdict::Action(_), .. });
        self.records.iter().filter(is_action).count() as u64
    }
}

/// For how many records room is made before any of them was read.
const RECORDS_AT_ONCE: usize = 4096;

fn decode_header(reader: &mut Reader<'_>) -> Result<Header, CodecError> {
    match reader.u8("the layout of a batch")? {
        LAYOUT => {}
        other => return Err(CodecError::invalid("the layout of a batch", other)),
    }
    Ok(Header {
        id: reader.batch_id()?,
        prev: reader.batch_id()?,
        base: Index(reader.u64("the base of a batch")?),
        version: reader.u32("the container's version")?,
        code: reader.digest("the container's code")?,
        stamps: Stamps { time_ms: reader.u64("the time of a batch")?, elapsed: elapsed(reader)? },
        seed: reader.u64("the seed of a batch")?,
        compare: reader.flag("whether states are compared")?,
    })
}

/// Elapsed time travels in nanoseconds: 64 bits of them are 584 years.
pub(crate) const ELAPSED_MAX: Duration = Duration::from_nanos(u64::MAX);

pub(crate) fn put_elapsed(bytes: &mut Vec<u8>, elapsed: Duration) {
    bytes.put_u64(u64::try_from(elapsed.as_nanos()).expect("no cluster is served for 584 years"));
}

pub(crate) fn elapsed(reader: &mut Reader<'_>) -> Result<Duration, CodecError> {
    Ok(Duration::from_nanos(reader.u64("an elapsed time")?))
}

impl<C: Container> Record<C> {
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), PayloadError> {
        match self {
            Record::Open(id) => {
                bytes.put_u8(OPEN);
                bytes.put_session_id(id);
            }
            Record::Void { session, number, floor } => {
                bytes.put_u8(VOID);
                put_position(bytes, *session, *number, *floor);
            }
            Record::Sweep { sessions_before, ids_before } => {
                bytes.put_u8(SWEEP);
                put_elapsed(bytes, *sessions_before);
                put_elapsed(bytes, *ids_before);
            }
            Record::Roster(roster) => {
                bytes.put_u8(ROSTER);
                roster.encode(bytes);
            }
            Record::Call { session, number, floor, chosen, audit, verdict } => {
                bytes.put_u8(CALL);
                put_position(bytes, *session, *number, *floor);
                let mut tag = verdict.tag();
                tag |= if chosen.is_some() { HAS_ID } else { 0 };
                tag |= if audit.is_some() { HAS_AUDIT } else { 0 };
                bytes.put_u8(tag);
                if let Some(ChosenId { id, call }) = chosen {
                    bytes.put_bytes(id.as_bytes());
                    bytes.put_digest(*call);
                }
                if let Some(audit) = audit {
                    bytes.put_bytes(audit);
                }
                verdict.encode(bytes)?;
            }
        }
        Ok(())
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, BatchError> {
        Ok(match reader.u8("the kind of a record")? {
            OPEN => Record::Open(reader.session_id()?),
            VOID => {
                let (session, number, floor) = position(reader)?;
                Record::Void { session, number, floor }
            }
            SWEEP => Record::Sweep { sessions_before: elapsed(reader)?, ids_before: elapsed(reader)? },
            ROSTER => Record::Roster(Roster::decode(reader)?),
            CALL => {
                let (session, number, floor) = position(reader)?;
                let tag = reader.u8("the verdict of a call")?;
                let chosen = if tag & HAS_ID == 0 { None } else { Some(chosen_id(reader)?) };
                let audit = if tag & HAS_AUDIT == 0 { None } else { Some(reader.bytes("a call's method")?.into()) };
                let verdict = Verdict::decode(tag & !(HAS_ID | HAS_AUDIT), reader)?;
                Record::Call { session, number, floor, chosen, audit, verdict }
            }
            other => return Err(CodecError::invalid("the kind of a record", other).into()),
        })
    }
}

pub(crate) fn chosen_id(reader: &mut Reader<'_>) -> Result<ChosenId, CodecError> {
    let id = reader.text("a request id", REQUEST_ID_BYTES_MAX)?.into();
    Ok(ChosenId { id, call: reader.digest("the call of a request id")? })
}

fn put_position(bytes: &mut Vec<u8>, session: SessionKey, number: CallNumber, floor: CallNumber) {
    // The floor is near the number, so its distance is short.
    let below = number.0.checked_sub(floor.0).expect("a floor is never above the call that carries it");
    put_varints(bytes, [session.0, number.0, below]);
}

fn position(reader: &mut Reader<'_>) -> Result<(SessionKey, CallNumber, CallNumber), CodecError> {
    let session = SessionKey(reader.varint("a session's key")?);
    let number = reader.varint("a call's number")?;
    let below = reader.varint("a session's floor")?;
    let floor = number.checked_sub(below).ok_or_else(|| CodecError::invalid("a session's floor", below))?;
    Ok((session, CallNumber(number), CallNumber(floor)))
}

impl<C: Container> Verdict<C> {
    /// The verdict alone as bytes.
    ///
    /// # Errors
    /// When a value refuses to be written.
    pub fn to_bytes(&self) -> Result<Vec<u8>, PayloadError> {
        let mut bytes = vec![self.tag()];
        self.encode(&mut bytes)?;
        Ok(bytes)
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote.
    ///
    /// # Errors
    /// When the bytes are no verdict of this container.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BatchError> {
        let mut reader = Reader::new(bytes);
        let tag = reader.u8("the verdict of a call")?;
        let verdict = Verdict::decode(tag, &mut reader)?;
        reader.end()?;
        Ok(verdict)
    }

    pub(crate) fn tag(&self) -> u8 {
        match self {
            Verdict::Action(_) => ACTION,
            Verdict::Nothing => NOTHING,
            Verdict::Rejected(_) => REJECTED,
            Verdict::Failed(_) => FAILED,
            Verdict::Repeated => REPEATED,
            Verdict::Conflict => CONFLICT,
        }
    }

    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), PayloadError> {
        match self {
            Verdict::Action(action) => put_sized(bytes, |bytes| action.encode(bytes)),
            Verdict::Rejected(rejection) => put_sized(bytes, |bytes| rejection.encode(bytes)),
            Verdict::Failed(failure) => put_sized(bytes, |bytes| failure.encode(bytes)),
            Verdict::Nothing | Verdict::Repeated | Verdict::Conflict => Ok(()),
        }
    }

    pub(crate) fn decode(tag: u8, reader: &mut Reader<'_>) -> Result<Self, BatchError> {
        Ok(match tag {
            ACTION => Verdict::Action(payload(reader, "an action")?),
            NOTHING => Verdict::Nothing,
            REJECTED => Verdict::Rejected(payload(reader, "a rejection")?),
            FAILED => Verdict::Failed(payload(reader, "a failure")?),
            REPEATED => Verdict::Repeated,
            CONFLICT => Verdict::Conflict,
            other => return Err(CodecError::invalid("the verdict of a call", other).into()),
        })
    }
}

fn payload<T: Payload>(reader: &mut Reader<'_>, what: &'static str) -> Result<Arc<T>, BatchError> {
    let bytes = take_sized(reader, what)?;
    T::decode(bytes).map(Arc::new).map_err(|error| BatchError::Payload { what, error })
}
