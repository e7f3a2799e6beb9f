//! From a name and positional arguments to a method value, through serde alone.

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};
use serde_json::Value;

/// How much of an unknown name is shown.
const NAME_SHOWN_CHARS: usize = 80;

/// A call that no method could be made of.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// There is no such method.
    #[error("there is no method {name:?}; {}", hint(near, methods))]
    UnknownMethod {
        /// What came, shortened.
        name: String,
        /// The names most like it, the likeliest first.
        near: Vec<String>,
        /// All there are.
        methods: Vec<String>,
    },
    /// The method is there, its arguments are not such as it takes.
    #[error("{name}: {message}")]
    Arguments {
        /// The method.
        name: String,
        /// What was wrong, and what is expected.
        message: String,
    },
}

impl CallError {
    /// The error for a name that is not among `methods`.
    #[must_use]
    pub fn unknown_method(name: &str, methods: Vec<String>) -> CallError {
        let mut near: Vec<(usize, &String)> = methods
            .iter()
            .map(|method| (edits(name, method), method))
            .filter(|(edits, method)| *edits <= 1 + method.len().min(name.len()) / 3 || method.contains(name))
            .collect();
        near.sort();
        // It goes back to whoever sent it, who may have sent anything.
        let name = match name.char_indices().nth(NAME_SHOWN_CHARS) {
            None => name.to_owned(),
            Some((end, _)) => format!("{}…", &name[..end]),
        };
        let near = near.into_iter().take(3).map(|(_, method)| method.clone()).collect();
        CallError::UnknownMethod { name, near, methods }
    }
}

fn hint(near: &[String], methods: &[String]) -> String {
    match (near, methods) {
        (_, []) => "the container has none".into(),
        ([], methods) => format!("the methods are {}", methods.join(", ")),
        (near, _) => format!("did you mean {}?", near.join(" or ")),
    }
}

/// Levenshtein's distance between two names, case ignored.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.to_lowercase().chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.to_lowercase().chars().take(256).enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let change = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// The variant names of an enum, as serde writes them.
pub(crate) fn variants<T: DeserializeOwned>() -> Vec<String> {
    let mut names = None;
    // The probe makes the type say what it is and always fails; only what it said matters.
    let _ = T::deserialize(Probe(&mut names));
    names.unwrap_or_default().iter().map(|name| (*name).to_owned()).collect()
}

pub(crate) fn from_call<T: DeserializeOwned>(name: &str, arguments: Vec<Value>) -> Result<T, CallError> {
    let methods = variants::<T>();
    if !methods.iter().any(|method| method == name) {
        return Err(CallError::unknown_method(name, methods));
    }
    T::deserialize(Call { name, arguments })
        .map_err(|error| CallError::Arguments { name: name.into(), message: error.to_string() })
}

type Error = de::value::Error;

struct Probe<'a>(&'a mut Option<&'static [&'static str]>);

impl<'de> de::Deserializer<'de> for Probe<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
        Err(de::Error::custom("a probe holds no value"))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        variants: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Error> {
        *self.0 = Some(variants);
        Err(de::Error::custom("a probe holds no value"))
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

struct Call<'a> {
    name: &'a str,
    arguments: Vec<Value>,
}

impl<'de> de::Deserializer<'de> for Call<'_> {
    type Error = Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_enum(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

impl<'de> EnumAccess<'de> for Call<'_> {
    type Error = Error;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Error> {
        let name = self.name.to_owned();
        let variant: de::value::StringDeserializer<Error> = name.into_deserializer();
        Ok((seed.deserialize(variant)?, self))
    }
}

impl Call<'_> {
    fn expect(&self, count: usize) -> Result<(), Error> {
        if self.arguments.len() == count {
            return Ok(());
        }
        let s = if count == 1 { "" } else { "s" };
        Err(de::Error::custom(format!("takes {count} argument{s}, but {} came", self.arguments.len())))
    }
}

fn value_error(error: &serde_json::Error) -> Error {
    de::Error::custom(error)
}

impl<'de> VariantAccess<'de> for Call<'_> {
    type Error = Error;

    fn unit_variant(self) -> Result<(), Error> {
        self.expect(0)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(mut self, seed: T) -> Result<T::Value, Error> {
        self.expect(1)?;
        let argument = self.arguments.pop().expect("one argument was counted");
        seed.deserialize(argument).map_err(|error| value_error(&error))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Error> {
        self.expect(len)?;
        visitor.visit_seq(Positional { arguments: self.arguments.into_iter(), nth: 0 })
    }

    fn struct_variant<V: Visitor<'de>>(
        mut self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        // One object names the fields itself; else they come in the order of their declaration.
        let entries: Vec<(String, Value)> = match self.arguments.as_mut_slice() {
            [Value::Object(object)] => std::mem::take(object).into_iter().collect(),
            _ => {
                self.expect(fields.len())?;
                fields.iter().map(|field| (*field).to_owned()).zip(self.arguments).collect()
            }
        };
        visitor.visit_map(Named { entries: entries.into_iter(), value: None })
    }
}

/// Arguments in their order; an error says which of them it is about.
struct Positional {
    arguments: std::vec::IntoIter<Value>,
    nth: usize,
}

impl<'de> SeqAccess<'de> for Positional {
    type Error = Error;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Error> {
        let Some(value) = self.arguments.next() else { return Ok(None) };
        self.nth += 1;
        let named = |error| de::Error::custom(format!("argument {}: {error}", self.nth));
        seed.deserialize(value).map(Some).map_err(named)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.arguments.len())
    }
}

/// Arguments by name; an error says which of them it is about.
struct Named {
    entries: std::vec::IntoIter<(String, Value)>,
    value: Option<(String, Value)>,
}

impl<'de> MapAccess<'de> for Named {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, value)) = self.entries.next() else { return Ok(None) };
        let key: de::value::StringDeserializer<Error> = name.clone().into_deserializer();
        self.value = Some((name, value));
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let (name, value) = self.value.take().expect("a value is asked for after its key");
        seed.deserialize(value).map_err(|error| de::Error::custom(format!("argument `{name}`: {error}")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;
    use serde_json::json;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Method {
        Clear,
        Append(String),
        Swap(u32, u32),
        Move { from: u32, to: Option<u32> },
    }

    fn call(name: &str, arguments: Value) -> Result<Method, CallError> {
        let Value::Array(arguments) = arguments else { panic!("arguments are an array") };
        from_call(name, arguments)
    }

    #[test]
    fn every_kind_of_variant() {
        assert_eq!(variants::<Method>(), ["clear", "append", "swap", "move"]);
        assert_eq!(call("clear", json!([])), Ok(Method::Clear));
        assert_eq!(call("append", json!(["foo"])), Ok(Method::Append("foo".into())));
        assert_eq!(call("swap", json!([1, 2])), Ok(Method::Swap(1, 2)));
        assert_eq!(call("move", json!([{"from": 1}])), Ok(Method::Move { from: 1, to: None }));
        assert_eq!(call("move", json!([1, 2])), Ok(Method::Move { from: 1, to: Some(2) }));
        assert!(variants::<Vec<u8>>().is_empty());
    }

    #[test]
    fn names_that_are_near_are_offered() {
        for (a, b, apart) in [
            ("kitten", "sitting", 3),
            ("flaw", "lawn", 2),
            ("Ab", "aB", 0),
            ("", "abc", 3),
            ("abc", "", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!(edits(a, b), apart, "{a} {b}");
        }
        let methods = || ["append", "prepend", "swap", "swat", "swan", "swam"].map(str::to_owned).to_vec();
        let near = |name| match CallError::unknown_method(name, methods()) {
            CallError::UnknownMethod { near, .. } => near.join(" "),
            other => panic!("{other}"),
        };
        // One slip in any name, and one more for each three letters; or a part of a name, however short.
        assert_eq!(near("apnd"), "append");
        assert_eq!(near("xxxend"), "append");
        assert_eq!(near("xxxxnd"), "");
        assert_eq!(near("pen"), "append prepend");
        assert_eq!(near("sway"), "swam swan swap", "three at most");
    }

    #[test]
    fn errors_name_what_was_wrong() {
        let text = |name, arguments| call(name, arguments).unwrap_err().to_string();
        assert_eq!(text("apend", json!([])), "there is no method \"apend\"; did you mean append?");
        assert_eq!(text("x", json!([])), "there is no method \"x\"; the methods are clear, append, swap, move");
        assert_eq!(text("append", json!([])), "append: takes 1 argument, but 0 came");
        assert_eq!(text("append", json!([1])), "append: invalid type: integer `1`, expected a string");
        assert_eq!(text("clear", json!([1])), "clear: takes 0 arguments, but 1 came");
        assert_eq!(text("move", json!([{}])), "move: missing field `from`");
        assert_eq!(text("swap", json!([0, -1])), "swap: argument 2: invalid value: integer `-1`, expected u32");
        assert_eq!(text("move", json!(["x", 1])), "move: argument `from`: invalid type: string \"x\", expected u32");
        let long = text(&"x".repeat(1 << 20), json!([]));
        assert!(long.len() < 300, "{long}");
    }
}
