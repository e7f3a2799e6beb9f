//! Figures for Prometheus, in its text format.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use conflux::metrics::{Distribution, LogMetrics};
use conflux::{Metrics, Role};

use crate::routes::Front;

/// What was answered since the router was made.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// By path and status; both are few.
    answered: Mutex<BTreeMap<(&'static str, u16), u64>>,
    /// By the word for the outcome.
    performs: Mutex<BTreeMap<&'static str, u64>>,
    events: AtomicU64,
    resets: AtomicU64,
}

impl Counters {
    pub(crate) fn answered(&self, path: &'static str, status: StatusCode) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        *answered.entry((path, status.as_u16())).or_default() += 1;
    }

    pub(crate) fn performed(&self, outcome: &'static str) {
        *self.performs.lock().unwrap_or_else(PoisonError::into_inner).entry(outcome).or_default() += 1;
    }

    pub(crate) fn sent(&self, events: u64, resets: u64) {
        self.events.fetch_add(events, Ordering::Relaxed);
        self.resets.fetch_add(resets, Ordering::Relaxed);
    }
}

/// `GET /metrics`.
pub(crate) async fn metrics(State(front): State<Arc<Front>>) -> impl IntoResponse {
    let mut text = render(&front);
    if let Some(more) = &front.options.metrics {
        more(&mut text);
    }
    ([("content-type", "text/plain; version=0.0.4; charset=utf-8"), ("cache-control", "no-store")], text)
}

fn render(front: &Front) -> String {
    let mut page = Page(String::with_capacity(16 << 10));
    let metrics = front.node.metrics();
    let id = metrics.node.clone();
    let node = [("node", &*id)];
    render_node(&mut page, &metrics, &node);
    render_load(&mut page, &metrics, &node);
    render_below(&mut page, &metrics, &node);

    let Counters { answered, performs, events, resets } = &front.counters;
    page.family("conflux_http_requests_total", "counter", "Requests that were answered, by path and status.");
    for ((path, status), count) in &*answered.lock().unwrap_or_else(PoisonError::into_inner) {
        let labels = [("node", &*id), ("path", path), ("status", &status.to_string())];
        page.sample("conflux_http_requests_total", &labels, count);
    }
    page.family("conflux_http_performs_total", "counter", "Performs over HTTP, by outcome.");
    for (outcome, count) in &*performs.lock().unwrap_or_else(PoisonError::into_inner) {
        page.sample("conflux_http_performs_total", &[("node", &*id), ("outcome", outcome)], count);
    }
    let limits = &front.options.limits;
    let busy = front.in_flight.taken();
    page.one("conflux_http_requests_in_flight", "gauge", "Requests that have not been answered.", &node, busy);
    let subscribers = limits.subscribers_max.saturating_sub(front.subscribers.available_permits());
    page.one("conflux_http_subscribers", "gauge", "Subscribers that are connected.", &node, subscribers);
    let events = events.load(Ordering::Relaxed);
    page.one("conflux_http_events_total", "counter", "Events that were sent to subscribers.", &node, events);
    let resets = resets.load(Ordering::Relaxed);
    page.one("conflux_http_resets_total", "counter", "Resets among those events.", &node, resets);
    page.0
}

/// What the node is, and how far.
fn render_node(page: &mut Page, metrics: &Metrics, node: &[(&str, &str)]) {
    let id = node[0];
    page.family("conflux_node_role", "gauge", "What the node is: 1 for its role.");
    for each in [Role::Waiting, Role::Leader, Role::Follower, Role::Candidate, Role::Learner, Role::Stopped] {
        let is = u8::from(each == metrics.role);
        page.sample("conflux_node_role", &[id, ("role", &each.to_string())], is);
    }
    page.one("conflux_node_term", "gauge", "The Raft term that the node is in.", node, metrics.term);
    let known = u8::from(metrics.leader.is_some());
    page.one("conflux_node_leader_known", "gauge", "Whether the node knows of a leader.", node, known);
    let help = "Whether a majority of the voters is heard, as far as the node can tell.";
    page.one("conflux_node_has_quorum", "gauge", help, node, u8::from(metrics.has_quorum));
    page.family("conflux_node_leader", "gauge", "The leader that the node knows of: 1 for its name.");
    if let Some(leader) = &metrics.leader {
        page.sample("conflux_node_leader", &[id, ("leader", leader)], 1);
    }
    page.one("conflux_node_index", "gauge", "The place of the node's committed state.", node, metrics.index);
    let help = "The last place at which most voters had the same state.";
    page.one("conflux_node_agreed_index", "gauge", help, node, metrics.agreed.unwrap_or_default());
    let help = "How often the node's state was another than that of most voters, and replaced by theirs.";
    page.one("conflux_node_parted_total", "counter", help, node, metrics.parted);
    page.one("conflux_node_voters", "gauge", "How many members vote.", node, metrics.voters);
    page.one("conflux_node_learners", "gauge", "How many members follow without a vote.", node, metrics.learners);

    let LogMetrics { last, committed, applied, snapshot, purged, entries, bytes } = metrics.log;
    page.family(
        "conflux_log_index",
        "gauge",
        "Indexes of the log, by what is there: the engine's, not those of actions.",
    );
    for (what, index) in
        [("last", last), ("committed", committed), ("applied", applied), ("snapshot", snapshot), ("purged", purged)]
    {
        if let Some(index) = index {
            page.sample("conflux_log_index", &[id, ("what", what)], index);
        }
    }
    page.one("conflux_log_entries", "gauge", "Entries in the log.", node, entries);
    page.one("conflux_log_bytes", "gauge", "Bytes of the batches in the log.", node, bytes);
}

/// What it does, and what waits.
fn render_load(page: &mut Page, metrics: &Metrics, node: &[(&str, &str)]) {
    page.family("conflux_performs_total", "counter", "Performs of this node that were answered, by outcome.");
    let answers = metrics.answers;
    for (outcome, count) in [
        ("committed", answers.committed),
        ("nothing", answers.nothing),
        ("rejected", answers.rejected),
        ("failed", answers.failed),
        ("never_proposed", answers.never_proposed),
        ("unknown", answers.unknown),
        ("not_visible", answers.not_visible),
        ("conflict", answers.conflict),
        ("closed", answers.closed),
    ] {
        page.sample("conflux_performs_total", &[node[0], ("outcome", outcome)], count);
    }
    let help = "Performs of this node on their way.";
    page.one("conflux_performs_in_flight", "gauge", help, node, metrics.calls_in_flight);
    let help = "Calls from other nodes that wait for the sequencer here.";
    page.one("conflux_inbound_calls", "gauge", help, node, metrics.inbound_calls);
    page.one("conflux_inbound_bytes", "gauge", "The bytes of those calls.", node, metrics.inbound_bytes);
    let help = "Messages with calls from other nodes that found no room and are sent again.";
    page.one("conflux_inbound_dropped_total", "counter", help, node, metrics.inbound_dropped);
    let help = "Batches of this node's sequencer on their way through the log.";
    page.one("conflux_batches_in_flight", "gauge", help, node, metrics.batches_in_flight);
    page.histogram(
        "conflux_batch_calls",
        "Calls in each batch that was proposed here.",
        node,
        &metrics.batch_calls,
        1.0,
    );
    let help = "How long the methods and reducers of each batch took.";
    page.histogram("conflux_batch_decide_seconds", help, node, &metrics.batch_decide_us, MICRO);
    let help = "How long each batch took from then until it was committed and applied here.";
    page.histogram("conflux_batch_commit_seconds", help, node, &metrics.batch_commit_us, MICRO);
    let help = "How often the sequencer began anew from the applied state.";
    page.one("conflux_forks_total", "counter", help, node, metrics.forks);
}

/// What lies under it: the disk, snapshots, connections.
fn render_below(page: &mut Page, metrics: &Metrics, node: &[(&str, &str)]) {
    if let Some(disk) = &metrics.disk {
        page.histogram("conflux_disk_sync_seconds", "How long each sync of the log took.", node, &disk.sync_us, MICRO);
        let help = "Changes that went out with each write.";
        page.histogram("conflux_disk_group_changes", help, node, &disk.group_changes, 1.0);
        let help = "Changes that wait to be written.";
        page.one("conflux_disk_changes_waiting", "gauge", help, node, disk.changes_waiting);
    }
    let help = "How long each snapshot took that was built here.";
    page.histogram("conflux_snapshot_build_seconds", help, node, &metrics.snapshot_build_us, MICRO);
    let help = "How long it took to copy the state, whenever it was to be changed and somebody held it.";
    page.histogram("conflux_state_copy_seconds", help, node, &metrics.state_copy_us, MICRO);
    let help = "How long each snapshot took to be taken up that came from the leader.";
    page.histogram("conflux_snapshot_install_seconds", help, node, &metrics.snapshot_install_us, MICRO);
    page.one("conflux_snapshot_bytes", "gauge", "Bytes of the newest snapshot.", node, metrics.snapshot_bytes);

    let channel = metrics.channel;
    page.one("conflux_channel_connections", "gauge", "Connections to other nodes.", node, channel.connected);
    let help = "Connections that were made again.";
    page.one("conflux_channel_reconnects_total", "counter", help, node, channel.reconnects);
    let help = "Frames that were handed to the system.";
    page.one("conflux_channel_frames_sent_total", "counter", help, node, channel.frames_sent);
    let help = "Frames that are known to be lost on their way out.";
    page.one("conflux_channel_frames_lost_total", "counter", help, node, channel.frames_lost);
    let help = "Frames that wait on their way out.";
    page.one("conflux_channel_frames_waiting", "gauge", help, node, channel.frames_waiting);
    let help = "Frames that came and found no room.";
    page.one("conflux_channel_inbox_lost_total", "counter", help, node, channel.inbox_lost);
    let help = "Frames that came and were refused: damaged, hostile, or of another version.";
    page.one("conflux_wire_frames_refused_total", "counter", help, node, metrics.wire.refused());
    let help = "Messages that were dropped half received.";
    page.one("conflux_wire_messages_abandoned_total", "counter", help, node, metrics.wire.partials_abandoned);
    let help = "Requests to other nodes that wait for their answer.";
    page.one("conflux_wire_requests_pending", "gauge", help, node, metrics.wire.requests_pending);
}

/// A microsecond, in seconds.
const MICRO: f64 = 1e-6;

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes everything");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, labels: &[(&str, &str)], value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, labels, value);
    }

    /// `unit`: what one is, in the unit of the name.
    fn histogram(&mut self, name: &str, help: &str, labels: &[(&str, &str)], values: &Distribution, unit: f64) {
        self.family(name, "histogram", help);
        let bucket = format!("{name}_bucket");
        let mut below = 0;
        for (nth, count) in values.counts.iter().enumerate() {
            below += count;
            let bound = values.bounds.get(nth).map_or("+Inf".to_owned(), |bound| seconds(*bound, unit).to_string());
            self.sample(&bucket, &[labels, &[("le", &bound)]].concat(), below);
        }
        self.sample(&format!("{name}_sum"), labels, seconds(values.sum, unit));
        self.sample(&format!("{name}_count"), labels, below);
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        self.0.push_str(name);
        for (nth, (label, text)) in labels.iter().enumerate() {
            let before = if nth == 0 { '{' } else { ',' };
            // A node's name is any text.
            let text = text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            write!(self.0, "{before}{label}=\"{text}\"").expect("a string takes everything");
        }
        writeln!(self.0, "}} {value}").expect("a string takes everything");
    }
}

/// A value in the unit of its name. Both are whole multiples of a microsecond, and shown as such.
#[expect(clippy::cast_precision_loss, reason = "only sums beyond 2^53 microseconds lose any")]
fn seconds(value: u64, unit: f64) -> f64 {
    if unit == 1.0 { value as f64 } else { value as f64 / (1.0 / unit).round() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_add_up() {
        let mut page = Page(String::new());
        let values = Distribution { bounds: &[50, 2_500], counts: vec![1, 0, 2], sum: 6_000_050 };
        page.histogram("x_seconds", "Help.", &[("node", "a")], &values, MICRO);
        let lines: Vec<&str> = page.0.lines().collect();
        let expected = [
            "# HELP x_seconds Help.",
            "# TYPE x_seconds histogram",
            "x_seconds_bucket{node=\"a\",le=\"0.00005\"} 1",
            "x_seconds_bucket{node=\"a\",le=\"0.0025\"} 1",
            "x_seconds_bucket{node=\"a\",le=\"+Inf\"} 3",
            "x_seconds_sum{node=\"a\"} 6.00005",
            "x_seconds_count{node=\"a\"} 3",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn labels_are_escaped() {
        let mut page = Page(String::new());
        page.one("x", "gauge", "Help.", &[("node", "a\"\\\nb"), ("y", "z")], 3);
        assert_eq!(page.0, "# HELP x Help.\n# TYPE x gauge\nx{node=\"a\\\"\\\\\\nb\",y=\"z\"} 3\n");
    }
}
