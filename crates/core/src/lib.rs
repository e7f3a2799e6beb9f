//! The rules of conflux.

pub mod call;
pub mod codec;
pub mod container;
pub mod context;
pub mod digest;
pub mod ids;
pub mod payload;
pub mod reject;

pub use call::CallError;
pub use container::{BatchContext, Call, Container, Decided, Decision, Failure, Reduction};
pub use context::{Context, Origin, Random, Stamps};
pub use digest::Digest;
pub use ids::{BatchId, CallNumber, Incarnation, Index, NodeName, RequestId, SessionId, SessionKey};
pub use payload::{Payload, PayloadError};
pub use reject::{Never, Reject};
