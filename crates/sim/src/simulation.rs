//! Many runs of one container, and what they come to.

use std::fmt;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use conflux::{Container, Failure, Random};

use crate::fault::FaultKind;
use crate::history::Failures;
use crate::run::{Looked, Run, run};
use crate::schedule::{Kept, NODES_MAX, Schedule, Wanted};
use crate::shrink::shrink;
use crate::subject::Subject;
use crate::tally::Tally;
use crate::wrong::Wrong;

/// What names one seed to run, or a part of what it does: `17`, or `17;nodes=3;faults=0-3,7;asks=12`.
pub const AGAIN: &str = "CONFLUX_SIM";

/// Simulates a container. See the crate's documentation.
#[must_use = "nothing is simulated until it is run"]
pub struct Simulation<C: Container> {
    subject: Subject<C>,
    seeds: Range<u64>,
    wanted: Wanted,
    /// The faults are those that somebody named.
    chosen: bool,
    threads: usize,
    /// All that happens in a run that breaks a promise is kept for a viewer.
    view: bool,
    progress: Arc<dyn Fn(&Progress) + Send + Sync>,
}

/// How far a simulation is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many seeds hold, of so many.
    Seeds {
        /// How many hold.
        held: u64,
        /// Of how many.
        of: u64,
    },
    /// A promise is broken. Its schedule is made shorter from here on, which may take a while.
    Broken {
        /// By this seed.
        seed: u64,
        /// What was promised, and what came.
        wrong: Wrong,
    },
    /// So much is left of a schedule that is made shorter.
    Shrinking {
        /// The seed.
        seed: u64,
        /// How many schedules were tried.
        tries: usize,
        /// How many nodes are left.
        nodes: usize,
        /// How many faults.
        faults: usize,
        /// How many asks.
        asks: usize,
    },
}

/// All seeds hold.
#[derive(Clone, Debug, Default)]
pub struct Passed {
    /// How many.
    pub seeds: u64,
    /// How often each thing happened.
    pub tally: Tally,
    /// How many actions were committed.
    pub actions: u64,
    /// The calls that failed.
    pub failures: Failures,
    /// How much time passed in them, all together.
    pub simulated: Duration,
    /// What might have gone wrong and never did: nothing is known about it.
    pub missing: Vec<FaultKind>,
}

/// A promise was broken.
#[derive(Clone, Debug)]
pub struct Broken {
    /// By this seed.
    pub seed: u64,
    /// What was promised, and what came.
    pub wrong: Wrong,
    /// What came of its whole schedule: the same in other words, perhaps.
    pub found: Wrong,
    /// The part of its schedule that is enough for it.
    pub kept: Kept,
    /// That part.
    pub schedule: Schedule,
    /// The run of that part, with everything that happened in it.
    pub run: Run,
}

/// Why a simulation did not pass.
#[derive(Clone, Debug)]
pub enum Failed {
    /// A promise was broken.
    Broken(Box<Broken>),
    /// Faults that were asked for by name never happened.
    NeverHappened(Passed),
    /// Calls failed, and none ever made an action, or there was none: nothing is known of a container by that.
    NothingDone(Passed),
    /// There is nothing to simulate.
    Unusable(String),
}

impl<C: Container> Simulation<C> {
    pub(crate) fn new(subject: Subject<C>) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Simulation {
            subject,
            seeds: 0..100,
            wanted: Wanted::default(),
            chosen: false,
            threads,
            view: false,
            progress: Arc::new(|_| ()),
        }
    }

    /// Which seeds are run; 0 to 99 unless told.
    pub fn seeds(mut self, seeds: Range<u64>) -> Self {
        self.seeds = seeds;
        self
    }

    /// How many nodes there are, 1 to 9; unless told, a number for each seed, mostly 3.
    ///
    /// # Panics
    /// When there are none, or too many.
    pub fn nodes(mut self, nodes: usize) -> Self {
        assert!((1..=NODES_MAX).contains(&nodes), "a simulation has 1 to {NODES_MAX} nodes, and {nodes} came");
        self.wanted.nodes = Some(nodes);
        self
    }

    /// How long callers call and things go wrong, in simulated time; a minute unless told.
    pub fn length(mut self, length: Duration) -> Self {
        self.wanted.length = length;
        self
    }

    /// What is to go wrong, each of it at least once in all seeds; unless told, anything may.
    pub fn faults(mut self, faults: impl IntoIterator<Item = FaultKind>) -> Self {
        self.wanted.faults = faults.into_iter().collect();
        self.chosen = true;
        self
    }

    /// What callers ask for, drawn from what is given; unless told, the container's own
    /// [samples](Container::sample).
    pub fn calls(mut self, draw: impl Fn(&mut Random) -> C::Method + Send + Sync + 'static) -> Self {
        self.subject = self.subject.with_calls(draw);
        self
    }

    /// By which failures of calls a run ends, as by a broken promise. Unless told, by none: a call may fail.
    pub fn fatal_failures(mut self, fatal: impl Fn(&Failure) -> bool + Send + Sync + 'static) -> Self {
        self.subject = self.subject.with_fatal(fatal);
        self
    }

    /// How many seeds run at the same time; one a core unless told.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads.max(1);
        self
    }

    /// Keeps all that happens in the [run](Broken::run) of a broken promise [for a viewer](Run::view).
    pub fn with_view(mut self, view: bool) -> Self {
        self.view = view;
        self
    }

    /// Who is told how far it is.
    pub fn progress(mut self, told: impl Fn(&Progress) + Send + Sync + 'static) -> Self {
        self.progress = Arc::new(told);
        self
    }

    /// Runs all seeds; or the one that the environment variable [`CONFLUX_SIM`](AGAIN) names, as a failure says it, and
    /// prints all that happens in it.
    ///
    /// # Panics
    /// When a promise is broken: with the seed, the promise, the shortest schedule, what happened, and the command that
    /// repeats it. When a fault never happened.
    pub fn run(self) -> Passed {
        let came = match std::env::var(AGAIN) {
            Ok(again) => self.again(&again),
            Err(_) => self.try_run(),
        };
        match came {
            Ok(passed) => passed,
            Err(failed) => panic!("{failed}"),
        }
    }

    /// The same, for those who want to tell it themselves.
    ///
    /// # Errors
    /// What was broken, or what never happened.
    pub fn try_run(&self) -> Result<Passed, Failed> {
        let next = AtomicU64::new(self.seeds.start);
        let stop = AtomicBool::new(false);
        let of = self.seeds.end.saturating_sub(self.seeds.start);
        let passed = Mutex::new(Passed::default());
        let failed: Mutex<Option<(u64, Result<Wrong, String>)>> = Mutex::new(None);
        let work = || {
            while !stop.load(Ordering::Relaxed) {
                // The last of all numbers must not be followed by the first.
                let after = |seed: u64| (seed < self.seeds.end).then(|| seed + 1);
                let Ok(seed) = next.fetch_update(Ordering::Relaxed, Ordering::Relaxed, after) else { return };
                let came = run(&Schedule::draw(seed, &self.wanted), &self.subject, Looked::default());
                let wrong = match came {
                    Ok(run @ Run { wrong: None, .. }) => {
                        let mut passed = passed.lock().unwrap_or_else(PoisonError::into_inner);
                        passed.add(&run);
                        (self.progress)(&Progress::Seeds { held: passed.seeds, of });
                        continue;
                    }
                    Ok(Run { wrong: Some(wrong), .. }) => Ok(wrong),
                    Err(error) => Err(error),
                };
                stop.store(true, Ordering::Relaxed);
                let mut failed = failed.lock().unwrap_or_else(PoisonError::into_inner);
                // Of several, the first one: so that it does not depend on which was faster.
                if failed.as_ref().is_none_or(|(first, _)| seed < *first) {
                    *failed = Some((seed, wrong));
                }
            }
        };
        #[expect(clippy::disallowed_methods, reason = "seeds beside each other; each has its thread for itself")]
        std::thread::scope(|scope| {
            for _ in 0..self.threads {
                thread_of_its_own().spawn_scoped(scope, work).expect("the operating system gives threads");
            }
        });
        let mut passed = passed.into_inner().unwrap_or_else(PoisonError::into_inner);
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((seed, Ok(wrong))) => {
                (self.progress)(&Progress::Broken { seed, wrong: wrong.clone() });
                Err(Failed::Broken(Box::new(on_its_own_thread(|| self.shrunk(seed, wrong)))))
            }
            Some((_, Err(error))) => Err(Failed::Unusable(error)),
            None => {
                passed.missing = passed.tally.missing(&self.wanted.faults);
                if passed.is_idle() {
                    return Err(Failed::NothingDone(passed));
                }
                let enough = passed.missing.is_empty() || !self.chosen;
                if enough { Ok(passed) } else { Err(Failed::NeverHappened(passed)) }
            }
        }
    }

    /// Runs one seed, or a part of what it does.
    ///
    /// # Errors
    /// When there is nothing to simulate, or the part is none of the seed's.
    pub fn run_one(&self, seed: u64, kept: &Kept, looked: Looked) -> Result<Run, String> {
        let whole = Schedule::draw(seed, &self.wanted);
        whole.has(kept).map_err(|why| format!("seed {seed} has no such part: {why}"))?;
        run(&whole.keep(kept), &self.subject, looked)
    }

    /// Runs what a failure named, with all that happens.
    fn again(&self, again: &str) -> Result<Passed, Failed> {
        let (seed, kept) = again.split_once(';').unwrap_or((again, ""));
        let unusable = |why: String| Failed::Unusable(format!("{AGAIN} is SEED or SEED;PART, not {again:?}: {why}"));
        let seed = seed.parse().map_err(|error| unusable(format!("{error}")))?;
        let kept: Kept = kept.parse().map_err(unusable)?;
        let looked = Looked { messages: true, view: self.view, print: true };
        let run = on_its_own_thread(|| self.run_one(seed, &kept, looked)).map_err(Failed::Unusable)?;
        match run.wrong.clone() {
            None => {
                let mut passed = Passed::default();
                passed.add(&run);
                Ok(passed)
            }
            Some(wrong) => {
                let schedule = Schedule::draw(seed, &self.wanted).keep(&kept);
                let found = wrong.clone();
                Err(Failed::Broken(Box::new(Broken { seed, wrong, found, kept, schedule, run })))
            }
        }
    }

    fn shrunk(&self, seed: u64, wrong: Wrong) -> Broken {
        let whole = Schedule::draw(seed, &self.wanted);
        let breaks = |part: &Schedule| {
            let came = run(part, &self.subject, Looked::default());
            came.is_ok_and(|came| came.wrong.is_some_and(|came| came.is_like(&wrong)))
        };
        let kept = shrink(&whole, breaks, |tries, part| {
            let (nodes, faults, asks) = (part.settings.nodes, part.faults.len(), part.asks.len());
            (self.progress)(&Progress::Shrinking { seed, tries, nodes, faults, asks });
        });
        let schedule = whole.keep(&kept);
        let looked = Looked { messages: true, view: self.view, print: false };
        let run = run(&schedule, &self.subject, looked).expect("it ran before");
        let found = wrong;
        let wrong = run.wrong.clone().unwrap_or_else(|| found.clone());
        Broken { seed, wrong, found, kept, schedule, run }
    }
}

/// With room for what a container of a user's does, wherever it is called from: what broke on one thread must not overflow
/// another one as it is repeated.
fn thread_of_its_own() -> std::thread::Builder {
    std::thread::Builder::new().stack_size(8 << 20)
}

#[expect(clippy::disallowed_methods, reason = "the only thread that does anything")]
fn on_its_own_thread<R: Send>(work: impl FnOnce() -> R + Send) -> R {
    std::thread::scope(|scope| {
        let thread = thread_of_its_own().spawn_scoped(scope, work).expect("the operating system gives threads");
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

impl Passed {
    /// One seed more holds.
    pub fn add(&mut self, run: &Run) {
        self.seeds += 1;
        self.tally.add(&run.tally);
        self.actions += run.actions;
        self.failures.add(&run.failures);
        self.simulated += run.simulated;
    }

    /// Whether nothing is known of the container by them: no call made an action, and calls failed, or there was none.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.actions == 0 && (self.failures.calls > 0 || self.tally.get("perform") == 0)
    }

    /// What they came to, in words: without the tally, and without how many they are.
    #[must_use]
    pub fn summary(&self) -> String {
        let Passed { tally, actions, failures, simulated, missing, .. } = self;
        let mut text = format!("{actions} actions in {:.0} simulated seconds", simulated.as_secs_f64());
        if let Some(first) = &failures.first {
            let (calls, of) = (failures.calls, tally.get("perform"));
            text += &format!("\n{calls} of {of} calls FAILED, as this one: {first}");
        }
        if *actions == 0 {
            let calls = if tally.get("perform") > 0 { "no call made an action" } else { "there was no call" };
            text += &format!("\nWARNING: {calls}, so nothing is known of what the container does");
        }
        if !missing.is_empty() {
            let names: Vec<_> = missing.iter().take(MISSING_MAX).map(|kind| kind.name()).collect();
            text += "\nThese faults never happened, so nothing is known about them: ";
            text += &names.join(", ");
            if missing.len() > names.len() {
                text += &format!(", and {} more", missing.len() - names.len());
            }
        }
        text
    }
}

/// So many names of faults are told where they were not asked for.
const MISSING_MAX: usize = 6;

impl fmt::Display for Passed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Passed { seeds, tally, .. } = self;
        let hold = if *seeds == 1 { "seed holds" } else { "seeds hold" };
        write!(f, "{tally}{seeds} {hold}: {}", self.summary())
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken { seed, wrong, schedule, run, .. } = self;
        writeln!(f, "seed {seed} breaks {wrong}")?;
        if run.wrong.is_none() {
            let why = "run again, it did not: something besides the seed has a say, a clock of the container's perhaps";
            return writeln!(f, "{why}");
        }
        let (nodes, asks) = (schedule.settings.nodes, schedule.asks.len());
        let many = |count: usize, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
        writeln!(
            f,
            "\nThe shortest schedule found that does: {}, {}, {}",
            many(nodes, "node"),
            many(schedule.faults.len(), "fault"),
            many(asks, "ask")
        )?;
        if !self.found.reads_like(wrong) {
            writeln!(f, "(The whole one says: {})", self.found.what)?;
        }
        for fault in &schedule.faults {
            writeln!(f, "{:>9.3}  {}", fault.at.as_secs_f64(), fault.what)?;
        }
        writeln!(f, "\nWhat happened last, in simulated seconds:")?;
        for line in &run.tail {
            writeln!(f, "{line}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failed::Broken(broken) => {
                let Broken { seed, kept, .. } = &**broken;
                let (kept, thread) = (kept.to_string(), std::thread::current());
                let part = if kept.is_empty() { String::new() } else { format!(";{kept}") };
                // Tests have threads of their names.
                let test = match thread.name().filter(|name| *name != "main") {
                    Some(test) => format!("cargo test {test} -- --exact --nocapture"),
                    None => "cargo run".into(),
                };
                write!(f, "{broken}\nTo run it again, with all that happens in it:\n  {AGAIN}='{seed}{part}' {test}")
            }
            Failed::NeverHappened(passed) => write!(f, "{passed}. Take more seeds, or ask for other ones"),
            Failed::NothingDone(passed) => write!(f, "{passed}"),
            Failed::Unusable(why) => f.write_str(why),
        }
    }
}
