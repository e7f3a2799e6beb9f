//! What the commands that ask running nodes are told.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::values::{duration, index};

const AT_HELP: &str = "\
Where the nodes are: --at, else the environment's CONFLUX_AT (addresses with commas), else http://127.0.0.1:8001.
Several are tried in turn.";

const STATUS_HELP: &str = "\
Exit status: 0 done, 1 failed, 2 usage or file, 3 rejected, 4 unknown, 5 unreachable, 6 digests differ.";

/// Commands that ask running nodes over HTTP.
#[derive(Debug, Subcommand)]
pub(crate) enum RemoteCommand {
    /// Perform a method, and wait until it is committed
    #[command(after_help = format!("\
Examples:
  conflux perform append '\"foo\"'
  conflux perform append '\"foo\"' --at 127.0.0.1:8001 --at 127.0.0.1:8002
  conflux perform pay '{{\"order\": 17}}' 9.50 --request-id order-17    however often it is run, once

Prints {{\"index\": ..., \"action\": ...}}, or {{\"rejected\": ...}} with status 3.
{AT_HELP}
{STATUS_HELP}"))]
    Perform {
        /// The method's name: `conflux methods` lists them
        #[arg(value_name = "METHOD")]
        method: String,
        /// Its arguments, each one JSON value; strings have double quotes of their own
        #[arg(value_name = "JSON", allow_negative_numbers = true)]
        arguments: Vec<String>,
        /// How long it is tried [10s]
        #[arg(long, value_name = "TIME", allow_negative_numbers = true, value_parser = timeout)]
        timeout: Option<Duration>,
        /// The same id with the same call takes effect once
        #[arg(long, value_name = "ID")]
        request_id: Option<String>,
        #[command(flatten)]
        at: At,
    },
    /// Show the committed state and its index
    #[command(after_help = format!("\
Examples:
  conflux state
  conflux state --linearizable | jq .state

{AT_HELP}
{STATUS_HELP}"))]
    State {
        /// At least as new as anything that anybody was told before
        #[arg(long)]
        linearizable: bool,
        #[command(flatten)]
        at: At,
    },
    /// Show the state with the node's uncommitted actions on top; it may never come to be
    #[command(after_help = format!("Example:\n  conflux provisional --at 127.0.0.1:8002\n\n{AT_HELP}\n{STATUS_HELP}"))]
    Provisional {
        #[command(flatten)]
        at: At,
    },
    /// Print every action as it is committed, a line each
    #[command(after_help = format!("\
Examples:
  conflux watch
  conflux watch --from 0 | jq -c .action      from the first one, as far as it is held

Prints {{\"index\", \"action\", \"origin\", \"time_ms\"}}; where actions are not held any more, once {{\"index\", \"reset\"}}.
Connects again by itself, from where it was.
{AT_HELP}
{STATUS_HELP}"))]
    Watch {
        /// Begin after this index, instead of now
        #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = index)]
        from: Option<u64>,
        #[command(flatten)]
        at: At,
    },
    /// Show how the nodes are
    #[command(after_help = format!("\
Examples:
  conflux status --at 127.0.0.1:8001 --at 127.0.0.1:8002 --at 127.0.0.1:8003
  conflux status --watch
  conflux status --json | jq '.[].role'

Asks every address, and compares the states of several nodes at the newest place that all of them have reached.
{AT_HELP}
{STATUS_HELP}"))]
    Status {
        /// One JSON array on a line, instead of a table
        #[arg(long)]
        json: bool,
        /// Again every second, until it is interrupted
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        at: At,
    },
    /// Ask what became of a perform
    #[command(after_help = format!("\
Examples:
  conflux outcome order-17
  conflux outcome a/5a1c/4294967297/12

Prints what `perform` would have, and ends as it would; 4 when the log does not know it.
{AT_HELP}
{STATUS_HELP}"))]
    Outcome {
        /// The id that was chosen, or the one that an answer told
        #[arg(value_name = "ID", value_parser = request_id)]
        request_id: String,
        #[command(flatten)]
        at: At,
    },
    /// Show and change the members of the cluster
    #[command(after_help = format!("\
Examples:
  conflux member list
  conflux member add d        waits until it has joined and caught up, and votes
  conflux member remove c     a leader hands leadership on first

Where nodes want a token, all but `list` need the role admin. A change that was taken is finished by the next leader if
this one does not live to. Status 4: it was taken or may have been, and is not done yet; the same command asks again.
{AT_HELP}
{STATUS_HELP}"))]
    Member {
        #[command(subcommand)]
        command: MemberCommand,
    },
    /// Hand leadership on
    #[command(after_help = format!("Example:\n  conflux leader transfer b\n\n{AT_HELP}\n{STATUS_HELP}"))]
    Leader {
        #[command(subcommand)]
        command: LeaderCommand,
    },
    /// Write a copy of everything that is committed into a file
    #[command(after_help = format!("\
Example:
  conflux backup monday.backup

The file is checksummed, and `restore` begins a cluster with it. An existing one is never overwritten.
{AT_HELP}
{STATUS_HELP}"))]
    Backup {
        /// Where to write it
        #[arg(value_name = "FILE")]
        file: PathBuf,
        #[command(flatten)]
        at: At,
    },
    /// Have a node take a snapshot now, and cut its log down
    #[command(after_help = format!("\
Example:
  conflux snapshot --at 127.0.0.1:8002

Nodes do so by themselves when the log has outgrown its limits. Asks the first address that answers. Prints
{{\"index\", \"bytes\", \"log_entries\", \"took_ms\"}}. The newest entries stay in the log, up to half of its limits, for
followers that are a little late: a short log may stay as it is.
{AT_HELP}
{STATUS_HELP}"))]
    Snapshot {
        #[command(flatten)]
        at: At,
    },
    /// Write everything that a node holds into a file: its last snapshot, its log, digests, versions, status
    #[command(after_help = format!("\
Example:
  conflux incident --at 127.0.0.1:8002 -o monday.incident

What to keep when something went wrong, before it is restarted; `replay` goes through it again. It holds the whole state,
and every call in the log. The file is checksummed; an existing one is never overwritten.
{AT_HELP}
{STATUS_HELP}"))]
    Incident {
        /// Where to write it
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        at: At,
    },
    /// List the methods
    #[command(after_help = format!("Example:\n  conflux methods\n\n{AT_HELP}\n{STATUS_HELP}"))]
    Methods {
        #[command(flatten)]
        at: At,
    },
}

/// What can be done with the members of a cluster.
#[derive(Debug, Subcommand)]
pub(crate) enum MemberCommand {
    /// Show the members
    List {
        /// One JSON array on a line, instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        at: At,
    },
    /// Give a node a seat: once it has joined and caught up, it votes
    Add(Named),
    /// Give a member that has no vote one
    Promote(Named),
    /// Take a member's vote, and keep it
    Demote(Named),
    /// Remove a node for good
    Remove(Named),
}

/// Which node, and whom to ask.
#[derive(Debug, Args)]
pub(crate) struct Named {
    /// The node's id
    #[arg(value_name = "ID")]
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) at: At,
}

/// What can be done with leadership.
#[derive(Debug, Subcommand)]
pub(crate) enum LeaderCommand {
    /// Have another voter lead, and print which
    Transfer {
        /// Which one [the one that is furthest]
        #[arg(value_name = "ID")]
        to: Option<String>,
        #[command(flatten)]
        at: At,
    },
}

/// Whom to ask, and as whom.
#[derive(Clone, Debug, Args)]
pub(crate) struct At {
    /// Where a node serves HTTP; may be given several times, or several with commas
    #[arg(long = "at", value_name = "URL", value_delimiter = ',')]
    pub(crate) addresses: Vec<String>,
    /// A file with a line ROLE TOKEN, where the nodes want a token; of several lines, the strongest role's
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

fn timeout(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("nothing is done in no time; give it 1ms or more".to_owned()),
        time => Ok(time),
    }
}

fn request_id(text: &str) -> Result<String, String> {
    match text {
        "" => Err("a request id is not empty".to_owned()),
        text => Ok(text.to_owned()),
    }
}
