//! What a perform comes to, and the future that tells it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use conflux_core::{CallNumber, Container, Failure, Incarnation, Index, Outcome, RequestId, SessionId};
use tokio::sync::oneshot;

use crate::core::Core;

/// A perform that succeeded: it is committed, durable, and visible on this node.
#[derive(Debug)]
pub struct Done<A> {
    /// The place of the action; for nothing to do, the place at which that was judged.
    pub index: Index,
    /// The action; `None` when there was nothing to do.
    pub action: Option<Arc<A>>,
}

impl<A> Clone for Done<A> {
    fn clone(&self) -> Self {
        Done { index: self.index, action: self.action.clone() }
    }
}

/// Why a perform did not succeed. [`Unknown`](PerformError::Unknown) leaves open whether it takes effect, and so does
/// [`Closed`](PerformError::Closed) with a request id.
#[derive(Debug, thiserror::Error)]
pub enum PerformError<R: fmt::Debug + fmt::Display> {
    /// The method refused, judged on a state that is committed.
    #[error("rejected: {rejection}")]
    Rejected {
        /// Why.
        rejection: Arc<R>,
        /// The place of the state it was judged on.
        index: Index,
    },
    /// The method or reducer broke: a bug in the container, or a limit.
    #[error("failed: {failure}")]
    Failed {
        /// How.
        failure: Arc<Failure>,
        /// The place of the state it was run on.
        index: Index,
    },
    /// It has not taken effect and never will.
    #[error("never proposed: {reason}")]
    NeverProposed {
        /// What it waited for, or what was full.
        reason: String,
    },
    /// The deadline passed while it was on its way: it may or may not take effect. Ask again with
    /// [`Node::outcome`](crate::Node::outcome).
    #[error("unknown: no answer before the deadline; ask again by request id {request_id}")]
    Unknown {
        /// What to ask again by.
        request_id: RequestId,
    },
    /// It is committed, but the deadline passed before this node's own state had come so far: it is behind. What it came
    /// to is told by [`Node::outcome`](crate::Node::outcome), here later or on any other node now.
    #[error("committed, judged at {index}, but not yet visible on this node; ask again by request id {request_id}")]
    NotVisible {
        /// What to ask by.
        request_id: RequestId,
        /// The place of its action; of what made none, the place it was judged at.
        index: Index,
    },
    /// The request id was used before, for another method or other arguments.
    #[error("request id {request_id} was used for another call")]
    Conflict {
        /// That id.
        request_id: RequestId,
    },
    /// The node is closed. What was on its way may or may not take effect.
    #[error("the node is closed")]
    Closed {
        /// What to ask another node by, if the call had left this one.
        request_id: Option<RequestId>,
    },
}

impl<R: fmt::Debug + fmt::Display> Clone for PerformError<R> {
    fn clone(&self) -> Self {
        match self {
            PerformError::Rejected { rejection, index } => {
                PerformError::Rejected { rejection: rejection.clone(), index: *index }
            }
            PerformError::Failed { failure, index } => PerformError::Failed { failure: failure.clone(), index: *index },
            PerformError::NeverProposed { reason } => PerformError::NeverProposed { reason: reason.clone() },
            PerformError::Unknown { request_id } => PerformError::Unknown { request_id: request_id.clone() },
            PerformError::NotVisible { request_id, index } => {
                PerformError::NotVisible { request_id: request_id.clone(), index: *index }
            }
            PerformError::Conflict { request_id } => PerformError::Conflict { request_id: request_id.clone() },
            PerformError::Closed { request_id } => PerformError::Closed { request_id: request_id.clone() },
        }
    }
}

/// What a perform of a container's method comes to.
pub type Performed<C> = Result<Done<<C as Container>::Action>, PerformError<<C as Container>::Rejection>>;

/// The answer to a call, from what the log says became of it.
pub(crate) fn answer<C: Container>(outcome: Outcome<C>, request_id: impl FnOnce() -> RequestId) -> Performed<C> {
    match outcome {
        Outcome::Committed { index, action } => Ok(Done { index, action: Some(action) }),
        Outcome::Nothing { index } => Ok(Done { index, action: None }),
        Outcome::Rejected { index, rejection } => Err(PerformError::Rejected { rejection, index }),
        Outcome::Failed { index, failure } => Err(PerformError::Failed { failure, index }),
        Outcome::Void => Err(PerformError::NeverProposed { reason: "it was given up before it was decided".into() }),
        Outcome::Conflict => Err(PerformError::Conflict { request_id: request_id() }),
    }
}

/// What the leader made of a call, before it is committed.
pub enum Prediction<C: Container> {
    /// It makes this action.
    Action(Arc<C::Action>),
    /// There is nothing to do.
    Nothing,
    /// It is refused.
    Rejected(Arc<C::Rejection>),
    /// The method or reducer broke.
    Failed(Arc<Failure>),
}

// By hand: the container itself need not be printable.
impl<C: Container> fmt::Debug for Prediction<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Prediction::Action(action) => f.debug_tuple("Action").field(action).finish(),
            Prediction::Nothing => f.write_str("Nothing"),
            Prediction::Rejected(rejection) => f.debug_tuple("Rejected").field(rejection).finish(),
            Prediction::Failed(failure) => f.debug_tuple("Failed").field(failure).finish(),
        }
    }
}

/// A method to be performed: a future that does nothing until it is polled or [`start`](Perform::start)ed. From then on
/// it has its place in the order of this node's calls, and dropping it only stops listening.
#[must_use = "a perform does nothing until it is awaited or started"]
pub struct Perform<C: Container> {
    state: State<C>,
}

enum State<C: Container> {
    Waiting(Wish<C>),
    Started(Started<C>),
    Over,
}

/// A call that has not been given its place yet.
pub(crate) struct Wish<C: Container> {
    pub(crate) core: Arc<Core<C>>,
    pub(crate) method: C::Method,
    pub(crate) timeout: Option<Duration>,
    pub(crate) request_id: Option<Arc<str>>,
}

impl<C: Container> Perform<C> {
    pub(crate) fn new(core: Arc<Core<C>>, method: C::Method) -> Self {
        Perform { state: State::Waiting(Wish { core, method, timeout: None, request_id: None }) }
    }

    fn wish(&mut self) -> &mut Wish<C> {
        match &mut self.state {
            State::Waiting(wish) => wish,
            _ => panic!("a perform that was polled has its place already: set its options before"),
        }
    }

    /// How long to wait for the outcome, instead of the node's default deadline.
    ///
    /// # Panics
    /// When the future was polled already.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.wish().timeout = Some(timeout);
        self
    }

    /// Names the call: the same id with the same method is performed once, from whichever node and however often.
    /// Remembered for as long as the cluster's [`Retention`](conflux_core::Retention) says after it was decided: five
    /// minutes unless told otherwise.
    ///
    /// # Panics
    /// When the future was polled already.
    pub fn request_id(mut self, id: impl Into<Arc<str>>) -> Self {
        self.wish().request_id = Some(id.into());
        self
    }

    /// Gives the call its place now, and lets it run whether or not the answer is waited for.
    pub fn start(self) -> Started<C> {
        match self.state {
            State::Waiting(wish) => Core::begin(wish, None),
            State::Started(started) => started,
            State::Over => panic!("a perform that is over cannot be started"),
        }
    }

    /// Answers as soon as the leader has decided, with a handle to await the commit: for optimistic user interfaces.
    /// The prediction may not come true; the handle's outcome is what counts.
    ///
    /// # Errors
    /// When the call came to nothing before the leader decided it.
    pub async fn proposed(self) -> Result<(Prediction<C>, Started<C>), PerformError<C::Rejection>> {
        let State::Waiting(wish) = self.state else { panic!("a perform that was polled has its place already") };
        let (sender, predicted) = oneshot::channel();
        let mut started = Core::begin(wish, Some(sender));
        tokio::select! {
            biased;
            Ok(prediction) = predicted => Ok((prediction, started)),
            done = &mut started => {
                // Decided and committed before the prediction came: then it is no prediction any more.
                let prediction = match &done {
                    Ok(Done { action: Some(action), .. }) => Prediction::Action(action.clone()),
                    Ok(Done { action: None, .. }) => Prediction::Nothing,
                    Err(PerformError::Rejected { rejection, .. }) => Prediction::Rejected(rejection.clone()),
                    Err(PerformError::Failed { failure, .. }) => Prediction::Failed(failure.clone()),
                    Err(error) => return Err(error.clone()),
                };
                Ok((prediction, Started { name: started.name, answer: Listening::Ready(Some(done)) }))
            }
        }
    }
}

impl<C: Container> Future for Perform<C> {
    type Output = Performed<C>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Performed<C>> {
        if let State::Waiting(_) = self.state {
            let State::Waiting(wish) = std::mem::replace(&mut self.state, State::Over) else { unreachable!() };
            self.state = State::Started(Core::begin(wish, None));
        }
        let State::Started(started) = &mut self.state else { panic!("a perform was polled after its end") };
        let answer = Pin::new(started).poll(context);
        if answer.is_ready() {
            self.state = State::Over;
        }
        answer
    }
}

// No field is pinned in place: all are moved freely.
impl<C: Container> Unpin for Perform<C> {}

/// A call that has its place. Dropping it only stops listening.
pub struct Started<C: Container> {
    name: Name<C>,
    answer: Listening<C>,
}

/// What a call is named by.
enum Name<C: Container> {
    /// It never got a place.
    None,
    Known(RequestId),
    /// Made when it is asked for. Most never are, and one more to count the node's name is one more that all threads
    /// count on.
    Call {
        core: Arc<Core<C>>,
        place: Place,
        id: OnceLock<RequestId>,
    },
}

/// Where a call is among those of its node.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) incarnation: Incarnation,
    /// The number of the session.
    pub(crate) session: u64,
    pub(crate) number: CallNumber,
}

impl<C: Container> Name<C> {
    fn get(&self) -> Option<&RequestId> {
        match self {
            Name::None => None,
            Name::Known(id) => Some(id),
            Name::Call { core, place: Place { incarnation, session, number }, id } => Some(id.get_or_init(|| {
                let node = core.me().name.clone();
                RequestId::Call(SessionId { node, incarnation: *incarnation, number: *session }, *number)
            })),
        }
    }
}

enum Listening<C: Container> {
    For(oneshot::Receiver<Performed<C>>),
    Ready(Option<Performed<C>>),
}

impl<C: Container> Started<C> {
    /// One that was given its place, and goes by the id that its caller chose, if he did.
    pub(crate) fn waiting(
        core: Arc<Core<C>>,
        place: Place,
        chosen: Option<Arc<str>>,
        answer: oneshot::Receiver<Performed<C>>,
    ) -> Self {
        let name = match chosen {
            Some(id) => Name::Known(RequestId::Chosen(id)),
            None => Name::Call { core, place, id: OnceLock::new() },
        };
        Started { name, answer: Listening::For(answer) }
    }

    /// One that never got a place.
    pub(crate) fn refused(error: PerformError<C::Rejection>) -> Self {
        Started { name: Name::None, answer: Listening::Ready(Some(Err(error))) }
    }

    /// What the call can be asked for again by; `None` when it never got a place.
    #[must_use]
    pub fn request_id(&self) -> Option<&RequestId> {
        self.name.get()
    }
}

impl<C: Container> Future for Started<C> {
    type Output = Performed<C>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Performed<C>> {
        let this = &mut *self;
        match &mut this.answer {
            Listening::For(answer) => Pin::new(answer).poll(context).map(|answer| {
                answer.unwrap_or_else(|_| Err(PerformError::Closed { request_id: this.name.get().cloned() }))
            }),
            Listening::Ready(answer) => Poll::Ready(answer.take().expect("a call was polled after its end")),
        }
    }
}

impl<C: Container> Unpin for Started<C> {}
