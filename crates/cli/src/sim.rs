//! `conflux sim`: a container's life on a cluster under faults, from one seed to many.

mod far;
mod trace;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use conflux_core::Container;
use conflux_sim::{Broken, Failed, FaultKind, Kept, Looked, Passed, Promise, Run, Simulation, check_each};

use crate::exit::{Exit, Refusal};
use crate::factory::Factory;
use crate::line::{Body, Line};
use crate::output::say;
use crate::shell::{quoted, quoted_path};
use crate::values::{seconds, seed};

use self::far::Far;
use self::trace::TraceFile;

/// Options of `sim`.
#[derive(Clone, Debug, Args)]
pub(crate) struct SimOptions {
    /// How many seeds: that many from 0 on, or FROM..TO
    #[arg(long, value_name = "N", default_value = "100", value_parser = seeds, conflicts_with = "seed")]
    seeds: Range<u64>,
    /// One seed only, with everything that happens
    #[arg(long, value_name = "SEED", value_parser = seed)]
    seed: Option<u64>,
    /// Of that seed, the part that a failure named: nodes=N;faults=LIST;asks=LIST, of what the seed has with the other options
    #[arg(long, value_name = "PART", requires = "seed", conflicts_with = "seeds", value_parser = part)]
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
    /// What is called: a file of lines METHOD [JSON ARGUMENT]..., of which one is drawn each time. Commands of `dev`, and
    /// @NODE, are no calls [what the container makes up]
    #[arg(long, value_name = "FILE")]
    calls: Option<PathBuf>,
    /// Write all that happened in the seed, or in the one that failed, for a viewer of traces (ui.perfetto.dev, say); what
    /// was in the file is replaced only then
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
The same seed does the same each time. A call that takes too long, by its steps and not by the clock, ends the run.

Faults: partition, leader-alone, one-way, bridge, loss, duplication, delay, slow-link, reset, corruption, huge-call, kill,
power-loss, kill-at-await, kill-at-disk, power-loss-of-all, rolling-restart, close, pause, disk-error, disk-full, slow-disk,
bit-flip, clock-jump, seat, join, replace, wipe, old-disk, change-interrupted, transfer, other-version

Exit status: 0 all seeds hold; 1 a promise or an invariant was broken, a fault that was named never happened, or calls failed
and none made an action, or there was none; 2 it cannot be simulated, or the output cannot be written; 130 or 143 Ctrl-C or SIGTERM ended it
first; 141 whoever read the output went away.",
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

fn part(text: &str) -> Result<Kept, String> {
    match text.trim() {
        "" => {
            Err("it names nothing: it is nodes=N;faults=LIST;asks=LIST, or some of these, as a failure says it".into())
        }
        text => text.parse(),
    }
}

/// Runs what the options say. `again` is the command line as far as a container is named.
pub(crate) fn run<F: Factory>(factory: F, options: &SimOptions, again: &str) -> Result<Exit, Refusal> {
    let mut options = options.clone();
    if let Some(faults) = &mut options.faults {
        let mut seen = BTreeSet::new();
        faults.retain(|kind| seen.insert(*kind));
        refuse_impossible(faults, options.nodes)?;
    }
    let options = &options;
    let container = factory.make()?;
    let calls = match &options.calls {
        Some(file) => calls_of(&container, file)?,
        None => Vec::new(),
    };
    drop(container);
    let trace = match &options.trace {
        Some(file) => Some(TraceFile::at(file, [factory.file(), options.calls.as_deref()])?),
        None => None,
    };
    crate::log::is_simulated();
    let mut simulation = check_each(move || factory.make().map_err(|refusal| refusal.to_string()))
        .seeds(options.seeds.clone())
        .length(options.seconds)
        .with_view(trace.is_some())
        .fatal_failures(F::is_fatal);
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
        Some(seed) => one(&simulation, seed, options, trace, again),
        None => many(simulation, options, trace, again),
    };
    // Exit status 1 says that something was broken.
    told.map_err(|refusal| refusal.unread().usage())
}

/// What cannot happen with so few nodes is told before it is waited for.
fn refuse_impossible(faults: &[FaultKind], nodes: Option<usize>) -> Result<(), Refusal> {
    let Some(nodes) = nodes else { return Ok(()) };
    let joins = nodes > 1 && faults.contains(&FaultKind::Join);
    // Whoever joins counts, but where a node loses its memory: that must be one of the founders.
    let have = |kind: FaultKind| nodes + usize::from(joins && !kind.takes_memory());
    match faults.iter().find(|kind| kind.nodes_min() > have(**kind)) {
        Some(kind) => Err(Refusal::new(format!(
            "--faults {kind} cannot happen with --nodes {nodes}: it takes {} nodes or more",
            kind.nodes_min()
        ))),
        None => Ok(()),
    }
}

/// The calls of a file.
fn calls_of<C: Container>(container: &C, file: &Path) -> Result<Vec<C::Method>, Refusal> {
    let text = std::fs::read_to_string(file).map_err(|error| Refusal::of_file(file, &error))?;
    let mut calls = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let wrong = |why: String| Refusal::new(format!("{}:{}: {why}", file.display(), number + 1));
        match Line::parse(line).map_err(|error| wrong(error.to_string()))? {
            None => {}
            Some(Line { at: Some(node), .. }) => {
                return Err(wrong(format!("leave out @{node}: the simulation draws the node of each call")));
            }
            Some(Line { body: Body::Request(request), .. }) => {
                let call = container.method(&request.method, request.arguments);
                calls.push(call.map_err(|error| wrong(error.to_string()))?);
            }
            Some(Line { body: Body::Command(_), .. }) => {
                let why =
                    "it is a command of `dev`, and no call: the simulation breaks things itself. Leave out such lines";
                return Err(wrong(why.into()));
            }
        }
    }
    if calls.is_empty() { Err(Refusal::new(format!("{}: no call is in it", file.display()))) } else { Ok(calls) }
}

fn one<C: Container>(
    simulation: &Simulation<C>,
    seed: u64,
    options: &SimOptions,
    trace: Option<TraceFile>,
    again: &str,
) -> Result<Exit, Refusal> {
    let _far = Far::of_one(seed);
    let kept = options.keep.clone().unwrap_or_default();
    let looked = Looked { messages: true, view: trace.is_some(), print: true };
    let run = simulation.run_one(seed, &kept, looked).map_err(Refusal::new)?;
    let Run { wrong, hash, .. } = &run;
    let exit = match wrong {
        None => {
            let mut passed = Passed::default();
            passed.add(&run);
            // Of a part that leaves faults out, that is no news.
            if let (Some(faults), None) = (&options.faults, &options.keep) {
                passed.missing = passed.tally.missing(faults);
            }
            say!("seed {seed} holds: {}\ntrace {hash:016x}", passed.summary())?;
            let is_good = passed.missing.is_empty() && !passed.is_idle();
            if is_good { Exit::Good } else { Exit::BadLines }
        }
        Some(wrong) => {
            say!("seed {seed} breaks {wrong}{}\ntrace {hash:016x}", hint(wrong.promise, again))?;
            Exit::BadLines
        }
    };
    write_trace(&run, trace)?;
    Ok(exit)
}

fn many<C: Container>(
    simulation: Simulation<C>,
    options: &SimOptions,
    trace: Option<TraceFile>,
    again: &str,
) -> Result<Exit, Refusal> {
    let far = Far::of_many(format!("{again} --seed"), with_options(options));
    let told = far.clone();
    let came = simulation.progress(move |progress| told.tell(progress)).try_run();
    far.end();
    match came {
        Ok(passed) => {
            say!("{passed}")?;
            Ok(Exit::Good)
        }
        Err(Failed::Unusable(why)) => Err(Refusal::new(why)),
        Err(failed @ (Failed::NeverHappened(_) | Failed::NothingDone(_))) => {
            say!("{failed}")?;
            Ok(Exit::BadLines)
        }
        Err(Failed::Broken(broken)) => {
            let hint = hint(broken.wrong.promise, again);
            say!("{broken}{hint}\nTo run it again:\n  {}", command(&broken, options, again))?;
            write_trace(&broken.run, trace)?;
            Ok(Exit::BadLines)
        }
    }
}

/// What else finds out more.
fn hint(promise: Promise, again: &str) -> String {
    match promise {
        Promise::OneHistory => format!(
            "\nA reducer that is not deterministic makes that: `{} LINES` looks for what makes it so, with a file of lines that call it",
            again.replacen(" sim", " check", 1)
        ),
        _ => String::new(),
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

fn write_trace(run: &Run, trace: Option<TraceFile>) -> Result<(), Refusal> {
    match trace {
        Some(trace) => trace.write(run.view.as_deref().unwrap_or_default()),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_names_all_faults() {
        let list =
            SIM_HELP.split_once("Faults: ").and_then(|(_, rest)| rest.split_once("\n\n")).expect("it has a list").0;
        let mut named: Vec<&str> = list.split([',', '\n', ' ']).filter(|name| !name.is_empty()).collect();
        let mut all: Vec<&str> = FaultKind::ALL.iter().map(|kind| kind.name()).collect();
        named.sort_unstable();
        all.sort_unstable();
        assert_eq!(named, all);
    }

    #[test]
    fn what_cannot_happen_is_refused() {
        use FaultKind::{Bridge, Join, Kill, Partition, Wipe};
        assert!(refuse_impossible(&[Kill], Some(1)).is_ok());
        assert!(refuse_impossible(&[Kill, Partition], None).is_ok());
        assert!(refuse_impossible(&[Bridge, Join], Some(2)).is_ok());
        assert!(refuse_impossible(&[Join], Some(1)).is_err());
        assert!(refuse_impossible(&[Wipe, Join], Some(2)).is_err());
        let refusal = refuse_impossible(&[Kill, Partition], Some(1)).expect_err("it cannot");
        assert!(refusal.to_string().starts_with("--faults partition cannot happen with --nodes 1"), "{refusal}");
    }
}
