//! The client in Rust.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use conflux::{Index, JsonChange, JsonEvent};
use conflux_http::client::{Client, ClientError, PerformOptions, Performed};
use conflux_http::{Access, Limits, Options, Tokens};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::scripted::Scripted;
use crate::world::{Server, World};

/// The client blocks, so it has a thread of its own.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("the client does not panic")
}

fn client_of(servers: &[Server]) -> Client {
    Client::new(servers.iter().map(Server::url)).expect("the addresses are good")
}

fn append(word: &str) -> Vec<Value> {
    vec![json!(word)]
}

async fn perform(client: &Client, word: &str) -> Result<Performed, ClientError> {
    let (client, args) = (client.clone(), append(word));
    aside(move || client.perform("append", args, &PerformOptions::default())).await
}

/// An address at which nobody listens.
async fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
    format!("http://{}", listener.local_addr().expect("it is bound"))
}

/// What becomes of each connection on its way to a node.
#[derive(Clone, Copy)]
enum Mood {
    /// The request arrives, and its answer does not.
    Lose,
    /// It does not arrive.
    Drop,
    /// Something else answers.
    Answer(&'static str),
    /// The same, when the time is over that the node was told.
    Late(&'static str),
    /// It is taken, and nothing comes of it.
    Hang,
}

/// Something between a client and a node.
struct Between {
    address: SocketAddr,
    count: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Between {
    async fn start(target: SocketAddr, mood: Mood) -> Between {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        let count: Arc<AtomicUsize> = Arc::default();
        let counted = count.clone();
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            loop {
                let (mut client, _) = listener.accept().await.expect("it listens");
                counted.fetch_add(1, Ordering::Relaxed);
                let request = read_request(&mut client).await;
                match mood {
                    Mood::Drop => {}
                    Mood::Hang => held.push(client),
                    Mood::Late(text) => {
                        let request = String::from_utf8(request).expect("it is text");
                        let (_, body) = request.split_once("\r\n\r\n").expect("it has a body");
                        let body: Value = serde_json::from_str(body).expect("it is JSON");
                        let told = body["timeout_ms"].as_u64().expect("a number");
                        tokio::time::sleep(Duration::from_millis(told + 1)).await;
                        drop(client.write_all(text.as_bytes()).await);
                    }
                    Mood::Answer(text) => drop(client.write_all(text.as_bytes()).await),
                    Mood::Lose => {
                        let mut node = TcpStream::connect(target).await.expect("the node listens");
                        node.write_all(&request).await.expect("it is taken");
                        let mut answer = [0; 1];
                        node.read_exact(&mut answer).await.expect("it answers");
                    }
                }
            }
        });
        Between { address, count, task }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

impl Drop for Between {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn read_request(client: &mut TcpStream) -> Vec<u8> {
    let mut request = Vec::new();
    loop {
        let mut bytes = [0; 4096];
        let read = client.read(&mut bytes).await.unwrap_or_default();
        request.extend_from_slice(&bytes[..read]);
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
            if body.len() >= length.unwrap_or(0) {
                return request;
            }
        }
        if read == 0 {
            return request;
        }
    }
}

#[tokio::test]
async fn everything_can_be_asked() {
    let world = World::open(3, Options::default()).await;
    let client = client_of(&world.servers);
    assert_eq!(client.addresses().count(), 3);
    let done = perform(&client, "foo").await.expect("it serves");
    assert_eq!(done, Performed { index: Index(1), action: Some(json!({"appended": "foo"})) });
    let asked = client.clone();
    aside(move || {
        let client = asked;
        let options = PerformOptions { request_id: Some("a/b ä?".into()), timeout: Some(Duration::from_secs(5)) };
        let bar = client.perform("append", append("bar"), &options).expect("it serves");
        assert_eq!(client.outcome("a/b ä?").expect("it is known"), bar);
        assert_eq!(client.methods().expect("it answers"), ["append", "clear", "crash", "pair"]);
        for linearizable in [true, false] {
            let state = client.state(linearizable).expect("it answers");
            assert_eq!((state.index, state.state), (Index(2), json!(["foo", "bar"])));
        }
        assert_eq!(client.provisional().expect("it answers").state, json!(["foo", "bar"]));
        let ids: Vec<String> = client.each().map(|one| one.status().expect("it answers").id).collect();
        assert_eq!(ids, ["a", "b", "c"]);
    })
    .await;
    world.close().await;
}

#[tokio::test]
async fn refusals_are_typed() {
    let world = World::one().await;
    let client = client_of(&world.servers);
    let error = perform(&client, &"x".repeat(81)).await.expect_err("it is too long");
    assert_eq!(error.code(), Some("rejected"));
    let ClientError::Refused { refusal, .. } = error else { panic!("{error}") };
    assert_eq!((refusal.status, refusal.message.as_str()), (409, "too long"));
    assert_eq!(refusal.details["rejection"], json!({"message": "too long"}));
    let client_too = client.clone();
    aside(move || {
        let error = client_too.perform("apend", vec![], &PerformOptions::default()).expect_err("there is none");
        assert_eq!(error.code(), Some("unknown_method"));
        assert!(error.to_string().contains("did you mean append?"), "{error}");
        assert_eq!(client_too.outcome("never").expect_err("it was never used").code(), Some("undecided"));
    })
    .await;
    world.close().await;
}

#[tokio::test]
async fn a_token_is_carried() {
    let world = World::one().await;
    let tokens = Tokens::parse("read rrrrrrrrrrrrrrrrrrrr").expect("the line is good");
    let options = Options { access: Access::Tokens(Arc::new(tokens)), ..Options::default() };
    let server = Server::start(Arc::new(world.nodes[0].clone()), options).await;
    let client = Client::new([server.url()]).expect("the address is good");
    aside(move || {
        assert_eq!(client.status().expect_err("it carries none").code(), Some("unauthorized"));
        assert_eq!(client.subscribe(None).expect_err("it carries none").code(), Some("unauthorized"));
        let client = client.token("rrrrrrrrrrrrrrrrrrrr");
        client.status().expect("it carries one");
        drop(client.subscribe(None).expect("it carries one"));
        let error = client.perform("clear", vec![], &PerformOptions::default()).expect_err("it is for reading");
        assert_eq!(error.code(), Some("forbidden"));
    })
    .await;
    server.end().await;
    world.close().await;
}

#[tokio::test]
async fn nodes_that_cannot_be_reached_are_passed_over() {
    let world = World::one().await;
    let gone = [nobody().await, nobody().await];
    let client = Client::new([&gone[0], &world.server().url(), &gone[1]]).expect("the addresses are good");
    perform(&client, "foo").await.expect("the second one serves");
    let client = Client::new(&gone).expect("the addresses are good");
    let error = perform(&client, "foo").await.expect_err("nobody listens");
    let ClientError::Unreachable { tried } = &error else { panic!("{error}") };
    assert_eq!(tried.iter().map(|(address, _)| address).collect::<Vec<_>>(), gone.iter().collect::<Vec<_>>());
    assert!(error.to_string().contains("refused"), "{error}");
    let reader = client.clone();
    aside(move || {
        assert!(matches!(reader.state(true), Err(ClientError::Unreachable { .. })));
        assert!(matches!(reader.subscribe(None), Err(ClientError::Unreachable { .. })));
    })
    .await;
    world.close().await;
}

#[tokio::test]
async fn an_address_that_hangs_leaves_time_for_the_others() {
    let world = World::one().await;
    let hung = Between::start(world.server().address, Mood::Hang).await;
    let client = Client::new([hung.url(), world.server().url()]).expect("the addresses are good");
    let begun = Instant::now();
    let asked = client.clone();
    let done = aside(move || {
        let options = PerformOptions { timeout: Some(Duration::from_secs(4)), ..PerformOptions::default() };
        asked.perform("append", append("foo"), &options)
    });
    assert_eq!(done.await.expect("the second one answers").index, Index(1));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(hung.count.load(Ordering::Relaxed), 1);

    let begun = Instant::now();
    let read = client.within(Duration::from_secs(4));
    assert_eq!(aside(move || read.state(true)).await.expect("the second one answers").index, Index(1));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    world.close().await;
}

/// Nodes without a leader say so when their part of the time is over, and the rest of it is used.
#[tokio::test]
async fn what_no_node_proposes_in_its_share_is_tried_for_all_of_the_time() {
    let answer = "HTTP/1.1 503 No\r\nconnection: close\r\ncontent-length: 57\r\n\r\n\
        {\"error\":{\"code\":\"never_proposed\",\"message\":\"no leader\"}}";
    let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
    let first = Between::start(nobody, Mood::Late(answer)).await;
    let second = Between::start(nobody, Mood::Late(answer)).await;
    let client = Client::new([first.url(), second.url()]).expect("the addresses are good");
    let begun = Instant::now();
    let error = aside(move || {
        let options = PerformOptions { timeout: Some(Duration::from_secs(4)), ..PerformOptions::default() };
        client.perform("append", append("foo"), &options)
    });
    assert_eq!(error.await.expect_err("there is no leader").code(), Some("never_proposed"));
    // The last second is too short for an answer that is sure to be heard.
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(first.count.load(Ordering::Relaxed) > 1, "it was asked again");
}

#[tokio::test]
async fn a_perform_whose_answer_is_lost_takes_effect_once() {
    let world = World::one().await;
    let between = Between::start(world.server().address, Mood::Lose).await;
    // It arrives by the first way, which loses the answer, and is answered by the second.
    let client = Client::new([between.url(), world.server().url()]).expect("the addresses are good");
    let done = perform(&client, "foo").await.expect("the second one answers");
    assert_eq!((done.index, between.count.load(Ordering::Relaxed)), (Index(1), 1));
    assert_eq!(*world.nodes[0].state(), ["foo"]);

    // By one way only, it is tried until its time is up, and then it is not known.
    let client = Client::new([between.url()]).expect("the address is good");
    let error = aside(move || {
        let options = PerformOptions { timeout: Some(Duration::from_millis(700)), request_id: Some("x".into()) };
        client.perform("append", append("bar"), &options)
    });
    let error = error.await.expect_err("no answer comes");
    assert!(matches!(&error, ClientError::Unknown { request_id, .. } if request_id == "x"), "{error}");
    assert!(between.count.load(Ordering::Relaxed) > 2, "it was tried again");
    assert_eq!(*world.nodes[0].state(), ["foo", "bar"]);
    let client = client_of(&world.servers);
    assert_eq!(aside(move || client.outcome("x")).await.expect("it is known").index, Index(2));
    world.close().await;
}

#[tokio::test]
async fn a_transfer_whose_answer_is_lost_is_not_asked_for_again() {
    let world = World::open(3, Options::default()).await;
    let lost = Between::start(world.server().address, Mood::Drop).await;
    let other = Between::start(world.servers[1].address, Mood::Drop).await;
    // Who cannot be reached is passed over.
    let client = Client::new([nobody().await, lost.url(), other.url()]).expect("the addresses are good");
    let error = aside(move || client.transfer(None)).await.expect_err("no answer comes");
    assert!(matches!(&error, ClientError::Lost { address, .. } if address.contains(&lost.url())), "{error}");
    assert_eq!(other.count.load(Ordering::Relaxed), 0);
    world.close().await;
}

#[tokio::test]
async fn what_no_node_says_after_a_loss_does_not_count_as_its_end() {
    let world = World::one().await;
    let lost = Between::start(world.server().address, Mood::Drop).await;
    // The other one refuses, for a reason that tells nothing of the call.
    let tokens = Tokens::parse("read rrrrrrrrrrrrrrrrrrrr").expect("the line is good");
    let options = Options { access: Access::Tokens(Arc::new(tokens)), ..Options::default() };
    let guarded = Server::start(Arc::new(world.nodes[0].clone()), options).await;
    let client = Client::new([lost.url(), guarded.url()]).expect("the addresses are good");
    let error = aside(move || {
        let options = PerformOptions { timeout: Some(Duration::from_millis(300)), ..PerformOptions::default() };
        client.perform("append", append("foo"), &options)
    });
    assert!(matches!(error.await, Err(ClientError::Unknown { .. })));
    guarded.end().await;
    world.close().await;
}

#[tokio::test]
async fn what_is_no_node_is_told() {
    let world = World::one().await;
    let answers = [
        "HTTP/1.1 404 Not Found\r\ncontent-length: 4\r\n\r\nnope",
        "HTTP/1.1 403 No\r\ncontent-length: 12\r\n\r\n{\"error\": 1}",
        "HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
    ];
    for answer in answers {
        let other = Between::start(world.server().address, Mood::Answer(answer)).await;
        let client = Client::new([other.url()]).expect("the address is good");
        let error = perform(&client, "foo").await.expect_err("it is no node");
        assert!(matches!(error, ClientError::BadAnswer { .. }), "{answer}: {error}");
        let error = aside(move || client.status()).await.expect_err("it is no node");
        assert!(error.to_string().contains("is it the address of a node of conflux?"), "{answer}: {error}");
    }
    // It may be a success that something on the way has spoiled: then nobody knows.
    for answer in [
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnope",
        "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 202 OK\r\ncontent-length: 2\r\n\r\n{}",
        "HTTP/1.1 204 OK\r\n\r\n",
    ] {
        let other = Between::start(world.server().address, Mood::Answer(answer)).await;
        let client = Client::new([other.url()]).expect("the address is good");
        let asked = client.clone();
        let error = aside(move || {
            let options = PerformOptions { timeout: Some(Duration::from_millis(200)), request_id: Some("x".into()) };
            asked.perform("append", append("foo"), &options)
        });
        let error = error.await.expect_err("it is no answer");
        assert!(matches!(&error, ClientError::Unknown { request_id, .. } if request_id == "x"), "{answer}: {error}");
        assert!(error.to_string().contains("is it the address of a node of conflux?"), "{answer}: {error}");
        aside(move || client.status()).await.expect_err("it is no node");
        // Another node knows.
        let client = Client::new([other.url(), world.server().url()]).expect("the addresses are good");
        perform(&client, "foo").await.expect("the second one serves");
    }
    // What stands in front of a node and cannot reach it: the next address may.
    let gateway =
        Between::start(world.server().address, Mood::Answer("HTTP/1.1 502 Bad\r\ncontent-length: 0\r\n\r\n")).await;
    let client = Client::new([gateway.url(), world.server().url()]).expect("the addresses are good");
    perform(&client, "foo").await.expect("the second one serves");
    drop(aside(move || client.subscribe(None)).await.expect("the second one takes subscribers"));
    world.close().await;
}

#[tokio::test]
async fn a_node_that_is_full_is_passed_over() {
    let world = World::one().await;
    let limits = Limits { in_flight_max: 0, subscribers_max: 0, ..Limits::default() };
    let full = Server::start(Arc::new(world.nodes[0].clone()), Options { limits, ..Options::default() }).await;
    let client = Client::new([full.url(), world.server().url()]).expect("the addresses are good");
    perform(&client, "foo").await.expect("the second one serves");
    let follower = client.clone();
    let first = aside(move || follower.subscribe(Some(Index(0)))).await.expect("the second one takes subscribers");
    drop(first);
    let alone = Client::new([full.url()]).expect("the address is good");
    assert_eq!(perform(&alone, "bar").await.expect_err("it is full").code(), Some("busy"));
    full.end().await;
    world.close().await;
}

#[tokio::test]
async fn outcomes_that_are_none_yet_are_told_apart() {
    let server = Server::start(Arc::new(Scripted::default()), Options::default()).await;
    let client = Client::new([server.url()]).expect("the address is good");
    aside(move || {
        let short = |time| PerformOptions { timeout: Some(time), request_id: Some("x".into()) };
        let ask = |method: &str| client.perform(method, vec![], &short(Duration::from_millis(300)));
        assert!(matches!(ask("not_visible"), Err(ClientError::NotVisible { index: Index(3), .. })));
        assert!(matches!(ask("unknown"), Err(ClientError::Unknown { request_id, .. }) if request_id == "x"));
        assert!(matches!(ask("cut_off"), Err(ClientError::Unknown { request_id, .. }) if request_id == "x"));
        assert_eq!(ask("never_proposed").expect_err("it never was").code(), Some("never_proposed"));
        assert_eq!(ask("failed").expect_err("it broke").code(), Some("failed"));
        assert_eq!(ask("conflict").expect_err("it was used").code(), Some("conflict"));
        assert_eq!(ask("nothing").expect("there was nothing to do").action, None);
    })
    .await;
    server.end().await;
}

/// A node that does not hear what became of a call, at a time when another one does.
#[tokio::test]
async fn what_one_node_does_not_know_is_asked_of_the_next() {
    let unsure = "HTTP/1.1 504 No\r\nconnection: close\r\ncontent-length: 69\r\n\r\n\
        {\"error\":{\"code\":\"unknown\",\"message\":\"who knows\",\"request_id\":\"x\"}}";
    let world = World::one().await;
    let first = Between::start(world.server().address, Mood::Answer(unsure)).await;
    let client = Client::new([first.url(), world.server().url()]).expect("the addresses are good");
    let done = perform(&client, "foo").await.expect("the second one answers");
    assert_eq!((done.index, first.count.load(Ordering::Relaxed)), (Index(1), 1));
    let error = aside(move || client.outcome("x")).await.expect_err("the second one knows of no such call");
    assert_eq!(error.code(), Some("undecided"));
    // By one way only, it is asked again until the time is up.
    let client = Client::new([first.url()]).expect("the address is good");
    let error = aside(move || {
        let options = PerformOptions { timeout: Some(Duration::from_millis(500)), request_id: Some("y".into()) };
        client.perform("append", append("bar"), &options)
    });
    let error = error.await.expect_err("nobody knows");
    assert!(matches!(&error, ClientError::Unknown { request_id, .. } if request_id == "y"), "{error}");
    assert!(first.count.load(Ordering::Relaxed) > 3, "it was asked again");
    world.close().await;
}

/// As deep as a container's values may be: 256 levels.
#[tokio::test]
async fn what_nests_deep_is_read() {
    let deep = (0..255).fold(json!([]), |inner, _| json!([inner]));
    let node = Scripted { action: Some(deep.clone()), ..Scripted::default() };
    let server = Server::start(Arc::new(node), Options::default()).await;
    let client = Client::new([server.url()]).expect("the address is good");
    aside(move || {
        let done = client.perform("committed", vec![], &PerformOptions::default()).expect("it can be read");
        assert_eq!(done.action.as_ref(), Some(&deep));
        assert_eq!(client.state(false).expect("it can be read").state, deep);
        let mut events = client.subscribe(Some(Index(3))).expect("it serves");
        let next = |event| match event {
            Some(Ok(JsonEvent::Change(JsonChange { action, .. }))) => action,
            Some(Ok(JsonEvent::Reset { state, .. })) => state,
            other => panic!("it does not go on: {other:?}"),
        };
        assert_eq!(next(events.next()), deep);
        assert_eq!(next(events.next()), deep);
    })
    .await;
    server.end().await;
}

/// The words of the next events, which are contiguous.
fn words(events: &mut conflux_http::client::Events, count: usize) -> Vec<String> {
    let mut words = Vec::new();
    let mut last = events.place();
    for event in events.take(count) {
        let JsonEvent::Change(JsonChange { index, action, .. }) = event.expect("it goes on") else { panic!("a reset") };
        assert!(last.is_none_or(|last| last.next() == index));
        last = Some(index);
        words.push(action["appended"].as_str().expect("a word").to_owned());
    }
    words
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_go_on_when_the_server_is_another_one() {
    let mut world = World::open(3, Options::default()).await;
    let client = client_of(&world.servers[..2]);
    let mut events = aside(move || client.subscribe(None)).await.expect("it serves");
    world.append("one").await;
    world.append("two").await;
    let (mut events, said) = aside(move || {
        let said = words(&mut events, 2);
        (events, said)
    })
    .await;
    assert_eq!(said, ["one", "two"]);

    // The first one ends, and the second one goes on; then that ends, and the first one is back, on its old port.
    let address = world.servers[0].address;
    let first = world.servers.remove(0);
    first.end().await;
    world.append("three").await;
    (events, _) = aside(move || {
        assert_eq!(words(&mut events, 1), ["three"]);
        (events, ())
    })
    .await;
    let second = world.servers.remove(0);
    second.end().await;
    world.append("four").await;
    let listener = TcpListener::bind(address).await.expect("the port is free again");
    let again = Server::start_on(listener, Arc::new(world.nodes[0].clone()), Options::default());
    let said = aside(move || words(&mut events, 1)).await;
    assert_eq!(said, ["four"]);
    again.end().await;
    world.close().await;
}

#[tokio::test]
async fn events_that_leave_a_hole_are_an_error() {
    let world = World::one().await;
    let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n";
    let change = |index| {
        let data = json!({"index": index, "action": 1, "origin": "a", "time_ms": 0});
        format!("id: 3f.0-{index}\nevent: change\ndata: {data}\n\n")
    };
    for (body, problem) in [
        (format!("id: 3f.0-3\n\n{}{}", change(4), change(6)), "the action 6 came after 4"),
        (format!("id: 3f.0-3\n\n{}", change(3)), "the action 3 came after 3"),
        ("id: 3f.0-3\nevent: change\ndata: {\n\n".to_owned(), "an event cannot be read"),
        ("id: 3f.0-3\nevent: novelty\ndata: {}\n\n".to_owned(), "it is newer than this client"),
        ("id: x\n\n".to_owned(), "the id \"x\" of an event"),
    ] {
        let text: &'static str = format!("{head}{body}").leak();
        let other = Between::start(world.server().address, Mood::Answer(text)).await;
        let client = Client::new([other.url()]).expect("the address is good");
        let seen = aside(move || client.subscribe(None).expect("it answers").collect::<Vec<_>>()).await;
        let error = seen.last().expect("an error comes").as_ref().expect_err("it is the last").to_string();
        assert!(error.contains(problem), "{error}");
    }
    world.close().await;
}
