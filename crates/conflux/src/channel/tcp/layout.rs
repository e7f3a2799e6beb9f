//! What goes over a connection: the layout of the handshake and of the records behind it. No I/O here.
//!
//! Numbers are little endian. The side that dials begins with a *hello*; the other answers with a *welcome*, or with a
//! *refusal* and closes. A dialer that does not like who answered sends a refusal, too. Each of these *openings* is
//! 8 bytes of header and a body of at most [`OPENING_BODY_BYTES_MAX`] bytes:
//!
//! | at | bytes | what |
//! |---:|---:|---|
//! | 0 | 4 | [`MAGIC`] |
//! | 4 | 1 | [`VERSION`] |
//! | 5 | 1 | 1 hello, 2 welcome, 3 refusal |
//! | 6 | 2 | length of the body |
//!
//! The header, and the body of a refusal, stay the same in all versions: so a refusal for the version can be read.
//!
//! Behind the welcome both sides send *records*: a byte that says what it is, four with the length of the payload, the
//! payload. Frames go from the dialer only; what goes the other way is about the connection.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use crate::channel::{FRAME_BYTES_MIN, NAME_BYTES_MAX, Name};

/// What every opening begins with.
pub const MAGIC: [u8; 4] = *b"cflx";

/// The version of the layout that this code writes, and the only one that it reads.
pub const VERSION: u8 = 1;

/// The length of an opening's header.
pub const OPENING_HEADER_BYTES: usize = 8;

/// The longest body of an opening.
pub const OPENING_BODY_BYTES_MAX: usize = 2048;

/// The longest `HOST:PORT`: a host name has at most 253 bytes.
pub const ADDRESS_BYTES_MAX: usize = 260;

/// The longest reason in a refusal.
pub const REASON_BYTES_MAX: usize = 1024;

/// The largest frame that is sent and taken.
pub const FRAME_BYTES_MAX: usize = FRAME_BYTES_MIN;

/// The length of a record's header.
pub const RECORD_HEADER_BYTES: usize = 5;

/// The most nodes in one introduction.
pub const INTRODUCED_MAX: usize = 64;

/// The longest payload of an introduction.
const INTRODUCTION_BYTES_MAX: usize = INTRODUCED_MAX * (4 + NAME_BYTES_MAX + ADDRESS_BYTES_MAX);

/// Frames from this length on are cut out of the buffer that they were read into. Shorter ones are copied: else one that
/// is kept would keep all of the buffer.
const SHARED_BYTES_MIN: usize = 16 * 1024;

/// How much is read at once, at least.
const READ_BYTES: usize = 64 * 1024;

/// One message of the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// Who dials, and whom.
    Hello(Hello),
    /// Who answers.
    Welcome(Welcome),
    /// Why there is no connection.
    Refusal(Refusal),
}

/// What the side that dials says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Drawn at each attachment: tells a node from another one of the same name.
    pub life: u64,
    /// The how-many-th connection of this life to this peer: tells a newer one from an older.
    pub number: u64,
    /// Who dials.
    pub from: Name,
    /// Whom it means to reach.
    pub to: Name,
    /// Where it can be dialled itself, as `HOST:PORT`. `:PORT` means: at the address that this connection comes from.
    pub address: String,
}

/// What the side that was dialled answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// As in [`Hello`].
    pub life: u64,
    /// Who answers.
    pub name: Name,
}

/// What kind of reason a refusal has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefusalKind {
    /// The other side speaks another version.
    Version,
    /// Another node answers at this address.
    WrongName,
    /// Another process has this name, and is alive.
    NameTaken,
    /// There is a newer connection of the same process.
    Stale,
    /// No more nodes can be learned.
    TooMany,
    /// What came was no opening.
    Malformed,
    /// The certificate is for another name.
    Certificate,
    /// A kind that a later version has.
    Other(u8),
}

/// Why one side does not want the connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refusal {
    /// What kind of reason.
    pub kind: RefusalKind,
    /// The reason, in words that make sense on either side.
    pub reason: String,
}

/// Why bytes were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayoutError {
    /// It is no conflux node that speaks.
    #[error("a connection begins with {MAGIC:02x?}, but {came:02x?} came: what speaks there is no conflux node")]
    Magic {
        /// The first bytes.
        came: [u8; 4],
    },
    /// It begins as TLS does.
    #[error("TLS came where none was expected: give all nodes certificates, or none")]
    Tls,
    /// It is of another version.
    #[error(
        "version {VERSION} of the protocol is understood, but version {came} came: run the same release everywhere"
    )]
    Version {
        /// The version that came.
        came: u8,
    },
    /// It is none of the openings or records, or not one of this direction.
    #[error("{what} of kind {came} is not expected here")]
    Kind {
        /// An opening or a record.
        what: &'static str,
        /// What came.
        came: u8,
    },
    /// It is too long.
    #[error("{what} has at most {limit} bytes, but {came} were announced")]
    TooLong {
        /// What it is.
        what: &'static str,
        /// What was announced.
        came: usize,
        /// The most that is taken.
        limit: usize,
    },
    /// It is not laid out as it should be.
    #[error("{what} is malformed: {why}")]
    Malformed {
        /// What it is.
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
}

impl Opening {
    /// The bytes, header included.
    ///
    /// # Panics
    /// When a name or an address is longer than [`NAME_BYTES_MAX`] or [`ADDRESS_BYTES_MAX`]. A reason is cut instead.
    pub fn encode(&self) -> Bytes {
        let mut body = BytesMut::new();
        let kind = match self {
            Opening::Hello(hello) => {
                body.put_u64_le(hello.life);
                body.put_u64_le(hello.number);
                put_text(&mut body, &hello.from, NAME_BYTES_MAX);
                put_text(&mut body, &hello.to, NAME_BYTES_MAX);
                put_text(&mut body, &hello.address, ADDRESS_BYTES_MAX);
                1
            }
            Opening::Welcome(welcome) => {
                body.put_u64_le(welcome.life);
                put_text(&mut body, &welcome.name, NAME_BYTES_MAX);
                2
            }
            Opening::Refusal(refusal) => {
                body.put_u8(refusal.kind.code());
                let end = refusal.reason.floor_char_boundary(REASON_BYTES_MAX);
                put_text(&mut body, &refusal.reason[..end], REASON_BYTES_MAX);
                3
            }
        };
        let mut bytes = BytesMut::with_capacity(OPENING_HEADER_BYTES + body.len());
        bytes.put_slice(&MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_u8(kind);
        bytes.put_u16_le(u16::try_from(body.len()).expect("the parts of an opening are bounded"));
        bytes.put(body);
        bytes.freeze()
    }

    /// Whether an opening begins like this.
    pub fn check_magic(came: [u8; 4]) -> Result<(), LayoutError> {
        match came {
            MAGIC => Ok(()),
            // The record of a TLS handshake, or of an alert, of any version.
            [0x15 | 0x16, 0x03, _, _] => Err(LayoutError::Tls),
            came => Err(LayoutError::Magic { came }),
        }
    }

    /// How long the body is that follows this header.
    pub fn body_len(header: [u8; OPENING_HEADER_BYTES]) -> Result<usize, LayoutError> {
        let [m0, m1, m2, m3, _, _, l0, l1] = header;
        Self::check_magic([m0, m1, m2, m3])?;
        let came = usize::from(u16::from_le_bytes([l0, l1]));
        if came > OPENING_BODY_BYTES_MAX {
            return Err(LayoutError::TooLong { what: "an opening", came, limit: OPENING_BODY_BYTES_MAX });
        }
        Ok(came)
    }

    /// Reads an opening whose header passed [`body_len`](Self::body_len).
    pub fn decode(header: [u8; OPENING_HEADER_BYTES], mut body: &[u8]) -> Result<Opening, LayoutError> {
        let (version, kind) = (header[4], header[5]);
        // The only kind that is the same in every version.
        if kind != 3 && version != VERSION {
            return Err(LayoutError::Version { came: version });
        }
        let body = &mut body;
        let opening = match kind {
            1 => Opening::Hello(Hello {
                life: take_u64(body, "a hello")?,
                number: take_u64(body, "a hello")?,
                from: take_name(body, "a hello")?,
                to: take_name(body, "a hello")?,
                address: take_text(body, ADDRESS_BYTES_MAX, "a hello")?,
            }),
            2 => Opening::Welcome(Welcome { life: take_u64(body, "a welcome")?, name: take_name(body, "a welcome")? }),
            3 => {
                let what = "a refusal";
                let kind = RefusalKind::of(body.try_get_u8().map_err(|_| too_short(what))?);
                Opening::Refusal(Refusal { kind, reason: take_text(body, REASON_BYTES_MAX, what)? })
            }
            came => return Err(LayoutError::Kind { what: "an opening", came }),
        };
        // A later version may say more in a refusal.
        if !body.is_empty() && version == VERSION {
            return Err(LayoutError::Malformed { what: "an opening", why: "there are bytes left over" });
        }
        Ok(opening)
    }
}

impl RefusalKind {
    fn code(self) -> u8 {
        match self {
            RefusalKind::Version => 1,
            RefusalKind::WrongName => 2,
            RefusalKind::NameTaken => 3,
            RefusalKind::Stale => 4,
            RefusalKind::TooMany => 5,
            RefusalKind::Malformed => 6,
            RefusalKind::Certificate => 7,
            RefusalKind::Other(code) => code,
        }
    }

    fn of(code: u8) -> RefusalKind {
        match code {
            1 => RefusalKind::Version,
            2 => RefusalKind::WrongName,
            3 => RefusalKind::NameTaken,
            4 => RefusalKind::Stale,
            5 => RefusalKind::TooMany,
            6 => RefusalKind::Malformed,
            7 => RefusalKind::Certificate,
            code => RefusalKind::Other(code),
        }
    }
}

/// What goes over a connection once it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A frame of the channel; from the dialer.
    Frame(Bytes),
    /// Nothing but a sign of life; both ways.
    Beat,
    /// Are you there? To the dialer.
    Ask(u64),
    /// I am; from the dialer, with what it was asked.
    Answer(u64),
    /// Other nodes, and where they can be dialled; to the dialer.
    Introduce(Vec<(Name, String)>),
}

impl Record {
    /// What a record of this kind has in front.
    fn header(kind: u8, len: usize) -> [u8; RECORD_HEADER_BYTES] {
        let [l0, l1, l2, l3] = u32::try_from(len).expect("records are bounded far below").to_le_bytes();
        [kind, l0, l1, l2, l3]
    }

    /// What a frame of this length has in front.
    pub fn frame_header(len: usize) -> [u8; RECORD_HEADER_BYTES] {
        Self::header(FRAME, len)
    }

    /// The bytes, header included.
    ///
    /// # Panics
    /// When an introduction has more than [`INTRODUCED_MAX`] nodes, or a name or an address is too long.
    pub fn encode(&self) -> Bytes {
        let mut payload = BytesMut::new();
        let kind = match self {
            Record::Frame(frame) => {
                payload.put_slice(frame);
                FRAME
            }
            Record::Beat => BEAT,
            Record::Ask(nonce) => {
                payload.put_u64_le(*nonce);
                ASK
            }
            Record::Answer(nonce) => {
                payload.put_u64_le(*nonce);
                ANSWER
            }
            Record::Introduce(nodes) => {
                assert!(nodes.len() <= INTRODUCED_MAX, "{} nodes are too many for one introduction", nodes.len());
                for (name, address) in nodes {
                    put_text(&mut payload, name, NAME_BYTES_MAX);
                    put_text(&mut payload, address, ADDRESS_BYTES_MAX);
                }
                INTRODUCE
            }
        };
        let mut bytes = BytesMut::with_capacity(RECORD_HEADER_BYTES + payload.len());
        bytes.put_slice(&Self::header(kind, payload.len()));
        bytes.put(payload);
        bytes.freeze()
    }

    fn decode(kind: u8, mut payload: Bytes) -> Result<Record, LayoutError> {
        let what = "a record";
        let record = match kind {
            FRAME => return Ok(Record::Frame(payload)),
            BEAT => Record::Beat,
            ASK => Record::Ask(payload.try_get_u64_le().map_err(|_| too_short(what))?),
            ANSWER => Record::Answer(payload.try_get_u64_le().map_err(|_| too_short(what))?),
            INTRODUCE => {
                let (mut nodes, rest) = (Vec::new(), &mut &*payload);
                while !rest.is_empty() {
                    if nodes.len() == INTRODUCED_MAX {
                        return Err(LayoutError::Malformed { what: "an introduction", why: "it names too many nodes" });
                    }
                    let name = take_name(rest, "an introduction")?;
                    nodes.push((name, take_text(rest, ADDRESS_BYTES_MAX, "an introduction")?));
                }
                return Ok(Record::Introduce(nodes));
            }
            came => return Err(LayoutError::Kind { what, came }),
        };
        if payload.is_empty() {
            Ok(record)
        } else {
            Err(LayoutError::Malformed { what, why: "there are bytes left over" })
        }
    }
}

const FRAME: u8 = 0;
const BEAT: u8 = 1;
const ASK: u8 = 2;
const ANSWER: u8 = 3;
const INTRODUCE: u8 = 4;

/// The longest payload of a record, if there is such a record.
fn payload_bytes_max(kind: u8) -> Option<usize> {
    match kind {
        FRAME => Some(FRAME_BYTES_MAX),
        BEAT => Some(0),
        ASK | ANSWER => Some(8),
        INTRODUCE => Some(INTRODUCTION_BYTES_MAX),
        _ => None,
    }
}

/// Takes records out of a stream of bytes.
///
/// Holds at most one record that is not whole and what was read behind it, in a buffer that grows with what came and not
/// with what was announced.
#[derive(Debug, Default)]
pub struct Records {
    buffer: BytesMut,
}

impl Records {
    /// Nothing came yet.
    pub fn new() -> Records {
        Records::default()
    }

    /// Where to put what comes next, with room for it.
    pub fn room(&mut self) -> &mut BytesMut {
        // At most doubles: a peer must send a megabyte to make us hold one.
        self.buffer.reserve(self.buffer.len().max(READ_BYTES));
        &mut self.buffer
    }

    /// The next whole record, if it came. After an error the stream is of no more use.
    pub fn take(&mut self) -> Result<Option<Record>, LayoutError> {
        let Some(&[kind, l0, l1, l2, l3]) = self.buffer.first_chunk::<RECORD_HEADER_BYTES>() else {
            return Ok(None);
        };
        let limit = payload_bytes_max(kind).ok_or(LayoutError::Kind { what: "a record", came: kind })?;
        let len = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
        if len > limit {
            return Err(LayoutError::TooLong { what: "a record", came: len, limit });
        }
        if self.buffer.len() < RECORD_HEADER_BYTES + len {
            return Ok(None);
        }
        self.buffer.advance(RECORD_HEADER_BYTES);
        let payload = if len < SHARED_BYTES_MIN {
            let copy = Bytes::copy_from_slice(&self.buffer[..len]);
            self.buffer.advance(len);
            copy
        } else {
            self.buffer.split_to(len).freeze()
        };
        Record::decode(kind, payload).map(Some)
    }
}

fn too_short(what: &'static str) -> LayoutError {
    LayoutError::Malformed { what, why: "it ends too early" }
}

fn put_text(bytes: &mut BytesMut, text: &str, limit: usize) {
    assert!(text.len() <= limit, "{text:?} is longer than {limit} bytes");
    bytes.put_u16_le(text.len() as u16);
    bytes.put_slice(text.as_bytes());
}

fn take_u64(bytes: &mut &[u8], what: &'static str) -> Result<u64, LayoutError> {
    bytes.try_get_u64_le().map_err(|_| too_short(what))
}

fn take_text(bytes: &mut &[u8], limit: usize, what: &'static str) -> Result<String, LayoutError> {
    let len = usize::from(bytes.try_get_u16_le().map_err(|_| too_short(what))?);
    if len > limit {
        return Err(LayoutError::Malformed { what, why: "a name, an address or a reason is too long" });
    }
    let (text, rest) = bytes.split_at_checked(len).ok_or(too_short(what))?;
    *bytes = rest;
    match std::str::from_utf8(text) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(LayoutError::Malformed { what, why: "a text is not UTF-8" }),
    }
}

fn take_name(bytes: &mut &[u8], what: &'static str) -> Result<Name, LayoutError> {
    match take_text(bytes, NAME_BYTES_MAX, what)? {
        name if name.is_empty() => Err(LayoutError::Malformed { what, why: "a name is empty" }),
        name => Ok(name.into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn name() -> impl Strategy<Value = Name> {
        "\\PC{1,64}".prop_map(Name::from)
    }

    fn opening() -> impl Strategy<Value = Opening> {
        prop_oneof![
            (any::<u64>(), any::<u64>(), name(), name(), ".{0,60}").prop_map(|(life, number, from, to, address)| {
                Opening::Hello(Hello { life, number, from, to, address })
            }),
            (any::<u64>(), name()).prop_map(|(life, name)| Opening::Welcome(Welcome { life, name })),
            (any::<u8>(), ".{0,200}")
                .prop_map(|(code, reason)| { Opening::Refusal(Refusal { kind: RefusalKind::of(code), reason }) }),
        ]
    }

    fn record() -> impl Strategy<Value = Record> {
        prop_oneof![
            vec(any::<u8>(), 0..100).prop_map(|bytes| Record::Frame(bytes.into())),
            (0..3 * SHARED_BYTES_MIN).prop_map(|len| Record::Frame(vec![7; len].into())),
            Just(Record::Beat),
            any::<u64>().prop_map(Record::Ask),
            any::<u64>().prop_map(Record::Answer),
            vec((name(), ".{0,60}".prop_map(String::from)), 0..5).prop_map(Record::Introduce),
        ]
    }

    fn read(bytes: &[u8]) -> Result<Opening, LayoutError> {
        let (header, body) = bytes.split_first_chunk().expect("a header");
        let len = Opening::body_len(*header)?;
        Opening::decode(*header, body.get(..len).ok_or(too_short("an opening"))?)
    }

    /// All records of bytes that come in pieces of this length.
    fn records(bytes: &[u8], piece: usize) -> Result<Vec<Record>, LayoutError> {
        let (mut records, mut read) = (Records::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            records.room().put_slice(piece);
            while let Some(record) = records.take()? {
                read.push(record);
            }
            assert!(records.buffer.capacity() <= 4 * (bytes.len() + READ_BYTES), "more is held than came");
        }
        Ok(read)
    }

    proptest! {
        #[test]
        fn an_opening_comes_out_as_it_went_in(opening in opening()) {
            prop_assert_eq!(read(&opening.encode()), Ok(opening));
        }

        #[test]
        fn records_come_out_as_they_went_in_however_they_are_cut(
            sent in vec(record(), 0..8),
            piece in prop_oneof![1..20usize, 1..100_000usize],
        ) {
            let bytes: Vec<u8> = sent.iter().flat_map(|record| record.encode()).collect();
            prop_assert_eq!(records(&bytes, piece), Ok(sent));
        }

        #[test]
        fn no_bytes_do_harm(bytes in vec(any::<u8>(), 8..300), magic: bool, piece in 1..50usize) {
            let mut bytes = bytes;
            let _ = records(&bytes, piece);
            if magic {
                bytes[..4].copy_from_slice(&MAGIC);
                bytes[4] = VERSION;
                bytes[5] %= 4;
                bytes[7] = 0;
            }
            let _ = read(&bytes);
        }

        #[test]
        fn a_changed_opening_is_another_one_or_refused(opening in opening(), at: prop::sample::Index, byte: u8) {
            let mut bytes = opening.encode().to_vec();
            let at = at.index(bytes.len());
            // The version of a refusal says nothing.
            if at != 4 && bytes[at] != byte {
                bytes[at] = byte;
                prop_assert_ne!(read(&bytes), Ok(opening));
            }
        }
    }

    #[test]
    fn what_is_too_long_is_refused_by_its_header_alone() {
        let mut records = Records::new();
        records.room().put_slice(&Record::frame_header(FRAME_BYTES_MAX + 1));
        let limit = FRAME_BYTES_MAX;
        assert_eq!(records.take(), Err(LayoutError::TooLong { what: "a record", came: limit + 1, limit }));

        let mut records = Records::new();
        records.room().put_slice(&Record::frame_header(FRAME_BYTES_MAX));
        assert_eq!(records.take(), Ok(None));
        assert!(records.buffer.capacity() <= READ_BYTES, "nothing is held for what was only announced");

        let header = [b'c', b'f', b'l', b'x', VERSION, 1, 0xff, 0xff];
        assert!(matches!(Opening::body_len(header), Err(LayoutError::TooLong { came: 65_535, .. })));
    }

    #[test]
    fn only_a_refusal_of_another_version_is_read() {
        let refusal = Opening::Refusal(Refusal { kind: RefusalKind::Version, reason: "too old".into() });
        for opening in [refusal.clone(), Opening::Welcome(Welcome { life: 1, name: "b".into() })] {
            let mut bytes = opening.encode().to_vec();
            bytes[4] = 9;
            let expected = if opening == refusal { Ok(opening) } else { Err(LayoutError::Version { came: 9 }) };
            assert_eq!(read(&bytes), expected);
        }
    }

    #[test]
    fn strangers_are_told_apart() {
        assert_eq!(read(b"GET / HTTP/1.1\r\n"), Err(LayoutError::Magic { came: *b"GET " }));
        assert_eq!(read(&[0x16, 3, 1, 2, 0, 1, 0, 1]), Err(LayoutError::Tls));
    }

    #[test]
    fn a_reason_is_cut_where_a_character_ends() {
        let reason = "é".repeat(REASON_BYTES_MAX);
        let refusal = Opening::Refusal(Refusal { kind: RefusalKind::TooMany, reason });
        let Ok(Opening::Refusal(read)) = read(&refusal.encode()) else { panic!("a refusal") };
        assert_eq!(read.reason.len(), REASON_BYTES_MAX);
    }
}
