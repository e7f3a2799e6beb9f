//! A node that answers what its methods are called, without a cluster: for what a real one can hardly be brought to.

use conflux::incident::RecordError;
use conflux::{
    Backup, CallError, CompactError, Compacted, Digest, Failure, Incarnation, Incident, Index, JsonChange, JsonNews,
    JsonNode, JsonOutcome, JsonPerform, JsonPrediction, JsonProposal, MemberError, MemberStatus, Metrics, NodeName,
    ReadError, Role, Status, TakeError,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use serde_json::{Value, json};

/// Has an outcome for each of its methods; and a request id that is called like one has that outcome.
#[derive(Default)]
pub(crate) struct Scripted {
    pub(crate) status: Option<(Role, Option<&'static str>)>,
    /// Whether the state is being replaced.
    pub(crate) is_mending: bool,
    /// Whether no majority is heard.
    pub(crate) is_alone: bool,
    /// What is committed, and the state, instead of small ones.
    pub(crate) action: Option<Value>,
    /// How often the state was shown, and how long that takes.
    pub(crate) shown: Arc<AtomicUsize>,
    pub(crate) show_time: Duration,
    /// Whether showing the state breaks.
    pub(crate) broken: bool,
    /// What a backup gives; without one, no leader can be asked.
    pub(crate) backup: Option<Backup>,
    /// What is recorded; without it, nothing can be.
    pub(crate) incident: Option<Incident>,
    /// How many compute a digest, and the most that did at once.
    pub(crate) computing: Arc<(AtomicUsize, AtomicUsize)>,
}

fn outcome(name: &str) -> Option<JsonOutcome> {
    let request_id = "x".to_owned();
    Some(match name {
        "committed" => JsonOutcome::Committed { index: Index(3), action: Some(json!({"a": [1, null]})) },
        "nothing" => JsonOutcome::Committed { index: Index(3), action: None },
        "rejected" => {
            JsonOutcome::Rejected { index: Index(3), message: "no".into(), rejection: json!({"message": "no"}) }
        }
        "failed" => JsonOutcome::Failed(Failure { message: "x is not defined".into(), at: Some("a.js:1".into()) }),
        "never_proposed" => JsonOutcome::NeverProposed("there was no leader".into()),
        "unknown" => JsonOutcome::Unknown { request_id },
        "not_visible" => JsonOutcome::NotVisible { request_id, index: Index(3) },
        "undecided" => JsonOutcome::Undecided { request_id },
        "forgotten" => JsonOutcome::Forgotten,
        "closed" => JsonOutcome::Closed { request_id: None },
        "cut_off" => JsonOutcome::Closed { request_id: Some(request_id) },
        "conflict" => JsonOutcome::Conflict { request_id },
        _ => return None,
    })
}

/// A change of members is called what comes of it.
fn changed(name: &str) -> Result<(), MemberError> {
    let (time, why) = (Duration::from_secs(10), "there was no leader".to_owned());
    match name {
        "pending" => Err(MemberError::Pending(time, why)),
        "refused" => Err(MemberError::Refused("it is the last voter".into())),
        "late" => Err(MemberError::Deadline(time, why)),
        "closed" => Err(MemberError::Closed),
        _ => Ok(()),
    }
}

impl Scripted {
    fn called(&self, method: &str) -> Result<JsonOutcome, CallError> {
        if method == "strict" {
            return Err(CallError::Arguments { name: method.into(), message: "takes 1 argument".into() });
        }
        outcome(method).ok_or_else(|| CallError::unknown_method(method, self.methods()))
    }
}

impl JsonNode for Scripted {
    fn id(&self) -> &str {
        "a"
    }

    fn methods(&self) -> Vec<String> {
        ["committed", "nothing", "rejected", "failed", "strict"].map(str::to_owned).to_vec()
    }

    fn perform(
        &self,
        method: &str,
        _: Vec<Value>,
        _: JsonPerform,
    ) -> Result<BoxFuture<'static, JsonOutcome>, CallError> {
        let mut outcome = self.called(method)?;
        if let (JsonOutcome::Committed { action: committed @ Some(_), .. }, Some(action)) = (&mut outcome, &self.action)
        {
            *committed = Some(action.clone());
        }
        Ok(Box::pin(async { outcome }))
    }

    fn propose(
        &self,
        method: &str,
        _: Vec<Value>,
        _: JsonPerform,
    ) -> Result<BoxFuture<'static, Result<JsonProposal, JsonOutcome>>, CallError> {
        let prediction = match self.called(method)? {
            JsonOutcome::Committed { action: Some(action), .. } => JsonPrediction::Action(action),
            JsonOutcome::Committed { action: None, .. } => JsonPrediction::Nothing,
            JsonOutcome::Rejected { message, rejection, .. } => JsonPrediction::Rejected { message, rejection },
            JsonOutcome::Failed(failure) => JsonPrediction::Failed(failure),
            other => return Ok(Box::pin(async { Err(other) })),
        };
        Ok(Box::pin(async { Ok(JsonProposal { request_id: "x".into(), prediction }) }))
    }

    fn outcome(&self, request_id: &str) -> BoxFuture<'static, JsonOutcome> {
        let outcome = outcome(request_id).unwrap_or(JsonOutcome::Forgotten);
        Box::pin(async { outcome })
    }

    fn state(&self) -> (Index, Value) {
        self.shown.fetch_add(1, Ordering::SeqCst);
        std::thread::sleep(self.show_time);
        assert!(!self.broken, "the state is broken");
        (Index(3), self.action.clone().unwrap_or_else(|| json!(["foo"])))
    }

    fn provisional_state(&self) -> (Index, Value) {
        self.state()
    }

    fn linearizable_state(&self) -> BoxFuture<'static, Result<(Index, Value), String>> {
        Box::pin(async { Err("no leader answered within 10s: there was no leader".into()) })
    }

    fn linearizable_index(&self) -> BoxFuture<'static, Result<Index, ReadError>> {
        let time = Duration::from_secs(10);
        Box::pin(async move { Err(ReadError::Deadline(time, "there was no leader".into())) })
    }

    fn state_at(&self, _: Index) -> Option<Value> {
        None
    }

    fn digest_at(&self, index: Index) -> Option<Digest> {
        assert!(!self.broken, "the state is broken");
        let (now, most) = &*self.computing;
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        // As if it were a large state.
        std::thread::sleep(Duration::from_millis(5));
        now.fetch_sub(1, Ordering::SeqCst);
        (index == Index(3)).then_some(Digest(7))
    }

    fn log(&self, _: usize) -> Vec<JsonChange> {
        Vec::new()
    }

    fn subscribe(&self, last: Option<Index>) -> BoxStream<'static, JsonNews> {
        let index = last.map_or(Index(4), Index::next);
        let action = self.action.clone().unwrap_or_else(|| json!("line\nbreak \u{2028}"));
        let change = JsonChange { index, action, origin: "b".into(), time_ms: 1_700_000_000_000 };
        futures_util::stream::iter([JsonNews::Change(change), JsonNews::Reset(index.plus(10))]).boxed()
    }

    fn status(&self) -> Status {
        let (role, leader) = self.status.unwrap_or((Role::Leader, Some("a")));
        Status {
            id: "a".into(),
            incarnation: Incarnation(u64::MAX),
            role,
            term: 2,
            leader: leader.map(Into::into),
            index: Index(3),
            agreed: Some(Index(2)),
            parted: 0,
            has_quorum: !self.is_alone,
            is_mending: self.is_mending,
            generation: 0,
            cluster: Some(u64::MAX),
            voters: vec!["a".into()],
            learners: vec!["b".into()],
            notice: None,
            stopped: (role == Role::Stopped).then(|| "the disk is full".into()),
        }
    }

    fn metrics(&self) -> Metrics {
        Metrics::nothing("a")
    }

    fn watch_status(&self) -> BoxStream<'static, Status> {
        futures_util::stream::iter([self.status()]).boxed()
    }

    fn backup(&self) -> BoxFuture<'static, Result<Backup, TakeError>> {
        let result = match (self.broken, &self.backup) {
            (true, _) => Err(TakeError::Save("it cannot".into())),
            (_, None) => Err(TakeError::Read(ReadError::Closed)),
            (_, Some(backup)) => Ok(backup.clone()),
        };
        Box::pin(async { result })
    }

    fn compact(&self) -> BoxFuture<'static, Result<Compacted, CompactError>> {
        let compacted = Compacted { index: Index(3), bytes: 100, log_entries: 2, took: Duration::from_millis(7) };
        let result = if self.broken { Err(CompactError::Stopped("the disk is full".into())) } else { Ok(compacted) };
        Box::pin(async { result })
    }

    fn incident(&self) -> BoxFuture<'static, Result<Incident, RecordError>> {
        let result = match &self.incident {
            Some(incident) => Ok(incident.clone()),
            None => Err(RecordError::Broken("it cannot".into())),
        };
        Box::pin(async { result })
    }

    fn members(&self) -> Vec<MemberStatus> {
        let member = MemberStatus {
            name: "a".into(),
            incarnation: Some(Incarnation(u64::MAX)),
            votes: true,
            seated: true,
            leads: true,
            caught_up: Some(true),
            silent: Some(Duration::from_millis(5)),
        };
        let missing = MemberStatus {
            name: "b".into(),
            incarnation: None,
            votes: false,
            leads: false,
            caught_up: None,
            silent: None,
            ..member.clone()
        };
        vec![member, missing]
    }

    fn add_member(&self, name: &str) -> BoxFuture<'static, Result<(), MemberError>> {
        let changed = changed(name);
        Box::pin(async { changed })
    }

    fn demote_member(&self, name: &str) -> BoxFuture<'static, Result<(), MemberError>> {
        self.add_member(name)
    }

    fn remove_member(&self, name: &str) -> BoxFuture<'static, Result<(), MemberError>> {
        self.add_member(name)
    }

    fn transfer_leadership(&self, to: Option<&str>) -> BoxFuture<'static, Result<NodeName, MemberError>> {
        let changed = changed(to.unwrap_or("done")).map(|()| "b".into());
        Box::pin(async { changed })
    }

    fn close(&self) -> BoxFuture<'static, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }
}
