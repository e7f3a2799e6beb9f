//! Loading a script into a heap.

use std::sync::Arc;

use rquickjs::context::EvalOptions;
use rquickjs::loader::{ImportAttributes, Loader, Resolver};
use rquickjs::module::Declared;
use rquickjs::promise::PromiseState;
use rquickjs::{CatchResultExt, CaughtError, Ctx, Exception, Function, Module, Object, Value};

use crate::error::ScriptError;
use crate::explain::explain;
use crate::heap::{Purpose, Script, name, over};
use crate::host::{self, Chance};
use crate::json::quoted;
use crate::options::Options;
use crate::place;
use crate::sources::Sources;
use crate::watch::{Hit, Limit, Watch};
use crate::world;

/// Runs the file and takes what it exports; the initial state is in the first slot then.
pub(crate) fn load_script(
    ctx: &Ctx<'_>,
    options: &Options,
    sources: &Arc<Sources>,
    (chance, watch): (&Arc<Chance>, &Arc<Watch>),
    (shown, purpose): (&dyn Fn(&str) -> String, Purpose),
) -> Result<Script, ScriptError> {
    let threw = |error: CaughtError<'_>| load_error(&error, sources, watch.hit(), options, shown);
    let world = make_world(ctx, sources, (chance, watch), purpose).catch(ctx).map_err(threw)?;
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
    let adopt = || -> rquickjs::Result<Object<'_>> {
        world.get::<_, Function>("adopt")?.call((exports, plain, 0, sources.may_have_accessors()))
    };
    let adopted = adopt().catch(ctx).map_err(threw)?;
    let read = || -> rquickjs::Result<_> {
        let problem: Option<String> = adopted.get("problem")?;
        Ok((
            problem,
            Script {
                methods: adopted.get::<_, Option<Vec<String>>>("names")?.unwrap_or_default(),
                places: adopted.get::<_, Option<Vec<Option<String>>>>("places")?.unwrap_or_default(),
                lengths: adopted.get::<_, Option<Vec<u32>>>("lengths")?.unwrap_or_default(),
                reducer_place: adopted.get("reducerPlace")?,
                invariant_place: adopted.get("invariantPlace")?,
                has_invariant: adopted.get::<_, Option<bool>>("invariant")?.unwrap_or(false),
                sampler_place: adopted.get("samplerPlace")?,
                has_sampler: adopted.get::<_, Option<bool>>("sampler")?.unwrap_or(false),
            },
        ))
    };
    match read().catch(ctx).map_err(threw)? {
        (Some(problem), _) => Err(ScriptError::Shape { file: shown(entry), message: explain(&problem) }),
        (None, script) => Ok(script),
    }
}

fn make_world<'js>(
    ctx: &Ctx<'js>,
    sources: &Arc<Sources>,
    (chance, watch): (&Arc<Chance>, &Arc<Watch>),
    purpose: Purpose,
) -> rquickjs::Result<Object<'js>> {
    let mut named = EvalOptions::default();
    named.filename = Some(place::WORLD.into());
    let make: Function<'js> = ctx.eval_with_options(world::TEXT, named)?;
    let world: Object<'js> = make.call((host::object(ctx, sources, chance, watch, purpose)?,))?;
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

/// What is said of a file that caught the error of a limit.
pub(crate) fn went_on(limit: Limit, options: &Options) -> String {
    format!("while it loaded, it {}", over(limit, options, options.load_time))
}

/// Why the script did not load.
fn load_error(
    error: &CaughtError<'_>,
    sources: &Sources,
    hit: Option<Hit>,
    options: &Options,
    shown: &dyn Fn(&str) -> String,
) -> ScriptError {
    let at = match error {
        CaughtError::Exception(exception) => exception.stack().as_deref().and_then(place::of_stack),
        _ => None,
    };
    let at = shown(&at.unwrap_or_else(|| sources.entry().to_owned()));
    match hit.map(|hit| hit.limit) {
        Some(Limit::Time) => {
            let message = format!("it did not finish loading within {:?}: an endless loop?", options.load_time);
            return ScriptError::Limit { at, message };
        }
        Some(Limit::Memory) => {
            let message = format!("it needed more than {} MiB of memory to load", options.memory_bytes >> 20);
            return ScriptError::Limit { at, message };
        }
        // The error says so, if it is that one.
        Some(Limit::Stack) | None => {}
    }
    let exception = match error {
        CaughtError::Exception(exception) => exception,
        CaughtError::Value(value) => {
            let message = format!("threw {} while it loaded, which is no Error; throw an Error", shown_value(value));
            return ScriptError::Threw { at, message };
        }
        CaughtError::Error(error) => return ScriptError::Threw { at, message: error.to_string() },
    };
    let message = exception.message().unwrap_or_default();
    match message.as_str() {
        "interrupted" if hit.is_some() => ScriptError::Limit { at, message: went_on(Limit::Stack, options) },
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

/// A value that is no Error, as people write it.
fn shown_value(value: &Value<'_>) -> String {
    if value.is_null() || value.is_undefined() {
        return value.type_name().to_owned();
    }
    let article = if value.type_name().starts_with(['a', 'e', 'i', 'o', 'u']) { "an" } else { "a" };
    match value.as_string().and_then(|text| text.to_string().ok()) {
        Some(text) if text.len() <= 200 => quoted(&text),
        _ => match value.as_number() {
            Some(number) => number.to_string(),
            None => format!("{article} {}", value.type_name()),
        },
    }
}

/// Finds and loads what modules import.
pub(crate) struct Files(pub(crate) Arc<Sources>);

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
