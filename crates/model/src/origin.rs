//! Where calls come from: numbered in a session, kept until the log says what became of them, given up at a deadline.

use crate::batch::Verdict;
use crate::container::Call;
use crate::ledger::Outcome;
use crate::mutant::Mutant;
use crate::store::{SessionId, Store};
use crate::world::{Answer, Told, World};

/// The calls of a node's present session that have no outcome yet: `first..first + pending.len()`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// The number of the session.
    pub session: u8,
    /// This node's store has seen it open.
    pub opened: bool,
    /// How far the replicated clock was here when the opening was first asked for.
    pub asked: Option<u64>,
    /// The number of the first call that has no outcome here.
    pub first: u64,
    /// These calls. All are begun at the start: one that begins later is one that leaves later.
    pub pending: Vec<Pending>,
}

/// A call without an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Pending {
    /// The call.
    pub call: Call,
    /// Somebody waits for it; else it was given up, and is to be a void.
    pub waits: bool,
}

/// What an origin has sent of a session, once or often.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Asked {
    /// That it be opened: how far the replicated clock was at the last time.
    pub as_of: Option<u64>,
    /// Its calls, from number 1.
    pub calls: Vec<Sent>,
}

/// What an origin has sent of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Sent {
    /// Which it is.
    pub call: Call,
    /// That it be run.
    pub run: bool,
    /// That it was given up.
    pub void: bool,
}

impl Line {
    /// At the start.
    #[must_use]
    pub fn new(origin: u8, calls: u8, opened: bool) -> Line {
        let pending = (1..=calls).map(|nth| Pending { call: Call { origin, nth }, waits: true }).collect();
        Line { session: 1, opened, asked: opened.then_some(0), first: 1, pending }
    }
}

impl World {
    fn session(&self, origin: usize) -> SessionId {
        SessionId { origin: origin as u8, number: self.lines[origin].session }
    }

    /// How many calls of the present session have left.
    fn sent(&self, origin: usize) -> u64 {
        self.network.get(&self.session(origin)).map_or(0, |asked| asked.calls.len() as u64)
    }

    /// There is a call to send, or the opening was asked for so long ago that it has to be asked for again.
    pub(crate) fn can_send(&self, origin: usize) -> bool {
        let (line, node) = (&self.lines[origin], &self.nodes[origin]);
        let is_left = line.first + line.pending.len() as u64 > self.sent(origin) + 1;
        let as_of = self.network.get(&self.session(origin)).and_then(|asked| asked.as_of);
        let is_old = !line.opened && as_of.is_some_and(|as_of| as_of < node.store.ledger.elapsed);
        !node.stopped && !line.pending.is_empty() && (is_left || is_old)
    }

    /// Sends the next call, and with it, until the session is open, that it be opened. What was sent before is sent again
    /// whenever it is of use: `network` forgets nothing.
    pub(crate) fn send(&mut self, origin: usize) {
        let (session, sent) = (self.session(origin), self.sent(origin));
        let line = &mut self.lines[origin];
        let asked = self.network.entry(session).or_default();
        if !line.opened {
            let as_of = self.nodes[origin].store.ledger.elapsed;
            line.asked.get_or_insert(as_of);
            asked.as_of = asked.as_of.max(Some(as_of));
        }
        if let Some(pending) = line.pending.get((sent + 1 - line.first) as usize) {
            asked.calls.push(Sent { call: pending.call, run: pending.waits, void: !pending.waits });
        }
    }

    /// The deadline of a call passes.
    pub(crate) fn give_up(&mut self, origin: usize, at: usize, mutant: Mutant) {
        self.spent.give_ups += 1;
        let (session, sent) = (self.session(origin), self.sent(origin));
        let line = &mut self.lines[origin];
        line.pending[at].waits = false;
        let call = line.pending[at].call;
        let number = line.first + at as u64;
        let has_left = number <= sent;
        if has_left && mutant == Mutant::RetriedAnew {
            line.pending.push(Pending { call, waits: true });
        } else if has_left {
            let asked = self.network.get_mut(&session).expect("it was sent");
            asked.calls[number as usize - 1].void = true;
        }
        let is_known = has_left && mutant != Mutant::NeverProposedToldLate;
        self.told.push(Told { call, answer: if is_known { Answer::Unknown } else { Answer::NeverProposed } });
    }

    /// The log says what became of a call of the present session.
    pub(crate) fn resolve(&mut self, origin: usize, number: u64, outcome: Outcome, store: &Store) {
        let line = &mut self.lines[origin];
        if number != line.first || line.pending.is_empty() {
            return;
        }
        let Pending { call, .. } = line.pending.remove(0);
        line.first += 1;
        let seen = || store.decided.iter().rev().find(|decided| decided.call == call).expect("it was decided").seen;
        let answer = match outcome {
            Outcome::Judged { verdict: Verdict::Action, place } => Answer::Done { place },
            Outcome::Judged { place, .. } => Answer::Rejected { place, seen: seen() },
            Outcome::Void | Outcome::Conflict => Answer::Void,
        };
        let told = Told { call, answer };
        if !self.told.contains(&told) {
            self.told.push(told);
        }
    }

    /// Looks what the store says of the present session: when a batch has opened it or let it expire, and after a
    /// snapshot, which may have skipped over both.
    pub(crate) fn reconcile(&mut self, origin: usize, store: &Store, after_snapshot: bool) {
        let id = self.session(origin);
        let Some(session) = store.ledger.sessions.get(&id) else {
            let line = &self.lines[origin];
            let sent = self.sent(origin) > 0;
            let swept = line.asked.is_none_or(|asked| asked < store.ledger.swept_before);
            if line.opened || (after_snapshot && sent && swept) {
                self.renew(origin, !after_snapshot);
            }
            return;
        };
        self.lines[origin].opened = true;
        while self.lines[origin].first < session.next && !self.lines[origin].pending.is_empty() {
            let number = self.lines[origin].first;
            let Some(outcome) = session.find(number) else { break };
            self.resolve(origin, number, outcome, store);
        }
    }

    /// Starts the next session. `undecided`: all that the last one came to was seen here, so what has no outcome goes on
    /// in the next; else only what never left does.
    fn renew(&mut self, origin: usize, undecided: bool) {
        let sent = self.sent(origin);
        let line = &mut self.lines[origin];
        let mut kept = Vec::new();
        // What was given up needs no void any more.
        let waiting = (line.first..).zip(std::mem::take(&mut line.pending)).filter(|(_, pending)| pending.waits);
        for (number, pending) in waiting {
            if undecided || number > sent {
                kept.push(pending);
            } else {
                self.told.push(Told { call: pending.call, answer: Answer::Unknown });
            }
        }
        *line = Line { session: line.session + 1, opened: false, asked: None, first: 1, pending: kept };
    }

    /// The node starts again: who waited is gone. A call that had not left is taken for one that begins after the start.
    pub(crate) fn begin_anew(&mut self, origin: usize) {
        let told = self.told.len();
        self.renew(origin, false);
        self.told.truncate(told);
    }
}
