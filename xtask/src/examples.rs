//! Every example is run to its end, and what it prints is compared with a file.
//!
//! `examples/NAME.js` is fed with `NAME.lines`, and so is the Rust example in `examples/NAME/` when there is such a
//! file; without one, a Rust example runs with no arguments. The standard output is compared with `NAME.expected`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::steps::{Failure, Ran, feed};

/// How long an example may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What to do with the output.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compare {
    /// It must be what the file says.
    Check,
    /// It becomes what the file says.
    Write,
}

/// The directory that the workspace is built into.
pub(crate) fn target(root: &Path) -> PathBuf {
    root.join(std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), PathBuf::from))
}

/// A program in the directory that the workspace is built into, in the profile `dev`.
pub(crate) fn built(root: &Path, name: &str) -> PathBuf {
    target(root).join("debug").join(format!("{name}{}", std::env::consts::EXE_SUFFIX))
}

/// Runs all examples.
pub(crate) fn all(root: &Path, compare: Compare) -> Result<(), Failure> {
    let directory = root.join("examples");
    let mut names: Vec<PathBuf> = fs::read_dir(&directory)
        .and_then(|entries| entries.map(|entry| entry.map(|entry| entry.path())).collect())
        .map_err(|error| format!("cannot list {}: {error}", directory.display()))?;
    names.sort();
    for path in names {
        let name = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if path.extension().is_some_and(|extension| extension == "js") {
            let app = format!("examples/{name}.js");
            let lines = read(&directory.join(format!("{name}.lines")))?;
            one(&directory, name, compare, || feed(root, &built(root, "conflux"), &["dev", &app], &lines, PATIENCE))?;
        } else if path.join("Cargo.toml").exists() {
            let program = built(root, &format!("conflux-example-{name}"));
            let lines = directory.join(format!("{name}.lines"));
            one(&directory, name, compare, || match lines.exists() {
                true => feed(root, &program, &["dev"], &read(&lines)?, PATIENCE),
                false => feed(root, &program, &[], "", PATIENCE),
            })?;
        }
    }
    Ok(())
}

fn one(
    directory: &Path,
    name: &str,
    compare: Compare,
    work: impl FnOnce() -> Result<Ran, Failure>,
) -> Result<(), Failure> {
    println!("     {name}");
    let ran = work()?;
    if ran.status != Some(0) {
        return Err(format!("example {name} ended with {:?}\n{}{}", ran.status, ran.stdout, ran.stderr));
    }
    let file = directory.join(format!("{name}.expected"));
    if compare == Compare::Write {
        return fs::write(&file, ran.stdout).map_err(|error| format!("cannot write {}: {error}", file.display()));
    }
    let expected = read(&file)?;
    if ran.stdout == expected {
        return Ok(());
    }
    let differs = ran.stdout.lines().zip(expected.lines()).position(|(came, wanted)| came != wanted);
    let line = differs.unwrap_or_else(|| ran.stdout.lines().count().min(expected.lines().count()));
    Err(format!(
        "example {name} printed something else than {} says, at line {}\n  expected: {}\n  came:     {}\n\
         if that is right, `cargo xtask bless` writes it down\n{}",
        file.display(),
        line + 1,
        expected.lines().nth(line).unwrap_or("(the end)"),
        ran.stdout.lines().nth(line).unwrap_or("(the end)"),
        ran.stderr,
    ))
}

/// The text of a file.
pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
}
