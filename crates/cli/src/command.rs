//! Commands: lines that begin with `:`.

use std::fmt;

use conflux_core::{CallError, Index};

use crate::line::{WHITE_SPACE, shortened};

/// How many actions `:log` shows unless told.
pub(crate) const LOG_COUNT: usize = 10;

/// All commands: how they are written, and what they do. The order is that of `:help`.
pub(crate) const COMMANDS: [(&str, &str); 14] = [
    (":state", "the committed state, and its index"),
    (":provisional", "the committed state with every uncommitted action of the node's log"),
    (":status", "how each node is"),
    (":kill b", "close a node; its disk stays"),
    (":restart b [--wiped]", "open it again on its disk, or as a new node on an empty one"),
    (":partition a b | c", "part the nodes into groups that do not hear each other; the unnamed are one more"),
    (":heal", "let all nodes hear each other again"),
    (":log [N]", "the last N committed actions, 10 unless told"),
    (":at INDEX", "the state as it was at an index"),
    (":diff I J", "the paths of the state that changed from index I to J"),
    (":outcome ID", "what became of a perform whose answer was unknown, by its id"),
    (":help", "this list"),
    (":quit", "end, as Ctrl-D does"),
    (":exit", "the same"),
];

/// What a command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    State,
    Provisional,
    Status,
    Kill { node: String },
    Restart { node: String, wiped: bool },
    Partition { groups: Vec<Vec<String>> },
    Heal,
    Log { count: usize },
    At { index: Index },
    Diff { from: Index, to: Index },
    Outcome { request_id: String },
    Help,
    Quit,
}

/// A line that begins with `:` and is no command.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CommandError {
    #[error("there is no command {name:?}; {}", match near.as_slice() {
        [] => "`:help` lists them".to_owned(),
        near => format!("did you mean {}?", near.join(" or ")),
    })]
    Unknown { name: String, near: Vec<String> },
    #[error("{problem}; the command is written {usage}")]
    Usage { problem: String, usage: &'static str },
}

impl Command {
    /// Reads what comes after the colon.
    pub(crate) fn parse(text: &str) -> Result<Command, CommandError> {
        // `|` parts groups with or without spaces around it.
        let spaced = text.replace('|', " | ");
        let mut words = spaced.split(WHITE_SPACE).filter(|word| !word.is_empty());
        let name = if text.starts_with(WHITE_SPACE) { "" } else { words.next().unwrap_or_default() };
        let mut words = Words { usage: usage(name).ok_or_else(|| unknown(name))?, rest: words.collect() };
        let command = match name {
            "state" => Command::State,
            "provisional" => Command::Provisional,
            "status" => Command::Status,
            "kill" => Command::Kill { node: words.take("the node to kill")?.to_owned() },
            "restart" => {
                let wiped = words.take_flag("--wiped");
                Command::Restart { node: words.take("the node to restart")?.to_owned(), wiped }
            }
            "partition" => Command::Partition { groups: words.take_groups()? },
            "heal" => Command::Heal,
            "log" if words.rest.is_empty() => Command::Log { count: LOG_COUNT },
            "log" => Command::Log { count: words.take_number("how many actions")? },
            "at" => Command::At { index: Index(words.take_number("the index")?) },
            "diff" => {
                let from = Index(words.take_number("the first index")?);
                Command::Diff { from, to: Index(words.take_number("the second index")?) }
            }
            "outcome" => Command::Outcome { request_id: words.take("the request id")?.to_owned() },
            "help" => Command::Help,
            "quit" | "exit" => Command::Quit,
            name => return Err(unknown(name)),
        };
        words.end()?;
        Ok(command)
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Command::State => f.write_str(":state"),
            Command::Provisional => f.write_str(":provisional"),
            Command::Status => f.write_str(":status"),
            Command::Kill { node } => write!(f, ":kill {node}"),
            Command::Restart { node, wiped } => write!(f, ":restart {node}{}", if *wiped { " --wiped" } else { "" }),
            Command::Partition { groups } => {
                let groups: Vec<String> = groups.iter().map(|group| group.join(" ")).collect();
                write!(f, ":partition {}", groups.join(" | "))
            }
            Command::Heal => f.write_str(":heal"),
            Command::Log { count } => write!(f, ":log {count}"),
            Command::At { index } => write!(f, ":at {index}"),
            Command::Diff { from, to } => write!(f, ":diff {from} {to}"),
            Command::Outcome { request_id } => write!(f, ":outcome {request_id}"),
            Command::Help => f.write_str(":help"),
            Command::Quit => f.write_str(":quit"),
        }
    }
}

/// The names of all commands, with the colon.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    COMMANDS.iter().map(|(usage, _)| usage.split(' ').next().unwrap_or(usage))
}

fn usage(name: &str) -> Option<&'static str> {
    COMMANDS.iter().map(|(usage, _)| *usage).find(|usage| usage[1..].split(' ').next() == Some(name))
}

fn unknown(name: &str) -> CommandError {
    let name = shortened(name, 40);
    // The search for near names is the core's, over other names.
    let names = names().map(|name| name[1..].to_owned()).collect();
    let near = match CallError::unknown_method(&name, names) {
        CallError::UnknownMethod { near, .. } if !name.is_empty() => {
            near.iter().map(|near| format!(":{near}")).collect()
        }
        _ => Vec::new(),
    };
    CommandError::Unknown { name: format!(":{name}"), near }
}

/// The words after the command's name.
struct Words<'a> {
    usage: &'static str,
    rest: Vec<&'a str>,
}

impl<'a> Words<'a> {
    fn error(&self, problem: String) -> CommandError {
        CommandError::Usage { problem, usage: self.usage }
    }

    fn take(&mut self, what: &str) -> Result<&'a str, CommandError> {
        if self.rest.is_empty() {
            return Err(self.error(format!("{what} is missing")));
        }
        Ok(self.rest.remove(0))
    }

    fn take_number<N: std::str::FromStr>(&mut self, what: &str) -> Result<N, CommandError> {
        let word = self.take(what)?;
        word.parse().map_err(|_| self.error(format!("{what} is a number from 0, but {:?} came", shortened(word, 40))))
    }

    fn take_flag(&mut self, flag: &str) -> bool {
        let before = self.rest.len();
        self.rest.retain(|word| *word != flag);
        self.rest.len() < before
    }

    fn take_groups(&mut self) -> Result<Vec<Vec<String>>, CommandError> {
        let words = std::mem::take(&mut self.rest);
        let groups: Vec<Vec<String>> = words
            .split(|word| *word == "|")
            .map(|group| group.iter().map(|word| (*word).to_owned()).collect())
            .collect();
        if groups.iter().any(Vec::is_empty) {
            let problem = if words.is_empty() { "the groups are missing" } else { "a group is empty" };
            return Err(self.error(problem.into()));
        }
        Ok(groups)
    }

    fn end(&self) -> Result<(), CommandError> {
        match self.rest.first() {
            None => Ok(()),
            Some(word) => Err(self.error(format!("{:?} is too much", shortened(word, 40)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn error(text: &str) -> String {
        Command::parse(text).expect_err("no command").to_string()
    }

    #[test]
    fn every_command_of_the_help_is_one() {
        for (usage, _) in COMMANDS {
            let text = usage
                .replace(['[', ']'], "")
                .replace("INDEX", "3")
                .replace("ID", "a/1")
                .replace("I J", "1 2")
                .replace('N', "5");
            let command = Command::parse(&text[1..]).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(Command::parse(&command.to_string()[1..]), Ok(command));
        }
    }

    #[test]
    fn groups_need_no_spaces() {
        let groups = |groups: &[&[&str]]| Command::Partition {
            groups: groups.iter().map(|group| group.iter().map(|&name| name.to_owned()).collect()).collect(),
        };
        assert_eq!(Command::parse("partition a b|c"), Ok(groups(&[&["a", "b"], &["c"]])));
        assert_eq!(Command::parse("partition  c "), Ok(groups(&[&["c"]])));
    }

    #[test]
    fn errors_say_how_it_is_written() {
        assert_eq!(error("stat"), "there is no command \":stat\"; did you mean :state or :status?");
        assert_eq!(error("xyzzy"), "there is no command \":xyzzy\"; `:help` lists them");
        assert_eq!(error(""), "there is no command \":\"; `:help` lists them");
        assert_eq!(error("kill"), "the node to kill is missing; the command is written :kill b");
        assert_eq!(error("kill a b"), "\"b\" is too much; the command is written :kill b");
        assert_eq!(error("at -1"), "the index is a number from 0, but \"-1\" came; the command is written :at INDEX");
        assert_eq!(error("partition a | | b"), "a group is empty; the command is written :partition a b | c");
        assert_eq!(error("partition"), "the groups are missing; the command is written :partition a b | c");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in any::<String>()) {
            let _ = Command::parse(&text);
        }

        #[test]
        fn no_almost_good_text_panics(name in "state|kill|restart|partition|log|at|diff", rest in "[ a-c|0-9-]{0,20}") {
            let _ = Command::parse(&format!("{name} {rest}"));
        }
    }
}
