//! How nodes that start together become one cluster, and one that comes later finds it.
//!
//! A node pledges itself to one founder set, and only the proposer of that set frees it, by saying that the proposal is
//! gone. The proposer founds only with all pledges, so no node is ever a founder of two clusters. Whoever hears of a
//! cluster that exists asks its leader to be let in, and founds nothing.
//!
//! Every founder writes the founding into its own log before it takes part: a cluster that only one memory knew of would
//! be lost with it, and the others would belong to it for ever.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conflux_core::{Container, Halt, Incarnation, NodeName, Random};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::core::Core;
use crate::identity::Identity;
use crate::message::{Hello, Join, Propose, Source, Standing, Welcome, decode_id, encode_id, kind};
use crate::raft::Member;
use crate::stop::Stop;
use crate::watch;
use crate::wire::{Arrival, Head};

/// Who founds the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Founders {
    /// The first so many that find each other.
    Size(usize),
    /// Exactly these.
    Named(BTreeSet<NodeName>),
}

impl Founders {
    pub(crate) fn count(&self) -> usize {
        match self {
            Founders::Size(size) => *size,
            Founders::Named(names) => names.len(),
        }
    }

    /// The set that `known` should become, if they are enough.
    fn choose(&self, known: &BTreeSet<Member>) -> Option<BTreeSet<Member>> {
        let chosen: BTreeSet<Member> = match self {
            Founders::Size(size) => known.iter().take(*size).cloned().collect(),
            Founders::Named(names) => known.iter().filter(|member| names.contains(&member.name)).cloned().collect(),
        };
        (chosen.len() == self.count()).then_some(chosen)
    }
}

/// What a node knows of the others before and beside its cluster.
pub(crate) struct Meeting {
    inner: Mutex<Heard>,
    /// Rings when this node is welcomed.
    ring: Notify,
    obstacles: Mutex<Obstacles>,
    /// What stands in the way, in words.
    notice: watch::Sender<Option<String>>,
}

/// What stands in the way. Its lock comes after that of what was heard.
#[derive(Default)]
struct Obstacles {
    /// What this node waits for.
    waiting: Option<String>,
    /// Why others are refused, and when each was refused last: who is heard no more is no obstacle.
    refused: BTreeMap<NodeName, (String, Instant)>,
}

impl Obstacles {
    fn told(&self) -> Option<String> {
        let refused = self.refused.values().map(|(why, _)| why);
        let all: Vec<&str> = self.waiting.iter().chain(refused).map(String::as_str).collect();
        (!all.is_empty()).then(|| all.join(crate::status::NOTICES))
    }
}

struct Heard {
    /// Nodes without a cluster, and when they were last heard.
    free: BTreeMap<NodeName, (Incarnation, Instant)>,
    /// A cluster that exists. Whatever becomes of asking it, it is not forgotten: who has heard of one founds none.
    formed: Option<u64>,
    /// Its leader, when one said hello lately.
    leader: Option<NodeName>,
    /// Pledges that this node's own proposal has.
    pledges: BTreeSet<Member>,
    /// A message came from the cluster that this node's pledge became.
    welcomed: Option<u64>,
    /// When this node first said hello.
    listening_since: Option<Instant>,
    random: Random,
}

impl Meeting {
    pub(crate) fn new(random: Random) -> Self {
        let heard = Heard {
            free: BTreeMap::new(),
            formed: None,
            leader: None,
            pledges: BTreeSet::new(),
            welcomed: None,
            listening_since: None,
            random,
        };
        Meeting {
            inner: Mutex::new(heard),
            ring: Notify::new(),
            obstacles: Mutex::default(),
            notice: watch::channel(None).0,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands in the way, in words.
    pub(crate) fn notice(&self) -> Option<String> {
        self.notice.borrow().clone()
    }

    /// Waits on what stands in the way.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.notice.subscribe()
    }

    fn change<R>(&self, change: impl FnOnce(&mut Obstacles) -> R) -> R {
        let mut obstacles = self.obstacles.lock().unwrap_or_else(PoisonError::into_inner);
        let done = change(&mut obstacles);
        let told = obstacles.told();
        self.notice.modify(|said| {
            let news = *said != told;
            *said = told;
            news
        });
        done
    }

    /// Says what is waited for.
    fn note(&self, waiting: Option<String>) {
        self.change(|obstacles| obstacles.waiting = waiting);
    }

    /// Says what keeps this node out of its cluster; logs it when it is news.
    fn hinder(&self, why: String) {
        if self.change(|obstacles| obstacles.waiting.replace(why.clone()).as_ref() != Some(&why)) {
            tracing::warn!("{why}");
        }
    }

    /// Says why another node is refused; logs it when it is news.
    fn refuse(&self, name: &NodeName, why: String) {
        let is_news = self.change(|obstacles| {
            if obstacles.refused.len() >= FREE_MAX && !obstacles.refused.contains_key(name) {
                return false;
            }
            let before = obstacles.refused.insert(name.clone(), (why.clone(), Instant::now()));
            before.is_none_or(|(before, _)| before != why)
        });
        if is_news {
            tracing::warn!("{why}");
        }
    }

    /// The node is refused no longer.
    fn accept(&self, name: &NodeName) {
        self.change(|obstacles| obstacles.refused.remove(name));
    }

    /// Takes back what was said of nodes that have not been heard for so long.
    fn forget_refused(&self, patience: Duration) {
        let now = Instant::now();
        self.change(|obstacles| obstacles.refused.retain(|_, (_, last)| now - *last < patience));
    }
}

/// For how many heartbeats a refused node may be silent before the refusal is taken back. It says hello every 2 of them, or
/// every 10 where it leads a cluster of its own.
const REFUSED_HEARTBEATS: u32 = 60;

/// The most nodes without a cluster that are kept in mind: names come from the network.
const FREE_MAX: usize = 1024;

impl Heard {
    /// Whether that can be the cluster this node is about to join.
    fn may_be(&self, cluster: u64) -> bool {
        self.formed.is_none_or(|formed| formed == cluster)
    }
}

fn head(cluster: u64, kind: crate::wire::Kind) -> Head {
    Head { kind, group: 0, cluster }
}

impl<C: Container> Core<C> {
    fn hello(&self) -> Bytes {
        let hello = Hello {
            incarnation: self.me().incarnation,
            source: self.source,
            cluster: self.cluster(),
            leads: self.engine.leading().is_some(),
        };
        hello.encode()
    }

    /// The task that brings this node into a cluster, and after that says hello where it leads.
    pub(crate) async fn found_or_join(self: Arc<Self>) {
        let pause = self.options.timing.heartbeat * 2;
        loop {
            self.meeting.forget_refused(self.options.timing.heartbeat * REFUSED_HEARTBEATS);
            if self.disk_failure().is_some() {
                // Who waited for the disk may never hear of it, and an idle node writes nothing that would fail.
                return;
            }
            let cluster = self.cluster();
            if cluster == 0 {
                self.wire.broadcast(head(0, kind::HELLO), self.hello());
                self.try_found().await;
                self.try_join().await;
                tokio::select! {
                    biased;
                    () = self.meeting.ring.notified() => {}
                    () = tokio::time::sleep(pause) => {}
                }
            } else {
                if self.engine.leading().is_some() {
                    self.wire.broadcast(head(cluster, kind::HELLO), self.hello());
                } else {
                    self.rejoin(cluster).await;
                }
                self.look_for_quorum();
                self.look_at_apply();
                tokio::time::sleep(pause * 5).await;
            }
        }
    }

    /// Asks again to be let in when nobody counts on this node: its request may have been lost with a leader, or its
    /// seat was given to another incarnation while it was away, of which its own log knows nothing. A leader that does
    /// count on it is heard by the engine; one that does not only says hello to all.
    async fn rejoin(&self, cluster: u64) {
        if self.engine.heard_leader() {
            return;
        }
        let leader = {
            let heard = self.meeting.lock();
            heard.leader.clone().filter(|_| heard.formed == Some(cluster))
        };
        if let Some(leader) = leader {
            self.ask_to_join(cluster, &leader).await;
        }
    }

    /// Takes a step towards founding: propose, ask for pledges, found; or ask whether the pledge still binds.
    async fn try_found(&self) {
        let me = self.me().clone();
        let patience = self.options.timing.election_timeout_max * 2;
        let welcomed = self.meeting.lock().welcomed;
        if let Some(propose) = welcomed.and_then(|cluster| self.promised(cluster)) {
            return self.found(propose).await;
        }
        if self.meeting.lock().formed.is_some() {
            // A cluster exists: found nothing. A proposal of one's own is over; a pledge to another binds still.
            self.save(|identity| {
                let mine = identity.pledge.as_ref().is_some_and(|pledge| pledge.founders.first() == Some(&me));
                if mine && identity.cluster == 0 {
                    identity.pledge = None;
                }
            });
        }
        match self.identity().pledge {
            None => {
                let chosen = {
                    let mut heard = self.meeting.lock();
                    let now = Instant::now();
                    heard.free.retain(|_, (_, last)| now - *last < patience);
                    let listened = now - *heard.listening_since.get_or_insert(now);
                    // Who needs nobody else must at least hear whether a cluster answers its hello: others that have to
                    // connect again first do so within that time, as they miss a node.
                    let alone = self.options.founders.count() == 1;
                    let patience = self.options.timing.election_timeout_max * 2;
                    if heard.formed.is_some() || (alone && listened < patience) {
                        return;
                    }
                    let mut known: BTreeSet<Member> = heard
                        .free
                        .iter()
                        .map(|(name, (incarnation, _))| Member { name: name.clone(), incarnation: *incarnation })
                        .collect();
                    known.insert(me.clone());
                    let count = self.options.founders.count();
                    if known.len() < count {
                        let (here, of) = (known.len(), count);
                        self.meeting.note(Some(format!("waiting for {of} nodes to found a cluster, {here} are here")));
                    }
                    let chosen = self.options.founders.choose(&known).filter(|set| set.first() == Some(&me));
                    chosen.map(|founders| Propose { founders, nonce: heard.random.next_u64(), source: self.source })
                };
                if let Some(propose) = chosen {
                    self.meeting.lock().pledges = BTreeSet::from([me]);
                    let proposed = self.save(|identity| {
                        let free = identity.cluster == 0 && identity.pledge.is_none();
                        if free {
                            identity.pledge = Some(propose);
                        }
                        free
                    });
                    if proposed == Some(true) {
                        self.collect_pledges().await;
                    }
                }
            }
            Some(pledge) if pledge.founders.first() == Some(&me) => self.collect_pledges().await,
            Some(pledge) => {
                let id = pledge.id();
                let proposer = &pledge.founders.first().expect("a founder set is not empty").name;
                let answer = self.wire.request(proposer, head(0, kind::IS_ON), encode_id(id));
                let Ok(Ok(body)) = timeout(self.options.timing.heartbeat * 4, answer).await else { return };
                match Standing::decode(&body) {
                    Ok(Standing::Gone) => {
                        self.save(|identity| {
                            let gone = identity.pledge.take_if(|pledge| pledge.id() == id);
                            identity.freed = gone.or(identity.freed.take());
                        });
                    }
                    Ok(Standing::Founded) => self.found(pledge).await,
                    Ok(Standing::Waiting) | Err(_) => {}
                }
            }
        }
    }

    /// Asks the founders of this node's proposal for their pledges; founds once all are there; gives up when one is
    /// silent or pledged elsewhere.
    async fn collect_pledges(&self) {
        let Some(propose) = self.identity().pledge else { return };
        let me = self.me();
        let id = propose.id();
        let missing: Vec<Member> = {
            let heard = self.meeting.lock();
            propose
                .founders
                .iter()
                .filter(|founder| *founder != me && !heard.pledges.contains(founder))
                .cloned()
                .collect()
        };
        let asked: Vec<_> = missing
            .into_iter()
            .map(|founder| {
                let answer = self.wire.request(&founder.name, head(0, kind::PROPOSE), propose.encode());
                (founder, timeout(self.options.timing.heartbeat * 4, answer))
            })
            .collect();
        let mut all = true;
        for (founder, answer) in asked {
            match answer.await {
                Ok(Ok(body)) if decode_id(&body) == Ok(id) => {
                    self.meeting.lock().pledges.insert(founder);
                }
                // Refused, or silent: it may be pledged elsewhere, or be no more.
                answer => {
                    if let Ok(Err(error)) = answer {
                        self.meeting.note(Some(format!("{} does not pledge itself: {error}", founder.name)));
                    }
                    all = false;
                }
            }
        }
        // While it asked, a cluster may have been heard of, or a lower node's proposal been preferred.
        let mine = self.identity().pledge.is_some_and(|pledge| pledge.id() == id);
        if self.meeting.lock().formed.is_some() || !mine {
            return;
        }
        if !all {
            self.save(|identity| {
                identity.pledge.take_if(|pledge| pledge.id() == id);
            });
            return;
        }
        self.found(propose).await;
    }

    /// Becomes a founder of the cluster that a proposal has become.
    async fn found(&self, propose: Propose) {
        let id = propose.id();
        // Saved first, and taken up again by `finish_founding` if this is as far as it comes: once the proposer has told
        // anybody, the proposal cannot be given up.
        let bound = self.save(|identity| {
            let bound = identity.cluster == id || (identity.cluster == 0 && identity.promised(id).is_some());
            if bound {
                (identity.cluster, identity.source) = (id, Some(propose.source));
                identity.pledge = Some(propose.clone());
            }
            bound
        });
        if bound != Some(true) {
            // While this was on its way, a lower node's proposal was preferred.
            return;
        }
        // The engine must not vote before it has this in its log: it could not take it any more.
        if let Err(stop) = self.engine.found(&propose.founders).await {
            return self.halt(&stop);
        }
        self.belong(id);
    }

    /// Writes a founding into the log that was interrupted when this node ended. Before anything is heard.
    ///
    /// A node of another source than the one that it joined with is refused here: what it would write, as soon as it
    /// leads, would stop all others.
    pub(crate) async fn finish_founding(&self) -> Result<(), Stop> {
        let Identity { pledge, cluster, source, .. } = self.identity();
        if let Some(joined) = source.filter(|_| cluster != 0) {
            Halt::check_code(&**self.local.store().container(), joined.version, joined.code)?;
        }
        if let Some(propose) = pledge.filter(|pledge| pledge.id() == cluster) {
            self.engine.found(&propose.founders).await?;
            self.keeper.change(|identity| identity.pledge = None)?;
        }
        Ok(())
    }

    /// Asks to be let into the cluster that was heard of.
    async fn try_join(&self) {
        let formed = {
            let heard = self.meeting.lock();
            heard.formed.zip(heard.leader.clone())
        };
        if let (Some((cluster, leader)), None) = (formed, self.identity().pledge) {
            self.ask_to_join(cluster, &leader).await;
        }
    }

    async fn ask_to_join(&self, cluster: u64, leader: &NodeName) {
        let join = Join { incarnation: self.me().incarnation, source: self.source };
        let answer = self.wire.request(leader, head(cluster, kind::JOIN), join.encode());
        match timeout(self.options.timing.heartbeat * 4, answer).await {
            Ok(Ok(body)) if Welcome::decode(&body) == Ok(Welcome::In(cluster)) => self.belong(cluster),
            Ok(Ok(body)) if Welcome::decode(&body) == Ok(Welcome::Removed) => self.halt(&Stop::Removed),
            Ok(Err(error)) => {
                // One that belongs already asks in passing: that leader may have lost its place a moment ago.
                if self.cluster() == 0 {
                    self.meeting.hinder(format!("{leader} does not let this node in: {error}"));
                }
                self.meeting.lock().leader = None;
            }
            // No answer, or no leader: wait until one says hello.
            _ => self.meeting.lock().leader = None,
        }
    }

    /// From now on this node belongs to that cluster.
    fn belong(&self, cluster: u64) {
        if self.cluster() == 0 {
            let saved = self.save(|identity| {
                (identity.cluster, identity.source) = (cluster, Some(self.source));
                identity.pledge = None;
                identity.freed = None;
            });
            if saved.is_none() {
                return;
            }
            self.cluster.store(cluster, Ordering::Relaxed);
        }
        self.meeting.note(None);
    }

    /// The first message of the engine's from the cluster that this node's pledge became.
    pub(crate) fn welcome(&self, cluster: u64) {
        if cluster != 0 && self.cluster() == 0 && self.promised(cluster).is_some() {
            self.meeting.lock().welcomed = Some(cluster);
            self.meeting.ring.notify_one();
        }
    }

    /// The proposal of that cluster, if this node pledged itself to it and to no other since.
    fn promised(&self, cluster: u64) -> Option<Propose> {
        self.identity().promised(cluster).cloned()
    }

    /// Handles the messages of this file.
    pub(crate) fn meet(&self, arrival: Arrival) {
        match arrival.head.kind {
            kind::HELLO => self.hear(&arrival),
            kind::PROPOSE => self.consider(arrival),
            kind::IS_ON => {
                let standing = decode_id(&arrival.body).map(|id| self.standing(id));
                if let (Ok(standing), Some(reply)) = (standing, arrival.reply) {
                    reply.send(standing.encode());
                }
            }
            kind::JOIN => self.let_in(arrival),
            _ => {}
        }
    }

    fn hear(&self, arrival: &Arrival) {
        let Ok(hello) = Hello::decode(&arrival.body) else { return };
        if let Err(refusal) = self.same_source(&arrival.from, hello.source) {
            return self.meeting.refuse(&arrival.from, refusal);
        }
        let mine = self.cluster();
        let is_of_another =
            hello.cluster != 0 && hello.cluster != mine && (mine != 0 || !self.meeting.lock().may_be(hello.cluster));
        if !is_of_another {
            self.meeting.accept(&arrival.from);
            self.quorum.meet(&arrival.from, hello.incarnation);
        }
        if hello.cluster == 0 {
            if mine != 0 {
                // Whether it leads or not: the other must know that a cluster exists.
                self.wire.post(&arrival.from, head(mine, kind::HELLO), self.hello());
            } else {
                let mut heard = self.meeting.lock();
                if heard.free.len() < FREE_MAX || heard.free.contains_key(&arrival.from) {
                    heard.free.insert(arrival.from.clone(), (hello.incarnation, Instant::now()));
                }
            }
        } else if !is_of_another {
            let mut heard = self.meeting.lock();
            heard.free.remove(&arrival.from);
            heard.formed = Some(hello.cluster);
            if hello.leads {
                heard.leader = Some(arrival.from.clone());
            }
        } else if mine == 0 {
            self.meeting.refuse(
                &arrival.from,
                format!(
                    "{} belongs to cluster {:016x}, others to another one; two clusters cannot share a channel",
                    arrival.from, hello.cluster
                ),
            );
        } else {
            self.meeting.refuse(&arrival.from, format!(
                "refused {}: it belongs to cluster {:016x}, this node to {mine:016x}; two clusters cannot share a channel",
                arrival.from, hello.cluster
            ));
        }
    }

    fn consider(&self, arrival: Arrival) {
        let Some(reply) = arrival.reply else { return };
        let propose = match Propose::decode(&arrival.body) {
            Ok(propose) => propose,
            Err(error) => return reply.refuse(&error.to_string()),
        };
        let id = propose.id();
        let count = self.options.founders.count();
        let refusal = if self.meeting.lock().formed.is_some() {
            Some("it knows of a cluster that exists".to_owned())
        } else if propose.founders.first().is_none_or(|first| first.name != arrival.from) {
            Some("only the lowest of the founders proposes".to_owned())
        } else if let Err(refusal) = self.same_source(&arrival.from, propose.source) {
            Some(refusal)
        } else if !propose.founders.contains(self.me()) {
            Some(format!("it is {}, which is not among the founders", self.me()))
        } else if let Founders::Named(names) = &self.options.founders
            && !propose.founders.iter().map(|founder| &founder.name).eq(names)
        {
            let told: Vec<&str> = names.iter().map(|name| &**name).collect();
            Some(format!("it was told to found with exactly {}", told.join(", ")))
        } else if propose.founders.len() != count {
            Some(format!("the proposal has {} founders, it was told to found with {count}", propose.founders.len()))
        } else {
            // A proposal of its own is given up for one by a lower node, unless it was founded: that is saved first.
            let saved = self.save(|identity| {
                let other = identity.pledge.as_ref().filter(|pledge| pledge.id() != id);
                if identity.cluster != 0 {
                    Some("it belongs to a cluster".to_owned())
                } else if other.is_some_and(|pledge| pledge.founders.first() != Some(self.me())) {
                    Some("it is pledged to another proposal".to_owned())
                } else {
                    identity.pledge = Some(propose);
                    None
                }
            });
            saved.unwrap_or_else(|| Some("its disk has failed".to_owned()))
        };
        match refusal {
            Some(refusal) => reply.refuse(&refusal),
            None => reply.send(encode_id(id)),
        }
    }

    /// Nodes that run another container are refused at the door: their first batch would stop one side or the other.
    fn same_source(&self, from: &NodeName, came: Source) -> Result<(), String> {
        let is = self.source;
        if came == is {
            return Ok(());
        }
        let me = &self.me().name;
        Err(format!("refused: {from} runs {came} of the container, {me} runs {is}; start both with the same source"))
    }

    fn standing(&self, id: u64) -> Standing {
        if self.cluster() == id {
            Standing::Founded
        } else if self.identity().pledge.is_some_and(|pledge| pledge.id() == id) {
            Standing::Waiting
        } else {
            Standing::Gone
        }
    }

    fn let_in(&self, arrival: Arrival) {
        let Some(reply) = arrival.reply else { return };
        let cluster = self.cluster();
        if arrival.head.cluster != cluster {
            return reply.refuse("that is not this node's cluster");
        }
        let join = match Join::decode(&arrival.body) {
            Ok(join) => join,
            Err(error) => return reply.refuse(&error.to_string()),
        };
        self.quorum.meet(&arrival.from, join.incarnation);
        if self.engine.leading().is_none() {
            return reply.refuse("this node does not lead");
        }
        match self
            .same_source(&arrival.from, join.source)
            .and_then(|()| self.admit(Member { name: arrival.from, incarnation: join.incarnation }))
        {
            Ok(true) => reply.send(Welcome::In(cluster).encode()),
            Ok(false) => reply.send(Welcome::Removed.encode()),
            Err(refusal) => reply.refuse(&refusal),
        }
    }

    /// Looks at the identity and changes it in one step: messages and the founding task meet here. `None` when it cannot
    /// be remembered: then this node stops, and nothing may come of it.
    fn save<R>(&self, change: impl FnOnce(&mut Identity) -> R) -> Option<R> {
        self.keeper.change(change).map_err(|error| self.halt(&error.into())).ok()
    }

    pub(crate) fn identity(&self) -> Identity {
        self.keeper.get()
    }
}

/// How long a name must be silent before another incarnation may take it.
pub(crate) fn silence(timing: &crate::options::Timing) -> Duration {
    timing.election_timeout_max
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_is_waited_for_and_who_is_refused_stand_side_by_side() {
        let meeting = Meeting::new(Random::new(1));
        let (mut changes, name) = (meeting.watch(), NodeName::from("e"));
        meeting.note(Some("waiting".into()));
        meeting.refuse(&name, "refused: e".into());
        assert_eq!(meeting.notice().as_deref(), Some("waiting; also refused: e"));
        drop(changes.borrow_and_update());
        for _ in 0..10 {
            meeting.note(Some("waiting".into()));
            meeting.refuse(&name, "refused: e".into());
        }
        let mut context = std::task::Context::from_waker(std::task::Waker::noop());
        assert!(changes.poll_changed(&mut context).is_pending(), "nothing of it was news");
        tokio::time::advance(Duration::from_secs(2)).await;
        meeting.forget_refused(Duration::from_secs(3));
        assert_eq!(meeting.notice().as_deref(), Some("waiting; also refused: e"));
        tokio::time::advance(Duration::from_secs(2)).await;
        meeting.forget_refused(Duration::from_secs(3));
        assert_eq!(meeting.notice().as_deref(), Some("waiting"));
        meeting.refuse(&name, "refused: e".into());
        meeting.note(None);
        meeting.accept(&name);
        assert_eq!(meeting.notice(), None);
    }
}
