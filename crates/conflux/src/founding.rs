//! How nodes that start together become one cluster, and one that comes later finds it.
//!
//! A node pledges itself to one founder set, and only the proposer of that set frees it, by saying that the proposal is
//! gone. The proposer founds only with all pledges, so no node is ever a founder of two clusters. Whoever hears of a
//! cluster that exists asks its leader to be let in, and founds nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conflux_core::{Container, Incarnation, NodeName, Random};
use tokio::time::{Instant, timeout};

use crate::message::{Hello, Join, Propose, Standing, decode_id, encode_id, kind};
use crate::node::Core;
use crate::raft::Member;
use crate::wire::{Arrival, Head};

/// What a node must remember of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) incarnation: Incarnation,
    /// How often it was opened: each opening has sessions of its own.
    pub(crate) starts: u64,
    /// The founder set it is pledged to.
    pub(crate) pledge: Option<Propose>,
    /// The cluster it belongs to; 0 for none.
    pub(crate) cluster: u64,
}

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
}

struct Heard {
    /// Nodes without a cluster, and when they were last heard.
    free: BTreeMap<NodeName, (Incarnation, Instant)>,
    /// A cluster, and its leader.
    formed: Option<(u64, NodeName)>,
    /// Pledges that this node's own proposal has.
    pledges: BTreeSet<Member>,
    random: Random,
    notice: Option<String>,
}

impl Meeting {
    pub(crate) fn new(random: Random) -> Self {
        let heard =
            Heard { free: BTreeMap::new(), formed: None, pledges: BTreeSet::new(), random, notice: None };
        Meeting { inner: Mutex::new(heard) }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Heard> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What stands in the way, in words.
    pub(crate) fn notice(&self) -> Option<String> {
        self.lock().notice.clone()
    }

    /// Says what stands in the way; logs it when it is news.
    pub(crate) fn say(&self, notice: String) {
        let mut heard = self.lock();
        if heard.notice.as_ref() != Some(&notice) {
            tracing::warn!("{notice}");
            heard.notice = Some(notice);
        }
    }
}

fn head(cluster: u64, kind: crate::wire::Kind) -> Head {
    Head { kind, group: 0, cluster }
}

impl<C: Container> Core<C> {
    fn hello(&self) -> Bytes {
        let hello = Hello {
            incarnation: self.me().incarnation,
            cluster: self.cluster.load(Ordering::Relaxed),
            leads: self.engine.leading().is_some(),
        };
        hello.encode()
    }

    /// The task that brings this node into a cluster, and after that says hello where it leads.
    pub(crate) async fn found_or_join(self: Arc<Self>) {
        let pause = self.options.timing.heartbeat * 2;
        loop {
            let cluster = self.cluster.load(Ordering::Relaxed);
            if cluster == 0 {
                self.wire.broadcast(head(0, kind::HELLO), self.hello());
                self.try_found().await;
                self.try_join().await;
                tokio::time::sleep(pause).await;
            } else {
                if self.engine.leading().is_some() {
                    self.wire.broadcast(head(cluster, kind::HELLO), self.hello());
                } else {
                    self.rejoin(cluster).await;
                }
                tokio::time::sleep(pause * 5).await;
            }
        }
    }

    /// Asks again to be let in when nobody counts on this node: its request may have been lost with a leader.
    async fn rejoin(&self, cluster: u64) {
        let me = self.me();
        let view = self.engine.view();
        if view.voters.contains(me) || view.learners.contains(me) {
            return;
        }
        let formed = self.meeting.lock().formed.clone();
        if let Some((_, leader)) = formed.filter(|(formed, _)| *formed == cluster) {
            self.ask_to_join(cluster, &leader).await;
        }
    }

    /// Takes a step towards founding: propose, ask for pledges, found; or ask whether the pledge still binds.
    async fn try_found(&self) {
        let me = self.me().clone();
        let patience = self.options.timing.election_timeout_max * 2;
        if self.meeting.lock().formed.is_some() {
            // A cluster exists: found nothing. A proposal of one's own is over; a pledge to another binds still.
            let mine = self.identity().pledge.is_some_and(|pledge| pledge.founders.first() == Some(&me));
            if mine {
                self.save(|identity| identity.pledge = None);
            }
        }
        match self.identity().pledge {
            None => {
                let chosen = {
                    let mut heard = self.meeting.lock();
                    let now = Instant::now();
                    heard.free.retain(|_, (_, last)| now - *last < patience);
                    if heard.formed.is_some() {
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
                        heard.notice = Some(format!("waiting for {of} nodes to found a cluster, {here} are here"));
                    }
                    let chosen = self.options.founders.choose(&known).filter(|set| set.first() == Some(&me));
                    chosen.map(|founders| Propose { founders, nonce: heard.random.next_u64() })
                };
                if let Some(propose) = chosen {
                    self.meeting.lock().pledges = BTreeSet::from([me]);
                    self.save(|identity| identity.pledge = Some(propose));
                    self.collect_pledges().await;
                }
            }
            Some(pledge) if pledge.founders.first() == Some(&me) => self.collect_pledges().await,
            Some(pledge) => {
                let id = pledge.id();
                let proposer = &pledge.founders.first().expect("a founder set is not empty").name;
                let answer = self.wire.request(proposer, head(0, kind::IS_ON), encode_id(id));
                let Ok(Ok(body)) = timeout(self.options.timing.heartbeat * 4, answer).await else { return };
                match Standing::decode(&body) {
                    Ok(Standing::Gone) => self.save(|identity| {
                        if identity.pledge.as_ref().is_some_and(|pledge| pledge.id() == id) {
                            identity.pledge = None;
                        }
                    }),
                    Ok(Standing::Founded) => self.belong(id),
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
            propose.founders.iter().filter(|founder| *founder != me && !heard.pledges.contains(founder)).cloned().collect()
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
                        self.meeting.lock().notice = Some(format!("{} does not pledge itself: {error}", founder.name));
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
            self.save(|identity| identity.pledge = None);
            return;
        }
        self.belong(id);
        if let Err(stop) = self.engine.found(&propose.founders).await {
            self.halt(&stop);
        }
    }

    /// Asks to be let into the cluster that was heard of.
    async fn try_join(&self) {
        let formed = self.meeting.lock().formed.clone();
        if let (Some((cluster, leader)), None) = (formed, self.identity().pledge) {
            self.ask_to_join(cluster, &leader).await;
        }
    }

    async fn ask_to_join(&self, cluster: u64, leader: &NodeName) {
        let join = Join { incarnation: self.me().incarnation };
        let answer = self.wire.request(leader, head(cluster, kind::JOIN), join.encode());
        match timeout(self.options.timing.heartbeat * 4, answer).await {
            Ok(Ok(body)) if decode_id(&body) == Ok(cluster) => self.belong(cluster),
            Ok(Err(error)) => {
                let mut heard = self.meeting.lock();
                heard.notice = Some(format!("{leader} does not let this node in: {error}"));
                heard.formed = None;
            }
            // No answer, or no leader: wait until one says hello.
            _ => self.meeting.lock().formed = None,
        }
    }

    /// From now on this node belongs to that cluster.
    fn belong(&self, cluster: u64) {
        if self.cluster.load(Ordering::Relaxed) == 0 {
            self.save(|identity| {
                identity.cluster = cluster;
                identity.pledge = None;
            });
            self.cluster.store(cluster, Ordering::Relaxed);
        }
        self.meeting.lock().notice = None;
    }

    /// The first message of the engine's from the cluster that this node's pledge became.
    pub(crate) fn welcome(&self, cluster: u64) {
        if cluster != 0
            && self.cluster.load(Ordering::Relaxed) == 0
            && self.identity().pledge.is_some_and(|pledge| pledge.id() == cluster)
        {
            self.belong(cluster);
        }
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
        let mine = self.cluster.load(Ordering::Relaxed);
        if hello.cluster == 0 {
            let now = Instant::now();
            self.meeting.lock().free.insert(arrival.from.clone(), (hello.incarnation, now));
            if mine != 0 && self.engine.leading().is_some() {
                self.wire.post(&arrival.from, head(mine, kind::HELLO), self.hello());
            }
        } else if mine == 0 || mine == hello.cluster {
            let mut heard = self.meeting.lock();
            heard.free.remove(&arrival.from);
            if hello.leads {
                heard.formed = Some((hello.cluster, arrival.from.clone()));
            }
        } else {
            self.meeting.say(format!(
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
        let pledged = self.identity().pledge;
        let refusal = if self.cluster.load(Ordering::Relaxed) != 0 || self.meeting.lock().formed.is_some() {
            Some("it knows of a cluster that exists".to_owned())
        } else if propose.founders.first().is_none_or(|first| first.name != arrival.from) {
            Some("only the lowest of the founders proposes".to_owned())
        } else if !propose.founders.contains(self.me()) {
            Some(format!("it is {}, which is not among the founders", self.me()))
        } else if propose.founders.len() != count {
            Some(format!("the proposal has {} founders, it was told to found with {count}", propose.founders.len()))
        } else if pledged.as_ref().is_some_and(|pledge| pledge.id() != id && pledge.founders.first() != Some(self.me())) {
            Some("it is pledged to another proposal".to_owned())
        } else {
            None
        };
        match refusal {
            Some(refusal) => reply.refuse(&refusal),
            None => {
                // A proposal of its own is given up for one by a lower node: it has not founded, or it would belong.
                self.save(|identity| identity.pledge = Some(propose));
                reply.send(encode_id(id));
            }
        }
    }

    fn standing(&self, id: u64) -> Standing {
        if self.cluster.load(Ordering::Relaxed) == id {
            Standing::Founded
        } else if self.identity().pledge.is_some_and(|pledge| pledge.id() == id) {
            Standing::Waiting
        } else {
            Standing::Gone
        }
    }

    fn let_in(&self, arrival: Arrival) {
        let Some(reply) = arrival.reply else { return };
        let cluster = self.cluster.load(Ordering::Relaxed);
        if arrival.head.cluster != cluster {
            return reply.refuse("that is not this node's cluster");
        }
        if self.engine.leading().is_none() {
            return reply.refuse("this node does not lead");
        }
        match Join::decode(&arrival.body) {
            Err(error) => reply.refuse(&error.to_string()),
            Ok(join) => match self.admit(Member { name: arrival.from, incarnation: join.incarnation }) {
                Ok(()) => reply.send(encode_id(cluster)),
                Err(refusal) => reply.refuse(&refusal),
            },
        }
    }

    fn save(&self, change: impl FnOnce(&mut Identity)) {
        let mut identity = self.identity();
        change(&mut identity);
        self.disk.save_identity(identity);
    }

    pub(crate) fn identity(&self) -> Identity {
        self.disk.identity().expect("an open node has an identity on its disk")
    }
}

/// How long a name must be silent before another incarnation may take it.
pub(crate) fn silence(timing: &crate::options::Timing) -> Duration {
    timing.election_timeout_max
}
