//! Explores the model by hand.

use std::time::Instant;

use conflux_model::{Bounds, Model};
use stateright::{Checker, Model as _};

fn main() {
    let bounds = match std::env::args().nth(1).as_deref() {
        Some("pipeline") => Bounds::PIPELINE,
        Some("leaders") => Bounds::LEADERS,
        Some("snapshots") => Bounds::SNAPSHOTS,
        _ => Bounds::SESSIONS,
    };
    let begun = Instant::now();
    let checker =
        Model::new(bounds).checker().threads(2).timeout(std::time::Duration::from_secs(100)).spawn_dfs().join();
    println!(
        "{} states, {} generated, depth {}, {:?}",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        begun.elapsed()
    );
    for (name, path) in checker.discoveries() {
        println!("{name}: {}", checker.discovery_classification(name));
        if !name.starts_with("reached") {
            for step in path.into_actions() {
                println!("    {step}");
            }
        }
    }
}
