//! One process: a node of the cluster, and lines that ask it.

use std::error::Error;
use std::io::{BufRead, stdin};

use conflux::channel::tcp::{TcpChannel, TcpOptions};
use conflux::{Container, Context, FileDisk, Node, Reject};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;

/// Who founds the cluster.
pub(crate) const NAMES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    Append(String),
}

#[derive(Debug, Serialize, Deserialize)]
enum Action {
    Appended(String),
}

/// A list of words, each of which can be there once.
struct Words;

impl Container for Words {
    type State = Vec<String>;
    type Method = Method;
    type Action = Action;
    type Rejection = Reject;

    fn initial(&self) -> Vec<String> {
        vec![]
    }

    fn decide(&self, words: &Vec<String>, method: Method, _: &Context<'_>) -> Result<Option<Action>, Reject> {
        let Method::Append(word) = method;
        if words.contains(&word) { Err("it is there already".into()) } else { Ok(Some(Action::Appended(word))) }
    }

    fn reduce(&self, words: &mut Vec<String>, Action::Appended(word): &Action, _: &Context<'_>) {
        words.push(word.clone());
    }
}

/// Runs until its input ends. `peers` are `NAME=ADDRESS`; others can be told by lines of the same form.
pub(crate) fn run(id: &str, directory: &str, listen: &str, peers: &[String]) -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(serve(id, directory, listen, peers))
}

async fn serve(id: &str, directory: &str, listen: &str, peers: &[String]) -> Result<(), Box<dyn Error>> {
    let channel = TcpChannel::bind(TcpOptions::new(listen)).await?;
    for peer in peers {
        set_peer(&channel, peer)?;
    }
    let builder = Node::builder(Words, id).founders(NAMES).disk(FileDisk::new(directory));
    let node = builder.channel(channel.clone()).open().await?;
    println!("listens at {}", channel.local_address());

    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        match line.split_once(' ') {
            Some(("append", word)) => match node.perform(Method::Append(word.into())).await {
                Ok(done) => println!("{word} is at {}", done.index),
                Err(error) => println!("{word}: {error}"),
            },
            None if line == "state" => {
                let state = node.linearizable_state().await?;
                println!("{} words: {}", state.index(), state.join(" "));
            }
            _ => match set_peer(&channel, &line) {
                Ok(()) => println!("dials {line}"),
                Err(error) => println!("{error}"),
            },
        }
    }
    // Gracefully: what it holds is on its disk in any case.
    node.close().await;
    channel.close().await;
    Ok(())
}

fn set_peer(channel: &TcpChannel, peer: &str) -> Result<(), Box<dyn Error>> {
    let (name, address) =
        peer.split_once('=').ok_or_else(|| format!("{peer:?} is none of: append WORD, state, NAME=ADDRESS"))?;
    Ok(channel.set_peer(name, address)?)
}

/// The lines of the input, read on a thread of their own: a read there cannot be called off.
fn lines() -> mpsc::Receiver<String> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        for line in stdin().lock().lines().map_while(Result::ok) {
            if sender.blocking_send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
