//! Against a real server, where there is one: `redis-server` on the path.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;
use crate::channel::contract;

const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a port of its own, ended when dropped.
struct RunningServer {
    child: Child,
    port: u16,
}

impl RunningServer {
    /// None where Redis is not installed: `cargo xtask test` installs it where it may, and says so where not.
    async fn start() -> Option<RunningServer> {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("it is bound").port();
        Self::start_at(port).await
    }

    async fn start_at(port: u16) -> Option<RunningServer> {
        let started = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
            .current_dir(std::env::temp_dir())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn();
        let child = match started {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                eprintln!("redis-server is not on the path: the Redis channel is not tested");
                return None;
            }
            Err(error) => panic!("redis-server does not start: {error}"),
        };
        let running = RunningServer { child, port };
        let client = Client::open(format!("redis://127.0.0.1:{port}/")).expect("it is an address");
        let up = async {
            while client.get_multiplexed_async_connection().await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, up).await.expect("the server comes up");
        Some(running)
    }

    fn options(&self, channel: &str) -> RedisOptions {
        let key = ClusterKey::new(*b"the key of all our nodes").expect("it is long enough");
        RedisOptions::new(format!("redis://127.0.0.1:{}/?channel={channel}", self.port)).key(key)
    }

    fn channel(&self, channel: &str) -> RedisChannel {
        RedisChannel::new(self.options(channel)).expect("the options are good")
    }
}

impl Drop for RunningServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn attach(channel: &RedisChannel, name: &str) -> Attachment {
    channel.attach(name.into()).await.expect("the name is free")
}

/// Sends until it is heard.
async fn reach(from: &Attachment, to: &mut Attachment) {
    let reaching = async {
        loop {
            from.port.send(to.port.name(), "probe".into());
            if timeout(Duration::from_millis(100), to.inbox.recv()).await.is_ok() {
                return;
            }
        }
    };
    timeout(PATIENCE, reaching).await.unwrap_or_else(|_| panic!("{:?} was not reached", to.port.name()));
}

/// One server for all checks of a test: each has a channel of its own there.
macro_rules! keeps_the_contract {
    ($($check:ident)*) => {
        mod keeps_the_contract {
            $(#[tokio::test]
            async fn $check() {
                let Some(server) = super::RunningServer::start().await else { return };
                let fresh = async || std::sync::Arc::new(server.channel("words")) as std::sync::Arc<dyn super::Channel>;
                super::contract::$check(fresh).await;
            })*
        }
    };
}

contract::each_check!(keeps_the_contract);

#[tokio::test]
async fn nodes_come_back_after_the_server_did() {
    let Some(server) = RunningServer::start().await else { return };
    let channel = server.channel("words");
    let (mut a, mut b) = (attach(&channel, "a").await, attach(&channel, "b").await);
    reach(&a, &mut b).await;
    let port = server.port;
    drop(server);
    let cut = async {
        while channel.status().iter().any(|status| status.connected || status.trouble.is_none()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, cut).await.expect("they notice");
    let _again = RunningServer::start_at(port).await.expect("it was there before");
    while b.inbox.try_recv().is_some() {}
    reach(&a, &mut b).await;
    reach(&b, &mut a).await;
}

#[tokio::test]
async fn channels_keep_apart_and_other_publishers_do_no_harm() {
    let Some(server) = RunningServer::start().await else { return };
    let (words, games) = (server.channel("words"), server.channel("games"));
    let (a, mut b) = (attach(&words, "a").await, attach(&words, "b").await);
    let (mut other_b, c) = (attach(&games, "b").await, attach(&games, "c").await);
    reach(&a, &mut b).await;
    reach(&c, &mut other_b).await;
    while other_b.inbox.try_recv().is_some() {}
    a.port.broadcast("for the words only".into());

    let client = Client::open(format!("redis://127.0.0.1:{}/", server.port)).expect("it is an address");
    let mut stranger = client.get_multiplexed_async_connection().await.expect("it is up");
    for channel in ["words", "words\nb"] {
        for payload in [b"".to_vec(), b"hello".to_vec(), vec![1; 200], vec![1; ENVELOPE_BYTES_MAX + 1]] {
            let published = ::redis::cmd("PUBLISH").arg(channel).arg(payload).query_async::<()>(&mut stranger).await;
            published.expect("it is up");
        }
    }
    let heard = async { while b.inbox.recv().await.expect("it is attached").frame != "for the words only" {} };
    timeout(PATIENCE, heard).await.expect("it comes");
    reach(&a, &mut b).await;
    assert!(words.status().iter().all(|status| status.connected && status.refused >= 2), "{words:?}");
    // What came late of the others in its own channel is no matter.
    while let Some(message) = other_b.inbox.try_recv() {
        assert_eq!(&*message.from, "c", "{message:?}");
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_an_error_that_names_it() {
    let port = TcpListener::bind("127.0.0.1:0").expect("a port is free").local_addr().expect("it is bound").port();
    let options = RedisOptions::new(format!("redis://user:secret@127.0.0.1:{port}/?channel=words"));
    let channel = RedisChannel::new(options.clone()).expect("the options are good");
    let error = channel.attach("a".into()).await.err().expect("nobody is there").to_string();
    assert!(error.contains(&format!("127.0.0.1:{port}: ")) && error.contains("refused"), "{error}");
    assert!(!format!("{error} {options:?} {channel:?}").contains("secret"));
}

#[test]
fn bad_options_say_what_came_and_what_is_allowed() {
    let cases = [
        ("redis://127.0.0.1/", "without ?channel="),
        ("redis://127.0.0.1/?db=1", "without ?channel="),
        ("redis://127.0.0.1/?channel=", "\"channel=\""),
        ("redis://127.0.0.1/?channel=two%20words", "\"channel=two%20words\""),
        ("http://127.0.0.1/?channel=words", "\"http\""),
    ];
    for (address, expected) in cases {
        let error = RedisChannel::new(RedisOptions::new(address)).expect_err(address).to_string();
        assert!(error.contains(expected) && error.contains("redis://127.0.0.1/?channel=words"), "{error}");
    }
    let far = || RedisOptions::new("redis://redis.example/?channel=words");
    let error = RedisChannel::new(far()).expect_err("there is no key").to_string();
    assert!(error.contains("redis.example is not this machine") && error.contains("--cluster-key-file"), "{error}");
    RedisChannel::new(far().insecure(true)).expect("everybody is trusted");
}

#[tokio::test]
async fn what_is_no_redis_server_is_told_on_one_line() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let port = listener.local_addr().expect("it is bound").port();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.expect("somebody comes");
            let mut first = [0; 64];
            let _ = stream.read(&mut first).await;
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
        }
    });
    let key = ClusterKey::new(*b"the key of all our nodes").expect("it is long enough");
    let options = RedisOptions::new(format!("redis://127.0.0.1:{port}/?channel=words")).key(key);
    let attached = RedisChannel::new(options).expect("the options are good").attach("a".into()).await;
    let Err(ChannelError::Unreachable { reason }) = attached else { panic!("nobody is there") };
    assert_eq!(reason, format!("127.0.0.1:{port}: something answers there that is no Redis server"));
}
