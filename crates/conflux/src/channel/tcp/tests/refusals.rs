//! Connections that one of the two sides does not want, and what they say of it.

use std::io;
use std::sync::Mutex;

use tokio::net::TcpListener;

use super::layout::{RefusalKind, VERSION, Welcome};
use super::*;

/// What is logged on this thread.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn begin() -> (Log, tracing::subscriber::DefaultGuard) {
        let log = Log::default();
        let writer = log.clone();
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).with_target(false).finish();
        (log, tracing::subscriber::set_default(subscriber))
    }

    fn lines_with(&self, part: &str) -> Vec<String> {
        let bytes = self.0.lock().expect("no test panicked").clone();
        let text = String::from_utf8(bytes).expect("logs are text");
        text.lines().filter(|line| line.contains(part)).map(String::from).collect()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panicked").extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn another_node_at_the_address_is_refused_and_both_log_it_once() {
    let (log, _guard) = Log::begin();
    let channel_c = bind(loopback()).await;
    let _c = attach(&channel_c, "c").await;
    let channel_a = bind(loopback().peer("b", channel_c.local_address().to_string())).await;
    let a = attach(&channel_a, "a").await;
    let trouble = trouble(&channel_a, "b", "refuses").await;
    let address = channel_c.local_address();
    assert_eq!(trouble, format!("{address} refuses this node: \"b\" was dialled, but \"c\" is here"));
    // Until it has been tried a few times: it is not connected, but what waits is lost with each attempt.
    for attempt in 1..=3 {
        a.port.send(&"b".into(), "x".into());
        until(&channel_a, "b", |status| status.frames_lost >= attempt).await;
    }
    let lines = log.lines_with("\"b\" was dialled, but \"c\" is here");
    assert_eq!(lines.len(), 2, "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("node=\"a\"") && line.contains("ERROR")), "{lines:#?}");
    assert!(lines.iter().any(|line| line.contains("node=\"c\"") && line.contains("ERROR")), "{lines:#?}");
}

#[tokio::test]
async fn one_who_answers_with_another_name_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    let channel = bind(loopback().peer("b", &address)).await;
    let _a = attach(&channel, "a").await;
    let mut raw = Raw::of(listener.accept().await.expect("it listens").0);
    raw.opening().await;
    raw.write(&Opening::Welcome(Welcome { life: 1, name: "c".into() }).encode()).await;
    let refused = refusal(raw.opening().await);
    assert_eq!(refused.kind, RefusalKind::WrongName);
    assert_eq!(refused.reason, format!("\"b\" was dialled at {address}, but \"c\" answered"));
    raw.closed().await;
    trouble(&channel, "b", &refused.reason).await;
}

#[tokio::test]
async fn another_version_is_refused_both_ways() {
    let (log, _guard) = Log::begin();
    let channel = bind(loopback()).await;
    let _a = attach(&channel, "a").await;
    for _ in 0..3 {
        let mut raw = Raw::connect(&channel).await;
        let hello = Hello { life: 1, number: 1, from: "b".into(), to: "a".into(), address: "x:1".into() };
        let mut bytes = Opening::Hello(hello).encode().to_vec();
        bytes[4] = VERSION + 1;
        raw.write(&bytes).await;
        let refused = refusal(raw.opening().await);
        assert_eq!(refused.kind, RefusalKind::Version);
        let expected =
            "\"a\" says: version 1 of the protocol is understood, but version 2 came: run the same release everywhere";
        assert_eq!(refused.reason, expected);
        raw.closed().await;
    }
    assert_eq!(log.lines_with("version 2 came").len(), 1, "once, not for every retry");

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    channel.set_peer("b", listener.local_addr().expect("it is bound").to_string()).expect("it is good");
    let mut raw = Raw::of(listener.accept().await.expect("it listens").0);
    raw.opening().await;
    let reason = "version 1 is too old".into();
    let mut bytes = Opening::Refusal(layout::Refusal { kind: RefusalKind::Version, reason }).encode().to_vec();
    bytes[4] = VERSION + 1;
    raw.write(&bytes).await;
    trouble(&channel, "b", "refuses this node: version 1 is too old").await;
}

#[tokio::test]
async fn a_second_process_of_a_name_is_refused_while_the_first_lives() {
    let channel_a = bind(loopback()).await;
    let mut a = attach(&channel_a, "a").await;
    let to_a = || loopback().peer("a", channel_a.local_address().to_string());
    let (first_channel, second_channel) = (bind(to_a()).await, bind(to_a()).await);
    let first = attach(&first_channel, "b").await;
    reach(&first, &mut a).await;
    let second = attach(&second_channel, "b").await;
    let refused = trouble(&second_channel, "a", "another process is connected as \"b\" from 127.0.0.1:").await;
    assert!(refused.ends_with("and alive: end one of the two, or give it another name"), "{refused}");
    reach(&first, &mut a).await;
    while a.inbox.try_recv().is_some() {}
    // When the first one goes, the second gets in by itself.
    first_channel.close().await;
    drop(first);
    reach(&second, &mut a).await;
}

#[tokio::test]
async fn a_process_with_the_name_of_the_node_it_dials_is_refused() {
    let channel = bind(loopback()).await;
    let _a = attach(&channel, "a").await;
    let (_, refused) = Raw::greet(&channel, "a", "a", 1, 1).await;
    assert_eq!(refusal(refused).kind, RefusalKind::NameTaken);
}

#[tokio::test]
async fn a_newer_connection_silences_the_older_and_an_older_one_comes_too_late() {
    let channel = bind(loopback()).await;
    let mut b = attach(&channel, "b").await;
    let (mut first, welcome) = Raw::greet(&channel, "a", "b", 7, 1).await;
    assert!(matches!(welcome, Opening::Welcome(_)));
    first.frame("one").await;
    assert_eq!(b.inbox.recv().await.expect("it is attached").frame, "one");
    let (mut third, welcome) = Raw::greet(&channel, "a", "b", 7, 3).await;
    assert!(matches!(welcome, Opening::Welcome(_)));
    third.frame("three").await;
    // Its bytes may be there already; they are not taken.
    let _ = first.stream.write_all(&Record::Frame("late".into()).encode()).await;
    first.closed().await;
    let (_, refused) = Raw::greet(&channel, "a", "b", 7, 2).await;
    assert_eq!(refusal(refused).kind, RefusalKind::Stale);
    third.frame("four").await;
    assert_eq!(b.inbox.recv().await.expect("it is attached").frame, "three");
    assert_eq!(b.inbox.recv().await.expect("it is attached").frame, "four");
}
