//! Reading: the state, the methods, how the node is.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::response::IntoResponse;
use conflux::{Index, Role, Status};
use serde_json::json;

use crate::answer::{self, Refused};
use crate::guard::may_read;
use crate::report::StatusReport;
use crate::routes::Front;

/// The parameters of a request: all of them known, none twice.
pub(crate) fn parameters<const N: usize>(uri: &Uri, known: [&str; N]) -> Result<[Option<String>; N], Refused> {
    let pairs = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|error| Refused::bad("bad_query", format!("the query cannot be read: {}", error.body_text())))?;
    let mut found = [const { None }; N];
    for (name, value) in pairs.0 {
        let Some(place) = known.iter().position(|known| *known == name) else {
            let known = if N == 0 { "there are none here".into() } else { format!("known is {}", known.join(", ")) };
            return Err(Refused::bad("bad_query", format!("there is no parameter {name:?}; {known}")));
        };
        if found[place].replace(value).is_some() {
            return Err(Refused::bad("bad_query", format!("the parameter {name} came twice")));
        }
    }
    Ok(found)
}

/// `GET /methods`.
pub(crate) async fn methods(State(front): State<Arc<Front>>) -> Response<Body> {
    answer::value(StatusCode::OK, &json!({"methods": front.node.methods()}))
}

/// `GET /state`.
pub(crate) async fn state(State(front): State<Arc<Front>>, uri: Uri) -> Result<Response<Body>, Refused> {
    let [linearizable] = parameters(&uri, ["linearizable"])?;
    let linearizable = match linearizable.as_deref() {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => {
            let message = format!("linearizable is true or false, but {other:?} came");
            return Err(Refused::bad("bad_query", message));
        }
    };
    if linearizable {
        // What the node shows from now on is no older.
        let read = front.node.linearizable_index().await;
        read.map_err(|why| Refused::new(StatusCode::SERVICE_UNAVAILABLE, "not_readable", why.to_string()))?;
    }
    let shown = front.states.newest(&front.node).await?;
    Ok(answer::written(StatusCode::OK, shown.bytes()))
}

/// `GET /provisional`.
pub(crate) async fn provisional(State(front): State<Arc<Front>>) -> Result<Response<Body>, Refused> {
    let node = front.node.clone();
    let bytes = front.states.unshared(heavy(&front, move || node.provisional_state())).await?;
    Ok(answer::written(StatusCode::OK, bytes))
}

/// The same as [`blocking`] for what runs the reducer, one at a time: who may only read must not hold up who decides.
async fn heavy<T: Send + 'static>(front: &Front, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    let turn = front.heavy.clone().acquire_owned().await.expect("it is never closed");
    // The work goes on when the client has gone, and so does its turn.
    blocking(move || {
        let done = work();
        drop(turn);
        done
    })
    .await
}

/// Runs on a thread for blocking work: writing a large state takes its time, and a script's heap may be busy.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refused> {
    tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!("a state could not be shown: {error}");
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the state could not be shown; the log says why")
    })
}

/// `GET /digest`.
pub(crate) async fn digest(State(front): State<Arc<Front>>, uri: Uri) -> Result<Response<Body>, Refused> {
    let [index] = parameters(&uri, ["index"])?;
    let index = index.and_then(|text| text.parse().ok()).map(Index).ok_or_else(|| {
        Refused::bad("bad_query", "index is missing or no number: it is the place whose state is asked for")
    })?;
    let node = front.node.clone();
    match heavy(&front, move || node.digest_at(index)).await? {
        Some(digest) => Ok(answer::value(StatusCode::OK, &json!({"index": index, "digest": digest.to_string()}))),
        None => {
            let message = format!("the state at {index} is not held here: it is too old, or has not come yet");
            Err(Refused::new(StatusCode::NOT_FOUND, "not_held", message))
        }
    }
}

/// `GET /status`.
pub(crate) async fn status(State(front): State<Arc<Front>>) -> Response<Body> {
    let report = StatusReport::from(front.node.status());
    let value = serde_json::to_value(report).expect("it is made of texts and numbers");
    answer::value(StatusCode::OK, &value)
}

/// `GET /healthz`: whether the process should go on. Only a node that has stopped should not.
pub(crate) async fn health(State(front): State<Arc<Front>>, headers: HeaderMap) -> Response<Body> {
    match front.node.status() {
        Status { role: Role::Stopped, stopped, .. } => {
            let why = stopped.unwrap_or_else(|| "the node stopped".into());
            not_well(&front, &headers, "stopped", why)
        }
        _ => answer::value(StatusCode::OK, &json!({"status": "ok"})),
    }
}

/// `GET /readyz`: whether performs should be sent here.
pub(crate) async fn readiness(State(front): State<Arc<Front>>, headers: HeaderMap) -> Response<Body> {
    let status = front.node.status();
    let why = match status.role {
        Role::Stopped => status.stopped.unwrap_or_else(|| "the node stopped".into()),
        Role::Waiting => status.notice.unwrap_or_else(|| "the node has not been let into a cluster yet".into()),
        _ if status.is_mending => status.notice.unwrap_or_else(|| "the node's state is being replaced".into()),
        _ if !status.has_quorum => status.notice.unwrap_or_else(|| "no majority of the voters is heard".into()),
        _ if status.leader.is_none() => "there is no leader".into(),
        _ => return answer::value(StatusCode::OK, &json!({"status": "ok"})),
    };
    not_well(&front, &headers, "not_ready", why)
}

/// Why a node stopped, or waits, names other nodes, files and addresses: that is for those who may read.
fn not_well(front: &Front, headers: &HeaderMap, code: &'static str, why: String) -> Response<Body> {
    let told = if may_read(&front.options, headers) { why } else { "no; a token for reading is told why".into() };
    Refused::new(StatusCode::SERVICE_UNAVAILABLE, code, told).into_response()
}
