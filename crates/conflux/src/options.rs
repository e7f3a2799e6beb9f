//! What a node can be told, and what it refuses to be told.

use std::time::Duration;

/// How a node judges silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Timing {
    pub(crate) election_timeout_min: Duration,
    pub(crate) election_timeout_max: Duration,
    pub(crate) heartbeat: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            election_timeout_min: Duration::from_millis(300),
            election_timeout_max: Duration::from_millis(500),
            heartbeat: Duration::from_millis(50),
        }
    }
}

/// An option that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{option} is {came}: {allowed}")]
pub struct BadOption {
    /// Which one.
    pub option: &'static str,
    /// What it was set to.
    pub came: String,
    /// What it may be.
    pub allowed: String,
}

impl BadOption {
    pub(crate) fn new(option: &'static str, came: impl std::fmt::Debug, allowed: impl Into<String>) -> Self {
        BadOption { option, came: format!("{came:?}"), allowed: allowed.into() }
    }
}

impl Timing {
    pub(crate) fn check(&self) -> Result<(), BadOption> {
        let Timing { election_timeout_min: min, election_timeout_max: max, heartbeat } = *self;
        if heartbeat < Duration::from_millis(1) {
            return Err(BadOption::new("heartbeat_interval", heartbeat, "it must be at least 1 ms"));
        }
        if heartbeat >= min {
            let allowed = format!("it must be below the smallest election timeout, which is {min:?}");
            return Err(BadOption::new("heartbeat_interval", heartbeat, allowed));
        }
        if min >= max {
            let allowed = format!("it must be below the largest election timeout, which is {max:?}");
            return Err(BadOption::new("election_timeout_min", min, allowed));
        }
        let (engine_min, engine_max) = self.engine_timeout_ms();
        if engine_min >= engine_max {
            let allowed = format!(
                "half of it must be above the heartbeat interval, which is {heartbeat:?}, and above the smallest \
                 election timeout less that half: the silence before a takeover is spent half on the old leader's \
                 lease, half on the lots that are drawn"
            );
            return Err(BadOption::new("election_timeout_max", max, allowed));
        }
        Ok(())
    }

    /// The engine waits out its lease, which is its largest timeout, and then a random timeout; the user's timeouts
    /// mean the whole silence before a takeover. So 300 to 500 ms become 60 to 250.
    pub(crate) fn engine_timeout_ms(&self) -> (u64, u64) {
        let ms = |duration: Duration| duration.as_millis() as u64;
        let max = ms(self.election_timeout_max) / 2;
        let min = ms(self.election_timeout_min).saturating_sub(max);
        (min.max(ms(self.heartbeat) * 6 / 5), max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_timing_is_what_it_says() {
        assert_eq!(Timing::default().check(), Ok(()));
        assert_eq!(Timing::default().engine_timeout_ms(), (60, 250));
    }

    #[test]
    fn a_heartbeat_as_long_as_the_timeout_is_refused_by_name() {
        let timing = Timing { heartbeat: Duration::from_millis(300), ..Timing::default() };
        let error = timing.check().expect_err("it is too long").to_string();
        assert_eq!(
            error,
            "heartbeat_interval is 300ms: it must be below the smallest election timeout, which is 300ms"
        );
    }
}
