//! The only proposer of a term: it judges calls on its fork, and hands batches to the engine, several at a time.

use std::sync::Arc;

use crate::batch::{Batch, Record, Verdict};
use crate::ledger::Applied;
use crate::model::Model;
use crate::mutant::Mutant;
use crate::origin::Sent;
use crate::store::{BatchId, Made, SessionId, Store};
use crate::world::{Answer, Told, World};

/// What a leader has in its memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Leading {
    /// Of its last batch. It is never set back.
    pub counter: u8,
    /// The state that methods are run on, once there is one.
    pub fork: Option<Arc<Store>>,
    /// What was handed to the engine behind that fork, and was not answered yet, in order.
    pub in_flight: Vec<Ticket>,
    /// An answer was not what was hoped for: nothing more is made on this fork.
    pub draining: bool,
    /// Batches whose answers were lost, and which the engine may still take.
    pub limbo: Vec<Arc<Made>>,
    /// An answer of this term was lost.
    pub lost: bool,
}

/// A batch on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Ticket {
    /// The batch.
    pub made: Arc<Made>,
    /// How far it is.
    pub stage: Stage,
}

/// How far a batch is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// In the engine's queue.
    Queued,
    /// In the leader's log, at this position.
    Logged(usize),
    /// Committed, and looked at by the leader's store.
    Looked(Applied),
    /// It never comes into the log.
    Refused,
    /// Nobody knows.
    Lost,
}

impl Stage {
    /// Whether the engine owes its answer.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(self, Stage::Queued | Stage::Logged(_))
    }

    /// Whether all goes as hoped.
    #[must_use]
    pub fn is_well(self) -> bool {
        self.is_open() || self == Stage::Looked(Applied::Applied)
    }
}

/// What a batch is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Request {
    /// A session is opened.
    Open(SessionId),
    /// The next calls of a session are decided.
    Calls {
        /// The session.
        session: SessionId,
        /// The number of the first.
        first: u64,
        /// How many.
        count: u8,
        /// Of a first one that was given up, the message that says so came before the one with the call.
        void: bool,
    },
    /// All sessions expire.
    Sweep,
}

impl World {
    /// Everything up to the first entry of its term has to be applied: then nobody else writes what comes behind.
    pub(crate) fn can_fork(&self, model: &Model, node: usize) -> bool {
        let node = &self.nodes[node];
        let first = node.log.iter().position(|entry| entry.term == node.term);
        let is_applied = first.is_some_and(|first| node.applied > first);
        node.leading.as_ref().is_some_and(|leading| leading.fork.is_none())
            && !node.stopped
            && (is_applied || model.mutant == Mutant::ForkedEarly)
    }

    pub(crate) fn fork(&mut self, node: usize) {
        let node = &mut self.nodes[node];
        node.leading.as_mut().expect("it leads").fork = Some(node.store.clone());
    }

    /// What a leader could make its next batch of.
    pub(crate) fn requests(&self, model: &Model, node: usize) -> Vec<Request> {
        let mut requests = Vec::new();
        let Some(leading) = &self.nodes[node].leading else { return requests };
        let Some(fork) = &leading.fork else { return requests };
        if leading.draining || leading.in_flight.len() >= model.bounds.in_flight || self.nodes[node].stopped {
            return requests;
        }
        let dated = |as_of: u64| as_of >= fork.ledger.swept_before || model.mutant == Mutant::OpeningNotDated;
        for (session, asked) in &self.network {
            match fork.ledger.sessions.get(session) {
                None if asked.as_of.is_some_and(dated) => requests.push(Request::Open(*session)),
                None => {}
                Some(known) => {
                    let all = 1..=asked.calls.len() as u64;
                    let is_due = |number: &u64| match model.mutant {
                        Mutant::GapsTaken => !fork.has_decided(asked.calls[*number as usize - 1].call),
                        _ => *number == known.next,
                    };
                    for first in all.filter(is_due) {
                        let sent = &asked.calls[first as usize - 1..];
                        for count in 1..=model.bounds.batch.min(sent.len() as u8) {
                            let calls = |void| Request::Calls { session: *session, first, count, void };
                            requests.extend(sent[0].run.then(|| calls(false)));
                            requests.extend(sent[0].void.then(|| calls(true)));
                        }
                    }
                }
            }
        }
        if self.spent.sweeps < model.bounds.sweeps && !fork.ledger.sessions.is_empty() {
            requests.push(Request::Sweep);
        }
        requests
    }

    /// Makes a batch, and hands it to the engine.
    pub(crate) fn propose(&mut self, model: &Model, node: usize, request: Request) {
        let term = self.nodes[node].term;
        let leading = self.nodes[node].leading.as_mut().expect("it leads");
        let mut fork = leading.fork.take().expect("it has a fork");
        leading.counter += 1;
        let id = BatchId { term, counter: leading.counter };
        let mut elapsed = fork.ledger.elapsed;
        let mut judged = Vec::new();
        let mut records = Vec::new();
        match request {
            Request::Open(session) => {
                records.push(Record::Open { session });
                judged.push(None);
            }
            Request::Sweep => {
                self.spent.sweeps += 1;
                elapsed += 1;
                records.push(Record::Sweep { sessions_before: elapsed, ids_before: elapsed });
                judged.push(None);
            }
            Request::Calls { session, first, count, void } => {
                let line = &self.lines[usize::from(session.origin)];
                let floor = if line.session == session.number { line.first } else { 1 };
                let mut state = fork.state;
                for number in first..first + u64::from(count) {
                    let Sent { call, run, void: given_up } = self.network[&session].calls[number as usize - 1];
                    judged.push(Some((call, state)));
                    let is_void = if number == first { void } else { given_up || !run };
                    if is_void {
                        records.push(Record::Void { session, number, floor: floor.min(number) });
                        continue;
                    }
                    let verdict = call.judge(state);
                    if verdict == Verdict::Action {
                        state = state.then(call);
                    }
                    let floor = floor.min(number);
                    records.push(Record::Call { session, number, floor, chosen: None, verdict });
                }
            }
        }
        let base = fork.ledger.place;
        let batch = Batch { id, prev: fork.ledger.head, base, elapsed, records };
        let made = Arc::new(Made::new(batch, judged));
        // A fork goes by the same rules as a store, so what it makes cannot contradict it.
        Arc::make_mut(&mut fork).apply(&made, model.mutant).expect("a fork agrees with itself");
        leading.fork = Some(fork);
        leading.in_flight.push(Ticket { made: made.clone(), stage: Stage::Queued });
        if model.mutant == Mutant::RejectionToldEarly {
            self.tell_early(&made, Verdict::Rejected);
        }
    }

    /// What two of the mutants do.
    pub(crate) fn tell_early(&mut self, made: &Made, kind: Verdict) {
        let mut place = made.batch.base;
        for (record, judged) in made.batch.records.iter().zip(&made.judged) {
            let (Record::Call { verdict, .. }, Some((call, seen))) = (record, *judged) else { continue };
            place += u64::from(*verdict == Verdict::Action);
            let answer = match verdict {
                Verdict::Rejected => Answer::Rejected { place, seen },
                _ => Answer::Done { place },
            };
            if *verdict == kind && !self.told.iter().any(|told| told.call == call) {
                self.told.push(Told { call, answer });
            }
        }
    }

    /// The engine refuses a batch, or its answer is lost.
    pub(crate) fn answer(&mut self, node: usize, at: usize, stage: Stage, mutant: Mutant) {
        let leading = self.nodes[node].leading.as_mut().expect("it leads");
        let ticket = &mut leading.in_flight[at];
        let before = std::mem::replace(&mut ticket.stage, stage);
        if stage == Stage::Refused {
            self.spent.refusals += 1;
            if mutant == Mutant::RefusedIdReused {
                leading.counter = ticket.made.batch.id.counter - 1;
            }
        } else {
            self.spent.losses += 1;
            leading.lost = true;
            if before == Stage::Queued {
                leading.limbo.push(ticket.made.clone());
            }
        }
        leading.hear();
    }
}

impl Leading {
    /// Takes the engine's answers, in the order of the batches. That they could be taken later makes no difference: a
    /// batch made meanwhile could as well have been made before the answer.
    pub(crate) fn hear(&mut self) {
        while let Some(ticket) = self.in_flight.first()
            && !ticket.stage.is_open()
        {
            self.draining |= !ticket.stage.is_well();
            self.in_flight.remove(0);
        }
        if self.draining && self.in_flight.is_empty() {
            (self.draining, self.fork) = (false, None);
        }
    }
}
