//! Answers on their way to standard output, in the order of the lines they answer.

use std::task::Poll;

use conflux::json::JsonOutcome;
use futures_core::future::BoxFuture;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use crate::answer::Answer;

/// How many lines may be in flight at once: beyond it, input waits.
pub(crate) const IN_FLIGHT_MAX: usize = 1024;

/// How much output is held back at most before it is written.
const BUFFER_BYTES: usize = 64 << 10;

/// The end that answers are put into. The other end is a task that waits for each, and writes it.
pub(crate) struct Printer {
    queue: mpsc::Sender<Item>,
    broken: watch::Receiver<bool>,
    task: JoinHandle<Tally>,
}

/// What was answered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) answers: u64,
    /// Those of them that were bad lines or failed calls.
    pub(crate) bad: u64,
}

enum Item {
    Ready(Answer),
    Performing { method: String, outcome: BoxFuture<'static, JsonOutcome> },
    Barrier(oneshot::Sender<()>),
}

impl Printer {
    pub(crate) fn new(output: impl AsyncWrite + Send + Unpin + 'static) -> Printer {
        let (queue, items) = mpsc::channel(IN_FLIGHT_MAX);
        let (breaking, broken) = watch::channel(false);
        let writer = Writer { output, buffer: Vec::new(), breaking, tally: Tally::default() };
        Printer { queue, broken, task: tokio::spawn(writer.run(items)) }
    }

    /// Puts an answer behind those of earlier lines.
    pub(crate) async fn answer(&self, answer: Answer) {
        self.put(Item::Ready(answer)).await;
    }

    /// Puts an answer that is still to come behind those of earlier lines; waits while too many are in flight.
    pub(crate) async fn perform(&self, method: String, outcome: BoxFuture<'static, JsonOutcome>) {
        self.put(Item::Performing { method, outcome }).await;
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
    breaking: watch::Sender<bool>,
    tally: Tally,
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
                Item::Performing { method, mut outcome } => {
                    let ready = std::future::poll_fn(|context| Poll::Ready(outcome.as_mut().poll(context))).await;
                    let outcome = match ready {
                        Poll::Ready(outcome) => outcome,
                        Poll::Pending => {
                            self.flush().await;
                            outcome.await
                        }
                    };
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
            answer.write(&mut self.buffer);
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
                // A closed pipe is how `head` says that it has enough.
                if error.kind() != std::io::ErrorKind::BrokenPipe {
                    eprintln!("answers cannot be written: {error}");
                    self.tally.bad += 1;
                }
                self.breaking.send_replace(true);
            }
        }
        self.buffer.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    fn committed(index: u64) -> JsonOutcome {
        JsonOutcome::Committed { index: conflux_core::Index(index), action: None }
    }

    fn line(index: u64) -> String {
        format!("{{\"method\":\"m\",\"index\":{index},\"action\":null}}\n")
    }

    #[tokio::test]
    async fn answers_keep_the_order_of_their_lines() {
        let (mut reader, output) = tokio::io::duplex(1 << 20);
        let printer = Printer::new(output);
        let (first, outcome) = oneshot::channel();
        printer.perform("m".into(), Box::pin(async { outcome.await.expect("it is answered") })).await;
        printer.perform("m".into(), Box::pin(async { committed(2) })).await;
        printer.answer(Answer::Bad { line: 3, error: "no".into() }).await;
        first.send(committed(1)).expect("it is waited for");
        printer.drain().await;
        assert_eq!(printer.finish().await, Tally { answers: 3, bad: 1 });
        let mut text = String::new();
        reader.read_to_string(&mut text).await.expect("memory is read");
        assert_eq!(text, line(1) + &line(2) + "{\"line\":3,\"error\":\"no\"}\n");
    }

    #[tokio::test]
    async fn what_is_known_is_written_while_the_next_is_waited_for() {
        let (mut reader, output) = tokio::io::duplex(1 << 20);
        let printer = Printer::new(output);
        printer.perform("m".into(), Box::pin(async { committed(1) })).await;
        printer.perform("m".into(), Box::pin(std::future::pending())).await;
        let mut text = vec![0; line(1).len()];
        reader.read_exact(&mut text).await.expect("the first answer comes");
        assert_eq!(text, line(1).as_bytes());
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_is_noticed() {
        let (reader, output) = tokio::io::duplex(1);
        let printer = Printer::new(output);
        drop(reader);
        printer.perform("m".into(), Box::pin(async { committed(1) })).await;
        printer.broken().wait_for(|broken| *broken).await.expect("the writer lives");
        assert_eq!(printer.finish().await, Tally { answers: 1, bad: 0 });
    }
}
