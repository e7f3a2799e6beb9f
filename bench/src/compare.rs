//! All subjects in turns. A machine has slow phases and fast ones: whoever is compared is measured within seconds of the
//! other, round after round, and a ratio is the median of the ratios of the rounds.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::CompareOptions;
use crate::figures::Figures;
use crate::subject::{Programs, Subject, measure};
use crate::{figures, plot};

/// Measures all, and writes the page and the plot.
pub(crate) fn compare(options: &CompareOptions) -> Result<(), String> {
    let redis = Redis::start();
    if let Err(why) = &redis {
        println!("{}: skipped: {why}", Subject::ConfluxRedis.title());
    }
    let programs = Programs { conflux: &options.conflux, redis: redis.as_ref().ok().map(Redis::address) };
    let mut subjects: Vec<Subject> = Subject::ALL.to_vec();
    subjects.retain(|subject| *subject != Subject::ConfluxRedis || redis.is_ok());
    let mut figures = Figures::default();
    let begun = Instant::now();
    let all = options.rounds as usize * options.load.callers.len();
    let mut done = 0;
    let mut lost: BTreeMap<Subject, String> = BTreeMap::new();
    for round in 0..options.rounds as usize {
        for &callers in &options.load.callers {
            for &subject in &subjects {
                if lost.contains_key(&subject) {
                    continue;
                }
                match measure(subject, callers, options.load.seconds, &programs) {
                    Ok((row, limits)) => {
                        println!("{:<34} {:>5} callers  {}", subject.title(), callers, shown(&row));
                        figures.add(subject, callers, round, &row)?;
                        if let Some(limits) = limits {
                            figures.limits(&limits);
                        }
                    }
                    // Whoever cannot be measured at all is not asked again; one that fails with many callers is told.
                    Err(why) => {
                        println!("{:<34} {callers:>5} callers  no figure: {why}", subject.title());
                        if figures.of(subject).is_none() {
                            lost.insert(subject, why);
                        } else {
                            figures.fail(subject, callers, why);
                        }
                    }
                }
            }
            done += 1;
            let minutes = begun.elapsed().as_secs_f64() / 60.0;
            println!(
                "-- {done} of {all} after {minutes:.1} min, some {:.1} min to go",
                minutes / done as f64 * (all - done) as f64
            );
        }
    }
    let page = figures::page(&figures, &lost, options);
    write(options.out.join("RESULTS.md"), &page)?;
    write(options.out.join("results.svg"), &plot::throughput(&figures)?)?;
    println!("\n{page}");
    Ok(())
}

fn write(path: PathBuf, text: &str) -> Result<(), String> {
    std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn shown(row: &Value) -> String {
    let number = |name: &str| row[name].as_f64().unwrap_or(f64::NAN);
    format!(
        "{:>10.0} a second  p50 {:>9.1} us  p99 {:>9.1} us  {:.2} cores",
        number("performs_per_second"),
        number("p50_us"),
        number("p99_us"),
        number("cores")
    )
}

/// A server of our own, which keeps nothing.
struct Redis {
    server: Child,
    port: u16,
}

impl Redis {
    fn start() -> Result<Redis, String> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.map_err(|error| error.to_string())?.port();
        let server = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let server = server
            .map_err(|error| format!("redis-server cannot be run ({error}): `sudo apt-get install redis-server`"))?;
        Ok(Redis { server, port })
    }

    fn address(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // No harm where it has ended.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
