//! Reads a second.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::bed::{Bed, Counter, asking};
use super::{Measure, Table};
use crate::figures::{rounded, time};

/// How many reads are made between two looks at the clock.
const AT_ONCE: u32 = 1_000;

pub(super) async fn measure(measure: &Measure) -> Result<String, String> {
    let mut table = Table::new(
        "Reads",
        "Committed and provisional ones by one thread, each taking hold of the state; linearizable ones by 256 callers.",
        &["", "a second", "p50", "p99"],
    );
    let bed = Bed::open(3, || Counter).await?;
    bed.leader().perform(1).await.map_err(|error| error.to_string())?;
    let node = bed.leader();
    let rates = [
        ("committed, nothing else going on", rate(measure.seconds, || drop(black_box(node.state())))),
        ("provisional, nothing else going on", rate(measure.seconds, || drop(black_box(node.provisional_state())))),
    ];
    for (what, rate) in rates {
        table.row(&[what, &rounded(rate), "", ""]);
    }
    // Beside callers, on a thread that is no worker of theirs.
    let reader = node.clone();
    let seconds = measure.seconds;
    let reading = std::thread::spawn(move || {
        std::thread::sleep(seconds / 4);
        rate(seconds, || drop(black_box(reader.state())))
    });
    bed.perform(64, measure.seconds, |_| 1).await;
    let beside = reading.join().map_err(|_| "a reader panicked")?;
    table.row(&["committed, beside 64 callers that perform", &rounded(beside), "", ""]);
    for (place, node) in [("at the leader", node), ("at a follower", &bed.nodes[1])] {
        for callers in [1, 256] {
            let node = node.clone();
            let row = asking(callers, measure.seconds, |_| {
                let node = node.clone();
                move || {
                    let node = node.clone();
                    async move { node.linearizable_state().await.is_ok() }
                }
            })
            .await;
            let what = format!("linearizable {place}, {callers} callers");
            table.row(&[what, rounded(row.rate()), time(row.p50()), time(row.p99())]);
        }
    }
    bed.close().await;
    Ok(table.0)
}

/// How often a second something can be done by one thread.
fn rate(seconds: Duration, mut read: impl FnMut()) -> f64 {
    let (begun, mut reads) = (Instant::now(), 0u64);
    while begun.elapsed() < seconds {
        (0..AT_ONCE).for_each(|_| read());
        reads += u64::from(AT_ONCE);
    }
    reads as f64 / begun.elapsed().as_secs_f64()
}
