//! The client in Rust (being written).
