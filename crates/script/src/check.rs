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
//! On the leader the call fails, before anything is proposed, and is reported; the calls around it are decided. On a node
//! that applies, it is reported and nothing else: a failure there would stop this node and not the next one, which looked
//! at another batch. So a heap of a node applies the same with the check and without it.
//!
//! An invariant that does not hold any more is reported with the action that broke it.
//!
//! # What it costs
//! The first calls are all checked; then the first calls of as many batches as fit into a part of the time that passes (a
//! fourth where calls are decided, a sixteenth where they are applied). A batch of a thousand calls, run three times in one
//! go, would keep the node busy for longer than its peers wait for a leader. Once something was found, every call is
//! checked: a script with hidden state is not to be trusted because nobody looked.
//!
//! All of it stays within the time that a batch has. What was stopped by a limit is not run again.

#![expect(clippy::disallowed_methods, reason = "the check says how long it took, and has a part of real time")]

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use conflux_core::difference::{Difference, paths_that_differ};
use conflux_core::{BatchContext, Call, Decision, Failure, Index, PayloadError};

use crate::allowance::Allowance;
use crate::call::Method;
use crate::engine::{Engine, Pace, ScriptDecision};
use crate::heap::{Cut, HeapAction, Purpose, Slot};
use crate::host::Streams;
use crate::options::Options;
use crate::report::{Finding, Report};
use crate::sources::Sources;
use crate::state::ScriptState;

/// How many calls of a batch are checked together, and, unless there is a suspicion, at all.
const PART: usize = 64;

/// How many calls the fresh heap runs for nothing: from the last of the batch backwards.
const PRIMING: usize = 8;

/// How much more memory and stack the fresh heap may use: it must not stop where the node's heap just did not.
const SLACK: usize = 2;

/// How many reports are kept until they are asked for.
const REPORTS_MAX: usize = 100;

pub(crate) struct Check {
    sources: Arc<Sources>,
    /// Those of the fresh heaps.
    options: Options,
    deciding: Allowance,
    applying: Allowance,
    /// Something was found.
    suspects: AtomicBool,
    reports: Mutex<VecDeque<Report>>,
    /// What the invariant said last, where it did not hold: that is told once.
    broken: Mutex<Option<String>>,
    /// The invariant was stopped by a limit once; that is enough.
    is_invariant_off: AtomicBool,
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
            memory_bytes: options.memory_bytes.saturating_mul(SLACK),
            stack_bytes: options.stack_bytes.saturating_mul(SLACK),
            ..options.clone()
        };
        Check {
            sources,
            options,
            deciding: Allowance::one_in(4),
            applying: Allowance::one_in(16),
            suspects: AtomicBool::new(false),
            reports: Mutex::default(),
            broken: Mutex::default(),
            is_invariant_off: AtomicBool::new(false),
        }
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    /// Decides calls, of which there is at least one, and where it is due, again in a fresh heap: a call that differs
    /// fails, and leaves the state as it was. Stops early when the time is used up.
    pub(crate) fn decide(
        &self,
        engine: &Arc<Engine>,
        state: ScriptState,
        batch: &BatchContext,
        calls: &[Call<Method>],
    ) -> (Vec<ScriptDecision>, ScriptState) {
        let clock = Clock::start(Pace::of(&self.options));
        let mut is_due = self.deciding.permits(calls.len().min(PART));
        let mut decisions = Vec::with_capacity(calls.len());
        let mut state = state;
        let mut place = batch.base;
        while decisions.len() < calls.len() && (decisions.is_empty() || !clock.left_together().is_zero()) {
            let rest = &calls[decisions.len()..];
            let at = (place, decisions.len());
            is_due |= self.suspects();
            let part = if is_due { &rest[..rest.len().min(PART)] } else { rest };
            let run = match is_due {
                true => self.decide_part(engine, &state, batch, at, part, &clock),
                false => Run::decide(engine, &state, batch, at, part, clock.pace()),
            };
            is_due = false;
            place = place.plus(actions_in(&run.decisions));
            state = run.after;
            let is_late = run.decisions.len() < part.len();
            decisions.extend(run.decisions);
            if is_late {
                break;
            }
        }
        (decisions, state)
    }

    fn decide_part(
        &self,
        engine: &Arc<Engine>,
        before: &ScriptState,
        batch: &BatchContext,
        (base, first): (Index, usize),
        calls: &[Call<Method>],
        clock: &Clock,
    ) -> Run {
        let mut done: Vec<Step> = Vec::with_capacity(calls.len());
        let mut spent = Duration::ZERO;
        let mut is_primed = true;
        while done.len() < calls.len() && (done.is_empty() || !clock.left().is_zero()) {
            let state = done.last().map_or(before, |step| &step.after);
            let at = (base.plus(actions_of(&done)), first + done.len());
            let rest = &calls[done.len()..];
            let started = Instant::now();
            let (mut steps, is_cut) = steps(engine, state, batch, at, rest, clock.pace());
            // Near a limit no two runs need to be the same.
            if is_cut {
                done.append(&mut steps);
                break;
            }
            let rest = &rest[..steps.len()];
            let took = started.elapsed();
            let started = Instant::now();
            let parted = match clock.left().checked_sub(took * 2) {
                Some(_) => self.compare(state, batch, at, rest, &steps, is_primed, clock),
                None => Err(Inconclusive::Cut),
            };
            spent += started.elapsed();
            match parted {
                Ok(Some(parted)) => {
                    let nth = parted.nth;
                    let mut guilty = steps.swap_remove(nth);
                    steps.truncate(nth);
                    guilty.after = steps.last().map_or(state, |step| &step.after).clone();
                    guilty.decision = Decision::Failed(self.report(engine, &rest[nth].method, parted));
                    done.append(&mut steps);
                    done.push(guilty);
                    // The node's heap is a call ahead of a fresh one now; what follows is decided anew.
                    is_primed = false;
                }
                Ok(None) => {
                    let is_late = at.1 - first + steps.len() < calls.len();
                    done.append(&mut steps);
                    if is_late {
                        break;
                    }
                }
                Err(why) => {
                    self.skip("a batch", why);
                    done.append(&mut steps);
                    break;
                }
            }
        }
        let started = Instant::now();
        self.check_invariant(engine, before, base, &done);
        self.deciding.spend(spent + started.elapsed());
        let after = done.last().map_or(before, |step| &step.after).clone();
        Run { decisions: done.into_iter().map(|step| step.decision).collect(), after }
    }

    /// Does in a fresh heap what was done in the node's, and finds the first call at which they part.
    #[expect(clippy::too_many_arguments, reason = "all that a batch is run on, and what came of it")]
    fn compare(
        &self,
        before: &ScriptState,
        batch: &BatchContext,
        at: (Index, usize),
        calls: &[Call<Method>],
        done: &[Step],
        is_primed: bool,
        clock: &Clock,
    ) -> Result<Option<Parted>, Inconclusive> {
        let fresh = self.fresh()?;
        let (state, _) = restored(&fresh, before)?;
        if is_primed {
            let backwards: Vec<_> = calls.iter().rev().take(PRIMING).cloned().collect();
            drop(Run::decide(&fresh, &state, batch, at, &backwards, clock.whole()));
        }
        let (again, is_cut) = steps(&fresh, &state, batch, at, calls, clock.whole());
        if is_cut {
            return Err(Inconclusive::Cut);
        }
        let pairs = || done.iter().zip(&again).enumerate();
        let parted = |nth, is_state, differences| Ok(Some(Parted { nth, is_state, differences }));
        for (nth, (one, other)) in pairs() {
            let differences = differing_decisions(&one.decision, &other.decision);
            if !differences.is_empty() {
                // An earlier state may have parted before.
                for (nth, (one, other)) in pairs().take(nth) {
                    let differences = differing_states(&one.after, &other.after)?;
                    if !differences.is_empty() {
                        return parted(nth, true, differences);
                    }
                }
                return parted(nth, false, differences);
            }
        }
        let Some((one, other)) = done.last().zip(again.get(done.len() - 1)) else { return Err(Inconclusive::Cut) };
        if differing_states(&one.after, &other.after)?.is_empty() {
            return Ok(None);
        }
        for (nth, (one, other)) in pairs() {
            let differences = differing_states(&one.after, &other.after)?;
            if !differences.is_empty() {
                return parted(nth, true, differences);
            }
        }
        Ok(None)
    }

    /// Asks the invariant about the state that calls left; if it does not hold, about each of the states before.
    fn check_invariant(&self, engine: &Arc<Engine>, before: &ScriptState, base: Index, done: &[Step]) {
        if self.is_invariant_off.load(Ordering::Relaxed) {
            return;
        }
        let ask = |state: &ScriptState| match state.slot_in(engine).and_then(|slot| engine.holds(slot)) {
            None | Some(Ok(())) => None,
            Some(Err(broken)) => {
                if broken.is_cut {
                    self.is_invariant_off.store(true, Ordering::Relaxed);
                }
                Some(broken.said)
            }
        };
        let said = done.last().and_then(|step| ask(&step.after));
        let mut known = self.broken.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = said.is_some() && *known != said;
        known.clone_from(&said);
        let Some(said) = said.filter(|_| is_news) else { return };
        drop(known);
        let mut index = base;
        let mut found = (format!("the state at {base}"), said);
        let is_off = self.is_invariant_off.load(Ordering::Relaxed);
        if is_off {
            found.0 = format!("the state at {}", base.plus(actions_of(done)));
        } else if ask(before).is_none() {
            for step in done {
                let Decision::Action(action) = &step.decision else { continue };
                index = index.next();
                if let Some(said) = ask(&step.after) {
                    found = (format!("the action {} at {index}", action.json()), said);
                    break;
                }
            }
        }
        let at = engine.script().invariant_place();
        self.add(Report { file: self.file(), at, what: found.0, finding: Finding::Broken(found.1) });
    }

    /// Asks the invariant about the initial state.
    pub(crate) fn check_initial(&self, engine: &Arc<Engine>, initial: &ScriptState) {
        let Some(Err(broken)) = initial.slot_in(engine).and_then(|slot| engine.holds(slot)) else { return };
        if broken.is_cut {
            self.is_invariant_off.store(true, Ordering::Relaxed);
        }
        *self.broken.lock().unwrap_or_else(PoisonError::into_inner) = Some(broken.said.clone());
        let (at, what) = (engine.script().invariant_place(), "the initial state".into());
        self.add(Report { file: self.file(), at, what, finding: Finding::Broken(broken.said) });
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
        engine: &Engine,
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
            Ok(found) => self.add(Report {
                file: self.file(),
                at: engine.script().reducer_place(),
                what,
                finding: Finding::Differs(found),
            }),
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
            Err(Cut::Limit(..)) => Err(Inconclusive::Cut),
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

    /// Reports a call that differs; gives what its caller is told.
    fn report(&self, engine: &Engine, method: &Method, parted: Parted) -> Failure {
        let place = match parted.is_state {
            true => engine.script().reducer_place(),
            false => engine.script().place_of(method.name()),
        };
        let report = Report {
            file: self.file(),
            at: place.clone(),
            what: format!("the call {method:?}"),
            finding: Finding::Differs(parted.differences),
        };
        let failure = Failure { message: report.to_string(), at: place.or_else(|| Some(self.file())) };
        self.add(report);
        failure
    }

    fn add(&self, report: Report) {
        self.suspects.store(true, Ordering::Relaxed);
        tracing::error!("{report}");
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() == REPORTS_MAX {
            reports.pop_front();
        }
        reports.push_back(report);
    }

    fn file(&self) -> String {
        self.sources.entry().to_owned()
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

/// What is left of the time of a batch.
struct Clock {
    started: Instant,
    pace: Pace,
}

impl Clock {
    fn start(pace: Pace) -> Clock {
        Clock { started: Instant::now(), pace }
    }

    fn left_together(&self) -> Duration {
        self.pace.together.saturating_sub(self.started.elapsed())
    }

    /// What running again may use, too.
    fn left(&self) -> Duration {
        self.pace.alone.saturating_sub(self.started.elapsed())
    }

    /// For calls that count: the first of a batch has all its time.
    fn pace(&self) -> Pace {
        Pace { together: self.left_together(), alone: self.pace.alone }
    }

    /// For running again: all that is left, and not a moment longer.
    fn whole(&self) -> Pace {
        Pace { together: self.left(), alone: self.left() }
    }
}

/// Calls that were decided in a heap, in one go.
struct Run {
    decisions: Vec<ScriptDecision>,
    after: ScriptState,
}

impl Run {
    fn decide(
        engine: &Arc<Engine>,
        state: &ScriptState,
        batch: &BatchContext,
        at: (Index, usize),
        calls: &[Call<Method>],
        pace: Pace,
    ) -> Run {
        let judged = engine.decide(slot(engine, state), batch, at, calls, pace);
        Run { decisions: judged.decisions, after: ScriptState::new(engine.clone(), judged.slot) }
    }
}

/// A call that was decided in a heap.
struct Step {
    decision: ScriptDecision,
    after: ScriptState,
}

/// Where two heaps part.
struct Parted {
    /// The how-many-th call.
    nth: usize,
    /// The states differ, and not what the method said.
    is_state: bool,
    differences: Vec<Difference>,
}

/// Decides calls one by one, at least one, and keeps each state. True where a limit stopped the last of them.
fn steps(
    engine: &Arc<Engine>,
    before: &ScriptState,
    batch: &BatchContext,
    (base, first): (Index, usize),
    calls: &[Call<Method>],
    pace: Pace,
) -> (Vec<Step>, bool) {
    let started = Instant::now();
    let mut steps: Vec<Step> = Vec::with_capacity(calls.len());
    let mut place = base;
    for (nth, call) in calls.iter().enumerate() {
        if nth > 0 && started.elapsed() >= pace.together {
            break;
        }
        let state = steps.last().map_or(before, |step| &step.after);
        let at = (place, first + nth);
        let mut judged = engine.decide(slot(engine, state), batch, at, std::slice::from_ref(call), pace);
        let after = ScriptState::new(engine.clone(), judged.slot);
        let Some(decision) = judged.decisions.pop() else { return (steps, true) };
        place = place.plus(u64::from(matches!(decision, Decision::Action(_))));
        steps.push(Step { decision, after });
        if judged.cut {
            return (steps, true);
        }
    }
    (steps, false)
}

fn slot(engine: &Arc<Engine>, state: &ScriptState) -> Slot {
    state.slot_in(engine).expect("the state was brought into this heap")
}

fn actions_in<'a>(decisions: impl IntoIterator<Item = &'a ScriptDecision>) -> u64 {
    decisions.into_iter().filter(|decision| matches!(decision, Decision::Action(_))).count() as u64
}

fn actions_of(steps: &[Step]) -> u64 {
    actions_in(steps.iter().map(|step| &step.decision))
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
