//! Linearizable reads: those that wait at the same time share a round to the leader.
//!
//! A read index that was asked for after a read was called tells what the read must see (Ongaro's thesis, 6.4). Reads
//! that come while a round is under way wait for the next one, which begins after them.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conflux_core::Container;
use futures_util::FutureExt;
use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout, timeout_at};

use crate::core::Core;
use crate::message::kind;
use crate::raft::{NotLeading, View, decode_read_index};
use crate::watch;
use crate::wire::Head;

/// A read that could not be served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// No leader answered before the deadline.
    #[error("no leader answered within {0:?}: {1}")]
    Deadline(Duration, String),
    /// The node is closed.
    #[error("the node is closed")]
    Closed,
}

/// The reads that wait for the next round.
#[derive(Default)]
pub(crate) struct Reads {
    waiting: Mutex<Waiting>,
    ring: Notify,
}

#[derive(Default)]
struct Waiting {
    readers: Vec<oneshot::Sender<u64>>,
    /// There are no rounds any more.
    closed: bool,
}

impl Reads {
    /// Waits for the read index of a round that begins after this was called; `None` when the node is closed.
    fn join(&self) -> oneshot::Receiver<u64> {
        let (sender, receiver) = oneshot::channel();
        let mut waiting = self.lock();
        if !waiting.closed {
            waiting.readers.push(sender);
            drop(waiting);
            self.ring.notify_one();
        }
        receiver
    }

    /// Ends all that wait, and all that come.
    pub(crate) fn close(&self) {
        let ended = std::mem::replace(&mut *self.lock(), Waiting { readers: Vec::new(), closed: true });
        // Whoever is woken may come again at once.
        drop(ended);
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those who wait for the round that begins when this ends, those of a round that failed included; waits until
    /// there is one. Those who have given up are not waited for.
    async fn next(&self, mut readers: Vec<oneshot::Sender<u64>>) -> Vec<oneshot::Sender<u64>> {
        loop {
            readers.append(&mut self.lock().readers);
            readers.retain(|reader| !reader.is_closed());
            if !readers.is_empty() {
                return readers;
            }
            self.ring.notified().await;
        }
    }
}

impl<C: Container> Core<C> {
    /// The task. It ends with the node: for each read to look by itself whether that has stopped would cost as much again.
    pub(crate) async fn serve_reads(self: Arc<Self>) {
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            biased;
            // Closing ends the tasks that would answer, and a replica that parted and stops is never mended.
            _ = stopped.find(|stopped| stopped.as_ref().map(drop)) => {}
            () = self.go_round() => {}
        }
        self.reads.close();
    }

    async fn go_round(&self) {
        let mut watcher = self.engine.watch();
        let mut failed = Vec::new();
        loop {
            let readers = self.reads.next(std::mem::take(&mut failed)).await;
            match self.read_index(watcher.view()).await {
                Ok(index) => answer(readers, index),
                Err(NotLeading(_)) => {
                    failed = readers;
                    // Another leader may be known in a moment.
                    let changed = timeout(self.options.timing.heartbeat, watcher.changed()).await;
                    if matches!(changed, Ok(Err(watch::Gone))) {
                        return;
                    }
                }
            }
        }
    }

    /// Ends when this node's published state holds everything that was committed anywhere when this began.
    pub(crate) async fn read_barrier(&self, patience: Duration) -> Result<(), ReadError> {
        let deadline = Instant::now() + patience;
        let reached = self.reach_read_index(patience, deadline).await;
        if reached == Err(ReadError::Closed) {
            // A node that stops says why when it has recorded what it held; whoever is told so here can ask then.
            let mut stopped = self.stopped.subscribe();
            let _ = timeout_at(deadline, stopped.find(|stopped| stopped.as_ref().map(drop))).await;
        }
        reached
    }

    async fn reach_read_index(&self, patience: Duration, deadline: Instant) -> Result<(), ReadError> {
        let index = match timeout_at(deadline, self.reads.join()).await {
            Ok(Ok(index)) => index,
            Ok(Err(_)) => return Err(ReadError::Closed),
            Err(_) => return Err(ReadError::Deadline(patience, self.waiting_for())),
        };
        let mut applied = pin!(self.engine.wait_applied(index));
        // Mostly it is there.
        if let Some(applied) = (&mut applied).now_or_never() {
            return applied.map_err(|_| ReadError::Closed);
        }
        let mut stopped = self.stopped.subscribe();
        tokio::select! {
            biased;
            _ = stopped.find(|stopped| stopped.as_ref().map(drop)) => Err(ReadError::Closed),
            applied = timeout_at(deadline, applied) => match applied {
                Ok(Ok(())) => Ok(()),
                Ok(Err(_)) => Err(ReadError::Closed),
                Err(_) if self.engine.is_parted() => {
                    Err(ReadError::Deadline(patience, "this node's state is being replaced".into()))
                }
                Err(_) => Err(ReadError::Deadline(patience, "this node is behind the leader".into())),
            },
        }
    }

    async fn read_index(&self, view: View) -> Result<u64, NotLeading> {
        let patience = self.options.timing.election_timeout_max;
        let silent = |_| NotLeading("the leader did not answer".into());
        match view.leader {
            None => Err(NotLeading("there is no leader".into())),
            // With a bound: a leader without a majority waits for one as long as it leads.
            Some(leader) if leader == *self.me() => {
                timeout(patience, self.engine.read_index()).await.map_err(silent)?
            }
            Some(leader) => {
                let head = Head { kind: kind::READ_INDEX, group: 0, cluster: self.cluster() };
                let answer = timeout(patience, self.wire.request(&leader.name, head, Bytes::new())).await;
                let body = answer.map_err(silent)?.map_err(|error| NotLeading(error.to_string()))?;
                decode_read_index(&body).map_err(|error| NotLeading(error.to_string()))
            }
        }
    }
}

fn answer(readers: Vec<oneshot::Sender<u64>>, index: u64) {
    for reader in readers {
        // It may have given up meanwhile.
        let _ = reader.send(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn reads_that_wait_together_share_a_round_which_begins_after_them() {
        let reads = Reads::default();
        let first = reads.join();
        let round = reads.next(Vec::new()).await;
        // They come while the first round is under way, whose index may be of before them.
        let others: Vec<_> = (0..100).map(|_| reads.join()).collect();
        answer(round, 1);
        assert_eq!(first.await, Ok(1));
        // The second round fails, and is run again for the same ones and one more.
        let round = reads.next(Vec::new()).await;
        let late = reads.join();
        let round = reads.next(round).await;
        assert_eq!(round.len(), 101);
        answer(round, 3);
        for read in others.into_iter().chain([late]) {
            assert_eq!(read.await, Ok(3));
        }
    }

    #[tokio::test]
    async fn who_waits_and_who_comes_is_told_that_there_are_no_rounds_any_more() {
        let reads = Reads::default();
        let waits = reads.join();
        reads.close();
        assert!(waits.await.is_err());
        assert!(reads.join().await.is_err());
    }

    #[tokio::test]
    async fn nobody_is_asked_for_those_who_gave_up() {
        let reads = Reads::default();
        drop(reads.join());
        assert!(reads.next(Vec::new()).now_or_never().is_none());
    }
}
