//! Clients that perform, and write down what they are told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use super::random::Random;
use super::record::{Answer, Call, Claim, Log, Method, State, Tag};
use super::world::{Slot, World};

/// How long a call is tried under its id, before the next one begins.
const GIVE_UP: Duration = Duration::from_secs(15);

/// The same once everything is healed: then every call must be answered.
const GIVE_UP_HEALED: Duration = Duration::from_secs(45);

/// For how long an id of a caller's own is surely remembered: `Retention::chosen_id` is five minutes.
const ID_MEMORY: Duration = Duration::from_secs(4 * 60);

/// So many entries are left in the state.
const ENTRIES_KEPT: u64 = 100;

/// At so many, those that are held already are dropped.
const ENTRIES_MAX: usize = 400;

/// One client: a call at a time, each at any node.
pub(super) struct Caller {
    world: Arc<World>,
    number: usize,
    random: Random,
    next: u64,
    /// Between two calls.
    pause_ms_max: u64,
    /// An action carries up to so many bytes that say nothing, so that logs grow and snapshots are made.
    ballast_max: u64,
    calls: Vec<Call>,
}

impl Caller {
    pub(super) fn new(world: &Arc<World>, number: usize) -> Caller {
        let mut random = Random::new(world.seed, 100 + number as u64);
        let pause_ms_max = *random.pick(&[1, 10, 40]);
        let ballast_max = *random.pick(&[1, 8_000, 16_000]);
        Caller { world: world.clone(), number, random, next: 0, pause_ms_max, ballast_max, calls: Vec::new() }
    }

    /// Performs until the run is over.
    pub(super) fn run(mut self) -> Vec<Call> {
        while !self.world.is_over() {
            match self.random.below(100) {
                0..58 => self.call(Method::Append, true),
                58..80 => self.call(Method::Judge, true),
                80..90 => self.call(Method::Append, false),
                90..92 => self.call(Method::Crash, true),
                92..97 => self.repeat(),
                _ => self.misuse(),
            }
            let pause = self.random.below(self.pause_ms_max);
            self.world.sleep(Duration::from_millis(pause));
        }
        self.calls
    }

    /// Asks what became of calls of which nobody has told yet, once nothing is broken any more. The log knows each, or
    /// never will.
    pub(super) fn settle(&mut self, calls: &mut [Call]) {
        let now = self.world.begun.elapsed();
        for call in calls.iter_mut().filter(|call| call.verdict().is_none() && call.misuses.is_none()) {
            let own = call.id.as_ref().filter(|_| now - call.begun < ID_MEMORY);
            let Some(id) = own.or(call.given.as_ref()).cloned() else { continue };
            let deadline = Instant::now() + GIVE_UP_HEALED;
            call.asked_in_the_end = true;
            let settled = |claim: &Claim| claim.is_verdict() || matches!(claim, Claim::Undecided | Claim::Forgotten);
            while Instant::now() < deadline && !self.world.is_interrupted() {
                let world = self.world.clone();
                let slot = world.any(&mut self.random);
                let claim = slot.client.outcome(&id, Duration::from_secs(5));
                let done = settled(&claim);
                call.answers.push(Answer { node: slot.name.clone(), claim });
                if done {
                    break;
                }
                self.world.sleep(Duration::from_millis(100));
            }
        }
    }

    pub(super) fn into_calls(self) -> Vec<Call> {
        self.calls
    }

    fn new_call(&mut self, method: Method, named: bool) -> Call {
        let tag = Tag { caller: self.number, number: self.next };
        self.next += 1;
        let id = named.then(|| format!("{tag} of {}", self.world.seed).replace(' ', "-"));
        let begun = self.world.begun.elapsed();
        Call {
            tag,
            method,
            id,
            given: None,
            misuses: None,
            begun,
            told_before: self.world.told(),
            asked_in_the_end: false,
            answers: Vec::new(),
        }
    }

    /// Performs once, and tries until it is told what came of it, or gives up.
    fn call(&mut self, method: Method, named: bool) {
        let mut call = self.new_call(method, named);
        self.pursue(&mut call, None);
        self.calls.push(call);
    }

    /// Performs at one node alone; whether it was told what came of it in time.
    pub(super) fn call_at(&mut self, at: usize, patience: Duration) -> bool {
        let mut call = self.new_call(Method::Append, true);
        let deadline = Instant::now() + patience;
        while call.verdict().is_none() && Instant::now() < deadline && !self.world.is_interrupted() {
            self.attempt(&mut call, Some(at));
        }
        let done = call.verdict().is_some();
        self.calls.push(call);
        done
    }

    fn pursue(&mut self, call: &mut Call, at: Option<usize>) {
        let begun = Instant::now();
        while call.verdict().is_none() && !self.world.is_interrupted() {
            self.attempt(call, at);
            // Without an id of its own, only what did not leave may be sent again.
            let last = call.answers.last().map(|answer| &answer.claim);
            if call.id.is_none() && !matches!(last, Some(Claim::Unreachable | Claim::NeverProposed | Claim::Busy)) {
                return;
            }
            if begun.elapsed() > if self.world.is_over() { GIVE_UP_HEALED } else { GIVE_UP } {
                return;
            }
        }
    }

    /// Sends it once.
    fn attempt(&mut self, call: &mut Call, at: Option<usize>) {
        let world = self.world.clone();
        let slot = at.map_or_else(|| world.any(&mut self.random), |at| &world.slots[at]);
        let timeout = Duration::from_millis(*self.random.pick(&[200, 1_000, 3_000]));
        let ballast = self.ballast(call.tag);
        let Tag { caller, number } = call.tag;
        let (method, args) = match call.method {
            Method::Append => ("append", json!([caller, number, ballast])),
            Method::Judge => ("judge", json!([caller, number, ballast])),
            Method::Drop { up_to } => ("drop", json!([caller, number, up_to])),
            Method::Crash => ("crash", json!([])),
        };
        let life = slot.life();
        let (claim, reply) = slot.client.perform(method, &args, call.id.as_deref(), timeout);
        note(&world, slot, life, &claim);
        let waits = !claim.is_verdict();
        let given = reply.body["error"]["request_id"].as_str().map(str::to_owned);
        call.answers.push(Answer { node: slot.name.clone(), claim });
        if call.id.is_none()
            && let (Some(id), Some(Claim::Unknown)) = (given, call.answers.last().map(|answer| &answer.claim))
        {
            self.ask(call, &id);
            call.given = Some(id);
        } else if waits {
            world.sleep(Duration::from_millis(10 + self.random.below(30)));
        }
    }

    /// The same for every try: the same id with other arguments is another call.
    fn ballast(&self, tag: Tag) -> u64 {
        Random::new(self.world.seed, tag.number ^ ((tag.caller as u64) << 40)).below(self.ballast_max)
    }

    /// Asks what became of a call that a node gave an id, until somebody knows.
    fn ask(&mut self, call: &mut Call, id: &str) {
        let deadline = Instant::now() + GIVE_UP;
        while Instant::now() < deadline && !self.world.is_interrupted() {
            let world = self.world.clone();
            let slot = world.any(&mut self.random);
            let life = slot.life();
            let claim = slot.client.outcome(id, Duration::from_secs(3));
            note(&world, slot, life, &claim);
            // Of an id that a node gave, the log knows for as long as the session lives.
            let done = claim.is_verdict() || claim == Claim::Forgotten;
            call.answers.push(Answer { node: slot.name.clone(), claim });
            if done {
                return;
            }
            world.sleep(Duration::from_millis(100));
        }
    }

    /// Sends a call once more that was answered: nothing comes of it but the same answer.
    fn repeat(&mut self) {
        let Some(nth) = self.answered() else { return };
        let mut call = self.calls[nth].clone();
        let before = call.answers.len();
        let deadline = Instant::now() + GIVE_UP;
        while !call.answers[before..].iter().any(|answer| answer.claim.is_verdict()) {
            if Instant::now() > deadline || self.world.is_interrupted() {
                break;
            }
            self.attempt(&mut call, None);
        }
        self.calls[nth] = call;
    }

    /// Performs another call under the id of one that was answered.
    fn misuse(&mut self) {
        let Some(nth) = self.answered() else { return };
        let (id, misuses) = (self.calls[nth].id.clone(), Some(self.calls[nth].tag));
        let mut call = Call { id, misuses, ..self.new_call(Method::Append, false) };
        self.pursue(&mut call, None);
        self.calls.push(call);
    }

    /// One of the latest calls that has an id of its own and was answered.
    fn answered(&mut self) -> Option<usize> {
        let latest = self.calls.len().saturating_sub(30);
        let now = self.world.begun.elapsed();
        let good = |call: &Call| {
            now - call.begun < ID_MEMORY && call.id.is_some() && call.misuses.is_none() && call.verdict().is_some()
        };
        let all: Vec<usize> = (latest..self.calls.len()).filter(|nth| good(&self.calls[*nth])).collect();
        (!all.is_empty()).then(|| *self.random.pick(&all))
    }
}

/// Notes what was told, for what is asked later.
fn note(world: &World, slot: &Slot, life: u64, claim: &Claim) {
    let Some(index) = claim.index() else { return };
    world.tell(index);
    // What is not visible there is committed, and no more.
    if slot.same(life).is_some() && !matches!(claim, Claim::NotVisible { .. }) {
        slot.raise(life, index);
    }
}

/// Reads the log before it is dropped from the state, and drops it.
pub(super) struct Archivist {
    caller: Caller,
    log: Log,
    odd: Vec<String>,
}

impl Archivist {
    pub(super) fn new(world: &Arc<World>, number: usize) -> Archivist {
        Archivist { caller: Caller::new(world, number), log: Log::default(), odd: Vec::new() }
    }

    /// Until the run is over. What is wrong with an answer is told as text.
    pub(super) fn run(mut self) -> (Vec<Call>, Log, Vec<String>) {
        let world = self.caller.world.clone();
        while !world.is_over() {
            let slot = world.any(&mut self.caller.random);
            if let Ok(reply) = slot.client.get("/state", Duration::from_secs(2))
                && reply.status == 200
            {
                match State::parse(&reply.body) {
                    Ok(state) => self.archive(&state),
                    Err(why) => self.odd.push(format!("{}: {why}", slot.name)),
                }
            }
            world.sleep(Duration::from_millis(250));
        }
        (self.caller.calls, self.log, self.odd)
    }

    fn archive(&mut self, state: &State) {
        self.log.take(state);
        let whole_to = self.log.whole_to();
        if state.entries.len() > ENTRIES_MAX && whole_to > ENTRIES_KEPT {
            self.caller.call(Method::Drop { up_to: whole_to - ENTRIES_KEPT }, true);
        }
    }
}
