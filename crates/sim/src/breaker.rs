//! The one who breaks things, as the schedule says.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conflux::channel::{FaultCounts, Faults};
use conflux::disk::Keep;
use conflux::{Batch, Container, Random, Record, Role};
use tokio::time::{Instant, sleep, sleep_until};

use crate::check::{Stand, is_one, not_let_in, of_another_version};
use crate::fault::{Fault, FaultKind};
use crate::observed::Observed;
use crate::schedule::{chance, name, pick};
use crate::trace::Lane;
use crate::weather::Between;
use crate::world::{Excuse, Life, Medium, NextDeath, SlotDisk, Strikes, World, files_of};

/// The task that does all that the schedule says, when it says so.
pub(crate) async fn break_all<C: Container>(world: Arc<World<C>>) {
    let begun = Instant::now();
    let faults = world.schedule.faults.clone();
    for fault in faults {
        sleep_until(begun + fault.at).await;
        if !world.is_going() {
            return;
        }
        tokio::spawn(befall(world.clone(), fault.what));
    }
}

/// One fault, from its beginning to its end. It is counted when it has happened.
async fn befall<C: Container>(world: Arc<World<C>>, fault: Fault) {
    let happened = match fault.kind {
        FaultKind::Partition | FaultKind::LeaderAlone | FaultKind::Bridge | FaultKind::OneWay | FaultKind::SlowLink => {
            part(&world, &fault).await
        }
        FaultKind::Reset => reset(&world, &fault).await,
        FaultKind::Loss | FaultKind::Duplication | FaultKind::Delay | FaultKind::Corruption => {
            rain(&world, &fault).await
        }
        // Whoever calls does it.
        FaultKind::HugeCall => return,
        FaultKind::Kill => kill_for(&world, &fault, Keep::Everything).await,
        FaultKind::PowerLoss => kill_for(&world, &fault, fault.keep).await && !world.schedule.settings.in_memory,
        FaultKind::PowerLossOfAll => kill_all(&world, &fault).await,
        FaultKind::KillAtAwait => kill_at_await(&world, &fault).await,
        FaultKind::KillAtDisk => kill_at_disk(&world, &fault).await,
        FaultKind::RollingRestart => roll(&world).await,
        FaultKind::Close => close_for(&world, fault.node, fault.lasts).await,
        FaultKind::Pause => pause(&world, &fault).await,
        FaultKind::DiskError | FaultKind::DiskFull => fail_disk(&world, &fault).await,
        FaultKind::SlowDisk => slow_disk(&world, &fault).await,
        FaultKind::BitFlip => flip(&world, &fault).await,
        FaultKind::ClockJump => jump(&world, &fault),
        FaultKind::Seat => change_members(&world, &fault, seat(world.clone(), fault.clone())).await,
        FaultKind::ChangeInterrupted => change_members(&world, &fault, interrupt(world.clone(), fault.clone())).await,
        FaultKind::Replace => change_members(&world, &fault, replace(world.clone(), fault.clone())).await,
        FaultKind::Wipe => change_members(&world, &fault, wipe(world.clone(), fault.clone(), false)).await,
        FaultKind::OldDisk => change_members(&world, &fault, wipe(world.clone(), fault.clone(), true)).await,
        FaultKind::Transfer => transfer(&world, &fault).await,
        FaultKind::OtherVersion => other_version(&world, &fault).await,
        FaultKind::Join => change_members(&world, &fault, join(world.clone(), fault.clone())).await,
    };
    if happened {
        world.count(fault.kind.name());
    }
}

fn announce<C: Container>(world: &World<C>, fault: &Fault) {
    world.say(Lane::World, format_args!("{fault}"));
    world.trace.span(Lane::World, format_args!("{fault}"), fault.lasts);
}

/// Something is between nodes, for a while: it happened if a message met it.
async fn part<C: Container>(world: &Arc<World<C>>, fault: &Fault) -> bool {
    if world.schedule.settings.nodes < 2 {
        return false;
    }
    // Whoever joined is on one of the sides, too.
    let nodes = 0..=guest(world);
    let random = &mut Random::new(fault.seed);
    let mut sides: [Vec<&'static str>; 2] = Default::default();
    match fault.kind {
        FaultKind::OneWay | FaultKind::SlowLink => {}
        FaultKind::LeaderAlone => {
            let Some(leader) = world.leader() else { return false };
            nodes.for_each(|node| sides[usize::from(node == leader)].push(name(node)));
        }
        FaultKind::Bridge => {
            for node in nodes {
                let side = random.below(2) as usize;
                sides[side].push(name(node));
                if node == fault.node {
                    sides[1 - side].push(name(node));
                }
            }
        }
        _ => nodes.for_each(|node| sides[random.below(2) as usize].push(name(node))),
    }
    announce(world, fault);
    let is_slow = fault.kind == FaultKind::SlowLink;
    let between = match fault.kind {
        FaultKind::OneWay => Between::Cut(name(fault.node), name(fault.other)),
        FaultKind::SlowLink => {
            let by = Duration::from_millis((fault.strength * 400.0) as u64);
            Between::Slow(name(fault.node), name(fault.other), by)
        }
        _ => {
            world.say(Lane::Network, format_args!("parted: {sides:?}"));
            Between::Parted(sides.into())
        }
    };
    let links = between.links();
    let met = || -> u64 {
        let counts = links.iter().map(|(from, to)| world.channel.fault_counts_between(from, to));
        counts.map(|FaultCounts { blocked, slowed, .. }| if is_slow { slowed } else { blocked }).sum()
    };
    let before = met();
    let number = world.put_between(between);
    sleep(fault.lasts).await;
    world.say(Lane::Network, format_args!("healed"));
    world.lift(number);
    met() > before
}

/// The place of whoever joins, and goes again.
fn guest<C: Container>(world: &World<C>) -> usize {
    world.schedule.settings.nodes
}

/// A connection breaks in the middle of what it carries.
async fn reset<C: Container>(world: &Arc<World<C>>, fault: &Fault) -> bool {
    announce(world, fault);
    let (one, other) = (name(fault.node), name(fault.other));
    // Something must be under way.
    let by = Duration::from_millis(20);
    let slow = [Between::Slow(one, other, by), Between::Slow(other, one, by)].map(|slow| world.put_between(slow));
    sleep(fault.lasts.min(Duration::from_millis(200))).await;
    let before = world.channel.fault_counts();
    world.channel.reset(one, other);
    slow.into_iter().for_each(|number| world.lift(number));
    world.channel.fault_counts().reset > before.reset
}

/// Something befalls messages, for a while.
async fn rain<C: Container>(world: &Arc<World<C>>, fault: &Fault) -> bool {
    announce(world, fault);
    let strength = fault.strength;
    let mut faults = Faults::default();
    match fault.kind {
        FaultKind::Loss => faults.loss = 0.3 * strength,
        FaultKind::Duplication => faults.duplicate = 0.5 * strength,
        FaultKind::Corruption => faults.corrupt = 0.2 * strength,
        _ => faults.delay.end = Duration::from_millis((300.0 * strength * strength) as u64),
    }
    let met = |counts: FaultCounts| match fault.kind {
        FaultKind::Loss => counts.lost,
        FaultKind::Duplication => counts.duplicated,
        FaultKind::Corruption => counts.corrupted,
        _ => counts.delayed,
    };
    let before = met(world.channel.fault_counts());
    let number = world.put_between(Between::Rain(faults));
    sleep(fault.lasts).await;
    world.lift(number);
    met(world.channel.fault_counts()) > before
}

/// Takes a node in hand, if nobody else has: nobody else kills it, or opens it.
fn seize<C: Container>(world: &World<C>, node: usize) -> Option<Life> {
    let mut known = world.known();
    let slot = known.slots.get_mut(node)?;
    if slot.busy || slot.node.is_none() {
        return None;
    }
    slot.busy = true;
    slot.life.clone()
}

/// The same, once whoever has it in hand has let go of it.
async fn seize_when_free<C: Container>(world: &World<C>, node: usize) -> Life {
    loop {
        if let Some(life) = seize(world, node) {
            return life;
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Lets a node stop by itself, or not open, for a reason.
fn excuse<C: Container>(world: &World<C>, node: usize, why: Excuse) {
    world.known().slots[node].excuses.insert(why);
}

/// Ends a node where it stands.
fn kill<C: Container>(world: &World<C>, node: usize, life: &Life, keep: Keep) {
    world.say(Lane::Node(node), format_args!("dies, and its disk keeps {keep:?}"));
    *life.death.keep.lock().unwrap_or_else(PoisonError::into_inner) = keep;
    life.process.kill();
    // Whoever drops the last clone of it closes it, which must not be done while the world is locked.
    let dead = world.known().slots[node].node.take();
    drop(dead);
}

async fn kill_for<C: Container>(world: &Arc<World<C>>, fault: &Fault, keep: Keep) -> bool {
    let Some(life) = seize(world, fault.node) else { return false };
    announce(world, fault);
    kill(world, fault.node, &life, keep);
    may_die_as_it_opens(world, fault, keep);
    sleep(fault.lasts).await;
    world.open(fault.node).await;
    true
}

/// Has a node that was killed die once more as it opens, now and then: what it does there must be able to be done again.
fn may_die_as_it_opens<C: Container>(world: &World<C>, fault: &Fault, keep: Keep) {
    let random = &mut Random::new(fault.seed);
    if chance(random, 40) {
        let at = if chance(random, 50) { Strikes::AtAwait } else { Strikes::AtDisk };
        let death = NextDeath { at, nth: random.below(24), keep };
        world.known().slots[fault.node].next_death = Some(death);
    }
}

async fn kill_all<C: Container>(world: &Arc<World<C>>, fault: &Fault) -> bool {
    announce(world, fault);
    let seized: Vec<_> = world.open_nodes().into_iter().filter_map(|node| Some((node, seize(world, node)?))).collect();
    let all = world.known().slots.iter().enumerate().all(|(node, slot)| {
        // Whoever is down, and not about to open, has no power anyway.
        seized.iter().any(|(seized, _)| *seized == node) || (slot.node.is_none() && !slot.busy)
    });
    for (node, life) in &seized {
        kill(world, *node, life, fault.keep);
    }
    sleep(fault.lasts).await;
    for (node, _) in &seized {
        world.open(*node).await;
    }
    // A disk in memory loses nothing.
    all && !seized.is_empty() && !world.schedule.settings.in_memory
}

/// Waits until a process has died by itself. `false` when it does not, in time.
async fn dies<C: Container>(world: &Arc<World<C>>, node: usize, life: &Life) -> bool {
    let until = Instant::now() + Duration::from_secs(2);
    while !life.process.is_dead() {
        if Instant::now() > until {
            return false;
        }
        sleep(Duration::from_millis(2)).await;
    }
    world.say(Lane::Node(node), format_args!("is dead"));
    let dead = world.known().slots[node].node.take();
    drop(dead);
    true
}

async fn kill_at_await<C: Container>(world: &Arc<World<C>>, fault: &Fault) -> bool {
    let Some(life) = seize(world, fault.node) else { return false };
    announce(world, fault);
    *life.death.keep.lock().unwrap_or_else(PoisonError::into_inner) = fault.keep;
    life.process.kill_after(fault.nth);
    if !dies(world, fault.node, &life).await {
        life.process.spare();
        world.known().slots[fault.node].busy = false;
        return false;
    }
    may_die_as_it_opens(world, fault, fault.keep);
    sleep(fault.lasts).await;
    world.open(fault.node).await;
    true
}

async fn kill_at_disk<C: Container>(world: &Arc<World<C>>, fault: &Fault) -> bool {
    let medium = world.known().slots[fault.node].disk.medium.clone();
    let Medium::Files(files, _) = medium else { return false };
    let Some(life) = seize(world, fault.node) else { return false };
    announce(world, fault);
    files.crash_at(1 + fault.nth, fault.keep);
    if !dies(world, fault.node, &life).await {
        files.heal();
        world.known().slots[fault.node].busy = false;
        return false;
    }
    may_die_as_it_opens(world, fault, fault.keep);
    sleep(fault.lasts).await;
    world.open(fault.node).await;
    true
}

/// Closes a node as its owner would, and opens it again.
async fn close_for<C: Container>(world: &Arc<World<C>>, node: usize, lasts: Duration) -> bool {
    if seize(world, node).is_none() {
        return false;
    }
    world.say(Lane::Node(node), format_args!("is closed"));
    close(world, node).await;
    sleep(lasts).await;
    world.open(node).await;
    true
}

async fn roll<C: Container>(world: &Arc<World<C>>) -> bool {
    let mut rolled = 0;
    for node in 0..world.schedule.settings.nodes {
        rolled += usize::from(close_for(world, node, Duration::from_millis(50)).await);
        sleep(Duration::from_millis(300)).await;
    }
    rolled == world.schedule.settings.nodes
}

async fn pause<C: Container>(world: &Arc<World<C>>, fault: &Fault) -> bool {
    let Some(life) = seize(world, fault.node) else { return false };
    announce(world, fault);
    world.known().slots[fault.node].stands_still = true;
    life.process.pause();
    sleep(fault.lasts).await;
    world.say(Lane::Node(fault.node), format_args!("goes on"));
    life.process.resume();
    // What it owes it may tell now.
    sleep(Duration::from_millis(20)).await;
    let mut known = world.known();
    known.slots[fault.node].stands_still = false;
    known.slots[fault.node].busy = false;
    true
}

/// A disk fails: the node stops, and is opened again once the disk works.
async fn fail_disk<C: Container>(world: &Arc<World<C>>, fault: &Fault) -> bool {
    let medium = world.known().slots[fault.node].disk.medium.clone();
    let Medium::Files(files, _) = medium else { return false };
    let Some(life) = seize(world, fault.node) else { return false };
    announce(world, fault);
    excuse(world, fault.node, Excuse::Disk);
    let before = files.failures();
    match fault.kind {
        FaultKind::DiskFull => files.set_room(Random::new(fault.seed).below(2000)),
        _ => {
            let kinds = [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::PermissionDenied];
            files.fail(1 + fault.nth, pick(&mut Random::new(fault.seed), &kinds));
        }
    }
    let Some((node, _)) = world.node(fault.node) else { return false };
    let until = Instant::now() + Duration::from_secs(3);
    while node.status().role != Role::Stopped && Instant::now() < until {
        sleep(Duration::from_millis(5)).await;
    }
    files.heal();
    // A write that nobody waits for is heard of with the next one, whenever that is. Whoever has not heard by now is killed.
    let failed = files.failures() > before;
    drop(node);
    if failed {
        kill(world, fault.node, &life, Keep::Everything);
        sleep(fault.lasts).await;
        world.known().slots[fault.node].excuses.remove(&Excuse::Disk);
        world.open(fault.node).await;
    } else {
        let mut known = world.known();
        known.slots[fault.node].excuses.remove(&Excuse::Disk);
        known.slots[fault.node].busy = false;
    }
    failed
}

async fn slow_disk<C: Container>(world: &Arc<World<C>>, fault: &Fault) -> bool {
    let medium = world.known().slots[fault.node].disk.medium.clone();
    let Medium::Files(_, disk) = medium else { return false };
    announce(world, fault);
    let written = || {
        let known = world.known();
        let number = known.slots[fault.node].disk.number;
        (number, known.logs.shelves[&number].handed)
    };
    let (number, before) = written();
    let usual = world.schedule.settings.disk_latency;
    disk.set_latency(usual + Duration::from_millis(1 + (fault.strength * 200.0) as u64));
    sleep(fault.lasts).await;
    disk.set_latency(usual);
    let (same, after) = written();
    number == same && after > before
}

fn jump<C: Container>(world: &Arc<World<C>>, fault: &Fault) -> bool {
    announce(world, fault);
    let year_ms = 365 * 24 * 3_600_000;
    let by = Random::new(fault.seed).below(2 * year_ms) as i64 - year_ms as i64;
    let known = world.known();
    let slot = &known.slots[fault.node];
    slot.clock_ms.store(by, std::sync::atomic::Ordering::Relaxed);
    slot.node.is_some()
}

async fn transfer<C: Container>(world: &Arc<World<C>>, fault: &Fault) -> bool {
    let Some((node, _)) = world.node(fault.node) else { return false };
    announce(world, fault);
    node.transfer_leadership(None).await.is_ok()
}

/// A node of another release is started: on the data of one, which it must not go on with, or as one that comes to the
/// cluster's door, where it must not be let in.
async fn other_version<C: Container>(world: &Arc<World<C>>, fault: &Fault) -> bool {
    // Alone, before there is a cluster, it would found one of that version.
    if world.known().logs.committed.is_empty() {
        return false;
    }
    let comes = Random::new(fault.seed).below(2) == 0;
    let node = if comes { guest(world) } else { fault.node };
    if comes {
        if !take_guest(world) {
            return false;
        }
        put_in(world, node, world.new_disk());
    } else if seize(world, node).is_none() {
        return false;
    }
    announce(world, fault);
    close(world, node).await;
    excuse(world, node, Excuse::Version);
    let is_of_the_old = {
        let mut known = world.known();
        known.slots[node].version_ahead = 1;
        known.logs.shelves[&known.slots[node].disk.number].present.has_batches()
    };
    let opened = world.open(node).await;
    world.known().slots[node].busy = true;
    sleep(fault.lasts).await;
    let shown = world.node(node).map_or(0, |(node, _)| node.state().index().0);
    let has_any = {
        let known = world.known();
        known.logs.shelves[&known.slots[node].disk.number].present.has_batches()
    };
    if comes {
        world.check(not_let_in(name(node), has_any));
    } else if is_of_the_old {
        world.check(of_another_version(name(node), shown));
    }
    close(world, node).await;
    {
        let mut known = world.known();
        let slot = &mut known.slots[node];
        slot.excuses.remove(&Excuse::Version);
        slot.version_ahead = 0;
        slot.busy = !comes;
        known.guest &= !comes;
    }
    if comes {
        if opened {
            world.count("another version at the door");
        }
        return opened;
    }
    world.open(node).await;
    true
}

/// Takes the place of those that come and go, unless somebody has it.
fn take_guest<C: Container>(world: &World<C>) -> bool {
    let mut known = world.known();
    let free = !std::mem::replace(&mut known.guest, true);
    known.slots[guest(world)].busy |= free;
    free
}

/// Closes a node, if it is open.
async fn close<C: Container>(world: &World<C>, node: usize) {
    let closed = world.known().slots[node].node.take();
    if let Some(closed) = closed {
        closed.close().await;
    }
}

/// Does something to the members, unless somebody else does. Where it takes a memory away, a majority keeps theirs.
async fn change_members<C: Container>(
    world: &Arc<World<C>>,
    fault: &Fault,
    change: impl Future<Output = bool>,
) -> bool {
    let nodes = world.schedule.settings.nodes;
    let takes_memory = fault.kind.takes_memory();
    if nodes < 2 || (takes_memory && world.schedule.settings.minority() == 0) {
        return false;
    }
    if std::mem::replace(&mut world.known().members_change, true) {
        return false;
    }
    announce(world, fault);
    let happened = change.await;
    if !takes_memory {
        // What was asked for and not heard of may still come to be: nobody must lose a memory before.
        sleep(LATE_CHANGE).await;
    }
    reseat(world, fault.node).await;
    world.known().members_change = false;
    happened
}

/// By then a change of members that was asked for has come to be, or never does.
const LATE_CHANGE: Duration = Duration::from_secs(6);

async fn seat<C: Container>(world: Arc<World<C>>, fault: Fault) -> bool {
    let Some((node, _)) = world.node(fault.other) else { return false };
    world.known().slots[fault.node].unseated = true;
    let done = node.demote_member(name(fault.node)).await.is_ok();
    drop(node);
    sleep(fault.lasts).await;
    done
}

async fn interrupt<C: Container>(world: Arc<World<C>>, fault: Fault) -> bool {
    let Some((node, _)) = world.node(fault.other) else { return false };
    world.known().slots[fault.node].unseated = true;
    let changing = tokio::spawn(async move { node.demote_member(name(fault.node)).await.is_ok() });
    let Some(leader) = world.leader() else { return false };
    let Some(life) = seize(&world, leader) else { return false };
    *life.death.keep.lock().unwrap_or_else(PoisonError::into_inner) = fault.keep;
    life.process.kill_after(fault.nth);
    if dies(&world, leader, &life).await {
        let interrupted = !changing.is_finished() && is_changing(&world, leader);
        sleep(fault.lasts).await;
        world.open(leader).await;
        let _ = changing.await;
        return interrupted;
    }
    life.process.spare();
    world.known().slots[leader].busy = false;
    let _ = changing.await;
    false
}

/// Whether a change of members is in a node's log, and not committed.
fn is_changing<C: Container>(world: &World<C>, node: usize) -> bool {
    let known = world.known();
    let log = &known.logs.shelves[&known.slots[node].disk.number].present;
    let open = log.lines.iter().filter(|line| known.logs.committed_at(line.id.index).is_none());
    let changes = |bytes: &Bytes| {
        let batch = Batch::<Observed<C>>::decode(bytes);
        batch.is_ok_and(|batch| batch.records.iter().any(|record| matches!(record, Record::Roster(_))))
    };
    open.into_iter().any(|line| line.voters.is_some() || line.batch.as_ref().is_some_and(changes))
}

async fn replace<C: Container>(world: Arc<World<C>>, fault: Fault) -> bool {
    let Some((node, _)) = world.node(fault.other) else { return false };
    excuse(&world, fault.node, Excuse::Removed);
    world.known().slots[fault.node].unseated = true;
    let removed = node.remove_member(name(fault.node)).await;
    drop(node);
    if let Err(error) = &removed {
        // It may come to be removed all the same.
        world.say(Lane::World, format_args!("{} is not removed, as far as is known: {error}", name(fault.node)));
        sleep(LATE_CHANGE).await;
    }
    sleep(fault.lasts).await;
    fresh(&world, fault.node, Keep::Everything).await;
    removed.is_ok()
}

/// A node that never was comes, votes with the others, and is let go again.
async fn join<C: Container>(world: Arc<World<C>>, fault: Fault) -> bool {
    // Before there is a cluster, it would be one of those who found it.
    if world.known().logs.committed.is_empty() {
        return false;
    }
    let guest = guest(&world);
    if !take_guest(&world) {
        return false;
    }
    put_in(&world, guest, world.new_disk());
    world.open(guest).await;
    let seated = match world.node(fault.other) {
        Some((node, _)) => node.add_member(name(guest)).await.is_ok(),
        None => false,
    };
    if seated {
        world.say(Lane::World, format_args!("{} votes", name(guest)));
    }
    sleep(fault.lasts).await;
    excuse(&world, guest, Excuse::Removed);
    loop {
        let open = world.open_nodes().into_iter().find(|node| *node != guest);
        if let Some((node, _)) = open.and_then(|node| world.node(node))
            && node.remove_member(name(guest)).await.is_ok()
        {
            break;
        }
        sleep(Duration::from_millis(100)).await;
    }
    let life = seize_when_free(&world, guest).await;
    kill(&world, guest, &life, Keep::Everything);
    let mut known = world.known();
    (known.guest, known.slots[guest].busy) = (false, false);
    seated
}

/// Gives a node a disk with nothing on it.
async fn fresh<C: Container>(world: &Arc<World<C>>, node: usize, keep: Keep) {
    let life = seize_when_free(world, node).await;
    kill(world, node, &life, keep);
    put_in(world, node, world.new_disk());
    sleep(Duration::from_millis(100)).await;
    world.open(node).await;
}

/// Gives a node that is down another disk. Whatever was wrong was so with the one before.
fn put_in<C: Container>(world: &World<C>, node: usize, disk: SlotDisk) {
    world.count_losses(node);
    let mut known = world.known();
    known.slots[node].disk = disk;
    known.slots[node].excuses.clear();
}

async fn wipe<C: Container>(world: Arc<World<C>>, fault: Fault, comes_back: bool) -> bool {
    let old = world.known().slots[fault.node].disk.clone();
    fresh(&world, fault.node, fault.keep).await;
    if !comes_back {
        return true;
    }
    reseat(&world, fault.node).await;
    // Whoever has its seat now, the disk of the one before is put in once more, for a while.
    let life = seize_when_free(&world, fault.node).await;
    excuse(&world, fault.node, Excuse::Removed);
    kill(&world, fault.node, &life, Keep::Everything);
    let new = std::mem::replace(&mut world.known().slots[fault.node].disk, old);
    let opened = world.open(fault.node).await;
    sleep(fault.lasts).await;
    // What did not open is in hand still.
    if opened {
        let life = seize_when_free(&world, fault.node).await;
        kill(&world, fault.node, &life, Keep::Everything);
    }
    put_in(&world, fault.node, new);
    world.open(fault.node).await;
    true
}

/// Damages a file. The node finds it, or it was of no importance; found, the disk is replaced.
async fn flip<C: Container>(world: &Arc<World<C>>, fault: &Fault) -> bool {
    let medium = world.known().slots[fault.node].disk.medium.clone();
    let Medium::Files(files, _) = medium else { return false };
    if world.schedule.settings.minority() == 0 || std::mem::replace(&mut world.known().members_change, true) {
        return false;
    }
    let Some(life) = seize(world, fault.node) else {
        world.known().members_change = false;
        return false;
    };
    announce(world, fault);
    kill(world, fault.node, &life, Keep::Everything);
    let random = &mut Random::new(fault.seed);
    // The end of a log cannot be told from a write that was torn: what is damaged lies before it.
    let reach = |(file, content): (PathBuf, Vec<u8>)| {
        let is_log = file.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-"));
        let reach = if is_log { conflux::observe::proven(&content) } else { content.len() };
        (reach > 64).then_some((file, content, reach))
    };
    let some: Vec<_> = files_of(&files).into_iter().filter_map(reach).collect();
    let flipped = !some.is_empty();
    if flipped {
        let (file, mut content, reach) = pick(random, &some);
        let bit = random.below(8 * reach as u64);
        content[(bit / 8) as usize] ^= 1 << (bit % 8);
        world.say(Lane::Node(fault.node), format_args!("bit {bit} of {} flips", file.display()));
        files.set_content(&file, content);
    }
    excuse(world, fault.node, Excuse::Damage);
    sleep(fault.lasts).await;
    if world.open(fault.node).await {
        // A snapshot is checked as it is read: perhaps later. Until then it is looked at like any other.
        world.say(Lane::Node(fault.node), format_args!("does not notice, so far"));
        sleep(fault.lasts).await;
        if flipped {
            is_whole(world, fault.node).await;
        }
        fresh(world, fault.node, Keep::Everything).await;
    } else {
        world.count("damage found");
        put_in(world, fault.node, world.new_disk());
        world.open(fault.node).await;
    }
    reseat(world, fault.node).await;
    world.known().members_change = false;
    flipped
}

/// Whether a node shows the state that is committed, as soon as it is where the history is.
async fn is_whole<C: Container>(world: &World<C>, node: usize) {
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        let Some((opened, _)) = world.node(node) else { return };
        let state = opened.state();
        let here = Stand { index: state.index().0, trail: state.trail, digest: opened.digest_at(state.index()) };
        let committed = world.known().stand();
        if here.index == committed.index && here.digest.is_some() {
            world.count("damage of no importance");
            return world.check(is_one(name(node), here, committed));
        }
        sleep(Duration::from_millis(2)).await;
    }
}

/// Has a node get its seat again, and waits until nobody counts on the member that it was.
pub(crate) async fn reseat<C: Container>(world: &Arc<World<C>>, node: usize) {
    loop {
        if let Some((opened, _)) = world.node(node) {
            let status = opened.status();
            let has_it = || all_vote(world, node) && is_meant(world, node);
            if has_it() {
                // What it was part of in that term, when it was told of a commit in it, is committed.
                let read = opened.linearizable_index().await;
                if read.is_ok() && has_it() && opened.status().term == status.term {
                    world.known().slots[node].unseated = false;
                    return world.say(Lane::Node(node), format_args!("has its seat"));
                }
            } else if (status.role == Role::Learner || !is_meant(world, node)) && world.known().slots[node].unseated {
                // Whoever only lost its memory gets its seat by itself.
                let _ = opened.add_member(name(node)).await;
            }
        }
        sleep(Duration::from_millis(100)).await;
    }
}

/// Whether a node's log says that all nodes vote, this one as what it is now, and that no change is under way.
fn all_vote<C: Container>(world: &World<C>, node: usize) -> bool {
    let known = world.known();
    let shelf = &known.logs.shelves[&known.slots[node].disk.number];
    let Some([group]) = shelf.present.voters().map(Vec::as_slice) else { return false };
    let names: std::collections::BTreeSet<_> = group.iter().map(|(name, _)| name).collect();
    names.len() == world.schedule.settings.nodes && shelf.member.as_ref().is_some_and(|member| group.contains(member))
}

/// Whether a node is meant to vote, by what is committed: else it loses its vote as soon as a leader sees to it.
fn is_meant<C: Container>(world: &World<C>, node: usize) -> bool {
    let known = world.known();
    known.history.store().roster().seats().is_none_or(|seats| seats.iter().any(|seat| **seat == *name(node)))
}

/// Lifts all that is between nodes.
pub(crate) fn heal<C: Container>(world: &World<C>) {
    world.known().weather.clear(&world.channel);
}
