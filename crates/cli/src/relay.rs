//! `conflux relay`: passes on what nodes send that can only dial out.

use std::path::Path;

use conflux::channel::websocket::{Relay, RelayOptions};

use crate::exit::{Exit, Refusal};
use crate::interrupt::Interrupt;
use crate::output::{say, tell};

/// Serves until it is interrupted.
pub(crate) async fn run(listen: &str, token_file: Option<&Path>, insecure: bool) -> Result<Exit, Refusal> {
    // A node's address begins with the scheme, so people write it here, too.
    let mut options = RelayOptions::new(listen.trim_start_matches("ws://").trim_end_matches('/')).insecure(insecure);
    if let Some(file) = token_file {
        options =
            options.rooms_from_file(file).map_err(|error| Refusal::naming(file, &error).of_option("--token-file"))?;
    }
    let mut interrupt = Interrupt::listen();
    let relay = Relay::bind(options).await.map_err(Refusal::new)?;
    // It serves, whoever reads that.
    if let Err(refusal) = say!("relays at ws://{}/ROOM", relay.local_address())
        && !refusal.is_quiet()
    {
        tell!("{refusal}");
    }
    interrupt.happened().await;
    relay.close().await;
    Ok(Exit::Good)
}
