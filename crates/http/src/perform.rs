//! Performing, and asking what became of it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::Response;
use axum::response::IntoResponse;
use conflux::ids::{NODE_NAME_BYTES_MAX, REQUEST_ID_BYTES_MAX};
use conflux::{JsonPerform, RequestId};
use serde::Deserialize;
use serde_json::Value;

use crate::answer::{self, Refused};
use crate::body;
use crate::routes::Front;

/// The longest time that can be asked for.
const TIMEOUT_MS_MAX: u64 = 3_600_000;

/// The body of `POST /perform`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    method: String,
    #[serde(default)]
    args: Vec<Value>,
    #[serde(default)]
    request_id: Option<String>,
    #[serde(default)]
    timeout_ms: Option<u64>,
    #[serde(default)]
    proposed: bool,
}

impl Asked {
    const FORM: &str = "method (a string), and maybe args (an array), request_id (a string), timeout_ms (a number), \
                        proposed (true or false)";

    fn check(&self) -> Result<(), Refused> {
        if let Some(id) = &self.request_id {
            check_chosen(id)?;
        }
        if let Some(came) = self.timeout_ms
            && !(1..=TIMEOUT_MS_MAX).contains(&came)
        {
            let message = format!("timeout_ms is {came}: it is a number of milliseconds from 1 to {TIMEOUT_MS_MAX}");
            return Err(Refused::bad("bad_timeout", message));
        }
        Ok(())
    }
}

/// Checks an id that a caller gives to its own call.
fn check_chosen(id: &str) -> Result<(), Refused> {
    let problem = match id {
        "" => "it is empty".into(),
        id if id.len() > REQUEST_ID_BYTES_MAX => format!("it has {} bytes", id.len()),
        id if !matches!(RequestId::parse(id), RequestId::Chosen(_)) => {
            "it has the form of the ids that conflux gives itself (ask /outcome for what became of those)".into()
        }
        _ => return Ok(()),
    };
    let message =
        format!("request_id cannot be used: {problem}; choose 1 to {REQUEST_ID_BYTES_MAX} bytes that are unique");
    Err(Refused::bad("bad_request_id", message))
}

/// `POST /perform`.
pub(crate) async fn perform(State(front): State<Arc<Front>>, request: Request) -> Response<Body> {
    let (code, response) = match try_perform(&front, request).await {
        Ok(answer) => answer,
        Err(refused) => (refused.code(), refused.into_response()),
    };
    front.counters.performed(code);
    response
}

async fn try_perform(front: &Front, request: Request) -> Result<(&'static str, Response<Body>), Refused> {
    let asked: Asked = body::read(request, &front.options.limits, Asked::FORM).await?;
    asked.check()?;
    let Asked { method, args, request_id, timeout_ms, proposed } = asked;
    let options = JsonPerform { timeout: timeout_ms.map(Duration::from_millis), request_id };
    if proposed {
        return Ok(match front.node.propose(&method, args, options)?.await {
            Ok(proposal) => ("proposed", answer::proposal(proposal)),
            Err(outcome) => answer::outcome(outcome),
        });
    }
    Ok(answer::outcome(front.node.perform(&method, args, options)?.await))
}

/// `GET /outcome/{request_id}`.
pub(crate) async fn outcome(
    State(front): State<Arc<Front>>,
    path: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Response<Body> {
    // The longest id that conflux gives: a name, and three numbers of 16 to 20 digits.
    let bytes_max = (NODE_NAME_BYTES_MAX + 64).max(REQUEST_ID_BYTES_MAX);
    match path {
        Ok(Path(id)) if id.len() <= bytes_max => answer::outcome(front.node.outcome(&id).await).1,
        Ok(Path(id)) => {
            let message = format!("the request id has {} bytes, at most {bytes_max} are possible", id.len());
            Refused::bad("bad_request_id", message).into_response()
        }
        Err(_) => Refused::bad("bad_request_id", "the request id is no UTF-8 text").into_response(),
    }
}
