//! What can go wrong between a client and the nodes.

use conflux::Index;
use serde_json::{Map, Value};

use super::json;

/// Why a request came to nothing.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum ClientError {
    /// An address is none.
    #[error("{address:?} is no address of a node: {problem}")]
    Address {
        /// What came.
        address: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No node could be reached. Nothing was asked of any.
    #[error("no node can be reached: {}", causes(tried))]
    Unreachable {
        /// Each address that was tried, and why it could not be reached.
        tried: Vec<(String, String)>,
    },
    /// A node answered that it cannot or will not.
    #[error("{address}: {}", .refusal)]
    Refused {
        /// The node's.
        address: String,
        /// What it said.
        refusal: Box<Refusal>,
    },
    /// A perform was sent, and no node told what became of it: it may have taken effect, or may still.
    #[error("unknown: {why}; it may have taken effect, or may still: ask again by request id {request_id}")]
    Unknown {
        /// What to ask again by.
        request_id: String,
        /// What was tried.
        why: String,
    },
    /// Something that must not be done twice was sent, and no answer came.
    #[error("{address}: {why}; it may have been done, or may still: look at the status before asking again")]
    Lost {
        /// Where it was sent.
        address: String,
        /// How the answer was lost.
        why: String,
    },
    /// It is committed, but the node that was asked has not come so far yet.
    #[error("committed, judged at {index}, but the node has not come so far yet; ask again by request id {request_id}")]
    NotVisible {
        /// What to ask again by.
        request_id: String,
        /// The place that it was judged at.
        index: Index,
    },
    /// What came is not what a node of conflux answers.
    #[error("{address}: {problem}; is it the address of a node of conflux?")]
    BadAnswer {
        /// Whose answer.
        address: String,
        /// What was wrong with it.
        problem: String,
    },
}

fn causes(tried: &[(String, String)]) -> String {
    tried.iter().map(|(address, cause)| format!("{address}: {cause}")).collect::<Vec<_>>().join("; ")
}

/// An answer that is no success.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// The status of the answer.
    pub status: u16,
    /// The word for programs: `rejected`, `unknown_method` and so on, as the OpenAPI description lists them.
    pub code: String,
    /// For people.
    pub message: String,
    /// What else was told: `rejection`, `near`, `request_id` and so on.
    pub details: Map<String, Value>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({} {})", self.message, self.status, self.code)
    }
}

impl Refusal {
    /// Reads the body of an answer.
    pub(super) fn parse(status: u16, body: &[u8]) -> Result<Refusal, String> {
        let bad = || format!("status {status} came with a body that is no error of conflux");
        let mut value: Value = json::read(body).map_err(|_| bad())?;
        let Some(Value::Object(mut details)) = value.get_mut("error").map(Value::take) else { return Err(bad()) };
        let mut text = |name| match details.remove(name) {
            Some(Value::String(text)) => Ok(text),
            _ => Err(bad()),
        };
        let (code, message) = (text("code")?, text("message")?);
        Ok(Refusal { status, code, message, details })
    }

    /// Whether another node may do better.
    pub(super) fn is_of_the_node(&self) -> bool {
        matches!(self.code.as_str(), "busy" | "closed" | "never_proposed" | "not_readable" | "not_ready")
    }
}

impl ClientError {
    /// The word of a refusal.
    #[must_use]
    pub fn code(&self) -> Option<&str> {
        match self {
            ClientError::Refused { refusal, .. } => Some(&refusal.code),
            _ => None,
        }
    }
}
