//! A shop, an axum application, that keeps its feature flags in a container: every instance has them at hand, and all
//! agree on them. Beside the shop's own routes each instance has those of conflux, under `/flags`.
//!
//! ```text
//! cargo run -p conflux-example-embedded_http                        a demonstration with two instances
//! cargo run -p conflux-example-embedded_http -- 127.0.0.1:8080      one instance, until Ctrl-C
//! ```
//!
//! Then, for the second one:
//!
//! ```text
//! curl 127.0.0.1:8080/checkout/anna
//! conflux perform set '"new-checkout"' 100 --at 127.0.0.1:8080/flags
//! conflux watch --at 127.0.0.1:8080/flags
//! ```

mod demo;
mod flags;
mod shop;

use std::error::Error;
use std::process::ExitCode;

use conflux::{MemoryChannel, Node};
use tokio::net::TcpListener;

use crate::flags::Flags;

#[tokio::main]
async fn main() -> ExitCode {
    let ended = match std::env::args().nth(1) {
        None => demo::run().await,
        Some(address) => one(&address).await,
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// One instance. More of them need a channel between them: `TcpChannel`, say, with a `FileDisk` each, as the example
/// `three_processes` has them.
async fn one(address: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let node = Node::builder(Flags, "shop").cluster_size(1).channel(MemoryChannel::new()).open().await?;
    let listener = TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    let interrupted = async { drop(tokio::signal::ctrl_c().await) };
    shop::serve(listener, node, interrupted).await?;
    println!("closed");
    Ok(())
}
