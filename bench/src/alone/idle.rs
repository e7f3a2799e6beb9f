//! The memory of nodes that do nothing.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{Measure, Table};
use crate::figures::bytes;

/// Nothing to hold.
const NOTHING: &str = "
export const initialState = null
export const methods = { nothing: () => null }
export const reduce = (state) => state
";

/// By then they have a leader, and are at rest.
const REST: Duration = Duration::from_secs(5);

pub(super) fn measure(measure: &Measure) -> Result<String, String> {
    let mut table = Table::new(
        "Memory at rest",
        "`conflux node`, three of them on this machine with data on disk and an empty state, five seconds after they were started. The pages of the \
         program itself are in memory once for all.",
        &["node", "of its own", "pages of files, shared", "resident", "its share"],
    );
    let place = tempfile::tempdir().map_err(|error| error.to_string())?;
    let script = place.path().join("nothing.js");
    std::fs::write(&script, NOTHING).map_err(|error| error.to_string())?;
    let free = || TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let listeners = [free(), free(), free()].map(|address| address.map_err(|error| error.to_string()));
    let [a, b, c] = listeners;
    let peers = format!("a={},b={},c={}", a?, b?, c?);
    let mut nodes = Vec::new();
    for name in ["a", "b", "c"] {
        let node = Command::new(&measure.conflux)
            .arg("node")
            .arg(&script)
            .args(["--id", name, "--peers", &peers, "--data"])
            .arg(place.path().join(name))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        nodes.push(Node(node.map_err(|error| format!("{}: {error}", measure.conflux.display()))?));
    }
    std::thread::sleep(REST);
    for (name, node) in ["a", "b", "c"].iter().zip(&mut nodes) {
        if node.0.try_wait().map_err(|error| error.to_string())?.is_some() {
            return Err(format!("node {name} has ended"));
        }
        let status = std::fs::read_to_string(format!("/proc/{}/status", node.0.id()));
        let shares = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", node.0.id()));
        let (status, shares) = (status.unwrap_or_default(), shares.unwrap_or_default());
        let of = |text: &str, what: &str| kilobytes(text, what).map_or_else(|| "-".to_owned(), |kb| bytes(kb * 1024));
        table.row(&[
            (*name).to_owned(),
            of(&status, "RssAnon:"),
            of(&status, "RssFile:"),
            of(&status, "VmRSS:"),
            of(&shares, "Pss:"),
        ]);
    }
    Ok(table.0)
}

fn kilobytes(text: &str, what: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(what))?;
    line.trim().strip_suffix("kB")?.trim().parse().ok()
}

/// Ends with the measurement.
struct Node(Child);

impl Drop for Node {
    fn drop(&mut self) {
        // No harm where it has ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
