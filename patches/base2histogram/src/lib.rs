//! Stands in for the histograms of the engine, which counts whether or not its statistics can be read, and here they
//! cannot: conflux has its own figures. The real crate makes tables of 26 MB when the first node is opened, and each
//! message of the engine touches a few of its counters. This one has the names that the engine needs, counts nothing,
//! and takes no memory. `docs/decisions/0023-the-engines-histograms.md` has the figures.

use std::fmt;
use std::marker::PhantomData;

/// Counts nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Histogram<T = ()>(PhantomData<T>);

impl<T> Histogram<T> {
    /// An empty one, as they all are.
    #[must_use]
    pub fn new() -> Self {
        Histogram(PhantomData)
    }

    /// Does nothing.
    #[inline(always)]
    pub fn record(&mut self, _value: u64) {}

    /// Does nothing.
    #[inline(always)]
    pub fn record_n(&mut self, _value: u64, _times: u64) {}

    /// All zero.
    #[must_use]
    pub fn percentile_stats(&self) -> PercentileStats {
        PercentileStats::default()
    }
}

/// What is known of no values: zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say which percentile each is; all are zero")]
pub struct PercentileStats {
    pub samples: u64,
    pub p0_1: u64,
    pub p1: u64,
    pub p5: u64,
    pub p10: u64,
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p99_9: u64,
}

impl fmt::Display for PercentileStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[not counted]")
    }
}

/// Shows nothing.
#[derive(Clone, Debug, Default)]
pub struct AsciiChart;

impl AsciiChart {
    /// An empty one, as they all are.
    #[must_use]
    pub fn new() -> Self {
        AsciiChart
    }

    /// The same.
    #[must_use]
    pub fn add(self, _name: &str, _histogram: Histogram) -> Self {
        self
    }
}
