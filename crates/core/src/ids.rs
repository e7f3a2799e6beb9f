//! The counts and names that everything else is ordered by.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A node's name: any non-empty string of at most [`NODE_NAME_BYTES_MAX`] bytes.
pub type NodeName = Arc<str>;

/// The longest node name, in bytes.
pub const NODE_NAME_BYTES_MAX: usize = 256;

/// A *place*: the dense count of this container's actions, 1, 2, 3 and so on; 0 is the initial state.
///
/// Every index a user sees is one of these. It is never the index of the Raft log: blank and membership entries slip
/// in between there, and the calls of one batch share an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Index(pub u64);

impl Index {
    /// The place of the next action.
    #[must_use]
    pub fn next(self) -> Index {
        self.plus(1)
    }

    /// The place `count` actions later.
    #[must_use]
    pub fn plus(self, count: u64) -> Index {
        Index(self.0.checked_add(count).expect("2^64 actions cannot have happened"))
    }
}

impl fmt::Display for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The life of one node between two losses of its memory: drawn anew whenever its data is not there any more.
///
/// A node without a disk has a new one at each start, so it can never vote with amnesia under its earlier identity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// Names a batch, for ever: an id that was refused is never used again.
///
/// Otherwise a late child of the refused batch would fit its namesake, and be applied to a state it never saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BatchId {
    /// The Raft term of the leader that made it.
    pub term: u64,
    /// The incarnation of that leader.
    pub incarnation: Incarnation,
    /// Counts the batches of that process; never reset while it lives.
    pub counter: u64,
}

impl BatchId {
    /// The predecessor of the first batch of a history.
    pub const ROOT: BatchId = BatchId { term: 0, incarnation: Incarnation(0), counter: 0 };
}

impl fmt::Display for BatchId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.term, self.incarnation, self.counter)
    }
}

/// A session: one node's ordered stream of calls. A node opens the next number when the earlier one has expired.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId {
    /// The node whose calls these are.
    pub node: NodeName,
    /// Its incarnation.
    pub incarnation: Incarnation,
    /// 1 for the first session of that incarnation.
    pub number: u64,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.node, self.incarnation, self.number)
    }
}

/// The short name of an open session inside batches: the how-many-th session that was ever opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionKey(pub u64);

/// The how-many-th call of its session: contiguous, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallNumber(pub u64);

impl CallNumber {
    /// The first number of a session.
    pub const FIRST: CallNumber = CallNumber(1);

    /// The number after this one.
    #[must_use]
    pub fn next(self) -> CallNumber {
        CallNumber(self.0 + 1)
    }
}

/// The longest request id that a user may choose, in bytes.
pub const REQUEST_ID_BYTES_MAX: usize = 256;

/// What a perform can be asked for again by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RequestId {
    /// Made from the session and the number of the call. Written `node/incarnation/session/number`.
    Call(SessionId, CallNumber),
    /// Chosen by the user: any string that does not look like the other form.
    Chosen(Arc<str>),
}

impl RequestId {
    /// Reads what [`Display`](fmt::Display) wrote; anything else is a chosen id.
    #[must_use]
    pub fn parse(text: &str) -> RequestId {
        // One call has one id: what only reads like it ("+1", "01") is another string, and so a chosen id.
        let call = Self::parse_call(text).filter(|call| call.to_string() == text);
        call.unwrap_or_else(|| RequestId::Chosen(text.into()))
    }

    fn parse_call(text: &str) -> Option<RequestId> {
        let mut parts = text.rsplitn(4, '/');
        let number = parts.next()?.parse().ok()?;
        let session = parts.next()?.parse().ok()?;
        let incarnation = u64::from_str_radix(parts.next()?, 16).ok()?;
        let node = parts.next().filter(|node| !node.is_empty())?;
        let id = SessionId { node: node.into(), incarnation: Incarnation(incarnation), number: session };
        Some(RequestId::Call(id, CallNumber(number)))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RequestId::Call(session, number) => write!(f, "{session}/{}", number.0),
            RequestId::Chosen(text) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn request_ids_are_read_back() {
        let session = SessionId { node: "a/b".into(), incarnation: Incarnation(0xfe), number: 3 };
        let id = RequestId::Call(session, CallNumber(12));
        assert_eq!(id.to_string(), "a/b/fe/3/12");
        assert_eq!(RequestId::parse(&id.to_string()), id);
        for text in ["order-17", "", "a/b", "/1/1/1", "x/zz/1/1", "a/1/1/+1", "a/1/01/1", "a/FE/1/1"] {
            assert_eq!(RequestId::parse(text), RequestId::Chosen(text.into()));
        }
    }

    #[test]
    fn a_batch_is_named_in_messages() {
        let id = BatchId { term: 3, incarnation: Incarnation(0xfe), counter: 12 };
        assert_eq!(crate::Corrupt::OwnPredecessor(id).to_string(), "batch 3.fe.12 names itself as its predecessor");
    }
}
