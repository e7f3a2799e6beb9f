//! Answers on their way to standard output, in the order of the lines they answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::Duration;

use conflux::json::JsonOutcome;
use futures_core::future::BoxFuture;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::answer::Answer;
use crate::output::{complaint, tell};
use crate::pace::{Entrance, IN_FLIGHT_MAX, Pace, Place};

/// How much output is held back at most before it is written.
const BUFFER_BYTES: usize = 64 << 10;

/// The end that answers are put into. The other end is a task that waits for each, and writes it.
pub(crate) struct Printer {
    queue: mpsc::Sender<Item>,
    entrance: Entrance,
    asked: AtomicU64,
    written: Written,
    broken: watch::Receiver<bool>,
    task: JoinHandle<Tally>,
}

/// What has been written so far, also while the rest is waited for.
#[derive(Clone, Default)]
pub(crate) struct Written(Arc<Mutex<Tally>>);

impl Written {
    pub(crate) fn tally(&self) -> Tally {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) answers: u64,
    /// Those of them that were bad lines or failed calls.
    pub(crate) bad: u64,
    /// Those that nobody read any more.
    pub(crate) unread: u64,
}

/// How often it is said how to ask again for what became of a line, where that is unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Hint {
    /// The first time: a program reads the answers.
    Once,
    /// Each time: somebody is at a prompt.
    Always,
}

enum Item {
    Ready(Answer),
    Performing { method: String, outcome: BoxFuture<'static, JsonOutcome>, place: Place },
    Barrier(oneshot::Sender<()>),
}

impl Printer {
    /// For calls that are given up after `deadline`.
    pub(crate) fn new(output: impl AsyncWrite + Send + Unpin + 'static, deadline: Duration, hint: Hint) -> Printer {
        let (queue, items) = mpsc::channel(IN_FLIGHT_MAX);
        let (breaking, broken) = watch::channel(false);
        let written = Written::default();
        let pace = Pace::new(deadline);
        let entrance = pace.entrance();
        let tally = Tally::default();
        let writer = Writer {
            output,
            buffer: Vec::new(),
            held_back: 0,
            breaking,
            tally,
            written: written.clone(),
            pace,
            hint: Some(hint),
        };
        Printer { queue, entrance, asked: AtomicU64::new(0), written, broken, task: tokio::spawn(writer.run(items)) }
    }

    /// Waits while too many lines are in flight. A call's deadline begins with the call, so this comes before it.
    pub(crate) async fn enter(&self) -> Place {
        self.entrance.enter().await
    }

    /// Puts an answer behind those of earlier lines.
    pub(crate) async fn answer(&self, answer: Answer) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.put(Item::Ready(answer)).await;
    }

    /// Puts an answer that is still to come behind those of earlier lines.
    pub(crate) async fn perform(&self, place: Place, method: String, outcome: BoxFuture<'static, JsonOutcome>) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        self.put(Item::Performing { method, outcome, place }).await;
    }

    /// Waits until everything so far is answered and written.
    pub(crate) async fn drain(&self) {
        let (reached, barrier) = oneshot::channel();
        self.put(Item::Barrier(reached)).await;
        // The writer ends only with this handle, or by a panic that `finish` tells.
        let _ = barrier.await;
    }

    /// Becomes true when nobody reads the output any more.
    pub(crate) fn broken(&self) -> watch::Receiver<bool> {
        self.broken.clone()
    }

    /// How many answers were put in, those still to come included.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.load(Ordering::Relaxed)
    }

    pub(crate) fn written(&self) -> Written {
        self.written.clone()
    }

    /// Waits for all answers, and counts them.
    pub(crate) async fn finish(self) -> Tally {
        drop(self.queue);
        match self.task.await {
            Ok(tally) => tally,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_) => Tally::default(),
            },
        }
    }

    async fn put(&self, item: Item) {
        // The writer outlives the queue unless it panicked, which `finish` tells.
        let _ = self.queue.send(item).await;
    }
}

struct Writer<W> {
    output: W,
    buffer: Vec<u8>,
    /// How many answers are in the buffer.
    held_back: u64,
    breaking: watch::Sender<bool>,
    /// What has been put into the buffer, or written.
    tally: Tally,
    written: Written,
    pace: Pace,
    hint: Option<Hint>,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    async fn run(mut self, mut items: mpsc::Receiver<Item>) -> Tally {
        loop {
            // Whenever there is something to wait for, what is known is written first.
            let item = match items.try_recv() {
                Ok(item) => item,
                Err(_) => {
                    self.flush().await;
                    match items.recv().await {
                        Some(item) => item,
                        None => return self.tally,
                    }
                }
            };
            let answer = match item {
                Item::Ready(answer) => answer,
                Item::Performing { method, mut outcome, place } => {
                    let ready = std::future::poll_fn(|context| Poll::Ready(outcome.as_mut().poll(context))).await;
                    let outcome = match ready {
                        Poll::Ready(outcome) => outcome,
                        Poll::Pending => {
                            self.flush().await;
                            outcome.await
                        }
                    };
                    self.pace.answered(place);
                    Answer::Outcome { method, outcome }
                }
                Item::Barrier(reached) => {
                    self.flush().await;
                    // Nobody waits any more after an interrupt.
                    let _ = reached.send(());
                    continue;
                }
            };
            self.tally.answers += 1;
            self.tally.bad += u64::from(answer.is_bad());
            let unknown = answer.unknown().map(str::to_owned);
            answer.write(&mut self.buffer);
            self.held_back += 1;
            if let Some(id) = unknown
                && let Some(hint) = self.hint
            {
                self.flush().await;
                tell!("`:outcome {id}` asks again what became of it");
                self.hint = Some(hint).filter(|hint| *hint == Hint::Always);
            }
            if self.buffer.len() >= BUFFER_BYTES {
                self.flush().await;
            }
        }
    }

    /// Writes what is held back. Once the reader is gone, answers are still waited for and counted.
    async fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        if !*self.breaking.borrow() {
            let written = async {
                self.output.write_all(&self.buffer).await?;
                self.output.flush().await
            };
            if let Err(error) = written.await {
                if let Some(complaint) = complaint(&error) {
                    tell!("{complaint}");
                    self.tally.bad += 1;
                }
                self.breaking.send_replace(true);
            }
        }
        if *self.breaking.borrow() {
            self.tally.unread += self.held_back;
        }
        self.held_back = 0;
        self.buffer.clear();
        *self.written.0.lock().unwrap_or_else(PoisonError::into_inner) = self.tally;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn committed(index: u64) -> JsonOutcome {
        JsonOutcome::Committed { index: conflux_core::Index(index), action: None }
    }

    fn printer(output: tokio::io::DuplexStream) -> Printer {
        Printer::new(output, Duration::from_secs(10), Hint::Once)
    }

    fn line(index: u64) -> String {
        format!("{{\"method\":\"m\",\"index\":{index},\"action\":null}}\n")
    }

    #[tokio::test]
    async fn answers_keep_the_order_of_their_lines() {
        let (mut reader, output) = tokio::io::duplex(1 << 20);
        let printer = printer(output);
        let (first, outcome) = oneshot::channel();
        printer
            .perform(printer.enter().await, "m".into(), Box::pin(async { outcome.await.expect("it is answered") }))
            .await;
        printer.perform(printer.enter().await, "m".into(), Box::pin(async { committed(2) })).await;
        printer.answer(Answer::Bad { line: 3, error: "no".into() }).await;
        first.send(committed(1)).expect("it is waited for");
        printer.drain().await;
        assert_eq!(printer.finish().await, Tally { answers: 3, bad: 1, unread: 0 });
        let mut text = String::new();
        reader.read_to_string(&mut text).await.expect("memory is read");
        assert_eq!(text, line(1) + &line(2) + "{\"line\":3,\"error\":\"no\"}\n");
    }

    #[tokio::test]
    async fn what_is_known_is_written_while_the_next_is_waited_for() {
        let (mut reader, output) = tokio::io::duplex(1 << 20);
        let printer = printer(output);
        printer.perform(printer.enter().await, "m".into(), Box::pin(async { committed(1) })).await;
        printer.perform(printer.enter().await, "m".into(), Box::pin(std::future::pending())).await;
        let mut text = vec![0; line(1).len()];
        reader.read_exact(&mut text).await.expect("the first answer comes");
        assert_eq!(text, line(1).as_bytes());
        while printer.written().tally().answers < 1 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_call_begins_that_would_wait_too_long_behind_others() {
        let (_reader, output) = tokio::io::duplex(1 << 24);
        let printer = printer(output);
        // A container that takes 40 ms for a call, one after another.
        let mut free = tokio::time::Instant::now();
        let longest = Arc::new(Mutex::new(Duration::ZERO));
        for n in 0..2_000 {
            let place = printer.enter().await;
            let begun = tokio::time::Instant::now();
            free = free.max(begun) + Duration::from_millis(40);
            let (done, longest) = (free, longest.clone());
            let outcome = async move {
                tokio::time::sleep_until(done).await;
                let mut longest = longest.lock().unwrap();
                *longest = longest.max(begun.elapsed());
                committed(n)
            };
            printer.perform(place, "m".into(), Box::pin(outcome)).await;
        }
        assert_eq!(printer.finish().await, Tally { answers: 2_000, bad: 0, unread: 0 });
        let longest = *longest.lock().unwrap();
        assert!(longest < Duration::from_secs(2), "{longest:?} of a deadline of 10 s");
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_is_noticed() {
        let (reader, output) = tokio::io::duplex(1);
        let printer = printer(output);
        drop(reader);
        printer.perform(printer.enter().await, "m".into(), Box::pin(async { committed(1) })).await;
        printer.broken().wait_for(|broken| *broken).await.expect("the writer lives");
        assert_eq!(printer.finish().await, Tally { answers: 1, bad: 0, unread: 1 });
    }
}
