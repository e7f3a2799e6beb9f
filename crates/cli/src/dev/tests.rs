//! Sessions as scripts, against fake nodes.

use tokio::io::AsyncReadExt;

use super::*;
use crate::fake::FakeGround;
use crate::input::Lines;

/// What a session printed, its exit, and what became of the ground.
async fn served(ground: &FakeGround, size: usize, text: &str) -> (Vec<String>, Exit) {
    let cluster = Cluster::open(Box::new(ground.clone()), size).await.expect("fakes open");
    let (mut reader, output) = tokio::io::duplex(1 << 24);
    let session = Session::new(cluster, Printer::new(output, DEADLINE, Hint::Once), None);
    let (sender, lines) = mpsc::channel(1);
    let feed = async {
        for line in Lines::new(text.as_bytes()) {
            sender.send(line).await.expect("the session takes all lines");
        }
        drop(sender);
    };
    let interrupt = Interrupt::listen();
    let (exit, ()) = tokio::join!(serve(session, lines, None, &interrupt), feed);
    let mut printed = String::new();
    reader.read_to_string(&mut printed).await.expect("answers are UTF-8");
    (printed.lines().map(str::to_owned).collect(), exit)
}

async fn answers(text: &str) -> (Vec<String>, Exit) {
    served(&FakeGround::new(), 3, text).await
}

#[tokio::test]
async fn answers_come_in_the_order_of_the_lines() {
    let (answers, exit) = answers("append \"foo\"\n\n# a comment\n@b append \"bar\"\nidle\n").await;
    assert_eq!(
        answers,
        [
            r#"{"method":"append","index":1,"action":{"type":"APPEND","word":"foo"}}"#,
            r#"{"method":"append","index":2,"action":{"type":"APPEND","word":"bar"}}"#,
            r#"{"method":"idle","index":2,"action":null}"#,
        ]
    );
    assert_eq!(exit, Exit::Good);
}

#[tokio::test]
async fn many_more_lines_than_fit_at_once() {
    let text: String = (0..10_000).map(|n| format!("@{} append \"{n}\"\n", ["a", "b", "c"][n / 1_000 % 3])).collect();
    let (answers, exit) = answers(&text).await;
    assert_eq!((answers.len(), exit), (10_000, Exit::Good));
    for (n, answer) in answers.iter().enumerate() {
        assert!(answer.contains(&format!("\"index\":{},", n + 1)), "{answer}");
    }
}

#[tokio::test]
async fn bad_lines_have_their_numbers_and_the_rest_goes_on() {
    let text = "append foo\nappend \"a\"\nappendd \"b\"\n@z append \"c\"\n:stat\n:at 9\nappend 1\n";
    let (answers, exit) = answers(text).await;
    assert_eq!(exit, Exit::BadLines);
    assert_eq!(answers.len(), 7);
    assert!(
        answers[0].starts_with(r#"{"line":1,"error":"append: argument 1 is not JSON at column 8: "#),
        "{}",
        answers[0]
    );
    assert!(answers[1].starts_with(r#"{"method":"append","index":1,"#));
    assert_eq!(answers[2], r#"{"line":3,"error":"there is no method \"appendd\"; did you mean append?"}"#);
    assert_eq!(answers[3], r#"{"line":4,"error":"there is no node \"z\"; the nodes are a, b, c"}"#);
    assert!(answers[4].contains("did you mean :state or :status?"));
    assert_eq!(answers[5], r#"{"line":6,"error":"index 9 has not been reached; node a is at 1"}"#);
    assert_eq!(answers[6], r#"{"line":7,"error":"append: takes other arguments"}"#);
}

#[tokio::test]
async fn a_rejection_is_an_answer_and_a_failure_is_not() {
    let long = format!("append \"{}\"\n", "x".repeat(81));
    assert_eq!(answers(&long).await, (vec![r#"{"method":"append","rejected":"too long"}"#.into()], Exit::Good));
    let (failed, exit) = answers("crash").await;
    assert_eq!(failed, [r#"{"method":"crash","failed":"x is not defined","at":"words.js:3"}"#]);
    assert_eq!(exit, Exit::BadLines);
}

#[tokio::test]
async fn commands_see_what_the_lines_before_them_did() {
    let text = "append \"a\"\nappend \"b\"\n:state\n:at 1\n:log 1\n:provisional\n@c :state\n";
    let (answers, exit) = answers(text).await;
    assert_eq!(
        answers[2..],
        [
            r#"{"state":["a","b"],"index":2}"#,
            r#"{"state":["a"],"index":1}"#,
            r#"{"log":[{"index":2,"action":{"type":"APPEND","word":"b"},"origin":"a","time_ms":0}]}"#,
            r#"{"provisional":["a","b"]}"#,
            r#"{"state":["a","b"],"index":2}"#,
        ]
    );
    assert_eq!(exit, Exit::Good);
}

#[tokio::test]
async fn nodes_come_and_go() {
    let ground = FakeGround::new();
    let text = ":kill a\nappend \"x\"\n:log\n@a append \"y\"\n:kill a\n:status\n:restart a --wiped\nappend \"z\"\n\
                :partition a b|c\n:partition q\n:heal\n:restart b\n";
    let (answers, exit) = served(&ground, 3, text).await;
    assert_eq!(answers[0], r#"{"killed":"a"}"#);
    assert!(answers[2].contains(r#""origin":"b""#), "{}", answers[2]);
    assert_eq!(answers[3], r#"{"line":4,"error":"node \"a\" is down; `:restart a` opens it again"}"#);
    assert_eq!(answers[4], r#"{"line":5,"error":"node \"a\" is down already"}"#);
    assert!(answers[5].starts_with(r#"{"status":[{"id":"a","role":"down"},{"id":"b","role":"follower","#));
    assert_eq!(answers[6], r#"{"restarted":"a","wiped":true}"#);
    assert_eq!(answers[8], r#"{"partition":[["a","b"],["c"]]}"#);
    assert!(answers[9].contains("there is no node \\\"q\\\""));
    assert_eq!(answers[10..], [r#"{"healed":true}"#, r#"{"restarted":"b","wiped":false,"was_up":true}"#]);
    assert_eq!(exit, Exit::BadLines);
    assert_eq!(
        ground.happened(),
        [
            "open a",
            "open b",
            "open c",
            "close a",
            "wipe a",
            "open a",
            r#"partition [["a", "b"], ["c"]]"#,
            "heal",
            "close b",
            "open b",
            "close a",
            "close b",
            "close c",
        ]
    );
}

#[tokio::test]
async fn an_unknown_method_comes_before_what_is_wrong_with_its_arguments() {
    let (answers, _) = answers("apend foo\napend \"a\"\"b\"\nappend foo\n").await;
    assert_eq!(answers[0], r#"{"line":1,"error":"there is no method \"apend\"; did you mean append?"}"#);
    assert_eq!(answers[1], r#"{"line":2,"error":"there is no method \"apend\"; did you mean append?"}"#);
    assert!(answers[2].contains("argument 1 is not JSON"), "{}", answers[2]);
}

#[tokio::test]
async fn groups_are_shown_as_they_come_out_and_never_overlap() {
    let (answers, exit) = answers(":partition a\n:partition a b | b c\n:partition a|b|c\n").await;
    assert_eq!(answers[0], r#"{"partition":[["a"],["b","c"]]}"#);
    assert_eq!(answers[1], r#"{"line":2,"error":"node \"b\" is named twice; a node is in one group"}"#);
    assert_eq!(answers[2], r#"{"partition":[["a"],["b"],["c"]]}"#);
    assert_eq!(exit, Exit::BadLines);
}

#[tokio::test]
async fn names_that_are_long_are_shortened() {
    let long = "x".repeat(1 << 20);
    let text = format!("{long}\n@{long} append \"a\"\n:kill {long}\n:{long}\n{long} foo\n:partition {long}\n");
    let (answers, _) = answers(&text).await;
    assert_eq!(answers.len(), 6);
    assert!(answers.iter().all(|answer| answer.len() < 300), "{answers:?}");
}

#[tokio::test]
async fn what_is_said_to_be_the_last_line_is() {
    for quit in [":quit", ":exit"] {
        let ground = FakeGround::new();
        let cluster = Cluster::open(Box::new(ground.clone()), 1).await.expect("fakes open");
        let session = Session::new(cluster, Printer::new(tokio::io::sink(), DEADLINE, Hint::Once), None);
        let (sender, lines) = mpsc::channel(4);
        for line in Lines::new(format!("append \"a\"\n{quit}\nnonsense\n").as_bytes()) {
            sender.send(line).await.expect("there is room");
        }
        // More lines could come: the input is open.
        assert_eq!(serve(session, lines, None, &Interrupt::listen()).await, Exit::Good);
    }
}

#[tokio::test]
async fn without_nodes_lines_are_told_so() {
    let (answers, exit) = served(&FakeGround::new(), 1, ":kill a\nappend \"x\"\n:state\n").await;
    assert_eq!(answers[1], r#"{"line":2,"error":"no node is up; `:restart a` opens one again"}"#);
    assert_eq!((answers.len(), exit), (3, Exit::BadLines));
}

#[tokio::test]
async fn another_state_on_one_node_is_the_end_of_trust() {
    let ground = FakeGround::new();
    ground.lie("b", 7);
    assert_eq!(served(&ground, 3, "append \"x\"\nnonsense\n").await.1, Exit::Diverged);
}
