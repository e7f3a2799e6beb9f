//! Bugs that are planted in the log and the state machine show.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use conflux_core::Incarnation;
use conflux_core::bugs::{self, Bug};
use futures_util::stream;
use openraft::storage::{RaftLogStorage, RaftLogStorageExt, RaftSnapshotBuilder, RaftStateMachine};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::log::{Log, log_id};
use super::machine::Machine;
use super::suite::Empty;
use super::types::{EngineVote, Entry, LeaderId, Membership, Payload, Proposal};
use crate::disk::{Contents, Disk, EntryId, FileDisk, Keep, MemoryDisk, SimulatedFiles, SnapshotHead};
use crate::origin::Origin;
use crate::replica::Local;

const LATENCY: Duration = Duration::from_secs(1);

fn vote(term: u64) -> EngineVote {
    EngineVote { leader_id: LeaderId { term, voted_for: 1.into() }, committed: false }
}

fn entry(index: u64, payload: Payload) -> Entry {
    Entry { log_id: log_id(EntryId { term: 1, index }), payload }
}

fn batch(index: u64) -> Entry {
    entry(index, Payload::Normal(Proposal::received(Bytes::from_static(b"a batch"))))
}

fn log(disk: &impl Disk) -> Log {
    let (contents, journal) = disk.open("n0").expect("it opens");
    Log::open(contents, journal).expect("it opens")
}

fn contents(disk: &impl Disk) -> Contents {
    disk.open("n0").expect("it opens").0
}

#[tokio::test(start_paused = true)]
async fn what_is_answered_before_it_is_durable_is_lost() {
    for (bug, votes, entries) in [(None, 1, 1), (Some(Bug::VoteBeforeSync), 0, 1), (Some(Bug::AppendBeforeSync), 1, 0)]
    {
        let files = SimulatedFiles::new(0);
        let disk = FileDisk::simulated(files.clone(), "/a", LATENCY);
        let mut log = log(&disk);
        bugs::plant(bug);
        let begun = Instant::now();
        // In one group with the next only if neither is waited for.
        if bug == Some(Bug::AppendBeforeSync) {
            log.save_vote(&vote(1)).await.expect("nothing fails");
            log.blocking_append([batch(0)]).await.expect("nothing fails");
        } else {
            log.blocking_append([batch(0)]).await.expect("nothing fails");
            log.save_vote(&vote(1)).await.expect("nothing fails");
        }
        bugs::plant(None);
        assert_eq!(begun.elapsed().as_secs(), votes + entries);
        files.crash(Keep::Nothing);
        drop(log);
        let found = contents(&FileDisk::simulated(files, "/a", LATENCY));
        assert_eq!((found.vote.iter().count() as u64, found.entries.len() as u64), (votes, entries));
    }
}

#[tokio::test]
async fn a_vote_is_written_behind_the_next_entries() {
    let disk = MemoryDisk::new();
    let mut log = log(&disk);
    bugs::plant(Some(Bug::VoteBehindLog));
    log.save_vote(&vote(1)).await.expect("nothing fails");
    drop(log);
    assert_eq!(contents(&disk).vote, None);

    let mut log = self::log(&disk);
    log.save_vote(&vote(1)).await.expect("nothing fails");
    log.blocking_append([batch(0)]).await.expect("nothing fails");
    bugs::plant(None);
    drop(log);
    assert!(contents(&disk).vote.is_some());
}

#[tokio::test]
async fn the_disk_has_a_hole_behind_a_truncation() {
    let disk = MemoryDisk::new();
    let mut log = log(&disk);
    bugs::plant(Some(Bug::HoleAfterTruncate));
    log.blocking_append((0..4).map(batch)).await.expect("nothing fails");
    log.truncate_after(Some(batch(1).log_id)).await.expect("nothing fails");
    log.blocking_append([batch(2)]).await.expect("nothing fails");
    bugs::plant(None);
    assert_eq!(log.size().0, 3);
    drop(log);
    let indexes: Vec<_> = contents(&disk).entries.iter().map(|entry| entry.id.index).collect();
    assert_eq!(indexes, [0, 2]);
}

#[tokio::test]
async fn what_was_inherited_is_not_shown() {
    let mut log = log(&MemoryDisk::new());
    log.blocking_append((0..3).map(batch)).await.expect("nothing fails");
    log.save_vote(&vote(2)).await.expect("nothing fails");
    assert_eq!(log.proposals_after(None).len(), 3);
    bugs::plant(Some(Bug::ProvisionalWithoutTail));
    assert_eq!(log.proposals_after(None).len(), 0);
    bugs::plant(None);
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_says_what_is_not_so() {
    let cases = [
        (None, Some(0), 1),
        (Some(Bug::SnapshotWithoutMembership), Some(0), 0),
        (Some(Bug::SnapshotIndexAhead), Some(1), 1),
    ];
    for (bug, last, voters) in cases {
        let origin = Arc::new(Origin::new("n0".into(), Incarnation(0), 1, 16, Arc::new(Notify::new())));
        let local = Arc::new(Local::new(Arc::new(Empty), origin, 16));
        let parted = crate::watch::channel(false).0;
        let mut machine = Machine::open(local, log(&MemoryDisk::new()), parted).expect("an empty disk opens");
        let members = Membership::new_with_defaults(vec![[1.into()].into()], []);
        machine.apply(stream::iter([Ok((entry(0, Payload::Membership(members)), None))])).await.expect("it fits");
        let mut builder = machine.get_snapshot_builder().await;
        bugs::plant(bug);
        let go_on = machine.apply(stream::iter([Ok((entry(1, Payload::Blank), None))]));
        let (built, went_on) = tokio::join!(builder.build_snapshot(), go_on);
        bugs::plant(None);
        went_on.expect("it fits");
        let meta = built.expect("nothing fails").meta;
        assert_eq!(meta.last_log_id.map(|id| id.index), last);
        assert_eq!(meta.last_membership.membership().voter_ids().count(), voters);
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_snapshot_takes_the_place_of_a_newer() {
    let disks: [Arc<dyn Disk>; 2] =
        [Arc::new(MemoryDisk::new()), Arc::new(FileDisk::simulated(SimulatedFiles::new(0), "/a", LATENCY))];
    for disk in disks {
        let (_, journal) = disk.open("n0").expect("it is new");
        let keep = |index| {
            let head = SnapshotHead { last: Some(EntryId { term: 1, index }), meta: Bytes::new() };
            let draft = journal.draft(head).expect("nothing fails");
            draft.finish().and_then(|finished| finished.keep()).expect("nothing fails")
        };
        let present = || journal.snapshot().and_then(|kept| kept.head.last).map(|last| last.index);
        assert!(keep(5) && !keep(3));
        assert_eq!(present(), Some(5));
        bugs::plant(Some(Bug::OlderSnapshotOverNewer));
        keep(3);
        bugs::plant(None);
        assert_eq!(present(), Some(3));
    }
}
