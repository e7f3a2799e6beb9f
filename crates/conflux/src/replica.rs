//! What a node holds: the store, its recent past, and whoever waits for news of it.

use std::any::Any;
use std::io::Read;
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use conflux_core::bugs::{self, Bug};
use conflux_core::{Applied, Batch, Code, Committed, Container, History, Index, Owed, Roster, Store};

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::aside::Aside;
use crate::comparison::Sample;
use crate::message::Place;
use crate::metrics::Histogram;
use crate::origin::Origin;
use crate::raft::{Install, Proposal, Replica, Saved, Verdict};
use crate::stop::Stop;
use crate::trace;
use crate::watch;
use crate::watchdog::Watchdog;

/// A state of the past, and the action that led to it.
type Past<C> = (Arc<<C as Container>::State>, Option<Committed<C>>);

/// Actions of so many bytes are held for subscribers, and for those who ask for the past.
const HISTORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// A copy of the state that takes so long is told: that much nobody is answered.
const COPY_TOLD: Duration = Duration::from_millis(50);

/// Readers wait for reducers about so long.
const HOLD_MAX: Duration = Duration::from_millis(5);

/// How far the published state is. Known without a wait for reducers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct News {
    pub(crate) index: Index,
    /// The generation of the history.
    pub(crate) generation: u64,
    /// The replicated clock.
    pub(crate) elapsed: Duration,
    pub(crate) closed: bool,
}

impl News {
    fn of<C: Container>(store: &Store<C>) -> News {
        let (index, generation, elapsed) = (store.index(), store.generation(), store.stamps().elapsed);
        News { index, generation, elapsed, closed: false }
    }
}

/// Locks are taken in this order: store, history, origin.
pub(crate) struct Local<C: Container> {
    store: RwLock<Store<C>>,
    history: Mutex<History<C>>,
    origin: Arc<Origin<C>>,
    published: watch::Sender<News>,
    stopped: OnceLock<Stop>,
    applying: Aside,
    /// Looks at each batch, or run of short ones.
    pub(crate) watchdog: Watchdog,
    /// The latest state that is to be compared with those of others.
    sample: Mutex<Option<Sample<C>>>,
    /// Rings when there is one.
    pub(crate) sampled: Notify,
    /// How long it took to copy the state, whenever somebody held it.
    pub(crate) state_copy_time: Histogram,
    /// Who is meant to vote.
    roster: watch::Sender<Roster>,
    /// Rings whenever batches were applied, whether or not they changed the state: the log has grown.
    pub(crate) applied: Notify,
    #[cfg(feature = "bugs")]
    opened: Instant,
}

impl<C: Container> Local<C> {
    pub(crate) fn new(container: Arc<C>, origin: Arc<Origin<C>>, history_max: usize) -> Self {
        let store = Store::new(container);
        let history = History::new(store.index(), store.state().clone(), history_max, HISTORY_BYTES_MAX);
        let (published, _) = watch::channel(News::of(&store));
        Local {
            store: RwLock::new(store),
            history: Mutex::new(history),
            origin,
            published,
            sample: Mutex::default(),
            sampled: Notify::new(),
            state_copy_time: Histogram::of_times(),
            roster: watch::channel(Roster::default()).0,
            stopped: OnceLock::new(),
            applying: Aside::default(),
            watchdog: Watchdog::default(),
            applied: Notify::new(),
            #[cfg(feature = "bugs")]
            opened: Instant::now(),
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
    pub(crate) fn state_at(&self, index: Index) -> Option<Past<C>> {
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

    /// What comes after an index that a subscriber was told, after so many resets of the history if it was told here; and
    /// how many there are now, if that index has come: only then is it the index of this history.
    pub(crate) fn since(&self, last: Index, resets: Option<u64>, max: usize) -> (Owed<C>, Option<u64>) {
        self.history(|history| {
            let now = history.resets();
            let same = resets.is_none_or(|then| then == now) || bugs::is(Bug::GapAtSnapshot);
            let has_come = last <= history.last();
            (if same { history.since(last, max) } else { Owed::Reset }, has_come.then_some(now))
        })
    }

    /// How often the state was replaced by another one, not by what an action led to.
    pub(crate) fn resets(&self) -> u64 {
        self.history(History::resets)
    }

    /// The present: the state, its place, and how often the history was reset before.
    pub(crate) fn present(&self) -> (Arc<C::State>, Index, u64) {
        let store = self.store();
        (store.state().clone(), store.index(), self.history(History::resets))
    }

    /// Waits for news.
    pub(crate) fn news(&self) -> watch::Receiver<News> {
        self.published.subscribe()
    }

    /// How far the published state is.
    pub(crate) fn news_now(&self) -> News {
        *self.published.borrow()
    }

    /// Who is meant to vote.
    pub(crate) fn roster(&self) -> Roster {
        self.roster.borrow().clone()
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

    fn publish(&self, present: News, another: bool) {
        self.published.modify(|news| {
            let moved = news.index != present.index;
            *news = News { closed: news.closed, ..present };
            moved || another
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
        self.applying.run(long, || self.try_apply(proposals)).inspect_err(|stop| self.say(stop))
    }

    fn say(&self, stop: &Stop) {
        // Whatever follows the first one is because of it.
        let _ = self.stopped.set(stop.clone());
    }

    fn save(&self) -> Saved {
        let store = self.store().clone();
        Box::new(move |output| Ok(store.save_to(output)?))
    }

    fn restore(self: Arc<Self>, input: &mut dyn Read, length: u64) -> Result<Install, Stop> {
        let container = self.store().container().clone();
        let restored = Store::restore_from(container, input, length, Code::Same)?;
        Ok(Box::new(move || self.install(restored)))
    }
}

impl<C: Container> Local<C> {
    fn try_apply(&self, proposals: &[Proposal]) -> Result<Vec<Verdict>, Stop> {
        // Decoded before the lock is taken: readers wait for reducers only.
        let batches = proposals
            .iter()
            .map(|proposal| Ok((batch::<C>(proposal, Proposal::take_made)?, proposal.bytes.len())))
            .collect::<Result<Vec<_>, Stop>>()?;
        let mut verdicts = Vec::with_capacity(batches.len());
        while verdicts.len() < batches.len() {
            self.watchdog.over(|| self.apply_some(&batches[verdicts.len()..], &mut verdicts))?;
        }
        Ok(verdicts)
    }

    /// Applies some of these, one at least, and publishes the result once.
    fn apply_some(&self, batches: &[(Arc<Batch<C>>, usize)], verdicts: &mut Vec<Verdict>) -> Result<(), Stop> {
        let begun = Instant::now();
        let mut resolved = Vec::new();
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        #[cfg(feature = "bugs")]
        if bugs::is(Bug::SessionsExpireByLocalClock) {
            store.forget_sessions(self.opened.elapsed().saturating_sub(Duration::from_secs(2)));
        }
        let (mut changes, mut bytes) = (Vec::new(), 0);
        for (batch, length) in batches {
            let mine = self.origin.key(&store);
            if batch.header.compare && batch.header.prev == store.head() {
                let place = Place { batch: batch.header.id, index: store.index() };
                let sample = Sample { place, state: store.state().clone(), resets: self.resets() };
                *self.sample.lock().unwrap_or_else(PoisonError::into_inner) = Some(sample);
                self.sampled.notify_one();
            }
            // It is held by somebody, the sample just made included. It would be copied by the first action.
            let is_held = Arc::strong_count(store.state()) > 1;
            if is_held && batch.header.prev == store.head() && batch.actions() > 0 {
                let copying = Instant::now();
                store.unshare();
                self.tell_of_copy(copying.elapsed());
            }
            let applied = store.apply_for(batch, mine, &mut resolved);
            let applied = applied.inspect_err(|_| {
                self.put_back(&mut store);
            })?;
            bytes += length;
            verdicts.push(match applied {
                Applied::Skipped => Verdict::Skipped,
                Applied::Changes(new) => {
                    trace::applied(self.origin.node(), batch, &store);
                    // Mostly there is one batch.
                    if changes.is_empty() {
                        changes = new;
                    } else {
                        changes.extend(new);
                    }
                    if self.origin.key(&store) != mine {
                        // First what the session came to: a run that decides its last calls may also let it expire,
                        // and then the numbers begin anew.
                        self.origin.resolve(std::mem::take(&mut resolved));
                        self.origin.reconcile(&store, false);
                    }
                    Verdict::Applied
                }
            });
            if begun.elapsed() > HOLD_MAX {
                break;
            }
        }
        self.history.lock().unwrap_or_else(PoisonError::into_inner).extend(changes, bytes, store.state());
        self.publish_roster(store.roster());
        self.publish(News::of(&store), false);
        drop(store);
        // Only now: whoever is told of a success sees it in the state.
        self.origin.resolve(resolved);
        self.applied.notify_one();
        Ok(())
    }

    fn tell_of_copy(&self, took: Duration) {
        self.state_copy_time.record_time(took);
        if took >= COPY_TOLD {
            tracing::warn!(
                node = &**self.origin.node(),
                "nobody was answered for {took:?}: the state was copied, because somebody held it (a snapshot, a comparison, a \
                 change that was kept). Persistent collections make a copy cheap"
            );
        }
    }

    /// A batch could not be applied, and may have left half of what it does. Nobody is to see that: the last state that was
    /// published is made again.
    fn put_back(&self, store: &mut Store<C>) {
        let history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        let last = history.last();
        let Some((mut state, path)) = history.path_to(last) else { return };
        let whole = path.iter().all(|change| change.reduce(store.container(), Arc::make_mut(&mut state)).is_ok());
        if whole {
            store.put_back(last, state);
        }
    }

    /// Reduces the last action once more.
    #[cfg(feature = "bugs")]
    pub(crate) fn apply_again(&self) {
        let Some(last) = self.history(|history| history.tail(1).next().cloned()) else { return };
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        let (index, mut state) = (store.index(), store.state().clone());
        if last.reduce(store.container(), Arc::make_mut(&mut state)).is_ok() {
            store.put_back(index, state);
        }
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
        let store = self.store();
        self.origin.reconcile(&store, true);
        let news = News::of(&store);
        drop(store);
        self.publish(news, true);
    }
}
