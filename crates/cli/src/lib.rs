//! The `conflux` program, and the same program around a container of your own.
//!
//! ```no_run
//! use conflux_core::{Container, Context, Never};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! #[serde(rename_all = "snake_case")]
//! enum Method { Add(u64) }
//! #[derive(Debug, Serialize, Deserialize)]
//! enum Action { Added(u64) }
//! struct Counter;
//!
//! impl Container for Counter {
//!     type State = u64;
//!     type Method = Method;
//!     type Action = Action;
//!     type Rejection = Never;
//!     fn initial(&self) -> u64 { 0 }
//!     fn decide(&self, _: &u64, Method::Add(n): Method, _: &Context<'_>) -> Result<Option<Action>, Never> {
//!         Ok(Some(Action::Added(n)))
//!     }
//!     fn reduce(&self, count: &mut u64, Action::Added(n): &Action, _: &Context<'_>) { *count += n }
//! }
//!
//! fn main() -> std::process::ExitCode { conflux_cli::main(Counter) }
//! ```
//!
//! Then `counter dev` is a prompt on a cluster of three nodes, `counter check lines.txt` looks for what would make
//! nodes differ, and `counter bench --call 'add 1'` measures. `counter node` runs one node of a cluster, and
//! `counter perform add 1`, `counter state` and others ask it.

mod answer;
mod arguments;
mod bench;
mod changed;
mod check;
mod cluster;
mod command;
mod dev;
mod exit;
mod factory;
mod ground;
mod init;
mod input;
mod interrupt;
mod invariant;
mod line;
mod log;
mod node;
mod output;
mod pace;
mod panics;
mod printer;
mod progress;
mod prompt;
mod recover;
mod regression;
mod relay;
mod remote;
mod replay;
mod report;
mod session;
mod shell;
mod sim;
mod table;
mod tls;
mod usage;
mod values;

#[cfg(test)]
mod fake;

use std::ffi::OsStr;
use std::future::Future;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use conflux_core::Container;

use crate::arguments::{
    OwnCommand, OwnProgram, Place, Program, ProgramCommand, RecoverArguments, ReplayOptions, TlsCommand,
};
use crate::bench::Counter;
use crate::exit::Refusal;
use crate::factory::{Factory, ScriptFactory, SharedFactory};
use crate::invariant::Guarding;
use crate::node::Settings;
use crate::output::tell;
use crate::replay::Found;
use crate::shell::quoted_path;

pub use crate::exit::Exit;

/// What `node` makes of the text of a configuration file, in words, or what is wrong with it: for fuzzing.
#[doc(hidden)]
pub fn read_config(text: &str) -> Result<String, String> {
    node::of_text(text)
}

/// The `conflux` program: containers written in JavaScript.
#[must_use]
pub fn program() -> ExitCode {
    let name = "conflux".to_owned();
    run::<Program>(&name, || match Program::try_parse()?.command {
        ProgramCommand::Dev { app, no_check, options } => {
            let factory = ScriptFactory::load(&app, !no_check)?;
            block_on(None, dev::run(factory, options.nodes, options.changed, options.node_options()))
        }
        ProgramCommand::Node { app, arguments } => {
            let check = arguments.check;
            let settings = Settings::of(app, *arguments)?;
            let app = settings.app.as_deref().ok_or_else(|| {
                Refusal::new("no container is named: conflux node APP.js, or app = \"APP.js\" in conflux.toml")
            })?;
            let factory = ScriptFactory::load(app, false)?;
            match check {
                true => block_on(None, node::check(factory, &settings)),
                false => block_on(None, node::run(factory, settings)),
            }
        }
        ProgramCommand::Recover { app, arguments } => {
            let RecoverArguments { place: Place { id, data }, moved, changed, .. } = &arguments;
            let factory = ScriptFactory::load(&app, false)?;
            Ok(recover::recover(&factory, id, data, *moved, *changed, arguments.consent())?)
        }
        ProgramCommand::Restore { file, app, place: Place { id, data }, changed } => {
            Ok(recover::restore(&ScriptFactory::load(&app, false)?, &id, &data, &file, changed)?)
        }
        ProgramCommand::Replay { file, app, options } => {
            let incident = replay::read(&file)?;
            let check = format!("{name} check {}", quoted_path(&app));
            replayed(ScriptFactory::load(&app, false)?, incident, options, &check)
        }
        ProgramCommand::Check { app, options } => {
            // The check here does what the container's own would do, and knows the lines.
            Ok(check::run(&ScriptFactory::load(&app, false)?, &options.files)?)
        }
        ProgramCommand::Remote(command) => Ok(remote::run(&name, command)?),
        ProgramCommand::Init { directory } => Ok(init::run(&directory)?),
        ProgramCommand::Tls { command: TlsCommand::Init { directory, names, days } } => {
            Ok(tls::init(&directory, &names, days)?)
        }
        ProgramCommand::Relay { listen, token_file, insecure } => {
            block_on(None, relay::run(&listen, token_file.as_deref(), insecure))
        }
        ProgramCommand::Sim { app, options } => {
            let again = format!("{name} sim {}", quoted_path(&app));
            Ok(sim::run(ScriptFactory::for_simulation(&app)?, &options, &again)?)
        }
        ProgramCommand::Bench { app: Some(app), call: Some(call), options } => {
            let factory = ScriptFactory::load(&app, false)?;
            let method = bench::method_of(&factory.make()?, &call)?;
            block_on(options.threads, bench::run(factory, method, options))
        }
        ProgramCommand::Bench { options, .. } => {
            let counter = SharedFactory::new(Counter, "the counter".into());
            block_on(options.threads, bench::run(counter, bench::ADD_ONE, options))
        }
    })
}

/// The program around one Rust container: all commands of `conflux` but `init`, without a file to name.
#[must_use]
pub fn main<C: Container>(container: C) -> ExitCode {
    let name = own_name(std::env::args_os().next().as_deref());
    let factory = SharedFactory::new(container, name.clone());
    run::<OwnProgram>(&name, || match OwnProgram::try_parse()?.command {
        OwnCommand::Dev { options } => {
            let factory = Guarding::new(factory);
            block_on(None, dev::run(factory, options.nodes, options.changed, options.node_options()))
        }
        OwnCommand::Node { arguments } => {
            let check = arguments.check;
            let settings = Settings::of(None, *arguments)?;
            match check {
                true => block_on(None, node::check(factory, &settings)),
                false => block_on(None, node::run(factory, settings)),
            }
        }
        OwnCommand::Recover { arguments } => {
            let RecoverArguments { place: Place { id, data }, moved, changed, .. } = &arguments;
            Ok(recover::recover(&factory, id, data, *moved, *changed, arguments.consent())?)
        }
        OwnCommand::Restore { file, place: Place { id, data }, changed } => {
            Ok(recover::restore(&factory, &id, &data, &file, changed)?)
        }
        OwnCommand::Replay { file, options } => {
            let incident = replay::read(&file)?;
            replayed(factory, incident, options, &format!("{name} check"))
        }
        OwnCommand::Check { options } => Ok(check::run(&factory, &options.files)?),
        OwnCommand::Remote(command) => Ok(remote::run(&name, command)?),
        OwnCommand::Sim { options } => Ok(sim::run(factory, &options, &format!("{name} sim"))?),
        OwnCommand::Bench { call, options } => {
            let method = bench::method_of(&factory.make()?, &call)?;
            block_on(options.threads, bench::run(factory, method, options))
        }
    })
}

/// How a program ends other than by its work's exit.
enum End {
    Refused(Refusal),
    Usage(clap::Error),
}

impl From<Refusal> for End {
    fn from(refusal: Refusal) -> End {
        End::Refused(refusal)
    }
}

impl From<clap::Error> for End {
    fn from(error: clap::Error) -> End {
        End::Usage(error)
    }
}

fn run<P: CommandFactory>(name: &str, work: impl FnOnce() -> Result<Exit, End>) -> ExitCode {
    log::to_stderr();
    panics::place();
    let exit = match work() {
        Ok(exit) => exit,
        Err(End::Refused(refusal)) => {
            if !refusal.is_quiet() {
                tell!("{name}: {refusal}");
            }
            refusal.exit()
        }
        // Help and the version are no errors.
        Err(End::Usage(error)) if !error.use_stderr() => match error.print() {
            Ok(()) => Exit::Good,
            Err(error) => {
                let refusal = Refusal::of_output(&error);
                if !refusal.is_quiet() {
                    tell!("{name}: {refusal}");
                }
                refusal.exit()
            }
        },
        Err(End::Usage(error)) if error.kind() == clap::error::ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            let _ = error.print();
            Exit::Usage
        }
        Err(End::Usage(error)) => {
            let given: Vec<String> =
                std::env::args_os().skip(1).map(|given| given.to_string_lossy().into_owned()).collect();
            tell!("{name}: {}", usage::told::<P>(&error, name, &given));
            Exit::Usage
        }
    };
    exit.into()
}

/// Goes through an incident, or makes a test of it; `check` is the command that runs one, but for its file.
fn replayed<F: Factory>(factory: F, incident: Found, options: ReplayOptions, check: &str) -> Result<Exit, End> {
    match &options.test {
        Some(directory) => Ok(regression::write(&factory, &incident, &options, directory, check)?),
        None => block_on(None, replay::run(factory, incident, options)),
    }
}

/// Runs to the end on a runtime of so many threads; unless told, one for each core.
fn block_on(threads: Option<usize>, work: impl Future<Output = Result<Exit, Refusal>>) -> Result<Exit, End> {
    let mut builder = match threads {
        Some(1) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    if let Some(threads) = threads {
        builder.worker_threads(threads);
    }
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| Refusal::new(format!("the system gives no threads to run on: {error}")))?;
    let exit = runtime.block_on(work);
    // What still runs in the background (a write that blocks, say) must not keep the program from ending.
    runtime.shutdown_background();
    Ok(exit?)
}

fn own_name(program: Option<&OsStr>) -> String {
    let stem = program.and_then(|path| Path::new(path).file_stem());
    stem.map_or_else(|| "program".to_owned(), |stem| stem.to_string_lossy().into_owned())
}
