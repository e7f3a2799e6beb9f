//! Who is in which room of a relay.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::channel::shared::envelope::addressee;
use crate::channel::{Deliver, Inbox, InboxLimits, Message, Name};

/// All rooms. One is there while somebody is in it.
#[derive(Default)]
pub(super) struct Rooms {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    rooms: BTreeMap<String, BTreeMap<u64, Guest>>,
    entered: u64,
}

struct Guest {
    /// Empty if it did not say.
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
    /// Enters a room. What others send comes out of the inbox.
    pub(super) fn enter(self: &Arc<Self>, room: &str, name: Name) -> (Seat, Inbox) {
        let (deliver, inbox) = Inbox::new(InboxLimits::default());
        let mut inner = self.lock();
        inner.entered += 1;
        let number = inner.entered;
        inner.rooms.entry(room.into()).or_default().insert(number, Guest { name, deliver });
        drop(inner);
        (Seat { rooms: self.clone(), room: room.into(), number }, inbox)
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
            if to.is_empty() || guest.name.is_empty() || *guest.name == *to {
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
