//! Where two JSON values part.

use std::fmt;

use serde_json::Value;

/// How many differences are listed: states that parted altogether would fill screens.
const LISTED_MAX: usize = 100;

/// One place at which two values differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    /// The place, as JavaScript would write it: `state.jobs[3].owner`, with the root left out: `.jobs[3].owner`. Empty
    /// for the value itself.
    pub path: String,
    /// What the left value has there; `None` where it has nothing.
    pub left: Option<Value>,
    /// What the right value has there; `None` where it has nothing.
    pub right: Option<Value>,
}

impl Difference {
    /// Both values, as they are shown to people.
    #[must_use]
    pub fn shown(&self) -> [String; 2] {
        [&self.left, &self.right].map(|value| match value {
            None => "nothing".to_owned(),
            Some(value) => shortened(&value.to_string()),
        })
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.path.is_empty() { "the whole value" } else { &self.path };
        let [left, right] = self.shown();
        write!(f, "{path}: {left} | {right}")
    }
}

/// The places at which two values differ, outermost first, at most a hundred. Objects with the same entries in another
/// order differ, too: order is part of a state; both lists of keys are given then.
#[must_use]
pub fn paths_that_differ(a: &Value, b: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    compare(&mut String::new(), a, b, &mut found);
    found
}

fn compare(path: &mut String, a: &Value, b: &Value, found: &mut Vec<Difference>) {
    if found.len() >= LISTED_MAX {
        return;
    }
    match (a, b) {
        (Value::Object(left), Value::Object(right)) => {
            for (key, value) in left {
                inside(path, &member(key), Some(value), right.get(key), found);
            }
            for (key, value) in right.iter().filter(|(key, _)| !left.contains_key(*key)) {
                inside(path, &member(key), None, Some(value), found);
            }
            let same = left.len() == right.len() && left.keys().all(|key| right.contains_key(key));
            if same && !left.keys().eq(right.keys()) {
                let keys = |object: &serde_json::Map<String, Value>| Some(object.keys().cloned().collect());
                add(format!("{path} (order of keys)"), keys(left), keys(right), found);
            }
        }
        (Value::Array(left), Value::Array(right)) => {
            for nth in 0..left.len().max(right.len()) {
                if found.len() >= LISTED_MAX {
                    return;
                }
                inside(path, &format!("[{nth}]"), left.get(nth), right.get(nth), found);
            }
        }
        (a, b) if a == b => {}
        (a, b) => add(path.clone(), Some(a.clone()), Some(b.clone()), found),
    }
}

fn inside(path: &mut String, step: &str, a: Option<&Value>, b: Option<&Value>, found: &mut Vec<Difference>) {
    let outer = path.len();
    path.push_str(step);
    match (a, b) {
        (Some(a), Some(b)) => compare(path, a, b, found),
        (a, b) => add(path.clone(), a.cloned(), b.cloned(), found),
    }
    path.truncate(outer);
}

fn add(path: String, left: Option<Value>, right: Option<Value>, found: &mut Vec<Difference>) {
    if found.len() < LISTED_MAX {
        found.push(Difference { path, left, right });
    }
}

fn member(key: &str) -> String {
    let first = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_' || c == '$');
    if first && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '$') {
        format!(".{key}")
    } else {
        format!("[{}]", Value::from(key))
    }
}

fn shortened(text: &str) -> String {
    const SHOWN: usize = 120;
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn lines(a: &Value, b: &Value) -> Vec<String> {
        paths_that_differ(a, b).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn every_kind_of_difference_has_its_path() {
        let a = json!({"jobs": [{"owner": "a"}, 2], "n": 1, "old": true, "a b": {"x": null}});
        let b = json!({"jobs": [{"owner": "b"}], "n": 1.5, "new": [], "a b": {"x": 0}});
        assert_eq!(
            lines(&a, &b),
            [
                ".jobs[0].owner: \"a\" | \"b\"",
                ".jobs[1]: 2 | nothing",
                ".n: 1 | 1.5",
                ".old: true | nothing",
                "[\"a b\"].x: null | 0",
                ".new: nothing | []",
            ]
        );
        assert!(lines(&a, &a).is_empty());
        assert_eq!(lines(&json!(1), &json!([1])), ["the whole value: 1 | [1]"]);
    }

    #[test]
    fn the_order_of_keys_counts() {
        let parsed = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let (a, b) = (parsed(r#"{"x":{"a":1,"b":2}}"#), parsed(r#"{"x":{"b":2,"a":1}}"#));
        assert_eq!(lines(&a, &b), [r#".x (order of keys): ["a","b"] | ["b","a"]"#]);
    }

    #[test]
    fn a_key_that_is_no_name_stands_in_brackets() {
        for name in ["a", "_a", "$a", "a1", "a_", "a$", "_", "$", "Ab9"] {
            assert_eq!(lines(&json!({name: 1}), &json!({name: 2})), [format!(".{name}: 1 | 2")]);
        }
        for text in ["", "1", "1a", "a-b", "a b", "ä", "aä", "a.b"] {
            assert_eq!(lines(&json!({text: 1}), &json!({text: 2})), [format!("[{text:?}]: 1 | 2")]);
        }
    }

    #[test]
    fn a_long_value_is_shortened() {
        let differ = |text: String| lines(&Value::from(text), &json!(0)).remove(0);
        // With its two quotes it has 120 characters.
        let fits = "ä".repeat(118);
        assert_eq!(differ(fits.clone()), format!("the whole value: \"{fits}\" | 0"));
        assert_eq!(differ(fits.clone() + "ä"), format!("the whole value: \"{fits}ä… | 0"));
    }

    #[test]
    fn the_list_is_bounded() {
        let numbers = |from: u32| Value::from((from..from + 10_000).collect::<Vec<_>>());
        assert_eq!(paths_that_differ(&numbers(0), &numbers(1)).len(), LISTED_MAX);
        let members = |from: u32| (from..from + 80).map(|n| (format!("n{n}"), json!(n))).collect::<Value>();
        assert_eq!(paths_that_differ(&members(0), &members(80)).len(), LISTED_MAX);
    }
}
