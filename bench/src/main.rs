//! Measures conflux beside its peers. `cargo xtask bench` builds and runs it.

mod alone;
mod compare;
mod figures;
mod load;
mod peer;
mod plot;
mod subject;
mod usage;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use tokio::runtime::Runtime;

use self::alone::{Measure, Section, member};
use self::load::Length;
use self::peer::Peer;

/// Measures conflux beside its peers, in one go on one machine
#[derive(Parser)]
#[command(name = "conflux-bench")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// All subjects in turns, and the results as a page with a plot
    Compare(CompareOptions),
    /// One peer: a line of JSON for each number of callers
    Peer {
        #[arg(value_enum)]
        peer: Peer,
        #[command(flatten)]
        load: LoadOptions,
    },
    /// Conflux by itself: all sections, or a piece of the page for one
    Alone {
        #[arg(value_enum)]
        section: Option<Section>,
        #[command(flatten)]
        options: AloneOptions,
    },
    /// A node that is told what to do by lines
    #[command(hide = true)]
    Member { name: String, directory: PathBuf },
}

#[derive(Args)]
struct CompareOptions {
    /// The program `conflux`, as it is released
    #[arg(long, value_name = "FILE")]
    conflux: PathBuf,
    /// Where the page and the plot are written
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// How often each row is measured: ratios are medians over rounds
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    #[command(flatten)]
    load: LoadOptions,
}

#[derive(Args, Clone)]
struct LoadOptions {
    /// How many callers ask at once, each awaiting its answer; a row for each number
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1, 16, 64, 256, 1024, 4096])]
    callers: Vec<usize>,
    /// How long each row is measured
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    seconds: Duration,
}

#[derive(Args)]
struct AloneOptions {
    /// The program `conflux`, as it is released
    #[arg(long, value_name = "FILE")]
    conflux: PathBuf,
    /// Where the page is written, when all is measured
    #[arg(long, value_name = "DIR", default_value = ".")]
    out: PathBuf,
    /// How long each row is measured
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    seconds: Duration,
    /// How often a leader is killed
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    kills: u32,
    /// The largest state
    #[arg(long, value_name = "BYTES", default_value_t = 1_000_000_000)]
    state_max: usize,
    /// The longest history
    #[arg(long, value_name = "ACTIONS", default_value_t = 10_000_000)]
    history_max: u64,
}

fn seconds(word: &str) -> Result<Duration, String> {
    let parsed: Option<f64> = word.parse().ok();
    let sound = parsed.filter(|seconds| *seconds > 0.0 && *seconds <= 3600.0);
    sound.map(Duration::from_secs_f64).ok_or_else(|| "it is a number above 0, and 3600 at most".to_owned())
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        Command::Compare(options) => compare::compare(&options),
        Command::Peer { peer, load } => measure(peer, &load),
        Command::Alone { section, options } => alone(section, options),
        Command::Member { name, directory } => {
            runtime().and_then(|runtime| runtime.block_on(member::run(&name, &directory)))
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("conflux-bench: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn measure(peer: Peer, options: &LoadOptions) -> Result<(), String> {
    let length = Length { warm_up: options.seconds / 4, measured: options.seconds };
    let runtime = runtime()?;
    for callers in &options.callers {
        let row = runtime.block_on(peer.measure(*callers, length))?;
        println!("{}", row.json());
    }
    // What a peer cannot end in order ends here.
    runtime.shutdown_background();
    Ok(())
}

fn alone(section: Option<Section>, options: AloneOptions) -> Result<(), String> {
    let AloneOptions { conflux, out, seconds, kills, state_max, history_max } = options;
    let measure = Measure { conflux, seconds, kills: kills as usize, state_max, history_max };
    let Some(section) = section else { return alone::all(&measure, &out) };
    print!("{}", runtime()?.block_on(section.measure(&measure))?);
    Ok(())
}

fn runtime() -> Result<Runtime, String> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| error.to_string())
}
