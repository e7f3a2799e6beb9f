//! The counterexamples that the rules of the protocol answer, one scripted scenario each: what would go wrong is tried on
//! purpose, on real nodes in simulated time, and does not happen. `docs/scenarios.md` lists the rules and who plays them.

mod board;
mod chain;
mod cluster;
mod indexes;
mod limits;
mod members;
mod post;
mod reads;
mod sessions;
mod snapshots;
mod time;
mod timing;
