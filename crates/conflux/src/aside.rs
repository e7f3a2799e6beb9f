//! Work of the container that may take long, kept out of the way of heartbeats.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::time::Instant;

/// What takes longer than this would be felt by whoever waits for the same thread.
const SHORT: Duration = Duration::from_millis(2);

/// Runs work of one kind, and remembers whether it takes long.
///
/// Short work runs where it stands: a hop to another thread costs more than most batches. Where it may take long, the
/// other tasks of this thread go on elsewhere meanwhile. On a runtime of one thread there is no elsewhere, and the
/// container's pace is the node's.
#[derive(Default)]
pub(crate) struct Aside {
    was_long: AtomicBool,
    /// What calls is a task of the runtime. While a node opens it may be anything, a `LocalSet` too, where nothing can be
    /// let go on elsewhere.
    in_tasks: AtomicBool,
}

impl Aside {
    /// For work that tasks do, and nobody else.
    pub(crate) fn in_tasks() -> Aside {
        Aside { in_tasks: AtomicBool::new(true), ..Aside::default() }
    }

    /// From now on tasks do it.
    pub(crate) fn let_go(&self) {
        self.in_tasks.store(true, Ordering::Relaxed);
    }

    /// Runs `work`; `may_take_long` is what the container says of itself.
    pub(crate) fn run<T>(&self, may_take_long: bool, work: impl FnOnce() -> T) -> T {
        let begun = Instant::now();
        let long = (may_take_long || self.was_long.load(Ordering::Relaxed)) && self.in_tasks.load(Ordering::Relaxed);
        let elsewhere =
            long && Handle::try_current().is_ok_and(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread);
        #[expect(clippy::disallowed_methods, reason = "on a runtime of several threads, which no simulation has")]
        let done = if elsewhere { tokio::task::block_in_place(work) } else { work() };
        self.was_long.store(begun.elapsed() > SHORT, Ordering::Relaxed);
        done
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests begin tasks of no node")]
mod tests {
    use super::*;

    /// With one worker, whatever else there is to do waits for it, unless it is let go on elsewhere.
    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn others_go_on_while_something_takes_long() {
        let (sender, receiver) = std::sync::mpsc::channel();
        let long = tokio::spawn(async move {
            // Behind this one in the queue of the only worker.
            tokio::spawn(async move { sender.send(()).expect("the other one waits") });
            Aside::in_tasks().run(true, || receiver.recv_timeout(Duration::from_secs(30)))
        });
        assert_eq!(long.await.expect("no panic"), Ok(()));
    }

    #[tokio::test]
    async fn on_one_thread_it_runs_where_it_stands() {
        assert_eq!(Aside::in_tasks().run(true, || 7), 7);
    }
}
