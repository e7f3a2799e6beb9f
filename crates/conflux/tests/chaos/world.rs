//! The cluster under test, and what is known of it from outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use conflux::channel::Faults;
use conflux::disk::DiskError;
use conflux::{MemoryChannel, MemoryDisk, Node, OpenError, Random, RequestId, Retention, Role, Status};
use tokio::time::sleep;

use crate::container::{Kind, Ledger, Method};
use crate::plan::{Plan, SHORT_CHOSEN_ID, SHORT_SESSION, is_bad_option};
use crate::record::{Claim, Listener, Read, Try};
use crate::tally::Tally;
use crate::trace::Trace;

pub(crate) struct World {
    pub(crate) plan: Plan,
    pub(crate) channel: MemoryChannel,
    pub(crate) trace: Trace,
    known: Mutex<Known>,
}

pub(crate) struct Known {
    pub(crate) slots: Vec<Slot>,
    pub(crate) openings: u64,
    pub(crate) tries: Vec<Try>,
    pub(crate) listeners: Vec<Listener>,
    pub(crate) reads: Vec<Read>,
    pub(crate) tally: Tally,
    /// What went wrong at once, apart from what the checkers find.
    pub(crate) wrong: Vec<String>,
    pub(crate) tags: u64,
    /// The highest index that any caller was told.
    pub(crate) told: u64,
    /// Callers and faults go on.
    pub(crate) going: bool,
    /// Performs whose answers are still waited for.
    pub(crate) waiting: u64,
    leaders: BTreeMap<usize, (u64, String)>,
    /// The number of the session of each opening.
    sessions: BTreeMap<u64, u64>,
}

/// The place of one node, which comes and goes.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) node: Option<Node<Ledger>>,
    pub(crate) opening: u64,
    pub(crate) disk: MemoryDisk,
    /// A fault has it in hand: it is down, and will be opened again.
    pub(crate) busy: bool,
    /// Its memory was lost, and it has not got its seat again.
    pub(crate) amnesic: bool,
    index: u64,
}

impl World {
    pub(crate) fn new(plan: Plan, print: bool) -> Arc<Self> {
        let known = Known {
            slots: (0..plan.slots()).map(|_| Slot::default()).collect(),
            openings: 0,
            tries: Vec::new(),
            listeners: Vec::new(),
            reads: Vec::new(),
            tally: Tally::default(),
            wrong: Vec::new(),
            tags: 0,
            told: 0,
            going: true,
            waiting: 0,
            leaders: BTreeMap::new(),
            sessions: BTreeMap::new(),
        };
        let channel = MemoryChannel::seeded(plan.seed);
        Arc::new(World { plan, channel, trace: Trace::new(print), known: Mutex::new(known) })
    }

    /// Never held across an await, nor while a node is called that might call back.
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn count(&self, what: &'static str) {
        self.known().tally.count(what);
    }

    pub(crate) fn wrong(&self, what: String) {
        self.trace.say(format_args!("WRONG: {what}"));
        self.known().wrong.push(what);
    }

    pub(crate) fn is_going(&self) -> bool {
        self.known().going
    }

    /// Chance for one use.
    pub(crate) fn random(&self, what: u64) -> Random {
        let mut random = Random::new(self.plan.seed);
        Random::new(random.next_u64() ^ what.wrapping_mul(0xd6e8_feb8_6659_fd93))
    }

    pub(crate) fn node(&self, slot: usize) -> Option<(Node<Ledger>, u64)> {
        let known = self.known();
        let slot = &known.slots[slot];
        slot.node.clone().map(|node| (node, slot.opening))
    }

    /// The slots whose nodes are open.
    pub(crate) fn open_slots(&self) -> Vec<usize> {
        let known = self.known();
        (0..known.slots.len()).filter(|slot| known.slots[*slot].node.is_some()).collect()
    }

    pub(crate) fn leader(&self) -> Option<usize> {
        let known = self.known();
        let leads = |slot: &Slot| slot.node.as_ref().is_some_and(|node| node.status().role == Role::Leader);
        (0..known.slots.len()).find(|slot| leads(&known.slots[*slot]))
    }

    /// Opens the node of a slot on its disk.
    pub(crate) async fn open(&self, slot: usize) {
        let name = Plan::name(slot);
        loop {
            let (disk, opening) = {
                let mut known = self.known();
                known.openings += 1;
                (known.slots[slot].disk.clone(), known.openings)
            };
            match self.builder(slot, disk, opening).open().await {
                Ok(node) => {
                    let index = node.state().index().0;
                    self.trace.say(format_args!("{name} is open (opening {opening}), at {index}"));
                    let mut known = self.known();
                    let slot = &mut known.slots[slot];
                    (slot.node, slot.opening, slot.busy, slot.index) = (Some(node), opening, false, index);
                    return;
                }
                // Its end is still under way.
                Err(OpenError::Disk(DiskError::InUse { .. }) | OpenError::Channel(_)) => {
                    sleep(Duration::from_millis(10)).await
                }
                Err(error) => {
                    assert!(is_bad_option(&error).is_none(), "the plan has a bad option: {error}");
                    return self.wrong(format!("{name} does not open: {error}"));
                }
            }
        }
    }

    fn builder(&self, slot: usize, disk: MemoryDisk, opening: u64) -> conflux::NodeBuilder<Ledger> {
        let plan = &self.plan;
        let begun = tokio::time::Instant::now();
        let begun_ms = self.trace.now() / 1000;
        // Wall clocks differ, and may be far off after a restart: nothing but the stamps for people may depend on them.
        let skew = self.random(1000 + opening).below(7_200_000);
        let mut builder = Node::builder(Ledger { ballast: plan.ballast }, Plan::name(slot))
            .channel(self.channel.clone())
            .disk(disk)
            .seed(self.random(2000 + opening).next_u64())
            .wall_clock(move || 1_800_000_000_000 + skew + begun_ms + begun.elapsed().as_millis() as u64)
            .election_timeout(Duration::from_millis(plan.election_ms.0), Duration::from_millis(plan.election_ms.1))
            .heartbeat_interval(Duration::from_millis(plan.heartbeat_ms))
            .default_deadline(plan.timeout_max() / 2)
            .in_flight_max(plan.in_flight_max)
            .compaction(plan.compaction.0, plan.compaction.1)
            .history(plan.history);
        if plan.short_sessions {
            let (session, chosen_id) = (SHORT_SESSION, SHORT_CHOSEN_ID);
            builder = builder.retention(Retention { session, chosen_id, ..Retention::default() });
        }
        builder = builder.digest_every(plan.digest_every);
        if plan.named { builder.founders((0..plan.nodes).map(Plan::name)) } else { builder.cluster_size(plan.nodes) }
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        let Faults { loss, duplicate, ref delay, .. } = faults;
        self.trace.say(format_args!("faults: loss {loss}, duplication {duplicate}, delay {delay:?}"));
        for (what, on) in [("loss", loss > 0.0), ("duplication", duplicate > 0.0), ("delay", !delay.is_empty())] {
            if on {
                self.count(what);
            }
        }
        self.channel.set_faults(faults);
    }

    /// Makes a method that no other call has.
    pub(crate) fn method(&self, kind: Kind, padding: usize) -> Method {
        let mut known = self.known();
        known.tags += 1;
        Method { tag: known.tags, kind, padding: "x".repeat(padding) }
    }

    /// Takes note of a perform that is about to start, or has just been given its place.
    pub(crate) fn began(&self, method: Method, slot: usize, opening: u64, chosen: Option<String>) -> usize {
        let mut known = self.known();
        let number = known.tries.len();
        known.waiting += 1;
        let (name, tag, kind) = (Plan::name(slot), method.tag, method.kind);
        known.tries.push(Try { method, slot, opening, chosen: chosen.clone(), claims: Vec::new() });
        drop(known);
        self.trace.say(format_args!("{name} performs {tag} {kind:?} {chosen:?} (try {number})"));
        number
    }

    /// Takes note of what a caller was told.
    pub(crate) fn ended(&self, number: usize, claim: Claim) {
        self.trace.say(format_args!("try {number}: {claim}"));
        let state = {
            let mut known = self.known();
            known.tally.count(claim.kind());
            known.told = known.told.max(claim.index().unwrap_or(0));
            let Try { slot, opening, .. } = known.tries[number];
            let state =
                known.slots[slot].node.as_ref().map(Node::state).filter(|_| known.slots[slot].opening == opening);
            let seen = state.map(|state| (state.index().0, slot));
            known.tries[number].claims.push(claim.clone());
            seen
        };
        // A node that performed sees its own effect at once, unless it was told that it does not yet.
        if let (Some((index, slot)), Some(told)) = (state, claim.index())
            && !matches!(claim, Claim::NotVisible { .. })
            && index < told
        {
            self.wrong(format!("{} was told of {told} and shows {index}", Plan::name(slot)));
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

    /// The task that watches the nodes from outside.
    pub(crate) async fn watch(self: Arc<Self>) {
        loop {
            for slot in self.open_slots() {
                let Some((node, opening)) = self.node(slot) else { continue };
                let status = node.status();
                let state = node.state();
                let (index, seen) = (state.index().0, state.seen());
                drop((node, state));
                self.look(slot, opening, &status, index, seen);
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn look(&self, slot: usize, opening: u64, status: &Status, index: u64, state: crate::container::Seen) {
        let name = Plan::name(slot);
        let mut lines = Vec::new();
        let mut known = self.known();
        let known = &mut *known;
        if known.slots[slot].node.is_none() || known.slots[slot].opening != opening {
            return;
        }
        if let Some(stopped) = &status.stopped {
            known.wrong.push(format!("{name} stopped by itself: {stopped}"));
        }
        let before = std::mem::replace(&mut known.slots[slot].index, index);
        if index < before {
            known.wrong.push(format!("{name} showed {before} and then {index}"));
        }
        if index != before {
            lines.push(format!("{name} is at {index}"));
            known.reads.push(Read { slot, opening, index, state, at_least: None });
        }
        if status.role == Role::Leader {
            let leader = (status.term, name.to_owned());
            if known.leaders.insert(slot, leader.clone()).as_ref() != Some(&leader) {
                known.tally.count("leader change");
                lines.push(format!("{name} leads term {}", status.term));
            }
        }
        for line in lines {
            self.trace.say(format_args!("{line}"));
        }
    }

    /// Ends when the node that lost its memory has its seat again, and nobody counts on the old one any more.
    pub(crate) async fn seated(self: Arc<Self>, slot: usize) {
        let name = Plan::name(slot);
        let seated = |world: &World, term: Option<u64>| {
            let (node, _) = world.node(slot)?;
            let status = node.status();
            // While a change is under way, both incarnations of the name are listed.
            let settled = status.voters.len() == world.plan.nodes
                && matches!(status.role, Role::Leader | Role::Follower)
                && term.is_none_or(|term| term == status.term);
            settled.then_some((node, status.term))
        };
        loop {
            if let Some((node, term)) = seated(&self, None) {
                let opening = self.known().slots[slot].opening;
                let method = self.method(Kind::Put, 0);
                let try_number = self.began(method.clone(), slot, opening, None);
                let answer = node.perform(method).timeout(Duration::from_secs(1)).start();
                drop(node);
                let claim = Claim::of(answer.await);
                let done = matches!(claim, Claim::Done { .. });
                self.ended(try_number, claim);
                self.stopped_waiting();
                // What it was part of in that term, when it was told of a commit in it, is committed.
                if done && seated(&self, Some(term)).is_some() {
                    break;
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
        self.trace.say(format_args!("{name} has its seat again"));
        let mut known = self.known();
        known.slots[slot].amnesic = false;
        known.tally.count("wipe: seated again");
    }

    /// What a call can be asked for again by, if its fate is open.
    pub(crate) fn open_question(claim: &Claim) -> Option<RequestId> {
        match claim {
            Claim::Unknown { id } | Claim::NotVisible { id, .. } | Claim::Closed { id: Some(id) } => Some(id.clone()),
            _ => None,
        }
    }
}
