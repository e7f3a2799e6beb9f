//! Committed actions as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Response, Uri};
use bytes::Bytes;
use conflux::{Index, JsonChange, JsonEvent};
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use crate::answer::Refused;
use crate::read::{blocking, parameters};
use crate::routes::Front;
use crate::serve::Ending;

/// Events that are ready are sent together up to about so many bytes.
const CHUNK_BYTES: usize = 16 << 10;

/// How long a client waits before it connects again, unless it knows better.
const RETRY_MS: u32 = 1_000;

/// The id of an event: which history, and the place in it. Written `0-17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EventId {
    /// `None` where only a place was told: then it is of the present history.
    generation: Option<u64>,
    index: Index,
}

impl EventId {
    fn parse(text: &str) -> Option<EventId> {
        let number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten();
        match text.split_once('-') {
            Some((generation, index)) => {
                Some(EventId { generation: Some(number(generation)?), index: Index(number(index)?) })
            }
            None => Some(EventId { generation: None, index: Index(number(text)?) }),
        }
    }
}

/// `GET /subscribe`.
pub(crate) async fn subscribe(
    State(front): State<Arc<Front>>,
    ending: Option<Extension<Ending>>,
    headers: HeaderMap,
    uri: Uri,
) -> Result<Response<Body>, Refused> {
    let start = start(&headers, &uri)?;
    let permit = front.subscribers.clone().try_acquire_owned();
    let permit = permit.map_err(|_| Refused::busy("too many subscribers are connected; try again in a moment"))?;
    let status = front.node.status();
    let generation = status.generation;
    let mut first = format!("retry: {RETRY_MS}\n");
    let last = match start {
        Some(EventId { generation: Some(seen), .. }) if seen != generation => {
            // What that place was in another history says nothing in this one.
            let node = front.node.clone();
            let (index, state) = blocking(move || node.state()).await?;
            first.push('\n');
            write_event(&mut first, generation, "reset", index, &json!({"index": index, "state": state}));
            front.counters.sent(1, 1);
            index
        }
        // An id without data is no event, but what a client resumes from: so it misses nothing before its first one.
        start => {
            let last = start.map_or(status.index, |id| id.index);
            first.push_str(&format!("id: {generation}-{last}\n\n"));
            last
        }
    };
    let events = front.node.subscribe(Some(last));
    let keep_alive = front.options.limits.keep_alive;
    let ending = ending.map(|Extension(ending)| ending);
    let feed = Feed { front, generation, events, ending, keep_alive, _permit: permit };
    let body = futures_util::stream::once(async move { Bytes::from(first) }).chain(feed.chunks());
    let mut response = Response::new(Body::from_stream(body.map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that know it send events on at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Where to begin: what a client has seen last, else what it asks for, else the present.
fn start(headers: &HeaderMap, uri: &Uri) -> Result<Option<EventId>, Refused> {
    let [from] = parameters(uri, ["from"])?;
    let resumed = headers.get("last-event-id").map(|id| String::from_utf8_lossy(id.as_bytes()).into_owned());
    let (name, text) = match (resumed.filter(|id| !id.is_empty()), from) {
        (Some(id), _) => ("Last-Event-ID", id),
        (None, Some(from)) => ("from", from),
        (None, None) => return Ok(None),
    };
    EventId::parse(&text).map(Some).ok_or_else(|| {
        let message = format!("{name} is the index of the last action you know, as 17 or 0-17, but {text:?} came");
        Refused::bad("bad_event_id", message)
    })
}

fn write_event(text: &mut String, generation: u64, kind: &str, index: Index, data: &Value) {
    use std::fmt::Write;
    // JSON has no line ends of its own when it is written compactly, so one line of data is enough.
    write!(text, "id: {generation}-{index}\nevent: {kind}\ndata: {data}\n\n").expect("a string takes everything");
}

/// One subscriber.
struct Feed {
    front: Arc<Front>,
    /// Of the history that the events are of.
    generation: u64,
    events: BoxStream<'static, JsonEvent>,
    ending: Option<Ending>,
    keep_alive: Duration,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    fn chunks(self) -> impl futures_core::Stream<Item = Bytes> {
        futures_util::stream::unfold(self, |mut feed| async move {
            let chunk = feed.next().await?;
            Some((chunk, feed))
        })
    }

    /// The next events that are ready, or a comment when there are none for long.
    async fn next(&mut self) -> Option<Bytes> {
        let ended = async {
            match &mut self.ending {
                Some(ending) => ending.begins().await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            biased;
            () = ended => return None,
            event = self.events.next() => event?,
            () = tokio::time::sleep(self.keep_alive) => return Some(Bytes::from_static(b":\n\n")),
        };
        let mut text = String::new();
        let mut next = Some(event);
        let (mut events, mut resets) = (0, 0);
        while let Some(event) = next {
            events += 1;
            match event {
                JsonEvent::Change(JsonChange { index, action, origin, time_ms }) => {
                    let data = json!({"index": index, "action": action, "origin": origin, "time_ms": time_ms});
                    write_event(&mut text, self.generation, "change", index, &data);
                }
                JsonEvent::Reset { index, state } => {
                    resets += 1;
                    // A snapshot may have come from a history that was taken up again.
                    self.generation = self.front.node.status().generation;
                    write_event(&mut text, self.generation, "reset", index, &json!({"index": index, "state": state}));
                }
            }
            next = if text.len() < CHUNK_BYTES { self.events.next().now_or_never().flatten() } else { None };
        }
        self.front.counters.sent(events, resets);
        Some(text.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_are_numbers() {
        let id = |generation, index| Some(EventId { generation, index: Index(index) });
        assert_eq!(EventId::parse("17"), id(None, 17));
        assert_eq!(EventId::parse("0-17"), id(Some(0), 17));
        assert_eq!(EventId::parse("18446744073709551615"), id(None, u64::MAX));
        for text in ["", "-", "-1", "0-", "+1", "1-2-3", "1 ", "0x1", "18446744073709551616", "a"] {
            assert_eq!(EventId::parse(text), None, "{text:?}");
        }
    }
}
