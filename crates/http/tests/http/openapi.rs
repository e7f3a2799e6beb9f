//! What the description says is what the server does: every path, method, status and code of it is brought about.

use std::collections::BTreeSet;
use std::sync::Arc;

use conflux::Role;
use conflux_http::{Access, Limits, OPENAPI, Opening, Options, Tokens};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::schema::check;
use crate::scripted::Scripted;
use crate::world::{Response, Server, World, request, tight};

/// A code of an answer, or nothing for one without.
type Seen = (String, String, String, String);

struct Walk {
    document: Value,
    seen: BTreeSet<Seen>,
}

impl Walk {
    fn new() -> Walk {
        Walk { document: serde_json::from_str(OPENAPI).expect("it is JSON"), seen: BTreeSet::new() }
    }

    /// Everything the document promises.
    fn promised(&self) -> BTreeSet<Seen> {
        let mut promised = BTreeSet::new();
        for (path, methods) in self.document["paths"].as_object().expect("it has paths") {
            for (method, operation) in methods.as_object().expect("a path has methods") {
                for (status, response) in operation["responses"].as_object().expect("it has responses") {
                    let seen = |code: &str| (path.clone(), method.clone(), status.clone(), code.to_owned());
                    match response["x-codes"].as_array() {
                        Some(codes) => promised.extend(codes.iter().map(|code| seen(code.as_str().expect("a word")))),
                        None => drop(promised.insert(seen(""))),
                    }
                }
            }
        }
        promised
    }

    /// Asks, and checks the answer. A path is asked with GET, unless another method stands before it.
    async fn ask(
        &mut self,
        server: &Server,
        path: &str,
        actual: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let (method, path) = path.split_once(' ').unwrap_or(("get", path));
        let response = server.ask(&method.to_uppercase(), actual, headers, body).await;
        self.check(path, method, &response);
        response
    }

    #[track_caller]
    fn check(&mut self, path: &str, method: &str, response: &Response) {
        let status = response.status.to_string();
        let described = &self.document["paths"][path][method]["responses"][&status];
        assert!(described.is_object(), "{method} {path} answers what is not described: {response:?}");
        let kind = response.headers["content-type"].split(';').next().unwrap_or_default();
        let schema = &described["content"][kind]["schema"];
        assert!(schema.is_object(), "{method} {path} {status} is {kind}, which is not described");
        let mut code = String::new();
        if kind == "application/json" {
            let value: Value = serde_json::from_str(&response.body).expect("it is JSON");
            if let Err(problem) = check(&self.document, schema, &value) {
                panic!("{method} {path} {status}: {problem}");
            }
            code = value["error"]["code"].as_str().unwrap_or_default().to_owned();
        }
        self.seen.insert((path.into(), method.into(), status, code));
    }

    async fn perform(&mut self, server: &Server, body: Value) {
        let headers = [("content-type", "application/json")];
        let asked = &self.document["components"]["schemas"]["Perform"];
        if check(&self.document, asked, &body).is_err() {
            // What the description does not allow is not taken, either.
            let response = server.ask("POST", "/perform", &headers, &body.to_string()).await;
            assert_eq!(response.status, 422, "{body}");
        }
        self.ask(server, "post /perform", "/perform", &headers, &body.to_string()).await;
    }
}

async fn scripted(node: Scripted, options: Options) -> Server {
    Server::start(Arc::new(node), options).await
}

fn with_tokens() -> Options {
    let tokens = Tokens::parse("read rrrrrrrrrrrrrrrrrrrr\nadmin aaaaaaaaaaaaaaaaaaaa").expect("the lines are good");
    Options { access: Access::Tokens(Arc::new(tokens)), ..Options::default() }
}

#[tokio::test]
async fn every_answer_that_is_described_is_given_and_no_other() {
    let mut walk = Walk::new();
    let promised = walk.promised();
    let operations: BTreeSet<String> = promised.iter().map(|(path, method, ..)| format!("{method} {path}")).collect();
    let actual = |operation: &str| {
        let path = operation.split(' ').next_back().expect("it has a path");
        path.replace("{request_id}", "committed").replace("/digest", "/digest?index=3")
    };
    let posts = ["post /perform", "post /members", "post /transfer", "post /snapshot"];
    let headers = [("content-type", "application/json")];

    let world = World::one().await;
    let backup = Some(world.nodes[0].backup().await.expect("it leads"));
    let incident = Some(world.nodes[0].incident().await.expect("it can be read"));
    world.close().await;
    let server = scripted(Scripted { backup, incident, ..Scripted::default() }, Options::default()).await;
    for path in &operations {
        if path.starts_with("get ") {
            walk.ask(&server, path, &actual(path), &[], "").await;
        }
        walk.ask(&server, path, &actual(path), &[("host", "evil.example")], "").await;
        walk.ask(&server, path, &actual(path), &[("origin", "http://evil.example")], "").await;
        walk.ask(&server, path, &actual(path), &[("x-forwarded-for", "192.0.2.1")], "").await;
    }
    let outcomes = [
        "committed",
        "nothing",
        "rejected",
        "failed",
        "never_proposed",
        "unknown",
        "not_visible",
        "closed",
        "cut_off",
        "conflict",
    ];
    for name in outcomes {
        walk.perform(&server, json!({"method": name, "args": [], "request_id": "x", "timeout_ms": 1})).await;
        walk.perform(&server, json!({"method": name, "proposed": true})).await;
        walk.ask(&server, "/outcome/{request_id}", &format!("/outcome/{name}"), &[], "").await;
    }
    for name in ["undecided", "forgotten"] {
        walk.ask(&server, "/outcome/{request_id}", &format!("/outcome/{name}"), &[], "").await;
    }
    walk.ask(&server, "/outcome/{request_id}", "/outcome/%ff", &[], "").await;
    for body in [
        json!({"method": "strict"}),
        json!({"method": "nonsense"}),
        json!({"method": "committed", "timeout_ms": 0}),
        json!({"method": "committed", "request_id": ""}),
        json!({"method": "committed", "more": 1}),
        json!({"args": []}),
    ] {
        walk.perform(&server, body).await;
    }
    for path in posts {
        walk.ask(&server, path, &actual(path), &headers, "{").await;
        walk.ask(&server, path, &actual(path), &headers, "{\"x\": 1}").await;
        walk.ask(&server, path, &actual(path), &[("content-type", "text/plain")], "{}").await;
    }
    for name in ["done", "pending", "refused", "late", "closed"] {
        for change in ["add", "promote", "demote", "remove"] {
            let body = json!({"change": change, "name": name}).to_string();
            walk.ask(&server, "post /members", "/members", &headers, &body).await;
        }
        let body = json!({"to": name}).to_string();
        walk.ask(&server, "post /transfer", "/transfer", &headers, &body).await;
    }
    walk.ask(&server, "post /transfer", "/transfer", &headers, "{}").await;
    walk.ask(&server, "post /snapshot", "/snapshot", &headers, "{}").await;
    walk.ask(&server, "/digest", "/digest?index=4", &[], "").await;
    walk.ask(&server, "/digest", "/digest", &[], "").await;
    walk.ask(&server, "/state", "/state?linearizable=true", &[], "").await;
    walk.ask(&server, "/state", "/state?x=1", &[], "").await;
    walk.ask(&server, "/subscribe", "/subscribe?from=x", &[], "").await;
    walk.ask(&server, "/subscribe", "/subscribe?x=1", &[], "").await;
    server.end().await;

    let server = scripted(Scripted { broken: true, ..Scripted::default() }, Options::default()).await;
    for (path, headers) in [("/state", &[][..]), ("/provisional", &[]), ("/digest", &[]), ("/backup", &[])] {
        walk.ask(&server, path, &actual(path), headers, "").await;
    }
    walk.ask(&server, "/incident", "/incident", &[], "").await;
    walk.ask(&server, "post /snapshot", "/snapshot", &headers, "{}").await;
    server.end().await;

    let server = scripted(Scripted::default(), Options::default()).await;
    walk.ask(&server, "/backup", "/backup", &[], "").await;
    server.end().await;

    for status in [(Role::Stopped, None), (Role::Waiting, None), (Role::Candidate, None)] {
        let server = scripted(Scripted { status: Some(status), ..Scripted::default() }, Options::default()).await;
        for path in ["/healthz", "/readyz", "/status", "/metrics"] {
            walk.ask(&server, path, path, &[], "").await;
        }
        server.end().await;
    }

    let limits = Limits { in_flight_max: 0, subscribers_max: 0, ..Limits::default() };
    let full = scripted(Scripted::default(), Options { limits, ..Options::default() }).await;
    let guarded = scripted(Scripted::default(), with_tokens()).await;
    for path in &operations {
        walk.ask(&full, path, &actual(path), &headers, "{}").await;
        walk.ask(&guarded, path, &actual(path), &headers, "{}").await;
    }
    let weak = [("authorization", "Bearer rrrrrrrrrrrrrrrrrrrr")];
    for path in posts.into_iter().chain(["/backup", "/incident"]) {
        walk.ask(&guarded, path, &actual(path), &weak, "{}").await;
    }
    full.end().await;
    guarded.end().await;

    let narrow = scripted(Scripted::default(), Options { limits: tight(), ..Options::default() }).await;
    for path in posts {
        walk.ask(&narrow, path, &actual(path), &headers, &" ".repeat(2_000)).await;
        let mut slow = TcpStream::connect(narrow.address).await.expect("the server listens");
        let whole = request(narrow.address, "POST", &actual(path), &headers, "{}");
        slow.write_all(&whole.as_bytes()[..whole.len() - 1]).await.expect("it is taken");
        let response = Response::read(&mut slow).await;
        walk.check(&actual(path), "post", &response);
    }
    narrow.end().await;

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let opening = Server::of(listener, Opening::new(&Options::default()).router(), Options::default());
    for path in &operations {
        walk.ask(&opening, path, &actual(path), &headers, "{}").await;
    }
    opening.end().await;

    let missing: Vec<&Seen> = promised.difference(&walk.seen).collect();
    assert!(missing.is_empty(), "described, and never seen: {missing:#?}");
    let more: Vec<&Seen> = walk.seen.difference(&promised).collect();
    assert!(more.is_empty(), "seen, and not described: {more:#?}");
}

#[tokio::test]
async fn no_path_takes_a_method_that_is_not_described() {
    let walk = Walk::new();
    let server = scripted(Scripted::default(), Options::default()).await;
    for (path, described) in walk.document["paths"].as_object().expect("it has paths") {
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"] {
            let response = server.ask(method, &path.replace("{request_id}", "x"), &[], "").await;
            let known = described.get(method.to_lowercase()).is_some();
            assert_eq!(response.status != 405, known, "{method} {path}: {response:?}");
        }
    }
    server.end().await;
}

#[tokio::test]
async fn events_are_as_described() {
    let walk = Walk::new();
    let server = scripted(Scripted::default(), Options::default()).await;
    let response = server.get("/subscribe?from=3").await;
    let frames: Vec<&str> = response.body.split("\n\n").filter(|frame| !frame.is_empty()).collect();
    assert_eq!(frames[0], "retry: 1000\nid: ffffffffffffffff.0-3");
    let schemas = [
        ("id: ffffffffffffffff.0-4\nevent: change\ndata: ", "Change"),
        // A reset tells the state of now.
        ("id: ffffffffffffffff.0-3\nevent: reset\ndata: ", "State"),
    ];
    for (frame, (before, schema)) in frames[1..].iter().zip(schemas) {
        let data = frame.strip_prefix(before).unwrap_or_else(|| panic!("{frame:?} does not begin with {before:?}"));
        let value = serde_json::from_str(data).expect("data is JSON on one line");
        let schema = &walk.document["components"]["schemas"][schema];
        assert_eq!(check(&walk.document, schema, &value), Ok(()));
    }
    assert_eq!(frames.len(), 3);
    server.end().await;
}

/// Every schema that is used is there, and every one that is there is used.
#[test]
fn no_reference_leads_nowhere() {
    let document = Walk::new().document;
    let mut used = BTreeSet::new();
    let mut left = vec![&document];
    while let Some(value) = left.pop() {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(name)) = object.get("$ref") {
                    let target = name.strip_prefix('#').and_then(|name| document.pointer(name));
                    assert!(target.is_some(), "{name}");
                    used.insert(name.rsplit('/').next().expect("a name").to_owned());
                }
                left.extend(object.values());
            }
            Value::Array(items) => left.extend(items),
            _ => {}
        }
    }
    // Told of in words, as the data of events.
    used.insert("Change".into());
    let there = document["components"]["schemas"].as_object().expect("it has schemas").keys().cloned();
    assert_eq!(used, there.collect());
}
