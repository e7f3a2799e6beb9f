//! The watch that the engine looks at while it runs: stops a call that takes too long, or only reports it.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// How long applying one batch may take before that is reported.
const APPLY_REPORT: Duration = Duration::from_secs(5);

/// What the interrupt handler of a heap asks, some thousands of steps apart.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Task>);

#[derive(Clone, Copy, Debug, Default)]
enum Task {
    #[default]
    Nothing,
    /// Leader only: a limit.
    StopAfter { started: Instant, limit: Duration },
    /// Everywhere: nothing may stop here, for the nodes would differ.
    ReportAfter { started: Instant },
}

impl Watch {
    /// From now on the code is stopped after `limit`.
    pub(crate) fn stop_after(&self, limit: Duration) {
        self.set(Task::StopAfter { started: Instant::now(), limit });
    }

    /// From now on code that takes very long is reported once.
    pub(crate) fn report(&self) {
        self.set(Task::ReportAfter { started: Instant::now() });
    }

    /// Nothing runs.
    pub(crate) fn rest(&self) {
        self.set(Task::Nothing);
    }

    /// Whether the code that runs is to be stopped.
    pub(crate) fn stops(&self) -> bool {
        let mut task = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match *task {
            Task::Nothing => false,
            Task::StopAfter { started, limit } => started.elapsed() >= limit,
            Task::ReportAfter { started } => {
                if started.elapsed() >= APPLY_REPORT {
                    tracing::warn!("a script has been applying one batch for {APPLY_REPORT:?}; it goes on");
                    *task = Task::Nothing;
                }
                false
            }
        }
    }

    fn set(&self, task: Task) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = task;
    }
}
