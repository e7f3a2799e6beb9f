//! Those who listen: each goes on where it was when its node comes back, or on another one.

use std::sync::Arc;
use std::time::Duration;

use conflux::{Event, Index};
use tokio::time::sleep;

use crate::container::Ledger;
use crate::plan::{HISTORY_LONG, Plan, chance, pick};
use crate::record::{Heard, Listener};
use crate::world::World;

fn heard(event: &Event<Ledger>) -> Heard {
    match event {
        Event::Change(change) => Heard::Change {
            previous: change.previous.0,
            index: change.index.0,
            action: (*change.action).clone(),
            state: change.state.seen(),
        },
        Event::Reset { state, index } => Heard::Reset { index: index.0, state: state.seen() },
    }
}

fn note(world: &World, listener: usize, heard: Heard) {
    match &heard {
        Heard::Began { slot, after } => {
            world.trace.say(format_args!("listener {listener} hears {} from {after} on", Plan::name(*slot)));
        }
        Heard::Change { index, action, state, .. } => {
            world.trace.say(format_args!("listener {listener}: {index} is {}, {:x}", action.tag, state.hash));
        }
        Heard::Reset { index, .. } => {
            world.count("subscription: reset");
            if world.plan.history == HISTORY_LONG {
                let resumed = matches!(world.known().listeners[listener].heard.last(), Some(Heard::Began { .. }));
                world.count(if resumed { "snapshot: started from" } else { "snapshot: installed" });
            }
            world.trace.say(format_args!("listener {listener} starts again at {index}"));
        }
    }
    world.known().listeners[listener].heard.push(heard);
}

fn enlist(world: &World) -> usize {
    let mut known = world.known();
    known.listeners.push(Listener::default());
    known.listeners.len() - 1
}

/// The task of one listener. `home` is where it likes to be; a roaming one takes any node that is open.
pub(crate) async fn listen(world: Arc<World>, home: usize, roams: bool, slow: bool) {
    let listener = enlist(&world);
    let mut random = world.random(5000 + listener as u64);
    let mut last: Option<u64> = None;
    loop {
        let open = world.open_slots();
        let slot = if roams && !open.is_empty() { pick(&mut random, &open) } else { home };
        let Some((node, _)) = world.node(slot) else {
            sleep(Duration::from_millis(20)).await;
            continue;
        };
        let after = last.unwrap_or_else(|| node.state().index().0);
        let mut subscription = match last {
            None => node.subscribe(),
            Some(last) => node.subscribe_from(Index(last)),
        };
        drop(node);
        if last.is_some() {
            world.count("subscription: resumed");
        }
        last = Some(after);
        note(&world, listener, Heard::Began { slot, after });
        while let Some(event) = subscription.next().await {
            let heard = heard(&event);
            drop(event);
            if let Heard::Change { index, .. } | Heard::Reset { index, .. } = &heard {
                last = Some(*index);
            }
            note(&world, listener, heard);
            if slow && chance(&mut random, 5) {
                sleep(Duration::from_millis(random.below(2000))).await;
            }
            if roams && chance(&mut random, 2) {
                break;
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}
