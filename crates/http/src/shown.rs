//! States as JSON. They may be large, so those who read one at the same time share its bytes, and only so many bytes are on
//! their way at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as Lock, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use conflux::{Index, JsonNode, Status};
use serde_json::{Value, json};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::answer::Refused;
use crate::options::Limits;
use crate::read::blocking;
use crate::subscribe::History;

/// What the room is counted in, in bytes: a semaphore has too few permits for each of them.
const UNIT: usize = 1 << 10;

/// The states of one node.
pub(crate) struct States {
    /// One at a time is made.
    newest: Mutex<Weak<Shown>>,
    /// The newest one, for as long as somebody waits who may share it.
    held: Lock<Option<Arc<Shown>>>,
    /// How many wait.
    waiting: AtomicUsize,
    /// One at a time is made of those that are not shared.
    unshared: Mutex<()>,
    room: Arc<Semaphore>,
    units_max: u32,
    /// How long room is waited for: who takes nothing for so long is cut, and gives it back.
    patience: Duration,
}

/// Between two equal ones, there is one state at each place.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Era {
    history: History,
    /// A node that parted from the others goes on with their state, at the same place.
    parted: u64,
    is_mending: bool,
}

impl Era {
    fn of(status: &Status) -> Era {
        Era { history: History::of(status), parted: status.parted, is_mending: status.is_mending }
    }
}

/// A state and its place, `{"index", "state"}`; the room it takes is free again when the last reader has it.
pub(crate) struct Shown {
    pub(crate) index: Index,
    pub(crate) history: History,
    era: Era,
    json: Held,
}

struct Held {
    bytes: Vec<u8>,
    _room: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

struct Shared(Arc<Shown>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        &self.0.json.bytes
    }
}

impl Shown {
    pub(crate) fn bytes(self: Arc<Shown>) -> Bytes {
        Bytes::from_owner(Shared(self))
    }
}

/// One that waits to be shown the newest state.
struct Waiting<'a>(&'a States);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        if self.0.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.hold(None);
        }
    }
}

fn busy() -> Refused {
    Refused::busy("too many states are on their way to readers; try again in a moment")
}

fn written(index: Index, state: &Value) -> Vec<u8> {
    serde_json::to_vec(&json!({"index": index, "state": state})).expect("a JSON value is written to memory")
}

impl States {
    pub(crate) fn new(limits: &Limits) -> States {
        let units = (limits.states_bytes_max / UNIT).clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        States {
            newest: Mutex::default(),
            held: Lock::default(),
            waiting: AtomicUsize::new(0),
            unshared: Mutex::default(),
            room: Arc::new(Semaphore::new(units)),
            units_max: u32::try_from(units).unwrap_or(u32::MAX),
            patience: limits.stall_time,
        }
    }

    /// A state that is at least as new as the node's at this call, shared with whoever asks meanwhile.
    pub(crate) async fn newest(&self, node: &Arc<dyn JsonNode>) -> Result<Arc<Shown>, Refused> {
        let asked = node.status();
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let waiting = Waiting(self);
        let mut newest = timeout(self.patience, self.newest.lock()).await.map_err(|_| busy())?;
        let now = node.status();
        let era = Era::of(&now);
        let least = if Era::of(&asked) == era { asked.index } else { now.index };
        if let Some(shown) = newest.upgrade().filter(|shown| shown.era == era && shown.index >= least) {
            return Ok(shown);
        }
        // What is too old for this one is so for all who come later.
        self.hold(None);
        let shower = node.clone();
        let (index, bytes) = blocking(move || {
            let (index, state) = shower.state();
            (index, written(index, &state))
        })
        .await?;
        let json = self.with_room(bytes).await?;
        let shown = Arc::new(Shown { index, history: era.history, era, json });
        // One that was replaced meanwhile belongs to nobody else.
        if Era::of(&node.status()) == era {
            *newest = Arc::downgrade(&shown);
            if self.waiting.load(Ordering::SeqCst) > 1 {
                self.hold(Some(shown.clone()));
            }
        }
        drop(newest);
        drop(waiting);
        Ok(shown)
    }

    /// A state that only one reader is shown.
    pub(crate) async fn unshared(
        &self,
        make: impl Future<Output = Result<(Index, Value), Refused>>,
    ) -> Result<Bytes, Refused> {
        let _one = timeout(self.patience, self.unshared.lock()).await.map_err(|_| busy())?;
        let (index, state) = make.await?;
        let bytes = blocking(move || written(index, &state)).await?;
        Ok(Bytes::from_owner(self.with_room(bytes).await?))
    }

    async fn with_room(&self, bytes: Vec<u8>) -> Result<Held, Refused> {
        // What is larger than all of the room has it alone.
        let units = u32::try_from(bytes.len() / UNIT + 1).unwrap_or(u32::MAX).min(self.units_max);
        let room = timeout(self.patience, self.room.clone().acquire_many_owned(units)).await.map_err(|_| busy())?;
        Ok(Held { bytes, _room: room.expect("it is never closed") })
    }

    fn hold(&self, shown: Option<Arc<Shown>>) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = shown;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_so_many_bytes_are_on_their_way() {
        let limits = Limits { states_bytes_max: 64 << 10, stall_time: Duration::from_millis(20), ..Limits::default() };
        let states = States::new(&limits);
        let large = || states.unshared(async { Ok((Index(1), "x".repeat(40 << 10).into())) });
        let first = large().await.expect("there is room");
        assert_eq!(large().await.expect_err("there is none").code(), "busy");
        states.unshared(async { Ok((Index(1), Value::Null)) }).await.expect("there is room for a small one");
        drop(first);
        drop(large().await.expect("there is room again"));
        // More than there ever is.
        let whole = states.unshared(async { Ok((Index(1), "x".repeat(1 << 20).into())) }).await;
        let whole = whole.expect("it is alone");
        assert_eq!(large().await.expect_err("there is none").code(), "busy");
        drop(whole);
        large().await.expect("there is room again");
    }
}
