//! What waits to be sent over a shared medium.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::envelope::Kind;
use crate::channel::{InboxLimits, Name};

/// The most that waits of what the nodes say to each other about the medium. One more drops the oldest: it is asked again.
const CONTROL_MAX: usize = 256;

/// How much is taken at once, about.
const BATCH_BYTES: usize = 256 * 1024;

/// Something to be signed and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) kind: Kind,
    /// None is for all others.
    pub(super) to: Option<Name>,
    pub(super) about: u128,
    pub(super) frame: Bytes,
}

/// Bounded, for one reader. When it is full the newest frame is lost, as over TCP.
pub(super) struct Queue {
    limits: InboxLimits,
    waiting: Mutex<Waiting>,
    ring: Notify,
}

#[derive(Default)]
struct Waiting {
    control: VecDeque<Item>,
    frames: VecDeque<Item>,
    /// The sum of the lengths of the frames in `frames`; at most `bytes_max`.
    bytes: usize,
    closed: bool,
    sent: u64,
    lost: u64,
}

impl Queue {
    pub(super) fn new(limits: InboxLimits) -> Queue {
        Queue { limits, waiting: Mutex::default(), ring: Notify::new() }
    }

    pub(super) fn push_frame(&self, to: Option<Name>, frame: Bytes) {
        let mut waiting = self.lock();
        let fits = frame.len() <= self.limits.bytes_max - waiting.bytes;
        if waiting.closed || !fits || waiting.frames.len() >= self.limits.messages_max {
            waiting.lost += 1;
            return;
        }
        waiting.bytes += frame.len();
        waiting.frames.push_back(Item { kind: Kind::Frame, to, about: 0, frame });
        drop(waiting);
        self.ring.notify_one();
    }

    pub(super) fn push_control(&self, kind: Kind, to: Name, about: u128) {
        let mut waiting = self.lock();
        if waiting.closed {
            return;
        }
        if waiting.control.len() >= CONTROL_MAX {
            waiting.control.pop_front();
        }
        waiting.control.push_back(Item { kind, to: Some(to), about, frame: Bytes::new() });
        drop(waiting);
        self.ring.notify_one();
    }

    /// Waits until there is something to send, or it is closed.
    pub(super) async fn ready(&self) {
        while !self.lock().has_news() {
            self.ring.notified().await;
        }
    }

    /// What is to be sent next.
    pub(super) fn take(&self) -> Vec<Item> {
        let mut waiting = self.lock();
        let mut items: Vec<Item> = waiting.control.drain(..).collect();
        let mut bytes = 0;
        while bytes < BATCH_BYTES
            && let Some(item) = waiting.frames.pop_front()
        {
            bytes += item.frame.len();
            waiting.bytes -= item.frame.len();
            items.push(item);
        }
        items
    }

    /// Counts frames that were taken and sent, or lost.
    pub(super) fn count(&self, frames: u64, sent: bool) {
        let mut waiting = self.lock();
        *if sent { &mut waiting.sent } else { &mut waiting.lost } += frames;
    }

    /// Loses what waits.
    pub(super) fn clear(&self) {
        let mut waiting = self.lock();
        waiting.lost += waiting.frames.len() as u64;
        waiting.bytes = 0;
        waiting.control.clear();
        let frames = std::mem::take(&mut waiting.frames);
        drop(waiting);
        drop(frames);
    }

    /// Takes no more. What waits can still be sent.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ring.notify_one();
    }

    pub(super) fn is_done(&self) -> bool {
        let waiting = self.lock();
        waiting.closed && waiting.frames.is_empty() && waiting.control.is_empty()
    }

    /// How many frames were sent and lost.
    pub(super) fn counts(&self) -> (u64, u64) {
        let waiting = self.lock();
        (waiting.sent, waiting.lost)
    }

    /// How many frames wait.
    pub(super) fn frames_waiting(&self) -> usize {
        self.lock().frames.len()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn has_news(&self) -> bool {
        self.closed || !self.control.is_empty() || !self.frames.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(len: usize) -> Bytes {
        vec![0; len].into()
    }

    #[test]
    fn what_does_not_fit_is_lost_and_counted() {
        let queue = Queue::new(InboxLimits { messages_max: 2, bytes_max: 10 });
        queue.push_frame(None, frame(6));
        queue.push_frame(None, frame(5));
        queue.push_frame(None, frame(4));
        queue.push_frame(None, frame(0));
        queue.push_control(Kind::Proof, "a".into(), 7);
        let taken = queue.take();
        assert_eq!(taken.iter().map(|item| item.frame.len()).collect::<Vec<_>>(), [0, 6, 4]);
        assert_eq!((taken[0].kind, taken[0].about), (Kind::Proof, 7));
        assert_eq!(queue.counts(), (0, 2));
        queue.push_frame(None, frame(10));
        queue.clear();
        assert_eq!(queue.counts(), (0, 3));
        queue.push_frame(None, frame(10));
        queue.close();
        queue.push_frame(None, frame(0));
        assert!(!queue.is_done());
        assert_eq!(queue.take().len(), 1);
        assert!(queue.is_done());
        assert_eq!(queue.counts(), (0, 4));
    }

    #[test]
    fn batches_and_what_concerns_the_medium_are_bounded() {
        let queue = Queue::new(InboxLimits::default());
        for number in 0..2 * CONTROL_MAX {
            queue.push_control(Kind::Challenge, "a".into(), number as u128);
        }
        for _ in 0..5 {
            queue.push_frame(None, frame(BATCH_BYTES / 2));
        }
        let taken = queue.take();
        assert_eq!(taken.len(), CONTROL_MAX + 2);
        assert_eq!(taken[0].about, CONTROL_MAX as u128, "the oldest were dropped");
        assert_eq!(queue.take().len(), 2);
    }
}
