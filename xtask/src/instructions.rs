//! How many instructions the core's hot paths take. Times are noisy on machines that are shared; these are not: a change
//! that costs some is seen at once, whatever else runs.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::steps::{Failure, typed};
use crate::tools::{on_path, package};

/// What is counted, by its name in `crates/core/benches/hot_paths.rs`.
const PATHS: [&str; 8] = [
    "fork.batch of 1",
    "fork.batch of 1024",
    "batch.encode of 1",
    "batch.encode of 1024",
    "batch.decode of 1",
    "batch.decode of 1024",
    "store.apply of 1",
    "store.apply of 1024",
];

/// The counts that a change is held against.
const KNOWN: &str = "crates/core/benches/instructions.txt";

/// By how much a count may be above the known one, in percent: the system's allocator and its copying differ a little from
/// one release and one processor to the next.
const PERCENT_MAX: u64 = 8;

/// Counts, and fails where more is taken than is known; `bless` makes what is counted what is known.
pub(crate) fn check(root: &Path, bless: bool) -> Result<(), Failure> {
    package(root, "valgrind", on_path("valgrind"), "to count instructions: `sudo apt-get install valgrind`")?;
    let program = build(root)?;
    let mut counted = BTreeMap::new();
    for path in PATHS {
        counted.insert(path.to_owned(), count(root, &program, path)?);
    }
    let file = root.join(KNOWN);
    let failed = |error: std::io::Error| format!("{}: {error}", file.display());
    if bless {
        let text = counted.iter().fold(String::new(), |mut text, (path, count)| {
            let _ = writeln!(text, "{count:>12}  {path}");
            text
        });
        return std::fs::write(&file, text).map_err(failed);
    }
    let known = known(&std::fs::read_to_string(&file).map_err(failed)?)?;
    let mut above = Vec::new();
    for (path, count) in &counted {
        let known =
            known.get(path).ok_or_else(|| format!("{KNOWN} says nothing of {path:?}; write it anew (--bless)"))?;
        println!("     {count:>12}  {path} (known: {known})");
        if *count > known + known * PERCENT_MAX / 100 {
            above.push(format!("{path}: {count} instructions, and it was {known}"));
        }
    }
    if above.is_empty() {
        return Ok(());
    }
    let above = above.join("\n");
    Err(format!("{above}\nIf that is worth it, say why and run `cargo xtask instructions --bless`."))
}

fn known(text: &str) -> Result<BTreeMap<String, u64>, Failure> {
    let line = |line: &str| {
        let (count, path) = line.trim().split_once("  ")?;
        Some((path.to_owned(), count.parse().ok()?))
    };
    text.lines().map(|text| line(text).ok_or_else(|| format!("{KNOWN}: {text:?} is no count and name"))).collect()
}

/// Builds the bench. Cargo says where.
fn build(root: &Path) -> Result<PathBuf, Failure> {
    let line = "cargo bench -p conflux-core --bench hot_paths --no-run --message-format json-render-diagnostics";
    println!("     {line}");
    let output = typed(root, line).stderr(Stdio::inherit()).output();
    let output = output.map_err(|error| format!("cannot run: {line}\n{error}"))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let executable = said.lines().rev().find_map(|line| {
        let path = line.split_once("\"executable\":\"")?.1.split_once('"')?.0;
        line.contains("\"name\":\"hot_paths\"").then(|| PathBuf::from(path))
    });
    executable.ok_or_else(|| format!("failed ({}): {line}", output.status))
}

fn count(root: &Path, program: &Path, path: &str) -> Result<u64, Failure> {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=*hot_paths::measured*"])
        .arg(program)
        .args(["--count", path])
        .current_dir(root)
        .output()
        .map_err(|error| format!("valgrind cannot be run: {error}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = said.lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok());
    match collected {
        Some(count) if count > 0 => Ok(count),
        _ => Err(format!("nothing was counted of {path:?}:\n{said}")),
    }
}
