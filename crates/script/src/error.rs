//! Why a script did not load.

use std::path::PathBuf;

/// A script could not be made into a container.
#[derive(Debug, thiserror::Error)]
pub enum ScriptError {
    /// The file is not there or cannot be read.
    #[error("{}: {message}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said, or what is wrong with its bytes.
        message: String,
    },
    /// The file, or one that it imports, is no JavaScript that can be run here: TypeScript, say.
    #[error("{at}: {message}")]
    Unsupported {
        /// The file.
        at: String,
        /// What it is, and what to do.
        message: String,
    },
    /// It does not parse.
    #[error("{at}: {message}")]
    Syntax {
        /// `file:line`.
        at: String,
        /// What the parser said.
        message: String,
    },
    /// It threw while it loaded.
    #[error("{at}: {message}")]
    Threw {
        /// `file:line`, or the file alone where the line is not known.
        at: String,
        /// What it threw.
        message: String,
    },
    /// It did not come to an end, or ate the memory, while it loaded.
    #[error("{at}: {message}")]
    Limit {
        /// `file:line`, or the file alone where the line is not known.
        at: String,
        /// The limit.
        message: String,
    },
    /// It loaded, but is no container: no `reduce`, no `methods`, an initial state that is not JSON.
    #[error("{file}: {message}")]
    Shape {
        /// The file.
        file: String,
        /// What was wrong, what came, what to write.
        message: String,
    },
}
