//! Real nodes, tried from outside. One program holds all these tests: what they are built from is made once.

mod cluster;
mod common;
mod comparison;
mod disk;
mod incident;
mod killed;
mod members;
mod metrics;
mod notices;
mod perform;
mod recover;
mod scenarios;
mod snapshots;
mod tcp;
mod trace;
mod websocket;
