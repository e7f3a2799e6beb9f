//! `conflux bench`: performs a second, how long one takes, memory.

mod counter;
mod figures;
mod memory;
mod run;

use std::time::Duration;

use conflux::{Node, Status};
use conflux_core::{Container, NodeName};
use futures_util::future;
use tokio::time::timeout;

use crate::arguments::{BenchAt, BenchChannel, BenchOptions};
use crate::cluster::name_of;
use crate::exit::{Exit, Refusal};
use crate::factory::Factory;
use crate::ground::{MemoryGround, NodeOptions};
use crate::line::{Body, Line};

pub(crate) use self::counter::Counter;
use self::figures::Figures;
use self::run::{Length, Row};

/// What is performed on the built-in counter.
pub(crate) const ADD_ONE: counter::Method = counter::Method::Add(1);

/// How long a cluster may take to elect its first leader.
const LEADER_WAIT: Duration = Duration::from_secs(30);

/// How many calls a node takes at once however few the callers are: the library's own default.
const IN_FLIGHT_MIN: usize = 65_536;

/// How long a row runs at most before it is measured.
const WARM_UP: Duration = Duration::from_millis(300);

/// The method that a line asks for.
pub(crate) fn method_of<C: Container>(container: &C, call: &str) -> Result<C::Method, Refusal> {
    let line = Line::parse(call).map_err(|error| Refusal::new(format!("--call: {error}")))?;
    match line {
        Some(Line { at: None, body: Body::Request(request) }) => container
            .method(&request.method, request.arguments)
            .map_err(|error| Refusal::new(format!("--call: {error}"))),
        _ => Err(Refusal::new("--call: it is a method and its arguments, as in: append \"foo\"")),
    }
}

/// Measures a row for each number of callers, each on a new cluster: no row inherits another's memory of its past.
pub(crate) async fn run<F: Factory>(
    factory: F,
    method: <F::Container as Container>::Method,
    options: BenchOptions,
) -> Result<Exit, Refusal> {
    let BenchChannel::Memory = options.channel;
    let length = options.performs.map_or(
        Length::Time { warm_up: WARM_UP.min(options.seconds / 4), measured: options.seconds },
        Length::Performs,
    );
    let factory = std::sync::Arc::new(factory);
    let figures = Figures::new(factory.name(), &options);
    figures.begin()?;
    let mut failed = false;
    for &callers in &options.callers {
        let row = row(factory.clone(), &method, callers, length, &options).await?;
        failed |= row.failed > 0;
        figures.row(&row)?;
    }
    figures.end()?;
    Ok(if failed { Exit::BadLines } else { Exit::Good })
}

async fn row<F: Factory>(
    factory: std::sync::Arc<F>,
    method: &<F::Container as Container>::Method,
    callers: usize,
    length: Length,
    options: &BenchOptions,
) -> Result<Row, Refusal> {
    // All callers may perform at one node.
    let node_options = NodeOptions { in_flight_max: Some(callers.max(IN_FLIGHT_MIN)), ..NodeOptions::default() };
    let ground = MemoryGround::new(factory, options.nodes, node_options);
    let names: Vec<NodeName> = (0..options.nodes).map(name_of).collect();
    let nodes = future::try_join_all(names.iter().map(|name| ground.open_typed(name))).await?;
    let leader = timeout(LEADER_WAIT, leader(&nodes))
        .await
        .map_err(|_| Refusal::new(format!("no leader was elected within {} s", LEADER_WAIT.as_secs())))?;
    let at = match options.at {
        BenchAt::Leader => std::slice::from_ref(leader),
        BenchAt::All => &nodes,
    };
    let row = run::run(at, method, callers, length).await;
    future::join_all(nodes.iter().map(Node::close)).await;
    Ok(row)
}

/// Waits for a leader that the first node knows of.
async fn leader<C: Container>(nodes: &[Node<C>]) -> &Node<C> {
    let first = &nodes[0];
    let leader = |status: &Status| nodes.iter().find(|node| status.leader.as_ref() == Some(node.id()));
    first.watch_status().find(leader).await.expect("the node is open")
}
