//! A container whose state can be large: a table of rows.

#![allow(dead_code, reason = "each benchmark uses its part")]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use conflux::{Container, Context, Never};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// How many bytes a row has, about, where it is written.
pub(crate) const ROW_BYTES: usize = 100;

/// What a table can be.
pub(crate) trait Rows: Clone + Default + Send + Sync + Serialize + DeserializeOwned + 'static {
    fn put(&mut self, key: u64, row: String);
    fn count(&self) -> usize;
}

impl Rows for BTreeMap<u64, String> {
    fn put(&mut self, key: u64, row: String) {
        self.insert(key, row);
    }

    fn count(&self) -> usize {
        self.len()
    }
}

impl Rows for imbl::OrdMap<u64, String> {
    fn put(&mut self, key: u64, row: String) {
        self.insert(key, row);
    }

    fn count(&self) -> usize {
        self.len()
    }
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Method {
    /// Puts a row.
    Put(u64),
    /// Puts so many rows from a key on, by one action.
    Fill(u64, u64),
}

/// A table, in whatever rows are kept.
pub(crate) struct Table<R>(std::marker::PhantomData<fn() -> R>);

impl<R> Table<R> {
    pub(crate) fn new() -> Self {
        Table(std::marker::PhantomData)
    }
}

impl<R: Rows> Container for Table<R> {
    type State = R;
    type Method = Method;
    type Action = Method;
    type Rejection = Never;

    fn initial(&self) -> R {
        R::default()
    }

    fn decide(&self, _: &R, method: Method, _: &Context<'_>) -> Result<Option<Method>, Never> {
        Ok(Some(method))
    }

    fn reduce(&self, rows: &mut R, action: &Method, _: &Context<'_>) {
        let (from, count) = match *action {
            Method::Put(key) => (key, 1),
            Method::Fill(from, count) => (from, count),
        };
        for key in from..from + count {
            rows.put(key, format!("{key:0>ROW_BYTES$}"));
        }
    }
}

/// How long things took, in order of time.
#[derive(Default)]
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn record(&mut self, begun: Instant) {
        self.0.push(begun.elapsed());
    }

    /// The median, the one below which 99 of 100 are, and the longest, in milliseconds.
    pub(crate) fn told(mut self) -> String {
        self.0.sort_unstable();
        let at = |part: f64| self.0[((self.0.len() - 1) as f64 * part) as usize].as_secs_f64() * 1e3;
        format!("{:>9} {:>9.2} {:>9.2} {:>9.2}", self.0.len(), at(0.5), at(0.99), at(1.0))
    }
}
