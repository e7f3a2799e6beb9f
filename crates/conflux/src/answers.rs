//! Answers that the engine has still to give, beside the task that takes messages in.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_util::stream::{FuturesUnordered, StreamExt};
use futures_util::{FutureExt, future};

/// The most answers that are open at once. Peers wait for theirs, a few dozen each; only a disk that stands still, or a
/// peer that does not wait, comes to so many.
const ANSWERS_MAX: usize = 4096;

/// The most bytes that the messages of open answers hold. One that is alone may be larger.
const BYTES_MAX: usize = 512 * 1024 * 1024;

type Open = Pin<Box<dyn Future<Output = usize> + Send>>;

/// What is still to be answered, within bounds.
#[derive(Default)]
pub(crate) struct Answers {
    open: FuturesUnordered<Open>,
    bytes: usize,
}

impl Answers {
    /// Whether a message of so many bytes can still wait for its answer.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.open.len() < ANSWERS_MAX && (self.open.is_empty() || self.bytes.saturating_add(bytes) <= BYTES_MAX)
    }

    /// Begins to answer a message of so many bytes, at once.
    pub(crate) fn begin(&mut self, bytes: usize, answer: impl Future<Output = ()> + Send + 'static) {
        let mut answer: Open = Box::pin(answer.map(move |()| bytes));
        if (&mut answer).now_or_never().is_none() {
            self.open.push(answer);
            self.bytes += bytes;
        }
    }

    /// Ends whenever one was given; never when none is open.
    pub(crate) async fn next(&mut self) {
        let given = future::poll_fn(|context: &mut Context<'_>| match self.open.poll_next_unpin(context) {
            Poll::Ready(Some(bytes)) => Poll::Ready(bytes),
            Poll::Ready(None) | Poll::Pending => Poll::Pending,
        });
        self.bytes -= given.await;
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    async fn told(receiver: oneshot::Receiver<()>) {
        let _ = receiver.await;
    }

    #[tokio::test]
    async fn neither_count_nor_bytes_grow_beyond_their_bounds() {
        let mut answers = Answers::default();
        let mut waiting = Vec::new();
        for _ in 0..ANSWERS_MAX {
            assert!(answers.has_room(1));
            let (sender, receiver) = oneshot::channel();
            waiting.push(sender);
            answers.begin(1, told(receiver));
            // What is answered at once takes no room.
            answers.begin(BYTES_MAX, std::future::ready(()));
        }
        assert!(!answers.has_room(0));
        waiting.pop();
        answers.next().await;
        assert!(answers.has_room(BYTES_MAX - (ANSWERS_MAX - 1)));
        assert!(!answers.has_room(BYTES_MAX));
        for sender in waiting {
            drop(sender);
            answers.next().await;
        }
        assert!(answers.has_room(BYTES_MAX + 1), "one message alone is never too large: the wire has its own limit");
        assert!(answers.next().now_or_never().is_none());
    }
}
