//! What every [`Disk`] must keep, as checks to run from its tests.
//!
//! Each check takes a factory that gives a disk with nothing on it, and panics with what went wrong. [`all`] runs every
//! one. They must run inside a tokio runtime. A disk that is opened again holds what it held; what is left of a crash is
//! tested where the disk can crash.
//!
//! ```
//! use std::sync::Arc;
//! use conflux::disk::{Disk, MemoryDisk, contract};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
//! contract::all(|| Arc::new(MemoryDisk::new()) as Arc<dyn Disk>)
//! # });
//! ```

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use conflux_core::Random;

use super::{Change, Contents, Disk, DiskError, EntryId, Journal, LogEntry, SnapshotHead};

/// The node that the checks open disks for.
const NODE: &str = "a";

/// Run every check, each on a fresh disk.
pub fn all(fresh: impl Fn() -> Arc<dyn Disk>) {
    keeps_each_kind(&*fresh());
    replaces_the_end_of_the_log(&*fresh());
    goes_on_behind_a_snapshot(&*fresh());
    reports_in_order(&*fresh());
    lets_one_node_in(&*fresh());
    keeps_the_newest_snapshot(&*fresh());
    for seed in 0..8 {
        does_what_a_list_does(&*fresh(), seed);
    }
}

/// A disk's contents as plain values, to be compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plain {
    /// See [`Contents`].
    pub identity: Option<Bytes>,
    /// See [`Contents`].
    pub vote: Option<Bytes>,
    /// See [`Contents`].
    pub committed: Option<EntryId>,
    /// See [`Contents`].
    pub purged: Option<EntryId>,
    /// See [`Contents`].
    pub entries: Vec<LogEntry>,
    /// The snapshot's head, and all its bytes.
    pub snapshot: Option<(SnapshotHead, Bytes)>,
}

impl Plain {
    /// Reads contents to the last byte.
    ///
    /// # Errors
    /// When the snapshot cannot be read.
    pub fn of(contents: Contents) -> Result<Plain, DiskError> {
        let Contents { identity, moved: _, vote, committed, purged, entries, snapshot } = contents;
        let snapshot = snapshot.map(|kept| kept.bytes.read_all().map(|bytes| (kept.head, bytes))).transpose()?;
        Ok(Plain { identity, vote, committed, purged, entries, snapshot })
    }

    /// What they are after a change: the plainest form of what a disk does.
    pub fn take(&mut self, change: &Change) {
        match change {
            Change::Append(entries) => {
                for entry in entries {
                    self.entries.retain(|old| old.id.index < entry.id.index);
                    self.entries.push(entry.clone());
                }
            }
            Change::Truncate(from) => self.entries.retain(|old| old.id.index < *from),
            Change::Purge(upto) => {
                self.entries.retain(|old| old.id.index > upto.index);
                self.purged = Some(*upto);
            }
            Change::Vote(vote) => self.vote = Some(vote.clone()),
            Change::Committed(id) => self.committed = Some(*id),
            Change::Identity(identity) => self.identity = Some(identity.clone()),
        }
    }

    /// The index of the next entry.
    #[must_use]
    pub fn next(&self) -> u64 {
        let purged = self.purged.map_or(0, |purged| purged.index + 1);
        self.entries.last().map_or(purged, |entry| entry.id.index + 1)
    }
}

fn open(disk: &dyn Disk) -> (Plain, Arc<dyn Journal>) {
    let (contents, journal) = disk.open(NODE).expect("nothing is wrong with the disk");
    (Plain::of(contents).expect("nothing is wrong with the snapshot"), journal)
}

fn entry(term: u64, index: u64) -> LogEntry {
    let bytes = format!("entry {index} of term {term}").repeat(usize::try_from(index % 7).expect("it is small"));
    LogEntry { id: EntryId { term, index }, kind: (index % 3) as u8, bytes: bytes.into() }
}

fn entries(term: u64, indexes: std::ops::Range<u64>) -> Change {
    Change::Append(indexes.map(|index| entry(term, index)).collect())
}

fn write(journal: &dyn Journal, model: &mut Plain, change: Change) {
    model.take(&change);
    journal.write_now(change).expect("nothing is wrong with the disk");
}

fn reopened(disk: &dyn Disk, journal: Arc<dyn Journal>, model: &Plain) -> Arc<dyn Journal> {
    journal.close();
    let (plain, journal) = open(disk);
    assert_eq!(plain, *model, "what was written is not what is found at the next opening");
    journal
}

/// Keeps a snapshot; whether it was kept.
fn keep(journal: &dyn Journal, last: EntryId, content: &[u8]) -> bool {
    let head = SnapshotHead { last: Some(last), meta: Bytes::from(format!("meta of {last}")) };
    let mut draft = journal.draft(head).expect("nothing is wrong with the disk");
    for piece in content.chunks(100_000) {
        draft.write(piece).expect("nothing is wrong with the disk");
    }
    draft.finish().and_then(|finished| finished.keep()).expect("nothing is wrong with the disk")
}

/// Each kind of change is found again.
pub fn keeps_each_kind(disk: &dyn Disk) {
    let (mut model, journal) = open(disk);
    assert_eq!(model, Plain::default(), "a fresh disk has something on it");
    write(&*journal, &mut model, Change::Identity(Bytes::from_static(b"me")));
    write(&*journal, &mut model, Change::Vote(Bytes::from_static(b"a vote")));
    write(&*journal, &mut model, entries(1, 0..10));
    write(&*journal, &mut model, Change::Committed(EntryId { term: 1, index: 4 }));
    let journal = reopened(disk, journal, &model);
    write(&*journal, &mut model, Change::Vote(Bytes::new()));
    write(&*journal, &mut model, Change::Identity(Bytes::from(vec![7; 100_000])));
    write(&*journal, &mut model, Change::Committed(EntryId { term: 1, index: 9 }));
    let journal = reopened(disk, journal, &model);
    reopened(disk, journal, &model);
}

/// Entries replace those at their indexes and all behind them.
pub fn replaces_the_end_of_the_log(disk: &dyn Disk) {
    let (mut model, mut journal) = open(disk);
    for change in [
        entries(1, 0..10),
        entries(2, 6..8),
        Change::Truncate(7),
        entries(3, 7..20),
        Change::Truncate(100),
        Change::Truncate(0),
        entries(4, 0..3),
        Change::Append(Vec::new()),
    ] {
        write(&*journal, &mut model, change);
        journal = reopened(disk, journal, &model);
    }
}

/// A purge takes the beginning of the log, or all of it and more.
pub fn goes_on_behind_a_snapshot(disk: &dyn Disk) {
    let (mut model, mut journal) = open(disk);
    write(&*journal, &mut model, entries(1, 0..10));
    for (last, then) in [(4, 10..12), (11, 12..14), (100, 101..120)] {
        let last = EntryId { term: 1, index: last };
        assert!(keep(&*journal, last, b"state"), "a newer snapshot was not kept");
        model.snapshot = Some((
            SnapshotHead { last: Some(last), meta: Bytes::from(format!("meta of {last}")) },
            Bytes::from_static(b"state"),
        ));
        write(&*journal, &mut model, Change::Purge(last));
        journal = reopened(disk, journal, &model);
        write(&*journal, &mut model, entries(1, then));
        journal = reopened(disk, journal, &model);
    }
}

/// Changes are reported once, in order, and before the disk is closed.
pub fn reports_in_order(disk: &dyn Disk) {
    let (mut model, journal) = open(disk);
    let reported = Arc::new(Mutex::new(Vec::new()));
    for index in 0..200 {
        let change = if index % 5 == 4 {
            Change::Vote(Bytes::from(vec![0; 9]))
        } else {
            entries(1, model.next()..model.next() + 2)
        };
        model.take(&change);
        let reported = reported.clone();
        let done = move |result| reported.lock().expect("no check panics with it").push((index, result));
        journal.write(change, Box::new(done));
    }
    journal.close();
    let expected: Vec<_> = (0..200).map(|index| (index, Ok(()))).collect();
    assert_eq!(*reported.lock().expect("no check panics with it"), expected);
    assert_eq!(open(disk).0, model);
}

/// A disk that is open cannot be opened; one that is closed takes nothing more.
pub fn lets_one_node_in(disk: &dyn Disk) {
    let (model, journal) = open(disk);
    let second = disk.open(NODE).err();
    assert!(matches!(second, Some(DiskError::InUse { .. })), "opened twice: {second:?}");
    journal.close();
    let (_, next) = open(disk);
    assert_eq!(journal.write_now(entries(1, 0..1)), Err(DiskError::Closed), "one that was closed has written");
    assert!(journal.failure().is_some() && next.failure().is_none());
    journal.close();
    drop(journal);
    let second = disk.open(NODE).err();
    assert!(matches!(second, Some(DiskError::InUse { .. })), "the one before has let it go: {second:?}");
    // Dropping it closes it, too.
    drop(next);
    assert_eq!(open(disk).0, model);
}

/// What is not kept leaves nothing; an older one never takes the place of a newer; one that is read stays readable.
pub fn keeps_the_newest_snapshot(disk: &dyn Disk) {
    let (_, journal) = open(disk);
    let content: Vec<u8> = (0..300_000u32).map(|n| (n / 7) as u8).collect();
    let (early, late) = (EntryId { term: 2, index: 50 }, EntryId { term: 3, index: 40 });

    let head = SnapshotHead { last: Some(late), meta: Bytes::new() };
    let mut dropped = journal.draft(head.clone()).expect("nothing is wrong with the disk");
    dropped.write(&content).expect("nothing is wrong with the disk");
    drop(dropped);
    let mut unkept = journal.draft(head).expect("nothing is wrong with the disk");
    unkept.write(&content).expect("nothing is wrong with the disk");
    let unkept = unkept.finish().expect("nothing is wrong with the disk");
    assert!(unkept.bytes().read_all().expect("it can be read").as_ref() == &content[..], "it is not what was written");
    drop(unkept);
    assert!(journal.snapshot().is_none(), "one that was not kept is the disk's snapshot");

    assert!(keep(&*journal, early, &content), "the first one was not kept");
    let first = journal.snapshot().expect("one was kept");
    assert!(keep(&*journal, late, b"late"), "a newer one was not kept");
    assert!(!keep(&*journal, early, b"early"), "an older one was kept");
    let second = journal.snapshot().expect("one was kept");
    assert_eq!((second.head.last, second.bytes.length()), (Some(late), 4));

    let mut random = Random::new(5);
    for _ in 0..50 {
        let offset = random.below(content.len() as u64 + 2);
        let max = 1 + usize::try_from(random.below(150_000)).expect("it is small");
        let read = first.bytes.read(offset, max).expect("it can be read still");
        let from = usize::try_from(offset).expect("it is small").min(content.len());
        let rest = &content[from..];
        assert!(read.len() <= max && rest.starts_with(&read), "{} bytes at {offset} are others", read.len());
        assert!(!read.is_empty() || rest.is_empty(), "nothing at {offset}");
    }
    journal.close();
    drop((journal, first, second));
    let (plain, journal) = open(disk);
    let (head, bytes) = plain.snapshot.expect("one was kept");
    assert_eq!((head.last, &bytes[..]), (Some(late), &b"late"[..]));
    assert!(keep(&*journal, late, b"the same again"), "one that is as new was not kept");
    drop(journal);
    assert_eq!(&open(disk).0.snapshot.expect("one was kept").1[..], b"the same again");
}

/// Random changes, and now and then another opening.
pub fn does_what_a_list_does(disk: &dyn Disk, seed: u64) {
    let mut random = Random::new(seed);
    let (mut model, mut journal) = open(disk);
    for _ in 0..300 {
        let change = random_change(&mut random, &model);
        model.take(&change);
        journal.write(change, Box::new(|result| assert_eq!(result, Ok(()))));
        match random.below(30) {
            0 => journal = reopened(disk, journal, &model),
            1 if model.next() > 0 => {
                let index = model.purged.map_or(0, |purged| purged.index).max(random.below(model.next() + 3));
                let last = EntryId { term: 9, index };
                let newer = model.snapshot.as_ref().is_none_or(|(head, _)| head.last <= Some(last));
                assert_eq!(keep(&*journal, last, b"state"), newer, "seed {seed}");
                if newer {
                    let head = SnapshotHead { last: Some(last), meta: Bytes::from(format!("meta of {last}")) };
                    model.snapshot = Some((head, Bytes::from_static(b"state")));
                    write(&*journal, &mut model, Change::Purge(last));
                }
            }
            _ => {}
        }
    }
    reopened(disk, journal, &model);
}

/// A change that an engine could make, where a disk holds `model`. No purge: that needs a snapshot.
pub fn random_change(random: &mut Random, model: &Plain) -> Change {
    let first = model.purged.map_or(0, |purged| purged.index + 1);
    let next = model.next();
    match random.below(12) {
        0 => Change::Vote(Bytes::from(format!("vote {}", random.below(1000)))),
        1 => Change::Identity(Bytes::from(format!("identity {}", random.below(1000)))),
        2 => Change::Truncate(first + random.below(next - first + 1)),
        3..=4 if next > first => Change::Committed(EntryId { term: 9, index: first + random.below(next - first) }),
        5 => {
            let from = first + random.below(next - first + 1);
            entries(random.below(9), from..from + random.below(4))
        }
        _ => entries(random.below(9), next..next + random.below(6)),
    }
}
