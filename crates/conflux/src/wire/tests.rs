use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::*;
use crate::channel::{Attachment, Channel, Inbox, MemoryChannel};

/// A port that keeps what is sent.
pub(super) struct Tape {
    name: Name,
    sent: Mutex<Vec<(Option<Name>, Bytes)>>,
}

impl Tape {
    pub(super) fn new(name: &str) -> Arc<Tape> {
        Arc::new(Tape { name: name.into(), sent: Mutex::default() })
    }

    /// Take the frames sent since the last time.
    pub(super) fn frames(&self) -> Vec<Bytes> {
        std::mem::take(&mut *self.sent.lock().unwrap()).into_iter().map(|(_, frame)| frame).collect()
    }
}

impl Port for Tape {
    fn name(&self) -> &Name {
        &self.name
    }
    fn send(&self, to: &Name, frame: Bytes) {
        self.sent.lock().unwrap().push((Some(to.clone()), frame));
    }
    fn broadcast(&self, frame: Bytes) {
        self.sent.lock().unwrap().push((None, frame));
    }
    fn close(&self) {}
}

pub(super) const HEAD: Head = Head { kind: Kind(7), group: 8, cluster: 9 };

/// Small enough that tests meet them.
pub(super) const LIMITS: Limits = Limits {
    chunk_bytes: 16,
    message_bytes_max: 10_000,
    partials_per_peer_max: 4,
    partials_max: 8,
    partial_bytes_max: 20_000,
    requests_max: 3,
};

pub(super) fn message(from: &str, frame: Bytes) -> Message {
    Message { from: from.into(), frame }
}

struct Node {
    wire: Wire,
    inbox: Inbox,
}

async fn node(channel: &MemoryChannel, name: &str) -> Node {
    let Attachment { port, inbox } = channel.attach(name.into()).await.unwrap();
    Node { wire: Wire::new(port, LIMITS), inbox }
}

async fn two() -> (Node, Node) {
    let channel = MemoryChannel::new();
    (node(&channel, "a").await, node(&channel, "b").await)
}

impl Node {
    /// Accept everything that is waiting.
    fn arrivals(&mut self) -> Vec<Arrival> {
        std::iter::from_fn(|| self.inbox.try_recv())
            .filter_map(|message| self.wire.accept(message).expect("only good frames are sent"))
            .collect()
    }

    fn arrival(&mut self) -> Arrival {
        let mut arrivals = self.arrivals();
        assert_eq!(arrivals.len(), 1, "{arrivals:?}");
        arrivals.remove(0)
    }
}

fn poll(pending: &mut Pending) -> Poll<Result<Bytes, RequestError>> {
    pin!(pending).poll(&mut Context::from_waker(Waker::noop()))
}

fn long(len: usize) -> Bytes {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[tokio::test]
async fn a_post_arrives_with_its_head_and_without_a_reply() {
    let (a, mut b) = two().await;
    for len in [0, 1, 15, 16, 17, 32, 10_000] {
        a.wire.post(b.wire.name(), HEAD, long(len));
        let Arrival { from, head, body, reply } = b.arrival();
        assert_eq!((&*from, head, body), ("a", HEAD, long(len)));
        assert!(reply.is_none());
    }
}

#[tokio::test]
async fn a_broadcast_reaches_the_others() {
    let channel = MemoryChannel::new();
    let [mut a, mut b, mut c] = [node(&channel, "a").await, node(&channel, "b").await, node(&channel, "c").await];
    a.wire.broadcast(HEAD, long(100));
    assert_eq!(b.arrival().body, long(100));
    assert_eq!(c.arrival().body, long(100));
    assert!(a.arrivals().is_empty());
}

#[tokio::test]
async fn a_request_is_answered_whatever_the_order_and_the_size() {
    let (mut a, mut b) = two().await;
    let pending = [3, 30, 300].map(|len| a.wire.request(b.wire.name(), HEAD, long(len)));
    let mut arrivals = b.arrivals();
    arrivals.reverse();
    for arrival in arrivals {
        assert_eq!(arrival.head, HEAD);
        arrival.reply.unwrap().send([&arrival.body[..], &arrival.body].concat().into());
    }
    assert!(a.arrivals().is_empty(), "answers are matched inside");
    for (pending, len) in pending.into_iter().zip([3, 30, 300]) {
        assert_eq!(pending.await, Ok([&long(len)[..], &long(len)].concat().into()));
    }
    assert_eq!(a.wire.stats(), Stats::default());
}

#[tokio::test]
async fn a_node_can_ask_itself() {
    let (mut a, _b) = two().await;
    let pending = a.wire.request(a.wire.name(), HEAD, "x".into());
    a.arrival().reply.unwrap().send("y".into());
    a.arrivals();
    assert_eq!(pending.await, Ok("y".into()));
}

#[tokio::test]
async fn a_refusal_carries_its_reason_cut_to_the_limit() {
    let (mut a, mut b) = two().await;
    let mut ask = |reason: &str| {
        let pending = a.wire.request(b.wire.name(), HEAD, "x".into());
        b.arrival().reply.unwrap().refuse(reason);
        a.arrivals();
        pending
    };
    assert_eq!(ask("not today").await, Err(RequestError::Refused("not today".into())));
    // 3 bytes each: 4096 falls inside of one.
    let cut = ask(&"€".repeat(2000)).await;
    assert_eq!(cut, Err(RequestError::Refused("€".repeat(REFUSAL_BYTES_MAX / 3))));
}

#[tokio::test]
async fn a_request_waits_until_it_is_answered_and_a_dropped_one_is_forgotten() {
    let (mut a, mut b) = two().await;
    let mut waiting = a.wire.request(b.wire.name(), HEAD, "x".into());
    let dropped = a.wire.request(b.wire.name(), HEAD, "x".into());
    assert!(poll(&mut waiting).is_pending());
    assert_eq!(a.wire.stats().requests_pending, 2);
    drop(dropped);
    assert_eq!(a.wire.stats().requests_pending, 1);

    for arrival in b.arrivals() {
        arrival.reply.unwrap().send("y".into());
    }
    a.arrivals();
    assert_eq!(poll(&mut waiting), Poll::Ready(Ok("y".into())));
    let stats = a.wire.stats();
    assert_eq!((stats.requests_pending, stats.unexpected_answers), (0, 1));
}

#[tokio::test]
async fn only_the_node_that_was_asked_can_answer_and_only_once() {
    let (a, b) = (Tape::new("a"), Tape::new("b"));
    let (wire_a, wire_b) = (Wire::new(a.clone(), LIMITS), Wire::new(b.clone(), LIMITS));
    let mut pending = wire_a.request(b.name(), HEAD, "x".into());
    let request = a.frames().remove(0);
    for answer in ["first", "second"] {
        // The request came twice.
        let arrival = wire_b.accept(message("a", request.clone())).unwrap().unwrap();
        arrival.reply.unwrap().send(answer.into());
    }
    let answers = b.frames();
    for from in ["c", "a"] {
        assert!(wire_a.accept(message(from, answers[0].clone())).unwrap().is_none());
        assert!(poll(&mut pending).is_pending());
    }
    for answer in answers {
        assert!(wire_a.accept(message("b", answer)).unwrap().is_none());
    }
    assert_eq!(poll(&mut pending), Poll::Ready(Ok("first".into())));
    assert_eq!(wire_a.stats().unexpected_answers, 3);
}

#[tokio::test]
async fn chunks_of_an_answer_nobody_waits_for_are_not_kept() {
    let (a, mut b) = two().await;
    let mut a = a;
    drop(a.wire.request(b.wire.name(), HEAD, "x".into()));
    b.arrival().reply.unwrap().send(long(100));
    assert!(a.arrivals().is_empty());
    let stats = a.wire.stats();
    assert_eq!((stats.partials, stats.partials_abandoned, stats.unexpected_answers), (0, 0, 7));
}

#[tokio::test]
async fn requests_over_the_bound_fail_unsent() {
    let (a, mut b) = two().await;
    let waiting: Vec<_> = (0..3).map(|_| a.wire.request(b.wire.name(), HEAD, "x".into())).collect();
    let over = a.wire.request(b.wire.name(), HEAD, "x".into());
    assert_eq!(over.await, Err(RequestError::Overloaded { limit: 3 }));
    assert_eq!(b.arrivals().len(), 3);
    drop(waiting);
    let _waiting = a.wire.request(b.wire.name(), HEAD, "x".into());
    assert_eq!(b.arrivals().len(), 1);
}

#[tokio::test]
async fn bodies_over_the_limit_are_not_sent() {
    let (mut a, mut b) = two().await;
    let too_large = RequestError::TooLarge { len: 10_001, limit: 10_000 };
    assert_eq!(a.wire.request(b.wire.name(), HEAD, long(10_001)).await, Err(too_large));
    a.wire.post(b.wire.name(), HEAD, long(10_001));
    a.wire.broadcast(HEAD, long(10_001));
    assert!(b.arrivals().is_empty());
    assert_eq!(a.wire.stats().unsent_too_large, 3);

    let pending = a.wire.request(b.wire.name(), HEAD, "x".into());
    b.arrival().reply.unwrap().send(long(10_001));
    a.arrivals();
    let Err(RequestError::Refused(reason)) = pending.await else { panic!("an answer over the limit came") };
    assert!(reason.starts_with("the answer has 10001 bytes, over the limit of 10000"), "{reason}");
}

#[tokio::test]
async fn closing_fails_what_waits_and_what_comes_later() {
    let (mut a, mut b) = two().await;
    let waiting = a.wire.request(b.wire.name(), HEAD, "x".into());
    b.wire.post(a.wire.name(), HEAD, "unread".into());
    a.wire.close();
    a.wire.close();
    assert_eq!(waiting.await, Err(RequestError::Closed));
    assert_eq!(a.wire.request(b.wire.name(), HEAD, "x".into()).await, Err(RequestError::Closed));
    assert!(a.arrivals().is_empty());
    assert_eq!(a.inbox.recv().await, None, "the node is detached");
    b.arrival().reply.unwrap().send("too late".into());
}

#[tokio::test]
async fn dropping_the_wire_detaches_and_fails_what_waits() {
    let (a, b) = two().await;
    let Node { wire, mut inbox } = a;
    let waiting = wire.request(b.wire.name(), HEAD, "x".into());
    drop(wire);
    assert_eq!(waiting.await, Err(RequestError::Closed));
    assert_eq!(inbox.recv().await, None);
}

#[test]
fn a_node_that_comes_back_with_a_seed_of_its_own_takes_no_answer_meant_for_the_earlier() {
    let (a, b) = (Tape::new("a"), Tape::new("b"));
    let wire_b = Wire::new(b.clone(), LIMITS);
    let earlier = Wire::seeded(a.clone(), LIMITS, 1);
    drop(earlier.request(b.name(), HEAD, "earlier".into()));
    let later = Wire::seeded(a.clone(), LIMITS, 2);
    let mut pending = later.request(b.name(), HEAD, "later".into());
    for request in a.frames() {
        let arrival = wire_b.accept(message("a", request)).unwrap().unwrap();
        arrival.reply.unwrap().send(arrival.body);
    }
    let answers = b.frames();
    later.accept(message("b", answers[0].clone())).unwrap();
    assert!(poll(&mut pending).is_pending());
    later.accept(message("b", answers[1].clone())).unwrap();
    assert_eq!(poll(&mut pending), Poll::Ready(Ok("later".into())));
}

#[test]
fn chunks_of_two_messages_with_one_id_are_not_mixed() {
    let (a, b) = (Tape::new("a"), Tape::new("b"));
    let wire_b = Wire::new(b, LIMITS);
    // Restarted without a seed: the same ids again. The first chunk of the later message is lost.
    for (body, chunks) in [(vec![1; 32], 0..1), (vec![2; 32], 1..2)] {
        Wire::new(a.clone(), LIMITS).post(&"b".into(), HEAD, body.into());
        for frame in a.frames().drain(chunks) {
            assert!(!matches!(wire_b.accept(message("a", frame)), Ok(Some(_))), "a mixed body came");
        }
    }
    assert_eq!(wire_b.stats().refused_mismatch, 1);
}

#[test]
fn refused_frames_are_counted_by_reason() {
    let wire = Wire::new(Tape::new("a"), LIMITS);
    let frame = Frame {
        head: HEAD,
        role: Role::Post,
        id: 1,
        index: 0,
        count: 2,
        total: 3,
        body_checksum: 0,
        payload: "xy".into(),
    };
    let good = frame.encode();
    let mut flipped = good.to_vec();
    flipped[60 - 3] ^= 1;
    let mut version = good.to_vec();
    version[1] = 2;
    let bad = [
        good.slice(..9),
        "GET / HTTP/1.1".into(),
        version.into(),
        good.slice(..57),
        flipped.into(),
        Frame { total: 10_001, ..frame.clone() }.encode(),
        Frame { count: 0, ..frame.clone() }.encode(),
        Frame { index: 1, count: 3, ..frame.clone() }.encode(),
    ];
    for bad in bad {
        assert!(wire.accept(message("b", bad)).is_err());
    }
    assert!(wire.accept(message("b", good)).unwrap().is_none());
    assert!(wire.accept(message("b", Frame { index: 1, ..frame.clone() }.encode())).is_err());
    assert!(wire.accept(message("b", Frame { index: 1, payload: "z".into(), ..frame }.encode())).unwrap().is_none());
    let stats = wire.stats();
    assert_eq!(stats.refused(), 9);
    let expected = Stats {
        refused_too_short: 1,
        refused_magic: 1,
        refused_version: 1,
        refused_length: 1,
        refused_checksum: 1,
        refused_oversize: 1,
        refused_chunk: 2,
        refused_mismatch: 1,
        gaps: 1,
        partials_abandoned: 1,
        ..Stats::default()
    };
    assert_eq!(stats, expected);
}

#[test]
#[should_panic(expected = "the wire limit chunk_bytes must be 1 to 4294967295, but 0 came")]
fn limits_that_cannot_work_are_refused() {
    Wire::new(Tape::new("a"), Limits { chunk_bytes: 0, ..LIMITS });
}
