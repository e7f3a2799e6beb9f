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

use super::{Disk, FileDisk, MemoryDisk, SimulatedFiles, contract};

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
