//! Those who call: they perform on every node, wait or do not, ask again, try again elsewhere.

use std::sync::Arc;
use std::time::Duration;

use conflux::{Asked, Perform, Random};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, timeout};

use crate::container::{Kind, Ledger, Method};
use crate::plan::{Plan, RETRY_MAX, chance, pick, within};
use crate::record::{Claim, Read, Try};
use crate::world::World;

/// The task of the caller at one slot.
pub(crate) async fn call(world: Arc<World>, slot: usize) {
    let mut random = world.random(3000 + slot as u64);
    let mut ids = 0;
    while world.is_going() {
        let idle = world.plan.short_sessions && chance(&mut random, 5);
        let pause = if idle { 9_000 + random.below(3_000) } else { within(&mut random, &world.plan.pause_ms) };
        sleep(Duration::from_millis(pause)).await;
        let burst = if chance(&mut random, 10) { 1 + random.below(20) } else { 1 };
        for _ in 0..burst {
            let kind = pick(&mut random, &KINDS);
            let padding = if chance(&mut random, 3) { random.below(3000) as usize } else { 0 };
            let method = world.method(kind, padding);
            let chosen = chance(&mut random, 20).then(|| {
                ids += 1;
                format!("{}-{ids}", Plan::name(slot))
            });
            perform(&world, slot, method, chosen, Instant::now(), &mut random);
        }
        if chance(&mut random, 8) {
            tokio::spawn(read(world.clone(), slot));
        }
    }
}

const KINDS: [Kind; 20] = {
    let mut kinds = [Kind::Put; 20];
    let mut at = 0;
    while at < 9 {
        kinds[at] = Kind::Judge;
        at += 1;
    }
    kinds[9] = Kind::BreakMethod;
    kinds[10] = Kind::BreakReducer;
    kinds
};

/// Starts a perform at a node, if it is open. `first` is when its id was used first.
fn perform(
    world: &Arc<World>,
    slot: usize,
    method: Method,
    chosen: Option<String>,
    first: Instant,
    random: &mut Random,
) {
    let Some((node, opening)) = world.node(slot) else { return };
    let max = world.plan.timeout_max().as_millis() as u64;
    let patience = Duration::from_millis(match random.below(10) {
        0 => 1 + random.below(20),
        1..=3 => 20 + random.below(300),
        _ => 300 + random.below(max - 300),
    });
    let mut wish = node.perform(method.clone()).timeout(patience);
    if let Some(id) = &chosen {
        wish = wish.request_id(id.as_str());
    }
    drop(node);
    let number = world.began(method, slot, opening, chosen);
    let (begun, random) = (Instant::now(), &mut Random::new(random.next_u64()));
    let waiter = Waiter { world: world.clone(), number, first, begun, patience, random: random.clone() };
    match random.below(20) {
        0 | 1 => {
            // Polled at once, or its place in the order would be another than that of its try.
            let mut proposed = Box::pin(wish.proposed());
            let predicted = (&mut proposed).now_or_never();
            tokio::spawn(waiter.wait_proposed(async move {
                match predicted {
                    Some(predicted) => predicted,
                    None => proposed.await,
                }
            }));
        }
        2 => drop_it(world, number, Box::pin(wish)),
        _ => {
            let started = wish.start();
            world.has_session(opening, started.request_id());
            tokio::spawn(waiter.wait(started));
        }
    }
}

/// Polls a perform once and drops it: it has its place and runs, only nobody listens.
fn drop_it(world: &Arc<World>, number: usize, mut perform: std::pin::Pin<Box<Perform<Ledger>>>) {
    match (&mut perform).now_or_never() {
        Some(answer) => world.ended(number, Claim::of(answer)),
        None => {
            world.count("answer: dropped");
            world.trace.say(format_args!("try {number}: dropped"));
        }
    }
    world.stopped_waiting();
}

struct Waiter {
    world: Arc<World>,
    number: usize,
    first: Instant,
    begun: Instant,
    patience: Duration,
    random: Random,
}

type Predicted =
    Result<(conflux::Prediction<Ledger>, conflux::Started<Ledger>), conflux::PerformError<crate::container::Rejection>>;

impl Waiter {
    async fn wait(self, started: conflux::Started<Ledger>) {
        // An answer comes by the deadline, whatever it is.
        let slack = Duration::from_millis(5);
        let Ok(answer) = timeout(self.patience + slack, started).await else {
            self.world.wrong(format!("try {} has no answer after its deadline, {:?}", self.number, self.patience));
            return self.world.stopped_waiting();
        };
        let claim = Claim::of(answer);
        if matches!(claim, Claim::Unknown { .. }) && Instant::now() < self.begun + self.patience {
            self.world.count("answer: unknown before the deadline");
            self.world.trace.say(format_args!(
                "early: {} after {:?} of {:?}",
                self.number,
                self.begun.elapsed(),
                self.patience
            ));
        }
        self.told(claim);
    }

    async fn wait_proposed(self, predicted: impl Future<Output = Predicted>) {
        match timeout(self.patience + Duration::from_millis(5), predicted).await {
            Err(_) => {
                self.world.wrong(format!("try {} has no prediction after its deadline", self.number));
                self.world.stopped_waiting();
            }
            Ok(Err(error)) => self.told(Claim::of(Err(error))),
            Ok(Ok((prediction, started))) => {
                self.world.count("proposed");
                self.world.trace.say(format_args!("try {}: predicted {prediction:?}", self.number));
                self.wait(started).await;
            }
        }
    }

    fn told(mut self, claim: Claim) {
        let world = self.world.clone();
        let question = World::open_question(&claim);
        let never = matches!(claim, Claim::NeverProposed { .. });
        world.ended(self.number, claim);
        world.stopped_waiting();
        let (method, chosen) = {
            let known = world.known();
            let told = &known.tries[self.number];
            (told.method.clone(), told.chosen.clone())
        };
        if let Some(id) = question {
            tokio::spawn(ask(world.clone(), self.number, id));
        } else if !never && !chance(&mut self.random, 10) {
            return;
        }
        if let Some(id) = chosen {
            tokio::spawn(self.again(method, id));
        }
    }

    /// Performs it once more under its id, from any node; now and then the id is used for another call, by mistake.
    async fn again(mut self, method: Method, id: String) {
        sleep(Duration::from_millis(self.random.below(1500))).await;
        let world = &self.world;
        let open = world.open_slots();
        if self.first.elapsed() > RETRY_MAX || !world.is_going() || open.is_empty() {
            return;
        }
        let slot = pick(&mut self.random, &open);
        let method = if chance(&mut self.random, 20) { world.method(method.kind, 0) } else { method };
        world.count("id tried again");
        perform(world, slot, method, Some(id), self.first, &mut self.random);
    }
}

/// Asks, at any node, what became of a call.
async fn ask(world: Arc<World>, number: usize, id: conflux::RequestId) {
    let mut random = world.random(4_000_000 + number as u64);
    sleep(Duration::from_millis(random.below(3000))).await;
    let open = world.open_slots();
    if open.is_empty() {
        return;
    }
    let slot = pick(&mut random, &open);
    let Some((node, _)) = world.node(slot) else { return };
    let asked = node.outcome(&id).await;
    drop(node);
    world.trace.say(format_args!("try {number}: asked {} again", Plan::name(slot)));
    if let Ok(Asked::Decided(performed)) = asked {
        let claim = Claim::of(performed);
        world.count("asked again: decided");
        world.trace.say(format_args!("try {number}: {claim}"));
        let mut known = world.known();
        known.told = known.told.max(claim.index().unwrap_or(0));
        if let Some(number) = about(&known.tries, number, &claim) {
            known.tries[number].claims.push(claim);
        }
    }
}

/// Which try an answer to the question after one is about: under an id that was used for two calls, the one that was
/// first is told of, and an answer that names no call may be about either.
fn about(tries: &[Try], asked: usize, claim: &Claim) -> Option<usize> {
    let Some(id) = &tries[asked].chosen else { return Some(asked) };
    let tag = match claim {
        Claim::Done { action: Some(action), .. } => Some(action.tag),
        Claim::Rejected { rejection, .. } => Some(rejection.tag),
        _ => None,
    };
    let mut same = tries.iter().enumerate().filter(|(_, one)| one.chosen.as_ref() == Some(id));
    match tag {
        Some(tag) => same.find(|(_, one)| one.method.tag == tag).map(|(number, _)| number),
        None => same.all(|(_, one)| one.method.tag == tries[asked].method.tag).then_some(asked),
    }
}

/// A linearizable read.
async fn read(world: Arc<World>, slot: usize) {
    let Some((node, opening)) = world.node(slot) else { return };
    let at_least = world.known().told;
    let read = node.linearizable_state().await;
    drop(node);
    if let Ok(state) = read {
        let (index, seen) = (state.index().0, state.seen());
        world.trace.say(format_args!("{} read {index}", Plan::name(slot)));
        world.known().reads.push(Read { slot, opening, index, state: seen, at_least: Some(at_least) });
    }
}
