//! A heap that threads share, one batch at a time.

#![expect(clippy::disallowed_methods, reason = "a batch has a limit of real time")]

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use conflux_core::container::ACTION_BYTES_MAX;
use conflux_core::{BatchContext, Call, Decision, Failure, Index, Payload, PayloadError, Random, Reject};
use serde_json::Value;

use crate::call::{Action, Method};
use crate::error::ScriptError;
use crate::heap::{self, Cut, Ended, Heap, HeapAction, HeapCall, Purpose, Script, Slot};
use crate::host::Streams;
use crate::options::Options;
use crate::place;
use crate::sources::Sources;
use crate::watch::{Limit, Turn};

/// The decision on one call.
pub(crate) type ScriptDecision = Decision<Action, Reject>;

/// What became of calls.
pub(crate) struct Judged {
    pub(crate) decisions: Vec<ScriptDecision>,
    /// The state that they left; a slot of its own, never the one that they began with.
    pub(crate) slot: Slot,
    /// A limit stopped one of them.
    pub(crate) cut: bool,
}

/// How much time calls have.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// All of them, in one go.
    pub(crate) together: Duration,
    /// One that was stopped behind others, or that is the only one.
    pub(crate) alone: Duration,
}

impl Pace {
    /// That of a batch. It takes a little more than one limit at most, whatever is in it: the node does nothing else
    /// meanwhile, and what is not decided comes with the next one.
    pub(crate) fn of(options: &Options) -> Pace {
        Pace { together: options.method_time / 4, alone: options.method_time }
    }
}

/// The heap behind its lock.
///
/// Order of locks: `heap`, then `released`. Letting go of a state takes `released` only, for a moment, so it never waits
/// for a batch.
pub(crate) struct Engine {
    heap: Mutex<Heap>,
    released: Mutex<Vec<Slot>>,
    options: Options,
    script: Script,
    purpose: Purpose,
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
            script: heap.script().clone(),
            heap: Mutex::new(heap),
            released: Mutex::default(),
            options: options.clone(),
            purpose,
        };
        Ok((Arc::new(engine), initial))
    }

    pub(crate) fn methods(&self) -> &[String] {
        &self.script.methods
    }

    pub(crate) fn script(&self) -> &Script {
        &self.script
    }

    /// Lets go of a state when the heap is entered next.
    pub(crate) fn release_later(&self, slot: Slot) {
        self.released.lock().unwrap_or_else(PoisonError::into_inner).push(slot);
    }

    /// Decides calls in order, at least one. Stops early when the time is used up, and when a batch's worth of bytes is
    /// written; in a heap that is for comparing, also at the first limit.
    pub(crate) fn decide(
        &self,
        from: Slot,
        batch: &BatchContext,
        (base, first): (Index, usize),
        calls: &[Call<Method>],
        pace: Pace,
    ) -> Judged {
        let (started, mut counted) = (Instant::now(), Duration::ZERO);
        let mut heap = self.enter();
        heap.draw_from(Streams::Deciding(*batch));
        let mut decisions: Vec<ScriptDecision> = Vec::with_capacity(calls.len());
        let mut slot = from;
        let mut place = base;
        let (mut late, mut was_cut, mut written) = (false, false, 0);
        // The call in hand was stopped behind others, or one of those in hand hit a limit and went on: one at a time.
        let (mut is_retried, mut singly) = (false, false);
        let mut is_swept = false;
        while decisions.len() < calls.len() && !late {
            let done = decisions.len();
            let spent = if self.options.count_steps { counted } else { started.elapsed() };
            let left = pace.together.saturating_sub(spent);
            if done > 0 && left.is_zero() && !is_retried {
                break;
            }
            let alone = is_retried || singly || calls.len() - done == 1;
            let taken = if alone { &calls[done..=done] } else { &calls[done..] };
            let taken: Vec<_> =
                taken.iter().map(|call| HeapCall { method: &call.method, node: call.origin.node() }).collect();
            let to = heap.reserve();
            let used = heap.used();
            let time = if alone { pace.alone } else { left };
            let ended = heap.decide((slot, to), batch, (place, first + done), &taken, true, time);
            counted += heap.counted();
            let (outcomes, cut) = match ended {
                Ended::Whole(outcomes) => (outcomes, None),
                Ended::Short { outcomes, cut, turn } => (outcomes, Some((cut, turn))),
                Ended::Unsure => {
                    if self.purpose == Purpose::Comparison {
                        // Who asked lets go of what he is given: it must not be what he came with.
                        heap.copy(slot, to);
                        if slot != from {
                            heap.release(&[slot]);
                        }
                        return Judged { decisions, slot: to, cut: true };
                    }
                    heap.release(&[to]);
                    singly = true;
                    continue;
                }
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
            is_retried = false;
            let Some((cut, turn)) = cut else {
                is_swept = false;
                continue;
            };
            if self.purpose == Purpose::Comparison {
                return Judged { decisions, slot, cut: true };
            }
            // The limits are each call's own: one that was cut short behind others is tried again, alone.
            if !alone {
                is_retried = true;
                continue;
            }
            // What nobody can reach any more was not its doing.
            if matches!(cut, Cut::Limit(Limit::Memory, _)) && !std::mem::replace(&mut is_swept, true) {
                is_retried = heap.swept().saturating_add(self.options.memory_bytes / 16) < used;
                if is_retried {
                    continue;
                }
            }
            is_swept = false;
            late |= matches!(cut, Cut::Limit(Limit::Time, _));
            was_cut = true;
            let name = calls[done].method.name();
            decisions.push(Decision::Failed(self.script.failure_of(cut, name, turn, &self.options)));
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
        let calls = std::slice::from_ref(call);
        let ended = heap.decide((from, to), batch, (base, 0), calls, false, self.options.method_time);
        heap.release(&[to]);
        match ended {
            Ended::Whole(outcomes) => decision(outcomes.lines().next().unwrap_or_default()),
            Ended::Short { cut, .. } => {
                Decision::Failed(self.script.failure_of(cut, call.method.name(), Turn::Method, &self.options))
            }
            Ended::Unsure => unreachable!("of one call it is sure"),
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
        self.reduce_or_cut(from, batch, streams, actions).map_err(|cut| {
            let mut failure = match cut {
                Cut::Limit(limit, at) => Failure { message: exhausted(limit, &self.options), at },
                Cut::Other(failure) => failure,
            };
            failure.at = failure.at.or_else(|| self.script.reducer_place());
            failure
        })
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
    pub(crate) fn holds(&self, slot: Slot) -> Option<Result<(), Broken>> {
        if !self.script.has_invariant {
            return None;
        }
        Some(match self.enter().holds(slot) {
            Ok(said) => match said.filter(|said| !said.is_empty()) {
                None => Ok(()),
                Some(said) => Err(Broken { said, at: self.script().invariant_place(), is_cut: false }),
            },
            Err(cut) => {
                let is_cut = matches!(cut, Cut::Limit(..));
                Err(Broken {
                    said: cut.into_failure("invariant", &self.options).to_string(),
                    at: self.script().invariant_place(),
                    is_cut,
                })
            }
        })
    }

    /// A call that the script makes up, or one of any of its methods; `None` where there is none this time.
    pub(crate) fn sample(&self, random: &mut Random) -> Result<Option<Method>, Failure> {
        if self.script.has_sampler {
            return self.invented(Random::new(random.next_u64()));
        }
        let nth = random.below(self.script.methods.len() as u64) as usize;
        let arguments = (0..self.script.lengths.get(nth).copied().unwrap_or(0)).map(|_| Value::sample(random));
        let arguments = arguments.collect::<Result<_, _>>();
        let arguments = arguments.map_err(|error| Failure { message: error.to_string(), at: None })?;
        Ok(Some(Method::new(&self.script.methods[nth], arguments)))
    }

    fn invented(&self, random: Random) -> Result<Option<Method>, Failure> {
        let mut heap = self.enter();
        heap.draw_from(Streams::One(random));
        let said = heap.invent().map_err(|cut| cut.into_failure("sample", &self.options)).and_then(|said| {
            match said.split_at_checked(1) {
                None => Ok(None),
                Some(("S", json)) => Method::decode(json.as_bytes())
                    .map(Some)
                    .map_err(|error| Failure { message: format!("sample returned {error}"), at: None }),
                Some((_, json)) => Err(heap::failure(json)),
            }
        });
        said.map_err(|failure| Failure { at: failure.at.or_else(|| self.script.sampler_place.clone()), ..failure })
    }

    fn enter(&self) -> MutexGuard<'_, Heap> {
        // A panic in here would be a bug of this crate; the heap itself is whole between two calls into it.
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        let released = std::mem::take(&mut *self.released.lock().unwrap_or_else(PoisonError::into_inner));
        heap.release(&released);
        heap
    }
}

/// What an invariant that does not hold says.
pub(crate) struct Broken {
    pub(crate) said: String,
    /// Where it is written, as `file:line`.
    pub(crate) at: Option<String>,
    /// It was stopped.
    pub(crate) is_cut: bool,
}

/// What is told where no limit binds and there is an end all the same.
fn exhausted(limit: Limit, options: &Options) -> String {
    match limit {
        Limit::Memory => "there is no memory left for reduce".into(),
        Limit::Stack => format!(
            "reduce recursed deeper than {} KiB of stack, twice of what it has where actions are proposed",
            options.stack_bytes >> 9
        ),
        Limit::Time => "reduce was stopped".into(),
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
        "E" => Decision::Rejected(unsaid(json)),
        _ => Decision::Failed(heap::failure(json)),
    }
}

/// The rejection by an error that has no message: the next best is where it comes from.
fn unsaid(json: &str) -> Reject {
    #[derive(serde::Deserialize)]
    struct Written {
        rejection: String,
        stack: Option<String>,
    }
    let written: Option<Written> = serde_json::from_str(json).ok();
    let place = written.as_ref().and_then(|written| place::of_stack(written.stack.as_deref()?));
    let rejection = written.and_then(|written| serde_json::from_str(written.rejection.strip_prefix('R')?).ok());
    let mut rejection: Reject = rejection.unwrap_or_else(|| "Error without a message".into());
    if let Some(place) = place {
        rejection.message = format!("{}, at {place}", rejection.message);
    }
    rejection
}
