//! The prompt on a terminal: history, and completion of what can be said.

use std::cell::Cell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustyline::completion::Completer;
use rustyline::error::ReadlineError;
use rustyline::highlight::Highlighter;
use rustyline::hint::Hinter;
use rustyline::history::DefaultHistory;
use rustyline::validate::Validator;
use rustyline::{CompletionType, Config, Context, Editor, Helper};
use tokio::sync::{mpsc, oneshot};

use crate::command;
use crate::input::InputLine;
use crate::line::WHITE_SPACE;
use crate::output::tell;

/// How many lines the history keeps.
const HISTORY_LINES: usize = 10_000;

/// Within this time a second Ctrl-C on an empty line ends the input.
const AGAIN: Duration = Duration::from_secs(1);

/// What can be completed.
#[derive(Clone, Debug)]
pub(crate) struct Vocabulary {
    pub(crate) methods: Vec<String>,
    pub(crate) nodes: Vec<String>,
}

impl Vocabulary {
    /// What the word at the end of `before` may become, and where in `before` that word begins.
    fn completions(&self, before: &str) -> (usize, Vec<String>) {
        let start = before.rfind(|c| WHITE_SPACE.contains(&c) || c == '|').map_or(0, |space| space + 1);
        let (earlier, word) = before.split_at(start);
        let earlier = earlier.trim_start_matches(WHITE_SPACE);
        let parts: Vec<&str> = earlier.split([' ', '\t', '|']).filter(|part| !part.is_empty()).collect();
        let candidates: Vec<String> = match parts.as_slice() {
            [] | ["@"] if word.starts_with('@') => self.nodes.iter().map(|node| format!("@{node}")).collect(),
            [] => self.beginnings(),
            [at] if at.starts_with('@') => self.beginnings(),
            [":kill"] | [":partition", ..] => self.nodes.clone(),
            [":restart", ..] => self.nodes.iter().cloned().chain(["--wiped".to_owned()]).collect(),
            _ => Vec::new(),
        };
        let fitting = candidates.into_iter().filter(|candidate| candidate.starts_with(word));
        (start, fitting.map(|candidate| candidate + " ").collect())
    }

    fn beginnings(&self) -> Vec<String> {
        self.methods.iter().cloned().chain(command::names().map(str::to_owned)).collect()
    }

    /// Three lines for somebody who sees this for the first time.
    pub(crate) fn banner(&self, container: &str) -> String {
        let nodes = match self.nodes.as_slice() {
            [node] => format!("node {node}"),
            nodes => format!("nodes {}", nodes.join(", ")),
        };
        let method = self.methods.first().map_or("METHOD", String::as_str);
        let at = self.nodes.last().map_or("a", String::as_str);
        format!(
            "{container} runs on {nodes}: every node goes through the same states.\n\
             Perform a method, here or at another node:  {method} \"foo\"   @{at} {method} \"bar\"\n\
             `:state` shows the state, `:help` lists the commands, `:quit` or Ctrl-D ends."
        )
    }
}

/// Reads lines at the prompt, in a thread of its own, until the user ends the input.
pub(crate) fn read(vocabulary: Vocabulary, first_node: String) -> mpsc::Receiver<InputLine> {
    let (lines, receiver) = mpsc::channel(1);
    std::thread::spawn(move || {
        if let Err(error) = ask(vocabulary, first_node, &lines) {
            tell!("the prompt ended: {error}");
        }
    });
    receiver
}

fn ask(vocabulary: Vocabulary, mut node: String, lines: &mpsc::Sender<InputLine>) -> rustyline::Result<()> {
    let config = Config::builder()
        .completion_type(CompletionType::List)
        .history_ignore_space(true)
        .max_history_size(HISTORY_LINES)?
        .build();
    let mut editor: Editor<Assistant, DefaultHistory> = Editor::with_config(config)?;
    editor.set_helper(Some(Assistant { vocabulary, empty: Cell::new(true) }));
    // A history that cannot be read or written is no reason not to work.
    let history = history_path();
    if let Some(path) = &history {
        let _ = editor.load_history(path);
    }
    let mut number = 0;
    let mut cleared: Option<Instant> = None;
    loop {
        let text = match editor.readline(&format!("{node}> ")) {
            Ok(text) => text,
            Err(ReadlineError::Eof) => return Ok(()),
            Err(ReadlineError::Interrupted) => {
                let empty = editor.helper().is_some_and(|helper| helper.empty.get());
                if empty && cleared.is_some_and(|cleared| cleared.elapsed() < AGAIN) {
                    return Ok(());
                }
                if empty {
                    tell!("Ctrl-C again, Ctrl-D or `:quit` ends");
                }
                cleared = Some(Instant::now());
                continue;
            }
            Err(error) => return Err(error),
        };
        cleared = None;
        // What is pasted may be several lines.
        for text in text.lines() {
            number += 1;
            if !text.trim().is_empty() {
                editor.add_history_entry(text)?;
                if let Some(path) = &history {
                    let _ = editor.append_history(path);
                }
            }
            let (answered, answer) = oneshot::channel();
            let bytes = text.len() as u64;
            let line = InputLine { number, text: Ok(text.to_owned()), bytes, answered: Some(answered) };
            if lines.blocking_send(line).is_err() {
                return Ok(());
            }
            match answer.blocking_recv() {
                Ok(next) => node = next,
                // The session ended while the line ran.
                Err(_) => return Ok(()),
            }
        }
    }
}

/// `conflux/history` in the user's data directory, which is made.
fn history_path() -> Option<PathBuf> {
    let from = |variable| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let data = if cfg!(windows) {
        from("APPDATA")
    } else if cfg!(target_os = "macos") {
        from("HOME").map(|home| home.join("Library/Application Support"))
    } else {
        from("XDG_DATA_HOME").or_else(|| from("HOME").map(|home| home.join(".local/share")))
    };
    let directory = data?.join("conflux");
    std::fs::create_dir_all(&directory).ok()?;
    Some(directory.join("history"))
}

struct Assistant {
    vocabulary: Vocabulary,
    /// Whether nothing is typed: an interrupt does not say what it interrupted.
    empty: Cell<bool>,
}

impl Completer for Assistant {
    type Candidate = String;

    fn complete(&self, line: &str, position: usize, _: &Context<'_>) -> rustyline::Result<(usize, Vec<String>)> {
        Ok(self.vocabulary.completions(&line[..position]))
    }
}

impl Hinter for Assistant {
    type Hint = String;

    /// Asked for whenever the line has changed. It hints at nothing, and looks at the line.
    fn hint(&self, line: &str, _: usize, _: &Context<'_>) -> Option<String> {
        self.empty.set(line.is_empty());
        None
    }
}
impl Highlighter for Assistant {}
impl Validator for Assistant {}
impl Helper for Assistant {}

#[cfg(test)]
mod tests {
    use super::*;

    fn completions(before: &str) -> (usize, String) {
        let vocabulary = Vocabulary {
            methods: vec!["append".into(), "apply".into(), "clear".into()],
            nodes: vec!["a".into(), "b".into()],
        };
        let (start, candidates) = vocabulary.completions(before);
        (start, candidates.concat())
    }

    #[test]
    fn what_fits_the_place_is_offered() {
        assert_eq!(completions("ap"), (0, "append apply ".into()));
        assert_eq!(completions("  ap"), (2, "append apply ".into()));
        assert_eq!(completions(":st"), (0, ":state :status ".into()));
        assert_eq!(completions("@"), (0, "@a @b ".into()));
        assert_eq!(completions("@b c"), (3, "clear ".into()));
        assert_eq!(completions(":kill "), (6, "a b ".into()));
        assert_eq!(completions(":restart b --"), (11, "--wiped ".into()));
        assert_eq!(completions(":partition a |"), (14, "a b ".into()));
        assert_eq!(completions("append \"ap"), (7, String::new()));
        assert!(completions("").1.starts_with("append apply clear :state "));
    }

    #[test]
    fn the_banner_has_three_lines() {
        let vocabulary = Vocabulary { methods: vec!["append".into()], nodes: vec!["a".into(), "b".into()] };
        let banner = vocabulary.banner("words.js");
        assert_eq!(banner.lines().count(), 3);
        assert!(banner.contains("append \"foo\"   @b append \"bar\""), "{banner}");
    }
}
