//! Calls made twice: as they come, and again by a new container on a restored state.

use std::fmt;

use conflux_core::container::holds;
use conflux_core::{
    BatchContext, Call, CallError, CallNumber, Container, Decision, Digest, Failure, Incarnation, Index, Origin,
    Payload, PayloadError, Reduction, SessionId, Stamps,
};
use conflux_script::paths_that_differ;
use serde_json::Value;

use crate::exit::Refusal;
use crate::factory::Factory;
use crate::line::shortened;

/// How many calls are made again one by one, each in a new heap: what a call leaves behind shows with the next one.
const ALONE: u64 = 128;

/// How many calls are made again together after that: a new heap has its price.
const STEPS_MAX: usize = 64;

/// How many calls a new container makes for nothing before it makes those again that are checked: else it would be in
/// step with one that was new itself.
const PRIMING: usize = 8;

/// How many places of a difference are shown.
const PATHS_MAX: usize = 3;

/// How much of an action or a line is shown.
const SHOWN_CHARS: usize = 200;

type State<F> = <<F as Factory>::Container as Container>::State;
type Method<F> = <<F as Factory>::Container as Container>::Method;
type Action<F> = <<F as Factory>::Container as Container>::Action;

/// A container without a cluster, and what has not been made again yet.
pub(crate) struct Trial<'a, F: Factory> {
    factory: &'a F,
    container: F::Container,
    origin: Origin,
    stamps: Stamps,
    index: Index,
    calls: u64,
    state: State<F>,
    /// The bytes of the state before the first of `steps`.
    saved: Vec<u8>,
    steps: Vec<Step<F>>,
    differences: Vec<Difference>,
    /// What the invariant said last, where it did not hold: that is told once.
    broken: Option<String>,
}

/// What a call was answered.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answered {
    Action,
    Nothing,
    Rejected,
    Failed(Failure),
}

/// A call, and what came of it the first time.
struct Step<F: Factory> {
    line: u64,
    text: String,
    method: Method<F>,
    batch: BatchContext,
    action: Option<Action<F>>,
    /// The state after it.
    state: State<F>,
    digest: Digest,
}

/// A call that came out otherwise the second time, or broke the invariant.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// 0 for what is wrong before the first line.
    line: u64,
    text: String,
    /// The container's file or program.
    container: String,
    what: Parted,
}

#[derive(Debug, PartialEq, Eq)]
enum Parted {
    /// The method made something else.
    Decision { first: String, again: String },
    /// The reducer led to another state.
    State { action: String, paths: Vec<String> },
    /// A call without an action changed the state.
    Changed { paths: Vec<String> },
    /// The second time broke.
    Failed(Failure),
    /// The invariant does not hold on the state that it led to; what the invariant says.
    Broken(String),
}

impl Difference {
    /// Whether it is about the invariant.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self.what, Parted::Broken(_))
    }
}

impl<'a, F: Factory> Trial<'a, F> {
    pub(crate) fn new(factory: &'a F, container: F::Container) -> Result<Self, Refusal> {
        let session = SessionId { node: "check".into(), incarnation: Incarnation(1), number: 1 };
        let state = container.initial();
        let mut saved = Vec::new();
        container.save(&state, &mut saved).map_err(|error| unusable("the initial state", &error))?;
        let mut trial = Trial {
            factory,
            container,
            origin: Origin { session, number: CallNumber::FIRST },
            stamps: Stamps::default(),
            index: Index(0),
            calls: 0,
            state,
            saved,
            steps: Vec::new(),
            differences: Vec::new(),
            broken: None,
        };
        trial.ask_invariant(0, "the initial state");
        Ok(trial)
    }

    /// Asks the container's invariant about the state; what it says is told once.
    fn ask_invariant(&mut self, line: u64, text: &str) {
        let said = holds(&self.container, &self.state).err();
        if let Some(said) = said.clone().filter(|_| self.broken != said) {
            self.differ(line, text, Parted::Broken(said));
        }
        self.broken = said;
    }

    /// Makes a call. The outer error ends the check; the inner one is the caller's.
    pub(crate) fn call(
        &mut self,
        line: u64,
        text: String,
        name: &str,
        arguments: Vec<Value>,
    ) -> Result<Result<Answered, CallError>, Refusal> {
        let method = match self.container.method(name, arguments) {
            Ok(method) => method,
            Err(error) => return Ok(Err(error)),
        };
        self.calls += 1;
        self.origin.number = CallNumber(self.calls);
        // A clock of its own: the same lines, the same check.
        self.stamps.time_ms += 1;
        self.stamps.elapsed += std::time::Duration::from_millis(1);
        let batch = BatchContext { base: self.index, stamps: self.stamps, seed: self.calls };
        let before = self.state.clone();
        let call = Call { method: method.clone(), origin: self.origin.clone() };
        let mut decided = self.container.decide_batch(&mut self.state, &batch, vec![call]);
        let damaged = decided.damaged;
        let decision = decided.decisions.pop().expect("a batch with a call decides at least one");
        if damaged {
            self.state = before.clone();
        }
        let (answered, action) = match decision {
            Decision::Action(action) => (Answered::Action, Some(action)),
            Decision::Nothing => (Answered::Nothing, None),
            Decision::Rejected(_) => (Answered::Rejected, None),
            // What broke is told by itself; there is nothing to compare.
            Decision::Failed(failure) => return Ok(Ok(Answered::Failed(failure))),
        };
        let digest = digest(&self.state)?;
        if action.is_some() {
            self.index = self.index.next();
            self.ask_invariant(line, &text);
        } else if digest != self::digest(&before)? {
            let paths = paths(&before, &self.state)?;
            self.differ(line, &text, Parted::Changed { paths });
        }
        self.steps.push(Step { line, text, method, batch, action, state: self.state.clone(), digest });
        if self.calls <= ALONE || self.steps.len() >= STEPS_MAX {
            self.again()?;
        }
        Ok(Ok(answered))
    }

    /// Makes again what has not been made again yet.
    pub(crate) fn finish(&mut self) -> Result<(), Refusal> {
        self.again()
    }

    /// The differences found since it was last asked.
    pub(crate) fn take_differences(&mut self) -> Vec<Difference> {
        std::mem::take(&mut self.differences)
    }

    fn again(&mut self) -> Result<(), Refusal> {
        let fresh = self.factory.make()?;
        let mut state = fresh.restore(&mut &*self.saved).map_err(|error| unusable("the saved state", &error))?;
        let steps = std::mem::take(&mut self.steps);
        for step in steps.iter().rev().take(PRIMING) {
            let call = Call { method: step.method.clone(), origin: self.origin.clone() };
            drop(fresh.decide_batch(&mut state.clone(), &step.batch, vec![call]));
        }
        for step in steps {
            if let Some(parted) = self.step_again(&fresh, &mut state, &step)? {
                self.differ(step.line, &step.text, parted);
                // Whatever follows on a state that is wrong is wrong.
                break;
            }
        }
        self.saved.clear();
        self.container.save(&self.state, &mut self.saved).map_err(|error| unusable("the state", &error))?;
        Ok(())
    }

    fn step_again(
        &self,
        fresh: &F::Container,
        state: &mut State<F>,
        step: &Step<F>,
    ) -> Result<Option<Parted>, Refusal> {
        let Step { method, batch, action, .. } = step;
        let mut decided_on = state.clone();
        let call = Call { method: method.clone(), origin: self.origin.clone() };
        let decision = fresh.decide_batch(&mut decided_on, batch, vec![call]).decisions.pop();
        let again = match decision.expect("a batch with a call decides at least one") {
            Decision::Action(action) => Some(action),
            Decision::Nothing | Decision::Rejected(_) => None,
            Decision::Failed(failure) => return Ok(Some(Parted::Failed(failure))),
        };
        let (first, again) = (shown(action.as_ref())?, shown(again.as_ref())?);
        if first != again {
            return Ok(Some(Parted::Decision { first, again }));
        }
        let Some(action) = action else { return Ok(None) };
        // Followers reduce what came over the wire, not what the method returned.
        let mut bytes = Vec::new();
        action.encode(&mut bytes).map_err(|error| unusable("the action", &error))?;
        let action = <Action<F>>::decode(&bytes).map_err(|error| unusable("the action", &error))?;
        let Origin { session, number } = &self.origin;
        let reduction = Reduction { action: &action, index: batch.base.next(), nth: 0, session, number: *number };
        if let Err(failure) = fresh.reduce_batch(state, batch, &[reduction]) {
            return Ok(Some(Parted::Failed(failure)));
        }
        if digest(state)? == step.digest {
            return Ok(None);
        }
        Ok(Some(Parted::State { action: first, paths: paths(&step.state, state)? }))
    }

    fn differ(&mut self, line: u64, text: &str, what: Parted) {
        let container = self.factory.name();
        self.differences.push(Difference { line, text: shortened(text, SHOWN_CHARS), container, what });
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { line, text, container, what } = self;
        match line {
            0 => write!(f, "{text}: {container}: ")?,
            line => write!(f, "line {line}: {text}: {container}: ")?,
        }
        match what {
            Parted::Broken(said) => write!(f, "the invariant does not hold: {said}"),
            Parted::Decision { first, again } => write!(
                f,
                "the method made {first}, and made again {again}: it depends on something other than its state and \
                 arguments (a variable that it changes?)"
            ),
            Parted::State { action, paths } => write!(
                f,
                "the reducer took {action} to another state when run again, at {}: it depends on something other than \
                 its state and action (a variable that it changes? mutation? unordered iteration?)",
                paths.join(", ")
            ),
            Parted::Changed { paths } => {
                write!(f, "the method made no action, and yet changed the state, at {}", paths.join(", "))
            }
            Parted::Failed(failure) => write!(f, "it worked the first time, and failed when made again: {failure}"),
        }
    }
}

fn digest<T: Payload>(state: &T) -> Result<Digest, Refusal> {
    state.digest().map_err(|error| unusable("the state", &error))
}

/// Where two states differ, with what the first and the second have there; what JSON cannot show differs somewhere.
fn paths<T: Payload>(first: &T, again: &T) -> Result<Vec<String>, Refusal> {
    let json = |state: &T| state.to_json().map_err(|error| unusable("the state", &error));
    let differences = paths_that_differ(&json(first)?, &json(again)?);
    let mut paths: Vec<String> =
        differences.iter().take(PATHS_MAX).map(|difference| format!("state{difference}")).collect();
    match differences.len().saturating_sub(PATHS_MAX) {
        _ if paths.is_empty() => paths.push("a place that JSON does not show".into()),
        0 => {}
        more => paths.push(format!("and {more} more places")),
    }
    Ok(paths)
}

fn shown<T: Payload>(action: Option<&T>) -> Result<String, Refusal> {
    match action {
        None => Ok("nothing".into()),
        Some(action) => {
            let value = action.to_json().map_err(|error| unusable("the action", &error))?;
            Ok(shortened(&value.to_string(), SHOWN_CHARS))
        }
    }
}

fn unusable(what: &str, error: &PayloadError) -> Refusal {
    Refusal::new(format!("{what} cannot be written or read again: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::factory::SharedFactory;
    use conflux_core::{Context, Reject};
    use serde::{Deserialize, Serialize};
    use std::sync::atomic::{AtomicU64, Ordering};

    #[derive(Clone, Serialize, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Method {
        Honest(u64),
        Hidden,
        Refuse,
        Idle,
        Broken,
    }

    #[derive(Debug, Serialize, Deserialize)]
    enum Action {
        Add(u64),
        Hidden,
    }

    /// A container with every fault that is looked for.
    #[derive(Default)]
    struct Faulty {
        hidden: AtomicU64,
    }

    impl Container for Faulty {
        type State = Vec<u64>;
        type Method = Method;
        type Action = Action;
        type Rejection = Reject;

        fn initial(&self) -> Vec<u64> {
            Vec::new()
        }

        fn decide(&self, _: &Vec<u64>, method: Method, _: &Context<'_>) -> Result<Option<Action>, Reject> {
            match method {
                Method::Honest(number) => Ok(Some(Action::Add(number))),
                Method::Hidden => Ok(Some(Action::Hidden)),
                Method::Refuse => Err("no".into()),
                Method::Idle => Ok(None),
                Method::Broken => panic!("a bug"),
            }
        }

        fn reduce(&self, state: &mut Vec<u64>, action: &Action, _: &Context<'_>) {
            state.push(match action {
                Action::Add(number) => *number,
                Action::Hidden => self.hidden.fetch_add(1, Ordering::Relaxed),
            });
        }

        fn invariant(&self, state: &Vec<u64>) -> Result<(), String> {
            if state.contains(&666) { Err("it holds 666".into()) } else { Ok(()) }
        }
    }

    fn differences(calls: &[(&str, Vec<Value>)]) -> Vec<Difference> {
        let factory = SharedFactory::new(Faulty::default(), "faulty".into());
        let container = factory.make().expect("it is made");
        let mut trial = Trial::new(&factory, container).expect("its state is written");
        for (line, (name, arguments)) in (1..).zip(calls) {
            let _ = trial.call(line, (*name).into(), name, arguments.clone()).expect("its values are written");
        }
        trial.finish().expect("its values are written");
        trial.take_differences()
    }

    #[test]
    fn an_honest_container_has_no_difference() {
        let calls: Vec<(&str, Vec<Value>)> =
            (0..200).flat_map(|n| [("honest", vec![n.into()]), ("refuse", vec![]), ("idle", vec![])]).collect();
        assert_eq!(differences(&calls), []);
        assert_eq!(differences(&[("broken", vec![]), ("nonsense", vec![])]), []);
    }

    #[test]
    fn hidden_state_is_found_with_the_line_and_the_path() {
        let found = differences(&[("honest", vec![1.into()]), ("hidden", vec![]), ("honest", vec![1.into()])]);
        let [difference] = found.as_slice() else { panic!("one difference is found, not {found:?}") };
        let text = difference.to_string();
        assert!(text.starts_with("line 2: hidden: faulty: the reducer took \"Hidden\" to another state"), "{text}");
    }

    #[test]
    fn an_invariant_that_breaks_is_found() {
        let found =
            differences(&[("honest", vec![1.into()]), ("honest", vec![666.into()]), ("honest", vec![2.into()])]);
        let [broken] = found.as_slice() else { panic!("it is told once, not {found:?}") };
        assert!(broken.is_broken());
        assert_eq!(broken.to_string(), "line 2: honest: faulty: the invariant does not hold: it holds 666");
    }

    #[test]
    fn answers_are_told_apart() {
        let factory = SharedFactory::new(Faulty::default(), "faulty".into());
        let mut trial = Trial::new(&factory, factory.make().expect("it is made")).expect("its state is written");
        let mut call = |name: &str| trial.call(1, name.into(), name, vec![]).expect("its values are written");
        assert_eq!(call("hidden"), Ok(Answered::Action));
        assert_eq!(call("refuse"), Ok(Answered::Rejected));
        assert_eq!(call("idle"), Ok(Answered::Nothing));
        assert!(matches!(call("broken"), Ok(Answered::Failed(_))));
        assert!(matches!(call("hiden"), Err(CallError::UnknownMethod { .. })));
    }
}
