//! How the user's own values become bytes, JSON and digests.
//!
//! Everything serde can write has all of this for free. A container whose values live elsewhere (in another language's
//! heap) implements [`Payload`] itself.

use std::io::{Read, Write};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::call::{self, CallError};
use crate::context::Random;
use crate::digest::Digest;
use crate::message_pack::{NESTING_MAX, check_nesting, measure};
use crate::outlined::{OutlinedReader, OutlinedWriter};
use crate::release::release;
use crate::sample;

/// The reader's own limit does not count enums, so it is set to where our own has refused already: an empty array may be one
/// deeper.
const DEPTH_MAX: usize = NESTING_MAX + 2;

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

    /// Writes what [`encode`](Self::encode) appends, and gives the value's [`digest`](Self::digest). A large value is written
    /// a piece at a time where that can be, and once for both.
    ///
    /// # Errors
    /// When the value refuses to be written, or `output` to be written to.
    fn write(&self, output: &mut dyn Write) -> Result<Digest, PayloadError> {
        let mut bytes = Vec::new();
        self.encode(&mut bytes)?;
        output.write_all(&bytes).map_err(PayloadError::new)?;
        release(bytes);
        self.digest()
    }

    /// Reads what [`encode`](Self::encode) wrote. The bytes may come from the network: no panic, no unbounded memory.
    ///
    /// # Errors
    /// When the bytes are not such a value.
    fn decode(bytes: &[u8]) -> Result<Self, PayloadError>;

    /// Reads a value that is all there is in `input`, a piece at a time where that can be.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), or when `input` cannot be read.
    fn read(input: &mut dyn Read) -> Result<Self, PayloadError> {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes).map_err(PayloadError::new)?;
        let value = Self::decode(&bytes);
        release(bytes);
        value
    }

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

    /// Makes a value up, for a simulation that performs whatever there is to be performed: the same stream of random
    /// numbers makes the same value. Small numbers and few words mostly, so that different values meet at the same keys,
    /// and odd ones now and then.
    ///
    /// The provided one fails. What serde reads is made up by asking the type what it is made of. That goes wrong for
    /// types that take only a few of many values, as a text that has to be a date.
    ///
    /// # Errors
    /// When no value can be made up.
    fn sample(random: &mut Random) -> Result<Self, PayloadError> {
        let _ = random;
        Err(PayloadError::new("no value of it can be made up; give the container a `sample` of its own"))
    }
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

    fn write(&self, output: &mut dyn Write) -> Result<Digest, PayloadError> {
        let mut writer = OutlinedWriter::new(output);
        let written = self.serialize(&mut rmp_serde::Serializer::new(&mut writer).with_struct_map());
        writer.end(written)
    }

    fn read(input: &mut dyn Read) -> Result<Self, PayloadError> {
        let mut reader = OutlinedReader::new(input);
        let mut deserializer = rmp_serde::Deserializer::new(&mut reader);
        deserializer.set_max_depth(DEPTH_MAX);
        let value = T::deserialize(&mut deserializer);
        reader.end(value)
    }

    fn decode(bytes: &[u8]) -> Result<Self, PayloadError> {
        // Read where it lies, which is twice as fast as a piece at a time. That reader does not say where it came to an end.
        let length = measure(bytes)?;
        let mut deserializer = rmp_serde::Deserializer::from_read_ref(bytes);
        deserializer.set_max_depth(DEPTH_MAX);
        let value = T::deserialize(&mut deserializer).map_err(PayloadError::new)?;
        match bytes.len() - length.unwrap_or(bytes.len()) {
            0 => Ok(value),
            left => Err(PayloadError(format!("{left} bytes are left over after the value"))),
        }
    }

    fn to_json(&self) -> Result<Value, PayloadError> {
        serde_json::to_value(self).map_err(PayloadError::new)
    }

    fn digest(&self) -> Result<Digest, PayloadError> {
        self.write(&mut std::io::sink())
    }

    fn variants() -> Vec<String> {
        call::variants::<T>()
    }

    fn from_call(name: &str, arguments: Vec<Value>) -> Result<Self, CallError> {
        call::from_call(name, arguments)
    }

    fn sample(random: &mut Random) -> Result<Self, PayloadError> {
        sample::sample(random)
    }
}
