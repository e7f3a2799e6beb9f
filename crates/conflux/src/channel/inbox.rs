//! The bounded queue between a channel and the node that reads from it.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};

use tokio::task::coop;

use super::Message;

/// How much an [`Inbox`] holds. A message over either bound is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InboxLimits {
    /// The most messages waiting.
    pub messages_max: usize,
    /// The most bytes waiting, counted over the frames.
    pub bytes_max: usize,
}

impl Default for InboxLimits {
    /// 65 536 messages and 320 MiB: one message of the largest size that [`wire`](crate::wire) sends by default fits,
    /// although its chunks are all sent at once.
    fn default() -> Self {
        InboxLimits { messages_max: 65_536, bytes_max: 320 * 1024 * 1024 }
    }
}

/// What several inboxes share: how many bytes may wait in all of them together.
#[derive(Debug)]
pub(crate) struct Budget {
    left: AtomicUsize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Budget {
        Budget { left: AtomicUsize::new(bytes) }
    }

    fn take(&self, bytes: usize) -> bool {
        self.left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes)).is_ok()
    }

    fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Relaxed);
    }
}

/// The receiving half of an [`Attachment`](super::Attachment).
pub struct Inbox {
    queue: Arc<Queue>,
}

/// The half of an [`Inbox`] that the channel keeps. Once every clone is dropped, or one is closed, the inbox ends.
#[derive(Clone)]
pub struct Deliver {
    end: Arc<DeliverEnd>,
}

impl Inbox {
    /// Make a queue. The channel keeps the [`Deliver`] and hands out the [`Inbox`].
    pub fn new(limits: InboxLimits) -> (Deliver, Inbox) {
        Inbox::within(limits, None)
    }

    /// The same, with what several of them share.
    pub(crate) fn within(limits: InboxLimits, budget: Option<Arc<Budget>>) -> (Deliver, Inbox) {
        let queue = Arc::new(Queue { limits, budget, waiting: Mutex::default() });
        (Deliver { end: Arc::new(DeliverEnd { queue: queue.clone() }) }, Inbox { queue })
    }

    /// The next message, waiting for it; nothing once the node is detached and the queue is drained. Dropping the future
    /// loses no message.
    pub async fn recv(&mut self) -> Option<Message> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// As [`recv`](Self::recv), for hand-written futures.
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<Message>> {
        // A busy inbox must not starve the other tasks of its thread.
        let turn = ready!(coop::poll_proceed(cx));
        let mut waiting = self.queue.lock();
        if let Some(message) = self.queue.pop(&mut waiting) {
            turn.made_progress();
            return Poll::Ready(Some(message));
        }
        if waiting.closed {
            turn.made_progress();
            return Poll::Ready(None);
        }
        if !waiting.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
            waiting.reader = Some(cx.waker().clone());
        }
        Poll::Pending
    }

    /// The next message, if one is waiting.
    pub fn try_recv(&mut self) -> Option<Message> {
        self.queue.pop(&mut self.queue.lock())
    }

    /// How many messages were lost because the queue was full.
    pub fn lost(&self) -> u64 {
        self.queue.lock().lost
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        let mut waiting = self.queue.lock();
        waiting.closed = true;
        let bytes = std::mem::take(&mut waiting.bytes);
        if let Some(budget) = &self.queue.budget {
            budget.give_back(bytes);
        }
        let unread = std::mem::take(&mut waiting.messages);
        drop(waiting);
        drop(unread);
    }
}

impl Deliver {
    /// How many messages were lost because the queue was full.
    pub(crate) fn lost(&self) -> u64 {
        self.end.queue.lock().lost
    }

    /// Queue a message. False when it was lost: the queue is full, or nobody reads it any more.
    pub fn deliver(&self, message: Message) -> bool {
        self.end.queue.push(message)
    }

    /// End the inbox: the reader still gets what is queued, then nothing.
    pub fn close(&self) {
        self.end.queue.close();
    }
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.queue.describe("Inbox", f)
    }
}

impl fmt::Debug for Deliver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.end.queue.describe("Deliver", f)
    }
}

/// Closes the queue when the last [`Deliver`] goes.
struct DeliverEnd {
    queue: Arc<Queue>,
}

impl Drop for DeliverEnd {
    fn drop(&mut self) {
        self.queue.close();
    }
}

struct Queue {
    limits: InboxLimits,
    budget: Option<Arc<Budget>>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    messages: VecDeque<Message>,
    /// The sum of the frames' lengths in `messages`; at most `bytes_max`.
    bytes: usize,
    lost: u64,
    closed: bool,
    reader: Option<Waker>,
}

impl Queue {
    fn push(&self, message: Message) -> bool {
        let mut waiting = self.lock();
        if waiting.closed {
            return false;
        }
        let fits = message.frame.len() <= self.limits.bytes_max - waiting.bytes;
        let fits = fits && waiting.messages.len() < self.limits.messages_max;
        // Asked last: what it gives has to be given back.
        if !fits || !self.budget.as_ref().is_none_or(|budget| budget.take(message.frame.len())) {
            waiting.lost += 1;
            return false;
        }
        waiting.bytes += message.frame.len();
        waiting.messages.push_back(message);
        let reader = waiting.reader.take();
        drop(waiting);
        if let Some(reader) = reader {
            reader.wake();
        }
        true
    }

    fn pop(&self, waiting: &mut Waiting) -> Option<Message> {
        let message = waiting.messages.pop_front()?;
        waiting.bytes -= message.frame.len();
        if let Some(budget) = &self.budget {
            budget.give_back(message.frame.len());
        }
        Some(message)
    }

    fn close(&self) {
        let mut waiting = self.lock();
        waiting.closed = true;
        let reader = waiting.reader.take();
        drop(waiting);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        // No step under this lock leaves it half-changed, so a panic elsewhere does not spoil it.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn describe(&self, name: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let waiting = self.lock();
        f.debug_struct(name)
            .field("messages", &waiting.messages.len())
            .field("bytes", &waiting.bytes)
            .field("lost", &waiting.lost)
            .field("closed", &waiting.closed)
            .finish()
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests begin tasks of no node")]
mod tests {
    use std::task::Waker;

    use bytes::Bytes;

    use super::*;

    fn message(text: &'static str) -> Message {
        Message { from: "a".into(), frame: Bytes::from_static(text.as_bytes()) }
    }

    #[test]
    fn what_is_over_the_bounds_is_lost_and_counted() {
        let (deliver, mut inbox) = Inbox::new(InboxLimits { messages_max: 2, bytes_max: 10 });
        assert!(deliver.deliver(message("123456")));
        assert!(!deliver.deliver(message("12345")), "over the bytes");
        assert!(deliver.deliver(message("1234")));
        assert!(!deliver.deliver(message("")), "over the messages");
        assert_eq!(inbox.lost(), 2);

        assert_eq!(inbox.try_recv(), Some(message("123456")));
        assert!(deliver.deliver(message("123456")), "room was made");
        assert_eq!(inbox.try_recv(), Some(message("1234")));
        assert_eq!(inbox.try_recv(), Some(message("123456")));
        assert_eq!(inbox.try_recv(), None);
    }

    #[test]
    fn what_inboxes_share_bounds_all_of_them() {
        let budget = Arc::new(Budget::new(10));
        let inbox = || Inbox::within(InboxLimits::default(), Some(budget.clone()));
        let ((one, mut first), (other, second)) = (inbox(), inbox());
        assert!(one.deliver(message("123456")));
        assert!(!other.deliver(message("12345")), "over what is left");
        assert_eq!(second.lost(), 1);
        assert!(other.deliver(message("1234")));
        assert_eq!(first.try_recv(), Some(message("123456")));
        assert!(one.deliver(message("123456")), "what was read was given back");
        drop(second);
        assert!(one.deliver(message("1234")), "and what nobody will read");
        assert!(!one.deliver(message("1")));
    }

    #[tokio::test]
    async fn the_inbox_ends_once_drained_when_closed_or_when_every_deliver_is_dropped() {
        let (deliver, mut inbox) = Inbox::new(InboxLimits::default());
        deliver.deliver(message("last"));
        deliver.close();
        assert!(!deliver.deliver(message("late")));
        assert_eq!(inbox.recv().await, Some(message("last")));
        assert_eq!(inbox.recv().await, None);
        assert_eq!(inbox.recv().await, None);

        let (deliver, mut inbox) = Inbox::new(InboxLimits::default());
        let clone = deliver.clone();
        drop(deliver);
        assert!(clone.deliver(message("still open")));
        drop(clone);
        assert_eq!(inbox.recv().await, Some(message("still open")));
        assert_eq!(inbox.recv().await, None);
    }

    #[tokio::test]
    async fn a_waiting_reader_is_woken() {
        let (deliver, mut inbox) = Inbox::new(InboxLimits::default());
        let reader = tokio::spawn(async move { (inbox.recv().await, inbox.recv().await) });
        tokio::task::yield_now().await;
        deliver.deliver(message("one"));
        tokio::task::yield_now().await;
        drop(deliver);
        assert_eq!(reader.await.unwrap(), (Some(message("one")), None));
    }

    #[tokio::test]
    async fn a_full_inbox_lets_other_tasks_run() {
        let (deliver, mut inbox) = Inbox::new(InboxLimits::default());
        let echo = deliver.clone();
        deliver.deliver(message("again"));
        let busy = tokio::spawn(async move {
            while let Some(message) = inbox.recv().await {
                echo.deliver(message);
            }
        });
        // Without a budget the busy task would hold the only thread for ever.
        tokio::task::yield_now().await;
        deliver.close();
        busy.await.unwrap();
    }

    #[test]
    fn a_dropped_inbox_takes_no_more() {
        let (deliver, inbox) = Inbox::new(InboxLimits::default());
        drop(inbox);
        assert!(!deliver.deliver(message("nobody")));
        let mut cx = Context::from_waker(Waker::noop());
        let (_deliver, mut inbox) = Inbox::new(InboxLimits::default());
        assert!(inbox.poll_recv(&mut cx).is_pending());
    }
}
