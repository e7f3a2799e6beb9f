//! The bytes of each file, pinned. A change here needs a new version of the format, and a way to read this one.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::super::contract::Plain;
use super::super::{Change, Disk, EntryId, Files, LogEntry, SimulatedFiles, SnapshotHead};
use super::simulated;

const DIRECTORY: &str = "/data/a";

/// A disk with one of everything on it, and what it holds.
fn written() -> (SimulatedFiles, Plain) {
    let files = SimulatedFiles::new(0);
    let mut model = Plain::default();
    let (_, journal) = simulated(&files).segment_bytes(1024).open("a").expect("it is new");
    let id = |term, index| EntryId { term, index };
    let entry = |term, index, kind, bytes: &'static [u8]| LogEntry { id: id(term, index), kind, bytes: bytes.into() };
    let mut write = |change: Change| {
        model.take(&change);
        journal.write_now(change).expect("nothing fails");
    };
    write(Change::Identity(Bytes::from_static(b"identity")));
    write(Change::Vote(Bytes::from_static(b"vote")));
    write(Change::Append(vec![entry(1, 0, 2, b"membership"), entry(1, 1, 0, b""), entry(1, 2, 1, b"batch")]));
    write(Change::Truncate(2));
    write(Change::Append(vec![entry(2, 2, 1, b"another")]));
    write(Change::Committed(id(2, 2)));
    let head = SnapshotHead { last: Some(id(1, 1)), meta: Bytes::from_static(b"meta") };
    let mut draft = journal.draft(head.clone()).expect("nothing fails");
    draft.write(b"state").expect("nothing fails");
    draft.finish().and_then(|finished| finished.keep()).expect("nothing fails");
    write(Change::Purge(id(1, 1)));
    journal.close();
    model.snapshot = Some((head, Bytes::from_static(b"state")));
    (files, model)
}

/// The files of the format's first version, as text: a name, and the bytes in hexadecimal without the zeros at the end.
const GOLDEN: &str = include_str!("golden.txt");

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join("")
}

fn told(files: &SimulatedFiles) -> String {
    let mut names = files.list(Path::new(DIRECTORY)).expect("it is there");
    names.sort_unstable();
    let names = names.into_iter().filter(|name| name != "lock");
    let lines = names.map(|name| {
        let content = files.content(&Path::new(DIRECTORY).join(&name)).expect("it was listed");
        let end = content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        format!("{name} {} {}\n", content.len(), hex(&content[..end]))
    });
    lines.collect()
}

#[tokio::test(start_paused = true)]
async fn files_are_written_as_ever() {
    let told = told(&written().0);
    assert!(told == GOLDEN, "the bytes on the disk have changed; they are:\n{told}");
}

#[tokio::test(start_paused = true)]
async fn files_of_the_first_version_are_read() {
    let files = SimulatedFiles::new(0);
    files.create_directory(Path::new(DIRECTORY)).expect("nothing fails");
    for line in GOLDEN.lines() {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("a line has three words");
        let (name, length, digits) = (word(), word().parse::<usize>().expect("a length"), word());
        let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16));
        let mut content = bytes.collect::<Result<Vec<u8>, _>>().expect("hexadecimal digits");
        content.resize(length, 0);
        files.set_content(&Path::new(DIRECTORY).join(name), content);
    }
    let disk: Arc<dyn Disk> = Arc::new(simulated(&files).moved(true));
    let (contents, _) = disk.open("a").expect("it is of a version that is known");
    assert_eq!(Plain::of(contents).expect("the snapshot is whole"), written().1);
}
