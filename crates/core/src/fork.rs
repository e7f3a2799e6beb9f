//! The leader's provisional copy: what methods are run against, one batch after another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Audit, Batch, ChosenId, ELAPSED_MAX, Header, Record, Verdict};
use crate::container::{BatchContext, Call, Container, Decision};
use crate::context::Stamps;
use crate::ids::{
    BatchId, CallNumber, Incarnation, NODE_NAME_BYTES_MAX, NodeName, REQUEST_ID_BYTES_MAX, SessionId, SessionKey,
};
use crate::roster::{Roster, RosterChange};
use crate::session::Found;
use crate::store::{Halt, Store};

/// What a node asks of the leader.
#[derive(Debug)]
pub enum Request<C: Container> {
    /// To open a session. `as_of` is how far its store was when it asked: see [`Fork::batch`].
    Open {
        /// The session.
        id: SessionId,
        /// The elapsed time of the asking node's store.
        as_of: Duration,
    },
    /// To run a method.
    Call {
        /// The session, which must be open.
        session: SessionKey,
        /// The call's number there.
        number: CallNumber,
        /// The origin holds the outcomes of all calls below.
        floor: CallNumber,
        /// The request id, if the user chose one.
        chosen: Option<ChosenId>,
        /// The encoded method, where it is to be kept.
        audit: Option<Audit>,
        /// The method.
        method: C::Method,
    },
    /// To make sure that a call never takes effect.
    Void {
        /// The session, which must be open.
        session: SessionKey,
        /// The call's number there.
        number: CallNumber,
        /// As in `Call`.
        floor: CallNumber,
    },
    /// To change who is meant to vote. One that would leave nobody, or too many, is left out, and so is what changes
    /// nothing.
    Roster {
        /// What is asked for.
        change: RosterChange,
        /// Who votes now, by the engine.
        voters: BTreeSet<NodeName>,
    },
}

impl<C: Container> Request<C> {
    /// Whether every replica could read back what is logged of it. One that could not would stop the whole cluster, so
    /// what a peer or a program asks for is not trusted here.
    fn is_sound(&self) -> bool {
        match self {
            Request::Open { id, .. } => (1..=NODE_NAME_BYTES_MAX).contains(&id.node.len()),
            Request::Void { number, floor, .. } => floor <= number,
            Request::Roster { change, voters } => {
                let named = voters.iter().chain([change.name()]);
                named.into_iter().all(|name| (1..=NODE_NAME_BYTES_MAX).contains(&name.len()))
            }
            Request::Call { number, floor, chosen, .. } => {
                floor <= number && chosen.as_ref().is_none_or(|chosen| chosen.id.len() <= REQUEST_ID_BYTES_MAX)
            }
        }
    }
}

/// How long things are kept; the leader's own, because what is forgotten is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// How long a session lives without a call.
    pub session: Duration,
    /// How long a chosen request id is remembered.
    pub chosen_id: Duration,
    /// How many chosen request ids are remembered at most. None is forgotten early for that: while there are so many, a call
    /// with another one is not taken. Binds on the leader, before anything is proposed.
    pub chosen_ids_max: usize,
}

impl Default for Retention {
    /// An hour, and five minutes, and 1,048,576 chosen ids: some 3,500 a second, all the time.
    fn default() -> Self {
        Retention { session: Duration::from_secs(3600), chosen_id: Duration::from_secs(300), chosen_ids_max: 1 << 20 }
    }
}

/// The provisional state of one leadership. Every batch it makes is judged on top of the one before.
pub struct Fork<C: Container> {
    store: Store<C>,
    term: u64,
    incarnation: Incarnation,
    /// The elapsed time of the state that was forked.
    elapsed_at_fork: Duration,
    retention: Retention,
    damaged: bool,
}

impl<C: Container> Fork<C> {
    /// Forks a store. It must hold everything up to the first entry of `term`, and this must be that term's leader.
    #[must_use]
    pub fn new(store: Store<C>, term: u64, incarnation: Incarnation, retention: Retention) -> Self {
        let elapsed_at_fork = store.stamps.elapsed;
        Fork { store, term, incarnation, elapsed_at_fork, retention, damaged: false }
    }

    /// The term it was made for.
    #[must_use]
    pub fn term(&self) -> u64 {
        self.term
    }

    /// The provisional store.
    #[must_use]
    pub fn store(&self) -> &Store<C> {
        &self.store
    }

    /// A reducer broke and left the state half-written: wait until what was made is applied, then fork anew.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.damaged
    }

    /// The call that a session waits for, if it is open.
    #[must_use]
    pub fn next(&self, session: SessionKey) -> Option<CallNumber> {
        self.store.sessions.get(session).map(crate::session::Session::next)
    }

    /// The clocks for the next batch: the leader's wall clock, and its monotonic time since the fork.
    #[must_use]
    pub fn stamps(&self, wall_ms: u64, since_fork: Duration) -> Stamps {
        let last = self.store.stamps;
        let elapsed = self.elapsed_at_fork.saturating_add(since_fork).max(last.elapsed);
        Stamps { time_ms: wall_ms.max(last.time_ms), elapsed: elapsed.min(ELAPSED_MAX) }
    }

    /// Whether something is due to be forgotten, so that even an idle leader makes a batch.
    #[must_use]
    pub fn is_due(&mut self, elapsed: Duration) -> bool {
        let Retention { session, chosen_id, .. } = self.retention;
        self.store.sessions.sweep::<C>(elapsed, session, chosen_id).is_some()
    }

    /// Makes the next batch of the requests that fit, in order. A call that is not the next of its session, or whose
    /// session is not open, is left out: its origin sends it again when it sees that nothing came of it. So is a request
    /// that no replica could read back. `None` when there is nothing to log. A call with a chosen id for which there is no
    /// room becomes a void: its number is passed over, and it never takes effect.
    ///
    /// An `Open` is refused if it was asked before the last instant that a sweep expired sessions up to: else a delayed
    /// copy of it could bring an expired session to life again, and with it calls that have been decided. The instant is
    /// replicated, so leaders that keep sessions for different lengths of time agree; and it never outruns the clock of
    /// the last batch, so that a node that has caught up is never refused, however long the cluster was idle.
    ///
    /// # Errors
    /// When the fork contradicts itself.
    pub fn batch(
        &mut self,
        counter: u64,
        stamps: Stamps,
        seed: u64,
        requests: Vec<Request<C>>,
        compare: bool,
    ) -> Result<Option<Batch<C>>, Halt> {
        assert!(!self.damaged, "a damaged fork is thrown away");
        let container = self.store.container().clone();
        let sweep = self.store.sessions.sweep(stamps.elapsed, self.retention.session, self.retention.chosen_id);
        if let Some(sweep) = &sweep {
            // At once, so that what comes is judged on the table as it will be; a second time it changes nothing.
            let swept = self.store.sessions.record(sweep, stamps.elapsed, self.store.index);
            swept.expect("a sweep contradicts nothing");
        }
        let swept = self.admit(requests);
        let context = BatchContext { base: self.store.index, stamps, seed };

        let opens = swept.opens.into_iter().map(Record::Open);
        let mut records: Vec<Record<C>> =
            sweep.into_iter().chain(swept.roster.map(Record::Roster)).chain(opens).collect();
        let decided = if swept.calls.is_empty() {
            Vec::new()
        } else {
            let state = Arc::make_mut(&mut self.store.state);
            let decided = container.decide_batch(state, &context, swept.calls);
            self.damaged = decided.damaged;
            decided.decisions
        };
        let mut decisions = decided.into_iter();
        records.reserve(swept.slots.len());
        for slot in swept.slots {
            let Some(record) = slot.record(&mut decisions) else { break };
            records.push(record);
        }
        if records.is_empty() && !compare {
            return Ok(None);
        }

        let header = Header {
            id: BatchId { term: self.term, incarnation: self.incarnation, counter },
            prev: self.store.head,
            base: self.store.index,
            version: container.version(),
            code: container.code(),
            stamps,
            seed,
            compare,
        };
        let batch = Batch { header, records };
        self.store.advance(&batch, None, |_, _, _| {})?;
        Ok(Some(batch))
    }

    /// Sorts out which requests fit.
    fn admit(&self, requests: Vec<Request<C>>) -> Admitted<C> {
        let sessions = &self.store.sessions;
        let (calls, slots) = (Vec::with_capacity(requests.len()), Vec::with_capacity(requests.len()));
        let mut admitted = Admitted { roster: None, opens: Vec::new(), calls, slots };
        // The next call of each session that has one in this batch, and the chosen ids of this batch.
        let mut nexts: BTreeMap<SessionKey, CallNumber> = BTreeMap::new();
        let mut chosen_here: BTreeMap<Arc<str>, crate::Digest> = BTreeMap::new();
        let mut take = |session: SessionKey, number: CallNumber| {
            let Some(known) = sessions.get(session).filter(|known| !known.is_full()) else { return false };
            let next = nexts.entry(session).or_insert_with(|| known.next());
            let fits = *next == number;
            if fits {
                *next = number.next();
            }
            fits
        };
        for request in requests.into_iter().filter(Request::is_sound) {
            match request {
                Request::Open { id, as_of } => {
                    let fresh = as_of >= sessions.swept_before();
                    if fresh && sessions.key(&id).is_none() && !admitted.opens.contains(&id) {
                        admitted.opens.push(id);
                    }
                }
                Request::Roster { change, voters } => {
                    let roster = admitted.roster.as_ref().unwrap_or(&self.store.roster);
                    if let Some(next) = roster.after(&change, &voters).ok().filter(|next| next != roster) {
                        admitted.roster = Some(next);
                    }
                }
                Request::Void { session, number, floor } => {
                    if take(session, number) {
                        admitted.slots.push(Slot::Void { session, number, floor });
                    }
                }
                Request::Call { session, number, floor, chosen, audit, method } => {
                    if !take(session, number) {
                        continue;
                    }
                    let known = chosen.as_ref().and_then(|ChosenId { id, .. }| {
                        chosen_here.get(id).copied().or_else(|| sessions.chosen_call(id))
                    });
                    let verdict = match (&chosen, known) {
                        (Some(chosen), Some(known)) if chosen.call == known => Some(Verdict::Repeated),
                        (Some(_), Some(_)) => Some(Verdict::Conflict),
                        _ => None,
                    };
                    if verdict.is_none() {
                        let remembered = sessions.chosen_count() + chosen_here.len();
                        if chosen.is_some() && remembered >= self.retention.chosen_ids_max {
                            admitted.slots.push(Slot::Void { session, number, floor });
                            continue;
                        }
                        if let Some(ChosenId { id, call }) = &chosen {
                            chosen_here.insert(id.clone(), *call);
                        }
                        let origin = self.store.origin(session, number).expect("the session was found open above");
                        admitted.calls.push(Call { method, origin });
                    }
                    admitted.slots.push(Slot::Call { session, number, floor, chosen, audit, verdict });
                }
            }
        }
        admitted
    }

    /// What the provisional table knows of a call.
    #[must_use]
    pub fn find(&self, id: &SessionId, number: CallNumber) -> Found<C> {
        self.store.sessions.find(id, number)
    }
}

struct Admitted<C: Container> {
    roster: Option<Roster>,
    opens: Vec<SessionId>,
    calls: Vec<Call<C::Method>>,
    slots: Vec<Slot<C>>,
}

/// A record whose verdict may still be missing.
enum Slot<C: Container> {
    Void {
        session: SessionKey,
        number: CallNumber,
        floor: CallNumber,
    },
    Call {
        session: SessionKey,
        number: CallNumber,
        floor: CallNumber,
        chosen: Option<ChosenId>,
        audit: Option<Audit>,
        verdict: Option<Verdict<C>>,
    },
}

impl<C: Container> Slot<C> {
    /// The record; `None` when the container stopped before this call.
    fn record(self, decisions: &mut impl Iterator<Item = Decision<C::Action, C::Rejection>>) -> Option<Record<C>> {
        Some(match self {
            Slot::Void { session, number, floor } => Record::Void { session, number, floor },
            Slot::Call { session, number, floor, chosen, audit, verdict } => {
                let verdict = match verdict {
                    Some(verdict) => verdict,
                    None => match decisions.next()? {
                        Decision::Action(action) => Verdict::Action(Arc::new(action)),
                        Decision::Nothing => Verdict::Nothing,
                        Decision::Rejected(rejection) => Verdict::Rejected(Arc::new(rejection)),
                        Decision::Failed(failure) => Verdict::Failed(Arc::new(failure)),
                    },
                };
                Record::Call { session, number, floor, chosen, audit, verdict }
            }
        })
    }
}
