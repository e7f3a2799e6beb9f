//! One seed, from its beginning to the verdict.

use std::panic::{self, PanicHookInfo};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use conflux::channel::Faults;
use tokio::time::{Instant, sleep, timeout};

use crate::container::{Kind, ON_PURPOSE, State};
use crate::plan::{Plan, chance};
use crate::record::Claim;
use crate::tally::Tally;
use crate::world::World;
use crate::{callers, checks, faults, subscribers};

/// What a run came to.
pub(crate) struct Report {
    pub(crate) hash: u64,
    pub(crate) tally: Tally,
    /// Empty when all promises held.
    pub(crate) broken: Vec<String>,
    pub(crate) tail: String,
    pub(crate) actions: usize,
}

/// Within this much simulated time after all is healed, every node serves.
const LIVELY_WITHIN: Duration = Duration::from_secs(15);

/// Panics of the nodes' own tasks, which tokio would swallow.
static PANICS: Mutex<Vec<String>> = Mutex::new(Vec::new());

fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            let text = info.payload_as_str().unwrap_or_default();
            if text.starts_with(ON_PURPOSE) {
                return;
            }
            if let Ok(mut panics) = PANICS.lock() {
                panics.push(info.to_string());
            }
            before(info);
        }));
    });
}

/// Runs a seed on a runtime of its own whose clock stands still while anything can be done.
pub(crate) fn run(seed: u64, print: bool) -> Report {
    catch_panics();
    conflux::seed_thread(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.expect("a runtime without I/O needs nothing");
    let report = runtime.block_on(async {
        let world = World::new(Plan::draw(seed), print);
        // A run that goes on for ever is one that hangs.
        let end = timeout(Duration::from_secs(600), live(&world)).await;
        let end = end.unwrap_or_else(|_| Err("the run does not end".into()));
        let mut broken = std::mem::take(&mut world.known().wrong);
        let mut actions = 0;
        match end {
            Ok(end) => {
                actions = end.entries.len();
                broken.extend(checks::all(&world.known(), &end));
            }
            Err(error) => broken.push(error),
        }
        Report {
            hash: world.trace.hash(),
            tally: world.known().tally.clone(),
            broken,
            tail: world.trace.tail(),
            actions,
        }
    });
    drop(runtime);
    let panics = std::mem::take(&mut *PANICS.lock().expect("the hook does not panic"));
    Report { broken: panics.into_iter().chain(report.broken).collect(), ..report }
}

async fn live(world: &Arc<World>) -> Result<State, String> {
    let plan = &world.plan;
    let mut random = world.random(7000);
    world.trace.say(format_args!("seed {}: {} nodes", plan.seed, plan.slots()));
    tokio::spawn(world.clone().watch());
    if plan.rough_start {
        world.set_faults(faults::weather(&mut random));
    }
    for slot in 0..plan.slots() {
        let late = if slot == plan.nodes { 2_000 } else { 0 };
        let after = Duration::from_millis(late + if chance(&mut random, 50) { random.below(800) } else { 0 });
        world.known().slots[slot].busy = true;
        let (founding, calling) = (world.clone(), world.clone());
        tokio::spawn(async move {
            sleep(after).await;
            founding.open(slot).await;
        });
        tokio::spawn(callers::call(calling, slot));
        tokio::spawn(subscribers::listen(world.clone(), slot, false, chance(&mut random, 30)));
    }
    tokio::spawn(subscribers::listen(world.clone(), 0, true, chance(&mut random, 50)));
    if !plan.rough_start {
        sleep(Duration::from_secs(2)).await;
    }
    tokio::spawn(faults::rage(world.clone()));
    let ends = Instant::now() + plan.length;
    while Instant::now() < ends {
        stop_if_wrong(world)?;
        sleep(Duration::from_millis(100)).await;
    }
    recover(world).await
}

fn stop_if_wrong(world: &World) -> Result<(), String> {
    if world.known().wrong.is_empty() { Ok(()) } else { Err("stopped there".into()) }
}

/// All faults end, all nodes come back: the cluster must serve, and be one.
async fn recover(world: &Arc<World>) -> Result<State, String> {
    world.trace.say(format_args!("the faults end"));
    world.known().going = false;
    faults::heal(world);
    world.channel.set_faults(Faults::default());
    // What was killed comes back within what its killer meant.
    let busy = |world: &World| world.known().slots.iter().any(|slot| slot.busy || slot.node.is_none());
    let patience = Instant::now() + Duration::from_secs(20);
    while busy(world) {
        stop_if_wrong(world)?;
        if Instant::now() > patience {
            return Err("a node does not come back".into());
        }
        sleep(Duration::from_millis(50)).await;
    }
    let lively = Instant::now();
    let served = world.open_slots().into_iter().map(|slot| serve(world, slot, lively + LIVELY_WITHIN));
    for served in futures_util::future::join_all(served).await {
        served?;
    }
    world.trace.say(format_args!("all serve after {:?}", lively.elapsed()));
    while world.known().waiting > 0 {
        stop_if_wrong(world)?;
        if lively.elapsed() > Duration::from_secs(60) {
            return Err(format!("{} performs are never answered", world.known().waiting));
        }
        sleep(Duration::from_millis(50)).await;
    }
    // Old disks are put away, and what is asked again has its answer.
    sleep(Duration::from_secs(20)).await;
    stop_if_wrong(world)?;
    let mut states = Vec::new();
    for slot in world.open_slots() {
        let (node, _) = world.node(slot).ok_or("nobody kills any more")?;
        let state = node.linearizable_state().await.map_err(|error| format!("{} does not read: {error}", node.id()))?;
        states.push((node.id().clone(), state.index().0, (*state).clone(), node.digest_at(state.index())));
    }
    let (name, index, state, digest) = states.first().cloned().ok_or("no node is open")?;
    for (other, its_index, its_state, its_digest) in &states {
        if (its_index, its_state, its_digest) != (&index, &state, &digest) {
            return Err(format!(
                "in the end {name} is at {index}, {digest:?}, and {other} at {its_index}, {its_digest:?}"
            ));
        }
    }
    world.trace.say(format_args!("the end, at {index}: {digest:?}"));
    Ok(state)
}

/// Performs at a node until it succeeds.
async fn serve(world: &World, slot: usize, by: Instant) -> Result<(), String> {
    let name = Plan::name(slot);
    loop {
        let Some((node, opening)) = world.node(slot) else {
            // An old disk is being put away.
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let method = world.method(Kind::Put, 0);
        let number = world.began(method.clone(), slot, opening, None);
        let started = node.perform(method).timeout(Duration::from_secs(2)).start();
        let status = node.status();
        drop(node);
        let claim = Claim::of(started.await);
        let done = matches!(claim, Claim::Done { .. });
        world.ended(number, claim);
        world.stopped_waiting();
        if done {
            return Ok(());
        }
        stop_if_wrong(world)?;
        if Instant::now() > by {
            return Err(format!("{name} does not serve {LIVELY_WITHIN:?} after all was healed: {status:?}"));
        }
        // It may be full.
        sleep(Duration::from_millis(20)).await;
    }
}
