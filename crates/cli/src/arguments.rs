//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::ground::NodeOptions;
use crate::node::NodeArguments;
use crate::recover::Consent;
use crate::remote::RemoteCommand;
use crate::sim::{OWN_SIM_HELP, SIM_HELP, SimOptions};
use crate::values::{callers, duration, index, node_name, nodes, performs, seconds, seed, threads};

/// The command line of the `conflux` program.
#[derive(Debug, Parser)]
#[command(
    name = "conflux",
    version,
    about = "One state on several nodes: containers in the manner of Redux, replicated by Raft",
    after_help = "Examples:\n  \
        conflux init words && cd words     an application to start from\n  \
        conflux dev app.js                 three nodes in this process, and a prompt\n  \
        echo 'append \"foo\"' | conflux dev app.js\n  \
        conflux node app.js --id a --listen 127.0.0.1:7001 --cluster-size 1 --data a --http 127.0.0.1:8001\n  \
        conflux perform append '\"foo\"'     at a node that runs"
)]
pub(crate) struct Program {
    #[command(subcommand)]
    pub(crate) command: ProgramCommand,
}

/// What the program can do with containers in JavaScript.
#[derive(Debug, Subcommand)]
pub(crate) enum ProgramCommand {
    /// Run several nodes in this process, and perform the lines of standard input
    #[command(after_help = DEV_EXAMPLES)]
    Dev {
        /// The container: a JavaScript file
        #[arg(value_name = "APP.js")]
        app: PathBuf,
        /// Leave out the development check, which runs the first calls again in a second heap, and then as many as fit into
        /// a fourth of the time. A reducer that copies the whole state, as [...words, word] does, gets slower with each line
        /// all the same
        #[arg(long)]
        no_check: bool,
        #[command(flatten)]
        options: DevOptions,
    },
    /// Run one node of a cluster in this process
    #[command(after_help = NODE_EXAMPLES)]
    Node {
        /// The container: a JavaScript file
        #[arg(value_name = "APP.js")]
        app: Option<PathBuf>,
        #[command(flatten)]
        arguments: Box<NodeArguments>,
    },
    /// Begin a cluster anew with what one node holds, because the majority is lost for good
    #[command(after_help = RECOVER_EXAMPLES)]
    Recover {
        /// The container: a JavaScript file
        #[arg(value_name = "APP.js")]
        app: PathBuf,
        #[command(flatten)]
        arguments: RecoverArguments,
    },
    /// Begin a cluster with a backup, on an empty data directory
    #[command(after_help = RESTORE_EXAMPLES)]
    Restore {
        /// What `conflux backup` wrote
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The container: a JavaScript file
        #[arg(value_name = "APP.js")]
        app: PathBuf,
        #[command(flatten)]
        place: Place,
        /// The container was changed since, and is to go on with what it made
        #[arg(long)]
        changed: bool,
    },
    /// Go through what an incident holds once more, action by action
    #[command(after_help = REPLAY_EXAMPLES)]
    Replay {
        /// What `conflux incident` wrote, or a node that stopped by itself
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// The container: a JavaScript file
        #[arg(value_name = "APP.js")]
        app: PathBuf,
        #[command(flatten)]
        options: ReplayOptions,
    },
    /// Ask running nodes
    #[command(flatten)]
    Remote(RemoteCommand),
    /// Load a container, list its methods, and look for what would make nodes differ
    #[command(after_help = CHECK_EXAMPLES)]
    Check {
        /// The container: a JavaScript file
        #[arg(value_name = "APP.js")]
        app: PathBuf,
        #[command(flatten)]
        options: CheckOptions,
    },
    /// Write an application to start from
    #[command(
        after_help = "Example:\n  conflux init todo && conflux dev todo/app.js\n\nExisting files are never overwritten."
    )]
    Init {
        /// Where to write it
        #[arg(value_name = "DIR", default_value = ".")]
        directory: PathBuf,
    },
    /// Certificates, by which nodes know each other
    Tls {
        #[command(subcommand)]
        command: TlsCommand,
    },
    /// Pass on what nodes send to each other that can only dial out, room by room
    #[command(after_help = RELAY_EXAMPLES)]
    Relay {
        /// Where to listen: HOST:PORT
        #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9000")]
        listen: String,
        /// Who may enter which room: a file with a line for each room, which is ROOM TOKEN
        #[arg(long, value_name = "FILE")]
        token_file: Option<PathBuf>,
        /// Listen beyond this machine without tokens
        #[arg(long)]
        insecure: bool,
    },
    /// Run a cluster's whole life under faults in simulated time, once for each seed, and check all that is promised
    #[command(after_help = SIM_HELP)]
    Sim {
        /// The container: a JavaScript file
        #[arg(value_name = "APP.js")]
        app: PathBuf,
        #[command(flatten)]
        options: SimOptions,
    },
    /// Measure performs a second, how long one takes, and memory
    #[command(after_help = BENCH_EXAMPLES)]
    Bench {
        /// The container: a JavaScript file [a counter written in Rust]
        #[arg(value_name = "APP.js", requires = "call")]
        app: Option<PathBuf>,
        /// The line that is performed over and over, as in: 'append "foo"'
        #[arg(long, value_name = "LINE", requires = "app")]
        call: Option<String>,
        #[command(flatten)]
        options: BenchOptions,
    },
}

/// What can be done about certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum TlsCommand {
    /// Make an authority and have it sign a certificate for each node; one that is there signs for more nodes
    #[command(after_help = TLS_EXAMPLES)]
    Init {
        /// Where to write them
        #[arg(value_name = "DIR", default_value = "tls")]
        directory: PathBuf,
        /// The ids of the nodes
        #[arg(long, value_name = "ID,...", value_delimiter = ',', required = true, value_parser = node_name)]
        names: Vec<String>,
        /// How long the nodes' certificates are good for
        #[arg(long, value_name = "DAYS", default_value_t = 825, value_parser = clap::value_parser!(u32).range(1..=36500))]
        days: u32,
    },
}

/// The command line of a program around one Rust container: see [`main`](crate::main).
#[derive(Debug, Parser)]
#[command(version = None::<&str>, about = "A replicated state container")]
pub(crate) struct OwnProgram {
    #[command(subcommand)]
    pub(crate) command: OwnCommand,
}

/// What such a program can do.
#[derive(Debug, Subcommand)]
pub(crate) enum OwnCommand {
    /// Run several nodes in this process, and perform the lines of standard input
    Dev {
        #[command(flatten)]
        options: DevOptions,
    },
    /// Run one node of a cluster in this process
    Node {
        #[command(flatten)]
        arguments: Box<NodeArguments>,
    },
    /// Begin a cluster anew with what one node holds, because the majority is lost for good
    #[command(after_help = RECOVER_EXAMPLES)]
    Recover {
        #[command(flatten)]
        arguments: RecoverArguments,
    },
    /// Begin a cluster with a backup, on an empty data directory
    Restore {
        /// What `backup` wrote
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        place: Place,
        /// The container was changed since, and is to go on with what it made
        #[arg(long)]
        changed: bool,
    },
    /// Go through what an incident holds once more, action by action
    #[command(after_help = OWN_REPLAY_HELP)]
    Replay {
        /// What `incident` wrote, or a node that stopped by itself
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        options: ReplayOptions,
    },
    /// Ask running nodes
    #[command(flatten)]
    Remote(RemoteCommand),
    /// Look for what would make nodes differ
    Check {
        #[command(flatten)]
        options: CheckOptions,
    },
    /// Run a cluster's whole life under faults in simulated time, once for each seed, and check all that is promised
    #[command(after_help = OWN_SIM_HELP)]
    Sim {
        #[command(flatten)]
        options: SimOptions,
    },
    /// Measure performs a second, how long one takes, and memory
    Bench {
        /// The line that is performed over and over, as in: 'append "foo"'
        #[arg(long, value_name = "LINE")]
        call: String,
        #[command(flatten)]
        options: BenchOptions,
    },
}

const DEV_EXAMPLES: &str = "\
Lines are METHOD [JSON ARGUMENT]... ; `@b METHOD ...` performs at node b; `:help` lists the commands.

Examples:
  conflux dev words.js                              a prompt
  conflux dev words.js --nodes 5 < lines.txt        answers in the order of the lines, a JSON object each
  conflux dev words.js --data ./words-data          goes on where it was when it is started again
  conflux dev words.js --data ./words-data --changed     the same after words.js was edited
  printf 'append \"foo\"\\n:kill a\\nappend \"bar\"\\n' | conflux dev words.js

Exit status: 0 all was answered; 1 a line was bad or failed, or the development check found something; 2 usage or file;
6 the nodes' states differ; 129, 130, 143 SIGHUP, Ctrl-C, SIGTERM ended it; 141 nobody read all of the answers.";

const NODE_EXAMPLES: &str = "\
The same options can stand in conflux.toml, a line each (id = \"a\"), with a table [peers]; flags win.
SIGTERM and Ctrl-C hand leadership on and end; SIGHUP reads the certificates again.

Examples, on one machine:
  conflux node app.js --id a --data ./a --peers a=127.0.0.1:7001,b=127.0.0.1:7002,c=127.0.0.1:7003 --http 127.0.0.1:8001
  conflux node app.js --id b --data ./b --peers a=127.0.0.1:7001,b=127.0.0.1:7002,c=127.0.0.1:7003 --http 127.0.0.1:8002
  conflux node app.js --id c --data ./c --peers a=127.0.0.1:7001,b=127.0.0.1:7002,c=127.0.0.1:7003 --http 127.0.0.1:8003
  conflux node --config conflux.toml --check

The same by a Redis server, or a relay, which only has to be dialed:
  conflux node app.js --id a --data ./a --channel 'redis://127.0.0.1/?channel=words' --cluster-size 3
  conflux node app.js --id a --data ./a --channel ws://127.0.0.1:9000/words --cluster-size 3 --cluster-key-file key

Exit status: 0 it was told to end, 1 it could not go on, 2 usage, file or address.";

const RECOVER_EXAMPLES: &str = "\
Stop all nodes first. Actions that only other nodes hold are lost, so look at each directory that is left, and take the
one with the highest term, and of that the highest index.

Examples:
  conflux recover app.js --id a --data ./a --dry-run
  conflux recover app.js --id a --data ./a --yes
  conflux recover app.js --id a --data ./copy-of-a --moved --yes
  conflux recover new.js --id a --data ./a --changed --yes     the container was changed, and goes on with its data

Exit status: 0 done, 2 it cannot be, or was not meant.";

const RESTORE_EXAMPLES: &str = "\
Example:
  conflux restore monday.backup app.js --id a --data ./a
  conflux restore monday.backup new.js --id a --data ./a --changed     the container was changed since";

/// What a replay does, and how it ends; in between is what else there is to say for this program.
macro_rules! replay_help {
    ($between:literal) => {
        concat!(
            "\
Begins with the incident's snapshot, or with the initial state, and goes through the log as the node did; entries from
before the snapshot cannot be gone through, without the state before them. Prints
{\"index\", \"action\", \"origin\", \"time_ms\"} for each action, stops where one cannot be reduced, names those that broke the
container's invariant, and compares the digest of the state with the one that was recorded.",
            $between,
            "

Exit status: 0 it came to the recorded digest, or there was none to compare; 1 it stopped at an action or an entry,
or the invariant broke (--test wrote a test that fails there); 2 usage or file; 6 it came to another digest, whatever came after; 130 Ctrl-C; 141 nobody read all of it."
        )
    };
}

const REPLAY_EXAMPLES: &str = replay_help!(
    " With an APP.js that was changed it shows what that makes of the same actions.

Examples:
  conflux replay monday.incident app.js
  conflux replay monday.incident app.js --to 41 --state     the state as it was after action 41
  conflux replay a/incident-0001764040200000 app.js | tail -n 3
  conflux replay monday.incident app.js --test tests        a test of it, to be kept beside app.js:
  conflux check app.js tests/monday.replay.jsonl"
);

const OWN_REPLAY_HELP: &str = replay_help!(
    "

Examples, of a program `counter`:
  counter replay monday.incident --to 41 --state
  counter replay monday.incident --test tests        a test of it, to be kept:
  counter check tests/monday.replay.jsonl"
);

const CHECK_EXAMPLES: &str = "\
Each call is made again by a second container that made other calls before; state hidden in variables, mutation and
unordered iteration show as differences.

Examples:
  conflux check words.js
  conflux check words.js lines.txt
  conflux check words.js - < lines.txt
  conflux check words.js tests/*.replay.jsonl       tests that `conflux replay --test` made of incidents

Exit status: 0 no difference, 1 a difference, a broken invariant, a bad line, a failed call or a failed test, 2 usage or
file, 141 nobody read all of it.";

const TLS_EXAMPLES: &str = "\
Writes ca.pem and ca-key.pem, and for each node ID.pem and ID-key.pem. Existing files are never overwritten.

Examples:
  conflux tls init --names a,b,c
  conflux tls init tls --names d             one more node, signed by the authority in tls/";

const RELAY_EXAMPLES: &str = "\
It needs no key of the nodes, and cannot forge what they send; it can read it. Put it behind a server that does TLS where
others are on the way.

Examples:
  conflux relay
  conflux relay --listen 0.0.0.0:9000 --token-file rooms.txt";

const BENCH_EXAMPLES: &str = "\
Examples:
  conflux bench
  conflux bench --nodes 5 --callers 64,1024 --seconds 10 --json
  conflux bench --callers 1024 --performs 10000000      does memory stay flat?
  conflux bench --channel tcp --limits                  three processes with synced disks, beside what those can do
  conflux bench app.js --call 'add 1'                   a container of yours: the line is performed over and over";

/// Options of `dev`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DevOptions {
    /// How many nodes: a, b, c and so on
    #[arg(long, value_name = "N", default_value_t = 3, allow_negative_numbers = true, value_parser = nodes)]
    pub(crate) nodes: usize,
    /// What nodes draw by lot follows from it: election timeouts, incarnations, what methods call random. Nodes still run
    /// on real threads and clocks, so with several of them who leads, and which call meets which draw, may differ
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = seed)]
    seed: Option<u64>,
    /// Keep the nodes' disks here, a directory each, and go on from what is there [in memory]
    // A seed draws the incarnations, too, and those of nodes on a disk must never come again.
    #[arg(long, value_name = "DIR", conflicts_with = "seed")]
    data: Option<PathBuf>,
    /// The container was changed since, and is to go on with what it made. The data as they were are set aside
    #[arg(long, requires = "data")]
    pub(crate) changed: bool,
    /// The shortest silence of a leader before another takes over [300ms]
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = duration)]
    election_timeout_min: Option<Duration>,
    /// The longest such silence [500ms]
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = duration)]
    election_timeout_max: Option<Duration>,
    /// How often a leader is heard of [50ms]
    #[arg(long, alias = "heartbeat", value_name = "TIME", allow_negative_numbers = true, value_parser = duration)]
    heartbeat_interval: Option<Duration>,
    /// How long a perform is tried before it is given up
    #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = duration)]
    deadline: Option<Duration>,
}

impl DevOptions {
    pub(crate) fn node_options(&self) -> NodeOptions {
        NodeOptions {
            election_timeout_min: self.election_timeout_min,
            election_timeout_max: self.election_timeout_max,
            heartbeat_interval: self.heartbeat_interval,
            deadline: self.deadline,
            seed: self.seed,
            data: self.data.clone(),
            in_flight_max: None,
        }
    }
}

/// A node and its data directory.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// The node's id
    #[arg(long, value_name = "ID")]
    pub(crate) id: String,
    /// Its data directory
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
}

/// Options of `recover`.
#[derive(Clone, Debug, Args)]
pub(crate) struct RecoverArguments {
    #[command(flatten)]
    pub(crate) place: Place,
    /// The data directory was moved or copied here on purpose, and the original is gone for good
    #[arg(long)]
    pub(crate) moved: bool,
    /// The container was changed since, and is to go on with what it made: the state as it was saved, and the actions behind
    /// it as the code at hand reduces them
    #[arg(long)]
    pub(crate) changed: bool,
    /// Only say what would be, and what may be lost
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it without asking
    #[arg(long)]
    yes: bool,
}

impl RecoverArguments {
    pub(crate) fn consent(&self) -> Consent {
        match self {
            RecoverArguments { dry_run: true, .. } => Consent::DryRun,
            RecoverArguments { yes: true, .. } => Consent::Given,
            _ => Consent::Ask,
        }
    }
}

/// Options of `check`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CheckOptions {
    /// Files of lines as `dev` takes them, each checked by itself; - is standard input. Or tests that `replay --test` wrote
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
}

/// Options of `replay`.
#[derive(Clone, Debug, Args)]
pub(crate) struct ReplayOptions {
    /// Stop after the action at this index [go through all that was committed]
    #[arg(long, value_name = "INDEX", allow_negative_numbers = true, value_parser = index)]
    pub(crate) to: Option<u64>,
    /// Print the actions after this index only
    #[arg(long, value_name = "INDEX", allow_negative_numbers = true, value_parser = index, conflicts_with = "state")]
    pub(crate) from: Option<u64>,
    /// Print the state at the end, in place of the actions
    #[arg(long)]
    pub(crate) state: bool,
    /// Go on through what the node held and did not know to be committed
    #[arg(long)]
    pub(crate) uncommitted: bool,
    /// Make a test of it, here: the incident, and a file with the state after each action, which `check` compares. What is
    /// there is never overwritten
    #[arg(long, value_name = "DIR", conflicts_with_all = ["from", "state"])]
    pub(crate) test: Option<PathBuf>,
}

/// Options of `bench`.
#[derive(Clone, Debug, Args)]
pub(crate) struct BenchOptions {
    /// How many nodes
    #[arg(long, value_name = "N", default_value_t = 3, allow_negative_numbers = true, value_parser = nodes)]
    pub(crate) nodes: usize,
    /// How the nodes talk: `memory`, all in this process; `tcp`, by loopback, each in a process of its own and with a disk,
    /// the callers in the first; redis://HOST/?channel=NAME, the same by a Redis server
    #[arg(long, value_name = "CHANNEL", default_value = "memory", value_parser = bench_channel)]
    pub(crate) channel: BenchChannel,
    /// How many callers perform at once, each awaiting its answer; a row for each number
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_values_t = [1, 64, 256, 1024], allow_negative_numbers = true, value_parser = callers)]
    pub(crate) callers: Vec<usize>,
    /// How long each row is measured
    #[arg(long, value_name = "SECONDS", default_value = "5", allow_negative_numbers = true, value_parser = seconds)]
    pub(crate) seconds: Duration,
    /// Instead of a time: how many performs each row makes. Memory is shown along the way
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = performs, conflicts_with = "seconds")]
    pub(crate) performs: Option<u64>,
    /// The node that callers perform at
    #[arg(long, value_enum, default_value_t = BenchAt::Leader)]
    pub(crate) at: BenchAt,
    /// Where the nodes keep their disks while they are measured [a new directory among the temporary ones; with the memory
    /// channel, in memory]
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Measure beside each row what the machine can do at all: a synced write, a round trip
    #[arg(long)]
    pub(crate) limits: bool,
    /// How many threads run the nodes and the callers [one for each core]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = threads)]
    pub(crate) threads: Option<usize>,
    /// One JSON object instead of a table
    #[arg(long)]
    pub(crate) json: bool,
    /// What `bench` tells the processes that it starts: which node to be, and where its disk is
    #[arg(long, value_name = "ID", hide = true, requires = "member_data")]
    pub(crate) member: Option<String>,
    #[arg(long, value_name = "DIR", hide = true)]
    pub(crate) member_data: Option<PathBuf>,
}

/// How the nodes of a benchmark talk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum BenchChannel {
    /// In this process.
    Memory,
    /// By TCP on loopback.
    Tcp,
    /// By the Redis server at this address.
    Redis(String),
}

impl BenchChannel {
    /// Its name, without an address: there may be a password in it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            BenchChannel::Memory => "memory",
            BenchChannel::Tcp => "tcp",
            BenchChannel::Redis(_) => "redis",
        }
    }
}

fn bench_channel(word: &str) -> Result<BenchChannel, String> {
    match word {
        "memory" => Ok(BenchChannel::Memory),
        "tcp" => Ok(BenchChannel::Tcp),
        _ if word.starts_with("redis://") => Ok(BenchChannel::Redis(word.to_owned())),
        _ => Err("it is memory, tcp or redis://HOST/?channel=NAME".to_owned()),
    }
}

/// Where the callers of a benchmark perform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchAt {
    /// All at the leader
    Leader,
    /// All at a node that passes them on to the leader
    Follower,
    /// Spread over the nodes, which are all in this process
    All,
}

impl BenchAt {
    /// As it is written.
    pub(crate) fn word(self) -> &'static str {
        match self {
            BenchAt::Leader => "leader",
            BenchAt::Follower => "follower",
            BenchAt::All => "all",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definitions_are_sound() {
        Program::command().debug_assert();
        OwnProgram::command().debug_assert();
    }
}
