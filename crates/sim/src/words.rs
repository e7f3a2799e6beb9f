//! Calls, actions and states in words: as JSON, and not too long.

use conflux::Payload;
use conflux::difference::paths_that_differ;
use serde_json::Value;

/// How much of a call or an action is told.
const CALL_CHARS: usize = 80;

/// How much of a state.
const STATE_CHARS: usize = 400;

/// A call as a line has it: the method, and its arguments.
pub(crate) fn call(method: &impl Payload) -> String {
    let said = match method.to_json() {
        Err(error) => format!("a call that cannot be written: {error}"),
        Ok(Value::String(name)) => name,
        Ok(value) => match value.as_object() {
            Some(parts) if parts.len() == 2 && parts.contains_key("arguments") => {
                let name = parts.get("name").and_then(Value::as_str).unwrap_or_default();
                let arguments = parts["arguments"].as_array().into_iter().flatten();
                arguments.fold(name.to_owned(), |line, argument| format!("{line} {argument}"))
            }
            Some(parts) if parts.len() == 1 => {
                parts.iter().map(|(name, argument)| format!("{name} {argument}")).collect()
            }
            _ => value.to_string(),
        },
    };
    cut(&said, CALL_CHARS)
}

pub(crate) fn action(action: &impl Payload) -> String {
    json(action, CALL_CHARS)
}

pub(crate) fn state(state: &impl Payload) -> String {
    json(state, STATE_CHARS)
}

/// Where one value differs from another first.
pub(crate) fn difference(one: &impl Payload, other: &impl Payload) -> Option<String> {
    let (one, other) = (one.to_json().ok()?, other.to_json().ok()?);
    paths_that_differ(&one, &other).first().map(|difference| {
        let whose = if difference.path.is_empty() { "" } else { "state" };
        cut(&format!("{whose}{difference}"), STATE_CHARS)
    })
}

fn json(value: &impl Payload, chars_max: usize) -> String {
    let said = value.to_json().map_or_else(|error| format!("it cannot be written: {error}"), |value| value.to_string());
    cut(&said, chars_max)
}

fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};

    #[derive(Clone, Debug, Serialize, Deserialize)]
    enum Method {
        Clear,
        Append(String),
        Move { from: u8, to: u8 },
    }

    #[test]
    fn a_call_is_told_as_it_is_typed() {
        assert_eq!(call(&Method::Clear), "Clear");
        assert_eq!(call(&Method::Append("x".into())), "Append \"x\"");
        assert_eq!(call(&Method::Move { from: 1, to: 2 }), "Move {\"from\":1,\"to\":2}");
        let long = call(&Method::Append("ä".repeat(100)));
        assert!(long.ends_with("ä...") && long.chars().count() == CALL_CHARS + 3, "{long}");
    }
}
