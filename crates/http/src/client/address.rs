//! Where a node is.

use ureq::http::Uri;
use ureq::http::uri::Scheme;

use super::ClientError;

/// The address of a node, without a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address(String);

impl Address {
    /// Reads `http://127.0.0.1:8001`, with or without the scheme and a path.
    pub(super) fn parse(text: &str) -> Result<Address, ClientError> {
        let bad = |problem: &str| ClientError::Address { address: text.into(), problem: problem.into() };
        let full = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri = full.parse().map_err(|error: ureq::http::uri::InvalidUri| bad(&error.to_string()))?;
        match uri.scheme() {
            Some(scheme) if *scheme == Scheme::HTTP => {}
            Some(scheme) if *scheme == Scheme::HTTPS => {
                return Err(bad("https is not spoken here; reach the node by http, through a tunnel if need be"));
            }
            _ => return Err(bad("it begins with http://")),
        }
        let authority = uri.authority().map(|authority| authority.as_str()).unwrap_or_default();
        if authority.is_empty() || uri.host().unwrap_or_default().is_empty() {
            return Err(bad("it names no host"));
        }
        if authority.contains('@') {
            return Err(bad("names and passwords are not taken; a token is"));
        }
        if uri.query().is_some() {
            return Err(bad("it has a query"));
        }
        Ok(Address(format!("http://{authority}{}", uri.path().trim_end_matches('/'))))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    /// The address of something at the node.
    pub(super) fn join(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A text as a part of a path.
pub(super) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_and_slashes_may_be_left_out() {
        for (text, address) in [
            ("127.0.0.1:8001", "http://127.0.0.1:8001"),
            ("http://127.0.0.1:8001/", "http://127.0.0.1:8001"),
            ("http://[::1]:8001", "http://[::1]:8001"),
            ("http://flags.example/conflux/", "http://flags.example/conflux"),
        ] {
            assert_eq!(Address::parse(text).map(|address| address.0), Ok(address.to_owned()));
        }
    }

    #[test]
    fn what_is_no_address_says_why() {
        for (text, problem) in [
            ("", "it names no host"),
            ("ftp://x", "it begins with http://"),
            ("https://x", "https is not spoken here"),
            ("http://me:secret@x", "names and passwords"),
            ("http://x?y", "it has a query"),
            ("http://x y", "invalid"),
        ] {
            let error = Address::parse(text).expect_err(text).to_string();
            assert!(error.contains(problem) || text.is_empty(), "{text}: {error}");
        }
    }

    #[test]
    fn ids_become_one_part_of_a_path() {
        assert_eq!(escaped("a/fe/3/12"), "a%2Ffe%2F3%2F12");
        assert_eq!(escaped("order-17_~.ä?"), "order-17_~.%C3%A4%3F");
    }
}
