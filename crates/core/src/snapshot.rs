//! A store as bytes.
//!
//! ```text
//! layout u8  version u32  code u128  generation u64  index u64     what it says of itself
//! length u64  head  time u64  elapsed u64  sessions  roster        the table, of so many bytes
//! state                                                            as the container writes it, up to
//! digest u128                                                      that of the state
//! ```
//!
//! The state comes last, and what is known only then behind it: it is written and read a piece at a time.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use crate::batch::BatchError;
use crate::bugs::{self, Bug};
use crate::codec::{CodecError, Reader, Writer};
use crate::container::Container;
use crate::context::Stamps;
use crate::digest::Digest;
use crate::ids::Index;
use crate::payload::PayloadError;
use crate::roster::Roster;
use crate::session::Sessions;
use crate::store::{Code, GENERATION_MAX, Halt, Store};

/// The version of the layout.
const LAYOUT: u8 = 3;

/// What it says of itself, and the length of the table.
const BEGIN_BYTES: usize = 1 + 4 + DIGEST_BYTES + 8 + 8 + 8;

const DIGEST_BYTES: usize = 16;

/// What a snapshot says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Origins {
    /// The version of the container that it was taken from.
    pub version: u32,
    /// Its code.
    pub code: Digest,
    /// The place of the state in it.
    pub index: Index,
}

/// A snapshot that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The bytes cannot be got.
    #[error("a snapshot cannot be read: {0}")]
    Input(String),
    /// Its layout is broken.
    #[error("a snapshot is not in the layout of version {LAYOUT}: {0}")]
    Layout(#[from] CodecError),
    /// Something inside cannot be read.
    #[error("a snapshot cannot be read: {0}")]
    Payload(#[from] BatchError),
    /// It is not of this container, or its state came out another than it went in.
    #[error("a snapshot cannot be used: {0}")]
    Halt(#[from] Halt),
}

impl<C: Container> Store<C> {
    /// Everything as bytes, for a snapshot. Without the head, a node that starts from it would skip everything after.
    ///
    /// # Errors
    /// When a value refuses to be written.
    pub fn save(&self) -> Result<Vec<u8>, PayloadError> {
        let mut bytes = Vec::new();
        self.save_to(&mut bytes)?;
        Ok(bytes)
    }

    /// Writes the same, the state a piece at a time.
    ///
    /// # Errors
    /// When a value refuses to be written, or `output` to be written to.
    pub fn save_to(&self, output: &mut dyn Write) -> Result<(), PayloadError> {
        let mut table = Vec::new();
        table.put_batch_id(self.head);
        table.put_u64(self.stamps.time_ms);
        crate::batch::put_elapsed(&mut table, self.stamps.elapsed);
        let lost = bugs::is(Bug::SessionsLostInSnapshot).then(Sessions::default);
        lost.as_ref().unwrap_or(&self.sessions).encode(&mut table)?;
        self.roster.encode(&mut table);
        let mut begin = Vec::with_capacity(BEGIN_BYTES);
        begin.put_u8(LAYOUT);
        begin.put_u32(self.container.version());
        begin.put_digest(self.container.code());
        begin.put_u64(self.generation);
        begin.put_u64(self.index.0);
        begin.put_u64(table.len() as u64);
        output.write_all(&begin).and_then(|()| output.write_all(&table)).map_err(PayloadError::new)?;
        drop(table);
        let digest = self.container.save(&self.state, output)?;
        output.write_all(&digest.0.to_le_bytes()).map_err(PayloadError::new)
    }

    /// Reads what [`save`](Self::save) wrote.
    ///
    /// # Errors
    /// When the bytes are damaged, of another layout or version, or do not give the state they were taken from.
    pub fn restore(container: Arc<C>, bytes: &[u8]) -> Result<Self, RestoreError> {
        Self::restore_by(container, bytes, Code::Same)
    }

    /// The same for what other code may have saved. Of that no digest is compared: the same state in another shape has
    /// another one. Whoever keeps the bytes guards them.
    ///
    /// # Errors
    /// When the bytes are damaged or of another layout, or hold what this container cannot read.
    pub fn restore_by(container: Arc<C>, mut bytes: &[u8], code: Code) -> Result<Self, RestoreError> {
        let length = bytes.len() as u64;
        Self::restore_from(container, &mut bytes, length, code)
    }

    /// The same of what is read a piece at a time; `length` is how many bytes there are in all.
    ///
    /// # Errors
    /// As [`restore_by`](Self::restore_by), or when `input` cannot be read.
    pub fn restore_from(
        container: Arc<C>,
        input: &mut dyn Read,
        length: u64,
        code: Code,
    ) -> Result<Self, RestoreError> {
        let begin = read(input, (BEGIN_BYTES as u64).min(length))?;
        let mut reader = Reader::new(&begin);
        let (Origins { version, code: came, index }, generation) = origins(&mut reader)?;
        if code == Code::Same {
            Halt::check_code(&*container, version, came)?;
        }
        let table_length = reader.u64("the length of a table")?;
        let behind = length - BEGIN_BYTES as u64;
        let state_length = behind.checked_sub(table_length).and_then(|left| left.checked_sub(DIGEST_BYTES as u64));
        let state_length = state_length.ok_or_else(|| CodecError::invalid("the length of a table", table_length))?;

        let table = read(input, table_length)?;
        let mut reader = Reader::new(&table);
        let head = reader.batch_id()?;
        let time_ms = reader.u64("the time of a snapshot")?;
        let elapsed: Duration = crate::batch::elapsed(&mut reader)?;
        let sessions = Sessions::decode(&mut reader)?;
        let roster = Roster::decode(&mut reader)?;
        reader.end()?;
        drop(table);

        let mut state = Read::take(&mut *input, state_length);
        let restored = container.restore(&mut state);
        let unread = state.limit();
        let restored = restored.map_err(|error| BatchError::Payload { what: "a state", error })?;
        if unread > 0 {
            return Err(CodecError::invalid("bytes that follow the state of a snapshot", unread).into());
        }
        let came = Reader::new(&read(input, DIGEST_BYTES as u64)?).digest("the digest of a snapshot")?;
        let stamps = Stamps { time_ms, elapsed };
        let store = Store { container, state: Arc::new(restored), index, head, stamps, sessions, roster, generation };
        let is = store.digest()?;
        if code == Code::Same && is != came {
            return Err(RestoreError::Halt(Halt::Diverged { index, came, is }));
        }
        Ok(store)
    }
}

impl Origins {
    /// Reads only what a snapshot says of itself.
    ///
    /// # Errors
    /// When the bytes are too short or of another layout.
    pub fn of_snapshot(bytes: &[u8]) -> Result<Origins, RestoreError> {
        Ok(origins(&mut Reader::new(bytes))?.0)
    }
}

/// So many bytes, or those that there are.
fn read(input: &mut dyn Read, length: u64) -> Result<Vec<u8>, RestoreError> {
    let mut bytes = Vec::new();
    let failed = |error: io::Error| RestoreError::Input(error.to_string());
    Read::take(input, length).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

/// The beginning of a snapshot, and its generation.
fn origins(reader: &mut Reader<'_>) -> Result<(Origins, u64), CodecError> {
    match reader.u8("the layout of a snapshot")? {
        LAYOUT => {}
        other => return Err(CodecError::invalid("the layout of a snapshot", other)),
    }
    let (version, code) = (reader.u32("the container's version")?, reader.digest("the container's code")?);
    let generation = match reader.u64("the generation of a snapshot")? {
        generation if generation <= GENERATION_MAX => generation,
        generation => return Err(CodecError::invalid("the generation of a snapshot", generation)),
    };
    let index = match reader.u64("the index of a snapshot")? {
        index if index >> 63 == 0 => Index(index),
        index => return Err(CodecError::invalid("the index of a snapshot", index)),
    };
    Ok((Origins { version, code, index }, generation))
}
