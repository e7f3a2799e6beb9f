//! Whether enough voters are heard for anything to be committed, for people: the engine finds out by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use conflux_core::{Container, Incarnation, NodeName};
use tokio::time::Instant;

use crate::core::Core;
use crate::raft::{Member, View};
use crate::watch;

/// Who was heard, and what is to be said about it.
pub(crate) struct Quorum {
    /// Members only: names come from the network.
    heard: Mutex<BTreeMap<NodeName, Heard>>,
    notice: watch::Sender<Option<String>>,
}

/// What was heard of a name.
#[derive(Clone, Copy)]
struct Heard {
    last: Instant,
    /// Who it said it is, if it did.
    incarnation: Option<Incarnation>,
}

/// The voters that are not there.
#[derive(Default)]
struct Missing {
    silent: BTreeSet<NodeName>,
    /// Others are heard under their names: they came back without their memory.
    reborn: BTreeSet<NodeName>,
}

impl Default for Quorum {
    fn default() -> Self {
        Quorum { heard: Mutex::default(), notice: watch::channel(None).0 }
    }
}

impl Quorum {
    /// A message came from that node.
    pub(crate) fn hear(&self, from: &NodeName) {
        if let Some(last) = self.heard.lock().unwrap_or_else(PoisonError::into_inner).get_mut(from) {
            last.last = Instant::now();
        }
    }

    /// A node says who it is.
    pub(crate) fn meet(&self, from: &NodeName, incarnation: Incarnation) {
        if let Some(heard) = self.heard.lock().unwrap_or_else(PoisonError::into_inner).get_mut(from) {
            heard.incarnation = Some(incarnation);
        }
    }

    /// What is missing, in words.
    pub(crate) fn notice(&self) -> Option<String> {
        self.notice.borrow().clone()
    }

    /// Waits on what is said.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.notice.subscribe()
    }

    /// Keeps in mind the voters and nobody else; those that are silent for longer than `patience`, or are not who they were.
    fn missing(&self, voters: &BTreeSet<Member>, me: &Member, patience: Duration) -> Missing {
        let now = Instant::now();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.retain(|name, _| voters.iter().any(|voter| voter.name == *name));
        let mut missing = Missing::default();
        for voter in voters.iter().filter(|voter| *voter != me) {
            let heard = heard.entry(voter.name.clone()).or_insert(Heard { last: now, incarnation: None });
            if now - heard.last > patience {
                missing.silent.insert(voter.name.clone());
            } else if heard.incarnation.is_some_and(|incarnation| incarnation != voter.incarnation) {
                missing.reborn.insert(voter.name.clone());
            }
        }
        missing
    }
}

impl<C: Container> Core<C> {
    /// Looks whether a majority is heard, and says so when that changes. Called now and then.
    pub(crate) fn look_for_quorum(&self) {
        let notice = self.lost_quorum(&self.engine.view());
        self.quorum.notice.modify(|said| {
            if *said == notice {
                return false;
            }
            match (&notice, said.as_ref()) {
                (Some(notice), None) => tracing::warn!("{notice}"),
                (None, Some(_)) => tracing::info!("a majority of the voters is heard again"),
                _ => {}
            }
            *said = notice;
            true
        });
    }

    fn lost_quorum(&self, view: &View) -> Option<String> {
        let voters = &view.voters;
        // Followers hear of each other only in elections; of a leader that is heard, nothing is missing.
        let patience = self.options.timing.election_timeout_max * 4;
        let Missing { silent, reborn } = self.quorum.missing(voters, self.me(), patience);
        let is_missing = |name| silent.contains(name) || reborn.contains(name);
        let led = view.leader.as_ref().is_some_and(|leader| leader != self.me() && !is_missing(&leader.name));
        let (count, majority) = (voters.len(), voters.len() / 2 + 1);
        if voters.is_empty() || led || count - silent.len() - reborn.len() >= majority {
            return None;
        }
        let names = |names: &BTreeSet<NodeName>| names.iter().map(|name| &**name).collect::<Vec<_>>().join(", ");
        let mut what = Vec::new();
        if !silent.is_empty() {
            what.push(format!("{} are silent", names(&silent)));
        }
        if !reborn.is_empty() {
            what.push(format!("{} came back without their memory", names(&reborn)));
        }
        let until = match count - reborn.len() >= majority {
            true => "until they are back nothing is committed",
            false => "nothing can be committed until one of those that are left is opened with `recover`",
        };
        let what = what.join(", and ");
        Some(format!("no majority: of the {count} voters {what}, {majority} are needed; {until}"))
    }
}
