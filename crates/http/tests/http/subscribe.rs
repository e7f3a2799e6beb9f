//! Following over HTTP.

use std::sync::Arc;

use conflux::{Index, MemoryChannel, MemoryDisk, Node, restore};
use conflux_http::Options;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::world::{Method, Server, Words, World, request, tight};

/// A subscriber that reads lines.
struct Follower {
    lines: Lines,
}

/// The lines of an answer that comes in chunks, wherever those begin.
struct Lines {
    connection: BufReader<TcpStream>,
    text: String,
}

impl Lines {
    async fn next_line(&mut self) -> std::io::Result<Option<String>> {
        loop {
            if let Some((line, rest)) = self.text.split_once('\n') {
                let line = line.to_owned();
                self.text = rest.to_owned();
                return Ok(Some(line));
            }
            let mut size = String::new();
            self.connection.read_line(&mut size).await?;
            let size = usize::from_str_radix(size.trim_end(), 16).unwrap_or(0);
            let mut chunk = vec![0; size + 2];
            // The end of the answer, or of the connection.
            if size == 0 || self.connection.read_exact(&mut chunk).await.is_err() {
                return Ok(None);
            }
            self.text.push_str(std::str::from_utf8(&chunk[..size]).expect("it is text"));
        }
    }
}

#[derive(Debug, PartialEq)]
struct Frame {
    id: String,
    /// The kind and the data, where there are any.
    event: Option<(String, Value)>,
}

impl Follower {
    async fn open(server: &Server, query: &str, headers: &[(&str, &str)]) -> Follower {
        let mut connection = TcpStream::connect(server.address).await.expect("the server listens");
        let text = request(server.address, "GET", &format!("/subscribe{query}"), headers, "");
        connection.write_all(text.as_bytes()).await.expect("it is taken");
        let mut connection = BufReader::new(connection);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(connection.read_line(&mut head).await.expect("it is text") > 0, "{head}");
        }
        let head = head.to_ascii_lowercase();
        assert!(head.starts_with("http/1.1 200") && head.contains("content-type: text/event-stream\r\n"), "{head}");
        Follower { lines: Lines { connection, text: String::new() } }
    }

    /// The next frame with anything in it but comments; `None` at the end.
    async fn next(&mut self) -> Option<Frame> {
        let (mut id, mut kind, mut data) = (None, None, None);
        loop {
            let line = self.lines.next_line().await.expect("it is text")?;
            match line.split_once(": ") {
                Some(("id", text)) => id = Some(text.to_owned()),
                Some(("event", text)) => kind = Some(text.to_owned()),
                Some(("data", text)) => data = Some(serde_json::from_str(text).expect("data is JSON")),
                // Comments, the end of a comment's frame.
                _ if !line.is_empty() || id.is_none() => {}
                _ => return Some(Frame { id: id?, event: kind.zip(data) }),
            }
        }
    }

    /// The place and the action of the next event, whose id is of `world`.
    async fn change(&mut self, world: &World) -> (u64, Value) {
        let Some(Frame { id, event: Some((kind, mut data)) }) = self.next().await else { panic!("no event came") };
        assert_eq!(kind, "change");
        assert_eq!(id, format!("{}-{}", world.history(), data["index"]));
        assert!(data["time_ms"].is_u64() && data["origin"] == "a", "{data}");
        (data["index"].as_u64().expect("it is a place"), data["action"].take())
    }

    /// The next frame is where it begins, without an event.
    #[track_caller]
    fn begins(&mut self, world: &World, index: u64) -> impl Future<Output = ()> {
        let id = format!("{}-{index}", world.history());
        async move { assert_eq!(self.next().await, Some(Frame { id, event: None })) }
    }

    /// The next frame is a reset to where `world` is.
    async fn reset(&mut self, world: &World) {
        let state = world.nodes[0].state();
        let id = format!("{}-{}", world.history(), state.index());
        let data = json!({"index": state.index(), "state": *state});
        assert_eq!(self.next().await, Some(Frame { id, event: Some(("reset".into(), data)) }));
    }
}

#[tokio::test]
async fn every_action_comes_in_order_from_now_on() {
    let world = World::one().await;
    world.append("before").await;
    let mut follower = Follower::open(world.server(), "", &[]).await;
    follower.begins(&world, 1).await;
    for n in 0..100 {
        world.append(&n.to_string()).await;
    }
    for n in 0..100 {
        assert_eq!(follower.change(&world).await, (n + 2, json!({"appended": n.to_string()})));
    }
    world.close().await;
}

#[tokio::test]
async fn it_goes_on_from_what_was_seen_last() {
    let world = World::one().await;
    for word in ["one", "two", "three"] {
        world.append(word).await;
    }
    let id = format!("{}-1", world.history());
    for (query, headers) in [
        ("?from=1", &[][..]),
        (&format!("?from={id}"), &[]),
        ("", &[("last-event-id", id.as_str())]),
        // What was seen is newer than what was asked for at first.
        ("?from=0", &[("last-event-id", &id)]),
        ("?from=1", &[("last-event-id", "")]),
    ] {
        let mut follower = Follower::open(world.server(), query, headers).await;
        follower.begins(&world, 1).await;
        assert_eq!(follower.change(&world).await, (2, json!({"appended": "two"})));
        assert_eq!(follower.change(&world).await, (3, json!({"appended": "three"})));
    }
    world.close().await;
}

#[tokio::test]
async fn a_place_that_never_was_is_a_reset() {
    let world = World::one().await;
    world.append("one").await;
    for from in ["2".to_owned(), format!("{}-2", world.history()), u64::MAX.to_string()] {
        let mut follower = Follower::open(world.server(), &format!("?from={from}"), &[]).await;
        follower.reset(&world).await;
    }
    let mut follower = Follower::open(world.server(), "?from=2", &[]).await;
    follower.reset(&world).await;
    for word in ["two", "three"] {
        world.append(word).await;
        assert_eq!(follower.change(&world).await.1, json!({"appended": word}));
    }
    world.close().await;
}

#[tokio::test]
async fn a_place_that_this_node_has_not_come_to_is_waited_for() {
    let world = World::open(3, Options::default()).await;
    let led = world.nodes[0].watch_status().find(|status| status.leader.clone()).await.expect("the node is open");
    let late = usize::from(&*led == "a");
    world.channel.partition(&[&[["a", "b"][late]]]);
    let other = &world.nodes[1 - late];
    for word in ["one", "two"] {
        other.perform(Method::Append(word.into())).await.expect("the others serve");
    }
    assert_eq!(world.nodes[late].state().index(), Index(0));
    // It cannot tell yet, and does not: nothing comes but the end of its silence.
    let mut follower = Follower::open(&world.servers[late], "?from=2", &[]).await;
    world.channel.heal();
    follower.begins(&world, 2).await;
    other.perform(Method::Append("three".into())).await.expect("they serve");
    let Some(Frame { event: Some((kind, data)), .. }) = follower.next().await else { panic!("no event came") };
    assert_eq!((kind.as_str(), &data["index"]), ("change", &json!(3)));
    world.close().await;
}

#[tokio::test]
async fn a_subscriber_of_a_node_that_waits_for_its_cluster_misses_nothing() {
    let channel = MemoryChannel::new();
    let open = |id: &'static str| Node::builder(Words, id).cluster_size(2).channel(channel.clone()).open();
    let first = open("a").await.expect("the options are good");
    let server = Server::start(Arc::new(first.clone()), Options::default()).await;
    let mut follower = Follower::open(&server, "", &[]).await;
    let mut second_follower = Follower::open(&server, "", &[("last-event-id", "77.0-3")]).await;
    let second = open("b").await.expect("the options are good");
    first.perform(Method::Append("one".into())).await.expect("they serve");
    let world = World { channel: channel.clone(), nodes: vec![first, second], servers: vec![server] };
    follower.begins(&world, 0).await;
    assert_eq!(follower.change(&world).await, (1, json!({"appended": "one"})));
    // One that had seen another cluster begins anew.
    let reset = second_follower.next().await.expect("an event comes");
    assert!(reset.id.starts_with(&world.history()) && matches!(&reset.event, Some((kind, _)) if kind == "reset"));
    world.close().await;
}

#[tokio::test]
async fn what_is_not_held_any_more_is_one_reset() {
    let builder = Node::builder(Words, "a").cluster_size(1).channel(MemoryChannel::new()).history(4);
    let node = builder.open().await.expect("the options are good");
    let server = Server::start(Arc::new(node.clone()), Options::default()).await;
    let world = World { channel: MemoryChannel::new(), nodes: vec![node], servers: vec![server] };
    for n in 0..20 {
        world.append(&n.to_string()).await;
    }
    let mut follower = Follower::open(world.server(), "?from=1", &[]).await;
    follower.begins(&world, 1).await;
    follower.reset(&world).await;
    world.append("after").await;
    assert_eq!(follower.change(&world).await, (21, json!({"appended": "after"})));
    world.close().await;
}

#[tokio::test]
async fn a_place_in_another_history_is_a_reset() {
    let world = World::one().await;
    world.append("one").await;
    let cluster = world.nodes[0].status().cluster.expect("it has formed");
    // Another cluster, and another generation of this one.
    for id in ["77.0-1".to_owned(), format!("{cluster:x}.7-1"), "77.0-0".to_owned()] {
        let mut follower = Follower::open(world.server(), "", &[("last-event-id", &id)]).await;
        follower.reset(&world).await;
        world.append("more").await;
        assert_eq!(follower.change(&world).await.1, json!({"appended": "more"}));
    }
    world.close().await;
}

#[tokio::test]
async fn a_cluster_that_is_founded_again_is_another_history() {
    let world = World::one().await;
    for word in ["one", "two"] {
        world.append(word).await;
    }
    let mut follower = Follower::open(world.server(), "?from=1", &[]).await;
    follower.begins(&world, 1).await;
    let seen = follower.next().await.expect("an event comes").id;
    world.close().await;

    // In memory, everything is gone; and more has happened meanwhile than was seen.
    let again = World::one().await;
    for word in ["eins", "zwei", "drei"] {
        again.append(word).await;
    }
    let mut follower = Follower::open(again.server(), "", &[("last-event-id", &seen)]).await;
    follower.reset(&again).await;
    again.append("vier").await;
    assert_eq!(follower.change(&again).await, (4, json!({"appended": "vier"})));
    again.close().await;
}

#[tokio::test]
async fn one_backup_that_is_restored_twice_makes_two_histories() {
    let world = World::one().await;
    for word in ["one", "two"] {
        world.append(word).await;
    }
    let backup = world.nodes[0].backup().await.expect("it serves");
    let founded = world.history();
    world.close().await;
    let restored = async || {
        let (channel, disk) = (MemoryChannel::new(), MemoryDisk::new());
        restore(Words, "a", &disk, &backup).expect("the disk is empty");
        let builder = Node::builder(Words, "a").cluster_size(1).channel(channel.clone()).disk(disk);
        let node = builder.open().await.expect("the options are good");
        node.linearizable_state().await.expect("it serves alone");
        let servers = vec![Server::start(Arc::new(node.clone()), Options::default()).await];
        World { channel, nodes: vec![node], servers }
    };
    let first = restored().await;
    first.append("three").await;
    let mut follower = Follower::open(first.server(), "", &[("last-event-id", &format!("{founded}-2"))]).await;
    follower.reset(&first).await;
    let seen = format!("{}-3", first.history());
    let shared = format!("{}-2", first.history());
    first.close().await;

    let second = restored().await;
    second.append("drei").await;
    assert!(!seen.starts_with(&second.history()));
    // At a place that both came to alike, at one where they differ, and from before them.
    for id in [shared, seen, format!("{founded}-2")] {
        let mut follower = Follower::open(second.server(), "", &[("last-event-id", &id)]).await;
        follower.reset(&second).await;
        second.append("more").await;
        assert_eq!(follower.change(&second).await.1, json!({"appended": "more"}));
    }
    second.close().await;
}

#[tokio::test]
async fn what_is_no_place_is_refused() {
    let world = World::one().await;
    for from in ["-1", "x", "1.5", "18446744073709551616", "3f.0-", "0-17"] {
        world.server().get(&format!("/subscribe?from={from}")).await.error(422, "bad_event_id");
        world.server().ask("GET", "/subscribe", &[("last-event-id", from)], "").await.error(422, "bad_event_id");
    }
    world.server().get("/subscribe?form=1").await.error(422, "bad_query");
    world.close().await;
}

#[tokio::test]
async fn silence_is_broken_by_comments() {
    let world = World::open(1, Options { limits: tight(), ..Options::default() }).await;
    let mut follower = Follower::open(world.server(), "", &[]).await;
    let mut comments = 0;
    while comments < 3 {
        let line = follower.lines.next_line().await.expect("it is text").expect("the connection stays");
        comments += usize::from(line == ":");
    }
    world.close().await;
}

#[tokio::test]
async fn subscribers_end_with_the_node_and_with_the_server() {
    let mut world = World::one().await;
    let mut of_node = Follower::open(world.server(), "", &[]).await;
    world.nodes[0].close().await;
    while of_node.next().await.is_some() {}
    world.close().await;

    world = World::one().await;
    let mut of_server = Follower::open(world.server(), "", &[]).await;
    world.servers.pop().expect("there is one").end().await;
    while of_server.next().await.is_some() {}
    world.close().await;
}

#[tokio::test]
async fn subscribers_are_counted() {
    let world = World::open(1, Options { limits: tight(), ..Options::default() }).await;
    let first = Follower::open(world.server(), "", &[]).await;
    let _second = Follower::open(world.server(), "", &[]).await;
    let busy = world.server().get("/subscribe").await;
    busy.error(503, "busy");
    assert_eq!(busy.headers["retry-after"], "1");
    // Others are answered.
    world.server().get("/state").await.json(200);
    drop(first);
    // The server notices when it writes the next comment.
    while world.server().ask("HEAD", "/subscribe", &[], "").await.status == 503 {}
    world.close().await;
}
