//! Parses request bodies as JSON. A field of the wrong kind isn't an error here: each dialect has its own message for that.
//! No message repeats the caller's input.

use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::surrogates::replace_unpaired_surrogates;

/// Some editors and libraries put it in front of UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The known fields of a body that is a JSON object. Unknown fields are skipped; if a field occurs twice, the last one
/// counts.
#[derive(Debug)]
pub(crate) struct Fields {
    values: Vec<(&'static str, Value)>,
}

/// A JSON value, as far as dialects need it: the strings of arrays, and the known members of objects.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Number(Number),
    Text(Arc<str>),
    List(List),
    Object(Vec<(&'static str, Self)>),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    Integer(i64),
    Float(f64),
}

/// The strings of an array up to the first element that is something else.
#[derive(Debug, Clone, Default)]
pub(crate) struct List {
    pub(crate) texts: Vec<Arc<str>>,
    /// Index and kind of the first element that isn't a string.
    pub(crate) odd: Option<(usize, JsonKind)>,
    /// Whether the array, or its first array, begins with a number, as for token ids.
    pub(crate) ids: bool,
    /// Whether there were more strings than allowed.
    pub(crate) too_many: bool,
}

/// The kind of a JSON value, in Go's terms, which are those of JSON except for `bool`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonKind {
    Null,
    Bool,
    Number,
    String,
    Array,
    Object,
}

/// Why a body can't be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadJson {
    #[error("the body is empty; send a JSON object")]
    Empty,
    #[error("the body is JSON that ends too early")]
    Cut,
    /// Nested deeper than 128 levels.
    #[error("the body is JSON that is nested too deep")]
    TooDeep,
    /// In a recognisable encoding: no JSON begins like this.
    #[error(transparent)]
    Encoded(Encoding),
    /// Not UTF-8 from this byte on, counted from 0.
    #[error(
        "the body isn't UTF-8: look at byte {at}; text in Latin-1 or another encoding must be encoded as UTF-8"
    )]
    NotUtf8 { at: usize },
    /// Any other syntax error; counted from 1.
    #[error("the body isn't JSON: look at line {line}, column {column}")]
    Syntax { line: usize, column: usize },
    #[error("the body is a JSON {}, not an object", .0.as_str())]
    NotAnObject(JsonKind),
}

/// An encoding that the first bytes of a body reveal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Encoding {
    #[error("the body is gzip and doesn't say so: send the header `content-encoding: gzip`")]
    Gzip,
    #[error("the body is UTF-16 or UTF-32: encode it as UTF-8, whatever the header says")]
    Utf16,
}

/// How a dialect parses an object.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    /// The fields to keep, as several lists.
    pub(crate) known: &'static [&'static [&'static str]],
    /// The members to keep of an object in a field.
    pub(crate) members: &'static [&'static [&'static str]],
    /// As Go does: keys match case-insensitively, and anything after the first value is ignored.
    pub(crate) as_go: bool,
    /// The most strings of an array to keep.
    pub(crate) max_texts: usize,
}

impl Fields {
    /// Parses a body.
    pub(crate) fn read(body: &[u8], reading: Reading) -> Result<Self, BadJson> {
        // For Go a byte order mark is an unexpected character.
        let body = body.strip_prefix(BYTE_ORDER_MARK).filter(|_| !reading.as_go).unwrap_or(body);
        if body.iter().all(u8::is_ascii_whitespace) {
            return Err(BadJson::Empty);
        }
        if let Some(encoding) = Encoding::of(body) {
            return Err(BadJson::Encoded(encoding));
        }
        let body = replace_unpaired_surrogates(body);
        let body =
            std::str::from_utf8(&body).map_err(|error| BadJson::NotUtf8 { at: error.valid_up_to() })?;
        let mut json = serde_json::Deserializer::from_str(body);
        let top = TopSeed(reading).deserialize(&mut json).map_err(|error| BadJson::of(&error))?;
        if !reading.as_go {
            json.end().map_err(|error| BadJson::of(&error))?;
        }
        match top {
            TopLevel::Object(fields) => Ok(fields),
            // In Go `null` is an object without fields.
            TopLevel::Other(JsonKind::Null) if reading.as_go => Ok(Self { values: Vec::new() }),
            TopLevel::Other(kind) => Err(BadJson::NotAnObject(kind)),
        }
    }

    /// Adds the members of an object in one of the fields, except those that are already set.
    pub(crate) fn adopt(&mut self, members: Vec<(&'static str, Value)>) {
        for (name, value) in members {
            if !self.values.iter().any(|(known, value)| *known == name && value.kind() != JsonKind::Null) {
                put(&mut self.values, name, value);
            }
        }
    }

    /// Whether a field is present, even as `null`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.values.iter().any(|(known, _)| *known == name)
    }

    /// Removes a field and returns its value; `Null` if it is missing.
    pub(crate) fn take(&mut self, name: &str) -> Value {
        let at = self.values.iter().position(|(known, _)| *known == name);
        at.map_or(Value::Null, |at| self.values.swap_remove(at).1)
    }
}

impl Value {
    pub(crate) fn kind(&self) -> JsonKind {
        match self {
            Self::Null => JsonKind::Null,
            Self::Bool(_) => JsonKind::Bool,
            Self::Number(_) => JsonKind::Number,
            Self::Text(_) => JsonKind::String,
            Self::List(_) => JsonKind::Array,
            Self::Object(_) => JsonKind::Object,
        }
    }

    /// The text; `None` for `null`.
    pub(crate) fn text(self) -> Result<Option<Arc<str>>, JsonKind> {
        match self {
            Self::Null => Ok(None),
            Self::Text(text) => Ok(Some(text)),
            other => Err(other.kind()),
        }
    }

    /// The Boolean; `None` for `null`.
    pub(crate) fn bool(self) -> Result<Option<bool>, JsonKind> {
        match self {
            Self::Null => Ok(None),
            Self::Bool(value) => Ok(Some(value)),
            other => Err(other.kind()),
        }
    }

    /// The whole number, which may be written with a fraction of zero; `None` for `null`.
    pub(crate) fn whole(self) -> Result<Option<i64>, JsonKind> {
        match self {
            // Numbers beyond 64 bits saturate, since no field accepts them.
            Self::Number(Number::Float(value)) if value.fract() == 0.0 => Ok(Some(value as i64)),
            other => other.integer(),
        }
    }

    /// The whole number as Go reads it; `None` for `null`.
    pub(crate) fn integer(self) -> Result<Option<i64>, JsonKind> {
        match self {
            Self::Null => Ok(None),
            Self::Number(Number::Integer(value)) => Ok(Some(value)),
            other => Err(other.kind()),
        }
    }
}

impl JsonKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Number => "number",
            Self::String => "string",
            Self::Array => "array",
            Self::Object => "object",
        }
    }
}

impl Encoding {
    fn of(body: &[u8]) -> Option<Self> {
        match *body {
            [0x1f, 0x8b, ..] => Some(Self::Gzip),
            // A byte order mark, or an ASCII character in two or four bytes.
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] | [0, ..] | [_, 0, ..] => Some(Self::Utf16),
            _ => None,
        }
    }
}

impl BadJson {
    /// Serde's message may quote the input, so only the position is kept.
    pub(crate) fn of(error: &serde_json::Error) -> Self {
        match error.classify() {
            serde_json::error::Category::Eof => Self::Cut,
            _ if error.to_string().starts_with("recursion limit exceeded") => Self::TooDeep,
            _ => Self::Syntax { line: error.line(), column: error.column() },
        }
    }
}

enum TopLevel {
    Object(Fields),
    Other(JsonKind),
}

struct TopSeed(Reading);

impl<'de> DeserializeSeed<'de> for TopSeed {
    type Value = TopLevel;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<TopLevel, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for TopSeed {
    type Value = TopLevel;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TopLevel, A::Error> {
        let mut values = Vec::with_capacity(4);
        while let Some(key) = map.next_key_seed(KeySeed { known: self.0.known, as_go: self.0.as_go })? {
            match key {
                Some(name) => {
                    let seed = ValueSeed { max_texts: self.0.max_texts, members: self.0.members };
                    put(&mut values, name, map.next_value_seed(seed)?);
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(TopLevel::Object(Fields { values }))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<TopLevel, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(TopLevel::Other(JsonKind::Array))
    }

    fn visit_unit<E>(self) -> Result<TopLevel, E> {
        Ok(TopLevel::Other(JsonKind::Null))
    }

    fn visit_bool<E>(self, _: bool) -> Result<TopLevel, E> {
        Ok(TopLevel::Other(JsonKind::Bool))
    }

    fn visit_str<E>(self, _: &str) -> Result<TopLevel, E> {
        Ok(TopLevel::Other(JsonKind::String))
    }

    fn visit_i64<E>(self, _: i64) -> Result<TopLevel, E> {
        Ok(TopLevel::Other(JsonKind::Number))
    }

    fn visit_u64<E>(self, _: u64) -> Result<TopLevel, E> {
        Ok(TopLevel::Other(JsonKind::Number))
    }

    fn visit_f64<E>(self, _: f64) -> Result<TopLevel, E> {
        Ok(TopLevel::Other(JsonKind::Number))
    }
}

/// Sets a field; the last value counts.
fn put(values: &mut Vec<(&'static str, Value)>, name: &'static str, value: Value) {
    match values.iter_mut().find(|(known, _)| *known == name) {
        Some(earlier) => earlier.1 = value,
        None => values.push((name, value)),
    }
}

/// Finds the known field of a key, without keeping the key.
struct KeySeed {
    known: &'static [&'static [&'static str]],
    as_go: bool,
}

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Option<&'static str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed {
    type Value = Option<&'static str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        let names = |known: &&&str| **known == key || self.as_go && known.eq_ignore_ascii_case(key);
        Ok(self.known.iter().copied().flatten().find(names).copied())
    }
}

#[derive(Clone, Copy)]
struct ValueSeed {
    max_texts: usize,
    members: &'static [&'static [&'static str]],
}

impl<'de> DeserializeSeed<'de> for ValueSeed {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, json: D) -> Result<Value, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueSeed {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::Text(text.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut list = List::default();
        let mut index = 0;
        // Nested elements are never kept: token ids are an array of arrays of numbers.
        while let Some(value) = seq.next_element_seed(Self { max_texts: 0, members: &[] })? {
            match value {
                _ if list.odd.is_some() => {}
                Value::Text(_) if list.texts.len() >= self.max_texts => list.too_many = true,
                Value::Text(text) => list.texts.push(text),
                odd => {
                    list.ids = index == 0
                        && match &odd {
                            Value::Number(_) => true,
                            Value::List(inner) => matches!(inner.odd, Some((0, JsonKind::Number))),
                            _ => false,
                        };
                    list.odd = Some((index, odd.kind()));
                }
            }
            index += 1;
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        // In a nested object Go matches keys case-sensitively.
        while let Some(key) = map.next_key_seed(KeySeed { known: self.members, as_go: false })? {
            match key {
                Some(name) => {
                    let seed = Self { max_texts: self.max_texts, members: &[] };
                    put(&mut values, name, map.next_value_seed(seed)?);
                }
                None => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(Value::Object(values))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(Number::Integer(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        let number = i64::try_from(value).map_or(Number::Float(value as f64), Number::Integer);
        Ok(Value::Number(number))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        if value.is_finite() { Ok(Value::Number(Number::Float(value))) } else { Err(E::custom("not finite")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: &[&str] = &["model", "input"];

    fn read(body: &str, as_go: bool) -> Result<Fields, BadJson> {
        Fields::read(body.as_bytes(), Reading { known: &[KNOWN], members: &[], as_go, max_texts: 3 })
    }

    #[test]
    fn fields_are_found_and_the_rest_is_skipped() {
        let mut fields =
            read(r#"{"x":{"model":[1]},"model":"a","input":"e","input":["b","c"],"model":"d"}"#, false)
                .unwrap();
        assert_eq!(fields.take("model").text().unwrap().as_deref(), Some("d"));
        let Value::List(list) = fields.take("input") else { panic!("a list") };
        assert_eq!(list.texts.len(), 2);
        assert_eq!(fields.take("nothing").kind(), JsonKind::Null);
    }

    #[test]
    fn half_of_a_pair_is_a_replacement_character_and_a_mark_in_front_is_none() {
        let mut fields =
            read("\u{feff}{\"model\":\"cut \\ud83d\",\"input\":[\"\\udc00\\u00e9\",\"b\"]}", false).unwrap();
        assert_eq!(fields.take("model").text().unwrap().as_deref(), Some("cut \u{fffd}"));
        let Value::List(list) = fields.take("input") else { panic!("a list") };
        assert_eq!(list.texts, ["\u{fffd}é".into(), "b".into()]);
    }

    #[test]
    fn whole_numbers_may_have_a_fraction_of_zero() {
        let number = |body: &str| read(body, false).unwrap().take("input");
        assert_eq!(number(r#"{"input":384.0}"#).whole(), Ok(Some(384)));
        assert_eq!(number(r#"{"input":-1e2}"#).whole(), Ok(Some(-100)));
        assert_eq!(number(r#"{"input":384.5}"#).whole(), Err(JsonKind::Number));
        assert_eq!(number(r#"{"input":384.0}"#).integer(), Err(JsonKind::Number));
    }

    #[test]
    fn the_first_odd_element_is_remembered() {
        for (body, odd) in [
            (r#"{"input":["a",5]}"#, (1, JsonKind::Number)),
            (r#"{"input":[[1,2]]}"#, (0, JsonKind::Array)),
            (r#"{"input":["a","b",null,7]}"#, (2, JsonKind::Null)),
        ] {
            let Value::List(list) = read(body, false).unwrap().take("input") else { panic!("a list") };
            assert_eq!(list.odd, Some(odd), "{body}");
        }
        let Value::List(list) = read(r#"{"input":["a","b","c","d"]}"#, false).unwrap().take("input") else {
            panic!("a list")
        };
        assert!(list.too_many && list.texts.len() == 3);
    }

    #[test]
    fn keys_and_trailing_bytes_as_go_reads_them() {
        let mut fields = read(r#"{"MODEL":"a"} and more"#, true).unwrap();
        assert_eq!(fields.take("model").kind(), JsonKind::String);
        assert!(matches!(read(r#"{"MODEL":"a"} and more"#, false), Err(BadJson::Syntax { .. })));
        assert_eq!(read(r#"{"MODEL":"a"}"#, false).unwrap().take("model").kind(), JsonKind::Null);
        assert_eq!(read("null", true).unwrap().take("model").kind(), JsonKind::Null);
    }

    #[test]
    fn errors_do_not_contain_the_input() {
        let deep = format!(r#"{{"input":{}"#, "[".repeat(100_000));
        for (body, expected) in [
            ("", BadJson::Empty),
            (" \n", BadJson::Empty),
            (r#"{"model""#, BadJson::Cut),
            ("[1,[2]]", BadJson::NotAnObject(JsonKind::Array)),
            ("null", BadJson::NotAnObject(JsonKind::Null)),
            (r#"{"input":NaN}"#, BadJson::Syntax { line: 1, column: 10 }),
            (&deep, BadJson::TooDeep),
        ] {
            assert_eq!(read(body, false).unwrap_err(), expected);
        }
        let secret = read(r#"{"model":secret}"#, false).unwrap_err().to_string();
        assert!(!secret.contains("secret"), "{secret}");
        let reading = Reading { known: &[KNOWN], members: &[], as_go: false, max_texts: 3 };
        let not_utf8 = Fields::read(b"{\"model\":\"\xff\xfe\"}", reading).unwrap_err();
        assert_eq!(not_utf8, BadJson::NotUtf8 { at: 10 });
        for (body, encoding) in [
            (&b"\x1f\x8b\x08\0"[..], Encoding::Gzip),
            (b"{\0\"\0", Encoding::Utf16),
            (b"\0{\0\"", Encoding::Utf16),
            (b"\xff\xfe{\0", Encoding::Utf16),
            (b"\xfe\xff\0{", Encoding::Utf16),
        ] {
            assert_eq!(Fields::read(body, reading).unwrap_err(), BadJson::Encoded(encoding));
        }
    }
}
