//! What travels: calls of methods, and actions. Their JSON text is all that Rust knows of them.

use std::fmt;
use std::sync::Arc;

use conflux_core::{CallError, Digest, Payload, PayloadError};
use serde_json::Value;

use crate::json;

/// A call of a script's method. Made by [`Container::method`](conflux_core::Container::method), which knows the names.
#[derive(Clone, PartialEq, Eq)]
pub struct Method {
    name: Arc<str>,
    /// A JSON array, with no blanks before or after it.
    arguments: Arc<str>,
}

impl Method {
    /// A call by name and arguments. Whether there is such a method is only known to the container.
    #[must_use]
    pub fn new(name: &str, arguments: Vec<Value>) -> Method {
        Method { name: name.into(), arguments: Value::Array(arguments).to_string().into() }
    }

    /// The method's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The arguments, as the text of a JSON array.
    #[must_use]
    pub fn arguments(&self) -> &str {
        &self.arguments
    }
}

impl fmt::Debug for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.name, &self.arguments[1..self.arguments.len() - 1])
    }
}

/// Bytes: the JSON array of the name and the arguments, `["append","foo"]`.
impl Payload for Method {
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), PayloadError> {
        bytes.push(b'[');
        bytes.extend_from_slice(json::quoted(&self.name).as_bytes());
        if self.arguments.len() > 2 {
            bytes.push(b',');
        }
        bytes.extend_from_slice(&self.arguments.as_bytes()[1..]);
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, PayloadError> {
        // The arguments stay the text they are: a round through numbers could change their last digit.
        let not_a_call = || PayloadError::new("a call is a JSON array whose first item is the name of a method");
        let inside = json::text(bytes)?.trim().strip_prefix('[').ok_or_else(not_a_call)?;
        let mut items = serde_json::Deserializer::from_str(inside).into_iter::<String>();
        let name = items.next().and_then(Result::ok).ok_or_else(not_a_call)?;
        let arguments = match &inside[items.byte_offset()..] {
            rest if rest.trim() == "]" => "[]".into(),
            rest => format!("[{}", rest.trim_start().strip_prefix(',').ok_or_else(not_a_call)?).into(),
        };
        Ok(Method { name: name.into(), arguments })
    }

    fn to_json(&self) -> Result<Value, PayloadError> {
        let arguments: Value = serde_json::from_str(&self.arguments).map_err(PayloadError::new)?;
        Ok(serde_json::json!({ "name": &*self.name, "arguments": arguments }))
    }

    fn digest(&self) -> Result<Digest, PayloadError> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes)?;
        Ok(Digest::of_bytes(&bytes))
    }

    fn from_call(name: &str, arguments: Vec<Value>) -> Result<Self, CallError> {
        Ok(Method::new(name, arguments))
    }
}

/// An action of a script: any JSON but `null`.
#[derive(Clone, PartialEq, Eq)]
pub struct Action {
    json: Arc<str>,
}

impl Action {
    /// What a heap wrote.
    pub(crate) fn of_trusted(json: &str) -> Action {
        Action { json: json.into() }
    }

    /// The JSON text; keys keep their order.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.json
    }
}

impl fmt::Debug for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.json)
    }
}

/// Bytes: its JSON text.
impl Payload for Action {
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), PayloadError> {
        bytes.extend_from_slice(self.json.as_bytes());
        Ok(())
    }

    fn decode(bytes: &[u8]) -> Result<Self, PayloadError> {
        Ok(Action { json: json::text(bytes)?.into() })
    }

    fn to_json(&self) -> Result<Value, PayloadError> {
        serde_json::from_str(&self.json).map_err(PayloadError::new)
    }

    fn digest(&self) -> Result<Digest, PayloadError> {
        Ok(Digest::of_bytes(self.json.as_bytes()))
    }

    fn from_call(name: &str, _: Vec<Value>) -> Result<Self, CallError> {
        Err(CallError::Arguments { name: name.into(), message: "an action is made by a method, not by a call".into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn bytes_are_read_back() {
        for arguments in [vec![], vec![json!("foo")], vec![json!({"a": [1, 2.5]}), json!(null)]] {
            let method = Method::new("app\"end", arguments);
            let mut bytes = Vec::new();
            method.encode(&mut bytes).unwrap();
            assert_eq!(Method::decode(&bytes).unwrap(), method);
        }
        assert_eq!(format!("{:?}", Method::new("append", vec![json!([1]), json!("x")])), r#"append([1],"x")"#);
        for bad in [&b"[]"[..], b"[1]", b"{}", b"", b"[\"a\"", b"\xff"] {
            assert!(Method::decode(bad).is_err());
        }
        assert!(Action::decode(b"{\"a\":1e999}").is_err());
        assert_eq!(Action::decode(b"{\"b\":1,\"a\":2}").unwrap().json(), "{\"b\":1,\"a\":2}");
    }
}
