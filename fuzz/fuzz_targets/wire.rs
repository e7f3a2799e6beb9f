//! Feeds hostile messages to `Wire::accept`: nothing may panic, and no more may be held than the limits and what came.
//!
//! The input is a list of messages. Half of them are raw bytes; the others are fields, from which a frame with a right
//! checksum is made, as no fuzzer guesses a checksum.
#![no_main]

use std::sync::Arc;

use bytes::{Buf, Bytes};
use conflux::channel::{Message, Name, Port};
use conflux::wire::{Frame, Head, Kind, Limits, Role, Wire};
use libfuzzer_sys::fuzz_target;

const LIMITS: Limits = Limits {
    chunk_bytes: 16,
    message_bytes_max: 10_000,
    partials_per_peer_max: 4,
    partials_max: 8,
    partial_bytes_max: 20_000,
    requests_max: 4,
};

fuzz_target!(|input: &[u8]| {
    let wire = Wire::new(Arc::new(Nowhere("self".into())), LIMITS);
    let head = Head {
        kind: Kind(1),
        group: 0,
        cluster: 0,
    };
    // Ids 0 to 3, so that answers to them get through.
    let pending: Vec<_> = (0..4)
        .map(|peer| wire.request(&peer_name(peer), head, Bytes::new()))
        .collect();
    let mut input = input;
    let mut came = 0;
    while let Some(message) = next_message(&mut input) {
        came += message.frame.len();
        if let Ok(Some(arrival)) = wire.accept(message) {
            assert!(arrival.body.len() <= came.min(LIMITS.message_bytes_max));
            if let Some(reply) = arrival.reply {
                reply.send(arrival.body);
            }
        }
        let stats = wire.stats();
        assert!(stats.partials <= LIMITS.partials_max);
        assert!(stats.partial_bytes <= LIMITS.partial_bytes_max.min(2 * came));
    }
    drop(pending);
    assert_eq!(wire.stats().requests_pending, 0);
    wire.close();
});

/// One byte says how, one from whom, two how long.
fn next_message(input: &mut &[u8]) -> Option<Message> {
    let (how, from) = (
        input.try_get_u8().ok()?,
        peer_name(input.try_get_u8().ok()? % 12),
    );
    let frame = if how & 1 == 0 {
        let len = usize::from(input.try_get_u16_le().ok()?).min(input.len());
        input.copy_to_bytes(len)
    } else {
        made_frame(how, input)?.encode()
    };
    Some(Message { from, frame })
}

fn made_frame(how: u8, input: &mut &[u8]) -> Option<Frame> {
    let role =
        [Role::Post, Role::Request, Role::Response, Role::Refusal][usize::from(how >> 1 & 3)];
    let id = u64::from(input.try_get_u8().ok()? % 8);
    // Small numbers mostly, as large ones are refused early.
    let (index, count, total) = if how & 8 == 0 {
        (
            input.try_get_u8().ok()?.into(),
            input.try_get_u8().ok()?.into(),
            input.try_get_u16_le().ok()?.into(),
        )
    } else {
        (
            input.try_get_u32_le().ok()?,
            input.try_get_u32_le().ok()?,
            input.try_get_u64_le().ok()?,
        )
    };
    let len = usize::from(input.try_get_u16_le().ok()?).min(input.len());
    let payload = input.copy_to_bytes(len);
    let head = Head {
        kind: Kind(1),
        group: 0,
        cluster: 0,
    };
    Some(Frame {
        head,
        role,
        id,
        index,
        count,
        total,
        body_checksum: u32::from(how >> 4 & 1),
        payload,
    })
}

fn peer_name(number: u8) -> Name {
    number.to_string().into()
}

struct Nowhere(Name);

impl Port for Nowhere {
    fn name(&self) -> &Name {
        &self.0
    }
    fn send(&self, _: &Name, frame: Bytes) {
        // What the wire itself sends must be good.
        Frame::decode(frame, &LIMITS).expect("a good frame");
    }
    fn broadcast(&self, _: Bytes) {}
    fn close(&self) {}
}
