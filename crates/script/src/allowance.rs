//! How much time the development check may take.

#![expect(clippy::disallowed_methods, reason = "checking may take a part of real time")]

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many calls are always checked, whatever it costs.
const FIRST: usize = 64;

/// So much unused time is kept at most: a node that was idle must not fall behind because of that.
const KEPT_MAX: Duration = Duration::from_millis(500);

/// One in so many parts of the time that passes, earned as it passes and spent by checking.
///
/// Clocks are fine here: whether a batch is checked has no say in what an honest script does.
pub(crate) struct Allowance {
    part: u32,
    account: Mutex<Account>,
}

struct Account {
    calls: usize,
    kept: Duration,
    /// What was spent and is not earned yet.
    owed: Duration,
    at: Instant,
}

impl Allowance {
    pub(crate) fn one_in(part: u32) -> Allowance {
        let account = Account { calls: 0, kept: Duration::ZERO, owed: Duration::ZERO, at: Instant::now() };
        Allowance { part, account: Mutex::new(account) }
    }

    /// Whether a batch of so many calls is to be checked.
    pub(crate) fn permits(&self, calls: usize) -> bool {
        self.permits_at(calls, Instant::now())
    }

    /// Tells what checking took.
    pub(crate) fn spend(&self, spent: Duration) {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let paid = account.kept.min(spent);
        account.kept -= paid;
        account.owed = account.owed.saturating_add(spent - paid);
    }

    fn permits_at(&self, calls: usize, now: Instant) -> bool {
        let mut account = self.account.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now.saturating_duration_since(account.at) / self.part;
        account.at = now;
        let repaid = account.owed.min(earned);
        account.owed -= repaid;
        account.kept = (account.kept + (earned - repaid)).min(KEPT_MAX);
        let is_first = account.calls < FIRST;
        account.calls = account.calls.saturating_add(calls);
        is_first || account.owed.is_zero()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_calls_are_free_and_the_rest_is_earned() {
        let allowance = Allowance::one_in(4);
        let start = allowance.account.lock().unwrap().at;
        let after = |ms| start + Duration::from_millis(ms);
        assert!(allowance.permits_at(FIRST - 1, start));
        allowance.spend(Duration::from_millis(100));
        assert!(allowance.permits_at(1, start), "one call is free still");
        assert!(!allowance.permits_at(1, after(399)));
        assert!(allowance.permits_at(1, after(400)));
        // An hour of idleness does not buy a minute of checking.
        assert!(allowance.permits_at(1, after(3_600_000)));
        allowance.spend(Duration::from_secs(1));
        assert!(!allowance.permits_at(1, after(3_600_000 + 1_999)));
        assert!(allowance.permits_at(1, after(3_600_000 + 2_000)));
    }
}
