//! Values that are made up: of every kind of type, the same from the same seed, and such as can be written and read.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::num::{NonZeroI8, NonZeroU32};
use std::time::Duration;

use conflux_core::container::sampled;
use conflux_core::{Container, Context, Never, Payload, Random};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Values of many seeds.
fn samples<T: Payload>() -> Vec<T> {
    (0..300)
        .map(|seed| T::sample(&mut Random::new(seed)).unwrap_or_else(|error| panic!("seed {seed}: {error}")))
        .collect()
}

/// Makes values up twice, and has them written and read.
#[track_caller]
fn check<T: Serialize + DeserializeOwned + Debug + PartialEq + Send + Sync + 'static>() -> Vec<T> {
    let values = samples::<T>();
    assert_eq!(values, samples::<T>());
    for value in &values {
        let mut bytes = Vec::new();
        value.encode(&mut bytes).expect("it is written");
        let read = T::decode(&bytes).unwrap_or_else(|error| panic!("{value:?} is not read: {error}"));
        assert_eq!(&read, value);
    }
    values
}

/// How many different ones there are.
fn different<T: Debug>(values: &[T]) -> usize {
    values.iter().map(|value| format!("{value:?}")).collect::<BTreeSet<_>>().len()
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Id(u64);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Marker;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Method {
    Clear,
    AppendWord(String),
    Move(Id, i32, bool),
    Place { at: (u8, u8), what: Option<Inner>, how: Vec<Inner> },
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Inner {
    Nothing,
    Id(Id),
    Named { first_name: String, marker: Marker },
}

#[test]
fn each_variant_comes_up() {
    let values = check::<Method>();
    let kinds: BTreeSet<_> = values
        .iter()
        .map(|value| match value {
            Method::Clear => "clear",
            Method::AppendWord(_) => "append",
            Method::Move(..) => "move",
            Method::Place { what: None, .. } => "place",
            Method::Place { what: Some(Inner::Nothing), .. } => "place nothing",
            Method::Place { what: Some(Inner::Id(_)), .. } => "place id",
            Method::Place { what: Some(Inner::Named { .. }), .. } => "place named",
        })
        .collect();
    assert_eq!(kinds.len(), 7, "{kinds:?}");
    let places: BTreeSet<_> = values
        .iter()
        .filter_map(|value| if let Method::Place { how, .. } = value { Some(how.len()) } else { None })
        .collect();
    assert_eq!(places.into_iter().collect::<Vec<_>>(), [0, 1, 2, 3]);
}

#[test]
fn words_and_numbers_meet_and_are_odd_now_and_then() {
    let words = check::<String>();
    let common = words.iter().filter(|word| *word == "foo").count();
    assert!(common > 10, "{common}");
    assert!(words.iter().any(String::is_empty) && words.iter().any(|word| !word.is_ascii()));
    assert!(words.iter().any(|word| word.len() >= 100));
    let numbers = check::<u64>();
    assert!(numbers.iter().filter(|number| **number < 10).count() > 200);
    assert!(numbers.contains(&0) && numbers.contains(&1) && numbers.contains(&u64::MAX));
    assert!(numbers.iter().any(|number| (10..u64::MAX).contains(number)));
    assert!(check::<u8>().iter().any(|number| (10..u8::MAX).contains(number)));
    assert!(check::<u128>().iter().any(|number| (1 << 64..u128::MAX).contains(number)));
    let signed = check::<i8>();
    assert!(signed.contains(&i8::MIN) && signed.contains(&i8::MAX) && signed.contains(&-1));
    let floats = check::<f64>();
    for odd in [-1.0, 1e9, 1e-9, -0.5, 0.0, 0.5, 9.5] {
        assert!(floats.contains(&odd), "{odd}");
    }
    assert!(floats.iter().any(|float| (float * 2.0).fract() != 0.0 && *float > 0.001), "it has many digits");
    assert!(floats.iter().all(|float| *float == 1e9 || (-1.0..=9.5).contains(float)));
}

#[test]
fn every_kind_of_value() {
    check::<(u8, u16, u32, u64, u128)>();
    check::<(i8, i16, i32, i64, i128)>();
    check::<(bool, char, f32, f64, ())>();
    check::<(NonZeroU32, NonZeroI8, Duration)>();
    check::<Vec<BTreeMap<String, Option<u8>>>>();
    check::<BTreeMap<Inner2, [Id; 3]>>();
    check::<BTreeSet<u16>>();
    check::<Option<(Marker, u8)>>();
    check::<Box<str>>();
    check::<Result<Id, String>>();
    check::<std::net::IpAddr>();
    let values = check::<serde_json::Value>();
    for is in [
        serde_json::Value::is_null,
        serde_json::Value::is_boolean,
        serde_json::Value::is_number,
        serde_json::Value::is_string,
        serde_json::Value::is_array,
        serde_json::Value::is_object,
    ] {
        assert!(values.iter().any(is));
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Inner2 {
    One,
    Two,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Expression {
    Add(Box<Expression>, Box<Expression>),
    Multiply(Box<Expression>, Box<Expression>),
    Subtract(Box<Expression>, Box<Expression>),
    All(Vec<Expression>),
    Let { name: String, of: Box<Expression>, inside: Box<Expression> },
    Number(i64),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct List {
    item: u8,
    next: Option<Box<List>>,
    others: Vec<List>,
    named: BTreeMap<String, List>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Endless(Box<Endless>);

#[test]
fn what_holds_itself_comes_to_an_end() {
    assert!(different(&check::<Expression>()) > 150);
    assert!(different(&check::<List>()) > 150);
    let error = Endless::sample(&mut Random::new(1)).expect_err("it cannot end");
    assert!(error.to_string().contains("nests deeper than"), "{error}");
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", rename_all = "snake_case")]
enum Tagged {
    Unit,
    Named { from: u32, to: Option<u32>, note: String },
    Inner(Flags),
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Flags {
    is_on: bool,
    parts: Vec<Id>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "t", content = "c")]
enum Adjacent {
    Unit,
    Tuple(u8, String),
    Named { flags: Flags },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
enum Untagged {
    Number(u32),
    Word(String),
    Named { name: String, age: u8 },
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Outer {
    own: u16,
    #[serde(flatten)]
    flags: Flags,
    #[serde(flatten)]
    kind: Tagged,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Rest {
    own: u16,
    #[serde(flatten)]
    rest: BTreeMap<String, serde_json::Value>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Strict {
    #[serde(alias = "called", alias = "title")]
    name: String,
    #[serde(default)]
    count: u8,
}

#[test]
fn types_that_say_what_they_are_by_refusing() {
    let tagged = check::<Tagged>();
    assert!(tagged.iter().any(|value| matches!(value, Tagged::Unit)));
    assert!(tagged.iter().any(|value| matches!(value, Tagged::Named { .. })));
    assert!(tagged.iter().any(|value| matches!(value, Tagged::Inner(_))));
    let adjacent = check::<Adjacent>();
    assert!(adjacent.iter().any(|value| matches!(value, Adjacent::Tuple(..))));
    assert!(adjacent.iter().any(|value| matches!(value, Adjacent::Named { .. })));
    let untagged = check::<Untagged>();
    assert!(untagged.iter().any(|value| matches!(value, Untagged::Number(_))));
    assert!(untagged.iter().any(|value| matches!(value, Untagged::Named { .. })));
    assert!(different(&check::<Outer>()) > 100);
    assert!(check::<Rest>().iter().any(|value| !value.rest.is_empty()));
    check::<Strict>();
    check::<Vec<(Tagged, Strict)>>();
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String")]
struct Short(String);

impl TryFrom<String> for Short {
    type Error = String;

    fn try_from(text: String) -> Result<Short, String> {
        assert!(text.is_ascii(), "a bug in what reads it");
        if (1..=2).contains(&text.len()) { Ok(Short(text)) } else { Err(format!("{} is not short", text.len())) }
    }
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(try_from = "String")]
struct Date;

impl TryFrom<String> for Date {
    type Error = String;

    fn try_from(text: String) -> Result<Date, String> {
        Err(format!("{text} is no date"))
    }
}

impl From<Date> for String {
    fn from(_: Date) -> String {
        "1970-01-01".into()
    }
}

#[test]
fn types_that_refuse_and_panic_are_tried_again() {
    check::<Short>();
    check::<[Short; 4]>();
    let error = Date::sample(&mut Random::new(1)).expect_err("it takes none");
    assert!(error.to_string().contains("is no date"), "{error}");
    Never::sample(&mut Random::new(1)).expect_err("there is none");
}

struct Counter;

impl Container for Counter {
    type State = u64;
    type Method = u64;
    type Action = u64;
    type Rejection = Never;

    fn initial(&self) -> u64 {
        0
    }

    fn decide(&self, _: &u64, n: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
        Ok(Some(n))
    }

    fn reduce(&self, count: &mut u64, n: &u64, _: &Context<'_>) {
        *count = count.saturating_add(*n);
    }
}

/// One that knows better.
struct Picky;

impl Container for Picky {
    type State = u64;
    type Method = u64;
    type Action = u64;
    type Rejection = Never;

    fn initial(&self) -> u64 {
        0
    }

    fn decide(&self, _: &u64, n: u64, _: &Context<'_>) -> Result<Option<u64>, Never> {
        Ok(Some(n))
    }

    fn reduce(&self, _: &mut u64, _: &u64, _: &Context<'_>) {}

    fn sample(&self, random: &mut Random) -> Result<Option<u64>, String> {
        match random.below(3) {
            0 => Ok(None),
            1 => Ok(Some(42)),
            _ => panic!("no idea"),
        }
    }
}

#[test]
fn a_container_is_asked_for_calls() {
    let mut random = Random::new(7);
    assert!((0..100).all(|_| matches!(sampled(&Counter, &mut random), Ok(Some(_)))));
    let picky = std::sync::Arc::new(Picky);
    let calls: Vec<_> = (0..100).map(|_| sampled(&picky, &mut random)).collect();
    assert!(calls.contains(&Ok(None)) && calls.contains(&Ok(Some(42))));
    assert!(calls.iter().any(|call| call.as_ref().is_err_and(|error| error.contains("sample panicked: no idea"))));
}
