//! What every node holds, and the one function that takes it forward.

use std::sync::Arc;

use crate::batch::{Batch, Header, Record, Verdict};
use crate::bugs::{self, Bug};
use crate::container::{BatchContext, Container, Failure, Reduction};
use crate::context::{Origin, Stamps};
use crate::digest::Digest;
use crate::ids::{BatchId, CallNumber, Index, NodeName, SessionId, SessionKey};
use crate::payload::{Payload, PayloadError};
use crate::roster::Roster;
use crate::session::{Corrupt, Outcome, Sessions};

/// The largest generation: what every language's numbers hold exactly.
pub const GENERATION_MAX: u64 = (1 << 53) - 1;

/// Whose code what a store is given may be made by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Code {
    /// By the container's own version and code. Whatever else came is refused, as it is while a cluster runs.
    #[default]
    Same,
    /// By any: somebody wants to go on with another one. The state is taken as it was saved, what comes behind it is
    /// reduced by this code, and where that comes out otherwise than it did, that is what was wanted. Only for a history
    /// that is begun anew with it: on two nodes it would part them.
    Changed,
}

/// The committed state, its place in the history, and the session table.
pub struct Store<C: Container> {
    pub(crate) container: Arc<C>,
    pub(crate) state: Arc<C::State>,
    pub(crate) index: Index,
    /// The last batch that was applied: only a batch that names it as its predecessor is.
    pub(crate) head: BatchId,
    pub(crate) stamps: Stamps,
    pub(crate) sessions: Sessions<C>,
    pub(crate) roster: Roster,
    /// Which of its lives this history is in: see [`Store::generation`].
    pub(crate) generation: u64,
}

impl<C: Container> Clone for Store<C> {
    fn clone(&self) -> Self {
        Store {
            container: self.container.clone(),
            state: self.state.clone(),
            sessions: self.sessions.clone(),
            roster: self.roster.clone(),
            ..*self
        }
    }
}

/// One committed action: all that is needed to reduce it again.
#[derive(Debug)]
pub struct Committed<C: Container> {
    /// Its place.
    pub index: Index,
    /// The action.
    pub action: Arc<C::Action>,
    number: CallNumber,
    nth: u32,
    shared: Arc<Shared>,
}

/// What the actions of one session in a batch have in common.
#[derive(Debug)]
struct Shared {
    session: SessionId,
    batch: BatchContext,
}

impl<C: Container> Clone for Committed<C> {
    fn clone(&self) -> Self {
        Committed { action: self.action.clone(), shared: self.shared.clone(), ..*self }
    }
}

impl<C: Container> Committed<C> {
    /// Who asked for it.
    #[must_use]
    pub fn origin(&self) -> Origin {
        Origin { session: self.shared.session.clone(), number: self.number }
    }

    /// The node on which its method was performed.
    #[must_use]
    pub fn node(&self) -> &NodeName {
        &self.shared.session.node
    }

    /// The clocks of its batch.
    #[must_use]
    pub fn stamps(&self) -> Stamps {
        self.shared.batch.stamps
    }

    fn reduction(&self) -> Reduction<'_, C::Action> {
        let Committed { index, action, number, nth, shared } = self;
        Reduction { action, index: *index, nth: *nth as usize, session: &shared.session, number: *number }
    }

    /// Takes a state through it, as the store did.
    ///
    /// # Errors
    /// When the reducer breaks, which it did not in the store: it is not deterministic.
    pub fn reduce(&self, container: &C, state: &mut C::State) -> Result<(), Failure> {
        container.reduce_batch(state, &self.shared.batch, &[self.reduction()])
    }
}

/// What applying a batch did.
#[derive(Debug)]
pub enum Applied<C: Container> {
    /// It was judged on another state than this one: skipped whole, the same on every node.
    Skipped,
    /// It took effect: its actions, in order.
    Changes(Vec<Committed<C>>),
}

/// Why a node can go no further. Nothing of this kind is ever skipped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Halt {
    /// A batch of another version of the container.
    #[error(
        "a batch of version {came} of the container came, this node has version {is}: \
         start it with the version that the cluster runs"
    )]
    Version {
        /// The batch's.
        came: u32,
        /// This node's.
        is: u32,
    },
    /// A batch made by other code.
    #[error("a batch made by code {came} came, this node runs code {is}: start it with the same source")]
    Code {
        /// The batch's.
        came: Digest,
        /// This node's.
        is: Digest,
    },
    /// This state is another than it ought to be.
    #[error(
        "at index {index} the state here has digest {is}, and it ought to be {came}: \
         a reducer is not deterministic, or memory is damaged"
    )]
    Diverged {
        /// The place.
        index: Index,
        /// What it ought to be: the majority's, or what a snapshot was taken with.
        came: Digest,
        /// This node's.
        is: Digest,
    },
    /// No state is that of most voters.
    #[error(
        "at index {index} the state here has digest {is}, those of the other voters differ, and none is that of most: \
         a reducer is not deterministic, or there is a HashSet in the state. Begin anew with the state that is right (recover)"
    )]
    Divided {
        /// The place.
        index: Index,
        /// This node's digest.
        is: Digest,
    },
    /// The reducer broke on an action that passed on the leader.
    #[error(
        "the reducer failed after index {index} on actions that passed on the leader, so it is not deterministic: {failure}"
    )]
    Reducer {
        /// The place before the batch.
        index: Index,
        /// How it broke.
        failure: Failure,
    },
    /// The batch contradicts the session table.
    #[error(transparent)]
    Corrupt(#[from] Corrupt),
    /// A digest could not be taken.
    #[error("the state at index {index} cannot be written, so it has no digest: {error}")]
    Digest {
        /// The place.
        index: Index,
        /// Why.
        error: PayloadError,
    },
}

impl Halt {
    /// Whether what came was made by another version or by other code: somebody changed the container.
    #[must_use]
    pub fn is_other_code(&self) -> bool {
        matches!(self, Halt::Version { .. } | Halt::Code { .. })
    }

    /// Refuses what another version or other code than a container's made.
    ///
    /// # Errors
    /// Which of the two it is.
    pub fn check_code<C: Container>(container: &C, version: u32, code: Digest) -> Result<(), Halt> {
        let (is, came) = (container.version(), version);
        if is != came {
            return Err(Halt::Version { came, is });
        }
        let (is, came) = (container.code(), code);
        if is != came {
            return Err(Halt::Code { came, is });
        }
        Ok(())
    }
}

/// The actions of a batch that is being applied.
pub(crate) struct Changes<C: Container> {
    committed: Vec<Committed<C>>,
    /// Of the last one: most are of the same session as the one before.
    shared: Option<(SessionKey, Arc<Shared>)>,
}

impl<C: Container> Changes<C> {
    fn shared(&mut self, key: SessionKey, sessions: &Sessions<C>, header: &Header) -> Result<Arc<Shared>, Corrupt> {
        match &self.shared {
            Some((last, shared)) if *last == key => Ok(shared.clone()),
            _ => {
                let session = sessions.get(key).ok_or(Corrupt::UnknownSession(key))?.id().clone();
                let shared = Arc::new(Shared { session, batch: header.context() });
                self.shared = Some((key, shared.clone()));
                Ok(shared)
            }
        }
    }
}

impl<C: Container> Store<C> {
    /// The initial state, at index 0.
    #[must_use]
    pub fn new(container: Arc<C>) -> Self {
        let state = Arc::new(container.initial());
        Store {
            container,
            state,
            index: Index::default(),
            head: BatchId::ROOT,
            stamps: Stamps::default(),
            sessions: Sessions::default(),
            roster: Roster::default(),
            generation: 0,
        }
    }

    /// The container.
    #[must_use]
    pub fn container(&self) -> &Arc<C> {
        &self.container
    }

    /// The state. Whoever keeps the `Arc` makes the next batch copy it.
    #[must_use]
    pub fn state(&self) -> &Arc<C::State> {
        &self.state
    }

    /// Its place.
    #[must_use]
    pub fn index(&self) -> Index {
        self.index
    }

    /// The last batch that was applied.
    #[must_use]
    pub fn head(&self) -> BatchId {
        self.head
    }

    /// The clocks of that batch.
    #[must_use]
    pub fn stamps(&self) -> Stamps {
        self.stamps
    }

    /// The session table.
    #[must_use]
    pub fn sessions(&self) -> &Sessions<C> {
        &self.sessions
    }

    /// The name of the history since it was taken up again from a backup, or from what one node of a lost majority held; 0
    /// for the one that was founded. Actions at the same place in two generations may differ: whoever remembers a place
    /// remembers its generation too.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// The same store as the beginning of another generation, whose name was drawn, and in which these are meant to vote.
    #[must_use]
    pub fn reborn(mut self, generation: u64, roster: Roster) -> Self {
        self.generation = generation.clamp(1, GENERATION_MAX);
        self.roster = roster;
        self
    }

    /// Who is meant to vote.
    #[must_use]
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The digest of the state.
    ///
    /// # Errors
    /// When the state refuses to be written.
    pub fn digest(&self) -> Result<Digest, Halt> {
        self.state.digest().map_err(|error| Halt::Digest { index: self.index, error })
    }

    /// Takes the store through a batch, if it was judged on exactly this state. `decided` hears what became of each
    /// call in it, once all of it has taken effect.
    ///
    /// # Errors
    /// The store must not be used any more: the node stops.
    pub fn apply(
        &mut self,
        batch: &Batch<C>,
        decided: impl FnMut(SessionKey, CallNumber, &Outcome<C>),
    ) -> Result<Applied<C>, Halt> {
        self.apply_by(batch, Code::Same, decided)
    }

    /// The same for who wants to hear of the calls of one session only: what became of them is added to `decided`.
    ///
    /// # Errors
    /// As [`apply`](Self::apply). Then nothing is added.
    pub fn apply_for(
        &mut self,
        batch: &Batch<C>,
        session: Option<SessionKey>,
        decided: &mut Vec<(CallNumber, Outcome<C>)>,
    ) -> Result<Applied<C>, Halt> {
        let before = decided.len();
        let taken = self.take(batch, Code::Same, |key, number, outcome| {
            if Some(key) == session {
                if decided.len() == before {
                    decided.reserve(batch.records.len());
                }
                decided.push((number, outcome.clone()));
            }
        });
        if taken.is_err() {
            decided.truncate(before);
        }
        taken
    }

    /// The same for a batch that other code may have made. Its place in the chain, its sessions and its clocks are checked
    /// as ever.
    ///
    /// # Errors
    /// As [`apply`](Self::apply); a reducer that fails does because it is another one than the one that the actions passed.
    pub fn apply_by(
        &mut self,
        batch: &Batch<C>,
        code: Code,
        mut decided: impl FnMut(SessionKey, CallNumber, &Outcome<C>),
    ) -> Result<Applied<C>, Halt> {
        let mut outcomes = Vec::new();
        let applied = self.take(batch, code, |session, number, outcome| {
            outcomes.push((session, number, outcome.clone()));
        })?;
        outcomes.iter().for_each(|(session, number, outcome)| decided(*session, *number, outcome));
        Ok(applied)
    }

    /// Takes the store through a batch. `decided` hears of calls before it is known whether the reducer goes through all.
    fn take(
        &mut self,
        batch: &Batch<C>,
        code: Code,
        decided: impl FnMut(SessionKey, CallNumber, &Outcome<C>),
    ) -> Result<Applied<C>, Halt> {
        let header = &batch.header;
        if header.prev != self.head && !bugs::is(Bug::NoChainCheck) {
            return Ok(Applied::Skipped);
        }
        if code == Code::Same {
            Halt::check_code(&*self.container, header.version, header.code)?;
        }
        if header.base != self.index && !bugs::is(Bug::NoChainCheck) {
            return Err(Corrupt::Place { came: header.base, is: self.index }.into());
        }
        let mut changes = Changes { committed: Vec::with_capacity(batch.records.len()), shared: None };
        self.advance(batch, Some(&mut changes), decided)?;
        let reductions: Vec<_> = changes.committed.iter().map(Committed::reduction).collect();
        if !reductions.is_empty() {
            let state = Arc::make_mut(&mut self.state);
            self.container
                .reduce_batch(state, &header.context(), &reductions)
                .map_err(|failure| Halt::Reducer { index: header.base, failure })?;
        }
        Ok(Applied::Changes(changes.committed))
    }

    /// The actions that a batch would take this store through, in order, without doing so; none if it would be skipped. By
    /// [`Committed::reduce`] a state goes through them one by one: so one finds out which of them a batch breaks at, or
    /// goes through a part of it.
    ///
    /// # Errors
    /// When the batch contradicts the session table.
    pub fn actions_in(&self, batch: &Batch<C>) -> Result<Vec<Committed<C>>, Corrupt> {
        if batch.header.prev != self.head {
            return Ok(Vec::new());
        }
        if batch.header.base != self.index {
            return Err(Corrupt::Place { came: batch.header.base, is: self.index });
        }
        let mut changes = Changes { committed: Vec::new(), shared: None };
        self.clone().advance(batch, Some(&mut changes), |_, _, _| {})?;
        Ok(changes.committed)
    }

    /// Copies the state where somebody else holds it, as applying an action would have to. For who wants to know how long the
    /// copy takes.
    pub fn unshare(&mut self) {
        Arc::make_mut(&mut self.state);
    }

    /// Takes everything but the state through a batch: the part that a store and a fork do alike. Its actions are added to
    /// `changes`.
    pub(crate) fn advance(
        &mut self,
        batch: &Batch<C>,
        mut changes: Option<&mut Changes<C>>,
        mut decided: impl FnMut(SessionKey, CallNumber, &Outcome<C>),
    ) -> Result<(), Corrupt> {
        let header = &batch.header;
        if header.id == header.prev {
            return Err(Corrupt::OwnPredecessor(header.id));
        }
        if header.stamps.elapsed < self.stamps.elapsed {
            return Err(Corrupt::Clock { came: header.stamps.elapsed, is: self.stamps.elapsed });
        }
        let mut nth: u32 = 0;
        for record in &batch.records {
            if let Record::Call { session, number, verdict, .. } = record {
                if let Verdict::Action(action) = verdict {
                    self.index = self.index.next();
                    if let Some(changes) = &mut changes {
                        let shared = changes.shared(*session, &self.sessions, header)?;
                        let action = action.clone();
                        changes.committed.push(Committed { index: self.index, action, number: *number, nth, shared });
                    }
                }
                nth += u32::from(!matches!(verdict, Verdict::Repeated | Verdict::Conflict));
            }
            if let Record::Roster(roster) = record {
                self.roster = roster.clone();
            }
            let outcome = self.sessions.record(record, header.stamps.elapsed, self.index)?;
            if let (Some(outcome), Record::Call { session, number, .. } | Record::Void { session, number, .. }) =
                (outcome, record)
            {
                decided(*session, *number, outcome);
            }
        }
        self.stamps = header.stamps;
        self.head = header.id;
        Ok(())
    }

    pub(crate) fn origin(&self, session: SessionKey, number: CallNumber) -> Option<Origin> {
        Some(Origin { session: self.sessions.get(session)?.id().clone(), number })
    }

    /// Forgets sessions that were not seen since then, on this node alone.
    #[cfg(feature = "bugs")]
    #[doc(hidden)]
    pub fn forget_sessions(&mut self, before: std::time::Duration) {
        let sweep = Record::Sweep { sessions_before: before, ids_before: before };
        self.sessions.record(&sweep, before, self.index).expect("a sweep contradicts nothing");
    }

    /// Shows an earlier state again, after a batch that could not be applied left a half-written one. For readers: such a
    /// store goes no further.
    pub fn put_back(&mut self, index: Index, state: Arc<C::State>) {
        (self.index, self.state) = (index, state);
    }
}
