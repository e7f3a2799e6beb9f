//! The data directory of `dev`, when the container is not what made what is in it.
//!
//! Going on with it begins a cluster of one from the node that holds the most, in a directory beside the others. Only when
//! that is done are the others renamed, and it takes its place; a start that finds it finishes what was cut off. What was
//! there before is never changed and never deleted: to go back is to rename it back.

use std::fs;
use std::path::{Path, PathBuf};

use conflux::{FileDisk, RecoverError, Recovered, Recovery};
use conflux_core::NodeName;

use crate::cluster::name_of;
use crate::exit::Refusal;
use crate::factory::Factory;
use crate::output::tell;
use crate::recover::taken_up;
use crate::values::NODES_MAX;

/// Has the nodes of a data directory be of this container: refuses, unless they are or it is meant that they become it.
pub(crate) fn settle<F: Factory>(factory: &F, data: &Path, size: usize, changed: bool) -> Result<(), Refusal> {
    let directory = Directory { path: data };
    directory.finish()?;
    let names = directory.names();
    let mut other = None;
    for name in &names {
        let found = conflux::other_code(&factory.make()?, name, &directory.disk(name));
        match found {
            Ok(found) => other = other.or(found),
            Err(error) if changed => return Err(directory.refusal(name, &error)),
            // The node tells it when it opens.
            Err(_) => {}
        }
    }
    let Some(other) = other else { return Ok(()) };
    let app = factory.name();
    if !changed {
        let data = data.display();
        return Err(Refusal::new(format!(
            "{app} is not what made the data in {data}: {other}. If it was changed on purpose, add --changed: it goes on with \
             them, and the data as they are now are set aside"
        )));
    }
    let (name, planned) = directory.fullest(factory, &names)?;
    if (0..size).all(|nth| name_of(nth) != name) {
        let nodes = (0..NODES_MAX).position(|nth| name_of(nth) == name).map_or(size, |nth| nth + 1);
        return Err(Refusal::new(format!("node {name:?} holds the most, and would not run: say --nodes {nodes}")));
    }
    let here = planned.voters.iter().filter(|voter| names.contains(voter)).count();
    if 2 * here <= planned.voters.len() {
        tell!(
            "only {here} of {} nodes that voted have data here: what others committed may be lost",
            planned.voters.len()
        );
    }
    let number = directory.begin(factory, &name)?;
    directory.finish()?;
    if let Some(made) = &planned.changed {
        tell!(
            "{app} goes on with what node {name} held up to index {}; {}",
            planned.index,
            taken_up(made, planned.index)
        );
    }
    let asides: Vec<String> = names.iter().map(|name| aside(name, number)).collect();
    tell!("the data as they were are in {}: {}", data.display(), asides.join(", "));
    Ok(())
}

/// Refuses to run so few nodes that those of the directory would wait for a majority of theirs, or be left beside a new
/// cluster.
pub(crate) fn enough(data: &Path, size: usize) -> Result<(), Refusal> {
    let names = Directory { path: data }.names();
    let run: Vec<NodeName> = (0..size).map(name_of).collect();
    let here = names.iter().filter(|name| run.contains(name)).count();
    if here == names.len() || 2 * here > names.len() {
        return Ok(());
    }
    let nodes = (0..NODES_MAX).filter(|nth| names.contains(&name_of(*nth))).max().map_or(size, |nth| nth + 1);
    let nodes_held = if names.len() == 1 { "1 node" } else { &format!("{} nodes", names.len()) };
    Err(Refusal::new(format!(
        "{} holds the data of {nodes_held}, {}, and --nodes {size} runs no majority of them: say --nodes {nodes}, or name \
         another directory",
        data.display(),
        names.join(", ")
    )))
}

/// What the data of a node are renamed to.
fn aside(name: &str, number: u64) -> String {
    format!("{name}.aside-{number}")
}

struct Directory<'a> {
    path: &'a Path,
}

impl Directory<'_> {
    /// The nodes that have data here, of however many there were.
    fn names(&self) -> Vec<NodeName> {
        (0..NODES_MAX).map(name_of).filter(|name| self.path.join(&**name).join("disk").exists()).collect()
    }

    fn disk(&self, name: &str) -> FileDisk {
        FileDisk::new(self.path.join(name))
    }

    fn refusal(&self, name: &str, error: &dyn std::fmt::Display) -> Refusal {
        let told = Refusal::in_flags(error).to_string();
        let place = self.path.join(name).display().to_string();
        if told.contains(&place) { Refusal::new(told) } else { Refusal::new(format!("{place}: {told}")) }
    }

    /// The node with the most in it, as the engine's elections have it: by term, and then by index.
    fn fullest<F: Factory>(&self, factory: &F, names: &[NodeName]) -> Result<(NodeName, Recovered), Refusal> {
        let mut fullest: Option<(NodeName, Recovered)> = None;
        for name in names {
            let recovery = Recovery::new(factory.make()?, name).changed(true);
            let planned = match recovery.plan(&self.disk(name)) {
                Ok(planned) => planned,
                Err(RecoverError::Empty) => continue,
                Err(error) => return Err(self.refusal(name, &error)),
            };
            let rank = |planned: &Recovered| (planned.term, planned.index);
            if fullest.as_ref().is_none_or(|(_, fullest)| rank(fullest) < rank(&planned)) {
                fullest = Some((name.clone(), planned));
            }
        }
        fullest.ok_or_else(|| Refusal::new(format!("no node has anything in {}", self.path.display())))
    }

    /// Begins a cluster of one with what a node holds, beside it. Gives the number under which the others are set aside.
    fn begin<F: Factory>(&self, factory: &F, name: &str) -> Result<u64, Refusal> {
        let number = (1..)
            .find(|number| (0..NODES_MAX).all(|nth| !self.path.join(aside(&name_of(nth), *number)).exists()))
            .expect("numbers do not end");
        let part = self.path.join(format!("{name}.part"));
        if part.exists() {
            // An attempt of ours that was cut off: all that is in it is still where it came from.
            fs::remove_dir_all(&part).map_err(|error| Refusal::of_file(&part, &error))?;
        }
        let recovery = Recovery::new(factory.make()?, name).changed(true);
        let done = recovery.recover_onto(&self.disk(name), &FileDisk::new(&part));
        done.map_err(|error| self.refusal(name, &error))?;
        self.rename(&part, &self.path.join(format!("{name}.next-{number}")))?;
        Ok(number)
    }

    /// Puts what was begun in its place, if anything was, and sets aside what was there.
    fn finish(&self) -> Result<(), Refusal> {
        let Some((name, number, next)) = self.next()? else { return Ok(()) };
        for other in self.names() {
            self.rename(&self.path.join(&*other), &self.path.join(aside(&other, number)))?;
        }
        self.rename(&next, &self.path.join(name))
    }

    /// What was begun and is not in its place.
    fn next(&self) -> Result<Option<(String, u64, PathBuf)>, Refusal> {
        let of_path = |error| Refusal::of_file(self.path, &error);
        for entry in fs::read_dir(self.path).map_err(of_path)? {
            let entry = entry.map_err(of_path)?;
            let file = entry.file_name();
            let parts = file.to_str().and_then(|file| file.split_once(".next-"));
            if let Some((name, Ok(number))) = parts.map(|(name, number)| (name, number.parse())) {
                return Ok(Some((name.to_owned(), number, entry.path())));
            }
        }
        Ok(None)
    }

    /// Durably: a later rename must not be there without an earlier one.
    fn rename(&self, from: &Path, to: &Path) -> Result<(), Refusal> {
        fs::rename(from, to).map_err(|error| Refusal::of_file(from, &error))?;
        // Where directories cannot be synced, the file system's own order is all there is.
        if cfg!(unix) {
            let synced = fs::File::open(self.path).and_then(|directory| directory.sync_all());
            synced.map_err(|error| Refusal::of_file(self.path, &error))?;
        }
        Ok(())
    }
}
