//! The other nodes of a measured cluster, each in a process of its own: this very program, told to be a member.
//!
//! A member says where it listens, is told where the others do, a line each, and ends when nothing more can come: it does
//! not outlive the one that measures.

use std::io::{BufRead, BufReader, Write, stdin};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use conflux::{FileDisk, Node};
use conflux_core::NodeName;
use tokio::sync::mpsc;

use super::between::Between;
use crate::arguments::BenchOptions;
use crate::cluster::name_of;
use crate::exit::{Exit, Refusal};
use crate::factory::Factory;
use crate::output::say;

/// How long a member may take to end.
const END_WAIT: Duration = Duration::from_secs(10);

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// What precedes the address that a member says.
const LISTENS: &str = "listens at ";

/// A node in another process. It is killed where it is not [`end`](Self::end)ed.
pub(super) struct Member {
    pub(super) name: NodeName,
    /// Where it listens.
    pub(super) address: String,
    process: Child,
    input: Option<ChildStdin>,
}

impl Member {
    /// Starts this program once more, with the same arguments and a name. Blocks until the member listens.
    pub(super) fn start(name: NodeName, directory: &Path) -> Result<Member, Refusal> {
        let failed = |error| Refusal::new(format!("node {name:?} cannot be run as a process: {error}"));
        let program = std::env::current_exe().map_err(failed)?;
        let mut process = Command::new(program)
            .args(std::env::args_os().skip(1))
            .args(["--member", &*name, "--member-data"])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let input = process.stdin.take();
        let output = process.stdout.take().expect("it is piped");
        let mut member = Member { name: name.clone(), address: String::new(), process, input };
        let mut line = String::new();
        BufReader::new(output).read_line(&mut line).map_err(failed)?;
        match line.trim().strip_prefix(LISTENS) {
            Some(address) => address.clone_into(&mut member.address),
            None => return Err(Refusal::new(format!("node {name:?} ended before it listened"))),
        }
        Ok(member)
    }

    /// Tells it where another node listens.
    pub(super) fn dial(&mut self, name: &str, address: &str) -> Result<(), Refusal> {
        let input = self.input.as_mut().expect("it was not told to end");
        writeln!(input, "{name}={address}")
            .map_err(|error| Refusal::new(format!("node {:?} has ended: {error}", self.name)))
    }

    pub(super) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Has it end, and waits for that. Blocks.
    pub(super) fn end(mut self) {
        self.input = None;
        let deadline = Instant::now() + END_WAIT;
        // Whoever does not end is killed.
        while matches!(self.process.try_wait(), Ok(None)) && Instant::now() < deadline {
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // No harm where it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Is a member: runs the node `name` until its input ends.
pub(super) async fn run<F: Factory>(
    factory: F,
    name: &str,
    options: &BenchOptions,
    data: &Path,
) -> Result<Exit, Refusal> {
    let channel = Between::open(&options.channel).await?;
    say!("{LISTENS}{}", channel.address())?;
    let founders = (0..options.nodes).map(|nth| name_of(nth).to_string());
    let builder = Node::builder(factory.make()?, name).founders(founders).disk(FileDisk::new(data));
    let node = channel.give(builder).open().await.map_err(Refusal::in_flags)?;
    let mut lines = lines();
    while let Some(line) = lines.recv().await {
        let Some((name, address)) = line.split_once('=') else {
            return Err(Refusal::new(format!("{line:?} is no NAME=ADDRESS: --member is for `bench` itself")));
        };
        channel.dial(name, address)?;
    }
    node.close().await;
    channel.close().await;
    Ok(Exit::Good)
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
