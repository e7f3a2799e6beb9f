//! A state: a handle to a value that stays in its heap.

use std::fmt;
use std::io::Write;
use std::sync::{Arc, OnceLock};

use conflux_core::{CallError, Digest, Payload, PayloadError};
use serde_json::Value;

use crate::engine::Engine;
use crate::heap::Slot;

/// A state of a script. Cloning it copies a handle: the value in the heap is frozen, and reducing makes another.
#[derive(Clone)]
pub struct ScriptState(Arc<Handle>);

struct Handle {
    engine: Arc<Engine>,
    slot: Slot,
    /// The JSON text, once somebody asked.
    text: OnceLock<Arc<str>>,
}

impl ScriptState {
    /// Takes over a slot.
    pub(crate) fn new(engine: Arc<Engine>, slot: Slot) -> ScriptState {
        ScriptState(Arc::new(Handle { engine, slot, text: OnceLock::new() }))
    }

    /// Where it is, if it is in that heap.
    pub(crate) fn slot_in(&self, engine: &Arc<Engine>) -> Option<Slot> {
        Arc::ptr_eq(&self.0.engine, engine).then_some(self.0.slot)
    }

    /// The state as JSON text. Written once a state, when first asked for; keys keep their order.
    ///
    /// # Errors
    /// When the heap cannot write it.
    pub fn json(&self) -> Result<Arc<str>, PayloadError> {
        if let Some(text) = self.0.text.get() {
            return Ok(text.clone());
        }
        let text: Arc<str> = self.0.engine.write(self.0.slot)?.into();
        Ok(self.0.text.get_or_init(|| text).clone())
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Must not wait for the heap: the last handle may go while a batch runs in it.
        self.engine.release_later(self.slot);
    }
}

impl fmt::Debug for ScriptState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.json() {
            Ok(text) => f.write_str(&text),
            Err(error) => write!(f, "<{error}>"),
        }
    }
}

/// Two states are equal when their JSON is, the order of keys included.
impl PartialEq for ScriptState {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0) || matches!((self.json(), other.json()), (Ok(a), Ok(b)) if a == b)
    }
}

/// Bytes: its JSON text. It is read back by its container, which has the heap:
/// [`Container::restore`](conflux_core::Container::restore).
impl Payload for ScriptState {
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), PayloadError> {
        bytes.extend_from_slice(self.json()?.as_bytes());
        Ok(())
    }

    fn write(&self, output: &mut dyn Write) -> Result<Digest, PayloadError> {
        let json = self.json()?;
        output.write_all(json.as_bytes()).map_err(PayloadError::new)?;
        Ok(Digest::of_bytes(json.as_bytes()))
    }

    fn decode(_: &[u8]) -> Result<Self, PayloadError> {
        Err(PayloadError::new("a script's state is restored by its container, in its heap: call Container::restore"))
    }

    fn to_json(&self) -> Result<Value, PayloadError> {
        serde_json::from_str(&self.json()?).map_err(PayloadError::new)
    }

    fn digest(&self) -> Result<Digest, PayloadError> {
        Ok(Digest::of_bytes(self.json()?.as_bytes()))
    }

    fn from_call(name: &str, _: Vec<Value>) -> Result<Self, CallError> {
        Err(CallError::Arguments { name: name.into(), message: "a state is made by reducing, not by a call".into() })
    }
}
