//! Who may.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::ConnectInfo;
use conflux::Role;
use conflux_http::{Access, Cors, Options, ServeError, Tokens, guard, router, serve};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tower_service::Service;

use crate::scripted::Scripted;
use crate::world::{Response, Server, World, request};

const READ: &str = "rrrrrrrrrrrrrrrrrrrr";
const PERFORM: &str = "pppppppppppppppppppp";
const ADMIN: &str = "aaaaaaaaaaaaaaaaaaaa";

fn tokens() -> Access {
    let text = format!("read {READ}\nperform {PERFORM}\nadmin {ADMIN}\n");
    Access::Tokens(Arc::new(Tokens::parse(&text).expect("the lines are good")))
}

async fn as_bearer(world: &World, token: &str, method: &str, path: &str) -> Response {
    let authorization = format!("Bearer {token}");
    let headers = [("authorization", authorization.as_str()), ("content-type", "application/json")];
    world.server().ask(method, path, &headers, "{\"method\":\"append\",\"args\":[\"foo\"]}").await
}

#[tokio::test]
async fn a_token_allows_what_its_role_does() {
    let world = World::open(1, Options { access: tokens(), ..Options::default() }).await;
    for path in ["/state", "/provisional", "/status", "/methods", "/metrics"] {
        assert_eq!(as_bearer(&world, READ, "GET", path).await.status, 200, "{path}");
        assert_eq!(as_bearer(&world, ADMIN, "GET", path).await.status, 200, "{path}");
        let refused = world.server().get(path).await;
        refused.error(401, "unauthorized");
        assert_eq!(refused.headers["www-authenticate"], "Bearer");
    }
    as_bearer(&world, READ, "GET", "/outcome/x").await.error(404, "undecided");
    world.server().get("/outcome/x").await.error(401, "unauthorized");
    world.server().get("/subscribe").await.error(401, "unauthorized");
    let forbidden = as_bearer(&world, READ, "POST", "/perform").await.error(403, "forbidden");
    assert_eq!(forbidden["message"], "the token is for read, and this needs perform");
    assert_eq!(world.nodes[0].state().index().0, 0);
    as_bearer(&world, PERFORM, "POST", "/perform").await.json(200);
    as_bearer(&world, ADMIN, "POST", "/perform").await.json(200);
    world.close().await;
}

#[tokio::test]
async fn why_a_node_is_not_well_is_for_those_who_may_read() {
    let ask = async |options: Options, token: &str| {
        let stopped = Scripted { status: Some((Role::Stopped, None)), ..Scripted::default() };
        let server = Server::start(Arc::new(stopped), options).await;
        let authorization = format!("Bearer {token}");
        let mut said = Vec::new();
        for (path, code) in [("/healthz", "stopped"), ("/readyz", "not_ready")] {
            let answer = server.ask("GET", path, &[("authorization", &authorization)], "").await;
            said.push(answer.error(503, code)["message"].as_str().is_some_and(|why| why.contains("the disk is full")));
        }
        server.end().await;
        said
    };
    let guarded = || Options { access: tokens(), ..Options::default() };
    for token in ["", "x", &READ[1..]] {
        assert_eq!(ask(guarded(), token).await, [false, false], "{token:?}");
    }
    for token in [READ, ADMIN] {
        assert_eq!(ask(guarded(), token).await, [true, true]);
    }
    // Without tokens, whoever reaches it may read.
    assert_eq!(ask(Options::default(), "").await, [true, true]);
}

#[tokio::test]
async fn nothing_is_sent_to_a_node_whose_state_is_being_replaced() {
    let mending = Scripted { is_mending: true, ..Scripted::default() };
    let server = Server::start(Arc::new(mending), Options::default()).await;
    server.get("/healthz").await.json(200);
    let why = server.get("/readyz").await.error(503, "not_ready");
    assert!(why["message"].as_str().is_some_and(|why| why.contains("being replaced")), "{why}");
    assert_eq!(server.get("/status").await.json(200)["mending"], true);
    server.end().await;
}

#[tokio::test]
async fn nothing_is_sent_to_a_leader_that_hears_no_majority() {
    let alone = Scripted { is_alone: true, ..Scripted::default() };
    let server = Server::start(Arc::new(alone), Options::default()).await;
    server.get("/healthz").await.json(200);
    let why = server.get("/readyz").await.error(503, "not_ready");
    assert!(why["message"].as_str().is_some_and(|why| why.contains("majority")), "{why}");
    assert_eq!(server.get("/status").await.json(200)["quorum"], false);
    server.end().await;
}

#[tokio::test]
async fn what_is_no_token_is_refused() {
    let world = World::open(1, Options { access: tokens(), ..Options::default() }).await;
    let longer = format!("{READ}r");
    for token in ["", "x", &READ[1..], &longer] {
        as_bearer(&world, token, "GET", "/state").await.error(401, "unauthorized");
    }
    for header in [READ, "Basic cnI=", "Bearer", "", "bearer\trrrr"] {
        world.server().ask("GET", "/state", &[("authorization", header)], "").await.error(401, "unauthorized");
    }
    let header = format!("bEARER  {READ}");
    world.server().ask("GET", "/state", &[("authorization", &header)], "").await.json(200);
    // What is public, and what probes ask, needs none.
    for path in ["/healthz", "/readyz", "/openapi.json", "/client.js"] {
        assert_eq!(world.server().get(path).await.status, 200, "{path}");
    }
    world.close().await;
}

#[tokio::test]
async fn without_tokens_only_this_machine_is_served() {
    let world = World::one().await;
    let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port is free");
    let options = Options::default();
    let router = router(Arc::new(world.nodes[0].clone()), &options);
    let refused = serve(listener, router.clone(), &options, std::future::pending()).await;
    let error = refused.expect_err("everybody could reach it");
    assert!(matches!(error, ServeError::Exposed(_)));
    assert!(error.to_string().contains("can be reached from other machines, and there are no tokens"), "{error}");
    // With tokens, or when the application says that it guards itself, it is served.
    for access in [tokens(), Access::Application] {
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port is free");
        let options = Options { access, ..Options::default() };
        serve(listener, router.clone(), &options, async {}).await.expect("it is served");
    }
    world.close().await;
}

#[tokio::test]
async fn without_tokens_a_page_elsewhere_can_neither_read_nor_perform() {
    let world = World::one().await;
    let body = "{\"method\":\"append\",\"args\":[\"foo\"]}";
    // A name that was bent to this machine.
    let port = world.server().address.port();
    for host in
        ["evil.example", &format!("evil.example:{port}"), "127.0.0.1.evil.example", "localhost.evil.example", ""]
    {
        for path in ["/state", "/nothing", "/healthz"] {
            world.server().ask("GET", path, &[("host", host)], "").await.error(403, "host_refused");
        }
        let headers = [("host", host), ("content-type", "application/json")];
        world.server().ask("POST", "/perform", &headers, body).await.error(403, "host_refused");
    }
    // A page of another origin, which need not be able to read the answer.
    for origin in ["http://evil.example", "https://evil.example", "null", "http://127.0.0.1.evil.example"] {
        let headers = [("origin", origin), ("content-type", "application/json")];
        world.server().ask("POST", "/perform", &headers, body).await.error(403, "origin_refused");
        world.server().ask("GET", "/state", &[("origin", origin)], "").await.error(403, "origin_refused");
    }
    assert_eq!(world.nodes[0].state().index().0, 0);
    for host in ["localhost", &format!("LOCALHOST:{port}"), "[::1]:80", "127.0.0.2"] {
        world.server().ask("GET", "/state", &[("host", host)], "").await.json(200);
    }
    let headers = [("origin", "http://localhost:3000"), ("content-type", "application/json")];
    world.server().ask("POST", "/perform", &headers, body).await.json(200);
    world.close().await;
}

/// What a browser asks for a page without `Origin`: an image, a script, a link.
#[tokio::test]
async fn without_tokens_a_page_elsewhere_cannot_even_have_something_done() {
    let world = World::one().await;
    for site in ["cross-site", "something-new"] {
        for path in ["/incident", "/state", "/client.js", "/nothing"] {
            world.server().ask("GET", path, &[("sec-fetch-site", site)], "").await.error(403, "origin_refused");
        }
    }
    // Typed in, and of a page of this machine; and where there is an `Origin`, that decides: names of one machine are
    // several sites.
    let local = ("origin", "http://localhost:3000");
    for headers in [
        &[("sec-fetch-site", "none")][..],
        &[("sec-fetch-site", "same-origin")],
        &[("sec-fetch-site", "same-site")],
        &[("sec-fetch-site", "cross-site"), local],
    ] {
        world.server().ask("GET", "/state", headers, "").await.json(200);
    }
    world.close().await;

    let ask = async |access, cors| {
        let world = World::open(1, Options { access, cors, ..Options::default() }).await;
        let response = world.server().ask("GET", "/healthz", &[("sec-fetch-site", "cross-site")], "").await;
        world.close().await;
        response
    };
    ask(Access::Loopback, Cors::Any).await.json(200);
    // It may be a page of that origin, or any other.
    ask(Access::Loopback, Cors::Origins(vec!["https://app.example".into()])).await.error(403, "origin_refused");
    // With tokens, nothing goes by what a browser says.
    ask(tokens(), Cors::Off).await.json(200);
}

/// What the router answers a connection from there; `None` where the server does not say.
async fn ask_from(router: &mut axum::Router, peer: Option<&str>, headers: &[(&str, &str)]) -> (u16, Value) {
    let mut request = axum::http::Request::get("/state").header("host", "localhost");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    if let Some(peer) = peer {
        let peer: SocketAddr = peer.parse().expect("it is an address");
        request = request.extension(ConnectInfo(peer));
    }
    let request = request.body(axum::body::Body::empty()).expect("it is a request");
    let response = router.call(request).await.expect("a router answers everything");
    let status = response.status().as_u16();
    let body = axum::body::to_bytes(response.into_body(), usize::MAX).await.expect("it is in memory");
    (status, serde_json::from_slice(&body).expect("it is JSON"))
}

#[tokio::test]
async fn without_tokens_it_matters_where_a_request_comes_from_and_not_what_it_says() {
    let open = |access| router(Arc::new(Scripted::default()), &Options { access, ..Options::default() });
    let mut local = open(Access::Loopback);
    for peer in ["127.0.0.1:5", "127.8.9.10:5", "[::1]:5", "[::ffff:127.0.0.1]:5"] {
        assert_eq!(ask_from(&mut local, Some(peer), &[]).await.0, 200, "{peer}");
    }
    let refusal = |(status, body): (u16, Value)| {
        assert_eq!((status, &body["error"]["code"]), (403, &json!("peer_refused")), "{body}");
        body["error"]["message"].as_str().expect("it says why").to_owned()
    };
    for peer in ["192.0.2.1:5", "10.0.0.1:5", "[::2]:5", "[::ffff:192.0.2.1]:5"] {
        let why = refusal(ask_from(&mut local, Some(peer), &[]).await);
        assert!(why.contains("comes from"), "{why}");
    }
    for header in ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"] {
        let why = refusal(ask_from(&mut local, Some("127.0.0.1:5"), &[(header, "127.0.0.1")]).await);
        assert!(why.contains(header) && why.contains("proxy"), "{why}");
    }
    // A server that does not say it is told what to do.
    let why = refusal(ask_from(&mut local, None, &[]).await);
    let ways = ["conflux_http::serve", "into_make_service_with_connect_info", "Access::Tokens", "Access::Application"];
    assert!(ways.iter().all(|way| why.contains(way)), "{why}");

    let mut guarded = open(Access::Application);
    assert_eq!(ask_from(&mut guarded, None, &[("x-forwarded-for", "192.0.2.1")]).await.0, 200);
    assert_eq!(ask_from(&mut open(tokens()), Some("192.0.2.1:5"), &[]).await.0, 401);
}

/// axum's own server, open to the network: what an application may do with the router.
#[tokio::test]
async fn a_router_that_axum_serves_answers_when_it_is_told_who_asks() {
    let application =
        || axum::Router::new().nest("/conflux", router(Arc::new(Scripted::default()), &Options::default()));
    for (with_peer, status) in [(true, 200), (false, 403)] {
        let listener = TcpListener::bind("0.0.0.0:0").await.expect("a port is free");
        let port = listener.local_addr().expect("it is bound").port();
        let server = tokio::spawn(async move {
            match with_peer {
                true => {
                    let service = application().into_make_service_with_connect_info::<SocketAddr>();
                    axum::serve(listener, service).await
                }
                false => axum::serve(listener, application()).await,
            }
        });
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let mut connection = TcpStream::connect(address).await.expect("it listens");
        let text = request(address, "GET", "/conflux/state", &[], "");
        connection.write_all(text.as_bytes()).await.expect("it is taken");
        let response = Response::read(&mut connection).await;
        assert_eq!(response.status, status, "{response:?}");
        server.abort();
    }
}

/// An application's own route beside those of the node.
#[tokio::test]
async fn an_application_may_guard_its_own_routes_alike() {
    let serve = async |access| {
        let options = Options { access, ..Options::default() };
        let own = axum::Router::new().route("/launch", axum::routing::post(async || "launched"));
        let open = axum::Router::new().route("/", axum::routing::get(async || "for everybody"));
        let application = open.merge(guard(own, conflux_http::Role::Perform, &options));
        Server::of(TcpListener::bind("127.0.0.1:0").await.expect("a port is free"), application, options)
    };
    let local = serve(Access::Loopback).await;
    assert_eq!(local.post("/launch", "").await.body, "launched");
    local.ask("POST", "/launch", &[("origin", "http://evil.example")], "").await.error(403, "origin_refused");
    local.ask("POST", "/launch", &[("host", "evil.example")], "").await.error(403, "host_refused");
    assert_eq!(local.ask("GET", "/", &[("host", "shop.example")], "").await.body, "for everybody");
    assert_eq!(local.ask("GET", "/nothing", &[("host", "shop.example")], "").await.status, 404);
    local.end().await;
    let guarded = serve(tokens()).await;
    guarded.post("/launch", "").await.error(401, "unauthorized");
    let bearer = |token| [("authorization", format!("Bearer {token}"))];
    let weak = bearer(READ);
    guarded.ask("POST", "/launch", &[(weak[0].0, &weak[0].1)], "").await.error(403, "forbidden");
    let strong = bearer(PERFORM);
    assert_eq!(guarded.ask("POST", "/launch", &[(strong[0].0, &strong[0].1)], "").await.body, "launched");
    guarded.end().await;
}

#[tokio::test]
async fn an_application_may_guard_by_itself() {
    let world = World::open(1, Options { access: Access::Application, ..Options::default() }).await;
    world.server().ask("GET", "/state", &[("host", "flags.example")], "").await.json(200);
    world.close().await;
}

#[tokio::test]
async fn origins_are_let_in_by_name() {
    let cors = Cors::Origins(vec!["https://app.example".into()]);
    let world = World::open(1, Options { access: tokens(), cors, ..Options::default() }).await;
    let before = [
        ("origin", "https://app.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "authorization,content-type"),
    ];
    let allowed = world.server().ask("OPTIONS", "/perform", &before, "").await;
    assert_eq!(allowed.status, 204);
    assert_eq!(allowed.headers["access-control-allow-origin"], "https://app.example");
    assert_eq!(allowed.headers["access-control-allow-methods"], "GET, POST");
    assert_eq!(allowed.headers["access-control-allow-headers"], "authorization, content-type, last-event-id");
    assert_eq!(allowed.headers["vary"], "origin");

    let authorization = format!("Bearer {READ}");
    let headers = [("origin", "https://app.example"), ("authorization", authorization.as_str())];
    let read = world.server().ask("GET", "/state", &headers, "").await;
    assert_eq!(read.json(200), json!({"index": 0, "state": []}));
    assert_eq!(read.headers["access-control-allow-origin"], "https://app.example");
    // Errors can be read, too.
    let refused = world.server().ask("GET", "/state", &headers[..1], "").await;
    refused.error(401, "unauthorized");
    assert_eq!(refused.headers["access-control-allow-origin"], "https://app.example");

    let other = [("origin", "https://other.example"), ("access-control-request-method", "POST")];
    let refused = world.server().ask("OPTIONS", "/perform", &other, "").await;
    refused.error(405, "no_such_method");
    assert!(!refused.headers.contains_key("access-control-allow-origin"));
    world.close().await;
}

#[tokio::test]
async fn by_default_no_origin_is_let_in() {
    let world = World::open(1, Options { access: tokens(), ..Options::default() }).await;
    let authorization = format!("Bearer {READ}");
    let headers = [("origin", "https://app.example"), ("authorization", authorization.as_str())];
    let read = world.server().ask("GET", "/state", &headers, "").await;
    // A browser keeps it from the page.
    assert!(read.status == 200 && !read.headers.contains_key("access-control-allow-origin"), "{read:?}");
    world.close().await;
}
