//! Whatever comes from the network: nothing panics, nothing grows, and nobody else waits.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRunner};

use super::*;

/// A node, and a peer that has to be heard throughout.
async fn besieged(options: fn() -> TcpOptions) -> (TcpChannel, Attachment, Attachment) {
    let ((channel_a, a), (_, b)) = pair(options).await;
    (channel_a, a, b)
}

#[tokio::test]
async fn senseless_bytes_are_let_go() {
    let (channel, mut a, b) = besieged(loopback).await;
    reach(&b, &mut a).await;
    let mut runner = TestRunner::new(Config { cases: 64, ..Config::default() });
    let bytes = proptest::collection::vec(any::<u8>(), 1..2000);
    for case in 0..64 {
        let mut bytes = bytes.new_tree(&mut runner).expect("bytes can be made").current();
        let mut raw = match case % 3 {
            0 => Raw::connect(&channel).await,
            1 => {
                let magic = [b"cflx".as_slice(), &[1, 1]].concat();
                bytes.splice(..0, magic);
                Raw::connect(&channel).await
            }
            _ => {
                let (raw, welcome) = Raw::greet(&channel, "stranger", "a", case, 1).await;
                assert!(matches!(welcome, Opening::Welcome(_)));
                // No frame of any length: what is allowed would be waited for.
                bytes[0] |= 2;
                raw
            }
        };
        let _ = raw.stream.write_all(&bytes).await;
        let _ = raw.stream.shutdown().await;
        raw.drain().await;
    }
    while a.inbox.try_recv().is_some() {}
    reach(&b, &mut a).await;
}

impl Raw {
    /// Reads to the end, whatever comes.
    async fn drain(&mut self) {
        let mut sink = tokio::io::sink();
        let _ = timeout(PATIENCE, tokio::io::copy(&mut self.stream, &mut sink)).await.expect("the connection is ended");
    }
}

#[tokio::test]
async fn a_huge_length_ends_the_connection_before_anything_is_held() {
    let (channel, mut a, b) = besieged(loopback).await;
    for header in [[0, 0xff, 0xff, 0xff, 0xff], [4, 0, 0, 0, 0x10], [9, 1, 0, 0, 0]] {
        let (mut raw, _) = Raw::greet(&channel, "stranger", "a", 1, 1).await;
        raw.write(&header).await;
        raw.closed().await;
        until(&channel, "stranger", |status| !status.hears).await;
    }
    let mut raw = Raw::connect(&channel).await;
    raw.write(b"cflx\x01\x01\xff\xff").await;
    assert!(refusal(raw.opening().await).reason.contains("at most 2048 bytes, but 65535 were announced"));
    reach(&b, &mut a).await;
}

#[tokio::test]
async fn those_who_begin_a_handshake_and_say_no_more_do_not_keep_others_out() {
    let channel = bind(loopback()).await;
    let mut a = attach(&channel, "a").await;
    let mut silent = Vec::new();
    for number in 0..400 {
        let mut raw = Raw::connect(&channel).await;
        raw.write(&b"cflx\x01\x01\x20\x00"[..number % 9]).await;
        silent.push(raw);
    }
    let other = bind(loopback().peer("a", channel.local_address().to_string())).await;
    let b = attach(&other, "b").await;
    let begun = std::time::Instant::now();
    reach(&b, &mut a).await;
    assert!(begun.elapsed() < super::stream::HANDSHAKE_TIME, "it waited for the others: {:?}", begun.elapsed());
    // All are let go after a while.
    for raw in &mut silent {
        raw.drain().await;
    }
}

#[tokio::test]
async fn half_a_frame_and_then_silence_is_given_up() {
    let (channel, mut a, b) = besieged(lively).await;
    let (mut raw, _) = Raw::greet(&channel, "stranger", "a", 1, 1).await;
    raw.write(&Record::frame_header(1000)).await;
    raw.write(&[7; 500]).await;
    reach(&b, &mut a).await;
    raw.closed().await;
    until(&channel, "stranger", |status| !status.hears).await;
    reach(&b, &mut a).await;
    assert!(std::iter::from_fn(|| a.inbox.try_recv()).all(|message| &*message.from == "b"));
}

#[tokio::test]
async fn who_dials_may_not_send_what_only_the_other_side_sends() {
    let channel = bind(loopback()).await;
    let _a = attach(&channel, "a").await;
    for record in [Record::Ask(1), Record::Introduce(vec![("x".into(), "127.0.0.1:1".into())])] {
        let (mut raw, _) = Raw::greet(&channel, "stranger", "a", 1, 1).await;
        raw.write(&record.encode()).await;
        raw.closed().await;
        until(&channel, "stranger", |status| !status.hears).await;
    }
    assert_eq!(status(&channel, "x"), None);
}

#[tokio::test]
async fn a_http_client_is_told_that_it_is_wrong_here() {
    let channel = bind(loopback()).await;
    let _a = attach(&channel, "a").await;
    let mut raw = Raw::connect(&channel).await;
    raw.write(b"GET / HTTP/1.1\r\n\r\n").await;
    assert!(refusal(raw.opening().await).reason.contains("what speaks there is no conflux node"));
    raw.closed().await;
}
