//! A lock table with leases and fencing tokens. What it promises, and what not, is in `README.md`.
//!
//! ```text
//! cargo run -p conflux-example-mutex                a demonstration on three nodes
//! cargo run -p conflux-example-mutex -- dev         a prompt, then: acquire "report" "me" 60000
//! ```

mod demo;
mod locks;

use std::process::ExitCode;

use crate::locks::Locks;

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 {
        return conflux_cli::main(Locks);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(demo::run())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
