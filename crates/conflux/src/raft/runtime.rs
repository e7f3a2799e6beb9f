//! The engine's runtime: tokio's tasks and timers, with a watch and a random source that one seed determines.

use std::cell::Cell;
use std::future::Future;
use std::time::Duration;

use openraft::OptionalSend;
use openraft_rt::watch::{RecvError, SendError, Watch, WatchReceiver, WatchSender};
use openraft_rt::{AsyncRuntime, Instant};
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time;

use crate::process;
use crate::watch;

thread_local! {
    static SEED: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Makes all randomness of engines on this thread (election timeouts, mostly) follow from `seed`. For tests on a
/// runtime of one thread; without it, each draw comes from the operating system.
pub fn seed_thread(seed: u64) {
    SEED.set(Some(seed));
}

/// See the module.
#[derive(Debug)]
pub(crate) struct NodeRuntime(tokio::runtime::Runtime);

/// An instant of tokio's clock, which a test can hold still.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct TokioInstant(time::Instant);

impl std::ops::Add<Duration> for TokioInstant {
    type Output = Self;
    fn add(self, other: Duration) -> Self {
        TokioInstant(self.0 + other)
    }
}
impl std::ops::AddAssign<Duration> for TokioInstant {
    fn add_assign(&mut self, other: Duration) {
        self.0 += other;
    }
}
impl std::ops::Sub<Duration> for TokioInstant {
    type Output = Self;
    fn sub(self, other: Duration) -> Self {
        TokioInstant(self.0 - other)
    }
}
impl std::ops::SubAssign<Duration> for TokioInstant {
    fn sub_assign(&mut self, other: Duration) {
        self.0 -= other;
    }
}
impl std::ops::Sub for TokioInstant {
    type Output = Duration;
    fn sub(self, other: Self) -> Duration {
        self.0 - other.0
    }
}
impl Instant for TokioInstant {
    fn now() -> Self {
        TokioInstant(time::Instant::now())
    }
    fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

impl AsyncRuntime for NodeRuntime {
    type JoinError = tokio::task::JoinError;
    type JoinHandle<T: OptionalSend + 'static> = tokio::task::JoinHandle<T>;
    type Sleep = time::Sleep;
    type Instant = TokioInstant;
    type TimeoutError = time::error::Elapsed;
    type Timeout<R, T: Future<Output = R> + OptionalSend> = time::Timeout<T>;
    type ThreadLocalRng = StdRng;
    type Mpsc = openraft_rt_tokio::TokioMpsc;
    type Watch = NodeWatch;
    type Oneshot = openraft_rt_tokio::TokioOneshot;
    type Mutex<T: OptionalSend + 'static> = openraft_rt_tokio::TokioMutex<T>;

    fn spawn<T>(future: T) -> Self::JoinHandle<T::Output>
    where
        T: Future + OptionalSend + 'static,
        T::Output: OptionalSend + 'static,
    {
        process::spawn(future)
    }

    fn sleep(duration: Duration) -> Self::Sleep {
        time::sleep(duration)
    }

    fn sleep_until(deadline: Self::Instant) -> Self::Sleep {
        time::sleep_until(deadline.0)
    }

    fn timeout<R, F: Future<Output = R> + OptionalSend>(duration: Duration, future: F) -> Self::Timeout<R, F> {
        time::timeout(duration, future)
    }

    fn timeout_at<R, F: Future<Output = R> + OptionalSend>(deadline: Self::Instant, future: F) -> Self::Timeout<R, F> {
        time::timeout_at(deadline.0, future)
    }

    fn is_panic(join_error: &Self::JoinError) -> bool {
        join_error.is_panic()
    }

    fn thread_rng() -> StdRng {
        match SEED.get() {
            Some(seed) => {
                SEED.set(Some(seed.wrapping_add(0x9e37_79b9_7f4a_7c15)));
                StdRng::seed_from_u64(seed)
            }
            #[expect(clippy::disallowed_methods, reason = "on a thread that has no seed")]
            None => StdRng::from_rng(&mut rand::rng()),
        }
    }

    fn new(threads: usize) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads).enable_all().build();
        NodeRuntime(runtime.expect("the operating system gives threads"))
    }

    fn block_on<F, T>(&mut self, future: F) -> T
    where
        F: Future<Output = T>,
    {
        self.0.block_on(future)
    }
}

/// [`watch`] as the engine wants it.
pub(crate) struct NodeWatch;

impl Watch for NodeWatch {
    type Sender<T: OptionalSend + Sync> = watch::Sender<T>;
    type Receiver<T: OptionalSend + Sync> = watch::Receiver<T>;
    type Ref<'a, T: OptionalSend + 'a> = watch::Ref<'a, T>;

    fn channel<T: OptionalSend + Sync>(init: T) -> (watch::Sender<T>, watch::Receiver<T>) {
        watch::channel(init)
    }
}

impl<T: Send + Sync> WatchSender<NodeWatch, T> for watch::Sender<T> {
    fn send(&self, value: T) -> Result<(), SendError<T>> {
        if self.is_closed() {
            return Err(SendError(value));
        }
        watch::Sender::send(self, value);
        Ok(())
    }

    fn send_if_modified<F>(&self, modify: F) -> bool
    where
        F: FnOnce(&mut T) -> bool,
    {
        self.modify(modify)
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.borrow()
    }

    fn subscribe(&self) -> watch::Receiver<T> {
        watch::Sender::subscribe(self)
    }
}

impl<T: Send + Sync> WatchReceiver<NodeWatch, T> for watch::Receiver<T> {
    async fn changed(&mut self) -> Result<(), RecvError> {
        watch::Receiver::changed(self).await.map_err(|watch::Gone| RecvError(()))
    }

    fn borrow_watched(&self) -> watch::Ref<'_, T> {
        self.borrow()
    }

    fn borrow_and_update(&mut self) -> watch::Ref<'_, T> {
        watch::Receiver::borrow_and_update(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_suite_for_runtimes() {
        openraft_rt::testing::Suite::<NodeRuntime>::test_all();
    }
}
