//! The cluster that one row is measured on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use conflux::{FileDisk, Node, Status};
use conflux_core::{Container, NodeName};
use futures_util::future;
use tokio::time::{sleep, timeout};

use super::between::Between;
use super::members::Member;
use crate::arguments::{BenchAt, BenchChannel, BenchOptions};
use crate::cluster::name_of;
use crate::exit::Refusal;
use crate::factory::Factory;
use crate::ground::{MemoryGround, NodeOptions};

/// How long a cluster may take to elect its first leader.
const LEADER_WAIT: Duration = Duration::from_secs(30);

/// Before a node that may not lead yet is asked again.
const TRANSFER_PAUSE: Duration = Duration::from_millis(50);

/// How many calls a node takes at once however few the callers are: the library's own default.
const IN_FLIGHT_MIN: usize = 65_536;

/// Nodes with a leader, in this process or partly in others.
pub(super) struct Bed<C: Container> {
    /// Those in this process.
    nodes: Vec<Node<C>>,
    /// The one that callers perform at; without it, all of this process.
    at: Option<Node<C>>,
    /// The others, and the channel to them.
    members: Vec<Member>,
    channel: Option<Between>,
}

impl<C: Container> Bed<C> {
    /// Starts the nodes, with their disks below `data`, and waits for the leader that is wanted.
    pub(super) async fn make<F>(
        factory: Arc<F>,
        callers: usize,
        options: &BenchOptions,
        data: Option<&Path>,
    ) -> Result<Bed<C>, Refusal>
    where
        F: Factory<Container = C>,
    {
        // All callers may perform at one node.
        let in_flight_max = callers.max(IN_FLIGHT_MIN);
        let names: Vec<NodeName> = (0..options.nodes).map(name_of).collect();
        let mut bed = match (&options.channel, data) {
            (BenchChannel::Memory, data) => {
                let data = data.map(Path::to_owned);
                let node_options = NodeOptions { in_flight_max: Some(in_flight_max), data, ..NodeOptions::default() };
                let ground = MemoryGround::new(factory, options.nodes, node_options);
                let nodes = future::try_join_all(names.iter().map(|name| ground.open_typed(name))).await?;
                Bed { nodes, at: None, members: Vec::new(), channel: None }
            }
            (channel, data) => {
                let data = data.expect("there is a directory for nodes of several processes");
                Bed::processes(&factory, &names, in_flight_max, channel, data).await?
            }
        };
        let late = |_| Refusal::new(format!("no leader was elected within {} s", LEADER_WAIT.as_secs()));
        bed.at = timeout(LEADER_WAIT, bed.place(options.at)).await.map_err(late)?;
        Ok(bed)
    }

    /// A node here, and the others in processes of their own.
    async fn processes<F: Factory<Container = C>>(
        factory: &F,
        names: &[NodeName],
        in_flight_max: usize,
        channel: &BenchChannel,
        data: &Path,
    ) -> Result<Bed<C>, Refusal> {
        let channel = Between::open(channel).await?;
        let mut members = Vec::new();
        for name in &names[1..] {
            let (name, directory) = (name.clone(), data.join(&**name));
            let started = tokio::task::spawn_blocking(move || Member::start(name, &directory)).await;
            members.push(started.expect("it does not panic")?);
        }
        let mut addresses = vec![(names[0].clone(), channel.address())];
        addresses.extend(members.iter().map(|member| (member.name.clone(), member.address.clone())));
        for (name, address) in &addresses[1..] {
            channel.dial(name, address)?;
        }
        for member in &mut members {
            for (name, address) in &addresses {
                if *name != member.name {
                    member.dial(name, address)?;
                }
            }
        }
        let founders = names.iter().map(|name| name.to_string());
        let builder = Node::builder(factory.make()?, &*names[0]).founders(founders).in_flight_max(in_flight_max);
        let builder = channel.give(builder.disk(FileDisk::new(data.join(&*names[0]))));
        let node = builder.open().await.map_err(Refusal::in_flags)?;
        Ok(Bed { nodes: vec![node], at: None, members, channel: Some(channel) })
    }

    /// Waits for the node that callers are to perform at. Where leadership is in the way of that, it is handed over.
    async fn place(&self, at: BenchAt) -> Option<Node<C>> {
        let first = &self.nodes[0];
        loop {
            let led = |status: &Status| status.leader.clone();
            let leader = first.watch_status().find(led).await.expect("the node is open");
            let (found, wanted) = match at {
                BenchAt::All => return None,
                BenchAt::Leader => (self.nodes.iter().find(|node| *node.id() == leader), first.id()),
                BenchAt::Follower => {
                    let member = self.members.first().map_or(first.id(), |member| &member.name);
                    (self.nodes.iter().find(|node| *node.id() != leader), member)
                }
            };
            match found {
                Some(node) => return Some(node.clone()),
                None => {
                    // It may have to catch up first.
                    if first.transfer_leadership(Some(wanted)).await.is_err() {
                        sleep(TRANSFER_PAUSE).await;
                    }
                }
            }
        }
    }

    /// Where callers perform.
    pub(super) fn at(&self) -> &[Node<C>] {
        self.at.as_ref().map_or(&self.nodes, std::slice::from_ref)
    }

    /// The processes of the members.
    pub(super) fn processes_of_members(&self) -> Vec<u32> {
        self.members.iter().map(Member::process_id).collect()
    }

    /// Ends all nodes.
    pub(super) async fn end(self) {
        future::join_all(self.nodes.iter().map(Node::close)).await;
        if let Some(channel) = &self.channel {
            channel.close().await;
        }
        let members = self.members;
        let ended = tokio::task::spawn_blocking(move || members.into_iter().for_each(Member::end)).await;
        ended.expect("it does not panic");
    }
}
