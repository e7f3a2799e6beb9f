//! A user's container as the simulation runs it: the same functions, with a mark on everything by which it is known again.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use conflux::{
    BatchContext, Call, CallError, CallNumber, Container, Context, Decided, Decision, Digest, Failure, Payload,
    PayloadError, Random, Reduction, SessionId,
};
use serde_json::Value;

/// A history, in short: how many actions led to a state, and which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Trail {
    /// How many.
    pub length: u64,
    /// A hash of all of them, in order, and of all that their reducers were told.
    pub hash: u64,
}

impl fmt::Display for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{:08x}", self.length, self.hash >> 32)
    }
}

impl Trail {
    const BYTES: usize = 16;

    fn after(self, told: u64, bytes: &[u8]) -> Trail {
        Trail { length: self.length + 1, hash: mix(mix(self.hash ^ told) ^ fnv(bytes)) }
    }

    fn write(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.length.to_le_bytes());
        bytes.extend_from_slice(&self.hash.to_le_bytes());
    }

    fn read(bytes: &[u8; Self::BYTES]) -> Trail {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        Trail { length: number(0), hash: number(8) }
    }
}

pub(crate) fn mix(value: u64) -> u64 {
    Random::new(value).next_u64()
}

/// FNV-1a.
pub(crate) fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A state with the way that led to it.
#[derive(Clone, Debug)]
pub(crate) struct Marked<S> {
    /// The user's.
    pub state: S,
    /// The way.
    pub trail: Trail,
}

/// A call, an action or a rejection with the name of the call, among all of a run.
#[derive(Clone)]
pub(crate) struct Tagged<T> {
    /// The name.
    pub tag: u64,
    /// What the method saw, where it has run.
    pub seen: Trail,
    /// The user's.
    pub value: T,
    /// Bytes that only make it long.
    pub padding: u32,
}

impl<T: fmt::Debug> fmt::Debug for Tagged<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{} {:?}", self.tag, self.value)
    }
}

impl<T: fmt::Display> fmt::Display for Tagged<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

const HEAD: usize = 8 + Trail::BYTES + 4;

fn cut() -> PayloadError {
    PayloadError::new("it is shorter than what the simulation puts before a value")
}

impl<T: Payload> Payload for Tagged<T> {
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), PayloadError> {
        bytes.extend_from_slice(&self.tag.to_le_bytes());
        self.seen.write(bytes);
        bytes.extend_from_slice(&self.padding.to_le_bytes());
        bytes.resize(bytes.len() + self.padding as usize, 0);
        self.value.encode(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, PayloadError> {
        let head: &[u8; HEAD] = bytes.first_chunk().ok_or_else(cut)?;
        let tag = u64::from_le_bytes(head[..8].try_into().expect("eight bytes"));
        let seen = Trail::read(head[8..8 + Trail::BYTES].try_into().expect("so many bytes"));
        let padding = u32::from_le_bytes(head[HEAD - 4..].try_into().expect("four bytes"));
        let value = bytes[HEAD..].get(padding as usize..).ok_or_else(cut)?;
        Ok(Tagged { tag, seen, value: T::decode(value)?, padding })
    }

    fn to_json(&self) -> Result<Value, PayloadError> {
        self.value.to_json()
    }

    fn digest(&self) -> Result<Digest, PayloadError> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.tag.to_le_bytes());
        self.seen.write(&mut bytes);
        bytes.extend_from_slice(&self.value.digest()?.0.to_le_bytes());
        Ok(Digest::of_bytes(&bytes))
    }

    fn from_call(name: &str, arguments: Vec<Value>) -> Result<Self, CallError> {
        Ok(Tagged { tag: 0, seen: Trail::default(), value: T::from_call(name, arguments)?, padding: 0 })
    }
}

impl<S: Payload> Payload for Marked<S> {
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), PayloadError> {
        self.trail.write(bytes);
        self.state.encode(bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self, PayloadError> {
        let (trail, state) = bytes.split_first_chunk().ok_or_else(cut)?;
        Ok(Marked { trail: Trail::read(trail), state: S::decode(state)? })
    }

    fn to_json(&self) -> Result<Value, PayloadError> {
        self.state.to_json()
    }

    fn digest(&self) -> Result<Digest, PayloadError> {
        Ok(marked(self.trail, self.state.digest()?))
    }

    fn from_call(_: &str, _: Vec<Value>) -> Result<Self, CallError> {
        unreachable!("a state is not called")
    }
}

fn marked(trail: Trail, digest: Digest) -> Digest {
    let mut bytes = Vec::new();
    trail.write(&mut bytes);
    bytes.extend_from_slice(&digest.0.to_le_bytes());
    Digest::of_bytes(&bytes)
}

/// The container that the nodes of a simulation have.
pub(crate) struct Observed<C: Container> {
    pub(crate) inner: Arc<C>,
    /// Added to the version: a node of another release.
    pub(crate) version_ahead: u32,
    /// Bytes that make snapshots long.
    pub(crate) ballast: usize,
    /// What leaders decided.
    pub(crate) decided: Arc<Calls<C>>,
}

/// The calls that any leader has decided, by which their methods are run again.
pub(crate) struct Calls<C: Container>(Mutex<ByNumber<C>>);

type ByNumber<C> = BTreeMap<(SessionId, CallNumber), Tagged<<C as Container>::Method>>;

impl<C: Container> Default for Calls<C> {
    fn default() -> Self {
        Calls(Mutex::default())
    }
}

impl<C: Container> Calls<C> {
    pub(crate) fn get(&self, session: &SessionId, number: CallNumber) -> Option<Tagged<C::Method>> {
        self.lock().get(&(session.clone(), number)).cloned()
    }

    /// By which names each call went.
    #[cfg(test)]
    pub(crate) fn by_tag(&self) -> BTreeMap<u64, Vec<(SessionId, CallNumber)>> {
        let mut by_tag: BTreeMap<u64, Vec<_>> = BTreeMap::new();
        for (name, method) in &*self.lock() {
            by_tag.entry(method.tag).or_default().push(name.clone());
        }
        by_tag
    }

    fn lock(&self) -> MutexGuard<'_, ByNumber<C>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Container> Observed<C> {
    fn follow(&self, trail: Trail, batch: &BatchContext, reduction: &Reduction<'_, Tagged<C::Action>>) -> Trail {
        let told = [
            batch.base.0,
            batch.stamps.time_ms,
            batch.stamps.elapsed.as_nanos() as u64,
            batch.seed,
            reduction.nth as u64,
            reduction.index.0,
            reduction.session.incarnation.0,
            reduction.session.number,
            reduction.number.0,
            fnv(reduction.session.node.as_bytes()),
        ];
        let mut bytes = Vec::new();
        // What could not be written would have failed its call.
        let _ = reduction.action.encode(&mut bytes);
        trail.after(told.iter().fold(0, |hash, told| mix(hash ^ told)), &bytes)
    }
}

impl<C: Container> Container for Observed<C> {
    type State = Marked<C::State>;
    type Method = Tagged<C::Method>;
    type Action = Tagged<C::Action>;
    type Rejection = Tagged<C::Rejection>;

    fn initial(&self) -> Self::State {
        Marked { state: self.inner.initial(), trail: Trail::default() }
    }

    fn decide(
        &self,
        state: &Self::State,
        method: Self::Method,
        context: &Context<'_>,
    ) -> Result<Option<Self::Action>, Self::Rejection> {
        let Tagged { tag, padding, .. } = method;
        let seen = state.trail;
        match self.inner.decide(&state.state, method.value, context) {
            Ok(action) => Ok(action.map(|value| Tagged { tag, seen, value, padding })),
            Err(value) => Err(Tagged { tag, seen, value, padding: 0 }),
        }
    }

    fn reduce(&self, _: &mut Self::State, _: &Self::Action, _: &Context<'_>) {
        unreachable!("stores and forks reduce whole batches")
    }

    fn version(&self) -> u32 {
        self.inner.version() + self.version_ahead
    }

    fn code(&self) -> Digest {
        self.inner.code()
    }

    // One thread runs all nodes: a simulation has no other to let it run on.
    fn may_take_long(&self) -> bool {
        false
    }

    fn methods(&self) -> Vec<String> {
        self.inner.methods()
    }

    fn save(&self, state: &Self::State, output: &mut dyn Write) -> Result<Digest, PayloadError> {
        let mut head = Vec::new();
        state.trail.write(&mut head);
        head.extend_from_slice(&(self.ballast as u64).to_le_bytes());
        head.resize(head.len() + self.ballast, b'b');
        output.write_all(&head).map_err(PayloadError::new)?;
        Ok(marked(state.trail, self.inner.save(&state.state, output)?))
    }

    fn restore(&self, input: &mut dyn Read) -> Result<Self::State, PayloadError> {
        let mut head = [0; Trail::BYTES + 8];
        input.read_exact(&mut head).map_err(PayloadError::new)?;
        let trail = Trail::read(head.first_chunk().expect("it is longer"));
        let ballast = u64::from_le_bytes(*head.last_chunk().expect("it is longer"));
        std::io::copy(&mut input.take(ballast), &mut std::io::sink()).map_err(PayloadError::new)?;
        Ok(Marked { trail, state: self.inner.restore(input)? })
    }

    fn decide_batch(
        &self,
        state: &mut Self::State,
        batch: &BatchContext,
        calls: Vec<Call<Self::Method>>,
    ) -> Decided<Self> {
        {
            let mut decided = self.decided.lock();
            for call in &calls {
                decided.insert((call.origin.session.clone(), call.origin.number), call.method.clone());
            }
        }
        let marks: Vec<_> =
            calls.iter().map(|call| (call.method.tag, call.method.padding, call.origin.clone())).collect();
        let calls = calls.into_iter().map(|Call { method, origin }| Call { method: method.value, origin }).collect();
        let Decided { decisions, damaged } = self.inner.decide_batch(&mut state.state, batch, calls);
        let mut index = batch.base;
        let mut marked = Decided::with_capacity(decisions.len());
        marked.damaged = damaged;
        for (nth, (decision, (tag, padding, origin))) in decisions.into_iter().zip(marks).enumerate() {
            let seen = state.trail;
            marked.decisions.push(match decision {
                Decision::Action(value) => {
                    index = index.next();
                    let action = Tagged { tag, seen, value, padding };
                    let (session, number) = (&origin.session, origin.number);
                    let reduction = Reduction { action: &action, index, nth, session, number };
                    state.trail = self.follow(state.trail, batch, &reduction);
                    Decision::Action(action)
                }
                Decision::Nothing => Decision::Nothing,
                Decision::Rejected(value) => Decision::Rejected(Tagged { tag, seen, value, padding: 0 }),
                Decision::Failed(failure) => Decision::Failed(failure),
            });
        }
        marked
    }

    fn reduce_batch(
        &self,
        state: &mut Self::State,
        batch: &BatchContext,
        actions: &[Reduction<'_, Self::Action>],
    ) -> Result<(), Failure> {
        let inner: Vec<_> = actions
            .iter()
            .map(|reduction| Reduction {
                action: &reduction.action.value,
                index: reduction.index,
                nth: reduction.nth,
                session: reduction.session,
                number: reduction.number,
            })
            .collect();
        self.inner.reduce_batch(&mut state.state, batch, &inner)?;
        for reduction in actions {
            state.trail = self.follow(state.trail, batch, reduction);
        }
        Ok(())
    }
}
