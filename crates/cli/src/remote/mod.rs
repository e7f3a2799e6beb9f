//! Commands that ask running nodes over HTTP.

mod arguments;
mod members;
mod status;
mod table;

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use bytes::Bytes;
use conflux::{Backup, Incident, JsonEvent};
use conflux_core::Index;
use conflux_http::client::{Client, ClientError, PerformOptions, Performed, State};
use conflux_http::{SnapshotReport, Tokens};
use serde_json::{Value, json};

use crate::exit::{Exit, Refusal};
use crate::line;
use crate::output::tell;
use crate::report::{change_value, state_text};

use self::arguments::{At, LeaderCommand};

pub(crate) use self::arguments::RemoteCommand;

/// Where nodes are looked for unless told otherwise.
const ADDRESS: &str = "http://127.0.0.1:8001";

/// The variable that says where else.
const VARIABLE: &str = "CONFLUX_AT";

/// Runs a command to its end. `name` is the program's.
pub(crate) fn run(name: &str, command: RemoteCommand) -> Result<Exit, Refusal> {
    use RemoteCommand::{Methods, Provisional, State, Status, Watch};
    // Whoever only reads may have seen enough. Of anything else the rest of the answer matters, as with `dev`.
    let only_reads = matches!(
        command,
        State { .. } | Provisional { .. } | Watch { .. } | Methods { .. } | Status { watch: true, .. }
    );
    let done = ask(name, command);
    if only_reads { done } else { done.map_err(Refusal::unread) }
}

fn ask(name: &str, command: RemoteCommand) -> Result<Exit, Refusal> {
    let done = match command {
        RemoteCommand::Perform { method, arguments, timeout, request_id, at } => {
            let arguments = line::arguments(&arguments).map_err(Refusal::new)?;
            let options = PerformOptions { timeout, request_id };
            tell(at.client()?.perform(&method, arguments, &options))
        }
        RemoteCommand::Outcome { request_id, at } => tell(at.client()?.outcome(&request_id)),
        RemoteCommand::State { linearizable, at } => show_state(at.client()?.state(linearizable)),
        RemoteCommand::Provisional { at } => show_state(at.client()?.provisional()),
        RemoteCommand::Watch { from, at } => watch(&at.client()?, from.map(Index)),
        RemoteCommand::Status { json, watch, at } => status::run(&at.client()?, json, watch),
        RemoteCommand::Member { command } => members::run(command)?,
        RemoteCommand::Leader { command: LeaderCommand::Transfer { to, at } } => {
            at.client()?.transfer(to.as_deref()).map_err(End::Client).and_then(|leader| {
                print(&leader)?;
                Ok(Exit::Good)
            })
        }
        RemoteCommand::Backup { file, at } => return backup(name, &at.client()?, &file),
        RemoteCommand::Incident { output, at } => return incident(name, &at.client()?, &output),
        RemoteCommand::Snapshot { at } => snapshot(&at.client()?),
        RemoteCommand::Methods { at } => at.client()?.methods().map_err(End::Client).and_then(|methods| {
            methods.iter().try_for_each(print)?;
            Ok(Exit::Good)
        }),
    };
    end(name, done)
}

/// Says what a command came to.
fn end(name: &str, done: Result<Exit, End>) -> Result<Exit, Refusal> {
    match done {
        Ok(exit) => Ok(exit),
        // No usage error: what was asked for was done.
        Err(End::Output(error)) => Err(Refusal::of_output(&error)),
        Err(End::Client(error)) => {
            tell!("{name}: {}", said(&error));
            Ok(exit_of(&error))
        }
    }
}

/// Why a command ended before its end.
enum End {
    Client(ClientError),
    Output(io::Error),
}

impl From<ClientError> for End {
    fn from(error: ClientError) -> End {
        End::Client(error)
    }
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Output(error)
    }
}

impl At {
    /// A client of the nodes that were named, or of those of the environment.
    fn client(&self) -> Result<Client, Refusal> {
        let addresses = match (self.addresses.as_slice(), std::env::var(VARIABLE)) {
            ([], Ok(text)) if !text.trim().is_empty() => text.split(',').map(|part| part.trim().to_owned()).collect(),
            ([], Err(std::env::VarError::NotUnicode(_))) => {
                return Err(Refusal::new(format!("{VARIABLE} is no UTF-8 text")));
            }
            ([], _) => vec![ADDRESS.to_owned()],
            (addresses, _) => addresses.to_vec(),
        };
        let client = Client::new(addresses).map_err(Refusal::new)?;
        let Some(path) = &self.token_file else { return Ok(client) };
        let tokens = Tokens::load(path).map_err(|error| Refusal::naming(path, &error).of_option("--token-file"))?;
        Ok(client.token(tokens.strongest()))
    }
}

/// Prints what became of a perform.
fn tell(performed: Result<Performed, ClientError>) -> Result<Exit, End> {
    let error = match performed {
        Ok(Performed { index, action }) => {
            print(&json!({"index": index, "action": action}))?;
            return Ok(Exit::Good);
        }
        Err(error) => error,
    };
    // Rejections are answers: what reads the output wants to know why.
    if let ClientError::Refused { refusal, .. } = &error
        && refusal.code == "rejected"
    {
        let detail = |name| refusal.details.get(name).cloned().unwrap_or_default();
        let answer = json!({
            "rejected": refusal.message, "rejection": detail("rejection"), "index": detail("index"),
        });
        print(&answer)?;
    }
    Err(error.into())
}

fn show_state(state: Result<State, ClientError>) -> Result<Exit, End> {
    let State { index, state } = state?;
    print(&state_text(index, &state))?;
    Ok(Exit::Good)
}

fn watch(client: &Client, from: Option<Index>) -> Result<Exit, End> {
    if let Some(from) = from {
        let reached = client.status()?.index;
        if from > reached {
            tell!(
                "the node is at {reached}, and not at {from} yet: it is waited for, or the state comes, where no node has \
                 been there"
            );
        }
    }
    for event in client.subscribe(from)? {
        let shown: Value = match event? {
            JsonEvent::Change(change) => change_value(&change),
            JsonEvent::Reset { index, state } => json!({"index": index, "reset": state}),
        };
        print(&shown)?;
    }
    Ok(Exit::Good)
}

/// Writes a backup.
fn backup(name: &str, client: &Client, path: &Path) -> Result<Exit, Refusal> {
    keep(name, client, path, Client::backup, |bytes| {
        let backup = Backup::decode(bytes).map_err(|error| error.to_string())?;
        Ok(format!("everything up to {}", backup.index))
    })
}

/// Writes an incident.
fn incident(name: &str, client: &Client, path: &Path) -> Result<Exit, Refusal> {
    keep(name, client, path, Client::incident, |bytes| {
        let incident = Incident::decode(bytes).map_err(|error| error.to_string())?;
        let snapshot = if incident.snapshot.is_some() { "a snapshot" } else { "no snapshot" };
        let log = incident.entries.len();
        Ok(format!("{} at index {}, {snapshot}, {log} entries of the log", incident.node, incident.index))
    })
}

/// Writes what a node gives: under another name first, so that a file of this name is always whole. `look` checks that
/// it is, and says what is in it.
fn keep(
    name: &str,
    client: &Client,
    path: &Path,
    ask: impl FnOnce(&Client) -> Result<Bytes, ClientError>,
    look: impl FnOnce(&Bytes) -> Result<String, String>,
) -> Result<Exit, Refusal> {
    if path.as_os_str() == "-" {
        return Err(Refusal::new("-: standard output is not written to; name a file, or ./- if that is its name"));
    }
    if path.is_dir() {
        return Err(Refusal::new(format!("{}: it is a directory; name a file in it", path.display())));
    }
    if path.symlink_metadata().is_ok() {
        return Err(Refusal::new(format!(
            "{}: already there, and never overwritten; choose another name",
            path.display()
        )));
    }
    let of_file = |error| Refusal::of_file(path, &error);
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Before anything is asked: a directory that is not there costs the nodes nothing. It goes if it is not kept, and is
    // for its owner only.
    std::fs::metadata(directory).map_err(of_file)?;
    let part = tempfile::Builder::new().prefix(".conflux-").suffix(".part").tempfile_in(directory);
    // Its own text has the other name in it.
    let mut part = part.map_err(|error| of_file(error.kind().into()))?;
    let taken = ask(client).map_err(End::Client).and_then(|bytes| {
        // What came is what was sent, or it is no use to keep it.
        look(&bytes).map(|said| (bytes, said)).map_err(|problem| {
            let address = client.addresses().next().unwrap_or_default().to_owned();
            End::Client(ClientError::BadAnswer { address, problem })
        })
    });
    let (bytes, said) = match taken {
        Ok(taken) => taken,
        Err(error) => return end(name, Err(error)),
    };
    part.write_all(&bytes).and_then(|()| part.as_file().sync_all()).map_err(of_file)?;
    part.persist_noclobber(path).map_err(|kept| of_file(kept.error))?;
    if cfg!(unix) {
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(of_file)?;
    }
    tell!("{}: {said}, {} bytes", path.display(), bytes.len());
    Ok(Exit::Good)
}

fn snapshot(client: &Client) -> Result<Exit, End> {
    let SnapshotReport { index, bytes, log_entries, took_ms } = client.snapshot()?;
    print(&json!({"index": index, "bytes": bytes, "log_entries": log_entries, "took_ms": took_ms}))?;
    Ok(Exit::Good)
}

/// Prints a line at once: somebody waits for it.
fn print(text: &impl std::fmt::Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{text}")?;
    output.flush()
}

/// An error for people, on one line.
fn said(error: &ClientError) -> String {
    match error {
        ClientError::Refused { refusal, address } => match refusal.code.as_str() {
            "rejected" => format!("rejected: {}", refusal.message),
            "failed" => {
                let at = refusal.details.get("at").and_then(Value::as_str);
                let at = at.map(|at| format!(" at {at}")).unwrap_or_default();
                format!("failed: {}{at}", refusal.message)
            }
            "never_proposed" => format!("never proposed: {}", refusal.message),
            "unauthorized" => format!("{}; --token-file names a file with a token", refusal.message),
            // A path is good where an application serves conflux under it.
            "no_such_path" => format!(
                "{address}: a node answers there, but has nothing at this path: is --at right? It is HOST:PORT, and has a \
                 path only where an application serves conflux under one"
            ),
            // The message says everything, and the number of the status nothing to people.
            _ => refusal.message.clone(),
        },
        ClientError::Unknown { request_id, why } => {
            format!("unknown: {why}; it may have taken effect, or may still: ask `outcome {request_id}`")
        }
        ClientError::NotVisible { request_id, index } => {
            format!("committed, judged at {index}, but the node has not come so far yet: ask `outcome {request_id}`")
        }
        ClientError::Unreachable { .. } => {
            format!("{error}; --at or {VARIABLE} says where nodes serve HTTP (conflux node ... --http HOST:PORT)")
        }
        error => error.to_string(),
    }
}

/// The exit status that an error has.
fn exit_of(error: &ClientError) -> Exit {
    match error {
        ClientError::Address { .. } => Exit::Usage,
        ClientError::Unreachable { .. } | ClientError::BadAnswer { .. } => Exit::Unreachable,
        ClientError::Unknown { .. } | ClientError::Lost { .. } | ClientError::NotVisible { .. } => Exit::Unknown,
        ClientError::Refused { refusal, .. } => match (refusal.code.as_str(), refusal.status) {
            ("rejected", _) => Exit::Rejected,
            // A change of members that nobody took in time may still come.
            ("undecided" | "forgotten" | "not_taken", _) => Exit::Unknown,
            // What the command line said was wrong: the method, its arguments, an id, the token.
            (
                "conflict" | "unauthorized" | "forbidden" | "peer_refused" | "host_refused" | "too_large"
                | "no_such_path",
                _,
            )
            | (_, 422) => Exit::Usage,
            _ => Exit::BadLines,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conflux_http::client::Refusal;

    fn refused(status: u16, code: &str) -> ClientError {
        let refusal = Refusal { status, code: code.into(), message: "no".into(), details: serde_json::Map::new() };
        ClientError::Refused { address: "http://x".into(), refusal: Box::new(refusal) }
    }

    #[test]
    fn every_error_has_its_exit_status() {
        for (code, status, exit) in [
            ("rejected", 409, 3),
            ("conflict", 409, 2),
            ("unknown_method", 422, 2),
            ("bad_arguments", 422, 2),
            ("unauthorized", 401, 2),
            ("forbidden", 403, 2),
            ("no_such_path", 404, 2),
            ("failed", 500, 1),
            ("never_proposed", 503, 1),
            ("busy", 503, 1),
            ("not_readable", 503, 1),
            ("undecided", 404, 4),
            ("forgotten", 410, 4),
            ("refused", 409, 1),
            ("not_taken", 504, 4),
        ] {
            assert_eq!(exit_of(&refused(status, code)) as u8, exit, "{code}");
        }
        let request_id = "x".to_owned();
        assert_eq!(exit_of(&ClientError::Unknown { request_id: request_id.clone(), why: String::new() }) as u8, 4);
        assert_eq!(exit_of(&ClientError::NotVisible { request_id, index: Index(1) }) as u8, 4);
        assert_eq!(exit_of(&ClientError::Unreachable { tried: vec![] }) as u8, 5);
        assert_eq!(exit_of(&ClientError::BadAnswer { address: String::new(), problem: String::new() }) as u8, 5);
        assert_eq!(exit_of(&ClientError::Address { address: String::new(), problem: String::new() }) as u8, 2);
    }
}
