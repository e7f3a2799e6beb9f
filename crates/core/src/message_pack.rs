//! The outline of MessagePack: where values begin and end, how deep they nest, and their digest. What they mean is left to
//! serde.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::digest::Digest;
use crate::payload::PayloadError;

/// How deep a value may nest, written or read: hostile bytes must not exhaust the stack, and what is written on one node
/// must be readable on the others.
pub(crate) const NESTING_MAX: usize = 256;

/// A short scalar is hashed at once, from a buffer on the stack.
const SHORT: usize = 128;

enum Kind {
    Scalar,
    Array,
    Map,
}

/// What a marker says.
struct Head {
    kind: Kind,
    /// How many bytes follow the marker before the next value.
    skip: u64,
    /// How many values it holds: of a map, keys and values.
    values: u64,
}

impl Head {
    /// Of a byte that no value begins with it says: a scalar of that byte.
    fn read(marker: u8, after: &[u8]) -> Head {
        let number = |width: usize| after.iter().take(width).fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let scalar = |skip: u64| Head { kind: Kind::Scalar, skip, values: 0 };
        let array = |skip: u64, values: u64| Head { kind: Kind::Array, skip, values };
        let map = |skip: u64, entries: u64| Head { kind: Kind::Map, skip, values: entries * 2 };
        match marker {
            0x80..=0x8f => map(0, u64::from(marker & 0x0f)),
            0x90..=0x9f => array(0, u64::from(marker & 0x0f)),
            0xa0..=0xbf => scalar(u64::from(marker & 0x1f)),
            0xc4 | 0xd9 => scalar(1 + number(1)),
            0xc5 | 0xda => scalar(2 + number(2)),
            0xc6 | 0xdb => scalar(4 + number(4)),
            0xc7 => scalar(2 + number(1)),
            0xc8 => scalar(3 + number(2)),
            0xc9 => scalar(5 + number(4)),
            0xcc | 0xd0 => scalar(1),
            0xcd | 0xd1 => scalar(2),
            0xca | 0xce | 0xd2 => scalar(4),
            0xcb | 0xcf | 0xd3 => scalar(8),
            0xd4..=0xd8 => scalar(1 + (1 << (marker - 0xd4))),
            0xdc => array(2, number(2)),
            0xdd => array(4, number(4)),
            0xde => map(2, number(2)),
            0xdf => map(4, number(4)),
            // A small integer, nil, a bool, or a byte that no value begins with.
            _ => scalar(0),
        }
    }
}

/// Refuses what nests deeper than [`NESTING_MAX`]. What else may be wrong with it is left to its reader.
pub(crate) fn check_nesting(bytes: &[u8]) -> Result<(), PayloadError> {
    // Each level takes a byte at least, so small values need no look.
    if bytes.len() <= NESTING_MAX {
        return Ok(());
    }
    // How many values are still to come on each level.
    let mut levels: Vec<u64> = Vec::new();
    let mut rest = bytes;
    while let Some((&marker, after)) = rest.split_first() {
        let Head { skip, values, .. } = Head::read(marker, after);
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

/// The digest of a value in which the order of a map's entries does not count: a `HashMap` has another order on every node,
/// and that is no divergence. The order of sequences counts. The value was written here, and its nesting was checked.
pub(crate) fn digest(bytes: &[u8]) -> Result<Digest, PayloadError> {
    let mut rest = bytes;
    let digest = next_digest(&mut rest, 0)?;
    if rest.is_empty() { Ok(digest) } else { Err(PayloadError("there is more than one value".into())) }
}

fn next_digest(rest: &mut &[u8], depth: usize) -> Result<Digest, PayloadError> {
    let cut = || PayloadError("a value is cut".into());
    let whole = *rest;
    let (&marker, after) = whole.split_first().ok_or_else(cut)?;
    let Head { kind, skip, values } = Head::read(marker, after);
    let skip = usize::try_from(skip).map_err(|_| cut())?;
    *rest = after.get(skip..).ok_or_else(cut)?;
    if depth > NESTING_MAX {
        return Err(PayloadError(format!("a value nests deeper than {NESTING_MAX} levels")));
    }
    Ok(Digest(match kind {
        Kind::Scalar => scalar_digest(&whole[..=skip]),
        Kind::Array => {
            let mut hasher = Xxh3::new();
            hasher.update(b"array");
            hasher.update(&values.to_le_bytes());
            for _ in 0..values {
                hasher.update(&next_digest(rest, depth + 1)?.0.to_le_bytes());
            }
            hasher.digest128()
        }
        Kind::Map => {
            let entries = values / 2;
            // A commutative sum stands for the set of entries.
            let mut sum = 0u128;
            for _ in 0..entries {
                let mut pair = [0u8; 32];
                pair[..16].copy_from_slice(&next_digest(rest, depth + 1)?.0.to_le_bytes());
                pair[16..].copy_from_slice(&next_digest(rest, depth + 1)?.0.to_le_bytes());
                sum = sum.wrapping_add(xxh3_128(&pair));
            }
            let mut bytes = [0u8; 27];
            bytes[..3].copy_from_slice(b"map");
            bytes[3..11].copy_from_slice(&entries.to_le_bytes());
            bytes[11..].copy_from_slice(&sum.to_le_bytes());
            xxh3_128(&bytes)
        }
    }))
}

fn scalar_digest(bytes: &[u8]) -> u128 {
    const NAME: &[u8; 6] = b"scalar";
    if bytes.len() <= SHORT {
        let mut buffer = [0u8; NAME.len() + SHORT];
        buffer[..NAME.len()].copy_from_slice(NAME);
        buffer[NAME.len()..NAME.len() + bytes.len()].copy_from_slice(bytes);
        return xxh3_128(&buffer[..NAME.len() + bytes.len()]);
    }
    let mut hasher = Xxh3::new();
    hasher.update(NAME);
    hasher.update(bytes);
    hasher.digest128()
}

#[cfg(test)]
#[expect(clippy::disallowed_types, reason = "what another order of a map does is what is tested")]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use proptest::prelude::*;
    use rmpv::Value;

    use super::*;
    use crate::payload::Payload;

    #[test]
    fn map_order_is_no_divergence_but_sequence_order_is() {
        let hashed: HashMap<u32, u32> = (0..100).map(|n| (n, n * n)).collect();
        let sorted: BTreeMap<u32, u32> = (0..100).map(|n| (n, n * n)).collect();
        assert_eq!(Payload::digest(&hashed), Payload::digest(&sorted));
        assert_ne!(Payload::digest(&vec![1, 2]), Payload::digest(&vec![2, 1]));
        assert_ne!(Payload::digest(&vec![vec![1], vec![]]), Payload::digest(&vec![vec![], vec![1]]));
    }

    /// The same, over a tree of values.
    fn of_tree(value: &Value) -> Digest {
        let mut hasher = Xxh3::new();
        match value {
            Value::Map(entries) => {
                let sum = entries.iter().fold(0u128, |sum, (key, value)| {
                    let pair = [of_tree(key).0.to_le_bytes(), of_tree(value).0.to_le_bytes()].concat();
                    sum.wrapping_add(xxh3_128(&pair))
                });
                hasher.update(b"map");
                hasher.update(&(entries.len() as u64).to_le_bytes());
                hasher.update(&sum.to_le_bytes());
            }
            Value::Array(items) => {
                hasher.update(b"array");
                hasher.update(&(items.len() as u64).to_le_bytes());
                items.iter().for_each(|item| hasher.update(&of_tree(item).0.to_le_bytes()));
            }
            scalar => {
                hasher.update(b"scalar");
                let mut bytes = Vec::new();
                rmpv::encode::write_value(&mut bytes, scalar).expect("memory takes it");
                hasher.update(&bytes);
            }
        }
        Digest(hasher.digest128())
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Nil),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-40i64..40).prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f32>().prop_map(Value::F32),
            any::<f64>().prop_map(Value::F64),
            proptest::collection::vec(any::<char>(), 0..80)
                .prop_map(|text| Value::from(text.iter().collect::<String>())),
            proptest::collection::vec(any::<u8>(), 0..300).prop_map(Value::Binary),
            (any::<i8>(), proptest::collection::vec(any::<u8>(), 0..40))
                .prop_map(|(kind, bytes)| Value::Ext(kind, bytes)),
        ];
        leaf.prop_recursive(5, 60, 20, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::Array),
                proptest::collection::vec((inner.clone(), inner), 0..20).prop_map(Value::Map),
            ]
        })
    }

    proptest! {
        #[test]
        fn the_digest_is_that_of_the_tree(value in values()) {
            let mut bytes = Vec::new();
            rmpv::encode::write_value(&mut bytes, &value).expect("memory takes it");
            prop_assert_eq!(digest(&bytes), Ok(of_tree(&value)));
            for end in 0..bytes.len() {
                prop_assert!(digest(&bytes[..end]).is_err());
            }
            bytes.push(0xc0);
            prop_assert!(digest(&bytes).is_err());
        }

        #[test]
        fn hostile_bytes_are_errors(bytes: Vec<u8>) {
            let _ = (digest(&bytes), check_nesting(&bytes));
        }
    }

    #[test]
    fn hostile_nesting_is_an_error() {
        assert!(digest(&[0x91; 100_000]).is_err() && check_nesting(&[0x91; 100_000]).is_err());
        assert!(digest(&[0xdf, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
