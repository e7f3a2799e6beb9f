//! Committed actions, followed over HTTP.

use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

use conflux::{Index, JsonChange, JsonEvent};
use serde::Deserialize;
use serde_json::Value;
use ureq::BodyReader;
use ureq::http::StatusCode;

use super::{ANSWER_BYTES_MAX, Answer, Backoff, Client, ClientError, ERROR_BYTES_MAX, Miss, json, miss, refusal};

/// How long a subscriber may hear nothing: nodes send a comment every 15 s unless told otherwise.
const SILENCE: Duration = Duration::from_secs(60);
/// How long no node may be reachable before following is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the head of the answer may take.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// The committed actions, in order and without holes: an iterator that waits for the next one.
///
/// When a connection breaks, the next address is tried, from where it stopped. It ends after an error: when no node has
/// been reachable for a minute, or one refused.
pub struct Events {
    client: Client,
    /// What was seen last, as the nodes write it; empty before anything was.
    last_id: String,
    /// The place of what was seen last.
    last: Option<Index>,
    source: Option<Source>,
    /// The address to be tried next.
    turn: usize,
    over: bool,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").field("client", &self.client).field("last", &self.last).finish_non_exhaustive()
    }
}

/// One connection.
struct Source {
    address: String,
    lines: BufReader<BodyReader<'static>>,
}

/// What one read of a connection gave.
enum Frame {
    Event(JsonEvent),
    /// The connection is at its end.
    End,
}

impl Events {
    pub(super) fn open(client: Client, last: Option<Index>) -> Result<Events, ClientError> {
        let last_id = last.map(|last| last.to_string()).unwrap_or_default();
        let mut events = Events { client, last_id, last, source: None, turn: 0, over: false };
        events.connect()?;
        Ok(events)
    }

    /// The place of the last event, or the one that was begun from, once it is known.
    #[must_use]
    pub fn place(&self) -> Option<Index> {
        self.last
    }

    /// Tries every address once, the one that is next in turn first.
    fn connect(&mut self) -> Result<(), ClientError> {
        let mut tried = Vec::new();
        let mut refused = None;
        for _ in 0..self.client.addresses.len() {
            let address = self.client.addresses[self.turn].clone();
            self.turn = (self.turn + 1) % self.client.addresses.len();
            let request = self.client.agent.get(address.join("/subscribe")).config();
            let request = request.timeout_recv_response(Some(HEAD_TIME)).timeout_per_read(Some(SILENCE)).build();
            let mut request = self.client.with_token(request).header("accept", "text/event-stream");
            if !self.last_id.is_empty() {
                request = request.header("last-event-id", &self.last_id);
            }
            match request.call() {
                Ok(response) if response.status() == StatusCode::OK => {
                    let lines = BufReader::new(response.into_body().into_with_config().limit(u64::MAX).reader());
                    self.source = Some(Source { address: address.to_string(), lines });
                    return Ok(());
                }
                Ok(response) => {
                    let (head, body) = response.into_parts();
                    let body = body.into_with_config().limit(ERROR_BYTES_MAX).read_to_vec().unwrap_or_default();
                    let answer = Answer { status: head.status, body: body.into() };
                    let error = refusal(&address, answer.status, &answer.body);
                    // What stands in front of a node, and cannot reach it.
                    let of_a_gateway =
                        answer.status.is_server_error() && matches!(error, ClientError::BadAnswer { .. });
                    if of_a_gateway {
                        tried.push((address.to_string(), error.to_string()));
                        continue;
                    }
                    if !super::may_go_on(&error) {
                        return Err(error);
                    }
                    refused = Some(error);
                }
                Err(error) => match miss(error) {
                    Miss::Unreachable(cause) | Miss::Lost(cause) => tried.push((address.to_string(), cause)),
                },
            }
        }
        Err(refused.unwrap_or(ClientError::Unreachable { tried }))
    }

    /// Connects again, and again, for as long as there is patience.
    fn reconnect(&mut self) -> Result<(), ClientError> {
        let mut backoff = Backoff::default();
        let deadline = Instant::now() + PATIENCE;
        loop {
            std::thread::sleep(backoff.next());
            match self.connect() {
                Err(ClientError::Unreachable { .. }) if Instant::now() < deadline => {}
                Err(error) if super::may_go_on(&error) && Instant::now() < deadline => {}
                done => return done,
            }
        }
    }

    fn event(&mut self) -> Result<JsonEvent, ClientError> {
        loop {
            let Some(source) = &mut self.source else {
                self.reconnect()?;
                continue;
            };
            match source.frame(&mut self.last_id, &mut self.last)? {
                Frame::Event(event) => return Ok(event),
                Frame::End => self.source = None,
            }
        }
    }
}

impl Iterator for Events {
    type Item = Result<JsonEvent, ClientError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.over {
            return None;
        }
        let event = self.event();
        self.over = event.is_err();
        Some(event)
    }
}

#[derive(Deserialize)]
struct ChangeData {
    index: Index,
    action: Value,
    origin: String,
    time_ms: u64,
}

#[derive(Deserialize)]
struct ResetData {
    index: Index,
    state: Value,
}

impl Source {
    fn bad(&self, problem: impl Into<String>) -> ClientError {
        ClientError::BadAnswer { address: self.address.clone(), problem: problem.into() }
    }

    /// Reads up to the next event.
    fn frame(&mut self, last_id: &mut String, last: &mut Option<Index>) -> Result<Frame, ClientError> {
        let (mut kind, mut data) = (String::new(), String::new());
        let mut id: Option<String> = None;
        loop {
            let mut line = Vec::new();
            let read = (&mut self.lines).take(ANSWER_BYTES_MAX).read_until(b'\n', &mut line);
            if read.is_err() || line.last() != Some(&b'\n') {
                if line.len() as u64 == ANSWER_BYTES_MAX {
                    return Err(self.bad(format!("an event is longer than {ANSWER_BYTES_MAX} bytes")));
                }
                // What was not told to its end was not told.
                return Ok(Frame::End);
            }
            line.pop();
            let line = String::from_utf8(line).map_err(|_| self.bad("an event is no UTF-8 text"))?;
            match line.split_once(':') {
                None if line.is_empty() => {
                    let event = if data.is_empty() { None } else { Some(self.event(&kind, &data, *last)?) };
                    if let Some(id) = id.take() {
                        *last = Some(self.place_of(&id)?);
                        *last_id = id;
                    }
                    if let Some(event) = event {
                        return Ok(Frame::Event(event));
                    }
                    kind.clear();
                }
                Some(("event", text)) => kind = text.trim_start().to_owned(),
                Some(("data", text)) => data.push_str(text.strip_prefix(' ').unwrap_or(text)),
                Some(("id", text)) => id = Some(text.trim_start().to_owned()),
                // Comments, `retry`, and what later versions may add.
                _ => {}
            }
        }
    }

    fn place_of(&self, id: &str) -> Result<Index, ClientError> {
        let place = id.split_once('-').and_then(|(_, place)| place.parse().ok());
        place.map(Index).ok_or_else(|| self.bad(format!("the id {id:?} of an event is not as 3f9a.0-17")))
    }

    fn event(&self, kind: &str, data: &str, last: Option<Index>) -> Result<JsonEvent, ClientError> {
        let bad = |error: String| self.bad(format!("an event cannot be read: {error}"));
        match kind {
            "change" => {
                let ChangeData { index, action, origin, time_ms } = json::read(data.as_bytes()).map_err(bad)?;
                if last.is_some_and(|last| last.0.checked_add(1) != Some(index.0)) {
                    let last = last.unwrap_or_default();
                    return Err(self.bad(format!("the action {index} came after {last}: that is not the next one")));
                }
                Ok(JsonEvent::Change(JsonChange { index, action, origin, time_ms }))
            }
            "reset" => {
                let ResetData { index, state } = json::read(data.as_bytes()).map_err(bad)?;
                Ok(JsonEvent::Reset { index, state })
            }
            kind => Err(self.bad(format!("an event is of the kind {kind:?}: it is newer than this client"))),
        }
    }
}
