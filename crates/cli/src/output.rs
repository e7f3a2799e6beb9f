//! What the program writes to standard output and standard error, where either may be closed or full.
//!
//! One that was closed before the program began (`>&-`) is not noticed: Rust's start opens `/dev/null` in its place, and
//! nothing safe tells that from one that was put there on purpose.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use crate::exit::Refusal;

/// Writes a line to standard output, formatted as by `format!`. Its error ends the program: see [`Refusal::of_output`].
macro_rules! say {
    ($($argument:tt)*) => { $crate::output::line(format_args!($($argument)*)) };
}

/// Writes a line to standard error, formatted as by `format!`. Where nobody can be told, nobody is.
macro_rules! tell {
    ($($argument:tt)*) => { $crate::output::notice(format_args!($($argument)*)) };
}

pub(crate) use {say, tell};

/// Behind [`say!`].
pub(crate) fn line(text: fmt::Arguments<'_>) -> Result<(), Refusal> {
    let mut output = io::stdout().lock();
    writeln!(output, "{text}").and_then(|()| output.flush()).map_err(|error| Refusal::of_output(&error))
}

/// Behind [`tell!`].
pub(crate) fn notice(text: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// What is said of an output that cannot be written. A closed one is how `head` says that it has enough: nothing is.
pub(crate) fn complaint(error: &io::Error) -> Option<String> {
    (error.kind() != ErrorKind::BrokenPipe).then(|| format!("standard output cannot be written: {error}"))
}
