//! The fields of a JSON line, with their values as written, and what they say about the text.

use std::borrow::Cow;
use std::fmt;

use embed_core::{Error, ErrorKind, Role};
use embed_gateway::replace_unpaired_surrogates;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

/// The fields of an object, in their order. If a name occurs twice, the last value counts.
pub(crate) struct LineFields(Vec<(String, Box<RawValue>)>);

/// What a text is for, under the names that models and servers give it. docs/gateway.md has the same for requests.
const ROLES: [&str; 7] =
    ["role", "input_type", "task", "task_type", "prompt_name", "prompt_type", "text_type"];

/// A prefix of a text. A role's prefix is honoured; anything else would change the vector.
const INSTRUCTIONS: [&str; 6] =
    ["prompt", "prefix", "instruction", "instruct", "query_instruction", "text_instruction"];

/// Fields that would change the vector and can't be set for a single row.
const REFUSED: [&str; 8] = [
    "dimensions",
    "output_dimension",
    "output_dimensionality",
    "truncate_dim",
    "truncate",
    "truncation",
    "normalize",
    "pooling",
];

/// Values of the role's fields that don't name a role: they say what a model does, not what a text is for.
const NEUTRAL: [&str; 5] = ["embed", "embedding", "embeddings", "feature-extraction", "sentence-similarity"];

impl LineFields {
    /// Reads a line. Unpaired halves of UTF-16 pairs are read as U+FFFD.
    pub(crate) fn read(line: &str) -> Result<Self, Error> {
        let read = serde_json::from_str(line);
        read.or_else(|error| match replace_unpaired_surrogates(line.as_bytes()) {
            // In the name of a field; values stay as written.
            Cow::Owned(line) => serde_json::from_slice(&line),
            Cow::Borrowed(_) => Err(error),
        })
        // serde_json's message may quote the line, so only the position is reported.
        .map_err(|error| refused("the line is not a JSON object").with_context("column", error.column()))
    }

    /// The fields, in their order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(name, value)| (name.as_str(), &**value))
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of a field.
    pub(crate) fn get(&self, name: &str) -> Option<&RawValue> {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| &**value)
    }

    /// Removes a field and returns its value.
    pub(crate) fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let at = self.0.iter().position(|(field, _)| field == name)?;
        Some(self.0.remove(at).1)
    }

    /// The value of a field; `null` counts as missing.
    pub(crate) fn parse<'a, T: Deserialize<'a>>(
        &'a self,
        name: &str,
        wrong: &str,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(name) else { return Ok(None) };
        // serde_json's message may quote the value.
        serde_json::from_str(value.get()).map_err(|_| refused(wrong))
    }

    /// A field that is a string or `null`. An unpaired half of a UTF-16 pair, as left by a program that cut a string
    /// between the halves, becomes U+FFFD.
    pub(crate) fn string(&self, name: &str, wrong: &str) -> Result<Option<String>, Error> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let value = replace_unpaired_surrogates(value.get().as_bytes());
        serde_json::from_slice(&value).map_err(|_| refused(wrong))
    }

    /// Takes the row's id; `null` counts as missing. It is written again, so halves of UTF-16 pairs are replaced.
    pub(crate) fn take_id(&mut self) -> Option<Box<RawValue>> {
        let id = self.take("id").filter(|id| id.get() != "null")?;
        let whole = match replace_unpaired_surrogates(id.get().as_bytes()) {
            Cow::Borrowed(_) => None,
            Cow::Owned(whole) => String::from_utf8(whole).ok(),
        };
        whole.and_then(|whole| RawValue::from_string(whole).ok()).or(Some(id))
    }

    /// The text to embed.
    pub(crate) fn text(&self) -> Result<Option<String>, Error> {
        self.string("text", "the row's `text` is not a string")
    }

    /// Whether a field of this name says what the text is for, or would change the vector otherwise.
    #[cfg(feature = "parquet")]
    pub(crate) fn is_of_role(name: &str) -> bool {
        [&ROLES[..], &INSTRUCTIONS, &REFUSED].iter().any(|names| names.contains(&name))
    }

    /// What the row's text is for, if it says so. Fields that would change the vector in another way are refused.
    pub(crate) fn role(&self) -> Result<Option<Role>, Error> {
        let mut found: Option<Role> = None;
        for (is_instruction, names) in [(false, &ROLES[..]), (true, &INSTRUCTIONS[..])] {
            for name in names {
                let wrong = || {
                    let what = "a field would change the row's vector, and says neither query nor document; \
                                correct it, or give it another name";
                    refused(what).with_context("field", name)
                };
                let Some(word) = self.string(name, "").map_err(|_| wrong())? else { continue };
                let word = word.trim().trim_end_matches(':');
                if NEUTRAL.contains(&word) || (is_instruction && word.is_empty()) {
                    continue;
                }
                let role = role_of(word).ok_or_else(wrong)?;
                if found.is_some_and(|earlier| earlier != role) {
                    let what = "two fields of the row give its text different roles";
                    return Err(refused(what).with_context("field", name));
                }
                found = Some(role);
            }
        }
        let has = |name: &&&str| self.get(name).is_some_and(|value| value.get() != "null");
        if let Some(name) = REFUSED.iter().find(has) {
            let what = "a field would change the vector of this row alone, which can't be; take it out, or rename it";
            return Err(refused(what).with_context("field", name));
        }
        Ok(found)
    }
}

/// The role that a value names: the last of the words that other software joins with dots, underscores, dashes and
/// spaces, as in `retrieval.passage` and `search_query`.
fn role_of(words: &str) -> Option<Role> {
    let words = words.to_ascii_lowercase();
    let mut words = words.split(['.', '_', '-', ' ']).rev();
    let role = match words.next()? {
        "query" | "queries" | "question" => Role::Query,
        "document" | "documents" | "doc" | "passage" | "passages" => Role::Document,
        _ => return None,
    };
    words.all(|word| matches!(word, "search" | "retrieval" | "text" | "web" | "code")).then_some(role)
}

pub(crate) fn refused(message: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

impl<'de> Deserialize<'de> for LineFields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = LineFields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<LineFields, A::Error> {
                let mut fields: Vec<(String, Box<RawValue>)> = Vec::new();
                while let Some((name, value)) = object.next_entry::<String, _>()? {
                    match fields.iter_mut().find(|(field, _)| *field == name) {
                        Some((_, earlier)) => *earlier = value,
                        None => fields.push((name, value)),
                    }
                }
                Ok(LineFields(fields))
            }
        }

        deserializer.deserialize_map(Object)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> LineFields {
        LineFields::read(line).unwrap()
    }

    #[test]
    fn roles_are_honoured_under_every_name_or_refused() {
        for (fields, role) in [
            (r#""role":"query""#, Some(Role::Query)),
            (r#""role":"document""#, Some(Role::Document)),
            (r#""role":null"#, None),
            (r#""input_type":"search_query""#, Some(Role::Query)),
            (r#""task":"retrieval.passage""#, Some(Role::Document)),
            (r#""task_type":"RETRIEVAL_QUERY""#, Some(Role::Query)),
            (r#""prompt_name":"query""#, Some(Role::Query)),
            (r#""prompt":"query: ""#, Some(Role::Query)),
            (r#""prompt":"","task":"feature-extraction""#, None),
            (r#""role":"query","task":"retrieval.query""#, Some(Role::Query)),
            // The fields of `embed encode`'s rows, and others that don't concern the vector.
            (r#""dimension":384,"truncated":false,"model":"m","title":"t","type":"query","meta":{}"#, None),
        ] {
            let fields = read(&format!(r#"{{"text":"x",{fields}}}"#));
            assert_eq!(fields.role().unwrap(), role, "{:?}", fields.iter().last().map(|(name, _)| name));
        }
        for (fields, name) in [
            (r#""role":"user""#, "role"),
            (r#""role":5"#, "role"),
            (r#""role":"""#, "role"),
            (r#""task":"classification""#, "task"),
            (r#""role":"query","input_type":"document""#, "input_type"),
            (r#""prompt":"secret""#, "prompt"),
            (r#""dimensions":64"#, "dimensions"),
        ] {
            let error = read(&format!(r#"{{"text":"x",{fields}}}"#)).role().unwrap_err().to_string();
            assert!(error.contains(&format!("field: {name}")) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn half_a_pair_is_the_replacement_character() {
        for (text, expected) in [
            (r"cut \ud83d", "cut \u{fffd}"),
            (r"\uD83D\uDE00 \u00e9", "😀 é"),
            (r"\ude00\ud83d", "\u{fffd}\u{fffd}"),
            (r"\ud83d\ud83d\ude00", "\u{fffd}😀"),
            (r"富\ud83d士", "富\u{fffd}士"),
            (r"\\ud83d", r"\ud83d"),
        ] {
            assert_eq!(read(&format!(r#"{{"text":"{text}"}}"#)).text().unwrap().unwrap(), expected, "{text}");
        }
        let fields = read(r#"{"\ud83d":1,"id":"\ud83d","text":"a"}"#);
        assert_eq!(fields.text().unwrap().unwrap(), "a");
        for broken in [r#"{"text":"\ud83"}"#, r#"{"text":"\ud83d"#, "{\"text\":\"\\", "{\"text\":\"\\富\"}"]
        {
            assert!(LineFields::read(broken).and_then(|fields| fields.text()).is_err(), "{broken}");
        }
    }

    #[test]
    fn an_id_can_be_written_again() {
        for (id, expected) in [
            (r#""cut \ud83d""#, r#""cut \ufffd""#),
            (r#"["\ude00",1e999]"#, r#"["\ufffd",1e999]"#),
            (r#""\ud83d\ude00""#, r#""\ud83d\ude00""#),
            ("007e0", "none"),
            ("7", "7"),
            ("null", "none"),
        ] {
            let fields = LineFields::read(&format!(r#"{{"id":{id},"text":"a"}}"#)).ok();
            let taken = fields.and_then(|mut fields| fields.take_id());
            assert_eq!(taken.as_ref().map_or("none", |id| id.get()).to_lowercase(), expected, "{id}");
        }
    }

    #[test]
    fn of_a_field_that_comes_twice_the_last_counts() {
        let fields = read(r#"{"text":"a","id":1,"text":"b"}"#);
        assert_eq!(fields.text().unwrap().unwrap(), "b");
        assert_eq!(fields.iter().count(), 2);
    }
}
