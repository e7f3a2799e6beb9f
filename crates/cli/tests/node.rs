//! `conflux node`: clusters of real processes that are killed.

mod common;

use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{conflux, container, directory};
use conflux_http::client::{Client, ClientError, PerformOptions};
use serde_json::{Value, json};

/// How long a cluster may take to serve again.
const PATIENCE: Duration = Duration::from_secs(60);

const NAMES: [&str; 3] = ["a", "b", "c"];

/// Three processes on this machine.
struct Cluster {
    directory: PathBuf,
    /// How the nodes find each other, as flags.
    medium: Vec<String>,
    http: Vec<u16>,
    children: Vec<Option<Child>>,
}

/// Ports that were free a moment ago.
fn ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").expect("this machine has a loopback"));
    listeners.map(|listener| listener.local_addr().expect("it is bound").port())
}

impl Cluster {
    fn new(name: &str) -> Cluster {
        let [a, b, c] = ports();
        let peers = format!("a=127.0.0.1:{a},b=127.0.0.1:{b},c=127.0.0.1:{c}");
        Cluster::over(directory(name), &["--peers", &peers])
    }

    /// In a directory, by whatever these flags say.
    fn over(directory: PathBuf, medium: &[&str]) -> Cluster {
        let medium = medium.iter().map(|&flag| flag.to_owned()).collect();
        let children = vec![None, None, None];
        let mut cluster = Cluster { directory, medium, http: ports::<3>().into(), children };
        (0..3).for_each(|at| cluster.start(at));
        cluster
    }

    fn start(&mut self, at: usize) {
        let name = NAMES[at];
        let log = File::options().create(true).append(true).open(self.log(at)).expect("the directory is there");
        let child = Command::new(env!("CARGO_BIN_EXE_conflux"))
            .arg("node")
            .arg(container("words.js"))
            .args(["--id", name, "--data"])
            .arg(self.directory.join(name))
            .args(&self.medium)
            .args(["--http", &format!("127.0.0.1:{}", self.http[at])])
            .current_dir(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.children[at] = Some(child.expect("the program was built for this test"));
    }

    fn log(&self, at: usize) -> PathBuf {
        self.directory.join(format!("{}.log", NAMES[at]))
    }

    /// SIGKILL: nothing is written or said any more.
    fn kill(&mut self, at: usize) {
        if let Some(mut child) = self.children[at].take() {
            child.kill().expect("it is this test's child");
            child.wait().expect("it is this test's child");
        }
    }

    /// SIGTERM, and its exit status.
    fn end(&mut self, at: usize) -> Option<i32> {
        let mut child = self.children[at].take().expect("it runs");
        let told = Command::new("kill").arg(child.id().to_string()).status().expect("there is a kill");
        assert!(told.success());
        child.wait().expect("it is this test's child").code()
    }

    fn address(&self, at: usize) -> String {
        format!("http://127.0.0.1:{}", self.http[at])
    }

    /// A client of all nodes, beginning with one.
    fn client(&self, first: usize) -> Client {
        Client::new((0..3).map(|n| self.address((first + n) % 3))).expect("the addresses are good")
    }

    /// The words as one node holds them, once it has all that is committed.
    fn words(&self, at: usize) -> Vec<String> {
        let client = Client::new([self.address(at)]).expect("the address is good");
        let state = within(PATIENCE, || client.state(true)).state;
        serde_json::from_value(state).expect("it is a list of words")
    }

    fn logs(&self) -> String {
        let read = |at| std::fs::read_to_string(self.log(at)).unwrap_or_default();
        (0..3).map(|at| format!("--- {}\n{}", NAMES[at], read(at))).collect()
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        (0..3).for_each(|at| self.kill(at));
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
    }
}

/// Tries until it works: nodes that were killed answer nothing, and there is nothing else to wait on from outside.
fn within<T>(patience: Duration, mut ask: impl FnMut() -> Result<T, ClientError>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(error) if Instant::now() > deadline => panic!("not within {patience:?}: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Appends a word, asking again under the same id until it is told what became of it.
fn append(client: &Client, word: &str) {
    let options = PerformOptions { request_id: Some(format!("word {word}")), ..PerformOptions::default() };
    within(PATIENCE, || client.perform("append", vec![json!(word)], &options));
}

#[test]
fn killed_at_any_moment_nothing_that_was_answered_is_lost_and_nothing_is_done_twice() {
    let mut cluster = Cluster::new("node-killed");
    append(&cluster.client(0), "first");
    let done = AtomicBool::new(false);
    let words = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..3)
            .map(|caller| {
                let (client, done) = (cluster.client(caller), &done);
                scope.spawn(move || {
                    let mut words = Vec::new();
                    while !done.load(Ordering::Relaxed) {
                        let word = format!("{caller}.{}", words.len());
                        append(&client, &word);
                        words.push(word);
                    }
                    words
                })
            })
            .collect();
        // One, two, all at once; the leader among them more often than not.
        for (round, killed) in [&[0][..], &[1, 2], &[0, 1, 2], &[2], &[0, 1], &[0, 1, 2]].into_iter().enumerate() {
            killed.iter().for_each(|at| cluster.kill(*at));
            killed.iter().for_each(|at| cluster.start(*at));
            append(&cluster.client(round % 3), &format!("round {round}"));
        }
        done.store(true, Ordering::Relaxed);
        callers.into_iter().map(|caller| caller.join().expect("no caller gives up")).collect::<Vec<_>>()
    });
    let all = cluster.words(0);
    for (caller, words) in words.iter().enumerate() {
        let prefix = format!("{caller}.");
        let found: Vec<_> = all.iter().filter(|word| word.starts_with(&prefix)).collect();
        assert!(found.iter().eq(&words.iter().collect::<Vec<_>>()), "caller {caller}: {found:?} is not {words:?}");
        assert!(!words.is_empty(), "caller {caller} got nothing done");
    }
    assert_eq!(all.len(), 1 + 6 + words.iter().map(Vec::len).sum::<usize>());
    for (at, name) in NAMES.iter().enumerate() {
        assert_eq!(cluster.words(at), all, "node {name}");
    }
    // Told to end, each hands on what it has and says so by its status; the last one has nobody to hand on to.
    for (at, name) in NAMES.iter().enumerate() {
        assert_eq!(cluster.end(at), Some(0), "node {name}");
    }
}

/// A server that nodes talk by, ended when dropped.
struct Server(Child);

impl Server {
    fn start(command: &mut Command) -> Option<Server> {
        match command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn() {
            Ok(child) => Some(Server(child)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => panic!("{command:?} does not start: {error}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Nodes and the server they talk by are killed, each while the others run and all at once.
fn goes_on_whatever_is_killed(mut cluster: Cluster, mut server: Option<Server>, start: impl Fn() -> Option<Server>) {
    append(&cluster.client(0), "first");
    cluster.kill(1);
    append(&cluster.client(2), "one node less");
    cluster.start(1);
    // It is killed at once; the next one takes its place.
    drop(server.take());
    let client = cluster.client(1);
    let waiting = std::thread::spawn(move || append(&client, "through"));
    server = start();
    waiting.join().expect("it is answered");
    (0..3).for_each(|at| cluster.kill(at));
    drop(server);
    // Nodes that come before the server wait for it.
    (0..3).for_each(|at| cluster.start(at));
    let _server = start();
    append(&cluster.client(1), "last");
    for (at, name) in NAMES.iter().enumerate() {
        assert_eq!(cluster.words(at), ["first", "one node less", "through", "last"], "node {name}");
    }
    assert!(cluster.logs().contains("signed with the cluster's key"), "{}", cluster.logs());
}

fn with_key(name: &str) -> (PathBuf, String) {
    let directory = directory(name);
    let key = directory.join("cluster.key");
    std::fs::write(&key, "the key of all our nodes\n").expect("it is writable");
    let key = key.to_str().expect("cargo's path is text").to_owned();
    (directory, key)
}

#[test]
fn by_a_relay_the_cluster_goes_on_whatever_is_killed() {
    let (directory, key) = with_key("node-relay");
    let [port] = ports();
    let address = format!("127.0.0.1:{port}");
    let start = || Server::start(Command::new(env!("CARGO_BIN_EXE_conflux")).args(["relay", "--listen", &address]));
    let url = format!("ws://{address}/words");
    let medium = ["--channel", &url, "--cluster-size", "3", "--cluster-key-file", &key];
    let relay = start();
    goes_on_whatever_is_killed(Cluster::over(directory, &medium), relay, start);
}

#[test]
fn by_a_redis_server_the_cluster_goes_on_whatever_is_killed() {
    let (directory, key) = with_key("node-redis");
    let [port] = ports();
    let quiet = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    let start = || {
        let mut redis = Command::new("redis-server");
        Server::start(redis.args(["--port", &port.to_string()]).args(quiet).current_dir(&directory))
    };
    let Some(server) = start() else {
        eprintln!("redis-server is not on the path: this is not tested");
        return;
    };
    let url = format!("redis://127.0.0.1:{port}/?channel=words");
    let medium = ["--channel", &url, "--cluster-size", "3", "--cluster-key-file", &key];
    goes_on_whatever_is_killed(Cluster::over(directory.clone(), &medium), Some(server), start);
}

#[test]
fn the_commands_reach_any_node() {
    let cluster = Cluster::new("node-commands");
    append(&cluster.client(0), "first");
    let at = |n: usize| cluster.address(n);
    let ran = conflux(&["perform", "append", "\"foo\"", "--at", &at(1)], "").ended_with(0);
    assert_eq!(ran.answers(), [json!({"index": 2, "action": {"type": "APPEND", "word": "foo"}})]);
    let ran = conflux(&["state", "--linearizable", "--at", &at(2)], "").ended_with(0);
    let state: Value = serde_json::from_str(ran.stdout.trim()).expect("it is JSON");
    assert_eq!(state, json!({"index": 2, "state": ["first", "foo"]}));
    conflux(&["perform", "append", &format!("{:?}", "x".repeat(81)), "--at", &at(0)], "").ended_with(3);
    let status = conflux(&["status", "--at", &at(0), "--at", &at(1), "--at", &at(2)], "").ended_with(0);
    let mut roles: Vec<&str> =
        status.stdout.lines().filter_map(|line| line.split_whitespace().nth(2)).take(4).collect();
    roles.sort_unstable();
    assert_eq!(roles, ["follower", "follower", "leader", "role"], "{}", status.stdout);
}

#[test]
fn what_cannot_run_is_said_in_a_line_and_checked_beforehand() {
    let app = container("words.js");
    let app = app.to_str().expect("cargo's path is text");
    let run = |arguments: &[&str]| conflux(&[&["node", app], arguments].concat(), "");
    run(&[]).refused_with(&["--id"]);
    run(&["--id", "a", "--listen", "127.0.0.1:0"]).refused_with(&["--peers", "--cluster-size 1"]);
    run(&["--id", "a", "--listen", "0.0.0.0:0", "--cluster-size", "1"]).refused_with(&["0.0.0.0", "insecure"]);
    let shared = ["--id", "a", "--cluster-size", "3", "--channel"];
    run(&[&shared[..], &["redis://10.0.0.1/?channel=words"]].concat()).refused_with(&["10.0.0.1", "key"]);
    run(&[&shared[..], &["redis://user:secret@127.0.0.1/"]].concat()).refused_with(&["?channel="]);
    run(&[&shared[..], &["ws://127.0.0.1:1/words", "--cluster-key-file", "none.key"]].concat())
        .refused_with(&["none.key"]);
    run(&[&shared[..], &["ws://127.0.0.1:1/words", "--peers", "b=127.0.0.1:1"]].concat()).refused_with(&["--peers"]);
    run(&["--id", "a", "--listen", "127.0.0.1:0", "--cluster-size", "1", "--http", "0.0.0.0:0"])
        .refused_with(&["0.0.0.0:0", "--token-file"]);
    let held = TcpListener::bind("127.0.0.1:0").expect("this machine has a loopback");
    let taken = held.local_addr().expect("it is bound").to_string();
    run(&["--id", "a", "--listen", &taken, "--cluster-size", "1"]).refused_with(&[&taken]);
    conflux(&["node", "none.js", "--id", "a", "--listen", "127.0.0.1:0", "--cluster-size", "1"], "")
        .refused_with(&["none.js"]);

    let place = directory("node-check");
    let file = place.join("conflux.toml");
    std::fs::write(
        &file,
        format!("app = {app:?}\nid = \"a\"\ncluster-size = 1\nlisten = \"127.0.0.1:0\"\ndata = \"d\"\n"),
    )
    .expect("the directory is there");
    let file = file.to_str().expect("cargo's path is text");
    let checked = conflux(&["node", "--config", file, "--check"], "").ended_with(0);
    assert!(checked.stdout.contains("founded by the first 1 that meet"), "{}", checked.stdout);
    assert!(!Path::new(&place).join("d").exists(), "checking leaves nothing behind");
    std::fs::write(Path::new(file), "idd = \"a\"\n").expect("the directory is there");
    conflux(&["node", "--config", file], "").refused_with(&["conflux.toml", "line 1", "idd"]);
}

/// A node by a relay at this address, and where it serves HTTP.
fn by_relay(name: &str, relay: &str) -> (Server, String) {
    let (_, key) = with_key(name);
    let [port] = ports();
    let http = format!("127.0.0.1:{port}");
    let mut node = Command::new(env!("CARGO_BIN_EXE_conflux"));
    node.arg("node").arg(container("words.js")).args(["--id", "a", "--cluster-size", "1", "--http", &http]);
    node.args(["--channel", &format!("ws://{relay}/words"), "--cluster-key-file", &key]);
    (Server::start(&mut node).expect("the program was built for this test"), http)
}

/// The status of the answer, and what comes behind its head.
fn get(address: &str, path: &str) -> std::io::Result<(String, String)> {
    use std::io::{Read, Write};
    let mut connection = std::net::TcpStream::connect(address)?;
    connection.set_read_timeout(Some(PATIENCE))?;
    write!(connection, "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").expect("it has a head");
    Ok((head.split(' ').nth(1).expect("it has a status").to_owned(), body.to_owned()))
}

/// Once somebody listens.
fn get_within(address: &str, path: &str) -> (String, String) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match get(address, path) {
            Ok(answer) => return answer,
            Err(error) if Instant::now() > deadline => panic!("{path}: {error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

#[test]
fn a_node_that_waits_for_its_relay_is_alive_and_says_why_it_is_not_ready() {
    let [relay] = ports();
    let (node, http) = by_relay("node-waits", &format!("127.0.0.1:{relay}"));
    assert_eq!(get_within(&http, "/healthz").0, "200");
    let deadline = Instant::now() + PATIENCE;
    loop {
        let (status, body) = get_within(&http, "/readyz");
        let answer: Value = serde_json::from_str(&body).expect("it is JSON");
        assert_eq!((&*status, &answer["error"]["code"]), ("503", &json!("not_ready")));
        if answer["error"]["message"].as_str().is_some_and(|why| why.contains("not connected yet")) {
            break;
        }
        assert!(Instant::now() < deadline, "{answer}");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(get_within(&http, "/state").0, "503");
    drop(node);
}

#[cfg(unix)]
#[test]
fn a_node_that_is_told_to_end_before_it_is_open_ends() {
    // It takes the connection, and says nothing: that is waited for, for 10 s.
    let relay = TcpListener::bind("127.0.0.1:0").expect("this machine has a loopback");
    let address = relay.local_addr().expect("it is bound").to_string();
    let (mut node, http) = by_relay("node-told", &address);
    let _held = relay.accept().expect("the node comes");
    assert_eq!(get_within(&http, "/healthz").0, "200");
    let begun = Instant::now();
    let told = Command::new("kill").arg(node.0.id().to_string()).status().expect("there is a kill");
    assert!(told.success());
    assert_eq!(node.0.wait().expect("it is this test's child").code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[test]
fn what_is_wrong_is_told_with_its_option() {
    let app = container("words.js");
    let node = |options: &[&str]| {
        let flags = ["node", app.to_str().expect("it is text"), "--id", "a", "--cluster-size", "1", "--check"];
        conflux(&[&flags, options].concat(), "")
    };
    let redis = ["--channel", "redis://127.0.0.1/?channel=w", "--cluster-key-file", "nope"];
    node(&redis).refused_with(&["--cluster-key-file nope: No such file"]);
    let tcp = ["--listen", "127.0.0.1:0", "--http"];
    node(&[&tcp[..], &["127.0.0.1:0", "--token-file", "nope"]].concat())
        .refused_with(&["--token-file nope: No such file"]);
    node(&[&tcp[..], &[""]].concat()).refused_with(&["--http \"\" cannot be served"]);
    node(&["--config", "nope.toml"]).refused_with(&["--config nope.toml: No such file"]);
}
