//! A node seen through JSON, whatever its container: what the program, HTTP and bindings are written against.

use std::time::Duration;

use conflux_core::{CallError, Digest, Failure, Index, NodeName};
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use serde_json::Value;

use crate::backup::{Backup, TakeError};
use crate::compaction::{CompactError, Compacted};
use crate::incident::{Incident, RecordError};
use crate::members::{MemberError, MemberStatus};
use crate::metrics::Metrics;
use crate::reads::ReadError;
use crate::status::Status;

/// How a perform through JSON differs from the plain one.
#[derive(Clone, Debug, Default)]
pub struct JsonPerform {
    /// Instead of the node's default deadline.
    pub timeout: Option<Duration>,
    /// A request id chosen by the caller.
    pub request_id: Option<String>,
}

/// What became of a perform, in JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonOutcome {
    /// It took effect, or there was nothing to do (`action` is `None`).
    Committed {
        /// The place of the action; for nothing, the place it was judged at.
        index: Index,
        /// The action.
        action: Option<Value>,
    },
    /// The method refused.
    Rejected {
        /// The place it was judged at.
        index: Index,
        /// For people.
        message: String,
        /// For programs.
        rejection: Value,
    },
    /// The method or reducer broke.
    Failed(Failure),
    /// It never took effect and never will.
    NeverProposed(String),
    /// It may or may not take effect: ask again by this request id.
    Unknown {
        /// What to ask again by.
        request_id: String,
    },
    /// It is committed, but this node's state has not come so far yet: what it came to is told when asked again.
    NotVisible {
        /// What to ask again by.
        request_id: String,
        /// The place it was judged at.
        index: Index,
    },
    /// The log does not know it: it may be on its way, and still take effect. Of a chosen id it cannot be told whether it
    /// is on its way, was forgotten after its time, or was never used. Only told when it is asked for again.
    Undecided {
        /// What was asked for.
        request_id: String,
    },
    /// The log does not know it any more: it was forgotten some time after it was decided, or never was.
    Forgotten,
    /// The node is closed.
    Closed {
        /// What to ask another node by, if the call had left this one: then it may take effect.
        request_id: Option<String>,
    },
    /// The request id was used before, for another call.
    Conflict {
        /// That id.
        request_id: String,
    },
}

/// What the leader made of a call before it is committed, in JSON. It may not come true.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonPrediction {
    /// It makes this action.
    Action(Value),
    /// There is nothing to do.
    Nothing,
    /// It is refused.
    Rejected {
        /// For people.
        message: String,
        /// For programs.
        rejection: Value,
    },
    /// The method or reducer broke.
    Failed(Failure),
}

/// A call that the leader has decided, and what it made of it.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonProposal {
    /// What the outcome can be asked for by.
    pub request_id: String,
    /// What will probably be.
    pub prediction: JsonPrediction,
}

/// One committed action, in JSON.
#[derive(Clone, Debug, PartialEq)]
pub struct JsonChange {
    /// Its place.
    pub index: Index,
    /// The action.
    pub action: Value,
    /// The node that performed it.
    pub origin: String,
    /// When, by the leader's wall clock.
    pub time_ms: u64,
}

/// What a subscriber hears of a node in this process, in JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonNews {
    /// The next action.
    Change(JsonChange),
    /// The actions in between are not held any more, up to here at least: start again from [`JsonNode::state`], and pass over
    /// actions that are in it. It is not told here: it may be large, and many who hear this can be told it once.
    Reset(Index),
}

/// What a subscriber hears, in JSON.
#[derive(Clone, Debug, PartialEq)]
pub enum JsonEvent {
    /// The next action.
    Change(JsonChange),
    /// The actions in between are not held any more: start again from this state.
    Reset {
        /// Its place.
        index: Index,
        /// The committed state.
        state: Value,
    },
}

/// An object-safe view of a node.
pub trait JsonNode: Send + Sync {
    /// The node's id.
    fn id(&self) -> &str;

    /// The methods that can be performed.
    fn methods(&self) -> Vec<String>;

    /// Performs a method. The call takes its place in the order of this node's calls at once, before the future is
    /// polled.
    ///
    /// # Errors
    /// When there is no such method, or its arguments are not such as it takes.
    fn perform(
        &self,
        method: &str,
        arguments: Vec<Value>,
        options: JsonPerform,
    ) -> Result<BoxFuture<'static, JsonOutcome>, CallError>;

    /// Performs a method, and answers as soon as the leader has decided it. The call takes its place when the future is
    /// first polled.
    ///
    /// The answer is the outcome where the call came to nothing before the leader decided it.
    ///
    /// # Errors
    /// When there is no such method, or its arguments are not such as it takes.
    fn propose(
        &self,
        method: &str,
        arguments: Vec<Value>,
        options: JsonPerform,
    ) -> Result<BoxFuture<'static, Result<JsonProposal, JsonOutcome>>, CallError>;

    /// Asks again what became of a perform.
    fn outcome(&self, request_id: &str) -> BoxFuture<'static, JsonOutcome>;

    /// The committed state and its place.
    fn state(&self) -> (Index, Value);

    /// The committed state with every uncommitted action of this node's log, and the place that the last of them would
    /// have.
    fn provisional_state(&self) -> (Index, Value);

    /// The committed state as of some instant after this call, on all nodes.
    fn linearizable_state(&self) -> BoxFuture<'static, Result<(Index, Value), String>>;

    /// The place of the committed state: see [`Node::linearizable_index`](crate::Node::linearizable_index).
    fn linearizable_index(&self) -> BoxFuture<'static, Result<Index, ReadError>>;

    /// The state as it was at a place, if this node still holds that much history.
    fn state_at(&self, index: Index) -> Option<Value>;

    /// The digest of the state as it was at a place, if this node still holds that much history.
    fn digest_at(&self, index: Index) -> Option<Digest>;

    /// The last `count` committed actions that this node still holds, the oldest first.
    fn log(&self, count: usize) -> Vec<JsonChange>;

    /// Every action after `last`, or from now on; ends when the node is closed.
    fn subscribe(&self, last: Option<Index>) -> BoxStream<'static, JsonNews>;

    /// How the node is.
    fn status(&self) -> Status;

    /// How the node is, now and whenever anything of it changes; ends when the node is closed.
    fn watch_status(&self) -> BoxStream<'static, Status>;

    /// What the node counts and measures: see [`Node::metrics`](crate::Node::metrics).
    fn metrics(&self) -> Metrics;

    /// A copy of everything that is committed: see [`Node::backup`](crate::Node::backup).
    fn backup(&self) -> BoxFuture<'static, Result<Backup, TakeError>>;

    /// Takes a snapshot now: see [`Node::compact`](crate::Node::compact).
    fn compact(&self) -> BoxFuture<'static, Result<Compacted, CompactError>>;

    /// Everything that this node holds: see [`Node::incident`](crate::Node::incident).
    fn incident(&self) -> BoxFuture<'static, Result<Incident, RecordError>>;

    /// The members of the cluster: see [`Node::members`](crate::Node::members).
    fn members(&self) -> Vec<MemberStatus>;

    /// Gives a name a seat: see [`Node::add_member`](crate::Node::add_member).
    fn add_member(&self, name: &str) -> BoxFuture<'static, Result<(), MemberError>>;

    /// Takes a node's vote: see [`Node::demote_member`](crate::Node::demote_member).
    fn demote_member(&self, name: &str) -> BoxFuture<'static, Result<(), MemberError>>;

    /// Removes a node for good: see [`Node::remove_member`](crate::Node::remove_member).
    fn remove_member(&self, name: &str) -> BoxFuture<'static, Result<(), MemberError>>;

    /// Has another voter lead: see [`Node::transfer_leadership`](crate::Node::transfer_leadership).
    fn transfer_leadership(&self, to: Option<&str>) -> BoxFuture<'static, Result<NodeName, MemberError>>;

    /// Closes the node.
    fn close(&self) -> BoxFuture<'static, Result<(), String>>;
}
