//! Callers that ask for one thing after the other, and how long each took.

use std::future::Future;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::usage::Processes;

/// How long a row is run.
#[derive(Clone, Copy)]
pub(crate) struct Length {
    pub(crate) warm_up: Duration,
    pub(crate) measured: Duration,
}

/// What came of so many callers.
pub(crate) struct Row {
    callers: usize,
    elapsed: Duration,
    latency: Histogram<u64>,
    failed: u64,
    /// How long the processes ran on a core.
    cpu: Option<Duration>,
    memory: Option<u64>,
}

impl Row {
    /// Answers a second.
    pub(crate) fn rate(&self) -> f64 {
        self.latency.len() as f64 / self.elapsed.as_secs_f64()
    }

    /// How long the middle one took, in microseconds.
    pub(crate) fn p50(&self) -> f64 {
        self.micros(0.5)
    }

    /// How long one of a hundred took at least, in microseconds.
    pub(crate) fn p99(&self) -> f64 {
        self.micros(0.99)
    }

    /// How long the longest took, in microseconds.
    pub(crate) fn longest(&self) -> f64 {
        self.latency.max() as f64 / 1e3
    }

    fn micros(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1e3
    }

    /// The names are those of `conflux bench --json`.
    pub(crate) fn json(&self) -> Value {
        json!({
            "callers": self.callers,
            "performs_per_second": self.rate(),
            "p50_us": self.p50(),
            "p99_us": self.p99(),
            "p999_us": self.micros(0.999),
            "failed": self.failed,
            "cores": self.cpu.map(|cpu| cpu.as_secs_f64() / self.elapsed.as_secs_f64()),
            "memory_bytes": self.memory,
        })
    }
}

const WARM_UP: u8 = 0;
const MEASURING: u8 = 1;
const OVER: u8 = 2;

/// Lets `callers` tasks ask, each awaiting its answer before it asks again. `processes` are those that work for it.
pub(crate) async fn load<F, A>(callers: usize, length: Length, processes: Processes, ask: impl Fn(usize) -> F) -> Row
where
    F: FnMut() -> A + Send + 'static,
    A: Future<Output = bool> + Send,
{
    let phase = Arc::new(AtomicU8::new(WARM_UP));
    let all = Arc::new(Mutex::new((fresh(), 0u64)));
    let mut tasks = JoinSet::new();
    for caller in 0..callers {
        let (phase, all, mut ask) = (phase.clone(), all.clone(), ask(caller));
        tasks.spawn(async move {
            let (mut latency, mut failed) = (fresh(), 0);
            loop {
                let begun = Instant::now();
                let answered = ask().await;
                match phase.load(Ordering::Relaxed) {
                    WARM_UP => {}
                    MEASURING if answered => latency.saturating_record(begun.elapsed().as_nanos() as u64),
                    MEASURING => failed += 1,
                    _ => break,
                }
                if !answered {
                    tokio::task::yield_now().await;
                }
            }
            let mut all = all.lock().expect("no caller panicked");
            all.0.add(&latency).expect("the bounds are the same");
            all.1 += failed;
        });
    }
    tokio::time::sleep(length.warm_up).await;
    let (begun, cpu) = (Instant::now(), processes.cpu());
    phase.store(MEASURING, Ordering::Relaxed);
    tokio::time::sleep(length.measured).await;
    phase.store(OVER, Ordering::Relaxed);
    let elapsed = begun.elapsed();
    let cpu = processes.cpu().zip(cpu).map(|(after, before)| after.saturating_sub(before));
    let memory = processes.memory();
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no caller panics");
    }
    let all = std::mem::replace(&mut *all.lock().expect("no caller panicked"), (fresh(), 0));
    Row { callers, elapsed, latency: all.0, failed: all.1, cpu, memory }
}

fn fresh() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600_000_000_000, 3).expect("the bounds are in order")
}
