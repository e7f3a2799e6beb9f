//! Committed actions as server-sent events.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, Response, Uri};
use bytes::Bytes;
use conflux::{Index, JsonChange, JsonNews, ReadError, Status};
use futures_core::future::BoxFuture;
use futures_core::stream::BoxStream;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use crate::answer::Refused;
use crate::read::parameters;
use crate::routes::Front;
use crate::serve::Ending;
use crate::shown::Shown;

/// Events that are ready are sent together up to about so many bytes.
const CHUNK_BYTES: usize = 16 << 10;

/// How long a client waits before it connects again, unless it knows better.
const RETRY_MS: u32 = 1_000;

/// How long to wait before a read that failed for want of a leader is tried again.
const PAUSE: Duration = Duration::from_secs(1);

/// Which history a place is in. Clusters are told apart by their ids, and one that is begun anew from what was left of
/// another, or from a backup, by the generation, too. Written `3f9a.0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct History {
    cluster: u64,
    generation: u64,
}

impl History {
    /// Of a node that has not been let into a cluster, no history is known yet: then it is that of no cluster.
    pub(crate) fn of(status: &Status) -> History {
        History { cluster: status.cluster.unwrap_or(0), generation: status.generation }
    }

    fn parse(text: &str) -> Option<History> {
        let (cluster, generation) = text.split_once('.')?;
        let digits = cluster.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        let cluster = digits.then(|| u64::from_str_radix(cluster, 16).ok()).flatten()?;
        Some(History { cluster, generation: number(generation)? })
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{}", self.cluster, self.generation)
    }
}

/// The id of an event: which history, and the place in it. Written `3f9a.0-17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct EventId {
    /// `None` where only a place was told: then it is of the present history.
    history: Option<History>,
    index: Index,
}

impl EventId {
    fn parse(text: &str) -> Option<EventId> {
        let (history, index) = match text.split_once('-') {
            Some((history, index)) => (Some(History::parse(history)?), index),
            None => (None, text),
        };
        Some(EventId { history, index: Index(number(index)?) })
    }
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
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
    let keep_alive = front.options.limits.keep_alive;
    let start = start.unwrap_or_else(|| EventId { history: None, index: front.node.status().index });
    let stage = Stage::Beginning(begin(front.clone(), start).boxed());
    let ending = ending.map(|Extension(ending)| ending);
    let feed = Feed { front, stage, ending, keep_alive, _permit: permit };
    let mut response = Response::new(Body::from_stream(feed.chunks().map(Ok::<_, Infallible>)));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that know it send events on at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// Finds out where a subscriber goes on; `None` when the node is closed, or cannot show its state.
///
/// What the node holds is believed at once. Where it holds nothing of what the subscriber has seen, the node may be
/// late, or that never was in this history: a linearizable read tells.
async fn begin(front: Arc<Front>, start: EventId) -> Option<Following> {
    let fits = |history: History| start.history.is_none_or(|seen| seen == history);
    let status = front.node.status();
    let mut history = History::of(&status);
    let mut goes_on = fits(history) && start.index <= status.index;
    if status.cluster.is_none() || !goes_on {
        let index = loop {
            match front.node.linearizable_index().await {
                Ok(index) => break index,
                Err(ReadError::Closed) => return None,
                Err(ReadError::Deadline(..)) => tokio::time::sleep(PAUSE).await,
            }
        };
        history = History::of(&front.node.status());
        goes_on = fits(history) && start.index <= index;
    }
    let first = format!("retry: {RETRY_MS}\n");
    if goes_on {
        // An id without data is no event, but what a client resumes from: so it misses nothing before its first one.
        let first = format!("{first}id: {history}-{}\n\n", start.index);
        let events = front.node.subscribe(Some(start.index));
        let ready = [first.into()].into();
        Some(Following { ready, history, told: Index(0), events, resetting: None })
    } else {
        // First the events: a state that is replaced after it was told here is a reset among them.
        let events = front.node.subscribe(None);
        let shown = present(front.clone()).await?;
        let ready = [(first + "\n").into()].into();
        let mut following = Following { ready, history, told: Index(0), events, resetting: None };
        following.reset(&front, shown);
        Some(following)
    }
}

/// The present state, when there is room for it; `None` when it cannot be shown.
async fn present(front: Arc<Front>) -> Option<Arc<Shown>> {
    loop {
        match front.states.newest(&front.node).await {
            Ok(shown) => return Some(shown),
            Err(refused) if refused.code() == "busy" => {}
            Err(_) => return None,
        }
    }
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
        let message = format!("{name} is the index of the last action that you know, or the id of the last event, as 17 or 3f9a.0-17, but {text:?} came");
        Refused::bad("bad_event_id", message)
    })
}

fn write_event(text: &mut String, history: History, kind: &str, index: Index, data: &Value) {
    use std::fmt::Write;
    // JSON has no line ends of its own when it is written compactly, so one line of data is enough.
    write!(text, "id: {history}-{index}\nevent: {kind}\ndata: {data}\n\n").expect("a string takes everything");
}

/// One subscriber.
struct Feed {
    front: Arc<Front>,
    stage: Stage,
    ending: Option<Ending>,
    keep_alive: Duration,
    _permit: OwnedSemaphorePermit,
}

enum Stage {
    /// Where to begin is being found out.
    Beginning(BoxFuture<'static, Option<Following>>),
    Following(Following),
}

struct Following {
    /// What is sent before the next event.
    ready: VecDeque<Bytes>,
    /// The one that the events are of.
    history: History,
    /// Actions up to here are in the state that was told.
    told: Index,
    events: BoxStream<'static, JsonNews>,
    /// While a state is waited for, to be told instead of actions.
    resetting: Option<BoxFuture<'static, Option<Arc<Shown>>>>,
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
        let Feed { front, stage, ending, keep_alive, .. } = self;
        let ended = async {
            match ending {
                Some(ending) => ending.begins().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = ended => None,
            chunk = stage.next(front) => chunk,
            () = tokio::time::sleep(*keep_alive) => Some(Bytes::from_static(b":\n\n")),
        }
    }
}

impl Stage {
    /// What is sent next. Nothing is lost when this is dropped while it waits.
    async fn next(&mut self, front: &Arc<Front>) -> Option<Bytes> {
        if let Stage::Beginning(begin) = self {
            *self = Stage::Following(begin.await?);
        }
        let Stage::Following(following) = self else { return None };
        following.next(front).await
    }
}

impl Following {
    async fn next(&mut self, front: &Arc<Front>) -> Option<Bytes> {
        loop {
            if let Some(ready) = self.ready.pop_front() {
                return Some(ready);
            }
            if let Some(resetting) = &mut self.resetting {
                let shown = resetting.await?;
                self.resetting = None;
                self.reset(front, shown);
                continue;
            }
            let first = self.events.next().await?;
            self.take(front, first);
        }
    }

    /// Writes an event, and those that are ready behind it.
    fn take(&mut self, front: &Arc<Front>, first: JsonNews) {
        let mut next = Some(first);
        let mut text = String::new();
        let mut events = 0;
        while let Some(event) = next {
            match event {
                JsonNews::Change(change) if change.index <= self.told => {}
                JsonNews::Change(JsonChange { index, action, origin, time_ms }) => {
                    events += 1;
                    let data = json!({"index": index, "action": action, "origin": origin, "time_ms": time_ms});
                    write_event(&mut text, self.history, "change", index, &data);
                }
                // The present state is shared with all who are told one now.
                JsonNews::Reset(_) => {
                    self.resetting = Some(present(front.clone()).boxed());
                    break;
                }
            }
            next = if text.len() < CHUNK_BYTES { self.events.next().now_or_never().flatten() } else { None };
        }
        front.counters.sent(events, 0);
        if !text.is_empty() {
            self.ready.push_back(text.into());
        }
    }

    /// Tells a state, from which on the actions go on. It may be of a history that was taken up again.
    fn reset(&mut self, front: &Front, shown: Arc<Shown>) {
        (self.history, self.told) = (shown.history, shown.index);
        let head = format!("id: {}-{}\nevent: reset\ndata: ", shown.history, shown.index);
        self.ready.extend([head.into(), shown.bytes(), Bytes::from_static(b"\n\n")]);
        front.counters.sent(1, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_ids_are_numbers() {
        let id = |index| Some(EventId { history: None, index: Index(index) });
        assert_eq!(EventId::parse("17"), id(17));
        assert_eq!(EventId::parse("18446744073709551615"), id(u64::MAX));
        let history = History { cluster: 0x3f9a, generation: 5 };
        let full = EventId { history: Some(history), index: Index(17) };
        assert_eq!(EventId::parse("3f9a.5-17"), Some(full));
        assert_eq!(EventId::parse(&format!("{history}-17")), Some(full));
        assert!(EventId::parse("ffffffffffffffff.18446744073709551615-0").is_some());
        let bad =
            ["", "-", "-1", "0-", "+1", "1-2-3", "1 ", "0x1", "18446744073709551616", "a", "0-17", "3F.0-1", "3f.0-"];
        for text in bad.into_iter().chain([".0-1", "3f.-1", "3f-1", "+3f.0-1", "3f.+0-1", "10000000000000000.0-1"]) {
            assert_eq!(EventId::parse(text), None, "{text:?}");
        }
    }
}
