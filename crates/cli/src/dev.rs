//! `conflux dev`: a cluster in one process, fed with lines.

use std::future::Future;
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::changed;
use crate::cluster::Cluster;
use crate::exit::{Exit, Refusal};
use crate::factory::Factory;
use crate::ground::{DEADLINE, Ground, MemoryGround, NodeOptions};
use crate::input::{self, InputLine};
use crate::interrupt::Interrupt;
use crate::output::{say, tell};
use crate::printer::{Hint, Printer, Tally};
use crate::progress::{Beside, Progress};
use crate::prompt::{self, Vocabulary};
use crate::session::Session;
use crate::table::Table;

/// How long answers that are under way are waited for after an interrupt, and then nodes that are behind.
const INTERRUPTED_WAIT: Duration = Duration::from_millis(800);

/// How long nodes may take to close after an interrupt.
const INTERRUPTED_CLOSE: Duration = Duration::from_millis(500);

/// Runs a cluster of `size` nodes until the input ends.
///
/// With `changed`, data that other code made are taken up by this one.
pub(crate) async fn run<F: Factory>(
    factory: F,
    size: usize,
    changed: bool,
    options: NodeOptions,
) -> Result<Exit, Refusal> {
    let name = factory.name();
    let interrupt = Interrupt::listen();
    if let Some(data) = options.data.as_deref().filter(|data| data.exists()) {
        changed::settle(&factory, data, size, changed)?;
        changed::enough(data, size)?;
    }
    let deadline = options.deadline.unwrap_or(DEADLINE);
    let ground: Box<dyn Ground> = Box::new(MemoryGround::new(factory, size, options));
    let opening = async {
        let cluster = Cluster::open(ground, size).await?;
        cluster.founded().await;
        Ok(cluster)
    };
    let Some(cluster) = unless_interrupted(&interrupt, opening).await else {
        tell_interrupted(&interrupt, 0, 0);
        return Ok(interrupt.exit().unwrap_or(Exit::Interrupted));
    };
    let cluster = cluster?;
    cluster.tell_findings();
    let prompted = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let hint = if prompted { Hint::Always } else { Hint::Once };
    let printer = Printer::new(tokio::io::stdout(), deadline, hint);
    let session = Session::new(cluster, printer, prompted.then(|| interrupt.patience()));
    let (lines, progress) = if prompted {
        let methods = session.cluster.living().next().map(|node| node.methods()).unwrap_or_default();
        let vocabulary = Vocabulary { methods, nodes: session.cluster.names() };
        say!("{}", vocabulary.banner(&name))?;
        (prompt::read(vocabulary, session.default_node()), None)
    } else {
        (input::read_stdin(), Some(Progress::new(input::stdin_bytes(), "lines", Beside::Answers)))
    };
    Ok(serve(session, lines, progress, &interrupt).await)
}

/// Takes all lines, waits for their answers, and compares the nodes.
async fn serve(
    mut session: Session,
    mut lines: mpsc::Receiver<InputLine>,
    mut progress: Option<Progress>,
    interrupt: &Interrupt,
) -> Exit {
    let mut broken = session.printer.broken();
    let mut interrupted = interrupt.clone();
    while let Some(line) = tokio::select! {
        biased;
        () = interrupted.happened() => None,
        _ = broken.wait_for(|broken| *broken) => None,
        line = lines.recv() => line,
    } {
        let bytes = line.bytes;
        match unless_interrupted(interrupt, session.take(line)).await {
            Some(ControlFlow::Continue(())) => {}
            Some(ControlFlow::Break(())) | None => break,
        }
        if let Some(progress) = &mut progress {
            progress.advance(1, bytes);
        }
    }
    let Session { cluster, printer, .. } = session;
    let asked = printer.asked();
    let written = printer.written();
    let finished = finish(printer, interrupt).await;
    if let Some(progress) = progress {
        progress.finish();
    }
    let tally = finished.unwrap_or_else(|| written.tally());
    if interrupt.exit().is_some() {
        tell_interrupted(interrupt, tally.answers, asked.saturating_sub(tally.answers));
    }
    let mut late = interrupt.clone();
    tokio::select! {
        biased;
        () = cluster.settle() => {}
        () = async {
            late.happened().await;
            sleep(INTERRUPTED_WAIT).await;
        } => {}
    }
    cluster.tell_findings();
    // An older state is made again from its actions, which may take longer than somebody waits who wants it to end.
    let compared = interrupt.exit().is_none() || cluster.is_level();
    let table = if compared { Table::of(&cluster) } else { Table::uncompared(&cluster) };
    tell!("{table}");
    let mut closing = interrupt.clone();
    tokio::select! {
        biased;
        () = cluster.close() => {}
        () = async {
            closing.happened().await;
            sleep(INTERRUPTED_CLOSE).await;
        } => {}
    }
    match interrupt.exit() {
        _ if table.is_split() => Exit::Diverged,
        Some(exit) => exit,
        None if tally.bad > 0 || table.has_stopped() || cluster.has_findings() => Exit::BadLines,
        // Whoever reads only the beginning (`| head`) is no fault, and nothing is said. But lines took effect whose answers
        // nobody has, so it is no success either: the status is that of a program that SIGPIPE ended, as for `cat | head`.
        // A program that only searches, as ripgrep, may say 0: it did nothing that the reader has to know of.
        None if tally.unread > 0 => Exit::Unread,
        None => Exit::Good,
    }
}

/// Says how far it came.
fn tell_interrupted(interrupt: &Interrupt, answered: u64, unanswered: u64) {
    let how = match interrupt.exit() {
        Some(Exit::Terminated) => "terminated",
        Some(Exit::HungUp) => "hung up",
        _ => "interrupted",
    };
    let lines =
        if answered == 1 { "1 line was answered".to_owned() } else { format!("{answered} lines were answered") };
    match unanswered {
        0 => tell!("{how}: {lines}"),
        more => tell!("{how}: {lines}, {more} more were under way and may have taken effect"),
    }
}

/// Waits for the answers under way; after an interrupt, not for long.
async fn finish(printer: Printer, interrupt: &Interrupt) -> Option<Tally> {
    let mut interrupt = interrupt.clone();
    let late = async {
        interrupt.happened().await;
        sleep(INTERRUPTED_WAIT).await;
    };
    tokio::select! {
        biased;
        tally = printer.finish() => Some(tally),
        () = late => None,
    }
}

async fn unless_interrupted<T>(interrupt: &Interrupt, work: impl Future<Output = T>) -> Option<T> {
    let work = pin!(work);
    let mut interrupt = interrupt.clone();
    tokio::select! {
        biased;
        done = work => Some(done),
        () = interrupt.happened() => None,
    }
}

#[cfg(test)]
mod tests;
