//! The rules of the lock table.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use conflux::{Container, Context};
use serde::{Deserialize, Serialize};

/// The longest name of a lock or a holder, in bytes.
const NAME_BYTES_MAX: usize = 128;
/// The longest lease.
const LEASE_MS_MAX: u64 = 3_600_000;
/// The most locks that may be held at once.
const LOCKS_MAX: usize = 100_000;

/// A lock table on which all nodes agree.
pub(crate) struct Locks;

/// Who holds what. A lock that is not in here is free; so is one whose lease is over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Table {
    /// The last token that was given out.
    pub(crate) last_token: u64,
    pub(crate) held: BTreeMap<String, Held>,
}

/// A lock in someone's hands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) holder: String,
    /// Greater than the token of every holder before.
    pub(crate) token: u64,
    /// The elapsed time of the cluster at which the lease is over.
    pub(crate) until: Duration,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    /// Lock, holder, lease in milliseconds.
    Acquire(String, String, u64),
    /// Lock, token, lease in milliseconds from now.
    Renew(String, u64, u64),
    /// Lock, token. Nothing to do where the token does not hold the lock any more.
    Release(String, u64),
}

/// What is replicated: what was decided, so that the reducer only has to carry it out.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Action {
    Acquired { lock: String, holder: String, token: u64, until: Duration },
    Renewed { lock: String, token: u64, until: Duration },
    Released { lock: String, token: u64 },
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Refusal {
    /// Someone else, or the same holder by an earlier call, has it.
    Held { holder: String, left_ms: u64 },
    /// The lock is free or in other hands: the lease of this token is over.
    Lost { token: u64 },
    /// The names or the lease are not such as are allowed.
    Argument(String),
    /// So many locks are held already.
    Full(usize),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Held { holder, left_ms } => write!(f, "held by {holder} for up to {left_ms} ms more"),
            Refusal::Lost { token } => write!(f, "token {token} does not hold the lock any more: acquire it again"),
            Refusal::Argument(what) => f.write_str(what),
            Refusal::Full(locks) => write!(f, "{locks} locks are held already, no more are allowed"),
        }
    }
}

impl Table {
    /// The holder of a lock, if its lease is not over.
    fn holder(&self, lock: &str, now: Duration) -> Option<&Held> {
        self.held.get(lock).filter(|held| now < held.until)
    }
}

impl Container for Locks {
    type State = Table;
    type Method = Method;
    type Action = Action;
    type Rejection = Refusal;

    fn initial(&self) -> Table {
        Table::default()
    }

    fn decide(&self, table: &Table, method: Method, context: &Context<'_>) -> Result<Option<Action>, Refusal> {
        let now = context.elapsed();
        match method {
            Method::Acquire(lock, holder, lease_ms) => {
                for (what, name) in [("lock", &lock), ("holder", &holder)] {
                    if !(1..=NAME_BYTES_MAX).contains(&name.len()) {
                        let allowed = format!("the name of the {what} must have 1 to {NAME_BYTES_MAX} bytes");
                        return Err(Refusal::Argument(allowed));
                    }
                }
                let until = end_of_lease(now, lease_ms)?;
                if let Some(held) = table.holder(&lock, now) {
                    let left_ms = (held.until - now).as_millis() as u64;
                    return Err(Refusal::Held { holder: held.holder.clone(), left_ms });
                }
                if table.held.values().filter(|held| now < held.until).count() >= LOCKS_MAX {
                    return Err(Refusal::Full(LOCKS_MAX));
                }
                Ok(Some(Action::Acquired { lock, holder, token: table.last_token + 1, until }))
            }
            Method::Renew(lock, token, lease_ms) => {
                let until = end_of_lease(now, lease_ms)?;
                let held = table.holder(&lock, now).filter(|held| held.token == token);
                let held = held.ok_or(Refusal::Lost { token })?;
                // A shorter lease than is left would take back what was promised: that is what `release` is for.
                Ok((until > held.until).then_some(Action::Renewed { lock, token, until }))
            }
            Method::Release(lock, token) => {
                let holds = table.holder(&lock, now).is_some_and(|held| held.token == token);
                Ok(holds.then_some(Action::Released { lock, token }))
            }
        }
    }

    fn reduce(&self, table: &mut Table, action: &Action, context: &Context<'_>) {
        match action {
            Action::Acquired { lock, holder, token, until } => {
                // Leases that are over are forgotten here. `elapsed` is the same on every node.
                table.held.retain(|_, held| context.elapsed() < held.until);
                let held = Held { holder: holder.clone(), token: *token, until: *until };
                table.held.insert(lock.clone(), held);
                table.last_token = *token;
            }
            Action::Renewed { lock, until, .. } => {
                if let Some(held) = table.held.get_mut(lock) {
                    held.until = *until;
                }
            }
            Action::Released { lock, .. } => {
                table.held.remove(lock);
            }
        }
    }
}

fn end_of_lease(now: Duration, lease_ms: u64) -> Result<Duration, Refusal> {
    if (1..=LEASE_MS_MAX).contains(&lease_ms) {
        Ok(now + Duration::from_millis(lease_ms))
    } else {
        Err(Refusal::Argument(format!("a lease must be 1 to {LEASE_MS_MAX} ms, but {lease_ms} came")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use conflux::{CallNumber, Incarnation, Index, Origin, SessionId, Stamps};

    /// A table, and the clock of the cluster; the wall clock stands at nonsense, as nothing may look at it.
    #[derive(Default)]
    struct Bench {
        table: Table,
        elapsed_ms: u64,
        index: u64,
    }

    impl Bench {
        fn perform(&mut self, method: Method) -> Result<Option<Action>, Refusal> {
            let session = SessionId { node: "a".into(), incarnation: Incarnation(1), number: 1 };
            let origin = Origin { session, number: CallNumber::FIRST };
            let stamps =
                Stamps { time_ms: 1_000_000 - self.elapsed_ms, elapsed: Duration::from_millis(self.elapsed_ms) };
            let context = Context::new(Index(self.index + 1), stamps, &origin, 7);
            let action = Locks.decide(&self.table, method, &context)?;
            if let Some(action) = &action {
                self.index += 1;
                Locks.reduce(&mut self.table, action, &context);
            }
            Ok(action)
        }

        fn acquire(&mut self, lock: &str, holder: &str, lease_ms: u64) -> Result<u64, Refusal> {
            match self.perform(Method::Acquire(lock.into(), holder.into(), lease_ms))? {
                Some(Action::Acquired { token, .. }) => Ok(token),
                other => panic!("acquire came to {other:?}"),
            }
        }

        fn renew(&mut self, lock: &str, token: u64, lease_ms: u64) -> Result<bool, Refusal> {
            self.perform(Method::Renew(lock.into(), token, lease_ms)).map(|action| action.is_some())
        }

        fn release(&mut self, lock: &str, token: u64) -> bool {
            self.perform(Method::Release(lock.into(), token)).expect("it is never refused").is_some()
        }
    }

    #[test]
    fn a_lock_has_one_holder() {
        let mut bench = Bench::default();
        assert_eq!(bench.acquire("report", "w1", 1000), Ok(1));
        bench.elapsed_ms = 400;
        let held = Refusal::Held { holder: "w1".into(), left_ms: 600 };
        assert_eq!(bench.acquire("report", "w2", 1000), Err(held.clone()));
        assert_eq!(bench.acquire("report", "w1", 1000), Err(held), "the same name may be another thread");
        assert_eq!(bench.acquire("invoice", "w2", 1000), Ok(2));
    }

    #[test]
    fn a_lease_is_over_by_elapsed_time_alone_and_exactly() {
        let mut bench = Bench::default();
        assert_eq!(bench.acquire("report", "w1", 1000), Ok(1));
        bench.elapsed_ms = 999;
        assert!(bench.acquire("report", "w2", 1000).is_err());
        bench.elapsed_ms = 1000;
        assert_eq!(bench.acquire("report", "w2", 1000), Ok(2));
    }

    #[test]
    fn tokens_only_grow_even_after_the_table_was_empty() {
        let mut bench = Bench::default();
        let first = bench.acquire("report", "w1", 1000).expect("it is free");
        assert!(bench.release("report", first));
        assert!(bench.table.held.is_empty());
        assert!(bench.acquire("report", "w1", 1000).expect("it is free") > first);
    }

    #[test]
    fn a_lease_can_be_made_longer_while_it_lasts() {
        let mut bench = Bench::default();
        assert_eq!(bench.acquire("report", "w1", 1000), Ok(1));
        bench.elapsed_ms = 900;
        assert_eq!(bench.renew("report", 1, 1000), Ok(true));
        assert_eq!(bench.renew("report", 1, 500), Ok(false), "a promise is not made shorter");
        bench.elapsed_ms = 1899;
        assert!(bench.acquire("report", "w2", 1000).is_err());
        bench.elapsed_ms = 1900;
        assert_eq!(bench.renew("report", 1, 1000), Err(Refusal::Lost { token: 1 }), "nobody has it, but it is over");
    }

    #[test]
    fn an_old_token_can_do_nothing() {
        let mut bench = Bench::default();
        assert_eq!(bench.acquire("report", "w1", 10), Ok(1));
        bench.elapsed_ms = 10;
        assert_eq!(bench.acquire("report", "w2", 1000), Ok(2));
        assert_eq!(bench.renew("report", 1, 1000), Err(Refusal::Lost { token: 1 }));
        assert!(!bench.release("report", 1), "there is nothing to do");
        assert_eq!(bench.table.held["report"].holder, "w2");
    }

    #[test]
    fn leases_that_are_over_are_forgotten() {
        let mut bench = Bench::default();
        for n in 0..10 {
            bench.acquire(&format!("lock {n}"), "w1", 10).expect("it is free");
        }
        bench.elapsed_ms = 10;
        bench.acquire("another", "w1", 10).expect("it is free");
        assert_eq!(bench.table.held.len(), 1);
    }

    #[test]
    fn arguments_have_bounds() {
        let mut bench = Bench::default();
        for (lock, holder, lease_ms) in [("", "w", 1), ("l", "", 1), ("l", "w", 0), ("l", "w", LEASE_MS_MAX + 1)] {
            assert!(matches!(bench.acquire(lock, holder, lease_ms), Err(Refusal::Argument(_))));
        }
        assert!(matches!(bench.acquire(&"l".repeat(NAME_BYTES_MAX + 1), "w", 1), Err(Refusal::Argument(_))));
        assert_eq!(bench.table, Table::default());
    }
}
