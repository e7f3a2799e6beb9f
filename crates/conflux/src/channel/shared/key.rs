//! The secret that the nodes of a cluster share.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use crate::secret;

/// The shortest key.
const KEY_BYTES_MIN: usize = 16;

/// The longest file that is taken for a key.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// The secret with which the nodes of a cluster sign what they send where others could send, too. Whoever has it can be
/// any of the nodes.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterKey(Vec<u8>);

impl ClusterKey {
    /// A key of these bytes, at least 16. They should be random: `openssl rand -hex 32` makes good ones.
    ///
    /// # Errors
    /// When there are too few.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<ClusterKey, KeyError> {
        let bytes = bytes.into();
        if bytes.len() < KEY_BYTES_MIN {
            return Err(KeyError::TooShort { len: bytes.len() });
        }
        Ok(ClusterKey(bytes))
    }

    /// The key in a file: all its bytes, without white space around them. Warns in the log when others than its owner may
    /// read it.
    ///
    /// # Errors
    /// When the file cannot be read, or is too short or too long for a key.
    pub fn from_file(path: impl AsRef<Path>) -> Result<ClusterKey, KeyError> {
        let path = path.as_ref();
        let in_file = |error| KeyError::File { file: path.into(), error: Box::new(error) };
        let bytes = secret::read(path, FILE_BYTES_MAX).map_err(|error| match error.kind() {
            io::ErrorKind::FileTooLarge => in_file(KeyError::TooLong),
            _ => in_file(KeyError::Read(error)),
        })?;
        ClusterKey::new(bytes.trim_ascii()).map_err(in_file)
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClusterKey(..)")
    }
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// It could be guessed.
    #[error(
        "a cluster key has at least {KEY_BYTES_MIN} bytes, but {len} came: make one with `openssl rand -hex 32`, the same \
         for all nodes"
    )]
    TooShort {
        /// How many came.
        len: usize,
    },
    /// It is no key, by its length.
    #[error("it is longer than {FILE_BYTES_MAX} bytes: is it the right file?")]
    TooLong,
    /// The system does not let us read it.
    #[error(transparent)]
    Read(io::Error),
    /// The file is no good.
    #[error("{}: {error}", .file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        error: Box<KeyError>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_a_key_without_the_white_space_around_it() {
        let directory = tempfile::tempdir().expect("it can be made");
        let path = directory.path().join("key");
        std::fs::write(&path, "0123456789abcdef0123\n").expect("it is writable");
        let key = ClusterKey::from_file(&path).expect("it is long enough");
        assert_eq!(key, ClusterKey::new(*b"0123456789abcdef0123").expect("it is long enough"));
        assert_eq!(format!("{key:?}"), "ClusterKey(..)");

        std::fs::write(&path, "secret\n").expect("it is writable");
        let error = ClusterKey::from_file(&path).expect_err("it is short").to_string();
        assert!(error.contains("key: a cluster key has at least 16 bytes, but 6 came"), "{error}");
        std::fs::write(&path, vec![b'x'; FILE_BYTES_MAX as usize + 1]).expect("it is writable");
        assert!(ClusterKey::from_file(&path).is_err());
        let error = ClusterKey::from_file(directory.path().join("none")).expect_err("it is missing").to_string();
        assert!(error.contains("none: No such file"), "{error}");
    }
}
