//! The user's definition: initial state, methods, reducer.

use std::any::Any;
use std::fmt::{Debug, Display};
use std::io::{Read, Write};

use crate::call::CallError;
use crate::context::{Context, Origin, Random, Stamps, Stream, stream_seed};
use crate::digest::Digest;
use crate::ids::{CallNumber, Index, SessionId};
use crate::panics;
use crate::payload::{Payload, PayloadError};

/// A replicated, predictable state: what one hands to a node.
///
/// A container is a value, so it can also be a script or a set of closures. Its three functions are synchronous and
/// deterministic: [`decide`](Self::decide) and [`reduce`](Self::reduce) depend on nothing but what they are given.
///
/// ```
/// use conflux_core::{Container, Context, Reject};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Clone, Serialize, Deserialize)]
/// #[serde(rename_all = "snake_case")]
/// enum Method { Append(String) }
/// #[derive(Debug, Serialize, Deserialize)]
/// enum Action { Appended(String) }
/// struct Words;
///
/// impl Container for Words {
///     type State = Vec<String>;
///     type Method = Method;
///     type Action = Action;
///     type Rejection = Reject;
///
///     fn initial(&self) -> Vec<String> { vec![] }
///     fn decide(&self, _: &Vec<String>, Method::Append(word): Method, _: &Context<'_>) -> Result<Option<Action>, Reject> {
///         if word.len() > 80 { Err("too long".into()) } else { Ok(Some(Action::Appended(word))) }
///     }
///     fn reduce(&self, words: &mut Vec<String>, Action::Appended(word): &Action, _: &Context<'_>) {
///         words.push(word.clone());
///     }
/// }
/// assert_eq!(Words.methods(), ["append"]);
/// ```
pub trait Container: Send + Sync + 'static {
    /// The value that all nodes hold. Cloned when a reader keeps an old one, and once per leadership: a large state
    /// wants a persistent collection.
    ///
    /// It must be written in the same order on every node: no `HashSet`, whose digest would differ on each of them, so
    /// that its snapshots are refused as damaged. (A `HashMap` passes, as the order of maps does not count.)
    type State: Payload + Clone;
    /// What a caller asks for; usually an enum.
    type Method: Payload + Clone;
    /// What is replicated.
    type Action: Payload + Debug;
    /// Why a method refuses.
    type Rejection: Payload + Debug + Display;

    /// The state at index 0.
    fn initial(&self) -> Self::State;

    /// A method: judges the call on the provisional state; runs on the leader only.
    ///
    /// # Errors
    /// The rejection that the caller is told.
    fn decide(
        &self,
        state: &Self::State,
        method: Self::Method,
        context: &Context<'_>,
    ) -> Result<Option<Self::Action>, Self::Rejection>;

    /// The reducer: takes the state through an action; runs on every node, and on the leader's fork.
    fn reduce(&self, state: &mut Self::State, action: &Self::Action, context: &Context<'_>);

    /// Tells apart versions of the container whose actions mean different things. A node never applies a batch of
    /// another version than its own: it halts and says so.
    fn version(&self) -> u32 {
        1
    }

    /// A digest of the container's code where there is one to take (a script's source); nodes that differ refuse each
    /// other.
    fn code(&self) -> Digest {
        Digest::default()
    }

    /// Whether its functions may take long: those of a script, whose loops end at a limit only. Then nothing else waits
    /// behind them for a thread.
    fn may_take_long(&self) -> bool {
        false
    }

    /// The names of the methods, for the program, HTTP and devtools.
    fn methods(&self) -> Vec<String> {
        Self::Method::variants()
    }

    /// Makes a method of a name and JSON arguments.
    ///
    /// # Errors
    /// Says which name or argument was wrong, and what is allowed.
    fn method(&self, name: &str, arguments: Vec<serde_json::Value>) -> Result<Self::Method, CallError> {
        Self::Method::from_call(name, arguments)
    }

    /// Makes a call up, for a simulation: it performs what this gives, and the same stream of random numbers gives the same
    /// calls. `None` is nothing this time. Ask it by [`sampled`].
    ///
    /// The provided one makes up any value of the type of the methods: see [`Payload::sample`]. One's own makes those up
    /// that matter.
    ///
    /// # Errors
    /// When no call can be made up, in words.
    fn sample(&self, random: &mut Random) -> Result<Option<Self::Method>, String> {
        Self::Method::sample(random).map(Some).map_err(|error| error.to_string())
    }

    /// What must hold of every state. Where it does not hold, it says what is wrong; so does its panic.
    ///
    /// Asked by development tools and simulations, and never while a cluster serves: it changes no outcome. Ask it by
    /// [`holds`].
    ///
    /// # Errors
    /// What is wrong with the state.
    fn invariant(&self, state: &Self::State) -> Result<(), String> {
        let _ = state;
        Ok(())
    }

    /// Writes a state, for a snapshot, and gives the state's digest.
    ///
    /// # Errors
    /// When the state refuses to be written, or `output` to be written to.
    fn save(&self, state: &Self::State, output: &mut dyn Write) -> Result<Digest, PayloadError> {
        state.write(output)
    }

    /// Reads what [`save`](Self::save) wrote. A container that lives elsewhere (a script engine) makes it there.
    ///
    /// # Errors
    /// When the bytes are no such state.
    fn restore(&self, input: &mut dyn Read) -> Result<Self::State, PayloadError> {
        Self::State::read(input)
    }

    /// Decides calls in order, each on the state that the calls before it left, and takes `state` along.
    ///
    /// The provided one does it a call at a time; a container that lives elsewhere overrides it to hop once a batch.
    /// It may stop early (see [`Decided::damaged`] and [`ACTION_BYTES_MAX`]); it must decide at least one call of a batch that has any.
    fn decide_batch(
        &self,
        state: &mut Self::State,
        batch: &BatchContext,
        calls: Vec<Call<Self::Method>>,
    ) -> Decided<Self>
    where
        Self: Sized,
    {
        let mut decided = Decided::with_capacity(calls.len());
        let mut index = batch.base;
        let (mut bytes, mut written) = (Vec::new(), 0);
        for (nth, Call { method, origin }) in calls.into_iter().enumerate() {
            let context = batch.deciding(nth, index.next(), &origin);
            let said = match panics::caught("the method", || self.decide(state, method, &context)) {
                Ok(Ok(Some(action))) => {
                    // What followers will read is what is reduced here too: a field that serde skips cannot differ.
                    let read = panics::caught("writing the action", || {
                        check_written(&action, "action", &mut bytes).and_then(|()| read_back(&bytes))
                    });
                    read.flatten().map(|action| Ok(Some(action)))
                }
                Ok(Err(rejection)) => {
                    let written =
                        panics::caught("writing the rejection", || check_written(&rejection, "rejection", &mut bytes));
                    written.flatten().map(|()| Err(rejection))
                }
                Ok(Ok(None)) => {
                    bytes.clear();
                    Ok(Ok(None))
                }
                Err(failure) => Err(failure),
            };
            let decision = match said {
                Ok(Ok(Some(action))) => {
                    let context = batch.reducing(nth, index.next(), &origin);
                    let reduced = panics::caught("the reducer", || self.reduce(state, &action, &context));
                    match reduced {
                        Ok(()) => {
                            index = index.next();
                            Decision::Action(action)
                        }
                        Err(failure) => {
                            decided.damaged = true;
                            Decision::Failed(failure)
                        }
                    }
                }
                Ok(Ok(None)) => Decision::Nothing,
                Ok(Err(rejection)) => Decision::Rejected(rejection),
                Err(failure) => Decision::Failed(failure),
            };
            decided.decisions.push(decision);
            written += bytes.len();
            if decided.damaged || written > ACTION_BYTES_MAX {
                break;
            }
        }
        decided
    }

    /// Takes a state through the actions of a batch. The provided one calls [`reduce`](Self::reduce) for each.
    ///
    /// # Errors
    /// A reducer that fails on what passed on the leader is not deterministic: the node stops.
    fn reduce_batch(
        &self,
        state: &mut Self::State,
        batch: &BatchContext,
        actions: &[Reduction<'_, Self::Action>],
    ) -> Result<(), Failure> {
        panics::caught("the reducer", || {
            for reduction in actions {
                let context = reduction.context(batch);
                self.reduce(state, reduction.action, &context);
            }
        })
    }
}

/// Asks a container's [invariant](Container::invariant). It is the user's code, and may panic: then it does not hold.
///
/// # Errors
/// What is wrong with the state.
pub fn holds<C: Container>(container: &C, state: &C::State) -> Result<(), String> {
    panics::caught("the invariant", || container.invariant(state)).map_err(|failure| failure.to_string()).flatten()
}

/// Has a container [make a call up](Container::sample). That is the user's code, and may panic.
///
/// # Errors
/// When no call can be made up, or making it up panics.
pub fn sampled<C: Container>(container: &C, random: &mut Random) -> Result<Option<C::Method>, String> {
    panics::caught("sample", || container.sample(random)).map_err(|failure| failure.to_string()).flatten()
}

fn read_back<T: Payload>(bytes: &[u8]) -> Result<T, Failure> {
    T::decode(bytes).map_err(|error| Failure {
        message: format!("the action cannot be read back as it was written: {error}"),
        at: None,
    })
}

/// The most bytes of one action or rejection, and about the most of one batch: larger entries would hold up heartbeats.
/// Binds on the leader, before anything is proposed.
pub const ACTION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What cannot be written fails its call, before the state is touched: once in a batch, it would stop every leader that
/// the call is sent to.
fn check_written<T: Payload>(value: &T, what: &str, bytes: &mut Vec<u8>) -> Result<(), Failure> {
    bytes.clear();
    let failed = |message| Err(Failure { message, at: None });
    match value.encode(bytes) {
        Err(error) => failed(format!("the {what} cannot be written: {error}")),
        Ok(()) if bytes.len() > ACTION_BYTES_MAX => {
            failed(format!("the {what} has {} bytes, more than the {ACTION_BYTES_MAX} allowed", bytes.len()))
        }
        Ok(()) => Ok(()),
    }
}

/// One call of a batch, on its way to be decided.
#[derive(Clone, Debug)]
pub struct Call<M> {
    /// What is asked for.
    pub method: M,
    /// Who asks.
    pub origin: Origin,
}

/// One action of a batch, on its way to be reduced.
#[derive(Debug)]
pub struct Reduction<'a, A> {
    /// The action.
    pub action: &'a A,
    /// Its place.
    pub index: Index,
    /// The how-many-th decided call of its batch, from 0: chooses its random stream.
    pub nth: usize,
    /// The session of the node that asked for it.
    pub session: &'a SessionId,
    /// The call in that session.
    pub number: CallNumber,
}

impl<'a, A> Reduction<'a, A> {
    /// The context in which it is reduced.
    #[must_use]
    pub fn context(&self, batch: &BatchContext) -> Context<'a> {
        let seed = stream_seed(batch.seed, self.nth as u64, Stream::Reduce);
        Context::of(self.index, batch.stamps, (self.session, self.number), seed)
    }
}

/// What the calls of one batch share.
#[derive(Clone, Copy, Debug)]
pub struct BatchContext {
    /// The place before the first action of the batch.
    pub base: Index,
    /// The clocks.
    pub stamps: Stamps,
    /// The source of all its random streams.
    pub seed: u64,
}

impl BatchContext {
    /// The context in which the `nth` call of the batch is decided.
    #[must_use]
    pub fn deciding<'a>(&self, nth: usize, index: Index, origin: &'a Origin) -> Context<'a> {
        Context::new(index, self.stamps, origin, stream_seed(self.seed, nth as u64, Stream::Decide))
    }

    /// The context in which the action of the `nth` call of the batch is reduced.
    #[must_use]
    pub fn reducing<'a>(&self, nth: usize, index: Index, origin: &'a Origin) -> Context<'a> {
        Context::new(index, self.stamps, origin, stream_seed(self.seed, nth as u64, Stream::Reduce))
    }
}

/// What a method said.
#[derive(Debug)]
pub enum Decision<A, R> {
    /// It makes an action.
    Action(A),
    /// There is nothing to do.
    Nothing,
    /// It refuses.
    Rejected(R),
    /// It broke: a bug in the container.
    Failed(Failure),
}

/// What [`Container::decide_batch`] gives back.
pub struct Decided<C: Container> {
    /// One a call, in order, for as many calls as were decided.
    pub decisions: Vec<Decision<C::Action, C::Rejection>>,
    /// The state was left half-written by a reducer that broke; the last decision is that failure. The fork is thrown
    /// away after this batch.
    pub damaged: bool,
}

impl<C: Container> Decided<C> {
    /// Nothing decided yet.
    #[must_use]
    pub fn with_capacity(calls: usize) -> Self {
        Decided { decisions: Vec::with_capacity(calls), damaged: false }
    }
}

/// A method or reducer broke: it panicked, threw what is no rejection, or went over a limit.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[error("{message}{}", at.as_ref().map(|at| format!(" at {at}")).unwrap_or_default())]
pub struct Failure {
    /// What happened.
    pub message: String,
    /// Where, as `file:line`, if known.
    pub at: Option<String>,
}

/// How much is kept of what a panic says: it goes into the log.
const PANIC_BYTES_MAX: usize = 4096;

impl Failure {
    /// The failure that a caught panic is.
    #[must_use]
    pub fn of_panic(what: &str, panic: &(dyn Any + Send)) -> Failure {
        let said = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
        let said = said.unwrap_or("with no message");
        let said = &said[..said.floor_char_boundary(PANIC_BYTES_MAX)];
        Failure { message: format!("{what} panicked: {said}"), at: None }
    }
}
