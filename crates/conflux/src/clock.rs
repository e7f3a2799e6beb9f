//! The wall clock: only for the stamps that people read.

use std::sync::Arc;

/// Milliseconds since 1970. Expiry never looks at it.
#[derive(Clone)]
pub(crate) struct WallClock(Arc<dyn Fn() -> u64 + Send + Sync>);

impl WallClock {
    /// The machine's.
    pub(crate) fn system() -> Self {
        WallClock::of(|| {
            #[expect(
                clippy::disallowed_methods,
                clippy::disallowed_types,
                reason = "the one place: see NodeBuilder::wall_clock"
            )]
            let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
            since.map_or(0, |since| since.as_millis() as u64)
        })
    }

    /// Any other, for tests.
    pub(crate) fn of(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        WallClock(Arc::new(now_ms))
    }

    pub(crate) fn now_ms(&self) -> u64 {
        (self.0)()
    }
}
