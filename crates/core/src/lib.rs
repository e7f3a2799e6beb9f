//! The rules of conflux, a replicated state container: what a batch is, when it may take effect, and what each caller
//! and subscriber is owed. Pure: no clock, no I/O, no task, no engine; everything is handed in.
//!
//! A [`Container`] is what users write. The leader makes a [`Fork`] of its [`Store`] and turns requests into batches;
//! each [`Batch`] names its predecessor, and every store applies it onto that one only. So an action never meets a state
//! that its method did not see, whatever the engine in between loses or reorders.
//!
//! ```
//! use std::sync::Arc;
//! use conflux_core::*;
//! # #[derive(Clone, serde::Serialize, serde::Deserialize)]
//! # enum Method { Add(u64) }
//! # struct Counter;
//! # impl Container for Counter {
//! #     type State = u64; type Method = Method; type Action = u64; type Rejection = Never;
//! #     fn initial(&self) -> u64 { 0 }
//! #     fn decide(&self, _: &u64, Method::Add(n): Method, _: &Context<'_>) -> Result<Option<u64>, Never> { Ok(Some(n)) }
//! #     fn reduce(&self, state: &mut u64, action: &u64, _: &Context<'_>) { *state += action }
//! # }
//! let mut store = Store::new(Arc::new(Counter));
//! let mut fork = Fork::new(store.clone(), 1, Incarnation(7), Retention::default());
//! let session = SessionId { node: "a".into(), incarnation: Incarnation(7), number: 1 };
//! let open = Request::Open { id: session.clone(), as_of: Default::default() };
//! let opened = fork.batch(1, Stamps::default(), 0, vec![open], false)?.expect("there is something to log");
//! let key = fork.store().sessions().key(&session).expect("it is open");
//! let call = Request::Call {
//!     session: key, number: CallNumber(1), floor: CallNumber(1), chosen: None, audit: None, method: Method::Add(5),
//! };
//! let added = fork.batch(2, Stamps::default(), 0, vec![call], false)?.expect("there is something to log");
//!
//! assert!(matches!(store.apply(&added, |_, _, _| {})?, Applied::Skipped), "its predecessor is missing");
//! store.apply(&opened, |_, _, _| {})?;
//! store.apply(&added, |_, _, _| {})?;
//! assert_eq!((**store.state(), store.index()), (5, Index(1)));
//! # Ok::<(), Halt>(())
//! ```

pub mod batch;
// Public for the crates above only.
#[doc(hidden)]
pub mod bugs;
pub mod call;
pub mod codec;
pub mod container;
pub mod context;
pub mod difference;
pub mod digest;
pub mod fork;
pub mod history;
pub mod ids;
mod message_pack;
mod outlined;
pub mod panics;
pub mod payload;
pub mod reject;
mod release;
pub mod roster;
mod sample;
pub mod session;
pub mod shared;
pub mod snapshot;
pub mod store;

pub use batch::{Batch, BatchError, ChosenId, Header, Record, Verdict};
pub use call::CallError;
pub use container::{BatchContext, Call, Container, Decided, Decision, Failure, Reduction};
pub use context::{Context, Origin, Random, Stamps};
pub use digest::Digest;
pub use fork::{Fork, Request, Retention};
pub use history::{History, Owed};
pub use ids::{BatchId, CallNumber, Incarnation, Index, NodeName, RequestId, SessionId, SessionKey};
pub use payload::{Payload, PayloadError};
pub use reject::{Never, Reject};
pub use roster::{Roster, RosterChange, RosterError};
pub use session::{Corrupt, Found, Outcome, Session, Sessions};
pub use snapshot::{Origins, RestoreError};
pub use store::{Applied, Code, Committed, Halt, Store};
