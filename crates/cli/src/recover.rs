//! `conflux recover` and `conflux restore`: a cluster is begun anew, while none of it runs.

use std::io::{IsTerminal, Write};
use std::path::Path;

use conflux::{Backup, Changed, FileDisk, Recovered, Recovery};
use conflux_core::{Digest, Index};

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
    changed: bool,
    consent: Consent,
) -> Result<Exit, Refusal> {
    // Opening a directory makes it.
    if !data.is_dir() {
        return Err(Refusal::new(format!("{} is no directory: name the data directory of {id:?}", data.display())));
    }
    let disk = FileDisk::new(data).moved(moved);
    let recovery = Recovery::new(factory.make()?, id).changed(changed);
    let planned = recovery.plan(&disk).map_err(Refusal::in_flags)?;
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
    let done = recovery.recover(&disk).map_err(Refusal::in_flags)?;
    say!("done: {id:?} is cluster {:016x}, generation {:x}", done.cluster, done.generation)?;
    next(id, &done)?;
    Ok(Exit::Good)
}

fn describe(id: &str, planned: &Recovered) -> Result<(), Refusal> {
    let Recovered { was, index, committed, term, voters, removed, changed, .. } = planned;
    let others: Vec<&str> = voters.iter().map(|name| &**name).filter(|name| name != &id).collect();
    say!(
        "{id:?} holds cluster {was:016x} up to index {index} of term {term}; it would go on alone, as another generation"
    )?;
    if *removed {
        say!("  it was removed from that cluster for good: what was committed after that is not here")?;
    } else if !voters.contains(id) {
        say!("  it had no vote there, as far as it knows: those that had one may hold more")?;
    }
    if let Some(changed) = changed {
        say!("  {}", taken_up(changed, *index))?;
        say!("  what it was is overwritten: copy the directory before, for whoever wants to go back")?;
    }
    if committed < index {
        say!(
            "  {} to {index} it did not know to be committed: they count as committed from then on",
            committed.next()
        )?;
    }
    say!(
        "  lost is what {} committed and this node had not received: compare them by a dry run on each, and take the \
         highest term, and of that the highest index",
        if others.is_empty() { "other nodes".to_owned() } else { others.join(" and ") }
    )?;
    say!("  nodes with data of the old cluster are refused from then on; with empty directories they join")
}

/// What becomes of data that other code made.
pub(crate) fn taken_up(changed: &Changed, index: Index) -> String {
    let Changed { version, code, saved, reduced } = changed;
    let code = if *code == Digest::default() { String::new() } else { format!(", code {code}") };
    let behind = match reduced {
        0 => format!("the state at index {index} is taken as it was saved; no action is reduced by the code at hand"),
        _ if saved.0 == 0 => {
            format!("all {reduced} actions are reduced by the code at hand, from its own initial state on")
        }
        1 => format!(
            "the state at index {saved} is taken as it was saved; 1 action behind it is reduced by the code at hand"
        ),
        _ => format!(
            "the state at index {saved} is taken as it was saved; {reduced} actions behind it are reduced by the code at hand"
        ),
    };
    format!("it was made by other code (version {version}{code}): {behind}")
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
pub(crate) fn restore<F: Factory>(
    factory: &F,
    id: &str,
    data: &Path,
    file: &Path,
    changed: bool,
) -> Result<Exit, Refusal> {
    let of_file = |error| Refusal::of_file(file, &error);
    let length = std::fs::metadata(file).map_err(of_file)?.len();
    if length > BACKUP_BYTES_MAX {
        let told = format!("{} has {length} bytes, and at most {BACKUP_BYTES_MAX} are read", file.display());
        return Err(Refusal::new(told));
    }
    let bytes = std::fs::read(file).map_err(of_file)?;
    let named = |error: &dyn std::fmt::Display| Refusal::new(format!("{}: {error}", file.display()));
    let backup = Backup::decode(&bytes).map_err(|error| named(&error))?;
    let recovery = Recovery::new(factory.make()?, id).changed(changed);
    let restored = recovery.restore(&FileDisk::new(data), &backup).map_err(Refusal::in_flags)?;
    say!(
        "{id:?} holds what cluster {:016x} was at index {}, as cluster {:016x}, generation {:x}",
        restored.was,
        restored.index,
        restored.cluster,
        restored.generation
    )?;
    if let Some(changed) = &restored.changed {
        say!("  {}", taken_up(changed, restored.index))?;
    }
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
