//! A copy of everything that was committed, to be kept elsewhere.

use conflux_core::codec::{CodecError, Reader, Writer};
use conflux_core::{Container, Digest, Halt, Index, Origins, RestoreError, Store};
use std::sync::Arc;

use crate::core::Core;
use crate::reads::ReadError;

pub(crate) const MAGIC: &[u8; 8] = b"conflux\0";
const VERSION: u8 = 1;

/// The state, the sessions and the index of a cluster at an instant, with a digest over all of it.
///
/// What was performed before it was taken and is asked for again after it was restored is found, not performed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The cluster it was taken from.
    pub cluster: u64,
    /// The generation of its history.
    pub generation: u64,
    /// The place of the state.
    pub index: Index,
    /// The store, as it is written for a snapshot.
    pub(crate) store: Vec<u8>,
}

/// A backup that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BackupError {
    /// The bytes are no backup.
    #[error("this is no backup of conflux: {0}")]
    Foreign(CodecError),
    /// The bytes are an incident.
    #[error("this is an incident of conflux, and no backup: `conflux replay` goes through it")]
    Incident,
    /// Written by a newer program.
    #[error("the backup has format {came}, and this program reads up to {VERSION}: use a newer one")]
    Version {
        /// Its format.
        came: u8,
    },
    /// It was cut, or bytes of it changed.
    #[error("the backup is damaged: its digest is {came} and it was taken with {is}")]
    Damaged {
        /// Of the bytes that came.
        came: Digest,
        /// What it says of itself.
        is: Digest,
    },
    /// It is of another container, or does not give back what it was taken from.
    #[error("the backup cannot be used: {0}")]
    Restore(#[from] RestoreError),
}

/// A backup that could not be taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TakeError {
    /// No leader said how far the cluster is.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The state cannot be written.
    #[error("the state cannot be written: {0}")]
    Save(String),
}

impl Backup {
    /// The bytes to be kept.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.store.len() + 64);
        bytes.extend_from_slice(MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_u64(self.cluster);
        bytes.put_u64(self.generation);
        bytes.put_u64(self.index.0);
        bytes.put_bytes(&self.store);
        let digest = Digest::of_bytes(&bytes);
        bytes.put_digest(digest);
        bytes
    }

    /// Reads what [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// When the bytes are no backup, of a newer format, or damaged.
    pub fn decode(bytes: &[u8]) -> Result<Backup, BackupError> {
        if bytes.starts_with(crate::incident::MAGIC) {
            return Err(BackupError::Incident);
        }
        let mut reader = Reader::new(bytes);
        let foreign = BackupError::Foreign;
        for expected in MAGIC {
            match reader.u8("the beginning of a backup").map_err(foreign)? {
                byte if byte == *expected => {}
                other => return Err(foreign(CodecError::invalid("the beginning of a backup", other))),
            }
        }
        match reader.u8("the format of a backup").map_err(foreign)? {
            VERSION => {}
            came => return Err(BackupError::Version { came }),
        }
        // Before anything is believed: a cut one has no digest at its end.
        let body = bytes.len().saturating_sub(16);
        let came = Digest::of_bytes(&bytes[..body]);
        let is = Reader::new(&bytes[body..]).digest("the digest of a backup").map_err(foreign)?;
        if came != is {
            return Err(BackupError::Damaged { came, is });
        }
        let cluster = reader.u64("a cluster's id").map_err(foreign)?;
        let generation = reader.u64("a generation").map_err(foreign)?;
        let index = Index(reader.u64("an index").map_err(foreign)?);
        let store = reader.bytes("the store of a backup").map_err(foreign)?.to_vec();
        Ok(Backup { cluster, generation, index, store })
    }

    /// The state in it.
    ///
    /// # Errors
    /// When it is of another container, or its state comes out another than it went in.
    pub fn store<C: Container>(&self, container: Arc<C>) -> Result<Store<C>, BackupError> {
        Ok(Store::restore(container, &self.store)?)
    }

    /// The version and the code of the container that it was taken from, and its place.
    ///
    /// # Errors
    /// When the store in it is of another layout.
    pub fn origins(&self) -> Result<Origins, BackupError> {
        // Of no container: what is read is the same for all.
        Ok(Origins::of_snapshot(&self.store)?)
    }
}

impl<C: Container> Core<C> {
    /// Takes a copy of everything that was committed when this was called, at least.
    pub(crate) async fn back_up(&self) -> Result<Backup, TakeError> {
        self.read_barrier(self.options.deadline).await?;
        let store = self.local.store().clone();
        let (cluster, generation, index) = (self.cluster(), store.generation(), store.index());
        // It may be large: not on a thread that carries messages.
        let saved = crate::process::off_task(move || store.save());
        let saved = saved.await.map_err(|error| TakeError::Save(error.to_string()))?;
        let store = saved.map_err(|error| TakeError::Save(Halt::Digest { index, error }.to_string()))?;
        Ok(Backup { cluster, generation, index, store })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backup() -> Backup {
        Backup { cluster: 7, generation: 1, index: Index(300), store: vec![1, 2, 3] }
    }

    #[test]
    fn every_byte_counts() {
        let bytes = backup().encode();
        assert_eq!(Backup::decode(&bytes), Ok(backup()));
        for length in 0..bytes.len() {
            assert!(Backup::decode(&bytes[..length]).is_err(), "cut at {length}");
        }
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(Backup::decode(&changed).is_err(), "changed at {at}");
        }
        let mut longer = bytes;
        longer.push(0);
        assert!(Backup::decode(&longer).is_err());
    }

    proptest::proptest! {
        #[test]
        fn hostile_bytes_are_errors(bytes: Vec<u8>) {
            let _ = Backup::decode(&bytes);
            let _ = Backup::decode(&[MAGIC.as_slice(), &[VERSION], &bytes].concat());
        }
    }

    #[test]
    fn an_incident_is_told_apart() {
        assert!(matches!(Backup::decode(crate::incident::MAGIC), Err(BackupError::Incident)));
        assert!(matches!(Backup::decode(b"something else"), Err(BackupError::Foreign(_))));
    }
}
