//! `client.js`, in Node and in a browser.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use conflux::{MemoryChannel, Node};
use conflux_http::{Access, Cors, Options, Tokens, router, serve};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::world::{Server, Words, World};

const TOKEN: &str = "pppppppppppppppppppp";
const PATIENCE: Duration = Duration::from_secs(120);

fn with_token(role: &str) -> Options {
    let tokens = Tokens::parse(&format!("{role} {TOKEN}")).expect("the line is good");
    Options { access: Access::Tokens(Arc::new(tokens)), ..Options::default() }
}

/// Runs to the end, and shows everything when it does not go well.
async fn run(command: &mut Command) {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
    let child = child.unwrap_or_else(|error| {
        panic!("{:?} cannot be run: {error}; this test needs Node 20 or newer", command.as_std().get_program())
    });
    let output = timeout(PATIENCE, child.wait_with_output()).await.expect("it ends").expect("it can be waited for");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("# pass ") && !out.contains("# pass 0"), "{out}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_node() {
    let world = World::open(3, Options::default()).await;
    let guarded = Server::start(Arc::new(world.nodes[0].clone()), with_token("read")).await;
    let nodes: Vec<String> = world.servers.iter().map(Server::url).collect();
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=tap", "--test-timeout=60000"])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client/client.test.mjs"))
        .env("CONFLUX_AT", nodes.join(","))
        .env("CONFLUX_TOKEN", format!("{},{TOKEN}", guarded.url()));
    run(&mut node).await;
    guarded.end().await;
    world.close().await;
}

/// The browser: Chromium under one of its names, or what `CONFLUX_CHROMIUM` says.
fn chromium() -> PathBuf {
    if let Some(path) = std::env::var_os("CONFLUX_CHROMIUM") {
        return path.into();
    }
    let names = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path)
        .flat_map(|directory| names.map(|name| directory.join(name)))
        .find(|program| program.is_file());
    found.expect(
        "this test needs Chromium: `apt-get install chromium`, or CONFLUX_CHROMIUM with the path of one \
         (`cargo xtask test` installs it where it may)",
    )
}

async fn one_node() -> Node<Words> {
    Node::builder(Words, "a").cluster_size(1).channel(MemoryChannel::new()).open().await.expect("the options are good")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_chromium() {
    let (own, other, shut) = (one_node().await, one_node().await, one_node().await);
    // The page comes from an application that has mounted its own node; another one lets that origin in with a token, and
    // a third one does not know it.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    let origin = format!("http://{}", listener.local_addr().expect("it is bound"));
    let elsewhere = Options { cors: Cors::Origins(vec![origin.clone()]), ..with_token("perform") };
    let elsewhere = Server::start(Arc::new(other.clone()), elsewhere).await;
    let closed = Server::start(Arc::new(shut.clone()), Options::default()).await;

    let (told, verdict) = oneshot::channel::<String>();
    let told = Arc::new(Mutex::new(Some(told)));
    let place = json!({"elsewhere": elsewhere.url(), "token": TOKEN, "closed": closed.url()}).to_string();
    let options = Options::default();
    let application = Router::new()
        .route("/", get(|| async { axum::response::Html(include_str!("../client/page.html")) }))
        .route("/where", get(move || async move { place }))
        .route(
            "/verdict",
            post(move |text: String| async move {
                let told = told.lock().expect("nobody panics with it").take();
                told.expect("there is one verdict").send(text).expect("the test waits");
            }),
        )
        .nest("/conflux", router(Arc::new(own.clone()), &options));
    let (stop, stopped) = oneshot::channel::<()>();
    let served =
        tokio::spawn(async move { serve(listener, application, &options, async { drop(stopped.await) }).await });

    let profile = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("chromium-{}", std::process::id()));
    let mut browser = Command::new(chromium())
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        // Containers have little of what it shares between its processes.
        .arg("--disable-dev-shm-usage")
        .arg(format!("--user-data-dir={}", profile.display()))
        // Without a port to be driven by, it would show the page and end at once.
        .arg("--remote-debugging-port=0")
        .arg(&origin)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("the browser can be run");
    let verdict = timeout(PATIENCE, verdict).await.expect("the page says something").expect("it is one text");
    browser.kill().await.expect("it is ours");
    // Its own helpers may still write there for a moment: what is left goes with the build.
    drop(std::fs::remove_dir_all(&profile));

    let verdict: Vec<Value> = serde_json::from_str(&verdict).expect("a verdict is JSON");
    let failed: Vec<&Value> = verdict.iter().filter(|check| check["good"] != true).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(verdict.len(), 5);
    assert_eq!(own.state().len(), 21);
    assert_eq!(other.state().len(), 20);
    assert_eq!(shut.state().index().0, 0, "a page of another origin has performed");

    drop(stop);
    served.await.expect("the server does not panic").expect("it served");
    elsewhere.end().await;
    closed.end().await;
    for node in [own, other, shut] {
        node.close().await;
    }
}
