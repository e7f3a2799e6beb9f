//! The container of the model: its state is the sequence of the calls that took effect, so each state is another one.

use std::fmt;

use crate::batch::Verdict;

/// A call: the how-many-th of which origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Call {
    /// The origin, from 0.
    pub origin: u8,
    /// From 1.
    pub nth: u8,
}

impl Call {
    /// Runs its method. Of an origin's calls every other one always makes an action. The ones between refuse a state of
    /// odd length: what becomes of them, and of all behind them, depends on the state they see.
    #[must_use]
    pub fn judge(self, state: History) -> Verdict {
        let refuses_odd = (self.origin + self.nth).is_multiple_of(2);
        if refuses_odd && state.len() % 2 == 1 { Verdict::Rejected } else { Verdict::Action }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", char::from(b'A' + self.origin), self.nth)
    }
}

/// A state: the calls that took effect, in order. Four bits for each behind a leading one, to be small and quick to hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct History(u64);

impl History {
    /// The initial state.
    pub const EMPTY: History = History(1);

    /// How many actions led here: its place.
    #[must_use]
    pub fn len(self) -> u64 {
        u64::from((63 - self.0.leading_zeros()) / 4)
    }

    /// Whether it is the initial state.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The reducer.
    #[must_use]
    pub fn then(self, call: Call) -> History {
        assert!(self.len() < 15 && call.origin < 4 && call.nth < 4, "the bounds of the model are small");
        History(self.0 << 4 | u64::from(call.origin << 2 | call.nth))
    }

    /// The state that it went through at a place, if it has come so far.
    #[must_use]
    pub fn at(self, place: u64) -> Option<History> {
        Some(History(self.0 >> (4 * self.len().checked_sub(place)?)))
    }

    /// The call whose action has a place, from 1.
    #[must_use]
    pub fn call(self, place: u64) -> Option<Call> {
        if place == 0 {
            return None;
        }
        let bits = (self.at(place)?.0 & 15) as u8;
        Some(Call { origin: bits >> 2, nth: bits & 3 })
    }

    /// The calls, in order.
    pub fn calls(self) -> impl Iterator<Item = Call> {
        (1..=self.len()).filter_map(move |place| self.call(place))
    }

    /// Whether the one goes on where the other ends, or they are the same.
    #[must_use]
    pub fn is_prefix_of(self, other: History) -> bool {
        other.at(self.len()) == Some(self)
    }
}

impl fmt::Debug for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (at, call) in self.calls().enumerate() {
            write!(f, "{}{call}", if at == 0 { "" } else { " " })?;
        }
        f.write_str("]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_tells_its_calls_and_its_past() {
        let (a1, b2) = (Call { origin: 0, nth: 1 }, Call { origin: 1, nth: 2 });
        let history = History::EMPTY.then(a1).then(b2);
        assert_eq!(history.calls().collect::<Vec<_>>(), [a1, b2]);
        assert_eq!(history.at(1), Some(History::EMPTY.then(a1)));
        assert_eq!((history.call(0), history.call(2), history.call(3)), (None, Some(b2), None));
        assert!(History::EMPTY.is_prefix_of(history) && !history.is_prefix_of(History::EMPTY));
        assert_eq!(format!("{history:?}"), "[A1 B2]");
    }
}
