//! What waits to be sent to one peer, and how it is put together for the system.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::sync::Notify;

use super::layout::Record;

/// How much waits for one peer. A frame over either bound is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLimits {
    /// The most frames waiting.
    pub frames_max: usize,
    /// The most bytes waiting, counted over the frames.
    pub bytes_max: usize,
}

impl Default for QueueLimits {
    /// 65 536 frames and 320 MiB, as an inbox: all chunks of the largest message are sent at once.
    fn default() -> Self {
        QueueLimits { frames_max: 65_536, bytes_max: 320 * 1024 * 1024 }
    }
}

/// How much one batch takes, about: what concerns the connection itself gets in between two.
const BATCH_BYTES: usize = 1024 * 1024;

/// Frames up to this length are copied behind one another; a longer one is a part by itself.
const COPIED_BYTES_MAX: usize = 4096;

/// What waits for one peer. The newest is lost when it is full: what was begun is finished, and nothing that has waited
/// is thrown away for something that has not.
pub(super) struct Outbox {
    limits: QueueLimits,
    waiting: Mutex<Waiting>,
    ring: Notify,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    /// The sum of the lengths of `frames`; at most `bytes_max`.
    bytes: usize,
    /// The latest question whether this node is there.
    asked: Option<u64>,
    closed: bool,
    sent: u64,
    lost: u64,
}

impl Outbox {
    pub(super) fn new(limits: QueueLimits) -> Outbox {
        Outbox { limits, waiting: Mutex::default(), ring: Notify::new() }
    }

    pub(super) fn push(&self, frame: Bytes) {
        let mut waiting = self.lock();
        let fits = frame.len() <= self.limits.bytes_max - waiting.bytes;
        if waiting.closed || !fits || waiting.frames.len() >= self.limits.frames_max {
            waiting.lost += 1;
            return;
        }
        waiting.bytes += frame.len();
        waiting.frames.push_back(frame);
        // The one reader looks again before it waits, so only the first frame has to ring.
        let first = waiting.frames.len() == 1;
        drop(waiting);
        if first {
            self.ring.notify_one();
        }
    }

    /// Has the next batch answer this question.
    pub(super) fn answer(&self, nonce: u64) {
        self.lock().asked = Some(nonce);
        self.ring.notify_one();
    }

    /// Waits until there is something to send, or the outbox is closed. For one reader.
    pub(super) async fn ready(&self) {
        loop {
            if self.lock().has_news() {
                return;
            }
            self.ring.notified().await;
        }
    }

    /// Moves what waits into a batch, as far as a batch goes. Returns how many frames that were.
    pub(super) fn fill(&self, batch: &mut Batch) -> u64 {
        let mut waiting = self.lock();
        if let Some(nonce) = waiting.asked.take() {
            batch.put(&Record::Answer(nonce).encode());
        }
        let mut count = 0;
        while batch.remaining() < BATCH_BYTES
            && let Some(frame) = waiting.frames.pop_front()
        {
            waiting.bytes -= frame.len();
            count += 1;
            batch.put_frame(frame);
        }
        count
    }

    /// Counts frames of a batch that went out, or that were lost with their connection.
    pub(super) fn count(&self, frames: u64, sent: bool) {
        let mut waiting = self.lock();
        *if sent { &mut waiting.sent } else { &mut waiting.lost } += frames;
    }

    /// Loses what waits.
    pub(super) fn clear(&self) {
        let mut waiting = self.lock();
        waiting.lost += waiting.frames.len() as u64;
        waiting.bytes = 0;
        waiting.asked = None;
        let frames = std::mem::take(&mut waiting.frames);
        drop(waiting);
        drop(frames);
    }

    /// Takes no more. What waits can still be sent.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.ring.notify_one();
    }

    /// Whether it is closed and everything was taken out.
    pub(super) fn is_done(&self) -> bool {
        let waiting = self.lock();
        waiting.closed && waiting.frames.is_empty()
    }

    /// How many frames were sent and lost, and how many wait.
    pub(super) fn counts(&self) -> (u64, u64, usize) {
        let waiting = self.lock();
        (waiting.sent, waiting.lost, waiting.frames.len())
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn has_news(&self) -> bool {
        self.closed || self.asked.is_some() || !self.frames.is_empty()
    }
}

/// Records that go to the system together: short ones copied into one part, each long frame a part of its own.
#[derive(Default)]
pub(super) struct Batch {
    parts: VecDeque<Bytes>,
    /// What was copied behind the last part.
    copied: BytesMut,
    /// The sum of the lengths of `parts` and `copied`.
    len: usize,
}

impl Batch {
    pub(super) fn put(&mut self, record: &[u8]) {
        self.len += record.len();
        self.copied.put_slice(record);
    }

    fn put_frame(&mut self, frame: Bytes) {
        self.put(&Record::frame_header(frame.len()));
        if frame.len() <= COPIED_BYTES_MAX {
            self.put(&frame);
        } else {
            self.finish();
            self.len += frame.len();
            self.parts.push_back(frame);
        }
    }

    /// To be called before it is read.
    pub(super) fn finish(&mut self) {
        if !self.copied.is_empty() {
            self.parts.push_back(self.copied.split().freeze());
        }
    }
}

impl Buf for Batch {
    fn remaining(&self) -> usize {
        self.len
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |part| part)
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut count = 0;
        for (slice, part) in slices.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
            count += 1;
        }
        count
    }

    fn advance(&mut self, mut count: usize) {
        self.len -= count;
        while count > 0 {
            let front = self.parts.front_mut().expect("no more is consumed than there is");
            if count < front.len() {
                return front.advance(count);
            }
            count -= front.len();
            self.parts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::layout::Records;
    use super::*;

    fn frame(len: usize, fill: u8) -> Bytes {
        vec![fill; len].into()
    }

    #[test]
    fn what_is_over_the_bounds_is_lost_and_counted_and_what_waits_stays() {
        let outbox = Outbox::new(QueueLimits { frames_max: 2, bytes_max: 10 });
        outbox.push(frame(6, 1));
        outbox.push(frame(5, 2));
        outbox.push(frame(4, 3));
        outbox.push(frame(0, 4));
        assert_eq!(outbox.counts(), (0, 2, 2));

        let mut batch = Batch::default();
        assert_eq!(outbox.fill(&mut batch), 2);
        outbox.push(frame(10, 5));
        assert_eq!(outbox.counts(), (0, 2, 1));
        outbox.clear();
        assert_eq!(outbox.counts(), (0, 3, 0));
        outbox.push(frame(10, 6));
        outbox.close();
        outbox.push(frame(0, 7));
        assert_eq!(outbox.counts(), (0, 4, 1));
        assert!(!outbox.is_done());
        assert_eq!(outbox.fill(&mut batch), 1);
        assert!(outbox.is_done());
    }

    #[test]
    fn a_batch_reads_as_its_records_and_copies_only_short_frames() {
        let outbox = Outbox::new(QueueLimits::default());
        let lens = [0, 10, COPIED_BYTES_MAX, COPIED_BYTES_MAX + 1, 3, 4, 100_000, 1];
        for (fill, len) in lens.into_iter().enumerate() {
            outbox.push(frame(len, fill as u8));
        }
        outbox.answer(7);
        let mut batch = Batch::default();
        assert_eq!(outbox.fill(&mut batch), lens.len() as u64);
        batch.finish();
        let mut slices = [IoSlice::new(&[]); 16];
        assert_eq!(batch.chunks_vectored(&mut slices), 5, "each long frame and what lies between");

        let mut records = Records::new();
        while batch.has_remaining() {
            let piece = batch.chunk().len().min(7000);
            let bytes = batch.copy_to_bytes(piece);
            records.room().put_slice(&bytes);
        }
        assert_eq!(records.take(), Ok(Some(Record::Answer(7))));
        for (fill, len) in lens.into_iter().enumerate() {
            assert_eq!(records.take(), Ok(Some(Record::Frame(frame(len, fill as u8)))));
        }
        assert_eq!(records.take(), Ok(None));
    }

    #[test]
    fn a_batch_is_bounded() {
        let outbox = Outbox::new(QueueLimits::default());
        for _ in 0..5 {
            outbox.push(frame(BATCH_BYTES / 2, 0));
        }
        assert_eq!(outbox.fill(&mut Batch::default()), 2);
        assert_eq!(outbox.counts(), (0, 0, 3));
    }
}
