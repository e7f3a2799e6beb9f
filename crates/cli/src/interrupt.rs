//! Ctrl-C: once to end cleanly, twice to end at once.

use std::future::pending;

use tokio::sync::watch;

/// The exit status of a program that an interrupt ended, by the custom of shells: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Tells whether the user wants the program to end.
#[derive(Clone)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on. The second interrupt ends the process here.
    pub(crate) fn listen() -> Interrupt {
        let (first, happened) = watch::channel(false);
        tokio::spawn(async move {
            // Where signals cannot be had, the system's own way to end a program stays.
            if tokio::signal::ctrl_c().await.is_ok() {
                first.send_replace(true);
                if tokio::signal::ctrl_c().await.is_ok() {
                    std::process::exit(INTERRUPTED);
                }
            }
            pending::<()>().await;
        });
        Interrupt(happened)
    }

    /// Waits for the first interrupt.
    pub(crate) async fn happened(&mut self) {
        if self.0.wait_for(|happened| *happened).await.is_err() {
            pending::<()>().await;
        }
    }
}
