//! Three processes, each with a node that keeps its data in a directory and talks TCP; they are killed, and nothing that
//! was answered is lost.
//!
//! ```text
//! cargo run -p conflux-example-three_processes                        a demonstration: it starts itself three times
//! cargo run -p conflux-example-three_processes -- a ./a 127.0.0.1:7001 b=127.0.0.1:7002 c=127.0.0.1:7003
//! ```
//!
//! The second is one of the processes: `node.rs`. It takes lines, `append WORD` and `state`. How the demonstration
//! drives three of them is in `demo.rs`.

mod demo;
mod node;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let ended = match &arguments[..] {
        [] => demo::run(),
        [id, directory, listen, peers @ ..] => node::run(id, directory, listen, peers),
        _ => Err("give an id, a directory, an address and the peers as NAME=ADDRESS; or nothing at all".into()),
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
