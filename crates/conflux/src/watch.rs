//! A value that can be waited on. Wakes its waiters in the order in which they came into being, so that one seed gives
//! one history: tokio's own watch wakes them at random.

use std::collections::BTreeMap;
use std::future::poll_fn;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
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
    wakers: BTreeMap<u64, Waker>,
}

impl<T> Shared<T> {
    fn wake(&self) {
        let wakers = std::mem::take(&mut self.waiters.lock().unwrap_or_else(PoisonError::into_inner).wakers);
        for waker in wakers.into_values() {
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
        self.shared.waiters.lock().unwrap_or_else(PoisonError::into_inner).wakers.remove(&self.id);
    }
}

impl<T> Receiver<T> {
    fn new(shared: Arc<Shared<T>>) -> Self {
        shared.receivers.fetch_add(1, Ordering::AcqRel);
        let seen = shared.version.load(Ordering::Acquire);
        let id = {
            let mut waiters = shared.waiters.lock().unwrap_or_else(PoisonError::into_inner);
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
        let mut waiters = self.shared.waiters.lock().unwrap_or_else(PoisonError::into_inner);
        let version = self.shared.version.load(Ordering::Acquire);
        if version != self.seen {
            self.seen = version;
            return Poll::Ready(Ok(()));
        }
        if self.shared.senders.load(Ordering::Acquire) == 0 {
            return Poll::Ready(Err(Gone));
        }
        // Registered under the lock that waking takes, so no change falls between the look and the wait.
        waiters.wakers.insert(self.id, context.waker().clone());
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
