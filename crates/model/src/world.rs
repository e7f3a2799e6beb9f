//! A state of the model: all nodes, what is on its way between them, and what callers were told.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::batch::{Batch, Record};
use crate::bounds::Bounds;
use crate::container::Call;
use crate::engine::Entry;
use crate::origin::{Asked, Line};
use crate::sequencer::Leading;
use crate::store::{BatchId, Made, ROOT, SessionId, Store};

/// A state of the model.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    /// The nodes.
    pub nodes: Vec<Node>,
    /// The calls of each origin; the one at position `i` is at node `i`.
    pub lines: Vec<Line>,
    /// What origins have ever sent. It stays: what a leader takes may be late, doubled and out of order.
    pub network: BTreeMap<SessionId, Asked>,
    /// The entries that were ever committed, in order: nobody knows that, but the promises do.
    pub committed: Vec<Entry>,
    /// What callers were told.
    pub told: Vec<Told>,
    /// How often things have happened that are bounded.
    pub spent: Spent,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Node {
    /// On its disk.
    pub term: u8,
    /// On its disk, from the first entry: what a snapshot has made superfluous is the same everywhere.
    pub log: Vec<Entry>,
    /// On its disk: how many entries the snapshot holds, and what they come to.
    pub saved: Option<(usize, Arc<Store>)>,
    /// How many entries `store` holds.
    pub applied: usize,
    /// The published state.
    pub store: Arc<Store>,
    /// It leads `term`, as far as it knows.
    pub leading: Option<Leading>,
    /// A batch contradicted its store.
    pub stopped: bool,
}

/// What a caller was told of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Told {
    /// The call.
    pub call: Call,
    /// What.
    pub answer: Answer,
}

/// What callers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It took effect at this place.
    Done {
        /// The place of its action.
        place: u64,
    },
    /// Its method refused, judged on the state at this place.
    Rejected {
        /// The place.
        place: u64,
        /// That state, as the method saw it.
        seen: crate::container::History,
    },
    /// It has not taken effect and never will.
    NeverProposed,
    /// The deadline passed. What became of it may still be told.
    Unknown,
    /// It was given up, and a void is in the log.
    Void,
}

/// How often things have happened that are bounded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Spent {
    /// See [`Bounds`].
    pub refusals: u8,
    /// See [`Bounds`].
    pub losses: u8,
    /// See [`Bounds`].
    pub give_ups: u8,
    /// See [`Bounds`].
    pub sweeps: u8,
    /// See [`Bounds`].
    pub snapshots: u8,
    /// See [`Bounds`].
    pub crashes: u8,
    /// How many snapshots were installed: as many as were taken at most.
    pub installs: u8,
}

impl World {
    /// Node 0 leads term 1, everybody has its first entry, and, if they are, the sessions are opened by its first batch.
    #[must_use]
    pub fn new(bounds: &Bounds) -> World {
        let origins: Vec<u8> = (0..).zip(bounds.calls).filter(|(_, calls)| *calls > 0).map(|(at, _)| at).collect();
        let sessions = || origins.iter().map(|origin| SessionId { origin: *origin, number: 1 });
        let mut log = vec![Entry { term: 1, batch: None }];
        let mut store = Store::new();
        let mut network = BTreeMap::new();
        if bounds.opened {
            let records: Vec<_> = sessions().map(|session| Record::Open { session }).collect();
            let judged = vec![None; records.len()];
            let id = BatchId { term: 1, counter: 1 };
            let made = Made::new(Batch { id, prev: ROOT, base: 0, elapsed: 0, records }, judged);
            store.apply(&made, crate::mutant::Mutant::None).expect("it is the first batch");
            log.push(Entry { term: 1, batch: Some(Arc::new(made)) });
            network.extend(sessions().map(|session| (session, Asked { as_of: Some(0), calls: Vec::new() })));
        }
        let store = Arc::new(store);
        let node = |at| Node {
            term: 1,
            log: log.clone(),
            saved: None,
            applied: log.len(),
            store: store.clone(),
            leading: (at == 0).then(|| Leading { counter: log.len() as u8 - 1, ..Leading::default() }),
            stopped: false,
        };
        let lines = (0..).zip(bounds.calls).map(|(origin, calls)| Line::new(origin, calls, bounds.opened)).collect();
        World {
            nodes: (0..bounds.nodes).map(node).collect(),
            lines,
            network,
            committed: log.clone(),
            told: Vec::new(),
            spent: Spent::default(),
        }
    }

    /// The batches among entries.
    pub fn batches(entries: &[Entry]) -> impl Iterator<Item = &Arc<Made>> + Clone {
        entries.iter().filter_map(|entry| entry.batch.as_ref())
    }
}
