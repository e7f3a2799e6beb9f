//! Who is meant to vote: the replicated intent that the leader drives the engine's membership towards.
//!
//! The engine knows who does vote. What is meant is written into the history first, so that a change that a leader
//! began and did not live to finish is finished by the next one.

use std::collections::BTreeSet;
use std::fmt;

use crate::codec::{CodecError, Reader, Writer};
use crate::ids::{Incarnation, NodeName};

/// The most names that may have a seat.
pub const SEATS_MAX: usize = 64;
/// The most removed incarnations that are remembered; the one that was removed first is forgotten first.
pub const TOMBSTONES_MAX: usize = 4096;

/// The names that are meant to vote, and the incarnations that are never let in again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roster {
    /// `None` until a change was first asked for: the founders vote.
    seats: Option<BTreeSet<NodeName>>,
    /// In the order in which they were removed.
    tombstones: Vec<(NodeName, Incarnation)>,
}

/// A change of who is meant to vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RosterChange {
    /// The name is to vote, once a node of that name has joined and caught up.
    Seat(NodeName),
    /// The name is not to vote any more, and may go on as a learner.
    Unseat(NodeName),
    /// The name is not to vote any more, and none of these incarnations is let in again.
    Remove {
        /// The name.
        name: NodeName,
        /// Those that the leader knows.
        incarnations: BTreeSet<Incarnation>,
    },
}

/// Why a change of the roster is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RosterError {
    /// Somebody must vote.
    #[error("{0} is the only voter: give another node a seat first")]
    LastSeat(NodeName),
    /// No more can vote.
    #[error("{SEATS_MAX} nodes have a seat already, which is the most: take one away first")]
    Full,
}

impl RosterChange {
    /// The name it is about.
    #[must_use]
    pub fn name(&self) -> &NodeName {
        match self {
            RosterChange::Seat(name) | RosterChange::Unseat(name) | RosterChange::Remove { name, .. } => name,
        }
    }

    /// The change as bytes, to be sent to a leader.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let (tag, name) = match self {
            RosterChange::Seat(name) => (0, name),
            RosterChange::Unseat(name) => (1, name),
            RosterChange::Remove { name, .. } => (2, name),
        };
        bytes.put_u8(tag);
        bytes.put_bytes(name.as_bytes());
        if let RosterChange::Remove { incarnations, .. } = self {
            bytes.put_varint(incarnations.len() as u64);
            for incarnation in incarnations {
                bytes.put_u64(incarnation.0);
            }
        }
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// When the bytes are no such change.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut reader = Reader::new(bytes);
        let tag = reader.u8("a change of the roster")?;
        let name = reader.node_name()?;
        let change = match tag {
            0 => RosterChange::Seat(name),
            1 => RosterChange::Unseat(name),
            2 => {
                let count = reader.count("the removed incarnations", 8)?;
                let read = |_| Ok(Incarnation(reader.u64("an incarnation")?));
                RosterChange::Remove { name, incarnations: (0..count).map(read).collect::<Result<_, CodecError>>()? }
            }
            other => return Err(CodecError::invalid("a change of the roster", other)),
        };
        reader.end()?;
        Ok(change)
    }
}

impl fmt::Display for RosterChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RosterChange::Seat(name) => write!(f, "{name} is to vote"),
            RosterChange::Unseat(name) => write!(f, "{name} is not to vote"),
            RosterChange::Remove { name, .. } => write!(f, "{name} is to leave"),
        }
    }
}

impl Roster {
    /// The names that are meant to vote; `None` while nothing else was asked for than the founders.
    #[must_use]
    pub fn seats(&self) -> Option<&BTreeSet<NodeName>> {
        self.seats.as_ref()
    }

    /// Whether that incarnation was removed for good.
    #[must_use]
    pub fn is_removed(&self, name: &NodeName, incarnation: Incarnation) -> bool {
        self.tombstones.iter().any(|(removed, of)| *of == incarnation && removed == name)
    }

    /// Whether some node of that name was removed for good.
    #[must_use]
    pub fn has_removed(&self, name: &NodeName) -> bool {
        self.tombstones.iter().any(|(removed, _)| removed == name)
    }

    /// The roster after a change; the same one when it changes nothing. `voters` are those who vote now: they have the
    /// seats as long as no others were named.
    ///
    /// # Errors
    /// When nobody would vote, or too many would.
    pub fn after(&self, change: &RosterChange, voters: &BTreeSet<NodeName>) -> Result<Roster, RosterError> {
        let mut next = self.clone();
        let seats = next.seats.get_or_insert_with(|| voters.clone());
        match change {
            RosterChange::Seat(name) => {
                if seats.insert(name.clone()) && seats.len() > SEATS_MAX {
                    return Err(RosterError::Full);
                }
            }
            RosterChange::Unseat(name) => {
                seats.remove(name);
            }
            RosterChange::Remove { name, incarnations } => {
                seats.remove(name);
                for incarnation in incarnations {
                    if !next.tombstones.iter().any(|(removed, of)| of == incarnation && removed == name) {
                        next.tombstones.push((name.clone(), *incarnation));
                    }
                }
                let forgotten = next.tombstones.len().saturating_sub(TOMBSTONES_MAX);
                next.tombstones.drain(..forgotten);
            }
        }
        if seats.is_empty() {
            return Err(RosterError::LastSeat(change.name().clone()));
        }
        Ok(next)
    }

    pub(crate) fn encode(&self, bytes: &mut Vec<u8>) {
        bytes.put_u8(u8::from(self.seats.is_some()));
        if let Some(seats) = &self.seats {
            bytes.put_varint(seats.len() as u64);
            for name in seats {
                bytes.put_bytes(name.as_bytes());
            }
        }
        bytes.put_varint(self.tombstones.len() as u64);
        for (name, incarnation) in &self.tombstones {
            bytes.put_bytes(name.as_bytes());
            bytes.put_u64(incarnation.0);
        }
    }

    pub(crate) fn decode(reader: &mut Reader<'_>) -> Result<Self, CodecError> {
        let seats = if reader.flag("the seats")? {
            let count = reader.count("the seats", 2)?;
            let seats = (0..count).map(|_| reader.node_name()).collect::<Result<BTreeSet<_>, _>>()?;
            if seats.is_empty() || seats.len() > SEATS_MAX {
                return Err(CodecError::invalid("the seats", seats.len()));
            }
            Some(seats)
        } else {
            None
        };
        let count = reader.count("the removed nodes", 10)?;
        if count > TOMBSTONES_MAX {
            return Err(CodecError::invalid("the removed nodes", count));
        }
        let tombstone = |_| Ok((reader.node_name()?, Incarnation(reader.u64("an incarnation")?)));
        Ok(Roster { seats, tombstones: (0..count).map(tombstone).collect::<Result<_, CodecError>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<NodeName> {
        names.iter().map(|name| (*name).into()).collect()
    }

    #[test]
    fn changes_start_from_who_votes_and_leave_somebody() {
        let founders = names(&["a", "b"]);
        let roster = Roster::default().after(&RosterChange::Seat("c".into()), &founders).expect("there is room");
        assert_eq!(roster.seats(), Some(&names(&["a", "b", "c"])));
        let remove = RosterChange::Remove { name: "a".into(), incarnations: [Incarnation(1), Incarnation(2)].into() };
        // Who votes now does not matter any more.
        let roster = roster.after(&remove, &names(&["x"])).expect("others are left");
        assert_eq!(roster.seats(), Some(&names(&["b", "c"])));
        assert!(roster.is_removed(&"a".into(), Incarnation(2)));
        assert!(!roster.is_removed(&"b".into(), Incarnation(2)) && !roster.is_removed(&"a".into(), Incarnation(3)));
        assert!(roster.has_removed(&"a".into()) && !roster.has_removed(&"b".into()));
        assert_eq!(roster.after(&remove, &founders).as_ref(), Ok(&roster), "removed twice is removed once");
        let roster = roster.after(&RosterChange::Unseat("b".into()), &founders).expect("one is left");
        let last = roster.after(&RosterChange::Unseat("c".into()), &founders);
        assert_eq!(last, Err(RosterError::LastSeat("c".into())));
    }

    #[test]
    fn there_are_bounds() {
        let many: BTreeSet<NodeName> = (0..SEATS_MAX).map(|n| format!("n{n}").into()).collect();
        assert_eq!(Roster::default().after(&RosterChange::Seat("more".into()), &many), Err(RosterError::Full));
        let fewer = many.iter().skip(1).cloned().collect();
        let full = Roster::default().after(&RosterChange::Seat("more".into()), &fewer).expect("there is room for one");
        assert_eq!(full.seats().map(BTreeSet::len), Some(SEATS_MAX));
        let incarnations = (0..TOMBSTONES_MAX as u64 + 1).map(Incarnation).collect();
        let remove = RosterChange::Remove { name: "z".into(), incarnations };
        let roster = Roster::default().after(&remove, &many).expect("others are left");
        assert!(!roster.is_removed(&"z".into(), Incarnation(0)) && roster.is_removed(&"z".into(), Incarnation(1)));
    }

    #[test]
    fn bytes_are_read_back() {
        let remove = RosterChange::Remove { name: "a".into(), incarnations: [Incarnation(7)].into() };
        for change in [RosterChange::Seat("c".into()), RosterChange::Unseat("b".into()), remove.clone()] {
            assert_eq!(RosterChange::decode(&change.encode()), Ok(change));
        }
        for roster in [Roster::default(), Roster::default().after(&remove, &names(&["a", "b"])).expect("one is left")] {
            let mut bytes = Vec::new();
            roster.encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            assert_eq!(Roster::decode(&mut reader), Ok(roster));
            assert_eq!(reader.end(), Ok(()));
        }
        let more = [remove.encode(), vec![0]].concat();
        assert_eq!(RosterChange::decode(&more), Err(CodecError::Trailing(1)));
    }

    #[test]
    fn a_roster_that_no_change_makes_is_not_read() {
        let read = |seats: Option<usize>, removed: usize| {
            let named = |count| (0..count).map(|n| NodeName::from(format!("n{n}")));
            let tombstones = named(removed).map(|name| (name, Incarnation(1))).collect();
            let mut bytes = Vec::new();
            Roster { seats: seats.map(|count| named(count).collect()), tombstones }.encode(&mut bytes);
            Roster::decode(&mut Reader::new(&bytes)).is_ok()
        };
        assert!(read(None, 0) && read(Some(1), TOMBSTONES_MAX) && read(Some(SEATS_MAX), 1));
        assert!(!read(Some(0), 0) && !read(Some(SEATS_MAX + 1), 0) && !read(Some(1), TOMBSTONES_MAX + 1));
    }

    #[test]
    fn a_change_says_what_is_to_be() {
        let remove = RosterChange::Remove { name: "a".into(), incarnations: BTreeSet::new() };
        let said = [RosterChange::Seat("a".into()), RosterChange::Unseat("a".into()), remove].map(|it| it.to_string());
        assert_eq!(said, ["a is to vote", "a is not to vote", "a is to leave"]);
    }
}
