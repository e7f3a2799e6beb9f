//! The one who breaks things.

use std::sync::Arc;
use std::time::Duration;

use conflux::channel::Faults;
use conflux::{MemoryDisk, Random};
use tokio::time::sleep;

use crate::plan::{Plan, chance, pick, within};
use crate::world::World;

/// The task.
pub(crate) async fn rage(world: Arc<World>) {
    let mut random = world.random(6000);
    let random = &mut random;
    while world.is_going() {
        sleep(Duration::from_millis(within(random, &world.plan.calm_ms))).await;
        if !world.is_going() {
            return;
        }
        let open = world.open_slots();
        match random.below(100) {
            0..12 if !open.is_empty() => {
                let slot = pick(random, &open);
                kill_for_a_while(&world, slot, random);
            }
            12..22 => {
                if let Some(leader) = world.leader() {
                    world.count("kill: the leader");
                    kill_for_a_while(&world, leader, random);
                }
            }
            22..25 => {
                world.count("kill: all at once");
                for slot in open {
                    kill_for_a_while(&world, slot, random);
                }
            }
            25..35 => wipe(&world, random),
            35..50 => part(&world, random),
            50..60 => {
                let (from, to) = (random.below(world.plan.slots() as u64), random.below(world.plan.slots() as u64));
                if from != to {
                    let (from, to) = (Plan::name(from as usize), Plan::name(to as usize));
                    world.trace.say(format_args!("{from} is not heard by {to}"));
                    world.count("cut one way");
                    world.channel.cut(from, to);
                }
            }
            60..80 => heal(&world),
            80..92 => world.set_faults(weather(random)),
            _ => world.set_faults(Faults::default()),
        }
    }
}

pub(crate) fn weather(random: &mut Random) -> Faults {
    let percent = |random: &mut Random, max| random.below(max) as f64 / 100.0;
    let delay_ms = pick(random, &[0, 2, 20, 80, 300]);
    Faults {
        loss: if chance(random, 60) { percent(random, 31) } else { 0.0 },
        duplicate: if chance(random, 60) { percent(random, 51) } else { 0.0 },
        delay: Duration::ZERO..Duration::from_millis(delay_ms),
        ..Faults::default()
    }
}

pub(crate) fn heal(world: &World) {
    world.trace.say(format_args!("healed"));
    world.count("heal");
    world.channel.heal();
}

fn part(world: &World, random: &mut Random) {
    world.count("partition");
    let slots: Vec<usize> = (0..world.plan.slots()).collect();
    let mut sides: [Vec<&str>; 2] = Default::default();
    let alone = world.leader().filter(|_| chance(random, 40));
    if alone.is_some() {
        world.count("partition: the leader alone");
    }
    // Now and then a node hears both sides.
    let bridge = chance(random, 15).then(|| pick(random, &slots));
    for slot in slots {
        let side = match alone {
            Some(alone) => usize::from(slot == alone),
            None => random.below(2) as usize,
        };
        sides[side].push(Plan::name(slot));
        if bridge == Some(slot) {
            sides[1 - side].push(Plan::name(slot));
        }
    }
    world.trace.say(format_args!("parted: {sides:?}"));
    world.channel.partition(&[&sides[0], &sides[1]]);
}

/// Ends a node. Its disk stays.
fn kill(world: &Arc<World>, slot: usize, random: &mut Random) {
    let Some(node) = ({
        let mut known = world.known();
        known.slots[slot].busy = true;
        known.slots[slot].node.take()
    }) else {
        return;
    };
    let name = Plan::name(slot);
    if chance(random, 50) {
        world.trace.say(format_args!("{name} is closed"));
        world.count("kill: closed");
        tokio::spawn(async move { node.close().await });
    } else {
        world.trace.say(format_args!("{name} is dropped"));
        world.count("kill: dropped");
        drop(node);
    }
}

fn kill_for_a_while(world: &Arc<World>, slot: usize, random: &mut Random) {
    if world.known().slots[slot].busy {
        return;
    }
    kill(world, slot, random);
    let world = world.clone();
    let down = Duration::from_millis(pick(random, &[1, 100, 1000, 4000]) + random.below(500));
    tokio::spawn(async move {
        sleep(down).await;
        world.count("restart");
        world.open(slot).await;
    });
}

/// Ends a node and loses its disk; a majority of memories always survives.
fn wipe(world: &Arc<World>, random: &mut Random) {
    let candidates: Vec<usize> = {
        let known = world.known();
        let amnesic = known.slots.iter().filter(|slot| slot.amnesic).count();
        if amnesic >= world.plan.minority() {
            return;
        }
        // A late comer has no vote, so nothing hangs on its memory.
        (0..world.plan.nodes).filter(|slot| !known.slots[*slot].busy && known.slots[*slot].node.is_some()).collect()
    };
    if candidates.is_empty() {
        return;
    }
    let slot = pick(random, &candidates);
    if world.known().slots[slot].amnesic {
        return;
    }
    kill(world, slot, random);
    let name = Plan::name(slot);
    world.trace.say(format_args!("{name} loses its memory"));
    world.count("wipe");
    let old = {
        let mut known = world.known();
        known.slots[slot].amnesic = true;
        std::mem::replace(&mut known.slots[slot].disk, MemoryDisk::new())
    };
    let down = Duration::from_millis(pick(random, &[1, 300, 1500]) + random.below(300));
    let resurrect = chance(random, 30);
    let mut random = Random::new(random.next_u64());
    let world = world.clone();
    tokio::spawn(async move {
        sleep(down).await;
        world.open(slot).await;
        world.clone().seated(slot).await;
        if resurrect && world.is_going() {
            old_disk(&world, slot, old, &mut random).await;
        }
    });
}

/// Opens a node on the disk of the incarnation whose seat another one has, for a while.
async fn old_disk(world: &Arc<World>, slot: usize, old: MemoryDisk, random: &mut Random) {
    sleep(Duration::from_millis(random.below(1500))).await;
    {
        let mut known = world.known();
        let amnesic = known.slots.iter().filter(|slot| slot.amnesic).count();
        if known.slots[slot].busy || known.slots[slot].node.is_none() || amnesic >= world.plan.minority() {
            return;
        }
        // Which of the two has the seat in the end is open: until then neither counts as a memory.
        known.slots[slot].amnesic = true;
    }
    kill(world, slot, random);
    let name = Plan::name(slot);
    world.trace.say(format_args!("{name} comes back with its old disk"));
    world.count("old disk after a wipe");
    let new = std::mem::replace(&mut world.known().slots[slot].disk, old);
    world.open(slot).await;
    sleep(Duration::from_millis(500 + random.below(3000))).await;
    // Somebody else may have killed it, and will open it again, on the disk that is in the slot then.
    world.known().slots[slot].disk = new;
    if !world.known().slots[slot].busy {
        kill(world, slot, random);
        world.open(slot).await;
    }
    world.clone().seated(slot).await;
}
