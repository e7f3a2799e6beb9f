//! What all threads of a run share: where the nodes are, who of them is up, and what was told so far.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::client::Client;
use super::random::Random;
use super::record::Life;

/// How often what cannot be waited on is looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_millis(20);

pub(super) struct World {
    pub(super) seed: u64,
    pub(super) begun: Instant,
    pub(super) slots: Vec<Slot>,
    /// The highest place that anybody was told.
    told: AtomicU64,
    /// No new calls and reads are to begin.
    over: AtomicBool,
    /// The place at which everything ended; 0 before it is known.
    end: AtomicU64,
    /// Somebody wants the run to end now.
    interrupted: Arc<AtomicBool>,
}

/// Where a node of one name runs, or does not.
pub(super) struct Slot {
    pub(super) name: String,
    pub(super) client: Client,
    /// Counts starts and ends: odd while a process runs.
    life: AtomicU64,
    /// The highest place that the process of a life told.
    floor: Mutex<(u64, u64)>,
    /// Whether it is one of the cluster: callers know of no other.
    member: AtomicBool,
}

impl World {
    pub(super) fn new(seed: u64, slots: Vec<Slot>, interrupted: Arc<AtomicBool>) -> World {
        let (told, end, over) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
        World { seed, begun: Instant::now(), slots, told, over, end, interrupted }
    }

    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::SeqCst)
    }

    /// Notes that somebody was told a place.
    pub(super) fn tell(&self, index: u64) {
        self.told.fetch_max(index, Ordering::SeqCst);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst) || self.is_interrupted()
    }

    pub(super) fn finish(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::SeqCst)
    }

    pub(super) fn end(&self) -> Option<u64> {
        Some(self.end.load(Ordering::SeqCst)).filter(|end| *end > 0)
    }

    pub(super) fn set_end(&self, index: u64) {
        self.end.store(index, Ordering::SeqCst);
    }

    /// The members, up or down.
    pub(super) fn members(&self) -> Vec<usize> {
        (0..self.slots.len()).filter(|at| self.slots[*at].is_member()).collect()
    }

    /// One of the members.
    pub(super) fn any(&self, random: &mut Random) -> &Slot {
        &self.slots[*random.pick(&self.members())]
    }

    /// Waits; `false` when everything is to end before that.
    pub(super) fn sleep(&self, duration: Duration) -> bool {
        let until = Instant::now() + duration;
        while !self.is_interrupted() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            std::thread::sleep(left.min(LOOK_EVERY));
        }
        false
    }
}

impl Slot {
    pub(super) fn new(name: &str, client: Client) -> Slot {
        let (life, member) = (AtomicU64::new(0), AtomicBool::new(false));
        Slot { name: name.to_owned(), client, life, floor: Mutex::new((0, 0)), member }
    }

    pub(super) fn is_member(&self) -> bool {
        self.member.load(Ordering::SeqCst)
    }

    pub(super) fn set_member(&self, is: bool) {
        self.member.store(is, Ordering::SeqCst);
    }

    /// A process runs from now on.
    pub(super) fn begin(&self) -> u64 {
        self.life.fetch_add(1, Ordering::SeqCst) / 2 + 1
    }

    /// The process is about to end: what is asked from now on may be answered by the next.
    pub(super) fn finish(&self) {
        self.life.fetch_add(1, Ordering::SeqCst);
    }

    /// Which process runs: to be asked before a question and after its answer.
    pub(super) fn life(&self) -> u64 {
        self.life.load(Ordering::SeqCst)
    }

    /// The process that answered, where it is the same that was there before the question.
    pub(super) fn same(&self, before: u64) -> Option<Life> {
        (before % 2 == 1 && self.life() == before).then(|| Life { node: self.name.clone(), number: before / 2 + 1 })
    }

    /// The highest place that a process has told.
    pub(super) fn floor(&self, life: u64) -> u64 {
        let floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        if floor.0 == life { floor.1 } else { 0 }
    }

    /// Notes that the process of a life told a place.
    pub(super) fn raise(&self, life: u64, index: u64) {
        let mut floor = self.floor.lock().unwrap_or_else(PoisonError::into_inner);
        match floor.0.cmp(&life) {
            std::cmp::Ordering::Less => *floor = (life, index),
            std::cmp::Ordering::Equal => floor.1 = floor.1.max(index),
            std::cmp::Ordering::Greater => {}
        }
    }
}
