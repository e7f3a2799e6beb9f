//! Incidents that a node leaves beside its data when it stops.
//!
//! ```text
//! incident-0001764040000000    what `conflux replay FILE APP.js` reads; the number is when it was taken, in milliseconds
//!                              since 1970
//! ```

use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::DiskError;
use super::files::{Files, Open};
use super::segments::TEMPORARY;

const PREFIX: &str = "incident-";

/// How many are kept.
const KEPT_MAX: usize = 4;

fn name_of(taken_ms: u64) -> String {
    format!("{PREFIX}{taken_ms:016}")
}

/// When the incident of that name was taken, if it is one.
pub(super) fn taken_of(name: &str) -> Option<u64> {
    let taken_ms = name.strip_prefix(PREFIX)?.parse().ok()?;
    (name_of(taken_ms) == name).then_some(taken_ms)
}

/// Writes one, and removes the oldest of those that are too many.
pub(super) fn keep(files: &dyn Files, directory: &Path, taken_ms: u64, pieces: &[Bytes]) -> Result<PathBuf, DiskError> {
    let path = directory.join(name_of(taken_ms));
    let temporary = directory.join(name_of(taken_ms) + TEMPORARY);
    let list = files.list(directory).map_err(|error| DiskError::io("list", directory, &error))?;
    let mut others: Vec<u64> = list.iter().filter_map(|name| taken_of(name)).filter(|of| *of != taken_ms).collect();
    others.sort_unstable();
    // Before it is written: a disk that is almost full may have room for one only.
    for older in others.iter().take((others.len() + 1).saturating_sub(KEPT_MAX)) {
        let file = directory.join(name_of(*older));
        files.remove(&file).map_err(|error| DiskError::io("remove", &file, &error))?;
    }
    let written = write(files, &temporary, pieces)
        .and_then(|()| files.rename(&temporary, &path).map_err(|error| DiskError::io("rename", &temporary, &error)));
    if let Err(error) = written {
        // What cannot be removed now is removed at the next opening.
        let _ = files.remove(&temporary);
        return Err(error);
    }
    files.sync_directory(directory).map_err(|error| DiskError::io("sync", directory, &error))?;
    Ok(path)
}

fn write(files: &dyn Files, path: &Path, pieces: &[Bytes]) -> Result<(), DiskError> {
    let failed = |doing| move |error: std::io::Error| DiskError::io(doing, path, &error);
    let handle = files.open(path, Open::Create).map_err(failed("create"))?;
    let mut at = 0;
    for piece in pieces {
        handle.write_at(at, piece).map_err(failed("write to"))?;
        at += piece.len() as u64;
    }
    handle.sync().map_err(failed("sync"))
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Duration;

    use super::super::{Disk, FileDisk, SimulatedFiles};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_few_are_kept_each_whole_and_the_directory_stays_the_node_s() {
        let files = SimulatedFiles::new(0);
        let directory = Path::new("/data");
        let disk = FileDisk::simulated(files.clone(), directory, Duration::ZERO);
        let (_, journal) = disk.open("a").expect("it is new");
        let incidents = journal.incidents().expect("there is a directory");
        let kept = || {
            let mut names = files.list(directory).expect("it is there");
            names.retain(|name| name.starts_with(PREFIX));
            names.sort_unstable();
            names
        };
        for taken_ms in [5, 1, 2, 30, 4] {
            let pieces = [Bytes::from_static(b"an "), Bytes::from_static(b"incident")];
            let path = incidents.keep(taken_ms, &pieces).expect("nothing fails");
            assert_eq!(files.content(&path).as_deref(), Some(&b"an incident"[..]));
        }
        assert_eq!(kept(), [2, 4, 5, 30].map(name_of));
        // Again at the same instant: it takes the place of the other.
        incidents.keep(30, &[Bytes::from_static(b"another")]).expect("nothing fails");
        assert_eq!(kept(), [2, 4, 5, 30].map(name_of));
        // Whatever fails: nothing is left of it but those that were there, and they are whole.
        for nth in 1..=6 {
            files.fail(nth, ErrorKind::StorageFull);
            let failed = incidents.keep(40 + nth, &[Bytes::from_static(b"lost")]);
            files.heal();
            for name in kept() {
                let content = files.content(&directory.join(&name)).expect("it was listed");
                assert!(taken_of(&name).is_some() && !content.is_empty(), "{nth}: {failed:?} left {name}");
            }
        }
        drop(journal);
        let before = kept();
        assert!(!before.is_empty());
        drop(disk.open("a").expect("they are known"));
        assert_eq!(kept(), before);
    }
}
