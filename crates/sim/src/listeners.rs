//! Those who listen: each goes on where it was when its node comes back, or on another one.

use std::sync::Arc;
use std::time::Duration;

use conflux::{Container, Event, Index};
use tokio::time::sleep;

use crate::observed::Observed;
use crate::record::{Heard, Listener};
use crate::schedule::{chance, pick};
use crate::world::World;

fn heard<C: Container>(event: &Event<Observed<C>>) -> Heard {
    match event {
        Event::Change(change) => Heard::Change {
            previous: change.previous.0,
            index: change.index.0,
            tag: change.action.tag,
            state: change.state.trail,
        },
        Event::Reset { state, index } => Heard::Reset { index: index.0, state: state.trail },
    }
}

/// The task of one listener. `home` is where it likes to be; a roaming one takes any node that is open.
pub(crate) async fn listen<C: Container>(world: Arc<World<C>>, home: usize, roams: bool, slow: bool) {
    let listener = {
        let mut known = world.known();
        known.listeners.push(Listener::default());
        known.listeners.len() - 1
    };
    let mut random = world.random(5000 + listener as u64);
    let mut last: Option<u64> = None;
    loop {
        let open = world.open_nodes();
        let at = if roams && !open.is_empty() { pick(&mut random, &open) } else { home };
        let Some((node, _)) = world.node(at) else {
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
        world.heard(listener, &Heard::Began { after });
        while let Some(event) = subscription.next().await {
            let heard = heard(&event);
            drop(event);
            if let Heard::Change { index, .. } | Heard::Reset { index, .. } = &heard {
                last = Some(*index);
            }
            world.heard(listener, &heard);
            if slow && world.is_going() && chance(&mut random, 3) {
                world.count("subscription: slow");
                sleep(Duration::from_millis(random.below(2000))).await;
            }
            if roams && chance(&mut random, 1) {
                break;
            }
        }
        sleep(Duration::from_millis(20)).await;
    }
}
