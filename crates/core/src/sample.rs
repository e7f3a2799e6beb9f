//! Values made up at random: a deserializer that invents what it is asked for.
//!
//! Types say what they are made of when they are read. Some say it only by refusing: an internally tagged enum asks for
//! anything and then misses its tag. So a value is tried again, at times with its last part drawn anew and all before it as
//! it was, and what was refused is learnt from.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;

use serde::de::{
    self, DeserializeOwned, DeserializeSeed, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    VariantAccess, Visitor,
};

use crate::context::Random;
use crate::panics;
use crate::payload::PayloadError;

/// How often it is tried: a type may refuse most of what it is given, and tell one thing about itself at a time.
const TRIES_MAX: usize = 512;

/// From this depth on nothing is begun that need not be.
const DEEP: u32 = 8;

/// A value that goes deeper is given up.
const DEPTH_MAX: u32 = 64;

/// So many parts are made before no more is begun that need not be.
const PARTS_MAX: usize = 512;

/// Few, so that calls meet at the same keys.
const WORDS: [&str; 8] = ["a", "b", "c", "foo", "bar", "baz", "one", "two"];

const ODD_WORDS: [&str; 7] = ["", " ", "A", "ß", "e\u{301}", "日本語", "\u{1f600} \"\\\n\0"];

/// Makes a value up. The same stream makes the same one.
///
/// # Errors
/// When the type refused all that it was given; the message is what it said last.
pub(crate) fn sample<T: DeserializeOwned>(random: &mut Random) -> Result<T, PayloadError> {
    LEARNT.take();
    let mut makings =
        Makings { random, drawn: Vec::new(), next: 0, begun: Vec::new(), deepest: 0, heights: BTreeMap::new() };
    let mut said = String::new();
    for _ in 0..TRIES_MAX {
        let sampler = Sampler { makings: &mut makings, depth: 0, key: None, field: None };
        match panics::caught("reading it", || T::deserialize(sampler)) {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(Refused(why))) => said = why,
            Err(failure) => said = failure.to_string(),
        }
        makings.go_back();
        LEARNT.with_borrow_mut(|learnt| learnt.given.clear());
    }
    Err(PayloadError(format!(
        "no value of it could be made up: all {TRIES_MAX} were refused, the last one with: {said}"
    )))
}

thread_local! {
    /// What the refusals of this value tell of its type. Beside them, as many are dropped on their way: those of an
    /// untagged enum are.
    static LEARNT: RefCell<Learnt> = RefCell::default();
}

#[derive(Default)]
struct Learnt {
    /// Fields that were missing somewhere.
    fields: Vec<&'static str>,
    /// Variants that would have been known somewhere.
    variants: Vec<&'static str>,
    /// What would have been taken somewhere.
    kinds: Vec<Kind>,
    /// The same of fields.
    fits: BTreeMap<String, Kind>,
    /// The variants that are names of what a field is.
    choices: BTreeMap<String, &'static [&'static str]>,
    /// What fields were given in this try, as a refusal tells it.
    given: Vec<(String, String)>,
    /// Fields have several names.
    has_aliases: bool,
}

/// What a value is that may be anything.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Null,
    Bool,
    Whole,
    Float,
    Word,
    List,
    Map,
}

impl Kind {
    /// Guesses what an expectation means, as serde and its users word it.
    fn expected(text: &str) -> Option<Kind> {
        let is = |words: &[&str]| words.iter().any(|word| text.contains(word));
        match text {
            _ if is(&["map", "struct", "flattened"]) => Some(Kind::Map),
            _ if is(&["sequence", "tuple", "array", "list"]) => Some(Kind::List),
            _ if is(&["string", "str", "char", "enum", "identifier"]) => Some(Kind::Word),
            _ if is(&["bool"]) => Some(Kind::Bool),
            _ if is(&["f32", "f64", "float"]) => Some(Kind::Float),
            _ if is(&["integer", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", "size", "128"]) => {
                Some(Kind::Whole)
            }
            _ if is(&["unit", "null"]) => Some(Kind::Null),
            _ => None,
        }
    }
}

fn learn<T: PartialEq>(of: impl FnOnce(&mut Learnt) -> &mut Vec<T>, new: impl IntoIterator<Item = T>) {
    LEARNT.with_borrow_mut(|learnt| {
        let known = of(learnt);
        for new in new {
            if !known.contains(&new) {
                known.push(new);
            }
        }
    });
}

/// Why a type does not take a value.
#[derive(Debug)]
pub(crate) struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Refused(message.to_string())
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        let text = expected.to_string();
        let came = unexpected.to_string();
        if let Some(kind) = Kind::expected(&text) {
            learn(|learnt| &mut learnt.kinds, [kind]);
            LEARNT.with_borrow_mut(|Learnt { fits, given, .. }| {
                let fields = given.iter().filter(|(_, given)| *given == came);
                fits.extend(fields.map(|(field, _)| (field.clone(), kind)));
            });
        }
        Refused(format!("invalid type: {came}, expected {text}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        learn(|learnt| &mut learnt.variants, expected.iter().copied());
        let came = Unexpected::Str(variant).to_string();
        LEARNT.with_borrow_mut(|Learnt { choices, given, .. }| {
            let fields = given.iter().filter(|(_, given)| *given == came);
            choices.extend(fields.map(|(field, _)| (field.clone(), expected)));
        });
        Refused(format!("unknown variant `{variant}`"))
    }

    fn unknown_field(field: &str, expected: &'static [&'static str]) -> Self {
        learn(|learnt| &mut learnt.fields, expected.iter().copied());
        Refused(format!("unknown field `{field}`"))
    }

    fn missing_field(field: &'static str) -> Self {
        learn(|learnt| &mut learnt.fields, [field]);
        Refused(format!("missing field `{field}`"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        LEARNT.with_borrow_mut(|learnt| learnt.has_aliases = true);
        Refused(format!("duplicate field `{field}`"))
    }
}

/// An enum's name, and those of its variants.
type Variants = (&'static str, &'static [&'static str]);

/// What the parts of a value share.
struct Makings<'r> {
    random: &'r mut Random,
    /// What was drawn for this value, and how far that is used up: the beginning may be that of the value before.
    drawn: Vec<u64>,
    next: usize,
    /// How much was drawn when each of its parts was begun.
    begun: Vec<usize>,
    /// How deep the value went since that was last set.
    deepest: u32,
    /// Of each variant that was made, how deep it went at least: so a type that holds itself comes to an end.
    heights: BTreeMap<Variants, BTreeMap<u32, u32>>,
}

impl Makings<'_> {
    fn draw(&mut self) -> u64 {
        let drawn = self.drawn.get(self.next).copied().unwrap_or_else(|| {
            let new = self.random.next_u64();
            self.drawn.push(new);
            new
        });
        self.next += 1;
        drawn
    }

    /// Prepares another try: with another last part, another part and all behind it, or all of it.
    fn go_back(&mut self) {
        let parts = self.begun.len() as u64;
        let part = match self.random.below(4) {
            0 | 1 => None,
            2 if parts > 0 => Some(self.begun[self.random.below(parts) as usize]),
            _ => self.begun.last().copied(),
        };
        self.drawn.truncate(part.unwrap_or(0));
        self.begun.clear();
        self.next = 0;
    }
}

/// Invents one part of a value.
struct Sampler<'a, 'r> {
    makings: &'a mut Makings<'r>,
    depth: u32,
    /// It is a key, and ought to be this if the type takes names as they come.
    key: Option<&'static str>,
    /// The field that it is the value of, if that is known.
    field: Option<String>,
}

impl<'r> Sampler<'_, 'r> {
    fn again(&mut self) -> Sampler<'_, 'r> {
        Sampler { makings: self.makings, depth: self.depth, key: None, field: None }
    }

    /// A part of this part.
    fn inside(&mut self) -> Result<Sampler<'_, 'r>, Refused> {
        if self.depth >= DEPTH_MAX {
            return Err(Refused(format!("it nests deeper than {DEPTH_MAX}")));
        }
        self.makings.begun.push(self.makings.next);
        self.makings.deepest = self.makings.deepest.max(self.depth + 1);
        Ok(Sampler { makings: self.makings, depth: self.depth + 1, key: None, field: None })
    }

    fn is_deep(&self) -> bool {
        self.depth >= DEEP || self.makings.begun.len() >= PARTS_MAX
    }

    /// A number in `0..bound`, as [`Random::below`] makes it.
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.makings.draw()) * u128::from(bound)) >> 64) as u64
    }

    /// True once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }

    fn one_of<T: Copy>(&mut self, among: &[T]) -> T {
        among[self.below(among.len() as u64) as usize]
    }

    /// How many parts there are where any number will do.
    fn count(&mut self) -> usize {
        if self.is_deep() { 0 } else { self.below(4) as usize }
    }

    /// A small number mostly, so that different calls mean the same thing.
    fn whole(&mut self, max: u128) -> u128 {
        match self.below(32) {
            0 => max,
            1 => {
                let wide = u128::from(self.makings.draw()) << 64 | u128::from(self.makings.draw());
                wide % max.saturating_add(1).max(1)
            }
            2..=5 => 0,
            6..=9 => 1,
            _ => u128::from(self.below(10)).min(max),
        }
    }

    fn signed(&mut self, max: i128) -> i128 {
        let number = self.whole(max.unsigned_abs()).cast_signed();
        match self.once_in(6) {
            false => number,
            true if number == max => -max - 1,
            true => -number,
        }
    }

    fn float(&mut self) -> f64 {
        match self.below(8) {
            0 => Random::new(self.makings.draw()).unit(),
            1 => self.one_of(&[-1.0, 1e9, 1e-9, -0.5]),
            _ => self.below(20) as f64 / 2.0,
        }
    }

    fn word(&mut self) -> String {
        match self.below(16) {
            0 => self.one_of(&ODD_WORDS).to_owned(),
            1 => self.one_of(&WORDS).repeat(100),
            _ => self.one_of(&WORDS).to_owned(),
        }
    }

    fn kind(&mut self) -> Kind {
        let (kinds, has_names, fits) = LEARNT.with_borrow(|learnt| {
            let fits = self.field.as_ref().and_then(|field| learnt.fits.get(field));
            (learnt.kinds.clone(), !learnt.fields.is_empty(), fits.copied())
        });
        let mut kind = match self.below(20) {
            0..=7 => Kind::Word,
            8..=13 => Kind::Whole,
            14 | 15 => Kind::Bool,
            16 => Kind::Null,
            17 => Kind::Float,
            18 => Kind::List,
            _ => Kind::Map,
        };
        if !kinds.is_empty() && self.once_in(2) {
            kind = self.one_of(&kinds);
        }
        if has_names && self.once_in(if self.depth == 0 { 2 } else { 4 }) {
            kind = Kind::Map;
        }
        if let Some(fits) = fits.filter(|_| !self.once_in(8)) {
            kind = fits;
        }
        if self.is_deep() && matches!(kind, Kind::List | Kind::Map) { Kind::Null } else { kind }
    }

    /// Remembers what a field is given.
    fn give(&mut self, given: Unexpected<'_>) {
        if let Some(field) = self.field.take() {
            LEARNT.with_borrow_mut(|learnt| learnt.given.push((field, given.to_string())));
        }
    }

    /// Fields that are missed somewhere: all of them or some, each once.
    fn names(&mut self) -> Vec<&'static str> {
        let mut names = LEARNT.with_borrow(|learnt| learnt.fields.clone());
        if self.once_in(2) {
            names.retain(|_| !self.once_in(3));
        }
        names
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $draw:ident $number:ty as $wide:ty),* $(,)?) => {
        $(fn $method<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
            let number = self.$draw(<$wide>::from(<$number>::MAX));
            visitor.$visit(<$number>::try_from(number).expect("it is in the range"))
        })*
    };
}

impl<'de> de::Deserializer<'de> for Sampler<'_, '_> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        if self.key.is_some() {
            return self.deserialize_identifier(visitor);
        }
        match self.kind() {
            Kind::Null => {
                self.give(Unexpected::Unit);
                visitor.visit_unit()
            }
            Kind::Bool => {
                let is = self.once_in(2);
                self.give(Unexpected::Bool(is));
                visitor.visit_bool(is)
            }
            Kind::Whole if self.once_in(4) => {
                let number = self.signed(i64::MAX.into()) as i64;
                self.give(Unexpected::Signed(number));
                visitor.visit_i64(number)
            }
            Kind::Whole => {
                let number = self.whole(u64::MAX.into()) as u64;
                self.give(Unexpected::Unsigned(number));
                visitor.visit_u64(number)
            }
            Kind::Float => {
                let number = self.float();
                self.give(Unexpected::Float(number));
                visitor.visit_f64(number)
            }
            Kind::Word => {
                // It may be the name of a variant, which stands for itself.
                let (choices, variants) = LEARNT.with_borrow(|learnt| {
                    let choices = self.field.as_ref().and_then(|field| learnt.choices.get(field));
                    (choices.copied(), learnt.variants.clone())
                });
                let word = match choices {
                    Some(choices) if !self.once_in(8) => self.one_of(choices).to_owned(),
                    None if !variants.is_empty() && self.once_in(4) => self.one_of(&variants).to_owned(),
                    _ => self.word(),
                };
                self.give(Unexpected::Str(&word));
                visitor.visit_string(word)
            }
            Kind::List => {
                let field = self.field.as_ref().map(|field| format!("{field}[]"));
                self.give(Unexpected::Seq);
                let left = self.count();
                visitor.visit_seq(Items { sampler: self, left, field })
            }
            Kind::Map => {
                self.give(Unexpected::Map);
                let mut names: Vec<String> = self.names().into_iter().map(str::to_owned).collect();
                for _ in 0..self.count().min(2) {
                    let word = self.word();
                    if !names.contains(&word) {
                        names.push(word);
                    }
                }
                visitor.visit_map(Fields { sampler: self, names: names.into_iter(), name: None })
            }
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_bool(self.once_in(2))
    }

    numbers! {
        deserialize_u8 visit_u8 whole u8 as u128,
        deserialize_u16 visit_u16 whole u16 as u128,
        deserialize_u32 visit_u32 whole u32 as u128,
        deserialize_u64 visit_u64 whole u64 as u128,
        deserialize_u128 visit_u128 whole u128 as u128,
        deserialize_i8 visit_i8 signed i8 as i128,
        deserialize_i16 visit_i16 signed i16 as i128,
        deserialize_i32 visit_i32 signed i32 as i128,
        deserialize_i64 visit_i64 signed i64 as i128,
        deserialize_i128 visit_i128 signed i128 as i128,
    }

    #[expect(clippy::cast_possible_truncation, reason = "any float will do")]
    fn deserialize_f32<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_f32(self.float() as f32)
    }

    fn deserialize_f64<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_f64(self.float())
    }

    fn deserialize_char<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_char(self.one_of(&['a', 'b', 'c', 'Z', '0', ' ', 'ß', '\u{1f600}']))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_string(visitor)
    }

    fn deserialize_string<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_string(self.word())
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_byte_buf(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        // Those of ids and hashes are common.
        let length = self.one_of(&[0, 1, 2, 3, 4, 16, 16, 32]);
        visitor.visit_byte_buf((0..length).map(|_| self.below(256) as u8).collect())
    }

    fn deserialize_option<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        if self.is_deep() || self.once_in(3) { visitor.visit_none() } else { visitor.visit_some(self.inside()?) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(mut self, _: &'static str, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self.inside()?)
    }

    fn deserialize_seq<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        let left = self.count();
        visitor.visit_seq(Items { sampler: self, left, field: None })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, left: usize, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(Items { sampler: self, left, field: None })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        left: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_seq(Items { sampler: self, left, field: None })
    }

    fn deserialize_map<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        let (names, left) = (self.names(), self.count());
        visitor.visit_map(Entries { sampler: self, names: names.into_iter(), name: None, left })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        mut self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let mut names: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
        if LEARNT.with_borrow(|learnt| learnt.has_aliases) {
            names.retain(|_| !self.once_in(2));
        }
        visitor.visit_map(Fields { sampler: self, names: names.into_iter(), name: None })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        mut self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        if variants.is_empty() {
            return Err(Refused(format!("{name} has no variants")));
        }
        let mut chosen = self.below(variants.len() as u64) as u32;
        let heights = self.makings.heights.get(&(name, variants));
        if let Some(lowest) = heights.and_then(|heights| heights.iter().min_by_key(|(_, height)| **height))
            && self.is_deep()
        {
            chosen = *lowest.0;
        }
        visitor.visit_enum(Variant { sampler: self, of: (name, variants), chosen })
    }

    fn deserialize_identifier<V: Visitor<'de>>(mut self, visitor: V) -> Result<V::Value, Refused> {
        let variants = LEARNT.with_borrow(|learnt| learnt.variants.clone());
        match self.key {
            Some(name) => visitor.visit_str(name),
            None if !variants.is_empty() => visitor.visit_str(self.one_of(&variants)),
            None => self.deserialize_string(visitor),
        }
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    /// As in the log.
    fn is_human_readable(&self) -> bool {
        false
    }
}

/// So many parts, one after another.
struct Items<'a, 'r> {
    sampler: Sampler<'a, 'r>,
    left: usize,
    /// What the items are called, if that is known.
    field: Option<String>,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        let field = self.field.clone();
        seed.deserialize(Sampler { field, ..self.sampler.inside()? }).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

/// Parts whose names are known.
struct Fields<'a, 'r> {
    sampler: Sampler<'a, 'r>,
    names: std::vec::IntoIter<String>,
    /// The one whose value is next.
    name: Option<String>,
}

impl<'de> MapAccess<'de> for Fields<'_, '_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        let Some(name) = self.names.next() else { return Ok(None) };
        self.name = Some(name.clone());
        let name: de::value::StringDeserializer<Refused> = name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Refused> {
        let field = self.name.take();
        seed.deserialize(Sampler { field, ..self.sampler.inside()? })
    }
}

/// Parts with keys of whatever type. A struct that has another one flattened into it looks like this: it takes keys as
/// they come, and is given those that were missed.
struct Entries<'a, 'r> {
    sampler: Sampler<'a, 'r>,
    names: std::vec::IntoIter<&'static str>,
    /// The one whose value is next.
    name: Option<&'static str>,
    left: usize,
}

impl<'de> MapAccess<'de> for Entries<'_, '_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        let name = self.names.next();
        self.name = name;
        if name.is_none() {
            let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
            self.left = left;
        }
        let mut inside = self.sampler.inside()?;
        inside.key = name;
        seed.deserialize(inside).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Refused> {
        let field = self.name.take().map(str::to_owned);
        seed.deserialize(Sampler { field, ..self.sampler.inside()? })
    }
}

/// A variant that was chosen.
struct Variant<'a, 'r> {
    sampler: Sampler<'a, 'r>,
    of: Variants,
    chosen: u32,
}

impl<'r> Variant<'_, 'r> {
    /// Makes what is in the variant, and remembers how deep that went.
    fn made<T>(mut self, make: impl FnOnce(Sampler<'_, 'r>) -> Result<T, Refused>) -> Result<T, Refused> {
        let depth = self.sampler.depth;
        let deepest = std::mem::replace(&mut self.sampler.makings.deepest, depth);
        let made = make(self.sampler.again())?;
        let makings = self.sampler.makings;
        let height = makings.heights.entry(self.of).or_default().entry(self.chosen).or_insert(u32::MAX);
        *height = (*height).min(makings.deepest - depth);
        makings.deepest = makings.deepest.max(deepest);
        Ok(made)
    }
}

impl<'de> EnumAccess<'de> for Variant<'_, '_> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Refused> {
        let name: de::value::StrDeserializer<'static, Refused> = self.of.1[self.chosen as usize].into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        self.made(|_| Ok(()))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Refused> {
        self.made(|mut sampler| seed.deserialize(sampler.inside()?))
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        self.made(|sampler| de::Deserializer::deserialize_tuple(sampler, len, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Refused> {
        self.made(|sampler| de::Deserializer::deserialize_struct(sampler, "", fields, visitor))
    }
}
