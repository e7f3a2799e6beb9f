//! A process that writes on a disk is killed at any moment, over and over: what it was told is durable is there.
//!
//! The test starts itself again as that process.

#![expect(clippy::disallowed_methods, reason = "a process that is real is killed after a real time")]

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use conflux::disk::{Change, Contents, Disk, EntryId, Journal, LogEntry, SnapshotHead};
use conflux::{FileDisk, Random};

const DIRECTORY: &str = "CONFLUX_TEST_DISK";
const ROUNDS: u64 = 25;

fn disk(path: &Path) -> FileDisk {
    FileDisk::new(path).segment_bytes(20_000)
}

/// An entry says of itself which it is.
fn entry(index: u64) -> LogEntry {
    let mut random = Random::new(index);
    let length = random.below(200) as usize;
    let bytes: Vec<u8> = (0..length).map(|_| random.next_u64() as u8).collect();
    LogEntry { id: EntryId { term: 1, index }, kind: (index % 3) as u8, bytes: bytes.into() }
}

fn content(index: u64) -> Vec<u8> {
    let mut random = Random::new(!index);
    (0..1 + random.below(100_000)).map(|_| random.next_u64() as u8).collect()
}

fn number(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_le_bytes)
}

#[test]
fn killed_at_any_moment() {
    if let Some(path) = std::env::var_os(DIRECTORY) {
        return write_until_killed(Path::new(&path));
    }
    let directory = tempfile::tempdir().expect("there is a place for temporary files");
    let path = directory.path().join("disk");
    let mut random = Random::new(1);
    let (mut next, mut votes, mut snapshots) = (0, 0, 0);
    for round in 0..ROUNDS {
        let told = run_and_kill(&path, Duration::from_micros(random.below(60_000)));
        let (contents, _journal) = disk(&path).open("a").unwrap_or_else(|error| panic!("round {round}: {error}"));
        let Contents { vote, purged, entries, snapshot, .. } = contents;
        let first = purged.map_or(0, |purged| purged.index + 1);
        for (index, found) in (first..).zip(&entries) {
            assert_eq!(*found, entry(index), "round {round}");
        }
        let found = first + entries.len() as u64;
        assert!(found >= told.next.max(next), "round {round}: {} were durable, {found} are there", told.next);
        next = found;
        let vote = vote.map_or(0, |vote| number(&vote));
        assert!(vote >= told.votes.max(votes), "round {round}: vote {} was durable, {vote} is there", told.votes);
        votes = vote;
        let last = snapshot.map_or(0, |snapshot| {
            let index = snapshot.head.last.expect("it has one").index;
            assert!(snapshot.bytes.read_all().expect("it is whole") == content(index), "round {round}");
            index
        });
        assert!(last >= told.snapshots.max(snapshots), "round {round}: snapshot {}, not {last}", told.snapshots);
        snapshots = last;
    }
    assert!(next > 1000 && votes > 50 && snapshots > 500, "{next} entries, {votes} votes, a snapshot of {snapshots}");
}

/// What the process said is durable.
#[derive(Default)]
struct Told {
    next: u64,
    votes: u64,
    snapshots: u64,
}

fn run_and_kill(path: &Path, after: Duration) -> Told {
    let mut child = Command::new(std::env::current_exe().expect("the test is a program"))
        .args(["--exact", "killed::killed_at_any_moment", "--nocapture"])
        .env(DIRECTORY, path)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs as this does");
    let stdout = child.stdout.take().expect("it is piped");
    let (begun, begins) = mpsc::channel();
    let reader = std::thread::spawn(move || {
        let mut told = Told::default();
        for line in BufReader::new(stdout).lines() {
            let line = line.expect("it is text");
            let mut words = line.split(' ');
            let (Some(what), Some(Ok(number))) = (words.next(), words.next().map(str::parse)) else { continue };
            match what {
                "next" => told.next = number,
                "vote" => told.votes = number,
                "snapshot" => told.snapshots = number,
                _ => continue,
            }
            let _ = begun.send(());
        }
        told
    });
    begins.recv_timeout(Duration::from_secs(60)).expect("it writes");
    std::thread::sleep(after);
    child.kill().expect("it is running");
    child.wait().expect("it was started");
    reader.join().expect("what it says can be read")
}

/// Says what is durable, in order.
#[derive(Clone, Default)]
struct Teller(Arc<Mutex<()>>);

impl Teller {
    fn tell(&self, what: &str, number: u64) {
        let _one_at_a_time = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut out = std::io::stdout();
        // Whoever listens is gone when this process is killed.
        let _ = writeln!(out, "{what} {number}").and_then(|()| out.flush());
    }
}

fn write_until_killed(path: &Path) {
    let (contents, journal) = disk(path).open("a").expect("what was left can be opened");
    let first = contents.purged.map_or(0, |purged| purged.index + 1);
    let mut next = first + contents.entries.len() as u64;
    let mut votes = contents.vote.map_or(0, |vote| number(&vote));
    let mut random = Random::new(next);
    let teller = Teller::default();
    let mut waiting = VecDeque::new();
    loop {
        let (done, finished) = mpsc::channel();
        let tell = teller.clone();
        match random.below(10) {
            0 => {
                votes += 1;
                let vote = votes.to_le_bytes().to_vec().into();
                let told = move |result: Result<(), _>| {
                    result.expect("nothing is wrong with the disk");
                    tell.tell("vote", votes);
                    drop(done);
                };
                journal.write(Change::Vote(vote), Box::new(told));
            }
            1 if next > 0 && random.below(5) == 0 => {
                compact(&*journal, next - 1);
                teller.tell("snapshot", next - 1);
                drop(done);
            }
            _ => {
                let count = 1 + random.below(8);
                let entries = (next..next + count).map(entry).collect();
                next += count;
                let told = move |result: Result<(), _>| {
                    result.expect("nothing is wrong with the disk");
                    tell.tell("next", next);
                    drop(done);
                };
                journal.write(Change::Append(entries), Box::new(told));
            }
        }
        journal.write(Change::Committed(EntryId { term: 1, index: next.saturating_sub(1) }), Box::new(|_| ()));
        waiting.push_back(finished);
        if waiting.len() > 16 {
            // It ends when the other end is dropped.
            let _: Result<(), _> = waiting.pop_front().expect("it has some").recv();
        }
    }
}

fn compact(journal: &dyn Journal, last: u64) {
    let head = SnapshotHead { last: Some(EntryId { term: 1, index: last }), meta: bytes::Bytes::new() };
    let mut draft = journal.draft(head).expect("nothing is wrong with the disk");
    draft.write(&content(last)).expect("nothing is wrong with the disk");
    assert!(draft.finish().and_then(|finished| finished.keep()).expect("nothing is wrong with the disk"));
    journal.write(Change::Purge(EntryId { term: 1, index: last }), Box::new(|_| ()));
}
