//! How the user's own values become bytes, JSON and digests.
//!
//! Everything serde can write has all of this for free. A container whose values live elsewhere (in another language's
//! heap) implements [`Payload`] itself.

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::call::{self, CallError};
use crate::digest::Digest;

/// How deep a value may nest, written or read: hostile bytes must not exhaust the stack, and what is written on one node
/// must be readable on the others.
const NESTING_MAX: usize = 256;

/// A value could not be written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct PayloadError(pub String);

impl PayloadError {
    /// Wraps any error's message.
    pub fn new(error: impl std::fmt::Display) -> Self {
        PayloadError(error.to_string())
    }
}

/// Reads a value that came from elsewhere. Reading it is the user's code, and may panic.
///
/// # Errors
/// When the bytes are not such a value, or reading them panics.
pub fn decode_foreign<T: Payload>(bytes: &[u8]) -> Result<T, PayloadError> {
    crate::panics::caught("reading it", || T::decode(bytes)).map_err(PayloadError::new).flatten()
}

/// Writes a value that was given by somebody. Writing it is the user's code, and may panic.
///
/// # Errors
/// When the value refuses to be written, or writing it panics.
pub fn encode_foreign<T: Payload>(value: &T, bytes: &mut Vec<u8>) -> Result<(), PayloadError> {
    crate::panics::caught("writing it", || value.encode(bytes)).map_err(PayloadError::new).flatten()
}

/// The digest of a value. Writing it is the user's code, and may panic.
///
/// # Errors
/// When the value refuses to be written, or writing it panics.
pub fn digest_foreign<T: Payload>(value: &T) -> Result<Digest, PayloadError> {
    crate::panics::caught("writing it", || value.digest()).map_err(PayloadError::new).flatten()
}

/// A value that travels: in the log, in snapshots, in JSON to people and programs.
///
/// Implemented for every type that serde reads and writes: bytes are MessagePack with named fields, so fields and
/// variants can be added later.
pub trait Payload: Sized + Send + Sync + 'static {
    /// Appends the value's bytes.
    ///
    /// # Errors
    /// When the value refuses to be written.
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), PayloadError>;

    /// Reads what [`encode`](Self::encode) wrote. The bytes may come from the network: no panic, no unbounded memory.
    ///
    /// # Errors
    /// When the bytes are not such a value.
    fn decode(bytes: &[u8]) -> Result<Self, PayloadError>;

    /// The value as JSON, for programs and people.
    ///
    /// # Errors
    /// When JSON cannot hold it (a map with keys that are no strings, say).
    fn to_json(&self) -> Result<Value, PayloadError>;

    /// A digest of the value's canonical bytes, equal on all nodes that hold an equal value.
    ///
    /// # Errors
    /// When the value refuses to be written.
    fn digest(&self) -> Result<Digest, PayloadError>;

    /// The names of an enum's variants, as serde writes them; empty for other types.
    #[must_use]
    fn variants() -> Vec<String> {
        Vec::new()
    }

    /// Makes a value from a name and positional arguments, as the program and HTTP receive a call.
    ///
    /// # Errors
    /// Says which name or argument was wrong, and what is allowed.
    fn from_call(name: &str, arguments: Vec<Value>) -> Result<Self, CallError>;
}

impl<T> Payload for T
where
    T: Serialize + DeserializeOwned + Send + Sync + 'static,
{
    fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), PayloadError> {
        let from = bytes.len();
        let mut serializer = rmp_serde::Serializer::new(&mut *bytes).with_struct_map();
        self.serialize(&mut serializer).map_err(PayloadError::new)?;
        check_nesting(&bytes[from..])
    }

    fn decode(bytes: &[u8]) -> Result<Self, PayloadError> {
        check_nesting(bytes)?;
        let mut deserializer = rmp_serde::Deserializer::new(std::io::Cursor::new(bytes));
        // The reader's own limit does not count enums, so it is set to where the check above has refused already: an
        // empty array may be one deeper.
        deserializer.set_max_depth(NESTING_MAX + 2);
        let value = T::deserialize(&mut deserializer).map_err(PayloadError::new)?;
        match bytes.len() as u64 - deserializer.position() {
            0 => Ok(value),
            left => Err(PayloadError(format!("{left} bytes are left over after the value"))),
        }
    }

    fn to_json(&self) -> Result<Value, PayloadError> {
        serde_json::to_value(self).map_err(PayloadError::new)
    }

    fn digest(&self) -> Result<Digest, PayloadError> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes)?;
        let value = rmpv::decode::read_value(&mut bytes.as_slice()).map_err(PayloadError::new)?;
        Ok(Digest::of_value(&value))
    }

    fn variants() -> Vec<String> {
        call::variants::<T>()
    }

    fn from_call(name: &str, arguments: Vec<Value>) -> Result<Self, CallError> {
        call::from_call(name, arguments)
    }
}

/// Refuses MessagePack that nests deeper than [`NESTING_MAX`]. What else may be wrong with it is left to its reader.
fn check_nesting(bytes: &[u8]) -> Result<(), PayloadError> {
    // Each level takes a byte at least, so small values need no look.
    if bytes.len() <= NESTING_MAX {
        return Ok(());
    }
    // How many values are still to come on each level.
    let mut levels: Vec<u64> = Vec::new();
    let mut rest = bytes;
    while let Some((&marker, after)) = rest.split_first() {
        let number = |width: usize| after.iter().take(width).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        // How many bytes follow the marker before the next value, and how many values it holds.
        let (skip, values) = match marker {
            0x80..=0x8f => (0, u64::from(marker & 0x0f) * 2),
            0x90..=0x9f => (0, u64::from(marker & 0x0f)),
            0xa0..=0xbf => (u64::from(marker & 0x1f), 0),
            0xc4 | 0xd9 => (1 + number(1), 0),
            0xc5 | 0xda => (2 + number(2), 0),
            0xc6 | 0xdb => (4 + number(4), 0),
            0xc7 => (2 + number(1), 0),
            0xc8 => (3 + number(2), 0),
            0xc9 => (5 + number(4), 0),
            0xcc | 0xd0 => (1, 0),
            0xcd | 0xd1 => (2, 0),
            0xca | 0xce | 0xd2 => (4, 0),
            0xcb | 0xcf | 0xd3 => (8, 0),
            0xd4..=0xd8 => (1 + (1 << (marker - 0xd4)), 0),
            0xdc => (2, number(2)),
            0xdd => (4, number(4)),
            0xde => (2, number(2) * 2),
            0xdf => (4, number(4) * 2),
            // A small integer, nil, a bool, or a byte that no value begins with.
            _ => (0, 0),
        };
        let Some(next) = usize::try_from(skip).ok().and_then(|skip| after.get(skip..)) else { return Ok(()) };
        rest = next;
        if values > 0 {
            levels.push(values);
            if levels.len() > NESTING_MAX {
                return Err(PayloadError(format!("a value nests deeper than {NESTING_MAX} levels")));
            }
            continue;
        }
        while let Some(left) = levels.last_mut() {
            *left -= 1;
            if *left > 0 {
                break;
            }
            levels.pop();
        }
        if levels.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}
