//! Seeds of the simulation, one after another, for as long as one likes.

use std::path::Path;
use std::time::SystemTime;

use crate::steps::{Failure, run};

/// Where to begin, and for how long.
pub(crate) struct Options {
    minutes: f64,
    from: u64,
}

/// A year.
const MINUTES_MAX: f64 = 525_600.0;

pub(crate) const HELP: &str = "\
Runs seeds of the simulation for a while, past those that break a promise: each is told as it is found.

Usage: cargo xtask soak [--minutes N] [--from SEED]

Options:
  --minutes N   for how long (default: 10)
  --from SEED   the first seed (default: one that follows from the time of day, and is told)

Examples:
  cargo xtask soak --minutes 60
  cargo xtask soak --minutes 5 --from 1000

A test of the library shows one seed that failed: `SIM_SEED=N` prints all of it, `SIM_SEEDS=N..N+1` shrinks it:
  SIM_SEED=7 cargo nextest run -p conflux-sim --no-capture -E 'test(=of_the_environment)'";

impl Options {
    pub(crate) fn parse(words: &[&str]) -> Result<Options, String> {
        let day = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let mut options = Options { minutes: 10.0, from: day.as_secs() * 1000 };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("soak: {word} wants a value"))?;
            match *word {
                "--minutes" => {
                    options.minutes = value
                        .parse()
                        .ok()
                        .filter(|minutes: &f64| *minutes > 0.0 && *minutes <= MINUTES_MAX)
                        .ok_or_else(|| {
                            format!("soak: --minutes is above 0, and {MINUTES_MAX} at most, not {value:?}")
                        })?;
                }
                "--from" => {
                    options.from = value.parse().map_err(|_| format!("soak: --from is a seed, not {value:?}"))?;
                }
                other => return Err(format!("soak: there is no option {other:?}")),
            }
        }
        Ok(options)
    }
}

/// Runs them.
pub(crate) fn soak(root: &Path, options: &Options) -> Result<(), Failure> {
    // No runner of tests in between: it would end what takes long.
    let line = "cargo test --profile soak -p conflux-sim --test seeds -- --exact of_the_environment --nocapture";
    let (seeds, minutes) = (format!("{}..{}", options.from, u64::MAX), options.minutes.to_string());
    run(root, line, &[("SIM_SEEDS", &seeds), ("SIM_MINUTES", &minutes)])
}
