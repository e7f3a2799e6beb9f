//! Goes through the model by hand: in other bounds, deeper, or with a rule left out.
//!
//! ```sh
//! cargo run --release -p conflux-model -- leaders --terms 4 --minutes 10
//! cargo run --release -p conflux-model -- pipeline --mutant ChainUnchecked
//! ```

use std::process::ExitCode;
use std::time::{Duration, Instant};

use conflux_model::{Bounds, Model, Mutant};
use stateright::{Checker, Expectation, Model as _};

const USAGE: &str = "usage: conflux-model pipeline|batches|leaders|snapshots|sessions [--mutant NAME] [--depth N] [--minutes N] \
     [--threads N] [--calls-of-a N] [--calls-of-b N] [--terms N] [--in-flight N] [--batch N] [--refusals N] [--losses N] [--give-ups N] [--sweeps N] \
     [--snapshots N] [--crashes N]";

struct Plan {
    model: Model,
    depth: usize,
    minutes: u64,
    threads: usize,
}

fn plan(arguments: &[String]) -> Option<Plan> {
    let (name, options) = arguments.split_first()?;
    let bounds = match name.as_str() {
        "pipeline" => Bounds::PIPELINE,
        "batches" => Bounds::BATCHES,
        "leaders" => Bounds::LEADERS,
        "snapshots" => Bounds::SNAPSHOTS,
        "sessions" => Bounds::SESSIONS,
        _ => return None,
    };
    let mut plan = Plan { model: Model::new(bounds), depth: 0, minutes: 60, threads: 2 };
    for option in options.chunks(2) {
        let [option, value] = option else { return None };
        if option == "--mutant" {
            let named = |mutant: &Mutant| format!("{mutant:?}") == *value;
            plan.model.mutant = Mutant::ALL.into_iter().find(named)?;
            continue;
        }
        let (bounds, number): (_, u8) = (&mut plan.model.bounds, value.parse().ok()?);
        match option.as_str() {
            "--depth" => plan.depth = number.into(),
            "--minutes" => plan.minutes = number.into(),
            "--threads" => plan.threads = number.into(),
            "--calls-of-a" => bounds.calls[0] = number,
            "--calls-of-b" => bounds.calls[1] = number,
            "--terms" => bounds.terms = number,
            "--in-flight" => bounds.in_flight = number.into(),
            "--batch" => bounds.batch = number,
            "--refusals" => bounds.refusals = number,
            "--losses" => bounds.losses = number,
            "--give-ups" => bounds.give_ups = number,
            "--sweeps" => bounds.sweeps = number,
            "--snapshots" => bounds.snapshots = number,
            "--crashes" => bounds.crashes = number,
            _ => return None,
        }
    }
    Some(plan)
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(Plan { model, depth, minutes, threads }) = plan(&arguments) else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    println!("{:?}, {:?}", model.bounds, model.mutant);
    let begun = Instant::now();
    let timeout = Duration::from_secs(60 * minutes);
    let properties = model.properties();
    let checker = model.checker().threads(threads).target_max_depth(depth).timeout(timeout).spawn_dfs().join();
    let (unique, generated, reached) = (checker.unique_state_count(), checker.state_count(), checker.max_depth());
    let end = if begun.elapsed() < timeout { "" } else { ", and the time is over" };
    println!("{unique} states, reached in {generated} ways, at most {reached} deep, in {:?}{end}", begun.elapsed());
    let mut holds = true;
    for property in properties {
        match (property.expectation, checker.discovery(property.name)) {
            (Expectation::Sometimes, found) => {
                println!("{}: {}", property.name, if found.is_some() { "yes" } else { "no" });
            }
            (_, None) => println!("{}: it holds", property.name),
            (_, Some(path)) => {
                holds = false;
                println!("{}: it is broken by", property.name);
                for step in path.clone().into_actions() {
                    println!("    {step}");
                }
                println!("{:#?}", path.last_state());
            }
        }
    }
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
