//! Performing over HTTP, and asking again.

use std::time::Duration;

use conflux_http::Options;
use serde_json::{Value, json};

use crate::world::{Method, World};

#[tokio::test]
async fn a_perform_is_answered_with_its_place_and_action() {
    let world = World::one().await;
    let done = world.server().perform(json!({"method": "append", "args": ["foo"]})).await.json(200);
    assert_eq!(done, json!({"index": 1, "action": {"appended": "foo"}}));
    let done = world.server().perform(json!({"method": "pair", "args": [{"left": 1, "right": 2}]})).await.json(200);
    assert_eq!(done, json!({"index": 2, "action": {"appended": "1:2"}}));
    assert_eq!(*world.nodes[0].state(), ["foo", "1:2"]);
    world.server().perform(json!({"method": "clear"})).await.json(200);
    let nothing = world.server().perform(json!({"method": "clear", "args": []})).await.json(200);
    assert_eq!(nothing, json!({"index": 3, "action": null}));
    world.close().await;
}

#[tokio::test]
async fn every_node_of_a_cluster_performs_and_shows_its_own_effect() {
    let world = World::open(3, Options::default()).await;
    for (nth, server) in world.servers.iter().enumerate() {
        let word = format!("word {nth}");
        let done = server.perform(json!({"method": "append", "args": [word]})).await.json(200);
        assert_eq!(done["index"], nth + 1);
        assert_eq!(server.get("/state").await.json(200)["state"][nth], word.as_str());
    }
    world.close().await;
}

#[tokio::test]
async fn a_rejection_says_why_to_people_and_programs() {
    let world = World::one().await;
    world.append("foo").await;
    let long = "x".repeat(81);
    let rejected = world.server().perform(json!({"method": "append", "args": [long]})).await.error(409, "rejected");
    assert_eq!(
        rejected,
        json!({"code": "rejected", "message": "too long", "index": 1, "rejection": {"message": "too long"}})
    );
    world.close().await;
}

#[tokio::test]
async fn a_method_that_breaks_is_the_containers_error() {
    let world = World::one().await;
    let failed = world.server().perform(json!({"method": "crash"})).await.error(500, "failed");
    assert!(failed["message"].as_str().is_some_and(|message| message.contains("it was asked to")), "{failed}");
    world.server().perform(json!({"method": "append", "args": ["foo"]})).await.json(200);
    world.close().await;
}

#[tokio::test]
async fn the_same_request_id_takes_effect_once_and_is_answered_alike() {
    let world = World::open(3, Options::default()).await;
    let call = json!({"method": "append", "args": ["foo"], "request_id": "order-17"});
    let first = world.servers[0].perform(call.clone()).await.json(200);
    // From another node, too.
    for server in &world.servers {
        assert_eq!(server.perform(call.clone()).await.json(200), first);
        assert_eq!(server.get("/outcome/order-17").await.json(200), first);
    }
    let other = json!({"method": "append", "args": ["bar"], "request_id": "order-17"});
    let conflict = world.servers[1].perform(other).await.error(409, "conflict");
    assert_eq!(conflict["request_id"], "order-17");
    assert_eq!(*world.nodes[1].linearizable_state().await.expect("there is a leader"), ["foo"]);
    world.close().await;
}

#[tokio::test]
async fn outcomes_are_found_by_any_id() {
    let world = World::one().await;
    let started = world.nodes[0].perform(Method::Append("foo".into())).start();
    let id = started.request_id().expect("it has its place").to_string();
    started.await.expect("it serves");
    let expected = json!({"index": 1, "action": {"appended": "foo"}});
    // Its slashes may be written as they are, or escaped.
    assert_eq!(world.server().get(&format!("/outcome/{id}")).await.json(200), expected);
    assert_eq!(world.server().get(&format!("/outcome/{}", id.replace('/', "%2F"))).await.json(200), expected);

    let undecided = world.server().get("/outcome/never%20used").await.error(404, "undecided");
    assert_eq!(undecided["request_id"], "never used");
    world.server().get("/outcome/a/1/1/1").await.error(410, "forgotten");
    world.server().get(&format!("/outcome/{}", "x".repeat(400))).await.error(422, "bad_request_id");
    world.server().get("/outcome/%ff").await.error(422, "bad_request_id");
    world.server().get("/outcome/").await.error(404, "no_such_path");
    world.close().await;
}

/// The place of the leader among the nodes.
fn leader(world: &World) -> usize {
    let leader = world.nodes[0].status().leader.expect("it was awaited");
    world.nodes.iter().position(|node| *node.id() == leader).expect("it is one of them")
}

#[tokio::test]
async fn a_leader_without_a_majority_has_never_proposed() {
    let world = World::open(3, Options::default()).await;
    let leader = leader(&world);
    let names: Vec<&str> = world.nodes.iter().map(|node| &**node.id()).collect();
    let others: Vec<&str> = names.iter().copied().filter(|name| *name != names[leader]).collect();
    world.channel.partition(&[&names[leader..=leader], &others]);
    let call = json!({"method": "append", "args": ["foo"], "timeout_ms": 100, "request_id": "x"});
    let error = world.servers[leader].perform(call).await.error(503, "never_proposed");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("led, but did not reach a majority"), "{error}");
    world.channel.heal();
    // It was said that it never takes effect; it may be performed now.
    let call = json!({"method": "append", "args": ["foo"], "request_id": "x"});
    let done = world.servers[leader].perform(call).await.json(200);
    assert_eq!(done["index"], 1);
    world.close().await;
}

#[tokio::test]
async fn a_call_that_left_and_was_not_answered_is_unknown_and_can_be_asked_for() {
    let world = World::open(3, Options::default()).await;
    let leader = leader(&world);
    let follower = (leader + 1) % 3;
    // What the follower asks for arrives, and it hears nothing of it.
    world.channel.cut(world.nodes[leader].id(), world.nodes[follower].id());
    let call = json!({"method": "append", "args": ["foo"], "timeout_ms": 100, "request_id": "x"});
    let unknown = world.servers[follower].perform(call).await.error(504, "unknown");
    assert_eq!(unknown["request_id"], "x");
    world.channel.heal();
    // Once it hears again it can tell, and so can the others; sent again, it is not performed again.
    let call = json!({"method": "append", "args": ["foo"], "request_id": "x"});
    let done = world.servers[follower].perform(call).await.json(200);
    assert_eq!(done, json!({"index": 1, "action": {"appended": "foo"}}));
    for server in &world.servers {
        assert_eq!(server.get("/outcome/x").await.json(200), done);
    }
    let state = world.nodes[leader].linearizable_state().await.expect("there is a leader");
    assert_eq!(*state, ["foo"]);
    world.close().await;
}

#[tokio::test]
async fn a_proposed_perform_is_answered_with_a_prediction() {
    let world = World::one().await;
    let call = json!({"method": "append", "args": ["foo"], "proposed": true, "request_id": "x"});
    let proposed = world.server().perform(call).await.json(202);
    let prediction = json!({"kind": "action", "action": {"appended": "foo"}});
    assert_eq!(proposed, json!({"code": "proposed", "request_id": "x", "prediction": prediction}));
    // The same id without it waits for the outcome.
    let call = json!({"method": "append", "args": ["foo"], "request_id": "x"});
    assert_eq!(world.server().perform(call).await.json(200)["index"], 1);

    let proposed =
        world.server().perform(json!({"method": "append", "args": ["bar"], "proposed": true})).await.json(202);
    let id = proposed["request_id"].as_str().expect("every call has an id").to_owned();
    let mut events = world.nodes[0].subscribe_from(conflux::Index(1));
    events.next().await.expect("the node is open");
    assert_eq!(world.server().get(&format!("/outcome/{id}")).await.json(200)["index"], 2);

    let long = "x".repeat(81);
    let proposed =
        world.server().perform(json!({"method": "append", "args": [long], "proposed": true})).await.json(202);
    assert_eq!(
        proposed["prediction"],
        json!({"kind": "rejected", "message": "too long", "rejection": {"message": "too long"}})
    );
    let proposed = world.server().perform(json!({"method": "crash", "proposed": true})).await.json(202);
    assert_eq!(proposed["prediction"]["kind"], "failed");
    world.server().perform(json!({"method": "clear"})).await.json(200);
    let proposed = world.server().perform(json!({"method": "clear", "proposed": true})).await.json(202);
    assert_eq!(proposed["prediction"], json!({"kind": "nothing"}));
    world.close().await;
}

#[tokio::test]
async fn what_is_no_perform_is_told_why_and_does_nothing() {
    let world = World::one().await;
    let ask = async |body: Value| world.server().perform(body).await;
    let unknown = ask(json!({"method": "apend", "args": ["foo"]})).await.error(422, "unknown_method");
    assert_eq!(unknown["near"], json!(["append"]));
    assert_eq!(unknown["methods"], json!(["append", "clear", "crash", "pair"]));
    let wrong = ask(json!({"method": "append", "args": [1]})).await.error(422, "bad_arguments");
    assert_eq!(wrong["message"], "append: invalid type: integer `1`, expected a string");
    ask(json!({"method": "append", "args": []})).await.error(422, "bad_arguments");

    for (body, told) in [
        (json!({"args": []}), "missing field `method`"),
        (json!({"method": 1}), "expected a string"),
        (json!({"method": "append", "args": "foo"}), "expected a sequence"),
        (json!({"method": "append", "arguments": ["foo"]}), "unknown field `arguments`"),
        (json!({"method": "append", "timeout_ms": -1}), "expected u64"),
        (json!({"method": "append", "timeout_ms": 1.5}), "expected u64"),
        (json!({"method": "append", "proposed": "yes"}), "expected a boolean"),
        (json!({"method": "append", "request_id": 17}), "expected a string"),
        (json!("append"), "expected struct"),
    ] {
        let error = ask(body.clone()).await.error(422, "bad_body");
        assert!(error["message"].as_str().is_some_and(|message| message.contains(told)), "{body}: {error}");
    }
    for timeout_ms in [0_u64, 3_600_001, u64::MAX] {
        ask(json!({"method": "clear", "timeout_ms": timeout_ms})).await.error(422, "bad_timeout");
    }
    for request_id in ["", "a/fe/1/1", &"x".repeat(257)] {
        ask(json!({"method": "clear", "request_id": request_id})).await.error(422, "bad_request_id");
    }
    for body in ["", "{", "{\"method\":\"clear\"} {}", "\u{0}", "{\"method\":\"append\",\"args\":[1e999]}"] {
        world.server().post("/perform", body).await.error(422, "bad_json");
    }
    let twice = "{\"method\":\"clear\",\"method\":\"crash\"}";
    world.server().post("/perform", twice).await.error(422, "bad_body");
    assert_eq!(world.nodes[0].state().index().0, 0);
    world.close().await;
}

#[tokio::test]
async fn a_body_has_to_be_called_json() {
    let world = World::one().await;
    let body = "{\"method\":\"append\",\"args\":[\"foo\"]}";
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/jsonp", ""] {
        world.server().ask("POST", "/perform", &[("content-type", kind)], body).await.error(415, "not_json");
    }
    world.server().ask("POST", "/perform", &[], body).await.error(415, "not_json");
    world
        .server()
        .ask("POST", "/perform", &[("content-type", "Application/JSON; charset=utf-8")], body)
        .await
        .json(200);
    world.close().await;
}

#[tokio::test]
async fn a_caller_that_hangs_up_has_performed() {
    let world = World::one().await;
    let mut events = world.nodes[0].subscribe();
    {
        use tokio::io::AsyncWriteExt;
        let address = world.server().address;
        let mut connection = tokio::net::TcpStream::connect(address).await.expect("the server listens");
        let body = json!({"method": "append", "args": ["foo"]}).to_string();
        let headers = [("content-type", "application/json")];
        let text = crate::world::request(address, "POST", "/perform", &headers, &body);
        connection.write_all(text.as_bytes()).await.expect("it is taken");
    }
    let event = tokio::time::timeout(Duration::from_secs(10), events.next()).await.expect("it takes effect");
    assert!(event.is_some());
    world.close().await;
}

#[tokio::test]
async fn a_closed_node_says_so() {
    let world = World::one().await;
    world.nodes[0].close().await;
    let error = world.server().perform(json!({"method": "clear"})).await;
    assert!(error.status == 503, "{error:?}");
    world.server().get("/healthz").await.error(503, "stopped");
    world.server().get("/readyz").await.error(503, "not_ready");
    world.server().get("/state?linearizable=true").await.error(503, "not_readable");
    world.close().await;
}
