//! How far the model goes.

/// What there is, and how often each thing may happen. The space is finite because all of these are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// How many nodes, all of which vote.
    pub nodes: u8,
    /// How many calls each origin makes. Origin A is at node 0, which leads first; origin B at node 1.
    pub calls: [u8; 2],
    /// Whether the sessions are open from the start, so that their opening costs no steps.
    pub opened: bool,
    /// The last term: node 0 leads the first.
    pub terms: u8,
    /// The most batches on their way at once.
    pub in_flight: usize,
    /// The most calls in a batch.
    pub batch: u8,
    /// How many batches the engine may refuse.
    pub refusals: u8,
    /// How many answers of the engine may be lost: what became of the batch is unknown, and it may still come.
    pub losses: u8,
    /// How many calls may be given up at their deadline.
    pub give_ups: u8,
    /// How often all sessions may expire.
    pub sweeps: u8,
    /// How many snapshots may be taken; each may be installed elsewhere, or started from.
    pub snapshots: u8,
    /// How many crashes there may be. The node starts again at once.
    pub crashes: u8,
}

impl Bounds {
    /// One leader, a pipeline of two, and an engine that refuses, and loses its answers.
    pub const PIPELINE: Bounds = Bounds {
        nodes: 3,
        calls: [2, 1],
        opened: true,
        terms: 1,
        in_flight: 2,
        batch: 1,
        refusals: 1,
        losses: 1,
        give_ups: 0,
        sweeps: 0,
        snapshots: 0,
        crashes: 0,
    };

    /// A leader change among larger batches, one of which may be refused.
    pub const BATCHES: Bounds = Bounds { terms: 2, batch: 2, losses: 0, ..Bounds::PIPELINE };

    /// Leaders change twice, with batches in flight.
    pub const LEADERS: Bounds =
        Bounds { calls: [1, 1], terms: 3, refusals: 0, losses: 0, give_ups: 1, ..Bounds::PIPELINE };

    /// Snapshots are taken, installed, and started from after a crash.
    pub const SNAPSHOTS: Bounds = Bounds {
        calls: [1, 1],
        terms: 2,
        refusals: 0,
        losses: 0,
        give_ups: 0,
        snapshots: 1,
        crashes: 1,
        ..Bounds::PIPELINE
    };

    /// Sessions are opened and expire, and leaders change.
    pub const SESSIONS: Bounds = Bounds {
        calls: [2, 0],
        opened: false,
        terms: 2,
        refusals: 0,
        losses: 0,
        give_ups: 1,
        sweeps: 1,
        ..Bounds::PIPELINE
    };
}
