//! Containers written in JavaScript.
//!
//! A script exports an initial state, methods and a reducer; [`ScriptContainer`] makes a
//! [`Container`](conflux_core::Container) of it. It runs on QuickJS inside the node, in a heap of its own in which the
//! states stay; Rust holds handles.
//!
//! ```
//! use conflux_core::Container;
//! use conflux_script::ScriptContainer;
//!
//! let words = ScriptContainer::from_source("words.js", r#"
//!     export const initialState = []
//!     export const methods = {
//!       append({ state, reject }, word) { if (word.length > 80) reject('too long'); return { type: 'APPEND', word } },
//!     }
//!     export function reduce(state, action) { return action.type === 'APPEND' ? [...state, action.word] : state }
//! "#)?;
//! assert_eq!(words.methods(), ["append"]);
//! assert_eq!(&*words.initial().json()?, "[]");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Two more exports are for development: `invariant(state)` says what must hold, and `sample({ random })` makes calls up
//! for a simulation, `[name, ...arguments]` or `null`. Without it any method is called with any arguments.
//!
//! # Costs
//! A batch pays one lock and one hop into the heap. Of an action, only what it made anew is walked and frozen; a reducer
//! that copies a list of *n* items costs *n*, in JavaScript as anywhere. A state is written as JSON only when somebody
//! asks for it. A node's heap does one thing at a time: a method that uses all its time keeps the node from applying for as
//! long.
//!
//! # What is the same on every node
//! No clock, no chance, no time zone: dates are in UTC, and only ISO 8601 and what a `Date` writes itself is parsed.
//! `Math` comes from one library. The `**` operator is the one exception, since the engine computes it with the
//! platform's `pow`: exact for whole numbers whose result a double holds, but for fractions write `Math.pow`. How deep a
//! recursion gets and how much memory there is differs between machines, so a call that reaches the limit of either fails,
//! also if it catches the error.
//! Pending jobs never run, so nothing happens after a method or reducer has returned.

mod accessors;
mod allowance;
mod call;
mod check;
mod container;
mod engine;
mod error;
mod explain;
mod heap;
mod host;
mod json;
mod load;
mod math;
mod memory;
mod options;
mod place;
mod report;
mod sources;
mod state;
mod watch;
mod world;

pub use call::{Action, Method};
pub use conflux_core::difference::{Difference, paths_that_differ};
pub use container::ScriptContainer;
pub use error::ScriptError;
pub use heap::went_over_a_limit;
pub use options::Options;
pub use report::{Finding, Report};
pub use state::ScriptState;
