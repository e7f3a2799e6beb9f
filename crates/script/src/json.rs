//! JSON text that may come from the network: checked without building it.

use std::fmt;

use conflux_core::PayloadError;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

/// Refuses what a heap could not read: serde_json bounds the depth at 128, and refuses numbers beyond a double and lone
/// surrogates.
pub(crate) fn check(text: &str) -> Result<(), PayloadError> {
    serde_json::from_str::<Checked>(text).map(|_| ()).map_err(PayloadError::new)
}

/// The bytes as text, if they are JSON.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, PayloadError> {
    let text = std::str::from_utf8(bytes).map_err(PayloadError::new)?;
    check(text)?;
    Ok(text)
}

/// A string as JSON.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).expect("a string can be written to memory")
}

struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Checked)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Checked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_str<E>(self, _: &str) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_unit<E>(self) -> Result<Checked, E> {
        Ok(Checked)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Checked, A::Error> {
        while items.next_element::<Checked>()?.is_some() {}
        Ok(Checked)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Checked, A::Error> {
        while entries.next_entry::<Checked, Checked>()?.is_some() {}
        Ok(Checked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_is_refused() {
        for good in ["null", "[1,-2,3.5,\"\\u00e9\",{\"a\":[true]}]", "1e308"] {
            assert!(check(good).is_ok(), "{good}");
        }
        let deep = "[".repeat(100_000);
        for bad in ["", "1e999", "\"\\ud800\"", "[1", "{} {}", "{a:1}", "NaN", deep.as_str()] {
            assert!(check(bad).is_err(), "{}", &bad[..bad.len().min(20)]);
        }
        assert!(text(&[0xff]).is_err());
    }
}
