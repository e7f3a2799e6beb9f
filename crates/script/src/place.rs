//! From a JavaScript stack to `file:line`.

/// The name under which the helper of this crate shows up in stacks.
pub(crate) const WORLD: &str = "conflux:world";

/// The first place of a stack that is in the user's files.
pub(crate) fn of_stack(stack: &str) -> Option<String> {
    stack.lines().find_map(of_frame)
}

/// Reads `    at append (words.js:3:20)` or `    at words.js:3:20`.
fn of_frame(frame: &str) -> Option<String> {
    let frame = frame.trim().strip_prefix("at ")?;
    let place = match frame.rfind(" (") {
        Some(open) => frame[open + 2..].strip_suffix(')')?,
        None => frame,
    };
    let mut parts = place.rsplitn(3, ':');
    let (column, line, file) = (parts.next()?, parts.next()?, parts.next()?);
    column.parse::<u32>().ok()?;
    let line: u32 = line.parse().ok()?;
    let theirs =
        line > 0 && !file.is_empty() && !file.starts_with("conflux:") && !file.starts_with('<') && file != "native";
    theirs.then(|| format!("{file}:{line}"))
}

#[cfg(test)]
mod tests {
    use super::of_stack;

    #[test]
    fn the_first_frame_of_the_user_counts() {
        let stack = "    at push (native)\n    at decide (conflux:world:3:4)\n    at append (lib/words.js:12:7)\n    at x (y.js:1:1)\n";
        assert_eq!(of_stack(stack).as_deref(), Some("lib/words.js:12"));
        assert_eq!(of_stack("    at words.js:3:20").as_deref(), Some("words.js:3"));
        for none in ["", "at", "    at a (b)", "    at a (:1:2)", "\u{1F600} (", "at x (é"] {
            assert_eq!(of_stack(none), None, "{none}");
        }
    }
}
