//! The watch over code that runs: remembers what limit it hit, and stops it; or only reports it.

#![expect(clippy::disallowed_methods, reason = "a call has a limit of real time")]

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::memory::Memory;

/// How long applying one batch may take before that is reported.
const APPLY_REPORT: Duration = Duration::from_secs(5);

/// What counts as so long where steps are counted: from one time that the engine asks to the next. The shortest steps take
/// about as much, and others more: nothing is stopped by it that the clock would let go on.
const COUNTED: Duration = Duration::from_micros(20);

/// Where steps are counted, code is stopped after so long by the clock all the same: some steps are long.
const COUNTED_REAL_MAX: Duration = Duration::from_secs(20);

/// What the engine asks while it runs code: the interrupt handler, some thousands of steps apart; the hook on errors.
///
/// A limit that was hit stays hit until other code starts, whatever the script does about the exception: what a limit
/// did must not be a part of an outcome.
#[derive(Debug)]
pub(crate) struct Watch {
    memory: Arc<Memory>,
    task: Mutex<Task>,
    /// Time is counted in steps: see [`Options::count_steps`](crate::Options::count_steps).
    counts: bool,
    /// How often the engine asked since the code started.
    asked: AtomicU64,
    /// How often the code was told to stop. More than once: something swallowed it.
    stops: AtomicU32,
    time: AtomicBool,
    stack: AtomicBool,
    /// Who hit the stack's limit: see [`Turn`].
    turn: AtomicU8,
}

#[derive(Clone, Copy, Debug)]
enum Task {
    Nothing,
    /// Leader only: a limit.
    StopAfter {
        started: Instant,
        limit: Duration,
    },
    /// Everywhere: nothing may stop here, for the nodes would differ.
    ReportAfter {
        started: Instant,
    },
}

/// A limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limit {
    Time,
    Memory,
    Stack,
}

/// Who ran.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Turn {
    Unknown,
    Method,
    Reducer,
}

/// A limit that was hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) limit: Limit,
    /// The code was stopped by it at once. Else what it did afterwards is not to be believed.
    pub(crate) is_last: bool,
    pub(crate) turn: Turn,
}

impl Watch {
    pub(crate) fn new(memory: Arc<Memory>, counts: bool) -> Watch {
        Watch {
            memory,
            task: Mutex::new(Task::Nothing),
            counts,
            asked: AtomicU64::new(0),
            stops: AtomicU32::new(0),
            time: AtomicBool::new(false),
            stack: AtomicBool::new(false),
            turn: AtomicU8::new(0),
        }
    }

    /// From now on the code is stopped after `limit`, or when it hits another limit.
    pub(crate) fn stop_after(&self, limit: Duration) {
        self.set(Task::StopAfter { started: Instant::now(), limit });
    }

    /// From now on code that takes very long is reported once.
    pub(crate) fn report(&self) {
        self.set(Task::ReportAfter { started: Instant::now() });
    }

    /// Whether the code that runs is to be stopped.
    pub(crate) fn stops(&self) -> bool {
        self.asked.fetch_add(1, Relaxed);
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        let stops = match *task {
            Task::Nothing => false,
            Task::StopAfter { started, limit } => {
                let late = match self.counts {
                    false => started.elapsed() >= limit,
                    true => self.counted() >= limit || started.elapsed() >= COUNTED_REAL_MAX,
                };
                if late {
                    self.time.store(true, Relaxed);
                }
                late || self.memory.was_hit() || self.stack.load(Relaxed)
            }
            Task::ReportAfter { started } => {
                if started.elapsed() >= APPLY_REPORT {
                    tracing::warn!("a script has been applying one batch for {APPLY_REPORT:?}; it goes on");
                    *task = Task::Nothing;
                }
                false
            }
        };
        if stops {
            self.stops.fetch_add(1, Relaxed);
        }
        stops
    }

    /// How long the code has run by its steps.
    pub(crate) fn counted(&self) -> Duration {
        COUNTED.saturating_mul(u32::try_from(self.asked.load(Relaxed)).unwrap_or(u32::MAX))
    }

    /// The stack was used up.
    pub(crate) fn stack_was_hit(&self, turn: Turn) {
        if !self.stack.swap(true, Relaxed) {
            self.turn.store(turn as u8, Relaxed);
        }
    }

    /// The limit that was hit since the code started.
    pub(crate) fn hit(&self) -> Option<Hit> {
        let turn = match self.turn.load(Relaxed) {
            1 => Turn::Method,
            2 => Turn::Reducer,
            _ => Turn::Unknown,
        };
        if self.memory.was_hit() {
            Some(Hit { limit: Limit::Memory, is_last: false, turn: Turn::Unknown })
        } else if self.stack.load(Relaxed) {
            Some(Hit { limit: Limit::Stack, is_last: false, turn })
        } else {
            let is_last = self.stops.load(Relaxed) == 1;
            self.time.load(Relaxed).then_some(Hit { limit: Limit::Time, is_last, turn: Turn::Unknown })
        }
    }

    fn set(&self, task: Task) {
        *self.task.lock().unwrap_or_else(PoisonError::into_inner) = task;
        self.stops.store(0, Relaxed);
        self.asked.store(0, Relaxed);
        self.time.store(false, Relaxed);
        self.stack.store(false, Relaxed);
        self.turn.store(0, Relaxed);
    }
}
