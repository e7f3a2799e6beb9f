//! The history that came to be: the committed log, gone through once more beside the cluster. Each method is run again on
//! the state before its batch (promise 2), and every state is asked for the container's own invariant.

use std::collections::BTreeMap;
use std::sync::Arc;

use conflux::container::holds;
use conflux::{
    Applied, Batch, Call, CallNumber, Committed, Container, Decided, Digest, Failure, Halt, Origin, Outcome, Payload,
    Record, SessionId, SessionKey, Store, Verdict,
};

use crate::check::{ExactlyOnce, Fates, Judged, comes_to_the_same, judged_on, one_by_one, unreadable, what_was_asked};
use crate::logs::Line;
use crate::observed::{Marked, Observed, Tagged, Trail};
use crate::record::Fate;
use crate::subject::Subject;
use crate::words;
use crate::wrong::{Checked, Promise, Wrong};

pub(crate) struct History<C: Container> {
    container: Arc<Observed<C>>,
    store: Store<Observed<C>>,
    /// The states, from the initial one on.
    pub(crate) trails: Vec<Trail>,
    /// The calls whose actions there are, from the first on.
    pub(crate) actions: Vec<u64>,
    /// What became of the calls.
    pub(crate) fates: Fates,
    pub(crate) once: ExactlyOnce,
    /// What each call was asked for as.
    pub(crate) asked: BTreeMap<u64, Digest>,
    pub(crate) batches: Batches,
    /// What is to be told of what came to be committed, since that was last taken.
    pub(crate) news: Vec<String>,
    pub(crate) failures: Failures,
    subject: Subject<C>,
    /// Each call as it was asked for, in words.
    words: BTreeMap<u64, String>,
}

/// The calls that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many.
    pub calls: u64,
    /// The first of them: the call, and how it failed.
    pub first: Option<String>,
}

impl Failures {
    pub(crate) fn add(&mut self, other: &Failures) {
        self.calls += other.calls;
        if self.first.is_none() {
            self.first.clone_from(&other.first);
        }
    }
}

/// What became of batches.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Batches {
    pub(crate) applied: u64,
    pub(crate) skipped: u64,
}

impl<C: Container> History<C> {
    pub(crate) fn new(container: Arc<Observed<C>>, subject: Subject<C>) -> Self {
        let store = Store::new(container.clone());
        History {
            container,
            store,
            trails: vec![Trail::default()],
            actions: Vec::new(),
            fates: Fates::default(),
            once: ExactlyOnce::default(),
            asked: BTreeMap::new(),
            batches: Batches::default(),
            news: Vec::new(),
            failures: Failures::default(),
            subject,
            words: BTreeMap::new(),
        }
    }

    /// Takes note of what a call is asked for as; `true` where it was asked for before.
    pub(crate) fn asks(&mut self, tag: u64, method: &C::Method) -> bool {
        // What cannot be written fails its call.
        if let Ok(digest) = method.digest() {
            self.asked.insert(tag, digest);
        }
        self.words.insert(tag, words::call(method)).is_some()
    }

    /// A call, in words.
    pub(crate) fn words(&self, tag: u64) -> &str {
        self.words.get(&tag).map_or("unknown", String::as_str)
    }

    /// The place of the last action.
    pub(crate) fn index(&self) -> u64 {
        self.actions.len() as u64
    }

    pub(crate) fn store(&self) -> &Store<Observed<C>> {
        &self.store
    }

    /// Asks the initial state for the invariant.
    pub(crate) fn begin(&self) -> Checked {
        let state = &self.store.state().state;
        holds(&*self.container.inner, state).map_err(|broken| {
            Wrong::new(Promise::Invariant, format!("at 0: {broken}\n  the initial state: {}", words::state(state)))
        })
    }

    /// Goes through an entry that came to be committed. `order` says of a call which try it is, of which opening.
    pub(crate) fn follow(&mut self, line: &Line, order: impl Fn(u64) -> Option<(u64, usize)>) -> Checked {
        let Some(bytes) = &line.batch else { return Ok(()) };
        let batch = Batch::<Observed<C>>::decode(bytes).map_err(|error| unreadable(line.id, &error.to_string()))?;
        let before = self.store.state().clone();
        let mut sessions = Vec::new();
        self.note_sessions(&batch, &mut sessions);
        let mut outcomes = Vec::new();
        let applied =
            self.store.apply(&batch, |session, number, outcome| outcomes.push((session, number, outcome.clone())));
        let changes = match applied {
            Ok(Applied::Skipped) => {
                self.batches.skipped += 1;
                return Ok(());
            }
            Ok(Applied::Changes(changes)) => changes,
            Err(halt) => {
                let promise = match halt {
                    Halt::Diverged { .. } | Halt::Divided { .. } | Halt::Reducer { .. } => Promise::OneHistory,
                    _ => Promise::ExactValidation,
                };
                return Err(Wrong::new(promise, format!("batch {}: {halt}", batch.header.id)));
            }
        };
        self.batches.applied += 1;
        self.note_sessions(&batch, &mut sessions);
        for (session, number, outcome) in &outcomes {
            if let Outcome::Failed { failure, .. } = outcome
                && let Some(tag) = self.tag_of(&sessions, *session, *number)
            {
                self.failed(tag, failure)?;
            }
        }
        self.judge_again(&batch, &before, &sessions)?;
        self.walk(&before, &changes, &order)?;
        for (session, number, outcome) in &outcomes {
            if let Some(tag) = self.tag_of(&sessions, *session, *number)
                && let Some(fate) = fate_of(outcome)
            {
                self.fates.entry(tag).or_default().insert(fate);
            }
        }
        Ok(())
    }

    fn failed(&mut self, tag: u64, failure: &Failure) -> Checked {
        let what = format!("{}: {failure}", self.words(tag));
        self.news.push(format!("call {tag} failed: {failure}"));
        if self.subject.is_fatal(failure) {
            return Err(Wrong::new(Promise::CallsEnd, what));
        }
        self.failures.calls += 1;
        self.failures.first.get_or_insert(what);
        Ok(())
    }

    /// Takes note of whose the calls of a batch are: before it is applied, and after, as it may open sessions and end some.
    fn note_sessions(&self, batch: &Batch<Observed<C>>, sessions: &mut Vec<(SessionKey, SessionId)>) {
        for record in &batch.records {
            if let Record::Call { session, .. } = record
                && !sessions.iter().any(|(known, _)| known == session)
                && let Some(known) = self.store.sessions().get(*session)
            {
                sessions.push((*session, known.id().clone()));
            }
        }
    }

    fn tag_of(&self, sessions: &[(SessionKey, SessionId)], session: SessionKey, number: CallNumber) -> Option<u64> {
        let (_, id) = sessions.iter().find(|(known, _)| *known == session)?;
        Some(self.container.decided.get(id, number)?.tag)
    }

    /// Promise 2: the methods of a batch, run on exactly the state before it, come to what it says.
    fn judge_again(
        &self,
        batch: &Batch<Observed<C>>,
        before: &Arc<Marked<C::State>>,
        sessions: &[(SessionKey, SessionId)],
    ) -> Checked {
        let id = batch.header.id;
        let mut judged = Vec::new();
        let mut calls = Vec::new();
        for record in &batch.records {
            let Record::Call { session, number, verdict, .. } = record else { continue };
            if matches!(verdict, Verdict::Repeated | Verdict::Conflict) {
                continue;
            }
            let known = sessions.iter().find(|(known, _)| known == session).map(|(_, id)| id.clone());
            let method = known.as_ref().and_then(|session| self.container.decided.get(session, *number));
            let (Some(session), Some(method)) = (known, method) else {
                let what = format!("batch {id} has call {} of {session:?}, which no leader decided", number.0);
                return Err(Wrong::new(Promise::ExactValidation, what));
            };
            what_was_asked(method.tag, self.asked.get(&method.tag).copied(), method.value.digest().ok())?;
            let origin = Origin { session: session.clone(), number: *number };
            calls.push(Call { method, origin });
            judged.push(Judged { session, number: *number, verdict });
        }
        if calls.is_empty() {
            return Ok(());
        }
        let mut state = Marked::clone(before);
        let Decided { decisions, .. } = self.container.decide_batch(&mut state, &batch.header.context(), calls);
        comes_to_the_same::<C>(id, &judged, &decisions)
    }

    /// Goes from state to state.
    fn walk(
        &mut self,
        before: &Arc<Marked<C::State>>,
        changes: &[Committed<Observed<C>>],
        order: &impl Fn(u64) -> Option<(u64, usize)>,
    ) -> Checked {
        let mut state = Marked::clone(before);
        for change in changes {
            let Tagged { tag, seen, .. } = &*change.action;
            let there = state.trail;
            let index = change.index;
            judged_on(index, *seen, there)?;
            let action = words::action(&*change.action);
            if let Err(failure) = change.reduce(&self.container, &mut state) {
                let what = format!("the reducer failed at {index}, and had not on the leader: {failure}");
                return Err(Wrong::new(Promise::OneHistory, what));
            }
            self.trails.push(state.trail);
            self.actions.push(*tag);
            self.once.took_effect(*tag, index.0, order(*tag))?;
            self.news.push(format!("{index} is call {tag}: {action}"));
            if let Err(broken) = holds(&*self.container.inner, &state.state) {
                // Gone to once more, as it is past by now; a copy of each state would cost more.
                let mut earlier = Marked::clone(before);
                for change in changes.iter().take_while(|earlier| earlier.index < index) {
                    let _ = change.reduce(&self.container, &mut earlier);
                }
                let what = format!(
                    "at {index}: {broken}\n  by call {tag}, {}, whose action is {action}\n  before: {}\n  after:  {}",
                    self.words(*tag),
                    words::state(&earlier.state),
                    words::state(&state.state)
                );
                return Err(Wrong::new(Promise::Invariant, what));
            }
        }
        one_by_one(state.trail, self.store.state().trail)
    }

    /// What a log's uncommitted tail comes to on top of all this.
    pub(crate) fn ahead<'a>(&self, tail: impl Iterator<Item = &'a Line>) -> (u64, Trail) {
        let mut store = self.store.clone();
        for bytes in tail.filter_map(|line| line.batch.as_ref()) {
            if let Ok(batch) = Batch::<Observed<C>>::decode(bytes) {
                // What cannot be applied stops the node once it is committed; until then nobody knows.
                let _ = store.apply(&batch, |_, _, _| {});
            }
        }
        (store.index().0, store.state().trail)
    }
}

fn fate_of<C: Container>(outcome: &Outcome<C>) -> Option<(Fate, u64)> {
    match outcome {
        Outcome::Committed { index, .. } => Some((Fate::Action, index.0)),
        Outcome::Nothing { index } => Some((Fate::Nothing, index.0)),
        Outcome::Rejected { index, .. } => Some((Fate::Rejected, index.0)),
        Outcome::Failed { index, .. } => Some((Fate::Failed, index.0)),
        Outcome::Void | Outcome::Conflict => None,
    }
}
