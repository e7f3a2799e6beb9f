//! A cluster is begun anew from what one node holds, or from a backup.

use std::path::Path;
use std::time::Duration;

use crate::common::{Action, Method, Words, append, open_one, serving};
use conflux::disk::{Disk, Keep, SimulatedFiles};
use conflux::{
    Asked, Backup, Container, Context, Done, FileDisk, Halt, Index, MemoryChannel, MemoryDisk, Node, OpenError,
    RecoverError, Recovered, Recovery, Reject, RequestId, Role, Status, other_code, recover, restore,
};

async fn open_all(channel: &MemoryChannel, place: &Path) -> Vec<Node<Words>> {
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        nodes.push(open_one(channel, name, FileDisk::new(place.join(name))).await);
    }
    serving(&nodes).await;
    nodes
}

#[tokio::test]
async fn a_plan_says_that_the_node_had_been_removed() {
    let place = tempfile::tempdir().expect("there is room");
    let channel = MemoryChannel::new();
    let nodes = open_all(&channel, place.path()).await;
    nodes[0].perform(append("foo")).await.expect("it serves");
    nodes[0].remove_member("c").await.expect("two are left");
    nodes[2].watch_status().find(|status: &Status| status.stopped.clone()).await.expect("it stops");
    for node in nodes {
        node.close().await;
    }
    let removed = |name| recover(Words, name, &FileDisk::new(place.path().join(name)), true).map(|plan| plan.removed);
    assert_eq!(["a", "b", "c"].map(removed), [Ok(false), Ok(false), Ok(true)]);
}

#[tokio::test]
async fn one_node_of_a_lost_majority_begins_anew_and_the_others_join_it() {
    let place = tempfile::tempdir().expect("there is room");
    let channel = MemoryChannel::new();
    let nodes = open_all(&channel, place.path()).await;
    for n in 0..10 {
        nodes[n % 3].perform(append(&n.to_string())).request_id(format!("order {n}")).await.expect("it serves");
    }
    nodes[0].linearizable_state().await.expect("it serves");
    let was = nodes[0].status().cluster;
    for node in nodes {
        node.close().await;
    }

    let at_a = || FileDisk::new(place.path().join("a"));
    let planned = recover(Words, "a", &at_a(), true).expect("its data are whole");
    assert_eq!((planned.index, Some(planned.was)), (Index(10), was));
    assert_eq!(planned.voters.iter().map(|name| &**name).collect::<Vec<_>>(), ["a", "b", "c"]);
    // A dry run changes nothing: the three could go on.
    let again = open_all(&channel, place.path()).await;
    assert_eq!(again[0].status().cluster, was);
    let founded = again[0].status().generation;
    let running = recover(Words, "a", &at_a(), true);
    assert!(matches!(running, Err(RecoverError::Stop(_))), "{running:?}");
    for node in again {
        node.close().await;
    }

    let done = recover(Words, "a", &at_a(), false).expect("its data are whole");
    let a = open_one(&channel, "a", at_a()).await;
    a.perform(append("alone")).await.expect("it serves alone");
    assert_eq!((a.status().generation, a.status().cluster), (done.generation, Some(done.cluster)));
    assert_ne!(done.generation, founded);
    assert_eq!(a.status().voters.len(), 1);
    // What was answered before is not done again.
    let repeated = a.perform(append("3")).request_id("order 3").await.expect("it is remembered");
    assert_eq!(repeated.index, Index(4));

    // The old b is of another cluster now; with an empty disk it is let in, and has its vote again.
    let old = open_one(&channel, "b", FileDisk::new(place.path().join("b"))).await;
    let refused = |status: &Status| status.notice.clone().filter(|notice| notice.contains("cluster"));
    old.watch_status().find(refused).await.expect("it is open");
    assert_eq!(a.linearizable_state().await.expect("it serves").len(), 11);
    old.close().await;
    drop(old);
    let b = open_one(&channel, "b", MemoryDisk::new()).await;
    let c = open_one(&channel, "c", MemoryDisk::new()).await;
    let three = |status: &Status| (status.voters.len() == 3 && status.role != Role::Learner).then_some(());
    for node in [&b, &c] {
        node.watch_status().find(three).await.expect("it is open");
        assert_eq!(node.linearizable_state().await.expect("it serves").len(), 11);
        assert_eq!(node.status().generation, done.generation);
    }
    for node in [a, b, c] {
        node.close().await;
    }
    // Once more, and from a log that begins with the snapshot of the first time.
    let twice = recover(Words, "a", &at_a(), true).expect("its data are whole");
    assert_eq!(twice.index, Index(11));
    assert_ne!(twice.generation, done.generation);
}

#[tokio::test]
async fn a_backup_is_restored_onto_an_empty_disk_only_and_knows_what_was_done() {
    let place = tempfile::tempdir().expect("there is room");
    let channel = MemoryChannel::new();
    let nodes = open_all(&channel, place.path()).await;
    let told = nodes[1].perform(append("one")).start();
    let id: RequestId = told.request_id().expect("it has its place").clone();
    let Done { index, .. } = told.await.expect("it serves");
    let backup = nodes[2].backup().await.expect("it serves").encode();
    nodes[0].perform(append("after the backup")).await.expect("it serves");
    for node in nodes {
        node.close().await;
    }
    let backup = Backup::decode(&backup).expect("it is whole");
    let taken = restore(Words, "a", &FileDisk::new(place.path().join("a")), &backup);
    assert!(matches!(taken, Err(RecoverError::NotEmpty(cluster)) if cluster == backup.cluster), "{taken:?}");

    let fresh = place.path().join("fresh");
    let restored = restore(Words, "x", &FileDisk::new(&fresh), &backup).expect("the disk is empty");
    assert_eq!((restored.index, restored.was), (index, backup.cluster));
    let twice = restore(Words, "y", &FileDisk::new(place.path().join("twice")), &backup).expect("the disk is empty");
    assert_ne!((twice.generation, twice.cluster), (restored.generation, restored.cluster));
    let x = open_one(&MemoryChannel::new(), "x", FileDisk::new(&fresh)).await;
    assert_eq!(*x.linearizable_state().await.expect("it serves alone"), ["one"]);
    let asked = x.outcome(&id).await.expect("it serves alone");
    assert!(matches!(asked, Asked::Decided(Ok(Done { index: at, .. })) if at == index), "{asked:?}");
    assert_eq!(x.perform(append("two")).await.expect("it serves alone").index, index.next());
    x.close().await;

    let empty = recover(Words, "a", &FileDisk::new(place.path().join("none")), true);
    assert_eq!(empty, Err(RecoverError::Empty));
}

const KEPT: [Keep; 3] = [Keep::Everything, Keep::Nothing, Keep::Some];

fn simulated(files: &SimulatedFiles) -> FileDisk {
    FileDisk::simulated(files.clone(), "/data/a", Duration::ZERO)
}

async fn alone(disk: impl Disk) -> Node<Words> {
    let builder = Node::builder(Words, "a").cluster_size(1).channel(MemoryChannel::new()).disk(disk);
    builder.default_deadline(Duration::from_secs(3)).open().await.expect("what is there can be read")
}

/// What a node on that disk serves, if it serves, and the generation that it is of.
async fn served(disk: impl Disk) -> Option<(Vec<String>, u64)> {
    let node = alone(disk).await;
    let state = node.linearizable_state().await.ok().map(|state| state.to_vec());
    let generation = node.status().generation;
    node.close().await;
    state.map(|state| (state, generation))
}

/// Files on which a node has served, and what it held.
async fn used(seed: u64) -> (SimulatedFiles, Vec<String>, Backup) {
    let files = SimulatedFiles::new(seed);
    let node = alone(simulated(&files)).await;
    for n in 0..5 {
        node.perform(append(&n.to_string())).await.expect("it serves alone");
    }
    let backup = node.backup().await.expect("it serves alone");
    let words = node.state().to_vec();
    node.close().await;
    (files, words, backup)
}

fn begin_anew(files: &SimulatedFiles) -> Result<Recovered, RecoverError> {
    recover(Words, "a", &simulated(files), false)
}

#[tokio::test(start_paused = true)]
async fn a_recovery_that_is_cut_off_anywhere_serves_nothing_else_and_is_done_again() {
    // How often it was all there although the disk said no.
    let mut began = 0;
    for keep in KEPT {
        let mut cut_off = 0;
        for nth in 1.. {
            let (files, words, _) = used(nth).await;
            let before = served(simulated(&files)).await.expect("it serves alone");
            files.crash_at(nth, keep);
            if begin_anew(&files).is_ok() {
                break;
            }
            cut_off += 1;
            let context = format!("{keep:?} at operation {nth}");
            // As it was, as it is to be, or not at all.
            let between = served(simulated(&files)).await;
            if let Some((state, generation)) = &between {
                assert_eq!(*state, words, "{context}");
                began += u32::from(*generation != before.1);
            }
            let done = begin_anew(&files).unwrap_or_else(|error| panic!("{context}: {error}"));
            assert_eq!(done.index, Index(5), "{context}");
            files.crash(Keep::Nothing);
            let again = served(simulated(&files)).await;
            assert_eq!(again, Some((words, done.generation)), "{context}");
        }
        assert!(cut_off > 5, "{keep:?}: {cut_off} operations only");
    }
    assert!(began > 0, "no cut came late enough");
}

#[tokio::test(start_paused = true)]
async fn a_restoring_that_is_cut_off_anywhere_serves_nothing_or_all_and_is_done_again() {
    for keep in KEPT {
        let mut cut_off = 0;
        for nth in 1.. {
            let (_, words, backup) = used(nth).await;
            let files = SimulatedFiles::new(nth);
            let begin = || restore(Words, "a", &simulated(&files), &backup);
            files.crash_at(nth, keep);
            if begin().is_ok() {
                break;
            }
            cut_off += 1;
            let context = format!("{keep:?} at operation {nth}");
            // Whoever opened a disk that is still empty would found a cluster on it: as on any empty one.
            let done = begin();
            files.crash(Keep::Nothing);
            let (state, generation) = served(simulated(&files)).await.unwrap_or_else(|| panic!("{context}: {done:?}"));
            assert_eq!(state, words, "{context}");
            match done {
                Ok(done) => assert_eq!(generation, done.generation, "{context}"),
                // It was all there.
                Err(RecoverError::NotEmpty(_)) => assert!(generation > 0, "{context}"),
                Err(error) => panic!("{context}: {error}"),
            }
        }
        assert!(cut_off > 5, "{keep:?}: {cut_off} operations only");
    }
}
/// The words after a change: all are written in capitals, and one that begins with this is an error.
#[derive(Debug)]
struct Loud(&'static str);

impl Container for Loud {
    type State = Vec<String>;
    type Method = Method;
    type Action = Action;
    type Rejection = Reject;

    fn version(&self) -> u32 {
        2
    }

    fn initial(&self) -> Vec<String> {
        vec![]
    }

    fn decide(&self, words: &Vec<String>, method: Method, context: &Context<'_>) -> Result<Option<Action>, Reject> {
        Words.decide(words, method, context)
    }

    fn reduce(&self, words: &mut Vec<String>, action: &Action, _: &Context<'_>) {
        let Action::Appended(word) = action else { return };
        assert!(!word.starts_with(self.0), "a word begins with {}", self.0);
        words.push(word.to_uppercase());
    }
}

async fn open_loud(channel: &MemoryChannel, name: &str, disk: impl Disk) -> Result<Node<Loud>, OpenError> {
    Node::builder(Loud("-"), name).cluster_size(3).channel(channel.clone()).disk(disk).open().await
}

#[tokio::test]
async fn a_changed_container_goes_on_with_its_data_when_that_is_meant() {
    let place = tempfile::tempdir().expect("there is room");
    let channel = MemoryChannel::new();
    let nodes = open_all(&channel, place.path()).await;
    nodes[0].perform(append("one")).request_id("the first").await.expect("it serves");
    nodes[1].linearizable_state().await.expect("it serves");
    nodes[1].compact().await.expect("it has something to compact");
    for word in ["two", "three"] {
        nodes[2].perform(append(word)).await.expect("it serves");
    }
    nodes[1].linearizable_state().await.expect("it serves");
    for node in nodes {
        node.close().await;
    }
    let at = |name: &str| FileDisk::new(place.path().join(name));

    // Without it being meant, each door is shut, and says what it is.
    assert_eq!(other_code(&Loud("-"), "b", &at("b")), Ok(Some(Halt::Version { came: 1, is: 2 })));
    assert_eq!(other_code(&Words, "b", &at("b")), Ok(None));
    let refused = open_loud(&channel, "b", at("b")).await.err().expect("other code made it");
    assert!(matches!(&refused, OpenError::Stop(stop) if stop.is_other_code()), "{refused:?}");
    let refused = recover(Loud("-"), "b", &at("b"), true).expect_err("other code made it");
    assert!(matches!(&refused, RecoverError::Changed(halt) if halt.is_other_code()), "{refused:?}");
    assert!(refused.to_string().contains("see `Recovery::changed`"), "{refused}");

    // One that cannot go on says where, and changes nothing.
    let picky = Recovery::new(Loud("t"), "b").changed(true);
    let refused = picky.recover(&at("b")).expect_err("it will have no two");
    assert!(matches!(&refused, RecoverError::Unfit { index: Index(1), .. }), "{refused:?}");
    let told = refused.to_string();
    assert!(told.contains("behind index 1") && told.contains("a word begins with t"), "{told}");
    assert!(told.contains("Nothing was changed"), "{told}");
    let still = recover(Words, "b", &at("b"), true).expect("nothing was changed");
    assert_eq!((still.index, still.changed), (Index(3), None));

    let loud = || Recovery::new(Loud("-"), "b").changed(true);
    let planned = loud().plan(&at("b")).expect("it can");
    let changed = planned.changed.expect("other code made it");
    assert_eq!((changed.version, changed.saved, changed.reduced), (1, Index(1), 2));
    // Onto another disk: its own stays as it was.
    let done = loud().recover_onto(&at("b"), &at("fresh")).expect("it can");
    assert_eq!((done.index, done.changed), (Index(3), Some(changed)));
    let twice = loud().recover_onto(&at("b"), &at("fresh"));
    assert!(matches!(twice, Err(RecoverError::NotEmpty(cluster)) if cluster == done.cluster), "{twice:?}");
    let again = open_all(&channel, place.path()).await;
    assert_eq!(*again[0].linearizable_state().await.expect("it serves"), ["one", "two", "three"]);
    for node in again {
        node.close().await;
    }

    // And in its place.
    loud().recover(&at("b")).expect("it can");
    for disk in [at("fresh"), at("b")] {
        let node = open_loud(&MemoryChannel::new(), "b", disk).await.expect("it is its own now");
        // What was saved is as it was; what came behind is as this code has it.
        assert_eq!(*node.linearizable_state().await.expect("it serves alone"), ["one", "TWO", "THREE"]);
        let repeated = node.perform(append("one")).request_id("the first").await.expect("it is remembered");
        assert_eq!(repeated.index, Index(1));
        assert_eq!(node.perform(append("four")).await.expect("it serves alone").index, Index(4));
        assert_eq!(node.linearizable_state().await.expect("it serves alone")[3], "FOUR");
        node.close().await;
    }
    // With nothing to change, it is what it is without.
    assert_eq!(loud().plan(&at("b")).expect("it can").changed, None);
    // Those with the old code are refused by it.
    assert!(matches!(recover(Words, "b", &at("b"), true), Err(RecoverError::Changed(_))));
}

#[tokio::test]
async fn a_backup_of_other_code_is_restored_when_that_is_meant() {
    let place = tempfile::tempdir().expect("there is room");
    let nodes = open_all(&MemoryChannel::new(), place.path()).await;
    nodes[1].perform(append("one")).await.expect("it serves");
    let backup = nodes[2].backup().await.expect("it serves");
    for node in nodes {
        node.close().await;
    }
    let origins = backup.origins().expect("it is whole");
    assert_eq!((origins.version, origins.index), (1, Index(1)));
    let fresh = || FileDisk::new(place.path().join("fresh"));
    let refused = restore(Loud("-"), "x", &fresh(), &backup).expect_err("it is of other code");
    assert!(matches!(&refused, RecoverError::Changed(halt) if halt.is_other_code()), "{refused:?}");
    let done = Recovery::new(Loud("-"), "x").changed(true).restore(&fresh(), &backup).expect("it is meant");
    assert_eq!(done.changed.map(|changed| (changed.saved, changed.reduced)), Some((Index(1), 0)));
    let x = open_loud(&MemoryChannel::new(), "x", fresh()).await.expect("it is its own now");
    x.perform(append("two")).await.expect("it serves alone");
    assert_eq!(*x.linearizable_state().await.expect("it serves alone"), ["one", "TWO"]);
    x.close().await;
}
