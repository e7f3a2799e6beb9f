//! What a line is answered with: one JSON object on one line.

use conflux::json::JsonOutcome;
use serde_json::{Value, json};

/// The answer to one line.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// What became of a perform.
    Outcome { method: String, outcome: JsonOutcome },
    /// What became of an earlier perform that was asked for again.
    Asked { request_id: String, outcome: JsonOutcome },
    /// The line was no request, or asked for what cannot be. 0 where lines have no numbers.
    Bad { line: u64, error: String },
    /// What a command gave, ready to be shown.
    Shown(String),
}

impl Answer {
    /// Whether it makes the program end with status 1. A rejection is an answer.
    pub(crate) fn is_bad(&self) -> bool {
        match self {
            Answer::Outcome { outcome, .. } | Answer::Asked { outcome, .. } => {
                !matches!(outcome, JsonOutcome::Committed { .. } | JsonOutcome::Rejected { .. })
            }
            Answer::Bad { .. } => true,
            Answer::Shown(_) => false,
        }
    }

    /// The id to ask again by, of a perform of which it is not known what became.
    pub(crate) fn unknown(&self) -> Option<&str> {
        match self {
            Answer::Outcome {
                outcome: JsonOutcome::Unknown { request_id } | JsonOutcome::NotVisible { request_id, .. },
                ..
            } => Some(request_id),
            _ => None,
        }
    }

    /// Writes the answer and a line's end.
    pub(crate) fn write(self, bytes: &mut Vec<u8>) {
        let value = match self {
            Answer::Outcome { method, outcome } => outcome_value("method", &method, outcome),
            Answer::Asked { request_id, outcome } => outcome_value("outcome", &request_id, outcome),
            Answer::Bad { line: 0, error } => json!({"error": error}),
            Answer::Bad { line, error } => json!({"line": line, "error": error}),
            Answer::Shown(text) => {
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(b'\n');
                return;
            }
        };
        serde_json::to_writer(&mut *bytes, &value).expect("a JSON value is written to memory");
        bytes.push(b'\n');
    }
}

/// What an outcome is shown as; `key` says what it is the outcome of.
fn outcome_value(key: &str, of: &str, outcome: JsonOutcome) -> Value {
    match outcome {
        JsonOutcome::Committed { index, action } => json!({key: of, "index": index, "action": action}),
        JsonOutcome::Rejected { message, rejection, .. } => {
            let mut value = json!({key: of, "rejected": message});
            // Where it is no more than its message, that has been said.
            if !rejection.is_null() && rejection != message.as_str() && rejection != json!({"message": message}) {
                value["rejection"] = rejection;
            }
            value
        }
        JsonOutcome::Failed(failure) => json!({key: of, "failed": failure.message, "at": failure.at}),
        JsonOutcome::NeverProposed(why) => json!({key: of, "never_proposed": why}),
        JsonOutcome::Unknown { request_id } => json!({key: of, "unknown": request_id}),
        JsonOutcome::NotVisible { request_id, index } => {
            json!({key: of, "index": index, "not_visible": request_id})
        }
        JsonOutcome::Forgotten => {
            json!({key: of, "error": "the log does not know it any more: it was forgotten some time after it was decided, or never was"})
        }
        JsonOutcome::Undecided { request_id } => json!({key: of, "undecided": request_id}),
        JsonOutcome::Closed { .. } => json!({key: of, "error": "the node was closed before it could answer"}),
        JsonOutcome::Conflict { request_id } => {
            json!({key: of, "error": format!("the request id {request_id:?} was used for another call")})
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conflux_core::{Failure, Index};

    fn written(outcome: JsonOutcome) -> (String, bool) {
        let answer = Answer::Outcome { method: "append".into(), outcome };
        let bad = answer.is_bad();
        let mut bytes = Vec::new();
        answer.write(&mut bytes);
        (String::from_utf8(bytes).expect("JSON is UTF-8"), bad)
    }

    #[test]
    fn every_shape() {
        let action = Some(json!({"type": "APPEND", "word": "a\nb"}));
        assert_eq!(
            written(JsonOutcome::Committed { index: Index(7), action }),
            ("{\"method\":\"append\",\"index\":7,\"action\":{\"type\":\"APPEND\",\"word\":\"a\\nb\"}}\n".into(), false)
        );
        assert_eq!(
            written(JsonOutcome::Committed { index: Index(7), action: None }),
            ("{\"method\":\"append\",\"index\":7,\"action\":null}\n".into(), false)
        );
        let rejection = json!({"message": "too long"});
        assert_eq!(
            written(JsonOutcome::Rejected { index: Index(7), message: "too long".into(), rejection }),
            ("{\"method\":\"append\",\"rejected\":\"too long\"}\n".into(), false)
        );
        let rejection = json!({"message": "no", "data": {"code": 5}});
        assert_eq!(
            written(JsonOutcome::Rejected { index: Index(7), message: "no".into(), rejection }),
            (
                "{\"method\":\"append\",\"rejected\":\"no\",\"rejection\":{\"message\":\"no\",\"data\":{\"code\":5}}}\n".into(),
                false
            )
        );
        let failure = Failure { message: "x is not defined".into(), at: Some("words.js:3".into()) };
        assert_eq!(
            written(JsonOutcome::Failed(failure)),
            ("{\"method\":\"append\",\"failed\":\"x is not defined\",\"at\":\"words.js:3\"}\n".into(), true)
        );
        assert_eq!(
            written(JsonOutcome::NeverProposed("no leader".into())),
            ("{\"method\":\"append\",\"never_proposed\":\"no leader\"}\n".into(), true)
        );
        assert_eq!(
            written(JsonOutcome::Unknown { request_id: "a/1/1/9".into() }),
            ("{\"method\":\"append\",\"unknown\":\"a/1/1/9\"}\n".into(), true)
        );
        assert_eq!(
            written(JsonOutcome::NotVisible { request_id: "a/1/1/9".into(), index: Index(7) }),
            ("{\"method\":\"append\",\"index\":7,\"not_visible\":\"a/1/1/9\"}\n".into(), true)
        );
        assert!(written(JsonOutcome::Closed { request_id: None }).1);
    }

    #[test]
    fn what_is_asked_for_again_has_its_id() {
        let outcome = JsonOutcome::Committed { index: Index(7), action: None };
        let mut bytes = Vec::new();
        Answer::Asked { request_id: "a/1/1/9".into(), outcome }.write(&mut bytes);
        assert_eq!(bytes, b"{\"outcome\":\"a/1/1/9\",\"index\":7,\"action\":null}\n");
    }

    #[test]
    fn a_bad_line_has_its_number() {
        let mut bytes = Vec::new();
        Answer::Bad { line: 3, error: "no".into() }.write(&mut bytes);
        assert_eq!(bytes, b"{\"line\":3,\"error\":\"no\"}\n");
    }
}
