//! placeholder

pub mod channel;
pub mod wire;
