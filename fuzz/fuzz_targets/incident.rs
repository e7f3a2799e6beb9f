//! The file of an incident: an error or an incident that is written again as it was, never a panic.
#![no_main]

use bytes::Bytes;
use conflux::{Digest, Incident};
use libfuzzer_sys::fuzz_target;

/// What every file begins with: magic and format.
const BEGIN: &[u8] = b"conflux\x01\x01";

/// A part with a right digest, so that what is inside is read.
fn part(kind: u8, content: &[u8]) -> Vec<u8> {
    let mut part = vec![kind];
    part.extend((content.len() as u64).to_le_bytes());
    let digest = Digest::of_pieces([&part[..], content]);
    part.extend(digest.0.to_le_bytes());
    part.extend(content);
    part
}

fn look(bytes: Vec<u8>) {
    let bytes = Bytes::from(bytes);
    if let Ok(incident) = Incident::decode(&bytes) {
        assert_eq!(incident.encode(), bytes);
        let _ = incident.batches().count();
    }
}

fuzz_target!(|data: &[u8]| {
    look(data.to_vec());
    // The first byte of each stretch says what part it is and how long; the end is as it has to be.
    let (mut file, mut digests, mut count, mut data) = (BEGIN.to_vec(), Vec::new(), 0_u64, data);
    while let [kind, length, rest @ ..] = data {
        let (content, rest) = rest.split_at(rest.len().min(usize::from(*length)));
        let part = part(kind % 6, content);
        digests.extend_from_slice(&part[9..25]);
        file.extend(part);
        (count, data) = (count + 1, rest);
    }
    let mut end = count.to_le_bytes().to_vec();
    end.extend(Digest::of_bytes(&digests).0.to_le_bytes());
    file.extend(part(0, &end));
    look(file);
});
