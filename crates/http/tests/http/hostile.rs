//! Bad input is normal input.

use std::time::Duration;

use conflux_http::{Limits, Options};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::world::{Response, World, request, tight};

const PATIENCE: Duration = Duration::from_secs(20);

async fn tight_world() -> World {
    World::open(1, Options { limits: tight(), ..Options::default() }).await
}

/// Sends bytes, and reads until the server ends the connection.
async fn send(world: &World, bytes: &[u8]) -> Vec<u8> {
    let mut connection = TcpStream::connect(world.server().address).await.expect("the server listens");
    // The server may have hung up before everything is sent.
    let _ = connection.write_all(bytes).await;
    let mut answer = Vec::new();
    let ended = timeout(PATIENCE, connection.read_to_end(&mut answer)).await;
    drop(ended.expect("the server ends the connection"));
    answer
}

fn status_of(answer: &[u8]) -> Option<u16> {
    let text = String::from_utf8_lossy(answer);
    text.lines().next()?.split(' ').nth(1)?.parse().ok()
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_before_it_comes() {
    let world = tight_world().await;
    let head = format!(
        "POST /perform HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: 99999999999\r\n\r\n",
        world.server().address
    );
    let answer = send(&world, head.as_bytes()).await;
    assert_eq!(status_of(&answer), Some(413), "{}", String::from_utf8_lossy(&answer));
    // And so is one that does not say how long it is.
    let chunk = format!("400\r\n{}\r\n", "x".repeat(1024));
    let head = format!(
        "POST /perform HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
        world.server().address
    );
    let answer = send(&world, format!("{head}{}", chunk.repeat(4)).as_bytes()).await;
    assert_eq!(status_of(&answer), Some(413), "{}", String::from_utf8_lossy(&answer));
    // What is just allowed is taken.
    let padding = " ".repeat(1_000 - "{\"method\":\"clear\"}".len());
    world.server().post("/perform", &format!("{{\"method\":\"clear\"{padding}}}")).await.json(200);
    let error = world.server().post("/perform", &format!("{{\"method\":\"clear\"{padding} }}")).await;
    assert_eq!(error.error(413, "too_large")["bytes_max"], 1_000);
    world.close().await;
}

#[tokio::test]
async fn json_that_is_too_deep_is_refused() {
    let world = World::one().await;
    for open in ["[", "{\"a\":"] {
        let body = format!("{{\"method\":\"append\",\"args\":[{}", open.repeat(100_000));
        world.server().post("/perform", &body).await.error(422, "bad_json");
    }
    world.close().await;
}

#[tokio::test]
async fn what_is_no_http_ends_the_connection() {
    let world = tight_world().await;
    let long_header = format!("GET /state HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(100_000));
    let many_headers = format!("GET /state HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1_000));
    let hostile: [&[u8]; 9] = [
        b"\0\0\0\0",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET\r\n\r\n",
        b"GET /state HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /state HTTP/1.1\r\nhost: localhost\r\ncontent-length: -1\r\n\r\n",
        b"GET /state HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        long_header.as_bytes(),
        many_headers.as_bytes(),
    ];
    for bytes in hostile {
        let answer = send(&world, bytes).await;
        let shown = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty() || matches!(status_of(&answer), Some(400..=499)), "{shown}");
    }
    for path in ["//", "/../state", "/state/", "/%00", "/state%2e", "/perform?x", "/outcome/%"] {
        let status = world.server().get(path).await.status;
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    world.server().get("/state").await.json(200);
    world.close().await;
}

#[tokio::test]
async fn a_client_that_is_slow_to_ask_is_cut() {
    let world = tight_world().await;
    let begun = Instant::now();
    // Nothing, and half a head.
    for bytes in [&b""[..], b"GET /state HTTP/1.1\r\nhost: loc"] {
        let answer = send(&world, bytes).await;
        assert!(answer.is_empty() || status_of(&answer) == Some(408), "{}", String::from_utf8_lossy(&answer));
    }
    // Half a body.
    let whole = request(
        world.server().address,
        "POST",
        "/perform",
        &[("content-type", "application/json")],
        "{\"method\":\"clear\"}",
    );
    let answer = send(&world, &whole.as_bytes()[..whole.len() - 1]).await;
    assert_eq!(status_of(&answer), Some(408), "{}", String::from_utf8_lossy(&answer));
    // A connection that was used once and then is not.
    let whole = request(world.server().address, "GET", "/state", &[], "").replace("connection: close\r\n", "");
    let answer = send(&world, whole.as_bytes()).await;
    assert_eq!(status_of(&answer), Some(200));
    assert!(begun.elapsed() < PATIENCE);
    world.close().await;
}

#[tokio::test]
async fn a_client_that_does_not_read_is_cut() {
    let world = tight_world().await;
    for _ in 0..2_000 {
        world.append(&"x".repeat(80)).await;
    }
    let mut connection = TcpStream::connect(world.server().address).await.expect("the server listens");
    // More answers than the buffers of both ends hold, and none is read.
    let ask = request(world.server().address, "GET", "/state", &[], "").replace("connection: close\r\n", "");
    let cut = async {
        loop {
            if connection.write_all(ask.as_bytes()).await.is_err() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, cut).await.expect("the server hangs up");
    world.close().await;
}

#[tokio::test]
async fn more_requests_than_are_taken_at_once_are_told_to_come_again() {
    let limits = Limits { body_time: PATIENCE, ..tight() };
    let world = World::open(1, Options { limits, ..Options::default() }).await;
    // Four that wait for the ends of their bodies hold all places.
    let headers = [("content-type", "application/json")];
    let whole = request(world.server().address, "POST", "/perform", &headers, "{\"method\":\"clear\"}");
    let mut waiting = Vec::new();
    for _ in 0..4 {
        let mut connection = TcpStream::connect(world.server().address).await.expect("the server listens");
        connection.write_all(&whole.as_bytes()[..whole.len() - 1]).await.expect("it is taken");
        waiting.push(connection);
    }
    let busy = async {
        loop {
            let response = world.server().perform(json!({"method": "clear"})).await;
            if response.status == 503 {
                return response;
            }
        }
    };
    let busy = timeout(PATIENCE, busy).await.expect("the four hold the places");
    busy.error(503, "busy");
    // Probes are answered all the same, and so is who looks why, and who reads.
    for path in ["/healthz", "/status", "/members", "/state", "/outcome/x"] {
        assert_ne!(world.server().get(path).await.status, 503, "{path}");
    }
    assert_eq!(world.server().get("/metrics").await.status, 200);
    for mut connection in waiting {
        connection.write_all(&whole.as_bytes()[whole.len() - 1..]).await.expect("it is taken");
        Response::read(&mut connection).await.json(200);
    }
    world.server().perform(json!({"method": "clear"})).await.json(200);
    world.close().await;
}

#[tokio::test]
async fn more_connections_than_are_taken_wait_for_their_turn() {
    let world = tight_world().await;
    // Twice as many as are taken, all idle; the idle ones are cut after a while, and the request gets through.
    let mut idle = Vec::new();
    for _ in 0..128 {
        idle.push(TcpStream::connect(world.server().address).await.expect("the backlog takes it"));
    }
    let answer = timeout(PATIENCE, world.server().get("/state")).await.expect("its turn comes");
    answer.json(200);
    world.close().await;
}

#[tokio::test]
async fn many_at_once_are_all_answered() {
    let world = World::one().await;
    let calls = (0..200).map(|n| world.server().perform(json!({"method": "append", "args": [n.to_string()]})));
    let answers = futures_util::future::join_all(calls).await;
    let mut places: Vec<u64> =
        answers.iter().map(|answer| answer.json(200)["index"].as_u64().expect("a place")).collect();
    places.sort_unstable();
    assert_eq!(places, (1..=200).collect::<Vec<_>>());
    world.close().await;
}

#[tokio::test]
async fn what_is_under_way_at_the_end_is_answered() {
    let limits = Limits { body_time: PATIENCE, ..tight() };
    let mut world = World::open(1, Options { limits, ..Options::default() }).await;
    let mut server = world.servers.pop().expect("there is one");
    let whole =
        request(server.address, "POST", "/perform", &[("content-type", "application/json")], "{\"method\":\"clear\"}");
    let mut connection = TcpStream::connect(server.address).await.expect("the server listens");
    let mut idle = TcpStream::connect(server.address).await.expect("the server listens");
    connection.write_all(&whole.as_bytes()[..whole.len() - 1]).await.expect("it is taken");
    // It is being served once another one, which came later, has been.
    server.get("/status").await.json(200);
    server.begin_to_end();
    connection.write_all(&whole.as_bytes()[whole.len() - 1..]).await.expect("it is taken");
    Response::read(&mut connection).await.json(200);
    let mut rest = Vec::new();
    drop(timeout(PATIENCE, idle.read_to_end(&mut rest)).await.expect("an idle connection is ended"));
    let address = server.address;
    server.end().await;
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
    world.close().await;
}
