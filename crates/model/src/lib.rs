//! A model of conflux.

pub mod batch;
pub mod bounds;
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
