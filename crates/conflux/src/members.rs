//! The one task, on the leader, that drives who votes: late comers become learners, and a node that lost its memory
//! takes its name's seat once it has caught up.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

use conflux_core::{Container, NodeName};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::core::Core;
use crate::founding::silence;
use crate::raft::{Member, View};
use crate::status::Role;

/// Those who asked this leader to be let in.
#[derive(Default)]
pub(crate) struct Joining {
    waiting: Mutex<BTreeMap<NodeName, Member>>,
    ring: Notify,
    /// When this leadership began.
    leading_since: Mutex<Option<Instant>>,
}

/// The most nodes that may wait to be let in: names come from the network.
const WAITING_MAX: usize = 256;

impl<C: Container> Core<C> {
    /// Takes a node's wish to be let in.
    pub(crate) fn admit(&self, member: Member) -> Result<(), String> {
        let view = self.engine.view();
        if let Some(other) = self.running_namesake(&view, &member) {
            return Err(format!("another node named {} is running, incarnation {}", member.name, other.incarnation));
        }
        let mut waiting = self.joining.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= WAITING_MAX && !waiting.contains_key(&member.name) {
            return Err(format!("{WAITING_MAX} nodes wait to be let in already"));
        }
        waiting.insert(member.name.clone(), member);
        drop(waiting);
        self.joining.ring.notify_one();
        Ok(())
    }

    /// A member of the same name and another incarnation that answered lately, so it cannot have lost its memory.
    fn running_namesake<'a>(&self, view: &'a View, member: &Member) -> Option<&'a Member> {
        let all = view.voters.iter().chain(&view.learners);
        let mut namesakes = all.filter(|other| other.name == member.name && other.incarnation != member.incarnation);
        let led_for =
            self.joining.leading_since.lock().unwrap_or_else(PoisonError::into_inner).map(|since| since.elapsed());
        namesakes.find(|other| {
            // One that this leader has never heard is silent for as long as it leads.
            let heard = self.engine.progress(other).and_then(|progress| progress.silent);
            let silent = heard.or(led_for).unwrap_or_default();
            *other == self.me() || silent < silence(&self.options.timing)
        })
    }

    /// The task.
    pub(crate) async fn drive_members(self: Arc<Self>) {
        let mut watcher = self.engine.watch();
        let pause = self.options.timing.heartbeat * 2;
        loop {
            let leads = watcher.view().role == Role::Leader;
            {
                let mut since = self.joining.leading_since.lock().unwrap_or_else(PoisonError::into_inner);
                *since = if leads { since.or_else(|| Some(Instant::now())) } else { None };
            }
            let busy = leads && self.step().await;
            // While something is under way its progress is looked at again; else a change wakes this.
            tokio::select! {
                biased;
                changed = watcher.changed() => if changed.is_err() { return },
                () = self.joining.ring.notified() => {}
                () = tokio::time::sleep(pause), if busy => {}
            }
        }
    }

    /// One step; `true` when there is more to come.
    async fn step(&self) -> bool {
        let view = self.engine.view();
        if view.joint {
            // Begun by an earlier leader, or by this one before it was cut off: finish it.
            let _ = self.engine.set_voters(&view, view.target_voters.clone()).await;
            return true;
        }
        let joining: Vec<Member> = {
            let mut waiting = self.joining.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.retain(|_, member| !view.voters.contains(member) && !view.learners.contains(member));
            waiting.values().cloned().collect()
        };
        for member in &joining {
            if self.running_namesake(&view, member).is_none() && self.engine.add_learner(member).await.is_ok() {
                // Learners that it was before are gone for good.
                let earlier: BTreeSet<Member> =
                    view.learners.iter().filter(|other| other.name == member.name).cloned().collect();
                if !earlier.is_empty() {
                    let _ = self.engine.remove_learners(earlier).await;
                }
                // What `view` says is not so any more: look again.
                return true;
            }
        }
        let mut seats = view.voters.clone();
        let mut waiting_for_seat = false;
        for learner in &view.learners {
            let Some(old) = view.voters.iter().find(|voter| voter.name == learner.name) else { continue };
            if self.running_namesake(&view, learner).is_some() {
                continue;
            }
            waiting_for_seat = true;
            if self.engine.progress(learner).is_some_and(|progress| progress.caught_up) {
                // One change takes the seat from the one and gives it to the other: no moment has both or neither.
                seats.remove(old);
                seats.insert(learner.clone());
            }
        }
        if seats != view.voters {
            let _ = self.engine.set_voters(&view, seats).await;
        }
        !joining.is_empty() || waiting_for_seat
    }
}
