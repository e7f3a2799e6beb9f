//! Conflux by itself: what grows, what is read, what fails, and what a container costs. Each section is measured by a
//! process of its own, which says a piece of the page.

mod actions;
mod bed;
mod catch_up;
mod cluster;
mod failover;
mod growth;
mod idle;
pub(crate) mod member;
mod reads;
mod scripts;
mod states;
mod subscribers;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::figures::machine;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Section {
    /// A history that grows
    Growth,
    /// States of a kilobyte to a gigabyte, and what a snapshot of them holds up
    States,
    /// Clusters of one to seven nodes
    Cluster,
    /// Actions of 16 bytes to a megabyte
    Actions,
    /// Reads: committed, provisional, linearizable
    Reads,
    /// One subscriber to ten thousand
    Subscribers,
    /// Leaders that are killed
    Failover,
    /// A node that was away
    CatchUp,
    /// A container in JavaScript beside one in Rust
    Scripts,
    /// The memory of nodes that do nothing
    Idle,
}

/// How much is measured.
#[derive(Clone)]
pub(crate) struct Measure {
    /// The program `conflux`, as it is released.
    pub(crate) conflux: PathBuf,
    /// How long each row is measured.
    pub(crate) seconds: Duration,
    /// How often a leader is killed.
    pub(crate) kills: usize,
    /// The largest state, in bytes.
    pub(crate) state_max: usize,
    /// The longest history, in actions.
    pub(crate) history_max: u64,
}

impl Section {
    /// Measures, and gives the piece of the page.
    pub(crate) async fn measure(self, measure: &Measure) -> Result<String, String> {
        match self {
            Section::Growth => growth::measure(measure).await,
            Section::States => states::measure(measure).await,
            Section::Cluster => cluster::measure(measure).await,
            Section::Actions => actions::measure(measure).await,
            Section::Reads => reads::measure(measure).await,
            Section::Subscribers => subscribers::measure(measure).await,
            Section::Failover => failover::measure(measure).await,
            Section::CatchUp => catch_up::measure(measure).await,
            Section::Scripts => scripts::measure(measure),
            Section::Idle => idle::measure(measure),
        }
    }
}

/// Measures every section in a process of its own, and writes the page.
pub(crate) fn all(measure: &Measure, out: &Path) -> Result<(), String> {
    let begun = Instant::now();
    let mut page = format!(
        "# Conflux by itself\n\nWritten by `cargo xtask bench`, {} s a row, on one machine, which nodes and callers share. Unless it \
         says otherwise, three nodes are in one process, with a memory channel and a memory log, and callers are at the leader.\n\n{}\n",
        measure.seconds.as_secs_f64(),
        machine()
    );
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    for section in Section::value_variants() {
        let name = section.to_possible_value().expect("none is hidden").get_name().to_owned();
        println!("-- {name} ({:.0} s so far)", begun.elapsed().as_secs_f64());
        let output = Command::new(&program)
            .args(["alone", &name, "--conflux"])
            .arg(&measure.conflux)
            .args(["--seconds", &measure.seconds.as_secs_f64().to_string()])
            .args(["--kills", &measure.kills.to_string()])
            .args(["--state-max", &measure.state_max.to_string()])
            .args(["--history-max", &measure.history_max.to_string()])
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output();
        let output = output.map_err(|error| format!("{}: {error}", program.display()))?;
        if !output.status.success() {
            return Err(format!("{name} was not measured"));
        }
        let piece = String::from_utf8_lossy(&output.stdout);
        println!("{piece}");
        page.push('\n');
        page.push_str(&piece);
    }
    let path = out.join("ALONE.md");
    std::fs::write(&path, page).map_err(|error| format!("{}: {error}", path.display()))
}

/// A table of the page.
struct Table(String);

impl Table {
    fn new(title: &str, about: &str, columns: &[&str]) -> Table {
        let mut table = Table(format!("## {title}\n\n{about}\n\n"));
        table.row(columns);
        table.row(&vec!["-"; columns.len()]);
        table
    }

    fn row<S: AsRef<str>>(&mut self, cells: &[S]) {
        for cell in cells {
            self.0.push_str("| ");
            self.0.push_str(cell.as_ref());
            self.0.push(' ');
        }
        self.0.push_str("|\n");
    }
}

/// A number of bytes as people say it.
fn size(bytes: usize) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} KB", bytes / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", bytes / 1_000_000),
        _ => format!("{} GB", bytes / 1_000_000_000),
    }
}
