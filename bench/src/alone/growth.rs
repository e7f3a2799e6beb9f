//! A history that grows.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::future;

use super::bed::{Bed, Counter};
use super::{Measure, Table};
use crate::figures::{bytes, rounded, time};
use crate::usage::Processes;

/// How many callers make the history.
const CALLERS: usize = 1024;

pub(super) async fn measure(measure: &Measure) -> Result<String, String> {
    let mut table = Table::new(
        "A history that grows",
        "The same cluster with more and more actions behind it, 1,024 callers.",
        &["actions behind", "a second", "p50", "p99", "memory"],
    );
    let bed = Bed::open(3, || Counter).await?;
    let mut wanted = 1_000;
    while wanted <= measure.history_max {
        let missing = wanted.saturating_sub(bed.leader().state().index().0);
        let begun = Arc::new(AtomicU64::new(0));
        let callers = (0..CALLERS).map(|_| {
            let (node, begun) = (bed.leader().clone(), begun.clone());
            tokio::spawn(async move {
                while begun.fetch_add(1, Ordering::Relaxed) < missing {
                    node.perform(1).await.map_err(|error| error.to_string())?;
                }
                Ok::<(), String>(())
            })
        });
        for done in future::join_all(callers).await {
            done.map_err(|error| error.to_string())??;
        }
        let row = bed.perform(CALLERS, measure.seconds, |_| 1).await;
        let memory = Processes::own().memory().map_or_else(|| "-".to_owned(), bytes);
        table.row(&[rounded(wanted as f64), rounded(row.rate()), time(row.p50()), time(row.p99()), memory]);
        wanted *= 10;
    }
    bed.close().await;
    Ok(table.0)
}
