//! Fingerprints of states, to see that replicas agree.

use std::fmt;

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// A 128-bit fingerprint. Not cryptographic: it finds mistakes, not forgers.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of bytes that are canonical already.
    #[must_use]
    pub fn of_bytes(bytes: &[u8]) -> Digest {
        Digest(xxh3_128(bytes))
    }

    /// The digest of bytes that lie in several pieces: that of all of them in a row.
    #[must_use]
    pub fn of_pieces<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Digest {
        let mut hasher = Xxh3::new();
        pieces.into_iter().for_each(|piece| hasher.update(piece));
        Digest(hasher.digest128())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::Digest;

    #[test]
    fn people_compare_all_of_its_digits() {
        let digest = Digest(0xfe << 64);
        assert_eq!(digest.to_string(), "00000000000000fe0000000000000000");
        assert_eq!(format!("{digest:?}"), "Digest(00000000000000fe0000000000000000)");
    }

    #[test]
    fn pieces_are_read_in_a_row() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for (first, second) in [(0, 0), (1, 300), (256, 999)] {
            let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            assert_eq!(Digest::of_pieces(pieces), Digest::of_bytes(&bytes));
        }
    }
}
