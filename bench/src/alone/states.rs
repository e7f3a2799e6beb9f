//! States of all sizes, and what their snapshots hold up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use conflux::{Container, Context, Never};
use imbl::Vector;

use super::bed::Bed;
use super::{Measure, Table, size};
use crate::figures::{rounded, time};

const CALLERS: usize = 64;

/// How large a piece is at most.
const PIECE: usize = 4_096;

/// Pieces of text in a persistent collection, as a large state should be.
struct Pieces {
    /// All nodes begin with the same ones: they are in memory once.
    initial: Vector<Arc<str>>,
}

impl Pieces {
    fn new(bytes: usize) -> Pieces {
        let piece = bytes.min(PIECE);
        Pieces { initial: (0..bytes / piece).map(|_| Arc::from("x".repeat(piece))).collect() }
    }
}

impl Container for Pieces {
    type State = Vector<Arc<str>>;
    type Method = u64;
    type Action = u64;
    type Rejection = Never;

    fn initial(&self) -> Vector<Arc<str>> {
        self.initial.clone()
    }

    fn decide(&self, _: &Vector<Arc<str>>, number: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
        Ok(Some(number))
    }

    fn reduce(&self, pieces: &mut Vector<Arc<str>>, number: &u64, _: &Context<'_>) {
        let nth = (*number % pieces.len() as u64) as usize;
        let mut piece = pieces[nth].as_ref().to_owned();
        piece.replace_range(..8, &format!("{:08}", number % 100_000_000));
        pieces[nth] = piece.into();
    }
}

pub(super) async fn measure(measure: &Measure) -> Result<String, String> {
    let mut table = Table::new(
        "States, and their snapshots",
        "Pieces of 4 KiB in a persistent vector, one of which each action replaces; 64 callers. The second half is measured while the leader takes \
         a snapshot: how long that takes, and how long a caller waits meanwhile.",
        &[
            "state",
            "a second",
            "p50",
            "p99",
            "longest",
            "snapshot",
            "its bytes",
            "p50 meanwhile",
            "p99 meanwhile",
            "longest meanwhile",
        ],
    );
    let mut bytes = 1_000;
    while bytes <= measure.state_max {
        let pieces = Pieces::new(bytes).initial;
        let bed = Bed::open(3, || Pieces { initial: pieces.clone() }).await?;
        let method = |caller: usize| caller as u64 * 7_919;
        let row = bed.perform(CALLERS, measure.seconds, method).await;
        let (node, seconds) = (bed.leader().clone(), measure.seconds.max(Duration::from_secs(1)));
        let snapshot = tokio::spawn(async move {
            // When the callers are warm.
            tokio::time::sleep(seconds / 4).await;
            let begun = Instant::now();
            node.compact().await.map(|compacted| (compacted.bytes, begun.elapsed()))
        });
        let meanwhile = bed.perform(CALLERS, seconds, method).await;
        let (written, took) = snapshot.await.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        table.row(&[
            size(bytes),
            rounded(row.rate()),
            time(row.p50()),
            time(row.p99()),
            time(row.longest()),
            time(took.as_secs_f64() * 1e6),
            size(written as usize),
            time(meanwhile.p50()),
            time(meanwhile.p99()),
            time(meanwhile.longest()),
        ]);
        bed.close().await;
        bytes *= if bytes < 100_000_000 { 100 } else { 10 };
    }
    Ok(table.0)
}
