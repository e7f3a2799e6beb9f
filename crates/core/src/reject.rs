//! Ready-made rejections.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A refusal with a message for people, and data for programs if wanted.
///
/// ```
/// use conflux_core::Reject;
/// let plain: Reject = "too long".into();
/// assert_eq!(plain.to_string(), "too long");
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reject {
    /// What is told to the caller.
    pub message: String,
    /// What else the caller's program may want to know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<serde_json::Value>,
}

impl Reject {
    /// A refusal with a message only.
    pub fn new(message: impl Into<String>) -> Self {
        Reject { message: message.into(), data: None }
    }
}

impl From<&str> for Reject {
    fn from(message: &str) -> Self {
        Reject::new(message)
    }
}

impl From<String> for Reject {
    fn from(message: String) -> Self {
        Reject::new(message)
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Reject {}

/// The rejection of a container that refuses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Never {}

impl fmt::Display for Never {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {}
    }
}

impl std::error::Error for Never {}

#[cfg(test)]
mod tests {
    use super::Reject;

    #[test]
    fn people_are_told_the_message_alone() {
        let with_data = Reject { data: Some(7.into()), ..Reject::new("too long") };
        for reject in [Reject::from("too long"), Reject::from("too long".to_owned()), with_data] {
            assert_eq!(reject.to_string(), "too long");
        }
    }
}
