//! One run: the cluster is founded, clients call, the plan is done, everything heals, and what was seen is checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::callers::{Archivist, Caller};
use super::cluster::Cluster;
use super::faults::{Faults, Halt, Tally};
use super::options::Options;
use super::plan::Plan;
use super::record::{Call, Heard, Log, Read, Record, State, seconds};
use super::report::Seen;
use super::world::{LOOK_EVERY, World};
use super::{check, readers, report};
use crate::steps::Failure;

const READERS: usize = 2;
const LISTENERS: usize = 2;

/// How long all nodes may take to hold the same in the end.
const FINAL_PATIENCE: Duration = Duration::from_secs(30);

/// The nodes, and what was done to them.
pub(super) struct Run<'a> {
    options: &'a Options,
    directory: &'a Path,
    cluster: Cluster,
    world: Arc<World>,
    tally: Tally,
    /// Sees whether each node serves.
    prober: Caller,
}

/// Clients in threads of their own.
struct Clients {
    callers: Vec<JoinHandle<Vec<Call>>>,
    archivist: JoinHandle<(Vec<Call>, Log, Vec<String>)>,
    readers: Vec<JoinHandle<(Vec<Read>, Vec<String>)>>,
    listeners: Vec<JoinHandle<Vec<Vec<Heard>>>>,
    statuses: JoinHandle<Watched>,
}

impl<'a> Run<'a> {
    pub(super) fn new(
        directory: &'a Path,
        program: &Path,
        options: &'a Options,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Run<'a>, Failure> {
        let cluster = Cluster::new(directory, program, options, interrupted)?;
        let world = cluster.world.clone();
        let prober = Caller::new(&world, options.callers + 1);
        Ok(Run { options, directory, cluster, world, tally: Tally::default(), prober })
    }

    fn faults(&mut self) -> Faults<'_> {
        Faults { cluster: &mut self.cluster, tally: &mut self.tally, prober: &mut self.prober }
    }

    /// Everything; what is told when all is well, or what is not.
    pub(super) fn finish(mut self) -> Result<String, Failure> {
        self.cluster.found()?;
        self.faults().settle().map_err(|halt| failure(halt, "the cluster was not founded"))?;
        let clients = Clients::start(&self.world, self.options.callers);
        let broke = self.break_things();
        if matches!(broke, Err(Halt::Interrupted)) {
            return Err("interrupted".to_owned());
        }
        println!("     {:>7}  heals", seconds(self.world.begun.elapsed()));
        let healed = self.faults().settle();
        self.world.finish();
        let (mut record, watched) = clients.stop(&self.world, &mut self.prober, |record| {
            // Without a cluster that serves there is no log to hold anything against.
            if healed.is_ok() { finals(&self.cluster, &self.world, record) } else { Ok(()) }
        })?;
        if healed.is_ok() {
            self.cluster.look();
            let all = self.world.members();
            self.cluster.end(&all)?;
        }
        self.cluster.stop();
        let links = self.cluster.counts();
        record.snapshots = self.cluster.snapshots();
        record.endings = std::mem::take(&mut self.cluster.endings);
        record.panics = self.cluster.panics();
        let Run { options, directory, world, tally, prober, .. } = self;
        record.calls.extend(prober.into_calls());
        let elapsed = world.begun.elapsed();
        let table = report::table(
            options,
            &tally,
            &record,
            &Seen { terms: watched.leaders.len(), agreed: watched.agreed, links, elapsed },
        );

        let mut wrong: Vec<String> = Vec::new();
        wrong.extend(broke.err().map(|halt| failure(halt, "the plan was not done to its end")));
        match healed {
            Err(halt) => wrong.push(failure(halt, "the cluster did not heal, so nothing more can be checked")),
            Ok(()) => {
                let broken = check::all(&record);
                wrong.extend(check::shown(&broken));
            }
        }
        if wrong.is_empty() {
            wrong.extend(report::never_happened(options, &tally, &record));
        }
        if !wrong.is_empty() {
            // What is wrong is told all the same.
            let _ = std::fs::write(directory.join("calls.txt"), report::calls(&record));
        }
        if wrong.is_empty() { Ok(table) } else { Err(format!("{table}\n{}", wrong.join("\n"))) }
    }

    /// The plan, for as long as there is time, and every kind of fault once.
    fn break_things(&mut self) -> Result<(), Halt> {
        let begun = Instant::now();
        for (nth, step) in Plan::new(self.options).enumerate() {
            let elapsed = begun.elapsed();
            if (elapsed >= self.options.length && nth >= self.options.faults.len()) || self.world.is_interrupted() {
                break;
            }
            println!("     {:>7}  {step}", seconds(self.world.begun.elapsed()));
            self.faults().run(&step)?;
        }
        if self.world.is_interrupted() { Err(Halt::Interrupted) } else { Ok(()) }
    }
}

fn failure(halt: Halt, when: &str) -> Failure {
    match halt {
        Halt::Interrupted => "interrupted".to_owned(),
        Halt::Failed(why) => format!("{when}: {why}"),
    }
}

impl Clients {
    fn start(world: &Arc<World>, callers: usize) -> Clients {
        Clients {
            callers: (0..callers)
                .map(|number| {
                    let caller = Caller::new(world, number);
                    std::thread::spawn(move || caller.run())
                })
                .collect(),
            archivist: {
                let archivist = Archivist::new(world, callers);
                std::thread::spawn(move || archivist.run())
            },
            readers: (0..READERS)
                .map(|number| {
                    let world = world.clone();
                    std::thread::spawn(move || readers::read(&world, number))
                })
                .collect(),
            listeners: (0..LISTENERS)
                .map(|number| {
                    let world = world.clone();
                    std::thread::spawn(move || readers::listen(&world, number))
                })
                .collect(),
            statuses: {
                let world = world.clone();
                std::thread::spawn(move || watch_statuses(&world))
            },
        }
    }

    /// Waits for all of them; those who listen hear the end, which `finals` finds out.
    fn stop(
        self,
        world: &Arc<World>,
        prober: &mut Caller,
        finals: impl FnOnce(&mut Record) -> Result<(), Failure>,
    ) -> Result<(Record, Watched), Failure> {
        let mut record = Record::default();
        for caller in self.callers {
            record.calls.extend(joined(caller));
        }
        let (calls, log, odd) = joined(self.archivist);
        record.calls.extend(calls);
        record.log = log;
        record.odd = odd;
        for reader in self.readers {
            let (reads, odd) = joined(reader);
            record.reads.extend(reads);
            record.odd.extend(odd);
        }
        let watched = joined(self.statuses);
        record.parted.clone_from(&watched.parted);
        record.leaders.clone_from(&watched.leaders);
        prober.settle(&mut record.calls);
        finals(&mut record)?;
        let end = record.finals.iter().map(|(_, state)| state.index).max();
        // Where nothing could be found out, nobody waits.
        world.set_end(end.unwrap_or(1));
        for listener in self.listeners {
            record.listeners.extend(joined(listener));
        }
        Ok((record, watched))
    }
}

fn joined<T>(thread: JoinHandle<T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// What the nodes told of themselves.
#[derive(Default)]
struct Watched {
    /// Who led, by term.
    leaders: BTreeSet<(u64, String)>,
    parted: BTreeMap<String, u64>,
    /// The last place at which they compared their states and found them equal.
    agreed: u64,
}

fn watch_statuses(world: &World) -> Watched {
    let mut watched = Watched::default();
    while !world.is_over() {
        for at in world.members() {
            let Some(status) = world.slots[at].client.status() else { continue };
            if let (Some(term), Some(leader)) = (status["term"].as_u64(), status["leader"].as_str()) {
                watched.leaders.insert((term, leader.to_owned()));
            }
            let parted = watched.parted.entry(world.slots[at].name.clone()).or_default();
            *parted = status["parted"].as_u64().unwrap_or(0).max(*parted);
            watched.agreed = status["agreed"].as_u64().unwrap_or(0).max(watched.agreed);
        }
        world.sleep(Duration::from_millis(200));
    }
    watched
}

/// What each member holds in the end, and the digest of it.
fn finals(cluster: &Cluster, world: &World, record: &mut Record) -> Result<(), Failure> {
    let deadline = Instant::now() + FINAL_PATIENCE;
    let members = world.members();
    let ask = |at: usize, path: &str| loop {
        let name = cluster.name(at);
        match world.slots[at].client.get(path, Duration::from_secs(10)) {
            Ok(reply) if reply.status == 200 => return Ok(reply.body),
            _ if Instant::now() < deadline && world.sleep(LOOK_EVERY) => {}
            Ok(reply) => return Err(format!("{name} answered {} to GET {path}: {}", reply.status, reply.body)),
            Err(miss) => return Err(format!("{name} did not answer GET {path}: {miss:?}")),
        }
    };
    let read = |at: usize, path: &str| State::parse(&ask(at, path)?);
    let first = *members.first().ok_or("there is no member")?;
    let end = read(first, "/state?linearizable=true")?.index;
    for at in &members {
        // A node that stays behind is found by what it holds then.
        let state = loop {
            let state = read(*at, "/state")?;
            if state.index >= end || Instant::now() >= deadline || !world.sleep(LOOK_EVERY) {
                break state;
            }
        };
        record.log.take(&state);
        record.finals.push((cluster.name(*at).to_owned(), state));
    }
    record.digests.0 = end;
    for at in &members {
        let answer = ask(*at, &format!("/digest?index={end}"))?;
        let digest = answer["digest"].as_str().unwrap_or("none").to_owned();
        record.digests.1.push((cluster.name(*at).to_owned(), digest));
    }
    Ok(())
}
