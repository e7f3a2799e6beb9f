//! `conflux bench`: performs a second, how long one takes, memory.

mod bed;
mod between;
mod counter;
mod figures;
mod limits;
mod members;
mod run;
mod usage;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use conflux_core::Container;
use tempfile::TempDir;

use crate::arguments::{BenchAt, BenchChannel, BenchOptions};
use crate::exit::{Exit, Refusal};
use crate::factory::Factory;
use crate::interrupt::Interrupt;
use crate::line::{Body, Line};

use self::bed::Bed;
pub(crate) use self::counter::Counter;
use self::figures::Figures;
use self::limits::Limits;
use self::run::Length;

/// What is performed on the built-in counter.
pub(crate) const ADD_ONE: counter::Method = counter::Method::Add(1);

/// How long a row runs at most before it is measured.
const WARM_UP: Duration = Duration::from_millis(300);

/// The method that a line asks for.
pub(crate) fn method_of<C: Container>(container: &C, call: &str) -> Result<C::Method, Refusal> {
    let line = Line::parse(call).map_err(|error| Refusal::new(format!("--call: {error}")))?;
    match line {
        Some(Line { at: None, body: Body::Request(request) }) => container
            .method(&request.method, request.arguments)
            .map_err(|error| Refusal::new(format!("--call: {error}"))),
        _ => Err(Refusal::new("--call: it is a method and its arguments, as in: append \"foo\"")),
    }
}

/// Measures a row for each number of callers, each on a new cluster: no row inherits another's memory of its past.
pub(crate) async fn run<F: Factory>(
    factory: F,
    method: <F::Container as Container>::Method,
    options: BenchOptions,
) -> Result<Exit, Refusal> {
    if let (Some(name), Some(data)) = (&options.member, &options.member_data) {
        return members::run(factory, name, &options, data).await;
    }
    if options.channel != BenchChannel::Memory && options.at == BenchAt::All {
        return Err(Refusal::new(
            "--at all needs nodes that are all in this process; with another --channel than memory, it is leader or follower",
        ));
    }
    if options.at == BenchAt::Follower && options.nodes == 1 {
        return Err(Refusal::new("--at follower needs two nodes at least, and --nodes is 1"));
    }
    let mut interrupt = Interrupt::listen();
    tokio::select! {
        biased;
        // What was started ends with what it was started by, and the disks go.
        () = interrupt.happened() => Ok(interrupt.exit().unwrap_or(Exit::Interrupted)),
        done = rows(Arc::new(factory), method, options) => done.map_err(Refusal::unread),
    }
}

async fn rows<F: Factory>(
    factory: Arc<F>,
    method: <F::Container as Container>::Method,
    options: BenchOptions,
) -> Result<Exit, Refusal> {
    let length = options.performs.map_or(
        Length::Time { warm_up: WARM_UP.min(options.seconds / 4), measured: options.seconds },
        Length::Performs,
    );
    let data = directory(&options)?;
    let mut figures = Figures::new(factory.name(), &options);
    figures.begin()?;
    let mut limits = options.limits.then(Limits::new);
    let mut failed = false;
    for (nth, &callers) in options.callers.iter().enumerate() {
        limits = measure::<F::Container>(limits, data.as_ref().map(TempDir::path), &method).await?;
        let disks = data.as_ref().map(|data| data.path().join(nth.to_string()));
        let bed = Bed::make(factory.clone(), callers, &options, disks.as_deref()).await?;
        let row = run::run(bed.at(), &method, callers, length, bed.processes_of_members()).await;
        bed.end().await;
        failed |= row.failed > 0;
        figures.row(row)?;
    }
    figures.end(limits.as_ref())?;
    Ok(if failed { Exit::BadLines } else { Exit::Good })
}

/// A directory for the disks, which goes when all is measured; none where disks are in memory.
fn directory(options: &BenchOptions) -> Result<Option<TempDir>, Refusal> {
    let parent = match (&options.data, &options.channel) {
        (Some(data), _) => data.clone(),
        (None, BenchChannel::Memory) => return Ok(None),
        (None, _) => std::env::temp_dir(),
    };
    let made = std::fs::create_dir_all(&parent)
        .and_then(|()| tempfile::Builder::new().prefix("conflux-bench-").tempdir_in(&parent));
    made.map(Some).map_err(|error| Refusal::of_file(&parent, &error))
}

/// Measures the limits once more, where the disks are or would be.
async fn measure<C: Container>(
    limits: Option<Limits>,
    directory: Option<&Path>,
    method: &C::Method,
) -> Result<Option<Limits>, Refusal> {
    let Some(mut limits) = limits else { return Ok(None) };
    let (directory, method) = (directory.map_or_else(std::env::temp_dir, Path::to_owned), method.clone());
    let measured = tokio::task::spawn_blocking(move || limits.measure(&directory, &method).map(|()| limits)).await;
    let measured = measured.expect("it does not panic");
    measured.map(Some).map_err(|error| Refusal::new(format!("the limits cannot be measured: {error}")))
}
