//! What every [`Channel`] must keep, as checks to run from its tests.
//!
//! Each check takes a factory that gives a fresh channel, on which nobody is attached and nothing of another check is
//! heard, and panics with what went wrong. [`all`] runs every one. They must run inside a tokio runtime.
//!
//! A channel may lose anything, so the checks send again until something is heard, and give up after a while. Where a
//! channel's nodes are separate values (a tcp endpoint each), wrap them in one [`Channel`] that makes an endpoint for
//! each name.
//!
//! ```
//! use std::sync::Arc;
//! use conflux::channel::{Channel, MemoryChannel, contract};
//!
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(
//! contract::all(async || Arc::new(MemoryChannel::new()) as Arc<dyn Channel>)
//! # );
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::time::timeout;

use super::{Attachment, Channel, ChannelError, FRAME_BYTES_MIN, Message, NAME_BYTES_MAX, Name};

/// How long to wait for something before it is sent again.
const AGAIN: Duration = Duration::from_millis(100);
/// How often to send before the channel counts as broken.
const ATTEMPTS: usize = 100;

/// Hands the names of all checks to a macro: the one list of them.
macro_rules! each_check {
    ($make:ident) => {
        $make! {
            keeps_order
            delivers_to_itself
            broadcasts_to_all_others
            keeps_messages_apart
            reconnects
            closes
            refuses_a_taken_name
            refuses_bad_names
            carries_large_frames
            takes_many_senders
        }
    };
}

#[cfg(test)]
pub(crate) use each_check;

macro_rules! run_all {
    ($($check:ident)*) => {
        /// Run every check, each on a fresh channel.
        pub async fn all(fresh: impl AsyncFn() -> Arc<dyn Channel>) {
            $($check(&fresh).await;)*
        }
    };
}

each_check!(run_all);

/// First in, first out, or lost: what one node sends to another arrives in order, once, and under the sender's name.
pub async fn keeps_order(fresh: impl AsyncFn() -> Arc<dyn Channel>) {
    let channel = fresh().await;
    let a = attach(&channel, "a").await;
    let mut b = attach(&channel, "b").await;
    settle(&a, &mut b, "before").await;
    for number in 0..1000 {
        a.port.send(b.port.name(), numbered(number));
    }
    let heard = settle(&a, &mut b, "after").await;
    assert!(!heard.is_empty(), "none of 1000 messages on a live link arrived");
    assert_in_order(&heard);
    assert!(heard.iter().all(|message| message.from == *a.port.name()), "a message came under another node's name");
}

/// A node can send to itself.
pub async fn delivers_to_itself(fresh: impl AsyncFn() -> Arc<dyn Channel>) {
    let channel = fresh().await;
    let mut a = attach(&channel, "a").await;
    let itself = a.port.clone();
    settle_from(&*itself, &mut a, "itself").await;
}

/// A broadcast reaches every other node, in order with what else the sender sends there, and not the sender.
pub async fn broadcasts_to_all_others(fresh: impl AsyncFn() -> Arc<dyn Channel>) {
    let channel = fresh().await;
    let mut a = attach(&channel, "a").await;
    let mut others = vec![attach(&channel, "b").await, attach(&channel, "c").await, attach(&channel, "d").await];
    for other in &mut others {
        settle(&a, other, "before").await;
    }
    let mut heard = vec![Vec::new(); others.len()];
    for attempt in 0.. {
        assert!(attempt < ATTEMPTS, "a broadcast did not reach every other node in {ATTEMPTS} attempts");
        a.port.broadcast(numbered(attempt as u32));
        for (other, heard) in others.iter_mut().zip(&mut heard) {
            heard.extend(settle(&a, other, &format!("after {attempt}")).await);
        }
        if heard.iter().all(|heard| !heard.is_empty()) {
            break;
        }
    }
    for heard in &heard {
        assert_in_order(heard);
        assert!(heard.iter().all(|message| message.from == *a.port.name()), "a broadcast came under another name");
    }
    let itself = a.port.clone();
    let heard = settle_from(&*itself, &mut a, "itself").await;
    assert!(heard.is_empty(), "a node heard its own broadcast: {heard:?}");
}

/// A node gets no message that is for another.
pub async fn keeps_messages_apart(fresh: impl AsyncFn() -> Arc<dyn Channel>) {
    let channel = fresh().await;
    let mut a = attach(&channel, "a").await;
    let mut b = attach(&channel, "b").await;
    // A name that begins like another must not be taken for it.
    let mut c = attach(&channel, "bc").await;
    settle(&a, &mut b, "before").await;
    settle(&a, &mut c, "before").await;
    for number in 0..100 {
        a.port.send(b.port.name(), numbered(number));
        a.port.send(&"nobody".into(), numbered(number));
    }
    settle(&a, &mut b, "after").await;
    let heard = settle(&a, &mut c, "after").await;
    assert!(heard.is_empty(), "a node heard what was for another: {heard:?}");
    let itself = a.port.clone();
    let heard = settle_from(&*itself, &mut a, "after").await;
    assert!(heard.is_empty(), "the sender heard what was for another: {heard:?}");
}

/// A name is free once its node has detached, by closing or by dropping, and works again both ways.
pub async fn reconnects(fresh: impl AsyncFn() -> Arc<dyn Channel>) {
    let channel = fresh().await;
    let mut a = attach(&channel, "a").await;
    for round in 0..3 {
        let mut b = attach(&channel, "b").await;
        settle(&a, &mut b, &format!("to b, round {round}")).await;
        settle(&b, &mut a, &format!("to a, round {round}")).await;
        if round % 2 == 0 {
            b.port.close();
        }
    }
}

/// After closing, the inbox ends once drained, sends do nothing, and sends to the closed node are harmless.
pub async fn closes(fresh: impl AsyncFn() -> Arc<dyn Channel>) {
    let channel = fresh().await;
    let mut a = attach(&channel, "a").await;
    let mut b = attach(&channel, "b").await;
    settle(&a, &mut b, "before").await;
    settle(&b, &mut a, "before").await;
    for number in 0..10 {
        a.port.send(b.port.name(), numbered(number));
    }
    b.port.close();
    b.port.close();
    let mut drained = Vec::new();
    loop {
        match timeout(AGAIN * ATTEMPTS as u32, b.inbox.recv()).await {
            Ok(Some(message)) => drained.push(message),
            Ok(None) => break,
            Err(_) => panic!("the inbox of a closed node did not end"),
        }
    }
    drained.retain(|message| !is_probe(&message.frame));
    assert_in_order(&drained);
    assert!(b.inbox.recv().await.is_none(), "an inbox that had ended went on");

    b.port.send(a.port.name(), numbered(0));
    b.port.broadcast(numbered(1));
    a.port.send(b.port.name(), numbered(2));
    a.port.broadcast(numbered(3));
    let c = attach(&channel, "c").await;
    let heard = settle(&c, &mut a, "after").await;
    assert!(heard.is_empty(), "a closed node was heard: {heard:?}");
    assert!(b.inbox.try_recv().is_none(), "a closed node heard something");
}

/// Of two nodes with one name the second is refused, and the first goes on.
pub async fn refuses_a_taken_name(fresh: impl AsyncFn() -> Arc<dyn Channel>) {
    let channel = fresh().await;
    let a = attach(&channel, "a").await;
    let mut b = attach(&channel, "b").await;
    settle(&a, &mut b, "before").await;
    match channel.attach("b".into()).await {
        Err(ChannelError::NameTaken { name }) => assert_eq!(&*name, "b"),
        Err(other) => panic!("a taken name was refused with another error: {other}"),
        Ok(_) => panic!("two nodes were attached under one name"),
    }
    settle(&a, &mut b, "after").await;
}

/// Empty and overlong names are refused; the longest allowed one works.
pub async fn refuses_bad_names(fresh: impl AsyncFn() -> Arc<dyn Channel>) {
    let channel = fresh().await;
    for bad in [String::new(), "n".repeat(NAME_BYTES_MAX + 1)] {
        match channel.attach(bad.as_str().into()).await {
            Err(ChannelError::BadName { len }) => assert_eq!(len, bad.len()),
            Err(other) => panic!("a name of {} bytes was refused with another error: {other}", bad.len()),
            Ok(_) => panic!("a name of {} bytes was attached", bad.len()),
        }
    }
    let mut a = attach(&channel, "a").await;
    // Letters, a space, and what often separates: a name is any string.
    let longest = format!("{}é /:*\n", "n".repeat(NAME_BYTES_MAX - 7));
    let b = attach(&channel, &longest).await;
    settle(&b, &mut a, "from a long name").await;
}

/// Frames of any size up to [`FRAME_BYTES_MIN`] arrive whole.
pub async fn carries_large_frames(fresh: impl AsyncFn() -> Arc<dyn Channel>) {
    let channel = fresh().await;
    let a = attach(&channel, "a").await;
    let mut b = attach(&channel, "b").await;
    settle(&a, &mut b, "before").await;
    for len in [0, 1, 4096, 65_535, 65_536, FRAME_BYTES_MIN - 1, FRAME_BYTES_MIN] {
        let frame = patterned(len);
        let mut attempt = 0;
        loop {
            assert!(attempt < ATTEMPTS, "a frame of {len} bytes did not arrive in {ATTEMPTS} attempts");
            a.port.send(b.port.name(), frame.clone());
            let heard = settle(&a, &mut b, &format!("{len}, attempt {attempt}")).await;
            assert!(heard.iter().all(|message| message.frame == frame), "a frame of {len} bytes arrived changed");
            if !heard.is_empty() {
                break;
            }
            attempt += 1;
        }
    }
}

/// Many nodes send to one at once: each one's messages arrive in order and under its own name.
#[expect(clippy::disallowed_methods, reason = "the tasks of a test")]
pub async fn takes_many_senders(fresh: impl AsyncFn() -> Arc<dyn Channel>) {
    let channel = fresh().await;
    let mut hub = attach(&channel, "hub").await;
    let mut senders = Vec::new();
    for number in 0..8 {
        let sender = attach(&channel, &format!("sender {number}")).await;
        settle(&sender, &mut hub, "before").await;
        senders.push(sender);
    }
    let tasks: Vec<_> = senders
        .iter()
        .map(|sender| {
            let (port, to) = (sender.port.clone(), hub.port.name().clone());
            tokio::spawn(async move {
                for number in 0..200 {
                    port.send(&to, numbered(number));
                    tokio::task::yield_now().await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a sender panicked");
    }
    let mut heard = Vec::new();
    for sender in &senders {
        heard.extend(settle(sender, &mut hub, "after").await);
    }
    for sender in &senders {
        let name = sender.port.name();
        let own: Vec<_> = heard.iter().filter(|message| message.from == *name).cloned().collect();
        assert!(!own.is_empty(), "none of the 200 messages of {name:?} arrived");
        assert_in_order(&own);
    }
}

async fn attach(channel: &Arc<dyn Channel>, name: &str) -> Attachment {
    match channel.attach(Name::from(name)).await {
        Ok(attachment) => attachment,
        Err(error) => panic!("{name:?} could not be attached: {error}"),
    }
}

/// Send a probe until `to` hears it. Because of the order, everything sent before on this link has by then been heard
/// or lost. Returns what else `to` heard meanwhile.
async fn settle(from: &Attachment, to: &mut Attachment, mark: &str) -> Vec<Message> {
    settle_from(&*from.port, to, mark).await
}

async fn settle_from(from: &dyn super::Port, to: &mut Attachment, mark: &str) -> Vec<Message> {
    let mut heard = Vec::new();
    let probe = Bytes::from(format!("{PROBE}{mark} from {:?}", from.name()));
    for _ in 0..ATTEMPTS {
        from.send(to.port.name(), probe.clone());
        while let Ok(message) = timeout(AGAIN, to.inbox.recv()).await {
            match message {
                None => panic!("the inbox of {:?} ended although it is attached", to.port.name()),
                Some(message) if message.frame == probe => return heard,
                Some(message) if is_probe(&message.frame) => {}
                Some(message) => heard.push(message),
            }
        }
    }
    panic!("{:?} heard nothing from {:?} in {ATTEMPTS} attempts ({mark})", to.port.name(), from.name());
}

/// What probes begin with. Earlier ones may still arrive, and are skipped.
const PROBE: &str = "probe: ";

fn is_probe(frame: &Bytes) -> bool {
    frame.starts_with(PROBE.as_bytes())
}

fn numbered(number: u32) -> Bytes {
    let mut frame = BytesMut::from(&b"numbered "[..]);
    frame.put_u32(number);
    frame.freeze()
}

fn assert_in_order(heard: &[Message]) {
    for pair in heard.windows(2) {
        let [earlier, later] = pair else { unreachable!("windows of two") };
        // All frames of `numbered` have one length and are big endian, so they compare as their numbers.
        assert!(earlier.frame < later.frame, "out of order, or twice: {:?} then {:?}", earlier.frame, later.frame);
    }
}

fn patterned(len: usize) -> Bytes {
    // A period that is no power of two: a piece that is lost or moved shows.
    (0..len).map(|at| (at % 251) as u8).collect()
}
