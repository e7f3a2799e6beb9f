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

/// The longest election timeout: a leader that is silent for longer is not waited for by anybody.
const TIMEOUT_MAX: Duration = Duration::from_secs(3600);

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

    /// The same for a time.
    pub(crate) fn time(option: &'static str, came: Duration, allowed: impl Into<String>) -> Self {
        BadOption { option, came: written(came), allowed: allowed.into() }
    }

    pub(crate) fn missing(option: &'static str, allowed: impl Into<String>) -> Self {
        BadOption { option, came: "not given".into(), allowed: allowed.into() }
    }
}

/// A time as people write it: 15m, not 900s.
pub(crate) fn written(time: Duration) -> String {
    match (time.as_secs(), time.subsec_nanos()) {
        (0, 0) => "0".to_owned(),
        (seconds, 0) if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        (seconds, 0) if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        _ => format!("{time:?}"),
    }
}

impl Timing {
    pub(crate) fn check(&self) -> Result<(), BadOption> {
        let Timing { election_timeout_min: min, election_timeout_max: max, heartbeat } = *self;
        if heartbeat < Duration::from_millis(1) {
            return Err(BadOption::time("heartbeat_interval", heartbeat, "it must be at least 1 ms"));
        }
        if max > TIMEOUT_MAX {
            return Err(BadOption::time(
                "election_timeout_max",
                max,
                format!("it must be at most {}", written(TIMEOUT_MAX)),
            ));
        }
        if heartbeat >= min {
            let allowed = format!("it must be below the smallest election timeout, which is {min:?}");
            return Err(BadOption::time("heartbeat_interval", heartbeat, allowed));
        }
        if min >= max {
            let allowed = format!("it must be below the largest election timeout, which is {max:?}");
            return Err(BadOption::time("election_timeout_min", min, allowed));
        }
        let (engine_min, engine_max) = self.engine_timeout_ms();
        if engine_min >= engine_max {
            let allowed = format!(
                "half of it must be above the heartbeat interval, which is {heartbeat:?}, and above the smallest \
                 election timeout less that half: the silence before a takeover is spent half on the old leader's \
                 lease, half on the lots that are drawn"
            );
            return Err(BadOption::time("election_timeout_max", max, allowed));
        }
        Ok(())
    }

    /// The engine waits out its lease, which is its largest timeout, and then a random timeout; the user's timeouts
    /// mean the whole silence before a takeover. So 300 to 500 ms become 60 to 250.
    pub(crate) fn engine_timeout_ms(&self) -> (u64, u64) {
        let ms = |duration: Duration| duration.as_millis() as u64;
        let max = ms(self.election_timeout_max) / 2;
        let min = ms(self.election_timeout_min).saturating_sub(max);
        // The engine wants it above the heartbeat; of a few milliseconds, a fifth is nothing.
        let heartbeat = ms(self.heartbeat);
        (min.max(heartbeat + (heartbeat / 5).max(1)), max)
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
    fn what_passes_here_passes_in_the_engine() {
        for heartbeat in [1, 2, 3, 4, 5, 10, 50] {
            for (min, max) in [(5, 12), (10, 20), (300, 500), (299, 300), (1000, 3_600_000)] {
                let ms = Duration::from_millis;
                let timing =
                    Timing { heartbeat: ms(heartbeat), election_timeout_min: ms(min), election_timeout_max: ms(max) };
                let (engine_min, engine_max) = timing.engine_timeout_ms();
                assert!(timing.check().is_err() || (engine_min > heartbeat && engine_min < engine_max), "{timing:?}");
            }
        }
        let endless = Timing { election_timeout_max: Duration::MAX, ..Timing::default() };
        assert!(endless.check().expect_err("it is too long").to_string().ends_with("it must be at most 1h"));
    }

    #[test]
    fn times_are_told_as_people_write_them() {
        let told = |millis| written(Duration::from_millis(millis));
        assert_eq!([0, 300, 1_500, 45_000, 90_000].map(told), ["0", "300ms", "1.5s", "45s", "90s"]);
        assert_eq!([60_000, 900_000, 5_400_000, 7_200_000].map(told), ["1m", "15m", "90m", "2h"]);
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
