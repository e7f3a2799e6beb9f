//! `conflux replay`: what an incident holds is gone through again, action by action.

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use conflux::disk::EntryId;
use conflux::incident::{Incident, IncidentError, ReplayError};
use conflux::json::JsonChange;
use conflux_core::container::holds;
use conflux_core::{
    Applied, Batch, Code, Committed, Container, Digest, Failure, Halt, Index, Origins, Payload, RestoreError, Store,
};
use serde_json::Value;

use crate::arguments::ReplayOptions;
use crate::exit::{Exit, Refusal};
use crate::factory::Factory;
use crate::interrupt::Interrupt;
use crate::invariant::{Broken as Unheld, By, Guarded, Guarding};
use crate::line::shortened;
use crate::output::{say, tell};
use crate::progress::{Beside, Progress};
use crate::report::{change_value, state_text};

/// The most bytes of an incident that are read.
const INCIDENT_BYTES_MAX: u64 = 64 << 30;

/// As many bytes as tell an incident of this format from everything else.
const BEGIN_BYTES: u64 = 9;

/// How much output is held back at most before it is written.
const BUFFER_BYTES: usize = 64 << 10;

/// How much of an action or of another text is shown in a message.
const SHOWN_CHARS: usize = 300;

/// How often it is told that the invariant broke.
const BROKEN_MAX: usize = 10;

/// An incident, and where it came from.
pub(crate) struct Found {
    pub(crate) path: PathBuf,
    pub(crate) incident: Incident,
}

/// Reads an incident. What is none is not read to its end.
pub(crate) fn read(path: &Path) -> Result<Found, Refusal> {
    let of_file = |error| Refusal::of_file(path, &error);
    // Before it is opened: a pipe without a writer would not even open.
    let found = std::fs::metadata(path).map_err(of_file)?;
    if found.is_dir() {
        return Err(of_file(std::io::ErrorKind::IsADirectory.into()));
    }
    let refused = |error: String| Refusal::naming(path, &error);
    if !found.is_file() {
        return Err(refused("it is a pipe or a device; an incident is read from a file".into()));
    }
    if found.len() > INCIDENT_BYTES_MAX {
        return Err(refused(format!("it has {} bytes, and at most {INCIDENT_BYTES_MAX} are read", found.len())));
    }
    let file = File::open(path).map_err(of_file)?;
    let mut bytes = Vec::new();
    (&file).take(BEGIN_BYTES).read_to_end(&mut bytes).map_err(of_file)?;
    let begin = Bytes::copy_from_slice(&bytes);
    if let Err(error @ (IncidentError::Foreign | IncidentError::Backup | IncidentError::Version { .. })) =
        Incident::decode(&begin)
    {
        return Err(refused(error.to_string()));
    }
    if let Err(error) = bytes.try_reserve_exact(usize::try_from(found.len()).unwrap_or(usize::MAX)) {
        return Err(refused(format!("its {} bytes are held in memory, which does not go: {error}", found.len())));
    }
    file.take(INCIDENT_BYTES_MAX).read_to_end(&mut bytes).map_err(of_file)?;
    let incident = Incident::decode(&bytes.into()).map_err(|error| refused(error.to_string()))?;
    Ok(Found { path: path.to_owned(), incident })
}

/// Goes through an incident, prints its actions or the state at the end, and compares that with what was recorded.
pub(crate) async fn run<F: Factory>(factory: F, found: Found, options: ReplayOptions) -> Result<Exit, Refusal> {
    let interrupt = Interrupt::listen();
    // A thread of its own, so that signals are heard meanwhile.
    let factory = Guarding::new(factory);
    let work = tokio::task::spawn_blocking(move || replay(&factory, &found, &options, &interrupt));
    match work.await {
        // What was not gone through may differ: it is not good because nobody reads on.
        Ok(done) => done.map_err(Refusal::unread),
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(error) => Err(Refusal::new(format!("it was broken off: {error}"))),
        },
    }
}

fn replay<F: Factory>(
    factory: &Guarding<F>,
    Found { path, incident }: &Found,
    options: &ReplayOptions,
    interrupt: &Interrupt,
) -> Result<Exit, Refusal> {
    describe(path, incident);
    let container = Arc::new(factory.make()?);
    let code = code_of(&factory.name(), &*container, incident);
    let store = match incident.store_by(container, code) {
        Ok(store) => store,
        Err(IncidentError::Restore(error @ (RestoreError::Payload(_) | RestoreError::Halt(_)))) => {
            tell!("stopped at the beginning: {error}");
            let diverged = matches!(error, RestoreError::Halt(Halt::Diverged { .. }));
            return Ok(if diverged { Exit::Diverged } else { Exit::BadLines });
        }
        Err(error) => return Err(Refusal::naming(path, &error)),
    };
    let begin = store.index();
    if let (Some(from), Some(to)) = (options.from, options.to)
        && from >= to
    {
        return Err(Refusal::new(format!("--from {from} --to {to} leaves nothing to print: --from is before --to")));
    }
    if let Some(to) = options.to.filter(|to| *to < begin.0) {
        return Err(Refusal::new(format!(
            "--to {to} is before index {begin}, where the incident's snapshot was taken: what was before is not in it"
        )));
    }
    let committed = incident.committed.max(incident.applied);
    let bytes: u64 = incident.batches().map(|(_, bytes)| bytes.len() as u64).sum();
    let beside = if options.state { Beside::Nothing } else { Beside::Answers };
    let mut walk = Walk {
        factory,
        incident,
        options,
        interrupt,
        code,
        committed,
        store,
        output: BufWriter::with_capacity(BUFFER_BYTES, std::io::stdout().lock()),
        progress: Progress::new(Some(bytes), "actions", beside),
        skipped: 0,
        compared: None,
        unheld: Vec::new(),
        unheld_count: 0,
        asked: begin,
    };
    walk.note_beginning();
    let ended = walk.go();
    walk.progress.finish();
    walk.end(ended?)
}

/// Says what the file is.
pub(crate) fn describe(path: &Path, incident: &Incident) {
    let cluster = match incident.cluster {
        0 => "no cluster".to_owned(),
        cluster => format!("cluster {cluster:016x}, generation {:x}", incident.generation),
    };
    let (taken, program) = (utc(incident.taken_ms), &incident.program);
    tell!("{}: node {:?} of {cluster}, taken {taken} by conflux {program}", path.display(), &*incident.node);
    let status: Value = serde_json::from_str(&incident.status).unwrap_or_default();
    if let Some(why) = status["stopped"].as_str() {
        tell!("  it stopped: {}", shown(why));
    }
    let code = match incident.code {
        code if code == Digest::default() => String::new(),
        code => format!(", code {code}"),
    };
    tell!("  its container had version {}{code}", incident.container_version);
    let digest = incident.digest.map_or_else(|| "no digest".to_owned(), |digest| format!("digest {digest}"));
    let entry = |id: Option<EntryId>| id.map_or_else(|| "no entry".to_owned(), |id| format!("entry {id}"));
    let (applied, committed) = (entry(incident.applied), entry(incident.committed));
    tell!("  it was at index {}, {digest}; applied up to {applied}, committed up to {committed}", incident.index);
    let snapshot = match &incident.snapshot {
        None => "no snapshot".to_owned(),
        Some(snapshot) => match Origins::of_snapshot(&snapshot.store) {
            Ok(origins) => format!("a snapshot at index {}", origins.index),
            Err(error) => format!("a snapshot that cannot be used ({error})"),
        },
    };
    let entries = incident.entries.len();
    tell!("  it held {snapshot} and {entries} {} of the log", if entries == 1 { "entry" } else { "entries" });
}

/// Whose code the container is. Another one than the node's is told.
pub(crate) fn code_of<C: Container>(name: &str, container: &C, incident: &Incident) -> Code {
    let (version, code) = (container.version(), container.code());
    if (version, code) == (incident.container_version, incident.code) {
        return Code::Same;
    }
    let differs = match version == incident.container_version {
        false => format!("it has version {version}, and the node had {}", incident.container_version),
        true => format!("its code is {code}, and the node's was {}", incident.code),
    };
    tell!("warning: {name} is not what the node ran: {differs}. What follows is what {name} makes of the same actions");
    Code::Changed
}

/// An incident on its way.
struct Walk<'a, F: Factory, W: Write> {
    factory: &'a Guarding<F>,
    incident: &'a Incident,
    options: &'a ReplayOptions,
    interrupt: &'a Interrupt,
    code: Code,
    /// The last entry that was known to be committed.
    committed: Option<EntryId>,
    store: Store<Asked<F>>,
    output: W,
    progress: Progress,
    /// How many batches came to nothing.
    skipped: u64,
    /// The place and the digest that are to be those of the incident.
    compared: Option<(Index, Result<Digest, String>)>,
    /// The first states on which the invariant broke, in words.
    unheld: Vec<String>,
    unheld_count: usize,
    /// Up to where it was asked: what is gone through twice is told once.
    asked: Index,
}

/// The container, whose invariant is asked after each action.
type Asked<F> = Arc<Guarded<<F as Factory>::Container>>;
type State<F> = <<F as Factory>::Container as Container>::State;

/// How far it came.
struct End<F: Factory> {
    index: Index,
    /// The state there; none after a batch that broke the reducer in a way that cannot be found out.
    state: Option<Arc<State<F>>>,
    why: Why,
}

enum Why {
    /// There is no more.
    Through,
    /// At the index that was named.
    Asked,
    Interrupted,
    /// It goes no further: in words.
    Stopped(String),
}

/// An action at which the reducer fails.
struct Broken<C: Container> {
    /// Those of its batch before it.
    passed: Vec<Committed<C>>,
    action: Committed<C>,
    failure: Failure,
    /// What they came to.
    before: Option<Arc<C::State>>,
}

impl<F: Factory, W: Write> Walk<'_, F, W> {
    fn go(&mut self) -> Result<End<F>, Refusal> {
        for (id, bytes) in self.incident.batches() {
            let is_committed = Some(id) <= self.committed;
            if !is_committed && !self.options.uncommitted {
                break;
            }
            if self.interrupt.exit().is_some() {
                return Ok(self.here(Why::Interrupted));
            }
            if self.options.to.is_some_and(|to| self.store.index().0 >= to) {
                return Ok(self.here(Why::Asked));
            }
            if Some(id) > self.incident.applied {
                self.compare_here();
            }
            let before = self.store.index();
            let batch = match Batch::<Asked<F>>::decode(bytes) {
                Ok(batch) => batch,
                Err(error) => {
                    let error = ReplayError::Batch { id, error: error.to_string() };
                    return Ok(self.here(Why::Stopped(format!("stopped after index {before}: {error}"))));
                }
            };
            if batch.header.prev == self.store.head()
                && let Some(to) = self.options.to.filter(|to| *to < before.0.saturating_add(batch.actions()))
            {
                return self.part(id, &batch, Index(to), is_committed);
            }
            let applied = self.store.apply_by(&batch, self.code, |_, _, _| {});
            self.note(id);
            match applied {
                Ok(Applied::Skipped) => self.skipped += 1,
                Ok(Applied::Changes(changes)) => self.show(&changes, is_committed)?,
                Err(Halt::Reducer { failure, .. }) => return self.broken(id, before, &failure, is_committed),
                Err(halt) => return Ok(self.halted(id, before, halt)),
            }
            self.progress.advance(self.store.index().0 - before.0, bytes.len() as u64);
        }
        Ok(self.here(Why::Through))
    }

    /// The end, after the last batch that was applied.
    fn here(&self, why: Why) -> End<F> {
        End { index: self.store.index(), state: Some(self.store.state().clone()), why }
    }

    /// The end before a batch that was not applied. Its calls may have been counted; the state is untouched.
    fn halted(&self, id: EntryId, before: Index, halt: Halt) -> End<F> {
        let why = Why::Stopped(format!("stopped after index {before}: {}", ReplayError::Halt { id, halt }));
        End { index: before, state: Some(self.store.state().clone()), why }
    }

    /// Goes through a batch up to an index that lies inside it.
    fn part(&mut self, id: EntryId, batch: &Batch<Asked<F>>, to: Index, known: bool) -> Result<End<F>, Refusal> {
        let (before, header) = (self.store.index(), &batch.header);
        let is_allowed = match self.code {
            Code::Same => Halt::check_code(&**self.store.container(), header.version, header.code),
            Code::Changed => Ok(()),
        };
        let actions = is_allowed.and_then(|()| Ok(self.store.actions_in(batch)?));
        let actions: Vec<_> = match actions {
            Ok(actions) => actions.into_iter().take_while(|action| action.index <= to).collect(),
            Err(halt) => return Ok(self.halted(id, before, halt)),
        };
        let reduced = through(&self.store, actions);
        self.note(id);
        match reduced {
            Ok((actions, state)) => {
                self.show(&actions, known)?;
                Ok(End { index: to, state: Some(Arc::new(state)), why: Why::Asked })
            }
            Err(broken) => self.broken_at(id, *broken, known),
        }
    }

    /// Finds out which action of a batch the reducer failed at. The store was left in the middle of it, so another one goes
    /// the same way up to there.
    fn broken(&mut self, id: EntryId, before: Index, failure: &Failure, known: bool) -> Result<End<F>, Refusal> {
        match self.again(id) {
            Some(broken) => self.broken_at(id, *broken, known),
            None if self.interrupt.exit().is_some() => Ok(End { index: before, state: None, why: Why::Interrupted }),
            None => Ok(End {
                index: before,
                state: None,
                why: Why::Stopped(format!(
                    "stopped after index {before}: the batch in entry {id} cannot be applied: the reducer failed: {failure}. \
                     It cannot be told at which action: when they were reduced again one by one, none failed"
                )),
            }),
        }
    }

    fn again(&self, at: EntryId) -> Option<Box<Broken<Asked<F>>>> {
        let container = Arc::new(self.factory.make().ok()?);
        let mut store = self.incident.store_by(container, self.code).ok()?;
        for (id, bytes) in self.incident.batches() {
            let batch = Batch::decode(bytes).ok()?;
            if id == at {
                return through(&store, store.actions_in(&batch).ok()?).err();
            }
            if self.interrupt.exit().is_some() {
                return None;
            }
            store.apply_by(&batch, self.code, |_, _, _| {}).ok()?;
        }
        None
    }

    fn broken_at(&mut self, id: EntryId, broken: Broken<Asked<F>>, known: bool) -> Result<End<F>, Refusal> {
        self.show(&broken.passed, known)?;
        let JsonChange { index, action, origin, .. } = JsonChange::of(&broken.action);
        let (action, failure) = (shown(&action.to_string()), &broken.failure);
        let why = format!(
            "stopped at index {index}: the reducer fails on {action}, performed at {origin} and in entry {id}: {failure}"
        );
        let before = Index(index.0.saturating_sub(1));
        Ok(End { index: before, state: broken.before, why: Why::Stopped(why) })
    }

    /// Prints actions, unless it is the state that is asked for.
    fn show(&mut self, actions: &[Committed<Asked<F>>], is_committed: bool) -> Result<(), Refusal> {
        if self.options.state {
            return Ok(());
        }
        for action in actions.iter().filter(|action| action.index.0 > self.options.from.unwrap_or(0)) {
            let mut value = change_value(&JsonChange::of(action));
            if !is_committed {
                value["uncommitted"] = true.into();
            }
            writeln!(self.output, "{value}").map_err(|error| Refusal::of_output(&error))?;
        }
        Ok(())
    }

    /// Keeps what the invariant says of the state that it begins with.
    fn note_beginning(&mut self) {
        drop(self.store.container().take_broken());
        if let Err(said) = holds(&**self.store.container(), self.store.state()) {
            self.unheld_count += 1;
            self.unheld.push(format!(
                "at index {}, where it begins, the state breaks the invariant: {}",
                self.asked,
                shown(&said)
            ));
        }
    }

    /// Keeps what the invariant said of the states that the actions of an entry led to.
    fn note(&mut self, id: EntryId) {
        for Unheld { by, said } in self.store.container().take_broken() {
            let By::Action { index, action, origin } = by else { continue };
            if index <= self.asked {
                continue;
            }
            self.asked = index;
            self.unheld_count += 1;
            if self.unheld.len() < BROKEN_MAX {
                self.unheld.push(format!(
                    "at index {index} {}, performed at {origin} and in entry {id}, broke the invariant: {}",
                    shown(&action),
                    shown(&said)
                ));
            }
        }
        self.asked = self.asked.max(self.store.index());
    }

    /// Says at which actions the invariant broke.
    fn tell_unheld(&self) {
        for text in &self.unheld {
            tell!("{text}");
        }
        match self.unheld_count - self.unheld.len() {
            0 => {}
            1 => tell!("the invariant broke once more"),
            more => tell!("the invariant broke {more} times more"),
        }
    }

    /// Takes the digest that is to be the incident's, once, when all that the node had applied was gone through.
    fn compare_here(&mut self) {
        if self.compared.is_none() && self.is_comparable() {
            let digest = self.store.digest().map_err(|halt| halt.to_string());
            self.compared = Some((self.store.index(), digest));
        }
    }

    fn is_comparable(&self) -> bool {
        let begin = self.incident.snapshot.as_ref().and_then(|snapshot| snapshot.last);
        // A snapshot that was being put in place is newer than what was recorded.
        self.incident.digest.is_some() && begin <= self.incident.applied
    }

    /// Prints the state if it is asked for, and says what it came to.
    fn end(mut self, end: End<F>) -> Result<Exit, Refusal> {
        self.output.flush().map_err(|error| Refusal::of_output(&error))?;
        self.tell_unheld();
        if let (Why::Interrupted, Some(exit)) = (&end.why, self.interrupt.exit()) {
            tell!("ended at index {}, before all was gone through", end.index);
            return Ok(exit);
        }
        if let Why::Through = end.why {
            self.compare_here();
            if let Some(to) = self.options.to.filter(|to| *to > end.index.0) {
                return Err(self.not_reached(to, end.index));
            }
        }
        if let Some(from) = self.options.from.filter(|from| *from >= end.index.0) {
            tell!("--from {from} leaves nothing to print: what was gone through ends at index {}", end.index);
        }
        let digest = end.state.as_deref().map(|state| state.digest().map_err(|error| error.to_string()));
        if let (Why::Asked, true, Some(digest)) = (&end.why, self.is_comparable(), &digest)
            && end.index == self.incident.index
        {
            self.compared.get_or_insert((end.index, digest.clone()));
        }
        if self.options.state {
            match end.state.as_deref().map(Payload::to_json) {
                Some(Ok(state)) => say!("{}", state_text(end.index, &state))?,
                Some(Err(error)) => tell!("the state at index {} cannot be shown as JSON: {error}", end.index),
                None => tell!("there is no state to show"),
            }
        }
        let agrees = self.tell_compared();
        if self.compared.as_ref().is_none_or(|(index, _)| *index != end.index) {
            self.tell_place(&end, digest);
        }
        match self.skipped {
            0 => {}
            1 => tell!(
                "1 batch came to nothing, as it did on every node: it was judged on a state that never came to be"
            ),
            skipped => tell!(
                "{skipped} batches came to nothing, as they did on every node: they were judged on states that never came to \
                 be"
            ),
        }
        if let Why::Stopped(why) = &end.why {
            tell!("{why}{}", if self.options.state { "" } else { ". --state shows the state before it" });
        }
        let left = self.incident.batches().filter(|(id, _)| Some(*id) > self.committed).count();
        if left > 0 && !self.options.uncommitted && matches!(end.why, Why::Through) {
            let follow =
                if left == 1 { "1 batch follows that was" } else { &format!("{left} batches follow that were") };
            tell!("{follow} not known to be committed, and may have come to nothing; --uncommitted goes on through it");
        }
        Ok(match (agrees, end.why) {
            (Some(false), _) => Exit::Diverged,
            (_, Why::Stopped(_)) => Exit::BadLines,
            _ if self.unheld_count > 0 => Exit::BadLines,
            _ => Exit::Good,
        })
    }

    fn not_reached(&self, to: u64, reached: Index) -> Refusal {
        let hint =
            if self.options.uncommitted { "" } else { "; --uncommitted goes on to what was not known to be committed" };
        Refusal::new(format!("--to {to} is not in the incident: it goes to index {reached}{hint}"))
    }

    /// Says whether the state came out as it was recorded; `None` where that was not compared.
    fn tell_compared(&self) -> Option<bool> {
        let ((index, digest), recorded) = (self.compared.as_ref()?, self.incident.digest?);
        let (of, place) = (&self.incident, self.incident.index);
        let digest = match digest {
            Ok(digest) if (*index, *digest) == (place, recorded) => {
                tell!("at index {index} the state has digest {digest}, which is what the incident recorded");
                return Some(true);
            }
            Ok(digest) => format!("has digest {digest}"),
            Err(error) => format!("has no digest ({error})"),
        };
        let why = match self.code {
            Code::Changed => "that is what other code made of it",
            Code::Same => "the container is not deterministic, or what the node held in memory was damaged",
        };
        tell!("at index {index} the state {digest}, and {} recorded {recorded} at index {place}: {why}", &*of.node);
        Some(false)
    }

    /// Says where it ended, where that is not where it was compared.
    fn tell_place(&self, end: &End<F>, digest: Option<Result<Digest, String>>) {
        let digest = match digest {
            Some(Ok(digest)) => format!("the state has digest {digest}"),
            Some(Err(error)) => format!("the state has no digest ({error})"),
            None => "there is no state".to_owned(),
        };
        let why = match (self.compared.is_some(), self.is_comparable()) {
            (true, _) => "the node had not come so far".to_owned(),
            (false, true) => format!("the incident recorded the digest of index {} only", self.incident.index),
            (false, false) => "the incident recorded none to compare it with".to_owned(),
        };
        tell!("at index {} {digest}; {why}", end.index);
    }
}

/// The actions, and what they make of the state of a store, one by one; or the first at which the reducer fails.
#[expect(clippy::type_complexity, reason = "a pair of what was given and what came of it")]
fn through<C: Container>(
    store: &Store<C>,
    mut actions: Vec<Committed<C>>,
) -> Result<(Vec<Committed<C>>, C::State), Box<Broken<C>>> {
    let reduce = |state: &mut C::State, actions: &[Committed<C>]| {
        let failed =
            |(nth, action): (usize, &Committed<C>)| Some((nth, action.reduce(store.container(), state).err()?));
        actions.iter().enumerate().find_map(failed)
    };
    let mut state = (**store.state()).clone();
    let Some((nth, failure)) = reduce(&mut state, &actions) else { return Ok((actions, state)) };
    // It may have left the state half-written.
    let mut before = (**store.state()).clone();
    let is_before = reduce(&mut before, &actions[..nth]).is_none();
    actions.truncate(nth + 1);
    let action = actions.pop().expect("it is the one that failed");
    Err(Box::new(Broken { passed: actions, action, failure, before: is_before.then(|| Arc::new(before)) }))
}

/// A text that came from elsewhere, on one line and not too long.
fn shown(text: &str) -> String {
    shortened(&text.replace(|c: char| c.is_control(), " "), SHOWN_CHARS)
}

/// An instant in milliseconds since 1970, as a date and a time.
fn utc(time_ms: u64) -> String {
    const DAY_S: u64 = 86_400;
    let (seconds, mut days) = (time_ms / 1_000 % DAY_S, time_ms / 1_000 / DAY_S);
    let mut year = 1970;
    let is_leap = |year: u64| year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    loop {
        let length = 365 + u64::from(is_leap(year));
        match days.checked_sub(length) {
            // No clock is so far off; a file may say anything.
            Some(_) if year == 9999 => return format!("{time_ms} ms after 1970"),
            Some(rest) => (year, days) = (year + 1, rest),
            None => break,
        }
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        match days.checked_sub(length) {
            Some(rest) => (month, days) = (month + 1, rest),
            None => break,
        }
    }
    let (hours, minutes) = (seconds / 3_600, seconds / 60 % 60);
    format!("{year}-{month:02}-{:02} {hours:02}:{minutes:02}:{:02} UTC", days + 1, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_dates() {
        for (time_ms, text) in [
            (0, "1970-01-01 00:00:00 UTC"),
            (951_782_399_999, "2000-02-28 23:59:59 UTC"),
            (951_782_400_000, "2000-02-29 00:00:00 UTC"),
            (1_764_040_200_000, "2025-11-25 03:10:00 UTC"),
            (1_735_689_599_000, "2024-12-31 23:59:59 UTC"),
            (4_107_542_400_000, "2100-03-01 00:00:00 UTC"),
            (253_402_300_799_000, "9999-12-31 23:59:59 UTC"),
        ] {
            assert_eq!(utc(time_ms), text);
        }
        assert_eq!(utc(u64::MAX), format!("{} ms after 1970", u64::MAX));
    }

    #[test]
    fn a_text_of_a_file_stays_on_its_line() {
        assert_eq!(shown("no\u{1b}[2J\nbar"), "no [2J bar");
        assert_eq!(shown(&"x".repeat(1_000)).chars().count(), SHOWN_CHARS + 1);
    }
}
