//! The cluster under simulation, and all that is known of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use conflux::disk::{Disk, DiskError, Keep, Losses, SimulatedFiles};
use conflux::observe::MemberId;
use conflux::process::Process;
use conflux::{
    Container, FileDisk, MemoryChannel, MemoryDisk, Node, NodeBuilder, OpenError, Random, RequestId, Retention, Role,
};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::callers;
use crate::check::{
    RaftChecks, SafeMembership, Stand, Step, answered, has_a_rival, heard, in_real_time, kept, opening_ended, reopened,
    shown, stopped, went_on,
};
use crate::disk::{Watch, WatchedDisk};
use crate::history::History;
#[cfg(test)]
use crate::logs::Line;
use crate::logs::{DiskNumber, Log, Logs, Noted, Shelf, Taken};
use crate::observed::{Calls, Observed, Tagged};
use crate::record::{Claim, Heard, Listener, Try};
use crate::schedule::{SHORT_CHOSEN_ID, SHORT_SESSION, Schedule, name};
use crate::subject::Subject;
use crate::tally::Tally;
use crate::trace::{Lane, Trace};
use crate::weather::{Between, Weather};
use crate::words;
use crate::wrong::{Checked, Promise, Wrong};

pub(crate) struct World<C: Container> {
    pub(crate) schedule: Schedule,
    pub(crate) subject: Subject<C>,
    pub(crate) channel: MemoryChannel,
    pub(crate) trace: Arc<Trace>,
    pub(crate) decided: Arc<Calls<C>>,
    /// Rung when a promise is broken.
    pub(crate) alarm: Arc<Notify>,
    known: Mutex<Known<C>>,
}

pub(crate) struct Known<C: Container> {
    pub(crate) slots: Vec<Slot<C>>,
    pub(crate) logs: Logs,
    raft: RaftChecks,
    membership: SafeMembership,
    pub(crate) history: History<C>,
    pub(crate) tries: Vec<Try>,
    /// The try of each call that has one only.
    tried: BTreeMap<u64, Option<usize>>,
    /// What had been told when each call was first asked for: the highest index.
    told_before: BTreeMap<u64, u64>,
    /// The entries that leaders proposed, with who did.
    #[cfg(test)]
    pub(crate) proposed: Vec<(MemberId, Line)>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) tally: Tally,
    pub(crate) wrong: Option<Wrong>,
    /// The highest index that any caller was told.
    pub(crate) told: u64,
    /// Callers and faults go on.
    pub(crate) going: bool,
    /// Performs whose answers are still waited for.
    pub(crate) waiting: u64,
    /// Somebody changes who the members are, or what they remember.
    pub(crate) members_change: bool,
    pub(crate) weather: Weather,
    /// Somebody has the place of those that come and go.
    pub(crate) guest: bool,
    openings: u64,
    leaders: BTreeMap<usize, u64>,
    /// The number of the session of each opening.
    sessions: BTreeMap<u64, u64>,
}

/// The place of one node, which comes and goes.
pub(crate) struct Slot<C: Container> {
    pub(crate) node: Option<Node<Observed<C>>>,
    pub(crate) life: Option<Life>,
    pub(crate) opening: u64,
    pub(crate) disk: SlotDisk,
    /// How it is to die as it opens next, if it is.
    pub(crate) next_death: Option<NextDeath>,
    /// A fault has it in hand.
    pub(crate) busy: bool,
    /// It is paused, or was a moment ago.
    pub(crate) stands_still: bool,
    /// It may stop by itself, or not open, for these.
    pub(crate) excuses: BTreeSet<Excuse>,
    /// What its wall clock is ahead by.
    pub(crate) clock_ms: Arc<AtomicI64>,
    /// The version of its container is another one.
    pub(crate) version_ahead: u32,
    /// Somebody took its seat, or tried to: it has to be given it again.
    pub(crate) unseated: bool,
    index: u64,
}

/// Why a node may stop by itself, or not open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Excuse {
    /// Its disk fails.
    Disk,
    /// A bit of its disk flipped.
    Damage,
    /// It is removed from the cluster.
    Removed,
    /// Its container is of another version.
    Version,
}

impl Excuse {
    /// Whether this is the reason that it gives: no other fault may hide behind it.
    fn explains(self, why: &str) -> bool {
        match self {
            // The file is named, or what was read from it.
            Excuse::Disk => why.contains(DIRECTORY),
            Excuse::Damage => why.contains(DIRECTORY) || why.contains("cannot be used"),
            Excuse::Removed => why.contains("was removed from its cluster"),
            Excuse::Version => why.contains("version"),
        }
    }
}

fn is_excused(excuses: &BTreeSet<Excuse>, why: &str) -> bool {
    excuses.iter().any(|excuse| excuse.explains(why))
}

/// One opening of a node, as a process.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) process: Arc<Process>,
    pub(crate) death: Arc<Death>,
}

/// When a node is to die that is about to be opened.
#[derive(Clone, Copy)]
pub(crate) struct NextDeath {
    pub(crate) at: Strikes,
    /// The one after so many.
    pub(crate) nth: u64,
    pub(crate) keep: Keep,
}

/// At what.
#[derive(Clone, Copy)]
pub(crate) enum Strikes {
    /// A poll of one of its tasks.
    AtAwait,
    /// An operation of its disk.
    AtDisk,
}

/// How it is to die.
pub(crate) struct Death {
    pub(crate) keep: Mutex<Keep>,
    /// The disk has crashed already.
    by_disk: AtomicBool,
}

/// What a node writes on.
#[derive(Clone)]
pub(crate) struct SlotDisk {
    pub(crate) number: DiskNumber,
    pub(crate) medium: Medium,
}

#[derive(Clone)]
pub(crate) enum Medium {
    Memory(MemoryDisk),
    Files(SimulatedFiles, FileDisk),
}

pub(crate) const DIRECTORY: &str = "/data";

impl<C: Container> World<C> {
    pub(crate) fn new(schedule: Schedule, subject: Subject<C>, trace: Arc<Trace>) -> Result<Arc<Self>, String> {
        let decided = Arc::<Calls<C>>::default();
        let container =
            Arc::new(Observed { inner: subject.make()?, version_ahead: 0, ballast: 0, decided: decided.clone() });
        let known = Known {
            slots: Vec::new(),
            logs: Logs::default(),
            raft: RaftChecks::default(),
            membership: SafeMembership::default(),
            history: History::new(container, subject.clone()),
            tries: Vec::new(),
            tried: BTreeMap::new(),
            told_before: BTreeMap::new(),
            #[cfg(test)]
            proposed: Vec::new(),
            listeners: Vec::new(),
            tally: Tally::default(),
            wrong: None,
            told: 0,
            going: true,
            waiting: 0,
            members_change: false,
            weather: Weather::default(),
            guest: false,
            openings: 0,
            leaders: BTreeMap::new(),
            sessions: BTreeMap::new(),
        };
        let channel = MemoryChannel::seeded(schedule.seed);
        let world =
            World { subject, channel, trace, decided, alarm: Arc::default(), known: Mutex::new(known), schedule };
        // One more, for a node that comes and goes: see [`FaultKind::Join`](crate::FaultKind::Join).
        for node in 0..=world.schedule.settings.nodes {
            let disk = world.new_disk();
            // Wall clocks differ: nothing but the stamps for people may depend on them.
            let ahead = world.random(1000 + node as u64).below(7_200_000);
            world.known().slots.push(Slot {
                node: None,
                life: None,
                opening: 0,
                disk,
                next_death: None,
                busy: node < world.schedule.settings.nodes,
                stands_still: false,
                excuses: BTreeSet::new(),
                clock_ms: Arc::new(AtomicI64::new(ahead as i64)),
                version_ahead: 0,
                unseated: false,
                index: 0,
            });
        }
        let world = Arc::new(world);
        // First of all let go of what is known: whoever notes what is wrong takes it.
        let begun = world.known().history.begin();
        world.check(begun);
        Ok(world)
    }

    /// Never held across an await, nor while a node is called that might call back.
    pub(crate) fn known(&self) -> MutexGuard<'_, Known<C>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn count(&self, what: &'static str) {
        self.known().tally.count(what);
    }

    pub(crate) fn say(&self, lane: Lane, what: std::fmt::Arguments<'_>) {
        self.trace.say(lane, what);
    }

    /// Takes note of a broken promise. Only the first one counts: what comes after it may be no more than its echo.
    pub(crate) fn note(&self, wrong: Wrong) {
        {
            let mut known = self.known();
            if known.wrong.is_some() {
                return;
            }
            known.wrong = Some(wrong.clone());
        }
        self.say(Lane::World, format_args!("BROKEN: {wrong}"));
        self.alarm.notify_one();
    }

    pub(crate) fn check(&self, checked: Checked) {
        if let Err(wrong) = checked {
            self.note(wrong);
        }
    }

    pub(crate) fn is_going(&self) -> bool {
        self.known().going
    }

    /// Chance for one use.
    pub(crate) fn random(&self, what: u64) -> Random {
        let mut random = Random::new(self.schedule.seed);
        Random::new(random.next_u64() ^ what.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    pub(crate) fn new_disk(&self) -> SlotDisk {
        let number = {
            let mut known = self.known();
            let number = known.logs.shelves.len();
            known.logs.shelves.insert(number, Shelf::default());
            number
        };
        let settings = &self.schedule.settings;
        let medium = if settings.in_memory {
            Medium::Memory(MemoryDisk::new())
        } else {
            let files = SimulatedFiles::new(self.random(10_000 + number as u64).next_u64());
            let disk = FileDisk::simulated(files.clone(), DIRECTORY, settings.disk_latency).segment_bytes(32 * 1024);
            Medium::Files(files, disk)
        };
        SlotDisk { number, medium }
    }

    pub(crate) fn node(&self, node: usize) -> Option<(Node<Observed<C>>, u64)> {
        let known = self.known();
        let slot = &known.slots[node];
        slot.node.clone().map(|node| (node, slot.opening))
    }

    /// The process of a node that is open.
    pub(crate) fn process(&self, node: usize) -> Process {
        let known = self.known();
        Process::clone(&known.slots[node].life.as_ref().expect("a node that is open lives").process)
    }

    /// Puts something between nodes, to be lifted by its number.
    pub(crate) fn put_between(&self, between: Between) -> u64 {
        self.known().weather.put(between, &self.channel)
    }

    /// Lifts it.
    pub(crate) fn lift(&self, number: u64) {
        self.known().weather.lift(number, &self.channel);
    }

    /// Those that are open.
    pub(crate) fn open_nodes(&self) -> Vec<usize> {
        let known = self.known();
        (0..known.slots.len()).filter(|node| known.slots[*node].node.is_some()).collect()
    }

    pub(crate) fn leader(&self) -> Option<usize> {
        let nodes: Vec<_> = self.known().slots.iter().map(|slot| slot.node.clone()).collect();
        let leads = |node: &Option<Node<_>>| node.as_ref().is_some_and(|node| node.status().role == Role::Leader);
        nodes.iter().position(leads)
    }

    /// Counts what crashes took from a disk since it was looked at last.
    pub(crate) fn count_losses(&self, node: usize) {
        let mut known = self.known();
        if let Medium::Files(files, _) = &known.slots[node].disk.medium {
            let Losses { writes, torn } = files.take_losses();
            known.tally.add_times("unsynced write lost", writes);
            known.tally.add_times("write torn", torn);
        }
    }

    /// Opens the node of a slot, however often that is interrupted. `false` when it cannot be, and may be so.
    pub(crate) async fn open(self: &Arc<Self>, node: usize) -> bool {
        loop {
            self.count_losses(node);
            let (life, builder, opening) = self.prepare(node);
            let opened = life.process.spawn(builder.open()).await;
            self.spare(node, &life);
            match opened {
                Ok(Ok(opened)) if life.process.is_dead() => {
                    drop(opened);
                    self.say(Lane::Node(node), format_args!("dies as it has opened"));
                    self.count("died as it opened");
                }
                Ok(Ok(opened)) => {
                    let index = opened.state().index().0;
                    self.say(Lane::Node(node), format_args!("is open (opening {opening}), at {index}"));
                    let mut known = self.known();
                    let slot = &mut known.slots[node];
                    (slot.node, slot.opening, slot.busy, slot.index) = (Some(opened), opening, false, index);
                    return true;
                }
                // Its end is still under way.
                Ok(Err(OpenError::Disk(DiskError::InUse { .. }) | OpenError::Channel(_))) => {}
                Ok(Err(_)) | Err(_) if life.process.is_dead() => {
                    self.say(Lane::Node(node), format_args!("dies as it opens"));
                    self.count("died as it opened");
                }
                Ok(Err(error)) => {
                    self.say(Lane::Node(node), format_args!("does not open: {error}"));
                    if !is_excused(&self.known().slots[node].excuses, &error.to_string()) {
                        self.note(stopped(name(node), &error.to_string()));
                    }
                    return false;
                }
                Err(error) => {
                    self.note(opening_ended(name(node), &error.to_string()));
                    return false;
                }
            }
            sleep(Duration::from_millis(10)).await;
        }
    }

    /// Whoever is open lives: what was to befall it as it opened does not any more.
    fn spare(&self, node: usize, life: &Life) {
        life.process.spare();
        if let Medium::Files(files, _) = &self.known().slots[node].disk.medium {
            files.heal();
        }
    }

    fn prepare(self: &Arc<Self>, node: usize) -> (Life, NodeBuilder<Observed<C>>, u64) {
        let (disk, opening, clock_ms, version_ahead, next_death) = {
            let mut known = self.known();
            known.openings += 1;
            let opening = known.openings;
            let slot = &mut known.slots[node];
            (slot.disk.clone(), opening, slot.clock_ms.clone(), slot.version_ahead, slot.next_death.take())
        };
        let death = Arc::new(Death { keep: Mutex::new(Keep::Everything), by_disk: AtomicBool::new(false) });
        let process = Arc::new(Process::new({
            let (death, channel, medium) = (death.clone(), self.channel.clone(), disk.medium.clone());
            move || {
                channel.detach(name(node));
                if let Medium::Files(files, _) = &medium
                    && !death.by_disk.load(Ordering::Relaxed)
                {
                    files.crash(*death.keep.lock().unwrap_or_else(PoisonError::into_inner));
                }
            }
        }));
        if let Medium::Files(files, _) = &disk.medium {
            // The process holds the files: held by them in turn, both would stay for ever.
            let (process, death) = (Arc::downgrade(&process), death.clone());
            files.at_crash(move || {
                death.by_disk.store(true, Ordering::Relaxed);
                if let Some(process) = process.upgrade() {
                    process.kill();
                }
            });
        }
        if let Some(NextDeath { at, nth, keep }) = next_death {
            self.say(Lane::Node(node), format_args!("is to die as it opens, and its disk keeps {keep:?}"));
            *death.keep.lock().unwrap_or_else(PoisonError::into_inner) = keep;
            match (at, &disk.medium) {
                (Strikes::AtDisk, Medium::Files(files, _)) => files.crash_at(1 + nth, keep),
                _ => process.kill_after(nth),
            }
        }
        let life = Life { process, death };
        self.known().slots[node].life = Some(life.clone());
        let builder = self.builder(node, &disk, opening, clock_ms, version_ahead);
        (life, builder, opening)
    }

    fn builder(
        self: &Arc<Self>,
        node: usize,
        disk: &SlotDisk,
        opening: u64,
        clock_ms: Arc<AtomicI64>,
        version_ahead: u32,
    ) -> NodeBuilder<Observed<C>> {
        let settings = &self.schedule.settings;
        // It was made before, for the history.
        let inner = self.subject.make().expect("the container could be made once");
        let container = Observed { inner, version_ahead, ballast: settings.ballast, decided: self.decided.clone() };
        let inner: Arc<dyn Disk> = match &disk.medium {
            Medium::Memory(disk) => Arc::new(disk.clone()),
            Medium::Files(_, disk) => Arc::new(disk.clone()),
        };
        let watch = Arc::new(DiskWatch { world: Arc::downgrade(self), node, disk: disk.number });
        let begun = Instant::now();
        let begun_ms = self.trace.now() / 1000;
        let mut builder = Node::builder(container, name(node))
            .channel(self.channel.clone())
            .disk(WatchedDisk { inner, watch })
            .seed(self.random(2_000_000 + opening).next_u64())
            .wall_clock(move || {
                let ahead = clock_ms.load(Ordering::Relaxed);
                (1_800_000_000_000 + begun_ms + begun.elapsed().as_millis() as u64).saturating_add_signed(ahead)
            })
            .election_timeout(
                Duration::from_millis(settings.election_ms.0),
                Duration::from_millis(settings.election_ms.1),
            )
            .heartbeat_interval(Duration::from_millis(settings.heartbeat_ms))
            .default_deadline(settings.deadline())
            .in_flight_max(settings.in_flight_max)
            .compaction(settings.compaction.0, settings.compaction.1)
            .history(settings.history)
            .digest_every(settings.digest_every);
        if settings.short_sessions {
            let (session, chosen_id) = (SHORT_SESSION, SHORT_CHOSEN_ID);
            builder = builder.retention(Retention { session, chosen_id, ..Retention::default() });
        }
        // By size alone, fewer than three would not wait for each other.
        match settings.named || settings.nodes < 3 {
            true => builder.founders((0..settings.nodes).map(name)),
            false => builder.cluster_size(settings.nodes),
        }
    }

    /// Takes note of a perform that is about to start.
    pub(crate) fn began(&self, method: &Tagged<C::Method>, node: usize, opening: u64, chosen: Option<String>) -> usize {
        let tag = method.tag;
        let mut known = self.known();
        known.tally.count("perform");
        let again = known.history.asks(tag, &method.value);
        let words = known.history.words(tag).to_owned();
        let number = known.tries.len();
        known.waiting += 1;
        known.tried.entry(tag).and_modify(|only| *only = None).or_insert(Some(number));
        let told = known.told;
        known.told_before.entry(tag).or_insert(told);
        let began = self.trace.now();
        known.tries.push(Try { tag, node, opening, chosen: chosen.clone(), began, answered: None, claims: Vec::new() });
        drop(known);
        self.say(
            Lane::Node(node),
            format_args!(
                "perform {number} is call {tag}{}{}{}: {words}",
                if tag < callers::TAGS_AT_THE_END { format!(" of ask {}", tag / 2) } else { String::new() },
                if again { " once more" } else { "" },
                chosen.map_or_else(String::new, |id| format!(", as {id}"))
            ),
        );
        number
    }

    /// Takes note of what a caller was told of a try; `tag` is the call it is about.
    pub(crate) fn told(&self, number: usize, tag: u64, claim: Claim) {
        let mut guard = self.known();
        let known = &mut *guard;
        let Try { node, opening, began, .. } = known.tries[number];
        known.tally.count(claim.kind());
        let before = known.told_before.get(&tag).copied().unwrap_or(0);
        let checked = answered(tag, &claim, &known.history.fates)
            .and_then(|()| in_real_time(tag, began, before, &claim))
            .and_then(|()| has_a_rival(number, &claim, &known.tries));
        known.told = known.told.max(claim.index().unwrap_or(0));
        let now = self.trace.now();
        known.tries[number].answered.get_or_insert(now);
        known.tries[number].claims.push(claim.clone());
        let shows = known.slots[node].node.as_ref().filter(|_| known.slots[node].opening == opening).cloned();
        drop(guard);
        self.say(Lane::Node(node), format_args!("perform {number}: {claim}"));
        self.check(checked);
        // A node that performed sees its own effect at once, unless it was told that it does not yet.
        if let (Some(node), Some(told)) = (shows, claim.index())
            && !matches!(claim, Claim::NotVisible { .. })
        {
            let index = node.state().index().0;
            self.check(went_on(node.id(), told, index));
        }
    }

    /// Takes note of the session that an opening's calls are in: another one than before means that that one expired.
    pub(crate) fn has_session(&self, opening: u64, id: Option<&RequestId>) {
        let Some(RequestId::Call(session, _)) = id else { return };
        let mut known = self.known();
        if known.sessions.insert(opening, session.number).is_some_and(|before| before != session.number) {
            known.tally.count("session expired");
        }
    }

    pub(crate) fn stopped_waiting(&self) {
        self.known().waiting -= 1;
    }

    /// Takes note of what a listener heard.
    pub(crate) fn heard(&self, listener: usize, what: &Heard) {
        let mut guard = self.known();
        let known = &mut *guard;
        let checked = heard(&mut known.listeners[listener], what, &known.history.actions, &known.history.trails);
        match what {
            Heard::Began { .. } => {}
            Heard::Change { index, .. } => known.told = known.told.max(*index),
            Heard::Reset { index, .. } => {
                known.told = known.told.max(*index);
                known.tally.count("subscription: reset");
            }
        }
        drop(guard);
        match what {
            Heard::Change { index, tag, state, .. } => {
                self.say(Lane::Listeners, format_args!("{listener} hears {index}: call {tag}, {state}"));
            }
            Heard::Reset { index, state } => {
                self.say(Lane::Listeners, format_args!("{listener} begins anew at {index}, {state}"));
            }
            Heard::Began { after } => self.say(Lane::Listeners, format_args!("{listener} listens from {after} on")),
        }
        self.check(checked);
    }

    /// The task that looks at the nodes from outside.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            for node in self.open_nodes() {
                if let Some((opened, opening)) = self.node(node) {
                    self.look(node, &opened, opening);
                }
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn look(&self, node: usize, opened: &Node<Observed<C>>, opening: u64) {
        let status = opened.status();
        let state = opened.state();
        let (index, trail) = (state.index().0, state.trail);
        drop(state);
        let mut guard = self.known();
        let known = &mut *guard;
        let slot = &mut known.slots[node];
        let is_dead = slot.life.as_ref().is_none_or(|life| life.process.is_dead());
        if slot.node.is_none() || slot.opening != opening || is_dead {
            return;
        }
        let before = std::mem::replace(&mut slot.index, index);
        let checked =
            went_on(name(node), before, index).and_then(|()| shown(name(node), index, trail, &known.history.trails));
        let by_itself = status.stopped.filter(|why| !is_excused(&slot.excuses, why));
        let leads = status.role == Role::Leader;
        let new_leader = leads && known.leaders.insert(node, status.term) != Some(status.term);
        if new_leader {
            known.tally.count("leader change");
        }
        drop(guard);
        if new_leader {
            self.say(Lane::Node(node), format_args!("leads term {}", status.term));
        }
        self.check(checked);
        if let Some(why) = by_itself {
            let mut wrong = stopped(name(node), &why);
            if wrong.promise == Promise::OneHistory
                && let Some(differs) = self.difference(node, opened)
            {
                wrong.what.push_str(&differs);
            }
            self.note(wrong);
        }
    }

    /// Where the state of a node differs from that of another one at the same place, or from what is committed.
    fn difference(&self, node: usize, opened: &Node<Observed<C>>) -> Option<String> {
        let own = opened.state();
        let others = self.open_nodes().into_iter().filter(|other| *other != node);
        let of_other = others.into_iter().find_map(|other| {
            let state = self.node(other)?.0.state();
            let is_there = state.index() == own.index();
            Some((name(other), words::difference(&own.state, &state.state).filter(|_| is_there)?))
        });
        let (whose, differs) = match of_other {
            Some(found) => found,
            None => {
                let known = self.known();
                let store = known.history.store();
                let is_there = store.index() == own.index();
                ("what is committed", words::difference(&own.state, &store.state().state).filter(|_| is_there)?)
            }
        };
        Some(format!("\n  at {}, its state | that of {whose}: {differs}", own.index()))
    }
}

impl<C: Container> Known<C> {
    /// Where the history is.
    pub(crate) fn stand(&self) -> Stand {
        let store = self.history.store();
        Stand { index: self.history.index(), trail: store.state().trail, digest: store.digest().ok() }
    }

    /// A node tells a vote.
    pub(crate) fn cast(&self, from: &str, vote: &conflux::observe::Vote) -> Checked {
        let slot = self.slots.iter().enumerate().find(|(slot, _)| *name(*slot) == *from).expect("only nodes send").1;
        self.raft.cast(from, self.logs.shelves[&slot.disk.number].member.as_ref(), vote)
    }

    /// Which try a call is, of which opening, where it has only one.
    fn order(tried: &BTreeMap<u64, Option<usize>>, tries: &[Try], tag: u64) -> Option<(u64, usize)> {
        let number = tried.get(&tag).copied().flatten()?;
        Some((tries[number].opening, number))
    }

    /// The vote of a disk is durable.
    fn voted(&mut self, disk: DiskNumber) -> Checked {
        let shelf = &self.logs.shelves[&disk];
        match (&shelf.member, &shelf.durable.vote) {
            (Some(member), Some(vote)) => self.raft.voted(member, vote),
            _ => Ok(()),
        }
    }

    /// A disk is handed a change.
    fn handed(&mut self, disk: DiskNumber, node: usize, noted: &Noted) -> Checked {
        let shelf = self.logs.shelves.get_mut(&disk).expect("each disk has its shelf");
        if let Noted::Identity(Some(incarnation)) = noted {
            let member = (name(node).into(), *incarnation);
            self.membership.named(&member, disk)?;
            shelf.member = Some(member);
        }
        if let Some(member) = shelf.member.clone() {
            let log = &self.logs.shelves[&disk].present;
            self.raft.step(&Step { logs: &self.logs, member: &member, log, noted })?;
        }
        let shelf = self.logs.shelves.get_mut(&disk).expect("each disk has its shelf");
        #[cfg(test)]
        if let (Noted::Append(lines), Some(member), Some(vote)) = (noted, &shelf.member, &shelf.present.vote)
            && vote.leads
            && vote.candidate == *member
        {
            let own = lines.iter().filter(|line| line.id.term == vote.term);
            self.proposed.extend(own.map(|line| (member.clone(), line.clone())));
        }
        shelf.handed += 1;
        shelf.present.take(noted);
        shelf.waiting.push_back(noted.clone());
        if let Noted::Committed(id) = noted {
            let from = self.logs.committed.len() as u64;
            let log = &self.logs.shelves[&disk].present;
            // Behind a hole it is another's to tell, who has no hole there.
            let lines: Vec<_> = (from..=id.index).map_while(|index| log.at(index).cloned()).collect();
            for line in lines {
                let (tried, tries) = (&self.tried, &self.tries);
                self.history.follow(&line, |tag| Self::order(tried, tries, tag))?;
                self.logs.committed.push(line);
            }
        }
        Ok(())
    }
}

/// Tells the world of one disk.
struct DiskWatch<C: Container> {
    world: Weak<World<C>>,
    node: usize,
    disk: DiskNumber,
}

impl<C: Container> Watch for DiskWatch<C> {
    fn opened(&self, found: &Log) {
        let Some(world) = self.world.upgrade() else { return };
        let checked = {
            let mut known = world.known();
            let shelf = known.logs.shelves.get_mut(&self.disk).expect("each disk has its shelf");
            let checked = reopened(name(self.node), shelf, found);
            (shelf.present, shelf.durable) = (found.clone(), found.clone());
            shelf.waiting.clear();
            checked.and_then(|()| known.voted(self.disk))
        };
        world.check(checked);
    }

    fn handed(&self, noted: &Noted) {
        let Some(world) = self.world.upgrade() else { return };
        let lane = Lane::Node(self.node);
        match noted {
            Noted::Append(lines) => {
                if let (Some(first), Some(last)) = (lines.first(), lines.last()) {
                    world.say(lane, format_args!("appends {} to {}", first.id, last.id));
                }
                for (line, voters) in lines.iter().filter_map(|line| Some((line, line.voters.as_ref()?))) {
                    let names = |group: &BTreeSet<MemberId>| {
                        let names =
                            group.iter().map(|(name, incarnation)| format!("{name}#{:.4}", incarnation.to_string()));
                        names.collect::<Vec<_>>().join(" ")
                    };
                    let groups: Vec<_> = voters.iter().map(names).collect();
                    world.say(lane, format_args!("holds that by {} voters are {}", line.id, groups.join(" and ")));
                }
            }
            Noted::Truncate(from) => world.say(lane, format_args!("truncates its log from {from} on")),
            Noted::Purge(upto) => world.say(lane, format_args!("purges its log up to {upto}")),
            Noted::Vote(vote) => {
                let what = if vote.leads { "follows" } else { "votes for" };
                world.say(lane, format_args!("{what} {} in term {}", vote.candidate.0, vote.term));
            }
            Noted::Committed(id) => world.say(lane, format_args!("takes {id} for committed")),
            Noted::Identity(_) | Noted::Nothing => {}
        }
        let (checked, news) = {
            let mut known = world.known();
            let checked = known.handed(self.disk, self.node, noted);
            (checked, std::mem::take(&mut known.history.news))
        };
        for news in news {
            world.say(Lane::World, format_args!("{news}"));
        }
        world.check(checked);
    }

    fn durable(&self) {
        let Some(world) = self.world.upgrade() else { return };
        let checked = {
            let mut known = world.known();
            let shelf = known.logs.shelves.get_mut(&self.disk).expect("each disk has its shelf");
            match shelf.waiting.pop_front() {
                Some(noted) => {
                    shelf.durable.take(&noted);
                    if matches!(noted, Noted::Vote(_)) { known.voted(self.disk) } else { Ok(()) }
                }
                None => Ok(()),
            }
        };
        world.check(checked);
    }

    fn gives_up(&self) {
        let Some(world) = self.world.upgrade() else { return };
        let mut known = world.known();
        let is_dead = known.slots[self.node].life.as_ref().is_some_and(|life| life.process.is_dead());
        if is_dead {
            known.tally.count("died in the middle of a snapshot");
        }
    }

    fn keeps(&self, taken: &Taken) {
        let Some(world) = self.world.upgrade() else { return };
        world.say(Lane::Node(self.node), format_args!("keeps a snapshot up to {:?}", taken.last.map(|id| id.index)));
        let checked = {
            let mut known = world.known();
            known.tally.count("snapshot kept");
            let committed = known.logs.committed.last().map(|line| line.id);
            let shelf = known.logs.shelves.get_mut(&self.disk).expect("each disk has its shelf");
            let checked = shelf.member.as_ref().map_or(Ok(()), |member| kept(member, &shelf.present, taken, committed));
            shelf.present.snapshot = Some(taken.clone());
            shelf.durable.snapshot = Some(taken.clone());
            checked
        };
        world.check(checked);
    }
}

/// A file of a disk, and its content.
pub(crate) fn files_of(files: &SimulatedFiles) -> Vec<(std::path::PathBuf, Vec<u8>)> {
    let directory = Path::new(DIRECTORY);
    let mut names = conflux::disk::Files::list(files, directory).unwrap_or_default();
    names.sort_unstable();
    let content = |name: String| Some((directory.join(&name), files.content(&directory.join(name))?));
    names.into_iter().filter_map(content).collect()
}
