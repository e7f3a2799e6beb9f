//! The container and the clusters that the tests share.

#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

pub mod wrapped;

use conflux::{Container, Context, MemoryChannel, MemoryDisk, Node, Reject};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    Append(String),
    Panic,
    PanicInReducer,
    /// Makes an action of so many bytes.
    Large(usize),
}

#[derive(Debug, Serialize, Deserialize)]
pub enum Action {
    Appended(String),
    Bad,
}

// Not `Debug`: what nodes give back is printable all the same.
pub struct Words;

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

pub fn append(word: &str) -> Method {
    Method::Append(word.into())
}

pub async fn open_one(channel: &MemoryChannel, name: &str, disk: MemoryDisk) -> Node<Words> {
    let node = Node::builder(Words, name).cluster_size(3).channel(channel.clone()).disk(disk).open().await;
    node.expect("the options are good")
}

pub async fn open(channel: &MemoryChannel, names: &[&str]) -> Vec<Node<Words>> {
    let mut nodes = Vec::new();
    for name in names {
        nodes.push(open_one(channel, name, MemoryDisk::new()).await);
    }
    nodes
}

/// Waits until every node can serve a read.
pub async fn serving(nodes: &[Node<Words>]) {
    for node in nodes {
        node.linearizable_state().await.expect("a majority is there");
    }
}
