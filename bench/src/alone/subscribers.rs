//! Subscribers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use conflux::Event;

use super::bed::{Bed, Counter};
use super::{Measure, Table};
use crate::figures::{rounded, time};

const CALLERS: usize = 64;

/// What all subscribers heard.
#[derive(Default)]
struct Heard {
    counts: AtomicBool,
    changes: AtomicU64,
    resets: AtomicU64,
}

pub(super) async fn measure(measure: &Measure) -> Result<String, String> {
    let mut table = Table::new(
        "Subscribers",
        "At the leader, each hears every action with the state it led to; 64 callers. Whoever falls behind by more than is held is told the \
         present (a reset), and goes on from there.",
        &["subscribers", "performs a second", "p50", "p99", "changes heard a second", "resets a second"],
    );
    for subscribers in [1, 10, 100, 1_000, 10_000u32] {
        let bed = Bed::open(3, || Counter).await?;
        let heard = Arc::new(Heard::default());
        let tasks: Vec<_> = (0..subscribers)
            .map(|_| {
                let (mut subscription, heard) = (bed.leader().subscribe(), heard.clone());
                tokio::spawn(async move {
                    while let Some(event) = subscription.next().await {
                        if heard.counts.load(Ordering::Relaxed) {
                            let of = if matches!(event, Event::Change(_)) { &heard.changes } else { &heard.resets };
                            of.fetch_add(1, Ordering::Relaxed);
                        }
                        // Others want to hear, too.
                        tokio::task::consume_budget().await;
                    }
                })
            })
            .collect();
        let begun = Instant::now();
        heard.counts.store(true, Ordering::Relaxed);
        let row = bed.perform(CALLERS, measure.seconds, |_| 1).await;
        let elapsed = begun.elapsed().as_secs_f64();
        heard.counts.store(false, Ordering::Relaxed);
        let of = |count: &AtomicU64| rounded(count.load(Ordering::Relaxed) as f64 / elapsed);
        table.row(&[
            subscribers.to_string(),
            rounded(row.rate()),
            time(row.p50()),
            time(row.p99()),
            of(&heard.changes),
            of(&heard.resets),
        ]);
        for task in tasks {
            task.abort();
        }
        bed.close().await;
    }
    Ok(table.0)
}
