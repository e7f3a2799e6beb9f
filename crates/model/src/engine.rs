//! The log, in the abstract: what is taken for granted of Raft, and the freedoms that it is not trusted with.
//!
//! There are no messages. What a leader sends takes effect at once or not at all; that it could be late is the same as
//! that it was sent later, or that its receiver did something else afterwards.

use std::sync::Arc;

use crate::model::Model;
use crate::sequencer::{Leading, Stage};
use crate::store::Made;
use crate::world::World;

/// An entry of a log.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The term it was made in.
    pub term: u8,
    /// `None` for the first entry of a term.
    pub batch: Option<Arc<Made>>,
}

impl World {
    /// A node is voted for by another one, which with three nodes is a quorum, and leads the next term.
    pub(crate) fn can_elect(&self, model: &Model, candidate: usize, voter: usize) -> bool {
        let up_to_date = |node: usize| {
            let log = &self.nodes[node].log;
            (log.last().map(|entry| entry.term), log.len())
        };
        candidate != voter
            && !self.nodes[candidate].stopped
            && !self.nodes[voter].stopped
            && self.nodes[candidate].term.max(self.nodes[voter].term) < model.bounds.terms
            && up_to_date(candidate) >= up_to_date(voter)
    }

    pub(crate) fn elect(&mut self, candidate: usize, voter: usize) {
        let term = self.nodes[candidate].term.max(self.nodes[voter].term) + 1;
        self.follow(voter, term);
        let node = &mut self.nodes[candidate];
        node.term = term;
        node.leading = Some(Leading::default());
        node.log.push(Entry { term, batch: None });
        self.commit();
    }

    /// A node hears of a term: an earlier leadership ends, and what waits in its engine with it.
    pub(crate) fn follow(&mut self, node: usize, term: u8) {
        let node = &mut self.nodes[node];
        if node.term < term {
            node.term = term;
            node.leading = None;
        }
    }

    /// A leader sends one entry, or only its term.
    pub(crate) fn can_replicate(&self, from: usize, to: usize) -> bool {
        let (leader, follower) = (&self.nodes[from], &self.nodes[to]);
        from != to
            && leader.leading.is_some()
            && !leader.stopped
            && !follower.stopped
            && follower.term <= leader.term
            && (follower.term < leader.term || common(&leader.log, &follower.log) < leader.log.len())
    }

    pub(crate) fn replicate(&mut self, from: usize, to: usize) {
        self.follow(to, self.nodes[from].term);
        let common = common(&self.nodes[from].log, &self.nodes[to].log);
        if let Some(entry) = self.nodes[from].log.get(common).cloned() {
            assert!(self.nodes[to].applied <= common, "the engine takes back what was applied");
            self.nodes[to].log.truncate(common);
            self.nodes[to].log.push(entry);
        }
        self.commit();
    }

    /// Whatever a quorum has of its leader's own term is committed, and all before it.
    pub(crate) fn commit(&mut self) {
        let quorum = self.nodes.len() / 2 + 1;
        for leader in self.nodes.iter().filter(|node| node.leading.is_some() && !node.stopped) {
            let committed = (self.committed.len()..leader.log.len()).rev().find(|at| {
                let holds = |node: &&crate::world::Node| {
                    node.term == leader.term && node.log.get(*at) == Some(&leader.log[*at])
                };
                leader.log[*at].term == leader.term && self.nodes.iter().filter(holds).count() >= quorum
            });
            if let Some(last) = committed {
                assert!(leader.log.starts_with(&self.committed), "the engine loses what was committed");
                self.committed = leader.log[..=last].to_vec();
                return self.commit();
            }
        }
    }

    /// The engine takes a batch of the leader into its log; or refuses it, and may take the next; or loses its answer.
    pub(crate) fn append(&mut self, node: usize, at: usize) {
        let node = &mut self.nodes[node];
        let ticket = &mut node.leading.as_mut().expect("it leads").in_flight[at];
        node.log.push(Entry { term: node.term, batch: Some(ticket.made.clone()) });
        ticket.stage = Stage::Logged(node.log.len() - 1);
        self.commit();
    }

    /// A batch whose answer was lost comes into the log all the same.
    pub(crate) fn append_late(&mut self, node: usize, at: usize) {
        let node = &mut self.nodes[node];
        let made = node.leading.as_mut().expect("it leads").limbo.remove(at);
        node.log.push(Entry { term: node.term, batch: Some(made) });
        self.commit();
    }

    /// A node's memory is lost; its disk is not.
    pub(crate) fn crash(&mut self, node: usize) {
        self.spent.crashes += 1;
        let (applied, store) = self.nodes[node].saved.clone().unwrap_or_default();
        let crashed = &mut self.nodes[node];
        (crashed.applied, crashed.store, crashed.leading) = (applied, store, None);
        if node < self.lines.len() {
            self.begin_anew(node);
        }
    }
}

/// How many entries two logs have in common.
pub(crate) fn common(one: &[Entry], other: &[Entry]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one == other).count()
}
