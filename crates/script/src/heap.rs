//! One JavaScript heap with a script loaded into it.

use std::fmt::Write as _;
use std::sync::Arc;

use conflux_core::{BatchContext, Failure, Index, NodeName};
use rquickjs::context::EvalOptions;
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::promise::PromiseState;
use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Exception, Function, Module, Object, Runtime, Value};

use crate::call::Method;
use crate::error::ScriptError;
use crate::explain::explain;
use crate::host::{self, Chance, Streams};
use crate::json::quoted;
use crate::options::Options;
use crate::place;
use crate::sources::Sources;
use crate::watch::Watch;
use crate::world;

/// Names a state that is kept in the heap.
pub(crate) type Slot = u32;

/// The heap, and the one context in it. States are kept in numbered slots inside, so no pointer into the heap ever
/// leaves it.
pub(crate) struct Heap {
    context: Context,
    runtime: Runtime,
    options: Options,
    watch: Arc<Watch>,
    chance: Arc<Chance>,
    methods: Vec<String>,
    has_invariant: bool,
    slots: u32,
    free: Vec<Slot>,
    /// What the heap may grow to while a batch is decided: what it held when last measured, and the limit. Measuring
    /// walks the heap, so it is done only when the limit is hit, and then the call is tried again.
    ceiling: usize,
    mode: Mode,
    purpose: Purpose,
}

/// What binds while code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// All limits.
    Limited,
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

/// Why code was cut short.
#[derive(Debug)]
pub(crate) enum Cut {
    /// It ran too long.
    Time(Option<String>),
    /// It used too much memory.
    Memory(Option<String>),
    /// Something else escaped: a bug of this crate or of the engine.
    Other(Failure),
}

/// A batch that was cut short.
pub(crate) struct CutShort {
    pub(crate) cut: Cut,
    /// The outcomes before the cut; the state they left is in the slot that was given.
    pub(crate) outcomes: String,
    /// Whether a reducer ran, rather than a method.
    pub(crate) reducing: bool,
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
        let runtime = Runtime::new().map_err(engine)?;
        runtime.set_max_stack_size(options.stack_bytes);
        runtime.set_loader(Files(sources.clone()), Files(sources.clone()));
        let watch = Arc::<Watch>::default();
        let watching = watch.clone();
        runtime.set_interrupt_handler(Some(Box::new(move || watching.stops())));
        let context = Context::full(&runtime).map_err(engine)?;
        let chance = Arc::<Chance>::default();

        // The file is untrusted from its first line on.
        runtime.set_memory_limit(options.memory_bytes);
        watch.stop_after(options.load_time);
        let loaded = context.with(|ctx| load_script(&ctx, options, sources, &chance, (shown, purpose)));
        watch.rest();
        let (methods, has_invariant) = loaded?;
        let mut heap = Heap {
            context,
            runtime,
            options: options.clone(),
            watch,
            chance,
            methods,
            has_invariant,
            slots: 1,
            free: Vec::new(),
            ceiling: 0,
            mode: Mode::Unlimited,
            purpose,
        };
        heap.measure();
        heap.runtime.set_memory_limit(0);
        heap.runtime.set_max_stack_size(heap.options.stack_bytes * 2);
        Ok((heap, 0))
    }

    /// The names of the methods, in the order of the file.
    pub(crate) fn methods(&self) -> &[String] {
        &self.methods
    }

    /// Whether the script exports an invariant.
    pub(crate) fn has_invariant(&self) -> bool {
        self.has_invariant
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
    /// one line a call: a letter for what it is, and JSON. `reduces` as well as judging; `closely`: see `thorough` inside.
    pub(crate) fn decide(
        &mut self,
        (from, to): (Slot, Slot),
        batch: &BatchContext,
        (base, first): (Index, usize),
        calls: &[HeapCall<'_>],
        (reduces, closely): (bool, bool),
    ) -> Result<String, CutShort> {
        let mut text = String::with_capacity(calls.len() * 48);
        text.push('[');
        push_origins(&mut text, calls.iter().map(|call| call.node));
        for call in calls {
            match self.methods.iter().position(|name| name == call.method.name()) {
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

        self.enter(Mode::Limited);
        let length = self.options.action_length_max;
        let done = self.context.with(|ctx| {
            let run = || -> rquickjs::Result<String> {
                let mut args = rquickjs::function::Args::new(ctx.clone(), 10);
                args.push_arg(text)?;
                args.push_arg(from)?;
                args.push_arg(to)?;
                args.push_arg(number(base.0))?;
                args.push_arg(number(first as u64))?;
                args.push_arg(number(batch.stamps.time_ms))?;
                args.push_arg(milliseconds(batch))?;
                args.push_arg(number(length as u64))?;
                args.push_arg(reduces)?;
                args.push_arg(closely || self.purpose == Purpose::Comparison)?;
                args.apply(&function(&ctx, "decide")?)
            };
            run().catch(&ctx).map_err(|error| cut(&error))
        });
        match done {
            Ok(outcomes) => Ok(outcomes),
            Err(cut) => Err(self.salvage(cut, to)),
        }
    }

    /// What was decided before the cut. No limit may stop this.
    fn salvage(&mut self, cut: Cut, to: Slot) -> CutShort {
        self.enter(Mode::Unlimited);
        self.runtime.run_gc();
        self.context.with(|ctx| {
            let progress: u32 = function(&ctx, "progress").and_then(|progress| progress.call(())).unwrap_or(0);
            let outcomes = function(&ctx, "keep").and_then(|keep| keep.call((to,))).unwrap_or_default();
            CutShort { cut, outcomes, reducing: progress % 4 == 2 }
        })
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
        self.enter(if compares { Mode::Limited } else { Mode::Unlimited });
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
                    compares,
                ))
            };
            run().catch(&ctx).map_err(|error| cut(&error))
        });
        self.watch.rest();
        match said {
            Ok(said) if said.is_empty() => Ok(()),
            Ok(said) => Err(Cut::Other(failure(said.strip_prefix('F').unwrap_or(&said)))),
            Err(cut) => Err(cut),
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
    pub(crate) fn holds(&mut self, slot: Slot) -> Result<Option<String>, String> {
        self.enter(Mode::Limited);
        let said = self.context.with(|ctx| {
            let run = || function(&ctx, "holds")?.call((slot,));
            run().catch(&ctx).map_err(|error| cut(&error))
        });
        self.enter(Mode::Unlimited);
        said.map_err(|cut| cut.into_failure("invariant", &self.options).to_string())
    }

    /// After a call ran out of memory: measures anew. True where that gives the call more room than it had.
    pub(crate) fn raise_ceiling(&mut self) -> bool {
        let before = self.ceiling;
        self.enter(Mode::Unlimited);
        self.runtime.run_gc();
        self.measure();
        self.ceiling > before.saturating_add(self.options.memory_bytes / 16)
    }

    fn measure(&mut self) {
        let held = usize::try_from(self.runtime.memory_usage().malloc_size).unwrap_or(0);
        self.ceiling = held.saturating_add(self.options.memory_bytes);
    }

    /// Sets the limits for what runs next, and starts the watch.
    fn enter(&mut self, mode: Mode) {
        match mode {
            Mode::Limited => self.watch.stop_after(self.options.method_time),
            Mode::Unlimited => self.watch.report(),
        }
        if self.mode == mode {
            return;
        }
        self.mode = mode;
        let (memory, stack) = match mode {
            Mode::Limited => (self.ceiling, self.options.stack_bytes),
            Mode::Unlimited => (0, self.options.stack_bytes * 2),
        };
        self.runtime.set_memory_limit(memory);
        self.runtime.set_max_stack_size(stack);
    }
}

impl Cut {
    /// What the caller is told; `who` ran.
    pub(crate) fn into_failure(self, who: &str, options: &Options) -> Failure {
        match self {
            Cut::Time(at) => {
                Failure { message: format!("{who} ran longer than {:?} and was stopped", options.method_time), at }
            }
            Cut::Memory(at) => {
                // Without a place it was thrown as null.
                let doubt = if at.is_none() { " (or it says `throw null`)" } else { "" };
                let mib = options.memory_bytes >> 20;
                Failure { message: format!("{who} needed more than {mib} MiB of memory and was stopped{doubt}"), at }
            }
            Cut::Other(failure) => failure,
        }
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

/// Tells what escaped from the world inside.
fn cut(error: &CaughtError<'_>) -> Cut {
    let exception = match error {
        CaughtError::Exception(exception) => exception,
        // The engine had no memory for an error. (Or the script says `throw null`, which `into_failure` mentions.)
        CaughtError::Value(value) if value.is_null() => return Cut::Memory(None),
        other => return Cut::Other(Failure { message: other.to_string(), at: None }),
    };
    let at = exception.stack().as_deref().and_then(place::of_stack);
    match exception.message().as_deref() {
        Some("interrupted") => Cut::Time(at),
        Some("out of memory") => Cut::Memory(at),
        message => Cut::Other(Failure {
            message: explain(&format!("{}: {}", name(exception), message.unwrap_or("no message"))),
            at,
        }),
    }
}

fn name(exception: &Exception<'_>) -> String {
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

// ---- Loading -------------------------------------------------------------------------------------------------------

fn load_script(
    ctx: &Ctx<'_>,
    options: &Options,
    sources: &Arc<Sources>,
    chance: &Arc<Chance>,
    (shown, purpose): (&dyn Fn(&str) -> String, Purpose),
) -> Result<(Vec<String>, bool), ScriptError> {
    let threw = |error: CaughtError<'_>| load_error(&error, sources, options, shown);
    let world = make_world(ctx, options, sources, chance, purpose).catch(ctx).map_err(threw)?;
    let entry = sources.entry();
    let text = sources.read(entry).map_err(|message| ScriptError::Unreadable { path: shown(entry).into(), message })?;
    let (exports, plain) = match form(ctx, entry, &text) {
        Form::Module => (evaluate_module(ctx, entry, &text).catch(ctx).map_err(threw)?, false),
        Form::CommonJs => {
            let run = || -> rquickjs::Result<Value<'_>> { world.get::<_, Function>("run")?.call((entry,)) };
            (Some(run().catch(ctx).map_err(threw)?), true)
        }
    };
    let Some(exports) = exports else {
        let message = "it awaits at its top level; a container is loaded synchronously".into();
        return Err(ScriptError::Shape { file: shown(entry), message });
    };
    let adopt = || -> rquickjs::Result<Object<'_>> { world.get::<_, Function>("adopt")?.call((exports, plain, 0)) };
    let adopted = adopt().catch(ctx).map_err(threw)?;
    let read = || -> rquickjs::Result<_> {
        let problem: Option<String> = adopted.get("problem")?;
        Ok((
            problem,
            adopted.get::<_, Option<Vec<String>>>("names")?.unwrap_or_default(),
            adopted.get::<_, Option<bool>>("invariant")?,
        ))
    };
    match read().catch(ctx).map_err(threw)? {
        (Some(problem), _, _) => Err(ScriptError::Shape { file: shown(entry), message: explain(&problem) }),
        (None, names, invariant) => Ok((names, invariant.unwrap_or(false))),
    }
}

fn make_world<'js>(
    ctx: &Ctx<'js>,
    options: &Options,
    sources: &Arc<Sources>,
    chance: &Arc<Chance>,
    purpose: Purpose,
) -> rquickjs::Result<Object<'js>> {
    let mut named = EvalOptions::default();
    named.filename = Some(place::WORLD.into());
    let make: Function<'js> = ctx.eval_with_options(world::TEXT, named)?;
    let world: Object<'js> = make.call((host::object(ctx, options, sources, chance, purpose)?,))?;
    // Nothing borrows the user data while it is stored: this is the first of it.
    ctx.store_userdata(world.clone()).map_err(|_| rquickjs::Error::Unknown)?;
    Ok(world)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Module,
    CommonJs,
}

/// Tells the two forms apart, as Node.js does: what does not parse as CommonJS and may be a module is one.
fn form(ctx: &Ctx<'_>, name: &str, text: &str) -> Form {
    if name.ends_with(".mjs") {
        return Form::Module;
    }
    if name.ends_with(".cjs") || !(text.contains("export") || text.contains("import")) {
        return Form::CommonJs;
    }
    match host::compile(ctx, name, text) {
        Ok(_) => Form::CommonJs,
        Err(_) => {
            drop(ctx.catch());
            Form::Module
        }
    }
}

/// The module's exports; none where it waits for something.
fn evaluate_module<'js>(ctx: &Ctx<'js>, name: &str, text: &str) -> rquickjs::Result<Option<Value<'js>>> {
    let (module, done) = Module::declare(ctx.clone(), name, text)?.eval()?;
    match done.state() {
        PromiseState::Pending => Ok(None),
        // The error of a rejected one.
        PromiseState::Rejected => done.finish::<Value<'js>>().map(Some),
        PromiseState::Resolved => Ok(Some(module.namespace()?.into_value())),
    }
}

/// Why the script did not load.
fn load_error(
    error: &CaughtError<'_>,
    sources: &Sources,
    options: &Options,
    shown: &dyn Fn(&str) -> String,
) -> ScriptError {
    let entry = || shown(sources.entry());
    let memory = |at| ScriptError::Limit {
        at,
        message: format!("it needed more than {} MiB of memory to load", options.memory_bytes >> 20),
    };
    let exception = match error {
        CaughtError::Exception(exception) => exception,
        // The engine had no memory for an error.
        CaughtError::Value(value) if value.is_null() => return memory(entry()),
        CaughtError::Value(value) => {
            let message = format!("threw a {} while it loaded; throw an Error", value.type_name());
            return ScriptError::Threw { at: entry(), message };
        }
        CaughtError::Error(error) => return ScriptError::Threw { at: entry(), message: error.to_string() },
    };
    let at = exception.stack().as_deref().and_then(place::of_stack).map_or_else(entry, |at| shown(&at));
    let message = exception.message().unwrap_or_default();
    match message.as_str() {
        "interrupted" => ScriptError::Limit {
            at,
            message: format!("it did not finish loading within {:?}: an endless loop?", options.load_time),
        },
        "out of memory" => memory(at),
        _ if message.starts_with("cannot import ") => ScriptError::Unsupported { at, message },
        _ if name(exception) == "SyntaxError" => {
            ScriptError::Syntax { at, message: format!("it does not parse: {message}") }
        }
        _ => ScriptError::Threw {
            at,
            message: explain(&format!("threw while it loaded: {}: {message}", name(exception))),
        },
    }
}

/// Finds and loads what modules import.
struct Files(Arc<Sources>);

impl Resolver for Files {
    fn resolve<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        base: &str,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<String> {
        self.0.resolve(base, name).map_err(|why| Exception::throw_message(ctx, &why))
    }
}

impl Loader for Files {
    fn load<'js>(
        &mut self,
        ctx: &Ctx<'js>,
        name: &str,
        _: Option<ImportAttributes<'js>>,
    ) -> rquickjs::Result<Module<'js, Declared>> {
        let text = self.0.read(name).map_err(|why| Exception::throw_message(ctx, &format!("{name}: {why}")))?;
        if name.ends_with(".json") {
            // JSON is an expression of JavaScript; parsing it first makes sure that it is no more than that.
            ctx.json_parse(&*text)?;
            return Module::declare(ctx.clone(), name, format!("export default {text}"));
        }
        Module::declare(ctx.clone(), name, &*text)
    }
}
