//! The nodes of one cluster, living and killed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use conflux::json::JsonNode;
use conflux::status::{Role, Status};
use conflux_core::{Index, NodeName};
use futures_util::{StreamExt, future};
use tokio::time::timeout;

use crate::exit::Refusal;
use crate::ground::Ground;
use crate::line::shortened;
use crate::output::tell;

/// How long founding may take before something is said.
const FOUNDING_QUIET: Duration = Duration::from_secs(3);

/// How long it is waited for.
const FOUNDING_WAIT: Duration = Duration::from_secs(30);

/// How long nodes may take to catch up with each other before the table is made without it.
const SETTLE_WAIT: Duration = Duration::from_secs(5);

/// The same, while a partition makes it unlikely.
const SETTLE_WAIT_PARTED: Duration = Duration::from_millis(500);

/// A cluster's nodes in the order of their names.
pub(crate) struct Cluster {
    ground: Box<dyn Ground>,
    seats: Vec<Seat>,
    parted: bool,
    /// The development check found something.
    found: AtomicBool,
}

/// A name, and the node that has it unless it was killed.
pub(crate) struct Seat {
    pub(crate) name: NodeName,
    pub(crate) node: Option<Arc<dyn JsonNode>>,
    /// Its disk was emptied at some time.
    pub(crate) wiped: bool,
}

impl Cluster {
    /// Opens `size` nodes, together: a cluster is founded by all of them.
    pub(crate) async fn open(ground: Box<dyn Ground>, size: usize) -> Result<Cluster, Refusal> {
        let names: Vec<NodeName> = (0..size).map(name_of).collect();
        let opened = future::join_all(names.iter().map(|name| ground.open(name))).await;
        let mut seats = Vec::with_capacity(size);
        let mut refusal = None;
        for (name, node) in names.into_iter().zip(opened) {
            match node {
                Ok(node) => seats.push(Seat { name, node: Some(node), wiped: false }),
                Err(error) => refusal = refusal.or(Some(error)),
            }
        }
        let cluster = Cluster { ground, seats, parted: false, found: AtomicBool::new(false) };
        match refusal {
            None => Ok(cluster),
            Some(refusal) => {
                cluster.close().await;
                Err(refusal)
            }
        }
    }

    /// Waits, within bounds, until every node knows a leader.
    pub(crate) async fn founded(&self) {
        let ready =
            |status: &Status| status.stopped.is_some() || status.role != Role::Waiting && status.leader.is_some();
        let founding = future::join_all(
            self.living()
                .map(|node| async move { node.watch_status().any(|status| future::ready(ready(&status))).await }),
        );
        let mut founding = std::pin::pin!(founding);
        if timeout(FOUNDING_QUIET, &mut founding).await.is_ok() {
            return;
        }
        tell!("waiting for the nodes to found a cluster and elect a leader");
        if timeout(FOUNDING_WAIT, founding).await.is_err() {
            tell!("no leader yet after {} s; lines are taken all the same", FOUNDING_WAIT.as_secs());
        }
    }

    pub(crate) fn seats(&self) -> &[Seat] {
        &self.seats
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.seats.iter().map(|seat| seat.name.to_string()).collect()
    }

    pub(crate) fn living(&self) -> impl Iterator<Item = &Arc<dyn JsonNode>> {
        self.seats.iter().filter_map(|seat| seat.node.as_ref())
    }

    /// The node that is meant: the named one, else the first that lives.
    pub(crate) fn choose(&self, named: Option<&str>) -> Result<&Arc<dyn JsonNode>, Refusal> {
        match named {
            None => self.living().next().ok_or_else(|| {
                let first = self.seats.first().map_or("a", |seat| &*seat.name);
                Refusal::new(format!("no node is up; `:restart {first}` opens one again"))
            }),
            Some(name) => self.seats[self.position(name)?]
                .node
                .as_ref()
                .ok_or_else(|| Refusal::new(format!("node {name:?} is down; `:restart {name}` opens it again"))),
        }
    }

    /// Closes a node. What it had on its disk stays there.
    pub(crate) async fn kill(&mut self, name: &str) -> Result<(), Refusal> {
        let position = self.position(name)?;
        let Some(node) = self.seats[position].node.take() else {
            return Err(Refusal::new(format!("node {name:?} is down already")));
        };
        node.close().await.map_err(|error| Refusal::new(format!("node {name:?} is down, but closed badly: {error}")))
    }

    /// Opens a node again, closing it first if it lives; whether it did.
    pub(crate) async fn restart(&mut self, name: &str, wiped: bool) -> Result<bool, Refusal> {
        let position = self.position(name)?;
        let was_up = self.seats[position].node.is_some();
        if was_up {
            self.kill(name).await?;
        }
        let name = self.seats[position].name.clone();
        if wiped {
            self.ground.wipe(&name)?;
            self.seats[position].wiped = true;
        }
        self.seats[position].node = Some(self.ground.open(&name).await?);
        Ok(was_up)
    }

    /// Parts the nodes, and gives the groups that come of it: nodes that no group names are one more.
    pub(crate) fn partition(&mut self, mut groups: Vec<Vec<String>>) -> Result<Vec<Vec<String>>, Refusal> {
        let mut named = BTreeSet::new();
        for name in groups.iter().flatten() {
            self.position(name)?;
            if !named.insert(name.clone()) {
                return Err(Refusal::new(format!("node {name:?} is named twice; a node is in one group")));
            }
        }
        let rest: Vec<String> = self.names().into_iter().filter(|name| !named.contains(name)).collect();
        if !rest.is_empty() {
            groups.push(rest);
        }
        self.ground.partition(&groups);
        self.parted = true;
        Ok(groups)
    }

    pub(crate) fn heal(&mut self) {
        self.ground.heal();
        self.parted = false;
    }

    /// Waits, within bounds, until all living nodes are as far as anything that was answered, or say why they stopped.
    pub(crate) async fn settle(&self) {
        // A node that is about to say why it stopped follows nobody.
        let is_settled = |status: Status| status.role == Role::Stopped || status.leader.is_some();
        if self.is_level() && self.living().all(|node| is_settled(node.status())) {
            return;
        }
        let bound = if self.parted { SETTLE_WAIT_PARTED } else { SETTLE_WAIT };
        // A linearizable read returns when the node has caught up. One that has stopped never will.
        let lagging = self.living().filter(|node| node.status().role != Role::Stopped);
        let _ = timeout(bound, future::join_all(lagging.map(|node| node.linearizable_state()))).await;
    }

    /// Whether all living nodes are at the same place.
    pub(crate) fn is_level(&self) -> bool {
        let mut indexes = self.living().map(|node| node.status().index);
        let first = indexes.next();
        indexes.all(|index| Some(index) == first)
    }

    /// The lowest place that a living node is at.
    pub(crate) fn lowest(&self) -> Index {
        self.living().map(|node| node.status().index).min().unwrap_or_default()
    }

    /// Tells on standard error what the nodes' containers found wrong with themselves, each thing once.
    pub(crate) fn tell_findings(&self) {
        for finding in self.ground.findings() {
            tell!("{finding}");
            self.found.store(true, Ordering::Relaxed);
        }
    }

    /// Whether anything was found so far.
    pub(crate) fn has_findings(&self) -> bool {
        self.found.load(Ordering::Relaxed)
    }

    /// Closes every node. What goes wrong is told, and does not stop the others.
    pub(crate) async fn close(&self) {
        future::join_all(self.living().map(|node| async move {
            if let Err(error) = node.close().await {
                tell!("node {:?} closed badly: {error}", node.id());
            }
        }))
        .await;
    }

    fn position(&self, name: &str) -> Result<usize, Refusal> {
        self.seats.iter().position(|seat| &*seat.name == name).ok_or_else(|| {
            let name = shortened(name, 40);
            Refusal::new(format!("there is no node {name:?}; the nodes are {}", self.names().join(", ")))
        })
    }
}

/// a, b, … z, aa, ab, … as columns of a sheet are named.
pub(crate) fn name_of(nth: usize) -> NodeName {
    let mut name = Vec::new();
    let mut rest = nth + 1;
    while rest > 0 {
        rest -= 1;
        name.push(char::from(b'a' + u8::try_from(rest % 26).expect("a remainder of 26 fits")));
        rest /= 26;
    }
    name.iter().rev().collect::<String>().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_on_after_z() {
        let names: Vec<NodeName> = [0, 1, 25, 26, 27, 51, 52, 701, 702].into_iter().map(name_of).collect();
        assert_eq!(names.join(" "), "a b z aa ab az ba zz aaa");
    }
}
