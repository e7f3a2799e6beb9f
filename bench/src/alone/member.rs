//! A node in a process of its own, which can be killed. It is told what to do by lines, and answers each with one.
//!
//! ```text
//! <- listens at 127.0.0.1:40123
//! -> dial b=127.0.0.1:40124
//! <- dialed
//! -> perform
//! <- performed                what was asked for is committed and synced
//! -> leads?
//! <- a                        whom this node takes for the leader, or -
//! -> has caught up
//! <- has caught up            with everything that was committed when it was asked
//! ```

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use conflux::channel::tcp::{TcpChannel, TcpOptions};
use conflux::{FileDisk, Node};

use super::bed::Counter;

const LISTENS: &str = "listens at ";

/// Another process. It is killed where it goes.
pub(super) struct Member {
    pub(super) name: &'static str,
    pub(super) address: String,
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Member {
    pub(super) fn start(name: &'static str, directory: &Path) -> Result<Member, String> {
        let failed = |error: std::io::Error| format!("node {name}: {error}");
        let mut process = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["member", name])
            .arg(directory)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let input = process.stdin.take().expect("it is piped");
        let output = BufReader::new(process.stdout.take().expect("it is piped"));
        let mut member = Member { name, address: String::new(), process, input, output };
        let line = member.answer()?;
        let address = line.strip_prefix(LISTENS).ok_or_else(|| format!("node {name} says {line:?}"))?;
        address.clone_into(&mut member.address);
        Ok(member)
    }

    /// Says a line, and does not wait for the answer.
    pub(super) fn say(&mut self, line: &str) -> Result<(), String> {
        writeln!(self.input, "{line}").map_err(|error| format!("node {}: {error}", self.name))
    }

    /// The next answer.
    pub(super) fn answer(&mut self) -> Result<String, String> {
        let mut line = String::new();
        self.output.read_line(&mut line).map_err(|error| format!("node {}: {error}", self.name))?;
        match line.strip_suffix('\n') {
            Some(line) => Ok(line.to_owned()),
            None => Err(format!("node {} has ended", self.name)),
        }
    }

    pub(super) fn ask(&mut self, line: &str) -> Result<String, String> {
        self.say(line)?;
        self.answer()
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // No harm where it has ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Is one, until the input ends.
pub(crate) async fn run(name: &str, directory: &Path) -> Result<(), String> {
    let channel = TcpChannel::bind(TcpOptions::new("127.0.0.1:0")).await.map_err(|error| error.to_string())?;
    println!("{LISTENS}{}", channel.local_address());
    let builder = Node::builder(Counter, name).founders(["a", "b", "c"]).disk(FileDisk::new(directory));
    let node = builder.channel(channel.clone()).open().await.map_err(|error| error.to_string())?;
    // Lines come seldom, and nothing else is done by this thread.
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = match line.split_once(' ') {
            Some(("dial", peer)) => {
                let (name, address) = peer.split_once('=').ok_or("a peer is NAME=ADDRESS")?;
                channel.set_peer(name, address).map_err(|error| error.to_string())?;
                "dialed".to_owned()
            }
            _ if line == "perform" => match node.perform(1).await {
                Ok(_) => "performed".to_owned(),
                Err(error) => format!("not performed: {error}"),
            },
            _ if line == "leads?" => node.status().leader.map_or_else(|| "-".to_owned(), |leader| leader.to_string()),
            _ if line == "has caught up" => match node.linearizable_index().await {
                Ok(_) => line,
                Err(error) => format!("has not: {error}"),
            },
            _ => return Err(format!("{line:?} is nothing that a member is told")),
        };
        println!("{answer}");
    }
    Ok(())
}
