//! A container in JavaScript beside one in Rust.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use super::{Measure, Table};
use crate::figures::{median, rounded, time};

/// Does what the built-in counter does.
const COUNTER: &str = "
export const initialState = 0
export const methods = { add: (_, number) => ({ type: 'ADD', number }) }
export const reduce = (count, action) => count + action.number
";

const ROUNDS: usize = 5;

pub(super) fn measure(measure: &Measure) -> Result<String, String> {
    let mut table = Table::new(
        "Scripts",
        &format!("A counter in JavaScript beside one in Rust, in turns; medians of {ROUNDS} rounds."),
        &["callers", "JavaScript, a second", "p50", "Rust, a second", "p50", "to Rust"],
    );
    let place = tempfile::tempdir().map_err(|error| error.to_string())?;
    let script = place.path().join("counter.js");
    std::fs::write(&script, COUNTER).map_err(|error| error.to_string())?;
    let script = script.to_string_lossy().into_owned();
    for callers in [1, 64, 1024] {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let javascript = bench(&measure.conflux, &[&script, "--call", "add 1"], callers, measure)?;
            rounds.push((javascript, bench(&measure.conflux, &[], callers, measure)?));
        }
        let of = |of: &dyn Fn(&((f64, f64), (f64, f64))) -> f64| median(rounds.iter().map(of));
        table.row(&[
            callers.to_string(),
            rounded(of(&|round| round.0.0)),
            time(of(&|round| round.0.1)),
            rounded(of(&|round| round.1.0)),
            time(of(&|round| round.1.1)),
            format!("{:.2}", of(&|round| round.0.0 / round.1.0)),
        ]);
    }
    Ok(table.0)
}

/// A row of `conflux bench`: its rate, and its p50 in microseconds.
fn bench(conflux: &Path, words: &[&str], callers: usize, measure: &Measure) -> Result<(f64, f64), String> {
    let output = Command::new(conflux)
        .args(["bench", "--json", "--callers", &callers.to_string()])
        .args(["--seconds", &measure.seconds.as_secs_f64().to_string()])
        .args(words)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{}: {error}", conflux.display()))?;
    let said: Value = serde_json::from_slice(&output.stdout)
        .map_err(|_| String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
    let row = &said["rows"][0];
    let number = |name: &str| row[name].as_f64().ok_or_else(|| format!("a row has no {name}"));
    Ok((number("performs_per_second")?, number("p50_us")?))
}
