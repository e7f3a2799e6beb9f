//! The development check: what a batch did is done again in a fresh heap, from the JSON of the state before it.
//!
//! A difference means that something besides the state and the action had a say: a variable of the module, an object
//! shared between states, an order that is not the state's. On another node, or after a restart, it would have said
//! something else.
//!
//! The fresh heap first runs some of the batch's calls, backwards and for nothing. Else the very first batch of a node
//! would find it in step: a variable that counts has counted as far in both.
//!
//! # What a difference does
//! On the leader the call fails, before anything is proposed, and is reported. On a node that applies, it is reported
//! and nothing else: a failure there would stop this node and not the next one, which looked at another batch. So a heap
//! of a node applies the same with the check and without it.
//!
//! # What it costs
//! The first calls are all checked; then the first calls of as many batches as fit into a part of the time that passes (a
//! fourth where calls are decided, a sixteenth where they are applied). A batch of a thousand calls, run three times in one
//! go, would keep the node busy for longer than its peers wait for a leader. Once something was found, every call is
//! checked: a script with hidden state is not to be trusted because nobody looked.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use conflux_core::{BatchContext, Call, Decision, Failure, Index, PayloadError};

use crate::allowance::Allowance;
use crate::call::Method;
use crate::difference::{Difference, paths_that_differ};
use crate::engine::{Engine, ScriptDecision};
use crate::heap::{Cut, HeapAction, Purpose, Slot};
use crate::host::Streams;
use crate::options::Options;
use crate::sources::Sources;
use crate::state::ScriptState;

/// How many calls of a batch are checked together, and, unless there is a suspicion, at all.
const PART: usize = 64;

/// How many calls the fresh heap runs for nothing: from the last of the batch backwards.
const PRIMING: usize = 8;

/// How much more of everything the fresh heap may use: it must not stop where the node's heap just did not.
const SLACK: u32 = 4;

/// How many reports are kept until they are asked for.
const REPORTS_MAX: usize = 100;

/// What the development check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The script.
    pub file: String,
    /// What was run twice: the call, or the action.
    pub what: String,
    /// Where the two results part: left in the node's heap, right in a fresh one that other calls went through. The first
    /// step of a path says what it is in: `state`, `action`, or `outcome`.
    pub differences: Vec<Difference>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} of {} had another result in a fresh heap, from the same state, after other calls: ",
            self.what, self.file
        )?;
        for (nth, difference) in self.differences.iter().take(3).enumerate() {
            write!(f, "{}{difference}", if nth > 0 { "; " } else { "" })?;
        }
        if self.differences.len() > 3 {
            write!(f, "; and {} more", self.differences.len() - 3)?;
        }
        f.write_str(
            ". Is there state outside the state: a variable of the module, an object that is shared and changed?",
        )
    }
}

pub(crate) struct Check {
    sources: Arc<Sources>,
    /// Those of the fresh heaps.
    options: Options,
    deciding: Allowance,
    applying: Allowance,
    /// Something was found.
    suspects: AtomicBool,
    reports: Mutex<VecDeque<Report>>,
}

/// Why there is nothing to compare.
enum Inconclusive {
    /// A limit stopped the fresh heap.
    Cut,
    /// It could not be made, or not be given the state.
    Broken(PayloadError),
}

impl From<PayloadError> for Inconclusive {
    fn from(error: PayloadError) -> Self {
        Inconclusive::Broken(error)
    }
}

type Verdict = Result<Vec<Difference>, Inconclusive>;

impl Check {
    pub(crate) fn new(sources: Arc<Sources>, options: &Options) -> Check {
        let options = Options {
            method_time: options.method_time.saturating_mul(SLACK),
            load_time: options.load_time.saturating_mul(SLACK),
            memory_bytes: options.memory_bytes.saturating_mul(SLACK as usize),
            ..options.clone()
        };
        Check {
            sources,
            options,
            deciding: Allowance::one_in(4),
            applying: Allowance::one_in(16),
            suspects: AtomicBool::new(false),
            reports: Mutex::default(),
        }
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    /// Decides calls, of which there is at least one, and where it is due, again in a fresh heap. If they differ, they
    /// are decided anew one by one: a call that differs fails, and leaves the state as it was.
    pub(crate) fn decide(
        &self,
        engine: &Arc<Engine>,
        state: ScriptState,
        batch: &BatchContext,
        calls: &[Call<Method>],
    ) -> (Vec<ScriptDecision>, ScriptState) {
        let mut is_due = self.deciding.permits(calls.len().min(PART));
        let mut decisions = Vec::with_capacity(calls.len());
        let mut state = state;
        let mut place = batch.base;
        while decisions.len() < calls.len() {
            let rest = &calls[decisions.len()..];
            let at = (place, decisions.len());
            is_due |= self.suspects();
            let part = if is_due { &rest[..rest.len().min(PART)] } else { rest };
            let run = match is_due {
                true => self.decide_part(engine, &state, batch, at, part),
                false => Run::decide(engine, &state, batch, at, part, false),
            };
            is_due = false;
            let actions = run.decisions.iter().filter(|decision| matches!(decision, Decision::Action(_))).count();
            place = place.plus(actions as u64);
            state = run.after;
            let is_late = run.decisions.len() < part.len();
            decisions.extend(run.decisions);
            // A call took all its time: what waits behind the heap has waited enough.
            if is_late {
                break;
            }
        }
        (decisions, state)
    }

    fn decide_part(
        &self,
        engine: &Arc<Engine>,
        state: &ScriptState,
        batch: &BatchContext,
        at: (Index, usize),
        calls: &[Call<Method>],
    ) -> Run {
        let whole = Run::decide(engine, state, batch, at, calls, true);
        // Near a limit no two runs need to be the same.
        if whole.cut {
            return whole;
        }
        let started = Instant::now();
        let fresh = self.fresh();
        let found = fresh.and_then(|fresh| Ok((whole.compare(&fresh, state, batch, at, calls)?, fresh)));
        let run = match found {
            Ok((found, _)) if found.is_empty() => whole,
            Ok((found, fresh)) => self.decide_singly((engine, &fresh), state, batch, at, calls, found),
            Err(why) => {
                self.skip("a batch", why);
                whole
            }
        };
        self.deciding.spend(started.elapsed());
        run
    }

    /// Decides calls one by one to name those that differ. If none does by itself, the batch as a whole fails.
    fn decide_singly(
        &self,
        (engine, fresh): (&Arc<Engine>, &Arc<Engine>),
        before: &ScriptState,
        batch: &BatchContext,
        (base, first): (Index, usize),
        calls: &[Call<Method>],
        found: Vec<Difference>,
    ) -> Run {
        let mut decisions = Vec::with_capacity(calls.len());
        let mut state = before.clone();
        let mut place = base;
        let mut is_named = false;
        for (nth, call) in calls.iter().enumerate() {
            let one = std::slice::from_ref(call);
            let mut run = Run::decide(engine, &state, batch, (place, first + nth), one, true);
            if run.cut {
                decisions.append(&mut run.decisions);
                return Run { decisions, after: run.after, cut: true };
            }
            let verdict = run.compare(fresh, &state, batch, (place, first + nth), one);
            let what = format!("the call {:?}", call.method);
            let mut decision = run.decisions.pop().unwrap_or(Decision::Nothing);
            match verdict {
                Ok(found) if !found.is_empty() => {
                    is_named = true;
                    decision = Decision::Failed(self.report(what, found));
                }
                verdict => {
                    if let Err(why) = verdict {
                        self.skip(&what, why);
                    }
                    if matches!(decision, Decision::Action(_)) {
                        place = place.next();
                    }
                    state = run.after;
                }
            }
            decisions.push(decision);
        }
        if is_named {
            return Run { decisions, after: state, cut: false };
        }
        let what = match calls {
            [first, .., last] => format!("the calls {:?} to {:?}", first.method, last.method),
            _ => format!("the call {:?}", calls[0].method),
        };
        let failure = self.report(what, found);
        let decisions = calls.iter().map(|_| Decision::Failed(failure.clone())).collect();
        Run { decisions, after: before.clone(), cut: false }
    }

    /// How many of so many actions of a batch are to be applied apart, and then checked.
    pub(crate) fn part(&self, actions: usize) -> usize {
        let part = actions.min(PART);
        match self.applying.permits(part) || self.suspects() {
            true => part,
            false => 0,
        }
    }

    /// Reduces again what led from one state to another. Only reports.
    pub(crate) fn reduce(
        &self,
        before: &ScriptState,
        after: &ScriptState,
        batch: &BatchContext,
        streams: &Streams,
        actions: &[HeapAction<'_>],
    ) {
        let started = Instant::now();
        let what = match actions {
            [action] => format!("the action {} at {}", action.json, action.index),
            [first, .., last] => {
                format!("the actions from {} at {} to {} at {}", first.json, first.index, last.json, last.index)
            }
            [] => return,
        };
        match self.reduce_again(before, after, batch, streams, actions) {
            Ok(found) if found.is_empty() => {}
            Ok(found) => drop(self.report(what, found)),
            Err(why) => self.skip(&what, why),
        }
        self.applying.spend(started.elapsed());
    }

    fn reduce_again(
        &self,
        before: &ScriptState,
        after: &ScriptState,
        batch: &BatchContext,
        streams: &Streams,
        actions: &[HeapAction<'_>],
    ) -> Verdict {
        let fresh = self.fresh()?;
        let (_restored, from) = restored(&fresh, before)?;
        for action in actions.iter().rev().take(PRIMING) {
            let primed = fresh.reduce_or_cut(from, batch, streams.clone(), std::slice::from_ref(action));
            primed.map_or_else(drop, |slot| fresh.release_later(slot));
        }
        match fresh.reduce_or_cut(from, batch, streams.clone(), actions) {
            Ok(slot) => Ok(differing_states(after, &ScriptState::new(fresh, slot))?),
            Err(Cut::Time(_) | Cut::Memory(_)) => Err(Inconclusive::Cut),
            Err(Cut::Other(failure)) => Ok(vec![Difference {
                path: "outcome".into(),
                left: Some("applied".into()),
                right: Some(format!("failed: {failure}").into()),
            }]),
        }
    }

    /// A heap that knows nothing of what happened.
    fn fresh(&self) -> Result<Arc<Engine>, Inconclusive> {
        let show = |name: &str| name.to_owned();
        Engine::load(&Arc::new(self.sources.copy()), &self.options, &show, Purpose::Comparison)
            .map(|(engine, _)| engine)
            .map_err(|error| Inconclusive::Broken(PayloadError::new(error)))
    }

    fn suspects(&self) -> bool {
        self.suspects.load(Ordering::Relaxed)
    }

    fn report(&self, what: String, differences: Vec<Difference>) -> Failure {
        self.suspects.store(true, Ordering::Relaxed);
        let file = self.sources.entry().to_owned();
        let report = Report { file: file.clone(), what, differences };
        let message = report.to_string();
        tracing::error!("{message}");
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() == REPORTS_MAX {
            reports.pop_front();
        }
        reports.push_back(report);
        Failure { message, at: Some(file) }
    }

    fn skip(&self, what: &str, why: Inconclusive) {
        let file = self.sources.entry();
        match why {
            Inconclusive::Cut => tracing::debug!("{what} of {file} was not checked: it is near a limit"),
            Inconclusive::Broken(error) => {
                tracing::warn!("{what} of {file} could not be run again in a fresh heap: {error}");
            }
        }
    }
}

/// Calls that were decided in a heap.
struct Run {
    decisions: Vec<ScriptDecision>,
    after: ScriptState,
    /// A limit stopped one of them.
    cut: bool,
}

impl Run {
    fn decide(
        engine: &Arc<Engine>,
        state: &ScriptState,
        batch: &BatchContext,
        at: (Index, usize),
        calls: &[Call<Method>],
        closely: bool,
    ) -> Run {
        let from = state.slot_in(engine).expect("the state was brought into this heap");
        let judged = engine.decide(from, batch, at, calls, closely);
        Run { decisions: judged.decisions, after: ScriptState::new(engine.clone(), judged.slot), cut: judged.cut }
    }

    /// Does the same in a fresh heap.
    fn compare(
        &self,
        fresh: &Arc<Engine>,
        before: &ScriptState,
        batch: &BatchContext,
        at: (Index, usize),
        calls: &[Call<Method>],
    ) -> Verdict {
        let (state, _) = restored(fresh, before)?;
        let backwards: Vec<_> = calls.iter().rev().take(PRIMING).cloned().collect();
        drop(Run::decide(fresh, &state, batch, at, &backwards, true));
        let again = Run::decide(fresh, &state, batch, at, calls, true);
        if again.cut {
            return Err(Inconclusive::Cut);
        }
        for (decision, decision_again) in self.decisions.iter().zip(&again.decisions) {
            let found = differing_decisions(decision, decision_again);
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Ok(differing_states(&self.after, &again.after)?)
    }
}

fn restored(engine: &Arc<Engine>, state: &ScriptState) -> Result<(ScriptState, Slot), PayloadError> {
    let slot = engine.read(&state.json()?)?;
    Ok((ScriptState::new(engine.clone(), slot), slot))
}

fn differing_states(a: &ScriptState, b: &ScriptState) -> Result<Vec<Difference>, PayloadError> {
    let (left, right) = (a.json()?, b.json()?);
    if left == right {
        return Ok(Vec::new());
    }
    let parsed = |text: &str| serde_json::from_str(text).map_err(PayloadError::new);
    Ok(under("state", paths_that_differ(&parsed(&left)?, &parsed(&right)?)))
}

fn differing_decisions(a: &ScriptDecision, b: &ScriptDecision) -> Vec<Difference> {
    let shown = |decision: &ScriptDecision| match decision {
        Decision::Action(action) => ("action", serde_json::from_str(action.json()).unwrap_or_default()),
        Decision::Nothing => ("outcome", "nothing".into()),
        Decision::Rejected(rejection) => ("outcome", format!("rejected: {rejection}").into()),
        Decision::Failed(failure) => ("outcome", format!("failed: {failure}").into()),
    };
    match (a, b) {
        (Decision::Action(left), Decision::Action(right)) if left == right => Vec::new(),
        (a, b) => {
            let ((left, a), (right, b)) = (shown(a), shown(b));
            under(if left == right { left } else { "outcome" }, paths_that_differ(&a, &b))
        }
    }
}

fn under(root: &str, mut differences: Vec<Difference>) -> Vec<Difference> {
    for difference in &mut differences {
        difference.path.insert_str(0, root);
    }
    differences
}
