//! The prompt, on a terminal.

#![cfg(target_os = "linux")]

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use common::{container, directory};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// `conflux dev` on a terminal that the test types at.
struct Terminal {
    keys: File,
    child: Child,
    screen: Arc<(Mutex<String>, Condvar)>,
    reader: Option<JoinHandle<()>>,
}

/// A test that fails leaves no program behind.
impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Terminal {
    fn open(name: &str) -> Terminal {
        Terminal::open_with(name, &[])
    }

    fn open_with(name: &str, flags: &[&str]) -> Terminal {
        let keys =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("the system has terminals");
        grantpt(&keys).expect("it is ours");
        unlockpt(&keys).expect("it is ours");
        let path = ptsname(&keys, Vec::new()).expect("it has a name");
        let path = std::ffi::OsStr::from_bytes(path.as_bytes());
        let terminal = File::options().read(true).write(true).open(path).expect("it is ours");
        let clone = || Stdio::from(terminal.try_clone().expect("a file is cloned"));
        let child = Command::new(env!("CARGO_BIN_EXE_conflux"))
            .arg("dev")
            .arg(container("words.js"))
            .args(flags)
            .env("TERM", "xterm")
            .env("XDG_DATA_HOME", directory(name))
            .stdin(clone())
            .stdout(clone())
            .stderr(clone())
            .spawn()
            .expect("the program was built for this test");
        let keys = File::from(keys);
        let screen = Arc::new((Mutex::new(String::new()), Condvar::new()));
        let (mut source, shown) = (keys.try_clone().expect("a file is cloned"), screen.clone());
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            // A terminal whose last program has ended cannot be read.
            while let Ok(count @ 1..) = source.read(&mut bytes) {
                shown.0.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..count]));
                shown.1.notify_all();
            }
        });
        Terminal { keys, child, screen, reader: Some(reader) }
    }

    /// Waits until what is shown is `enough`.
    fn wait(&self, what: &str, enough: impl Fn(&str) -> bool) {
        let shown = self.screen.0.lock().unwrap();
        let wait = self.screen.1.wait_timeout_while(shown, PATIENCE, |shown| !enough(shown));
        let (shown, waited) = wait.unwrap();
        assert!(!waited.timed_out(), "no {what}:\n{shown}");
    }

    /// Waits for a prompt, after `text` has been shown if any is given. At a prompt every key reaches the program.
    fn wait_for_prompt(&self, text: &str) {
        self.wait(text, |shown| shown.rsplit_once(text).is_some_and(|(_, after)| after.contains("a> ")));
    }

    fn key(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal is open");
    }

    /// All that was shown, and the exit status.
    fn end(mut self) -> (String, Option<i32>) {
        let status = self.child.wait().expect("the program ends");
        self.reader.take().expect("it is joined once").join().expect("the screen is read");
        let shown = self.screen.0.lock().unwrap().clone();
        (shown, status.code())
    }
}

#[test]
fn what_is_typed_ahead_is_run_line_by_line() {
    let mut terminal = Terminal::open("typed-ahead");
    terminal.wait_for_prompt("lists the commands");
    terminal.key("append \"1\"\rappend \"2\"\rappend \"3\"\rappend \"4\"\r:quit\r");
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(0), "{shown}");
    for n in 1..=4 {
        assert!(
            shown.contains(&format!("\"index\":{n},\"action\":{{\"type\":\"APPEND\",\"word\":\"{n}\"}}")),
            "{shown}"
        );
    }
    assert!(!shown.contains("\"index\":5"), "{shown}");
}

#[test]
fn what_is_pasted_is_several_lines() {
    let mut terminal = Terminal::open("pasted");
    terminal.wait_for_prompt("lists the commands");
    terminal.key("\u{1b}[200~append \"1\"\rappend \"2\"\rappend \"3\"\u{1b}[201~\r");
    terminal.wait_for_prompt("\"index\":3");
    terminal.key(":quit\r");
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(0), "{shown}");
    assert!(!shown.contains("\"error\""), "{shown}");
}

#[test]
fn an_interrupt_clears_the_line_and_two_end() {
    let mut terminal = Terminal::open("interrupted");
    terminal.wait_for_prompt("lists the commands");
    terminal.key("append \"half\u{3}");
    // As on every terminal, an interrupt takes what was typed ahead with it.
    terminal.wait_for_prompt("half");
    terminal.key("append \"whole\"\r");
    terminal.wait_for_prompt("\"index\":1");
    // On a machine that is busy the second may come too late to count as one.
    let ended = |shown: &str| shown.contains("digest at");
    for times in 1.. {
        terminal.key("\u{3}");
        let told = |shown: &str| {
            let after = shown.rsplit_once("Ctrl-C again").map(|(_, after)| after.contains("a> "));
            shown.matches("Ctrl-C again").count() == times && after == Some(true)
        };
        terminal.wait("answer to Ctrl-C", |shown| ended(shown) || told(shown));
        if ended(&terminal.screen.0.lock().unwrap()) {
            break;
        }
    }
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(0), "{shown}");
    assert!(shown.contains("\"word\":\"whole\""), "{shown}");
}

#[test]
fn a_line_that_waits_keeps_nobody_from_the_next() {
    let mut terminal = Terminal::open("waiting");
    terminal.wait_for_prompt("lists the commands");
    terminal.key(":partition a b | c\r");
    terminal.wait_for_prompt("parted: ");
    terminal.key("@c append \"waits\"\r");
    terminal.wait_for_prompt("no answer yet");
    terminal.key(":state\r");
    terminal.wait_for_prompt("at index 0");
    terminal.key(":heal\r");
    terminal.wait_for_prompt("all nodes hear each other");
    terminal.wait("answer of what had waited", |shown| shown.contains("\"word\":\"waits\""));
    terminal.key(":quit\r");
    let (shown, status) = terminal.end();
    assert_eq!(status, Some(0), "{shown}");
}

#[test]
fn what_became_of_an_unknown_one_can_be_asked_for() {
    let mut terminal = Terminal::open_with("unknown", &["--deadline", "300ms"]);
    terminal.wait_for_prompt("lists the commands");
    terminal.key(":kill b\r");
    terminal.wait_for_prompt("b is down");
    terminal.key(":kill c\r");
    terminal.wait_for_prompt("c is down");
    terminal.key("append \"lost\"\r");
    terminal.wait_for_prompt("asks again what became of it");
    let shown = terminal.screen.0.lock().unwrap().clone();
    let id =
        shown.rsplit_once("`:outcome ").and_then(|(_, rest)| rest.split_once('`')).expect("it was told").0.to_owned();
    assert!(shown.contains(&format!("\"unknown\":\"{id}\"")), "{shown}");
    terminal.key(":restart b\r");
    terminal.wait_for_prompt("b is up again on its disk");
    // Until there is a leader again, it is not known.
    for times in 1.. {
        terminal.key(&format!(":outcome {id}\r"));
        let answers = |shown: &str| shown.matches("{\"outcome\":").count();
        terminal.wait("answer to what was asked", |shown| answers(shown) == times);
        terminal.wait_for_prompt("{\"outcome\":");
        let shown = terminal.screen.0.lock().unwrap().clone();
        let last = shown.rsplit_once("{\"outcome\":").expect("it is there").1;
        if last.contains("\"index\":1") || last.contains("never_proposed") {
            break;
        }
    }
    terminal.key(":quit\r");
    let (shown, _) = terminal.end();
    assert!(shown.contains("digest at"), "{shown}");
}
