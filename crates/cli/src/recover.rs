//! `conflux recover` and `conflux restore`: a cluster is begun anew, while none of it runs.

use std::io::{IsTerminal, Write};
use std::path::Path;

use conflux::{Backup, FileDisk, Recovered};

use crate::exit::{Exit, Refusal};
use crate::factory::Factory;
use crate::output::say;

/// The most bytes of a backup that are read.
const BACKUP_BYTES_MAX: u64 = 64 << 30;

/// What is to be done with a disk of a lost majority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Consent {
    /// Only say what would be.
    DryRun,
    /// It is meant.
    Given,
    /// Ask, where somebody can answer.
    Ask,
}

/// Begins a cluster of one with what a data directory holds.
pub(crate) fn recover<F: Factory>(
    factory: &F,
    id: &str,
    data: &Path,
    moved: bool,
    consent: Consent,
) -> Result<Exit, Refusal> {
    // Opening a directory makes it.
    if !data.is_dir() {
        return Err(Refusal::new(format!("{} is no directory: name the data directory of {id:?}", data.display())));
    }
    let disk = FileDisk::new(data).moved(moved);
    let planned = conflux::recover(factory.make()?, id, &disk, true).map_err(Refusal::in_flags)?;
    describe(id, &planned)?;
    let meant = match consent {
        Consent::DryRun => return Ok(Exit::Good),
        Consent::Given => true,
        Consent::Ask if std::io::stdin().is_terminal() => ask(id)?,
        Consent::Ask => false,
    };
    if !meant {
        return Err(Refusal::new("nothing was changed; --yes does it"));
    }
    let done = conflux::recover(factory.make()?, id, &disk, false).map_err(Refusal::in_flags)?;
    say!("done: {id:?} is cluster {:016x}, generation {:x}", done.cluster, done.generation)?;
    next(id, &done)?;
    Ok(Exit::Good)
}

fn describe(id: &str, planned: &Recovered) -> Result<(), Refusal> {
    let Recovered { was, index, committed, voters, .. } = planned;
    let others: Vec<&str> = voters.iter().map(|name| &**name).filter(|name| name != &id).collect();
    say!("{id:?} holds cluster {was:016x} up to index {index}; it would go on alone, as another generation")?;
    if committed < index {
        say!(
            "  {} to {index} it did not know to be committed: they count as committed from then on",
            committed.next()
        )?;
    }
    say!(
        "  lost is what {} committed and this node had not received: compare their indexes by a dry run on each, and take \
         the highest",
        if others.is_empty() { "other nodes".to_owned() } else { others.join(" and ") }
    )?;
    say!("  nodes with data of the old cluster are refused from then on; with empty directories they join")
}

fn ask(id: &str) -> Result<bool, Refusal> {
    let mut answer = String::new();
    let mut output = std::io::stdout();
    let asked = write!(output, "Type the node's id to go on: ")
        .and_then(|()| output.flush())
        .and_then(|()| std::io::stdin().read_line(&mut answer));
    asked.map_err(|error| Refusal::new(format!("no answer can be read: {error}")))?;
    Ok(answer.trim() == id)
}

/// Puts a backup onto an empty data directory.
pub(crate) fn restore<F: Factory>(factory: &F, id: &str, data: &Path, file: &Path) -> Result<Exit, Refusal> {
    let of_file = |error| Refusal::of_file(file, &error);
    let length = std::fs::metadata(file).map_err(of_file)?.len();
    if length > BACKUP_BYTES_MAX {
        let told = format!("{} has {length} bytes, and at most {BACKUP_BYTES_MAX} are read", file.display());
        return Err(Refusal::new(told));
    }
    let bytes = std::fs::read(file).map_err(of_file)?;
    let named = |error: &dyn std::fmt::Display| Refusal::new(format!("{}: {error}", file.display()));
    let backup = Backup::decode(&bytes).map_err(|error| named(&error))?;
    let restored = conflux::restore(factory.make()?, id, &FileDisk::new(data), &backup).map_err(Refusal::in_flags)?;
    say!(
        "{id:?} holds what cluster {:016x} was at index {}, as cluster {:016x}, generation {:x}",
        restored.was,
        restored.index,
        restored.cluster,
        restored.generation
    )?;
    next(id, &restored)?;
    Ok(Exit::Good)
}

fn next(id: &str, recovered: &Recovered) -> Result<(), Refusal> {
    say!("  start {id:?} again as before; it serves alone")?;
    let others: Vec<&str> = recovered.voters.iter().map(|name| &**name).filter(|name| name != &id).collect();
    match others.as_slice() {
        [] => say!(
            "  other nodes join with empty data directories; those without a seat vote after `conflux member add NAME`"
        ),
        others => say!("  then start {} with empty data directories: they join, and vote again", others.join(", ")),
    }
}
