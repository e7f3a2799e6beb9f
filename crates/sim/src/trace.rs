//! What happened, in order: hashed, with the last of it kept, and all of it where somebody wants to look at it.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::fmt;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::observed::fnv;

/// How many of the last lines are kept for a failure, of messages and of all else.
const TAIL: usize = 40;

/// Where something happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Lane {
    /// At the simulation's own: what it breaks, and its end.
    World,
    /// At a node.
    Node(usize),
    /// At those who listen.
    Listeners,
    /// Between nodes.
    Network,
    /// In what nodes and containers log.
    Log,
}

impl Lane {
    fn name(self) -> &'static str {
        match self {
            Lane::World => "world",
            Lane::Node(node) => crate::schedule::name(node),
            Lane::Listeners => "listeners",
            Lane::Network => "network",
            Lane::Log => "log",
        }
    }

    fn number(self) -> usize {
        match self {
            Lane::World => 0,
            Lane::Node(node) => 1 + node,
            Lane::Log => 97,
            Lane::Listeners => 98,
            Lane::Network => 99,
        }
    }
}

pub(crate) struct Trace {
    begun: Instant,
    told: Mutex<Told>,
}

struct Told {
    hash: u64,
    /// How many lines so far.
    said: u64,
    /// The last lines, numbered: of all but messages, and of messages, of which there are many more.
    tails: [VecDeque<(u64, String)>; 2],
    /// Everything, for a viewer.
    events: Option<Vec<Value>>,
    print: bool,
}

thread_local! {
    /// The trace of what this thread runs.
    static RUNNING: RefCell<Weak<Trace>> = const { RefCell::new(Weak::new()) };
}

/// Puts what a node or its container logs into the trace of the run that this thread is in the middle of, where all of that
/// is printed or kept. It has no part in the hash: who listens decides nothing.
pub fn log(text: &str) {
    let running = RUNNING.with_borrow(Weak::upgrade);
    if let Some(trace) = running {
        trace.put(Lane::Log, text, false);
    }
}

/// What a viewer calls something, and the whole of it: what is behind a colon differs each time.
fn named(what: &str) -> (&str, &str) {
    (what.split_once(": ").map_or(what, |(name, _)| name), what)
}

impl Trace {
    /// What is [logged](log) on this thread from now on goes here.
    pub(crate) fn listen(self: &Arc<Self>) {
        RUNNING.set(Arc::downgrade(self));
    }

    /// `view`: everything is kept, for [`view`](Self::view).
    pub(crate) fn new(view: bool, print: bool) -> Self {
        let told = Told { hash: fnv(&[]), said: 0, tails: Default::default(), events: view.then(Vec::new), print };
        Trace { begun: Instant::now(), told: Mutex::new(told) }
    }

    /// Simulated microseconds since the run began.
    pub(crate) fn now(&self) -> u64 {
        self.begun.elapsed().as_micros() as u64
    }

    pub(crate) fn say(&self, lane: Lane, what: fmt::Arguments<'_>) {
        self.put(lane, &what.to_string(), true);
    }

    fn put(&self, lane: Lane, what: &str, counts: bool) {
        let now = self.now();
        let line = format!("{:>9.3} {:>9}  {what}", now as f64 / 1e6, lane.name());
        let mut told = self.lock();
        if counts {
            told.hash = (told.hash ^ fnv(line.as_bytes())).wrapping_mul(0x0000_0100_0000_01b3);
        }
        if told.print {
            // Whoever reads may have enough of it.
            let _ = writeln!(std::io::stdout().lock(), "{line}");
        }
        if let Some(events) = &mut told.events {
            let (name, text) = named(what);
            events.push(json!({
                "name": name, "ph": "i", "s": "t", "ts": now, "pid": 1, "tid": lane.number(), "args": { "text": text },
            }));
        }
        if !counts {
            return;
        }
        told.said += 1;
        let number = told.said;
        let tail = &mut told.tails[usize::from(lane == Lane::Network)];
        if tail.len() == TAIL {
            tail.pop_front();
        }
        tail.push_back((number, line));
    }

    /// Something that lasts, for a viewer.
    pub(crate) fn span(&self, lane: Lane, what: fmt::Arguments<'_>, lasts: std::time::Duration) {
        let now = self.now();
        if let Some(events) = &mut self.lock().events {
            let what = what.to_string();
            let (name, text) = named(&what);
            events.push(json!({
                "name": name, "ph": "X", "ts": now, "dur": lasts.as_micros() as u64,
                "pid": 1, "tid": lane.number(), "args": { "text": text },
            }));
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.lock().hash
    }

    pub(crate) fn tail(&self) -> Vec<String> {
        let told = self.lock();
        let mut lines: Vec<&(u64, String)> = told.tails.iter().flatten().collect();
        lines.sort_unstable();
        lines.into_iter().map(|(_, line)| line.clone()).collect()
    }

    /// Everything, in the format of Chrome's trace viewer, which others read, too.
    pub(crate) fn view(&self, nodes: usize) -> Option<String> {
        let events = self.lock().events.take()?;
        let lanes =
            [Lane::World, Lane::Log, Lane::Listeners, Lane::Network].into_iter().chain((0..nodes).map(Lane::Node));
        let names = lanes.map(|lane| {
            json!({
                "name": "thread_name", "ph": "M", "pid": 1, "tid": lane.number(), "args": { "name": lane.name() },
            })
        });
        let all: Vec<Value> = names.chain(events).collect();
        // One a line: so it can be read, and compared, without a viewer, too.
        let lines: Vec<String> = all.iter().map(Value::to_string).collect();
        Some(format!("{{\"traceEvents\":[\n{}\n]}}\n", lines.join(",\n")))
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
