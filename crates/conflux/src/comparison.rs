//! Whether the replicas hold the same state, looked at while the cluster runs.
//!
//! Now and then the leader marks a batch: each replica takes the digest of the state before it, beside its work, and tells
//! the others. What most voters have is right. A replica that has another state parted from them: it says at which action
//! if that can be found out, applies nothing more, and goes on with the state of one that did not part.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conflux_core::payload::digest_foreign;
use conflux_core::{Committed, Container, Digest, Halt, Index, NodeName, Payload};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::core::Core;
use crate::message::{Compared, Place, StateWanted, kind};
use crate::process;
use crate::raft::{Member, View};
use crate::stop::Stop;
use crate::watch;
use crate::wire::{Arrival, Head};

/// How many places are kept in mind of each member.
const PLACES_MAX: usize = 4;

/// After so many states of others in a row, without one comparison that came out equal, there is no sense in another.
const MENDED_MAX: u32 = 3;

/// A comparison may take this share of the time.
const SHARE: u32 = 250;

/// The shortest time between two comparisons.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// How long a member may take to tell the digest of an earlier state.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// A state to be compared.
pub(crate) struct Sample<C: Container> {
    pub(crate) place: Place,
    pub(crate) state: Arc<C::State>,
    /// How often this replica's state had been replaced by another one: what is known of one says nothing of the next.
    pub(crate) resets: u64,
}

/// What is known of everybody's states.
pub(crate) struct Comparison {
    known: Mutex<Known>,
    notice: watch::Sender<Option<String>>,
    /// Rings when a member told what it has.
    ring: Notify,
    /// An earlier state is being made for a member that asks: one at a time.
    answering: AtomicBool,
}

#[derive(Default)]
struct Known {
    mine: VecDeque<(Place, Digest)>,
    /// Of which of this replica's states those are: see [`Sample::resets`].
    resets: u64,
    /// Of voters only, so that there is an end to it.
    others: BTreeMap<Member, VecDeque<(Place, Digest)>>,
    agreed: Option<Index>,
    last: Option<Index>,
    parted: u64,
    mended_in_a_row: u32,
    /// Whose state was said to be another one.
    accused: BTreeSet<(Place, Member)>,
    /// How long the last digest took.
    cost: Duration,
}

/// What a comparison comes to.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Too few have told.
    Open,
    /// Most voters have what this replica has.
    Agreed,
    /// Most voters, this one among them, have another state. This replica's is not theirs.
    Parted { ought: Digest, witness: Member },
    /// All have told, and no state is that of most.
    Divided,
}

impl Default for Comparison {
    fn default() -> Self {
        Comparison {
            known: Mutex::default(),
            notice: watch::channel(None).0,
            ring: Notify::new(),
            answering: AtomicBool::new(false),
        }
    }
}

impl Comparison {
    /// The last place at which most voters had the same state as this replica.
    pub(crate) fn agreed(&self) -> Option<Index> {
        self.lock().agreed
    }

    /// The last place whose state was taken for a comparison here.
    pub(crate) fn last(&self) -> Option<Index> {
        self.lock().last
    }

    /// How often this replica's state was another than that of most voters.
    pub(crate) fn parted(&self) -> u64 {
        self.lock().parted
    }

    /// How long after a comparison the next one may come.
    pub(crate) fn pause(&self) -> Duration {
        (self.lock().cost * SHARE).max(PAUSE_MIN)
    }

    /// What is to be said, in words.
    pub(crate) fn notice(&self) -> Option<String> {
        self.notice.borrow().clone()
    }

    /// Waits on what is said.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.notice.subscribe()
    }

    fn say(&self, notice: Option<String>) {
        self.notice.modify(|said| {
            let news = *said != notice;
            *said = notice;
            news
        });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Forgets what was known of a state that was replaced.
    fn replaced(&mut self, resets: u64) {
        if self.resets != resets {
            self.mine.clear();
            self.resets = resets;
        }
    }

    /// What the digests say of a place; `me` has `mine` there.
    fn judge(&self, place: Place, mine: Digest, me: &Member, voters: &BTreeSet<Member>) -> Verdict {
        let mut told: BTreeMap<Digest, Vec<&Member>> = BTreeMap::new();
        for voter in voters {
            let digest = if voter == me { Some(mine) } else { self.others.get(voter).and_then(|it| at(it, place)) };
            if let Some(digest) = digest {
                told.entry(digest).or_default().push(voter);
            }
        }
        let majority = voters.len() / 2 + 1;
        match told.iter().find(|(_, members)| members.len() >= majority) {
            Some((digest, _)) if *digest == mine => Verdict::Agreed,
            Some((digest, members)) => Verdict::Parted { ought: *digest, witness: members[0].clone() },
            // Who is not let in yet knows of no voters.
            None if voters.is_empty() || told.values().map(Vec::len).sum::<usize>() < voters.len() => Verdict::Open,
            None => Verdict::Divided,
        }
    }

    /// Those who have another state than most, of whom it was not said yet.
    fn accuse(&mut self, place: Place, ought: Digest) -> Vec<Member> {
        let odd: Vec<Member> = self
            .others
            .iter()
            .filter(|(_, it)| at(it, place).is_some_and(|digest| digest != ought))
            .map(|(member, _)| member.clone())
            .collect();
        self.accused.retain(|(accused, _)| *accused == place);
        odd.into_iter().filter(|member| self.accused.insert((place, member.clone()))).collect()
    }
}

fn at(told: &VecDeque<(Place, Digest)>, place: Place) -> Option<Digest> {
    told.iter().find(|(of, _)| *of == place).map(|(_, digest)| *digest)
}

fn keep(told: &mut VecDeque<(Place, Digest)>, place: Place, digest: Digest) {
    if told.len() == PLACES_MAX {
        told.pop_front();
    }
    told.push_back((place, digest));
}

impl<C: Container> Core<C> {
    /// The task.
    pub(crate) async fn compare(self: Arc<Self>) {
        loop {
            tokio::select! {
                biased;
                () = self.local.sampled.notified() => {
                    self.take_sample();
                }
                () = self.comparison.ring.notified() => {}
            }
            if let Err(stop) = self.judge().await {
                return self.halt_and_record(&stop);
            }
        }
    }

    fn take_sample(&self) {
        let Some(Sample { place, state, resets }) = self.local.take_sample() else { return };
        if resets != self.local.resets() {
            return;
        }
        let begun = Instant::now();
        let long = self.local.container().may_take_long();
        let digest = self.comparing.run(long, || digest_foreign(&*state));
        let mut known = self.comparison.lock();
        known.cost = begun.elapsed();
        known.last = Some(place.index);
        let digest = match digest {
            Ok(digest) => digest,
            Err(error) => {
                // To compare is a service: what serves well without a snapshot goes on without this.
                tracing::warn!(node = &*self.me().name, "the state at {} is not compared: {error}", place.index);
                return;
            }
        };
        known.replaced(self.local.resets());
        if resets != known.resets {
            return;
        }
        keep(&mut known.mine, place, digest);
        drop(known);
        let compared = Compared { incarnation: self.me().incarnation, place, digest };
        self.broadcast(kind::COMPARED, compared.encode());
    }

    /// A member told what it has.
    pub(crate) fn hear_compared(&self, from: NodeName, compared: Compared) {
        let Compared { incarnation, place, digest } = compared;
        let member = Member { name: from, incarnation };
        let voters = self.engine.view().voters;
        if !voters.contains(&member) || member == *self.me() {
            return;
        }
        {
            let mut known = self.comparison.lock();
            known.others.retain(|member, _| voters.contains(member));
            keep(known.others.entry(member).or_default(), place, digest);
        }
        self.comparison.ring.notify_one();
    }

    /// Looks at what everybody told, the latest first.
    async fn judge(self: &Arc<Self>) -> Result<(), Stop> {
        let View { voters, .. } = self.engine.view();
        let resets = self.local.resets();
        let mine: Vec<_> = {
            let mut known = self.comparison.lock();
            known.replaced(resets);
            known.mine.iter().rev().copied().collect()
        };
        let mut undecided = None;
        for (place, digest) in mine {
            let verdict = self.comparison.lock().judge(place, digest, self.me(), &voters);
            match verdict {
                Verdict::Agreed => {
                    let odd = {
                        let mut known = self.comparison.lock();
                        known.agreed = known.agreed.max(Some(place.index));
                        known.mended_in_a_row = 0;
                        // Earlier places say nothing more.
                        known.mine.retain(|(of, _)| of.index >= place.index);
                        known.accuse(place, digest)
                    };
                    for member in odd {
                        tracing::error!(
                            node = &*self.me().name,
                            "{member} has another state at {} than most",
                            place.index
                        );
                    }
                    break;
                }
                Verdict::Parted { ought, witness } => {
                    // It may have been replaced a moment ago, by a snapshot that the engine installed.
                    if self.engine.part(|| self.local.resets() == resets) {
                        self.mend(place, digest, ought, &witness).await?;
                    }
                    return Ok(());
                }
                Verdict::Divided => return Err(Halt::Divided { index: place.index, is: digest }.into()),
                Verdict::Open => {
                    let known = self.comparison.lock();
                    let other = known.others.iter().find(|(_, it)| at(it, place).is_some_and(|told| told != digest));
                    undecided = undecided.or_else(|| {
                        let (member, _) = other?;
                        Some(format!(
                            "the states of {} and {} differ at index {}, and too few have told theirs to say who parted",
                            self.me().name, member.name, place.index
                        ))
                    });
                }
            }
        }
        self.comparison.say(undecided);
        Ok(())
    }

    /// Takes up the state of another member; this replica is parted.
    async fn mend(self: &Arc<Self>, place: Place, is: Digest, ought: Digest, witness: &Member) -> Result<(), Stop> {
        let me = &self.me().name;
        let index = place.index;
        let (agreed, in_a_row) = {
            let mut known = self.comparison.lock();
            known.parted += 1;
            known.mended_in_a_row += 1;
            (known.agreed.unwrap_or_default(), known.mended_in_a_row)
        };
        let parted = format!("the state of {me} parted from that of most after index {agreed}");
        self.comparison.say(Some(format!("{parted}: it takes up theirs, and applies nothing until then")));
        tracing::error!(
            "{parted}: at {index} its digest is {is}, and theirs is {ought}. A reducer is not deterministic, or memory is damaged"
        );
        // Methods must not be judged on this state, nor callers wait until the action is found.
        if self.engine.view().leader.as_ref() == Some(self.me()) {
            self.hand_over_to_any().await;
        }
        match self.first_parted(agreed, index, &witness.name).await {
            Ok(action) => {
                let text = action.action.to_json().map_or_else(|error| error.to_string(), |json| json.to_string());
                tracing::error!("{me} parted from the others by the action at {}: {text}", action.index);
            }
            Err(why) => tracing::error!("which action it was by cannot be told: {why}"),
        }
        if in_a_row > MENDED_MAX {
            return Err(Halt::Diverged { index, came: ought, is }.into());
        }
        let mut parted = self.engine.watch_parted();
        let mut watcher = self.engine.watch();
        while *parted.borrow_and_update() {
            let leader = watcher.view().leader;
            match leader {
                Some(leader) if leader == *self.me() => self.hand_over_to_any().await,
                Some(leader) => {
                    let wanted = StateWanted { incarnation: self.me().incarnation };
                    self.post(&leader.name, kind::STATE_WANTED, wanted.encode());
                }
                None => {}
            }
            let again = self.options.timing.election_timeout_max;
            tokio::select! {
                biased;
                _ = parted.changed() => {}
                changed = watcher.changed() => if changed.is_err() { return Ok(()) },
                () = tokio::time::sleep(again) => {}
            }
            if let Some(stop) = self.local.stopped() {
                return Err(stop);
            }
        }
        tracing::warn!("{me} goes on with the state of the others, at {}", self.local.index());
        self.comparison.say(None);
        self.ring.notify_one();
        Ok(())
    }

    /// The first action after which the state here is another than there, as both make it again. In words why not.
    async fn first_parted(&self, agreed: Index, index: Index, there: &NodeName) -> Result<Committed<C>, String> {
        let (mut same, mut differs) = (agreed.max(self.local.history(conflux_core::History::first)), index);
        if self.differs(differs, there).await?.is_none() {
            return Err("made again, the state is that of the others: it does not depend on its actions alone".into());
        }
        if same >= differs || self.differs(same, there).await?.is_some() {
            return Err(format!("it was before {same}, and earlier states are not held any more"));
        }
        let mut action = None;
        while differs.0 - same.0 > 1 {
            let middle = Index(same.0 + (differs.0 - same.0) / 2);
            match self.differs(middle, there).await? {
                Some(of) => (differs, action) = (middle, of.or(action)),
                None => same = middle,
            }
        }
        if action.as_ref().is_none_or(|action: &Committed<C>| action.index != differs) {
            action = self.differs(differs, there).await?.flatten();
        }
        action.ok_or_else(|| format!("the action at {differs} is not held any more"))
    }

    /// Whether the states here and there differ at a place; if so, the action that led to the one here.
    async fn differs(&self, index: Index, there: &NodeName) -> Result<Option<Option<Committed<C>>>, String> {
        let long = self.local.container().may_take_long();
        let here = self.comparing.run(long, || {
            let (state, action) = self.local.state_at(index)?;
            Some((digest_foreign(&*state), action))
        });
        let (here, action) = here.ok_or_else(|| format!("the state at {index} is not held any more"))?;
        let here = here.map_err(|error| error.to_string())?;
        let head = Head { kind: kind::DIGEST_AT, group: 0, cluster: self.cluster() };
        let body = Bytes::copy_from_slice(&index.0.to_le_bytes());
        let answer = timeout(ANSWER_TIME, self.wire.request(there, head, body)).await;
        let answer = answer.map_err(|_| format!("{there} does not answer"))?.map_err(|error| error.to_string())?;
        let came = Compared::decode_digest(&answer).map_err(|error| error.to_string())?;
        Ok((came != here).then_some(action))
    }

    /// A member asks for the digest of an earlier state.
    pub(crate) fn answer_digest(self: &Arc<Self>, arrival: Arrival) {
        let Some(reply) = arrival.reply else { return };
        let Ok(index) = <[u8; 8]>::try_from(&*arrival.body).map(|bytes| Index(u64::from_le_bytes(bytes))) else {
            return reply.refuse("an index has 8 bytes");
        };
        let Some(answering) = Answering::begin(self) else {
            return reply.refuse("another one asks at the moment");
        };
        process::spawn(async move {
            let core = &answering.0;
            let long = core.local.container().may_take_long();
            let digest = core.comparing.run(long, || Some(digest_foreign(&*core.local.state_at(index)?.0)));
            match digest {
                Some(Ok(digest)) => reply.send(Compared::encode_digest(digest)),
                Some(Err(error)) => reply.refuse(&error.to_string()),
                None => reply.refuse(&format!("the state at {index} is not held any more")),
            }
        });
    }

    /// A member parted and asks for this node's state.
    pub(crate) fn give_state(self: &Arc<Self>, from: NodeName, wanted: StateWanted) {
        let member = Member { name: from, incarnation: wanted.incarnation };
        let View { voters, learners, .. } = self.engine.view();
        if self.engine.is_parted() || !(voters.contains(&member) || learners.contains(&member)) {
            return;
        }
        let engine = self.engine.clone();
        process::spawn(async move {
            if let Err(why) = engine.send_state(&member).await {
                tracing::warn!("{member} parted, and could not be sent a state: {}", why.0);
            }
        });
    }
}

/// An earlier state is being made, until this goes.
struct Answering<C: Container>(Arc<Core<C>>);

impl<C: Container> Answering<C> {
    /// `None` while another one is made.
    fn begin(core: &Arc<Core<C>>) -> Option<Self> {
        (!core.comparison.answering.swap(true, Ordering::AcqRel)).then(|| Answering(core.clone()))
    }
}

impl<C: Container> Drop for Answering<C> {
    fn drop(&mut self) {
        self.0.comparison.answering.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use conflux_core::{BatchId, Incarnation};

    use super::*;

    fn member(name: &str) -> Member {
        Member { name: name.into(), incarnation: Incarnation(1) }
    }

    fn place(counter: u64) -> Place {
        Place { batch: BatchId { term: 1, incarnation: Incarnation(1), counter }, index: Index(counter * 10) }
    }

    /// What `a` makes of its own 1 and what the others told.
    fn judged(told: &[(&str, u128)], voters: &[&str]) -> Verdict {
        let mut known = Known::default();
        for (name, digest) in told {
            keep(known.others.entry(member(name)).or_default(), place(1), Digest(*digest));
        }
        let voters = voters.iter().map(|name| member(name)).collect();
        known.judge(place(1), Digest(1), &member("a"), &voters)
    }

    #[test]
    fn most_voters_are_right_and_learners_are_not_asked() {
        let parted = |digest, name| Verdict::Parted { ought: Digest(digest), witness: member(name) };
        let voters = ["a", "b", "c"];
        assert_eq!(judged(&[], &voters), Verdict::Open);
        assert_eq!(judged(&[("b", 1)], &voters), Verdict::Agreed);
        assert_eq!(judged(&[("b", 2)], &voters), Verdict::Open);
        assert_eq!(judged(&[("b", 2), ("c", 2)], &voters), parted(2, "b"));
        assert_eq!(judged(&[("b", 2), ("c", 1)], &voters), Verdict::Agreed);
        assert_eq!(judged(&[("b", 2), ("c", 3)], &voters), Verdict::Divided);
        assert_eq!(judged(&[("b", 2)], &["a", "b"]), Verdict::Divided);
        assert_eq!(judged(&[], &["a"]), Verdict::Agreed);
        assert_eq!(judged(&[("b", 2)], &[]), Verdict::Open);
        // It only learns: two of two others.
        assert_eq!(judged(&[("b", 2)], &["b", "c"]), Verdict::Open);
        assert_eq!(judged(&[("b", 2), ("c", 2)], &["b", "c"]), parted(2, "b"));
        assert_eq!(judged(&[("b", 2), ("d", 2)], &voters), Verdict::Open);
    }

    #[test]
    fn a_member_is_accused_once_a_place_and_few_places_are_kept() {
        let mut known = Known::default();
        for counter in 1..=9 {
            let told = known.others.entry(member("b")).or_default();
            keep(told, place(counter), Digest(2));
        }
        assert_eq!(known.others[&member("b")].len(), PLACES_MAX);
        assert_eq!(known.accuse(place(9), Digest(1)), [member("b")]);
        assert!(known.accuse(place(9), Digest(1)).is_empty());
        assert_eq!(known.accuse(place(8), Digest(1)), [member("b")]);
        assert!(known.accuse(place(8), Digest(2)).is_empty());
    }
}
