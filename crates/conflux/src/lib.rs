//! placeholder

mod builder;
pub mod channel;
mod clock;
mod founding;
pub mod json;
mod json_node;
mod members;
mod message;
mod node;
pub mod options;
mod origin;
mod perform;
mod raft;
mod replica;
mod sequencer;
pub mod status;
pub mod stop;
mod subscription;
mod watch;
pub mod wire;

pub use conflux_core::*;

pub use builder::{NodeBuilder, OpenError};
pub use channel::{Channel, MemoryChannel};
pub use json::{JsonChange, JsonNode, JsonOutcome, JsonPerform};
pub use node::{Asked, Node, ReadError, Snapshot};
pub use perform::{Done, Perform, PerformError, Performed, Prediction, Started};
pub use raft::{MemoryDisk, seed_thread};
pub use status::{Role, Status};
pub use stop::Stop;
pub use subscription::{Change, Event, Guard, Subscription};
