//! Clusters of more and fewer nodes.

use super::bed::{Bed, Counter};
use super::{Measure, Table};
use crate::figures::{rounded, time};

pub(super) async fn measure(measure: &Measure) -> Result<String, String> {
    let mut table = Table::new(
        "Nodes",
        "All nodes share the machine, so that each one more also takes of what the others have.",
        &["nodes", "callers", "a second", "p50", "p99"],
    );
    for nodes in [1, 3, 5, 7] {
        for callers in [1, 256] {
            let bed = Bed::open(nodes, || Counter).await?;
            let row = bed.perform(callers, measure.seconds, |_| 1).await;
            table.row(&[nodes.to_string(), callers.to_string(), rounded(row.rate()), time(row.p50()), time(row.p99())]);
            bed.close().await;
        }
    }
    Ok(table.0)
}
