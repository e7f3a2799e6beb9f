//! Crashes, faults and full disks, from seeds: what was acknowledged is there, and nothing out of nowhere.

use std::io::ErrorKind;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use conflux_core::Random;

use super::super::contract::{Plain, random_change};
use super::super::{Change, Disk, DiskError, EntryId, FileDisk, Journal, Keep, SimulatedFiles, SnapshotHead};
use super::simulated;

/// What a disk may hold: what it held, and each state since then.
struct Story {
    /// The states after each step, the oldest first.
    states: Vec<Plain>,
    /// The step that was reported last as durable.
    durable: Arc<Mutex<usize>>,
    /// The first error that was reported.
    failed: Arc<Mutex<Option<DiskError>>>,
}

impl Story {
    fn new(found: Plain) -> Story {
        Story { states: vec![found], durable: Arc::default(), failed: Arc::default() }
    }

    fn now(&self) -> &Plain {
        self.states.last().expect("there is a first one")
    }

    fn write(&mut self, journal: &dyn Journal, change: Change) {
        let mut state = self.now().clone();
        state.take(&change);
        self.states.push(state);
        let step = self.states.len() - 1;
        let (durable, failed) = (self.durable.clone(), self.failed.clone());
        let lasts = !matches!(change, Change::Committed(_));
        let done = move |result| {
            let mut failed = failed.lock().unwrap();
            match result {
                Ok(()) => {
                    assert_eq!(*failed, None, "step {step} was reported as durable after an error");
                    if lasts {
                        *durable.lock().unwrap() = step;
                    }
                }
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        };
        journal.write(change, Box::new(done));
    }

    /// Keeps a snapshot of everything up to some entry, and purges that.
    fn compact(&mut self, journal: &dyn Journal, last: EntryId, size: usize) -> Result<(), DiskError> {
        let head = SnapshotHead { last: Some(last), meta: Bytes::from_static(b"meta") };
        let content = Bytes::from(vec![last.index as u8; size]);
        let mut draft = journal.draft(head.clone())?;
        draft.write(&content)?;
        let finished = draft.finish()?;
        if self.now().snapshot.as_ref().is_some_and(|(present, _)| present.last > Some(last)) {
            assert!(!finished.keep()?, "an older snapshot took the place of a newer");
            return Ok(());
        }
        // From here on it may be the disk's.
        let mut state = self.now().clone();
        state.snapshot = Some((head, content));
        self.states.push(state);
        let step = self.states.len() - 1;
        assert!(finished.keep()?, "a newer snapshot was not kept");
        *self.durable.lock().unwrap() = step;
        self.write(journal, Change::Purge(last));
        Ok(())
    }

    /// Goes on from what was found.
    fn go_on(&mut self, found: Plain, context: &str) {
        let durable = *self.durable.lock().unwrap();
        assert!(
            self.states[durable..].contains(&found),
            "{context}: found {}, which is none of the states since {}, up to {}",
            brief(&found),
            brief(&self.states[durable]),
            brief(self.now()),
        );
        *self = Story::new(found);
    }
}

fn brief(plain: &Plain) -> String {
    let snapshot = plain.snapshot.as_ref().map(|(head, bytes)| (head.last, bytes.len()));
    let Plain { identity, vote, committed, purged, entries, .. } = plain;
    format!("{identity:?}, {vote:?}, committed {committed:?}, purged {purged:?}, snapshot {snapshot:?}, {entries:?}")
}

fn open(disk: &FileDisk) -> Result<(Plain, Arc<dyn Journal>), DiskError> {
    let (contents, journal) = disk.open("a")?;
    Ok((Plain::of(contents)?, journal))
}

/// One step of what a node does to its disk.
fn step(story: &mut Story, journal: &dyn Journal, random: &mut Random) {
    match random.below(16) {
        0 => {
            let purged = story.now().purged.map_or(0, |purged| purged.index);
            let index = purged.max(random.below(story.now().next() + 3));
            let size = 1 + random.below(150_000) as usize;
            let _ = story.compact(journal, EntryId { term: 9, index }, size);
        }
        1..4 => {
            let _ = journal.write_now(Change::Append(Vec::new()));
        }
        _ => {
            let change = random_change(random, story.now());
            story.write(journal, change);
        }
    }
}

fn any(random: &mut Random) -> Keep {
    [Keep::Everything, Keep::Nothing, Keep::Some][random.below(3) as usize]
}

/// Openings, work, and crashes at any operation, openings included.
#[tokio::test(start_paused = true)]
async fn what_was_acknowledged_survives_any_crash() {
    for seed in 0..400 {
        let mut random = Random::new(seed);
        let files = SimulatedFiles::new(seed);
        let disk = simulated(&files).segment_bytes(300 + random.below(3000));
        let mut story = Story::new(Plain::default());
        for round in 0..12 {
            let context = format!("seed {seed}, round {round}");
            if random.below(3) == 0 {
                // An opening that is cut off must leave what there was.
                files.crash_at(1 + random.below(12), any(&mut random));
            }
            let (found, journal) = match open(&disk) {
                Ok(opened) => opened,
                Err(DiskError::Io { .. }) => continue,
                Err(error) => panic!("{context}: {error}"),
            };
            story.go_on(found, &context);
            if random.below(2) == 0 {
                files.crash_at(1 + random.below(30), any(&mut random));
            }
            for _ in 0..random.below(30) {
                step(&mut story, &*journal, &mut random);
            }
            if random.below(3) == 0 {
                journal.close();
            }
            files.crash(any(&mut random));
            drop(journal);
        }
        files.heal();
        let (found, _) = open(&disk).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        story.go_on(found, &format!("seed {seed}, at the end"));
    }
}

/// Each operation of a story fails once, and power is lost or not.
#[tokio::test(start_paused = true)]
async fn any_operation_may_fail() {
    let tell = |files: &SimulatedFiles, fault: Option<u64>| {
        let mut random = Random::new(11);
        let disk = simulated(files).segment_bytes(700);
        let mut story = Story::new(Plain::default());
        if let Some(nth) = fault {
            files.fail(nth, ErrorKind::Other);
        }
        for _ in 0..3 {
            let Ok((found, journal)) = open(&disk) else { return story };
            story.go_on(found, "while nothing has failed");
            for _ in 0..25 {
                step(&mut story, &*journal, &mut random);
            }
            if story.failed.lock().unwrap().is_some() {
                let refused = journal.write_now(Change::Append(Vec::new()));
                assert_eq!(refused.err(), journal.failure(), "an error is never tried again");
                return story;
            }
        }
        story
    };
    let files = SimulatedFiles::new(0);
    tell(&files, None);
    let operations = files.operations();
    assert!(operations > 100, "the story has {operations} operations only");
    for nth in 1..=operations {
        for keep in [Keep::Everything, Keep::Nothing, Keep::Some] {
            let files = SimulatedFiles::new(0);
            let mut story = tell(&files, Some(nth));
            files.crash(keep);
            let context = format!("operation {nth} failed, then {keep:?}");
            for again in 0..2 {
                let (found, journal) = open(&simulated(&files)).unwrap_or_else(|error| panic!("{context}: {error}"));
                story.go_on(found, &format!("{context}, opening {again}"));
                drop(journal);
                // What an opening has found is durable: the node relies on it.
                files.crash(Keep::Nothing);
            }
        }
    }
}

/// A disk that is full loses nothing that was acknowledged, says what it is, and goes on once there is room.
#[tokio::test(start_paused = true)]
async fn a_full_disk_is_told_and_loses_nothing() {
    let mut told = 0;
    for room in (0..40_000).step_by(113) {
        let mut random = Random::new(room);
        let files = SimulatedFiles::new(room);
        let disk = simulated(&files).segment_bytes(2000);
        let mut story = Story::new(Plain::default());
        files.set_room(room);
        if let Ok((found, journal)) = open(&disk) {
            story.go_on(found, "at first");
            for _ in 0..200 {
                let change = random_change(&mut random, story.now());
                story.write(&*journal, change);
                let _ = journal.write_now(Change::Append(Vec::new()));
            }
            let failed = story.failed.lock().unwrap().clone();
            if let Some(failed) = failed {
                let text = failed.to_string();
                assert!(text.contains("make room and open the node again"), "{text}");
                told += 1;
            }
        }
        files.crash(Keep::Everything);
        let (found, journal) = open(&disk).unwrap_or_else(|error| panic!("room for {room}: {error}"));
        story.go_on(found, &format!("room for {room}"));
        story.write(&*journal, random_change(&mut random, story.now()));
        journal.close();
        assert_eq!(*story.failed.lock().unwrap(), None);
    }
    assert!(told > 50, "only {told} disks were full");
}
