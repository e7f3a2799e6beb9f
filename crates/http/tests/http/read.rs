//! Reading over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use conflux_http::Options;
use serde_json::json;

use crate::scripted::Scripted;
use crate::world::{Server, World};

#[tokio::test]
async fn the_state_comes_with_its_place() {
    let world = World::open(3, Options::default()).await;
    assert_eq!(world.server().get("/state").await.json(200), json!({"index": 0, "state": []}));
    world.append("foo").await;
    assert_eq!(world.server().get("/state").await.json(200), json!({"index": 1, "state": ["foo"]}));
    assert_eq!(world.server().get("/state?linearizable=false").await.json(200)["index"], 1);
    for server in &world.servers {
        let state = server.get("/state?linearizable=true").await.json(200);
        assert_eq!(state, json!({"index": 1, "state": ["foo"]}));
    }
    assert_eq!(world.server().get("/provisional").await.json(200), json!({"index": 1, "state": ["foo"]}));
    world.close().await;
}

#[tokio::test]
async fn parameters_that_are_none_are_refused() {
    let world = World::one().await;
    for query in
        ["linearizable=yes", "linearizable", "lineariseable=true", "linearizable=true&linearizable=true", "a=b"]
    {
        world.server().get(&format!("/state?{query}")).await.error(422, "bad_query");
    }
    world.close().await;
}

#[tokio::test]
async fn what_runs_the_reducer_runs_one_at_a_time() {
    let scripted = Scripted::default();
    let computing = scripted.computing.clone();
    let server = Server::start(Arc::new(scripted), Options::default()).await;
    let answers = futures_util::future::join_all((0..20).map(|_| server.get("/digest?index=3"))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
    assert_eq!(computing.1.load(Ordering::SeqCst), 1);
    server.end().await;
}

#[tokio::test]
async fn methods_and_status() {
    let world = World::open(3, Options::default()).await;
    let methods = world.server().get("/methods").await.json(200);
    assert_eq!(methods, json!({"methods": ["append", "clear", "crash", "pair"]}));
    world.append("foo").await;
    let status = world.server().get("/status").await.json(200);
    assert_eq!((&status["id"], &status["index"], &status["generation"]), (&json!("a"), &json!(1), &json!(0)));
    assert_eq!(status["voters"], json!(["a", "b", "c"]));
    assert!(status["cluster"].is_string() && status["leader"].is_string() && status["stopped"].is_null());
    assert_eq!(world.server().get("/healthz").await.json(200), json!({"status": "ok"}));
    assert_eq!(world.server().get("/readyz").await.json(200), json!({"status": "ok"}));
    world.close().await;
}

#[tokio::test]
async fn metrics_tell_the_node_and_what_was_answered() {
    let world = World::open(1, Options::default()).await;
    let options =
        Options { metrics: Some(Arc::new(|text: &mut String| text.push_str("mine 1\n"))), ..Options::default() };
    let server = Server::start(Arc::new(world.nodes[0].clone()), options).await;
    server.perform(json!({"method": "append", "args": ["foo"]})).await.json(200);
    server.perform(json!({"method": "append", "args": ["x".repeat(81)]})).await.error(409, "rejected");
    server.get("/outcome/x").await.error(404, "undecided");
    let page = server.get("/metrics").await;
    assert_eq!(page.status, 200);
    assert!(page.headers["content-type"].starts_with("text/plain; version=0.0.4"));
    for line in [
        "conflux_node_role{node=\"a\",role=\"leader\"} 1",
        "conflux_node_role{node=\"a\",role=\"follower\"} 0",
        "conflux_node_index{node=\"a\"} 1",
        "conflux_http_requests_total{node=\"a\",path=\"/perform\",status=\"200\"} 1",
        "conflux_http_requests_total{node=\"a\",path=\"/perform\",status=\"409\"} 1",
        "conflux_http_performs_total{node=\"a\",outcome=\"committed\"} 1",
        "conflux_http_performs_total{node=\"a\",outcome=\"rejected\"} 1",
        "conflux_http_requests_in_flight{node=\"a\"} 1",
        "conflux_performs_total{node=\"a\",outcome=\"rejected\"} 1",
        "conflux_performs_total{node=\"a\",outcome=\"unknown\"} 0",
        "conflux_node_leader{node=\"a\",leader=\"a\"} 1",
        "conflux_batch_calls_bucket{node=\"a\",le=\"+Inf\"} 3",
        "conflux_batch_commit_seconds_count{node=\"a\"} 3",
        "conflux_channel_reconnects_total{node=\"a\"} 0",
        "conflux_snapshot_bytes{node=\"a\"} 0",
        "mine 1",
    ] {
        assert!(page.body.lines().any(|found| found == line), "{line} is not in\n{}", page.body);
    }
    // Every line is a comment, or a name, maybe labels, and a number.
    for line in page.body.lines().filter(|line| !line.starts_with('#')) {
        let (name, value) = line.rsplit_once(' ').expect("a sample has a value");
        assert!(!name.is_empty() && value.parse::<f64>().is_ok(), "{line}");
    }
    // Every family of ours is told once, with what it is; and what is counted or measured says so in its name.
    let mut families = std::collections::BTreeMap::new();
    for line in page.body.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = line.split_once(' ').expect("a type has a name");
        assert!(families.insert(name, kind).is_none(), "{name} is told twice");
        assert_eq!(name.ends_with("_total"), kind == "counter", "{name}");
        assert!(page.body.contains(&format!("# HELP {name} ")), "{name}");
    }
    for line in page.body.lines().filter(|line| line.starts_with("conflux_")) {
        let name = line.split('{').next().expect("it has a name");
        let of = |end| name.strip_suffix(end).filter(|family| families.get(family) == Some(&"histogram"));
        let known = families.contains_key(name) || ["_bucket", "_sum", "_count"].into_iter().find_map(of).is_some();
        assert!(known, "{line}");
    }
    server.end().await;
    world.close().await;
}

#[tokio::test]
async fn other_paths_and_methods_are_told_apart() {
    let world = World::one().await;
    world.server().get("/nothing").await.error(404, "no_such_path");
    let response = world.server().get("/perform").await;
    response.error(405, "no_such_method");
    assert_eq!(response.headers["allow"], "POST");
    let response = world.server().post("/state", "{}").await;
    response.error(405, "no_such_method");
    assert_eq!(response.headers["allow"], "GET,HEAD");
    let head = world.server().ask("HEAD", "/state", &[], "").await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    world.close().await;
}

#[tokio::test]
async fn a_digest_is_that_of_the_state_at_a_place() {
    let world = World::open(3, Options::default()).await;
    world.append("foo").await;
    world.append("bar").await;
    let index = conflux::Index(1);
    let expected = world.nodes[0].digest_at(index).expect("it is held").to_string();
    for (node, server) in world.nodes.iter().zip(&world.servers) {
        node.linearizable_state().await.expect("there is a leader");
        assert_eq!(server.get("/digest?index=1").await.json(200), json!({"index": 1, "digest": expected}));
    }
    world.server().get("/digest?index=3").await.error(404, "not_held");
    for query in ["", "?index=x", "?index=-1", "?index=1&index=1", "?place=1"] {
        world.server().get(&format!("/digest{query}")).await.error(422, "bad_query");
    }
    world.close().await;
}

#[tokio::test]
async fn those_who_read_a_state_at_the_same_time_share_it() {
    let shown = Arc::new(AtomicUsize::new(0));
    let node = Scripted { shown: shown.clone(), show_time: Duration::from_millis(200), ..Scripted::default() };
    let server = Server::start(Arc::new(node), Options::default()).await;
    let readers = (0..30).map(|_| server.get("/state"));
    let answers = futures_util::future::join_all(readers);
    for answer in answers.await {
        assert_eq!(answer.json(200), json!({"index": 3, "state": ["foo"]}));
    }
    // One for the first, and one for who came when that was being made, at most.
    assert!(shown.load(Ordering::SeqCst) <= 2, "{} times", shown.load(Ordering::SeqCst));
    // Nobody is shown what was there before: nothing is kept.
    let before = shown.load(Ordering::SeqCst);
    server.get("/state").await.json(200);
    assert_eq!(shown.load(Ordering::SeqCst), before + 1);
    server.end().await;
}
