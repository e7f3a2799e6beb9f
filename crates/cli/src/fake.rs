//! A node for tests: a list of words, without a cluster.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use conflux::incident::RecordError;
use conflux::json::{JsonChange, JsonNews, JsonNode, JsonOutcome, JsonPerform, JsonProposal};
use conflux::status::{Role, Status};
use conflux::{Backup, CompactError, Compacted, Incident, MemberError, MemberStatus, Metrics, ReadError, TakeError};
use conflux_core::{CallError, Digest, Failure, Incarnation, Index, NodeName};
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::exit::Refusal;
use crate::ground::Ground;

/// What the nodes share: every one of them is at the same place at once.
#[derive(Clone)]
pub(crate) struct FakeGround {
    shared: Arc<Shared>,
}

struct Shared {
    words: Mutex<Vec<(String, String)>>,
    /// What happened to the ground, in order.
    happened: Mutex<Vec<String>>,
    /// States in place of the true ones, by node.
    lies: Mutex<BTreeMap<NodeName, u128>>,
    changed: watch::Sender<usize>,
}

impl FakeGround {
    pub(crate) fn new() -> FakeGround {
        let changed = watch::Sender::new(0);
        let shared = Shared { words: Mutex::default(), happened: Mutex::default(), lies: Mutex::default(), changed };
        FakeGround { shared: Arc::new(shared) }
    }

    /// Lets a node hold another state than the rest.
    pub(crate) fn lie(&self, node: &str, digest: u128) {
        self.shared.lies.lock().unwrap().insert(node.into(), digest);
    }

    pub(crate) fn happened(&self) -> Vec<String> {
        self.shared.happened.lock().unwrap().clone()
    }

    fn note(&self, text: String) {
        self.shared.happened.lock().unwrap().push(text);
    }
}

impl Ground for FakeGround {
    fn open(&self, name: &NodeName) -> BoxFuture<'_, Result<Arc<dyn JsonNode>, Refusal>> {
        self.note(format!("open {name}"));
        let node: Arc<dyn JsonNode> = Arc::new(FakeNode { name: name.clone(), ground: self.clone() });
        Box::pin(async { Ok(node) })
    }

    fn wipe(&self, name: &NodeName) -> Result<(), Refusal> {
        self.note(format!("wipe {name}"));
        Ok(())
    }

    fn partition(&self, groups: &[Vec<String>]) {
        self.note(format!("partition {groups:?}"));
    }

    fn heal(&self) {
        self.note("heal".into());
    }

    fn findings(&self) -> Vec<String> {
        Vec::new()
    }
}

struct FakeNode {
    name: NodeName,
    ground: FakeGround,
}

impl FakeNode {
    fn answer(&self, method: &str, arguments: &[Value]) -> Result<JsonOutcome, CallError> {
        let mut words = self.ground.shared.words.lock().unwrap();
        let index = Index(words.len() as u64);
        match (method, arguments) {
            ("append", [Value::String(word)]) if word.len() > 80 => {
                Ok(JsonOutcome::Rejected { index, message: "too long".into(), rejection: Value::Null })
            }
            ("append", [Value::String(word)]) => {
                words.push((self.name.to_string(), word.clone()));
                self.ground.shared.changed.send_modify(|count| *count += 1);
                Ok(JsonOutcome::Committed {
                    index: index.next(),
                    action: Some(json!({"type": "APPEND", "word": word})),
                })
            }
            ("idle", []) => Ok(JsonOutcome::Committed { index, action: None }),
            ("crash", []) => {
                Ok(JsonOutcome::Failed(Failure { message: "x is not defined".into(), at: Some("words.js:3".into()) }))
            }
            ("append" | "idle" | "crash", _) => {
                Err(CallError::Arguments { name: method.into(), message: "takes other arguments".into() })
            }
            _ => Err(CallError::unknown_method(method, self.methods())),
        }
    }
}

impl JsonNode for FakeNode {
    fn id(&self) -> &str {
        &self.name
    }

    fn methods(&self) -> Vec<String> {
        ["append", "idle", "crash"].map(str::to_owned).to_vec()
    }

    fn perform(
        &self,
        method: &str,
        arguments: Vec<Value>,
        _: JsonPerform,
    ) -> Result<BoxFuture<'static, JsonOutcome>, CallError> {
        let outcome = self.answer(method, &arguments)?;
        Ok(Box::pin(async {
            tokio::task::yield_now().await;
            outcome
        }))
    }

    fn propose(
        &self,
        method: &str,
        arguments: Vec<Value>,
        _: JsonPerform,
    ) -> Result<BoxFuture<'static, Result<JsonProposal, JsonOutcome>>, CallError> {
        let outcome = self.answer(method, &arguments)?;
        Ok(Box::pin(async { Err(outcome) }))
    }

    fn outcome(&self, _: &str) -> BoxFuture<'static, JsonOutcome> {
        Box::pin(async { JsonOutcome::Forgotten })
    }

    fn state(&self) -> (Index, Value) {
        let words = self.ground.shared.words.lock().unwrap();
        (Index(words.len() as u64), words.iter().map(|(_, word)| word.as_str()).collect())
    }

    fn provisional_state(&self) -> (Index, Value) {
        self.state()
    }

    fn linearizable_state(&self) -> BoxFuture<'static, Result<(Index, Value), String>> {
        let state = self.state();
        Box::pin(async { Ok(state) })
    }

    fn linearizable_index(&self) -> BoxFuture<'static, Result<Index, ReadError>> {
        let index = self.state().0;
        Box::pin(async move { Ok(index) })
    }

    fn state_at(&self, index: Index) -> Option<Value> {
        let words = self.ground.shared.words.lock().unwrap();
        Some(words.get(..usize::try_from(index.0).ok()?)?.iter().map(|(_, word)| word.as_str()).collect())
    }

    fn digest_at(&self, index: Index) -> Option<Digest> {
        let lie = self.ground.shared.lies.lock().unwrap().get(&self.name).copied();
        let truth = Digest::of_bytes(self.state_at(index)?.to_string().as_bytes());
        Some(lie.map_or(truth, Digest))
    }

    fn log(&self, count: usize) -> Vec<JsonChange> {
        let words = self.ground.shared.words.lock().unwrap();
        let changes = (1..).zip(words.iter()).map(|(index, (origin, word))| JsonChange {
            index: Index(index),
            action: json!({"type": "APPEND", "word": word}),
            origin: origin.clone(),
            time_ms: 0,
        });
        changes.skip(words.len().saturating_sub(count)).collect()
    }

    fn subscribe(&self, _: Option<Index>) -> BoxStream<'static, JsonNews> {
        futures_util::stream::empty().boxed()
    }

    fn status(&self) -> Status {
        Status {
            id: self.name.clone(),
            incarnation: Incarnation(1),
            role: if &*self.name == "a" { Role::Leader } else { Role::Follower },
            term: 1,
            leader: Some("a".into()),
            has_quorum: true,
            index: self.state().0,
            agreed: None,
            parted: 0,
            is_mending: false,
            generation: 0,
            cluster: Some(1),
            voters: Vec::new(),
            learners: Vec::new(),
            notice: None,
            stopped: None,
        }
    }

    fn metrics(&self) -> Metrics {
        Metrics::nothing(self.name.clone())
    }

    fn watch_status(&self) -> BoxStream<'static, Status> {
        let node = FakeNode { name: self.name.clone(), ground: self.ground.clone() };
        let changed = node.ground.shared.changed.subscribe();
        Box::pin(futures_util::stream::unfold((node, changed, false), |(node, mut changed, began)| async move {
            if began {
                changed.changed().await.ok()?;
            }
            Some((node.status(), (node, changed, true)))
        }))
    }

    fn backup(&self) -> BoxFuture<'static, Result<Backup, TakeError>> {
        Box::pin(async { Err(TakeError::Save("a list of words for tests has no store".into())) })
    }

    fn compact(&self) -> BoxFuture<'static, Result<Compacted, CompactError>> {
        Box::pin(async { Err(CompactError::Stopped("a list of words for tests has no snapshot".into())) })
    }

    fn incident(&self) -> BoxFuture<'static, Result<Incident, RecordError>> {
        Box::pin(async { Err(RecordError::Broken("a list of words for tests has no log".into())) })
    }

    fn members(&self) -> Vec<MemberStatus> {
        Vec::new()
    }

    fn add_member(&self, name: &str) -> BoxFuture<'static, Result<(), MemberError>> {
        self.ground.note(format!("add {name}"));
        Box::pin(async { Ok(()) })
    }

    fn demote_member(&self, name: &str) -> BoxFuture<'static, Result<(), MemberError>> {
        self.ground.note(format!("demote {name}"));
        Box::pin(async { Ok(()) })
    }

    fn remove_member(&self, name: &str) -> BoxFuture<'static, Result<(), MemberError>> {
        self.ground.note(format!("remove {name}"));
        Box::pin(async { Ok(()) })
    }

    fn transfer_leadership(&self, to: Option<&str>) -> BoxFuture<'static, Result<NodeName, MemberError>> {
        let to: NodeName = to.unwrap_or("b").into();
        self.ground.note(format!("transfer to {to}"));
        Box::pin(async { Ok(to) })
    }

    fn close(&self) -> BoxFuture<'static, Result<(), String>> {
        self.ground.note(format!("close {}", self.name));
        Box::pin(async { Ok(()) })
    }
}
