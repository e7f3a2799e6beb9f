//! What was measured, and the page that says it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::Value;

use crate::CompareOptions;
use crate::subject::Subject;

/// One row as it was measured once.
#[derive(Clone, Copy)]
struct Measured {
    rate: f64,
    /// In microseconds.
    quantiles: [f64; 3],
    cores: Option<f64>,
    memory: Option<f64>,
}

/// Of each subject, by callers and round.
#[derive(Default)]
pub(crate) struct Figures {
    rows: BTreeMap<Subject, BTreeMap<usize, BTreeMap<usize, Measured>>>,
    failures: Vec<(Subject, usize, String)>,
    /// By name: p50, p99 and p999 in microseconds, or a rate, once for each time that they were measured.
    limits: BTreeMap<String, Vec<f64>>,
}

impl Figures {
    pub(crate) fn add(&mut self, subject: Subject, callers: usize, round: usize, row: &Value) -> Result<(), String> {
        let number = |name: &str| row[name].as_f64();
        let whole = |name: &str| number(name).ok_or_else(|| format!("a row of {} has no {name}", subject.title()));
        let measured = Measured {
            rate: whole("performs_per_second")?,
            quantiles: [whole("p50_us")?, whole("p99_us")?, whole("p999_us")?],
            cores: number("cores"),
            memory: number("memory_bytes"),
        };
        if row["failed"].as_u64() != Some(0) {
            self.fail(subject, callers, format!("{} calls failed", row["failed"]));
        }
        self.rows.entry(subject).or_default().entry(callers).or_default().insert(round, measured);
        Ok(())
    }

    pub(crate) fn fail(&mut self, subject: Subject, callers: usize, why: String) {
        self.failures.push((subject, callers, why));
    }

    pub(crate) fn limits(&mut self, limits: &Value) {
        for (name, value) in limits.as_object().into_iter().flatten() {
            let value = value["p50_us"].as_f64().or(value.as_f64());
            self.limits.entry(name.clone()).or_default().extend(value);
        }
    }

    /// Median rates by callers.
    pub(crate) fn of(&self, subject: Subject) -> Option<Vec<(usize, f64)>> {
        let rows = self.rows.get(&subject)?;
        Some(rows.iter().map(|(callers, rounds)| (*callers, median(rounds.values().map(|row| row.rate)))).collect())
    }

    /// In each round, what `of` says of both.
    fn paired<T>(
        &self,
        one: Subject,
        other: Subject,
        callers: usize,
        of: impl Fn(&Measured, &Measured) -> T,
    ) -> Option<Vec<T>> {
        let (one, other) = (self.rows.get(&one)?.get(&callers)?, self.rows.get(&other)?.get(&callers)?);
        let pairs: Vec<T> = one.iter().filter_map(|(round, one)| Some(of(one, other.get(round)?))).collect();
        (!pairs.is_empty()).then_some(pairs)
    }

    fn median_p50(&self, subject: Subject, callers: usize) -> Option<f64> {
        Some(median(self.rows.get(&subject)?.get(&callers)?.values().map(|row| row.quantiles[0])))
    }

    fn limit(&self, name: &str) -> Option<f64> {
        self.limits.get(name).map(|all| median(all.iter().copied()))
    }
}

pub(crate) fn median(of: impl IntoIterator<Item = f64>) -> f64 {
    let mut all: Vec<f64> = of.into_iter().collect();
    all.sort_by(f64::total_cmp);
    match all.len() {
        0 => f64::NAN,
        odd if odd % 2 == 1 => all[odd / 2],
        even => (all[even / 2 - 1] + all[even / 2]) / 2.0,
    }
}

/// `bench/RESULTS.md`.
pub(crate) fn page(figures: &Figures, lost: &BTreeMap<Subject, String>, options: &CompareOptions) -> String {
    let mut page = String::from("# Conflux beside its peers\n\n");
    let rounds = options.rounds;
    let _ = writeln!(
        page,
        "Written by `cargo xtask bench`: {rounds} rounds of {} s a row, all subjects in turns on one machine, which nodes and \
         callers share. Figures are medians over the rounds; a ratio is the median of the ratios within each round, with the \
         least and the greatest.\n\n{}\n",
        options.load.seconds.as_secs_f64(),
        machine()
    );
    page.push_str("![Answers a second by callers](results.svg)\n\n## Who is measured\n\n");
    for subject in Subject::ALL {
        let _ = writeln!(page, "- **{}**: {}.", subject.title(), subject.setting());
    }
    for (subject, why) in lost {
        let _ = writeln!(page, "\n{} was left out: {why}", subject.title());
    }
    page.push_str("\n## Limits of the machine, measured beside\n\n| | median |\n|-|-|\n");
    for (name, title, divisor, unit) in LIMITS {
        if let Some(value) = figures.limit(name) {
            let _ = writeln!(page, "| {title} | {} {unit} |", rounded(value / divisor));
        }
    }
    page.push_str("\n## Ratios\n\n| | callers | ratio | least | greatest |\n|-|-|-|-|-|\n");
    ratios(&mut page, figures);
    page.push_str(
        "\n## All figures\n\n| | callers | a second | p50 | p99 | p999 | cores | memory |\n|-|-|-|-|-|-|-|-|\n",
    );
    for subject in Subject::ALL {
        for (callers, rounds) in figures.rows.get(&subject).into_iter().flatten() {
            let of = |of: &dyn Fn(&Measured) -> f64| median(rounds.values().map(of));
            let time = |nth: usize| time(of(&|row| row.quantiles[nth]));
            let some = |of: &dyn Fn(&Measured) -> Option<f64>| {
                let all: Vec<f64> = rounds.values().filter_map(of).collect();
                (!all.is_empty()).then(|| median(all))
            };
            let cores = some(&|row| row.cores).map_or_else(|| "-".to_owned(), |cores| format!("{cores:.2}"));
            let memory = some(&|row| row.memory).map_or_else(|| "-".to_owned(), |memory| bytes(memory as u64));
            let _ = writeln!(
                page,
                "| {} | {callers} | {} | {} | {} | {} | {cores} | {memory} |",
                subject.title(),
                rounded(of(&|row| row.rate)),
                time(0),
                time(1),
                time(2),
            );
        }
    }
    if !figures.failures.is_empty() {
        page.push_str("\n## What failed\n\n");
        for (subject, callers, why) in &figures.failures {
            let _ = writeln!(page, "- {}, {callers} callers: {why}", subject.title());
        }
    }
    page
}

/// What `conflux bench --limits` calls them, what they are, and in which unit they are shown.
const LIMITS: [(&str, &str, f64, &str); 7] = [
    ("overwrite_fdatasync_4k", "4 KiB written over others, fdatasync", 1.0, "us"),
    ("append_fdatasync_4k", "4 KiB appended, fdatasync", 1.0, "us"),
    ("loopback_round_trip", "round trip on loopback", 1.0, "us"),
    ("append_and_two_round_trips_us", "an append that is synced and two round trips", 1.0, "us"),
    ("memory_copied_bytes_per_second", "memory copied, a second", 1e9, "GB"),
    ("encode_ns", "a call's method encoded", 1.0, "ns"),
    ("decode_ns", "a call's method decoded", 1.0, "ns"),
];

fn ratios(page: &mut String, figures: &Figures) {
    use Subject::{ConfluxMemory, ConfluxRedis, ConfluxTcp, Etcd, HiqliteCache, HiqliteSql, Openraft};
    let rate = |one: &Measured, other: &Measured| one.rate / other.rate;
    let p50 = |one: &Measured, other: &Measured| one.quantiles[0] / other.quantiles[0];
    if let (Some(one), Some(floor)) =
        (figures.median_p50(ConfluxTcp, 1), figures.limit("append_and_two_round_trips_us"))
    {
        let _ = writeln!(
            page,
            "| p50 synced, conflux to an append that is synced and two round trips | 1 | {:.2} | | |",
            one / floor
        );
    }
    let mut line =
        |title: &str, one: Subject, other: Subject, callers: usize, of: &dyn Fn(&Measured, &Measured) -> f64| {
            let Some(all) = figures.paired(one, other, callers, of) else { return };
            let (least, greatest) =
                all.iter().fold((f64::MAX, 0f64), |(least, greatest), one| (least.min(*one), greatest.max(*one)));
            let _ = writeln!(page, "| {title} | {callers} | {:.2} | {least:.2} | {greatest:.2} |", median(all));
        };
    line("p50 in one process, conflux to openraft alone", ConfluxMemory, Openraft, 1, &p50);
    for callers in [16, 64, 256, 1024, 4096] {
        line("a second in one process, conflux to openraft alone", ConfluxMemory, Openraft, callers, &rate);
    }
    line("p50 synced, conflux to etcd", ConfluxTcp, Etcd, 1, &p50);
    for callers in [1, 16, 64, 256, 1024, 4096] {
        line("a second synced, conflux to etcd", ConfluxTcp, Etcd, callers, &rate);
    }
    for callers in [1, 64, 256, 1024] {
        line("a second, conflux in one process to hiqlite cache", ConfluxMemory, HiqliteCache, callers, &rate);
        line("a second, conflux synced to hiqlite SQL", ConfluxTcp, HiqliteSql, callers, &rate);
        line("a second, conflux by Redis to conflux by tcp", ConfluxRedis, ConfluxTcp, callers, &rate);
    }
}

pub(crate) fn rounded(value: f64) -> String {
    if value >= 1000.0 {
        // In groups of three digits.
        let digits = format!("{value:.0}");
        let mut grouped = String::new();
        for (nth, digit) in digits.chars().enumerate() {
            if nth > 0 && (digits.len() - nth) % 3 == 0 {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        grouped
    } else {
        format!("{value:.1}")
    }
}

pub(crate) fn time(micros: f64) -> String {
    match micros {
        _ if micros < 1_000.0 => format!("{micros:.1} us"),
        _ if micros < 1_000_000.0 => format!("{:.2} ms", micros / 1_000.0),
        _ => format!("{:.2} s", micros / 1_000_000.0),
    }
}

/// An amount of memory.
pub(crate) fn bytes(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 10.0 { format!("{mebibytes:.1} MiB") } else { format!("{mebibytes:.0} MiB") }
}

/// What the machine is.
pub(crate) fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("", |rest| rest.trim_start_matches([' ', '\t', ':']));
    let kernel = read("/proc/sys/kernel/osrelease");
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    format!("The machine: {cores} cores ({cpu}), Linux {}.", kernel.trim())
}
