//! What is answered, in JSON.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Response, StatusCode};
use axum::response::IntoResponse;
use bytes::Bytes;
use conflux::{CallError, JsonOutcome, JsonPrediction, JsonProposal};
use serde_json::{Map, Value, json};

/// A value, as JSON.
pub(crate) fn value(status: StatusCode, value: &Value) -> Response<Body> {
    written(status, serde_json::to_vec(value).expect("a JSON value is written to memory").into())
}

/// JSON that is written.
pub(crate) fn written(status: StatusCode, bytes: Bytes) -> Response<Body> {
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// An answer that is no success: `{"error": {"code", "message", ...}}`.
#[derive(Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    code: &'static str,
    message: String,
    more: Map<String, Value>,
}

impl Refused {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Refused {
        Refused { status, code, message: message.into(), more: Map::new() }
    }

    /// The request's own fault.
    pub(crate) fn bad(code: &'static str, message: impl Into<String>) -> Refused {
        Refused::new(StatusCode::UNPROCESSABLE_ENTITY, code, message)
    }

    /// Too much at once.
    pub(crate) fn busy(message: impl Into<String>) -> Refused {
        Refused::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message)
    }

    pub(crate) fn with(mut self, name: &str, value: impl Into<Value>) -> Refused {
        self.more.insert(name.into(), value.into());
        self
    }

    /// The word that programs go by.
    pub(crate) fn code(&self) -> &'static str {
        self.code
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response<Body> {
        let mut error = Map::new();
        error.insert("code".into(), self.code.into());
        error.insert("message".into(), self.message.into());
        error.extend(self.more);
        let mut response = value(self.status, &json!({ "error": error }));
        let headers = response.headers_mut();
        match self.code {
            "unauthorized" => headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")),
            "busy" => headers.insert(RETRY_AFTER, HeaderValue::from_static("1")),
            _ => None,
        };
        response
    }
}

impl From<CallError> for Refused {
    fn from(error: CallError) -> Refused {
        let message = error.to_string();
        match error {
            CallError::UnknownMethod { near, methods, .. } => {
                Refused::bad("unknown_method", message).with("near", near).with("methods", methods)
            }
            CallError::Arguments { .. } => Refused::bad("bad_arguments", message),
        }
    }
}

/// What became of a perform, and the word for it.
pub(crate) fn outcome(outcome: JsonOutcome) -> (&'static str, Response<Body>) {
    let refused = match outcome {
        JsonOutcome::Committed { index, action } => {
            return ("committed", value(StatusCode::OK, &json!({"index": index, "action": action})));
        }
        JsonOutcome::NotVisible { request_id, index } => {
            let body = json!({"code": "not_visible", "index": index, "request_id": request_id});
            return ("not_visible", value(StatusCode::ACCEPTED, &body));
        }
        JsonOutcome::Rejected { index, message, rejection } => {
            Refused::new(StatusCode::CONFLICT, "rejected", message).with("index", index.0).with("rejection", rejection)
        }
        JsonOutcome::Failed(failure) => {
            let refused = Refused::new(StatusCode::INTERNAL_SERVER_ERROR, "failed", failure.message);
            refused.with("at", failure.at)
        }
        JsonOutcome::NeverProposed(reason) => Refused::new(StatusCode::SERVICE_UNAVAILABLE, "never_proposed", reason),
        JsonOutcome::Unknown { request_id } => unknown("no answer came before the deadline", request_id),
        JsonOutcome::Closed { request_id: Some(request_id) } => {
            unknown("the node was closed while the call was on its way", request_id)
        }
        JsonOutcome::Closed { request_id: None } => {
            Refused::new(StatusCode::SERVICE_UNAVAILABLE, "closed", "the node is closed; ask another one")
        }
        JsonOutcome::Conflict { request_id } => {
            let message =
                format!("the request id {request_id:?} was used for another call: choose ids that are unique");
            Refused::new(StatusCode::CONFLICT, "conflict", message).with("request_id", request_id)
        }
        JsonOutcome::Undecided { request_id } => {
            let message = format!(
                "the log knows no call {request_id:?}: it is on its way, was never made, or was forgotten long ago"
            );
            Refused::new(StatusCode::NOT_FOUND, "undecided", message).with("request_id", request_id)
        }
        JsonOutcome::Forgotten => Refused::new(
            StatusCode::GONE,
            "forgotten",
            "the log does not know it any more: it was forgotten some time after it was decided, or never was",
        ),
    };
    (refused.code(), refused.into_response())
}

fn unknown(why: &str, request_id: String) -> Refused {
    let message = format!(
        "{why}: it may have taken effect, or may still; ask /outcome for its request id, here or at another node"
    );
    Refused::new(StatusCode::GATEWAY_TIMEOUT, "unknown", message).with("request_id", request_id)
}

/// What the leader made of a call.
pub(crate) fn proposal(proposal: JsonProposal) -> Response<Body> {
    let JsonProposal { request_id, prediction } = proposal;
    let prediction = match prediction {
        JsonPrediction::Action(action) => json!({"kind": "action", "action": action}),
        JsonPrediction::Nothing => json!({"kind": "nothing"}),
        JsonPrediction::Rejected { message, rejection } => {
            json!({"kind": "rejected", "message": message, "rejection": rejection})
        }
        JsonPrediction::Failed(failure) => json!({"kind": "failed", "message": failure.message, "at": failure.at}),
    };
    let body = json!({"code": "proposed", "request_id": request_id, "prediction": prediction});
    value(StatusCode::ACCEPTED, &body)
}
