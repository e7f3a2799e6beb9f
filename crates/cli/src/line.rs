//! One line of input: a call of a method, or a command.

use std::fmt;

use serde_json::Value;

use crate::command::{Command, CommandError};

/// What separates the parts of a line: JSON's own white space, so that both parsers agree.
pub(crate) const WHITE_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

/// The longest line that is read.
pub(crate) const LINE_BYTES_MAX: usize = 16 << 20;

/// A line that asks for something.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    /// The node named by `@`, for this line only.
    pub(crate) at: Option<String>,
    pub(crate) body: Body,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Body {
    Request(Request),
    Command(Command),
}

/// A method and its arguments.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) arguments: Vec<Value>,
}

/// A line that is no request.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(crate) enum LineError {
    #[error("no node follows \"@\"; write a node's name right after it, as in: @b {rest}")]
    NoNode { rest: String },
    #[error("nothing follows \"@{node}\"; write a method after it, as in: @{node} append \"foo\"")]
    NothingAt { node: String },
    #[error("{}: argument {nth} is not JSON at column {column}: {reason}{}", shortened(method, 40), hint.as_deref().unwrap_or_default())]
    Argument { method: String, nth: usize, column: usize, reason: String, hint: Option<String> },
    #[error("{}: arguments {nth} and {} touch at column {column}; put a space between them", shortened(method, 40), nth + 1)]
    Touching { method: String, nth: usize, column: usize },
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error("the line is not UTF-8: byte {column} is wrong; save the input as UTF-8")]
    Encoding { column: usize },
    #[error("the line is longer than {LINE_BYTES_MAX} bytes and was passed over")]
    TooLong,
    #[error(
        "the line did not end within {LINE_BYTES_MAX} bytes, nor long after: it is no list of lines, and is read no further"
    )]
    Endless,
    #[error("the input cannot be read further: {reason}")]
    Unreadable { reason: String },
}

impl LineError {
    /// The method that the line names, if it got so far.
    pub(crate) fn method(&self) -> Option<&str> {
        match self {
            LineError::Argument { method, .. } | LineError::Touching { method, .. } => Some(method),
            _ => None,
        }
    }
}

impl Line {
    /// Reads a line; `None` for an empty one and for a comment.
    pub(crate) fn parse(text: &str) -> Result<Option<Line>, LineError> {
        // The line's end is no part of a string that is not closed.
        let text = text.trim_end_matches(['\r', '\n']);
        let body = text.trim_start_matches(WHITE_SPACE);
        if body.is_empty() || body.starts_with('#') {
            return Ok(None);
        }
        let (at, body) = match body.strip_prefix('@') {
            None => (None, body),
            Some(named) => {
                let (node, rest) = split_word(named);
                if node.is_empty() {
                    let rest = rest.trim_matches(WHITE_SPACE);
                    let rest = if rest.is_empty() || rest.starts_with('#') { "append \"foo\"" } else { rest };
                    return Err(LineError::NoNode { rest: shortened(rest, 40) });
                }
                (Some(node), rest.trim_start_matches(WHITE_SPACE))
            }
        };
        let body = match (at, body.strip_prefix(':')) {
            (_, Some(command)) => Body::Command(Command::parse(command)?),
            (Some(node), None) if body.is_empty() || body.starts_with('#') => {
                return Err(LineError::NothingAt { node: shortened(node, 40) });
            }
            (_, None) => Body::Request(Request::parse(text, body)?),
        };
        Ok(Some(Line { at: at.map(str::to_owned), body }))
    }
}

impl Request {
    /// `body` is the end of `line`, which serves to tell columns.
    fn parse(line: &str, body: &str) -> Result<Request, LineError> {
        let (method, rest) = split_word(body);
        let column = |offset: usize| line[..line.len() - rest.len() + offset].chars().count() + 1;
        let mut arguments = Vec::new();
        let mut values = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
        loop {
            let before = values.byte_offset();
            let value = values.next();
            let nth = arguments.len() + 1;
            match value {
                None => return Ok(Request { method: method.into(), arguments }),
                Some(Ok(value)) => {
                    let end = values.byte_offset();
                    if rest[end..].chars().next().is_some_and(|next| !WHITE_SPACE.contains(&next)) {
                        return Err(LineError::Touching { method: method.into(), nth, column: column(end) });
                    }
                    arguments.push(value);
                }
                Some(Err(error)) => {
                    let argument = rest[before..].trim_start_matches(WHITE_SPACE);
                    let start = rest.len() - argument.len();
                    let fault = Fault::of(&error, rest, start);
                    return Err(LineError::Argument {
                        method: method.into(),
                        nth,
                        column: column(fault.offset),
                        reason: fault.reason,
                        hint: fault.hint,
                    });
                }
            }
        }
    }
}

/// Reads the arguments of a command line, each one JSON value.
pub(crate) fn arguments(texts: &[String]) -> Result<Vec<Value>, String> {
    let read = |(nth, text): (usize, &String)| {
        serde_json::from_str(text).map_err(|error| {
            let hint = hint(text.trim_start_matches(WHITE_SPACE));
            let hint = hint.map(|hint| format!("{hint} inside the shell's own quotes")).unwrap_or_default();
            let shown = if text.is_empty() { "which is empty".to_owned() } else { shortened(text, 40) };
            format!("argument {}, {shown}, is not JSON: {}{hint}", nth + 1, reason(&error))
        })
    };
    texts.iter().enumerate().map(read).collect()
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(node) = &self.at {
            write!(f, "@{node} ")?;
        }
        match &self.body {
            Body::Command(command) => command.fmt(f),
            Body::Request(request) => request.fmt(f),
        }
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.method)?;
        self.arguments.iter().try_for_each(|argument| write!(f, " {argument}"))
    }
}

/// The first word, and what comes after it.
fn split_word(text: &str) -> (&str, &str) {
    text.split_at(text.find(WHITE_SPACE).unwrap_or(text.len()))
}

/// What is wrong with an argument, and where in the text of all arguments.
struct Fault {
    offset: usize,
    reason: String,
    hint: Option<String>,
}

impl Fault {
    /// The argument begins at `start` of `text`.
    fn of(error: &serde_json::Error, text: &str, start: usize) -> Fault {
        let argument = &text[start..];
        let (open, what) = innermost_open(argument);
        let unclosed = |what: &str| Fault {
            offset: start + open,
            reason: format!("the {what} that begins there is not closed"),
            hint: None,
        };
        match what {
            Some('"') if error.is_eof() => return unclosed("string"),
            Some('[') if error.is_eof() => return unclosed("array"),
            Some('{') if error.is_eof() => return unclosed("object"),
            _ => {}
        }
        let hint = hint(argument);
        let offset = if hint.is_some() { start } else { place(error, text).max(start) };
        Fault { offset, reason: reason(error), hint }
    }
}

/// What the JSON parser says, without the place: it counts from the arguments, we from the line.
fn reason(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let said = text.rfind(" at line ").map_or(text.as_str(), |end| &text[..end]);
    match said {
        "expected ident" | "expected value" => "no JSON value begins like that",
        "EOF while parsing a value" => "there is nothing",
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "\\ud800 to \\udfff are halves of a character: a second half must follow a first one"
        }
        said => said,
    }
    .to_owned()
}

/// Where the character stands that the parser stopped at.
fn place(error: &serde_json::Error, text: &str) -> usize {
    let line: usize = text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
    text.floor_char_boundary((line + error.column().saturating_sub(1)).min(text.len()))
}

/// Where the innermost string, array or object begins that `text` leaves open, and which of them it is.
fn innermost_open(text: &str) -> (usize, Option<char>) {
    let mut open: Vec<(usize, char)> = Vec::new();
    let mut string = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match (string, c) {
            (Some(_), _) if escaped => escaped = false,
            (Some(_), '\\') => escaped = true,
            (Some(_), '"') => string = None,
            (Some(_), _) => {}
            (None, '"') => string = Some(at),
            (None, '[' | '{') => open.push((at, c)),
            (None, ']' | '}') => drop(open.pop()),
            (None, _) => {}
        }
    }
    match (string, open.last()) {
        (Some(at), _) => (at, Some('"')),
        (None, Some((at, c))) => (*at, Some(*c)),
        (None, None) => (0, None),
    }
}

/// The most likely mistake is a bare or single-quoted word.
fn hint(argument: &str) -> Option<String> {
    let (word, _) = split_word(argument);
    let bare = word
        .strip_prefix('\'')
        .map(|word| word.trim_end_matches('\''))
        .or_else(|| word.starts_with(|first: char| first.is_alphabetic() || first == '_').then_some(word))?;
    let quoted = Value::from(shortened(bare, 40));
    Some(format!("; strings are written in double quotes, as in {quoted}"))
}

/// At most `chars_max` characters of what came, so that an error stays a line.
pub(crate) fn shortened(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        None => text.to_owned(),
        Some((end, _)) => format!("{}…", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn request(text: &str) -> (Option<String>, String, Value) {
        match Line::parse(text).expect("a good line").expect("not an empty one") {
            Line { at, body: Body::Request(Request { method, arguments }) } => (at, method, arguments.into()),
            other => panic!("{other:?} is no request"),
        }
    }

    fn error(text: &str) -> String {
        Line::parse(text).expect_err("a bad line").to_string()
    }

    #[test]
    fn arguments_are_json_values() {
        assert_eq!(request("append \"foo\""), (None, "append".into(), json!(["foo"])));
        assert_eq!(
            request("  put \"a b\" {\"x\": [1, 2]}\t3 \r"),
            (None, "put".into(), json!(["a b", {"x": [1, 2]}, 3]))
        );
        assert_eq!(request("clear"), (None, "clear".into(), json!([])));
        assert_eq!(
            request("@b append \"\u{1f600} # @\""),
            (Some("b".into()), "append".into(), json!(["\u{1f600} # @"]))
        );
    }

    #[test]
    fn arguments_of_a_command_line_are_values_each() {
        let read = |texts: &[&str]| arguments(&texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>());
        assert_eq!(read(&["\"foo\"", " {\"a\": 1} ", "-5"]), Ok(vec![json!("foo"), json!({"a": 1}), json!(-5)]));
        let error = |texts: &[&str]| read(texts).expect_err("one is no JSON");
        assert_eq!(
            error(&["1", "foo"]),
            "argument 2, foo, is not JSON: no JSON value begins like that; strings are written in double quotes, as in \"foo\" inside the \
             shell's own quotes"
        );
        assert_eq!(error(&["1 2"]), "argument 1, 1 2, is not JSON: trailing characters");
        assert_eq!(error(&[""]), "argument 1, which is empty, is not JSON: there is nothing");
    }

    #[test]
    fn empty_lines_and_comments_ask_for_nothing() {
        for text in ["", "   ", "# append \"foo\"", "\t#", "\r"] {
            assert_eq!(Line::parse(text), Ok(None), "{text:?}");
        }
    }

    #[test]
    fn errors_name_the_place_and_the_way_out() {
        assert_eq!(
            error("append foo"),
            "append: argument 1 is not JSON at column 8: no JSON value begins like that; strings are written in double quotes, as in \"foo\""
        );
        assert_eq!(
            error("@b put 1 'x y'"),
            "put: argument 2 is not JSON at column 10: no JSON value begins like that; strings are written in double quotes, as in \"x\""
        );
        assert_eq!(
            error("append 1 [\"é\", \"foo\\\""),
            "append: argument 2 is not JSON at column 16: the string that begins there is not closed"
        );
        assert_eq!(error("append {\"a\": [1, 2}"), "append: argument 1 is not JSON at column 19: expected `,` or `]`");
        for open in ["append \"c", "append {\"a", "append [\"x", "append [1", "append {\"a\": 1"] {
            assert!(error(open).ends_with("that begins there is not closed"), "{}", error(open));
            for end in ["\n", "\r\n"] {
                assert_eq!(error(&format!("{open}{end}")), error(open));
            }
        }
        assert_eq!(
            error("append {\"é\": [1, 2]"),
            "append: argument 1 is not JSON at column 8: the object that begins there is not closed"
        );
        assert_eq!(
            error("append {\"é\": x}"),
            "append: argument 1 is not JSON at column 14: no JSON value begins like that"
        );
        assert_eq!(
            error("append \"a\"\"b\""),
            "append: arguments 1 and 2 touch at column 11; put a space between them"
        );
        assert!(error("append \"\\ud800\"").contains("column 15"), "{}", error("append \"\\ud800\""));
        assert_eq!(error("@ clear 1"), "no node follows \"@\"; write a node's name right after it, as in: @b clear 1");
        assert!(error("@").ends_with("as in: @b append \"foo\""), "{}", error("@"));
        assert!(error("@b").starts_with("nothing follows \"@b\""));
        assert!(error("@b # c").starts_with("nothing follows \"@b\""));
        let long = error(&format!("{} foo", "m".repeat(10_000)));
        assert!(long.len() < 300, "{long}");
        assert!(error(&format!("append {}", "[".repeat(100_000))).contains("recursion limit"));
    }

    fn values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<String>().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((any::<String>(), inner), 0..6)
                    .prop_map(|entries| Value::Object(entries.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_line_panics(text in any::<String>()) {
            let _ = Line::parse(&text);
        }

        #[test]
        fn no_almost_good_line_panics(text in "[@:#]?[ a-c\\\\\"'{}\\[\\],:0-9eé|\u{1f600}-]{0,40}") {
            let _ = Line::parse(&text);
        }

        #[test]
        fn what_is_written_is_read_back(
            at in prop::option::of("[^ \t\r\n]{1,8}"),
            method in "[^ \t\r\n@:#][^ \t\r\n]{0,12}",
            arguments in prop::collection::vec(values(), 0..4),
        ) {
            let line = Line { at, body: Body::Request(Request { method, arguments }) };
            prop_assert_eq!(Line::parse(&line.to_string()), Ok(Some(line)));
        }
    }
}
