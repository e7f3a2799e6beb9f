//! The `conflux` program: see the library of this crate.

use std::process::ExitCode;

fn main() -> ExitCode {
    conflux_cli::program()
}
