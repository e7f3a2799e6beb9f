//! The cluster itself, over HTTP.

use std::sync::Arc;

use conflux::{Backup, Incident, Node};
use conflux_http::client::{Client, MemberChange};
use conflux_http::{Access, Options, Tokens};
use serde_json::json;
use tokio::task::spawn_blocking;

use crate::world::{Server, Words, World};

#[tokio::test]
async fn members_come_and_go_and_leadership_is_handed_on() {
    let world = World::open(3, Options::default()).await;
    let client = Client::new(world.servers.iter().map(Server::url)).expect("the addresses are good");
    let asked = client.clone();
    let (names, led) = spawn_blocking(move || {
        let members = asked.members().expect("it answers");
        let led = asked.status().expect("it answers").leader.expect("it was awaited");
        (members.into_iter().map(|member| member.name).collect::<Vec<_>>(), led)
    })
    .await
    .expect("the client does not panic");
    assert_eq!(names, ["a", "b", "c"]);

    let to = if led == "a" { "b" } else { "a" };
    let asked = client.clone();
    let leads = spawn_blocking(move || asked.transfer(Some(to))).await.expect("the client does not panic");
    assert_eq!(leads.expect("it is up to date"), to);

    // A fourth one: it is let in, votes, loses its vote, and goes.
    let fourth = Node::builder(Words, "d").cluster_size(3).channel(world.channel.clone()).open().await;
    let fourth = fourth.expect("the options are good");
    let changed = spawn_blocking(move || {
        let mut votes = Vec::new();
        for change in [MemberChange::Add, MemberChange::Demote, MemberChange::Promote, MemberChange::Remove] {
            let members = client.change_member(change, "d").expect("a leader takes it").expect("it is done in time");
            votes.push(members.iter().find(|member| member.name == "d").map(|member| member.seated));
        }
        votes
    });
    assert_eq!(changed.await.expect("the client does not panic"), [Some(true), Some(false), Some(true), None]);
    fourth.close().await;
    world.close().await;
}

#[tokio::test]
async fn what_the_leader_refuses_is_told() {
    let world = World::one().await;
    let refused = world.server().post("/members", &json!({"change": "remove", "name": "nobody"}).to_string()).await;
    let error = refused.error(409, "refused");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("nobody")), "{error}");
    for body in [json!({}), json!({"change": "drop", "name": "a"}), json!({"change": "add"}), json!({"to": 1})] {
        world.server().post("/members", &body.to_string()).await.error(422, "bad_body");
    }
    world.close().await;
}

#[tokio::test]
async fn a_backup_is_one_and_needs_the_strongest_role() {
    let world = World::one().await;
    world.append("foo").await;
    let tokens = Tokens::parse("perform pppppppppppppppppppp\nadmin aaaaaaaaaaaaaaaaaaaa").expect("the lines are good");
    let options = Options { access: Access::Tokens(Arc::new(tokens)), ..Options::default() };
    let server = Server::start(Arc::new(world.nodes[0].clone()), options).await;
    let client = Client::new([server.url()]).expect("the address is good");
    let taken = spawn_blocking(move || {
        let weak = client.clone().token("pppppppppppppppppppp");
        assert_eq!(weak.backup().expect_err("it is for performing").code(), Some("forbidden"));
        let error = weak.change_member(MemberChange::Remove, "a").expect_err("it is for performing");
        assert_eq!(error.code(), Some("forbidden"));
        assert_eq!(weak.transfer(None).expect_err("it is for performing").code(), Some("forbidden"));
        client.token("aaaaaaaaaaaaaaaaaaaa").backup().expect("it may")
    });
    let backup = Backup::decode(&taken.await.expect("the client does not panic")).expect("it is a backup");
    assert_eq!((backup.index.0, backup.generation), (1, 0));
    server.end().await;
    world.close().await;
}

#[tokio::test]
async fn a_snapshot_is_taken_and_an_incident_told_by_whoever_may() {
    let world = World::one().await;
    for word in ["one", "two", "three"] {
        world.append(word).await;
    }
    let tokens = Tokens::parse("perform pppppppppppppppppppp\nadmin aaaaaaaaaaaaaaaaaaaa").expect("the lines are good");
    let options = Options { access: Access::Tokens(Arc::new(tokens)), ..Options::default() };
    let server = Server::start(Arc::new(world.nodes[0].clone()), options).await;
    let client = Client::new([server.url()]).expect("the address is good");
    let asked = spawn_blocking(move || {
        let weak = client.clone().token("pppppppppppppppppppp");
        assert_eq!(weak.snapshot().expect_err("it is for performing").code(), Some("forbidden"));
        assert_eq!(weak.incident().expect_err("it is for performing").code(), Some("forbidden"));
        let strong = client.token("aaaaaaaaaaaaaaaaaaaa");
        (strong.snapshot().expect("it may"), strong.incident().expect("it may"))
    });
    let (snapshot, file) = asked.await.expect("the client does not panic");
    assert!(snapshot.index.0 == 3 && snapshot.bytes > 0, "{snapshot:?}");
    let incident = Incident::decode(&file).expect("it is an incident");
    let kept = incident.snapshot.as_ref().expect("there was one before");
    assert_eq!((incident.index.0, kept.store.len() as u64), (3, snapshot.bytes));
    let replayed = incident.replay(Arc::new(Words)).expect("it can be gone through");
    assert_eq!(**replayed.state(), ["one", "two", "three"]);
    world.server().post("/snapshot", "{\"force\": true}").await.error(422, "bad_body");
    server.end().await;
    world.close().await;
}
