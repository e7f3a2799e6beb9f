//! Those who call: they perform at every node, wait or do not, ask again, try again elsewhere.

use std::sync::Arc;
use std::time::Duration;

use conflux::process::Process;
use conflux::{Asked, Container, Performed, Prediction, Random, RequestId, Role, Started};
use futures_util::FutureExt;
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::check::{Given, forgotten, late, linearizable, provisional, read_late, shown, undecided, waited_out};
use crate::observed::{Observed, Tagged, Trail};
use crate::record::Claim;
use crate::schedule::{Ask, Deed, HUGE, RETRY_MAX, Timed, chance, name, pick};
use crate::trace::Lane;
use crate::world::World;

/// Calls from this one on are no ask's: they are made once the faults have ended.
pub(crate) const TAGS_AT_THE_END: u64 = 10_000_000;

/// The task that asks for all that the schedule says, when it says so.
pub(crate) async fn call_all<C: Container>(world: Arc<World<C>>) {
    let begun = Instant::now();
    let asks = world.schedule.asks.clone();
    for ask in asks {
        sleep_until(begun + ask.at).await;
        if !world.is_going() {
            return;
        }
        act(&world, &ask);
    }
}

fn act<C: Container>(world: &Arc<World<C>>, ask: &Timed<Ask>) {
    let Ask { node, deed, chosen, padding, seed, .. } = ask.what;
    match deed {
        Deed::Read => drop(tokio::spawn(read(world.clone(), node))),
        Deed::Look => look(world, node),
        Deed::Perform | Deed::Propose | Deed::Drop => {
            let mut random = Random::new(seed);
            let tag = 2 * ask.number as u64;
            let Some(method) = method(world, tag, padding, &mut random) else { return };
            let chosen = chosen.then(|| format!("ask-{}", ask.number));
            let try_ = Call {
                world: world.clone(),
                node,
                deed,
                patience: ask.what.patience,
                method,
                chosen,
                first: Instant::now(),
                random,
            };
            try_.begin();
        }
    }
}

pub(crate) fn method<C: Container>(
    world: &World<C>,
    tag: u64,
    padding: u32,
    random: &mut Random,
) -> Option<Tagged<C::Method>> {
    let container = world.known().history.store().container().clone();
    let value = world.subject.call(&container.inner, random).unwrap_or_else(|wrong| {
        world.note(wrong);
        None
    })?;
    Some(Tagged { tag, seen: Trail::default(), value, padding })
}

/// A perform that is about to begin.
struct Call<C: Container> {
    world: Arc<World<C>>,
    node: usize,
    deed: Deed,
    patience: Duration,
    method: Tagged<C::Method>,
    chosen: Option<String>,
    /// When its id was used first.
    first: Instant,
    random: Random,
}

type Predicted<C> =
    Result<(Prediction<Observed<C>>, Started<Observed<C>>), conflux::PerformError<Tagged<<C as Container>::Rejection>>>;

impl<C: Container> Call<C> {
    /// Starts it, if the node is open.
    fn begin(self) {
        let world = self.world.clone();
        let Some((node, opening)) = world.node(self.node) else { return };
        let mut wish = node.perform(self.method.clone()).timeout(self.patience);
        if let Some(id) = &self.chosen {
            wish = wish.request_id(id.as_str());
        }
        drop(node);
        let number = world.began(&self.method, self.node, opening, self.chosen.clone());
        let process = world.process(self.node);
        match self.deed {
            Deed::Propose => {
                // Polled at once, or its place in the order would be another than that of its try.
                let mut proposed = Box::pin(wish.proposed());
                let predicted = (&mut proposed).now_or_never();
                tokio::spawn(self.wait_proposed(number, process, async move {
                    match predicted {
                        Some(predicted) => predicted,
                        None => proposed.await,
                    }
                }));
            }
            Deed::Drop => {
                // Polled once and dropped, it has its place and runs, only nobody listens.
                let mut wish = Box::pin(wish);
                match (&mut wish).now_or_never() {
                    Some(answer) => world.told(number, self.method.tag, Claim::of::<C>(&answer)),
                    None => world.count("call dropped"),
                }
                world.stopped_waiting();
            }
            _ => {
                let started = wish.start();
                world.has_session(opening, started.request_id());
                tokio::spawn(self.wait(number, process, started));
            }
        }
    }

    /// An answer comes by the deadline, whatever it is; unless who waits for it is dead with its node.
    fn late(&self, number: usize, process: &Process, what: &str) {
        if process.is_dead() {
            self.world.count("caller dead");
            return self.world.stopped_waiting();
        }
        self.world.note(late(number, what, self.patience));
        self.world.stopped_waiting();
    }

    /// How a try stands as it is answered.
    fn given(&self, number: usize, claim: &Claim) -> Given {
        let settings = &self.world.schedule.settings;
        let known = self.world.known();
        let session_is_over = settings.short_sessions
            && match claim {
                Claim::Unknown { id: RequestId::Call(session, _) } => {
                    known.history.store().sessions().key(session).is_none()
                }
                // Which session it was in is not told.
                _ => true,
            };
        let (one, slot) = (&known.tries[number], &known.slots[self.node]);
        let of_opening = slot.node.as_ref().filter(|_| slot.opening == one.opening);
        let dead = slot.life.as_ref().is_none_or(|life| life.process.is_dead());
        Given {
            after: Duration::from_micros(self.world.trace.now() - one.began),
            patience: self.patience,
            chosen: self.chosen.is_some(),
            session_is_over,
            // It tells its callers that it stops before it shows so itself.
            node_ended: dead
                || !slot.excuses.is_empty()
                || of_opening.is_none_or(|node| node.status().role == Role::Stopped),
        }
    }

    async fn wait(self, number: usize, process: Process, started: Started<Observed<C>>) {
        match answer_within(&self.world, self.node, self.patience, started).await {
            Some(answer) => self.answered(number, &answer),
            None => self.late(number, &process, "answer"),
        }
    }

    async fn wait_proposed(self, number: usize, process: Process, predicted: impl Future<Output = Predicted<C>>) {
        match answer_within(&self.world, self.node, self.patience, predicted).await {
            None => self.late(number, &process, "prediction"),
            Some(Err(error)) => self.answered(number, &Err(error)),
            Some(Ok((_, started))) => {
                self.world.count("predicted");
                self.wait(number, process, started).await;
            }
        }
    }

    fn answered(mut self, number: usize, answer: &Performed<Observed<C>>) {
        let claim = Claim::of::<C>(answer);
        let given = self.given(number, &claim);
        self.world.check(waited_out(number, &claim, given));
        if self.method.padding > HUGE && matches!(claim, Claim::Decided { .. }) {
            self.world.count("huge-call");
        }
        let question = claim.question();
        let never = matches!(claim, Claim::NeverProposed { .. });
        self.world.told(number, self.method.tag, claim);
        self.world.stopped_waiting();
        if let Some(id) = question {
            tokio::spawn(ask(self.world.clone(), number, id, Random::new(self.random.next_u64())));
        } else if !never && !chance(&mut self.random, 10) {
            return;
        }
        if self.chosen.is_some() {
            tokio::spawn(self.again());
        }
    }

    /// Performs it once more under its id, from any node; now and then the id is used for another call, by mistake.
    async fn again(mut self) {
        sleep(Duration::from_millis(self.random.below(1500))).await;
        let open = self.world.open_nodes();
        if self.first.elapsed() > RETRY_MAX || !self.world.is_going() || open.is_empty() {
            return;
        }
        self.node = pick(&mut self.random, &open);
        if chance(&mut self.random, 15) {
            self.method.tag |= 1;
            self.method.padding = 1;
        }
        self.deed = Deed::Perform;
        self.world.count("id tried again");
        self.random = Random::new(self.random.next_u64());
        self.begin();
    }
}

/// What comes of something by its deadline. A node that stands still may be late by as much.
async fn answer_within<C: Container, T>(
    world: &World<C>,
    node: usize,
    patience: Duration,
    answer: impl Future<Output = T>,
) -> Option<T> {
    let mut answer = std::pin::pin!(answer);
    if let Ok(answer) = timeout(patience + Duration::from_millis(5), &mut answer).await {
        return Some(answer);
    }
    let until = Instant::now() + Duration::from_secs(10);
    while world.known().slots[node].stands_still && Instant::now() < until {
        if let Ok(answer) = timeout(Duration::from_millis(50), &mut answer).await {
            return Some(answer);
        }
    }
    timeout(Duration::from_millis(20), &mut answer).await.ok()
}

/// Asks, at any node, what became of a try.
async fn ask<C: Container>(world: Arc<World<C>>, number: usize, id: RequestId, mut random: Random) {
    sleep(Duration::from_millis(random.below(3000))).await;
    let open = world.open_nodes();
    if open.is_empty() {
        return;
    }
    let at = pick(&mut random, &open);
    let Some((node, _)) = world.node(at) else { return };
    let tag = world.known().tries[number].tag;
    let question = id.clone();
    let is_chosen = matches!(id, RequestId::Chosen(_));
    // A chosen id is forgotten after its time.
    let decided = !is_chosen && world.known().history.fates.contains_key(&tag);
    let process = world.process(at);
    let deadline = world.schedule.settings.deadline();
    let asked = answer_within(&world, at, deadline, async move { node.outcome(&id).await }).await;
    let performed = match asked {
        Some(Ok(Asked::Decided(performed))) => performed,
        Some(Ok(Asked::Undecided)) => {
            world.count("asked again: open");
            return world.check(undecided(tag, decided));
        }
        Some(Ok(Asked::Forgotten)) => {
            world.count("asked again: forgotten");
            let may_be = {
                let known = world.known();
                let sessions = known.history.store().sessions();
                match &question {
                    RequestId::Call(session, number) => {
                        let session = sessions.key(session).and_then(|key| sessions.get(key));
                        session.is_none_or(|session| session.next() > *number)
                    }
                    RequestId::Chosen(_) => false,
                }
            };
            return world.check(forgotten(tag, may_be));
        }
        Some(Err(_)) => return,
        None if process.is_dead() => return,
        None => return world.note(late(number, "answer to whoever asks again", deadline)),
    };
    let claim = Claim::of::<C>(&performed);
    world.count("asked again: decided");
    world.say(Lane::Node(at), format_args!("is asked for perform {number}: {claim}"));
    let tag = {
        let known = world.known();
        let Some(tag) = about(&known.tries, number, &claim) else { return };
        tag
    };
    let checked = crate::check::answered(tag, &claim, &world.known().history.fates);
    world.check(checked);
    let mut known = world.known();
    known.told = known.told.max(claim.index().unwrap_or(0));
    if known.tries[number].tag == tag {
        known.tries[number].claims.push(claim);
    }
}

/// Which call an answer to the question after a try is about: under an id that was used for two calls, the one that was
/// first is told of, and an answer that names no call may be about either.
fn about(tries: &[crate::record::Try], asked: usize, claim: &Claim) -> Option<u64> {
    let own = tries[asked].tag;
    match claim {
        Claim::Decided { tag: Some(tag), .. } => Some(*tag),
        _ => {
            let chosen = tries[asked].chosen.as_ref();
            let mut same = tries.iter().filter(|one| chosen.is_some() && one.chosen.as_ref() == chosen);
            same.all(|one| one.tag == own).then_some(own)
        }
    }
}

/// A linearizable read.
async fn read<C: Container>(world: Arc<World<C>>, at: usize) {
    let Some((node, _)) = world.node(at) else { return };
    let told = world.known().told;
    let process = world.process(at);
    let deadline = world.schedule.settings.deadline();
    let read = answer_within(&world, at, deadline, async move { node.linearizable_state().await }).await;
    if read.is_none() && !process.is_dead() {
        world.note(read_late(name(at), deadline));
    }
    if let Some(Ok(state)) = read {
        let (index, trail) = (state.index().0, state.trail);
        world.count("linearizable read");
        world.say(Lane::Node(at), format_args!("is read at {index}"));
        let checked = linearizable(name(at), index, told)
            .and_then(|()| shown(name(at), index, trail, &world.known().history.trails));
        world.check(checked);
        let mut known = world.known();
        known.told = known.told.max(index);
    }
}

/// Looks at the provisional state, and at the log by which it has to be what it is.
fn look<C: Container>(world: &Arc<World<C>>, at: usize) {
    let Some((node, _)) = world.node(at) else { return };
    let committed = node.state().index().0;
    let ahead = node.provisional_state();
    let known = world.known();
    let shelf = &known.logs.shelves[&known.slots[at].disk.number];
    let upto = shelf.present.committed.map(|id| id.index);
    // What it comes to is known where the node is as far as the history, and has applied all that it knows to be committed.
    if committed != known.history.index() || upto != known.logs.committed.last().map(|line| line.id.index) {
        return;
    }
    let tail: Vec<_> = shelf.present.lines.iter().filter(|line| Some(line.id.index) > upto).cloned().collect();
    let expected = known.history.ahead(tail.iter());
    drop(known);
    world.count(if tail.is_empty() { "provisional: nothing ahead" } else { "provisional: a tail" });
    world.check(provisional(name(at), (ahead.index().0, ahead.trail), expected));
}
