//! Bytes that only malice, or a mistake of ours, could have written: an error or a disk, never a panic.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use super::super::contract::Plain;
use super::super::record::{self, HEADER_BYTES, Header, RecordKind};
use super::super::{Disk, Files, SimulatedFiles};
use super::simulated;

const DIRECTORY: &str = "/data/a";

/// A disk that is new, and its id.
fn fresh() -> (SimulatedFiles, u128) {
    let files = SimulatedFiles::new(0);
    drop(simulated(&files).open("a").expect("it is new"));
    let log = files.content(&Path::new(DIRECTORY).join("log-0000000000000001")).expect("it was made");
    let id = log[12..28].try_into().expect("an id has 16 bytes");
    (files, u128::from_le_bytes(id))
}

/// Opens it, and reads everything if that works.
fn look(files: &SimulatedFiles) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    let _inside = runtime.enter();
    if let Ok((contents, journal)) = simulated(files).segment_bytes(500).open("a") {
        let _ = Plain::of(contents);
        drop(journal);
        // What was taken up once can be taken up again.
        simulated(files).open("a").expect("it was opened before");
    }
}

fn any_number() -> impl Strategy<Value = u64> {
    prop_oneof![Just(0), Just(1), 0..9u64, Just(u64::MAX), Just(u64::MAX - 1), Just(1 << 63), any::<u64>()]
}

fn any_kind() -> impl Strategy<Value = RecordKind> {
    use RecordKind::{Commit, Committed, Entry, Identity, Next, Purge, Truncate, Vote};
    prop::sample::select(vec![Commit, Entry, Entry, Entry, Truncate, Purge, Vote, Committed, Identity, Next])
}

proptest! {
    #[test]
    fn any_bytes(bytes: Vec<u8>, name in prop::sample::select(vec![
        "disk",
        "log-0000000000000001",
        "log-0000000000000002",
        "log-ffffffffffffffff",
        "snapshot-0000000000000001-0000000000000002",
        "snapshot-ffffffffffffffff-ffffffffffffffff",
        "snapshot-9.tmp",
        "anything",
    ])) {
        let (files, _) = fresh();
        files.set_content(&Path::new(DIRECTORY).join(name), bytes);
        look(&files);
    }

    /// Records with the right checksums, which say anything.
    #[test]
    fn any_records(
        first in (any_number(), any_number(), any::<bool>(), any_number()),
        records in vec((any_kind(), any_number(), any_number(), vec(any::<u8>(), 0..20)), 0..20),
        cut in 0..100usize,
    ) {
        let (files, disk) = fresh();
        let (number, sequence, base, previous_end) = first;
        let header = Header { disk, number, base, previous_end, sequence };
        let salt = header.salt();
        let mut bytes = header.encode();
        let mut next = sequence;
        for (kind, index, term, content) in &records {
            if *kind == RecordKind::Commit && term % 3 != 0 {
                // Mostly a group that is as it should be.
                record::put(&mut bytes, salt, *kind, next, next.saturating_sub(1), &[]);
                next = next.wrapping_add(1);
            } else {
                record::put(&mut bytes, salt, *kind, *index, *term, &[content]);
            }
        }
        bytes.truncate(bytes.len().saturating_sub(cut).max(HEADER_BYTES));
        files.remove(&Path::new(DIRECTORY).join("log-0000000000000001")).expect("it is there");
        files.set_content(&Path::new(DIRECTORY).join(format!("log-{number:016x}")), bytes);
        look(&files);
    }
}
