//! Conflux beside its peers: `bench/` is a workspace of its own, since nothing else should have to build what peers are made
//! of.

use std::path::Path;

use crate::steps::{Failure, run};
use crate::tools::{on_path, package};

pub(crate) const HELP: &str = "\
Measures conflux beside openraft alone, etcd and hiqlite, in one go on this machine, and writes bench/RESULTS.md and its plot.

Usage: cargo xtask bench [--rounds N] [--seconds S] [--callers N,...]

Options:
  --rounds N         how often each row is measured: ratios are medians over rounds (default: 5)
  --seconds S        how long each row is measured, each time (default: 2)
  --callers N,...    how many callers ask at once, a row for each (default: 1,16,64,256,1024,4096)

A peer that is missing is installed as a package of Debian's, by root; else it is left out, with a line that says how to get it.
Nothing else should run meanwhile. The defaults take about half an hour, and what peers are made of is built in ten minutes.

Examples:
  cargo xtask bench
  cargo xtask bench --rounds 1 --seconds 1 --callers 1,64";

const OPTIONS: [&str; 3] = ["--rounds", "--seconds", "--callers"];

/// What Debian has to give: a package, and what shows that it is there.
const PACKAGES: [(&str, &str); 4] = [
    ("etcd-server", "/usr/bin/etcd"),
    ("protobuf-compiler", "/usr/bin/protoc"),
    ("libprotobuf-dev", "/usr/include/google/protobuf/descriptor.proto"),
    ("redis-server", "/usr/bin/redis-server"),
];

/// Builds and measures; `words` are the options.
pub(crate) fn bench(root: &Path, words: &[&str]) -> Result<(), Failure> {
    // Told now, and not when all is built.
    if let Some(wrong) = words.iter().step_by(2).find(|word| !OPTIONS.contains(word)) {
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
    let words = words.join(" ");
    let line =
        format!("bench/target/release/conflux-bench compare --conflux target/release/conflux --out bench {words}");
    run(root, line.trim_end(), &[])
}
