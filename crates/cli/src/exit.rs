//! How the program ends.

use std::fmt;
use std::process::ExitCode;

/// What the exit status says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Everything was answered; rejections are answers.
    Good = 0,
    /// A line was bad, or a call failed.
    BadLines = 1,
    /// The command line, a file or an option was wrong: nothing ran.
    Usage = 2,
    /// The one call that was asked for was rejected.
    Rejected = 3,
    /// It is not known what became of a call.
    Unknown = 4,
    /// No node could be reached.
    Unreachable = 5,
    /// Nodes hold different states at the same place.
    Diverged = 6,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// Why the program could not do what it was asked: one line for people.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal(String);

impl Refusal {
    pub(crate) fn new(message: impl fmt::Display) -> Refusal {
        Refusal(message.to_string())
    }

    /// The error of a file, with its name.
    pub(crate) fn of_file(path: &std::path::Path, error: &std::io::Error) -> Refusal {
        Refusal(format!("{}: {error}", path.display()))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
