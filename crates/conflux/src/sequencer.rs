//! The only proposer of a term: takes calls from everywhere, judges them on its fork, and hands batches to the engine.
//!
//! It keeps nothing that matters. Every call is held by its origin until the log says what became of it; so when
//! anything but success comes back, the fork is thrown away, all origins are told where to go on, and they send again.

use std::collections::{BTreeSet, VecDeque};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
#[cfg(feature = "bugs")]
use conflux_core::bugs::{self, Bug};
use conflux_core::payload::decode_foreign;
use conflux_core::{
    Batch, CallNumber, ChosenId, Container, Fork, Found, Index, Record, Request, RosterChange, SessionId, SessionKey,
    Verdict,
};
use futures_util::StreamExt;
use futures_util::stream::FuturesOrdered;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::Core;
use crate::message::{Calls, Decided, Expect, Predicted, RemoteCall, kind};
use crate::origin::{Taken, request};
use crate::perform::Prediction;
use crate::raft::{Proposal, Proposed, Watcher};
use crate::stop::Stop;
use crate::trace;
use crate::wire::Head;

/// The most calls in one batch: what waits beyond that goes into the next one.
const BATCH_CALLS_MAX: usize = 1024;
/// The fewest, however slow the container is.
const BATCH_CALLS_MIN: usize = 16;
/// The most batches on their way through the log at once.
const IN_FLIGHT_MAX: usize = 4;
/// The most bytes of calls from elsewhere that wait here; what comes beyond that is dropped, and sent again.
const WAITING_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The most changes of the roster that wait here.
const WAITING_CHANGES_MAX: usize = 64;

/// Calls from other nodes that wait for the sequencer.
pub(crate) struct Inbound {
    waiting: Mutex<Waiting>,
    ring: Arc<Notify>,
}

#[derive(Default)]
struct Waiting {
    calls: VecDeque<(Calls, usize)>,
    bytes: usize,
    /// Messages that found no room.
    dropped: u64,
    /// Changes of who is meant to vote. Whoever asked looks whether they took effect, and asks again.
    changes: Vec<RosterChange>,
}

impl Inbound {
    pub(crate) fn new(ring: Arc<Notify>) -> Self {
        Inbound { waiting: Mutex::default(), ring }
    }

    pub(crate) fn push(&self, calls: Calls, bytes: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        // A void is a byte on its way, and more than that here.
        let bytes = bytes + calls.calls.len() * size_of::<RemoteCall>();
        if waiting.bytes + bytes > WAITING_BYTES_MAX {
            waiting.dropped += 1;
            return;
        }
        waiting.bytes += bytes;
        waiting.calls.push_back((calls, bytes));
        drop(waiting);
        self.ring.notify_one();
    }

    /// Takes a change of who is meant to vote.
    pub(crate) fn push_change(&self, change: RosterChange) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if !waiting.changes.contains(&change) && waiting.changes.len() < WAITING_CHANGES_MAX {
            waiting.changes.push(change);
        }
        drop(waiting);
        self.ring.notify_one();
    }

    fn take_changes(&self) -> Vec<RosterChange> {
        std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner).changes)
    }

    fn pop(&self) -> Option<(Calls, usize)> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let (calls, bytes) = waiting.calls.pop_front()?;
        waiting.bytes -= bytes;
        Some((calls, bytes))
    }

    /// Keeps what did not fit, as the next to be taken.
    fn put_back(&self, rest: Calls, bytes: usize) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.bytes += bytes;
        waiting.calls.push_front((rest, bytes));
    }

    fn clear(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = Waiting { dropped: waiting.dropped, ..Waiting::default() };
    }

    /// How many calls wait, and their bytes, and how many messages found no room.
    pub(crate) fn metrics(&self) -> (usize, usize, u64) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        (waiting.calls.iter().map(|(calls, _)| calls.calls.len()).sum(), waiting.bytes, waiting.dropped)
    }
}

/// Why a leadership's fork is given up.
enum End {
    /// Fork again, if this node still leads.
    Again,
    /// The node is stopping.
    Over,
}

type Ticket = Pin<Box<dyn Future<Output = Proposed> + Send>>;

impl<C: Container> Core<C> {
    /// The task.
    pub(crate) async fn sequence(self: Arc<Self>) {
        let mut watcher = self.engine.watch();
        loop {
            let _ = watcher.view();
            let Some(term) = self.engine.leading() else {
                if watcher.changed().await.is_err() {
                    return;
                }
                continue;
            };
            if self.engine.is_parted() {
                // Nothing may be judged on this state. It hands over, and its state will be replaced.
                let mut parted = self.engine.watch_parted();
                tokio::select! {
                    biased;
                    _ = parted.find(|parted| (!parted).then_some(())) => {}
                    changed = watcher.changed() => if changed.is_err() { return },
                }
                continue;
            }
            match self.lead(term, &mut watcher).await {
                Ok(End::Again) => {}
                Ok(End::Over) => return,
                Err(stop) => return self.halt_and_record(&stop),
            }
        }
    }

    /// Serves as the sequencer of a term until something goes another way than hoped.
    async fn lead(&self, term: u64, watcher: &mut Watcher) -> Result<End, Stop> {
        let heartbeat = self.options.timing.heartbeat;
        let fork_point = tokio::select! {
            biased;
            point = self.engine.fork_point(term) => point,
            changed = watcher.changed() => return Ok(if changed.is_err() { End::Over } else { End::Again }),
        };
        if fork_point.is_err() {
            // No quorum, or no leader any more. Try again on news, or after a heartbeat.
            let changed = tokio::time::timeout(heartbeat, watcher.changed()).await;
            return Ok(if matches!(changed, Ok(Err(_))) { End::Over } else { End::Again });
        }
        let store = self.local.store().clone();
        self.meters.forks.fetch_add(1, Ordering::Relaxed);
        self.meters.in_flight.store(0, Ordering::Relaxed);
        let mut leadership = Leadership {
            core: self,
            fork: Fork::new(store, term, self.me().incarnation, self.options.retention),
            since: Instant::now(),
            in_flight: FuturesOrdered::new(),
            compare_due: (self.compare_after(), Instant::now()),
            wanted: Vec::new(),
            batch_calls_max: BATCH_CALLS_MIN,
            parked: false,
        };
        self.inbound.clear();
        self.origin.rewind(None, None);
        self.broadcast(kind::LEADING, Bytes::new());
        leadership.serve(watcher).await
    }

    /// After how many more actions states are compared, by what was compared last, whoever led then: where leaders change
    /// often, it must come about all the same.
    fn compare_after(&self) -> u64 {
        let compared = self.comparison.last().unwrap_or_default();
        self.options.digest_every.saturating_sub(self.local.index().0.saturating_sub(compared.0))
    }

    /// To all nodes of this cluster.
    pub(crate) fn broadcast(&self, kind: crate::wire::Kind, body: Bytes) {
        let cluster = self.cluster();
        self.wire.broadcast(Head { kind, group: 0, cluster }, body);
    }
}

struct Leadership<'a, C: Container> {
    core: &'a Core<C>,
    fork: Fork<C>,
    since: Instant,
    in_flight: FuturesOrdered<Ticket>,
    /// After how many more actions states are compared, and not before then.
    compare_due: (u64, Instant),
    /// The calls of the batch being made whose origins want to hear of them before the commit.
    wanted: Vec<(SessionId, CallNumber)>,
    /// How many calls this container decides in a fraction of a heartbeat: a batch holds up a thread, and heartbeats
    /// must not wait for it. A leadership begins with few: the one before may have ended by a batch that was too large.
    batch_calls_max: usize,
    /// Calls of this node were left aside because their session could not be opened yet.
    parked: bool,
}

impl<C: Container> Leadership<'_, C> {
    async fn serve(&mut self, watcher: &mut Watcher) -> Result<End, Stop> {
        let (heartbeat, tick) = (self.core.options.timing.heartbeat, Duration::from_secs(1));
        let mut parted = self.core.engine.watch_parted();
        loop {
            if *parted.borrow_and_update() {
                return Ok(End::Again);
            }
            let mut idle = false;
            while self.in_flight.len() < IN_FLIGHT_MAX && !self.fork.is_damaged() {
                let requests = self.gather().await?;
                if requests.is_empty() {
                    idle = true;
                    break;
                }
                self.propose(requests).await?;
            }
            if self.fork.is_damaged() && self.in_flight.is_empty() {
                return Ok(End::Again);
            }
            tokio::select! {
                biased;
                Some(proposed) = self.in_flight.next(), if !self.in_flight.is_empty() => {
                    self.core.meters.in_flight.store(self.in_flight.len(), Ordering::Relaxed);
                    if proposed != Proposed::Applied {
                        return self.drain(watcher).await;
                    }
                    self.unpark();
                }
                changed = watcher.changed() => {
                    if changed.is_err() {
                        return Ok(End::Over);
                    }
                    let _ = watcher.view();
                    if self.core.engine.leading() != Some(self.fork.term()) {
                        return Ok(End::Again);
                    }
                }
                _ = parted.changed() => {}
                () = self.core.ring.notified(), if idle => {}
                () = tokio::time::sleep(if self.parked { heartbeat } else { tick }), if idle => {
                    self.unpark();
                    // Nobody calls, but something may have to be forgotten.
                    if self.fork.is_due(self.stamps().elapsed) {
                        self.propose(Vec::new()).await?;
                    }
                }
            }
        }
    }

    /// The store has gone on: what was left aside may fit now.
    fn unpark(&mut self) {
        if std::mem::take(&mut self.parked) {
            self.core.origin.rewind(None, None);
        }
    }

    /// Waits until nothing is in flight any more, so that the next fork starts from all that came to be.
    async fn drain(&mut self, watcher: &mut Watcher) -> Result<End, Stop> {
        while !self.in_flight.is_empty() {
            tokio::select! {
                biased;
                _ = self.in_flight.next() => {}
                changed = watcher.changed() => {
                    if changed.is_err() {
                        return Ok(End::Over);
                    }
                    let _ = watcher.view();
                    if self.core.engine.leading() != Some(self.fork.term()) {
                        return Ok(End::Again);
                    }
                }
            }
        }
        Ok(End::Again)
    }

    fn stamps(&self) -> conflux_core::Stamps {
        self.fork.stamps(self.core.options.wall_clock.now_ms(), self.since.elapsed())
    }

    /// The next requests, from this node and from others. Sessions are opened in a batch of their own, ahead.
    async fn gather(&mut self) -> Result<Vec<Request<C>>, Stop> {
        let mut requests = Vec::new();
        let changes = self.core.inbound.take_changes();
        if !changes.is_empty() {
            let voters: BTreeSet<_> = self.core.engine.view().voters.into_iter().map(|voter| voter.name).collect();
            requests.extend(changes.into_iter().map(|change| Request::Roster { change, voters: voters.clone() }));
        }
        if let Some(taken) = self.core.origin.take_local(self.batch_calls_max) {
            let as_of = taken.open.then(|| self.core.local.news_now().elapsed);
            if let Some(as_of) = as_of {
                self.core.origin.asks(as_of);
            }
            match self.session(&taken.session, as_of).await? {
                Some(key) => self.take(key, taken, &mut requests),
                None => self.parked = true,
            }
        }
        while requests.len() < self.batch_calls_max {
            let Some((calls, bytes)) = self.core.inbound.pop() else { break };
            if let Some(key) = self.session(&calls.session, calls.open).await?
                && let Some(rest) = self.receive(key, calls, &mut requests)
            {
                self.core.inbound.put_back(rest, bytes);
            }
        }
        Ok(requests)
    }

    /// The key of a session, opened if it may be.
    async fn session(&mut self, id: &SessionId, as_of: Option<Duration>) -> Result<Option<SessionKey>, Stop> {
        if self.fork.store().sessions().key(id).is_none()
            && let Some(as_of) = as_of
        {
            self.propose(vec![Request::Open { id: id.clone(), as_of }]).await?;
        }
        Ok(self.fork.store().sessions().key(id))
    }

    fn take(&mut self, key: SessionKey, taken: Taken<C>, requests: &mut Vec<Request<C>>) {
        let Some(next) = self.fork.next(key) else { return };
        if taken.first > next {
            // The fork is behind what this node has sent: go back to where it is.
            return self.expect(&taken.session, next);
        }
        let mut number = taken.first;
        requests.reserve(taken.calls.len());
        for (method, chosen, predict) in taken.calls {
            if number >= next {
                if predict {
                    self.wanted.push((taken.session.clone(), number));
                }
                requests.push(request(key, number, taken.floor, chosen, method));
            }
            number = number.next();
        }
    }

    /// Takes calls from elsewhere into a batch; gives back those for which it has no room.
    fn receive(&mut self, key: SessionKey, mut calls: Calls, requests: &mut Vec<Request<C>>) -> Option<Calls> {
        let next = self.fork.next(key)?;
        // Calls of the same session may be in `requests` already.
        let next = requests.iter().rev().find_map(|request| number_in(request, key)).map_or(next, CallNumber::next);
        if calls.first > next {
            self.expect(&calls.session, next);
            return None;
        }
        if calls.first < next {
            self.tell_decided(key, &calls);
        }
        let room = self.batch_calls_max.saturating_sub(requests.len());
        let end = CallNumber(next.0 + room as u64);
        let fit = (end.0 - calls.first.0) as usize;
        let rest = (calls.calls.len() > fit).then(|| {
            let (session, open, floor) = (calls.session.clone(), calls.open, calls.floor);
            Calls { session, open, floor, first: end, calls: calls.calls.split_off(fit) }
        });
        let mut number = calls.first;
        for call in calls.calls {
            if number >= next {
                let (method, chosen): (_, Option<ChosenId>) = match call {
                    RemoteCall::Void => (None, None),
                    // A method that this node cannot read can never be judged: its number is passed over for good.
                    RemoteCall::Run { method, chosen, predict } => {
                        let method = decode_foreign::<C::Method>(&method).ok();
                        if predict {
                            self.wanted.push((calls.session.clone(), number));
                        }
                        (method, chosen)
                    }
                };
                requests.push(request(key, number, calls.floor, chosen, method));
            }
            number = number.next();
        }
        rest
    }

    /// Makes a batch of requests and hands it to the engine.
    async fn propose(&mut self, requests: Vec<Request<C>>) -> Result<(), Stop> {
        let core = self.core;
        let compare = self.compare_due.0 == 0 && Instant::now() >= self.compare_due.1;
        let (counter, seed) = core.next_batch();
        let stamps = self.stamps();
        let asked = asked(&requests);
        let (calls, begun) = (requests.len(), Instant::now());
        let long = self.fork.store().container().may_take_long();
        let batch = core.deciding.run(long, || self.fork.batch(counter, stamps, seed, requests, compare))?;
        let took = begun.elapsed();
        self.pace(calls, took);
        self.call_back(&asked);
        let Some(batch) = batch else { return Ok(()) };
        if compare {
            self.compare_due = (core.options.digest_every, Instant::now() + core.comparison.pause());
        } else {
            self.compare_due.0 = self.compare_due.0.saturating_sub(batch.actions());
        }
        self.tell(&batch);
        #[cfg(feature = "bugs")]
        if bugs::is(Bug::RejectionBeforeItsBatch) {
            self.tell_early(&batch);
        }
        let meters = core.meters.clone();
        meters.batch_calls.record(calls as u64);
        meters.decide_time.record_time(took);
        let decided = trace::Decided::of(&core.me().name, self.fork.term(), &batch, self.fork.store());
        let bytes = Bytes::from(batch.encode()?);
        let proposal = Proposal::made_here(bytes, Arc::new(batch));
        let made = Instant::now();
        let ticket = core.engine.propose(self.fork.term(), proposal).await;
        meters.in_flight.store(self.in_flight.len() + 1, Ordering::Relaxed);
        self.in_flight.push_back(Box::pin(async move {
            let proposed = ticket.await;
            if proposed == Proposed::Applied {
                meters.commit_time.record_time(made.elapsed());
            }
            decided.end(proposed);
            proposed
        }));
        Ok(())
    }

    /// Fits the size of batches to the time they take.
    fn pace(&mut self, calls: usize, took: Duration) {
        let bound = self.core.options.timing.heartbeat / 4;
        if took > bound {
            let fits = calls as u128 * bound.as_nanos() / took.as_nanos();
            self.batch_calls_max = usize::try_from(fits).unwrap_or(BATCH_CALLS_MAX).max(BATCH_CALLS_MIN);
        } else if calls >= self.batch_calls_max {
            self.batch_calls_max = (self.batch_calls_max * 2).min(BATCH_CALLS_MAX);
        }
    }

    /// A container may stop before the end of a batch: the origins of the calls behind send them again.
    fn call_back(&self, asked: &[(SessionKey, CallNumber)]) {
        if self.fork.is_damaged() {
            // All of them will, at the next fork.
            return;
        }
        for (key, last) in asked {
            let Some(next) = self.fork.next(*key).filter(|next| next <= last) else { continue };
            let Some(id) = self.fork.store().sessions().get(*key).map(conflux_core::Session::id) else { continue };
            self.expect(id, next);
        }
    }

    /// Tells an origin which call of its session is to come next.
    fn expect(&self, session: &SessionId, next: CallNumber) {
        if session.node == self.core.me().name {
            self.core.origin.rewind(Some(session), Some(next));
        } else {
            let expect = Expect { session: session.clone(), next };
            self.core.post(&session.node, kind::EXPECT, expect.encode());
        }
    }

    /// Tells an origin that sends calls again which of them are committed: its own log has not come so far.
    fn tell_decided(&self, key: SessionKey, calls: &Calls) {
        let places: Vec<Option<Index>> = {
            let store = self.core.local.store();
            let Some(session) = store.sessions().get(key) else { return };
            let numbers = (0..calls.calls.len() as u64).map(|at| session.find(CallNumber(calls.first.0 + at)));
            numbers
                .map_while(|found| match found {
                    Found::Decided(outcome) => Some(outcome.index()),
                    Found::Undecided | Found::Forgotten => None,
                })
                .collect()
        };
        if !places.is_empty() {
            let decided = Decided { session: calls.session.clone(), first: calls.first, places };
            self.core.post(&calls.session.node, kind::DECIDED, decided.encode());
        }
    }

    /// Tells those who asked what was decided, before it is committed.
    fn tell(&mut self, batch: &Batch<C>) {
        if self.wanted.is_empty() {
            return;
        }
        let mut wanted = std::mem::take(&mut self.wanted);
        for record in &batch.records {
            let Record::Call { session, number, verdict, .. } = record else { continue };
            let sessions = self.fork.store().sessions();
            let Some(id) = sessions.get(*session).map(conflux_core::Session::id) else { continue };
            let Some(at) = wanted.iter().position(|(session, wanted)| wanted == number && session == id) else {
                continue;
            };
            wanted.swap_remove(at);
            if id.node == self.core.me().name {
                if let Some(prediction) = prediction(verdict) {
                    self.core.origin.predict(id, *number, prediction);
                }
            } else if let Ok(verdict) = verdict.to_bytes() {
                let predicted = Predicted { session: id.clone(), number: *number, verdict: verdict.into() };
                self.core.post(&id.node, kind::PREDICTED, predicted.encode());
            }
        }
        // Some may wait for a later batch; many that nothing came of do not matter any more.
        wanted.truncate(BATCH_CALLS_MAX);
        self.wanted = wanted;
    }
}

#[cfg(feature = "bugs")]
impl<C: Container> Leadership<'_, C> {
    /// Tells this node's own callers of a batch what was rejected, and what came to nothing.
    fn tell_early(&self, batch: &Batch<C>) {
        use conflux_core::Outcome;
        let mut index = batch.header.base;
        for record in &batch.records {
            let Record::Call { session, number, verdict, .. } = record else { continue };
            let outcome = match verdict {
                Verdict::Nothing => Outcome::Nothing { index },
                Verdict::Rejected(rejection) => Outcome::Rejected { index, rejection: rejection.clone() },
                Verdict::Action(_) => {
                    index = index.next();
                    continue;
                }
                _ => continue,
            };
            if let Some(session) = self.fork.store().sessions().get(*session) {
                self.core.origin.tell_early(session.id(), *number, outcome);
            }
        }
    }
}

/// The last call of each run of calls of one session.
fn asked<C: Container>(requests: &[Request<C>]) -> Vec<(SessionKey, CallNumber)> {
    let mut runs: Vec<(SessionKey, CallNumber)> = Vec::new();
    for request in requests {
        let (Request::Call { session, number, .. } | Request::Void { session, number, .. }) = request else { continue };
        match runs.last_mut() {
            Some((last, latest)) if last == session => *latest = *number,
            _ => runs.push((*session, *number)),
        }
    }
    runs
}

fn number_in<C: Container>(request: &Request<C>, key: SessionKey) -> Option<CallNumber> {
    match request {
        Request::Call { session, number, .. } | Request::Void { session, number, .. } if *session == key => {
            Some(*number)
        }
        _ => None,
    }
}

pub(crate) fn prediction<C: Container>(verdict: &Verdict<C>) -> Option<Prediction<C>> {
    Some(match verdict {
        Verdict::Action(action) => Prediction::Action(action.clone()),
        Verdict::Nothing => Prediction::Nothing,
        Verdict::Rejected(rejection) => Prediction::Rejected(rejection.clone()),
        Verdict::Failed(failure) => Prediction::Failed(failure.clone()),
        // Known only from the log.
        Verdict::Repeated | Verdict::Conflict => return None,
    })
}
