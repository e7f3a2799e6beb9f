//! A model of what conflux adds to Raft: the chain of batches, the sequencer with several of them in flight, sessions,
//! snapshots and changes of leader. [Stateright](https://docs.rs/stateright) tries everything that can happen within small
//! [`Bounds`], and looks at every state that comes of it: the [`promises`] have to hold in each.
//!
//! ```sh
//! cargo nextest run -p conflux-model                                # within the bounds that CI checks
//! cargo run --release -p conflux-model -- leaders --terms 4         # further
//! cargo run --release -p conflux-model -- pipeline --mutant ChainUnchecked
//! ```
//!
//! # What is ours
//! [`ledger`] has the rules of the chain and of the session table, written anew: nothing of conflux is used here.
//! [`sequencer`] is the only proposer of a term: it forks where its term's first entry is applied, judges calls that are
//! next in their session, hands batches to the engine without waiting for the ones before, and starts over when anything
//! but success comes back. Origins number calls, send them to whoever leads, give them up, and hear what became of them
//! from their own node's log alone. The [`container`] has a state that is its own past, and methods that depend on it.
//!
//! # What is taken for granted
//! Of Raft: a leader of a term is elected by a quorum with no newer logs, followers have what it sends in order, what a
//! quorum has of the leader's own term is committed, and what is on a disk stays there. But the engine may refuse a batch
//! and take the next; lose its answer, and take that batch at any time later; and leave what is not committed to be
//! inherited or cut off. Messages of origins are never lost for good, and may be late, doubled, and out of order.
//!
//! # What is left out
//! Who is a member of the cluster, request ids that users choose, failing methods, versions, digests, deadlines as times
//! (a call can be given up at any moment), clocks (a session can expire at any moment), reads and subscriptions. And
//! whatever needs more than the bounds.
//!
//! # Rules that are left out on purpose
//! Each [`Mutant`] lacks one rule. It has to break the promise that the rule is for, or the model would not notice.
//!
//! # Traces
//! [`trace`] judges what was seen of a run of the real thing by the same [`ledger`].

pub mod batch;
mod bounds;
pub mod container;
mod engine;
pub mod ledger;
mod model;
mod mutant;
mod origin;
pub mod promises;
mod replica;
pub mod sequencer;
pub mod store;
pub mod trace;
mod world;

pub use bounds::Bounds;
pub use engine::Entry;
pub use model::{Model, Step};
pub use mutant::Mutant;
pub use origin::{Asked, Line, Pending, Sent};
pub use world::{Answer, Node, Spent, Told, World};
