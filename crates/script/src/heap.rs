//! One JavaScript heap with a script loaded into it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use conflux_core::{BatchContext, Failure, Index, NodeName};
use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Exception, Function, Object, Runtime};

use crate::call::Method;
use crate::error::ScriptError;
use crate::explain::explain;
use crate::host::{Chance, Streams};
use crate::json::quoted;
use crate::load::{Files, load_script, went_on};
use crate::memory::{Counting, Memory};
use crate::options::Options;
use crate::place;
use crate::sources::Sources;
use crate::watch::{Hit, Limit, Turn, Watch};

/// Names a state that is kept in the heap.
pub(crate) type Slot = u32;

/// The heap, and the one context in it. States are kept in numbered slots inside, so no pointer into the heap ever
/// leaves it.
pub(crate) struct Heap {
    context: Context,
    runtime: Runtime,
    options: Options,
    watch: Arc<Watch>,
    memory: Arc<Memory>,
    chance: Arc<Chance>,
    script: Script,
    slots: u32,
    free: Vec<Slot>,
    mode: Mode,
    purpose: Purpose,
    /// How long the calls that were decided last took by their steps.
    counted: Duration,
}

/// What binds while code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// All limits.
    Limited(Duration),
    /// None: every node must come to the same end.
    Unlimited,
}

/// What a heap is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// A node's own: what happens in it counts.
    Node,
    /// The development check's. It looks at values closely, is bound by limits whatever it does, for it also runs what
    /// no node would, and says nothing to the log.
    Comparison,
}

/// A call on its way into the heap.
pub(crate) struct HeapCall<'a> {
    pub(crate) method: &'a Method,
    pub(crate) node: &'a NodeName,
}

/// An action on its way into the heap.
pub(crate) struct HeapAction<'a> {
    pub(crate) index: Index,
    pub(crate) node: &'a NodeName,
    pub(crate) json: &'a str,
}

/// What a script is, as far as Rust has to know.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    /// The names of the methods, in the order of the file.
    pub(crate) methods: Vec<String>,
    /// Where each of them begins, as `file:line`.
    pub(crate) places: Vec<Option<String>>,
    /// How many arguments each of them takes, as it says itself.
    pub(crate) lengths: Vec<u32>,
    pub(crate) reducer_place: Option<String>,
    pub(crate) invariant_place: Option<String>,
    /// Whether it exports an invariant.
    pub(crate) has_invariant: bool,
    pub(crate) sampler_place: Option<String>,
    /// Whether it makes calls up by itself.
    pub(crate) has_sampler: bool,
}

/// Why code was cut short.
#[derive(Debug)]
pub(crate) enum Cut {
    /// It hit a limit.
    Limit(Limit, Option<String>),
    /// Something else escaped: a bug of this crate or of the engine.
    Other(Failure),
}

/// How a batch ended.
pub(crate) enum Ended {
    /// One outcome a line.
    Whole(String),
    /// A call was cut short. The state that the calls before it left is in the slot that was given.
    Short {
        /// The outcomes before the cut.
        outcomes: String,
        cut: Cut,
        /// Who ran.
        turn: Turn,
    },
    /// A limit was hit, and the call that hit it went on: which one that was is not known, and nothing that any of them
    /// came to is to be believed. Never said of one call.
    Unsure,
}

impl Heap {
    /// Makes a heap, loads the script, and keeps its initial state in the slot that is returned.
    pub(crate) fn load(
        sources: &Arc<Sources>,
        options: &Options,
        shown: &dyn Fn(&str) -> String,
        purpose: Purpose,
    ) -> Result<(Heap, Slot), ScriptError> {
        let engine = |error: rquickjs::Error| ScriptError::Limit {
            at: shown(sources.entry()),
            message: format!("no JavaScript heap could be made: {error}"),
        };
        let memory = Arc::<Memory>::default();
        let runtime = Runtime::new_with_alloc(Counting(memory.clone())).map_err(engine)?;
        runtime.set_max_stack_size(options.stack_bytes);
        runtime.set_loader(Files(sources.clone()), Files(sources.clone()));
        let watch = Arc::new(Watch::new(memory.clone(), options.count_steps));
        let watching = watch.clone();
        runtime.set_interrupt_handler(Some(Box::new(move || watching.stops())));
        let context = Context::full(&runtime).map_err(engine)?;
        let chance = Arc::<Chance>::default();

        // The file is untrusted from its first line on.
        memory.allow(options.memory_bytes);
        watch.stop_after(options.load_time);
        let loaded = context.with(|ctx| load_script(&ctx, options, sources, (&chance, &watch), (shown, purpose)));
        let hit = watch.hit();
        watch.report();
        memory.allow_all();
        let script = loaded?;
        // It caught the exception. Another machine would have gone another way.
        if let Some(hit) = hit {
            return Err(ScriptError::Limit { at: shown(sources.entry()), message: went_on(hit.limit, options) });
        }
        runtime.set_max_stack_size(options.stack_bytes * 2);
        let options = options.clone();
        let (slots, free, mode, counted) = (1, Vec::new(), Mode::Unlimited, Duration::ZERO);
        let heap =
            Heap { context, runtime, options, watch, memory, chance, script, slots, free, mode, purpose, counted };
        Ok((heap, 0))
    }

    /// What was loaded.
    pub(crate) fn script(&self) -> &Script {
        &self.script
    }

    /// A slot that nothing is in.
    pub(crate) fn reserve(&mut self) -> Slot {
        self.free.pop().unwrap_or_else(|| {
            self.slots += 1;
            self.slots - 1
        })
    }

    /// Lets go of states.
    pub(crate) fn release(&mut self, slots: &[Slot]) {
        if slots.is_empty() {
            return;
        }
        self.context.with(|ctx| {
            let Ok(release) = function(&ctx, "release") else { return };
            for slot in slots {
                // It only sets an item of an array.
                let _ = release.call::<_, ()>((*slot,));
            }
        });
        self.free.extend_from_slice(slots);
    }

    /// Decides calls, each on the state that those before it left; `first` is the place of the first in its batch. Gives
    /// one line a call: a letter for what it is, and JSON. `reduces` as well as judging. Is stopped after `time`.
    pub(crate) fn decide(
        &mut self,
        (from, to): (Slot, Slot),
        batch: &BatchContext,
        (base, first): (Index, usize),
        calls: &[HeapCall<'_>],
        reduces: bool,
        time: Duration,
    ) -> Ended {
        let mut text = String::with_capacity(calls.len() * 48);
        text.push('[');
        push_origins(&mut text, calls.iter().map(|call| call.node));
        for call in calls {
            match self.script.methods.iter().position(|name| name == call.method.name()) {
                Some(method) => write!(text, ",[{method}"),
                None => write!(text, ",[{}", quoted(call.method.name())),
            }
            .expect("writing to memory cannot fail");
            if call.method.arguments().len() > 2 {
                text.push(',');
            }
            text.push_str(&call.method.arguments()[1..]);
        }
        text.push(']');

        self.enter(Mode::Limited(time));
        let length = self.options.action_length_max;
        let done = self.context.with(|ctx| {
            let run = || -> rquickjs::Result<String> {
                let mut args = rquickjs::function::Args::new(ctx.clone(), 9);
                args.push_arg(text)?;
                args.push_arg(from)?;
                args.push_arg(to)?;
                args.push_arg(number(base.0))?;
                args.push_arg(number(first as u64))?;
                args.push_arg(number(batch.stamps.time_ms))?;
                args.push_arg(milliseconds(batch))?;
                args.push_arg(number(length as u64))?;
                args.push_arg(reduces)?;
                args.apply(&function(&ctx, "decide")?)
            };
            run().catch(&ctx).map_err(|error| cut(&error))
        });
        let hit = self.watch.hit();
        self.counted = self.watch.counted();
        match (done, hit) {
            (Ok(outcomes), None) => Ended::Whole(outcomes),
            // It broke because of the limit, and says where.
            (Ok(outcomes), Some(_)) if calls.len() == 1 && outcomes.starts_with('F') => Ended::Whole(outcomes),
            (Ok(_), Some(hit)) if calls.len() == 1 => {
                self.copy(from, to);
                Ended::Short { outcomes: String::new(), cut: Cut::Limit(hit.limit, None), turn: hit.turn }
            }
            (Ok(_), Some(_)) => Ended::Unsure,
            (Err(cut), hit) => self.salvage(cut, hit, (from, to), calls.len()),
        }
    }

    /// Undoes what a call did that is not to be believed.
    pub(crate) fn copy(&mut self, from: Slot, to: Slot) {
        self.enter(Mode::Unlimited);
        self.context.with(|ctx| {
            let Ok(copy) = function(&ctx, "copy") else { return };
            // It only sets an item of an array.
            let _ = copy.call::<_, ()>((from, to));
        });
    }

    /// What was decided before the cut. No limit may stop this.
    fn salvage(&mut self, cut: Cut, hit: Option<Hit>, (from, to): (Slot, Slot), calls: usize) -> Ended {
        self.enter(Mode::Unlimited);
        self.runtime.run_gc();
        let (progress, outcomes) = self.context.with(|ctx| {
            let progress: u32 = function(&ctx, "progress").and_then(|progress| progress.call(())).unwrap_or(0);
            let outcomes: String = function(&ctx, "keep").and_then(|keep| keep.call((to,))).unwrap_or_default();
            (progress, outcomes)
        });
        let decided = usize::try_from(progress / 4).unwrap_or(usize::MAX);
        let turn = if progress % 4 == 2 { Turn::Reducer } else { Turn::Method };
        let Some(hit) = hit else { return Ended::Short { outcomes, cut, turn } };
        let cut = Cut::Limit(hit.limit, cut.into_place());
        if hit.is_last {
            // Stopped behind the last one, it was in time.
            return if decided < calls { Ended::Short { outcomes, cut, turn } } else { Ended::Whole(outcomes) };
        }
        if calls > 1 && decided > 0 {
            return Ended::Unsure;
        }
        self.copy(from, to);
        let turn = if decided > 0 { hit.turn } else { turn };
        Ended::Short { outcomes: String::new(), cut, turn }
    }

    /// Applies actions. No limit binds a node's heap, and it does not look closely: near a limit nodes differ.
    pub(crate) fn reduce(
        &mut self,
        (from, to): (Slot, Slot),
        batch: &BatchContext,
        actions: &[HeapAction<'_>],
    ) -> Result<(), Cut> {
        let mut text = String::with_capacity(actions.iter().map(|action| action.json.len() + 24).sum());
        let first = actions.first().expect("an empty batch is not brought here");
        text.push('[');
        push_origins(&mut text, actions.iter().map(|action| action.node));
        for (action, place) in actions.iter().zip(first.index.0..) {
            if action.index.0 != place {
                let message = format!("the places of a batch have a gap: {} came where {place} is next", action.index);
                return Err(Cut::Other(Failure { message, at: None }));
            }
            text.push(',');
            text.push_str(action.json);
        }
        text.push(']');

        let compares = self.purpose == Purpose::Comparison;
        self.enter(if compares { Mode::Limited(self.options.method_time) } else { Mode::Unlimited });
        let said: Result<String, Cut> = self.context.with(|ctx| {
            let base = number(first.index.0.saturating_sub(1));
            let run = || {
                function(&ctx, "reduceAll")?.call((
                    text,
                    from,
                    to,
                    base,
                    number(batch.stamps.time_ms),
                    milliseconds(batch),
                ))
            };
            run().catch(&ctx).map_err(|error| cut(&error))
        });
        match (said, self.watch.hit()) {
            // Also where nothing binds there is an end to memory and stack. What came of reaching it is worth nothing,
            // whatever the script made of it.
            (said, Some(hit)) => Err(Cut::Limit(hit.limit, said.err().and_then(Cut::into_place))),
            (Ok(said), None) if said.is_empty() => Ok(()),
            (Ok(said), None) => Err(Cut::Other(failure(said.strip_prefix('F').unwrap_or(&said)))),
            (Err(cut), None) => Err(cut),
        }
    }

    /// Sets where random numbers come from until it is set again.
    pub(crate) fn draw_from(&self, streams: Streams) {
        self.chance.set(streams);
    }

    /// The JSON text of a state.
    pub(crate) fn write(&mut self, slot: Slot) -> Result<String, String> {
        self.enter(Mode::Unlimited);
        self.context.with(|ctx| {
            let run = || function(&ctx, "write")?.call((slot,));
            run().catch(&ctx).map_err(|error| error.to_string())
        })
    }

    /// Keeps the state that JSON text holds.
    pub(crate) fn read(&mut self, slot: Slot, text: &str) -> Result<(), String> {
        self.enter(Mode::Unlimited);
        self.context.with(|ctx| {
            let run = || function(&ctx, "read")?.call((slot, text));
            run().catch(&ctx).map_err(|error| error.to_string())
        })
    }

    /// Asks the script's invariant; an empty string where it holds.
    pub(crate) fn holds(&mut self, slot: Slot) -> Result<Option<String>, Cut> {
        self.ask(|ctx| function(ctx, "holds")?.call((slot,)))
    }

    /// Has the script make a call up: a letter for what came of it, and JSON; an empty string where there is none this time.
    pub(crate) fn invent(&mut self) -> Result<String, Cut> {
        self.ask(|ctx| function(ctx, "invent")?.call(()))
    }

    /// Runs what belongs to no call, within the limits of one.
    fn ask<T>(&mut self, run: impl FnOnce(&Ctx<'_>) -> rquickjs::Result<T>) -> Result<T, Cut> {
        self.enter(Mode::Limited(self.options.method_time));
        let said = self.context.with(|ctx| run(&ctx).catch(&ctx).map_err(|error| cut(&error)));
        let hit = self.watch.hit();
        self.enter(Mode::Unlimited);
        match hit {
            Some(hit) => Err(Cut::Limit(hit.limit, said.err().and_then(Cut::into_place))),
            None => said,
        }
    }

    /// How long the calls that were decided last took by their steps.
    pub(crate) fn counted(&self) -> Duration {
        self.counted
    }

    /// How many bytes are in use, after a sweep of what no one can reach.
    pub(crate) fn swept(&mut self) -> usize {
        self.enter(Mode::Unlimited);
        self.runtime.run_gc();
        self.used()
    }

    /// How many bytes are in use.
    pub(crate) fn used(&self) -> usize {
        self.memory.used()
    }

    /// Sets the limits for what runs next, and starts the watch.
    fn enter(&mut self, mode: Mode) {
        match mode {
            Mode::Limited(time) => {
                self.memory.allow(self.options.memory_bytes);
                self.watch.stop_after(time);
            }
            Mode::Unlimited => {
                self.memory.allow_all();
                self.watch.report();
            }
        }
        let was_limited = matches!(self.mode, Mode::Limited(_));
        let is_limited = matches!(mode, Mode::Limited(_));
        self.mode = mode;
        if was_limited != is_limited {
            self.runtime.set_max_stack_size(self.options.stack_bytes * if is_limited { 1 } else { 2 });
        }
    }
}

impl Cut {
    fn into_place(self) -> Option<String> {
        match self {
            Cut::Limit(_, at) | Cut::Other(Failure { at, .. }) => at,
        }
    }

    /// What is told of code that belongs to no call.
    pub(crate) fn into_failure(self, who: &str, options: &Options) -> Failure {
        match self {
            Cut::Limit(limit, at) => {
                Failure { message: format!("{who} {}", over(limit, options, options.method_time)), at }
            }
            Cut::Other(failure) => failure,
        }
    }
}

impl Script {
    /// What the caller of a method is told.
    pub(crate) fn failure_of(&self, cut: Cut, method: &str, turn: Turn, options: &Options) -> Failure {
        let who = match turn {
            Turn::Method => method.to_owned(),
            Turn::Reducer => format!("reduce, for the action of {method},"),
            Turn::Unknown => format!("{method}, or reduce for its action,"),
        };
        let mut failure = cut.into_failure(&who, options);
        if failure.at.is_none() {
            failure.at = if turn == Turn::Reducer { self.reducer_place.clone() } else { self.place_of(method) };
        }
        failure
    }

    /// Where a method begins.
    pub(crate) fn place_of(&self, method: &str) -> Option<String> {
        self.methods.iter().position(|name| name == method).and_then(|nth| self.places.get(nth).cloned().flatten())
    }

    /// Where the reducer begins.
    pub(crate) fn reducer_place(&self) -> Option<String> {
        self.reducer_place.clone()
    }

    /// Where the invariant begins.
    pub(crate) fn invariant_place(&self) -> Option<String> {
        self.invariant_place.clone()
    }
}

/// What is told of code that was stopped by its limit of time, or of memory.
const RAN_LONGER: &str = "ran longer than";
const NEEDED_MORE: &str = "needed more than";

/// Whether a call failed because it came to no end in its time, or in its memory, which takes as long.
#[must_use]
pub fn went_over_a_limit(failure: &Failure) -> bool {
    let is_limit = [RAN_LONGER, NEEDED_MORE].iter().any(|said| failure.message.contains(said));
    is_limit && failure.message.ends_with("and was stopped")
}

/// What code did that hit a limit.
pub(crate) fn over(limit: Limit, options: &Options, time: Duration) -> String {
    match limit {
        Limit::Time => format!("{RAN_LONGER} {time:?} and was stopped"),
        Limit::Memory => format!("{NEEDED_MORE} {} MiB of memory and was stopped", options.memory_bytes >> 20),
        Limit::Stack => format!(
            "recursed deeper than its {} KiB of stack; how deep it gets differs between machines, so catching the \
             error does not help",
            options.stack_bytes >> 10
        ),
    }
}

/// The failure that the world inside wrote.
pub(crate) fn failure(json: &str) -> Failure {
    #[derive(serde::Deserialize)]
    struct Written {
        message: String,
        stack: Option<String>,
        at: Option<String>,
    }
    match serde_json::from_str::<Written>(json) {
        Ok(written) => Failure {
            message: explain(&written.message),
            at: written.stack.as_deref().and_then(place::of_stack).or(written.at),
        },
        Err(_) => Failure { message: json.to_owned(), at: None },
    }
}

/// Tells what escaped from the world inside, if it was no limit.
fn cut(error: &CaughtError<'_>) -> Cut {
    let CaughtError::Exception(exception) = error else {
        return Cut::Other(Failure { message: error.to_string(), at: None });
    };
    let message = format!("{}: {}", name(exception), exception.message().as_deref().unwrap_or("no message"));
    Cut::Other(Failure { message: explain(&message), at: exception.stack().as_deref().and_then(place::of_stack) })
}

pub(crate) fn name(exception: &Exception<'_>) -> String {
    exception.as_object().get("name").unwrap_or_else(|_| "Error".into())
}

fn function<'js>(ctx: &Ctx<'js>, name: &str) -> rquickjs::Result<Function<'js>> {
    let world = ctx.userdata::<Object>().ok_or(rquickjs::Error::Unknown)?;
    world.get(name)
}

/// JavaScript has doubles only: a place beyond 2^53 is told roughly.
#[expect(clippy::cast_precision_loss, reason = "as the comment says")]
fn number(count: u64) -> f64 {
    count as f64
}

fn milliseconds(batch: &BatchContext) -> f64 {
    number(u64::try_from(batch.stamps.elapsed.as_millis()).unwrap_or(u64::MAX))
}

/// Writes who asked, as runs: the calls of a batch mostly come from a few nodes, one after another.
fn push_origins<'a>(text: &mut String, nodes: impl Iterator<Item = &'a NodeName>) {
    let mut runs: Vec<(&NodeName, usize)> = Vec::new();
    for node in nodes {
        match runs.last_mut() {
            Some((last, count)) if *last == node => *count += 1,
            _ => runs.push((node, 1)),
        }
    }
    for (nth, (node, count)) in runs.into_iter().enumerate() {
        let separator = if nth == 0 { '[' } else { ',' };
        write!(text, "{separator}{},{count}", quoted(node)).expect("writing to memory cannot fail");
    }
    text.push(']');
}
