//! One schedule, from its beginning to the verdict.

use std::cell::RefCell;
use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, Once};
use std::time::Duration;

use conflux::{Container, Role};
use tokio::time::{Instant, sleep, timeout};

use crate::check::{cast, denied_and_done, heard_all, out_of_order};
use crate::record::Claim;
use crate::schedule::{Schedule, chance, name};
use crate::subject::Subject;
use crate::tally::Tally;
use crate::trace::{Lane, Trace};
use crate::world::World;
use crate::wrong::{Promise, Wrong};
use crate::{breaker, callers, listeners};

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Run {
    /// A hash of all that happened: the same schedule has the same.
    pub hash: u64,
    /// How often each thing happened.
    pub tally: Tally,
    /// What was broken, if anything was.
    pub wrong: Option<Wrong>,
    /// The last that happened.
    pub tail: Vec<String>,
    /// How many actions were committed.
    pub actions: u64,
    /// All that happened, for a viewer, where it was asked for.
    pub view: Option<String>,
    /// How much simulated time passed.
    pub simulated: Duration,
}

/// How a run is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Everything is kept, messages too: see [`Run::view`].
    pub full: bool,
    /// Everything is printed as it happens.
    pub print: bool,
}

/// Within this much simulated time after all is healed, every node serves.
const LIVELY_WITHIN: Duration = Duration::from_secs(20);

thread_local! {
    /// Panics of the nodes' own tasks on this thread, which tokio would swallow; `None` where nothing is simulated.
    static PANICS: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let simulated = PANICS.with(|panics| {
                let mut panics = panics.borrow_mut();
                if let Some(panics) = panics.as_mut()
                    // A method or reducer that panics fails its call.
                    && !conflux::panics::note(info)
                {
                    panics.push(info.to_string());
                }
                panics.is_some()
            });
            if !simulated {
                before(info);
            }
        }));
    });
}

/// Runs a schedule on a runtime of its own whose clock stands still while anything can be done.
pub(crate) fn run<C: Container>(schedule: &Schedule, subject: &Subject<C>, looked: Looked) -> Result<Run, String> {
    run_and_look(schedule, subject, looked, |_| ()).map(|(run, ())| run)
}

/// The same; `look` is shown the world at its end.
pub(crate) fn run_and_look<C: Container, R>(
    schedule: &Schedule,
    subject: &Subject<C>,
    looked: Looked,
    look: impl FnOnce(&World<C>) -> R,
) -> Result<(Run, R), String> {
    catch_panics();
    PANICS.set(Some(Vec::new()));
    conflux::seed_thread(schedule.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| format!("there is no runtime: {error}"))?;
    let report = runtime.block_on(async {
        let begun = Instant::now();
        let trace = Trace::new(looked.full, looked.print);
        let world = World::new(schedule.clone(), subject.clone(), trace)?;
        let whole = schedule.settings.length + Duration::from_secs(600);
        // A run that goes on for ever is one that hangs.
        match timeout(whole, live(&world, looked)).await {
            Ok(Ok(())) => {}
            Ok(Err(wrong)) => world.note(wrong),
            Err(_) => world.note(Wrong::new(Promise::Liveness, "the run does not end")),
        }
        let wrong = world.known().wrong.clone();
        let (tally, actions) = {
            let known = world.known();
            let mut tally = known.tally.clone();
            tally.set("batch applied", known.history.batches.applied);
            tally.set("batch skipped", known.history.batches.skipped);
            (tally, known.history.index())
        };
        let run = Run {
            hash: world.trace.hash(),
            tally,
            wrong,
            tail: world.trace.tail(),
            actions,
            view: world.trace.view(schedule.settings.nodes),
            simulated: begun.elapsed(),
        };
        Ok::<_, String>((run, look(&world)))
    });
    drop(runtime);
    let panics = PANICS.take().unwrap_or_default();
    let (mut run, seen) = report?;
    if let Some(first) = panics.first() {
        run.wrong.get_or_insert(Wrong::new(Promise::HostileBytes, format!("a task of a node panicked: {first}")));
    }
    Ok((run, seen))
}

async fn live<C: Container>(world: &Arc<World<C>>, looked: Looked) -> Result<(), Wrong> {
    let settings = &world.schedule.settings;
    let mut random = world.random(7000);
    world.say(Lane::World, format_args!("seed {}: {settings:?}", world.schedule.seed));
    let tapped = Arc::downgrade(world);
    world.channel.tap(move |from, to, frame, fate| {
        let Some(world) = tapped.upgrade() else { return };
        if looked.full
            && let Some(what) = conflux::observe::message(frame)
        {
            world.say(Lane::Network, format_args!("{from} to {to}: {what}, {fate:?}"));
        }
        if let Some(vote) = conflux::observe::cast_vote(frame) {
            let checked = cast(&world.known().logs, from, &vote);
            world.check(checked);
        }
    });
    tokio::spawn(world.clone().watch());
    for node in 0..settings.nodes {
        let after = Duration::from_millis(if chance(&mut random, 50) { random.below(800) } else { 0 });
        let founding = world.clone();
        tokio::spawn(async move {
            sleep(after).await;
            founding.open(node).await;
        });
        tokio::spawn(listeners::listen(world.clone(), node, false, chance(&mut random, 30)));
    }
    tokio::spawn(listeners::listen(world.clone(), 0, true, chance(&mut random, 50)));
    tokio::spawn(callers::call_all(world.clone()));
    tokio::spawn(breaker::break_all(world.clone()));
    tokio::select! {
        biased;
        () = world.alarm.notified() => return Ok(()),
        () = sleep(settings.length) => {}
    }
    tokio::select! {
        biased;
        () = world.alarm.notified() => Ok(()),
        recovered = recover(world) => recovered,
    }
}

fn stuck(what: String) -> Wrong {
    Wrong::new(Promise::Liveness, what)
}

/// All faults end, all nodes come back: the cluster must serve, and be one.
async fn recover<C: Container>(world: &Arc<World<C>>) -> Result<(), Wrong> {
    world.say(Lane::World, format_args!("the faults end"));
    world.known().going = false;
    breaker::heal(world);
    // What was killed comes back within what its killer meant.
    let busy = |world: &World<C>| {
        let known = world.known();
        known.members_change || known.slots.iter().any(|slot| slot.busy || slot.node.is_none())
    };
    let patience = Instant::now() + Duration::from_secs(40);
    while busy(world) {
        if Instant::now() > patience {
            return Err(stuck(format!("a node does not come back, or not to its seat: {}", how_they_are(world))));
        }
        sleep(Duration::from_millis(50)).await;
    }
    breaker::heal(world);
    for node in world.open_nodes() {
        if timeout(LIVELY_WITHIN, breaker::reseat(world, node)).await.is_err() {
            return Err(stuck(format!("{} does not get its seat again: {}", name(node), how_they_are(world))));
        }
    }
    let lively = Instant::now();
    for node in world.open_nodes() {
        serve(world, node, lively + LIVELY_WITHIN).await?;
    }
    world.say(Lane::World, format_args!("all serve after {:?}", lively.elapsed()));
    while world.known().waiting > 0 {
        if lively.elapsed() > Duration::from_secs(60) {
            let waiting = world.known().waiting;
            return Err(Wrong::new(Promise::NothingByHand, format!("{waiting} performs are never answered")));
        }
        sleep(Duration::from_millis(50)).await;
    }
    // What is asked again has its answer by then, and whoever is slow has heard it all.
    sleep(Duration::from_secs(6)).await;
    {
        let known = world.known();
        let (tries, once) = (&known.tries, &known.history.once);
        if let Some(wrong) = denied_and_done(tries, once).into_iter().chain(out_of_order(tries, once)).next() {
            return Err(wrong);
        }
        heard_all(&known.listeners, known.history.index())?;
    }
    one_state(world).await
}

fn how_they_are<C: Container>(world: &World<C>) -> String {
    let nodes: Vec<_> = {
        let known = world.known();
        known.slots.iter().map(|slot| (slot.node.clone(), slot.busy, slot.excuses.clone())).collect()
    };
    let how = nodes.iter().enumerate().map(|(at, (node, busy, excuses))| match node {
        None => format!("{} is down (busy {busy}, {excuses:?})", name(at)),
        Some(node) => {
            let status = node.status();
            let mut notice = status.notice.unwrap_or_default();
            if status.role == Role::Leader {
                notice += &format!("{:?}", node.members());
            }
            format!(
                "{} is {} in term {} with voters {:?} (busy {busy}) {notice}",
                name(at),
                status.role,
                status.term,
                status.voters
            )
        }
    });
    how.collect::<Vec<_>>().join("; ")
}

/// In the end all nodes show the state that the history comes to, and say that they are well.
async fn one_state<C: Container>(world: &Arc<World<C>>) -> Result<(), Wrong> {
    for at in world.open_nodes() {
        let Some((node, _)) = world.node(at) else { continue };
        let state = node.linearizable_state().await;
        let state = state.map_err(|error| stuck(format!("{} does not read: {error}", name(at))))?;
        let digest = node.digest_at(state.index());
        let (index, trail, expected) = {
            let known = world.known();
            let store = known.history.store();
            (known.history.index(), store.state().trail, store.digest().ok())
        };
        if (state.index().0, state.trail, digest) != (index, trail, expected) {
            let what = format!(
                "in the end {} is at {}, {}, {digest:?}; what is committed comes to {index}, {trail}, {expected:?}",
                name(at),
                state.index(),
                state.trail
            );
            return Err(Wrong::new(Promise::OneHistory, what));
        }
        let role = node.status().role;
        if !matches!(role, Role::Leader | Role::Follower) {
            return Err(stuck(format!("in the end {} is a {role}", name(at))));
        }
    }
    world.say(Lane::World, format_args!("the end, at {}", world.known().history.index()));
    Ok(())
}

/// Performs at a node until it is answered.
async fn serve<C: Container>(world: &Arc<World<C>>, at: usize, by: Instant) -> Result<(), Wrong> {
    loop {
        let served = match world.node(at) {
            Some((node, _)) => node.linearizable_index().await.is_ok() && serves(world, at, &node).await,
            None => false,
        };
        if served {
            return Ok(());
        }
        if Instant::now() > by {
            let how = how_they_are(world);
            return Err(stuck(format!("{} does not serve {LIVELY_WITHIN:?} after all was healed: {how}", name(at))));
        }
        // It may be full.
        sleep(Duration::from_millis(20)).await;
    }
}

async fn serves<C: Container>(
    world: &Arc<World<C>>,
    at: usize,
    node: &conflux::Node<crate::observed::Observed<C>>,
) -> bool {
    let number = world.known().tries.len() as u64;
    let tag = (1 << 40) + 2 * number;
    let Some(method) = callers::method(world, tag, 0, &mut world.random(9_000_000 + number)) else { return true };
    let opening = world.known().slots[at].opening;
    let number = world.began(tag, at, opening, None);
    let answer = node.perform(method).timeout(Duration::from_secs(2)).await;
    let claim = Claim::of::<C>(&answer);
    let decided = matches!(claim, Claim::Decided { .. });
    world.told(number, tag, claim);
    world.stopped_waiting();
    decided
}
