//! Clients that read and subscribe, and write down what they see.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::{Event, Events, Reply};
use super::random::Random;
use super::record::{Entry, Heard, Read, ReadKind, State};
use super::world::{Slot, World};

/// How long a linearizable read may take: without a leader it waits.
const READ_PATIENCE: Duration = Duration::from_secs(4);

/// How long a subscriber hears nothing before it goes to another node.
const SILENCE: Duration = Duration::from_secs(2);

/// How long a subscriber tries to hear the last action once nothing is broken any more.
const LAST_PATIENCE: Duration = Duration::from_secs(30);

/// Reads at any node until the run is over. What is wrong with an answer is told as text.
pub(super) fn read(world: &Arc<World>, number: usize) -> (Vec<Read>, Vec<String>) {
    let mut random = Random::new(world.seed, 200 + number as u64);
    let (mut reads, mut odd) = (Vec::new(), Vec::new());
    while !world.is_over() {
        let kind = *random.pick(&[
            ReadKind::Committed,
            ReadKind::Committed,
            ReadKind::Committed,
            ReadKind::Linearizable,
            ReadKind::Linearizable,
            ReadKind::Provisional,
        ]);
        match read_once(world, world.any(&mut random), kind) {
            Ok(read) => reads.extend(read),
            Err(why) => odd.push(why),
        }
        world.sleep(Duration::from_millis(random.below(100)));
    }
    (reads, odd)
}

fn read_once(world: &World, slot: &Slot, kind: ReadKind) -> Result<Option<Read>, String> {
    let path = match kind {
        ReadKind::Committed => "/state",
        ReadKind::Linearizable => "/state?linearizable=true",
        ReadKind::Provisional => "/provisional",
    };
    let life = slot.life();
    let (told_by_node, told_by_any) = (slot.floor(life), world.told());
    let Ok(Reply { status, body }) = slot.client.get(path, READ_PATIENCE) else { return Ok(None) };
    match status {
        200 => {}
        // No leader in time, or too much to do.
        503 => return Ok(None),
        _ => return Err(format!("{}: GET {path} answered {status}: {body}", slot.name)),
    }
    let state = State::parse(&body).map_err(|why| format!("{}: GET {path}: {why}", slot.name))?;
    let by = slot.same(life);
    if kind != ReadKind::Provisional {
        if by.is_some() {
            slot.raise(life, state.index);
        }
        world.tell(state.index);
    }
    let sum = state.sum();
    let committed = if kind == ReadKind::Provisional { state.sum_to(told_by_node) } else { None };
    let (node, index) = (slot.name.clone(), state.index);
    Ok(Some(Read { life: by, node, kind, index, sum, committed, told_by_node, told_by_any }))
}

/// Follows the log to its end, at any node; now and then it goes away, and another one begins somewhere in the past.
pub(super) fn listen(world: &Arc<World>, number: usize) -> Vec<Vec<Heard>> {
    let mut listener = Listener { last: 0, id: "0".to_owned(), heard: Vec::new() };
    let mut earlier = Vec::new();
    let mut random = Random::new(world.seed, 300 + number as u64);
    let mut patience: Option<Instant> = None;
    while !listener.is_done(world) {
        if world.end().is_some() && Instant::now() > *patience.get_or_insert_with(|| Instant::now() + LAST_PATIENCE) {
            break;
        }
        let slot = world.any(&mut random);
        let Ok(mut events) = slot.client.subscribe(&listener.id, SILENCE) else {
            world.sleep(Duration::from_millis(50));
            continue;
        };
        listener.heard.push(Heard::Began { node: slot.name.clone(), after: listener.last });
        // Sooner or later somebody else is asked, also where nothing breaks.
        let until = Instant::now() + Duration::from_millis(random.within(500..15_000));
        while !listener.is_done(world) && Instant::now() < until && listener.hear(&mut events) {}
        // Without an event there is no id yet that names the history.
        let history = listener.id.rsplit_once('-').map(|(history, _)| history.to_owned());
        if let Some(history) = history.filter(|_| world.end().is_none() && random.chance(10)) {
            listener.heard.push(Heard::Left);
            earlier.push(listener.heard);
            let last = random.below(world.told().max(1));
            listener = Listener { last, id: format!("{history}-{last}"), heard: Vec::new() };
        }
    }
    earlier.push(listener.heard);
    earlier
}

struct Listener {
    last: u64,
    /// Of the last event.
    id: String,
    heard: Vec<Heard>,
}

impl Listener {
    fn is_done(&self, world: &World) -> bool {
        world.is_interrupted() || world.end().is_some_and(|end| self.last >= end)
    }

    /// Hears one event; `false` when the connection is at its end.
    fn hear(&mut self, events: &mut Events) -> bool {
        let Some(event) = events.next() else { return false };
        let heard = parse(&event);
        if let Heard::Change { index, .. } | Heard::Reset { index, .. } = &heard {
            self.last = *index;
            self.id = event.id;
        }
        let goes_on = !matches!(heard, Heard::Odd(_));
        self.heard.push(heard);
        goes_on
    }
}

fn parse(event: &Event) -> Heard {
    let odd = |why: &str| Heard::Odd(format!("{why}: {event:?}"));
    let Ok(data) = serde_json::from_str::<Value>(&event.data) else { return odd("no JSON") };
    let Some(index) = data["index"].as_u64() else { return odd("no index") };
    // Nobody takes the history up again from a backup here: all is of generation 0.
    let of_this = event
        .id
        .rsplit_once('-')
        .is_some_and(|(history, place)| history.ends_with(".0") && *place == index.to_string());
    if !of_this {
        return odd("an id of another place");
    }
    match &*event.kind {
        "change" => Entry::of_action(&data["action"])
            .map_or_else(|| odd("no action of ledger.js"), |entry| Heard::Change { index, entry }),
        "reset" => State::parse(&data).map_or_else(|why| odd(&why), |state| Heard::Reset { index, sum: state.sum() }),
        _ => odd("an unknown kind"),
    }
}
