//! Files that hold secrets: keys and tokens.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::path::Path;

/// Reads a file that holds a secret, of so many bytes at most. Warns in the log when others than its owner may read it.
///
/// # Errors
/// When the system does not let it be read; [`FileTooLarge`](io::ErrorKind::FileTooLarge) when there is more in it.
pub fn read(path: impl AsRef<Path>, bytes_max: u64) -> io::Result<Vec<u8>> {
    let path = path.as_ref();
    let file = File::open(path)?;
    if let Some(mode) = mode_for_others(&file.metadata()?) {
        tracing::warn!(
            "{}: others than its owner can read the secret in it (mode {mode:o}); `chmod 600` it",
            path.display()
        );
    }
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        let told = format!("it is longer than {bytes_max} bytes: is it the right file?");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, told));
    }
    Ok(bytes)
}

#[cfg(unix)]
fn mode_for_others(metadata: &Metadata) -> Option<u32> {
    let mode = std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o777;
    (mode & 0o077 != 0).then_some(mode)
}

#[cfg(not(unix))]
fn mode_for_others(_: &Metadata) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_read_than_a_secret_has() {
        let directory = tempfile::tempdir().expect("there is a place");
        let path = directory.path().join("key");
        std::fs::write(&path, "0123456789").expect("it is ours");
        assert_eq!(read(&path, 10).expect("it fits"), b"0123456789");
        assert_eq!(read(&path, 9).expect_err("it does not").kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(read(directory.path().join("none"), 9).expect_err("there is none").kind(), io::ErrorKind::NotFound);
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_noticed() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().expect("there is a place");
        let path = directory.path().join("key");
        std::fs::write(&path, "secret").expect("it is ours");
        let mode = |mode| {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("it is ours");
            mode_for_others(&path.metadata().expect("it is there"))
        };
        assert_eq!((mode(0o600), mode(0o400), mode(0o640), mode(0o604)), (None, None, Some(0o640), Some(0o604)));
        assert_eq!(read(&path, 10).expect("it is read all the same"), b"secret");
    }
}
