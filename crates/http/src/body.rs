//! Reading the body of a request: JSON, within the limits.

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::answer::Refused;
use crate::options::Limits;

/// Reads a value; `form` says in an error what it looks like.
pub(crate) async fn read<T: DeserializeOwned>(request: Request, limits: &Limits, form: &str) -> Result<T, Refused> {
    let (head, body) = request.into_parts();
    check_json(&head.headers)?;
    let bytes = collect(&head.headers, body, limits).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let message = format!("the body is not what is taken: {error}; it is a JSON object with {form}");
        Refused::bad(if error.is_data() { "bad_body" } else { "bad_json" }, message)
    })
}

/// A form of another page can be sent without asking, but never as JSON.
fn check_json(headers: &HeaderMap) -> Result<(), Refused> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let message = "the body must be JSON, with the header `Content-Type: application/json`";
    Err(Refused::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", message))
}

async fn collect(headers: &HeaderMap, body: Body, limits: &Limits) -> Result<Bytes, Refused> {
    let max = limits.body_bytes_max;
    let too_large = || {
        let message = format!("the body is longer than {max} bytes");
        Refused::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message).with("bytes_max", max)
    };
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > max as u64) {
        return Err(too_large());
    }
    match tokio::time::timeout(limits.body_time, axum::body::to_bytes(body, max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        // The only error that is not the connection's own end, after which nobody hears the answer.
        Ok(Err(_)) => Err(too_large()),
        Err(_) => {
            let message = format!("the body did not come within {:?}", limits.body_time);
            Err(Refused::new(StatusCode::REQUEST_TIMEOUT, "too_slow", message))
        }
    }
}
