//! A script as a container.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conflux_core::{
    BatchContext, Call, CallError, Container, Context, Decided, Decision, Digest, Failure, PayloadError, Random,
    Reduction, Reject,
};
use serde_json::Value;

use crate::call::{Action, Method};
use crate::check::Check;
use crate::engine::{Broken, Engine, Pace};
use crate::error::ScriptError;
use crate::heap::{HeapAction, HeapCall, Purpose};
use crate::host::Streams;
use crate::json;
use crate::options::Options;
use crate::report::Report;
use crate::sources::{Sources, supported};
use crate::state::ScriptState;

/// A container whose methods and reducer are in a JavaScript file.
///
/// It owns one JavaScript heap; states live in there. Give every node its own ([`load`](Self::load) again, or
/// [`another`](Self::another)): nodes that share one wait for each other. A state of another heap is taken, too, but goes
/// through JSON.
pub struct ScriptContainer {
    engine: Arc<Engine>,
    sources: Arc<Sources>,
    options: Options,
    initial: ScriptState,
    code: Digest,
    /// The directory that names of files are shown in.
    shown: PathBuf,
    check: Option<Check>,
}

impl ScriptContainer {
    /// Loads a file, and what it imports, with the usual limits.
    ///
    /// # Errors
    /// When the file is not there, does not load, or is no container; the message names file and line.
    pub fn load(path: impl AsRef<Path>) -> Result<ScriptContainer, ScriptError> {
        Self::load_with(path, Options::default())
    }

    /// Loads a file with the limits one chooses.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn load_with(path: impl AsRef<Path>, options: Options) -> Result<ScriptContainer, ScriptError> {
        let path = path.as_ref();
        let unreadable = |message| ScriptError::Unreadable { path: path.into(), message };
        let sources = Sources::on_disk(path).map_err(unreadable)?;
        if let Err(why) = supported(sources.entry()) {
            let message = format!("{why}: {}", sources.bundling(sources.entry()));
            return Err(ScriptError::Unsupported { at: path.display().to_string(), message });
        }
        Self::new(Arc::new(sources), options, path.parent().unwrap_or(Path::new("")).into())
    }

    /// Makes a container of a text; `name` is what errors call it.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_source(name: &str, text: &str) -> Result<ScriptContainer, ScriptError> {
        Self::from_sources(name, [(name, text)], Options::default())
    }

    /// Makes a container of several texts, of which `entry` is the first file.
    ///
    /// # Errors
    /// As [`load`](Self::load).
    pub fn from_sources<'a>(
        entry: &str,
        texts: impl IntoIterator<Item = (&'a str, &'a str)>,
        options: Options,
    ) -> Result<ScriptContainer, ScriptError> {
        let texts = texts.into_iter().map(|(name, text)| (name.to_owned(), Arc::from(text)));
        Self::new(Arc::new(Sources::in_memory(entry, texts)), options, PathBuf::new())
    }

    /// The same script, as it was read, in a heap of its own: for the next node of this process.
    ///
    /// # Errors
    /// As [`load`](Self::load); it loaded before, so only for want of time or memory.
    pub fn another(&self) -> Result<ScriptContainer, ScriptError> {
        Self::new(Arc::new(self.sources.copy()), self.options.clone(), self.shown.clone())
    }

    fn new(sources: Arc<Sources>, options: Options, shown: PathBuf) -> Result<ScriptContainer, ScriptError> {
        let show = |name: &str| shown.join(name).display().to_string();
        let (engine, initial) = Engine::load(&sources, &options, &show, Purpose::Node)?;
        let initial = ScriptState::new(engine.clone(), initial);
        let check = options.check.then(|| Check::new(sources.clone(), &options));
        if let Some(check) = &check {
            check.check_initial(&engine, &initial);
        }
        let code = sources.digest();
        Ok(ScriptContainer { engine, sources, options, initial, code, shown, check })
    }

    /// The names of the files that were loaded, relative to the directory of the first.
    #[must_use]
    pub fn files(&self) -> Vec<String> {
        self.sources.names()
    }

    /// The limits it was loaded with.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What the development check has found since this was last asked.
    #[must_use]
    pub fn reports(&self) -> Vec<Report> {
        self.check.as_ref().map(Check::reports).unwrap_or_default()
    }

    /// A state in this heap, whichever heap it comes from.
    fn state_here(&self, state: &ScriptState) -> Result<ScriptState, PayloadError> {
        match state.slot_in(&self.engine) {
            Some(_) => Ok(state.clone()),
            None => self.restore(&mut state.json()?.as_bytes()),
        }
    }

    fn slot(&self, state: &ScriptState) -> crate::heap::Slot {
        state.slot_in(&self.engine).expect("the state was brought into this heap")
    }

    fn kept(&self, slot: crate::heap::Slot) -> ScriptState {
        ScriptState::new(self.engine.clone(), slot)
    }
}

impl Container for ScriptContainer {
    type State = ScriptState;
    type Method = Method;
    type Action = Action;
    type Rejection = Reject;

    fn initial(&self) -> ScriptState {
        self.initial.clone()
    }

    /// # Panics
    /// When the method breaks; [`decide_batch`](Container::decide_batch) tells it as a failure.
    fn decide(&self, state: &ScriptState, method: Method, context: &Context<'_>) -> Result<Option<Action>, Reject> {
        let state = self.state_here(state).unwrap_or_else(|error| panic!("{error}"));
        let batch = batch_of(context);
        let call = HeapCall { method: &method, node: context.node() };
        match self.engine.judge(self.slot(&state), &batch, Streams::One(context.random()), context.index(), &call) {
            Decision::Action(action) => Ok(Some(action)),
            Decision::Nothing => Ok(None),
            Decision::Rejected(rejection) => Err(rejection),
            Decision::Failed(failure) => panic!("{failure}"),
        }
    }

    /// # Panics
    /// When the reducer breaks; [`reduce_batch`](Container::reduce_batch) tells it as a failure.
    fn reduce(&self, state: &mut ScriptState, action: &Action, context: &Context<'_>) {
        let here = self.state_here(state).unwrap_or_else(|error| panic!("{error}"));
        let action = HeapAction { index: context.index(), node: context.node(), json: action.json() };
        let streams = Streams::One(context.random());
        match self.engine.reduce(self.slot(&here), &batch_of(context), streams, &[action]) {
            Ok(slot) => *state = self.kept(slot),
            Err(failure) => panic!("{failure}"),
        }
    }

    fn code(&self) -> Digest {
        self.code
    }

    fn may_take_long(&self) -> bool {
        true
    }

    fn methods(&self) -> Vec<String> {
        self.engine.methods().to_vec()
    }

    fn method(&self, name: &str, arguments: Vec<Value>) -> Result<Method, CallError> {
        if !self.engine.methods().iter().any(|method| method == name) {
            return Err(CallError::unknown_method(name, self.methods()));
        }
        Ok(Method::new(name, arguments))
    }

    /// Asks the script's `sample({ random })`, if it exports one, within the limits of a method. Else it is any of the
    /// methods, with as many arguments as its function names.
    fn sample(&self, random: &mut Random) -> Result<Option<Method>, String> {
        self.engine.sample(random).map_err(|failure| failure.to_string())
    }

    /// Asks the script's `invariant(state)`, if it exports one.
    fn invariant(&self, state: &ScriptState) -> Result<(), String> {
        let state = self.state_here(state).map_err(|error| error.to_string())?;
        self.engine.holds(self.slot(&state)).unwrap_or(Ok(())).map_err(|Broken { said, at, .. }| match at {
            Some(at) => format!("{said} at {at}"),
            None => said,
        })
    }

    fn restore(&self, input: &mut dyn Read) -> Result<ScriptState, PayloadError> {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes).map_err(PayloadError::new)?;
        Ok(self.kept(self.engine.read(json::text(&bytes)?)?))
    }

    fn decide_batch(&self, state: &mut ScriptState, batch: &BatchContext, calls: Vec<Call<Method>>) -> Decided<Self> {
        let mut decided = Decided::with_capacity(calls.len());
        if calls.is_empty() {
            return decided;
        }
        let here = match self.state_here(state) {
            Ok(here) => here,
            Err(error) => {
                let failed = || Decision::Failed(Failure { message: error.to_string(), at: None });
                decided.decisions = calls.iter().map(|_| failed()).collect();
                return decided;
            }
        };
        if let Some(check) = &self.check {
            (decided.decisions, *state) = check.decide(&self.engine, here, batch, &calls);
            return decided;
        }
        let judged = self.engine.decide(self.slot(&here), batch, (batch.base, 0), &calls, Pace::of(&self.options));
        decided.decisions = judged.decisions;
        *state = self.kept(judged.slot);
        decided
    }

    fn reduce_batch(
        &self,
        state: &mut ScriptState,
        batch: &BatchContext,
        actions: &[Reduction<'_, Action>],
    ) -> Result<(), Failure> {
        let here = self.state_here(state).map_err(|error| Failure { message: error.to_string(), at: None })?;
        if actions.is_empty() {
            *state = here;
            return Ok(());
        }
        let lent: Vec<_> = actions
            .iter()
            .map(|reduction| HeapAction {
                index: reduction.index,
                node: &reduction.session.node,
                json: reduction.action.json(),
            })
            .collect();
        let streams = |part: &[Reduction<'_, Action>]| {
            Streams::Reducing(*batch, part.iter().map(|reduction| reduction.nth).collect())
        };
        let mut here = here;
        let checked = self.check.as_ref().map_or(0, |check| check.part(actions.len()));
        if let Some(check) = self.check.as_ref().filter(|_| checked > 0) {
            let (streams, lent) = (streams(&actions[..checked]), &lent[..checked]);
            let after = self.kept(self.engine.reduce(self.slot(&here), batch, streams.clone(), lent)?);
            check.reduce(&self.engine, &here, &after, batch, &streams, lent);
            here = after;
        }
        if checked < actions.len() {
            let streams = streams(&actions[checked..]);
            here = self.kept(self.engine.reduce(self.slot(&here), batch, streams, &lent[checked..])?);
        }
        *state = here;
        Ok(())
    }
}

/// A batch with the clocks of one call's context. Its seed is not used: the context brings its own stream.
fn batch_of(context: &Context<'_>) -> BatchContext {
    let stamps = conflux_core::Stamps { time_ms: context.time_ms(), elapsed: context.elapsed() };
    BatchContext { base: context.index(), stamps, seed: 0 }
}
