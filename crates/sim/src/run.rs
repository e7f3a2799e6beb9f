//! One schedule, from its beginning to the verdict.

use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::{Arc, Once};
use std::time::Duration;

use conflux::{Container, Role};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout};

use crate::check::{
    BACK_WITHIN, Stand, WITHIN, all_answered, denied_and_done, has_its_part, heard_all, is_one, no_panic, out_of_order,
    stuck,
};
use crate::history::Failures;
use crate::record::Claim;
use crate::schedule::{Schedule, chance, name};
use crate::subject::Subject;
use crate::tally::Tally;
use crate::trace::{Lane, Trace};
use crate::world::World;
use crate::wrong::{Promise, Wrong};
use crate::{breaker, callers, listeners, words};

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
    /// The calls that failed.
    pub failures: Failures,
    /// All that happened, for a viewer, where it was asked for.
    pub view: Option<String>,
    /// How much simulated time passed.
    pub simulated: Duration,
}

/// How a run is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Looked {
    /// Messages between nodes are told of, too.
    pub messages: bool,
    /// Everything that is told of is kept: see [`Run::view`]. A long run takes gigabytes.
    pub view: bool,
    /// Everything is printed as it happens.
    pub print: bool,
}

thread_local! {
    /// Panics of tasks on this thread, which tokio would swallow; `None` where nothing is simulated.
    static PANICS: RefCell<Option<Panics>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Panics {
    all: Vec<String>,
    /// Rung at the first.
    alarm: Option<Arc<Notify>>,
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
                    let whose = if conflux::process::is_within() {
                        "a task of a node panicked"
                    } else {
                        "the simulation panicked, or what it called of a node"
                    };
                    panics.all.push(format!("{whose}: {info}"));
                    if let Some(alarm) = &panics.alarm {
                        alarm.notify_one();
                    }
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
    PANICS.set(Some(Panics::default()));
    conflux::seed_thread(schedule.seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| format!("there is no runtime: {error}"))?;
    let whole_run = async {
        let begun = Instant::now();
        let trace = Arc::new(Trace::new(looked.view, looked.print));
        trace.listen();
        let world = World::new(schedule.clone(), subject.clone(), trace)?;
        PANICS.with_borrow_mut(|panics| {
            if let Some(panics) = panics {
                panics.alarm = Some(world.alarm.clone());
            }
        });
        let whole = schedule.settings.length + Duration::from_secs(600);
        // A run that goes on for ever is one that hangs.
        match timeout(whole, live(&world, looked)).await {
            Ok(Ok(())) => {}
            Ok(Err(wrong)) => world.note(wrong),
            Err(_) => world.note(Wrong::new(Promise::Liveness, "the run does not end")),
        }
        let panics = PANICS.with_borrow(|panics| panics.as_ref().map(|panics| panics.all.clone())).unwrap_or_default();
        world.check(no_panic(&panics));
        (0..=schedule.settings.nodes).for_each(|node| world.count_losses(node));
        let wrong = world.known().wrong.clone();
        let (tally, actions, failures) = {
            let known = world.known();
            let mut tally = known.tally.clone();
            tally.set("batch applied", known.history.batches.applied);
            tally.set("batch skipped", known.history.batches.skipped);
            (tally, known.history.index(), known.history.failures.clone())
        };
        let run = Run {
            hash: world.trace.hash(),
            tally,
            wrong,
            tail: world.trace.tail(),
            actions,
            failures,
            view: world.trace.view(schedule.settings.nodes + 1),
            simulated: begun.elapsed(),
        };
        Ok::<_, String>((run, look(&world)))
    };
    let report = panic::catch_unwind(AssertUnwindSafe(|| runtime.block_on(whole_run)));
    drop(runtime);
    // As the runtime ends, tasks are dropped, and may panic once more.
    let panics = PANICS.take().unwrap_or_default();
    let (mut run, seen) = report.unwrap_or_else(|_| {
        let said = panics.all.last().map_or("", String::as_str);
        Err(format!("seed {}: a mistake in the simulation, or in what it calls of a node: {said}", schedule.seed))
    })?;
    if let Err(wrong) = no_panic(&panics.all) {
        run.wrong.get_or_insert(wrong);
    }
    // Nothing of conflux was tried by calls that cannot be made up.
    if let Some(Wrong { promise: Promise::Samples, what }) = &run.wrong {
        return Err(format!("seed {}: no call could be made up: {what}", schedule.seed));
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
        if looked.messages
            && let Some(what) = conflux::observe::message(frame)
        {
            world.say(Lane::Network, format_args!("{from} to {to}: {what}, {fate:?}"));
        }
        // As it was sent: its sender may be another member by the time that it arrives.
        if fate.is_sending()
            && let Some(vote) = conflux::observe::cast_vote(frame)
        {
            let checked = world.known().cast(from, &vote);
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

/// All faults end, all nodes come back: the cluster must serve, and be one.
async fn recover<C: Container>(world: &Arc<World<C>>) -> Result<(), Wrong> {
    world.say(Lane::World, format_args!("the faults end"));
    world.known().going = false;
    breaker::heal(world);
    let busy = |world: &World<C>| {
        let known = world.known();
        let founders = &known.slots[..world.schedule.settings.nodes];
        known.members_change
            || known.slots.iter().any(|slot| slot.busy)
            || founders.iter().any(|slot| slot.node.is_none())
    };
    let patience = Instant::now() + BACK_WITHIN;
    while busy(world) {
        if Instant::now() > patience {
            return Err(stuck("a node does not come back, or not to its seat", BACK_WITHIN, &how_they_are(world)));
        }
        sleep(Duration::from_millis(50)).await;
    }
    breaker::heal(world);
    for node in world.open_nodes() {
        if timeout(WITHIN, breaker::reseat(world, node)).await.is_err() {
            let what = format!("{} does not get its seat again", name(node));
            return Err(stuck(&what, WITHIN, &how_they_are(world)));
        }
    }
    let lively = Instant::now();
    for node in world.open_nodes() {
        serve(world, node, lively + WITHIN).await?;
    }
    world.say(Lane::World, format_args!("all serve after {:?}", lively.elapsed()));
    while world.known().waiting > 0 {
        if lively.elapsed() > Duration::from_secs(60) {
            let waiting = world.known().waiting;
            return all_answered(waiting);
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
        let state = state.map_err(|error| {
            let what = format!("{} does not read: {error}", name(at));
            stuck(&what, WITHIN, &how_they_are(world))
        })?;
        let shown = Stand { index: state.index().0, trail: state.trail, digest: node.digest_at(state.index()) };
        let committed = world.known().stand();
        is_one(name(at), shown, committed).map_err(|mut wrong| {
            let known = world.known();
            let differs = words::difference(&state.state, &known.history.store().state().state);
            if let Some(differs) = differs {
                wrong.what = format!("{}\n  its state | what is committed: {differs}", wrong.what);
            }
            wrong
        })?;
        has_its_part(name(at), node.status().role)?;
    }
    world.say(Lane::World, format_args!("the end, at {}", world.known().history.index()));
    Ok(())
}

/// Performs at a node until it is answered.
async fn serve<C: Container>(world: &Arc<World<C>>, at: usize, by: Instant) -> Result<(), Wrong> {
    let mut nth = 0;
    loop {
        let served = match world.node(at) {
            Some((node, _)) => node.linearizable_index().await.is_ok() && serves(world, at, nth, &node).await,
            None => false,
        };
        if served {
            return Ok(());
        }
        if Instant::now() > by {
            let what = format!("{} has its seat, and does not serve", name(at));
            return Err(stuck(&what, WITHIN, &how_they_are(world)));
        }
        // It may be full.
        sleep(Duration::from_millis(20)).await;
        nth += 1;
    }
}

async fn serves<C: Container>(
    world: &Arc<World<C>>,
    at: usize,
    nth: u64,
    node: &conflux::Node<crate::observed::Observed<C>>,
) -> bool {
    // The same call whatever was left out before: else what is made shorter ends with another one each time.
    let number = 10_000 * at as u64 + nth;
    let tag = callers::TAGS_AT_THE_END + 2 * number;
    let Some(method) = callers::method(world, tag, 0, &mut world.random(9_000_000 + number)) else { return true };
    let opening = world.known().slots[at].opening;
    let number = world.began(&method, at, opening, None);
    let answer = node.perform(method).timeout(Duration::from_secs(2)).await;
    let claim = Claim::of::<C>(&answer);
    let decided = matches!(claim, Claim::Decided { .. });
    world.told(number, tag, claim);
    world.stopped_waiting();
    decided
}
