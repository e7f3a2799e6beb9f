//! The rows of a benchmark, for people or for programs.

use std::cell::RefCell;

use serde_json::{Value, json};

use super::run::Row;
use crate::arguments::{BenchAt, BenchOptions};
use crate::exit::Refusal;
use crate::output::{say, tell};

/// Shows rows as they come; for programs, one object at the end.
pub(crate) struct Figures {
    container: String,
    nodes: usize,
    at: &'static str,
    /// Filled for programs only.
    rows: Option<RefCell<Vec<Value>>>,
}

impl Figures {
    pub(crate) fn new(container: String, options: &BenchOptions) -> Figures {
        let at = match options.at {
            BenchAt::Leader => "leader",
            BenchAt::All => "all",
        };
        Figures { container, nodes: options.nodes, at, rows: options.json.then(RefCell::default) }
    }

    pub(crate) fn begin(&self) -> Result<(), Refusal> {
        if self.rows.is_none() {
            let at = if self.at == "leader" { "the leader" } else { "all nodes" };
            say!("{}: nodes {}, channel memory, callers at {at}", self.container, self.nodes)?;
            say!("{}", header())?;
        }
        Ok(())
    }

    pub(crate) fn row(&self, row: &Row) -> Result<(), Refusal> {
        match &self.rows {
            Some(rows) => rows.borrow_mut().push(row_value(row)),
            None => {
                say!("{}", text(row))?;
                for (performs, bytes) in &row.points {
                    say!("{:>16} performs: {}", performs, memory(*bytes))?;
                }
            }
        }
        if let Some(failure) = &row.failure {
            tell!("{} callers: {} performs got no answer; the first: {failure}", row.callers, row.failed);
        }
        Ok(())
    }

    pub(crate) fn end(&self) -> Result<(), Refusal> {
        if let Some(rows) = &self.rows {
            let rows = rows.take();
            say!(
                "{}",
                json!({
                    "container": self.container,
                    "nodes": self.nodes,
                    "channel": "memory",
                    "at": self.at,
                    "rows": rows,
                })
            )?;
        }
        Ok(())
    }
}

fn header() -> String {
    format!("{:>8}  {:>12}  {:>10}  {:>10}  {:>10}  {:>10}", "callers", "performs/s", "p50", "p99", "p999", "memory")
}

fn text(row: &Row) -> String {
    let [p50, p99, p999] = quantiles(row).map(time);
    let rate = format!("{:.0}", rate(row));
    let memory = memory(row.memory);
    format!("{:>8}  {rate:>12}  {p50:>10}  {p99:>10}  {p999:>10}  {memory:>10}", row.callers)
}

fn row_value(row: &Row) -> Value {
    let [p50, p99, p999] = quantiles(row).map(micros);
    let mut value = json!({
        "callers": row.callers,
        "performs": row.latency.len(),
        "failed": row.failed,
        "seconds": row.elapsed.as_secs_f64(),
        "performs_per_second": rate(row).round(),
        "p50_us": p50,
        "p99_us": p99,
        "p999_us": p999,
        "memory_bytes": row.memory,
    });
    if !row.points.is_empty() {
        let points = row.points.iter().map(|(performs, bytes)| json!({"performs": performs, "memory_bytes": bytes}));
        value["memory_points"] = points.collect();
    }
    value
}

fn quantiles(row: &Row) -> [u64; 3] {
    [0.5, 0.99, 0.999].map(|quantile| row.latency.value_at_quantile(quantile))
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(row: &Row) -> f64 {
    row.latency.len() as f64 / row.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
}

#[expect(clippy::cast_precision_loss, reason = "three digits of it are meant")]
fn micros(nanos: u64) -> f64 {
    (nanos as f64 / 100.0).round() / 10.0
}

fn time(nanos: u64) -> String {
    match micros(nanos) {
        micros if micros < 1_000.0 => format!("{micros:.1} us"),
        micros if micros < 1_000_000.0 => format!("{:.2} ms", micros / 1_000.0),
        micros => format!("{:.2} s", micros / 1_000_000.0),
    }
}

#[expect(clippy::cast_precision_loss, reason = "three digits of it are meant")]
fn memory(bytes: Option<u64>) -> String {
    bytes.map_or_else(|| "-".to_owned(), |bytes| format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;
    use std::time::Duration;

    fn row() -> Row {
        let mut latency = Histogram::new_with_bounds(1, 1_000_000_000, 3).expect("the bounds are in order");
        latency.record_n(71_000, 990).expect("in bounds");
        latency.record_n(2_500_000, 10).expect("in bounds");
        Row {
            callers: 64,
            elapsed: Duration::from_millis(500),
            latency,
            failed: 0,
            failure: None,
            memory: Some(30 << 20),
            points: vec![(1_000, None)],
        }
    }

    #[test]
    fn people_get_columns() {
        let text = text(&row());
        assert_eq!(text.len(), header().len());
        assert_eq!(
            text.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect::<Vec<_>>(),
            ["64", "2000", "71.0 us", "71.0 us", "2.50 ms", "30.0 MiB"]
        );
    }

    #[test]
    fn programs_get_numbers() {
        let value = row_value(&row());
        assert_eq!(value["performs_per_second"], json!(2000.0));
        assert_eq!(value["p50_us"], json!(71.0));
        assert_eq!(value["memory_points"], json!([{"performs": 1000, "memory_bytes": null}]));
    }
}
