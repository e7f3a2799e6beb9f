//! A heap that threads share, one batch at a time.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conflux_core::container::ACTION_BYTES_MAX;
use conflux_core::{BatchContext, Call, Decision, Failure, Index, PayloadError, Reject};

use crate::call::{Action, Method};
use crate::error::ScriptError;
use crate::heap::{self, Cut, Heap, HeapAction, HeapCall, Purpose, Slot};
use crate::host::Streams;
use crate::options::Options;
use crate::sources::Sources;

/// The decision on one call.
pub(crate) type ScriptDecision = Decision<Action, Reject>;

/// What became of calls.
pub(crate) struct Judged {
    pub(crate) decisions: Vec<ScriptDecision>,
    /// The state that they left.
    pub(crate) slot: Slot,
    /// A limit stopped one of them.
    pub(crate) cut: bool,
}

/// The heap behind its lock.
///
/// Order of locks: `heap`, then `released`. Letting go of a state takes `released` only, for a moment, so it never waits
/// for a batch.
pub(crate) struct Engine {
    heap: Mutex<Heap>,
    released: Mutex<Vec<Slot>>,
    options: Options,
    methods: Vec<String>,
    has_invariant: bool,
}

impl Engine {
    /// Loads a script into a heap of its own; also gives the slot of its initial state.
    pub(crate) fn load(
        sources: &Arc<Sources>,
        options: &Options,
        shown: &dyn Fn(&str) -> String,
        purpose: Purpose,
    ) -> Result<(Arc<Engine>, Slot), ScriptError> {
        let (heap, initial) = Heap::load(sources, options, shown, purpose)?;
        let engine = Engine {
            methods: heap.methods().to_vec(),
            has_invariant: heap.has_invariant(),
            heap: Mutex::new(heap),
            released: Mutex::default(),
            options: options.clone(),
        };
        Ok((Arc::new(engine), initial))
    }

    pub(crate) fn methods(&self) -> &[String] {
        &self.methods
    }

    /// Lets go of a state when the heap is entered next.
    pub(crate) fn release_later(&self, slot: Slot) {
        self.released.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }

    /// Decides calls in order. May stop early: after a call that took all its time, because what waits behind the heap has
    /// waited enough, and when a batch's worth of bytes is written. `closely`: the development check looks on.
    pub(crate) fn decide(
        &self,
        from: Slot,
        batch: &BatchContext,
        (base, first): (Index, usize),
        calls: &[Call<Method>],
        closely: bool,
    ) -> Judged {
        let mut heap = self.enter();
        heap.draw_from(Streams::Deciding(*batch));
        let mut decisions: Vec<ScriptDecision> = Vec::with_capacity(calls.len());
        let mut slot = from;
        let mut place = base;
        let (mut late, mut was_cut, mut written) = (false, false, 0);
        while decisions.len() < calls.len() && !late {
            let done = decisions.len();
            let rest: Vec<_> =
                calls[done..].iter().map(|call| HeapCall { method: &call.method, node: &call.origin.node }).collect();
            let to = heap.reserve();
            let ended = heap.decide((slot, to), batch, (place, first + done), &rest, (true, closely));
            let (outcomes, cut) = match ended {
                Ok(outcomes) => (outcomes, None),
                Err(short) => (short.outcomes, Some((short.cut, short.reducing))),
            };
            written += outcomes.len();
            late |= written > ACTION_BYTES_MAX;
            for line in outcomes.lines() {
                let decision = decision(line);
                if matches!(decision, Decision::Action(_)) {
                    place = place.next();
                }
                decisions.push(decision);
            }
            if slot != from {
                heap.release(&[slot]);
            }
            slot = to;
            // The limits are each call's own: one that was cut short behind others is tried again, alone at the front.
            let Some((cut, reducing)) = cut.filter(|_| decisions.len() == done) else { continue };
            if matches!(cut, Cut::Memory(_)) && heap.raise_ceiling() {
                continue;
            }
            late |= matches!(cut, Cut::Time(_));
            was_cut = true;
            let name = calls[done].method.name();
            let who = if reducing { format!("reduce, for the action of {name},") } else { name.to_owned() };
            decisions.push(Decision::Failed(cut.into_failure(&who, &self.options)));
        }
        Judged { decisions, slot, cut: was_cut }
    }

    /// Decides one call without reducing.
    pub(crate) fn judge(
        &self,
        from: Slot,
        batch: &BatchContext,
        streams: Streams,
        index: Index,
        call: &HeapCall<'_>,
    ) -> ScriptDecision {
        let mut heap = self.enter();
        heap.draw_from(streams);
        let to = heap.reserve();
        // The place is the next action's.
        let base = Index(index.0.saturating_sub(1));
        let ended = heap.decide((from, to), batch, (base, 0), std::slice::from_ref(call), (false, false));
        heap.release(&[to]);
        match ended {
            Ok(outcomes) => decision(outcomes.lines().next().unwrap_or_default()),
            Err(short) => Decision::Failed(short.cut.into_failure(call.method.name(), &self.options)),
        }
    }

    /// Applies actions; gives the slot of the new state.
    pub(crate) fn reduce(
        &self,
        from: Slot,
        batch: &BatchContext,
        streams: Streams,
        actions: &[HeapAction<'_>],
    ) -> Result<Slot, Failure> {
        self.reduce_or_cut(from, batch, streams, actions).map_err(|cut| cut.into_failure("reduce", &self.options))
    }

    /// The same, and tells why it ended.
    pub(crate) fn reduce_or_cut(
        &self,
        from: Slot,
        batch: &BatchContext,
        streams: Streams,
        actions: &[HeapAction<'_>],
    ) -> Result<Slot, Cut> {
        let mut heap = self.enter();
        heap.draw_from(streams);
        let to = heap.reserve();
        match heap.reduce((from, to), batch, actions) {
            Ok(()) => Ok(to),
            Err(cut) => {
                heap.release(&[to]);
                Err(cut)
            }
        }
    }

    /// The JSON text of a state.
    pub(crate) fn write(&self, slot: Slot) -> Result<String, PayloadError> {
        self.enter().write(slot).map_err(PayloadError::new)
    }

    /// Keeps the state that checked JSON text holds.
    pub(crate) fn read(&self, text: &str) -> Result<Slot, PayloadError> {
        let mut heap = self.enter();
        let slot = heap.reserve();
        match heap.read(slot, text) {
            Ok(()) => Ok(slot),
            Err(error) => {
                heap.release(&[slot]);
                Err(PayloadError::new(error))
            }
        }
    }

    /// Whether the script's invariant holds; `None` where it has none.
    pub(crate) fn holds(&self, slot: Slot) -> Option<Result<(), String>> {
        if !self.has_invariant {
            return None;
        }
        Some(match self.enter().holds(slot) {
            Ok(said) => match said.filter(|said| !said.is_empty()) {
                None => Ok(()),
                Some(said) => Err(said),
            },
            Err(said) => Err(said),
        })
    }

    fn enter(&self) -> MutexGuard<'_, Heap> {
        // A panic in here would be a bug of this crate; the heap itself is whole between two calls into it.
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        let released = std::mem::take(&mut *self.released.lock().unwrap_or_else(PoisonError::into_inner));
        heap.release(&released);
        heap
    }
}

/// Reads one line of what the world inside gives back.
fn decision(line: &str) -> ScriptDecision {
    let (kind, json) = line.split_at_checked(1).unwrap_or(("", line));
    match kind {
        "A" => Decision::Action(Action::of_trusted(json)),
        "N" => Decision::Nothing,
        "R" => match serde_json::from_str(json) {
            Ok(rejection) => Decision::Rejected(rejection),
            Err(error) => {
                Decision::Failed(Failure { message: format!("a rejection cannot be read: {error}"), at: None })
            }
        },
        _ => Decision::Failed(heap::failure(json)),
    }
}
