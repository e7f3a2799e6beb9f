//! What Rust lends to the world inside: randomness, files, mathematics, the log.

use std::sync::{Arc, Mutex, PoisonError};

use conflux_core::{BatchContext, CallNumber, Incarnation, Index, Origin, Random, SessionId};
use rquickjs::context::EvalOptions;
use rquickjs::{Ctx, Exception, Function, Object, Result, Value};

use crate::heap::Purpose;
use crate::sources::Sources;
use crate::watch::{Turn, Watch};
use crate::{explain, math, place};

/// Where the random streams of the calls in hand come from.
#[derive(Clone, Debug)]
pub(crate) enum Streams {
    /// A batch that is decided: the place of a call in it is its own.
    Deciding(BatchContext),
    /// A batch that is applied: the place of the call that made each action.
    Reducing(BatchContext, Vec<usize>),
    /// One stream, already begun.
    One(Random),
}

/// The streams, and the one that is drawn from. Seeded only when a call asks: most never do.
#[derive(Debug)]
pub(crate) struct Chance(Mutex<(Streams, Random)>);

impl Default for Chance {
    fn default() -> Self {
        // While loading, every node draws the same names for Redux's private action types.
        Chance(Mutex::new((Streams::One(Random::new(0)), Random::new(0))))
    }
}

impl Chance {
    pub(crate) fn set(&self, streams: Streams) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = streams;
    }

    /// Begins the stream of the `nth` call, for its method (0) or its reducer (1).
    fn seed(&self, nth: usize, kind: u8) {
        let mut chance = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A stream depends on the batch and the call only, not on who asks or at which place.
        let nobody = Origin {
            session: SessionId { node: "".into(), incarnation: Incarnation(0), number: 0 },
            number: CallNumber::FIRST,
        };
        let of = |batch: &BatchContext, nth| match kind {
            0 => batch.deciding(nth, Index(0), &nobody).random(),
            _ => batch.reducing(nth, Index(0), &nobody).random(),
        };
        chance.1 = match &chance.0 {
            Streams::Deciding(batch) => of(batch, nth),
            Streams::Reducing(batch, nths) => of(batch, nths.get(nth).copied().unwrap_or(nth)),
            Streams::One(random) => random.clone(),
        };
    }

    fn draw(&self) -> f64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).1.unit()
    }
}

/// The object `host` that the world inside is given.
pub(crate) fn object<'js>(
    ctx: &Ctx<'js>,
    sources: &Arc<Sources>,
    chance: &Arc<Chance>,
    watch: &Arc<Watch>,
    purpose: Purpose,
) -> Result<Object<'js>> {
    let host = Object::new(ctx.clone())?;
    host.set("absent", explain::absent().collect::<Vec<_>>())?;
    host.set("math", math::object(ctx)?)?;
    let seeded = chance.clone();
    host.set("seed", Function::new(ctx.clone(), move |nth: usize, kind: u8| seeded.seed(nth, kind))?)?;
    let drawn = chance.clone();
    host.set("random", Function::new(ctx.clone(), move || drawn.draw())?)?;
    let watching = watch.clone();
    let prepare =
        move |ctx: Ctx<'js>, error: Value<'js>, sites: Value<'js>| prepare_stack(&ctx, &error, sites, &watching);
    host.set("prepareStack", Function::new(ctx.clone(), prepare)?)?;
    let silent = purpose == Purpose::Comparison;
    let log = move |level, text, stack| {
        if !silent {
            log(level, text, stack)
        }
    };
    host.set("log", Function::new(ctx.clone(), log)?)?;

    let resolving = sources.clone();
    let resolve = move |ctx: Ctx<'js>, base: String, specifier: String| {
        resolving.resolve(&base, &specifier).map_err(|why| Exception::throw_message(&ctx, &why))
    };
    host.set("resolve", Function::new(ctx.clone(), resolve)?)?;
    let reading = sources.clone();
    let read = move |ctx: Ctx<'js>, name: String| {
        let text = reading.read(&name).map_err(|why| Exception::throw_message(&ctx, &format!("{name}: {why}")))?;
        Ok::<_, rquickjs::Error>(text.to_string())
    };
    host.set("read", Function::new(ctx.clone(), read)?)?;
    let compiling = sources.clone();
    let compile = move |ctx: Ctx<'js>, name: String| {
        let text = compiling.read(&name).map_err(|why| Exception::throw_message(&ctx, &format!("{name}: {why}")))?;
        compile(&ctx, &name, &text)
    };
    host.set("compile", Function::new(ctx.clone(), compile)?)?;
    Ok(host)
}

/// Called for every error that the engine gives a stack, wherever it is created or thrown; writes that stack.
///
/// This is how a stack that was used up is noticed even when the script catches the error. The engine calls a Rust
/// function without looking at what is left of the stack, so this also runs at its end; the JavaScript that writes the
/// stack does not, and then there is none: a script that looked at it would see that.
fn prepare_stack<'js>(ctx: &Ctx<'js>, error: &Value<'js>, sites: Value<'js>, watch: &Watch) -> Result<Value<'js>> {
    let Some(world) = ctx.userdata::<Object>() else { return Ok(Value::new_null(ctx.clone())) };
    let turn = || match world.get::<_, Object>("role").and_then(|role| role.get("reducing")) {
        Ok(true) => Turn::Reducer,
        Ok(false) => Turn::Method,
        Err(_) => Turn::Unknown,
    };
    // Asked by getters, never called: see `trace` in the world inside.
    let trace: Object = world.get("trace")?;
    trace.set("error", error.clone())?;
    trace.set("sites", sites)?;
    let message = match error.is_error() {
        true => trace.get::<_, String>("message"),
        false => Ok(String::new()),
    };
    let written = trace.get("text");
    trace.set("error", ())?;
    trace.set("sites", ())?;
    if message.as_deref().is_ok_and(tells_of_the_stack) {
        watch.stack_was_hit(turn());
    }
    if (message.is_err() || written.is_err()) && watch.hit().is_none() {
        watch.stack_was_hit(turn());
    }
    written
}

/// Whether this is the message of what the engine throws when the stack is used up; the last is of regular expressions.
fn tells_of_the_stack(message: &str) -> bool {
    matches!(message, "Maximum call stack size exceeded" | "stack overflow" | "out of memory in regexp execution")
}

/// Makes a CommonJS file into the function that Node.js would make of it; strict always.
pub(crate) fn compile<'js>(ctx: &Ctx<'js>, name: &str, text: &str) -> Result<Value<'js>> {
    let mut options = EvalOptions::default();
    options.filename = Some(name.into());
    // On one line with the text, so that lines keep their numbers; the line break ends a comment on the last one.
    let body = text.strip_prefix("#!").map_or_else(|| text.to_owned(), |rest| format!("//{rest}"));
    ctx.eval_with_options(format!("(function (exports, require, module, __filename, __dirname) {{{body}\n}})"), options)
}

#[expect(clippy::needless_pass_by_value, reason = "what the engine hands over is owned")]
fn log(level: u8, text: String, stack: String) {
    let at = place::of_stack(&stack).unwrap_or_default();
    match level {
        0 => tracing::error!(target: "conflux_script::console", at, "{text}"),
        1 => tracing::warn!(target: "conflux_script::console", at, "{text}"),
        2 => tracing::info!(target: "conflux_script::console", at, "{text}"),
        _ => tracing::debug!(target: "conflux_script::console", at, "{text}"),
    }
}
