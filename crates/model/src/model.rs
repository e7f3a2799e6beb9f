//! The model itself: what can happen in which state, for the checker to try all of it.

use std::fmt;

use stateright::Property;

use crate::bounds::Bounds;
use crate::mutant::Mutant;
use crate::promises;
use crate::sequencer::{Request, Stage};
use crate::world::World;

/// The protocol, or a mutant of it, within bounds.
#[derive(Clone, Debug)]
pub struct Model {
    /// How far it goes.
    pub bounds: Bounds,
    /// Which rule is left out.
    pub mutant: Mutant,
    /// The only property that is looked at, where it is not all of them.
    pub only: Option<&'static str>,
}

/// One step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// An origin sends its next call.
    Send {
        /// The origin.
        origin: usize,
    },
    /// The deadline of a call passes.
    GiveUp {
        /// The origin.
        origin: usize,
        /// Which of its calls that have no outcome.
        at: usize,
    },
    /// A leader forks its store.
    Fork {
        /// The leader.
        node: usize,
    },
    /// A leader makes a batch, and hands it to the engine.
    Propose {
        /// The leader.
        node: usize,
        /// What it makes it of.
        request: Request,
    },
    /// The engine takes a batch into the leader's log.
    Append {
        /// The leader.
        node: usize,
        /// Which of those in flight.
        at: usize,
    },
    /// The engine refuses a batch.
    Refuse {
        /// The leader.
        node: usize,
        /// Which of those in flight.
        at: usize,
    },
    /// The engine's answer is lost.
    Lose {
        /// The leader.
        node: usize,
        /// Which of those in flight.
        at: usize,
    },
    /// The engine takes a batch whose answer was lost.
    AppendLate {
        /// The leader.
        node: usize,
        /// Which of those.
        at: usize,
    },
    /// A leader sends one entry, or only its term.
    Replicate {
        /// The leader.
        from: usize,
        /// The follower.
        to: usize,
    },
    /// A node applies the next committed entry.
    Apply {
        /// The node.
        node: usize,
    },
    /// A node leads the next term.
    Elect {
        /// The node.
        node: usize,
        /// Who votes for it.
        voter: usize,
    },
    /// A node takes a snapshot.
    Save {
        /// The node.
        node: usize,
    },
    /// A leader's snapshot is installed on a follower.
    Install {
        /// The leader.
        from: usize,
        /// The follower.
        to: usize,
    },
    /// A node loses its memory, and starts again from its disk.
    Crash {
        /// The node.
        node: usize,
    },
    /// What only a mutant does.
    ExpireLocally {
        /// The node.
        node: usize,
    },
}

impl Model {
    /// The protocol as it is.
    #[must_use]
    pub fn new(bounds: Bounds) -> Model {
        Model { bounds, mutant: Mutant::None, only: None }
    }

    /// What is left out, in the bounds in which it shows with few steps, looked at by the property that it breaks.
    #[must_use]
    pub fn of(mutant: Mutant) -> Model {
        let (bounds, breaks) = mutant.shows();
        Model { bounds, mutant, only: Some(breaks) }
    }
}

impl stateright::Model for Model {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.bounds)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        let (bounds, spent) = (&self.bounds, &world.spent);
        for (origin, line) in world.lines.iter().enumerate() {
            if world.can_send(origin) {
                steps.push(Step::Send { origin });
            }
            if spent.give_ups < bounds.give_ups && !world.nodes[origin].stopped {
                let waiting = line.pending.iter().enumerate().filter(|(_, pending)| pending.waits);
                steps.extend(waiting.map(|(at, _)| Step::GiveUp { origin, at }));
            }
        }
        for (node, it) in world.nodes.iter().enumerate().filter(|(_, node)| !node.stopped) {
            if world.can_apply(node) {
                steps.push(Step::Apply { node });
            }
            if world.can_fork(self, node) {
                steps.push(Step::Fork { node });
            }
            steps.extend(world.requests(self, node).into_iter().map(|request| Step::Propose { node, request }));
            if let Some(leading) = &it.leading {
                // The engine takes what it is given in order, and may pass over any.
                if let Some(at) = leading.in_flight.iter().position(|ticket| ticket.stage == Stage::Queued) {
                    steps.push(Step::Append { node, at });
                    if spent.refusals < bounds.refusals {
                        steps.push(Step::Refuse { node, at });
                    }
                }
                if spent.losses < bounds.losses {
                    let open = leading.in_flight.iter().enumerate().filter(|(_, ticket)| ticket.stage.is_open());
                    steps.extend(open.map(|(at, _)| Step::Lose { node, at }));
                }
                steps.extend((0..leading.limbo.len()).map(|at| Step::AppendLate { node, at }));
            }
            let acts = it.leading.is_some() || world.lines.get(node).is_some_and(|line| !line.pending.is_empty());
            if spent.snapshots < bounds.snapshots && acts {
                steps.push(Step::Save { node });
            }
            if spent.crashes < bounds.crashes && acts {
                steps.push(Step::Crash { node });
            }
            if self.mutant == Mutant::ExpiredLocally && spent.sweeps < bounds.sweeps {
                steps.push(Step::ExpireLocally { node });
            }
            for other in 0..world.nodes.len() {
                if world.can_replicate(node, other) {
                    steps.push(Step::Replicate { from: node, to: other });
                }
                if world.can_install(self, node, other) {
                    steps.push(Step::Install { from: node, to: other });
                }
                if world.can_elect(self, node, other) {
                    steps.push(Step::Elect { node, voter: other });
                }
            }
        }
    }

    fn next_state(&self, world: &World, step: Step) -> Option<World> {
        let mut world = world.clone();
        match step {
            Step::Send { origin } => world.send(origin),
            Step::GiveUp { origin, at } => world.give_up(origin, at, self.mutant),
            Step::Fork { node } => world.fork(node),
            Step::Propose { node, request } => world.propose(self, node, request),
            Step::Append { node, at } => {
                world.append(node, at);
                if self.mutant == Mutant::SuccessToldEarly {
                    world.tell_logged(node);
                }
            }
            Step::Refuse { node, at } => world.answer(node, at, Stage::Refused, self.mutant),
            Step::Lose { node, at } => world.answer(node, at, Stage::Lost, self.mutant),
            Step::AppendLate { node, at } => world.append_late(node, at),
            Step::Replicate { from, to } => world.replicate(from, to),
            Step::Apply { node } => world.apply(self, node),
            Step::Elect { node, voter } => world.elect(node, voter),
            Step::Save { node } => world.save(self, node),
            Step::Install { from, to } => world.install(from, to),
            Step::Crash { node } => world.crash(node),
            Step::ExpireLocally { node } => world.expire_locally(node),
        }
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let all = promises::all(&self.bounds);
        all.into_iter().filter(|property| self.only.is_none_or(|only| property.name == only)).collect()
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Step::Send { origin } => write!(f, "origin {} sends a call", char::from(b'A' + origin as u8)),
            Step::GiveUp { origin, at } => {
                write!(f, "origin {} gives up its pending call {at}", char::from(b'A' + origin as u8))
            }
            Step::Fork { node } => write!(f, "node {node} forks"),
            Step::Propose { node, request } => write!(f, "node {node} proposes {request:?}"),
            Step::Append { node, at } => write!(f, "node {node}'s engine takes batch {at} in flight"),
            Step::Refuse { node, at } => write!(f, "node {node}'s engine refuses batch {at} in flight"),
            Step::Lose { node, at } => write!(f, "node {node}'s engine loses the answer to batch {at} in flight"),
            Step::AppendLate { node, at } => write!(f, "node {node}'s engine takes lost batch {at} after all"),
            Step::Replicate { from, to } => write!(f, "node {from} replicates to node {to}"),
            Step::Apply { node } => write!(f, "node {node} applies"),
            Step::Elect { node, voter } => write!(f, "node {node} leads, voted for by node {voter}"),
            Step::Save { node } => write!(f, "node {node} takes a snapshot"),
            Step::Install { from, to } => write!(f, "node {from}'s snapshot is installed on node {to}"),
            Step::Crash { node } => write!(f, "node {node} crashes and starts again"),
            Step::ExpireLocally { node } => write!(f, "node {node} lets sessions expire by itself"),
        }
    }
}
