//! What a node holds of the history: the state, and the ledger of chain and sessions.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use crate::batch::{Batch, Record, Verdict};
use crate::container::{Call, History};
use crate::ledger::{Applied, Contradiction, Ledger, Outcome};
use crate::mutant::Mutant;

/// Names a batch. A term has one leader, so no incarnation is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId {
    /// The term of its leader.
    pub term: u8,
    /// Counts that leader's batches.
    pub counter: u8,
}

/// The predecessor of the first batch.
pub const ROOT: BatchId = BatchId { term: 0, counter: 0 };

/// Names a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// Whose calls these are.
    pub origin: u8,
    /// From 1.
    pub number: u8,
}

/// A batch as a leader makes it, with what it was judged on: no rule looks at that, only the promises do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// What is in the log.
    pub batch: Batch<BatchId, SessionId>,
    /// For each record of a call: which, and the state that its method saw.
    pub judged: Vec<Option<(Call, History)>>,
    /// Of all that. A state holds a batch several times, and is hashed whenever it is reached.
    hash: u64,
}

impl Made {
    /// Such a batch.
    #[must_use]
    pub fn new(batch: Batch<BatchId, SessionId>, judged: Vec<Option<(Call, History)>>) -> Made {
        let mut hasher = DefaultHasher::new();
        (&batch, &judged).hash(&mut hasher);
        Made { batch, judged, hash: hasher.finish() }
    }
}

impl Hash for Made {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write_u64(self.hash);
    }
}

/// A decided call, as a node's history has it. Nothing of this is ever forgotten: it is for the promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Decision {
    /// The call.
    pub call: Call,
    /// `None` for a void.
    pub verdict: Option<Verdict>,
    /// The state that its method saw.
    pub seen: History,
}

/// What a node holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store {
    /// The state.
    pub state: History,
    /// Chain and sessions.
    pub ledger: Ledger<BatchId, SessionId>,
    /// All calls that were decided, in order.
    pub decided: Vec<Decision>,
}

impl Store {
    /// The initial state.
    #[must_use]
    pub fn new() -> Self {
        Store { state: History::EMPTY, ledger: Ledger::new(ROOT), decided: Vec::new() }
    }

    /// Takes it through a committed batch.
    ///
    /// # Errors
    /// The node stops.
    pub fn apply(&mut self, made: &Made, mutant: Mutant) -> Result<(Applied, Vec<(usize, Outcome)>), Contradiction> {
        if mutant == Mutant::GapsTaken && made.batch.prev == self.ledger.head {
            self.take_gaps(made);
        }
        let mut outcomes = Vec::new();
        let hear = |at, outcome| outcomes.push((at, outcome));
        let applied = if mutant == Mutant::ChainUnchecked {
            let mut fitting = made.batch.clone();
            (fitting.prev, fitting.base) = (self.ledger.head, self.ledger.place);
            self.ledger.apply(&fitting, hear)?
        } else {
            self.ledger.apply(&made.batch, hear)?
        };
        for (at, _) in &outcomes {
            let (call, seen) = made.judged[*at].expect("only calls are decided");
            let verdict = match made.batch.records[*at] {
                Record::Call { verdict, .. } => Some(verdict),
                _ => None,
            };
            if verdict == Some(Verdict::Action) {
                self.state = self.state.then(call);
            }
            self.decided.push(Decision { call, verdict, seen });
        }
        Ok((applied, outcomes))
    }

    /// Makes whatever comes the next call of its session.
    fn take_gaps(&mut self, made: &Made) {
        for record in &made.batch.records {
            if let Record::Call { session, number, .. } | Record::Void { session, number, .. } = record
                && let Some(known) = self.ledger.sessions.get_mut(session)
            {
                (known.floor, known.next) = (*number, *number);
                known.outcomes.clear();
            }
        }
    }

    /// Whether it holds a decision of a call.
    #[must_use]
    pub fn has_decided(&self, call: Call) -> bool {
        self.decided.iter().any(|decision| decision.call == call)
    }

    /// A snapshot of it.
    #[must_use]
    pub fn save(&self, mutant: Mutant) -> Store {
        let mut saved = self.clone();
        match mutant {
            Mutant::SessionsForgotten => saved.ledger.sessions.clear(),
            Mutant::HeadForgotten => saved.ledger.head = ROOT,
            _ => {}
        }
        saved
    }

    /// The same behind all of these that fit, up to the first that contradicts it.
    #[must_use]
    pub fn behind<'a>(self, batches: impl Iterator<Item = &'a Arc<Made>> + Clone, mutant: Mutant) -> Store {
        let mut store = self.clone();
        for (count, made) in batches.clone().enumerate() {
            if store.apply(made, mutant).is_err() {
                // It may have left half of what it does.
                return self.behind(batches.take(count).collect::<Vec<_>>().into_iter(), mutant);
            }
        }
        store
    }
}

impl Default for Store {
    fn default() -> Self {
        Store::new()
    }
}
