//! Before the node is open.

use std::sync::Arc;
use std::time::Duration;

use conflux::Index;
use conflux_http::client::{Client, PerformOptions};
use conflux_http::{Access, Opening, Options, Tokens};
use serde_json::json;
use tokio::net::TcpListener;

use crate::scripted::Scripted;
use crate::world::{Server, World};

async fn serve(options: Options) -> (Opening, Server) {
    let opening = Opening::new(&options);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let server = Server::of(listener, opening.router(), options);
    (opening, server)
}

#[tokio::test]
async fn a_node_that_is_being_opened_is_alive_and_not_ready() {
    let (opening, server) = serve(Options::default()).await;
    assert_eq!(server.get("/healthz").await.json(200), json!({"status": "ok"}));
    opening.waits_for("the relay is away");
    for path in ["/readyz", "/state", "/status", "/metrics", "/nothing"] {
        assert_eq!(server.get(path).await.error(503, "not_ready")["message"], "the relay is away");
    }
    server.perform(json!({"method": "committed"})).await.error(503, "not_ready");
    // The door is shut as ever.
    server.ask("GET", "/healthz", &[("host", "evil.example")], "").await.error(403, "host_refused");

    opening.opened(Arc::new(Scripted::default()));
    server.get("/readyz").await.json(200);
    assert_eq!(server.get("/state").await.json(200), json!({"index": 3, "state": ["foo"]}));
    server.perform(json!({"method": "committed"})).await.json(200);
    server.get("/nothing").await.error(404, "no_such_path");
    server.ask("GET", "/state", &[("host", "evil.example")], "").await.error(403, "host_refused");
    server.end().await;
}

#[tokio::test]
async fn what_is_waited_for_is_told_to_those_who_may_read() {
    let tokens = Tokens::parse("read rrrrrrrrrrrrrrrrrrrr").expect("the line is good");
    let (opening, server) = serve(Options { access: Access::Tokens(Arc::new(tokens)), ..Options::default() }).await;
    opening.waits_for("redis://10.0.0.1 is away");
    let why = server.get("/state").await.error(503, "not_ready");
    assert!(!why["message"].as_str().expect("a text").contains("redis"), "{why}");
    let bearer = [("authorization", "Bearer rrrrrrrrrrrrrrrrrrrr")];
    let why = server.ask("GET", "/state", &bearer, "").await.error(503, "not_ready");
    assert!(why["message"].as_str().expect("a text").contains("redis"), "{why}");
    opening.opened(Arc::new(Scripted::default()));
    server.get("/state").await.error(401, "unauthorized");
    server.ask("GET", "/state", &bearer, "").await.json(200);
    server.end().await;
}

#[tokio::test]
async fn clients_pass_it_over_or_wait_for_it() {
    let (opening, server) = serve(Options::default()).await;
    let world = World::one().await;
    let both = Client::new([server.url(), world.server().url()]).expect("the addresses are good");
    let alone = Client::new([server.url()]).expect("the address is good");
    let asked = tokio::task::spawn_blocking(move || {
        both.perform("append", vec![json!("foo")], &PerformOptions::default()).expect("the other one is ready");
        assert_eq!(both.state(false).expect("the other one is ready").index, Index(1));
        let short = PerformOptions { timeout: Some(Duration::from_millis(300)), ..PerformOptions::default() };
        let error = alone.perform("committed", vec![], &short).expect_err("it is not ready");
        assert_eq!(error.code(), Some("not_ready"));
        alone
    });
    let alone = asked.await.expect("the client does not panic");
    let waiting = tokio::task::spawn_blocking(move || alone.perform("committed", vec![], &PerformOptions::default()));
    tokio::task::yield_now().await;
    opening.opened(Arc::new(Scripted::default()));
    let done = waiting.await.expect("the client does not panic").expect("it is open now");
    assert_eq!(done.index, Index(3));
    server.end().await;
    world.close().await;
}

#[tokio::test]
async fn an_application_may_mount_it() {
    let options = Options::default();
    let opening = Opening::new(&options);
    let application = axum::Router::new().nest("/flags", opening.router());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let server = Server::of(listener, application, options);
    server.get("/flags/healthz").await.json(200);
    server.get("/flags/state").await.error(503, "not_ready");
    opening.opened(Arc::new(Scripted::default()));
    server.get("/flags/state").await.json(200);
    assert_eq!(server.get("/flags/outcome/committed").await.json(200)["index"], 3);
    server.end().await;
}
