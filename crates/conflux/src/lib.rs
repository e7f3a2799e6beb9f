//! Redux for distributed systems: a strongly consistent, replicated, predictable state container.
//!
//! A program embeds a [`Node`]. The nodes agree by Raft; every node holds the whole state, and all go through the same
//! sequence of states. A [`Container`] says what the state is: *methods* judge what is asked for and make *actions*;
//! the *reducer* takes the state through each action. [`Node::perform`] asks for a method, on any node: it finds the
//! leader, waits while there is none, and takes effect at most once.
//!
//! ```
//! use conflux::{Container, Context, Event, MemoryChannel, Node, PerformError, Reject};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Serialize, Deserialize)]
//! #[serde(rename_all = "snake_case")]
//! enum Method { Append(String) }
//!
//! #[derive(Debug, Serialize, Deserialize)]
//! enum Action { Appended(String) }
//!
//! struct Words;
//!
//! impl Container for Words {
//!     type State = Vec<String>;
//!     type Method = Method;
//!     type Action = Action;
//!     type Rejection = Reject;
//!
//!     fn initial(&self) -> Vec<String> { vec![] }
//!
//!     fn decide(&self, _: &Vec<String>, Method::Append(word): Method, _: &Context<'_>) -> Result<Option<Action>, Reject> {
//!         if word.len() > 80 { Err("too long".into()) } else { Ok(Some(Action::Appended(word))) }
//!     }
//!
//!     fn reduce(&self, words: &mut Vec<String>, Action::Appended(word): &Action, _: &Context<'_>) {
//!         words.push(word.clone());
//!     }
//! }
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let channel = MemoryChannel::new();
//! let mut nodes = Vec::new();
//! for id in ["a", "b", "c"] {
//!     nodes.push(Node::builder(Words, id).cluster_size(3).channel(channel.clone()).open().await?);
//! }
//!
//! let mut events = nodes[2].subscribe();
//! let done = nodes[1].perform(Method::Append("foo".into())).await?;
//! assert_eq!(done.index.0, 1);
//! assert_eq!(*nodes[1].state(), ["foo"]);                      // a node that performed sees its effect at once
//! assert_eq!(*nodes[0].linearizable_state().await?, ["foo"]);  // any other, by a linearizable read
//!
//! match nodes[0].perform(Method::Append("x".repeat(81))).await {
//!     Err(PerformError::Rejected { rejection, .. }) => assert_eq!(rejection.message, "too long"),
//!     other => panic!("it is too long: {other:?}"),
//! }
//!
//! let Some(Event::Change(change)) = events.next().await else { panic!("one action was committed") };
//! assert_eq!((change.previous.0, change.index.0, change.state.as_slice()), (0, 1, &["foo".to_owned()][..]));
//!
//! for node in &nodes {
//!     node.close().await;
//! }
//! # Ok(()) }
//! ```
//!
//! # Costs
//! Calls that wait at the same time travel in one batch, so many callers are served at about the price of a few. One
//! perform is one round from the leader to a majority, and from another node one message more each way.
//!
//! A state is copied when somebody holds an older one: a [`Snapshot`], a [`Change`] that is kept, a leader's fork, and
//! the node's history, which keeps two. A state that is large and changes often wants a persistent collection.
//! [`state`](Node::state) takes a lock for a moment and clones an `Arc`. A subscription runs the reducer once more for
//! each action; its events are exact however far behind it is.
//!
//! The log is cut down to a snapshot by count and by bytes, so memory does not grow with the number of performs.
//!
//! # What is kept where
//! With a [`FileDisk`] on each node, what was answered survives the end of all of them at once, power loss included, as
//! soon as the disks of a majority are back. With a [`MemoryDisk`], which outlives the node and not the process, it
//! survives the crash of any minority of the nodes at a time.
//!
//! # Looking at it
//! [`Node::metrics`] has what a node counts and measures: it is counted once a batch, and nothing has to be set up. With a
//! subscriber of `tracing` for the target `conflux::perform` at `DEBUG`, each perform is followed by its request id: the
//! span `perform` at its origin (from the call to the event `answered`), the event `sent` when it leaves for the leader,
//! the span `decide` there (with term, batch and verdict), and the event `applied` at every node. [`Node::incident`] keeps
//! all that a node holds, for a look afterwards.
//!
//! # Panics
//! A method or reducer that panics fails its call. That needs `panic = "unwind"`, the default; with `panic = "abort"` it
//! ends the process, on the leader and then on the next one.

mod answers;
mod aside;
mod backup;
mod builder;
pub mod channel;
mod clock;
mod compaction;
mod comparison;
mod core;
pub mod disk;
mod founding;
mod identity;
pub mod incident;
pub mod json;
mod json_node;
mod members;
mod message;
pub mod metrics;
mod node;
pub mod observe;
pub mod options;
mod origin;
mod perform;
pub mod process;
mod quorum;
mod raft;
mod reads;
mod recover;
pub mod regression;
mod replica;
pub mod secret;
mod sequencer;
pub mod status;
pub mod stop;
mod subscription;
mod trace;
mod watch;
mod watchdog;
pub mod wire;

pub use conflux_core::*;

pub use backup::{Backup, BackupError, TakeError};
pub use builder::{NodeBuilder, OpenError};
pub use channel::{Channel, MemoryChannel, RedisChannel, TcpChannel, WebsocketChannel};
pub use compaction::{CompactError, Compacted};
pub use disk::{Disk, FileDisk, MemoryDisk};
pub use incident::Incident;
pub use json::{JsonChange, JsonEvent, JsonNews, JsonNode, JsonOutcome, JsonPerform, JsonPrediction, JsonProposal};
pub use members::{MemberError, MemberStatus};
pub use metrics::Metrics;
pub use node::{Asked, Node, Snapshot};
pub use perform::{Done, Perform, PerformError, Performed, Prediction, Started};
pub use raft::seed_thread;
pub use reads::ReadError;
pub use recover::{Changed, RecoverError, Recovered, Recovery, other_code, recover, restore};
pub use status::{Role, Status, StatusWatch};
pub use stop::Stop;
pub use subscription::{Change, Event, Guard, Subscription};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

/// And so are the guide's.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/guide.md")]
struct Guide;
