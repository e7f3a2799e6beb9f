//! `conflux status`: the nodes side by side.

use std::fmt::Write as _;
use std::io::{self, IsTerminal};
use std::thread;
use std::time::Duration;

use conflux_core::Index;
use conflux_http::StatusReport;
use conflux_http::client::{Client, ClientError};
use serde_json::{Value, json};

use super::table::aligned;
use super::{End, print};
use crate::exit::Exit;

/// How often the table is drawn anew.
const EVERY: Duration = Duration::from_secs(1);

/// How long a node may take to say how it is: one that hangs must not keep the others from being shown.
const STATUS_TIME: Duration = Duration::from_secs(2);

/// How long it may take for the digest of its state, which may have to be made again from its actions; it is not waited
/// for where the table is drawn anew.
const DIGEST_TIME: Duration = Duration::from_secs(10);

/// One node, or why it cannot be shown.
struct Row {
    address: String,
    status: Result<StatusReport, ClientError>,
    /// Of the state at the place that all have reached, where it was asked for and is still held.
    digest: Option<String>,
}

/// All nodes that were named.
struct Rows {
    rows: Vec<Row>,
    /// The place at which the digests were taken.
    at: Option<Index>,
}

/// Shows the nodes once, or again and again.
pub(super) fn run(client: &Client, as_json: bool, again: bool) -> Result<Exit, End> {
    loop {
        let rows = Rows::ask(client, if again { STATUS_TIME } else { DIGEST_TIME });
        match (as_json, again && io::stdout().is_terminal()) {
            (true, _) => print(&rows.to_json())?,
            // From the top of an empty screen.
            (false, true) => print(&format!("\x1b[H\x1b[2J{}", rows.to_table()))?,
            (false, false) => print(&rows.to_table())?,
        }
        if !again {
            return rows.exit();
        }
        thread::sleep(EVERY);
    }
}

impl Rows {
    fn ask(client: &Client, digest_time: Duration) -> Rows {
        // At once: one that does not answer must not make the others old.
        let asked: Vec<_> = client
            .each()
            .map(|client| {
                let address = client.addresses().next().unwrap_or_default().to_owned();
                let asked = client.clone().within(STATUS_TIME);
                (address, client.within(digest_time), thread::spawn(move || asked.status()))
            })
            .collect();
        let nodes: Vec<_> = asked
            .into_iter()
            .map(|(address, client, status)| (address, client, status.join().expect("the client does not panic")))
            .collect();
        let reports = || nodes.iter().filter_map(|(_, _, status)| status.as_ref().ok());
        // One state alone can be compared with nothing, and those of two histories need not be the same.
        let comparable = reports().count() > 1
            && reports().all(|report| {
                reports().all(|other| (&report.cluster, report.generation) == (&other.cluster, other.generation))
            });
        let at = reports().map(|report| report.index).min().filter(|_| comparable);
        let asked: Vec<_> = nodes
            .into_iter()
            .map(|(address, client, status)| {
                let at = at.filter(|_| status.is_ok());
                (address, status, at.map(|at| thread::spawn(move || client.digest(at).ok())))
            })
            .collect();
        let rows = asked.into_iter().map(|(address, status, digest)| {
            let digest = digest.and_then(|digest| digest.join().expect("the client does not panic"));
            Row { address, status, digest }
        });
        Rows { rows: rows.collect(), at }
    }

    fn is_split(&self) -> bool {
        let mut digests = self.rows.iter().filter_map(|row| row.digest.as_ref());
        let first = digests.next();
        digests.any(|digest| Some(digest) != first)
    }

    fn exit(self) -> Result<Exit, End> {
        if self.is_split() {
            return Ok(Exit::Diverged);
        }
        let mut errors = Vec::new();
        for row in self.rows {
            match row.status {
                Ok(_) => return Ok(Exit::Good),
                Err(error) => errors.push(error),
            }
        }
        // No node told anything. That some could not be reached says less than why another one refused.
        let told = errors.iter().position(|error| !matches!(error, ClientError::Unreachable { .. }));
        Err(errors.swap_remove(told.unwrap_or(0)).into())
    }

    fn to_json(&self) -> Value {
        self.rows
            .iter()
            .map(|row| match &row.status {
                Ok(report) => {
                    let mut value = serde_json::to_value(report).expect("it is made of texts and numbers");
                    value["at"] = row.address.as_str().into();
                    if let (Some(at), Some(digest)) = (self.at, &row.digest) {
                        value["digest"] = json!({"index": at, "digest": digest});
                    }
                    value
                }
                Err(error) => json!({"at": row.address, "error": error.to_string()}),
            })
            .collect()
    }

    fn to_table(&self) -> String {
        let mut table = vec![["at", "id", "role", "term", "leader", "index"].map(str::to_owned).to_vec()];
        if let Some(at) = self.at {
            table[0].push(format!("digest at {at}"));
        }
        let mut notes = String::new();
        let mut voters: Option<(&[String], &[String])> = None;
        for row in &self.rows {
            let mut cells = vec![row.address.clone()];
            match &row.status {
                Ok(report) => {
                    let leader = report.leader.clone().unwrap_or_else(|| "-".into());
                    cells.extend([report.id.clone(), report.role.clone(), report.term.to_string(), leader]);
                    cells.push(report.index.to_string());
                    if self.at.is_some() {
                        cells.push(row.digest.as_ref().map_or("-".into(), |digest| digest.chars().take(12).collect()));
                    }
                    if let Some(note) = report.stopped.as_ref().or(report.notice.as_ref()) {
                        write!(notes, "\n{}: {note}", report.id).expect("a string takes everything");
                    }
                    voters.get_or_insert((&report.voters, &report.learners));
                }
                Err(error) => {
                    cells.resize(table[0].len(), "-".into());
                    let why = match error {
                        ClientError::Unreachable { tried } => tried
                            .first()
                            .map_or_else(|| error.to_string(), |(address, why)| format!("{address}: {why}")),
                        error => error.to_string(),
                    };
                    write!(notes, "\n{why}").expect("a string takes everything");
                }
            }
            table.push(cells);
        }
        let mut text = aligned(&table);
        if let Some((voters, learners)) = voters {
            write!(text, "\nvoters: {}", voters.join(", ")).expect("a string takes everything");
            if !learners.is_empty() {
                write!(text, "; learners: {}", learners.join(", ")).expect("a string takes everything");
            }
        }
        if self.is_split() {
            notes.push_str("\nthe nodes hold different states at the same place");
        }
        text + &notes
    }
}
