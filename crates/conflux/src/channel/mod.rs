//! How nodes talk: best-effort, framed messages between names.
//!
//! A channel carries whole frames from one attached node to another, or to all others. It promises little, so that
//! anything can be one (memory, tcp, redis, a relay, a simulator):
//!
//! - **FIFO or lost.** Of the frames that one node sends to another, any may be lost; those that arrive do so unchanged
//!   and in the order of sending.
//! - **Addressed.** A frame reaches only the node it names; a broadcast reaches every other node and not its sender.
//! - **Never blocking.** Sending returns at once. What does not fit is lost.
//!
//! Requests and responses, large messages, checksums and limits lie above, once for all channels: see
//! [`wire`](crate::wire). What every channel has to pass is [`contract`].

use std::sync::Arc;

use bytes::Bytes;
use futures_core::future::BoxFuture;

use crate::metrics::ChannelMetrics;

pub mod contract;
mod faults;
mod inbox;
mod memory;
pub mod redis;
pub mod shared;
pub mod tcp;
pub mod websocket;

pub use faults::{FaultCounts, Faults};
pub use inbox::{Deliver, Inbox, InboxLimits};
pub use memory::{Fate, MemoryChannel};
pub use redis::RedisChannel;
pub use tcp::TcpChannel;
pub use websocket::WebsocketChannel;

/// A node's name on a channel: any non-empty string of at most [`NAME_BYTES_MAX`] bytes.
pub type Name = conflux_core::NodeName;

/// The longest [`Name`], in bytes.
pub const NAME_BYTES_MAX: usize = conflux_core::ids::NODE_NAME_BYTES_MAX;

/// The largest frame that every channel must carry.
pub const FRAME_BYTES_MIN: usize = 1024 * 1024;

/// How nodes talk. One value serves every node that is attached through it.
pub trait Channel: Send + Sync + 'static {
    /// Attach a node. A name is free again as soon as its earlier holder has detached; where the far side takes time to
    /// see that, this waits for it.
    fn attach(&self, name: Name) -> BoxFuture<'_, Result<Attachment, ChannelError>>;
}

/// What a node holds while it is attached.
///
/// It detaches when every clone of `port` is dropped, or by [`Port::close`]. Dropping only the inbox does not detach:
/// the node then hears nothing, and its name stays taken.
pub struct Attachment {
    /// The way out.
    pub port: Arc<dyn Port>,
    /// The way in.
    pub inbox: Inbox,
}

/// The sending half of an [`Attachment`]. Nothing here blocks or fails: what cannot be delivered is lost.
pub trait Port: Send + Sync + 'static {
    /// The name under which the node is attached.
    fn name(&self) -> &Name;

    /// Send a frame to one node, which may be this one.
    fn send(&self, to: &Name, frame: Bytes);

    /// Send a frame to every other attached node.
    fn broadcast(&self, frame: Bytes);

    /// What its connections count. What carries frames without any counts nothing.
    fn metrics(&self) -> ChannelMetrics {
        ChannelMetrics::default()
    }

    /// Detach: the name is free, the inbox ends once drained, and later sends do nothing. Closing twice is harmless.
    fn close(&self);
}

/// One frame that arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The node that sent it.
    pub from: Name,
    /// What it sent.
    pub frame: Bytes,
}

/// Why a node could not be attached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// Another attached node has this name.
    #[error("the name {name:?} is already attached to this channel: close the node that holds it, or use another name")]
    NameTaken {
        /// The name asked for.
        name: Name,
    },
    /// The name is empty or too long.
    #[error("a node's name has 1 to {NAME_BYTES_MAX} bytes, but {len} bytes came: choose another name")]
    BadName {
        /// The length of the name asked for.
        len: usize,
    },
    /// The channel was closed.
    #[error("the channel is closed: attach to a new one")]
    Closed,
    /// A TCP channel cannot serve the node.
    #[error(transparent)]
    Tcp(#[from] tcp::TcpError),
    /// What lies under the channel (a socket, a server) did not work.
    #[error("the channel cannot be reached: {reason}")]
    Unreachable {
        /// What went wrong and what to do about it, in the channel's own words.
        reason: String,
    },
}

/// Check a name as [`Channel::attach`] must: not empty, at most [`NAME_BYTES_MAX`] bytes.
pub fn check_name(name: &str) -> Result<(), ChannelError> {
    match name.len() {
        1..=NAME_BYTES_MAX => Ok(()),
        len => Err(ChannelError::BadName { len }),
    }
}
