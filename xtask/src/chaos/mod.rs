//! Real nodes are killed, stopped, parted, wiped, added and removed while clients call; then every answer is checked.
//!
//! `plan` says what is broken and when, `faults` does it to the `cluster`; `callers` and `readers` are the clients, which
//! write a `record`; `check` holds it against the promises.

mod callers;
mod check;
mod client;
mod cluster;
mod faults;
mod network;
pub(crate) mod options;
mod plan;
mod process;
mod proxy;
mod random;
mod readers;
mod record;
mod report;
mod run;
mod spaces;
mod world;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use self::options::{Medium, Options};
use self::plan::Plan;
use self::record::seconds;
use self::run::Run;
use self::world::LOOK_EVERY;
use crate::steps::Failure;
use crate::{examples, tools};

/// How long a run that is interrupted may take to end.
const CLEAN_END_MAX: Duration = Duration::from_secs(2);

/// How a run ended.
pub(crate) enum Ended {
    Good,
    Interrupted,
}

/// Runs a plan with the program that was built.
pub(crate) fn run(root: &Path, program: &Path, options: &Options) -> Result<Ended, Failure> {
    let Options { seed, nodes, length, medium, .. } = options;
    if options.plan {
        return Ok(show(options));
    }
    if !program.exists() {
        let program = program.display();
        return Err(format!("{program} is not there: build it first, with `cargo build --workspace`"));
    }
    if *medium == Medium::Redis && !tools::on_path("redis-server") {
        return Err("redis-server is missing, for --channel redis: `sudo apt-get install redis-server`".to_owned());
    }
    println!(
        "     seed {seed}: {nodes} nodes by {}, {} callers, faults for {}",
        medium.word(),
        options.callers,
        seconds(*length)
    );
    let directory = directory(root, *seed)?;
    let interrupted = listen_for_interrupts()?;
    let run = Run::new(&directory, program, options, interrupted.clone());
    let result = run.and_then(Run::finish);
    let kept = format!("what the nodes wrote and hold is in {}", directory.display());
    match result {
        Ok(told) => {
            print!("{told}");
            if options.keep {
                println!("{kept}");
            } else if let Err(error) = std::fs::remove_dir_all(&directory) {
                return Err(format!("{} cannot be removed: {error}", directory.display()));
            }
            Ok(Ended::Good)
        }
        Err(_) if interrupted.load(Ordering::SeqCst) => {
            println!("interrupted: all nodes were killed; {kept}");
            Ok(Ended::Interrupted)
        }
        Err(failure) => Err(format!("{failure}\n{kept}\nthe same plan again: cargo xtask chaos {}", again(options))),
    }
}

/// The plan, as far as there is time for it when nothing takes longer than planned.
fn show(options: &Options) -> Ended {
    let mut at = Duration::ZERO;
    for step in Plan::new(options) {
        at += Duration::from_millis(step.calm_ms);
        if at > options.length {
            break;
        }
        println!("{:>8}  {step}", seconds(at));
        at += Duration::from_millis(step.fault.hold_ms().unwrap_or(1_000));
    }
    Ended::Good
}

/// The options of a run, as they are written.
fn again(options: &Options) -> String {
    let Options { length, seed, nodes, callers, medium, ground, faults, .. } = options;
    let faults: Vec<&str> = faults.iter().map(|kind| kind.word()).collect();
    let (minutes, medium, faults) = (length.as_secs_f64() / 60.0, medium.word(), faults.join(","));
    let network = ground.word().map_or_else(String::new, |word| format!(" --network {word}"));
    format!(
        "--minutes {minutes} --seed {seed} --nodes {nodes} --callers {callers} --channel {medium}{network} --faults {faults}"
    )
}

fn directory(root: &Path, seed: u64) -> Result<PathBuf, Failure> {
    let directory = examples::target(root).join("chaos").join(format!("seed-{seed}-{}", std::process::id()));
    std::fs::create_dir_all(&directory).map_err(|error| format!("cannot make {}: {error}", directory.display()))?;
    Ok(directory)
}

/// Ctrl-C and its like end the run. What takes too long then is not waited for; no process is left behind either way.
fn listen_for_interrupts() -> Result<Arc<AtomicBool>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        let flag = signal_hook::flag::register(signal, interrupted.clone());
        flag.map_err(|error| format!("signals cannot be heard: {error}"))?;
    }
    let watched = interrupted.clone();
    std::thread::spawn(move || {
        while !watched.load(Ordering::SeqCst) {
            std::thread::sleep(LOOK_EVERY);
        }
        std::thread::sleep(CLEAN_END_MAX);
        process::kill_all();
        spaces::remove_all();
        println!("interrupted: all nodes were killed");
        std::process::exit(130);
    });
    Ok(interrupted)
}
