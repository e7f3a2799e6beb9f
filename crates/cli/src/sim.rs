//! `conflux sim`: a container's life on a cluster under faults, from one seed to many.

use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use conflux_core::Container;
use conflux_sim::{Broken, Failed, FaultKind, Kept, Looked, Progress, Run, Simulation, check_each};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::exit::{Exit, Refusal};
use crate::factory::Factory;
use crate::line::{Body, Line};
use crate::output::say;
use crate::shell::{quoted, quoted_path};
use crate::values::{seconds, seed};

/// Options of `sim`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SimOptions {
    /// How many seeds: that many from 0 on, or FROM..TO
    #[arg(long, value_name = "N", default_value = "100", value_parser = seeds, conflicts_with = "seed")]
    seeds: Range<u64>,
    /// One seed only, with everything that happens
    #[arg(long, value_name = "SEED", value_parser = seed)]
    seed: Option<u64>,
    /// Of that seed, the part that a failure named
    #[arg(long, value_name = "PART", requires = "seed")]
    keep: Option<Kept>,
    /// How many nodes [a number for each seed, mostly 3]
    #[arg(long, value_name = "N", value_parser = nodes)]
    nodes: Option<usize>,
    /// How much simulated time callers call in, and things go wrong
    #[arg(long, value_name = "SECONDS", default_value = "60", value_parser = seconds)]
    seconds: Duration,
    /// What is to go wrong, each at least once [anything may]
    #[arg(long, value_name = "FAULT,...", value_delimiter = ',')]
    faults: Option<Vec<FaultKind>>,
    /// What is called: a file of lines as `dev` takes them, of which one is drawn each time [what the container makes up]
    #[arg(long, value_name = "FILE")]
    calls: Option<PathBuf>,
    /// Write all that happened in the seed, or in the one that failed, for a viewer of traces (ui.perfetto.dev, say)
    #[arg(long, value_name = "FILE")]
    trace: Option<PathBuf>,
    /// How many seeds run at once [one for each core]
    #[arg(long, value_name = "N", value_parser = crate::values::threads)]
    threads: Option<usize>,
}

/// The help of `sim`, but for the examples.
macro_rules! sim_help {
    ($examples:literal) => {
        concat!(
            "\
Several nodes of the library run with your container in simulated time; only the channel, the disks, clocks and chance are
simulated. Everything that callers, readers and subscribers are told is checked. A failure is made as short as possible.
The same seed does the same each time.

Faults: partition, leader-alone, one-way, bridge, loss, duplication, delay, slow-link, reset, corruption, huge-call, kill,
power-loss, kill-at-await, kill-at-disk, power-loss-of-all, rolling-restart, close, pause, disk-error, disk-full, slow-disk,
bit-flip, clock-jump, seat, join, replace, wipe, old-disk, change-interrupted, transfer, other-version

Exit status: 0 all seeds hold; 1 a promise or an invariant was broken, or a fault that was named never happened; 2 it cannot be simulated.",
            $examples
        )
    };
}

pub(crate) const SIM_HELP: &str = sim_help!(
    "

Examples:
  conflux sim words.js --seeds 1000
  conflux sim words.js --calls lines.txt --faults kill,partition --seconds 10
  conflux sim words.js --seed 17 --trace 17.json        for ui.perfetto.dev"
);

pub(crate) const OWN_SIM_HELP: &str = sim_help!("");

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let number = |text: &str| seed(text.trim());
    let range = match text.split_once("..") {
        Some((from, to)) => number(from)?..number(to)?,
        None => 0..number(text)?,
    };
    if range.is_empty() { Err("there are no seeds in it: it is a number, or FROM..TO".into()) } else { Ok(range) }
}

fn nodes(text: &str) -> Result<usize, String> {
    let max = conflux_sim::NODES_MAX;
    let number = text.parse().ok().filter(|nodes| (1..=max).contains(nodes));
    number.ok_or_else(|| format!("the number of nodes is a number from 1 to {max}"))
}

/// Runs what the options say. `again` is the command line as far as a container is named.
pub(crate) fn run<F: Factory>(factory: F, options: &SimOptions, again: &str) -> Result<Exit, Refusal> {
    let container = factory.make()?;
    let calls = match &options.calls {
        Some(file) => calls_of(&container, file)?,
        None => Vec::new(),
    };
    drop(container);
    if let Some(file) = &options.trace {
        // What cannot be written is told now, and not after hours.
        std::fs::write(file, "").map_err(|error| Refusal::of_file(file, &error))?;
    }
    let mut simulation = check_each(move || factory.make().map_err(|refusal| refusal.to_string()))
        .seeds(options.seeds.clone())
        .length(options.seconds);
    if !calls.is_empty() {
        simulation = simulation.calls(move |random| calls[random.below(calls.len() as u64) as usize].clone());
    }
    if let Some(nodes) = options.nodes {
        simulation = simulation.nodes(nodes);
    }
    if let Some(faults) = &options.faults {
        simulation = simulation.faults(faults.iter().copied());
    }
    if let Some(threads) = options.threads {
        simulation = simulation.threads(threads);
    }
    let told = match options.seed {
        Some(seed) => one(&simulation, seed, options),
        None => many(simulation, options, again),
    };
    told.map_err(Refusal::unread)
}

/// The calls of a file.
fn calls_of<C: Container>(container: &C, file: &Path) -> Result<Vec<C::Method>, Refusal> {
    let text = std::fs::read_to_string(file).map_err(|error| Refusal::of_file(file, &error))?;
    let mut calls = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |why: String| Refusal::new(format!("{}:{}: {why}", file.display(), number + 1));
        match Line::parse(line).map_err(|error| wrong(error.to_string()))? {
            None => {}
            Some(Line { body: Body::Request(request), .. }) => {
                let call = container.method(&request.method, request.arguments);
                calls.push(call.map_err(|error| wrong(error.to_string()))?);
            }
            Some(_) => return Err(wrong("it is a command; calls are METHOD [JSON ARGUMENT]...".into())),
        }
    }
    if calls.is_empty() { Err(Refusal::new(format!("{}: no call is in it", file.display()))) } else { Ok(calls) }
}

fn one<C: Container>(simulation: &Simulation<C>, seed: u64, options: &SimOptions) -> Result<Exit, Refusal> {
    let kept = options.keep.clone().unwrap_or_default();
    let looked = Looked { full: true, print: options.trace.is_none() };
    let run = simulation.run_one(seed, &kept, looked).map_err(Refusal::new)?;
    let Run { wrong, actions, hash, simulated, .. } = &run;
    let seconds = simulated.as_secs_f64();
    let exit = match wrong {
        None => {
            say!("seed {seed} holds: {actions} actions in {seconds:.0} simulated seconds; trace {hash:016x}")?;
            Exit::Good
        }
        Some(wrong) => {
            say!("seed {seed} breaks {wrong}; trace {hash:016x}")?;
            Exit::BadLines
        }
    };
    write_trace(&run, options)?;
    Ok(exit)
}

fn many<C: Container>(simulation: Simulation<C>, options: &SimOptions, again: &str) -> Result<Exit, Refusal> {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{bar:40} {pos} of {len} seeds  {elapsed}  {msg}");
    let bar = bar.with_style(style.expect("the template is well-formed"));
    let drawn = bar.clone();
    let (begin, end) = (again.to_owned(), with_options(options));
    let simulation = simulation.progress(move |progress| match progress {
        Progress::Seeds { held, of } => {
            drawn.set_length(*of);
            drawn.set_position(*held);
        }
        // Told at once: what makes it shorter may take longer than somebody waits.
        Progress::Broken { seed, wrong } => drawn.suspend(|| {
            eprintln!(
                "seed {seed} breaks {wrong}\nmaking it shorter; as it is, it runs by:\n  {begin} --seed {seed}{end}"
            );
        }),
        Progress::Shrinking { seed, tries, nodes, faults, asks } => drawn.set_message(format!(
            "seed {seed} made shorter: {nodes} nodes, {faults} faults, {asks} calls after {tries} tries"
        )),
    });
    let came = simulation.try_run();
    bar.finish_and_clear();
    match came {
        Ok(passed) => {
            say!("{passed}")?;
            Ok(Exit::Good)
        }
        Err(Failed::Unusable(why)) => Err(Refusal::new(why)),
        Err(failed @ Failed::NeverHappened(_)) => {
            say!("{failed}")?;
            Ok(Exit::BadLines)
        }
        Err(Failed::Broken(broken)) => {
            say!("{broken}\nTo run it again:\n  {}", command(&broken, options, again))?;
            write_trace(&broken.run, options)?;
            Ok(Exit::BadLines)
        }
    }
}

/// The command that repeats a failure.
fn command(broken: &Broken, options: &SimOptions, again: &str) -> String {
    let kept = broken.kept.to_string();
    let keep = if kept.is_empty() { String::new() } else { format!(" --keep {}", quoted(&kept)) };
    format!("{again} --seed {}{keep}{}", broken.seed, with_options(options))
}

/// What decides what a seed is, as it was given.
fn with_options(options: &SimOptions) -> String {
    let mut command = String::new();
    if let Some(nodes) = options.nodes {
        let _ = write!(command, " --nodes {nodes}");
    }
    if options.seconds != Duration::from_secs(60) {
        let _ = write!(command, " --seconds {}", options.seconds.as_secs_f64());
    }
    if let Some(faults) = &options.faults {
        let names: Vec<_> = faults.iter().map(|kind| kind.name()).collect();
        let _ = write!(command, " --faults {}", names.join(","));
    }
    if let Some(calls) = &options.calls {
        let _ = write!(command, " --calls {}", quoted_path(calls));
    }
    command
}

fn write_trace(run: &Run, options: &SimOptions) -> Result<(), Refusal> {
    let Some(file) = &options.trace else { return Ok(()) };
    let view = run.view.as_deref().unwrap_or_default();
    std::fs::write(file, view).map_err(|error| Refusal::of_file(file, &error))
}
