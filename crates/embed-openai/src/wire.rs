//! The messages of `/v1/embeddings`, as servers of many makers write them.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use embed_remote::{Numbers, RowFault, Rows};
use serde::de::{DeserializeSeed, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

#[derive(Debug, Serialize)]
pub(crate) struct Body<'a> {
    pub(crate) model: &'a str,
    pub(crate) input: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) encoding_format: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) dimensions: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) input_type: Option<&'a str>,
}

#[derive(Debug, Deserialize)]
pub(crate) struct Answer {
    data: Vec<Item>,
    /// The model, as the server calls it.
    #[serde(default)]
    pub(crate) model: Option<String>,
    #[serde(default)]
    usage: Option<Usage>,
}

#[derive(Debug, Deserialize)]
struct Item {
    #[serde(default)]
    index: Option<usize>,
    embedding: Vector,
}

#[derive(Debug, Deserialize)]
struct Usage {
    #[serde(default)]
    prompt_tokens: Option<usize>,
    #[serde(default)]
    total_tokens: Option<usize>,
}

/// A row in numbers or in base64. One that is `null` or no base64 of numbers is empty: the other rows may be good.
#[derive(Debug, Default, PartialEq)]
struct Vector(Vec<f32>);

impl Answer {
    /// Tokens of all texts together.
    pub(crate) fn tokens(&self) -> Option<usize> {
        let usage = self.usage.as_ref()?;
        usage.prompt_tokens.or(usage.total_tokens)
    }

    /// The rows of so many texts, each in the place that its `index` names; a row that isn't there is empty.
    ///
    /// # Errors
    ///
    /// A fault of the whole answer, where no row can be trusted to be its text's.
    pub(crate) fn into_rows(self, texts: usize) -> Result<Rows, RowFault> {
        if self.data.is_empty() && texts > 0 {
            return Err(RowFault::None);
        }
        if self.data.len() > texts {
            return Err(RowFault::Count);
        }
        let named = self.data.iter().filter(|item| item.index.is_some()).count();
        // Without indexes only as many rows as texts are surely those of the texts.
        if named != self.data.len() && (named > 0 || self.data.len() != texts) {
            return Err(RowFault::Count);
        }
        let mut places: Vec<Option<Vector>> = (0..texts).map(|_| None).collect();
        for (order, item) in self.data.into_iter().enumerate() {
            let place = places.get_mut(item.index.unwrap_or(order)).ok_or(RowFault::Count)?;
            if place.replace(item.embedding).is_some() {
                return Err(RowFault::Count);
            }
        }
        let mut rows = Rows::default();
        for place in places {
            rows.push(&place.unwrap_or_default().0);
        }
        Ok(rows)
    }
}

impl<'de> Deserialize<'de> for Vector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Vector;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector in numbers or base64, or null")
            }

            fn visit_str<E>(self, text: &str) -> Result<Vector, E> {
                let bytes = STANDARD.decode(text.trim()).unwrap_or_default();
                let (numbers, rest) = bytes.as_chunks::<4>();
                if !rest.is_empty() {
                    return Ok(Vector::default());
                }
                Ok(Vector(numbers.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect()))
            }

            fn visit_unit<E>(self) -> Result<Vector, E> {
                Ok(Vector::default())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Vector, A::Error> {
                let mut numbers = Vec::new();
                Numbers(&mut numbers).deserialize(serde::de::value::SeqAccessDeserializer::new(seq))?;
                Ok(Vector(numbers))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// What an error's body says, in lower case: its message, code, type and parameter, wherever a server puts them. It is
/// for rules to look at and is never shown, since a message may quote a text.
pub(crate) fn said(body: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<Value>(body) else {
        return String::new();
    };
    let mut said = String::from("\n");
    let mut add = |value: &Value| match value {
        Value::String(text) => said.extend([text.to_lowercase().as_str(), "\n"]),
        Value::Number(number) => said.extend([number.to_string().as_str(), "\n"]),
        _ => {}
    };
    let error = value.get("error").unwrap_or(&value);
    add(error);
    for field in ["message", "code", "type", "param", "error_type", "detail"] {
        error.get(field).into_iter().for_each(&mut add);
    }
    // Servers built with FastAPI say which field is wrong and how; `input` and `ctx` may quote a text.
    for detail in value.get("detail").and_then(Value::as_array).into_iter().flatten() {
        ["type", "msg"].iter().filter_map(|field| detail.get(field)).for_each(&mut add);
        detail.get("loc").and_then(Value::as_array).into_iter().flatten().for_each(&mut add);
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(json: &str, texts: usize) -> Result<Vec<Vec<f32>>, RowFault> {
        let answer: Answer = serde_json::from_str(json).unwrap();
        let rows = answer.into_rows(texts)?;
        Ok((0..rows.len()).map(|row| rows.row(row).to_vec()).collect())
    }

    #[test]
    fn rows_are_placed_by_their_index() {
        let shuffled = r#"{"data":[{"index":1,"embedding":[3]},{"index":0,"embedding":[1,2]}]}"#;
        assert_eq!(rows(shuffled, 2).unwrap(), [vec![1.0, 2.0], vec![3.0]]);
        let missing = r#"{"data":[{"index":2,"embedding":[3]},{"index":0,"embedding":[1,2]}]}"#;
        assert_eq!(rows(missing, 3).unwrap(), [vec![1.0, 2.0], vec![], vec![3.0]]);
        let unnamed = r#"{"data":[{"embedding":[1]},{"embedding":[2]}]}"#;
        assert_eq!(rows(unnamed, 2).unwrap(), [[1.0], [2.0]]);
        assert_eq!(rows(unnamed, 3), Err(RowFault::Count), "whose are they?");
        for bad in ["[0,0]", "[0,7]", "[0,null]"] {
            let [a, b]: [Option<usize>; 2] = serde_json::from_str(bad).unwrap();
            let json =
                serde_json::json!({"data": [{"index": a, "embedding": [1]}, {"index": b, "embedding": [1]}]});
            assert_eq!(rows(&json.to_string(), 2), Err(RowFault::Count), "{bad}");
        }
        assert_eq!(rows(r#"{"data":[]}"#, 1), Err(RowFault::None));
    }

    #[test]
    fn a_row_is_numbers_or_base64_or_spoils_no_other() {
        let json = r#"{"data":[{"index":0,"embedding":"AACAPwAAAMA="},{"index":1,"embedding":null},
            {"index":2,"embedding":[null,1]},{"index":3,"embedding":"!"},{"index":4,"embedding":"AAA="}],
            "model":"m","usage":{"prompt_tokens":3,"total_tokens":3}}"#;
        let read = rows(json, 5).unwrap();
        assert_eq!(read[0], [1.0, -2.0]);
        assert!(read[1].is_empty() && read[2][0].is_nan() && read[3].is_empty() && read[4].is_empty());
        let answer: Answer = serde_json::from_str(json).unwrap();
        assert_eq!((answer.tokens(), answer.model.as_deref()), (Some(3), Some("m")));
    }

    #[test]
    fn what_an_error_says_is_found_where_servers_put_it() {
        for (body, part) in [
            (
                r#"{"error":{"message":"No","type":"t","code":"context_length_exceeded"}}"#,
                "context_length_exceeded",
            ),
            (r#"{"message":"Batch size 64 > maximum","type":"Validation"}"#, "batch size 64"),
            (r#"{"object":"error","message":"Maximum context"}"#, "maximum context"),
            (r#"{"error":"Loading model"}"#, "loading model"),
            (
                r#"{"detail":[{"type":"too_long","loc":["body","input"],"msg":"List","input":["private"]}]}"#,
                "too_long",
            ),
            (r#"{"detail":"Not Found"}"#, "not found"),
        ] {
            assert!(said(body.as_bytes()).contains(part), "{body}: {}", said(body.as_bytes()));
            assert!(!said(body.as_bytes()).contains("private"));
        }
        assert_eq!(said(b"<html>"), "");
    }
}
