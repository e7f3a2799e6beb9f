//! Feeds hostile bytes to what reads a TCP connection: the handshake, and the records behind it, in pieces of any length.
//! Nothing may panic, and what is taken for good has to be written the same.
#![no_main]

use bytes::BufMut;
use conflux::channel::tcp::layout::{
    FRAME_BYTES_MAX, INTRODUCED_MAX, OPENING_BODY_BYTES_MAX, OPENING_HEADER_BYTES, Opening, Record,
    Records,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&how, input)) = input.split_first() else {
        return;
    };
    if how & 1 == 0 {
        opening(input);
    } else {
        records(usize::from(how >> 1) + 1, input);
    }
});

fn opening(input: &[u8]) {
    let Some((header, body)) = input.split_first_chunk::<OPENING_HEADER_BYTES>() else {
        return;
    };
    let Ok(len) = Opening::body_len(*header) else {
        return;
    };
    assert!(len <= OPENING_BODY_BYTES_MAX);
    let Some(body) = body.get(..len) else { return };
    if let Ok(opening) = Opening::decode(*header, body) {
        let bytes = opening.encode();
        let (again, body) = bytes
            .split_first_chunk::<OPENING_HEADER_BYTES>()
            .expect("a header");
        assert_eq!(Opening::decode(*again, body), Ok(opening.clone()));
        // A refusal may come from another version, and say more.
        if !matches!(opening, Opening::Refusal(_)) {
            assert_eq!(&bytes[..], &input[..bytes.len()]);
        }
    }
}

fn records(piece: usize, input: &[u8]) {
    let mut records = Records::new();
    let mut written = Vec::new();
    for piece in input.chunks(piece) {
        records.room().put_slice(piece);
        loop {
            match records.take() {
                Ok(Some(record)) => {
                    match &record {
                        Record::Frame(frame) => assert!(frame.len() <= FRAME_BYTES_MAX),
                        Record::Introduce(nodes) => assert!(nodes.len() <= INTRODUCED_MAX),
                        Record::Beat | Record::Ask(_) | Record::Answer(_) => {}
                    }
                    written.extend_from_slice(&record.encode());
                }
                Ok(None) => break,
                Err(_) => {
                    assert!(input.starts_with(&written));
                    return;
                }
            }
        }
    }
    assert!(input.starts_with(&written));
}
