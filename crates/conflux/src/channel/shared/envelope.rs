//! The layout of what goes over a medium that several share, and how it is signed. No I/O here.
//!
//! Little endian:
//!
//! | bytes | what |
//! |---:|---|
//! | 1 | [`VERSION`] |
//! | 1 | what it is: 0 frame, 1 challenge, 2 proof, 3 claim, 4 taken |
//! | 2 + n | to whom; empty for all others |
//! | 2 + n | from whom |
//! | 16 | the sender's life |
//! | 8 | its number in that life, from 1 |
//! | 16 | what a challenge asks and a proof answers, or the life whose claim is refused; else zero |
//! | rest | the frame |
//! | 32 | HMAC-SHA256 of all before, by the key of the cluster and the place |

use bytes::{Buf, BufMut, Bytes, BytesMut};
use ring::hmac;

use crate::channel::{FRAME_BYTES_MIN, NAME_BYTES_MAX, Name};

/// The version of the layout that this code writes, and the only one that it reads.
pub const VERSION: u8 = 1;

/// The largest frame that is sent and taken.
pub const FRAME_BYTES_MAX: usize = FRAME_BYTES_MIN;

/// The largest envelope.
pub const ENVELOPE_BYTES_MAX: usize = 2 + 2 * (2 + NAME_BYTES_MAX) + 16 + 8 + 16 + FRAME_BYTES_MAX + TAG_BYTES;

const TAG_BYTES: usize = 32;

/// Tells a node from another one of the same name: drawn at each attachment.
pub type Life = u128;

/// What an envelope is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A frame of the channel.
    Frame,
    /// You say to be of this cluster: answer this, which was never asked before.
    Challenge,
    /// I am alive, and answer.
    Proof,
    /// I want to be the node of this name.
    Claim,
    /// Another node has the name that you claimed.
    Taken,
}

/// One message on a shared medium.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What it is.
    pub kind: Kind,
    /// For whom; none is for all others.
    pub to: Option<Name>,
    /// The sender.
    pub from: Name,
    /// The sender's life.
    pub life: Life,
    /// Its number in that life.
    pub number: u64,
    /// What a challenge asks and a proof answers, or the life whose claim is refused.
    pub about: u128,
    /// The frame; empty for all other kinds.
    pub frame: Bytes,
}

/// Why an envelope was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// It is of another version, or none of ours.
    #[error("envelopes of version {VERSION} are understood, but {came} came: run the same release on all nodes")]
    Version {
        /// Its first byte.
        came: u8,
    },
    /// It is not laid out as it should be.
    #[error("an envelope is malformed: {why}")]
    Malformed {
        /// What is wrong with it.
        why: &'static str,
    },
    /// It was signed with another key, or changed on the way.
    #[error(
        "what says to be from {from:?} is not signed with this cluster's key: give all nodes the same key and place"
    )]
    Signature {
        /// Who is said to have sent it.
        from: Name,
    },
}

/// What the nodes of a cluster sign with.
#[derive(Clone)]
pub struct Signer(hmac::Key);

impl Signer {
    /// A signer for a place (a room, a channel) from the cluster's key: what was signed for one place is worth nothing at
    /// another.
    pub fn new(cluster_key: &[u8], place: &str) -> Signer {
        let cluster = hmac::Key::new(hmac::HMAC_SHA256, cluster_key);
        let mut context = hmac::Context::with_key(&cluster);
        context.update(b"conflux shared channel 1\0");
        context.update(place.as_bytes());
        Signer(hmac::Key::new(hmac::HMAC_SHA256, context.sign().as_ref()))
    }

    /// Bytes of any content, with their signature behind them.
    pub fn seal(&self, bytes: impl Into<BytesMut>) -> Bytes {
        let mut bytes = bytes.into();
        let tag = hmac::sign(&self.0, &bytes);
        bytes.put_slice(tag.as_ref());
        bytes.freeze()
    }
}

impl Envelope {
    /// The bytes, signed.
    ///
    /// # Panics
    /// When a name or the frame is too long.
    pub fn encode(&self, signer: &Signer) -> Bytes {
        assert!(self.frame.len() <= FRAME_BYTES_MAX, "a frame of {} bytes", self.frame.len());
        let mut bytes = BytesMut::with_capacity(128 + self.from.len() + self.frame.len());
        bytes.put_u8(VERSION);
        bytes.put_u8(match self.kind {
            Kind::Frame => 0,
            Kind::Challenge => 1,
            Kind::Proof => 2,
            Kind::Claim => 3,
            Kind::Taken => 4,
        });
        for name in [self.to.as_deref().unwrap_or_default(), &self.from] {
            assert!(name.len() <= NAME_BYTES_MAX, "a name of {} bytes", name.len());
            bytes.put_u16_le(name.len() as u16);
            bytes.put_slice(name.as_bytes());
        }
        bytes.put_u128_le(self.life);
        bytes.put_u64_le(self.number);
        bytes.put_u128_le(self.about);
        bytes.put_slice(&self.frame);
        signer.seal(bytes)
    }

    /// Reads an envelope. Nothing of what it says is returned unless it is signed.
    pub fn decode(bytes: Bytes, signer: &Signer) -> Result<Envelope, EnvelopeError> {
        const TOO_SHORT: EnvelopeError = EnvelopeError::Malformed { why: "it ends too early" };
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(EnvelopeError::Malformed { why: "it is too long" });
        }
        let (to, rest) = addressee(&bytes)?;
        let rest = &mut &*rest;
        let from = take_name(rest)?;
        if from.is_empty() {
            return Err(EnvelopeError::Malformed { why: "it is from nobody" });
        }
        let (to, from) = ((!to.is_empty()).then(|| Name::from(to)), Name::from(from));
        let body = bytes.len().checked_sub(TAG_BYTES).ok_or(TOO_SHORT)?;
        if hmac::verify(&signer.0, &bytes[..body], &bytes[body..]).is_err() {
            return Err(EnvelopeError::Signature { from });
        }
        let kind = match bytes[1] {
            0 => Kind::Frame,
            1 => Kind::Challenge,
            2 => Kind::Proof,
            3 => Kind::Claim,
            4 => Kind::Taken,
            _ => return Err(EnvelopeError::Malformed { why: "it is of no known kind" }),
        };
        let life = rest.try_get_u128_le().map_err(|_| TOO_SHORT)?;
        let number = rest.try_get_u64_le().map_err(|_| TOO_SHORT)?;
        let about = rest.try_get_u128_le().map_err(|_| TOO_SHORT)?;
        let len = rest.len().checked_sub(TAG_BYTES).ok_or(TOO_SHORT)?;
        if len > 0 && kind != Kind::Frame || len > FRAME_BYTES_MAX {
            return Err(EnvelopeError::Malformed { why: "it carries too much" });
        }
        let frame = bytes.slice(body - len..body);
        Ok(Envelope { kind, to, from, life, number, about, frame })
    }
}

/// For whom an envelope is, and what follows; empty is for all others. Anybody can read it, also a relay without the key.
pub fn addressee(bytes: &[u8]) -> Result<(&str, &[u8]), EnvelopeError> {
    match bytes {
        [VERSION, _, rest @ ..] => {
            let mut rest = rest;
            let to = take_name(&mut rest)?;
            Ok((to, rest))
        }
        [came, ..] if *came != VERSION => Err(EnvelopeError::Version { came: *came }),
        _ => Err(EnvelopeError::Malformed { why: "it ends too early" }),
    }
}

fn take_name<'a>(bytes: &mut &'a [u8]) -> Result<&'a str, EnvelopeError> {
    let too_short = EnvelopeError::Malformed { why: "it ends too early" };
    let (len, rest) = bytes.split_first_chunk().ok_or(too_short.clone())?;
    let len = usize::from(u16::from_le_bytes(*len));
    if len > NAME_BYTES_MAX {
        return Err(EnvelopeError::Malformed { why: "a name is too long" });
    }
    let (name, rest) = rest.split_at_checked(len).ok_or(too_short)?;
    *bytes = rest;
    std::str::from_utf8(name).map_err(|_| EnvelopeError::Malformed { why: "a name is not UTF-8" })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn envelope() -> impl Strategy<Value = Envelope> {
        let kind = prop_oneof![
            4 => Just(Kind::Frame),
            1 => Just(Kind::Challenge),
            1 => Just(Kind::Proof),
            1 => Just(Kind::Claim),
            1 => Just(Kind::Taken),
        ];
        let names = (proptest::option::of("\\PC{1,64}"), "\\PC{1,64}");
        (kind, names, any::<(u128, u64, u128)>(), vec(any::<u8>(), 0..200)).prop_map(
            |(kind, (to, from), (life, number, about), frame)| Envelope {
                kind,
                to: to.map(Name::from),
                from: from.into(),
                life,
                number,
                about,
                frame: if kind == Kind::Frame { frame.into() } else { Bytes::new() },
            },
        )
    }

    fn signer() -> Signer {
        Signer::new(b"a key of the cluster", "words")
    }

    proptest! {
        #[test]
        fn it_comes_out_as_it_went_in(envelope in envelope()) {
            let bytes = envelope.encode(&signer());
            prop_assert!(bytes.len() <= ENVELOPE_BYTES_MAX);
            let to = envelope.to.as_deref().unwrap_or_default();
            prop_assert_eq!(addressee(&bytes).map(|(to, _)| to), Ok(to));
            prop_assert_eq!(Envelope::decode(bytes, &signer()), Ok(envelope));
        }

        #[test]
        fn whatever_is_changed_it_is_refused(envelope in envelope(), at: prop::sample::Index, bit in 0..8u8, cut in 0..3usize) {
            let mut bytes = envelope.encode(&signer()).to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            bytes.truncate(bytes.len() - cut);
            prop_assert!(Envelope::decode(bytes.into(), &signer()).is_err());
        }

        #[test]
        fn no_bytes_do_harm(bytes in vec(any::<u8>(), 0..300), good: bool) {
            let mut bytes = bytes;
            if good && bytes.len() > 6 {
                bytes[..6].copy_from_slice(&[VERSION, 0, 0, 0, 1, 0]);
            }
            prop_assert!(Envelope::decode(bytes.into(), &signer()).is_err());
        }
    }

    #[test]
    fn another_key_or_place_is_refused() {
        let envelope =
            Envelope { kind: Kind::Frame, to: None, from: "a".into(), life: 1, number: 1, about: 0, frame: "x".into() };
        for other in [Signer::new(b"another key", "words"), Signer::new(b"a key of the cluster", "word")] {
            let refused = Envelope::decode(envelope.encode(&other), &signer());
            assert_eq!(refused, Err(EnvelopeError::Signature { from: "a".into() }));
        }
    }
}
