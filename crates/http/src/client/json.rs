//! Reading JSON that nodes write.

use serde::de::DeserializeOwned;

/// How deep an answer may nest. A value of a container has 256 levels at most, with something empty as the last one, and
/// an answer puts three of its own around it. The reader's own limit is 128.
const NESTING_MAX: usize = 264;

/// Reads an answer.
///
/// # Errors
/// When it is no JSON, nests too deep, or is another value than is asked for.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    if nesting(bytes) > NESTING_MAX {
        return Err(format!("it nests deeper than {NESTING_MAX} levels"));
    }
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    // It was counted: what is deeper is not read.
    deserializer.disable_recursion_limit();
    let read = T::deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    read.map_err(|error| error.to_string())
}

/// How deep it nests, if it is JSON.
fn nesting(bytes: &[u8]) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    let (mut in_string, mut escaped) = (false, false);
    for byte in bytes {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            _ if in_string => {}
            b'[' | b'{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn nested(levels: usize) -> String {
        format!("{}{}", "[".repeat(levels), "]".repeat(levels))
    }

    #[test]
    fn what_a_container_may_nest_is_read_and_not_more() {
        for text in [nested(NESTING_MAX), format!("{{\"a\\\"[\": {}}}", nested(NESTING_MAX - 1))] {
            read::<Value>(text.as_bytes()).expect("it is deep, and not too deep");
        }
        // In a string it is no nesting.
        read::<Value>(format!("\"{}\\\"{{\"", "[".repeat(1_000)).as_bytes()).expect("it is a string");
        for text in [nested(NESTING_MAX + 1), "[".repeat(1_000_000), "{\"a\":".repeat(1_000_000)] {
            let error = read::<Value>(text.as_bytes()).expect_err("it is too deep");
            assert!(error.contains("nests deeper"), "{error}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for text in ["", "[", "1 2", "\"\\", "]", "{\"a\"}", "[\"]"] {
            read::<Value>(text.as_bytes()).expect_err(text);
        }
        read::<Vec<u8>>(b"{}").expect_err("it is another value");
    }
}
