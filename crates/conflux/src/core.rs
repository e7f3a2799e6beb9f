//! What a node is made of, and the tasks that keep it going.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use conflux_core::bugs::{self, Bug};
use conflux_core::{ChosenId, Container, Digest, Failure, Incarnation, NodeName, Payload, Random, RequestId};
use futures_util::FutureExt;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use crate::answers::Answers;
use crate::aside::Aside;
use crate::builder::Options;
use crate::channel::Inbox;
use crate::comparison::Comparison;
use crate::disk::Opened;
use crate::founding::Meeting;
use crate::identity::Keeper;
use crate::members::Joining;
use crate::message::{Calls, Compared, Decided, Expect, Predicted, Source, StateWanted, kind};
use crate::metrics::SequencerMeters;
use crate::origin::Origin;
use crate::perform::{PerformError, Prediction, Started, Wish};
use crate::process;
use crate::quorum::Quorum;
use crate::raft::{ClusterId, Engine, Member, View, off_task};
use crate::reads::Reads;
use crate::replica::{Local, News};
use crate::sequencer::{Inbound, prediction};
use crate::status::{Role, Status};
use crate::stop::Stop;
use crate::trace;
use crate::watch;
use crate::wire::{Arrival, Head, Kind, Wire};

/// Everything a node is made of.
pub(crate) struct Core<C: Container> {
    pub(crate) options: Options,
    pub(crate) keeper: Keeper,
    pub(crate) wire: Wire,
    pub(crate) engine: Arc<Engine>,
    pub(crate) local: Arc<Local<C>>,
    pub(crate) origin: Arc<Origin<C>>,
    pub(crate) inbound: Inbound,
    pub(crate) meters: Arc<SequencerMeters>,
    pub(crate) meeting: Meeting,
    pub(crate) joining: Joining,
    pub(crate) quorum: Quorum,
    pub(crate) comparison: Comparison,
    pub(crate) reads: Reads,
    pub(crate) cluster: ClusterId,
    /// Rings for the sequencer, and for the courier to a leader elsewhere: only one of them has work.
    pub(crate) ring: Arc<Notify>,
    batches: Mutex<(u64, Random)>,
    /// What the container is made of.
    pub(crate) source: Source,
    /// The leader runs methods by it.
    pub(crate) deciding: Aside,
    /// States are looked at by it.
    pub(crate) comparing: Aside,
    /// Why the node stopped.
    pub(crate) stopped: watch::Sender<Option<String>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    /// Its tasks may end: somebody closes it.
    stopping: AtomicBool,
    /// It stops by itself, and is about to say why.
    halting: AtomicBool,
    closing: tokio::sync::Mutex<bool>,
}

impl<C: Container> Core<C> {
    pub(crate) fn me(&self) -> &Member {
        self.engine.me()
    }

    /// The cluster this node belongs to; 0 for none.
    pub(crate) fn cluster(&self) -> u64 {
        self.cluster.load(Ordering::Relaxed)
    }

    /// Makes a node of its options.
    pub(crate) async fn open(
        container: C,
        name: NodeName,
        options: Options,
        disk: Opened,
        port: Arc<dyn crate::channel::Port>,
        inbox: Inbox,
        mut random: Random,
    ) -> Result<Arc<Core<C>>, Stop> {
        let (contents, journal) = disk;
        let drawn = random.next_u64();
        let of_name = bugs::is(Bug::IncarnationOfTheName).then(|| Digest::of_bytes(name.as_bytes()).0 as u64);
        let incarnation = Incarnation(of_name.unwrap_or(drawn));
        let keeper = Keeper::open(&contents, incarnation, journal.clone())?;
        let identity = keeper.get();
        let me = Member { name, incarnation: identity.incarnation };
        let cluster: ClusterId = Arc::new(AtomicU64::new(identity.cluster));
        let wire = Wire::seeded(port, crate::wire::Limits::default(), random.next_u64());
        let ring: Arc<Notify> = Arc::default();
        // The sessions of earlier openings may still be open under this incarnation: numbers never meet.
        let session = (identity.starts << 32) + 1;
        let origin =
            Arc::new(Origin::new(me.name.clone(), me.incarnation, session, options.in_flight_max, ring.clone()));
        let local = Arc::new(Local::new(Arc::new(container), origin.clone(), options.history_max));
        let engine = Engine::open(
            me,
            &options.timing,
            options.compaction,
            (contents, journal),
            wire.clone(),
            cluster.clone(),
            local.clone(),
        )
        .await
        // The engine tells in its own words what it heard from here.
        .map_err(|stop| local.stopped().unwrap_or(stop))?;
        #[cfg(feature = "bugs")]
        if bugs::is(Bug::DoubleApplyAfterRestart) {
            local.apply_again();
        }
        // Asked for at every hello: not behind the lock that reducers hold.
        let source = {
            let store = local.store();
            Source { version: store.container().version(), code: store.container().code() }
        };
        let (stopped, _) = watch::channel(None);
        let core = Arc::new(Core {
            meeting: Meeting::new(Random::new(random.next_u64())),
            joining: Joining::default(),
            quorum: Quorum::default(),
            comparison: Comparison::default(),
            reads: Reads::default(),
            inbound: Inbound::new(ring.clone()),
            meters: Arc::default(),
            batches: Mutex::new((0, Random::new(random.next_u64()))),
            deciding: Aside::in_tasks(),
            comparing: Aside::in_tasks(),
            source,
            tasks: Mutex::default(),
            stopping: AtomicBool::new(false),
            halting: AtomicBool::new(false),
            closing: tokio::sync::Mutex::new(false),
            engine: Arc::new(engine),
            options,
            keeper,
            wire,
            local,
            origin,
            cluster,
            ring,
            stopped,
        });
        core.finish_founding().await?;
        // From here on everything runs in tasks.
        core.local.let_go_aside();
        core.start(inbox);
        Ok(core)
    }

    fn start(self: &Arc<Self>, inbox: Inbox) {
        let tasks = vec![
            process::spawn(self.clone().guard(self.clone().pump(inbox))),
            process::spawn(self.clone().guard(self.clone().sequence())),
            process::spawn(self.clone().guard(self.clone().carry())),
            process::spawn(self.clone().guard(self.clone().watch_deadlines())),
            process::spawn(self.clone().guard(self.clone().found_or_join())),
            process::spawn(self.clone().guard(self.clone().drive_members())),
            process::spawn(self.clone().guard(self.clone().keep_house())),
            process::spawn(self.clone().guard(self.clone().serve_reads())),
            process::spawn(self.clone().guard(self.clone().compare())),
        ];
        *self.tasks.lock().unwrap_or_else(PoisonError::into_inner) = tasks;
    }

    /// Runs a task. Closing aborts it; when it ends by itself or panics, the node cannot go on, and says why.
    async fn guard(self: Arc<Self>, task: impl Future<Output = ()> + Send) {
        let ended = AssertUnwindSafe(task).catch_unwind().await;
        let stop = match ended {
            Err(panic) => Stop::Engine(Failure::of_panic("a task of the node", &*panic).message),
            Ok(()) => self.local.stopped().or_else(|| self.disk_failure()).unwrap_or_else(|| {
                Stop::Engine(self.engine.stopped().unwrap_or_else(|| "the channel was closed".into()))
            }),
        };
        if !self.stopping.load(Ordering::Acquire) {
            self.halt_and_record(&stop);
        }
    }

    /// Why the disk takes nothing more. The engine tells it in its own words.
    pub(crate) fn disk_failure(&self) -> Option<Stop> {
        self.keeper.journal().failure().map(Stop::Disk)
    }

    /// Gives a call its place. The other end of [`Perform`].
    pub(crate) fn begin(wish: Wish<C>, predict: Option<oneshot::Sender<Prediction<C>>>) -> Started<C> {
        let Wish { core, method, timeout, request_id } = wish;
        let refuse = |reason: String| Started::refused(PerformError::NeverProposed { reason });
        let chosen = match request_id {
            None => None,
            Some(id) if id.len() > conflux_core::ids::REQUEST_ID_BYTES_MAX => {
                let max = conflux_core::ids::REQUEST_ID_BYTES_MAX;
                return refuse(format!("the request id has {} bytes, at most {max} are allowed", id.len()));
            }
            Some(id) if id.is_empty() => return refuse("the request id is empty".into()),
            Some(id) if !matches!(RequestId::parse(&id), RequestId::Chosen(_)) => {
                return refuse(format!("the request id {id:?} has the form of the ids that conflux gives itself"));
            }
            Some(id) => match method.digest() {
                Ok(call) => Some(ChosenId { id, call }),
                Err(error) => return refuse(format!("the method cannot be written: {error}")),
            },
        };
        // A deadline must be over before the session that carries the call can expire.
        let longest = core.options.retention.session / 4;
        let deadline = Instant::now() + timeout.unwrap_or(core.options.deadline).min(longest);
        let id = chosen.as_ref().map(|chosen| chosen.id.clone());
        match core.origin.begin(method, chosen, deadline, predict) {
            Ok((place, answer)) => Started::waiting(core, place, id, answer),
            Err(error) => Started::refused(error),
        }
    }

    /// The counter and the seed of the next batch.
    pub(crate) fn next_batch(&self) -> (u64, u64) {
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        batches.0 += 1;
        (batches.0, batches.1.next_u64())
    }

    pub(crate) fn post(&self, to: &NodeName, kind: Kind, body: Bytes) {
        let cluster = self.cluster();
        self.wire.post(to, Head { kind, group: 0, cluster }, body);
    }

    /// The task that takes messages in, in order, and answers them.
    async fn pump(self: Arc<Self>, mut inbox: Inbox) {
        let mut answers = Answers::default();
        loop {
            tokio::select! {
                biased;
                message = inbox.recv() => {
                    let Some(message) = message else { return };
                    let from = message.from.clone();
                    let accepted = self.wire.accept(message);
                    if accepted.is_ok() {
                        // An answer is heard, too: of an idle cluster, a leader hears nothing else.
                        self.quorum.hear(&from);
                    }
                    let arrival = match accepted {
                        Ok(Some(arrival)) => arrival,
                        Ok(None) => continue,
                        Err(error) => {
                            tracing::debug!("a frame was refused: {error}");
                            continue;
                        }
                    };
                    self.welcome(arrival.head.cluster);
                    let bytes = arrival.body.len();
                    match self.engine.serve(arrival) {
                        // As if it was lost: whoever sent it sends it again.
                        Ok(_) if !answers.has_room(bytes) => {
                            tracing::debug!("a message from {from} was dropped: too many wait for their answer");
                        }
                        // Into the engine's queue at once, even when this task has used up its turn: else those that come
                        // after a long burst would overtake each other in `answers`, and the engine takes an append that
                        // overtook another for a follower that lost its log.
                        Ok(answer) => answers.begin(bytes, unconstrained(answer)),
                        Err(arrival) => self.handle(arrival),
                    }
                }
                () = answers.next() => {}
            }
        }
    }

    fn handle(self: &Arc<Self>, arrival: Arrival) {
        let cluster = self.cluster();
        match arrival.head.kind {
            kind::HELLO | kind::PROPOSE | kind::IS_ON | kind::JOIN => self.meet(arrival),
            // The rest is between members of one cluster.
            _ if cluster == 0 || arrival.head.cluster != cluster => {}
            kind::ROSTER | kind::HAND_OVER => self.serve_members(arrival),
            kind::CALLS => {
                if let Ok(calls) = Calls::decode(&arrival.body)
                    && calls.session.node == arrival.from
                    // They are sent again to whoever leads; kept here, they would only fill memory.
                    && self.engine.leading().is_some()
                {
                    self.inbound.push(calls, arrival.body.len());
                }
            }
            kind::EXPECT => {
                if let Ok(Expect { session, next }) = Expect::decode(&arrival.body) {
                    self.origin.rewind(Some(&session), Some(next));
                }
            }
            kind::LEADING => self.origin.rewind(None, None),
            kind::DECIDED => {
                if let Ok(Decided { session, first, places }) = Decided::decode(&arrival.body) {
                    self.origin.decided(&session, first, &places);
                }
            }
            kind::PREDICTED => {
                if let Ok(Predicted { session, number, verdict }) = Predicted::decode(&arrival.body)
                    && let Ok(verdict) = conflux_core::Verdict::<C>::from_bytes(&verdict)
                    && let Some(prediction) = prediction(&verdict)
                {
                    self.origin.predict(&session, number, prediction);
                }
            }
            kind::COMPARED => {
                if let Ok(compared) = Compared::decode(&arrival.body) {
                    self.hear_compared(arrival.from, compared);
                }
            }
            kind::DIGEST_AT => self.answer_digest(arrival),
            kind::STATE_WANTED => {
                if let Ok(wanted) = StateWanted::decode(&arrival.body) {
                    self.give_state(arrival.from, wanted);
                }
            }
            other => tracing::debug!("a message of unknown kind {other:?} came from {}", arrival.from),
        }
    }

    /// The task that carries this node's calls to a leader elsewhere, and sends them again when nothing comes of them.
    async fn carry(self: Arc<Self>) {
        let again = self.options.timing.heartbeat * 4;
        let mut watcher = self.engine.watch();
        let mut leader: Option<Member> = None;
        let mut stuck = (Instant::now(), self.origin.first());
        loop {
            let View { leader: now, voters, .. } = watcher.view();
            if now != leader {
                leader = now;
                self.origin.rewind(None, None);
            }
            // A node that has not been let in knows nothing of the time: its sessions could not be told from old ones.
            let elsewhere = leader.as_ref().filter(|leader| *leader != self.me() && !voters.is_empty());
            if let Some(leader) = elsewhere {
                let as_of = self.local.news_now().elapsed;
                while let Some(calls) = self.origin.take_remote(as_of) {
                    trace::sent(&self.me().name, &leader.name, &calls);
                    self.post(&leader.name, kind::CALLS, calls.encode());
                }
            }
            let waiting = self.origin.is_waiting();
            tokio::select! {
                biased;
                changed = watcher.changed() => if changed.is_err() { return },
                () = self.ring.notified(), if elsewhere.is_some() => {}
                () = tokio::time::sleep_until(stuck.0 + again), if waiting => {
                    let first = self.origin.first();
                    if first == stuck.1 {
                        self.origin.rewind(None, None);
                    }
                    stuck = (Instant::now(), first);
                }
            }
        }
    }

    /// The task that gives up calls whose deadline has passed.
    async fn watch_deadlines(self: Arc<Self>) {
        loop {
            let earliest = self.origin.earliest();
            let far = Instant::now() + Duration::from_secs(3600);
            tokio::select! {
                biased;
                () = self.origin.sooner.notified() => {}
                () = tokio::time::sleep_until(earliest.unwrap_or(far)) => {
                    self.origin.expire(Instant::now(), || self.waiting_for());
                }
            }
        }
    }

    /// What a call that is not served waits for, in words.
    pub(crate) fn waiting_for(&self) -> String {
        if let Some(notice) = self.notice() {
            return notice;
        }
        let view = self.engine.view();
        match (view.role, view.leader) {
            (Role::Waiting, _) => "this node has not been let into a cluster yet".into(),
            (_, None) => "there was no leader".into(),
            (_, Some(leader)) => format!("{} led, but did not reach a majority", leader.name),
        }
    }

    /// The task that keeps the log short.
    async fn keep_house(self: Arc<Self>) {
        loop {
            self.local.applied.notified().await;
            self.engine.compact().await;
        }
    }

    /// What stands in the way, in words.
    fn notice(&self) -> Option<String> {
        self.meeting
            .notice()
            .or_else(|| self.comparison.notice())
            .or_else(|| self.quorum.notice())
            .or_else(|| self.local.watchdog.notice())
    }

    pub(crate) fn status(&self) -> Status {
        let View { mut role, term, mut leader, voters, learners, .. } = self.engine.view();
        let names =
            |members: std::collections::BTreeSet<Member>| members.into_iter().map(|member| member.name).collect();
        let stopped = self.stopped.borrow().clone();
        if stopped.is_some() {
            role = Role::Stopped;
        } else if role == Role::Stopped || self.halting.load(Ordering::Acquire) {
            // It serves no more, and is about to say why.
            (role, leader) = (Role::Follower, None);
        }
        let cluster = self.cluster();
        let News { index, generation, .. } = self.local.news_now();
        Status {
            id: self.me().name.clone(),
            incarnation: self.me().incarnation,
            role,
            term,
            leader: leader.map(|leader| leader.name),
            has_quorum: self.quorum.notice().is_none(),
            index,
            agreed: self.comparison.agreed(),
            parted: self.comparison.parted(),
            is_mending: self.engine.is_parted(),
            generation,
            cluster: (cluster != 0).then_some(cluster),
            voters: names(voters),
            learners: names(learners),
            notice: self.notice(),
            stopped,
        }
    }

    /// Stops serving because of an error that must not be passed over.
    pub(crate) fn halt(&self, stop: &Stop) {
        if self.begin_halt(stop) {
            self.say_stopped(stop.to_string());
        }
    }

    /// The same, and leaves an incident beside the data, where there is a place: nobody can ask this node for one later.
    pub(crate) fn halt_and_record(self: &Arc<Self>, stop: &Stop) {
        if !stop.leaves_incident() || self.keeper.journal().incidents().is_none() {
            return self.halt(stop);
        }
        if self.begin_halt(stop) {
            let (core, stop) = (self.clone(), stop.to_string());
            // Not one of the tasks that closing cuts off: closing waits for it.
            process::spawn(async move {
                let recorded = AssertUnwindSafe(core.leave_incident(&stop)).catch_unwind().await;
                let told = match recorded.unwrap_or_else(|_| Err("recording it broke".into())) {
                    Ok(file) => {
                        let file = file.display();
                        format!(
                            "{stop}; what it held is in {file}: go through it by `conflux replay {file} APP.js`, or by \
                             `replay {file}` of a program with its own container"
                        )
                    }
                    Err(why) => {
                        tracing::error!("what {} held was not recorded: {why}", core.me());
                        stop
                    }
                };
                core.say_stopped(told);
            });
        }
    }

    /// `false` when it has begun before.
    fn begin_halt(&self, stop: &Stop) -> bool {
        let first = !self.halting.swap(true, Ordering::AcqRel);
        if first {
            tracing::error!("{} stops: {stop}", self.me());
            self.origin.close();
            self.local.close();
            self.wire.close();
            // It must not go on leading: others can serve.
            let engine = self.engine.clone();
            process::spawn(async move { engine.shutdown().await });
        }
        first
    }

    fn say_stopped(&self, why: String) {
        self.stopped.modify(|stopped| {
            let first = stopped.is_none();
            stopped.get_or_insert(why);
            first
        });
    }

    /// Takes no more calls or messages, and ends what listens. The first half of closing, which needs no waiting.
    pub(crate) fn stop_listening(&self) {
        self.stopping.store(true, Ordering::Release);
        self.origin.close();
        self.local.close();
        self.wire.close();
        for task in self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            task.abort();
        }
        self.reads.close();
    }

    pub(crate) async fn shutdown(&self) {
        let mut closed = self.closing.lock().await;
        if *closed {
            return;
        }
        self.stop_listening();
        if self.halting.load(Ordering::Acquire) {
            // What it leaves is written before the disk is closed. The sender is in `self`.
            let _ = self.stopped.subscribe().find(|stopped| stopped.as_ref().map(drop)).await;
        }
        self.engine.shutdown().await;
        let journal = self.keeper.journal().clone();
        // An error says that the runtime is shutting down: dropping the journal closes it, too.
        let _ = off_task(self.keeper.journal(), move || journal.close()).await;
        // Only now: a closing that was cut off is taken up by the next one.
        *closed = true;
        self.say_stopped("it was closed".into());
    }
}
