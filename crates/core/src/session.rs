//! The replicated table that makes a perform exactly-once: who has called what, and what became of it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::batch::{BatchError, ChosenId, Record, Verdict, chosen_id, elapsed, put_elapsed};
use crate::codec::{CodecError, Reader, Writer};
use crate::container::{Container, Failure};
use crate::ids::{BatchId, CallNumber, Index, SessionId, SessionKey};
use crate::payload::PayloadError;

/// What finally became of a call.
#[derive(Debug)]
pub enum Outcome<C: Container> {
    /// It took effect.
    Committed {
        /// The place of its action.
        index: Index,
        /// The action.
        action: Arc<C::Action>,
    },
    /// There was nothing to do.
    Nothing {
        /// The place it was judged at.
        index: Index,
    },
    /// The method refused.
    Rejected {
        /// The place it was judged at.
        index: Index,
        /// Why.
        rejection: Arc<C::Rejection>,
    },
    /// The method or reducer broke.
    Failed {
        /// The place it was judged at.
        index: Index,
        /// How.
        failure: Arc<Failure>,
    },
    /// Its origin gave it up before it was decided: it never takes effect.
    Void,
    /// Its request id was used before, for another call.
    Conflict,
}

impl<C: Container> Clone for Outcome<C> {
    fn clone(&self) -> Self {
        match self {
            Outcome::Committed { index, action } => Outcome::Committed { index: *index, action: action.clone() },
            Outcome::Nothing { index } => Outcome::Nothing { index: *index },
            Outcome::Rejected { index, rejection } => Outcome::Rejected { index: *index, rejection: rejection.clone() },
            Outcome::Failed { index, failure } => Outcome::Failed { index: *index, failure: failure.clone() },
            Outcome::Void => Outcome::Void,
            Outcome::Conflict => Outcome::Conflict,
        }
    }
}

impl<C: Container> Outcome<C> {
    /// The place of its action; of what made none, the place it was judged at. A void and a conflict have none.
    #[must_use]
    pub fn index(&self) -> Option<Index> {
        match self {
            Outcome::Committed { index, .. }
            | Outcome::Nothing { index }
            | Outcome::Rejected { index, .. }
            | Outcome::Failed { index, .. } => Some(*index),
            Outcome::Void | Outcome::Conflict => None,
        }
    }
}

/// A batch that fits the chain but not the table. Every replica would find the same, so nothing can be right: stop.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// A call of a session that is not open.
    #[error("a batch holds a call of session {0:?}, which is not open")]
    UnknownSession(SessionKey),
    /// A call that is not the next of its session.
    #[error("a batch holds call {came} of session {session}, whose next call is {next}")]
    NotNext {
        /// The session.
        session: SessionId,
        /// The call that came.
        came: u64,
        /// The call that was to come.
        next: u64,
    },
    /// A session that is open already.
    #[error("a batch opens session {0}, which is open")]
    OpenTwice(SessionId),
    /// A repeated request id that nobody used before.
    #[error("a batch repeats request id {0:?}, which is not remembered for this call")]
    NotRemembered(Arc<str>),
    /// A request id that is remembered, and used again as if it were new.
    #[error("a batch uses request id {0:?} as a new one, but it is remembered")]
    Remembered(Arc<str>),
    /// A batch that names itself as its predecessor: it would fit onto itself for ever.
    #[error("batch {0} names itself as its predecessor")]
    OwnPredecessor(BatchId),
    /// The clock that expires things goes back.
    #[error("a batch was made at {came:?}, its predecessor at {is:?}")]
    Clock {
        /// What the batch says.
        came: Duration,
        /// What its predecessor said.
        is: Duration,
    },
    /// The batch starts at another place than its predecessor ended.
    #[error("a batch starts at index {came}, its predecessor ended at {is}")]
    Place {
        /// Where it starts.
        came: Index,
        /// Where the state is.
        is: Index,
    },
}

/// The most outcomes that are held for one session. An origin that lets them grow beyond that, though it has long had
/// them, is not served any more until it says so. Binds on the leader, before anything is proposed.
pub const OUTCOMES_MAX: usize = 1 << 20;

/// One session.
#[derive(Debug)]
pub struct Session<C: Container> {
    id: SessionId,
    /// The outcomes of all calls below this one are forgotten: the origin has them.
    floor: CallNumber,
    /// The call to be decided next. `floor <= next`.
    next: CallNumber,
    last_seen: Duration,
    /// What became of the calls `floor..next`.
    outcomes: VecDeque<Outcome<C>>,
}

impl<C: Container> Clone for Session<C> {
    fn clone(&self) -> Self {
        Session { id: self.id.clone(), outcomes: self.outcomes.clone(), ..*self }
    }
}

impl<C: Container> Session<C> {
    /// Whose it is.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The call to be decided next.
    #[must_use]
    pub fn next(&self) -> CallNumber {
        self.next
    }

    /// What became of a call.
    #[must_use]
    pub fn find(&self, number: CallNumber) -> Found<C> {
        if number < self.floor {
            return Found::Forgotten;
        }
        match self.outcomes.get((number.0 - self.floor.0) as usize) {
            Some(outcome) => Found::Decided(outcome.clone()),
            None => Found::Undecided,
        }
    }

    /// Whether it holds as many outcomes as it may.
    pub(crate) fn is_full(&self) -> bool {
        self.outcomes.len() >= OUTCOMES_MAX
    }

    fn decide(
        &mut self,
        number: CallNumber,
        floor: CallNumber,
        now: Duration,
        outcome: Outcome<C>,
    ) -> Result<&Outcome<C>, Corrupt> {
        if number != self.next {
            return Err(Corrupt::NotNext { session: self.id.clone(), came: number.0, next: self.next.0 });
        }
        // A floor from a message that was overtaken may be older than one seen before.
        let forgotten = floor.0.saturating_sub(self.floor.0).min(self.outcomes.len() as u64);
        // Most calls of a batch have the same floor.
        if forgotten > 0 {
            self.outcomes.drain(..forgotten as usize);
        }
        self.floor = CallNumber(self.floor.0 + forgotten);
        self.next = number.next();
        self.last_seen = now;
        Ok(self.outcomes.push_back_mut(outcome))
    }
}

/// What the table knows of a call.
#[derive(Debug)]
pub enum Found<C: Container> {
    /// What became of it.
    Decided(Outcome<C>),
    /// Its session is open and waits for it, or for one before it.
    Undecided,
    /// It was decided and is not held any more, or its session has expired.
    Forgotten,
}

#[derive(Debug)]
struct Remembered<C: Container> {
    call: crate::Digest,
    outcome: Outcome<C>,
}

impl<C: Container> Clone for Remembered<C> {
    fn clone(&self) -> Self {
        Remembered { call: self.call, outcome: self.outcome.clone() }
    }
}

/// All sessions, and the request ids that users chose.
#[derive(Debug)]
pub struct Sessions<C: Container> {
    open: BTreeMap<SessionKey, Session<C>>,
    keys: BTreeMap<SessionId, SessionKey>,
    /// How many were ever opened: the last key.
    opened: u64,
    /// Every session that was not seen since this instant has expired.
    swept_before: Duration,
    /// No open session was seen last before this instant: most sweeps need not look at each of them. Not replicated.
    seen_since: Duration,
    chosen: BTreeMap<Arc<str>, Remembered<C>>,
    /// The chosen ids in the order in which they were decided, and when.
    chosen_order: VecDeque<(Duration, Arc<str>)>,
}

impl<C: Container> Clone for Sessions<C> {
    fn clone(&self) -> Self {
        Sessions {
            open: self.open.clone(),
            keys: self.keys.clone(),
            opened: self.opened,
            swept_before: self.swept_before,
            seen_since: self.seen_since,
            chosen: self.chosen.clone(),
            chosen_order: self.chosen_order.clone(),
        }
    }
}

impl<C: Container> Default for Sessions<C> {
    fn default() -> Self {
        Sessions {
            open: BTreeMap::new(),
            keys: BTreeMap::new(),
            opened: 0,
            swept_before: Duration::ZERO,
            seen_since: Duration::MAX,
            chosen: BTreeMap::new(),
            chosen_order: VecDeque::new(),
        }
    }
}

impl<C: Container> Sessions<C> {
    /// The key of an open session.
    #[must_use]
    pub fn key(&self, id: &SessionId) -> Option<SessionKey> {
        self.keys.get(id).copied()
    }

    /// An open session.
    #[must_use]
    pub fn get(&self, key: SessionKey) -> Option<&Session<C>> {
        self.open.get(&key)
    }

    /// What became of a call that was named by its session.
    #[must_use]
    pub fn find(&self, id: &SessionId, number: CallNumber) -> Found<C> {
        self.key(id).and_then(|key| self.get(key)).map_or(Found::Forgotten, |session| session.find(number))
    }

    /// What became of a call that was named by its user; `None` when the id is not known (yet, or any more).
    #[must_use]
    pub fn find_chosen(&self, id: &str) -> Option<Outcome<C>> {
        self.chosen.get(id).map(|remembered| remembered.outcome.clone())
    }

    /// How many ids that users chose are remembered.
    #[must_use]
    pub fn chosen_count(&self) -> usize {
        self.chosen.len()
    }

    /// The fingerprint of the call that a chosen id names.
    pub(crate) fn chosen_call(&self, id: &str) -> Option<crate::Digest> {
        self.chosen.get(id).map(|remembered| remembered.call)
    }

    /// The instant up to which sessions have expired. A session that was opened later is open.
    #[must_use]
    pub fn swept_before(&self) -> Duration {
        self.swept_before
    }

    /// What a sweep at `now` would have to forget.
    pub(crate) fn sweep<D: Container>(&mut self, now: Duration, life: Duration, window: Duration) -> Option<Record<D>> {
        let sessions_before = now.saturating_sub(life);
        let ids_before = now.saturating_sub(window);
        if self.seen_since < sessions_before {
            self.seen_since = self.open.values().map(|session| session.last_seen).min().unwrap_or(Duration::MAX);
        }
        let due = self.seen_since < sessions_before
            || self.chosen_order.front().is_some_and(|(decided, _)| *decided < ids_before);
        due.then_some(Record::Sweep { sessions_before, ids_before })
    }

    /// Takes the table through one record; `index` is the place after it. What became of a call is handed back as it is
    /// held. Forks and stores run this same function.
    pub(crate) fn record(
        &mut self,
        record: &Record<C>,
        now: Duration,
        index: Index,
    ) -> Result<Option<&Outcome<C>>, Corrupt> {
        match record {
            // Not of this table.
            Record::Roster(_) => Ok(None),
            Record::Open(id) => {
                if self.keys.contains_key(id) {
                    return Err(Corrupt::OpenTwice(id.clone()));
                }
                self.opened += 1;
                let key = SessionKey(self.opened);
                self.keys.insert(id.clone(), key);
                self.seen_since = self.seen_since.min(now);
                let first = CallNumber::FIRST;
                let session =
                    Session { id: id.clone(), floor: first, next: first, last_seen: now, outcomes: VecDeque::new() };
                self.open.insert(key, session);
                Ok(None)
            }
            Record::Void { session, number, floor } => {
                self.session(*session)?.decide(*number, *floor, now, Outcome::Void).map(Some)
            }
            Record::Call { session, number, floor, chosen, verdict, .. } => {
                let outcome = self.outcome(verdict, chosen.as_ref(), index)?;
                let session = self.open.get_mut(session).ok_or(Corrupt::UnknownSession(*session))?;
                let outcome = session.decide(*number, *floor, now, outcome)?;
                if let Some(ChosenId { id, call }) = chosen
                    && !matches!(verdict, Verdict::Repeated | Verdict::Conflict)
                {
                    self.chosen.insert(id.clone(), Remembered { call: *call, outcome: outcome.clone() });
                    self.chosen_order.push_back((now, id.clone()));
                }
                Ok(Some(outcome))
            }
            Record::Sweep { sessions_before, ids_before } => {
                self.swept_before = self.swept_before.max(*sessions_before);
                self.open.retain(|_, session| session.last_seen >= *sessions_before);
                let open = &self.open;
                self.keys.retain(|_, key| open.contains_key(key));
                while let Some((decided, id)) = self.chosen_order.front()
                    && decided < ids_before
                {
                    self.chosen.remove(id);
                    self.chosen_order.pop_front();
                }
                Ok(None)
            }
        }
    }

    fn session(&mut self, key: SessionKey) -> Result<&mut Session<C>, Corrupt> {
        self.open.get_mut(&key).ok_or(Corrupt::UnknownSession(key))
    }

    fn outcome(&self, verdict: &Verdict<C>, chosen: Option<&ChosenId>, index: Index) -> Result<Outcome<C>, Corrupt> {
        let known = chosen.and_then(|chosen| Some((self.chosen.get(&chosen.id)?, chosen.call)));
        let id = || chosen.map(|chosen| chosen.id.clone()).unwrap_or_default();
        Ok(match (verdict, known) {
            (Verdict::Repeated, Some((known, call))) if known.call == call => known.outcome.clone(),
            (Verdict::Conflict, Some((known, call))) if known.call != call => Outcome::Conflict,
            (Verdict::Repeated | Verdict::Conflict, _) => return Err(Corrupt::NotRemembered(id())),
            (_, Some(_)) => return Err(Corrupt::Remembered(id())),
            (Verdict::Action(action), None) => Outcome::Committed { index, action: action.clone() },
            (Verdict::Nothing, None) => Outcome::Nothing { index },
            (Verdict::Rejected(rejection), None) => Outcome::Rejected { index, rejection: rejection.clone() },
            (Verdict::Failed(failure), None) => Outcome::Failed { index, failure: failure.clone() },
        })
    }

    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), PayloadError> {
        bytes.put_varint(self.opened);
        put_elapsed(bytes, self.swept_before);
        bytes.put_varint(self.open.len() as u64);
        for (key, session) in &self.open {
            bytes.put_varint(key.0);
            bytes.put_session_id(&session.id);
            bytes.put_varint(session.floor.0);
            put_elapsed(bytes, session.last_seen);
            bytes.put_varint(session.outcomes.len() as u64);
            for outcome in &session.outcomes {
                outcome.encode(bytes)?;
            }
        }
        bytes.put_varint(self.chosen_order.len() as u64);
        for (decided, id) in &self.chosen_order {
            let remembered = self.chosen.get(id).expect("every id in the order is remembered");
            bytes.put_bytes(id.as_bytes());
            bytes.put_digest(remembered.call);
            put_elapsed(bytes, *decided);
            remembered.outcome.encode(bytes)?;
        }
        Ok(())
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, BatchError> {
        let opened = reader.tally("the count of sessions")?;
        let mut sessions = Sessions { opened, swept_before: elapsed(reader)?, ..Sessions::default() };
        for _ in 0..reader.count("the sessions", 8)? {
            let key = SessionKey(reader.varint("a session's key")?);
            let id = reader.session_id()?;
            let floor = CallNumber(reader.tally("a session's floor")?);
            let last_seen = elapsed(reader)?;
            let count = reader.count("a session's outcomes", 1)?;
            let outcomes = (0..count).map(|_| Outcome::decode(reader)).collect::<Result<VecDeque<_>, _>>()?;
            let next = CallNumber(floor.0 + count as u64);
            // A key twice, an id twice, or a key yet to be given: each would let one session pass for another.
            let is_last = sessions.open.last_key_value().is_none_or(|(last, _)| *last < key);
            if !is_last || key.0 > opened || sessions.keys.insert(id.clone(), key).is_some() {
                return Err(CodecError::invalid("a session's key", key.0).into());
            }
            sessions.seen_since = sessions.seen_since.min(last_seen);
            sessions.open.insert(key, Session { id, floor, next, last_seen, outcomes });
        }
        for _ in 0..reader.count("the chosen request ids", 8)? {
            let ChosenId { id, call } = chosen_id(reader)?;
            let decided = elapsed(reader)?;
            sessions.chosen_order.push_back((decided, id.clone()));
            let remembered = Remembered { call, outcome: Outcome::decode(reader)? };
            if sessions.chosen.insert(id.clone(), remembered).is_some() {
                return Err(CodecError::invalid("the chosen request ids", format!("{id:?} twice")).into());
            }
        }
        Ok(sessions)
    }
}

const VOID: u8 = 0x10;

impl<C: Container> Outcome<C> {
    /// As the verdict it came from, and its place. A void has neither.
    fn verdict(&self) -> Option<(Verdict<C>, Index)> {
        Some(match self {
            Outcome::Committed { index, action } => (Verdict::Action(action.clone()), *index),
            Outcome::Nothing { index } => (Verdict::Nothing, *index),
            Outcome::Rejected { index, rejection } => (Verdict::Rejected(rejection.clone()), *index),
            Outcome::Failed { index, failure } => (Verdict::Failed(failure.clone()), *index),
            Outcome::Conflict => (Verdict::Conflict, Index(0)),
            Outcome::Void => return None,
        })
    }

    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), PayloadError> {
        let Some((verdict, index)) = self.verdict() else {
            bytes.put_u8(VOID);
            return Ok(());
        };
        bytes.put_u8(verdict.tag());
        bytes.put_varint(index.0);
        verdict.encode(bytes)
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, BatchError> {
        let tag = reader.u8("the kind of an outcome")?;
        if tag == VOID {
            return Ok(Outcome::Void);
        }
        let index = Index(reader.varint("the index of an outcome")?);
        Ok(match Verdict::<C>::decode(tag, reader)? {
            Verdict::Action(action) => Outcome::Committed { index, action },
            Verdict::Nothing => Outcome::Nothing { index },
            Verdict::Rejected(rejection) => Outcome::Rejected { index, rejection },
            Verdict::Failed(failure) => Outcome::Failed { index, failure },
            Verdict::Conflict => Outcome::Conflict,
            Verdict::Repeated => return Err(CodecError::invalid("the kind of an outcome", tag).into()),
        })
    }
}
