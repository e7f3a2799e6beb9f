//! The development check: what a batch did is done again in a fresh heap, from the JSON of the state before it.
//!
//! A difference means that something besides the state and the action had a say: a variable of the module, an object
//! shared between states, an order that is not the state's. On another node, or after a restart, it would have said
//! something else.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use conflux_core::{BatchContext, Call, Decision, Failure, PayloadError};

use crate::call::Method;
use crate::difference::{Difference, paths_that_differ};
use crate::engine::{Engine, ScriptDecision};
use crate::heap::HeapAction;
use crate::host::Streams;
use crate::options::Options;
use crate::sources::Sources;
use crate::state::ScriptState;

/// How many reports are kept until they are asked for.
const REPORTS_MAX: usize = 100;

/// What the development check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The script.
    pub file: String,
    /// What was run twice: the call, or the action.
    pub what: String,
    /// Where the two results part: left in the heap that goes on, right in the fresh one. The first step of a path says
    /// what it is in: `state`, `action`, or `outcome`.
    pub differences: Vec<Difference>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} had another result in a fresh heap restored from JSON: ", self.what, self.file)?;
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
    options: Options,
    reports: Mutex<VecDeque<Report>>,
}

impl Check {
    pub(crate) fn new(sources: Arc<Sources>, options: &Options) -> Check {
        Check { sources, options: options.clone(), reports: Mutex::default() }
    }

    pub(crate) fn reports(&self) -> Vec<Report> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
    }

    /// Decides calls one by one, each again in a fresh heap. A call that differs fails, and leaves the state as it was.
    pub(crate) fn decide(
        &self,
        engine: &Arc<Engine>,
        mut state: ScriptState,
        batch: &BatchContext,
        calls: &[Call<Method>],
    ) -> (Vec<ScriptDecision>, ScriptState) {
        let mut decisions = Vec::with_capacity(calls.len());
        let mut place = batch.base;
        let fresh = self.fresh();
        for (nth, call) in calls.iter().enumerate() {
            let one = std::slice::from_ref(call);
            let slot = state.slot_in(engine).expect("the container brought the state into its heap");
            let (mut said, after) = engine.decide(slot, batch, (place, nth), one);
            let mut decision = said.pop().unwrap_or(Decision::Nothing);
            let after = ScriptState::new(engine.clone(), after);
            let again = fresh.as_ref().map_err(Clone::clone).and_then(|fresh| {
                let from = restored(fresh, &state)?;
                let slot = from.slot_in(fresh).expect("it was restored there");
                let (mut said, after) = fresh.decide(slot, batch, (place, nth), one);
                Ok((said.pop().unwrap_or(Decision::Nothing), ScriptState::new(fresh.clone(), after)))
            });
            let verdict = again.and_then(|(decision_again, after_again)| {
                let mut differences = differing_decisions(&decision, &decision_again);
                differences.append(&mut differing_states(&after, &after_again)?);
                Ok(differences)
            });
            let what = format!("the call {:?}", call.method);
            if let Err(failure) = self.judge(what, verdict) {
                decision = Decision::Failed(failure);
            } else {
                state = after;
                if matches!(decision, Decision::Action(_)) {
                    place = place.next();
                }
            }
            decisions.push(decision);
        }
        (decisions, state)
    }

    /// Reduces again what led from one state to another.
    pub(crate) fn reduce(
        &self,
        before: &ScriptState,
        after: &ScriptState,
        batch: &BatchContext,
        streams: Streams,
        actions: &[HeapAction<'_>],
    ) -> Result<(), Failure> {
        let again = || {
            let fresh = self.fresh()?;
            let from = restored(&fresh, before)?;
            let slot = from.slot_in(&fresh).expect("it was restored there");
            let slot = fresh.reduce(slot, batch, streams, actions).map_err(PayloadError::new)?;
            differing_states(after, &ScriptState::new(fresh, slot))
        };
        let what = match actions {
            [action] => format!("the action {} at {}", action.json, action.index),
            [first, .., last] => {
                format!("the actions from {} at {} to {} at {}", first.json, first.index, last.json, last.index)
            }
            [] => return Ok(()),
        };
        self.judge(what, again())
    }

    /// A heap that knows nothing of what happened.
    fn fresh(&self) -> Result<Arc<Engine>, PayloadError> {
        let show = |name: &str| name.to_owned();
        Engine::load(&Arc::new(self.sources.copy()), &self.options, &show)
            .map(|(engine, _)| engine)
            .map_err(PayloadError::new)
    }

    fn judge(&self, what: String, verdict: Result<Vec<Difference>, PayloadError>) -> Result<(), Failure> {
        let file = self.sources.entry().to_owned();
        let failure = match verdict {
            Ok(differences) if differences.is_empty() => return Ok(()),
            Ok(differences) => {
                let report = Report { file: file.clone(), what, differences };
                let message = report.to_string();
                let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
                if reports.len() == REPORTS_MAX {
                    reports.pop_front();
                }
                reports.push_back(report);
                message
            }
            Err(error) => format!("{what} could not be run again in a fresh heap: {error}"),
        };
        tracing::error!("{failure}");
        Err(Failure { message: failure, at: Some(file) })
    }
}

fn restored(engine: &Arc<Engine>, state: &ScriptState) -> Result<ScriptState, PayloadError> {
    Ok(ScriptState::new(engine.clone(), engine.read(&state.json()?)?))
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
