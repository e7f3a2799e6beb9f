//! Following over HTTP.

use std::sync::Arc;

use conflux::{MemoryChannel, Node};
use conflux_http::Options;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::world::{Method, Server, Words, World, request, tight};

/// A subscriber that reads lines.
struct Follower {
    lines: tokio::io::Lines<BufReader<TcpStream>>,
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
        let mut lines = BufReader::new(connection).lines();
        let status = lines.next_line().await.expect("it is text").expect("an answer comes");
        assert!(status.starts_with("HTTP/1.1 200"), "{status}");
        let mut head = Vec::new();
        while let Some(line) = lines.next_line().await.expect("it is text").filter(|line| !line.is_empty()) {
            head.push(line.to_ascii_lowercase());
        }
        assert!(head.contains(&"content-type: text/event-stream".to_owned()), "{head:?}");
        Follower { lines }
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
                // Sizes of chunks, comments, the end of a comment's frame.
                _ if !line.is_empty() || id.is_none() => {}
                _ => return Some(Frame { id: id?, event: kind.zip(data) }),
            }
        }
    }

    async fn change(&mut self) -> (String, Value) {
        let Some(Frame { id, event: Some((kind, mut data)) }) = self.next().await else { panic!("no event came") };
        assert_eq!(kind, "change");
        assert_eq!(id, format!("0-{}", data["index"]));
        assert!(data["time_ms"].is_u64() && data["origin"] == "a", "{data}");
        (id, data["action"].take())
    }
}

#[tokio::test]
async fn every_action_comes_in_order_from_now_on() {
    let world = World::one().await;
    world.append("before").await;
    let mut follower = Follower::open(world.server(), "", &[]).await;
    assert_eq!(follower.next().await, Some(Frame { id: "0-1".into(), event: None }));
    for n in 0..100 {
        world.append(&n.to_string()).await;
    }
    for n in 0..100 {
        let expected = (format!("0-{}", n + 2), json!({"appended": n.to_string()}));
        assert_eq!(follower.change().await, expected);
    }
    world.close().await;
}

#[tokio::test]
async fn it_goes_on_from_what_was_seen_last() {
    let world = World::one().await;
    for word in ["one", "two", "three"] {
        world.append(word).await;
    }
    for (query, headers) in [
        ("?from=1", &[][..]),
        ("?from=0-1", &[]),
        ("", &[("last-event-id", "0-1")]),
        // What was seen is newer than what was asked for at first.
        ("?from=0", &[("last-event-id", "0-1")]),
        ("?from=1", &[("last-event-id", "")]),
    ] {
        let mut follower = Follower::open(world.server(), query, headers).await;
        assert_eq!(follower.next().await, Some(Frame { id: "0-1".into(), event: None }));
        assert_eq!(follower.change().await, ("0-2".into(), json!({"appended": "two"})));
        assert_eq!(follower.change().await, ("0-3".into(), json!({"appended": "three"})));
    }
    world.close().await;
}

#[tokio::test]
async fn a_place_that_has_not_come_is_waited_for() {
    let world = World::one().await;
    let mut follower = Follower::open(world.server(), "?from=2", &[]).await;
    assert_eq!(follower.next().await, Some(Frame { id: "0-2".into(), event: None }));
    for word in ["one", "two", "three"] {
        world.append(word).await;
    }
    assert_eq!(follower.change().await, ("0-3".into(), json!({"appended": "three"})));
    world.close().await;
}

#[tokio::test]
async fn what_is_not_held_any_more_is_one_reset() {
    let builder = Node::builder(Words, "a").cluster_size(1).channel(MemoryChannel::new()).history(4);
    let node = builder.open().await.expect("the options are good");
    let server = Server::start(Arc::new(node.clone()), Options::default()).await;
    for n in 0..20 {
        node.perform(Method::Append(n.to_string())).await.expect("it serves");
    }
    let mut follower = Follower::open(&server, "?from=1", &[]).await;
    assert_eq!(follower.next().await, Some(Frame { id: "0-1".into(), event: None }));
    let reset = follower.next().await.expect("an event comes");
    assert_eq!(reset.id, "0-20");
    let (kind, data) = reset.event.expect("it has data");
    assert_eq!((kind.as_str(), &data["index"], &data["state"][19]), ("reset", &json!(20), &json!("19")));
    node.perform(Method::Append("after".into())).await.expect("it serves");
    assert_eq!(follower.change().await, ("0-21".into(), json!({"appended": "after"})));
    server.end().await;
    node.close().await;
}

#[tokio::test]
async fn a_place_in_another_history_is_a_reset() {
    let world = World::one().await;
    world.append("one").await;
    let mut follower = Follower::open(world.server(), "", &[("last-event-id", "7-1")]).await;
    let reset = follower.next().await.expect("an event comes");
    assert_eq!(reset, Frame { id: "0-1".into(), event: Some(("reset".into(), json!({"index": 1, "state": ["one"]}))) });
    world.append("two").await;
    assert_eq!(follower.change().await, ("0-2".into(), json!({"appended": "two"})));
    world.close().await;
}

#[tokio::test]
async fn what_is_no_place_is_refused() {
    let world = World::one().await;
    for from in ["-1", "x", "1.5", "18446744073709551616", "0-"] {
        world.server().get(&format!("/subscribe?from={from}")).await.error(422, "bad_event_id");
        world.server().ask("GET", "/subscribe", &[("last-event-id", from)], "").await.error(422, "bad_event_id");
    }
    world.server().get("/subscribe?form=1").await.error(422, "bad_query");
    // The last place there can be is a place, and never comes.
    let mut follower = Follower::open(world.server(), "?from=18446744073709551615", &[]).await;
    assert!(follower.next().await.is_some());
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
