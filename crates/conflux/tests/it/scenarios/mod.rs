//! The counterexamples that the rules of the protocol answer, one scripted scenario each: what would go wrong is tried on
//! purpose, on real nodes in simulated time, and does not happen. `docs/scenarios.md` lists the rules and who plays them.

#![expect(clippy::disallowed_methods, reason = "callers have tasks of no node")]

mod board;
mod chain;
mod cluster;
mod indexes;
mod limits;
mod members;
mod post;
mod reads;
mod sessions;
mod snapshots;
mod time;
mod timing;

use std::path::{Path, PathBuf};

/// Each test that `docs/scenarios.md` names is there, and it names each scenario.
#[test]
fn the_list_is_whole() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is one of several");
    let read = |path: PathBuf| std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let list = read(crates.join("../docs/scenarios.md"));
    let named: Vec<_> = list.split('`').filter_map(|quoted| quoted.split_once(".rs::")).collect();
    for (file, name) in &named {
        let text = read(crates.join(format!("{file}.rs")));
        // A function, or a line of a macro that makes one.
        let is_there = text.contains(&format!("fn {name}(")) || text.contains(&format!(" {name}: "));
        assert!(is_there, "{file}.rs has no {name}");
    }
    let scenarios = crates.join("conflux/tests/it/scenarios");
    for file in std::fs::read_dir(scenarios).expect("this is one of them") {
        let path = file.expect("it is there").path();
        let text = read(path.clone());
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            if line.starts_with("#[tokio::test") || line == "#[test]" {
                let name = lines.find_map(|line| line.split_once("fn ")?.1.split('(').next());
                let name = name.expect("a test is a function");
                let is_named = name == "the_list_is_whole" || named.iter().any(|(_, named)| *named == name);
                assert!(is_named, "{path:?}: {name} is not in the list");
            }
        }
    }
}
