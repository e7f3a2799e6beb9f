//! A perform on its way through the nodes, for whoever subscribes to tracing: one id, the request id, in all of them.
//!
//! Everything is of the target `conflux::perform` and of the level `DEBUG`:
//!
//! | | where | span or event | fields |
//! |-|-------|---------------|--------|
//! | 1 | origin | span `perform`, from the call to its answer | `request_id`, `node` |
//! | 2 | origin, to another node | event `sent` | `request_id`, `node`, `leader` |
//! | 3 | leader | span `decide`, from the decision to the commit | `request_id`, `node`, `term`, `batch`, `verdict` |
//! | 4 | every node | event `applied` | `request_id`, `node`, `verdict`, `index` (of the state afterwards) |
//! | 5 | origin, in the span `perform` | event `answered` | `outcome` |
//!
//! While nobody subscribes to that, it costs a look at statics: once for a whole batch or message, and once a call, whose
//! span is none then. That was 1.3 ns without a subscriber, and 1.5 ns with one that wants warnings only, of about 4 us
//! that a perform takes.

use conflux_core::{
    Batch, CallNumber, ChosenId, Container, NodeName, Record, RequestId, SessionId, SessionKey, Store, Verdict,
};
use tracing::{Level, Span};

use crate::message::{Calls, RemoteCall};
use crate::raft::Proposed;

const TARGET: &str = "conflux::perform";

/// Whether anybody wants to know.
pub(crate) fn is_on() -> bool {
    tracing::enabled!(target: TARGET, Level::DEBUG)
}

/// The way of one call, from here on; `None` while nobody wants to know.
pub(crate) fn perform(node: &NodeName, id: impl FnOnce() -> RequestId) -> Option<Box<Span>> {
    let span = || tracing::debug_span!(target: TARGET, "perform", request_id = %id(), node = &**node);
    is_on().then(|| Box::new(span()))
}

/// The end of the way of a call.
pub(crate) fn answered(span: Option<Box<Span>>, outcome: &'static str) {
    if let Some(span) = span {
        span.in_scope(|| tracing::debug!(target: TARGET, outcome, "answered"));
    }
}

fn id_of(session: &SessionId, number: CallNumber, chosen: Option<&ChosenId>) -> RequestId {
    match chosen {
        Some(chosen) => RequestId::Chosen(chosen.id.clone()),
        None => RequestId::Call(session.clone(), number),
    }
}

/// Calls leave for a leader elsewhere.
pub(crate) fn sent(node: &NodeName, leader: &NodeName, calls: &Calls) {
    if !is_on() {
        return;
    }
    for (number, call) in (calls.first.0..).map(CallNumber).zip(&calls.calls) {
        let RemoteCall::Run { chosen, .. } = call else { continue };
        let id = id_of(&calls.session, number, chosen.as_ref());
        tracing::debug!(target: TARGET, request_id = %id, node = &**node, leader = &**leader, "sent");
    }
}

/// The calls of a batch, with their ids and what became of them.
fn calls<'a, C: Container>(
    batch: &'a Batch<C>,
    store: &'a Store<C>,
) -> impl Iterator<Item = (RequestId, &'static str)> + 'a {
    let id = |session: SessionKey| store.sessions().get(session).map(conflux_core::Session::id);
    batch.records.iter().filter_map(move |record| match record {
        Record::Call { session, number, chosen, verdict, .. } => {
            Some((id_of(id(*session)?, *number, chosen.as_ref()), word(verdict)))
        }
        Record::Void { session, number, .. } => Some((id_of(id(*session)?, *number, None), "void")),
        Record::Open(_) | Record::Sweep { .. } | Record::Roster(_) => None,
    })
}

fn word<C: Container>(verdict: &Verdict<C>) -> &'static str {
    match verdict {
        Verdict::Action(_) => "action",
        Verdict::Nothing => "nothing",
        Verdict::Rejected(_) => "rejected",
        Verdict::Failed(_) => "failed",
        Verdict::Repeated => "repeated",
        Verdict::Conflict => "conflict",
    }
}

/// The calls of a batch that was made here, until it is known what becomes of it.
#[derive(Default)]
pub(crate) struct Decided(Vec<Span>);

impl Decided {
    pub(crate) fn of<C: Container>(node: &NodeName, term: u64, batch: &Batch<C>, store: &Store<C>) -> Decided {
        if !is_on() {
            return Decided::default();
        }
        let counter = batch.header.id.counter;
        let spans = calls(batch, store).map(|(id, verdict)| {
            tracing::debug_span!(
                target: TARGET, "decide", request_id = %id, node = &**node, term, batch = counter, verdict
            )
        });
        Decided(spans.collect())
    }

    pub(crate) fn end(self, proposed: Proposed) {
        for span in self.0 {
            span.in_scope(|| tracing::debug!(target: TARGET, proposed = ?proposed, "through"));
        }
    }
}

/// A batch took effect on a node, whose store is `store` now.
pub(crate) fn applied<C: Container>(node: &NodeName, batch: &Batch<C>, store: &Store<C>) {
    if is_on() {
        let index = store.index().0;
        for (id, verdict) in calls(batch, store) {
            tracing::debug!(target: TARGET, request_id = %id, node = &**node, verdict, index, "applied");
        }
    }
}
