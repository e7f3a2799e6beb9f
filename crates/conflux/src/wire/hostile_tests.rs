//! Any loss, any duplication, any bytes: a wrong body never comes out, nothing panics, and no more is held than came.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::tests::{HEAD, LIMITS, Tape, message};
use super::*;

/// What happens to a frame on its way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fate {
    Arrives,
    Lost,
    Doubled,
}

fn fate() -> impl Strategy<Value = Fate> {
    prop_oneof![8 => Just(Fate::Arrives), 1 => Just(Fate::Lost), 1 => Just(Fate::Doubled)]
}

/// The frames of each body. If `restarts`, each is sent by a new wire that begins its ids anew, and nothing but the body
/// tells them apart; else one wire sends all, and the group is the body's number.
fn encode(bodies: &[Vec<u8>], chunk_bytes: usize, restarts: bool) -> Vec<Vec<Bytes>> {
    let tape = Tape::new("a");
    let limits = Limits { chunk_bytes, ..LIMITS };
    let mut wire = Wire::new(tape.clone(), limits);
    let mut frames = Vec::new();
    for (number, body) in bodies.iter().enumerate() {
        if restarts {
            wire = Wire::new(tape.clone(), limits);
        }
        let head = Head { group: if restarts { 0 } else { number as u32 }, ..HEAD };
        wire.post(&"b".into(), head, body.clone().into());
        frames.push(tape.frames());
    }
    frames
}

/// Frames as a hostile node would make them: of the right shape, with fields that make no sense.
fn forged() -> impl Strategy<Value = Bytes> {
    let small_or_any = |small: u32| prop_oneof![4 => 0..small, 1 => any::<u32>()];
    let total = prop_oneof![4 => 0..200u64, 1 => 0..=10_000u64, 1 => any::<u64>()];
    let fields = (0..4usize, 0..3u64, small_or_any(5), small_or_any(5), total, 0..2u32, vec(any::<u8>(), 0..100));
    fields.prop_map(|(role, id, index, count, total, body_checksum, payload)| {
        let role = [Role::Post, Role::Request, Role::Response, Role::Refusal][role];
        Frame { head: HEAD, role, id, index, count, total, body_checksum, payload: payload.into() }.encode()
    })
}

/// A good frame with some bytes changed, and cut short or lengthened.
fn mutated() -> impl Strategy<Value = Bytes> {
    let changes = vec((any::<Index>(), any::<u8>()), 0..4);
    (vec(any::<u8>(), 0..50), changes, any::<Index>(), vec(any::<u8>(), 0..4)).prop_map(|(body, changes, cut, more)| {
        let mut bytes = encode(&[body], 16, false)[0][0].to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(2 * bytes.len()));
        bytes.extend(more);
        bytes.into()
    })
}

fn hostile() -> impl Strategy<Value = (u8, Bytes)> {
    let random = vec(any::<u8>(), 0..200).prop_map(Bytes::from);
    (0..12u8, prop_oneof![1 => random, 2 => mutated(), 6 => forged()])
}

proptest! {
    #[test]
    fn a_message_arrives_exactly_or_not_at_all(
        bodies in vec(vec(any::<u8>(), 0..400), 1..6),
        chunk_bytes in 1..150usize,
        fates in vec(fate(), 1..200),
    ) {
        let wire = Wire::new(Tape::new("b"), LIMITS);
        let mut fates = fates.into_iter().cycle();
        for (number, frames) in encode(&bodies, chunk_bytes, false).into_iter().enumerate() {
            let (mut arrived, mut spoiled) = (0, false);
            let single = frames.len() == 1;
            for (index, frame) in frames.into_iter().enumerate() {
                let fate = fates.next().unwrap();
                spoiled |= fate == Fate::Lost;
                for _ in 0..[1, 0, 2][fate as usize] {
                    if let Some(arrival) = wire.accept(message("a", frame.clone())).unwrap() {
                        prop_assert_eq!(arrival.head.group as usize, number);
                        prop_assert_eq!(&arrival.body, &bodies[number]);
                        arrived += 1;
                    }
                }
                prop_assert!(single || index == 0 || arrived <= 1);
            }
            prop_assert_eq!(arrived > 0, !spoiled, "whole if and only if nothing was lost");
        }
    }

    #[test]
    fn messages_that_interleave_or_share_an_id_are_never_mixed(
        // Of one length: then nothing but their content differs.
        bodies in (1..120usize).prop_flat_map(|len| vec(vec(any::<u8>(), len), 2..5)),
        chunk_bytes in 1..40usize,
        restarts: bool,
        picks in vec((any::<Index>(), fate()), 0..400),
    ) {
        let wire = Wire::new(Tape::new("b"), LIMITS);
        let mut frames = encode(&bodies, chunk_bytes, restarts);
        for message in &mut frames {
            message.reverse();
        }
        for (pick, fate) in picks {
            let pick = pick.index(frames.len());
            let Some(frame) = frames[pick].pop() else { continue };
            for _ in 0..[1, 0, 2][fate as usize] {
                if let Ok(Some(arrival)) = wire.accept(message("a", frame.clone())) {
                    let number = arrival.head.group as usize;
                    let possible = if restarts { &bodies[..] } else { &bodies[number..=number] };
                    let exact = possible.iter().any(|body| *body == arrival.body);
                    prop_assert!(exact, "{:?} of {:?}", arrival.body, bodies);
                }
            }
        }
    }

    #[test]
    fn hostile_bytes_do_no_harm(frames in vec(hostile(), 1..60)) {
        let tape = Tape::new("b");
        let wire = Wire::new(tape.clone(), LIMITS);
        let mut pending: Vec<_> = (0..3).map(|peer| wire.request(&format!("{peer}").into(), HEAD, Bytes::new())).collect();
        let mut came = 0;
        for (number, (peer, frame)) in frames.into_iter().enumerate() {
            came += frame.len();
            if let Ok(Some(arrival)) = wire.accept(message(&format!("{peer}"), frame)) {
                prop_assert!(arrival.body.len() <= came.min(LIMITS.message_bytes_max));
                if let Some(reply) = arrival.reply {
                    reply.refuse("no");
                }
            }
            let stats = wire.stats();
            prop_assert!(stats.partial_bytes <= LIMITS.partial_bytes_max.min(2 * came));
            prop_assert!(stats.partials <= LIMITS.partials_max);
            if number == 30 {
                pending.clear();
            }
        }
        // And it still works.
        let frame = encode(&[b"fine".to_vec()], 16, false)[0][0].clone();
        prop_assert_eq!(&wire.accept(message("friend", frame)).unwrap().unwrap().body[..], b"fine");
    }
}
