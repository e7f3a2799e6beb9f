//! `conflux relay`, as its users run it.

mod common;

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{conflux, directory};
use conflux::Channel;
use conflux::channel::websocket::{WebsocketChannel, WebsocketOptions};

/// Ended when the test is.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn nodes_meet_in_a_room_whose_token_they_have() {
    let tokens = directory("relay").join("rooms.txt");
    std::fs::write(&tokens, "words open-sesame-all-of-you\n").expect("it is writable");
    let child = Command::new(env!("CARGO_BIN_EXE_conflux"))
        .args(["relay", "--listen", "ws://127.0.0.1:0/", "--token-file"])
        .arg(&tokens)
        .stdout(Stdio::piped())
        .spawn();
    let mut relay = Running(child.expect("the program was built for this test"));
    let mut line = String::new();
    let stdout = relay.0.stdout.take().expect("it is piped");
    BufReader::new(stdout).read_line(&mut line).expect("it says where it listens");
    let address = line.trim().strip_prefix("relays at ").and_then(|line| line.strip_suffix("/ROOM"));
    let room = format!("{}/words", address.unwrap_or_else(|| panic!("{line:?} has no address")));

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the system has threads");
    runtime.block_on(async {
        let channel = |token: &str| {
            WebsocketChannel::new(WebsocketOptions::new(&room).token(token)).expect("the options are good")
        };
        let words = channel("open-sesame-all-of-you");
        let a = words.attach("a".into()).await.expect("the token is right");
        let mut b = words.attach("b".into()).await.expect("the token is right");
        let heard = async {
            loop {
                a.port.broadcast("hello".into());
                if tokio::time::timeout(Duration::from_millis(100), b.inbox.recv()).await.is_ok() {
                    return;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(30), heard).await.expect("it comes");
        let error = channel("guess").attach("c".into()).await.err().expect("the token is wrong").to_string();
        assert!(error.contains("401"), "{error}");
    });
}

#[test]
fn what_cannot_be_is_refused() {
    conflux(&["relay", "--listen", "0.0.0.0:0"], "").refused_with(&["--token-file", "--insecure"]);
    conflux(&["relay", "--listen", "nowhere"], "").refused_with(&["nowhere"]);
    conflux(&["relay", "--token-file", "/none/rooms.txt"], "").refused_with(&["/none/rooms.txt: "]);
}
