//! The tasks of a node as one process, which a simulation can pause, and end at any await.
//!
//! On a runtime of one thread whose clock stands still, a simulation owns time and the order of everything. What is
//! missing is a process: nodes of one program share it, and end only by themselves. Tasks that are begun within a
//! [`Process`] belong to it, and so do those that they begin. Outside of one, nothing is any different.

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::task::{AbortHandle, JoinError, JoinHandle};

thread_local! {
    /// Whose task is being polled.
    static CURRENT: RefCell<Option<Process>> = const { RefCell::new(None) };
}

/// Begins a task of the process whose task this is, if it is one's.
pub(crate) fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match CURRENT.with_borrow(Clone::clone) {
        #[expect(clippy::disallowed_methods, reason = "here it is decided whose task it is")]
        None => tokio::spawn(future),
        Some(process) => process.spawn(future),
    }
}

/// Whether this is called by a task of a process.
#[must_use]
pub fn is_within() -> bool {
    CURRENT.with_borrow(Option::is_some)
}

/// Whether there are threads to do something on. In a simulation there is one, and all of it is simulated.
pub(crate) fn has_threads() -> bool {
    !is_within()
}

/// Does what takes long, or waits for a disk, on a thread of its own. In a simulation there is one thread only, and on that
/// it is done.
pub(crate) async fn off_task<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> Result<R, JoinError> {
    match CURRENT.with_borrow(Clone::clone) {
        #[expect(clippy::disallowed_methods, reason = "outside of a simulation there are threads")]
        None => tokio::task::spawn_blocking(work).await,
        Some(process) => process.spawn(async move { work() }).await,
    }
}

/// A simulated process. Clones are the same one.
///
/// ```
/// # tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
/// use conflux::process::Process;
///
/// let process = Process::new(|| println!("it is dead"));
/// let task = process.spawn(std::future::pending::<()>());
/// process.kill();
/// assert!(task.await.unwrap_err().is_cancelled());
/// # });
/// ```
#[derive(Clone)]
pub struct Process {
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    life: Life,
    /// Ends the tasks. Those that are over are left out now and then.
    tasks: Vec<AbortHandle>,
    tasks_pruned: usize,
    /// How many more times a task is polled before it dies.
    polls_left: Option<u64>,
    last_act: Option<Box<dyn FnOnce() + Send>>,
}

enum Life {
    Running,
    /// With who is to be woken when it goes on.
    Paused(Vec<Waker>),
    Dead,
}

impl Process {
    /// A process without a task. `last_act` is called as it is killed, before anything else can happen: what it held of
    /// the world (its disk, its place on a channel) is let go of there.
    pub fn new(last_act: impl FnOnce() + Send + 'static) -> Self {
        let shared = Shared {
            life: Life::Running,
            tasks: Vec::new(),
            tasks_pruned: 0,
            polls_left: None,
            last_act: Some(Box::new(last_act)),
        };
        Process { shared: Arc::new(Mutex::new(shared)) }
    }

    /// Begins a task. In a process that is dead it is over before it has begun.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        #[expect(clippy::disallowed_methods, reason = "within it, it is a task of this process")]
        let task = tokio::spawn(Within { process: self.clone(), future: Box::pin(future) });
        let mut shared = self.lock();
        if matches!(shared.life, Life::Dead) {
            task.abort();
        } else {
            shared.adopt(task.abort_handle());
        }
        task
    }

    /// Ends all its tasks where they are, as SIGKILL does: none is polled any more.
    pub fn kill(&self) {
        let (tasks, last_act) = {
            let mut shared = self.lock();
            shared.life = Life::Dead;
            (std::mem::take(&mut shared.tasks), shared.last_act.take())
        };
        if let Some(last_act) = last_act {
            last_act();
        }
        for task in tasks {
            task.abort();
        }
    }

    /// Kills it after its tasks were polled so many times more: somewhere at an await.
    pub fn kill_after(&self, polls: u64) {
        self.lock().polls_left = Some(polls);
    }

    /// Takes back [`kill_after`](Self::kill_after).
    pub fn spare(&self) {
        self.lock().polls_left = None;
    }

    /// Stops all its tasks, as SIGSTOP does. Time goes on meanwhile.
    pub fn pause(&self) {
        let mut shared = self.lock();
        if matches!(shared.life, Life::Running) {
            shared.life = Life::Paused(Vec::new());
        }
    }

    /// Lets them go on.
    pub fn resume(&self) {
        let mut shared = self.lock();
        if let Life::Paused(wakers) = &mut shared.life {
            let wakers = std::mem::take(wakers);
            shared.life = Life::Running;
            drop(shared);
            wakers.into_iter().for_each(Waker::wake);
        }
    }

    /// Whether it was killed.
    #[must_use]
    pub fn is_dead(&self) -> bool {
        matches!(self.lock().life, Life::Dead)
    }

    /// Whether a task may be polled now; takes note of whom to wake when it may.
    fn may_go_on(&self, context: &Context<'_>) -> bool {
        match &mut self.lock().life {
            Life::Running => true,
            Life::Paused(wakers) => {
                wakers.push(context.waker().clone());
                false
            }
            Life::Dead => false,
        }
    }

    /// Counts a poll.
    fn polled(&self) {
        let dies = match &mut self.lock().polls_left {
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
            None => false,
        };
        if dies && !self.is_dead() {
            self.kill();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    fn adopt(&mut self, task: AbortHandle) {
        if self.tasks.len() >= 2 * self.tasks_pruned + 64 {
            self.tasks.retain(|task| !task.is_finished());
            self.tasks_pruned = self.tasks.len();
        }
        self.tasks.push(task);
    }
}

/// A task of a process.
struct Within<F> {
    process: Process,
    future: Pin<Box<F>>,
}

/// Puts back whose task was polled before, also after a panic.
struct Restore(Option<Process>);

impl Drop for Restore {
    fn drop(&mut self) {
        CURRENT.replace(self.0.take());
    }
}

impl<F: Future> Future for Within<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        if !self.process.may_go_on(context) {
            return Poll::Pending;
        }
        let restore = Restore(CURRENT.replace(Some(self.process.clone())));
        let polled = self.future.as_mut().poll(context);
        drop(restore);
        self.process.polled();
        polled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use tokio::task::yield_now;

    use super::*;

    async fn counting(count: Arc<AtomicU64>) {
        loop {
            count.fetch_add(1, Ordering::Relaxed);
            yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_paused_one_goes_on_where_it_was() {
        let process = Process::new(|| ());
        let count = Arc::new(AtomicU64::new(0));
        let _task = process.spawn(counting(count.clone()));
        let run = async || {
            for _ in 0..10 {
                yield_now().await;
            }
            count.load(Ordering::Relaxed)
        };
        assert!(run().await > 0);
        process.pause();
        let paused = run().await;
        assert_eq!(run().await, paused);
        process.resume();
        assert!(run().await > paused);
    }

    #[tokio::test]
    async fn a_killed_one_takes_along_what_its_tasks_began() {
        let dead = Arc::new(AtomicU64::new(0));
        let (count, told) = (Arc::new(AtomicU64::new(0)), dead.clone());
        let process = Process::new(move || {
            told.fetch_add(1, Ordering::Relaxed);
        });
        let (sender, receiver) = tokio::sync::oneshot::channel();
        process.spawn({
            let count = count.clone();
            async move { drop(sender.send(spawn(counting(count)))) }
        });
        let child = receiver.await.expect("it only begins another");
        process.kill_after(3);
        assert!(child.await.expect_err("it counts for ever").is_cancelled());
        assert!(process.is_dead());
        assert_eq!(dead.load(Ordering::Relaxed), 1);
        let last = count.load(Ordering::Relaxed);
        let late = process.spawn(counting(count.clone()));
        assert!(late.await.expect_err("nothing begins in a dead one").is_cancelled());
        assert_eq!(count.load(Ordering::Relaxed), last);
    }
}
