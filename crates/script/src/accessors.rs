//! Whether a program may make getters at all.
//!
//! A value that was newly made is looked at for getters property by property, and that costs more than all the rest. So it
//! is done only where there can be any: where a program's text has one, and from the moment at which it defines
//! properties by a function (the world inside sees to that). For the script it makes no difference.

/// Whether a text may have a getter or a setter in an object, or makes code of strings. May be wrong in one direction
/// only: a comment can look like a getter.
pub(crate) fn may_be_in(text: &str) -> bool {
    let bytes = text.as_bytes();
    let words = text.match_indices("et").filter_map(|(at, _)| {
        let start = at.checked_sub(1)?;
        let is_word = matches!(bytes[start], b'g' | b's') && !is_before_a_word(&bytes[..start]);
        is_word.then_some(&text[at + 2..])
    });
    words.into_iter().any(begins_an_accessor) || makes_code(text)
}

/// Whether these bytes end with what makes the next letters a part of a name, or the name of a property.
fn is_before_a_word(bytes: &[u8]) -> bool {
    bytes.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'.') || *byte >= 0x80)
}

/// Whether a name and a parenthesis follow: `get name(`.
fn begins_an_accessor(after: &str) -> bool {
    let name = without_space(after);
    let Some(first) = name.chars().next() else { return false };
    let rest = match first {
        // Its end is not looked for; nothing else looks like that but an element of something called `get`.
        '[' => return true,
        '"' | '\'' => match name[1..].find(first) {
            Some(end) => &name[end + 2..],
            None => return false,
        },
        _ if name.len() == after.len() && is_part_of_a_name(first) => return false,
        _ if is_part_of_a_name(first) || first == '#' => name.trim_start_matches(|c| is_part_of_a_name(c) || c == '#'),
        _ => return false,
    };
    without_space(rest).starts_with('(')
}

/// Escapes (`\u0061`) are parts of names, too, and so is all that is not ASCII.
fn is_part_of_a_name(c: char) -> bool {
    c.is_ascii_alphanumeric()
        || matches!(c, '_' | '$' | '\\' | '{' | '}' | '.')
        || (!c.is_ascii() && !c.is_whitespace())
}

/// Passes over blanks and comments.
fn without_space(text: &str) -> &str {
    let mut text = text.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    loop {
        let rest = if let Some(comment) = text.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, rest)| rest)
        } else if let Some(comment) = text.strip_prefix("//") {
            comment.split_once(['\n', '\r', '\u{2028}', '\u{2029}']).map_or("", |(_, rest)| rest)
        } else {
            return text;
        };
        text = rest.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    }
}

fn makes_code(text: &str) -> bool {
    ["eval", "Function", ".constructor", "'constructor'", "\"constructor\""].into_iter().any(|name| {
        text.match_indices(name).any(|(at, _)| {
            let after = &text[at + name.len()..];
            let is_word = !after.starts_with(is_part_of_a_name) && !text[..at].ends_with(|c: char| c.is_alphanumeric());
            let is_called = without_space(after).starts_with(['(', '`', '?', ']']);
            is_called || name == "eval" && is_word
        })
    })
}

#[cfg(test)]
mod tests {
    use super::may_be_in;

    #[test]
    fn getters_are_seen() {
        for text in [
            "({ get x() {} })",
            "({ set x(to) {} })",
            "({ get\nx\n() {} })",
            "({ get/**/x/* ( */() {} })",
            "({ get // here\n x() {} })",
            "({get'a b'(){}})",
            "({get \"x\"() {}})",
            "({get[key](){}})",
            "({ get 7() {} })",
            "({ get \u{e9}t\u{e9}() {} })",
            "({ get \\u0061() {} })",
            "({ get get() {} })",
            "class A { static get #x() {} }",
            "eval('({ get' + ' x() {} })')",
            "new Function('')",
            "(() => {}).constructor('')",
            "(() => {})['constructor']('')",
        ] {
            assert!(may_be_in(text), "{text}");
        }
    }

    #[test]
    fn what_only_sounds_like_one_is_not() {
        for text in [
            "",
            "map.get(x)",
            "map.set(x, y)",
            "const set = new Set(); set.add(1)",
            "{ get(x) { return 1 } }",
            "// get the state, and set it",
            "const getX = (a) => a",
            "forget me (not)",
            "{ get: (x) => x, set }",
            "class A { constructor(x) { super(x) } }",
            "typeof f === 'function'",
            "evaluate(x)",
            "get",
            "g et x()",
        ] {
            assert!(!may_be_in(text), "{text}");
        }
    }
}
