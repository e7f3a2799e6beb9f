//! What every node does with what is committed, and what it shows.

use std::sync::Arc;

use crate::batch::{Record, Verdict};
use crate::engine::common;
use crate::model::Model;
use crate::mutant::Mutant;
use crate::sequencer::Stage;
use crate::store::Store;
use crate::world::World;

impl World {
    /// There is something to apply. Where neither calls come from a node nor it leads, it makes no difference when it
    /// does, so it waits until then.
    pub(crate) fn can_apply(&self, node: usize) -> bool {
        let has_calls = self.lines.get(node).is_some_and(|line| !line.pending.is_empty());
        let node = &self.nodes[node];
        !node.stopped
            && (has_calls || node.leading.is_some())
            && node.applied < self.committed.len()
            && node.log.get(node.applied) == Some(&self.committed[node.applied])
    }

    /// Applies the next committed entry. Whoever waits at this node for a call in it is told, and nobody else.
    pub(crate) fn apply(&mut self, model: &Model, at: usize) {
        let position = self.nodes[at].applied;
        self.nodes[at].applied += 1;
        let Some(made) = self.committed[position].batch.clone() else { return };
        let line = self.lines.get(at).map(|line| (at as u8, line.session));
        let is_mine = |session: &crate::store::SessionId| line == Some((session.origin, session.number));
        let knows_mine = |store: &Store| store.ledger.sessions.keys().any(is_mine);
        let knew_mine = knows_mine(&self.nodes[at].store);

        let mut store = self.nodes[at].store.clone();
        let Ok((applied, outcomes)) = Arc::make_mut(&mut store).apply(&made, model.mutant) else {
            self.nodes[at].stopped = true;
            self.nodes[at].leading = None;
            return;
        };
        self.nodes[at].store = store.clone();
        if let Some(leading) = &mut self.nodes[at].leading {
            for ticket in &mut leading.in_flight {
                if ticket.stage == Stage::Logged(position) {
                    ticket.stage = Stage::Looked(applied);
                }
            }
            leading.hear();
        }
        for (record, outcome) in outcomes {
            if let Record::Call { session, number, .. } | Record::Void { session, number, .. } =
                &made.batch.records[record]
                && is_mine(session)
                && knew_mine
            {
                self.resolve(at, *number, outcome, &store);
            }
        }
        if line.is_some() && knows_mine(&store) != knew_mine {
            self.reconcile(at, &store, false);
        }
    }

    /// The state that a node shows as provisional: its own with what its log holds behind, as far as that fits.
    #[must_use]
    pub fn provisional(&self, node: usize, mutant: Mutant) -> Store {
        let node = &self.nodes[node];
        let tail = node.log.get(node.applied..).unwrap_or_default();
        let shown = tail.iter().filter(|entry| mutant != Mutant::TailForgotten || entry.term == node.term);
        Store::clone(&node.store).behind(shown.filter_map(|entry| entry.batch.as_ref()), mutant)
    }

    /// What a node would come to from its disk alone: its snapshot, and its log behind.
    #[must_use]
    pub fn from_disk(&self, node: usize, mutant: Mutant) -> Store {
        let node = &self.nodes[node];
        let (applied, saved) = node.saved.as_ref().map_or((0, None), |(applied, saved)| (*applied, Some(saved)));
        let saved = saved.map_or_else(Store::new, |saved| Store::clone(saved));
        saved.behind(World::batches(&node.log[applied..]), mutant)
    }

    pub(crate) fn save(&mut self, model: &Model, node: usize) {
        self.spent.snapshots += 1;
        let node = &mut self.nodes[node];
        node.saved = Some((node.applied, Arc::new(node.store.save(model.mutant))));
    }

    /// A leader has a snapshot that holds more than a follower has applied.
    pub(crate) fn can_install(&self, model: &Model, from: usize, to: usize) -> bool {
        let (leader, follower) = (&self.nodes[from], &self.nodes[to]);
        from != to
            && self.spent.installs < model.bounds.snapshots
            && leader.leading.is_some()
            && !leader.stopped
            && !follower.stopped
            && follower.term <= leader.term
            && leader.saved.as_ref().is_some_and(|(applied, _)| *applied > follower.applied)
    }

    pub(crate) fn install(&mut self, from: usize, to: usize) {
        self.spent.installs += 1;
        self.follow(to, self.nodes[from].term);
        let (applied, store) = self.nodes[from].saved.clone().expect("it has a snapshot");
        let held = self.nodes[from].log[..applied].to_vec();
        let node = &mut self.nodes[to];
        if common(&node.log, &held) < applied {
            node.log = held;
        }
        (node.applied, node.store, node.saved) = (applied, store.clone(), Some((applied, store.clone())));
        self.commit();
        if to < self.lines.len() {
            self.reconcile(to, &store, true);
        }
    }

    /// What of two of the mutants comes with the log.
    pub(crate) fn tell_logged(&mut self, node: usize) {
        let last = self.nodes[node].log.last().and_then(|entry| entry.batch.clone());
        if let Some(made) = last {
            self.tell_early(&made, Verdict::Action);
        }
    }

    /// What a node does that goes by a clock of its own.
    pub(crate) fn expire_locally(&mut self, node: usize) {
        self.spent.sweeps += 1;
        let store = Arc::make_mut(&mut self.nodes[node].store);
        store.ledger.sessions.clear();
    }
}
