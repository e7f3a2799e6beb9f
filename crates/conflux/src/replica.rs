//! What a node holds: the store, its recent past, and whoever waits for news of it.

use std::any::Any;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};

use conflux_core::{Applied, Batch, Committed, Container, History, Index, Owed, Roster, Store};

use tokio::sync::Notify;

use crate::aside::Aside;
use crate::comparison::Sample;
use crate::message::Place;
use crate::origin::Origin;
use crate::raft::{Install, Proposal, Replica, Saved, Verdict};
use crate::stop::Stop;
use crate::trace;
use crate::watch;

/// How far the published state is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News {
    pub(crate) index: Index,
    pub(crate) closed: bool,
}

/// Locks are taken in this order: store, history, origin.
pub(crate) struct Local<C: Container> {
    store: RwLock<Store<C>>,
    history: Mutex<History<C>>,
    origin: Arc<Origin<C>>,
    published: watch::Sender<News>,
    stopped: OnceLock<Stop>,
    applying: Aside,
    /// The latest state that is to be compared with those of others.
    sample: Mutex<Option<Sample<C>>>,
    /// Rings when there is one.
    pub(crate) sampled: Notify,
    /// Who is meant to vote.
    roster: watch::Sender<Roster>,
    /// Rings whenever batches were applied, whether or not they changed the state: the log has grown.
    pub(crate) applied: Notify,
}

impl<C: Container> Local<C> {
    pub(crate) fn new(container: Arc<C>, origin: Arc<Origin<C>>, history_max: usize) -> Self {
        let store = Store::new(container);
        let history = History::new(store.index(), store.state().clone(), history_max);
        let (published, _) = watch::channel(News { index: store.index(), closed: false });
        Local {
            store: RwLock::new(store),
            history: Mutex::new(history),
            origin,
            published,
            sample: Mutex::default(),
            sampled: Notify::new(),
            roster: watch::channel(Roster::default()).0,
            stopped: OnceLock::new(),
            applying: Aside::default(),
            applied: Notify::new(),
        }
    }

    pub(crate) fn store(&self) -> RwLockReadGuard<'_, Store<C>> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the engine's tasks apply, and nobody else.
    pub(crate) fn let_go_aside(&self) {
        self.applying.let_go();
    }

    /// Why nothing can be applied any more.
    pub(crate) fn stopped(&self) -> Option<Stop> {
        self.stopped.get().cloned()
    }

    /// The container.
    pub(crate) fn container(&self) -> Arc<C> {
        self.store().container().clone()
    }

    /// The place of the published state.
    pub(crate) fn index(&self) -> Index {
        self.published.borrow().index
    }

    /// What is to be compared, if it was not taken yet.
    pub(crate) fn take_sample(&self) -> Option<Sample<C>> {
        self.sample.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// The state as it was at a place, and the action that led there; `None` when that past is not held, or has not come.
    pub(crate) fn state_at(&self, index: Index) -> Option<(Arc<C::State>, Option<Committed<C>>)> {
        let (mut state, path) = self.history(|history| history.path_to(index))?;
        let container = self.container();
        for change in &path {
            change.reduce(&container, Arc::make_mut(&mut state)).ok()?;
        }
        Some((state, path.into_iter().next_back()))
    }

    /// Runs `look` on the recent past.
    pub(crate) fn history<R>(&self, look: impl FnOnce(&History<C>) -> R) -> R {
        look(&self.history.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What comes after an index that a subscriber has seen.
    pub(crate) fn since(&self, last: Index, max: usize) -> Owed<C> {
        self.history(|history| history.since(last, max))
    }

    /// Waits for news.
    pub(crate) fn news(&self) -> watch::Receiver<News> {
        self.published.subscribe()
    }

    /// Waits on who is meant to vote.
    pub(crate) fn watch_roster(&self) -> watch::Receiver<Roster> {
        self.roster.subscribe()
    }

    fn publish_roster(&self, roster: &Roster) {
        self.roster.modify(|known| {
            let news = known != roster;
            if news {
                known.clone_from(roster);
            }
            news
        });
    }

    fn publish(&self, index: Index) {
        self.published.modify(|news| {
            news.index = index;
            true
        });
    }

    /// Nothing will change any more.
    pub(crate) fn close(&self) {
        self.published.modify(|news| !std::mem::replace(&mut news.closed, true));
    }

    /// The state with everything on top that fits the chain.
    pub(crate) fn ahead(&self, uncommitted: &[Proposal]) -> Store<C> {
        let mut store = self.store().clone();
        for proposal in uncommitted {
            // What cannot be read or applied stops the node when it is committed; here it only is not shown.
            let Ok(batch) = batch::<C>(proposal, Proposal::made) else { break };
            if store.apply(&batch, |_, _, _| {}).is_err() {
                break;
            }
        }
        store
    }
}

/// The batch of a proposal: as it was made here, or decoded.
fn batch<C: Container>(
    proposal: &Proposal,
    made: impl FnOnce(&Proposal) -> Option<Arc<dyn Any + Send + Sync>>,
) -> Result<Arc<Batch<C>>, Stop> {
    match made(proposal).map(Arc::downcast::<Batch<C>>) {
        Some(Ok(batch)) => Ok(batch),
        _ => Ok(Arc::new(Batch::decode(&proposal.bytes)?)),
    }
}

impl<C: Container> Replica for Local<C> {
    fn apply(&self, proposals: &[Proposal]) -> Result<Vec<Verdict>, Stop> {
        let long = self.store().container().may_take_long();
        // The engine stops on an error and tells it in its own words; these are ours.
        self.applying.run(long, || self.try_apply(proposals)).inspect_err(|stop| {
            let _ = self.stopped.set(stop.clone());
        })
    }

    fn save(&self) -> Saved {
        let store = self.store().clone();
        Box::new(move || Ok(store.save()?))
    }

    fn restore(self: Arc<Self>, bytes: &[u8]) -> Result<Install, Stop> {
        let container = self.store().container().clone();
        let restored = Store::restore(container, bytes).map_err(Stop::from).inspect_err(|stop| {
            let _ = self.stopped.set(stop.clone());
        })?;
        Ok(Box::new(move || self.install(restored)))
    }
}

impl<C: Container> Local<C> {
    fn try_apply(&self, proposals: &[Proposal]) -> Result<Vec<Verdict>, Stop> {
        // Decoded before the lock is taken: readers wait for reducers only.
        let batches = proposals
            .iter()
            .map(|proposal| batch::<C>(proposal, Proposal::take_made))
            .collect::<Result<Vec<_>, _>>()?;
        let mut verdicts = Vec::with_capacity(batches.len());
        let mut resolved = Vec::new();
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let before = store.index();
        let mut changes = Vec::new();
        for batch in &batches {
            let mine = self.origin.key(&store);
            if batch.header.compare && batch.header.prev == store.head() {
                let place = Place { batch: batch.header.id, index: store.index() };
                let sample = Sample { place, state: store.state().clone() };
                *self.sample.lock().unwrap_or_else(PoisonError::into_inner) = Some(sample);
                self.sampled.notify_one();
            }
            let applied = store.apply(batch, |session, number, outcome| {
                if Some(session) == mine {
                    resolved.push((number, outcome.clone()));
                }
            })?;
            verdicts.push(match applied {
                Applied::Skipped => Verdict::Skipped,
                Applied::Changes(new) => {
                    trace::applied(self.origin.node(), batch, &store);
                    changes.extend(new);
                    if self.origin.key(&store) != mine {
                        // First what the session came to: a run that decides its last calls may also let it expire,
                        // and then the numbers begin anew.
                        self.origin.resolve(std::mem::take(&mut resolved));
                        self.origin.reconcile(&store, false);
                    }
                    Verdict::Applied
                }
            });
        }
        let index = store.index();
        self.history.lock().unwrap_or_else(PoisonError::into_inner).extend(changes, store.state());
        self.publish_roster(store.roster());
        drop(store);
        // Only now: whoever is told of a success sees it in the state.
        self.origin.resolve(resolved);
        if index != before {
            self.publish(index);
        }
        self.applied.notify_one();
        Ok(verdicts)
    }

    fn install(&self, restored: Store<C>) {
        let index = restored.index();
        {
            let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
            let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
            history.reset(index, restored.state().clone());
            self.publish_roster(restored.roster());
            *store = restored;
        }
        self.origin.reconcile(&self.store(), true);
        self.publish(index);
    }
}
