//! Bearer tokens and what they allow.

use std::fmt;
use std::path::{Path, PathBuf};

use conflux::secret;
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// The shortest token: what is shorter can be guessed.
const TOKEN_BYTES_MIN: usize = 16;
/// The longest token.
const TOKEN_BYTES_MAX: usize = 512;
/// The most tokens of a file, as every request is compared with all of them.
const TOKENS_MAX: usize = 1_024;
/// The longest file of tokens.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What a token allows. Each role may do what those before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Role {
    /// Read the state, follow it, ask how the node is.
    Read = 1,
    /// Perform methods.
    Perform = 2,
    /// Change the cluster.
    Admin = 3,
}

impl Role {
    fn parse(text: &str) -> Option<Role> {
        match text {
            "read" => Some(Role::Read),
            "perform" => Some(Role::Perform),
            "admin" => Some(Role::Admin),
            _ => None,
        }
    }

    fn from_number(number: u8) -> Option<Role> {
        [Role::Read, Role::Perform, Role::Admin].into_iter().find(|role| *role as u8 == number)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Role::Read => "read",
            Role::Perform => "perform",
            Role::Admin => "admin",
        })
    }
}

/// The tokens that a server takes.
///
/// A file of them has one a line: its role, a space, the token. `#` begins a comment.
///
/// ```
/// use conflux_http::{Role, Tokens};
/// let tokens = Tokens::parse("# the dashboard\nread 0b2f6a4c9d8e7f61\n").expect("the line is good");
/// assert_eq!(tokens.role_of("0b2f6a4c9d8e7f61"), Some(Role::Read));
/// assert_eq!(tokens.role_of("something else"), None);
/// ```
#[derive(Clone)]
pub struct Tokens {
    tokens: Vec<(Role, Box<str>)>,
}

impl fmt::Debug for Tokens {
    /// Says how many there are, never which.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens({})", self.tokens.len())
    }
}

/// A file of tokens that cannot be used. What the tokens are is never told.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("{}: {cause}", path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        cause: std::io::Error,
    },
    /// A line is no role and token.
    #[error("line {line} of the tokens: {problem}; a line is `ROLE TOKEN`, where ROLE is read, perform or admin")]
    Line {
        /// The first line is 1.
        line: usize,
        /// What was wrong.
        problem: String,
    },
    /// There is no token.
    #[error("there is no token: write lines of the form `ROLE TOKEN`, where ROLE is read, perform or admin")]
    None,
}

impl Tokens {
    /// Reads a file of tokens. Warns in the log when others than its owner may read it.
    ///
    /// # Errors
    /// When the file cannot be read, or a line of it.
    pub fn load(path: &Path) -> Result<Tokens, TokenError> {
        let of_file = |cause| TokenError::File { path: path.to_owned(), cause };
        let bytes = secret::read(path, FILE_BYTES_MAX).map_err(of_file)?;
        let text = String::from_utf8(bytes).map_err(std::io::Error::other).map_err(of_file)?;
        Tokens::parse(&text)
    }

    /// Reads lines of a role and a token each.
    ///
    /// # Errors
    /// When a line is something else, or there is no token at all.
    pub fn parse(text: &str) -> Result<Tokens, TokenError> {
        let mut tokens = Tokens { tokens: Vec::new() };
        for (line, text) in (1..).zip(text.lines()) {
            let text = text.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            tokens.add(text).map_err(|problem| TokenError::Line { line, problem })?;
        }
        if tokens.tokens.is_empty() { Err(TokenError::None) } else { Ok(tokens) }
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let mut words = line.split_whitespace();
        // A word that is no role may be a token: it is not shown.
        let role = words.next().and_then(Role::parse).ok_or("the first word is no role")?;
        let token = words.next().ok_or("the token is missing")?;
        if words.next().is_some() {
            return Err("something follows the token".into());
        }
        if !(TOKEN_BYTES_MIN..=TOKEN_BYTES_MAX).contains(&token.len()) {
            let bytes = token.len();
            return Err(format!("the token has {bytes} bytes, {TOKEN_BYTES_MIN} to {TOKEN_BYTES_MAX} are allowed"));
        }
        if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err("the token has characters other than visible ASCII".into());
        }
        if self.tokens.iter().any(|(_, known)| **known == *token) {
            return Err("the token was given before".into());
        }
        if self.tokens.len() == TOKENS_MAX {
            return Err(format!("there are more than {TOKENS_MAX} tokens"));
        }
        self.tokens.push((role, token.into()));
        Ok(())
    }

    /// The token that allows most; of several, the first. For a client that reads the file.
    ///
    /// # Panics
    /// When there is none: no file is read to that.
    #[must_use]
    pub fn strongest(&self) -> &str {
        let strongest = self.tokens.iter().rev().max_by_key(|(role, _)| *role);
        &strongest.expect("a file has at least one token").1
    }

    /// What a token allows; `None` when it is not one of these. Takes as long for a wrong one as for a right one.
    #[must_use]
    pub fn role_of(&self, token: &str) -> Option<Role> {
        let mut found = 0_u8;
        for (role, known) in &self.tokens {
            let same: Choice = known.as_bytes().ct_eq(token.as_bytes());
            found.conditional_assign(&(*role as u8), same);
        }
        Role::from_number(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "aaaaaaaaaaaaaaaa";
    const B: &str = "bbbbbbbbbbbbbbbb";

    #[test]
    fn each_token_has_its_role() {
        let tokens = Tokens::parse(&format!("\n# ours\nread {A}\n  admin\t{B} \r\n")).expect("the lines are good");
        assert_eq!(tokens.role_of(A), Some(Role::Read));
        assert_eq!(tokens.role_of(B), Some(Role::Admin));
        for wrong in ["", "a", "aaaaaaaaaaaaaaab", "aaaaaaaaaaaaaaaaa"] {
            assert_eq!(tokens.role_of(wrong), None, "{wrong:?}");
        }
        assert_eq!(tokens.strongest(), B);
        assert!(Role::Read < Role::Perform && Role::Perform < Role::Admin);
        assert_eq!(format!("{tokens:?}"), "Tokens(2)");
    }

    #[test]
    fn a_bad_line_is_named_and_its_token_is_not_shown() {
        let error = |text: &str| Tokens::parse(text).expect_err("the line is bad").to_string();
        assert!(
            error(&format!("read {A}\n{B}")).starts_with("line 2 of the tokens: the first word is no role; a line")
        );
        assert!(error("read").starts_with("line 1 of the tokens: the token is missing"));
        assert!(error("read short").contains("the token has 5 bytes, 16 to 512 are allowed"));
        assert!(error(&format!("read {A} {B}")).contains("something follows the token"));
        assert!(error(&format!("read {A}\nadmin {A}")).contains("line 2 of the tokens: the token was given before"));
        assert!(error("read ääääääääääääääää").contains("visible ASCII"));
        assert!(error("# nothing\n").starts_with("there is no token"));
        for text in [format!("root {A}"), format!("read {A} {B}"), format!("read {A}\nread {A}")] {
            assert!(!error(&text).contains(A));
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_file_that_others_can_read_is_read_all_the_same() {
        use std::os::unix::fs::PermissionsExt;
        let path = std::env::temp_dir().join(format!("conflux-tokens-{}", std::process::id()));
        std::fs::write(&path, format!("read {A}\n")).expect("the directory is writable");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("it is ours");
        assert_eq!(Tokens::load(&path).expect("the log says so, and no more").strongest(), A);
        std::fs::remove_file(&path).expect("it is ours");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let error = Tokens::load(Path::new("no/such/file")).expect_err("there is none").to_string();
        assert!(error.starts_with("no/such/file: "), "{error}");
    }
}
