//! The outline of MessagePack: where values begin and end, how deep they nest, and their digest. What they mean is left to
//! serde.

use xxhash_rust::xxh3::{Xxh3, xxh3_128};

use crate::digest::Digest;
use crate::payload::PayloadError;

/// How deep a value may nest, written or read: hostile bytes must not exhaust the stack, and what is written on one node
/// must be readable on the others.
pub(crate) const NESTING_MAX: usize = 256;

/// A short scalar is hashed at once, from a buffer on the stack. The head of a value is shorter, too.
const SHORT: usize = 128;

/// What precedes the bytes of a scalar where they are hashed.
const SCALAR: &[u8; 6] = b"scalar";

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
    /// How many bytes behind a marker say how long the value is.
    fn width(marker: u8) -> usize {
        match marker {
            0xc4 | 0xc7 | 0xd9 => 1,
            0xc5 | 0xc8 | 0xda | 0xdc | 0xde => 2,
            0xc6 | 0xc9 | 0xdb | 0xdd | 0xdf => 4,
            _ => 0,
        }
    }

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

/// How many bytes the value takes that these begin with; `None` where they end before it does. What else may be wrong with
/// it is left to its reader.
///
/// # Errors
/// When it nests deeper than [`NESTING_MAX`].
pub(crate) fn measure(bytes: &[u8]) -> Result<Option<usize>, PayloadError> {
    // Each level takes a byte at least, so the levels of small values need not be counted.
    if bytes.len() <= NESTING_MAX {
        return Ok(measure_small(bytes));
    }
    // How many values are still to come on each level.
    let mut levels: Vec<u64> = Vec::new();
    let mut rest = bytes;
    while let Some((&marker, after)) = rest.split_first() {
        let Head { skip, values, .. } = Head::read(marker, after);
        let Some(next) = usize::try_from(skip).ok().and_then(|skip| after.get(skip..)) else { return Ok(None) };
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
            return Ok(Some(bytes.len() - rest.len()));
        }
    }
    Ok(None)
}

/// Refuses what nests deeper than [`NESTING_MAX`]. What else may be wrong with it is left to its reader.
pub(crate) fn check_nesting(bytes: &[u8]) -> Result<(), PayloadError> {
    if bytes.len() <= NESTING_MAX { Ok(()) } else { measure(bytes).map(drop) }
}

fn measure_small(bytes: &[u8]) -> Option<usize> {
    let (mut rest, mut values) = (bytes, 1_u64);
    while values > 0 {
        let (&marker, after) = rest.split_first()?;
        let (skip, holds) = match marker {
            // Most of what actions are made of, without a call.
            0x00..=0x7f | 0xe0..=0xff => (0, 0),
            0x80..=0x8f => (0, u64::from(marker & 0x0f) * 2),
            0xa0..=0xbf => (usize::from(marker & 0x1f), 0),
            _ => {
                let Head { skip, values, .. } = Head::read(marker, after);
                (usize::try_from(skip).ok()?, values)
            }
        };
        rest = after.get(skip..)?;
        // What says that it holds more than there can be ends before that.
        values = (values - 1).saturating_add(holds);
    }
    Some(bytes.len() - rest.len())
}

/// Follows a value that is written or read piece by piece: how deep it nests, and its digest. In that the order of a map's
/// entries does not count: a `HashMap` has another order on every node, and that is no divergence. The order of sequences
/// counts.
#[derive(Default)]
pub(crate) struct Outline {
    /// What encloses the next value, from the outside in.
    levels: Vec<Level>,
    /// The beginning of a value that is not whole yet: its head, or a short scalar.
    part: Vec<u8>,
    /// A long scalar, and how much of it is still to come.
    long: Option<(Box<Xxh3>, u64)>,
    digest: Option<Digest>,
}

/// A sequence or a map that is not whole yet.
struct Level {
    /// How many values are still to come: of a map, keys and values.
    left: u64,
    of: Of,
}

#[expect(clippy::large_enum_variant, reason = "there are few levels, and each is used a million times")]
enum Of {
    Array(Xxh3),
    /// A commutative sum stands for the set of entries.
    Map {
        entries: u64,
        sum: u128,
        key: Option<u128>,
    },
}

impl Level {
    fn array(values: u64) -> Level {
        let mut hasher = Xxh3::new();
        hasher.update(b"array");
        hasher.update(&values.to_le_bytes());
        Level { left: values, of: Of::Array(hasher) }
    }

    fn map(values: u64) -> Level {
        Level { left: values, of: Of::Map { entries: values / 2, sum: 0, key: None } }
    }

    fn take(&mut self, value: u128) {
        self.left -= 1;
        match &mut self.of {
            Of::Array(hasher) => hasher.update(&value.to_le_bytes()),
            Of::Map { sum, key, .. } => match key.take() {
                None => *key = Some(value),
                Some(key) => {
                    let mut pair = [0u8; 32];
                    pair[..16].copy_from_slice(&key.to_le_bytes());
                    pair[16..].copy_from_slice(&value.to_le_bytes());
                    *sum = sum.wrapping_add(xxh3_128(&pair));
                }
            },
        }
    }

    fn digest(&self) -> u128 {
        match &self.of {
            Of::Array(hasher) => hasher.digest128(),
            Of::Map { entries, sum, .. } => {
                let mut bytes = [0u8; 27];
                bytes[..3].copy_from_slice(b"map");
                bytes[3..11].copy_from_slice(&entries.to_le_bytes());
                bytes[11..].copy_from_slice(&sum.to_le_bytes());
                xxh3_128(&bytes)
            }
        }
    }
}

impl Outline {
    /// The next bytes.
    ///
    /// # Errors
    /// When the value nests deeper than [`NESTING_MAX`], or is followed by another one.
    pub(crate) fn follow(&mut self, mut bytes: &[u8]) -> Result<(), PayloadError> {
        while !bytes.is_empty() {
            if self.part.is_empty() {
                match self.next(bytes)? {
                    0 => {
                        self.part.extend_from_slice(bytes);
                        return Ok(());
                    }
                    taken => bytes = &bytes[taken..],
                }
            } else {
                let mut part = std::mem::take(&mut self.part);
                let before = part.len();
                part.extend_from_slice(&bytes[..bytes.len().min(SHORT - before)]);
                let taken = self.next(&part)?;
                if taken == 0 {
                    self.part = part;
                    return Ok(());
                }
                bytes = &bytes[taken - before..];
            }
        }
        Ok(())
    }

    /// Takes the head of a value, a whole short scalar, or a piece of a long one, and says how many bytes that were; 0 when it
    /// is not all there.
    fn next(&mut self, bytes: &[u8]) -> Result<usize, PayloadError> {
        if let Some((hasher, left)) = &mut self.long {
            let taken = usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
            hasher.update(&bytes[..taken]);
            *left -= taken as u64;
            if *left == 0 {
                let digest = hasher.digest128();
                self.long = None;
                self.value(digest);
            }
            return Ok(taken);
        }
        if self.digest.is_some() {
            return Err(PayloadError("there is more than one value".into()));
        }
        let (&marker, after) = bytes.split_first().expect("whoever calls it has some");
        let width = Head::width(marker);
        if after.len() < width {
            return Ok(0);
        }
        let Head { kind, skip, values } = Head::read(marker, after);
        let level = match kind {
            Kind::Scalar => return Ok(self.scalar(bytes, skip.saturating_add(1))),
            Kind::Array => Level::array(values),
            Kind::Map => Level::map(values),
        };
        if values == 0 {
            self.value(level.digest());
        } else if self.levels.len() == NESTING_MAX {
            return Err(PayloadError(format!("a value nests deeper than {NESTING_MAX} levels")));
        } else {
            self.levels.push(level);
        }
        Ok(1 + width)
    }

    fn scalar(&mut self, bytes: &[u8], length: u64) -> usize {
        match usize::try_from(length) {
            Ok(length) if length <= SHORT && length <= bytes.len() => {
                self.value(scalar_digest(&bytes[..length]));
                length
            }
            Ok(length) if length <= SHORT => 0,
            _ => {
                let mut hasher = Box::new(Xxh3::new());
                hasher.update(SCALAR);
                let taken = usize::try_from(length).map_or(bytes.len(), |length| length.min(bytes.len()));
                hasher.update(&bytes[..taken]);
                match length - taken as u64 {
                    0 => self.value(hasher.digest128()),
                    left => self.long = Some((hasher, left)),
                }
                taken
            }
        }
    }

    /// A value is whole, and with it what it was the last one of.
    fn value(&mut self, mut digest: u128) {
        while let Some(level) = self.levels.last_mut() {
            level.take(digest);
            if level.left > 0 {
                return;
            }
            digest = level.digest();
            self.levels.pop();
        }
        self.digest = Some(Digest(digest));
    }

    /// The digest of the value.
    ///
    /// # Errors
    /// When it is not whole.
    pub(crate) fn end(&self) -> Result<Digest, PayloadError> {
        self.digest.ok_or_else(|| PayloadError("a value is cut".into()))
    }
}

/// Of a short one.
fn scalar_digest(bytes: &[u8]) -> u128 {
    let mut buffer = [0u8; SCALAR.len() + SHORT];
    buffer[..SCALAR.len()].copy_from_slice(SCALAR);
    buffer[SCALAR.len()..SCALAR.len() + bytes.len()].copy_from_slice(bytes);
    xxh3_128(&buffer[..SCALAR.len() + bytes.len()])
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

    fn digest(bytes: &[u8]) -> Result<Digest, PayloadError> {
        let mut outline = Outline::default();
        outline.follow(bytes)?;
        outline.end()
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
            for piece in [1, 2, 3, 7, 127, 128, 129] {
                let mut outline = Outline::default();
                for piece in bytes.chunks(piece) {
                    prop_assert_eq!(outline.follow(piece), Ok(()));
                }
                prop_assert_eq!(outline.end(), Ok(of_tree(&value)), "in pieces of {}", piece);
            }
            for end in 0..bytes.len() {
                prop_assert!(digest(&bytes[..end]).is_err());
                prop_assert_eq!(measure(&bytes[..end]), Ok(None));
            }
            let length = bytes.len();
            bytes.push(0xc0);
            prop_assert!(digest(&bytes).is_err());
            prop_assert_eq!(measure(&bytes), Ok(Some(length)));
            bytes.resize(length + NESTING_MAX, 0xc0);
            prop_assert_eq!(measure(&bytes), Ok(Some(length)), "however it is counted");
        }

        #[test]
        fn hostile_bytes_are_errors(bytes: Vec<u8>) {
            let _ = (digest(&bytes), measure(&bytes));
        }
    }

    #[test]
    fn values_that_are_larger_than_any_drawn_have_the_digest_of_the_tree() {
        let nils = |count| std::iter::repeat_n(Value::Nil, count);
        for value in [
            Value::from("x".repeat(70_000)),
            Value::Binary(vec![1; 70_000]),
            Value::Ext(5, vec![2; 300]),
            Value::Ext(5, vec![3; 70_000]),
            Value::Array(nils(70_000).collect()),
            Value::Map((0..70_000).map(Value::from).zip(nils(70_000)).collect()),
        ] {
            let mut bytes = Vec::new();
            rmpv::encode::write_value(&mut bytes, &value).expect("memory takes it");
            assert_eq!(digest(&bytes), Ok(of_tree(&value)));
            assert_eq!(measure(&bytes), Ok(Some(bytes.len())));
            digest(&bytes[..bytes.len() - 1]).expect_err("it is cut");
        }
    }

    #[test]
    fn what_is_wide_is_not_deep() {
        let wide = vec![vec![vec![1u8, 2]; 2]; NESTING_MAX + 1];
        let mut bytes = Vec::new();
        wide.encode(&mut bytes).expect("it is written");
        assert_eq!(Payload::decode(&bytes), Ok(wide));
    }

    #[test]
    fn hostile_nesting_is_an_error() {
        assert!(digest(&[0x91; 100_000]).is_err() && measure(&[0x91; 100_000]).is_err());
        assert!(digest(&[0xdf, 0xff, 0xff, 0xff, 0xff]).is_err());
    }
}
