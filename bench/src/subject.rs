//! What is measured, each row by a process of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Subject {
    ConfluxMemory,
    Openraft,
    ConfluxTcp,
    ConfluxRedis,
    Etcd,
    HiqliteCache,
    HiqliteSql,
}

impl Subject {
    /// Those that are compared with each other stand side by side, so that they are measured side by side.
    pub(crate) const ALL: [Subject; 7] = [
        Subject::ConfluxMemory,
        Subject::Openraft,
        Subject::ConfluxTcp,
        Subject::Etcd,
        Subject::ConfluxRedis,
        Subject::HiqliteCache,
        Subject::HiqliteSql,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Subject::ConfluxMemory => "conflux, one process",
            Subject::Openraft => "openraft alone, one process",
            Subject::ConfluxTcp => "conflux, three processes, synced",
            Subject::ConfluxRedis => "conflux by Redis, synced",
            Subject::Etcd => "etcd, three processes, synced",
            Subject::HiqliteCache => "hiqlite cache",
            Subject::HiqliteSql => "hiqlite SQL",
        }
    }

    /// What it does, for whoever reads the figures.
    pub(crate) fn setting(self) -> &'static str {
        match self {
            Subject::ConfluxMemory => "three nodes in one process, memory channel, memory log; callers at the leader",
            Subject::Openraft => {
                "the engine that conflux stands on, with a log and a state in memory that do as little as can be: nothing is \
                 encoded, nothing is kept of who asked; callers at the leader"
            }
            Subject::ConfluxTcp => {
                "three processes, tcp on loopback, every batch synced by a quorum before it is answered; callers in the \
                 leader's process"
            }
            Subject::ConfluxRedis => "the same, messages by one Redis server",
            Subject::Etcd => {
                "three processes, synced; callers put 16 bytes at keys of their own at the leader, by gRPC from another process"
            }
            Subject::HiqliteCache => {
                "three nodes in one process that talk by loopback, log in memory, as its example `bench`"
            }
            Subject::HiqliteSql => {
                "the same with its SQL: INSERTs of a row; its log is handed to the system and not synced before the answer"
            }
        }
    }
}

/// Where what is measured is found.
pub(crate) struct Programs<'a> {
    pub(crate) conflux: &'a Path,
    /// `redis://HOST:PORT`, without a channel.
    pub(crate) redis: Option<String>,
}

/// Measures one row. The object is as `conflux bench --json` has its rows; `limits` come with it where they were asked for.
pub(crate) fn measure(
    subject: Subject,
    callers: usize,
    seconds: Duration,
    programs: &Programs<'_>,
) -> Result<(Value, Option<Value>), String> {
    let mut command = match subject {
        Subject::ConfluxMemory | Subject::ConfluxTcp | Subject::ConfluxRedis => Command::new(programs.conflux),
        _ => Command::new(std::env::current_exe().map_err(|error| error.to_string())?),
    };
    match subject {
        Subject::ConfluxMemory => command.args(["bench", "--json", "--channel", "memory"]),
        Subject::ConfluxTcp => command.args(["bench", "--json", "--limits", "--channel", "tcp"]),
        Subject::ConfluxRedis => {
            let server =
                programs.redis.as_ref().ok_or("there is no redis-server: `sudo apt-get install redis-server`")?;
            command.args(["bench", "--json", "--channel", &format!("{server}/?channel=bench")])
        }
        Subject::Openraft => command.args(["peer", "openraft"]),
        Subject::Etcd => command.args(["peer", "etcd"]),
        Subject::HiqliteCache => command.args(["peer", "hiqlite-cache"]),
        Subject::HiqliteSql => command.args(["peer", "hiqlite-sql"]),
    };
    command.args(["--callers", &callers.to_string(), "--seconds", &seconds.as_secs_f64().to_string()]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::piped()).output();
    let output = output.map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    let said = String::from_utf8_lossy(&output.stdout);
    let value: Option<Value> = said.lines().last().and_then(|line| serde_json::from_str(line).ok());
    let Some(mut value) = value else {
        let told = String::from_utf8_lossy(&output.stderr);
        return Err(told.lines().last().unwrap_or("it ended without a word").to_owned());
    };
    match value.get_mut("rows").map(|rows| rows[0].take()) {
        Some(row) => Ok((row, value.get_mut("limits").map(Value::take))),
        None => Ok((value, None)),
    }
}
