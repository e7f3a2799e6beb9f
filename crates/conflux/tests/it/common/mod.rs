//! The container and the clusters that the tests share.

pub(crate) mod wrapped;

use conflux::{Container, Context, Disk, MemoryChannel, Node, NodeBuilder, Reject};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    Append(String),
    Panic,
    PanicInReducer,
    /// Makes an action of so many bytes.
    Large(usize),
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Action {
    Appended(String),
    Bad,
}

// Not `Debug`: what nodes give back is printable all the same.
pub(crate) struct Words;

impl Container for Words {
    type State = Vec<String>;
    type Method = Method;
    type Action = Action;
    type Rejection = Reject;

    fn initial(&self) -> Vec<String> {
        vec![]
    }

    fn decide(&self, _: &Vec<String>, method: Method, _: &Context<'_>) -> Result<Option<Action>, Reject> {
        match method {
            Method::Append(word) if word.len() > 80 => Err("too long".into()),
            Method::Append(word) if word.is_empty() => Ok(None),
            Method::Append(word) => Ok(Some(Action::Appended(word))),
            Method::Large(bytes) => Ok(Some(Action::Appended("x".repeat(bytes)))),
            Method::Panic => panic!("no"),
            Method::PanicInReducer => Ok(Some(Action::Bad)),
        }
    }

    fn reduce(&self, words: &mut Vec<String>, action: &Action, _: &Context<'_>) {
        match action {
            Action::Appended(word) => words.push(word.clone()),
            Action::Bad => {
                words.clear();
                panic!("not that");
            }
        }
    }
}

pub(crate) fn append(word: &str) -> Method {
    Method::Append(word.into())
}

pub(crate) async fn open_one(channel: &MemoryChannel, name: &str, disk: impl Disk) -> Node<Words> {
    let node = Node::builder(Words, name).cluster_size(3).channel(channel.clone()).disk(disk).open().await;
    node.expect("the options are good")
}

pub(crate) async fn open(channel: &MemoryChannel, names: &[&str]) -> Vec<Node<Words>> {
    open_each(names, |name| Node::builder(Words, name).cluster_size(3).channel(channel.clone())).await
}

/// One of each name, as it is described.
pub(crate) async fn open_each<C: Container>(
    names: &[&str],
    described: impl Fn(&str) -> NodeBuilder<C>,
) -> Vec<Node<C>> {
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(described(name).open().await.expect("the options are good"));
    }
    nodes
}

/// Waits until every node can serve a read.
pub(crate) async fn serving<C: Container>(nodes: &[Node<C>]) {
    for node in nodes {
        node.linearizable_state().await.expect("a majority is there");
    }
}
