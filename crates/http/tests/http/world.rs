//! A cluster with a server on each node, and a plain way to ask it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use conflux::{Container, Context, JsonNode, MemoryChannel, Node, Reject};
use conflux_http::{Limits, Options, ServeError, router, serve};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Method {
    Append(String),
    Clear,
    Crash,
    Pair { left: u32, right: u32 },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Action {
    Appended(String),
    Cleared,
}

/// A list of words, each of 80 bytes at most.
pub(crate) struct Words;

impl Container for Words {
    type State = Vec<String>;
    type Method = Method;
    type Action = Action;
    type Rejection = Reject;

    fn initial(&self) -> Vec<String> {
        vec![]
    }

    fn decide(&self, words: &Vec<String>, method: Method, _: &Context<'_>) -> Result<Option<Action>, Reject> {
        match method {
            Method::Append(word) if word.len() > 80 => Err("too long".into()),
            Method::Append(word) => Ok(Some(Action::Appended(word))),
            Method::Clear if words.is_empty() => Ok(None),
            Method::Clear => Ok(Some(Action::Cleared)),
            Method::Crash => panic!("it was asked to"),
            Method::Pair { left, right } => Ok(Some(Action::Appended(format!("{left}:{right}")))),
        }
    }

    fn reduce(&self, words: &mut Vec<String>, action: &Action, _: &Context<'_>) {
        match action {
            Action::Appended(word) => words.push(word.clone()),
            Action::Cleared => words.clear(),
        }
    }
}

/// A server that ends when it is told.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Result<(), ServeError>>,
}

impl Server {
    pub(crate) async fn start(node: Arc<dyn JsonNode>, options: Options) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        Server::start_on(listener, node, options)
    }

    pub(crate) fn start_on(listener: TcpListener, node: Arc<dyn JsonNode>, options: Options) -> Server {
        let router = router(node, &options);
        Server::of(listener, router, options)
    }

    /// A server of any routes.
    pub(crate) fn of(listener: TcpListener, router: axum::Router, options: Options) -> Server {
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let served =
            tokio::spawn(async move { serve(listener, router, &options, async { drop(stopped.await) }).await });
        Server { address, stop: Some(stop), served }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn begin_to_end(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn end(mut self) {
        self.begin_to_end();
        self.served.await.expect("the server does not panic").expect("it served");
    }

    pub(crate) async fn get(&self, path: &str) -> Response {
        self.ask("GET", path, &[], "").await
    }

    pub(crate) async fn post(&self, path: &str, body: &str) -> Response {
        self.ask("POST", path, &[("content-type", "application/json")], body).await
    }

    pub(crate) async fn perform(&self, body: Value) -> Response {
        self.post("/perform", &body.to_string()).await
    }

    /// Asks, and reads the answer to its end.
    pub(crate) async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        let mut connection = TcpStream::connect(self.address).await.expect("the server listens");
        connection.write_all(request(self.address, method, path, headers, body).as_bytes()).await.expect("it is taken");
        Response::read(&mut connection).await
    }
}

pub(crate) fn request(address: SocketAddr, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut text = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "host") {
        text.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        text.push_str(&format!("{name}: {value}\r\n"));
    }
    format!("{text}\r\n{body}")
}

#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Response {
    /// Reads until the connection ends.
    pub(crate) async fn read(connection: &mut TcpStream) -> Response {
        let mut bytes = Vec::new();
        connection.read_to_end(&mut bytes).await.expect("the answer comes");
        // A backup is no text; what is read of one here is its head.
        Response::parse(&String::from_utf8_lossy(&bytes))
    }

    fn parse(text: &str) -> Response {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{text:?} has no head"));
        let mut lines = head.split("\r\n");
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|status| status.parse().ok());
        let headers: BTreeMap<String, String> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let chunked = headers.get("transfer-encoding").is_some_and(|coding| coding == "chunked");
        let body = if chunked { unchunked(body) } else { body.to_owned() };
        Response { status: status.expect("the first line has a status"), headers, body }
    }

    #[track_caller]
    pub(crate) fn json(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.headers["content-type"], "application/json");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts an error, and gives it.
    #[track_caller]
    pub(crate) fn error(&self, status: u16, code: &str) -> Value {
        let mut value = self.json(status);
        let error = value["error"].take();
        assert_eq!(error["code"], code, "{self:?}");
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        error
    }
}

fn unchunked(mut body: &str) -> String {
    let mut whole = String::new();
    while let Some((size, rest)) = body.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk has a size");
        whole.push_str(&rest[..size]);
        body = rest[size..].strip_prefix("\r\n").expect("a chunk has an end");
    }
    whole
}

pub(crate) struct World {
    pub(crate) channel: MemoryChannel,
    pub(crate) nodes: Vec<Node<Words>>,
    pub(crate) servers: Vec<Server>,
}

impl World {
    /// A cluster of so many nodes, with a server each.
    pub(crate) async fn open(count: usize, options: Options) -> World {
        let channel = MemoryChannel::new();
        let mut nodes = Vec::new();
        for id in ["a", "b", "c"].into_iter().take(count) {
            let builder = Node::builder(Words, id).cluster_size(count).channel(channel.clone());
            nodes.push(builder.open().await.expect("the options are good"));
        }
        // The cluster has formed when a node knows of a leader.
        nodes[0].watch_status().find(|status| status.leader.clone()).await.expect("the node is open");
        let mut servers = Vec::new();
        for node in &nodes {
            servers.push(Server::start(Arc::new(node.clone()), options.clone()).await);
        }
        World { channel, nodes, servers }
    }

    pub(crate) async fn one() -> World {
        World::open(1, Options::default()).await
    }

    pub(crate) fn server(&self) -> &Server {
        &self.servers[0]
    }

    /// What the ids of events begin with.
    pub(crate) fn history(&self) -> String {
        let status = self.nodes[0].status();
        format!("{:x}.{}", status.cluster.expect("it has formed"), status.generation)
    }

    pub(crate) async fn append(&self, word: &str) {
        self.nodes[0].perform(Method::Append(word.into())).await.expect("it serves");
    }

    pub(crate) async fn close(self) {
        for server in self.servers {
            server.end().await;
        }
        for node in self.nodes {
            node.close().await;
        }
    }
}

/// Limits that a test can reach.
pub(crate) fn tight() -> Limits {
    Limits {
        body_bytes_max: 1_000,
        connections_max: 64,
        in_flight_max: 4,
        subscribers_max: 2,
        states_bytes_max: 1 << 20,
        head_time: Duration::from_millis(500),
        body_time: Duration::from_millis(500),
        stall_time: Duration::from_millis(200),
        keep_alive: Duration::from_millis(20),
        grace: Duration::from_secs(5),
    }
}
