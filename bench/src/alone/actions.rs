//! Actions of all sizes.

use std::sync::Arc;

use conflux::{Container, Context, Never};

use super::bed::Bed;
use super::{Measure, Table, size};
use crate::figures::{rounded, time};

const CALLERS: usize = 64;

/// What was said, in letters.
struct Letters;

impl Container for Letters {
    type State = u64;
    type Method = Arc<str>;
    type Action = Arc<str>;
    type Rejection = Never;

    fn initial(&self) -> u64 {
        0
    }

    fn decide(&self, _: &u64, text: Arc<str>, _: &Context<'_>) -> Result<Option<Arc<str>>, Never> {
        Ok(Some(text))
    }

    fn reduce(&self, letters: &mut u64, text: &Arc<str>, _: &Context<'_>) {
        *letters += text.len() as u64;
    }
}

pub(super) async fn measure(measure: &Measure) -> Result<String, String> {
    let mut table = Table::new(
        "Actions",
        "A text each, 64 callers (16 with a megabyte).",
        &["size", "a second", "bytes a second", "p50", "p99"],
    );
    for bytes in [16, 256, 4_000, 64_000, 1_000_000] {
        let bed = Bed::open(3, || Letters).await?;
        let text: Arc<str> = "x".repeat(bytes).into();
        let callers = if bytes < 1_000_000 { CALLERS } else { 16 };
        let row = bed.perform(callers, measure.seconds, move |_| text.clone()).await;
        table.row(&[
            size(bytes),
            rounded(row.rate()),
            size((row.rate() * bytes as f64) as usize),
            time(row.p50()),
            time(row.p99()),
        ]);
        bed.close().await;
    }
    Ok(table.0)
}
