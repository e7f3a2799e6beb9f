//! Deterministic simulation for conflux: a container's whole life on a cluster under faults, from one seed.
//!
//! [`check`] runs your container on several nodes, with many callers, on the library as it is: only the channel, the disks,
//! time and chance are simulated. Nodes are killed in the middle of anything, lose their power, their disks and their seats;
//! messages are lost, doubled, late and damaged; disks fail, fill and lie about bits. All of that is drawn from the seed
//! before the run begins, so that a seed is one run, the same one each time and everywhere.
//!
//! Meanwhile everything that callers, readers and subscribers are told is held against the history that came to be, promise
//! by promise, and Raft's own properties against the disks. [`Container::invariant`] is
//! asked of every state.
//!
//! ```
//! use conflux::{Container, Context, Reject};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Clone, Debug, Serialize, Deserialize)]
//! enum Method { Take, Give }
//!
//! struct Seats;
//!
//! impl Container for Seats {
//!     type State = u32;
//!     type Method = Method;
//!     type Action = Method;
//!     type Rejection = Reject;
//!
//!     fn initial(&self) -> u32 { 3 }
//!
//!     fn decide(&self, free: &u32, method: Method, _: &Context<'_>) -> Result<Option<Method>, Reject> {
//!         match method {
//!             Method::Take if *free == 0 => Err("all are taken".into()),
//!             Method::Give if *free == 3 => Ok(None),
//!             method => Ok(Some(method)),
//!         }
//!     }
//!
//!     fn reduce(&self, free: &mut u32, action: &Method, _: &Context<'_>) {
//!         match action {
//!             Method::Take => *free -= 1,
//!             Method::Give => *free += 1,
//!         }
//!     }
//!
//!     fn invariant(&self, free: &u32) -> Result<(), String> {
//!         if *free <= 3 { Ok(()) } else { Err(format!("{free} of 3 seats are free")) }
//!     }
//! }
//!
//! # use conflux_sim::FaultKind;
//! # let some = [FaultKind::Kill, FaultKind::Partition, FaultKind::Loss];
//! # let length = std::time::Duration::from_secs(10);
//! let passed = conflux_sim::check(Seats).seeds(0..20)
//! #   .faults(some).length(length)
//!     .run();
//! assert_eq!(passed.seeds, 20);
//! ```
//!
//! # When it fails
//! It says the seed, the promise, the shortest schedule that still breaks it, what happened last, and the command that
//! repeats it: `CONFLUX_SIM='17;nodes=3' cargo test name_of_the_test`. The same seed on the same code breaks the same
//! promise. [`Simulation::run_one`] does it from code, with everything that happens for a viewer.
//!
//! # What is simulated
//! One thread, and a clock that stands still while anything can be done. A node is a [`Process`](conflux::process::Process):
//! killed, its tasks end at the await where they are. Its disk is a [`FileDisk`](conflux::FileDisk) on
//! [`SimulatedFiles`](conflux::disk::SimulatedFiles), its channel a [`MemoryChannel`](conflux::MemoryChannel). That is all:
//! no flag of the compiler is needed.

mod breaker;
mod callers;
mod check;
mod disk;
mod fault;
mod history;
mod listeners;
mod logs;
mod observed;
mod record;
mod run;
mod schedule;
#[cfg(test)]
mod second_opinion;
mod shrink;
mod simulation;
mod subject;
mod tally;
mod trace;
mod weather;
mod words;
mod world;
mod wrong;

use std::sync::Arc;

use conflux::Container;

pub use fault::{Fault, FaultKind};
pub use history::Failures;
pub use run::{Looked, Run};
pub use schedule::{Ask, Deed, Kept, NODES_MAX, Numbers, Schedule, Settings, Timed, Wanted};
pub use simulation::{AGAIN, Broken, Failed, Passed, Progress, Simulation};
pub use tally::Tally;
pub use trace::log;
pub use wrong::{Promise, Wrong};

use subject::Subject;

/// Simulates a container.
pub fn check<C: Container>(container: C) -> Simulation<C> {
    let container = Arc::new(container);
    Simulation::new(Subject::new(move || Ok(container.clone())))
}

/// Simulates a container that each node has to have its own of, as a script's heap: `make` is called for each.
pub fn check_each<C: Container>(make: impl Fn() -> Result<C, String> + Send + Sync + 'static) -> Simulation<C> {
    Simulation::new(Subject::new(move || make().map(Arc::new)))
}
