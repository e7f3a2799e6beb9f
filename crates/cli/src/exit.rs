//! How the program ends.

use std::fmt;
use std::process::ExitCode;

use crate::line::shortened;
use crate::output;

/// What the exit status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was answered; rejections are answers.
    Good = 0,
    /// A line was bad, a call failed, the development check found something, an invariant broke, a replay stopped, or the
    /// output could not be written.
    BadLines = 1,
    /// The command line, a file or an option was wrong: nothing ran.
    Usage = 2,
    /// The one call that was asked for was rejected.
    Rejected = 3,
    /// It is not known what became of a call.
    Unknown = 4,
    /// No node could be reached.
    Unreachable = 5,
    /// Nodes hold different states at the same place, or a replay came to another state than the node.
    Diverged = 6,
    /// SIGHUP ended it: the terminal is gone.
    HungUp = 129,
    /// SIGINT ended it, by Ctrl-C.
    Interrupted = 130,
    /// Whoever read the output went away before all answers were written.
    Unread = 141,
    /// SIGTERM ended it.
    Terminated = 143,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// How much of a path or of another part of a message is shown.
const SHOWN_CHARS: usize = 200;

/// Why the program could not do what it was asked: one line for people.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// Nothing where nobody reads any more.
    message: Option<String>,
    exit: Exit,
}

impl Refusal {
    /// A usage error.
    pub(crate) fn new(message: impl fmt::Display) -> Refusal {
        Refusal { message: Some(message.to_string()), exit: Exit::Usage }
    }

    /// An error of the library, whose options are told as the flags that they are here.
    pub(crate) fn in_flags(message: impl fmt::Display) -> Refusal {
        let named = [
            ("open it with `moved`", "say --moved"),
            ("go on with the one at hand: see `Recovery::changed`", "say --changed to go on with the one at hand"),
            ("heartbeat_interval is", "--heartbeat-interval is"),
            ("election_timeout_min is", "--election-timeout-min is"),
            ("election_timeout is", "--election-timeout-min and -max are"),
            ("default_deadline is", "--deadline is"),
            ("cluster_size is", "--cluster-size is"),
        ];
        let text = named.iter().fold(message.to_string(), |text, (name, flag)| text.replacen(name, flag, 1));
        Refusal::new(text)
    }

    /// An error about what is in a file, with the file's name unless it has it already.
    pub(crate) fn naming(path: &std::path::Path, error: &impl fmt::Display) -> Refusal {
        let (text, name) = (error.to_string(), path.display().to_string());
        if text.contains(&name) { Refusal::new(text) } else { Refusal::new(format!("{name}: {text}")) }
    }

    /// The same, with the option that it is about.
    pub(crate) fn of_option(self, option: &str) -> Refusal {
        Refusal { message: self.message.map(|message| format!("{option} {message}")), ..self }
    }

    /// The error of a file, with its name.
    pub(crate) fn of_file(path: &std::path::Path, error: &std::io::Error) -> Refusal {
        Refusal::new(format!("{}: {error}", shortened(&path.display().to_string(), SHOWN_CHARS)))
    }

    /// Standard output cannot be written. A closed one is no fault: the program ends, and says nothing.
    pub(crate) fn of_output(error: &std::io::Error) -> Refusal {
        let message = output::complaint(error);
        let exit = if message.is_some() { Exit::BadLines } else { Exit::Good };
        Refusal { message, exit }
    }

    /// The same of a command whose answers matter: that the reader went away before all were written is no success.
    pub(crate) fn unread(self) -> Refusal {
        let exit = if self.is_quiet() { Exit::Unread } else { self.exit };
        Refusal { exit, ..self }
    }

    /// The same of a command whose exit status 1 says something else: what cannot be written is a usage error.
    pub(crate) fn usage(self) -> Refusal {
        let exit = if self.exit == Exit::BadLines { Exit::Usage } else { self.exit };
        Refusal { exit, ..self }
    }

    /// How the program ends by it.
    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Whether there is anything to say.
    pub(crate) fn is_quiet(&self) -> bool {
        self.message.is_none()
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_told_as_they_are_typed() {
        for option in ["heartbeat_interval", "election_timeout_min", "cluster_size"] {
            let told = Refusal::in_flags(format!("{option} is 600ms: it must be 1s")).to_string();
            assert_eq!(told, format!("--{} is 600ms: it must be 1s", option.replace('_', "-")));
        }
    }
}
