//! Measures one peer of conflux and prints what `conflux bench --json` prints, so that both can be put side by side.

mod load;
mod openraft_alone;

use std::time::Duration;

use load::Length;

const HELP: &str = "\
Measures a peer of conflux. Prints one line of JSON for each number of callers.

Usage: peers SUBJECT [--callers N,...] [--seconds S]

Subjects:
  openraft   three nodes of openraft in this process, with a minimal store in memory";

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let options = match Options::parse(&words) {
        Ok(options) => options,
        Err(wrong) => {
            eprintln!("peers: {wrong}\n\n{HELP}");
            std::process::exit(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("the system gives threads");
    runtime.block_on(async {
        for callers in options.callers {
            let row = match options.subject {
                Subject::Openraft => openraft_alone::measure(callers, options.length).await,
            };
            println!("{}", row.json());
        }
    });
}

enum Subject {
    Openraft,
}

struct Options {
    subject: Subject,
    callers: Vec<usize>,
    length: Length,
}

impl Options {
    fn parse(words: &[String]) -> Result<Options, String> {
        let mut words = words.iter();
        let subject = match words.next().map(String::as_str) {
            Some("openraft") => Subject::Openraft,
            Some(other) => return Err(format!("there is no subject {other:?}")),
            None => return Err("a subject is wanted".into()),
        };
        let (mut callers, mut seconds) = (vec![1, 16, 64, 256, 1024], 2.0);
        while let Some(word) = words.next() {
            let value = words.next().ok_or_else(|| format!("{word} wants a value"))?;
            match word.as_str() {
                "--callers" => {
                    let all: Result<Vec<usize>, _> = value.split(',').map(str::parse).collect();
                    callers = all.map_err(|_| format!("--callers is a list of numbers, not {value:?}"))?;
                }
                "--seconds" => {
                    let parsed: Option<f64> = value.parse().ok();
                    seconds = parsed
                        .filter(|seconds| *seconds > 0.0 && *seconds <= 3600.0)
                        .ok_or_else(|| format!("--seconds is a number above 0, not {value:?}"))?;
                }
                other => return Err(format!("there is no option {other:?}")),
            }
        }
        let measured = Duration::from_secs_f64(seconds);
        Ok(Options { subject, callers, length: Length { warm_up: measured / 4, measured } })
    }
}
