//! The recent past: what a subscriber is owed, and what the state was at an earlier index.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::bugs::{self, Bug};
use crate::container::Container;
use crate::ids::Index;
use crate::store::Committed;

/// Recent actions, and a state from which the oldest of them goes on.
///
/// `base.index < actions[0].index`, and from there they are contiguous up to the present.
pub struct History<C: Container> {
    /// The older of two segments begins here.
    base: (Index, Arc<C::State>),
    /// Where the younger segment begins: the base to be, once the older one is dropped.
    middle: Option<(Index, Arc<C::State>)>,
    actions: VecDeque<Committed<C>>,
    actions_max: usize,
    bytes_max: usize,
    /// Of the younger segment.
    bytes: usize,
    /// How often the past was forgotten at once.
    resets: u64,
}

/// What a subscriber whose last index is known is owed.
#[derive(Debug)]
pub enum Owed<C: Container> {
    /// Nothing yet.
    Nothing,
    /// These actions, contiguous from the one after its last.
    Changes(Vec<Committed<C>>),
    /// The actions after its last are gone: it starts again from the present.
    Reset,
}

/// A state, and the actions that lead on from it.
pub type Path<C> = (Arc<<C as Container>::State>, Vec<Committed<C>>);

impl<C: Container> History<C> {
    /// No past yet. Holds at least half of `actions_max` actions once they have happened, and at most `actions_max` and
    /// what one batch adds: only between batches is there a state to go on from. With 0 it holds none. Of large actions it
    /// holds fewer: about `bytes_max` bytes, as they are written.
    #[must_use]
    pub fn new(index: Index, state: Arc<C::State>, actions_max: usize, bytes_max: usize) -> Self {
        History {
            base: (index, state),
            middle: None,
            actions: VecDeque::new(),
            actions_max,
            bytes_max,
            bytes: 0,
            resets: 0,
        }
    }

    /// The present.
    #[must_use]
    pub fn last(&self) -> Index {
        self.actions.back().map_or(self.base.0, |action| action.index)
    }

    /// The earliest index whose state can still be told.
    #[must_use]
    pub fn first(&self) -> Index {
        self.base.0
    }

    /// Adds what batches of so many bytes changed; `state` is the state after them.
    pub fn extend(&mut self, changes: Vec<Committed<C>>, bytes: usize, state: &Arc<C::State>) {
        self.actions.extend(changes);
        let last = self.last();
        if self.actions_max == 0 {
            self.actions.clear();
            self.base = (last, state.clone());
            return;
        }
        // A segment is half of the whole at least. Few segments keep a state copy, and the copy-on-write it costs, a
        // rare thing; the older one is dropped only when the younger is enough alone.
        let younger = self.middle.as_ref().unwrap_or(&self.base).0;
        let actions = (last.0 - younger.0) as usize;
        self.bytes += bytes;
        if actions == 0 || (actions < self.actions_max.div_ceil(2) && self.bytes < self.bytes_max / 2) {
            return;
        }
        self.bytes = 0;
        if let Some(base) = self.middle.replace((last, state.clone())) {
            self.actions.drain(..(base.0.0 - self.base.0.0) as usize);
            self.base = base;
        }
    }

    /// Forgets the past: a snapshot was installed.
    pub fn reset(&mut self, index: Index, state: Arc<C::State>) {
        let resets = self.resets + 1;
        *self = History { resets, ..History::new(index, state, self.actions_max, self.bytes_max) };
    }

    /// How often the past was forgotten. What was told before the last time may not be what is so at that place.
    #[must_use]
    pub fn resets(&self) -> u64 {
        self.resets
    }

    /// What comes after `last`, at most `max` actions.
    #[must_use]
    pub fn since(&self, last: Index, max: usize) -> Owed<C> {
        if last < self.base.0 && !bugs::is(Bug::GapAtSnapshot) {
            return Owed::Reset;
        }
        let from = last.0.saturating_sub(self.base.0.0) as usize;
        if from >= self.actions.len() {
            return Owed::Nothing;
        }
        Owed::Changes(self.actions.range(from..).take(max).cloned().collect())
    }

    /// The last `count` actions, the oldest first.
    pub fn tail(&self, count: usize) -> impl Iterator<Item = &Committed<C>> {
        self.actions.range(self.actions.len().saturating_sub(count)..)
    }

    /// What is needed to tell the state at `index`: an earlier state, and the actions from there. `None` when that past
    /// is gone, or has not come.
    #[must_use]
    pub fn path_to(&self, index: Index) -> Option<Path<C>> {
        if index < self.base.0 || index > self.last() {
            return None;
        }
        let (from, state) = match &self.middle {
            Some(middle) if middle.0 <= index => middle,
            _ => &self.base,
        };
        let skip = (from.0 - self.base.0.0) as usize;
        let count = (index.0 - from.0) as usize;
        Some((state.clone(), self.actions.range(skip..skip + count).cloned().collect()))
    }
}
