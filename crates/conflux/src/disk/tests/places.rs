//! Whose directory it is: locks, copies, moves, other nodes, and what a message says.

use std::path::Path;

use bytes::Bytes;

use super::super::{Change, Disk, DiskError, FileDisk, Files, Keep, SimulatedFiles};
use super::simulated;

fn used(files: &SimulatedFiles) {
    let (_, journal) = simulated(files).open("a").expect("it is new");
    journal.write_now(Change::Identity(Bytes::from_static(b"me"))).expect("nothing fails");
    journal.write_now(Change::Vote(Bytes::from_static(b"a vote"))).expect("nothing fails");
}

#[tokio::test(start_paused = true)]
async fn a_copy_is_refused_until_it_is_said_to_be_no_copy() {
    let files = SimulatedFiles::new(0);
    used(&files);
    let (from, to) = (Path::new("/data/a"), Path::new("/elsewhere"));
    files.create_directory(to).expect("nothing fails");
    files.sync_directory(Path::new("/")).expect("nothing fails");
    files.copy(from, to);
    let disk = FileDisk::simulated(files.clone(), to, std::time::Duration::ZERO);
    let Err(error) = disk.open("a") else { panic!("a copy was opened") };
    assert!(matches!(error, DiskError::Moved { .. }));
    assert!(error.to_string().contains("was made as another directory"), "{error}");

    // It stays refused until the node has noted who it is now.
    drop(disk.clone().moved(true).open("a").expect("it was said to be moved"));
    assert!(matches!(disk.open("a"), Err(DiskError::Moved { .. })));
    let (contents, journal) = disk.clone().moved(true).open("a").expect("it was said to be moved");
    assert!(contents.moved);
    assert_eq!(contents.identity.as_deref(), Some(&b"me"[..]));
    journal.write_now(Change::Identity(Bytes::from_static(b"another"))).expect("nothing fails");
    files.crash(Keep::Nothing);
    drop(journal);
    let (contents, _) = disk.moved(true).open("a").expect("it is at home here now");
    assert!(!contents.moved);
    assert_eq!(contents.identity.as_deref(), Some(&b"another"[..]));
    assert_eq!(contents.vote.as_deref(), Some(&b"a vote"[..]));
    // Where it came from is as it was.
    assert_eq!(simulated(&files).open("a").expect("it is at home").0.identity.as_deref(), Some(&b"me"[..]));
}

#[tokio::test(start_paused = true)]
async fn another_machine_is_another_place() {
    let files = SimulatedFiles::new(0);
    used(&files);
    files.set_machine(Some("another"));
    let Err(error) = simulated(&files).open("a") else { panic!("it was opened on another machine") };
    assert!(error.to_string().contains("was made on another machine"), "{error}");
    files.set_machine(None);
    simulated(&files).open("a").expect("a machine without an id is not held against it");
}

#[tokio::test(start_paused = true)]
async fn another_node_is_refused() {
    let files = SimulatedFiles::new(0);
    used(&files);
    let Err(error) = simulated(&files).open("b") else { panic!("it was opened as another node's") };
    assert_eq!(
        error.to_string(),
        "the disk /data/a belongs to node \"a\", not to \"b\": give each node a disk of its own"
    );
}

#[tokio::test(start_paused = true)]
async fn directories_that_were_made_are_there_after_a_crash() {
    let path = Path::new("/data/deep/er/a");
    // Also those that an opening made which came no further.
    for cut_off in 0..12 {
        let files = SimulatedFiles::new(cut_off);
        let disk = FileDisk::simulated(files.clone(), path, std::time::Duration::ZERO);
        if cut_off > 0 {
            files.crash_at(cut_off, Keep::Everything);
            drop(disk.open("a"));
            files.crash(Keep::Everything);
        }
        let (_, journal) = disk.open("a").expect("nothing fails");
        journal.write_now(Change::Vote(Bytes::from_static(b"a vote"))).expect("nothing fails");
        files.crash(Keep::Nothing);
        drop(journal);
        let (contents, _) = disk.open("a").unwrap_or_else(|error| panic!("cut off at {cut_off}: {error}"));
        assert_eq!(contents.vote.as_deref(), Some(&b"a vote"[..]), "cut off at {cut_off}");
    }
}

#[test]
fn real_directories_are_told_apart() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let path = directory.path().join("deep/er");
    let (_, journal) = FileDisk::new(&path).open("a").expect("the directory is made");
    let Err(error) = FileDisk::new(&path).open("a") else { panic!("it was opened twice") };
    let told = format!("the disk {} is in use in this process: close that node first", path.display());
    assert!(error.to_string().starts_with(&told), "{error}");
    journal.write_now(Change::Vote(Bytes::from_static(b"a vote"))).expect("nothing fails");
    drop(journal);

    // A directory that is renamed stays what it is; a copy is another one.
    let renamed = directory.path().join("renamed");
    std::fs::rename(&path, &renamed).expect("nothing fails");
    drop(FileDisk::new(&renamed).open("a").expect("it is the same directory"));
    let copy = directory.path().join("copy");
    std::fs::create_dir(&copy).expect("nothing fails");
    for entry in std::fs::read_dir(&renamed).expect("it is there") {
        let entry = entry.expect("it is there");
        std::fs::copy(entry.path(), copy.join(entry.file_name())).expect("nothing fails");
    }
    let opened = FileDisk::new(&copy).open("a");
    #[cfg(unix)]
    assert!(matches!(opened, Err(DiskError::Moved { .. })));
    #[cfg(not(unix))]
    drop(opened);
    let (contents, _) = FileDisk::new(&copy).moved(true).open("a").expect("it was said to be moved");
    assert_eq!(contents.vote.as_deref(), Some(&b"a vote"[..]));

    let file = directory.path().join("file");
    std::fs::write(&file, "no directory").expect("nothing fails");
    let Err(error) = FileDisk::new(&file).open("a") else { panic!("a file was taken for a directory") };
    assert!(matches!(error, DiskError::Foreign { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn what_a_node_holds_is_for_its_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let data = directory.path().join("a");
    let (_, journal) = FileDisk::new(&data).open("a").expect("it is new");
    journal.write_now(Change::Vote(Bytes::from_static(b"a vote"))).expect("nothing fails");
    drop(journal);
    let mode = |path: &Path| path.metadata().expect("it is there").permissions().mode() & 0o077;
    assert_eq!(mode(&data), 0);
    let files: Vec<_> =
        std::fs::read_dir(&data).expect("it is ours").map(|entry| entry.expect("it is ours").path()).collect();
    assert!(!files.is_empty());
    for file in files.iter().filter(|file| !file.ends_with("lock")) {
        assert_eq!(mode(file), 0, "{}", file.display());
    }
}
