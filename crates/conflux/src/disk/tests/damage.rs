//! Every bit of every file, flipped; every file, cut at every byte. What was durable is never passed over in silence.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use conflux_core::Random;

use super::super::contract::{Plain, random_change};
use super::super::{Change, Disk, DiskError, EntryId, Files, Keep, SimulatedFiles, SnapshotHead};
use super::simulated;

const DIRECTORY: &str = "/data/a";

fn open(files: &SimulatedFiles) -> Result<Plain, DiskError> {
    let (contents, journal) = simulated(files).segment_bytes(900).open("a")?;
    drop(journal);
    Plain::of(contents)
}

/// A disk with a snapshot and several files of a log, and what is on it. The last of it is a note of what is committed,
/// which says that everything before was durable.
fn written() -> (SimulatedFiles, Plain) {
    let files = SimulatedFiles::new(3);
    let mut model = Plain::default();
    let mut random = Random::new(3);
    let (_, journal) = simulated(&files).segment_bytes(900).open("a").expect("it is new");
    let write = |model: &mut Plain, change: Change| {
        model.take(&change);
        journal.write_now(change).expect("nothing fails");
    };
    for _ in 0..40 {
        let change = random_change(&mut random, &model);
        write(&mut model, change);
    }
    let last = EntryId { term: 9, index: model.purged.map_or(0, |purged| purged.index + 1) + 2 };
    let (head, content) =
        (SnapshotHead { last: Some(last), meta: Bytes::from_static(b"meta") }, Bytes::from(vec![5; 700]));
    let mut draft = journal.draft(head.clone()).expect("nothing fails");
    draft.write(&content).expect("nothing fails");
    assert!(draft.finish().and_then(|finished| finished.keep()).expect("nothing fails"));
    model.snapshot = Some((head, content));
    write(&mut model, Change::Purge(last));
    for _ in 0..20 {
        let change = random_change(&mut random, &model);
        write(&mut model, change);
    }
    write(&mut model, Change::Vote(Bytes::from_static(b"the last")));
    write(&mut model, Change::Committed(last));
    files.crash(Keep::Everything);
    drop(journal);
    (files, model)
}

fn logs(files: &SimulatedFiles) -> Vec<PathBuf> {
    let names: BTreeSet<String> = files.list(Path::new(DIRECTORY)).expect("it is there").into_iter().collect();
    names.iter().filter(|name| name.starts_with("log-")).map(|name| Path::new(DIRECTORY).join(name)).collect()
}

/// Where the content of a file ends and the zeros begin.
fn end_of(content: &[u8]) -> usize {
    content.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// What became of a damaged disk.
enum Became {
    /// Everything is there all the same.
    Whole,
    /// All but the note of what is committed, which may be forgotten.
    Cut,
    Refused(DiskError),
}

fn became(files: &SimulatedFiles, model: &Plain, context: &str) -> Became {
    match open(files) {
        Ok(plain) if plain == *model => Became::Whole,
        Ok(plain) => {
            let forgotten = Plain { committed: plain.committed, ..model.clone() };
            assert_eq!(plain, forgotten, "{context}: something else was lost without a word");
            Became::Cut
        }
        Err(error) => Became::Refused(error),
    }
}

fn names_the_file(error: &DiskError, path: &Path) -> bool {
    matches!(error, DiskError::Damaged { file, .. } if file == path)
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_damage_unless_it_is_in_the_tail() {
    let (files, model) = written();
    let logs = logs(&files);
    assert!(logs.len() > 2, "there are {} files of the log only", logs.len());
    let snapshot = Path::new(DIRECTORY).join("snapshot-0000000000000009-0000000000000002");
    assert!(files.content(&snapshot).is_some(), "{:?}", files.list(Path::new(DIRECTORY)));
    let (mut refused, mut cut) = (0, 0);
    for path in logs.iter().chain([&snapshot]) {
        let is_last = Some(path) == logs.last();
        let content = files.content(path).expect("it was listed");
        let end = end_of(&content);
        for at in 0..content.len() {
            let bit = at % 8;
            let mut flipped = content.clone();
            flipped[at] ^= 1 << bit;
            // A copy, because opening writes.
            let copy = SimulatedFiles::new(at as u64);
            copy.create_directory(Path::new(DIRECTORY)).expect("nothing fails");

            for name in files.list(Path::new(DIRECTORY)).expect("it is there") {
                let file = Path::new(DIRECTORY).join(name);
                copy.set_content(&file, files.content(&file).expect("it was listed"));
            }
            copy.set_content(path, flipped);
            let context = format!("bit {bit} of byte {at} of {}, which ends at {end}", path.display());
            match became(&copy, &model, &context) {
                Became::Refused(error) => {
                    assert!(names_the_file(&error, path), "{context}: {error}");
                    refused += 1;
                }
                Became::Cut => {
                    // The note is a record and a commit of 25 bytes each.
                    assert!(is_last && at + 50 >= end, "{context}: it was cut");
                    cut += 1;
                }
                Became::Whole => assert!(at >= end, "{context}: it was not noticed"),
            }
        }
    }
    assert!(refused > 2000 && cut == 50, "refused {refused}, cut {cut}");
}

#[tokio::test(start_paused = true)]
async fn a_file_that_lost_its_end_is_damage_unless_it_is_the_last() {
    let (files, model) = written();
    let logs = logs(&files);
    for path in &logs {
        let is_last = Some(path) == logs.last();
        let content = files.content(path).expect("it was listed");
        let end = end_of(&content);
        let mut opened = 0;
        for length in 0..content.len() {
            files.set_content(path, content[..length].to_vec());
            let copy = SimulatedFiles::new(0);
            copy.create_directory(Path::new(DIRECTORY)).expect("nothing fails");
            for name in files.list(Path::new(DIRECTORY)).expect("it is there") {
                let file = Path::new(DIRECTORY).join(name);
                copy.set_content(&file, files.content(&file).expect("it was listed"));
            }
            let context = format!("{} cut at {length} of {end}", path.display());
            match open(&copy) {
                Ok(plain) if plain == model => assert!(length >= end, "{context}"),
                Ok(_) => {
                    assert!(is_last, "{context}: it was not noticed");
                    opened += 1;
                }
                // The last numbers of a record may end in zeros.
                Err(error) => assert!(length < end + 8 && names_the_file(&error, path), "{context}: {error}"),
            }
        }
        assert_eq!(opened > 0, is_last, "a torn tail is cut");
        files.set_content(path, content);
    }
}

#[tokio::test(start_paused = true)]
async fn a_file_that_is_gone_is_noticed() {
    let (files, model) = written();
    let logs = logs(&files);
    let mut noticed = 0;
    for gone in logs.iter().take(logs.len() - 1).map(PathBuf::as_path).chain([&*Path::new(DIRECTORY).join("disk")]) {
        let copy = SimulatedFiles::new(0);
        copy.create_directory(Path::new(DIRECTORY)).expect("nothing fails");
        for name in files.list(Path::new(DIRECTORY)).expect("it is there") {
            let file = Path::new(DIRECTORY).join(name);
            if file != gone {
                copy.set_content(&file, files.content(&file).expect("it was listed"));
            }
        }
        match open(&copy) {
            // All that it held was replaced in later files.
            Ok(plain) => assert_eq!(plain, model, "without {}", gone.display()),
            Err(error) => {
                assert!(matches!(error, DiskError::Damaged { .. }), "without {}: {error}", gone.display());
                noticed += 1;
            }
        }
    }
    assert!(noticed > 2, "it was noticed {noticed} times");
    let all: BTreeSet<PathBuf> = logs.into_iter().collect();
    for file in &all {
        files.remove(file).expect("it was listed");
    }
    let error = open(&files).expect_err("the log is missing").to_string();
    assert!(error.contains("all files of the log are gone"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn without_its_snapshot_a_log_is_of_no_use() {
    let (files, _) = written();
    files.remove(&Path::new(DIRECTORY).join("snapshot-0000000000000009-0000000000000002")).expect("it is there");
    let error = open(&files).expect_err("the snapshot is missing").to_string();
    assert!(error.contains("the snapshot that holds what was before the log is missing"), "{error}");
}

#[cfg(feature = "bugs")]
#[tokio::test(start_paused = true)]
async fn damage_that_is_taken_for_a_tear_is_passed_over() {
    use conflux_core::bugs::{self, Bug};
    let (files, model) = written();
    let last = logs(&files).pop().expect("there is a log");
    let mut content = files.content(&last).expect("it was listed");
    // Behind the summary with which it begins, and before its last group.
    let middle = end_of(&content) / 2;
    content[middle] ^= 1;
    files.set_content(&last, content);
    assert!(matches!(open(&files), Err(DiskError::Damaged { .. })));
    bugs::plant(Some(Bug::DamageTakenForTear));
    let found = open(&files);
    bugs::plant(None);
    assert_ne!(found.expect("it is passed over"), model);
}
