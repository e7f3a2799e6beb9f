//! A node that was away.

use std::time::{Duration, Instant};

use futures::future;

use super::bed::{Bed, Counter};
use super::{Measure, Table};
use crate::figures::{rounded, time};

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) async fn measure(measure: &Measure) -> Result<String, String> {
    let mut table = Table::new(
        "Catching up",
        "A follower is cut off, misses so many actions, and hears the others again: until it has come to where they are, nobody \
         performing meanwhile.",
        &["actions missed", "until it was there", "by"],
    );
    let mut missed = 1_000;
    while missed <= measure.history_max.min(1_000_000) {
        let bed = Bed::open(3, || Counter).await?;
        let away = &bed.nodes[2];
        bed.leader().perform(1).await.map_err(|error| error.to_string())?;
        away.linearizable_state().await.map_err(|error| error.to_string())?;
        bed.channel.partition(&[&["a", "b"][..], &["c"][..]]);
        let mut left = missed;
        while left > 0 {
            let at_once = left.min(1_000);
            let performed = (0..at_once).map(|_| bed.leader().perform(1));
            for done in future::join_all(performed).await {
                done.map_err(|error| error.to_string())?;
            }
            left -= at_once;
        }
        let (there, was) = (bed.leader().state().index(), away.state().index());
        if away.state().index().0 + missed > there.0 {
            return Err("the node was not cut off".into());
        }
        let mut events = away.subscribe_from(was);
        bed.channel.heal();
        let begun = Instant::now();
        // A first event that is a reset is a state that came whole.
        let first = tokio::time::timeout(PATIENCE, events.next()).await.map_err(|_| "it did not catch up")?;
        let by = match first {
            Some(conflux::Event::Reset { .. }) => "a snapshot, and the log",
            _ => "the log",
        };
        let arrived = away.watch_status();
        tokio::time::timeout(PATIENCE, async move {
            let mut arrived = arrived;
            arrived.find(|status| (status.index >= there).then_some(())).await
        })
        .await
        .map_err(|_| "it did not catch up")?;
        table.row(&[rounded(missed as f64), time(begun.elapsed().as_secs_f64() * 1e6), by.to_owned()]);
        bed.close().await;
        missed *= 10;
    }
    Ok(table.0)
}
