//! The calls of this node on their way: numbered, kept until the log says what became of them, sent again if need be.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
#[cfg(feature = "bugs")]
use conflux_core::bugs::{self, Bug};
use conflux_core::container::ACTION_BYTES_MAX;
use conflux_core::payload::encode_foreign;
use conflux_core::{
    CallNumber, ChosenId, Container, Found, Incarnation, Index, NodeName, Outcome, Payload, Request, RequestId,
    SessionId, SessionKey, Store,
};
use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tracing::Span;

use crate::message::{Calls, RemoteCall};
use crate::metrics::Answers;
use crate::perform::{PerformError, Performed, Place, Prediction, answer};
use crate::trace;

/// How many outcomes of calls that were answered "unknown" are kept for `outcome`.
const LATE_MAX: usize = 4096;
/// The most calls in one message, and about the most bytes.
const MESSAGE_CALLS_MAX: usize = 256;
const MESSAGE_BYTES_MAX: usize = 256 * 1024;

/// Why a leader passes over a call that has a chosen id. (That it could not read the method cannot be within a cluster.)
const NO_ROOM_FOR_IDS: &str = "the cluster remembers as many chosen request ids as it may (`Retention::chosen_ids_max`), and \
     forgets none before its time (`Retention::chosen_id`): perform it later, or without an id of your own";

/// The sending side of this node's session.
pub(crate) struct Origin<C: Container> {
    line: Mutex<Line<C>>,
    node: NodeName,
    /// Rings when there is something to send.
    pub(crate) ring: Arc<Notify>,
    /// Rings when a deadline is earlier than the one being waited for.
    pub(crate) sooner: Notify,
    /// The most calls on their way.
    in_flight_max: usize,
}

/// Calls `first..first + pending.len()`, in order. The log decides them in this order too, so answers come from the
/// front.
struct Line<C: Container> {
    session: SessionId,
    /// This node's store has seen the session open.
    opened: bool,
    /// How far this node's store was when it first asked for the session to be opened.
    asked: Option<Duration>,
    first: CallNumber,
    pending: VecDeque<Pending<C>>,
    /// The call to be handed to the present leader next.
    cursor: CallNumber,
    late: BTreeMap<CallNumber, Outcome<C>>,
    earliest: Option<Instant>,
    closed: bool,
    answers: Answers,
}

struct Pending<C: Container> {
    /// `None` once it is given up: then it is sent as a void.
    method: Option<C::Method>,
    chosen: Option<ChosenId>,
    answer: Option<oneshot::Sender<Performed<C>>>,
    predict: Option<oneshot::Sender<Prediction<C>>>,
    deadline: Instant,
    /// It was handed to a leader: from then on only the log knows whether it takes effect.
    left: bool,
    /// A leader says that it is committed, judged at this place, though this node's log has not come so far.
    decided: Option<Index>,
    /// Where somebody follows it; gone once it is answered.
    span: Option<Box<Span>>,
}

/// Answers a call, and counts that.
fn tell<C: Container>(
    answers: &mut Answers,
    span: Option<Box<Span>>,
    sender: oneshot::Sender<Performed<C>>,
    performed: Performed<C>,
) {
    count::<C>(answers, span, &performed);
    send::<C>(sender, performed);
}

fn send<C: Container>(sender: oneshot::Sender<Performed<C>>, performed: Performed<C>) {
    // The listener may be gone: what became of the call is so all the same.
    let _ = sender.send(performed);
}

fn count<C: Container>(answers: &mut Answers, span: Option<Box<Span>>, performed: &Performed<C>) {
    let (count, word) = match performed {
        Ok(done) if done.action.is_some() => (&mut answers.committed, "committed"),
        Ok(_) => (&mut answers.nothing, "nothing"),
        Err(PerformError::Rejected { .. }) => (&mut answers.rejected, "rejected"),
        Err(PerformError::Failed { .. }) => (&mut answers.failed, "failed"),
        Err(PerformError::NeverProposed { .. }) => (&mut answers.never_proposed, "never_proposed"),
        Err(PerformError::Unknown { .. }) => (&mut answers.unknown, "unknown"),
        Err(PerformError::NotVisible { .. }) => (&mut answers.not_visible, "not_visible"),
        Err(PerformError::Conflict { .. }) => (&mut answers.conflict, "conflict"),
        Err(PerformError::Closed { .. }) => (&mut answers.closed, "closed"),
    };
    *count += 1;
    trace::answered(span, word);
}

/// The place that a call was given, and who hears what comes of it.
pub(crate) type Placed<C> = (Place, oneshot::Receiver<Performed<C>>);

/// Whom to tell of a call, and what.
type Told<C> = (oneshot::Sender<Performed<C>>, Performed<C>);

impl<C: Container> Line<C> {
    fn end(&self) -> CallNumber {
        CallNumber(self.first.0 + self.pending.len() as u64)
    }

    fn position(&self, number: CallNumber) -> Option<usize> {
        let at = usize::try_from(number.0.checked_sub(self.first.0)?).ok()?;
        (at < self.pending.len()).then_some(at)
    }

    fn request_id(&self, number: CallNumber, chosen: Option<&ChosenId>) -> RequestId {
        match chosen {
            Some(chosen) => RequestId::Chosen(chosen.id.clone()),
            None => RequestId::Call(self.session.clone(), number),
        }
    }

    /// The next call is decided. Whom to tell of it, and what.
    fn resolve(&mut self, number: CallNumber, outcome: Outcome<C>) -> Option<Told<C>> {
        if number != self.first {
            // Below: it was told from a snapshot before. Above cannot be: the log decides in order.
            debug_assert!(number < self.first, "call {number:?} was decided before {:?}", self.first);
            return None;
        }
        let pending = self.pending.pop_front()?;
        self.first = number.next();
        self.cursor = self.cursor.max(self.first);
        match pending.answer {
            Some(sender) => {
                let performed = match (outcome, &pending.chosen) {
                    // Not given up here, for somebody still waits: the leader passed it over.
                    (Outcome::Void, Some(_)) => Err(PerformError::NeverProposed { reason: NO_ROOM_FOR_IDS.into() }),
                    (outcome, chosen) => answer(outcome, || self.request_id(number, chosen.as_ref())),
                };
                count::<C>(&mut self.answers, pending.span, &performed);
                Some((sender, performed))
            }
            None => {
                self.late.insert(number, outcome);
                if self.late.len() > LATE_MAX {
                    self.late.pop_first();
                }
                None
            }
        }
    }

    /// Starts the next session: the log has forgotten this one, so nothing of it can be decided any more.
    /// `undecided`: this node has seen all that the session came to, so what has no outcome here never took effect, and
    /// goes on in the next session, in order. Otherwise only what never left this node does.
    fn renew(&mut self, undecided: bool) {
        for (at, mut pending) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            if undecided || !pending.left {
                // What was given up needs no void any more.
                if pending.method.is_some() {
                    pending.left = false;
                    self.pending.push_back(pending);
                }
            } else if let Some(sender) = pending.answer {
                let number = CallNumber(self.first.0 + at as u64);
                let request_id = self.request_id(number, pending.chosen.as_ref());
                tell::<C>(&mut self.answers, pending.span, sender, Err(PerformError::Unknown { request_id }));
            }
        }
        self.late.clear();
        self.session.number += 1;
        self.opened = false;
        self.asked = None;
        self.first = CallNumber::FIRST;
        self.cursor = CallNumber::FIRST;
    }
}

#[cfg(feature = "bugs")]
impl<C: Container> Line<C> {
    /// Gives up what has left this node, and puts it behind all else as other calls.
    fn send_anew(&mut self) {
        let left = self.pending.iter_mut().filter(|pending| pending.left && pending.answer.is_some());
        let anew: Vec<_> = left
            .map(|pending| Pending {
                method: pending.method.take(),
                chosen: pending.chosen.take(),
                answer: pending.answer.take(),
                predict: pending.predict.take(),
                span: pending.span.take(),
                deadline: pending.deadline,
                left: false,
                decided: None,
            })
            .collect();
        self.pending.extend(anew);
    }
}

impl<C: Container> Origin<C> {
    pub(crate) fn new(
        node: NodeName,
        incarnation: Incarnation,
        session: u64,
        in_flight_max: usize,
        ring: Arc<Notify>,
    ) -> Self {
        let line = Line {
            session: SessionId { node: node.clone(), incarnation, number: session },
            opened: false,
            asked: None,
            first: CallNumber::FIRST,
            pending: VecDeque::new(),
            cursor: CallNumber::FIRST,
            late: BTreeMap::new(),
            earliest: None,
            closed: false,
            answers: Answers::default(),
        };
        Origin { line: Mutex::new(line), node, ring, sooner: Notify::new(), in_flight_max }
    }

    /// The node whose calls these are.
    pub(crate) fn node(&self) -> &NodeName {
        &self.node
    }

    /// What the calls were told, and how many are on their way.
    pub(crate) fn metrics(&self) -> (Answers, usize) {
        let line = self.lock();
        (line.answers, line.pending.len())
    }

    fn lock(&self) -> MutexGuard<'_, Line<C>> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a call its place, and says who will hear what comes of it.
    pub(crate) fn begin(
        &self,
        method: C::Method,
        chosen: Option<ChosenId>,
        deadline: Instant,
        predict: Option<oneshot::Sender<Prediction<C>>>,
    ) -> Result<Placed<C>, PerformError<C::Rejection>> {
        let (sender, receiver) = oneshot::channel();
        let mut line = self.lock();
        if line.closed {
            return Err(PerformError::Closed { request_id: None });
        }
        if line.pending.len() >= self.in_flight_max {
            line.answers.never_proposed += 1;
            let reason = format!("this node is overloaded: {} calls are on their way", self.in_flight_max);
            return Err(PerformError::NeverProposed { reason });
        }
        let number = line.end();
        let span = trace::perform(&self.node, || line.request_id(number, chosen.as_ref()));
        let place = Place { incarnation: line.session.incarnation, session: line.session.number, number };
        line.pending.push_back(Pending {
            method: Some(method),
            chosen,
            answer: Some(sender),
            predict,
            deadline,
            left: false,
            decided: None,
            span,
        });
        let sooner = line.earliest.is_none_or(|earliest| deadline < earliest);
        if sooner {
            line.earliest = Some(deadline);
        }
        drop(line);
        if sooner {
            self.sooner.notify_one();
        }
        self.ring.notify_one();
        Ok((place, receiver))
    }

    /// The earliest deadline of a call that somebody waits for.
    pub(crate) fn earliest(&self) -> Option<Instant> {
        self.lock().earliest
    }

    /// Gives up the calls whose deadline has passed. `waiting_for` says what a call that never left waited for.
    pub(crate) fn expire(&self, now: Instant, waiting_for: impl Fn() -> String) {
        let mut line = self.lock();
        let first = line.first;
        let mut expired = Vec::new();
        let mut earliest: Option<Instant> = None;
        for (at, pending) in line.pending.iter_mut().enumerate() {
            if pending.answer.is_none() {
                continue;
            }
            if pending.deadline > now {
                earliest = Some(earliest.map_or(pending.deadline, |earliest| earliest.min(pending.deadline)));
                continue;
            }
            pending.method = None;
            pending.predict = None;
            let answer = pending.answer.take().expect("it was seen above");
            let number = CallNumber(first.0 + at as u64);
            let chosen = pending.chosen.clone();
            expired.push((number, pending.left, pending.decided, chosen, pending.span.take(), answer));
        }
        line.earliest = earliest;
        for (number, left, decided, chosen, span, answer) in expired {
            let error = if let Some(index) = decided {
                PerformError::NotVisible { request_id: line.request_id(number, chosen.as_ref()), index }
            } else if left {
                // It is named again as a void: if it was not decided yet, it never will be.
                line.cursor = line.cursor.min(number);
                PerformError::Unknown { request_id: line.request_id(number, chosen.as_ref()) }
            } else {
                PerformError::NeverProposed { reason: format!("the deadline passed while {}", waiting_for()) }
            };
            tell::<C>(&mut line.answers, span, answer, Err(error));
        }
        line.cursor = line.cursor.min(line.end());
        drop(line);
        self.ring.notify_one();
    }

    /// The log says what became of calls of this session, in order.
    pub(crate) fn resolve(&self, outcomes: Vec<(CallNumber, Outcome<C>)>) {
        if outcomes.is_empty() {
            return;
        }
        let mut line = self.lock();
        // Those who waited were told that the node is closed; the log may go on for a moment.
        if line.closed {
            return;
        }
        let mut told = Vec::with_capacity(outcomes.len());
        told.extend(outcomes.into_iter().filter_map(|(number, outcome)| line.resolve(number, outcome)));
        // Whoever is woken performs again, which takes the line.
        drop(line);
        told.into_iter().for_each(|(sender, performed)| send::<C>(sender, performed));
    }

    /// Looks what the store says of this session: after a batch that opened it or let it expire, and after a
    /// snapshot, which may have skipped over both.
    pub(crate) fn reconcile(&self, store: &Store<C>, after_snapshot: bool) {
        let mut line = self.lock();
        let Some(key) = store.sessions().key(&line.session) else {
            let sent = line.first > CallNumber::FIRST || line.pending.iter().any(|pending| pending.left);
            // A session is seen last when it is opened, or later: while none that was seen since this node asked has
            // expired, this one is open, or yet to be opened, after what the snapshot holds.
            let swept = line.asked.is_none_or(|asked| asked < store.sessions().swept_before());
            if line.opened || (after_snapshot && sent && swept) {
                // A session that was open once must not be opened again: its calls may have been decided.
                line.renew(!after_snapshot);
                self.ring.notify_one();
            }
            return;
        };
        line.opened = true;
        let session = store.sessions().get(key).expect("a key leads to its session");
        while line.first < session.next() && !line.pending.is_empty() {
            let number = line.first;
            match session.find(number) {
                Found::Decided(outcome) => {
                    if let Some((sender, performed)) = line.resolve(number, outcome) {
                        send::<C>(sender, performed);
                    }
                }
                // Its outcome was forgotten because a later call of ours said that we have it; so this cannot be.
                Found::Forgotten | Found::Undecided => break,
            }
        }
    }

    /// The key of this session, if the store has it open.
    pub(crate) fn key(&self, store: &Store<C>) -> Option<SessionKey> {
        store.sessions().key(&self.lock().session)
    }

    /// Whether this is the present session of this node, and the log has not opened it yet.
    pub(crate) fn is_opening(&self, session: &SessionId) -> bool {
        let line = self.lock();
        !line.opened && line.session == *session
    }

    /// What became of a call that was answered "unknown" before.
    pub(crate) fn late(&self, session: &SessionId, number: CallNumber) -> Option<Outcome<C>> {
        let line = self.lock();
        if line.session == *session { line.late.get(&number).cloned() } else { None }
    }

    /// Sends again from `next`, or from the oldest call that has no outcome here.
    pub(crate) fn rewind(&self, session: Option<&SessionId>, next: Option<CallNumber>) {
        let mut line = self.lock();
        if session.is_some_and(|session| *session != line.session) {
            return;
        }
        #[cfg(feature = "bugs")]
        if bugs::is(Bug::UnknownSentAnew) && next.is_none() {
            line.send_anew();
        }
        let next = next.unwrap_or(line.first);
        line.cursor = next.max(line.first).min(line.end());
        drop(line);
        self.ring.notify_one();
    }

    /// Whether anything waits for the log.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.lock().pending.is_empty()
    }

    /// The oldest call without an outcome.
    pub(crate) fn first(&self) -> CallNumber {
        self.lock().first
    }

    /// The next calls for this node's own sequencer. `None` when there are none.
    pub(crate) fn take_local(&self, max: usize) -> Option<Taken<C>> {
        let mut line = self.lock();
        let from = line.position(line.cursor)?;
        let to = line.pending.len().min(from + max);
        let (session, open, floor, number) = (line.session.clone(), !line.opened, line.first, line.cursor);
        let calls = line.pending.range_mut(from..to).map(|pending| {
            pending.left = true;
            (pending.method.clone(), pending.chosen.clone(), pending.predict.is_some())
        });
        let calls = calls.collect();
        line.cursor = CallNumber(line.first.0 + to as u64);
        Some(Taken { session, open, floor, first: number, calls })
    }

    /// This node's own sequencer asks for the session to be opened.
    pub(crate) fn asks(&self, as_of: Duration) {
        self.lock().asked.get_or_insert(as_of);
    }

    /// The next calls as a message for a leader elsewhere. `None` when there are none.
    pub(crate) fn take_remote(&self, as_of: Duration) -> Option<Calls> {
        let mut guard = self.lock();
        let line = &mut *guard;
        let from = line.position(line.cursor)?;
        let mut bytes = 0;
        let mut calls = Vec::new();
        for pending in line.pending.range_mut(from..).take(MESSAGE_CALLS_MAX) {
            pending.left = true;
            calls.push(match &pending.method {
                None => RemoteCall::Void,
                Some(method) => {
                    match encode(method) {
                        Ok(method) => {
                            bytes += method.len();
                            let (chosen, predict) = (pending.chosen.clone(), pending.predict.is_some());
                            RemoteCall::Run { method, chosen, predict }
                        }
                        // It can never be sent, so it never takes effect: a void keeps the numbers contiguous.
                        Err(reason) => {
                            if let Some(answer) = pending.answer.take() {
                                let error = Err(PerformError::NeverProposed { reason });
                                tell::<C>(&mut line.answers, pending.span.take(), answer, error);
                            }
                            pending.method = None;
                            RemoteCall::Void
                        }
                    }
                }
            });
            if bytes >= MESSAGE_BYTES_MAX {
                break;
            }
        }
        let first = line.cursor;
        line.cursor = CallNumber(first.0 + calls.len() as u64);
        let open = if line.opened { None } else { Some(as_of) };
        line.asked = line.asked.or(open);
        Some(Calls { session: line.session.clone(), open, floor: line.first, first, calls })
    }

    /// The leader says what it made of a call.
    pub(crate) fn predict(&self, session: &SessionId, number: CallNumber, prediction: Prediction<C>) {
        let mut line = self.lock();
        if line.session != *session {
            return;
        }
        let sender = line.position(number).and_then(|at| line.pending[at].predict.take());
        if let Some(sender) = sender {
            // Nobody may listen any more.
            let _ = sender.send(prediction);
        }
    }

    /// Tells a caller before the log says so.
    #[cfg(feature = "bugs")]
    pub(crate) fn tell_early(&self, session: &SessionId, number: CallNumber, outcome: Outcome<C>) {
        let mut guard = self.lock();
        let line = &mut *guard;
        let Some(at) = line.position(number).filter(|_| line.session == *session) else { return };
        let id = line.request_id(number, line.pending[at].chosen.as_ref());
        let pending = &mut line.pending[at];
        if let Some(sender) = pending.answer.take() {
            tell::<C>(&mut line.answers, pending.span.take(), sender, answer(outcome, || id));
        }
    }

    /// The leader says that these calls are committed, and where they were judged.
    pub(crate) fn decided(&self, session: &SessionId, first: CallNumber, places: &[Option<Index>]) {
        let mut line = self.lock();
        if line.session != *session {
            return;
        }
        for (at, place) in places.iter().enumerate() {
            if let Some(at) = line.position(CallNumber(first.0 + at as u64)) {
                line.pending[at].decided = *place;
            }
        }
    }

    /// No call can come any more; those on their way are told.
    pub(crate) fn close(&self) {
        let mut line = self.lock();
        line.closed = true;
        let first = line.first;
        let pending = std::mem::take(&mut line.pending);
        for (at, pending) in pending.into_iter().enumerate() {
            if let Some(answer) = pending.answer {
                let number = CallNumber(first.0 + at as u64);
                let request_id = pending.left.then(|| line.request_id(number, pending.chosen.as_ref()));
                tell::<C>(&mut line.answers, pending.span, answer, Err(PerformError::Closed { request_id }));
            }
        }
    }
}

/// A method as bytes, if it is no larger than the action that may come of it.
fn encode(method: &impl Payload) -> Result<Bytes, String> {
    let mut bytes = Vec::with_capacity(32);
    encode_foreign(method, &mut bytes).map_err(|error| format!("the method cannot be written: {error}"))?;
    if bytes.len() > ACTION_BYTES_MAX {
        return Err(format!("the method has {} bytes, more than the {ACTION_BYTES_MAX} allowed", bytes.len()));
    }
    Ok(bytes.into())
}

/// Calls on their way to this node's own sequencer.
pub(crate) struct Taken<C: Container> {
    pub(crate) session: SessionId,
    /// This node has not seen the session open yet.
    pub(crate) open: bool,
    pub(crate) floor: CallNumber,
    pub(crate) first: CallNumber,
    /// Method (`None` for a void), chosen id, whether a prediction is wanted.
    pub(crate) calls: Vec<(Option<C::Method>, Option<ChosenId>, bool)>,
}

/// The request for the leader's fork that a call becomes.
pub(crate) fn request<C: Container>(
    session: SessionKey,
    number: CallNumber,
    floor: CallNumber,
    chosen: Option<ChosenId>,
    method: Option<C::Method>,
) -> Request<C> {
    match method {
        Some(method) => Request::Call { session, number, floor, chosen, audit: None, method },
        None => Request::Void { session, number, floor },
    }
}
