use std::fs;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::layout::{Hello, OPENING_HEADER_BYTES, Opening, Record, Records};
use super::*;

mod contract;
mod hostile;
mod reconnects;
mod refusals;
mod secured;

/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(30);

fn loopback() -> TcpOptions {
    TcpOptions::new("127.0.0.1:0")
}

/// Keep-alive times short enough for tests, and long enough for a busy machine.
fn lively() -> TcpOptions {
    loopback().keep_alive(Duration::from_millis(100), Duration::from_millis(500))
}

async fn bind(options: TcpOptions) -> TcpChannel {
    TcpChannel::bind(options).await.expect("the options are good")
}

async fn attach(channel: &TcpChannel, name: &str) -> Attachment {
    channel.attach(name.into()).await.expect("the name is free")
}

/// Two nodes that know each other.
async fn pair(options: fn() -> TcpOptions) -> ((TcpChannel, Attachment), (TcpChannel, Attachment)) {
    let (a, b) = (bind(options()).await, bind(options()).await);
    a.set_peer("b", b.local_address().to_string()).expect("it is good");
    b.set_peer("a", a.local_address().to_string()).expect("it is good");
    let (node_a, node_b) = (attach(&a, "a").await, attach(&b, "b").await);
    ((a, node_a), (b, node_b))
}

fn status(channel: &TcpChannel, peer: &str) -> Option<PeerStatus> {
    channel.peers().into_iter().find(|status| &*status.name == peer)
}

/// Waits until what the channel says of a peer is as wanted.
async fn until(channel: &TcpChannel, peer: &str, wanted: impl Fn(&PeerStatus) -> bool) -> PeerStatus {
    let waiting = async {
        loop {
            if let Some(status) = status(channel, peer).filter(&wanted) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    match timeout(PATIENCE, waiting).await {
        Ok(status) => status,
        Err(_) => panic!("it did not come to that: {:?}", channel.peers()),
    }
}

async fn trouble(channel: &TcpChannel, peer: &str, part: &str) -> String {
    let has = |status: &PeerStatus| status.trouble.as_ref().is_some_and(|trouble| trouble.contains(part));
    until(channel, peer, has).await.trouble.expect("it was looked at")
}

/// Sends until something new is heard, and returns that.
async fn reach(from: &Attachment, to: &mut Attachment) -> Vec<Bytes> {
    static PROBES: AtomicU64 = AtomicU64::new(0);
    let probe = Bytes::from(format!("probe {}", PROBES.fetch_add(1, Ordering::Relaxed)));
    let mut heard = Vec::new();
    let reaching = async {
        loop {
            from.port.send(to.port.name(), probe.clone());
            while let Ok(message) = timeout(Duration::from_millis(100), to.inbox.recv()).await {
                let message = message.expect("it is attached");
                if message.frame == probe {
                    return;
                }
                if !message.frame.starts_with(b"probe ") {
                    heard.push(message.frame);
                }
            }
        }
    };
    timeout(PATIENCE, reaching).await.unwrap_or_else(|_| panic!("{:?} was not reached", to.port.name()));
    heard
}

/// The other end of a connection, by hand.
struct Raw {
    stream: TcpStream,
    records: Records,
}

impl Raw {
    async fn connect(channel: &TcpChannel) -> Raw {
        Raw::of(TcpStream::connect(channel.local_address()).await.expect("it listens"))
    }

    fn of(stream: TcpStream) -> Raw {
        Raw { stream, records: Records::new() }
    }

    /// Connects as a node.
    async fn greet(channel: &TcpChannel, from: &str, to: &str, life: u64, number: u64) -> (Raw, Opening) {
        let mut raw = Raw::connect(channel).await;
        let address = "127.0.0.1:1".into();
        raw.write(&Opening::Hello(Hello { life, number, from: from.into(), to: to.into(), address }).encode()).await;
        let opening = raw.opening().await;
        (raw, opening)
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("the other side reads");
    }

    async fn frame(&mut self, frame: &'static str) {
        self.write(&Record::Frame(frame.into()).encode()).await;
    }

    async fn opening(&mut self) -> Opening {
        let reading = async {
            let mut header = [0; OPENING_HEADER_BYTES];
            self.stream.read_exact(&mut header).await.expect("an opening");
            let mut body = vec![0; Opening::body_len(header).expect("a good header")];
            self.stream.read_exact(&mut body).await.expect("the rest of the opening");
            Opening::decode(header, &body).expect("a good opening")
        };
        timeout(PATIENCE, reading).await.expect("it is answered")
    }

    /// The next record that is no sign of life.
    async fn record(&mut self) -> Option<Record> {
        let reading = async {
            loop {
                while let Some(record) = self.records.take().expect("a good record") {
                    if record != Record::Beat {
                        return Some(record);
                    }
                }
                match self.stream.read_buf(self.records.room()).await {
                    Ok(0) | Err(_) => return None,
                    Ok(_) => {}
                }
            }
        };
        timeout(PATIENCE, reading).await.expect("it says something or closes")
    }

    /// Waits until the other side closes.
    async fn closed(&mut self) {
        while self.record().await.is_some() {}
    }
}

fn refusal(opening: Opening) -> super::layout::Refusal {
    match opening {
        Opening::Refusal(refusal) => refusal,
        other => panic!("no refusal: {other:?}"),
    }
}

/// A directory of its own for each test, removed behind it.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Directory {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("conflux-tcp-{}-{number}", std::process::id()));
        fs::create_dir_all(&path).expect("the directory for temporary files is writable");
        Directory(path)
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.0.join(name);
        fs::write(&path, content).expect("the directory is writable");
        path
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn frames_go_both_ways_and_are_counted() {
    let ((channel_a, mut a), (channel_b, mut b)) = pair(loopback).await;
    reach(&a, &mut b).await;
    reach(&b, &mut a).await;
    let there = until(&channel_a, "b", |status| status.sends && status.hears).await;
    assert_eq!((there.connections, there.learned, there.trouble), (1, false, None));
    assert_eq!(there.address, channel_b.local_address().to_string());
    let before = there.frames_sent;
    for _ in 0..10 {
        a.port.send(b.port.name(), "counted".into());
    }
    for _ in 0..10 {
        assert_eq!(b.inbox.recv().await.expect("it is attached").frame, "counted");
    }
    until(&channel_a, "b", |status| status.frames_sent == before + 10).await;
}

#[tokio::test]
async fn one_that_comes_late_and_knows_one_other_is_known_by_all_and_knows_all() {
    let ((channel_a, mut a), (channel_b, mut b)) = pair(loopback).await;
    reach(&a, &mut b).await;
    reach(&b, &mut a).await;
    let channel_c = bind(loopback().peer("a", channel_a.local_address().to_string())).await;
    let mut c = attach(&channel_c, "c").await;
    until(&channel_b, "c", |status| status.sends && status.hears && status.learned).await;
    until(&channel_c, "b", |status| status.sends && status.hears && status.learned).await;
    until(&channel_a, "c", |status| status.sends && status.hears && status.learned).await;
    c.port.broadcast("from c".into());
    assert_eq!(a.inbox.recv().await.expect("it is attached").frame, "from c");
    assert_eq!(b.inbox.recv().await.expect("it is attached").frame, "from c");
    b.port.broadcast("from b".into());
    assert_eq!(c.inbox.recv().await.expect("it is attached").frame, "from b");
}

#[tokio::test]
async fn no_more_are_learned_than_there_is_room_for_and_the_idle_make_room() {
    let channel = bind(loopback().learned_max(2)).await;
    let _a = attach(&channel, "a").await;
    let (b, welcome) = Raw::greet(&channel, "b", "a", 1, 1).await;
    assert!(matches!(welcome, Opening::Welcome(_)));
    let (_c, welcome) = Raw::greet(&channel, "c", "a", 1, 1).await;
    assert!(matches!(welcome, Opening::Welcome(_)));
    let (_, refused) = Raw::greet(&channel, "d", "a", 1, 1).await;
    assert_eq!(refusal(refused).reason, "\"a\" knows 2 nodes beside those in its options, and takes no more");
    drop(b);
    until(&channel, "b", |status| !status.hears).await;
    let (_d, welcome) = Raw::greet(&channel, "d", "a", 1, 1).await;
    assert!(matches!(welcome, Opening::Welcome(_)));
    assert_eq!(status(&channel, "b"), None);
}

#[tokio::test]
async fn a_channel_serves_one_node_and_is_closed_once() {
    let channel = bind(loopback()).await;
    let a = attach(&channel, "a").await;
    let other = channel.attach("b".into()).await.err().expect("there is one");
    assert!(other.to_string().contains("\"a\" is attached to it"), "{other}");
    drop(a);
    let mut b = attach(&channel, "b").await;
    let address = channel.local_address();
    channel.close().await;
    channel.close().await;
    assert!(b.inbox.recv().await.is_none());
    assert!(matches!(channel.attach("b".into()).await, Err(ChannelError::Closed)));
    // The port is free.
    bind(TcpOptions::new(address.to_string())).await;
}

#[tokio::test]
async fn what_waits_is_sent_before_a_connection_is_closed() {
    let ((channel_a, mut a), (_channel_b, mut b)) = pair(loopback).await;
    reach(&a, &mut b).await;
    reach(&b, &mut a).await;
    for number in 0..2000 {
        a.port.send(b.port.name(), Bytes::from(vec![(number % 256) as u8; 1000]));
    }
    channel_a.close().await;
    for number in 0..2000 {
        let message = timeout(PATIENCE, b.inbox.recv()).await.expect("it comes").expect("it is attached");
        assert_eq!(message.frame[0], (number % 256) as u8);
    }
}

#[tokio::test]
async fn an_address_in_use_is_an_error_that_says_so() {
    let taken = bind(loopback()).await;
    let error = TcpChannel::bind(TcpOptions::new(taken.local_address().to_string())).await.expect_err("it is taken");
    let expected = format!("cannot listen at {}: ", taken.local_address());
    assert!(error.to_string().starts_with(&expected), "{error}");
    assert!(error.to_string().ends_with("another process listens there: end it, or choose another port"), "{error}");
}

#[tokio::test]
async fn without_certificates_only_loopback_is_listened_at() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let error = TcpChannel::bind(TcpOptions::new(address)).await.expect_err("others could connect").to_string();
        for way_out in ["--tls-cert", "conflux tls init", "--insecure", "127.0.0.1"] {
            assert!(error.contains(way_out), "{error}");
        }
    }
    let channel = bind(TcpOptions::new("0.0.0.0:0").insecure(true)).await;
    // It says `:PORT`, and is dialled back where it came from.
    let other = bind(loopback()).await;
    channel.set_peer("b", other.local_address().to_string()).expect("it is good");
    let (_a, mut b) = (attach(&channel, "a").await, attach(&other, "b").await);
    let learned = until(&other, "a", |status| status.sends).await;
    assert_eq!(learned.address, format!("127.0.0.1:{}", channel.local_address().port()));
    assert!(b.inbox.try_recv().is_none());
}
