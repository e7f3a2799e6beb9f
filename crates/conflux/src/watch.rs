//! A value that can be waited on. Wakes its waiters in the order in which they came into being, so that one seed gives
//! one history: tokio's own watch wakes them at random.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::task::{Context, Poll, Waker};

/// Makes a watched value.
pub(crate) fn channel<T>(value: T) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared {
        value: RwLock::new(value),
        version: AtomicU64::new(0),
        senders: AtomicUsize::new(1),
        receivers: AtomicUsize::new(0),
        waiters: Mutex::default(),
    });
    let receiver = Receiver::new(shared.clone());
    (Sender { shared }, receiver)
}

struct Shared<T> {
    value: RwLock<T>,
    /// Counts the changes; written under the value's lock.
    version: AtomicU64,
    senders: AtomicUsize,
    receivers: AtomicUsize,
    waiters: Mutex<Waiters>,
}

#[derive(Default)]
struct Waiters {
    /// The id of the next receiver: waking goes by it.
    next: u64,
    /// By those ids, ascending. Few, or in that order already, since they are woken and wait again in it.
    wakers: Vec<(u64, Waker)>,
}

impl Waiters {
    fn place(&self, id: u64) -> Result<usize, usize> {
        match self.wakers.last() {
            Some((last, _)) if *last < id => Err(self.wakers.len()),
            _ => self.wakers.binary_search_by_key(&id, |(id, _)| *id),
        }
    }

    fn wait(&mut self, id: u64, waker: &Waker) {
        match self.place(id) {
            Ok(at) => self.wakers[at].1.clone_from(waker),
            Err(at) => self.wakers.insert(at, (id, waker.clone())),
        }
    }

    fn forget(&mut self, id: u64) {
        if let Ok(at) = self.place(id) {
            self.wakers.remove(at);
        }
    }
}

impl<T> Shared<T> {
    fn waiters(&self) -> MutexGuard<'_, Waiters> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        let wakers = std::mem::take(&mut self.waiters().wakers);
        for (_, waker) in wakers {
            waker.wake();
        }
    }

    fn borrow(&self) -> Ref<'_, T> {
        Ref(self.value.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A read lock on the value: keep it short, never across an await.
pub(crate) struct Ref<'a, T>(RwLockReadGuard<'a, T>);

impl<T> std::ops::Deref for Ref<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Changes the value.
pub(crate) struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::AcqRel);
        Sender { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        if self.shared.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.shared.wake();
        }
    }
}

impl<T> Sender<T> {
    /// Replaces the value and wakes the waiters.
    pub(crate) fn send(&self, value: T) {
        self.modify(|old| {
            *old = value;
            true
        });
    }

    /// Changes the value in place; wakes the waiters if `change` says that it did.
    pub(crate) fn modify(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let mut value = self.shared.value.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&mut value);
        if changed {
            self.shared.version.fetch_add(1, Ordering::Release);
        }
        drop(value);
        if changed {
            self.shared.wake();
        }
        changed
    }

    pub(crate) fn borrow(&self) -> Ref<'_, T> {
        self.shared.borrow()
    }

    pub(crate) fn subscribe(&self) -> Receiver<T> {
        Receiver::new(self.shared.clone())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.shared.receivers.load(Ordering::Acquire) == 0
    }
}

/// Every sender is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Gone;

/// Waits for changes.
pub(crate) struct Receiver<T> {
    shared: Arc<Shared<T>>,
    id: u64,
    seen: u64,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        let mut other = Receiver::new(self.shared.clone());
        other.seen = self.seen;
        other
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        self.shared.receivers.fetch_sub(1, Ordering::AcqRel);
        self.shared.waiters().forget(self.id);
    }
}

impl<T> Receiver<T> {
    fn new(shared: Arc<Shared<T>>) -> Self {
        shared.receivers.fetch_add(1, Ordering::AcqRel);
        let seen = shared.version.load(Ordering::Acquire);
        let id = {
            let mut waiters = shared.waiters();
            waiters.next += 1;
            waiters.next
        };
        Receiver { shared, id, seen }
    }

    pub(crate) fn borrow(&self) -> Ref<'_, T> {
        self.shared.borrow()
    }

    /// Reads the value and takes note of having seen it.
    pub(crate) fn borrow_and_update(&mut self) -> Ref<'_, T> {
        let value = self.shared.value.read().unwrap_or_else(PoisonError::into_inner);
        self.seen = self.shared.version.load(Ordering::Acquire);
        Ref(value)
    }

    pub(crate) fn poll_changed(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Gone>> {
        let mut waiters = self.shared.waiters();
        let version = self.shared.version.load(Ordering::Acquire);
        if version != self.seen {
            self.seen = version;
            return Poll::Ready(Ok(()));
        }
        if self.shared.senders.load(Ordering::Acquire) == 0 {
            return Poll::Ready(Err(Gone));
        }
        // Registered under the lock that waking takes, so no change falls between the look and the wait.
        waiters.wait(self.id, context.waker());
        Poll::Pending
    }

    /// Waits until the value is another than the last one seen.
    pub(crate) async fn changed(&mut self) -> Result<(), Gone> {
        poll_fn(|context| self.poll_changed(context)).await
    }

    /// Waits until `wanted` finds what it looks for.
    pub(crate) async fn find<R>(&mut self, mut wanted: impl FnMut(&T) -> Option<R>) -> Result<R, Gone> {
        loop {
            if let Some(found) = wanted(&self.borrow_and_update()) {
                return Ok(found);
            }
            self.changed().await?;
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests begin tasks of no node")]
mod tests {
    use super::*;

    #[test]
    fn waiters_are_woken_in_the_order_in_which_they_came_into_being() {
        struct Note(u64, Arc<Mutex<Vec<u64>>>);
        impl std::task::Wake for Note {
            fn wake(self: Arc<Self>) {
                self.1.lock().expect("nobody panicked").push(self.0);
            }
        }
        let (sender, first) = channel(0);
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut receivers: Vec<_> = std::iter::once(first).chain((1..9).map(|_| sender.subscribe())).collect();
        // In another order, one of them twice, and one that goes.
        for at in [7, 2, 5, 0, 8, 5, 3, 1, 6, 4] {
            let waker = Waker::from(Arc::new(Note(at as u64, woken.clone())));
            assert_eq!(receivers[at].poll_changed(&mut Context::from_waker(&waker)), Poll::Pending);
        }
        receivers.remove(3);
        sender.send(1);
        assert_eq!(*woken.lock().expect("nobody panicked"), [0, 1, 2, 4, 5, 6, 7, 8]);
        sender.send(2);
        assert_eq!(woken.lock().expect("nobody panicked").len(), 8, "nobody waits any more");
    }

    #[tokio::test]
    async fn waits_for_what_it_looks_for_and_for_the_end() {
        let (sender, mut receiver) = channel(0);
        let waiting = tokio::spawn(async move {
            let found = receiver.find(|value| (*value >= 3).then_some(*value)).await;
            (found, receiver.find(|value| (*value > 9).then_some(())).await)
        });
        for value in 1..=3 {
            sender.send(value);
            tokio::task::yield_now().await;
        }
        drop(sender);
        assert_eq!(waiting.await.expect("no panic"), (Ok(3), Err(Gone)));
    }
}
