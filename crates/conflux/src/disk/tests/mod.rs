//! The disks against their contract, and the one in files against everything that can happen to files.

mod damage;
mod golden;
mod hostile;
mod places;
mod torture;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;

use super::{Change, Disk, DiskError, FileDisk, MemoryDisk, SimulatedFiles, contract};

fn simulated(files: &SimulatedFiles) -> FileDisk {
    FileDisk::simulated(files.clone(), Path::new("/data/a"), Duration::from_millis(1))
}

#[test]
fn memory_keeps_the_contract() {
    contract::all(|| Arc::new(MemoryDisk::new()));
}

#[tokio::test(start_paused = true)]
async fn simulated_files_keep_the_contract() {
    contract::all(|| Arc::new(simulated(&SimulatedFiles::new(1))));
    contract::all(|| Arc::new(simulated(&SimulatedFiles::new(1)).segment_bytes(600)));
}

#[test]
fn real_files_keep_the_contract() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let made = AtomicU64::new(0);
    for segment_bytes in [8 << 20, 3000] {
        contract::all(|| {
            let number = made.fetch_add(1, Ordering::Relaxed);
            let path = directory.path().join(number.to_string());
            Arc::new(FileDisk::new(path).segment_bytes(segment_bytes)) as Arc<dyn Disk>
        });
    }
}

/// A change of which it cannot be told what became of it ends the disk: later ones are refused, and nobody waits for ever.
fn who_breaks_on_hearing_ends_the_disk(disk: &FileDisk) {
    let (_, journal) = disk.open("a").expect("it is new");
    let (told, heard) = std::sync::mpsc::channel();
    journal.write(Change::Vote(Bytes::from_static(b"one")), Box::new(|_| panic!("it cannot bear it")));
    for _ in 0..3 {
        let told = told.clone();
        journal.write(Change::Vote(Bytes::from_static(b"two")), Box::new(move |result| drop(told.send(result))));
    }
    // This one may have gone out with the first, and is durable then.
    let _ = journal.write_now(Change::Vote(Bytes::from_static(b"three")));
    let refused = journal.write_now(Change::Vote(Bytes::from_static(b"four"))).expect_err("it has ended");
    assert!(matches!(&refused, DiskError::Unheard { reason, .. } if reason.contains("it cannot bear it")), "{refused}");
    assert_eq!(journal.failure(), Some(refused));
    drop(told);
    // Whether they went out with the first or behind it, they hear of it.
    assert_eq!(heard.iter().count(), 3);
    journal.close();
    drop(journal);
    let (contents, _) = disk.open("a").expect("what was written is whole");
    assert!(contents.vote.is_some_and(|vote| vote != "four"));
}

#[test]
fn who_breaks_on_hearing_of_a_real_disk_ends_it() {
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    who_breaks_on_hearing_ends_the_disk(&FileDisk::new(directory.path().join("a")));
}

#[tokio::test(start_paused = true)]
async fn who_breaks_on_hearing_of_a_simulated_disk_ends_it() {
    who_breaks_on_hearing_ends_the_disk(&simulated(&SimulatedFiles::new(1)));
}
