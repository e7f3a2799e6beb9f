//! Committed actions in order, without holes.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use conflux_core::{Committed, Container, Failure, Index, Origin, Owed, Stamps};
use futures_core::Stream;

use crate::replica::{Local, News};
use crate::watch;

/// One committed action, and the state it led to.
pub struct Change<C: Container> {
    /// The state after the action. Keeping it makes the subscription copy the state for the next one.
    pub state: Arc<C::State>,
    /// The place before it.
    pub previous: Index,
    /// The action.
    pub action: Arc<C::Action>,
    /// Its place: always the one after `previous`.
    pub index: Index,
    /// Who performed it.
    pub origin: Origin,
    /// The clocks of its batch.
    pub stamps: Stamps,
}

/// What a subscriber hears.
pub enum Event<C: Container> {
    /// The next action.
    Change(Change<C>),
    /// The actions since the last event are not held any more (a snapshot came, or the subscriber was too slow): start
    /// again from this state. What follows goes on from `index`.
    Reset {
        /// The committed state.
        state: Arc<C::State>,
        /// Its place.
        index: Index,
    },
}

// By hand: the container itself need not be printable, nor its state.
impl<C: Container> fmt::Debug for Change<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { index, action, origin, stamps, .. } = self;
        let mut change = f.debug_struct("Change");
        change.field("index", index).field("action", action).field("origin", origin).field("stamps", stamps);
        change.finish_non_exhaustive()
    }
}

impl<C: Container> fmt::Debug for Event<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Change(change) => change.fmt(f),
            Event::Reset { index, .. } => f.debug_struct("Reset").field("index", index).finish_non_exhaustive(),
        }
    }
}

/// How many actions are fetched at once.
const FETCH: usize = 256;

/// A stream of events; ends when the node is closed.
///
/// It keeps a state of its own and takes it through each action when that is asked for, so every event shows exactly
/// the state that its action led to, however far behind the subscriber is.
pub struct Subscription<C: Container> {
    local: Arc<Local<C>>,
    news: watch::Receiver<News>,
    /// The last place told; `state` is the state there, once it is known.
    last: Index,
    state: Option<Arc<C::State>>,
    fetched: VecDeque<Committed<C>>,
}

impl<C: Container> Subscription<C> {
    /// From the present on.
    pub(crate) fn from_now(local: Arc<Local<C>>) -> Self {
        let news = local.news();
        let (last, state) = {
            let store = local.store();
            (store.index(), store.state().clone())
        };
        Subscription { local, news, last, state: Some(state), fetched: VecDeque::new() }
    }

    /// From the action after `last` on.
    pub(crate) fn from(local: Arc<Local<C>>, last: Index) -> Self {
        let news = local.news();
        Subscription { local, news, last, state: None, fetched: VecDeque::new() }
    }

    /// The next event; `None` once the node is closed.
    pub async fn next(&mut self) -> Option<Event<C>> {
        poll_fn(|context| self.poll_event(context)).await
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Event<C>>> {
        loop {
            if let Some(event) = self.ready() {
                return Poll::Ready(Some(event));
            }
            let closed = self.news.borrow().closed;
            // Looked at again after the last wake-up, so nothing that was published before the end is missed.
            match self.news.poll_changed(context) {
                Poll::Ready(Ok(())) => {}
                Poll::Pending if closed => return Poll::Ready(None),
                Poll::Ready(Err(watch::Gone)) => return Poll::Ready(None),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    fn ready(&mut self) -> Option<Event<C>> {
        if self.state.is_none() && !self.find_start()? {
            return Some(self.reset());
        }
        if self.fetched.is_empty() {
            match self.local.since(self.last, FETCH) {
                Owed::Nothing => return None,
                Owed::Reset => return Some(self.reset()),
                Owed::Changes(changes) => self.fetched = changes.into(),
            }
        }
        let change = self.fetched.pop_front()?;
        let state = self.state.as_mut().expect("it was found above");
        let container = self.local.store().container().clone();
        if change.reduce(&container, Arc::make_mut(state)).is_err() {
            // What passed in the store fails here: the reducer is not deterministic. The store's state is the truth.
            return Some(self.reset());
        }
        let previous = std::mem::replace(&mut self.last, change.index);
        Some(Event::Change(Change {
            state: state.clone(),
            previous,
            index: change.index,
            stamps: change.stamps(),
            action: change.action,
            origin: change.origin,
        }))
    }

    /// Finds the state at the place to start from: `None` while that has not come, `false` when it is gone.
    fn find_start(&mut self) -> Option<bool> {
        if self.local.store().index() < self.last {
            return None;
        }
        let Some((mut state, path)) = self.local.history(|history| history.path_to(self.last)) else {
            return Some(false);
        };
        let container = self.local.store().container().clone();
        for change in path {
            if change.reduce(&container, Arc::make_mut(&mut state)).is_err() {
                return Some(false);
            }
        }
        self.state = Some(state);
        Some(true)
    }

    fn reset(&mut self) -> Event<C> {
        let store = self.local.store();
        let (state, index) = (store.state().clone(), store.index());
        drop(store);
        self.fetched.clear();
        self.last = index;
        self.state = Some(state.clone());
        Event::Reset { state, index }
    }
}

impl<C: Container> Stream for Subscription<C> {
    type Item = Event<C>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Event<C>>> {
        self.poll_event(context)
    }
}

impl<C: Container> Unpin for Subscription<C> {}

/// Unsubscribes a callback when it is dropped.
#[must_use = "dropping the guard unsubscribes"]
pub struct Guard {
    task: tokio::task::JoinHandle<()>,
}

impl Guard {
    pub(crate) fn new<C: Container>(
        mut subscription: Subscription<C>,
        mut callback: impl FnMut(Event<C>) + Send + 'static,
    ) -> Self {
        let task = tokio::spawn(async move {
            while let Some(event) = subscription.next().await {
                if let Err(panic) = catch_unwind(AssertUnwindSafe(|| callback(event))) {
                    // Half-done, it cannot be called again; and its task alone would end without a word.
                    let failure = Failure::of_panic("a subscriber's callback", &*panic);
                    tracing::error!("{failure}; it is unsubscribed");
                    return;
                }
            }
        });
        Guard { task }
    }

    /// Unsubscribes now.
    pub fn unsubscribe(self) {}
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.task.abort();
    }
}
