//! What an incident has to come to, action by action: a test that is kept beside it.
//!
//! ```text
//! {"replay":"monday.incident","index":2,"digest":"8c0e...","state":["one","two"]}      what it begins with
//! {"index":3,"action":{"type":"APPEND","word":"three"},"digest":"41b7...","state":["one","two","three"]}
//! ```
//!
//! `conflux replay monday.incident app.js --test tests` writes the incident and such a file, `monday.replay.jsonl`, into
//! a directory; so does `replay` of a program around a Rust container. Both belong into the repository.
//! `conflux check app.js tests/monday.replay.jsonl` goes through it again, and in Rust [`assert_replays`] does:
//!
//! ```
//! # use conflux::{Container, Context, MemoryChannel, Never, Node};
//! # struct Counter;
//! # impl Container for Counter {
//! #     type State = u64; type Method = u64; type Action = u64; type Rejection = Never;
//! #     fn initial(&self) -> u64 { 0 }
//! #     fn decide(&self, _: &u64, n: u64, _: &Context<'_>) -> Result<Option<u64>, Never> { Ok(Some(n)) }
//! #     fn reduce(&self, count: &mut u64, n: &u64, _: &Context<'_>) { *count += n }
//! # }
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let node = Node::builder(Counter, "a").cluster_size(1).channel(MemoryChannel::new()).open().await?;
//! # node.perform(5).await?;
//! # let incident = node.incident().await?;
//! # node.close().await;
//! # let tests = tempfile::tempdir()?;
//! # let file = tests.path().join("monday.replay.jsonl");
//! # let scope = conflux::regression::Scope::default();
//! # let regression = conflux::regression::Regression::of(&incident, "monday.incident", Counter.into(), scope)?;
//! # std::fs::write(&file, regression.text())?;
//! # std::fs::write(tests.path().join("monday.incident"), incident.encode())?;
//! // In a test: "tests/monday.replay.jsonl"
//! conflux::regression::assert_replays(Counter, file);
//! # Ok(())
//! # }
//! ```
//!
//! A state is what is expected if it has the digest of its line; or is the `state` of it, on a line that has no digest
//! (written by hand, say). On a line that has neither, the action only has to be reduced. The container's invariant is
//! asked everywhere. Where the container was changed, its code is not compared with what the node ran.

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use conflux_core::container::holds;
use conflux_core::difference::paths_that_differ;
use conflux_core::{Batch, Code, Committed, Container, Digest, Failure, Index, Payload, Store};
use serde_json::{Map, Value};

use crate::disk::EntryId;
use crate::incident::{Incident, ReplayError};
use crate::json::JsonChange;

/// The longest state, as JSON, that is written out. Of a longer one there is the digest.
const STATE_BYTES_MAX: usize = 4_096;

/// How much of an action is shown in a message.
const SHOWN_CHARS: usize = 300;

/// How many places at which states differ are shown.
const PATHS_MAX: usize = 5;

/// Goes through the regression test in a file, and panics where something is not as it says: for a `#[test]`.
///
/// # Panics
/// When the test does not pass, or cannot be read.
#[track_caller]
pub fn assert_replays<C: Container>(container: C, file: impl AsRef<Path>) {
    let file = file.as_ref();
    let regression = Regression::read(file).unwrap_or_else(|error| panic!("{error}"));
    if let Err(unmet) = regression.run(&Arc::new(container)) {
        panic!("{}:{unmet}", file.display());
    }
}

/// An incident, and what each of its actions has to come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Regression {
    incident: Incident,
    /// The file of the incident, seen from that of the test.
    replay: String,
    begin: Expected,
    steps: Vec<Expected>,
    broken: Option<String>,
}

/// How much of an incident a test is about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope {
    /// The last action; by default, the last one that was committed.
    pub to: Option<Index>,
    /// Go on through what was not known to be committed.
    pub uncommitted: bool,
    /// Whose code the container is. With the node's own, it has to come to the digest that the incident recorded.
    pub code: Code,
}

/// What is expected at a place.
#[derive(Clone, Debug, PartialEq)]
struct Expected {
    index: Index,
    /// The action that leads there; none for the beginning.
    action: Option<Value>,
    digest: Option<Digest>,
    state: Option<Value>,
}

/// Why there is no regression test.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegressionError {
    /// The file, or that of its incident, cannot be read.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        error: String,
    },
    /// A line is not what is written into such a file.
    #[error("{}:{line}: {error}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        error: String,
    },
    /// It cannot be gone through.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// There is nothing to be tested.
    #[error(
        "it holds no action {}, so there is nothing to test: \
         take an incident before the node makes a snapshot, as snapshots cut the log",
        match index { Index(0) => "that is committed".to_owned(), index => format!("behind its snapshot at index {index}") }
    )]
    Empty {
        /// Where it begins.
        index: Index,
    },
    /// The action that it was to end with is not in it.
    #[error("index {to} is not in the incident: it goes from {begin} to {end}")]
    Outside {
        /// The action that was named.
        to: Index,
        /// Where it begins.
        begin: Index,
        /// Where it ends.
        end: Index,
    },
    /// The node's own container comes to another state than the node.
    #[error(
        "at index {index} the state has digest {is}, and the incident recorded {recorded}: the container is not \
         deterministic, or what the node held in memory was damaged; a test of it would pass by chance"
    )]
    Diverged {
        /// The place.
        index: Index,
        /// What it came to.
        is: Digest,
        /// What the node had.
        recorded: Digest,
    },
    /// A state that cannot be written has no digest.
    #[error("the state at index {index} cannot be written: {error}")]
    Unwritten {
        /// The place.
        index: Index,
        /// Why.
        error: String,
    },
}

/// Where a test fails.
#[derive(Clone, Debug, PartialEq)]
pub struct Unmet {
    /// The line of the test's file.
    pub line: usize,
    /// The place.
    pub index: Index,
    /// The action that led there, as JSON; none at the beginning.
    pub action: Option<Value>,
    /// What is wrong.
    pub what: Wrong,
}

/// What is wrong at a place of a test.
#[derive(Clone, Debug, PartialEq)]
pub enum Wrong {
    /// The incident cannot be gone through.
    Replay(ReplayError),
    /// Another action, or none, is at this place.
    Action(Option<Value>),
    /// The reducer fails on the action.
    Reducer(Failure),
    /// The state is another one.
    State {
        /// Where, and what was expected there; empty where that is not known.
        paths: Vec<String>,
        /// The state's digest, or why it has none.
        is: Result<Digest, String>,
    },
    /// The invariant does not hold; what it says.
    Invariant(String),
}

impl Regression {
    /// Has a container go through an incident, and takes what it comes to for what is expected. `replay` is how the
    /// incident's file is found from that of the test.
    ///
    /// From the action on at which the reducer fails or the invariant breaks, no state is expected: the test fails there
    /// until the container is corrected.
    ///
    /// # Errors
    /// When there is nothing in it to be tested, or it cannot be gone through.
    pub fn of<C: Container>(
        incident: &Incident,
        replay: &str,
        container: Arc<C>,
        scope: Scope,
    ) -> Result<Regression, RegressionError> {
        let store = incident.store_by(container, scope.code).map_err(ReplayError::from)?;
        let container = store.container().clone();
        let start = store.index();
        let mut broken = holds(&*container, store.state())
            .err()
            .map(|said| format!("at index {start}, where it begins, the state breaks the invariant: {said}"));
        let begin = match broken {
            Some(_) => Expected::bare(start, None),
            None => Expected::of(start, None, &**store.state())?,
        };
        let committed = incident.committed.max(incident.applied);
        let in_scope = |id| scope.uncommitted || Some(id) <= committed;
        let recorded = match (scope.code, incident.digest) {
            (Code::Same, Some(digest)) => Some((incident.index, digest)),
            _ => None,
        };
        let diverged = |expected: &Expected| match (recorded, expected.digest) {
            (Some((index, recorded)), Some(is)) if expected.index == index && is != recorded => {
                Err(RegressionError::Diverged { index, is, recorded })
            }
            _ => Ok(()),
        };
        diverged(&begin)?;
        let mut steps: Vec<Expected> = Vec::new();
        let mut step = |step: Step<'_, C>| -> Result<(), RegressionError> {
            let change = JsonChange::of(step.action);
            let (index, action) = (change.index, change.action);
            if broken.is_none() {
                let at = || format!("at index {index} {}", shown(&action));
                broken = match step.reduced {
                    Ok(state) => {
                        holds(&*container, state).err().map(|said| format!("{} breaks the invariant: {said}", at()))
                    }
                    Err(failure) => Some(format!("{}: the reducer fails: {failure}", at())),
                };
            }
            let expected = match (step.reduced, &broken) {
                (Ok(state), None) => Expected::of(index, Some(action), state)?,
                _ => Expected::bare(index, Some(action)),
            };
            diverged(&expected)?;
            steps.push(expected);
            Ok(())
        };
        let ended = walk(incident, store, scope.code, in_scope, |next| match scope.to {
            Some(to) if next.action.index > to => ControlFlow::Break(Ok(())),
            _ => match step(next) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(Err(error)),
            },
        })?;
        ended.unwrap_or(Ok(()))?;
        let end = steps.last().map_or(start, |step| step.index);
        if let Some(to) = scope.to.filter(|to| *to < start || *to > end && broken.is_none()) {
            return Err(RegressionError::Outside { to, begin: start, end });
        }
        if steps.is_empty() {
            return Err(RegressionError::Empty { index: start });
        }
        Ok(Regression { incident: incident.clone(), replay: replay.to_owned(), begin, steps, broken })
    }

    /// Reads a test, and the incident beside it.
    ///
    /// # Errors
    /// When a file is missing or not such a file.
    pub fn read(path: &Path) -> Result<Regression, RegressionError> {
        let of_file = |path: &Path, error: &dyn fmt::Display| RegressionError::File {
            path: path.to_owned(),
            error: error.to_string(),
        };
        let text = std::fs::read_to_string(path).map_err(|error| of_file(path, &error))?;
        let mut lines = text.lines().enumerate().map(|(nth, line)| {
            let of_line = |error| RegressionError::Line { path: path.to_owned(), line: nth + 1, error };
            let object: Map<String, Value> = serde_json::from_str(line).map_err(|error| of_line(error.to_string()))?;
            let expected = Expected::parse(&object).map_err(of_line)?;
            Ok::<_, RegressionError>((object.get("replay").and_then(Value::as_str).map(str::to_owned), expected))
        });
        let head = lines.next().transpose()?;
        let Some((Some(replay), begin)) = head else {
            let error = "this is no test of a replay: its first line has no \"replay\" with the name of an incident";
            return Err(RegressionError::Line { path: path.to_owned(), line: 1, error: error.to_owned() });
        };
        let steps = lines.map(|line| Ok(line?.1)).collect::<Result<Vec<_>, RegressionError>>()?;
        let beside = path.with_file_name(&replay);
        let bytes = std::fs::read(&beside).map_err(|error| of_file(&beside, &error))?;
        let incident = Incident::decode(&bytes.into()).map_err(|error| of_file(&beside, &error))?;
        Ok(Regression { incident, replay, begin, steps, broken: None })
    }

    /// The test's file.
    #[must_use]
    pub fn text(&self) -> String {
        let head = [("replay".to_owned(), Value::from(&*self.replay))].into_iter().collect();
        let mut text = format!("{}\n", Value::Object(self.begin.onto(head)));
        for step in &self.steps {
            text.push_str(&format!("{}\n", Value::Object(step.onto(Map::new()))));
        }
        text
    }

    /// The file of the incident, seen from that of the test.
    #[must_use]
    pub fn replay(&self) -> &str {
        &self.replay
    }

    /// Where it begins.
    #[must_use]
    pub fn begin(&self) -> Index {
        self.begin.index
    }

    /// How many actions it has.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Where the container that it was [made of](Self::of) went wrong, in words: there it fails.
    #[must_use]
    pub fn broken(&self) -> Option<&str> {
        self.broken.as_deref()
    }

    /// Has a container go through it, and gives the state that it ends with.
    ///
    /// # Errors
    /// Where something is first not as it is expected.
    pub fn run<C: Container>(&self, container: &Arc<C>) -> Result<C::State, Box<Unmet>> {
        let unmet = |nth: usize, expected: &Expected, what| {
            let Expected { index, action, .. } = expected;
            Box::new(Unmet { line: nth + 1, index: *index, action: action.clone(), what })
        };
        let of_replay = |error| unmet(0, &self.begin, Wrong::Replay(error));
        let store =
            self.incident.store_by(container.clone(), Code::Changed).map_err(|error| of_replay(error.into()))?;
        let mut last = (**store.state()).clone();
        if store.index() != self.begin.index {
            return Err(unmet(0, &self.begin, Wrong::Action(None)));
        }
        self.begin.judge(&**container, &last).map_err(|what| unmet(0, &self.begin, what))?;
        let mut left = (1..).zip(&self.steps).peekable();
        let ended = walk(
            &self.incident,
            store,
            Code::Changed,
            |_| true,
            |step| {
                let Some((nth, expected)) = left.next() else { return ControlFlow::Break(Ok(())) };
                let JsonChange { index, action, .. } = JsonChange::of(step.action);
                let judged = if index != expected.index || Some(&action) != expected.action.as_ref() {
                    Err(Wrong::Action(Some(action)))
                } else {
                    match step.reduced {
                        Ok(state) => expected.judge(&**container, state).map(|()| state),
                        Err(failure) => Err(Wrong::Reducer(failure.clone())),
                    }
                };
                match judged {
                    Ok(state) if left.peek().is_none() => {
                        last = state.clone();
                        ControlFlow::Break(Ok(()))
                    }
                    Ok(_) => ControlFlow::Continue(()),
                    Err(what) => ControlFlow::Break(Err(unmet(nth, expected, what))),
                }
            },
        );
        match ended {
            Ok(Some(ended)) => ended?,
            Ok(None) => {}
            Err(error) => {
                let (nth, expected) = left.next().unwrap_or((0, &self.begin));
                return Err(unmet(nth, expected, Wrong::Replay(error)));
            }
        }
        match left.next() {
            Some((nth, expected)) => Err(unmet(nth, expected, Wrong::Action(None))),
            None => Ok(last),
        }
    }
}

impl Expected {
    fn bare(index: Index, action: Option<Value>) -> Expected {
        Expected { index, action, digest: None, state: None }
    }

    fn of<S: Payload>(index: Index, action: Option<Value>, state: &S) -> Result<Expected, RegressionError> {
        let digest = state.digest().map_err(|error| RegressionError::Unwritten { index, error: error.to_string() })?;
        let json = state.to_json().ok().filter(|json| json.to_string().len() <= STATE_BYTES_MAX);
        Ok(Expected { index, action, digest: Some(digest), state: json })
    }

    /// What is wrong with a state that ought to be this one.
    fn judge<C: Container>(&self, container: &C, state: &C::State) -> Result<(), Wrong> {
        let is = state.digest().map_err(|error| error.to_string());
        let json = || self.state.as_ref().and_then(|expected| Some((expected, state.to_json().ok()?)));
        let paths = || {
            let (expected, is) = json()?;
            let differences = paths_that_differ(expected, &is);
            Some(
                differences
                    .iter()
                    .take(PATHS_MAX)
                    .map(|difference| {
                        let [expected, is] = difference.shown();
                        format!("state{} is {is}, and {expected} is expected", difference.path)
                    })
                    .collect::<Vec<_>>(),
            )
        };
        let is_other = match self.digest {
            Some(digest) => is != Ok(digest),
            None => self.state.is_some() && paths().is_none_or(|paths| !paths.is_empty()),
        };
        if is_other {
            return Err(Wrong::State { paths: paths().unwrap_or_default(), is });
        }
        holds(container, state).map_err(Wrong::Invariant)
    }

    fn parse(object: &Map<String, Value>) -> Result<Expected, String> {
        if let Some(key) =
            object.keys().find(|key| !["replay", "index", "action", "digest", "state"].contains(&key.as_str()))
        {
            return Err(format!("{key:?} is no part of such a line: it has index, action, digest and state"));
        }
        let index =
            object.get("index").and_then(Value::as_u64).ok_or("it has no \"index\", which is a whole number")?;
        let digest = object.get("digest").map(|digest| {
            let digits = digest.as_str().filter(|digits| digits.len() == 32);
            digits.and_then(|digits| u128::from_str_radix(digits, 16).ok()).map(Digest)
        });
        let digest = match digest {
            Some(None) => return Err("its \"digest\" is none: that has 32 hexadecimal digits".to_owned()),
            digest => digest.flatten(),
        };
        Ok(Expected {
            index: Index(index),
            action: object.get("action").cloned(),
            digest,
            state: object.get("state").cloned(),
        })
    }

    /// The line, with what it begins with.
    fn onto(&self, mut line: Map<String, Value>) -> Map<String, Value> {
        line.insert("index".to_owned(), self.index.0.into());
        let rest = [
            ("action", self.action.clone()),
            ("digest", self.digest.map(|digest| digest.to_string().into())),
            ("state", self.state.clone()),
        ];
        line.extend(rest.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))));
        line
    }
}

/// An action, and the state that it leads to.
struct Step<'a, C: Container> {
    action: &'a Committed<C>,
    reduced: Result<&'a C::State, &'a Failure>,
}

/// Goes through the actions of an incident, one by one, until it is told to stop or the reducer fails.
fn walk<C: Container, B>(
    incident: &Incident,
    mut store: Store<C>,
    code: Code,
    in_scope: impl Fn(EntryId) -> bool,
    mut see: impl FnMut(Step<'_, C>) -> ControlFlow<B>,
) -> Result<Option<B>, ReplayError> {
    for (id, bytes) in incident.batches().take_while(|(id, _)| in_scope(*id)) {
        let batch = Batch::decode(bytes).map_err(|error| ReplayError::Batch { id, error: error.to_string() })?;
        let halted = |halt| ReplayError::Halt { id, halt };
        let actions = store.actions_in(&batch).map_err(|corrupt| halted(corrupt.into()))?;
        let mut state = (**store.state()).clone();
        for action in &actions {
            let reduced = action.reduce(store.container(), &mut state);
            let flow = see(Step { action, reduced: reduced.as_ref().map(|()| &state) });
            if let ControlFlow::Break(end) = flow {
                return Ok(Some(end));
            }
            if reduced.is_err() {
                return Ok(None);
            }
        }
        store.apply_by(&batch, code, |_, _, _| {}).map_err(halted)?;
    }
    Ok(None)
}

impl fmt::Display for Unmet {
    /// Begins with the line: `4: at index 3 ...`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Unmet { line, index, action, what } = self;
        write!(f, "{line}: at index {index}")?;
        match action {
            Some(action) => write!(f, " {}: ", shown(action))?,
            None => f.write_str(", where it begins: ")?,
        }
        match what {
            Wrong::Replay(error) => write!(f, "{error}"),
            Wrong::Action(Some(came)) => write!(f, "the incident has another action there: {}", shown(came)),
            Wrong::Action(None) => {
                f.write_str("the incident has nothing there: is it the one that belongs to this test?")
            }
            Wrong::Reducer(failure) => write!(f, "the reducer fails: {failure}"),
            Wrong::State { paths, .. } if !paths.is_empty() => f.write_str(&paths.join("; ")),
            Wrong::State { is: Ok(is), .. } => {
                write!(f, "the state is another one than is expected: its digest is {is}")
            }
            Wrong::State { is: Err(error), .. } => write!(f, "the state cannot be compared: {error}"),
            Wrong::Invariant(said) => write!(f, "the invariant does not hold: {said}"),
        }
    }
}

impl std::error::Error for Unmet {}

/// A value on one line, and not too long.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(SHOWN_CHARS) {
        None => text,
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}
