//! The layout of one frame.
//!
//! Little endian, [`HEADER_BYTES`] of header, then the payload:
//!
//! | at | bytes | what |
//! |---:|---:|---|
//! | 0 | 1 | magic, `0xcf` |
//! | 1 | 1 | [`VERSION`] of this layout; what follows may differ in another |
//! | 2 | 2 | [`Kind`] |
//! | 4 | 4 | flags: bits 0 and 1 are the [`Role`], the others are zero |
//! | 8 | 4 | group |
//! | 12 | 8 | cluster |
//! | 20 | 8 | message id, of the sender; an answer carries the request's |
//! | 28 | 4 | chunk index, from 0 |
//! | 32 | 4 | chunk count, at least 1 |
//! | 36 | 8 | total length of the message's body |
//! | 44 | 4 | length of this payload |
//! | 48 | 4 | crc32 of the message's whole body; 0 where one chunk is all of it |
//! | 52 | 4 | crc32 of bytes 0 to 52 and the payload |
//!
//! crc32 is that of IEEE 802.3. The body's is the same in all chunks of a message, and tells them from those of another
//! with the same id (a node that restarts may use its ids again).

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::Limits;

/// The version of the layout that this code writes, and the only one that it reads.
pub const VERSION: u8 = 1;

/// The length of a frame's header.
pub const HEADER_BYTES: usize = 56;

const MAGIC: u8 = 0xcf;
const CHECKSUM_AT: usize = 52;

/// What a message is about. The wire only carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Kind(pub u16);

/// What the wire carries with a body without looking at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Head {
    /// What the message is about.
    pub kind: Kind,
    /// Which container it is for, of those that share the connections.
    pub group: u32,
    /// The cluster's id; 0 while it is not formed.
    pub cluster: u64,
}

/// What a message is in the exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// One way: no answer is expected.
    Post,
    /// A question.
    Request,
    /// The answer to a request.
    Response,
    /// The refusal of a request; the body is the reason, in UTF-8.
    Refusal,
}

/// One frame: a whole message, or a chunk of one. The fields are as they stand in the header; [`decode`](Self::decode)
/// says which values make sense.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What the message carries besides its body.
    pub head: Head,
    /// What the message is in the exchange.
    pub role: Role,
    /// The message's id.
    pub id: u64,
    /// Which chunk of the message this is, from 0.
    pub index: u32,
    /// How many chunks the message has.
    pub count: u32,
    /// How long the body of the whole message is.
    pub total: u64,
    /// The crc32 of the whole message's body; 0 when it has one chunk.
    pub body_checksum: u32,
    /// The body, or this chunk of it.
    pub payload: Bytes,
}

/// Why a frame was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// It has no whole header.
    #[error(
        "a frame has at least {HEADER_BYTES} bytes, but {len} came: the channel cut it, or the sender is no conflux node"
    )]
    TooShort {
        /// The frame's length.
        len: usize,
    },
    /// It does not begin as a frame does.
    #[error("a frame begins with {MAGIC:#04x}, but {came:#04x} came: the sender is no conflux node")]
    Magic {
        /// The first byte.
        came: u8,
    },
    /// It has a layout that this code does not know.
    #[error("frames of version {supported} are understood, but version {came} came: run the same release on all nodes")]
    Version {
        /// The frame's version.
        came: u8,
        /// The version that this code reads.
        supported: u8,
    },
    /// The payload is longer or shorter than the header says.
    #[error("a frame announced {announced} bytes of payload, but {came} came: the channel cut or joined frames")]
    Length {
        /// What the header says.
        announced: u32,
        /// What follows the header.
        came: usize,
    },
    /// The bytes were changed on the way.
    #[error(
        "a frame's checksum is {announced:#010x}, but its bytes give {computed:#010x}: they were changed on the way"
    )]
    Checksum {
        /// What the header says.
        announced: u32,
        /// What the bytes give.
        computed: u32,
    },
    /// The flags have no meaning in this version.
    #[error("a frame has the flags {came:#x}, which mean nothing in version {VERSION}: the sender is broken")]
    Flags {
        /// The frame's flags.
        came: u32,
    },
    /// The message is over the limit.
    #[error("a message of {total} bytes was announced, but the limit is {limit}: raise message_bytes_max on all nodes")]
    Oversize {
        /// How long the whole message is said to be.
        total: u64,
        /// The longest allowed.
        limit: usize,
    },
    /// The chunk's place, count and length do not go together.
    #[error("chunk {index} of {count} with {len} of {total} bytes came, which cannot be: the sender is broken")]
    Chunk {
        /// The chunk's index.
        index: u32,
        /// The message's chunk count.
        count: u32,
        /// The length of the chunk.
        len: usize,
        /// The length of the whole message.
        total: u64,
    },
    /// The chunk contradicts the earlier chunks of its message.
    #[error(
        "chunk {index} of message {id} contradicts the chunks before it: the sender is broken, or two have one name"
    )]
    Mismatch {
        /// The message's id.
        id: u64,
        /// The chunk's index.
        index: u32,
    },
}

impl Role {
    const ALL: [Role; 4] = [Role::Post, Role::Request, Role::Response, Role::Refusal];

    fn flags(self) -> u32 {
        self as u32
    }

    fn from_flags(flags: u32) -> Option<Role> {
        Role::ALL.get(usize::try_from(flags).ok()?).copied()
    }

    pub(super) fn is_answer(self) -> bool {
        matches!(self, Role::Response | Role::Refusal)
    }
}

impl Frame {
    /// The frame's bytes, in one allocation.
    pub fn encode(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(HEADER_BYTES + self.payload.len());
        self.encode_into(&mut bytes);
        bytes.freeze()
    }

    /// Append the frame's bytes, with at most one allocation.
    ///
    /// # Panics
    /// When the payload is 4 GiB or longer.
    pub fn encode_into(&self, bytes: &mut BytesMut) {
        let len = u32::try_from(self.payload.len()).expect("a payload is shorter than 4 GiB");
        bytes.reserve(HEADER_BYTES + self.payload.len());
        let start = bytes.len();
        bytes.put_u8(MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_u16_le(self.head.kind.0);
        bytes.put_u32_le(self.role.flags());
        bytes.put_u32_le(self.head.group);
        bytes.put_u64_le(self.head.cluster);
        bytes.put_u64_le(self.id);
        bytes.put_u32_le(self.index);
        bytes.put_u32_le(self.count);
        bytes.put_u64_le(self.total);
        bytes.put_u32_le(len);
        bytes.put_u32_le(self.body_checksum);
        debug_assert_eq!(bytes.len() - start, CHECKSUM_AT);
        let checksum = checksum(&bytes[start..], &self.payload);
        bytes.put_u32_le(checksum);
        bytes.put_slice(&self.payload);
    }

    /// Read a frame. The payload is a slice of `bytes`; nothing is allocated.
    pub fn decode(bytes: Bytes, limits: &Limits) -> Result<Frame, FrameError> {
        // Magic and version come first: in another version the rest may mean something else.
        if let Some(&came) = bytes.first()
            && came != MAGIC
        {
            return Err(FrameError::Magic { came });
        }
        if let Some(&came) = bytes.get(1)
            && came != VERSION
        {
            return Err(FrameError::Version { came, supported: VERSION });
        }
        if bytes.len() < HEADER_BYTES {
            return Err(FrameError::TooShort { len: bytes.len() });
        }
        let (mut header, payload) = (&bytes[2..HEADER_BYTES], bytes.slice(HEADER_BYTES..));
        let kind = Kind(header.get_u16_le());
        let flags = header.get_u32_le();
        let group = header.get_u32_le();
        let cluster = header.get_u64_le();
        let id = header.get_u64_le();
        let index = header.get_u32_le();
        let count = header.get_u32_le();
        let total = header.get_u64_le();
        let len = header.get_u32_le();
        let body_checksum = header.get_u32_le();
        let announced = header.get_u32_le();

        if len as usize != payload.len() {
            return Err(FrameError::Length { announced: len, came: payload.len() });
        }
        // Before the fields are judged, so that a flipped bit is called one.
        let computed = checksum(&bytes[..CHECKSUM_AT], &payload);
        if announced != computed {
            return Err(FrameError::Checksum { announced, computed });
        }
        let role = Role::from_flags(flags).ok_or(FrameError::Flags { came: flags })?;
        if total > limits.message_bytes_max as u64 {
            return Err(FrameError::Oversize { total, limit: limits.message_bytes_max });
        }
        let len = payload.len() as u64;
        let fits = match count {
            0 => false,
            1 => index == 0 && len == total,
            // Every chunk has something, so the others need at least a byte each.
            _ => index < count && len > 0 && len + u64::from(count - 1) <= total,
        };
        if !fits {
            return Err(FrameError::Chunk { index, count, len: payload.len(), total });
        }
        let head = Head { kind, group, cluster };
        Ok(Frame { head, role, id, index, count, total, body_checksum, payload })
    }
}

fn checksum(header: &[u8], payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(header);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        Frame {
            head: Head { kind: Kind(0x0102), group: 0x0304_0506, cluster: 0x0708_090a_0b0c_0d0e },
            role: Role::Response,
            id: 0x1112_1314_1516_1718,
            index: 1,
            count: 3,
            total: 11,
            body_checksum: 0x2122_2324,
            payload: Bytes::from_static(b"hello"),
        }
    }

    fn decode(bytes: impl Into<Bytes>) -> Result<Frame, FrameError> {
        Frame::decode(bytes.into(), &Limits::default())
    }

    /// The frame's bytes with one changed and the checksum made right again.
    fn forged(at: usize, byte: u8) -> Vec<u8> {
        let mut bytes = frame().encode().to_vec();
        bytes[at] = byte;
        let right = checksum(&bytes[..CHECKSUM_AT], &bytes[HEADER_BYTES..]);
        bytes[CHECKSUM_AT..HEADER_BYTES].copy_from_slice(&right.to_le_bytes());
        bytes
    }

    /// The layout is a format: when this fails, the version has to go up.
    #[test]
    fn the_bytes_are_as_documented() {
        let bytes = frame().encode();
        let golden = [
            "cf 01 0201 02000000 06050403 0e0d0c0b0a090807 1817161514131211",
            "01000000 03000000 0b00000000000000 05000000 24232221 787049be 68656c6c6f",
        ];
        let golden = golden.concat().replace(' ', "");
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
        assert_eq!(decode(bytes), Ok(frame()));
    }

    #[test]
    fn encoding_appends_and_decoding_copies_nothing() {
        let mut bytes = BytesMut::from(&b"before"[..]);
        frame().encode_into(&mut bytes);
        assert_eq!(bytes[6..], frame().encode());
        let bytes = bytes.freeze().slice(6..);
        let decoded = decode(bytes.clone()).unwrap();
        assert_eq!(decoded.payload.as_ptr(), bytes[HEADER_BYTES..].as_ptr());
    }

    #[test]
    fn each_malformation_has_its_error() {
        let good = frame().encode().to_vec();
        assert_eq!(decode(vec![]), Err(FrameError::TooShort { len: 0 }));
        assert_eq!(decode(good[..55].to_vec()), Err(FrameError::TooShort { len: 55 }));
        assert_eq!(decode(b"GET / HTTP/1.1".to_vec()), Err(FrameError::Magic { came: b'G' }));
        assert_eq!(decode(vec![MAGIC, 9]), Err(FrameError::Version { came: 9, supported: 1 }));
        assert_eq!(decode(good[..60].to_vec()), Err(FrameError::Length { announced: 5, came: 4 }));
        let joined = [&good[..], &good[..]].concat();
        assert_eq!(decode(joined), Err(FrameError::Length { announced: 5, came: 66 }));
        for at in (2..44).chain(48..61) {
            let mut changed = good.clone();
            changed[at] ^= 0x10;
            assert!(matches!(decode(changed), Err(FrameError::Checksum { .. })), "byte {at}");
        }
        assert_eq!(decode(forged(4, 4)), Err(FrameError::Flags { came: 4 }));
        assert_eq!(decode(forged(7, 0x80)), Err(FrameError::Flags { came: 0x8000_0002 }));
        assert_eq!(decode(forged(43, 1)), Err(FrameError::Oversize { total: (1 << 56) + 11, limit: 256 << 20 }));
        let chunk = |index, count, total| Err(FrameError::Chunk { index, count, len: 5, total });
        assert_eq!(decode(forged(28, 3)), chunk(3, 3, 11));
        assert_eq!(decode(forged(32, 0)), chunk(1, 0, 11));
        assert_eq!(decode(forged(32, 1)), chunk(1, 1, 11));
        assert_eq!(decode(forged(32, 8)), chunk(1, 8, 11));
        assert_eq!(decode(forged(36, 6)), chunk(1, 3, 6));
    }
}
