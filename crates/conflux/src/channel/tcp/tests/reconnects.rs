//! Connections that break, stall, and come back.

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::*;

/// A proxy in front of a node: passes bytes on, can cut all connections, and can hold all bytes back.
struct Proxy {
    address: SocketAddr,
    cut: watch::Sender<u64>,
    hold: watch::Sender<bool>,
    _task: JoinSet<()>,
}

impl Proxy {
    async fn before(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let (cut, hold) = (watch::Sender::new(0), watch::Sender::new(false));
        let (cuts, holds) = (cut.subscribe(), hold.subscribe());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (from, _) = listener.accept().await.expect("it listens");
                let Ok(to) = TcpStream::connect(target).await else { continue };
                let (mut cuts, holds) = (cuts.clone(), holds.clone());
                cuts.mark_unchanged();
                connections.spawn(async move {
                    let ((from_read, from_write), (to_read, to_write)) = (from.into_split(), to.into_split());
                    tokio::select! {
                        biased;
                        _ = cuts.changed() => {}
                        () = pass(from_read, to_write, holds.clone()) => {}
                        () = pass(to_read, from_write, holds.clone()) => {}
                    }
                });
            }
        });
        Proxy { address, cut, hold, _task: task }
    }

    fn cut(&self) {
        self.cut.send_modify(|cuts| *cuts += 1);
    }
}

async fn pass(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut hold: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 4096];
    loop {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
        hold.wait_for(|hold| !hold).await.expect("the proxy is there");
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

async fn proxied(options: fn() -> TcpOptions) -> (Proxy, (TcpChannel, Attachment), (TcpChannel, Attachment)) {
    let channel_b = bind(options()).await;
    let proxy = Proxy::before(channel_b.local_address()).await;
    let channel_a = bind(options().peer("b", proxy.address.to_string())).await;
    let (a, b) = (attach(&channel_a, "a").await, attach(&channel_b, "b").await);
    (proxy, (channel_a, a), (channel_b, b))
}

#[tokio::test]
async fn order_holds_while_connections_are_cut() {
    let (proxy, (channel_a, a), (_channel_b, mut b)) = proxied(loopback).await;
    reach(&a, &mut b).await;
    let mut heard = Vec::new();
    for number in 0..20_000_u32 {
        let mut frame = b"number ".to_vec();
        frame.extend(number.to_be_bytes());
        frame.resize(11 + 100 * (number as usize % 7), 0);
        a.port.send(b.port.name(), frame.into());
        if number % 500 == 499 {
            proxy.cut();
        }
        if number % 50 == 0 {
            tokio::task::yield_now().await;
        }
        while let Some(message) = b.inbox.try_recv() {
            heard.push(message.frame);
        }
    }
    heard.extend(reach(&a, &mut b).await);
    heard.retain(|frame| frame.starts_with(b"number "));
    let numbers: Vec<_> = heard.iter().map(|frame| frame.slice(7..11)).collect();
    assert!(numbers.len() > 500, "only {} arrived", numbers.len());
    assert!(numbers.is_sorted_by(|earlier, later| earlier < later), "out of order, or twice");
    assert!(status(&channel_a, "b").is_some_and(|status| status.connections > 2), "it was never cut");
}

#[tokio::test]
async fn a_peer_that_restarts_is_connected_again_and_at_once() {
    let ((channel_a, mut a), (channel_b, mut b)) = pair(loopback).await;
    reach(&a, &mut b).await;
    reach(&b, &mut a).await;
    let address = channel_b.local_address().to_string();
    for _ in 0..3 {
        drop(b);
        channel_b.close().await;
        until(&channel_a, "b", |status| !status.sends && !status.hears).await;
        trouble(&channel_a, "b", "refused").await;
        let again = bind(TcpOptions::new(&address).peer("a", channel_a.local_address().to_string())).await;
        b = attach(&again, "b").await;
        let begun = std::time::Instant::now();
        until(&channel_a, "b", |status| status.sends && status.hears).await;
        // It dials itself, and so is dialled without waiting for the end of a pause.
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(reach(&a, &mut b).await.is_empty(), "what was sent while it was away was lost");
        reach(&b, &mut a).await;
        drop(b);
        again.close().await;
        b = attach(&bind(TcpOptions::new(&address)).await, "b").await;
        reach(&a, &mut b).await;
    }
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_is_given_up_by_both_sides() {
    let (proxy, (channel_a, a), (channel_b, mut b)) = proxied(lively).await;
    reach(&a, &mut b).await;
    let before = until(&channel_a, "b", |status| status.sends).await.connections;
    until(&channel_b, "a", |status| status.hears).await;
    proxy.hold.send_replace(true);
    until(&channel_a, "b", |status| !status.sends).await;
    until(&channel_b, "a", |status| !status.hears).await;
    trouble(&channel_a, "b", "said nothing").await;
    proxy.hold.send_replace(false);
    until(&channel_a, "b", |status| status.sends && status.connections > before).await;
    reach(&a, &mut b).await;
}

#[tokio::test]
async fn idle_connections_last() {
    let ((channel_a, mut a), (channel_b, mut b)) = pair(lively).await;
    reach(&a, &mut b).await;
    reach(&b, &mut a).await;
    // Three times the silence after which they would be given up.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(status(&channel_a, "b").map(|status| (status.sends, status.connections)), Some((true, 1)));
    assert_eq!(status(&channel_b, "a").map(|status| (status.sends, status.connections)), Some((true, 1)));
}

#[tokio::test]
async fn what_does_not_fit_the_queue_of_a_peer_that_does_not_read_is_lost() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let limits = QueueLimits { frames_max: 1000, bytes_max: 1024 * 1024 };
    let address = listener.local_addr().expect("it is bound").to_string();
    let channel = bind(loopback().queue(limits).peer("b", address)).await;
    let a = attach(&channel, "a").await;
    let mut raw = Raw::of(listener.accept().await.expect("it listens").0);
    let Opening::Hello(hello) = raw.opening().await else { panic!("no hello") };
    assert_eq!((&*hello.from, &*hello.to), ("a", "b"));
    raw.write(&Opening::Welcome(super::layout::Welcome { life: 1, name: "b".into() }).encode()).await;
    until(&channel, "b", |status| status.sends).await;
    // More than the system takes and the queue holds.
    for _ in 0..200 {
        for _ in 0..10 {
            a.port.send(&"b".into(), vec![1; 64 * 1024].into());
        }
        tokio::task::yield_now().await;
    }
    let status = until(&channel, "b", |status| status.frames_lost > 0).await;
    assert!(status.frames_waiting <= 16, "{status:?}");
    // What is read after all comes in order, and whole.
    let mut bytes = 0;
    while bytes < 1024 * 1024 {
        match raw.record().await {
            Some(Record::Frame(frame)) => bytes += frame.len(),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn a_frame_over_the_limit_is_not_sent() {
    let ((channel_a, a), (_channel_b, mut b)) = pair(loopback).await;
    reach(&a, &mut b).await;
    a.port.send(b.port.name(), vec![0; layout::FRAME_BYTES_MAX + 1].into());
    assert!(reach(&a, &mut b).await.is_empty());
    assert_eq!(status(&channel_a, "b").map(|status| status.connections), Some(1));
}

#[tokio::test]
async fn a_peer_that_moved_is_dialled_at_its_new_address_and_one_that_was_removed_is_not() {
    let nowhere = {
        let taken = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        taken.local_addr().expect("it is bound").to_string()
    };
    let channel_a = bind(loopback().peer("b", nowhere)).await;
    let a = attach(&channel_a, "a").await;
    trouble(&channel_a, "b", "refused").await;
    let channel_b = bind(loopback()).await;
    let mut b = attach(&channel_b, "b").await;
    channel_a.set_peer("b", channel_b.local_address().to_string()).expect("it is good");
    reach(&a, &mut b).await;
    assert!(channel_b.remove_peer("a"));
    assert!(channel_a.remove_peer("b"));
    assert!(!channel_a.remove_peer("b"));
    assert_eq!(status(&channel_a, "b"), None);
    assert!(channel_a.set_peer("b", "nowhere").is_err());
}
