//! Requests that wait for their answer, and the answering of requests.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::channel::Name;

use super::{Head, Role, Shared, Wire};

/// The longest reason that a refusal carries, in bytes. Longer ones are cut.
pub const REFUSAL_BYTES_MAX: usize = 4096;

/// Why a request has no answer. That its answer was lost on the way does not show here: the caller's timeout tells.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The other node refused it. The reason is the other node's.
    #[error("the other node refused the request: {0}")]
    Refused(String),
    /// This node's wire was closed before an answer came. Whether the other node took the request is not known.
    #[error("the node was closed before an answer came: open it again to ask again")]
    Closed,
    /// Too many requests wait already. This one was not sent.
    #[error(
        "{limit} requests wait for an answer already, and this one was not sent: wait for some, or raise requests_max"
    )]
    Overloaded {
        /// The most that may wait.
        limit: usize,
    },
    /// The body is over the limit. The request was not sent.
    #[error("a request has at most {limit} bytes, but {len} came: send less, or raise message_bytes_max on all nodes")]
    TooLarge {
        /// The body's length.
        len: usize,
        /// The longest allowed.
        limit: usize,
    },
}

/// A request that was sent. Awaiting it gives the answer; dropping it forgets the request.
#[must_use = "dropping it forgets the request; use `Wire::post` where no answer is needed"]
pub struct Pending {
    state: PendingState,
}

/// How to answer a request. Dropping it answers nothing: the asker then learns only by its timeout, as when the answer is
/// lost, and so never takes a failure in here for a considered refusal.
#[must_use = "the asker waits until its timeout"]
pub struct Reply {
    pub(super) wire: Wire,
    pub(super) to: Name,
    pub(super) head: Head,
    pub(super) id: u64,
}

enum PendingState {
    Failed(Option<RequestError>),
    /// Weak, so that a forgotten request does not keep the node attached.
    Waiting {
        id: u64,
        answer: Answer,
        wire: Weak<Shared>,
    },
}

impl Pending {
    pub(super) fn failed(error: RequestError) -> Pending {
        Pending { state: PendingState::Failed(Some(error)) }
    }

    pub(super) fn waiting(id: u64, answer: Answer, wire: Weak<Shared>) -> Pending {
        Pending { state: PendingState::Waiting { id, answer, wire } }
    }
}

impl Future for Pending {
    type Output = Result<Bytes, RequestError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.state {
            PendingState::Failed(error) => Poll::Ready(Err(error.take().expect("polled after it was ready"))),
            // The sending half goes unused only when the wire itself is gone.
            PendingState::Waiting { answer, .. } => {
                Poll::Ready(ready!(Pin::new(answer).poll(cx)).unwrap_or(Err(RequestError::Closed)))
            }
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        if let PendingState::Waiting { id, wire, .. } = &self.state
            && let Some(wire) = wire.upgrade()
        {
            wire.requests.forget(*id);
        }
    }
}

impl fmt::Debug for Pending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.state {
            PendingState::Failed(error) => f.debug_tuple("Pending").field(error).finish(),
            PendingState::Waiting { id, .. } => f.debug_struct("Pending").field("id", id).finish_non_exhaustive(),
        }
    }
}

impl Reply {
    /// Answer. An answer over the limit becomes a refusal that says so.
    pub fn send(self, body: Bytes) {
        let (len, limit) = (body.len(), self.wire.shared.limits.message_bytes_max);
        if len > limit {
            self.wire.shared.counters.unsent_too_large();
            let advice = "ask for less, or raise message_bytes_max on all nodes";
            self.refuse(&format!("the answer has {len} bytes, over the limit of {limit}: {advice}"));
            return;
        }
        self.wire.shared.send(Some(&self.to), Role::Response, self.head, self.id, body);
    }

    /// Refuse, with a reason for people. What is over [`REFUSAL_BYTES_MAX`] is cut.
    pub fn refuse(self, message: &str) {
        let limit = REFUSAL_BYTES_MAX.min(self.wire.shared.limits.message_bytes_max);
        let message = &message[..message.floor_char_boundary(limit)];
        let body = Bytes::copy_from_slice(message.as_bytes());
        self.wire.shared.send(Some(&self.to), Role::Refusal, self.head, self.id, body);
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply")
            .field("to", &self.to)
            .field("head", &self.head)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl RequestError {
    /// The error for a refusal that came with this body, which may be anything.
    pub(super) fn refused(body: &[u8]) -> RequestError {
        let body = &body[..body.len().min(REFUSAL_BYTES_MAX)];
        RequestError::Refused(String::from_utf8_lossy(body).into_owned())
    }
}

/// The requests that wait for their answer.
pub(super) struct Requests {
    limit: usize,
    table: Mutex<Table>,
}

type Answer = oneshot::Receiver<Result<Bytes, RequestError>>;

#[derive(Default)]
struct Table {
    closed: bool,
    waiting: BTreeMap<u64, Waiting>,
}

struct Waiting {
    /// The node that was asked: only it may answer.
    to: Name,
    answer: oneshot::Sender<Result<Bytes, RequestError>>,
}

impl Requests {
    pub(super) fn new(limit: usize) -> Self {
        Requests { limit, table: Mutex::default() }
    }

    pub(super) fn begin(&self, id: u64, to: Name) -> Result<Answer, RequestError> {
        let mut table = self.table();
        if table.closed {
            return Err(RequestError::Closed);
        }
        if table.waiting.len() >= self.limit {
            return Err(RequestError::Overloaded { limit: self.limit });
        }
        let (answer, receiver) = oneshot::channel();
        table.waiting.insert(id, Waiting { to, answer });
        Ok(receiver)
    }

    /// Whether an answer with this id is waited for from this node.
    pub(super) fn expects(&self, id: u64, from: &Name) -> bool {
        self.table().waiting.get(&id).is_some_and(|waiting| waiting.to == *from)
    }

    /// Give a request its answer. False if none waits for it from this node.
    pub(super) fn end(&self, id: u64, from: &Name, answer: Result<Bytes, RequestError>) -> bool {
        let mut table = self.table();
        if table.waiting.get(&id).is_none_or(|waiting| waiting.to != *from) {
            return false;
        }
        let waiting = table.waiting.remove(&id);
        // Answering wakes the asker, who may come back here.
        drop(table);
        waiting.is_some_and(|waiting| waiting.answer.send(answer).is_ok())
    }

    pub(super) fn forget(&self, id: u64) {
        let forgotten = self.table().waiting.remove(&id);
        drop(forgotten);
    }

    pub(super) fn len(&self) -> usize {
        self.table().waiting.len()
    }

    pub(super) fn close(&self) {
        let mut table = self.table();
        table.closed = true;
        let waiting = std::mem::take(&mut table.waiting);
        drop(table);
        for (_, waiting) in waiting {
            // An asker that has just gone does not need it.
            let _ = waiting.answer.send(Err(RequestError::Closed));
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
