//! Who votes: what is asked for, and the one task, on the leader, that drives the engine's membership towards it.
//!
//! Late comers become learners. A name that has a seat votes once its node has caught up; a node that lost its memory
//! takes its name's seat over from the one it was. What is meant is written into the history first (see
//! [`Roster`]), so that the next leader finishes what this one began.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conflux_core::{Container, Incarnation, NodeName, Roster, RosterChange};
use tokio::sync::{Notify, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::core::Core;
use crate::founding::silence;
use crate::message::{HandOver, kind};
use crate::process;
use crate::raft::{Member, NotLeading, Progress, View};
use crate::reads::ReadError;
use crate::status::Role;
use crate::stop::Stop;
use crate::watch;
use crate::wire::{Arrival, Head, Kind};

/// A member of the cluster, as one node sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// Its name.
    pub name: NodeName,
    /// Its incarnation; `None` for a name that has a seat and has not joined yet.
    pub incarnation: Option<Incarnation>,
    /// Whether it votes.
    pub votes: bool,
    /// Whether it is meant to vote.
    pub seated: bool,
    /// Whether it leads.
    pub leads: bool,
    /// Whether it holds all that is committed; `None` where this node cannot tell: only the leader can.
    pub caught_up: Option<bool>,
    /// For how long the leader has not heard it; `None` where this node cannot tell.
    pub silent: Option<Duration>,
}

/// Why the members were not changed, or not yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberError {
    /// The leader refuses.
    #[error("refused: {0}")]
    Refused(String),
    /// No leader that a majority hears took it before the deadline: it may still come.
    #[error("no leader took it within {0:?}: {1}")]
    Deadline(Duration, String),
    /// It is written down and will be done, but was not before the deadline.
    #[error("it is written down, but was not done within {0:?}: {1}")]
    Pending(Duration, String),
    /// The node is closed.
    #[error("the node is closed")]
    Closed,
}

/// Those who asked this leader to be let in, and what else is asked of it.
pub(crate) struct Joining {
    /// A permit for each change or hand-over that another node asked for.
    served: Arc<Semaphore>,
    waiting: Mutex<BTreeMap<NodeName, Member>>,
    ring: Notify,
    /// When this leadership began.
    leading_since: Mutex<Option<Instant>>,
}

impl Joining {
    /// Those who asked to be let in, and are not members yet.
    fn waiting(&self) -> MutexGuard<'_, BTreeMap<NodeName, Member>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Joining {
    fn default() -> Self {
        Joining {
            served: Arc::new(Semaphore::new(SERVED_MAX)),
            waiting: Mutex::default(),
            ring: Notify::new(),
            leading_since: Mutex::default(),
        }
    }
}

/// The most changes and hand-overs that other nodes ask for at once.
const SERVED_MAX: usize = 64;

/// The most nodes that may wait to be let in: names come from the network.
const WAITING_MAX: usize = 256;

/// How a question to the leader went.
enum Asked {
    Done,
    Refused(String),
    /// This node does not lead, or not any more: ask another one.
    NotLeading(String),
}

const DONE: &[u8] = &[0];
const REFUSED: u8 = 1;

impl<C: Container> Core<C> {
    /// The members, and names that have a seat and have not come yet.
    pub(crate) fn members(&self) -> Vec<MemberStatus> {
        let view = self.engine.view();
        let seats = seats(&self.local.roster(), &view);
        let all = view.voters.union(&view.learners);
        let mut members: Vec<MemberStatus> = all
            .map(|member| {
                let votes = view.voters.contains(member);
                let progress = self.engine.progress(member);
                let me = *member == *self.me() && view.role == Role::Leader;
                MemberStatus {
                    name: member.name.clone(),
                    incarnation: Some(member.incarnation),
                    votes,
                    seated: seats.contains(&member.name),
                    leads: view.leader.as_ref() == Some(member),
                    caught_up: if me { Some(true) } else { progress.map(|progress| progress.caught_up) },
                    silent: if me { Some(Duration::ZERO) } else { progress.and_then(|progress| progress.silent) },
                }
            })
            .collect();
        for name in seats {
            if !members.iter().any(|member| member.name == name) {
                members.push(MemberStatus {
                    name,
                    incarnation: None,
                    votes: false,
                    seated: true,
                    leads: false,
                    caught_up: None,
                    silent: None,
                });
            }
        }
        members.sort_by(|a, b| (&a.name, a.incarnation).cmp(&(&b.name, b.incarnation)));
        members
    }

    /// Has the members changed, and waits until they are.
    pub(crate) async fn change_members(&self, change: RosterChange, patience: Duration) -> Result<(), MemberError> {
        let deadline = Instant::now() + patience;
        let removes_itself = matches!(&change, RosterChange::Remove { name, .. } if *name == self.me().name);
        // It was this node that had to go, and it has.
        let gone = || {
            let removed = self.stopped.borrow().as_ref() == Some(&Stop::Removed.to_string());
            if removes_itself && removed { Ok(()) } else { Err(MemberError::Closed) }
        };
        match self.ask_leader(kind::ROSTER, change.encode().into(), deadline, patience).await {
            // What this node knows must be at least as new as what was written down.
            Ok(()) => match self.read_barrier(deadline.saturating_duration_since(Instant::now())).await {
                Ok(()) => {}
                // One that was parted from the others while it led finds nothing to do, by what it knows.
                Err(ReadError::Deadline(..)) => return Err(MemberError::Deadline(patience, self.waiting_for())),
                Err(ReadError::Closed) => return gone(),
            },
            Err(MemberError::Closed) => return gone(),
            Err(error) => return Err(error),
        }
        let mut watcher = self.engine.watch();
        loop {
            let view = watcher.view();
            let name = change.name();
            let (votes, learns) = (names(&view.voters).contains(name), names(&view.learners).contains(name));
            let done = match change {
                RosterChange::Seat(_) => votes,
                RosterChange::Unseat(_) => !votes,
                RosterChange::Remove { .. } => !votes && !learns,
            };
            if done && !view.joint && view.settled {
                return Ok(());
            }
            match timeout_at(deadline, watcher.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(watch::Gone)) => return gone(),
                Err(_) => {
                    let why = match change {
                        RosterChange::Seat(_) if !learns => format!("{name} has not joined yet"),
                        RosterChange::Seat(_) => format!("{name} has not caught up yet"),
                        _ => self.waiting_for(),
                    };
                    return Err(MemberError::Pending(patience, why));
                }
            }
        }
    }

    /// Has another voter lead, the named one or whichever is fit, and waits until one does.
    pub(crate) async fn hand_over(&self, to: Option<NodeName>, patience: Duration) -> Result<NodeName, MemberError> {
        let deadline = Instant::now() + patience;
        let mut watcher = self.engine.watch();
        // Of which leader it is asked.
        let term = loop {
            let view = watcher.view();
            if view.leader.is_some() {
                break view.term;
            }
            match timeout_at(deadline, watcher.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(watch::Gone)) => return Err(MemberError::Closed),
                Err(_) => return Err(MemberError::Deadline(patience, "there is no leader".into())),
            }
        };
        let request = HandOver { term, to };
        self.ask_leader(kind::HAND_OVER, request.encode(), deadline, patience).await?;
        loop {
            let view = watcher.view();
            let leads = view.leader.as_ref().filter(|leader| match &request.to {
                Some(to) => leader.name == *to,
                None => view.term > term,
            });
            if let Some(leader) = leads {
                return Ok(leader.name.clone());
            }
            match timeout_at(deadline, watcher.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(watch::Gone)) => return Err(MemberError::Closed),
                Err(_) => return Err(MemberError::Pending(patience, self.waiting_for())),
            }
        }
    }

    /// Asks whoever leads until one takes it. All that is asked so may be asked twice.
    async fn ask_leader(
        &self,
        kind: Kind,
        body: Bytes,
        deadline: Instant,
        patience: Duration,
    ) -> Result<(), MemberError> {
        let mut watcher = self.engine.watch();
        let mut why = "there is no leader".to_owned();
        while Instant::now() < deadline {
            let asked = match watcher.view().leader {
                None => Asked::NotLeading("there is no leader".into()),
                Some(leader) if leader == *self.me() => self.answer_members(kind, &body).await,
                Some(leader) => {
                    let head = Head { kind, group: 0, cluster: self.cluster() };
                    let answer = self.wire.request(&leader.name, head, body.clone());
                    // A change waits for its commit there.
                    match timeout(self.options.timing.election_timeout_max * 4, answer).await {
                        Ok(Ok(answer)) if *answer == *DONE => Asked::Done,
                        Ok(Ok(answer)) => match answer.split_first() {
                            Some((&REFUSED, why)) => Asked::Refused(String::from_utf8_lossy(why).into_owned()),
                            _ => Asked::Refused("the leader answered in another language".into()),
                        },
                        Ok(Err(error)) => Asked::NotLeading(error.to_string()),
                        Err(_) => Asked::NotLeading(format!("{} did not answer", leader.name)),
                    }
                }
            };
            match asked {
                Asked::Done => return Ok(()),
                Asked::Refused(why) => return Err(MemberError::Refused(why)),
                Asked::NotLeading(reason) => why = reason,
            }
            if self.stopped.borrow().is_some() {
                return Err(MemberError::Closed);
            }
            // Another leader may be known in a moment.
            let again = self.options.timing.heartbeat.min(deadline.saturating_duration_since(Instant::now()));
            if let Ok(Err(watch::Gone)) = timeout(again, watcher.changed()).await {
                return Err(MemberError::Closed);
            }
        }
        Err(MemberError::Deadline(patience, why))
    }

    /// Serves what other nodes ask this one for as their leader.
    pub(crate) fn serve_members(self: &Arc<Self>, arrival: Arrival) {
        let Some(reply) = arrival.reply else { return };
        let Ok(permit) = self.joining.served.clone().try_acquire_owned() else {
            return reply.refuse("too many changes of members are under way");
        };
        let core = self.clone();
        // A change waits for its commit, which messages bring.
        process::spawn(async move {
            let _permit = permit;
            match core.answer_members(arrival.head.kind, &arrival.body).await {
                Asked::Done => reply.send(Bytes::from_static(DONE)),
                Asked::Refused(why) => reply.send([&[REFUSED], why.as_bytes()].concat().into()),
                Asked::NotLeading(why) => reply.refuse(&why),
            }
        });
    }

    async fn answer_members(&self, kind: Kind, body: &[u8]) -> Asked {
        if !self.engine.leads_with_all() {
            return Asked::NotLeading(format!("{} does not lead, or not yet", self.me().name));
        }
        if kind == kind::HAND_OVER {
            return match HandOver::decode(body) {
                // The answer to the first asking was lost: another one leads since.
                Ok(HandOver { term, to: None }) if self.engine.leading().is_some_and(|leading| leading > term) => {
                    Asked::Done
                }
                Ok(HandOver { to, .. }) => self.hand_over_to(to.as_deref()).await,
                Err(error) => Asked::Refused(error.to_string()),
            };
        }
        match RosterChange::decode(body) {
            Ok(change) => self.write_down(change).await,
            Err(error) => Asked::Refused(error.to_string()),
        }
    }

    /// Writes a change into the history.
    async fn write_down(&self, change: RosterChange) -> Asked {
        let mut roster = self.local.watch_roster();
        let until = Instant::now() + self.options.timing.election_timeout_max * 3;
        // A new leader has heard nobody yet.
        let heard_by = Instant::now() + self.options.timing.election_timeout_max;
        let mut asked = false;
        let mut incarnations = BTreeSet::new();
        loop {
            let view = self.engine.view();
            let (known, voters) = (roster.borrow_and_update().clone(), names(&view.voters));
            let change = match &change {
                // Only the leader knows which incarnations there are. One that waits to be let in is on its way to be a
                // member, and removed with the others; once seen, it is meant wherever it stands by now.
                RosterChange::Remove { name, .. } => {
                    let all = view.voters.union(&view.learners).filter(|member| member.name == *name);
                    incarnations.extend(all.map(|it| it.incarnation));
                    incarnations.extend(self.joining.waiting().get(name).map(|it| it.incarnation));
                    RosterChange::Remove { name: name.clone(), incarnations: incarnations.clone() }
                }
                change => change.clone(),
            };
            if let RosterChange::Unseat(name) | RosterChange::Remove { name, .. } = &change
                && !seats(&known, &view).contains(name)
                && !view.voters.union(&view.learners).any(|member| member.name == *name)
                && incarnations.is_empty()
            {
                // A seat that nobody had come to leaves nothing behind when it goes. Or it was asked twice: the answer to the
                // first one was lost with a leader.
                if asked || matches!(&change, RosterChange::Remove { .. }) && known.has_removed(name) {
                    return Asked::Done;
                }
                let all: Vec<String> =
                    names(&view.voters).union(&names(&view.learners)).map(ToString::to_string).collect();
                return Asked::Refused(format!("there is no member {name}; the members are {}", all.join(", ")));
            }
            match known.after(&change, &voters) {
                Err(error) => return Asked::Refused(error.to_string()),
                // Once it was written, what there is to be removed may be gone.
                Ok(next) if next == known => return Asked::Done,
                Ok(next) => {
                    if let Err(why) = self.leaves_a_majority(&next, &view) {
                        if Instant::now() >= heard_by {
                            return Asked::Refused(why);
                        }
                        if self.engine.progressed(heard_by).await.is_err() || self.engine.leading().is_none() {
                            return Asked::NotLeading(format!("{} leads no more", self.me().name));
                        }
                        continue;
                    }
                }
            }
            self.inbound.push_change(change);
            asked = true;
            let again = self.options.timing.heartbeat * 4;
            let _ = timeout(again, roster.changed()).await;
            if self.engine.leading().is_none() || Instant::now() > until {
                return Asked::NotLeading("the leader did not get it committed".into());
            }
        }
    }

    /// Of those who will vote a majority must be up: a change that waits for a node that is down stops everything.
    fn leaves_a_majority(&self, next: &Roster, view: &View) -> Result<(), String> {
        let stay = view.voters.iter().filter(|voter| {
            !next.is_removed(&voter.name, voter.incarnation) && seats(next, view).contains(&voter.name)
        });
        let stay: Vec<&Member> = stay.collect();
        let silent: Vec<&str> = stay.iter().filter(|voter| !self.is_heard(voter)).map(|voter| &*voter.name).collect();
        if stay.len() - silent.len() > stay.len() / 2 || stay.len() == view.voters.len() {
            return Ok(());
        }
        let stay: Vec<&str> = stay.iter().map(|voter| &*voter.name).collect();
        Err(format!(
            "{} would be left to vote, of which {} cannot be heard: nothing could be committed; start them or remove \
             them first",
            if stay.is_empty() { "nobody".to_owned() } else { stay.join(", ") },
            if silent.is_empty() { "none".to_owned() } else { silent.join(", ") },
        ))
    }

    async fn hand_over_to(&self, name: Option<&str>) -> Asked {
        if name.is_some_and(|name| *name == *self.me().name) {
            return Asked::Done;
        }
        let until = Instant::now() + self.options.timing.election_timeout_max;
        loop {
            let view = self.engine.view();
            if let Some(member) = self.successor(&view.voters, name) {
                return match self.engine.hand_over(&member).await {
                    Ok(()) => Asked::Done,
                    Err(error) => Asked::NotLeading(error.0),
                };
            }
            // Under load a voter is always a little late, and a new leader has heard nobody yet.
            let may_come = match name {
                Some(name) => view.voters.iter().any(|voter| *voter.name == *name),
                None => view.voters.iter().any(|voter| voter != self.me() && self.is_heard(voter)),
            };
            if !may_come || Instant::now() >= until {
                return Asked::Refused(unfit(&names(&view.voters), name));
            }
            if self.engine.progressed(until).await.is_err() || self.engine.leading().is_none() {
                return Asked::NotLeading(format!("{} leads no more", self.me().name));
            }
        }
    }

    /// Has any other voter lead, if one can.
    pub(crate) async fn hand_over_to_any(&self) {
        // Whoever leads in the end is seen by those who wait for it.
        let _ = self.hand_over_to(None).await;
    }

    /// One of `voters` that can lead at once, other than this node.
    fn successor(&self, voters: &BTreeSet<Member>, name: Option<&str>) -> Option<Member> {
        let others = voters.iter().filter(|voter| *voter != self.me() && name.is_none_or(|name| *voter.name == *name));
        let mut fit = others.filter(|voter| self.is_heard(voter) && self.has_caught_up(voter));
        fit.next().cloned()
    }

    fn is_heard(&self, member: &Member) -> bool {
        let silent = self.engine.progress(member).and_then(|progress: Progress| progress.silent);
        *member == *self.me() || silent.is_some_and(|silent| silent < silence(&self.options.timing))
    }

    fn has_caught_up(&self, member: &Member) -> bool {
        *member == *self.me() || self.engine.progress(member).is_some_and(|progress| progress.caught_up)
    }

    /// Takes a node's wish to be let in; `false` when it was removed for good.
    pub(crate) fn admit(&self, member: Member) -> Result<bool, String> {
        if self.local.roster().is_removed(&member.name, member.incarnation) {
            return Ok(false);
        }
        let view = self.engine.view();
        if let Some(other) = self.running_namesake(&view, &member) {
            return Err(format!("another node named {} is running, incarnation {}", member.name, other.incarnation));
        }
        let mut waiting = self.joining.waiting();
        if waiting.len() >= WAITING_MAX && !waiting.contains_key(&member.name) {
            return Err(format!("{WAITING_MAX} nodes wait to be let in already"));
        }
        waiting.insert(member.name.clone(), member);
        drop(waiting);
        self.joining.ring.notify_one();
        Ok(true)
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
        let mut roster = self.local.watch_roster();
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
                changed = roster.changed() => if changed.is_err() { return },
                () = self.joining.ring.notified() => {}
                () = tokio::time::sleep(pause), if busy => {}
            }
        }
    }

    /// One step; `true` when there is more to come.
    async fn step(&self) -> bool {
        if !self.engine.leads_with_all() {
            // What is meant may be another thing than this node knows of: a change by an old roster could take the
            // majority from those who have it.
            return true;
        }
        let view = self.engine.view();
        let roster = self.local.roster();
        if view.joint {
            // Begun by an earlier leader, or by this one before it was cut off: finish it.
            if view.target_voters.contains(self.me()) {
                let _ = self.set_voters(&view, &roster, view.target_voters.clone()).await;
            } else if let Some(next) = self.successor(&view.target_voters, None) {
                let _ = self.engine.hand_over(&next).await;
            }
            return true;
        }
        if !view.voters.contains(self.me())
            && let Some(next) = self.successor(&view.voters, None)
        {
            // The engine elects who still votes by what is committed, whatever the end of its log says.
            let _ = self.engine.hand_over(&next).await;
            return true;
        }
        let joining: Vec<Member> = {
            let mut waiting = self.joining.waiting();
            waiting.retain(|_, member| {
                let is_removed = roster.is_removed(&member.name, member.incarnation);
                !is_removed && !view.voters.contains(member) && !view.learners.contains(member)
            });
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
        let is_removed = |member: &Member| roster.is_removed(&member.name, member.incarnation);
        let removed: BTreeSet<Member> = view.learners.iter().filter(|learner| is_removed(learner)).cloned().collect();
        if !removed.is_empty() {
            let _ = self.engine.remove_learners(removed).await;
            return true;
        }
        let seats = seats(&roster, &view);
        let mut voters = view.voters.clone();
        let mut waits = !joining.is_empty();
        for learner in view.learners.iter().filter(|learner| seats.contains(&learner.name)) {
            // Whether a namesake runs is seen by its silence, which makes no noise: looked at again.
            waits = true;
            if self.running_namesake(&view, learner).is_some() {
                continue;
            }
            if self.has_caught_up(learner) && self.is_heard(learner) {
                // One change takes the seat from the one it was and gives it to it: no moment has both or neither.
                voters.retain(|voter| voter.name != learner.name);
                voters.insert(learner.clone());
            }
        }
        // One at a time, each with a majority of its own: together they could leave none.
        if voters == view.voters {
            let removed = voters.iter().find(|voter| is_removed(voter));
            // Who only loses its seat comes after: it stays, in a change of its own.
            let leaving = removed.or_else(|| voters.iter().find(|voter| !seats.contains(&voter.name))).cloned();
            if let Some(leaving) = leaving {
                voters.remove(&leaving);
            }
        }
        if voters != view.voters && !voters.is_empty() {
            return self.change_voters(&view, &roster, voters).await;
        }
        waits
    }

    /// Has exactly these vote, once a majority of them can be heard: a change that waits for one that is down stops
    /// everything. A leader that loses its own vote hands over first.
    async fn change_voters(&self, view: &View, roster: &Roster, voters: BTreeSet<Member>) -> bool {
        let heard = voters.iter().filter(|voter| self.is_heard(voter)).count();
        if heard <= voters.len() / 2 {
            return true;
        }
        if !voters.contains(self.me()) {
            if let Some(next) = self.successor(&voters, None) {
                let _ = self.engine.hand_over(&next).await;
            }
            return true;
        }
        let _ = self.set_voters(view, roster, voters).await;
        true
    }

    async fn set_voters(&self, view: &View, roster: &Roster, voters: BTreeSet<Member>) -> Result<(), NotLeading> {
        // Who was replaced or removed leaves; who only lost its seat goes on as a learner.
        let mut losers = view.voters.difference(&voters);
        let stay = losers.all(|loser| {
            !roster.is_removed(&loser.name, loser.incarnation) && !voters.iter().any(|voter| voter.name == loser.name)
        });
        self.engine.set_voters(view, voters.clone(), stay).await
    }
}

/// The names that are meant to vote.
fn seats(roster: &Roster, view: &View) -> BTreeSet<NodeName> {
    roster.seats().cloned().unwrap_or_else(|| names(&view.voters))
}

/// Why nobody can take leadership over, or not the one that is named.
fn unfit(voters: &BTreeSet<NodeName>, name: Option<&str>) -> String {
    match name {
        Some(name) if !voters.contains(name) => {
            let voters: Vec<&str> = voters.iter().map(|name| &**name).collect();
            format!("{name} does not vote, so it cannot lead; the voters are {}", voters.join(", "))
        }
        Some(name) => format!("{name} has not caught up, or cannot be heard: it could not lead now"),
        None => "no other voter has caught up and can be heard".into(),
    }
}

fn names(members: &BTreeSet<Member>) -> BTreeSet<NodeName> {
    members.iter().map(|member| member.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::MemoryChannel;
    use crate::node::Node;
    use crate::node::tests::Idle;

    #[tokio::test(start_paused = true)]
    async fn who_waits_to_be_let_in_is_removed_like_a_member() {
        let builder = Node::builder(Idle, "a").cluster_size(1).channel(MemoryChannel::new());
        let node = builder.open().await.expect("the options are good");
        node.linearizable_state().await.expect("it serves alone");
        let core = node.core();
        let wait = |name: &str, incarnation| core.admit(Member { name: name.into(), incarnation });
        assert_eq!(wait("d", Incarnation(7)), Ok(true));
        node.remove_member("d").await.expect("it waits to be let in");
        assert_eq!(wait("d", Incarnation(7)), Ok(false));

        // A seat that is kept for the name makes no difference.
        let kept = core.change_members(RosterChange::Seat("e".into()), Duration::from_secs(1)).await;
        assert!(matches!(kept, Err(MemberError::Pending(..))), "{kept:?}");
        assert_eq!(wait("e", Incarnation(8)), Ok(true));
        node.remove_member("e").await.expect("it has a seat, and waits");
        assert_eq!(wait("e", Incarnation(8)), Ok(false));
        assert!(node.members().iter().all(|member| &*member.name == "a"), "{:?}", node.members());
        // With an empty disk it is another one.
        assert_eq!(wait("d", Incarnation(9)), Ok(true));
        node.close().await;
    }
}
