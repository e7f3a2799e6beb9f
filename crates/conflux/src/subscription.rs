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

/// The committed actions in order, or the present where they are not held any more.
pub(crate) struct Actions<C: Container> {
    local: Arc<Local<C>>,
    news: watch::Receiver<News>,
    /// The last place told.
    last: Index,
    /// How often the history had been reset when it was. None while this node has told nothing yet: the place is from
    /// elsewhere.
    resets: Option<u64>,
    fetched: VecDeque<Committed<C>>,
}

/// The next of [`Actions`].
pub(crate) enum Next<C: Container> {
    Action(Committed<C>),
    Reset { state: Arc<C::State>, index: Index },
}

impl<C: Container> Actions<C> {
    /// From the action after `last` on.
    pub(crate) fn from(local: Arc<Local<C>>, last: Index) -> Self {
        Actions { news: local.news(), local, last, resets: None, fetched: VecDeque::new() }
    }

    /// From the present on, which is given, too.
    pub(crate) fn from_now(local: Arc<Local<C>>) -> (Self, Arc<C::State>) {
        let news = local.news();
        let (state, last, resets) = local.present();
        (Actions { local, news, last, resets: Some(resets), fetched: VecDeque::new() }, state)
    }

    /// The next one; `None` once the node is closed.
    pub(crate) fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Next<C>>> {
        loop {
            if let Some(next) = self.ready() {
                return Poll::Ready(Some(next));
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

    fn ready(&mut self) -> Option<Next<C>> {
        if self.fetched.is_empty() {
            let (owed, resets) = self.local.since(self.last, self.resets, FETCH);
            match owed {
                // From here on it was told here: another state at that place has to be said.
                Owed::Nothing => {
                    self.resets = self.resets.or(resets);
                    return None;
                }
                Owed::Reset => {
                    let (state, index) = self.reset();
                    return Some(Next::Reset { state, index });
                }
                Owed::Changes(changes) => (self.fetched, self.resets) = (changes.into(), resets),
            }
        }
        let action = self.fetched.pop_front()?;
        self.last = action.index;
        Some(Next::Action(action))
    }

    /// Goes on from the present.
    fn reset(&mut self) -> (Arc<C::State>, Index) {
        self.fetched.clear();
        let (state, index, resets) = self.local.present();
        (self.last, self.resets) = (index, Some(resets));
        (state, index)
    }
}

/// A stream of events; ends when the node is closed.
///
/// It keeps a state of its own and takes it through each action when that is asked for, so every event shows exactly
/// the state that its action led to, however far behind the subscriber is.
pub struct Subscription<C: Container> {
    actions: Actions<C>,
    /// The state at the last place told, once it is known.
    state: Option<Arc<C::State>>,
}

impl<C: Container> Subscription<C> {
    /// From the present on.
    pub(crate) fn from_now(local: Arc<Local<C>>) -> Self {
        let (actions, state) = Actions::from_now(local);
        Subscription { actions, state: Some(state) }
    }

    /// From the action after `last` on.
    pub(crate) fn from(local: Arc<Local<C>>, last: Index) -> Self {
        Subscription { actions: Actions::from(local, last), state: None }
    }

    /// The next event; `None` once the node is closed.
    pub async fn next(&mut self) -> Option<Event<C>> {
        poll_fn(|context| self.poll_event(context)).await
    }

    fn poll_event(&mut self, context: &mut Context<'_>) -> Poll<Option<Event<C>>> {
        let previous = self.actions.last;
        self.actions.poll_next(context).map(|next| {
            let (state, index) = match next? {
                Next::Action(action) => match self.change(previous, action) {
                    Some(change) => return Some(Event::Change(change)),
                    None => self.actions.reset(),
                },
                Next::Reset { state, index } => (state, index),
            };
            self.state = Some(state.clone());
            Some(Event::Reset { state, index })
        })
    }

    /// What an action led to; `None` when that cannot be told any more.
    fn change(&mut self, previous: Index, action: Committed<C>) -> Option<Change<C>> {
        let local = &self.actions.local;
        let mut state = match self.state.take() {
            Some(state) => state,
            None => local.state_at(previous)?.0,
        };
        // What passed in the store may fail here: then the reducer is not deterministic, and the store's state is the truth.
        action.reduce(&local.container(), Arc::make_mut(&mut state)).ok()?;
        self.state = Some(state.clone());
        Some(Change {
            state,
            previous,
            index: action.index,
            stamps: action.stamps(),
            origin: action.origin(),
            action: action.action,
        })
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
        let task = crate::process::spawn(async move {
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
