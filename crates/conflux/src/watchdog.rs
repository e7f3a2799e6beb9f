//! Whether what is being applied comes to its end. Nothing may stop it there, for the nodes would differ; but it is told.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use conflux_core::Container;
use tokio::time::Instant;

use crate::core::Core;
use crate::watch;

/// When it was begun, and what is to be said about it.
pub(crate) struct Watchdog {
    begun: Mutex<Option<Instant>>,
    notice: watch::Sender<Option<String>>,
}

impl Default for Watchdog {
    fn default() -> Self {
        Watchdog { begun: Mutex::default(), notice: watch::channel(None).0 }
    }
}

impl Watchdog {
    /// Watches while `apply` runs.
    pub(crate) fn over<R>(&self, apply: impl FnOnce() -> R) -> R {
        self.set(Some(Instant::now()));
        let done = apply();
        self.set(None);
        done
    }

    fn set(&self, begun: Option<Instant>) {
        *self.begun.lock().unwrap_or_else(PoisonError::into_inner) = begun;
    }

    fn is_late(&self, patience: Duration) -> bool {
        let begun = *self.begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.is_some_and(|begun| begun.elapsed() > patience)
    }

    /// What takes long, in words.
    pub(crate) fn notice(&self) -> Option<String> {
        self.notice.borrow().clone()
    }

    /// Waits on what is said.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<String>> {
        self.notice.subscribe()
    }
}

impl<C: Container> Core<C> {
    /// Looks whether a batch has been applied for long, and says so when that changes. Called now and then; where the node
    /// has one thread only, that is the one that applies, and nobody calls this until it has.
    pub(crate) fn look_at_apply(&self) {
        let patience = self.options.timing.election_timeout_max * 10;
        let watchdog = &self.local.watchdog;
        let is_late = watchdog.is_late(patience);
        watchdog.notice.modify(|said| {
            if said.is_some() == is_late {
                return false;
            }
            *said = is_late.then(|| {
                let index = self.local.index();
                format!(
                    "what comes after index {index} has been applied for more than {patience:?}, and nothing behind it is \
                     visible here before its reducer comes back"
                )
            });
            match said {
                Some(notice) => tracing::warn!(node = &*self.me().name, "{notice}"),
                None => tracing::info!(node = &*self.me().name, "the reducer came back"),
            }
            true
        });
    }
}
