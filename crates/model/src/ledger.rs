//! The rules of the chain and of the sessions: what is made of a batch that is committed.
//!
//! They are written anew from the protocol, and share no line with the store that they are a second opinion on. The
//! model and the judge of traces both go by them.

use std::collections::BTreeMap;

use crate::batch::{Batch, Record, Verdict};

/// What a node holds beside the state: the place in the history, the head of the chain, and the session table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ledger<I, S> {
    /// The last batch that was applied.
    pub head: I,
    /// How many actions there have been.
    pub place: u64,
    /// The replicated clock.
    pub elapsed: u64,
    /// The sessions that are open.
    pub sessions: BTreeMap<S, Session>,
    /// What was not seen since this instant has expired. It only grows.
    pub swept_before: u64,
    chosen: BTreeMap<String, Remembered>,
}

/// An open session.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    /// The outcomes below are forgotten.
    pub floor: u64,
    /// The call to be decided next. `floor <= next`.
    pub next: u64,
    /// When something of it was decided last.
    pub last_seen: u64,
    /// What became of the calls `floor..next`.
    pub outcomes: Vec<Outcome>,
}

/// What finally became of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was judged.
    Judged {
        /// How: never `Repeated` or `Conflict`.
        verdict: Verdict,
        /// The place of its action; of what made none, the place it was judged at.
        place: u64,
    },
    /// It was given up, and never takes effect.
    Void,
    /// Its chosen id was used for another call.
    Conflict,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Remembered {
    call: String,
    outcome: Outcome,
    decided: u64,
}

/// Whether a batch took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Applied {
    /// It fits the head of the chain.
    Applied,
    /// It was judged on another state, and is passed over whole.
    Skipped,
}

/// A batch that fits the chain and contradicts the ledger: no honest leader can have made it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Contradiction(pub String);

fn contradiction<T>(why: String) -> Result<T, Contradiction> {
    Err(Contradiction(why))
}

impl<I: Clone + Eq + std::fmt::Debug, S: Clone + Ord + std::fmt::Debug> Ledger<I, S> {
    /// The beginning of a history; `root` is the predecessor of its first batch.
    #[must_use]
    pub fn new(root: I) -> Self {
        Ledger { head: root, place: 0, elapsed: 0, sessions: BTreeMap::new(), swept_before: 0, chosen: BTreeMap::new() }
    }

    /// Takes the ledger through a committed batch. `heard` is told of every record that decides a call, by its position.
    ///
    /// # Errors
    /// When the batch fits and cannot have been made by these rules; the ledger is of no use then.
    pub fn apply(
        &mut self,
        batch: &Batch<I, S>,
        mut heard: impl FnMut(usize, Outcome),
    ) -> Result<Applied, Contradiction> {
        if batch.prev != self.head {
            return Ok(Applied::Skipped);
        }
        if batch.id == batch.prev {
            return contradiction(format!("batch {:?} is its own predecessor", batch.id));
        }
        if batch.base != self.place {
            return contradiction(format!("it was judged at place {}, and fits at {}", batch.base, self.place));
        }
        if batch.elapsed < self.elapsed {
            return contradiction(format!("the clock goes back from {} to {}", self.elapsed, batch.elapsed));
        }
        for (at, record) in batch.records.iter().enumerate() {
            if let Some(outcome) = self.record(record, batch.elapsed)? {
                heard(at, outcome);
            }
        }
        self.head = batch.id.clone();
        self.elapsed = batch.elapsed;
        Ok(Applied::Applied)
    }

    fn record(&mut self, record: &Record<S>, now: u64) -> Result<Option<Outcome>, Contradiction> {
        match record {
            Record::Other => Ok(None),
            Record::Open { session } => {
                let new = Session { floor: 1, next: 1, last_seen: now, outcomes: Vec::new() };
                match self.sessions.insert(session.clone(), new) {
                    None => Ok(None),
                    Some(_) => contradiction(format!("session {session:?} is opened, and is open")),
                }
            }
            Record::Void { session, number, floor } => {
                self.decide(session, *number, *floor, now, Outcome::Void)?;
                Ok(Some(Outcome::Void))
            }
            Record::Call { session, number, floor, chosen, verdict } => {
                let known = chosen.as_ref().and_then(|chosen| self.chosen.get(&chosen.id));
                let same = known.zip(chosen.as_ref()).is_some_and(|(known, chosen)| known.call == chosen.call);
                let outcome = match (verdict, known) {
                    (Verdict::Repeated, Some(known)) if same => known.outcome,
                    (Verdict::Conflict, Some(_)) if !same => Outcome::Conflict,
                    (Verdict::Repeated | Verdict::Conflict, _) => {
                        return contradiction(format!(
                            "call {number} of {session:?} is {verdict:?}, and nothing is so"
                        ));
                    }
                    (_, Some(_)) => {
                        return contradiction(format!("call {number} of {session:?} has an id that was used before"));
                    }
                    (verdict, None) => {
                        self.place += u64::from(*verdict == Verdict::Action);
                        Outcome::Judged { verdict: *verdict, place: self.place }
                    }
                };
                self.decide(session, *number, *floor, now, outcome)?;
                if let Some(chosen) = chosen
                    && !matches!(verdict, Verdict::Repeated | Verdict::Conflict)
                {
                    let remembered = Remembered { call: chosen.call.clone(), outcome, decided: now };
                    self.chosen.insert(chosen.id.clone(), remembered);
                }
                Ok(Some(outcome))
            }
            Record::Sweep { sessions_before, ids_before } => {
                self.swept_before = self.swept_before.max(*sessions_before);
                self.sessions.retain(|_, session| session.last_seen >= *sessions_before);
                self.chosen.retain(|_, remembered| remembered.decided >= *ids_before);
                Ok(None)
            }
        }
    }

    fn decide(&mut self, id: &S, number: u64, floor: u64, now: u64, outcome: Outcome) -> Result<(), Contradiction> {
        let Some(session) = self.sessions.get_mut(id) else {
            return contradiction(format!("call {number} is of session {id:?}, which is not open"));
        };
        if number != session.next {
            return contradiction(format!("call {number} of session {id:?} is decided, and {} is next", session.next));
        }
        session.outcomes.push(outcome);
        session.next += 1;
        session.last_seen = now;
        // An older floor may overtake a newer one.
        let forgotten = floor.saturating_sub(session.floor).min(session.outcomes.len() as u64);
        session.outcomes.drain(..forgotten as usize);
        session.floor += forgotten;
        Ok(())
    }
}

impl Session {
    /// What became of a call, if that is held.
    #[must_use]
    pub fn find(&self, number: u64) -> Option<Outcome> {
        self.outcomes.get(usize::try_from(number.checked_sub(self.floor)?).ok()?).copied()
    }
}
