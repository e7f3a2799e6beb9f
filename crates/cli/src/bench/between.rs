//! What is between the processes of a measured cluster.

use conflux::NodeBuilder;
use conflux::channel::redis::{RedisChannel, RedisOptions};
use conflux::channel::tcp::{TcpChannel, TcpOptions};
use conflux_core::Container;

use crate::arguments::BenchChannel;
use crate::exit::Refusal;

/// The channel of one process.
pub(super) enum Between {
    Tcp(TcpChannel),
    Redis(RedisChannel),
}

impl Between {
    /// Listens on loopback, or looks at the address of a server.
    pub(super) async fn open(channel: &BenchChannel) -> Result<Between, Refusal> {
        match channel {
            BenchChannel::Redis(url) => {
                RedisChannel::new(RedisOptions::new(url)).map(Between::Redis).map_err(Refusal::new)
            }
            BenchChannel::Tcp | BenchChannel::Memory => {
                TcpChannel::bind(TcpOptions::new("127.0.0.1:0")).await.map(Between::Tcp).map_err(Refusal::new)
            }
        }
    }

    /// Where the others reach this process.
    pub(super) fn address(&self) -> String {
        match self {
            Between::Tcp(channel) => channel.local_address().to_string(),
            Between::Redis(channel) => channel.address(),
        }
    }

    /// Says where another node is reached, where that is not the same for all.
    pub(super) fn dial(&self, name: &str, address: &str) -> Result<(), Refusal> {
        match self {
            Between::Tcp(channel) => channel.set_peer(name, address).map_err(Refusal::new),
            Between::Redis(_) => Ok(()),
        }
    }

    /// Has a node talk by it.
    pub(super) fn give<C: Container>(&self, builder: NodeBuilder<C>) -> NodeBuilder<C> {
        match self {
            Between::Tcp(channel) => builder.channel(channel.clone()),
            Between::Redis(channel) => builder.channel(channel.clone()),
        }
    }

    pub(super) async fn close(&self) {
        match self {
            Between::Tcp(channel) => channel.close().await,
            Between::Redis(channel) => channel.close().await,
        }
    }
}
