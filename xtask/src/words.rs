//! The README of the first conflux, word by word, through three nodes.

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use crate::examples::{built, read};
use crate::steps::{Failure, feed};

/// It belongs to others and does not come with this repository.
const TEXT: &str = "../shared/reference/conflux-1.1.8-readme.txt";

/// One `append` a word; then all nodes must hold the same words in the order of the input.
pub(crate) fn check(root: &Path) -> Result<(), Failure> {
    let path = root.join(TEXT);
    if !path.exists() {
        println!("     {TEXT} is not here: passed over");
        return Ok(());
    }
    let text = read(&path)?;
    // As `tr -s ' ' '\n'` parts them.
    let words: Vec<String> = text.split([' ', '\n']).filter(|word| !word.is_empty()).map(json).collect();
    let mut input: String = words.iter().map(|word| format!("append {word}\n")).collect();
    // A node that has answered holds everything before; a rejection is an answer, and changes nothing.
    input.push_str(":state\n@b append 0\n@b :state\n@c append 0\n@c :state\n");
    let ran = feed(root, &built(root, "conflux"), &["dev", "examples/words.js"], &input, Duration::from_secs(120))?;
    if ran.status != Some(0) {
        return Err(format!("`conflux dev examples/words.js` ended with {:?}\n{}", ran.status, ran.stderr));
    }
    let states: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("{\"state\":")).collect();
    let expected = format!("{{\"state\":[{}],\"index\":{}}}", words.join(","), words.len());
    for (node, nth) in [("a", 0), ("b", 1), ("c", 2)] {
        match states.get(nth) {
            Some(state) if *state == expected => {}
            state => {
                return Err(format!(
                    "node {node} holds other words than the input\nexpected {expected}\ncame     {state:?}"
                ));
            }
        }
    }
    println!("     {} words, the same list on all nodes", words.len());
    Ok(())
}

/// A text as JSON, in the one way in which `conflux` writes it too.
fn json(text: &str) -> String {
    let mut json = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => json.push_str("\\\""),
            '\\' => json.push_str("\\\\"),
            '\u{8}' => json.push_str("\\b"),
            '\t' => json.push_str("\\t"),
            '\u{c}' => json.push_str("\\f"),
            '\r' => json.push_str("\\r"),
            c if c < ' ' => write!(json, "\\u{:04x}", u32::from(c)).expect("writing to memory"),
            c => json.push(c),
        }
    }
    json.push('"');
    json
}
