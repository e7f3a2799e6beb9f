//! Who is in which room of a relay.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::channel::inbox::Budget;
use crate::channel::shared::envelope::addressee;
use crate::channel::{Deliver, Inbox, InboxLimits, Message, Name};

/// All rooms. One is there while somebody is in it.
pub(super) struct Rooms {
    inner: Mutex<Inner>,
    /// The most in one room.
    guests_max: usize,
    waiting: Arc<Budget>,
}

#[derive(Default)]
struct Inner {
    rooms: BTreeMap<String, BTreeMap<u64, Guest>>,
    entered: u64,
}

struct Guest {
    name: Name,
    deliver: Deliver,
}

/// A place in a room; given up when dropped.
pub(super) struct Seat {
    rooms: Arc<Rooms>,
    room: String,
    number: u64,
}

impl Rooms {
    pub(super) fn new(guests_max: usize, waiting_bytes_max: usize) -> Rooms {
        Rooms { inner: Mutex::default(), guests_max, waiting: Arc::new(Budget::new(waiting_bytes_max)) }
    }

    /// Enters a room, if it is not full. What others send comes out of the inbox.
    pub(super) fn enter(self: &Arc<Self>, room: &str, name: Name) -> Option<(Seat, Inbox)> {
        let (deliver, inbox) = Inbox::within(InboxLimits::default(), Some(self.waiting.clone()));
        let mut inner = self.lock();
        if inner.rooms.get(room).map_or(0, BTreeMap::len) >= self.guests_max {
            return None;
        }
        inner.entered += 1;
        let number = inner.entered;
        inner.rooms.entry(room.into()).or_default().insert(number, Guest { name, deliver });
        drop(inner);
        Some((Seat { rooms: self.clone(), room: room.into(), number }, inbox))
    }

    /// How many are in all rooms.
    pub(super) fn guests(&self) -> usize {
        self.lock().rooms.values().map(BTreeMap::len).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seat {
    /// Passes something on: to those of the name that it is for, or to all others. False when it is none of ours.
    pub(super) fn pass_on(&self, bytes: &Bytes) -> bool {
        let Ok((to, _)) = addressee(bytes) else { return false };
        let inner = self.rooms.lock();
        let guests = inner.rooms.get(&self.room).into_iter().flatten();
        for (_, guest) in guests.filter(|(number, _)| **number != self.number) {
            if to.is_empty() || *guest.name == *to {
                // What does not fit is lost.
                guest.deliver.deliver(Message { from: guest.name.clone(), frame: bytes.clone() });
            }
        }
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut inner = self.rooms.lock();
        if let Some(guests) = inner.rooms.get_mut(&self.room) {
            guests.remove(&self.number);
            if guests.is_empty() {
                inner.rooms.remove(&self.room);
            }
        }
    }
}
