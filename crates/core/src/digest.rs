//! Fingerprints of states, to see that replicas agree.

use std::fmt;

use rmpv::Value;
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

    /// The digest of a value in which the order of a map's entries does not count: a `HashMap` has another order on
    /// every node, and that is no divergence. The order of sequences counts.
    pub(crate) fn of_value(value: &Value) -> Digest {
        let mut hasher = Xxh3::new();
        match value {
            Value::Map(entries) => {
                // A commutative sum stands for the set of entries.
                let sum = entries.iter().fold(0u128, |sum, (key, value)| {
                    let mut pair = [0u8; 32];
                    pair[..16].copy_from_slice(&Digest::of_value(key).0.to_le_bytes());
                    pair[16..].copy_from_slice(&Digest::of_value(value).0.to_le_bytes());
                    sum.wrapping_add(xxh3_128(&pair))
                });
                hasher.update(b"map");
                hasher.update(&(entries.len() as u64).to_le_bytes());
                hasher.update(&sum.to_le_bytes());
            }
            Value::Array(items) => {
                hasher.update(b"array");
                hasher.update(&(items.len() as u64).to_le_bytes());
                for item in items {
                    hasher.update(&Digest::of_value(item).0.to_le_bytes());
                }
            }
            scalar => {
                let mut bytes = Vec::new();
                rmpv::encode::write_value(&mut bytes, scalar).expect("writing to memory cannot fail");
                hasher.update(b"scalar");
                hasher.update(&bytes);
            }
        }
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
#[expect(clippy::disallowed_types, reason = "what another order of a map does is what is tested")]
mod tests {
    use super::Digest;
    use crate::payload::Payload;
    use std::collections::{BTreeMap, HashMap};

    #[test]
    fn pieces_are_read_in_a_row() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for (first, second) in [(0, 0), (1, 300), (256, 999)] {
            let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..]];
            assert_eq!(Digest::of_pieces(pieces), Digest::of_bytes(&bytes));
        }
    }

    #[test]
    fn map_order_is_no_divergence_but_sequence_order_is() {
        let hashed: HashMap<u32, u32> = (0..100).map(|n| (n, n * n)).collect();
        let sorted: BTreeMap<u32, u32> = (0..100).map(|n| (n, n * n)).collect();
        assert_eq!(Payload::digest(&hashed), Payload::digest(&sorted));
        assert_ne!(Payload::digest(&vec![1, 2]), Payload::digest(&vec![2, 1]));
        assert_ne!(Payload::digest(&vec![vec![1], vec![]]), Payload::digest(&vec![vec![], vec![1]]));
    }
}
