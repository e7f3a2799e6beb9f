//! The cluster itself: its members, who leads; backups, snapshots and incidents.

use std::convert::Infallible;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderValue, Response, StatusCode};
use bytes::Bytes;
use conflux::{CompactError, MemberError, TakeError};
use serde::Deserialize;
use serde_json::json;

use crate::answer::{self, Refused};
use crate::body;
use crate::read::blocking;
use crate::report::{MemberReport, SnapshotReport};
use crate::routes::Front;

/// `GET /members`.
pub(crate) async fn members(State(front): State<Arc<Front>>) -> Response<Body> {
    answer_members(&front)
}

fn answer_members(front: &Front) -> Response<Body> {
    let members: Vec<MemberReport> = front.node.members().into_iter().map(MemberReport::from).collect();
    answer::value(StatusCode::OK, &json!({"members": members}))
}

/// The body of `POST /members`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    change: Change,
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Change {
    Add,
    Promote,
    Demote,
    Remove,
}

/// `POST /members`.
pub(crate) async fn change(State(front): State<Arc<Front>>, request: Request) -> Result<Response<Body>, Refused> {
    let form = "change (add, promote, demote or remove) and name (a node's id)";
    let Asked { change, name } = body::read(request, &front.options.limits, form).await?;
    let done = match change {
        // Both mean a seat; one that has none yet waits for the node.
        Change::Add | Change::Promote => front.node.add_member(&name),
        Change::Demote => front.node.demote_member(&name),
        Change::Remove => front.node.remove_member(&name),
    };
    match done.await {
        Ok(()) => Ok(answer_members(&front)),
        Err(error) => not_changed(&error),
    }
}

/// The body of `POST /transfer`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Transfer {
    #[serde(default)]
    to: Option<String>,
}

/// `POST /transfer`.
pub(crate) async fn transfer(State(front): State<Arc<Front>>, request: Request) -> Result<Response<Body>, Refused> {
    let form = "maybe to (a node's id; without it, the one that is furthest)";
    let Transfer { to } = body::read(request, &front.options.limits, form).await?;
    match front.node.transfer_leadership(to.as_deref()).await {
        Ok(leader) => Ok(answer::value(StatusCode::OK, &json!({"leader": &*leader}))),
        Err(error) => not_changed(&error),
    }
}

fn not_changed(error: &MemberError) -> Result<Response<Body>, Refused> {
    let message = error.to_string();
    Err(match error {
        MemberError::Refused(_) => Refused::new(StatusCode::CONFLICT, "refused", message),
        MemberError::Deadline(..) => Refused::new(StatusCode::GATEWAY_TIMEOUT, "not_taken", message),
        MemberError::Closed => Refused::new(StatusCode::SERVICE_UNAVAILABLE, "closed", message),
        MemberError::Pending(..) => {
            return Ok(answer::value(StatusCode::ACCEPTED, &json!({"code": "pending", "message": message})));
        }
    })
}

/// `GET /backup`.
pub(crate) async fn backup(State(front): State<Arc<Front>>) -> Result<Response<Body>, Refused> {
    let backup = front.node.backup().await.map_err(|error| match error {
        TakeError::Read(error) => Refused::new(StatusCode::SERVICE_UNAVAILABLE, "not_readable", error.to_string()),
        TakeError::Save(_) => Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string()),
    })?;
    let name = format!("{:x}-{}-{}.backup", backup.cluster, backup.generation, backup.index);
    let bytes = blocking(move || backup.encode()).await?;
    Ok(file(&name, Body::from(bytes)))
}

/// A file to be kept, by the name that is proposed for it: digits, letters, `-` and `.`.
fn file(name: &str, content: Body) -> Response<Body> {
    let mut response = Response::new(content);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let name = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")).expect("nothing in it is special");
    headers.insert(CONTENT_DISPOSITION, name);
    response
}

/// The body of `POST /snapshot`: nothing can be chosen.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Snapshot {}

/// `POST /snapshot`.
pub(crate) async fn snapshot(State(front): State<Arc<Front>>, request: Request) -> Result<Response<Body>, Refused> {
    let Snapshot {} = body::read(request, &front.options.limits, "nothing in it: {}").await?;
    match front.node.compact().await {
        Ok(compacted) => {
            let report = serde_json::to_value(SnapshotReport::from(compacted)).expect("it is made of numbers");
            Ok(answer::value(StatusCode::OK, &report))
        }
        Err(error @ CompactError::Stopped(_)) => {
            Err(Refused::new(StatusCode::SERVICE_UNAVAILABLE, "closed", error.to_string()))
        }
    }
}

/// `GET /incident`.
pub(crate) async fn incident(State(front): State<Arc<Front>>) -> Result<Response<Body>, Refused> {
    let incident = front.node.incident().await.map_err(|error| {
        tracing::error!("an incident could not be recorded: {error}");
        Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    })?;
    let name = format!("{:x}-{}-{}.incident", incident.cluster, incident.generation, incident.index);
    // Piece by piece: what is large is not copied once more.
    let pieces = blocking(move || incident.pieces()).await?;
    let length = pieces.iter().map(Bytes::len).sum::<usize>();
    let content = futures_util::stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
    let mut response = file(&name, Body::from_stream(content));
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
    Ok(response)
}
