use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;
use crate::channel::contract;

const PATIENCE: Duration = Duration::from_secs(30);

const WORDS: &str = "the token of the words";
const GAMES: &str = "the token of the games";

fn key() -> ClusterKey {
    ClusterKey::new(*b"the key of all our nodes").expect("it is long enough")
}

async fn relay() -> Relay {
    Relay::bind(RelayOptions::new("127.0.0.1:0")).await.expect("a port is free")
}

fn options(address: SocketAddr) -> WebsocketOptions {
    WebsocketOptions::new(format!("ws://{address}/words"))
}

fn channel(options: WebsocketOptions) -> WebsocketChannel {
    WebsocketChannel::new(options).expect("the options are good")
}

async fn attach(channel: &WebsocketChannel, name: &str) -> Attachment {
    channel.attach(name.into()).await.expect("the name is free")
}

/// Sends until it is heard.
async fn reach(from: &Attachment, to: &mut Attachment) {
    let reaching = async {
        loop {
            from.port.send(to.port.name(), "probe".into());
            match timeout(Duration::from_millis(100), to.inbox.recv()).await {
                Ok(message) if message.as_ref().expect("it is attached").from == *from.port.name() => return,
                _ => {}
            }
        }
    };
    timeout(PATIENCE, reaching).await.unwrap_or_else(|_| panic!("{:?} was not reached", to.port.name()));
}

async fn until(channel: &WebsocketChannel, wanted: impl Fn(&SharedStatus) -> bool) -> SharedStatus {
    let waiting = async {
        loop {
            if let Some(status) = channel.status().into_iter().find(&wanted) {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(PATIENCE, waiting).await.unwrap_or_else(|_| panic!("it did not come to that: {:?}", channel.status()))
}

/// A relay of its own, and a channel to it.
struct Alone {
    channel: WebsocketChannel,
    _relay: Relay,
}

impl Channel for Alone {
    fn attach(&self, name: Name) -> BoxFuture<'_, Result<Attachment, ChannelError>> {
        self.channel.attach(name)
    }
}

async fn fresh() -> Arc<dyn Channel> {
    let relay = relay().await;
    let channel = channel(options(relay.local_address()).key(key()));
    Arc::new(Alone { channel, _relay: relay })
}

macro_rules! keeps_the_contract {
    ($($check:ident)*) => {
        mod keeps_the_contract {
            $(#[tokio::test]
            async fn $check() {
                super::contract::$check(async || super::fresh().await).await;
            })*
        }
    };
}

contract::each_check!(keeps_the_contract);

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn keeps_the_contract_on_many_threads() {
    contract::all(async || fresh().await).await;
}

#[tokio::test]
async fn nodes_come_back_after_the_relay_did() {
    let first = relay().await;
    let address = first.local_address();
    let channel = channel(options(address).key(key()));
    let (mut a, mut b) = (attach(&channel, "a").await, attach(&channel, "b").await);
    reach(&a, &mut b).await;
    first.close().await;
    until(&channel, |status| !status.connected && status.trouble.as_ref().is_some_and(|why| why.contains("refused")))
        .await;
    let _second = Relay::bind(RelayOptions::new(address.to_string())).await.expect("the port is free");
    reach(&a, &mut b).await;
    reach(&b, &mut a).await;
    assert!(channel.status().iter().all(|status| status.connections >= 2 && status.trouble.is_none()));
}

#[tokio::test]
async fn rooms_keep_apart_and_tokens_let_in() {
    let rooms = RelayOptions::new("127.0.0.1:0").room("/words", WORDS).room("games", GAMES);
    let relay = Relay::bind(rooms).await.expect("a port is free");
    let address = relay.local_address();
    let words = channel(options(address).token(WORDS).key(key()));
    let games = WebsocketOptions::new(format!("ws://{address}/games")).token(GAMES).key(key());
    let games = channel(games);
    let (a, mut b) = (attach(&words, "a").await, attach(&words, "b").await);
    // The same name, in another room.
    let (mut other_b, c) = (attach(&games, "b").await, attach(&games, "c").await);
    reach(&a, &mut b).await;
    reach(&c, &mut other_b).await;
    a.port.broadcast("for the words only".into());
    reach(&c, &mut other_b).await;
    while let Some(message) = other_b.inbox.try_recv() {
        assert_eq!(&*message.from, "c");
    }
    for (path, token) in [("words", Some(GAMES)), ("words", None), ("others", Some(WORDS))] {
        let mut options = WebsocketOptions::new(format!("ws://{address}/{path}")).key(key());
        options.token = token.map(String::from);
        let error = channel(options).attach("d".into()).await.err().expect("it is not let in").to_string();
        assert!(error.contains("refuses this node: 401 Unauthorized: the token is not that of the room"), "{error}");
    }
}

#[tokio::test]
async fn without_the_key_nobody_is_heard() {
    let relay = relay().await;
    let ours = channel(options(relay.local_address()).key(key()));
    let (a, mut b) = (attach(&ours, "a").await, attach(&ours, "b").await);
    reach(&a, &mut b).await;
    let stranger = ClusterKey::new(*b"some other cluster's key").expect("it is long enough");
    for theirs in [options(relay.local_address()).key(stranger), options(relay.local_address())] {
        let theirs = channel(theirs);
        // The name is taken, but not as far as this key goes.
        let imposter = attach(&theirs, "a").await;
        imposter.port.send(&"b".into(), "take this".into());
        let refused = until(&ours, |status| &*status.name == "b" && status.refused > 0).await;
        assert!(refused.refusal.is_some_and(|why| why.contains("is not signed with this cluster's key")));
        reach(&a, &mut b).await;
        while let Some(message) = b.inbox.try_recv() {
            assert_eq!(message.frame, "probe");
        }
    }
}

#[tokio::test]
async fn what_was_recorded_is_not_heard_again() {
    let relay = relay().await;
    let ours = channel(options(relay.local_address()).key(key()));
    // One without the key who listens in, and sends all again that he heard.
    let room = WebsocketChannel::new(options(relay.local_address())).expect("the options are good").room;
    // It says that it is the one for whom the frames are: names are free to take for who only listens.
    let (mut sink, mut stream) = room.dial(&"b".into()).await.expect("anybody is let in").split();
    let (a, mut b) = (attach(&ours, "a").await, attach(&ours, "b").await);
    reach(&a, &mut b).await;
    a.port.send(b.port.name(), "once".into());
    let heard = timeout(PATIENCE, async { while b.inbox.recv().await.expect("it is attached").frame != "once" {} });
    heard.await.expect("it comes");
    let mut recorded = Vec::new();
    while let Ok(Some(Ok(Message::Binary(bytes)))) = timeout(Duration::from_millis(200), stream.next()).await {
        recorded.push(bytes);
    }
    assert!(recorded.iter().any(|bytes| bytes.windows(4).any(|part| part == b"once")), "it is not encrypted");
    for _ in 0..2 {
        for bytes in &recorded {
            sink.send(Message::Binary(bytes.clone())).await.expect("the relay is there");
        }
        reach(&a, &mut b).await;
        while let Some(message) = b.inbox.try_recv() {
            assert_eq!(message.frame, "probe");
        }
        // To one who forgot, too.
        drop(b);
        b = attach(&ours, "b").await;
    }
    reach(&a, &mut b).await;
}

#[tokio::test]
async fn what_waits_is_sent_before_a_channel_is_closed() {
    let relay = relay().await;
    let (ours, theirs) = (channel(options(relay.local_address())), channel(options(relay.local_address())));
    let (mut a, mut b) = (attach(&ours, "a").await, attach(&theirs, "b").await);
    reach(&a, &mut b).await;
    for _ in 0..1000 {
        a.port.send(b.port.name(), vec![1; 1000].into());
    }
    a.port.send(b.port.name(), "last".into());
    ours.close().await;
    assert!(a.inbox.recv().await.is_none());
    let heard = async { while b.inbox.recv().await.expect("it is attached").frame != "last" {} };
    timeout(PATIENCE, heard).await.expect("it comes");
    assert_eq!(ours.status(), []);
}

#[tokio::test]
async fn a_channel_is_closed_for_good() {
    let relay = relay().await;
    let ours = channel(options(relay.local_address()).key(key()));
    let mut attaching = Box::pin(ours.attach("a".into()));
    // Once the relay was asked, it claims its name for half a second.
    assert!(timeout(Duration::from_millis(20), &mut attaching).await.is_err());
    ours.close().await;
    assert!(matches!(attaching.await, Err(ChannelError::Closed)));
    assert!(matches!(ours.attach("b".into()).await, Err(ChannelError::Closed)));
    assert_eq!(ours.status(), []);
}

#[tokio::test]
async fn senseless_requests_and_bytes_do_no_harm() {
    let relay = relay().await;
    let ours = channel(options(relay.local_address()).key(key()));
    let (a, mut b) = (attach(&ours, "a").await, attach(&ours, "b").await);
    for bytes in
        [&b"\0\xff\x01"[..], b"GET /words HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[b'x'; 40_000]]
    {
        let mut raw = TcpStream::connect(relay.local_address()).await.expect("it listens");
        let _ = raw.write_all(bytes).await;
        let _ = raw.shutdown().await;
        let mut answer = Vec::new();
        let _ = timeout(PATIENCE, raw.read_to_end(&mut answer)).await.expect("it is ended");
    }
    let room = channel(options(relay.local_address())).room;
    for message in [Message::Binary(Bytes::new()), Message::Binary(vec![7; 100].into())] {
        let mut socket = room.dial(&"z".into()).await.expect("anybody is let in");
        socket.send(message).await.expect("the relay is there");
        let ended = async { while let Some(Ok(_)) = socket.next().await {} };
        timeout(PATIENCE, ended).await.expect("it is ended");
    }
    let mut socket = room.dial(&"z".into()).await.expect("anybody is let in");
    // More than the relay takes.
    let _ = socket.send(Message::Binary(vec![1; ENVELOPE_BYTES_MAX + 1].into())).await;
    let ended = async { while let Some(Ok(_)) = socket.next().await {} };
    timeout(PATIENCE, ended).await.expect("it is ended");
    reach(&a, &mut b).await;
}

#[tokio::test]
async fn there_are_no_more_connections_than_the_limit() {
    let options_of_relay = RelayOptions::new("127.0.0.1:0").connections_max(2);
    let relay = Relay::bind(options_of_relay).await.expect("a port is free");
    let ours = channel(options(relay.local_address()).key(key()));
    let (a, _b) = (attach(&ours, "a").await, attach(&ours, "b").await);
    assert!(matches!(ours.attach("c".into()).await, Err(ChannelError::Unreachable { .. })));
    drop(a);
    let attached = async { while ours.attach("c".into()).await.is_err() {} };
    timeout(PATIENCE, attached).await.expect("there is room again");
}

#[tokio::test]
async fn bad_options_say_what_came_and_what_is_allowed() {
    for bad in ["words", "http://127.0.0.1/words", "ws://127.0.0.1", "ws:///words", "ws://127.0.0.1/words?token=x"] {
        let error = WebsocketChannel::new(WebsocketOptions::new(bad)).expect_err(bad).to_string();
        assert!(error.contains(&format!("the address is {bad:?}")) && error.contains("ws://HOST:PORT/ROOM"), "{error}");
    }
    let far = || WebsocketOptions::new("wss://relay.example/words");
    let error = WebsocketChannel::new(far()).expect_err("there is no key").to_string();
    assert!(error.contains("relay.example is not this machine") && error.contains("--cluster-key-file"), "{error}");
    channel(far().key(key()));
    channel(far().insecure(true));

    let error = Relay::bind(RelayOptions::new("0.0.0.0:0")).await.expect_err("anybody could come").to_string();
    assert!(error.contains("--token-file") && error.contains("--insecure"), "{error}");
    let directory = tempfile::tempdir().expect("it can be made");
    let path = directory.path().join("tokens");
    for (text, line, problem) in [
        ("# ours\nwords 0123456789abcdef\n\ngames open too\n", 4, "it must be a room, a space, and a token"),
        ("words 0123456789abcdef # ours", 1, "it must be a room"),
        ("words 0123456789#abcdef", 0, ""),
        ("words 0123456789abcde", 1, "the token has fewer than 16 characters"),
        ("words 0123456789abcdef\n/words 0123456789abcdeF", 2, "the room had a token already"),
    ] {
        std::fs::write(&path, text).expect("it is writable");
        let read = RelayOptions::new("0.0.0.0:0").rooms_from_file(&path);
        match line {
            0 => drop(Relay::bind(read.expect("a room and a token")).await.expect("it has tokens")),
            _ => {
                let error = read.expect_err(problem).to_string();
                assert!(error.contains(&format!("tokens, line {line}: {problem}")), "{error}");
            }
        }
    }
    for short in ["", "open"] {
        let error = Relay::bind(RelayOptions::new("127.0.0.1:0").room("r", short)).await.expect_err("it is short");
        assert!(error.to_string().contains("must have at least 16"), "{error}");
    }
}

/// Asks as a browser or another program may, and gives the first line of the answer.
async fn ask(relay: &Relay, headers: &str) -> String {
    let mut raw = TcpStream::connect(relay.local_address()).await.expect("it listens");
    let request = format!(
        "GET /words HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    );
    raw.write_all(request.as_bytes()).await.expect("it is taken");
    let mut answer = vec![0; 12];
    timeout(PATIENCE, raw.read_exact(&mut answer)).await.expect("it answers").expect("it answers");
    String::from_utf8(answer).expect("it is text")
}

#[tokio::test]
async fn pages_and_the_nameless_are_not_let_in() {
    let relay = relay().await;
    // "a" in hexadecimal digits.
    let named = format!("{NODE_HEADER}: 61\r\n");
    assert_eq!(ask(&relay, &named).await, "HTTP/1.1 101");
    for origin in ["http://evil.example", "null", "http://127.0.0.1"] {
        assert_eq!(ask(&relay, &format!("{named}Origin: {origin}\r\n")).await, "HTTP/1.1 403", "{origin}");
    }
    assert_eq!(ask(&relay, "").await, "HTTP/1.1 400");
    assert_eq!(ask(&relay, &format!("{NODE_HEADER}: \r\n")).await, "HTTP/1.1 400");
}

#[tokio::test]
async fn who_shows_nothing_takes_no_place() {
    let relay = Relay::bind(RelayOptions::new("127.0.0.1:0").connections_max(2)).await.expect("a port is free");
    let mut silent = Vec::new();
    for _ in 0..8 {
        silent.push(TcpStream::connect(relay.local_address()).await.expect("it listens"));
    }
    let ours = channel(options(relay.local_address()).key(key()));
    let (a, mut b) = (attach(&ours, "a").await, attach(&ours, "b").await);
    reach(&a, &mut b).await;
}

#[tokio::test]
async fn a_room_is_full_for_itself_only() {
    let options_of_relay = RelayOptions::new("127.0.0.1:0").guests_max(1);
    let relay = Relay::bind(options_of_relay).await.expect("a port is free");
    let ours = channel(options(relay.local_address()).key(key()));
    let _a = attach(&ours, "a").await;
    let error = ours.attach("b".into()).await.err().expect("it is full").to_string();
    assert!(error.contains("503") && error.contains("as many in the room"), "{error}");
    let other = channel(WebsocketOptions::new(format!("ws://{}/games", relay.local_address())).key(key()));
    attach(&other, "b").await;
}

#[tokio::test]
async fn a_relay_behind_tls_is_reached_by_its_certificate() {
    let relay = relay().await;
    let made = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("it can be made");
    let directory = tempfile::tempdir().expect("it can be made");
    let ca = directory.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).expect("it is writable");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("the provider has what TLS needs")
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], made.signing_key.into())
        .expect("the two belong together");
    // What stands in front of the relay.
    let front = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let address = front.local_addr().expect("it is bound");
    let (acceptor, behind) = (tokio_rustls::TlsAcceptor::from(Arc::new(config)), relay.local_address());
    let serving = tokio::spawn(async move {
        loop {
            let (stream, _) = front.accept().await.expect("it listens");
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                if let Ok(mut stream) = acceptor.accept(stream).await {
                    let mut relay = TcpStream::connect(behind).await.expect("it listens");
                    let _ = tokio::io::copy_bidirectional(&mut stream, &mut relay).await;
                }
            });
        }
    });
    let room = || WebsocketOptions::new(format!("wss://localhost:{}/words", address.port())).key(key());
    let trusting = channel(room().ca(&ca));
    let (a, mut b) = (attach(&trusting, "a").await, attach(&trusting, "b").await);
    reach(&a, &mut b).await;
    let error = channel(room()).attach("c".into()).await.err().expect("no authority of the web signed it").to_string();
    assert!(error.contains("certificate"), "{error}");
    serving.abort();
}
