//! The fixed layout under everything conflux itself writes: little-endian integers, and lengths checked before use.

use std::sync::Arc;

use crate::digest::Digest;
use crate::ids::{BatchId, Incarnation, NODE_NAME_BYTES_MAX, NodeName, SessionId};

/// Bytes that are not what they claim to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The bytes end too early.
    #[error("the bytes end inside {what}: {needed} are needed, {left} are left")]
    Short {
        /// What was being read.
        what: &'static str,
        /// How many bytes it takes.
        needed: u64,
        /// How many there are.
        left: u64,
    },
    /// A value that the layout does not allow.
    #[error("{what} holds {came}, which is not allowed")]
    Invalid {
        /// What was being read.
        what: &'static str,
        /// What it held.
        came: String,
    },
    /// Bytes are left over at the end.
    #[error("{0} bytes are left over at the end")]
    Trailing(u64),
}

impl CodecError {
    /// An [`Invalid`](CodecError::Invalid).
    pub fn invalid(what: &'static str, came: impl ToString) -> Self {
        CodecError::Invalid { what, came: came.to_string() }
    }
}

/// Reads a byte string from the front.
#[derive(Clone, Debug)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// Over all of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader(bytes)
    }

    /// How many bytes are left.
    #[must_use]
    pub fn left(&self) -> usize {
        self.0.len()
    }

    /// The next `count` bytes.
    ///
    /// # Errors
    /// When there are fewer.
    #[inline]
    pub fn take(&mut self, what: &'static str, count: usize) -> Result<&'a [u8], CodecError> {
        if count > self.0.len() {
            return Err(CodecError::Short { what, needed: count as u64, left: self.0.len() as u64 });
        }
        let (taken, rest) = self.0.split_at(count);
        self.0 = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], CodecError> {
        Ok(self.take(what, N)?.try_into().expect("as many bytes were taken"))
    }

    /// One byte.
    ///
    /// # Errors
    /// When there is none.
    #[inline]
    pub fn u8(&mut self, what: &'static str) -> Result<u8, CodecError> {
        Ok(self.array::<1>(what)?[0])
    }

    /// One byte, 0 or 1.
    ///
    /// # Errors
    /// When there is none, or it is another.
    pub fn flag(&mut self, what: &'static str) -> Result<bool, CodecError> {
        match self.u8(what)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(CodecError::invalid(what, other)),
        }
    }

    /// Four bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn u32(&mut self, what: &'static str) -> Result<u32, CodecError> {
        Ok(u32::from_le_bytes(self.array(what)?))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn u64(&mut self, what: &'static str) -> Result<u64, CodecError> {
        Ok(u64::from_le_bytes(self.array(what)?))
    }

    /// Sixteen bytes.
    ///
    /// # Errors
    /// When there are fewer.
    pub fn digest(&mut self, what: &'static str) -> Result<Digest, CodecError> {
        Ok(Digest(u128::from_le_bytes(self.array(what)?)))
    }

    /// An integer of 1 to 10 bytes, 7 bits each, the lowest first (LEB128).
    ///
    /// # Errors
    /// When it is cut off or does not fit 64 bits.
    #[inline]
    pub fn varint(&mut self, what: &'static str) -> Result<u64, CodecError> {
        // Most are small.
        if let [byte @ 0..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint(what)
    }

    fn long_varint(&mut self, what: &'static str) -> Result<u64, CodecError> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(CodecError::invalid(what, "an integer of more than 64 bits"))
    }

    /// A count of what happened one by one. It can be added to, as nothing happened 2^63 times.
    ///
    /// # Errors
    /// When it is cut off or so large that it is not true.
    pub fn tally(&mut self, what: &'static str) -> Result<u64, CodecError> {
        match self.varint(what)? {
            tally if tally >> 63 == 0 => Ok(tally),
            tally => Err(CodecError::invalid(what, tally)),
        }
    }

    /// A count of things of at least `each` bytes: never more than can still follow, so it is safe to allocate for.
    ///
    /// # Errors
    /// When that many cannot follow.
    pub fn count(&mut self, what: &'static str, each: usize) -> Result<usize, CodecError> {
        let count = self.varint(what)?;
        let needed = count.saturating_mul(each.max(1) as u64);
        if needed > self.left() as u64 {
            return Err(CodecError::Short { what, needed, left: self.left() as u64 });
        }
        Ok(usize::try_from(count).expect("it is no more than the bytes that are left"))
    }

    /// A length, then as many bytes.
    ///
    /// # Errors
    /// When they are cut off.
    pub fn bytes(&mut self, what: &'static str) -> Result<&'a [u8], CodecError> {
        let count = self.count(what, 1)?;
        self.take(what, count)
    }

    /// A length, then as many bytes of UTF-8, at most `max`.
    ///
    /// # Errors
    /// When they are cut off, too many, or no UTF-8.
    pub fn text(&mut self, what: &'static str, max: usize) -> Result<&'a str, CodecError> {
        let bytes = self.bytes(what)?;
        if bytes.len() > max {
            return Err(CodecError::invalid(what, format!("{} bytes, more than {max}", bytes.len())));
        }
        std::str::from_utf8(bytes).map_err(|error| CodecError::invalid(what, error))
    }

    /// A node's name.
    ///
    /// # Errors
    /// When it is cut off, empty, too long or no UTF-8.
    pub fn node_name(&mut self) -> Result<NodeName, CodecError> {
        match self.text("a node's name", NODE_NAME_BYTES_MAX)? {
            "" => Err(CodecError::invalid("a node's name", "nothing")),
            name => Ok(Arc::from(name)),
        }
    }

    /// A batch id.
    ///
    /// # Errors
    /// When it is cut off.
    pub fn batch_id(&mut self) -> Result<BatchId, CodecError> {
        let what = "a batch id";
        let (term, incarnation, counter) = (self.u64(what)?, self.u64(what)?, self.u64(what)?);
        Ok(BatchId { term, incarnation: Incarnation(incarnation), counter })
    }

    /// A session id.
    ///
    /// # Errors
    /// When it is cut off or its name is not allowed.
    pub fn session_id(&mut self) -> Result<SessionId, CodecError> {
        let node = self.node_name()?;
        let incarnation = Incarnation(self.u64("a session id")?);
        Ok(SessionId { node, incarnation, number: self.u64("a session id")? })
    }

    /// Says that everything was read.
    ///
    /// # Errors
    /// When bytes are left.
    pub fn end(self) -> Result<(), CodecError> {
        if self.0.is_empty() { Ok(()) } else { Err(CodecError::Trailing(self.0.len() as u64)) }
    }
}

/// Writes what [`Reader`] reads. Writing to memory cannot fail.
pub trait Writer {
    /// Appends raw bytes.
    fn put(&mut self, bytes: &[u8]);

    /// One byte.
    fn put_u8(&mut self, value: u8) {
        self.put(&[value]);
    }
    /// Four bytes.
    fn put_u32(&mut self, value: u32) {
        self.put(&value.to_le_bytes());
    }
    /// Eight bytes.
    fn put_u64(&mut self, value: u64) {
        self.put(&value.to_le_bytes());
    }
    /// Sixteen bytes.
    fn put_digest(&mut self, value: Digest) {
        self.put(&value.0.to_le_bytes());
    }
    /// See [`Reader::varint`].
    #[inline]
    fn put_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.put_u8(value as u8);
    }
    /// A length and the bytes.
    fn put_bytes(&mut self, bytes: &[u8]) {
        self.put_varint(bytes.len() as u64);
        self.put(bytes);
    }
    /// A batch id.
    fn put_batch_id(&mut self, id: BatchId) {
        self.put_u64(id.term);
        self.put_u64(id.incarnation.0);
        self.put_u64(id.counter);
    }
    /// A session id.
    fn put_session_id(&mut self, id: &SessionId) {
        self.put_bytes(id.node.as_bytes());
        self.put_u64(id.incarnation.0);
        self.put_u64(id.number);
    }
}

impl Writer for Vec<u8> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    #[inline]
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }
}

/// Appends three integers as [`Writer::put_varint`] does. One piece of a known length takes half the instructions of as many
/// single bytes.
#[inline]
pub(crate) fn put_varints(bytes: &mut Vec<u8>, values: [u64; 3]) {
    // Ten bytes each at most.
    let (mut piece, mut length) = ([0; 32], 0);
    for mut value in values {
        while value >= 0x80 {
            piece[length] = value as u8 | 0x80;
            value >>= 7;
            length += 1;
        }
        piece[length] = value as u8;
        length += 1;
    }
    let end = bytes.len() + length;
    bytes.extend_from_slice(&piece);
    bytes.truncate(end);
}

/// Appends a length-prefixed value whose length is known only once it is written.
///
/// # Errors
/// What `write` says.
pub(crate) fn put_sized<E>(bytes: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
    // A fixed four-byte length, so that nothing has to be moved or copied afterwards.
    let at = bytes.len();
    bytes.put_u32(0);
    write(bytes)?;
    let length = u32::try_from(bytes.len() - at - 4).expect("a value is smaller than 4 GiB: batches are bounded");
    bytes[at..at + 4].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

/// Reads what [`put_sized`] wrote.
pub(crate) fn take_sized<'a>(reader: &mut Reader<'a>, what: &'static str) -> Result<&'a [u8], CodecError> {
    let length = reader.u32(what)?;
    reader.take(what, length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn three_integers_are_as_one_by_one() {
        for values in [[0, 1, 127], [128, u64::MAX, 16_384], [u64::MAX; 3]] {
            let (mut together, mut apart) = (vec![7], vec![7]);
            put_varints(&mut together, values);
            values.into_iter().for_each(|value| apart.put_varint(value));
            assert_eq!(together, apart);
        }
    }

    proptest! {
        #[test]
        fn varints_round_trip(value: u64) {
            let mut bytes = Vec::new();
            bytes.put_varint(value);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(reader.varint("it"), Ok(value));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn hostile_bytes_are_errors(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            while reader.varint("it").is_ok() {}
            let mut reader = Reader::new(&bytes);
            while reader.bytes("it").is_ok() {}
            let _ = Reader::new(&bytes).session_id();
        }
    }

    #[test]
    fn an_integer_of_more_than_64_bits_is_none() {
        let varint = |last: u8| Reader::new(&[&[0x80; 9][..], &[last]].concat()).varint("it");
        assert_eq!((varint(0), varint(1)), (Ok(0), Ok(1 << 63)));
        // Bits that fall out of it, and one byte more.
        for last in [2, 0x7f, 0x80, 0x81] {
            assert!(matches!(varint(last), Err(CodecError::Invalid { .. })), "{last:x}");
        }
    }

    #[test]
    fn a_huge_count_is_refused_before_it_is_believed() {
        let mut bytes = Vec::new();
        bytes.put_varint(u64::MAX);
        assert!(matches!(Reader::new(&bytes).count("things", 8), Err(CodecError::Short { .. })));
    }
}
