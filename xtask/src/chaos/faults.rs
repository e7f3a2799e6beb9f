//! Doing what the plan says, and counting what it really did.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use super::callers::Caller;
use super::cluster::Cluster;
use super::network::Mode;
use super::plan::{Fault, Kind, Step, Way, Who};
use super::world::LOOK_EVERY;

/// How long a node may take to join, or to be removed, while nothing else is broken.
const MEMBER_PATIENCE: Duration = Duration::from_secs(60);

/// What each kind of fault did, by words.
#[derive(Debug, Default)]
pub(super) struct Tally {
    planned: BTreeMap<Kind, u64>,
    /// How often it hit something.
    done: BTreeMap<Kind, u64>,
    effects: BTreeMap<(Kind, &'static str), u64>,
}

impl Tally {
    fn count(&mut self, kind: Kind, effect: &'static str, times: u64) {
        if times > 0 {
            *self.effects.entry((kind, effect)).or_default() += times;
        }
    }

    pub(super) fn planned(&self, kind: Kind) -> u64 {
        self.planned.get(&kind).copied().unwrap_or(0)
    }

    pub(super) fn done(&self, kind: Kind) -> u64 {
        self.done.get(&kind).copied().unwrap_or(0)
    }

    /// What a kind did, for people.
    pub(super) fn effects(&self, kind: Kind) -> String {
        let all = self.effects.iter().filter(|((of, _), _)| *of == kind);
        let all: Vec<String> = all.map(|((_, effect), times)| format!("{times} {effect}")).collect();
        all.join(", ")
    }
}

/// Why the plan does not go on.
#[derive(Debug)]
pub(super) enum Halt {
    Interrupted,
    /// The machine does not do what it must, or the cluster does not.
    Failed(String),
}

impl From<String> for Halt {
    fn from(failure: String) -> Halt {
        Halt::Failed(failure)
    }
}

/// A fault that lasts.
struct Lasting {
    until: Instant,
    fault: Fault,
    hit: Vec<usize>,
    /// What the links had done before.
    before: super::proxy::Counts,
}

pub(super) struct Faults<'a> {
    pub(super) cluster: &'a mut Cluster,
    pub(super) tally: &'a mut Tally,
    pub(super) prober: &'a mut Caller,
}

impl Faults<'_> {
    /// One step, to its end.
    pub(super) fn run(&mut self, step: &Step) -> Result<(), Halt> {
        self.pause(Duration::from_millis(step.calm_ms))?;
        let mut lasting = self.begin(step.fault)?;
        if let (Some(meanwhile), Some(hold_ms)) = (step.meanwhile, step.fault.hold_ms()) {
            self.pause(Duration::from_millis(hold_ms / 2))?;
            lasting.extend(self.begin(meanwhile)?);
        }
        lasting.sort_by_key(|one| one.until);
        for one in lasting {
            self.pause(one.until.saturating_duration_since(Instant::now()))?;
            self.end(&one)?;
        }
        Ok(())
    }

    /// Waits, and looks whether all processes are there meanwhile.
    fn pause(&mut self, duration: Duration) -> Result<(), Halt> {
        let until = Instant::now() + duration;
        loop {
            self.look()?;
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            if !self.cluster.world.sleep(left.min(Duration::from_millis(100))) {
                return Err(Halt::Interrupted);
            }
        }
    }

    /// Whether somebody has ended by itself since.
    fn look(&mut self) -> Result<(), Halt> {
        let before = self.cluster.endings.len();
        self.cluster.look();
        match self.cluster.endings.get(before) {
            None => Ok(()),
            Some(ending) => Err(Halt::Failed(format!("{} ended by itself: {}", ending.life, ending.status))),
        }
    }

    /// Begins a fault; what lasts is handed back.
    fn begin(&mut self, fault: Fault) -> Result<Vec<Lasting>, Halt> {
        let kind = fault.kind();
        *self.tally.planned.entry(kind).or_default() += 1;
        let before = self.cluster.counts();
        let lasting =
            |hold_ms, hit| vec![Lasting { until: Instant::now() + Duration::from_millis(hold_ms), fault, hit, before }];
        match fault {
            Fault::Kill { who, hold_ms } => {
                let hit = self.kill(kind, who)?;
                Ok(lasting(hold_ms, hit))
            }
            Fault::End { who, hold_ms } => {
                let hit = self.up(who);
                let ended = self.cluster.end(&hit)?;
                self.tally.count(kind, "processes ended by SIGTERM", ended as u64);
                self.hit(kind, ended > 0);
                Ok(lasting(hold_ms, hit))
            }
            Fault::Pause { who, hold_ms } => {
                let mut hit = self.up(who);
                hit.retain(|at| self.cluster.pause(*at));
                self.tally.count(kind, "processes stopped", hit.len() as u64);
                self.tally.count(kind, "ms stopped", hold_ms * hit.len() as u64);
                self.hit(kind, !hit.is_empty());
                Ok(lasting(hold_ms, hit))
            }
            Fault::Partition { who, way, stall, hold_ms } => {
                let hit = self.cluster.find(who);
                self.cluster.set_ways(&hit, way, if stall { Mode::Stall } else { Mode::Cut })?;
                self.tally.count(kind, if stall { "stalled" } else { "cut" }, 1);
                if who == Who::Leader {
                    self.tally.count(kind, "of the leader alone", 1);
                }
                Ok(lasting(hold_ms, hit))
            }
            Fault::Slow { who, delay_ms, hold_ms } => {
                let hit = self.cluster.find(who);
                self.cluster.set_ways(&hit, Way::Both, Mode::Slow(Duration::from_millis(delay_ms)))?;
                Ok(lasting(hold_ms, hit))
            }
            Fault::Wipe { who, rough } => self.wipe(who, rough).map(|()| Vec::new()),
            Fault::Members { who, rough } => self.members(who, rough).map(|()| Vec::new()),
            Fault::Transfer => self.transfer().map(|()| Vec::new()),
            Fault::Server { hold_ms } => {
                let killed = self.cluster.kill_server()?;
                self.hit(kind, killed);
                self.tally.count(kind, "servers killed", u64::from(killed));
                Ok(lasting(hold_ms, Vec::new()))
            }
        }
    }

    fn end(&mut self, one: &Lasting) -> Result<(), Halt> {
        let kind = one.fault.kind();
        match one.fault {
            Fault::Kill { .. } | Fault::End { .. } => {
                for at in &one.hit {
                    self.cluster.start(*at)?;
                }
            }
            Fault::Pause { .. } => one.hit.iter().for_each(|at| self.cluster.resume(*at)),
            Fault::Partition { way, .. } => {
                let now = self.cluster.counts();
                self.cluster.set_ways(&one.hit, way, Mode::Pass)?;
                let [broke, held, _] = self.cluster.count_words();
                let (broken, stalled) =
                    (now.broken.saturating_sub(one.before.broken), now.stalled.saturating_sub(one.before.stalled));
                self.tally.count(kind, broke, broken);
                self.tally.count(kind, held, stalled);
                self.hit(kind, broken + stalled > 0);
            }
            Fault::Slow { .. } => {
                let slowed = self.cluster.counts().slowed.saturating_sub(one.before.slowed);
                self.cluster.set_ways(&one.hit, Way::Both, Mode::Pass)?;
                let [_, _, late] = self.cluster.count_words();
                self.tally.count(kind, late, slowed);
                self.hit(kind, slowed > 0);
            }
            Fault::Server { .. } => self.cluster.start_server()?,
            Fault::Wipe { .. } | Fault::Members { .. } | Fault::Transfer => {}
        }
        Ok(())
    }

    fn hit(&mut self, kind: Kind, something: bool) {
        *self.tally.done.entry(kind).or_default() += u64::from(something);
    }

    /// Those whom a fault hits who are not down.
    fn up(&self, who: Who) -> Vec<usize> {
        self.cluster.find(who).into_iter().filter(|at| self.cluster.is_up(*at)).collect()
    }

    fn kill(&mut self, kind: Kind, who: Who) -> Result<Vec<usize>, Halt> {
        let hit = self.up(who);
        let mut killed = 0;
        for at in &hit {
            killed += u64::from(self.cluster.kill(*at)?);
        }
        self.tally.count(kind, "processes killed", killed);
        self.tally.count(kind, "times the leader", u64::from(who == Who::Leader && killed > 0));
        let members = self.cluster.world.members().len() as u64;
        self.tally.count(kind, "times all at once", u64::from(killed == members));
        self.hit(kind, killed > 0);
        Ok(hit)
    }

    /// Whoever leads is killed, and starts again at once. Its data stays.
    fn jolt(&mut self, kind: Kind, but: usize) -> Result<(), Halt> {
        if let Some(leader) = self.cluster.leader(Duration::from_secs(3)).filter(|leader| *leader != but) {
            let killed = self.cluster.kill(leader)?;
            self.cluster.start(leader)?;
            self.tally.count(kind, "leaders killed meanwhile", u64::from(killed));
        }
        Ok(())
    }

    /// A node loses its disk, and takes its seat again as a new one.
    fn wipe(&mut self, who: Who, rough: bool) -> Result<(), Halt> {
        // One disk at a time: a seat is free again when the node that has lost its memory votes.
        self.settle()?;
        let Some(at) = self.cluster.find(who).first().copied() else { return Ok(()) };
        let earlier = self.incarnation(at);
        self.cluster.kill(at)?;
        self.cluster.wipe(at)?;
        self.cluster.start(at)?;
        self.tally.count(Kind::Wipe, "directories deleted", 1);
        if rough {
            self.jolt(Kind::Wipe, at)?;
        }
        self.await_vote(at)?;
        if self.incarnation(at) == earlier {
            let name = self.cluster.name(at);
            return Err(Halt::Failed(format!("promise 10: {name} has lost its disk and is still {earlier:?}")));
        }
        self.tally.count(Kind::Wipe, "seats taken again", 1);
        self.hit(Kind::Wipe, true);
        Ok(())
    }

    /// A node joins, and one leaves.
    fn members(&mut self, who: Who, rough: bool) -> Result<(), Halt> {
        self.settle()?;
        if let Some(spare) = self.cluster.spare() {
            self.cluster.start(spare)?;
            if rough {
                self.jolt(Kind::Members, spare)?;
            }
            self.change("add", spare)?;
            self.await_vote(spare)?;
            self.cluster.world.slots[spare].set_member(true);
            self.tally.count(Kind::Members, "added", 1);
        }
        let Some(leaves) = self.cluster.find(who).first().copied() else { return Ok(()) };
        self.tally.count(Kind::Members, "leaders removed", u64::from(who == Who::Leader));
        // Nobody calls it any more.
        self.cluster.world.slots[leaves].set_member(false);
        self.change("remove", leaves)?;
        let name = self.cluster.name(leaves);
        match self.cluster.await_end(leaves, MEMBER_PATIENCE) {
            Some(1) if self.cluster.said(leaves, "removed from its cluster") => {}
            None if self.cluster.world.is_interrupted() => return Err(Halt::Interrupted),
            ended => {
                return Err(Halt::Failed(format!(
                    "promise 10: {name} was removed, so it says so and ends with status 1; but it ended with {ended:?}"
                )));
            }
        }
        self.cluster.wipe(leaves)?;
        self.tally.count(Kind::Members, "removed", 1);
        self.hit(Kind::Members, true);
        Ok(())
    }

    /// Asks any member for a change until it is done.
    fn change(&mut self, change: &str, at: usize) -> Result<(), Halt> {
        let name = self.cluster.name(at);
        let deadline = Instant::now() + MEMBER_PATIENCE;
        let mut said = "nothing".to_owned();
        while Instant::now() < deadline {
            for other in self.cluster.world.members() {
                let client = &self.cluster.world.slots[other].client;
                let body = json!({"change": change, "name": name});
                match client.post("/members", &body, Duration::from_secs(15)) {
                    Ok(reply) if reply.status == 200 => return Ok(()),
                    Ok(reply) => said = format!("{}: {}", reply.status, reply.body),
                    Err(miss) => said = format!("{miss:?}"),
                }
                self.pause(LOOK_EVERY * 5)?;
            }
        }
        Err(Halt::Failed(format!("promise 10: `member {change} {name}` was not done in {MEMBER_PATIENCE:?}: {said}")))
    }

    fn transfer(&mut self) -> Result<(), Halt> {
        let deadline = Instant::now() + MEMBER_PATIENCE;
        // It may be refused, say where nobody has caught up yet.
        while Instant::now() < deadline {
            for at in self.cluster.world.members() {
                let client = &self.cluster.world.slots[at].client;
                let reply = client.post("/transfer", &json!({}), Duration::from_secs(15));
                if reply.is_ok_and(|reply| reply.status == 200) {
                    self.tally.count(Kind::Transfer, "handed over", 1);
                    self.hit(Kind::Transfer, true);
                    return Ok(());
                }
                self.tally.count(Kind::Transfer, "refused or too late", 1);
                self.pause(LOOK_EVERY * 5)?;
            }
        }
        Err(Halt::Failed(format!("promise 10: nobody handed leadership over in {MEMBER_PATIENCE:?}")))
    }

    fn incarnation(&self, at: usize) -> Option<String> {
        let status = self.cluster.world.slots[at].client.status()?;
        status["incarnation"].as_str().map(str::to_owned)
    }

    /// Waits until a node votes.
    fn await_vote(&mut self, at: usize) -> Result<(), Halt> {
        let deadline = Instant::now() + MEMBER_PATIENCE;
        let mut said = None;
        while Instant::now() < deadline {
            let status = self.cluster.world.slots[at].client.status();
            let role = status.as_ref().and_then(|status| status["role"].as_str());
            if matches!(role, Some("leader" | "follower")) {
                return Ok(());
            }
            said = status.or(said);
            self.pause(LOOK_EVERY * 5)?;
        }
        let name = self.cluster.name(at);
        let said = said.map_or_else(|| "nothing".to_owned(), |status| status.to_string());
        Err(Halt::Failed(format!("promise 10: {name} does not vote after {MEMBER_PATIENCE:?}; it says {said}")))
    }

    /// Waits until every member serves: nothing is broken any more.
    pub(super) fn settle(&mut self) -> Result<(), Halt> {
        self.cluster.heal()?;
        for at in self.cluster.world.members() {
            self.await_vote(at)?;
            if !self.prober.call_at(at, MEMBER_PATIENCE) {
                self.look()?;
                if self.cluster.world.is_interrupted() {
                    return Err(Halt::Interrupted);
                }
                let name = self.cluster.name(at);
                return Err(Halt::Failed(format!(
                    "promise 9: nothing is broken any more, and {name} answers no perform in {MEMBER_PATIENCE:?}"
                )));
            }
        }
        Ok(())
    }
}
