//! Every node seen through JSON.

use std::fmt::{Debug, Display};

use conflux_core::{CallError, Committed, Container, Digest, Index, NodeName, Payload, RequestId};
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use serde_json::Value;

use crate::backup::{Backup, TakeError};
use crate::compaction::{CompactError, Compacted};
use crate::incident::{Incident, RecordError};
use crate::json::{JsonChange, JsonNews, JsonNode, JsonOutcome, JsonPerform, JsonPrediction, JsonProposal};
use crate::members::{MemberError, MemberStatus};
use crate::metrics::Metrics;
use crate::node::{Asked, Node};
use crate::perform::{Done, Perform, PerformError, Performed, Prediction};
use crate::reads::ReadError;
use crate::status::Status;
use crate::subscription::Next;

/// The value as JSON, or what stands in for one that JSON cannot hold.
fn json(value: &impl Payload) -> Value {
    value.to_json().unwrap_or_else(|error| serde_json::json!({ "unprintable": error.to_string() }))
}

fn outcome<A: Payload, R: Payload + Debug + Display>(performed: Result<Done<A>, PerformError<R>>) -> JsonOutcome {
    match performed {
        Ok(Done { index, action }) => JsonOutcome::Committed { index, action: action.as_deref().map(json) },
        Err(PerformError::Rejected { rejection, index }) => {
            JsonOutcome::Rejected { index, message: rejection.to_string(), rejection: json(&*rejection) }
        }
        Err(PerformError::Failed { failure, .. }) => JsonOutcome::Failed((*failure).clone()),
        Err(PerformError::NeverProposed { reason }) => JsonOutcome::NeverProposed(reason),
        Err(PerformError::Unknown { request_id }) => JsonOutcome::Unknown { request_id: request_id.to_string() },
        Err(PerformError::NotVisible { request_id, index }) => {
            JsonOutcome::NotVisible { request_id: request_id.to_string(), index }
        }
        Err(PerformError::Conflict { request_id }) => JsonOutcome::Conflict { request_id: request_id.to_string() },
        Err(PerformError::Closed { request_id }) => {
            JsonOutcome::Closed { request_id: request_id.map(|id| id.to_string()) }
        }
    }
}

fn prediction<C: Container>(prediction: Prediction<C>) -> JsonPrediction {
    match prediction {
        Prediction::Action(action) => JsonPrediction::Action(json(&*action)),
        Prediction::Nothing => JsonPrediction::Nothing,
        Prediction::Rejected(rejection) => {
            JsonPrediction::Rejected { message: rejection.to_string(), rejection: json(&*rejection) }
        }
        Prediction::Failed(failure) => JsonPrediction::Failed((*failure).clone()),
    }
}

impl JsonChange {
    /// An action that was committed, in JSON; one that JSON cannot hold is `{"unprintable": why}`.
    #[must_use]
    pub fn of<C: Container>(committed: &Committed<C>) -> JsonChange {
        JsonChange {
            index: committed.index,
            action: json(&*committed.action),
            origin: committed.node().to_string(),
            time_ms: committed.stamps().time_ms,
        }
    }
}

/// A perform that was not started yet.
fn described<C: Container>(
    node: &Node<C>,
    method: &str,
    arguments: Vec<Value>,
    options: JsonPerform,
) -> Result<Perform<C>, CallError> {
    let mut perform = Node::perform(node, node.container().method(method, arguments)?);
    if let Some(timeout) = options.timeout {
        perform = perform.timeout(timeout);
    }
    if let Some(id) = options.request_id {
        perform = perform.request_id(id);
    }
    Ok(perform)
}

impl<C: Container> JsonNode for Node<C> {
    fn id(&self) -> &str {
        Node::id(self)
    }

    fn methods(&self) -> Vec<String> {
        self.container().methods()
    }

    fn perform(
        &self,
        method: &str,
        arguments: Vec<Value>,
        options: JsonPerform,
    ) -> Result<BoxFuture<'static, JsonOutcome>, CallError> {
        let perform = described(self, method, arguments, options)?;
        Ok(perform.start().map(|performed: Performed<C>| outcome(performed)).boxed())
    }

    fn propose(
        &self,
        method: &str,
        arguments: Vec<Value>,
        options: JsonPerform,
    ) -> Result<BoxFuture<'static, Result<JsonProposal, JsonOutcome>>, CallError> {
        let perform = described(self, method, arguments, options)?;
        let proposed = async move {
            let (predicted, started) = perform.proposed().await.map_err(|error| outcome::<C::Action, _>(Err(error)))?;
            let request_id = started.request_id().expect("a call that was decided has its place").to_string();
            Ok(JsonProposal { request_id, prediction: prediction(predicted) })
        };
        Ok(proposed.boxed())
    }

    fn outcome(&self, request_id: &str) -> BoxFuture<'static, JsonOutcome> {
        let (node, id) = (self.clone(), RequestId::parse(request_id));
        async move {
            match Node::outcome(&node, &id).await {
                Ok(Asked::Decided(performed)) => outcome(performed),
                Ok(Asked::Undecided) => JsonOutcome::Undecided { request_id: id.to_string() },
                Err(_) => JsonOutcome::Unknown { request_id: id.to_string() },
                Ok(Asked::Forgotten) => JsonOutcome::Forgotten,
            }
        }
        .boxed()
    }

    fn state(&self) -> (Index, Value) {
        let state = Node::state(self);
        (state.index(), json(&*state))
    }

    fn provisional_state(&self) -> (Index, Value) {
        let state = Node::provisional_state(self);
        (state.index(), json(&*state))
    }

    fn linearizable_state(&self) -> BoxFuture<'static, Result<(Index, Value), String>> {
        let node = self.clone();
        async move {
            let state = Node::linearizable_state(&node).await.map_err(|error| error.to_string())?;
            // It may be large: not on a thread that carries messages.
            let shown = crate::process::off_task(move || (state.index(), json(&*state))).await;
            shown.map_err(|error| error.to_string())
        }
        .boxed()
    }

    fn linearizable_index(&self) -> BoxFuture<'static, Result<Index, ReadError>> {
        let node = self.clone();
        async move { Node::linearizable_index(&node).await }.boxed()
    }

    fn state_at(&self, index: Index) -> Option<Value> {
        Node::state_at(self, index).map(|state| json(&*state))
    }

    fn digest_at(&self, index: Index) -> Option<Digest> {
        Node::digest_at(self, index)
    }

    fn log(&self, count: usize) -> Vec<JsonChange> {
        Node::log(self, count).iter().map(JsonChange::of).collect()
    }

    fn subscribe(&self, last: Option<Index>) -> BoxStream<'static, JsonNews> {
        // Without the states that actions led to: nobody is told them, and each subscriber would reduce every action.
        let mut actions = self.actions(last);
        let actions = futures_util::stream::poll_fn(move |context| actions.poll_next(context));
        let news = actions.map(|next| match next {
            Next::Action(action) => JsonNews::Change(JsonChange::of(&action)),
            Next::Reset { index, .. } => JsonNews::Reset(index),
        });
        news.boxed()
    }

    fn status(&self) -> Status {
        Node::status(self)
    }

    fn watch_status(&self) -> BoxStream<'static, Status> {
        Node::watch_status(self).boxed()
    }

    fn metrics(&self) -> Metrics {
        Node::metrics(self)
    }

    fn backup(&self) -> BoxFuture<'static, Result<Backup, TakeError>> {
        let node = self.clone();
        async move { Node::backup(&node).await }.boxed()
    }

    fn compact(&self) -> BoxFuture<'static, Result<Compacted, CompactError>> {
        let node = self.clone();
        async move { Node::compact(&node).await }.boxed()
    }

    fn incident(&self) -> BoxFuture<'static, Result<Incident, RecordError>> {
        let node = self.clone();
        async move { Node::incident(&node).await }.boxed()
    }

    fn members(&self) -> Vec<MemberStatus> {
        Node::members(self)
    }

    fn add_member(&self, name: &str) -> BoxFuture<'static, Result<(), MemberError>> {
        let (node, name) = (self.clone(), name.to_owned());
        async move { Node::add_member(&node, &name).await }.boxed()
    }

    fn demote_member(&self, name: &str) -> BoxFuture<'static, Result<(), MemberError>> {
        let (node, name) = (self.clone(), name.to_owned());
        async move { Node::demote_member(&node, &name).await }.boxed()
    }

    fn remove_member(&self, name: &str) -> BoxFuture<'static, Result<(), MemberError>> {
        let (node, name) = (self.clone(), name.to_owned());
        async move { Node::remove_member(&node, &name).await }.boxed()
    }

    fn transfer_leadership(&self, to: Option<&str>) -> BoxFuture<'static, Result<NodeName, MemberError>> {
        let (node, to) = (self.clone(), to.map(str::to_owned));
        async move { Node::transfer_leadership(&node, to.as_deref()).await }.boxed()
    }

    fn close(&self) -> BoxFuture<'static, Result<(), String>> {
        let node = self.clone();
        async move {
            Node::close(&node).await;
            Ok(())
        }
        .boxed()
    }
}
