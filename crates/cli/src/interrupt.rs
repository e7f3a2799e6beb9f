//! Ctrl-C and the other ways to end a program: once to end cleanly, twice to end at once.

use std::future::{Future, pending};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use crate::exit::Exit;

/// How long a clean end may take. A container that computes without end must not keep the program.
const CLEAN_END_MAX: Duration = Duration::from_millis(2_500);

/// Tells whether somebody wants the program to end.
#[derive(Clone)]
pub(crate) struct Interrupt {
    end: watch::Receiver<Option<Exit>>,
    patience: Patience,
}

/// Somebody at a prompt waits for an answer: Ctrl-C then ends the waiting, not the program.
#[derive(Clone, Default)]
pub(crate) struct Patience(Arc<Waiting>);

#[derive(Default)]
struct Waiting {
    waits: AtomicBool,
    lost: Notify,
}

impl Patience {
    /// Waits for the work, or until somebody will not wait any longer; whether it was done.
    pub(crate) async fn wait(&self, work: impl Future<Output = ()>) -> bool {
        self.0.waits.store(true, Ordering::Relaxed);
        let done = tokio::select! {
            biased;
            () = work => true,
            () = self.0.lost.notified() => false,
        };
        self.0.waits.store(false, Ordering::Relaxed);
        done
    }

    /// Ends the waiting; `false` where nobody waits.
    fn lose(&self) -> bool {
        let waited = self.0.waits.swap(false, Ordering::Relaxed);
        if waited {
            self.0.lost.notify_waiters();
        }
        waited
    }
}

impl Interrupt {
    /// Listens from now on. The second signal ends the process here, and so does a clean end that takes too long.
    pub(crate) fn listen() -> Interrupt {
        let (first, end) = watch::channel(None);
        let patience = Patience::default();
        let impatient = patience.clone();
        tokio::spawn(async move {
            // Where signals cannot be had, the system's own way to end a program stays.
            let Ok(mut signals) = signals::Signals::listen() else { return pending().await };
            let exit = loop {
                match signals.next().await {
                    Exit::Interrupted if impatient.lose() => {}
                    exit => break exit,
                }
            };
            first.send_replace(Some(exit));
            // A thread: what blocks the runtime must not block this.
            std::thread::spawn(move || {
                std::thread::sleep(CLEAN_END_MAX);
                std::process::exit(i32::from(exit as u8));
            });
            let exit = signals.next().await;
            std::process::exit(i32::from(exit as u8));
        });
        Interrupt { end, patience }
    }

    /// Who waits at a prompt waits with it.
    pub(crate) fn patience(&self) -> Patience {
        self.patience.clone()
    }

    /// Waits for the first signal.
    pub(crate) async fn happened(&mut self) {
        if self.end.wait_for(Option::is_some).await.is_err() {
            pending::<()>().await;
        }
    }

    /// How the program is to end, if it was told to.
    pub(crate) fn exit(&self) -> Option<Exit> {
        *self.end.borrow()
    }
}

#[cfg(unix)]
mod signals {
    use tokio::signal::unix::{Signal, SignalKind, signal};

    use crate::exit::Exit;

    pub(super) struct Signals {
        interrupt: Signal,
        terminate: Signal,
        hang_up: Signal,
    }

    impl Signals {
        pub(super) fn listen() -> std::io::Result<Signals> {
            Ok(Signals {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                hang_up: signal(SignalKind::hangup())?,
            })
        }

        /// The exit of the next signal.
        pub(super) async fn next(&mut self) -> Exit {
            tokio::select! {
                biased;
                _ = self.interrupt.recv() => Exit::Interrupted,
                _ = self.terminate.recv() => Exit::Terminated,
                _ = self.hang_up.recv() => Exit::HungUp,
            }
        }
    }
}

#[cfg(not(unix))]
mod signals {
    use crate::exit::Exit;

    pub(super) struct Signals;

    impl Signals {
        pub(super) fn listen() -> std::io::Result<Signals> {
            Ok(Signals)
        }

        pub(super) async fn next(&mut self) -> Exit {
            if tokio::signal::ctrl_c().await.is_err() {
                std::future::pending::<()>().await;
            }
            Exit::Interrupted
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interrupt_ends_the_waiting_and_not_the_program() {
        let patience = Patience::default();
        assert!(!patience.lose(), "nobody waits: it is the program that is meant");
        let waiting = patience.clone();
        let waits = tokio::spawn(async move { waiting.wait(pending()).await });
        while !patience.lose() {
            tokio::task::yield_now().await;
        }
        assert!(!waits.await.expect("nothing panics"), "it was not done");
        assert!(patience.wait(async {}).await && !patience.lose(), "what is done is not waited for");
    }
}
