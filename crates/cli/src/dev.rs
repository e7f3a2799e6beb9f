//! `conflux dev`: a cluster in one process, fed with lines.

use std::future::Future;
use std::io::IsTerminal;
use std::pin::pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::exit::{Exit, Refusal};
use crate::factory::Factory;
use crate::ground::{Ground, MemoryGround, NodeOptions};
use crate::input::{self, InputLine};
use crate::interrupt::Interrupt;
use crate::printer::{Printer, Tally};
use crate::progress::Progress;
use crate::prompt::{self, Vocabulary};
use crate::session::Session;
use crate::table::Table;

/// How long answers that are under way are waited for after an interrupt.
const INTERRUPTED_WAIT: Duration = Duration::from_secs(1);

/// Runs a cluster of `size` nodes until the input ends.
pub(crate) async fn run<F: Factory>(factory: F, size: usize, options: NodeOptions) -> Result<Exit, Refusal> {
    let name = factory.name();
    let interrupt = Interrupt::listen();
    let ground: Box<dyn Ground> = Box::new(MemoryGround::new(factory, size, options));
    let opening = Cluster::open(ground, size);
    let Some(cluster) = unless_interrupted(&interrupt, opening).await else { return Ok(Exit::Good) };
    let cluster = cluster?;
    let printer = Printer::new(tokio::io::stdout());

    let prompted = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let session = Session::new(cluster, printer, prompted);
    let (lines, progress) = if prompted {
        let methods = session.cluster.living().next().map(|node| node.methods()).unwrap_or_default();
        let vocabulary = Vocabulary { methods, nodes: session.cluster.names() };
        println!("{}", vocabulary.banner(&name));
        (prompt::read(vocabulary, session.default_node()), None)
    } else {
        (input::read_stdin(), Some(Progress::new(input::stdin_bytes())))
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
        if unless_interrupted(interrupt, session.take(line)).await.is_none() {
            break;
        }
        if let Some(progress) = &mut progress {
            progress.advance(bytes);
        }
    }
    let Session { cluster, printer, .. } = session;
    let tally = finish(printer, interrupt).await;
    if let Some(progress) = progress {
        progress.finish();
    }
    cluster.tell_findings();
    if tally.is_none() {
        eprintln!("interrupted: some lines are not answered");
    }
    let at = unless_interrupted(interrupt, cluster.settle()).await;
    let at = at.unwrap_or_else(|| cluster.lowest());
    let table = Table::of(&cluster, at);
    eprintln!("{table}");
    cluster.close().await;
    match tally {
        _ if table.is_split() => Exit::Diverged,
        Some(Tally { bad: 0, .. }) if !table.has_stopped() => Exit::Good,
        _ => Exit::BadLines,
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
