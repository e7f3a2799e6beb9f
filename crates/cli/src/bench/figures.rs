//! The rows of a benchmark, for people or for programs.

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::limits::Limits;
use super::run::Row;
use crate::arguments::BenchOptions;
use crate::exit::Refusal;
use crate::output::{say, tell};

/// Shows rows as they come; for programs, one object at the end.
pub(crate) struct Figures {
    container: String,
    nodes: usize,
    channel: &'static str,
    at: &'static str,
    for_programs: bool,
    rows: Vec<Row>,
}

impl Figures {
    pub(crate) fn new(container: String, options: &BenchOptions) -> Figures {
        let (channel, at) = (options.channel.word(), options.at.word());
        Figures { container, nodes: options.nodes, channel, at, for_programs: options.json, rows: Vec::new() }
    }

    pub(crate) fn begin(&self) -> Result<(), Refusal> {
        if self.for_programs {
            return Ok(());
        }
        let at = match self.at {
            "leader" => "the leader",
            "follower" => "a follower",
            _ => "all nodes",
        };
        say!("{}: nodes {}, channel {}, callers at {at}", self.container, self.nodes, self.channel)?;
        say!("{}", header())
    }

    pub(crate) fn row(&mut self, row: Row) -> Result<(), Refusal> {
        if !self.for_programs {
            say!("{}", text(&row))?;
            for (performs, bytes) in &row.points {
                say!("{:>16} performs: {}", performs, memory(*bytes))?;
            }
        }
        if let Some(failure) = &row.failure {
            tell!("{} callers: {} performs got no answer; the first: {failure}", row.callers, row.failed);
        }
        self.rows.push(row);
        Ok(())
    }

    pub(crate) fn end(&self, limits: Option<&Limits>) -> Result<(), Refusal> {
        if !self.for_programs {
            return limits.map_or(Ok(()), |limits| self.compare(limits));
        }
        let mut object = json!({
            "container": self.container,
            "nodes": self.nodes,
            "channel": self.channel,
            "at": self.at,
            "rows": self.rows.iter().map(row_value).collect::<Vec<_>>(),
        });
        if let Some(limits) = limits {
            object["limits"] = limits_value(limits);
        }
        say!("{object}")
    }

    /// Says what the machine can do, and how far one caller is from it.
    fn compare(&self, limits: &Limits) -> Result<(), Refusal> {
        say!("{:<36}  {:>10}  {:>10}  {:>10}", "limits of this machine", "p50", "p99", "p999")?;
        for (what, times) in named(limits) {
            let [p50, p99, p999] = quantiles(times).map(time);
            say!("{what:<36}  {p50:>10}  {p99:>10}  {p999:>10}")?;
        }
        say!("{:<36}  {:>10}", "memory copied, a second", memory(Some(limits.copied_per_second())))?;
        let each = |times: &Histogram<u64>| format!("{} ns", times.value_at_quantile(0.5) / Limits::TIMES);
        let [encode, decode] = [each(&limits.encode), each(&limits.decode)];
        say!("{:<36}  {encode:>10}  {decode:>10}", "the method encoded, and decoded")?;
        let Some(row) = self.rows.iter().find(|row| row.callers == 1) else { return Ok(()) };
        let [p50, ..] = quantiles(&row.latency);
        let floor = limits.floor();
        say!(
            "1 caller: p50 is {} times the {} of an append that is synced and two round trips",
            ratio(p50, floor),
            time(floor)
        )
    }
}

fn named(limits: &Limits) -> [(&'static str, &Histogram<u64>); 3] {
    [
        ("4 KiB written over others, fdatasync", &limits.overwrite),
        ("4 KiB appended, fdatasync", &limits.append),
        ("round trip on loopback", &limits.round_trip),
    ]
}

fn limits_value(limits: &Limits) -> Value {
    let value = |times: &Histogram<u64>| {
        let [p50, p99, p999] = quantiles(times).map(micros);
        json!({"p50_us": p50, "p99_us": p99, "p999_us": p999, "times": times.len()})
    };
    json!({
        "overwrite_fdatasync_4k": value(&limits.overwrite),
        "append_fdatasync_4k": value(&limits.append),
        "loopback_round_trip": value(&limits.round_trip),
        "append_and_two_round_trips_us": micros(limits.floor()),
        "memory_copied_bytes_per_second": limits.copied_per_second(),
        "encode_ns": limits.encode.value_at_quantile(0.5) / Limits::TIMES,
        "decode_ns": limits.decode.value_at_quantile(0.5) / Limits::TIMES,
    })
}

#[expect(clippy::cast_precision_loss, reason = "two digits of it are meant")]
fn ratio(one: u64, other: u64) -> String {
    format!("{:.2}", one as f64 / other.max(1) as f64)
}

fn header() -> String {
    format!(
        "{:>8}  {:>12}  {:>10}  {:>10}  {:>10}  {:>6}  {:>10}",
        "callers", "performs/s", "p50", "p99", "p999", "cores", "memory"
    )
}

fn text(row: &Row) -> String {
    let [p50, p99, p999] = quantiles(&row.latency).map(time);
    let rate = format!("{:.0}", rate(row));
    let cores = cores(row).map_or_else(|| "-".to_owned(), |cores| format!("{cores:.2}"));
    let memory = memory(row.memory);
    format!("{:>8}  {rate:>12}  {p50:>10}  {p99:>10}  {p999:>10}  {cores:>6}  {memory:>10}", row.callers)
}

fn row_value(row: &Row) -> Value {
    let [p50, p99, p999] = quantiles(&row.latency).map(micros);
    let mut value = json!({
        "callers": row.callers,
        "performs": row.latency.len(),
        "failed": row.failed,
        "seconds": row.elapsed.as_secs_f64(),
        "performs_per_second": rate(row).round(),
        "p50_us": p50,
        "p99_us": p99,
        "p999_us": p999,
        "cores": cores(row),
        "memory_bytes": row.memory,
    });
    if !row.points.is_empty() {
        let points = row.points.iter().map(|(performs, bytes)| json!({"performs": performs, "memory_bytes": bytes}));
        value["memory_points"] = points.collect();
    }
    value
}

fn quantiles(times: &Histogram<u64>) -> [u64; 3] {
    [0.5, 0.99, 0.999].map(|quantile| times.value_at_quantile(quantile))
}

#[expect(clippy::cast_precision_loss, reason = "a rate for people")]
fn rate(row: &Row) -> f64 {
    row.latency.len() as f64 / row.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
}

/// How many cores the processes kept busy.
fn cores(row: &Row) -> Option<f64> {
    Some(row.busy?.as_secs_f64() / row.elapsed.as_secs_f64().max(f64::MIN_POSITIVE))
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
            busy: Some(Duration::from_millis(750)),
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
            ["64", "2000", "71.0 us", "71.0 us", "2.50 ms", "1.50", "30.0 MiB"]
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
