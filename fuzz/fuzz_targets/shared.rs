//! Feeds hostile envelopes to what listens on a medium that several share. Their bodies are signed here, as by a member of
//! the cluster that lost its mind; without a signature nothing of them may be taken.
#![no_main]

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use conflux::channel::shared::delivered;
use conflux::channel::shared::envelope::{Envelope, FRAME_BYTES_MAX, Kind, Signer, addressee};
use libfuzzer_sys::fuzz_target;

const ME: &str = "a";

fuzz_target!(|input: &[u8]| {
    let signer = Signer::new(b"a key of the cluster", "words");
    let mut taken = Vec::new();
    let mut input = input;
    // Two bytes say how long the next body is.
    while let [low, high, rest @ ..] = input {
        let len = usize::from(u16::from_le_bytes([*low, *high])).min(rest.len());
        let (body, behind) = rest.split_at(len);
        input = behind;
        let _ = addressee(body);
        assert!(Envelope::decode(Bytes::copy_from_slice(body), &signer).is_err());
        let sealed = signer.seal(BytesMut::from(body));
        if let Ok(envelope) = Envelope::decode(sealed.clone(), &signer) {
            assert_eq!(envelope.encode(&signer), sealed);
            assert!(envelope.frame.len() <= FRAME_BYTES_MAX && !envelope.from.is_empty());
            let to = envelope.to.as_deref().unwrap_or_default();
            assert_eq!(addressee(&sealed).map(|(to, _)| to), Ok(to));
            taken.push(envelope);
        }
    }
    // What is delivered is for this node and from another one, and comes in the order of its sender.
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    let messages = delivered(ME.into(), taken.clone());
    for message in &messages {
        let at = at.entry(&message.from).or_default();
        let found = taken[*at..].iter().position(|envelope| {
            envelope.kind == Kind::Frame
                && envelope.from == message.from
                && envelope.frame == message.frame
                && envelope.to.as_deref().is_none_or(|to| to == ME)
        });
        *at += found.expect("it was sent") + 1;
        assert_ne!(&*message.from, ME);
    }
});
