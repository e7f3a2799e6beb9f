//! Several nodes in one process.

use std::time::Duration;

use conflux::{Container, Context, MemoryChannel, Node, PerformError, Reject};
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    Append(String),
}
#[derive(Debug, Serialize, Deserialize)]
enum Action {
    Appended(String),
}
struct Words;

impl Container for Words {
    type State = Vec<String>;
    type Method = Method;
    type Action = Action;
    type Rejection = Reject;

    fn initial(&self) -> Vec<String> {
        vec![]
    }

    fn decide(
        &self,
        _: &Vec<String>,
        Method::Append(word): Method,
        _: &Context<'_>,
    ) -> Result<Option<Action>, Reject> {
        if word.len() > 80 { Err("too long".into()) } else { Ok(Some(Action::Appended(word))) }
    }

    fn reduce(&self, words: &mut Vec<String>, Action::Appended(word): &Action, _: &Context<'_>) {
        words.push(word.clone());
    }
}

async fn open(channel: &MemoryChannel, names: &[&str]) -> Vec<Node<Words>> {
    let mut nodes = Vec::new();
    for name in names {
        let node = Node::builder(Words, *name).cluster_size(3).channel(channel.clone()).open().await;
        nodes.push(node.expect("the options are good"));
    }
    nodes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_have_one_state() {
    tracing_subscriber::fmt().with_env_filter(tracing_subscriber::EnvFilter::from_default_env()).init();
    let nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    let started: Vec<_> = (0..1000)
        .map(|n| nodes[n / 400].perform(Method::Append(format!("word {n}"))).start())
        .collect();
    for started in started {
        started.await.expect("the cluster serves");
    }
    let rejected = nodes[1].perform(Method::Append("x".repeat(81))).await;
    assert!(matches!(rejected, Err(PerformError::Rejected { .. })), "{rejected:?}");
    for node in &nodes {
        let state = node.linearizable_state().await.expect("the cluster serves");
        assert_eq!(state.len(), 1000);
        let positions: Vec<_> = (0..400).map(|n| state.iter().position(|word| *word == format!("word {n}"))).collect();
        assert!(positions.is_sorted(), "calls of one node take effect in order");
        assert_eq!(*state, *nodes[0].state());
    }
    for node in &nodes {
        node.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced() {
    let mut nodes = open(&MemoryChannel::new(), &["a", "b", "c"]).await;
    nodes[0].perform(Method::Append("first".into())).await.expect("the cluster serves");
    let leader = nodes[0].status().leader.expect("somebody served it");
    let at = nodes.iter().position(|node| *node.id() == leader).expect("it is one of them");
    nodes.remove(at).close().await;
    let begun = std::time::Instant::now();
    nodes[0].perform(Method::Append("second".into())).await.expect("the others serve");
    eprintln!("served again after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(5));
}
