//! One node, asked over HTTP.

use std::io::{BufRead, BufReader};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body, BodyReader};

use super::record::{Claim, Entry};

/// The longest answer that is taken, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

const CONNECT_TIME: Duration = Duration::from_secs(1);

#[derive(Clone, Debug)]
pub(super) struct Client {
    agent: Agent,
    base: String,
    /// Empty where nobody asks for it.
    authorization: String,
}

/// How a question ended without an answer.
#[derive(Clone, Debug)]
pub(super) enum Miss {
    /// It did not leave.
    Unreachable(String),
    /// It may have arrived.
    Lost(String),
}

/// An answer, whatever its status.
#[derive(Clone, Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Client {
    /// A client of the node at an address.
    pub(super) fn new(address: &str, token: Option<&str>) -> Client {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_connect(Some(CONNECT_TIME))
            .max_idle_connections_per_host(1)
            .build();
        let authorization = token.map_or_else(String::new, |token| format!("Bearer {token}"));
        Client { agent: config.new_agent(), base: format!("http://{address}"), authorization }
    }

    pub(super) fn get(&self, path: &str, patience: Duration) -> Result<Reply, Miss> {
        let request = self.agent.get(format!("{}{path}", self.base)).header("authorization", &self.authorization);
        read(request.config().timeout_global(Some(patience)).build().call())
    }

    pub(super) fn post(&self, path: &str, body: &Value, patience: Duration) -> Result<Reply, Miss> {
        let request = self.agent.post(format!("{}{path}", self.base)).content_type("application/json");
        let request = request.header("authorization", &self.authorization);
        read(request.config().timeout_global(Some(patience)).build().send(&body.to_string()))
    }

    /// A perform, and what was said of it.
    pub(super) fn perform(&self, method: &str, args: &Value, id: Option<&str>, timeout: Duration) -> (Claim, Reply) {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let mut body = json!({"method": method, "args": args, "timeout_ms": timeout_ms});
        if let Some(id) = id {
            body["request_id"] = id.into();
        }
        // A process that was stopped answers nothing.
        claim(self.post("/perform", &body, timeout + Duration::from_secs(1)))
    }

    /// What became of a call.
    pub(super) fn outcome(&self, id: &str, patience: Duration) -> Claim {
        // Ids that nodes give have slashes, which may stand in the path as they are.
        claim(self.get(&format!("/outcome/{id}"), patience)).0
    }

    /// What `GET /status` says.
    pub(super) fn status(&self) -> Option<Value> {
        let reply = self.get("/status", Duration::from_millis(500)).ok()?;
        (reply.status == 200).then_some(reply.body)
    }

    /// Committed actions, from after a place; `silence` is how long nothing may come.
    pub(super) fn subscribe(&self, last: &str, silence: Duration) -> Result<Events, Miss> {
        let request = self.agent.get(format!("{}/subscribe", self.base)).header("last-event-id", last);
        let request = request.header("authorization", &self.authorization);
        let request = request.config().timeout_recv_response(Some(silence)).timeout_per_read(Some(silence)).build();
        let response = request.call().map_err(miss)?;
        if response.status() != StatusCode::OK {
            return Err(Miss::Lost(format!("/subscribe answered {}", response.status())));
        }
        let body = response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Events { lines: BufReader::new(body) })
    }
}

/// Server-sent events, as they come.
pub(super) struct Events {
    lines: BufReader<BodyReader<'static>>,
}

/// One of them.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) kind: String,
    pub(super) id: String,
    pub(super) data: String,
}

impl Events {
    /// The next one; `None` when the connection is at its end.
    pub(super) fn next(&mut self) -> Option<Event> {
        let mut event = Event::default();
        loop {
            let mut line = String::new();
            // What was not told to its end was not told.
            if self.lines.read_line(&mut line).is_err() || !line.ends_with('\n') {
                return None;
            }
            let line = line.trim_end_matches('\n');
            match line.split_once(": ") {
                Some(("event", kind)) => kind.clone_into(&mut event.kind),
                Some(("id", id)) => id.clone_into(&mut event.id),
                Some(("data", data)) => event.data.push_str(data),
                _ if line.is_empty() && !event.data.is_empty() => return Some(event),
                _ if line.is_empty() => event = Event::default(),
                _ => {}
            }
        }
    }
}

fn read(response: Result<Response<Body>, ureq::Error>) -> Result<Reply, Miss> {
    let response = response.map_err(miss)?;
    let (head, body) = response.into_parts();
    let bytes = body.into_with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
    let bytes = bytes.map_err(|error| Miss::Lost(error.to_string()))?;
    let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
    Ok(Reply { status: head.status.as_u16(), body: serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) })
}

fn miss(error: ureq::Error) -> Miss {
    use std::io::ErrorKind::ConnectionRefused;
    let text = error.to_string();
    match error {
        ureq::Error::ConnectionFailed | ureq::Error::Timeout(ureq::Timeout::Connect) => Miss::Unreachable(text),
        ureq::Error::Io(error) if error.kind() == ConnectionRefused => Miss::Unreachable(text),
        _ => Miss::Lost(text),
    }
}

fn claim(reply: Result<Reply, Miss>) -> (Claim, Reply) {
    match reply {
        Ok(reply) => (claim_of(&reply), reply),
        Err(Miss::Unreachable(why)) => (Claim::Unreachable, Reply { status: 0, body: why.into() }),
        Err(Miss::Lost(why)) => (Claim::Lost, Reply { status: 0, body: why.into() }),
    }
}

/// What an answer to `/perform` or `/outcome` says.
fn claim_of(reply: &Reply) -> Claim {
    let Reply { status, body } = reply;
    let error = &body["error"];
    let odd = || Claim::Odd(format!("status {status}: {}", body.to_string().chars().take(300).collect::<String>()));
    let index = |value: &Value| value["index"].as_u64();
    match (status, error["code"].as_str().or(body["code"].as_str())) {
        (200, None) => match (index(body), &body["action"]) {
            (Some(index), Value::Null) => Claim::Done { index, entry: None },
            (Some(index), action) => {
                Entry::of_action(action).map_or_else(odd, |entry| Claim::Done { index, entry: Some(entry) })
            }
            _ => odd(),
        },
        (202, Some("not_visible")) => index(body).map_or_else(odd, |index| Claim::NotVisible { index }),
        (409, Some("rejected")) => match index(error) {
            Some(index) => Claim::Rejected { index, seen: find_seen(&error["rejection"]) },
            None => odd(),
        },
        (409, Some("conflict")) => Claim::Conflict,
        (500, Some("failed")) => Claim::Failed,
        (503, Some("never_proposed")) => Claim::NeverProposed,
        (503, Some("closed" | "busy" | "not_ready")) => Claim::Busy,
        (504, Some("unknown")) => Claim::Unknown,
        (404, Some("undecided")) => Claim::Undecided,
        (410, Some("forgotten")) => Claim::Forgotten,
        _ => odd(),
    }
}

/// What the method gave as the place it saw.
fn find_seen(rejection: &Value) -> Option<u64> {
    rejection["data"]["seen"].as_u64().or_else(|| rejection["seen"].as_u64())
}

#[cfg(test)]
mod tests {
    use super::super::record::Tag;
    use super::*;

    #[test]
    fn answers_are_told_apart() {
        let claim = |status, body| claim_of(&Reply { status, body });
        let entry = Entry { tag: Tag { caller: 1, number: 7 }, seen: 8 };
        let action = json!({"type": "APPEND", "tag": "1.7", "seen": 8});
        assert_eq!(claim(200, json!({"index": 9, "action": action})), Claim::Done { index: 9, entry: Some(entry) });
        assert_eq!(claim(200, json!({"index": 9, "action": null})), Claim::Done { index: 9, entry: None });
        let rejected = json!({"error": {"code": "rejected", "index": 3, "rejection": {"data": {"seen": 3}}}});
        assert_eq!(claim(409, rejected), Claim::Rejected { index: 3, seen: Some(3) });
        assert_eq!(claim(409, json!({"error": {"code": "conflict"}})), Claim::Conflict);
        for (status, body) in [
            (200, json!({"index": 9, "action": {"tag": 5}})),
            (307, json!({"error": {"code": "not_the_leader"}})),
            (500, json!({"error": {"code": "unknown"}})),
            (200, Value::String("<html>".into())),
        ] {
            assert!(matches!(claim(status, body), Claim::Odd(_)), "{status}");
        }
    }
}
