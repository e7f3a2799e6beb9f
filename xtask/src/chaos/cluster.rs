//! The nodes of a run, the links between them, and the server that they talk by.

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::Client;
use super::network::{Between, Mode, Network};
use super::options::{Ground, Medium, Options};
use super::plan::{Way, Who};
use super::process::{Process, last_line, lines_with};
use super::proxy::Counts;
use super::random::Random;
use super::record::{Ending, Life};
use super::spaces::Spaces;
use super::world::{LOOK_EVERY, Slot, World};

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// What clients show where others could reach the nodes.
const TOKEN: &str = "the-token-of-all-clients-of-this-run";

const LEDGER: &str = include_str!("ledger.js");

/// How long a node that was told to end may take: it waits up to 3 s for another leader, and 10 s for requests.
const END_PATIENCE: Duration = Duration::from_secs(20);

/// How long it may take until it is known who leads, before somebody else is hit.
const LEADER_PATIENCE: Duration = Duration::from_secs(3);

pub(super) struct Cluster {
    pub(super) world: Arc<World>,
    directory: PathBuf,
    program: PathBuf,
    medium: Medium,
    founders: usize,
    nodes: Vec<Node>,
    network: Network,
    server: Server,
    pub(super) endings: Vec<Ending>,
}

struct Node {
    process: Option<Process>,
    /// Where other nodes reach it.
    port: u16,
    http_port: u16,
}

/// The redis-server or the relay; nothing with tcp.
struct Server {
    process: Option<Process>,
    port: u16,
}

impl Cluster {
    /// A directory and ports for the founders, and for one node more.
    pub(super) fn new(
        directory: &Path,
        program: &Path,
        options: &Options,
        interrupted: Arc<AtomicBool>,
    ) -> Result<Cluster, String> {
        let (medium, founders) = (options.medium, options.nodes);
        let write = |name: &str, text: &str| {
            let file = directory.join(name);
            std::fs::write(&file, text).map_err(|error| format!("cannot write {}: {error}", file.display()))
        };
        write("ledger.js", LEDGER)?;
        write("tokens", &format!("admin {TOKEN}\n"))?;
        write("cluster.key", "the key of all nodes of this run\n")?;
        let mut ports = Ports::new();
        let mut nodes = Vec::new();
        for _ in 0..=founders {
            nodes.push(Node { process: None, port: ports.next()?, http_port: ports.next()? });
        }
        let server = Server { process: None, port: ports.next()? };
        let listens: Vec<u16> = nodes.iter().map(|node| node.port).collect();
        let proxies = || {
            let to = if medium == Medium::Tcp { Between::Nodes(&listens) } else { Between::Server(server.port) };
            Network::proxies(nodes.len(), to)
        };
        let network = match options.ground {
            Ground::Proxies => proxies()?,
            Ground::Namespaces => Network::Spaces(Spaces::make(nodes.len())?),
            Ground::Either => match Spaces::make(nodes.len()) {
                Ok(spaces) => Network::Spaces(spaces),
                Err(why) => {
                    println!("     {why}: proxies are between the nodes instead");
                    proxies()?
                }
            },
        };
        let token = network.is_open().then_some(TOKEN);
        let slot = |(at, (node, name)): (usize, (&Node, &str))| {
            let address = format!("{}:{}", network.host(at), node.http_port);
            Slot::new(name, Client::new(&address, token))
        };
        let slots = nodes.iter().zip(NAMES).enumerate().map(slot).collect();
        Ok(Cluster {
            world: Arc::new(World::new(options.seed, slots, interrupted)),
            directory: directory.to_owned(),
            program: program.to_owned(),
            medium,
            founders,
            nodes,
            network,
            server,
            endings: Vec::new(),
        })
    }

    /// Starts the founders.
    pub(super) fn found(&mut self) -> Result<(), String> {
        self.start_server()?;
        for at in 0..self.founders {
            self.start(at)?;
            self.world.slots[at].set_member(true);
        }
        Ok(())
    }

    pub(super) fn name(&self, at: usize) -> &'static str {
        NAMES[at]
    }

    /// The slot that is no member, if there is one.
    pub(super) fn spare(&self) -> Option<usize> {
        (0..self.nodes.len()).find(|at| !self.world.slots[*at].is_member())
    }

    /// Whom a fault hits.
    pub(super) fn find(&self, who: Who) -> Vec<usize> {
        let members = self.world.members();
        let from = |lot: u64, count: usize| {
            let first = usize::try_from(lot).unwrap_or(0) % members.len();
            (0..count.min(members.len())).map(|nth| members[(first + nth) % members.len()]).collect()
        };
        match who {
            Who::All => members,
            Who::Lot { count, lot } => from(lot, count),
            // Where nobody leads for long, a fault is a fault all the same.
            Who::Leader => self.leader(LEADER_PATIENCE).map_or_else(|| from(0, 1), |leader| vec![leader]),
        }
    }

    /// Who leads, by the newest term that any node tells, once there is one.
    pub(super) fn leader(&self, patience: Duration) -> Option<usize> {
        let deadline = Instant::now() + patience;
        loop {
            let told = self.statuses().into_iter().filter_map(|(_, status)| {
                let leader = status["leader"].as_str()?;
                Some((status["term"].as_u64()?, (0..self.nodes.len()).find(|at| NAMES[*at] == leader)?))
            });
            match told.max() {
                None if Instant::now() < deadline && self.world.sleep(LOOK_EVERY) => {}
                found => return found.map(|(_, leader)| leader),
            }
        }
    }

    /// What each node that answers says of itself.
    pub(super) fn statuses(&self) -> Vec<(usize, Value)> {
        let running = (0..self.nodes.len()).filter(|at| self.nodes[*at].process.is_some());
        running.filter_map(|at| Some((at, self.world.slots[at].client.status()?))).collect()
    }

    pub(super) fn is_up(&self, at: usize) -> bool {
        self.nodes[at].process.is_some()
    }

    /// Starts a node, unless it runs.
    pub(super) fn start(&mut self, at: usize) -> Result<(), String> {
        if self.is_up(at) {
            return Ok(());
        }
        let process = Process::start(self.command(at), &self.log(at))?;
        self.nodes[at].process = Some(process);
        self.world.slots[at].begin();
        Ok(())
    }

    fn command(&self, at: usize) -> Command {
        let (node, network) = (&self.nodes[at], &self.network);
        let mut command = network.command(at, &self.program);
        command.current_dir(&self.directory).args(["node", "ledger.js", "--id", NAMES[at], "--data", NAMES[at]]);
        command.args(["--cluster-size", &self.founders.to_string()]);
        command.args(["--http", &format!("{}:{}", network.host(at), node.http_port)]);
        if network.is_open() {
            command.args(["--token-file", "tokens"]);
        }
        match self.medium {
            Medium::Tcp => {
                // All, also those that come later: what is given is dialled, whatever others say.
                let others = self.nodes.iter().enumerate().filter(|(other, _)| *other != at);
                let peer =
                    |(to, node): (usize, &Node)| format!("{}={}", NAMES[to], network.dialled(at, Some(to), node.port));
                let peers: Vec<String> = others.map(peer).collect();
                command.args(["--listen", &format!("{}:{}", network.host(at), node.port)]);
                command.args(["--peers", &peers.join(",")]);
                if network.is_open() {
                    command.arg("--insecure");
                }
            }
            Medium::Redis | Medium::Relay => {
                let server = network.dialled(at, None, self.server.port);
                let url = match self.medium {
                    Medium::Redis => format!("redis://{server}/?channel=ledger"),
                    _ => format!("ws://{server}/ledger"),
                };
                command.args(["--channel", &url, "--cluster-key-file", "cluster.key"]);
            }
        }
        command
    }

    /// SIGKILL. `false` when it was down already.
    pub(super) fn kill(&mut self, at: usize) -> Result<bool, String> {
        let Some(process) = self.take(at) else { return Ok(false) };
        process.kill().map(|_| true).map_err(|error| format!("{} cannot be killed: {error}", NAMES[at]))
    }

    /// SIGTERM to all of these, and waits for their ends.
    pub(super) fn end(&mut self, all: &[usize]) -> Result<usize, String> {
        let mut ending = Vec::new();
        for at in all {
            if let Some(mut process) = self.take(*at) {
                process.resume();
                process.end();
                ending.push((*at, process));
            }
        }
        let count = ending.len();
        for (at, mut process) in ending {
            let status = process.wait(END_PATIENCE);
            if status.and_then(|status| status.code()) != Some(0) {
                let status = status.map_or_else(|| format!("still there after {END_PATIENCE:?}"), |it| it.to_string());
                self.note_ending(at, format!("{status}, after SIGTERM"));
            }
        }
        Ok(count)
    }

    /// The process, which is not to be one of a life any more.
    fn take(&mut self, at: usize) -> Option<Process> {
        let process = self.nodes[at].process.take()?;
        self.world.slots[at].finish();
        Some(process)
    }

    /// SIGSTOP.
    pub(super) fn pause(&mut self, at: usize) -> bool {
        self.nodes[at].process.as_mut().map(Process::pause).is_some()
    }

    /// SIGCONT.
    pub(super) fn resume(&mut self, at: usize) {
        if let Some(process) = &mut self.nodes[at].process {
            process.resume();
        }
    }

    /// Deletes the data of a node that is down.
    pub(super) fn wipe(&mut self, at: usize) -> Result<(), String> {
        let data = self.directory.join(NAMES[at]);
        std::fs::remove_dir_all(&data).map_err(|error| format!("cannot delete {}: {error}", data.display()))
    }

    /// Waits for a node that was removed to end by itself; its status, if it does.
    pub(super) fn await_end(&mut self, at: usize, patience: Duration) -> Option<i32> {
        let deadline = Instant::now() + patience;
        loop {
            let status = self.nodes[at].process.as_mut().and_then(Process::ended);
            if let Some(status) = status {
                self.take(at);
                return status.code();
            }
            if Instant::now() >= deadline || !self.world.sleep(LOOK_EVERY) {
                return None;
            }
        }
    }

    /// Whether the log of a node has a word.
    pub(super) fn said(&self, at: usize, word: &str) -> bool {
        !lines_with(&self.log(at), &[word]).is_empty()
    }

    /// Notes who ended without being told to.
    pub(super) fn look(&mut self) {
        for at in 0..self.nodes.len() {
            let status = self.nodes[at].process.as_mut().and_then(Process::ended);
            if let Some(status) = status {
                self.note_ending(at, status.to_string());
                self.take(at);
            }
        }
    }

    fn note_ending(&mut self, at: usize, status: String) {
        let life = Life { node: NAMES[at].to_owned(), number: self.world.slots[at].life().div_ceil(2) };
        self.endings.push(Ending { life, status, last_line: last_line(&self.log(at)) });
    }

    /// Sets the ways between these nodes and the rest.
    pub(super) fn set_ways(&self, side: &[usize], way: Way, mode: Mode) -> Result<(), String> {
        self.network.set(&side.iter().copied().collect(), way, mode)
    }

    /// What the network has done so far.
    pub(super) fn counts(&self) -> Counts {
        self.network.counts()
    }

    /// What that counts.
    pub(super) fn count_words(&self) -> [&'static str; 3] {
        self.network.words()
    }

    /// Starts the server that the nodes talk by, where there is one.
    pub(super) fn start_server(&mut self) -> Result<(), String> {
        if self.server.process.is_some() {
            return Ok(());
        }
        let (host, port) = (self.network.server_host(), self.server.port.to_string());
        let mut command = match self.medium {
            Medium::Tcp => return Ok(()),
            Medium::Redis => {
                let mut redis = Command::new("redis-server");
                redis.args([
                    "--protected-mode",
                    "no",
                    "--bind",
                    &host,
                    "--save",
                    "",
                    "--appendonly",
                    "no",
                    "--port",
                    &port,
                ]);
                redis
            }
            Medium::Relay => {
                let mut relay = Command::new(&self.program);
                relay.args(["relay", "--listen", &format!("{host}:{port}")]);
                if self.network.is_open() {
                    relay.arg("--insecure");
                }
                relay
            }
        };
        command.current_dir(&self.directory);
        self.server.process = Some(Process::start(command, &self.directory.join("server.log"))?);
        Ok(())
    }

    /// SIGKILL to the server. `false` when there is none.
    pub(super) fn kill_server(&mut self) -> Result<bool, String> {
        let Some(process) = self.server.process.take() else { return Ok(false) };
        process.kill().map(|_| true).map_err(|error| format!("the server cannot be killed: {error}"))
    }

    /// Ends every fault: links pass, who is paused goes on, who is down starts.
    pub(super) fn heal(&mut self) -> Result<(), String> {
        self.network.heal()?;
        self.look();
        if self.server.process.as_mut().is_some_and(|process| process.ended().is_some()) {
            self.server.process = None;
        }
        self.start_server()?;
        for at in self.world.members() {
            self.resume(at);
            self.start(at)?;
        }
        Ok(())
    }

    /// SIGKILL to everything.
    pub(super) fn stop(&mut self) {
        for at in 0..self.nodes.len() {
            drop(self.take(at));
        }
        self.server.process = None;
    }

    pub(super) fn log(&self, at: usize) -> PathBuf {
        self.directory.join(format!("{}.log", NAMES[at]))
    }

    /// The nodes that have a snapshot on their disk.
    pub(super) fn snapshots(&self) -> Vec<&'static str> {
        let has = |name: &&&str| {
            let files = std::fs::read_dir(self.directory.join(name)).into_iter().flatten().flatten();
            files.into_iter().any(|file| file.file_name().to_string_lossy().starts_with("snapshot-"))
        };
        NAMES.iter().filter(has).copied().collect()
    }

    /// Lines of panics in what the nodes wrote.
    pub(super) fn panics(&self) -> Vec<String> {
        let logs = (0..self.nodes.len()).map(|at| self.log(at)).chain([self.directory.join("server.log")]);
        logs.flat_map(|log| {
            let lines = lines_with(&log, &["panicked at"]);
            lines.into_iter().map(move |line| format!("{}: {line}", log.display()))
        })
        .collect()
    }
}

/// Ports that nobody listens at, below those that systems give to connections: they must be free again when a process
/// starts again.
struct Ports {
    random: Random,
    given: BTreeSet<u16>,
}

impl Ports {
    fn new() -> Ports {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let seed = now.as_nanos() as u64 ^ u64::from(std::process::id());
        Ports { random: Random::new(seed, 0), given: BTreeSet::new() }
    }

    fn next(&mut self) -> Result<u16, String> {
        for _ in 0..1_000 {
            let port = u16::try_from(self.random.within(10_000..32_000)).expect("it is below 32,000");
            if !self.given.contains(&port) && TcpListener::bind(("127.0.0.1", port)).is_ok() {
                self.given.insert(port);
                return Ok(port);
            }
        }
        Err("no port is free between 10000 and 32000".to_owned())
    }
}
