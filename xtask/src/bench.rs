//! Conflux beside its peers: `bench/` is a workspace of its own, since nothing else should have to build what peers are made
//! of.

use std::path::Path;

use crate::steps::{Failure, run};
use crate::tools::{on_path, package};

pub(crate) const HELP: &str = "\
Measures conflux, in one go on this machine: beside openraft alone, etcd and hiqlite (bench/RESULTS.md and its plot), and by itself
(bench/ALONE.md): histories, states, clusters, actions, reads, subscribers, failover, catching up, scripts, memory.

Usage: cargo xtask bench [OPTIONS]
       cargo xtask bench compare [--rounds N] [--seconds S] [--callers N,...]
       cargo xtask bench alone [--seconds S] [--kills N] [--state-max BYTES] [--history-max ACTIONS]

Options:
  --seconds S            how long each row is measured, each time (default: 2 beside others, 1 alone)
  --rounds N             how often each row is measured: ratios are medians over rounds (default: 5)
  --callers N,...        how many callers ask at once, a row for each (default: 1,16,64,256,1024,4096)
  --kills N              how often a leader is killed (default: 100)
  --state-max BYTES      the largest state, of which memory must hold five (default: 1000000000)
  --history-max ACTIONS  the longest history (default: 10000000)

A peer that is missing is installed as a package of Debian's, by root; else it is left out, with a line that says how to get it.
Nothing else should run meanwhile. The defaults take about three quarters of an hour, and what peers are made of is built in ten
minutes.

Examples:
  cargo xtask bench
  cargo xtask bench compare --rounds 1 --seconds 1 --callers 1,64
  cargo xtask bench alone --kills 10 --state-max 100000000";

/// What is measured, and its options.
const PARTS: [(&str, &[&str]); 2] = [
    ("compare", &["--rounds", "--seconds", "--callers"]),
    ("alone", &["--seconds", "--kills", "--state-max", "--history-max"]),
];

/// What Debian has to give: a package, and what shows that it is there.
const PACKAGES: [(&str, &str); 4] = [
    ("etcd-server", "/usr/bin/etcd"),
    ("protobuf-compiler", "/usr/bin/protoc"),
    ("libprotobuf-dev", "/usr/include/google/protobuf/descriptor.proto"),
    ("redis-server", "/usr/bin/redis-server"),
];

/// Builds and measures; `words` are the options.
pub(crate) fn bench(root: &Path, words: &[&str]) -> Result<(), Failure> {
    let (parts, words) = match words {
        [part, rest @ ..] if !part.starts_with('-') => {
            let found = PARTS.iter().find(|(name, _)| name == part);
            let found = found.ok_or_else(|| format!("bench: there is no {part:?} (see `cargo xtask bench --help`)"))?;
            (std::slice::from_ref(found), rest)
        }
        words => (&PARTS[..], words),
    };
    // Told now, and not when all is built.
    let knows = |option: &str| parts.iter().any(|(_, options)| options.contains(&option));
    if let Some(wrong) = words.iter().step_by(2).find(|word| !knows(word)) {
        return Err(format!("bench: there is no option {wrong:?} (see `cargo xtask bench --help`)"));
    }
    let mut with_etcd = true;
    for (name, shows) in PACKAGES {
        let there = Path::new(shows).exists()
            || Path::new(shows).file_name().is_some_and(|file| on_path(&file.to_string_lossy()));
        if let Err(why) = package(root, name, there, &format!("`sudo apt-get install {name}`")) {
            println!("     {why}");
            // Of these its client is built; a server that is missing is told when it is to be run.
            with_etcd &= !name.contains("protobuf");
        }
    }
    run(root, "cargo build --release -p conflux-cli", &[])?;
    let features = if with_etcd { " --features etcd" } else { "" };
    run(root, &format!("cargo build --release --manifest-path bench/Cargo.toml{features}"), &[])?;
    for (part, options) in parts {
        // Each takes what concerns it.
        let words = words.chunks(2).filter(|pair| options.contains(&pair[0])).flatten();
        let words = words.copied().collect::<Vec<_>>().join(" ");
        let line =
            format!("bench/target/release/conflux-bench {part} --conflux target/release/conflux --out bench {words}");
        run(root, line.trim_end(), &[])?;
    }
    Ok(())
}
