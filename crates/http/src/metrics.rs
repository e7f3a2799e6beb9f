//! Figures for Prometheus, in its text format.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use conflux::{Role, Status};

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
    let mut page = Page(String::with_capacity(4096));
    let Status { id, role, term, leader, index, agreed, parted, voters, learners, .. } = front.node.status();
    page.family("conflux_node_role", "gauge", "What the node is: 1 for its role.");
    for each in [Role::Waiting, Role::Leader, Role::Follower, Role::Candidate, Role::Learner, Role::Stopped] {
        page.sample("conflux_node_role", &[("node", &*id), ("role", &each.to_string())], u8::from(each == role));
    }
    let node = [("node", &*id)];
    page.one("conflux_node_term", "gauge", "The Raft term that the node is in.", &node, term);
    let known = u8::from(leader.is_some());
    page.one("conflux_node_leader_known", "gauge", "Whether the node knows of a leader.", &node, known);
    page.one("conflux_node_index", "gauge", "The place of the node's committed state.", &node, index);
    let help = "The last place at which most voters had the same state.";
    page.one("conflux_node_agreed_index", "gauge", help, &node, agreed.unwrap_or_default());
    let help = "How often the node's state was another than that of most voters, and replaced by theirs.";
    page.one("conflux_node_parted_total", "counter", help, &node, parted);
    page.one("conflux_node_voters", "gauge", "How many members vote.", &node, voters.len());
    page.one("conflux_node_learners", "gauge", "How many members follow without a vote.", &node, learners.len());

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

struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes everything");
    }

    fn one(&mut self, name: &str, kind: &str, help: &str, labels: &[(&str, &str)], value: impl Display) {
        self.family(name, kind, help);
        self.sample(name, labels, value);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        let mut page = Page(String::new());
        page.one("x", "gauge", "Help.", &[("node", "a\"\\\nb"), ("y", "z")], 3);
        assert_eq!(page.0, "# HELP x Help.\n# TYPE x gauge\nx{node=\"a\\\"\\\\\\nb\",y=\"z\"} 3\n");
    }
}
