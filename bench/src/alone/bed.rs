//! Nodes of one process.

use std::future::Future;
use std::time::Duration;

use conflux::{Container, Context, MemoryChannel, Never, Node};
use futures::future;

use crate::load::{Length, Row, load};
use crate::usage::Processes;

/// The least a container can do: it adds.
pub(super) struct Counter;

impl Container for Counter {
    type State = u64;
    type Method = u64;
    type Action = u64;
    type Rejection = Never;

    fn initial(&self) -> u64 {
        0
    }

    fn decide(&self, _: &u64, number: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
        Ok(Some(number))
    }

    fn reduce(&self, count: &mut u64, number: &u64, _: &Context<'_>) {
        *count = count.wrapping_add(*number);
    }
}

/// A cluster with a leader.
pub(super) struct Bed<C: Container> {
    pub(super) channel: MemoryChannel,
    pub(super) nodes: Vec<Node<C>>,
}

impl<C: Container> Bed<C> {
    /// Opens `size` nodes, named a, b, ..., of which a leads.
    pub(super) async fn open(size: u8, container: impl Fn() -> C) -> Result<Bed<C>, String> {
        let channel = MemoryChannel::new();
        let opened = (b'a'..b'a' + size).map(|name| {
            let builder = Node::builder(container(), char::from(name).to_string());
            builder.cluster_size(size.into()).channel(channel.clone()).in_flight_max(1 << 17).open()
        });
        let nodes = future::try_join_all(opened).await.map_err(|error| error.to_string())?;
        let bed = Bed { channel, nodes };
        loop {
            let first = &bed.nodes[0];
            let leader = first.watch_status().find(|status| status.leader.clone()).await.ok_or("it was closed")?;
            if *leader == **first.id() {
                return Ok(bed);
            }
            // It may have to catch up first.
            if first.transfer_leadership(Some(first.id())).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    pub(super) fn leader(&self) -> &Node<C> {
        &self.nodes[0]
    }

    /// Lets callers perform at the leader.
    pub(super) async fn perform(
        &self,
        callers: usize,
        seconds: Duration,
        method: impl Fn(usize) -> C::Method + Clone + Send + Sync + 'static,
    ) -> Row {
        let node = self.leader().clone();
        asking(callers, seconds, move |caller| {
            let (node, method) = (node.clone(), method.clone());
            move || {
                let performed = node.perform(method(caller));
                async move { performed.await.is_ok() }
            }
        })
        .await
    }

    pub(super) async fn close(self) {
        future::join_all(self.nodes.iter().map(Node::close)).await;
    }
}

/// Lets callers ask, after a warm-up of a quarter of the time.
pub(super) async fn asking<F, A>(callers: usize, seconds: Duration, ask: impl Fn(usize) -> F) -> Row
where
    F: FnMut() -> A + Send + 'static,
    A: Future<Output = bool> + Send,
{
    load(callers, Length { warm_up: seconds / 4, measured: seconds }, Processes::own(), ask).await
}
