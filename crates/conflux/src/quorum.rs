//! Whether enough voters are heard for anything to be committed, for people: the engine finds out by itself.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use conflux_core::{Container, NodeName};
use tokio::time::Instant;

use crate::core::Core;
use crate::raft::View;
use crate::watch;

/// Who was heard, and what is to be said about it.
pub(crate) struct Quorum {
    /// Members only: names come from the network.
    heard: Mutex<BTreeMap<NodeName, Instant>>,
    notice: watch::Sender<Option<String>>,
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
            *last = Instant::now();
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

    /// Keeps in mind the voters and nobody else; those that are silent for longer than `patience`.
    fn silent(&self, voters: &BTreeSet<NodeName>, patience: Duration) -> BTreeSet<NodeName> {
        let now = Instant::now();
        let mut heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        heard.retain(|name, _| voters.contains(name));
        let silent = voters.iter().filter(|name| now - *heard.entry((*name).clone()).or_insert(now) > patience);
        silent.cloned().collect()
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
        let me = &self.me().name;
        let voters: BTreeSet<NodeName> = view.voters.iter().map(|voter| voter.name.clone()).collect();
        // Followers hear of each other only in elections; of a leader that is heard, nothing is missing.
        let patience = self.options.timing.election_timeout_max * 4;
        let silent = self.quorum.silent(&voters, patience);
        let led = view.leader.as_ref().is_some_and(|leader| leader.name != *me && !silent.contains(&leader.name));
        let missing: Vec<&str> = silent.iter().filter(|name| *name != me).map(|name| &**name).collect();
        let (count, majority) = (voters.len(), voters.len() / 2 + 1);
        if voters.is_empty() || led || count - missing.len() >= majority {
            return None;
        }
        Some(format!(
            "no majority: of the {count} voters {} are silent, {majority} are needed; until they are back nothing is committed",
            missing.join(", ")
        ))
    }
}
