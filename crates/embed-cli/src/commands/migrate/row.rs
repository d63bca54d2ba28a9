//! One row of a collection and its line in the unfinished output: the fields about the vector, and all others as they were
//! written.

use std::sync::Arc;

use embed_core::{Error, ErrorKind, Role};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::io::fields::{LineFields, refused};
use crate::io::lines::utf8;
use crate::io::output::{RowOutcome, escape_separators, write_line};

/// What a migration does with a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MigrationPlan {
    /// The space whose rows are embedded again.
    pub(super) from: String,
    /// The space whose rows stay as they are.
    pub(super) to: String,
    /// The width of its vectors.
    pub(super) dimension: usize,
    /// The role of texts whose row has none.
    pub(super) role: Role,
}

/// What is done with a row, by its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Carry,
    Embed,
    /// It has an error and no space.
    TryAgain,
}

/// A row by what is done with it.
pub(super) enum MigrationRow {
    /// It is in the target space already and stays as it was written.
    Carried(String),
    Embedded(TextToEmbed),
}

/// A text to embed, with its line.
pub(super) struct TextToEmbed {
    pub(super) text: Arc<str>,
    pub(super) role: Role,
    /// Where it is in the input.
    pub(super) place: (RowUnit, u64),
    /// The fields of its line.
    pub(super) fields: LineFields,
}

/// What a row is in the file that it is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowUnit {
    Line,
    #[cfg(feature = "parquet")]
    Row,
}

/// The result for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RowResult {
    Embedded,
    Carried,
    /// It has an error instead of a vector.
    Failed,
}

/// A line whose fields about the vector are replaced.
struct Merged<'a> {
    text: &'a LineFields,
    vector: &'a LineFields,
}

impl MigrationPlan {
    /// Reads a line.
    pub(super) fn read(&self, line: Vec<u8>, number: u64) -> Result<MigrationRow, Error> {
        let line = utf8(line)?;
        let fields = LineFields::read(&line)?;
        let space: Option<String> = fields.parse("space", "the row's `space` is not a string")?;
        if self.fate(space.as_deref(), fields.get("error").is_some())? == Fate::Carry {
            return Ok(MigrationRow::Carried(line));
        }
        let text = fields.text()?.ok_or_else(no_text)?;
        let role = fields.role()?.unwrap_or(self.role);
        Ok(MigrationRow::Embedded(TextToEmbed {
            text: text.into(),
            role,
            place: (RowUnit::Line, number),
            fields,
        }))
    }

    /// What is done with a row in this space.
    pub(super) fn fate(&self, space: Option<&str>, has_error: bool) -> Result<Fate, Error> {
        match space {
            Some(space) if space == self.from => Ok(Fate::Embed),
            Some(space) if space == self.to => Ok(Fate::Carry),
            Some(space) => {
                Err(refused("the row is in neither of the two spaces; migrate each space by itself")
                    .with_context("its space", space)
                    .with_context("from", &self.from)
                    .with_context("to", &self.to))
            }
            None if has_error => Ok(Fate::TryAgain),
            None => Err(refused("the row names no `space`; `embed encode` writes one into each row")),
        }
    }
}

/// Why a row without a text can't be embedded.
pub(super) fn no_text() -> Error {
    refused("the row has no `text` to embed; `embed encode --with-text` writes it into each row")
}

impl RowUnit {
    /// The name of its number in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            #[cfg(feature = "parquet")]
            Self::Row => "row",
        }
    }

    /// The name of the number of bad ones.
    pub(super) fn bad(self) -> &'static str {
        match self {
            Self::Line => "bad lines",
            #[cfg(feature = "parquet")]
            Self::Row => "bad rows",
        }
    }
}

impl MigrationRow {
    pub(super) fn text(&self) -> Option<&TextToEmbed> {
        match self {
            Self::Carried(_) => None,
            Self::Embedded(text) => Some(text),
        }
    }

    /// The result for this row in a line that an earlier run wrote; `None` if the line doesn't belong to this row.
    pub(super) fn fate_in(&self, line: &[u8], to: &str, dimension: usize) -> Option<RowResult> {
        let text = match self {
            Self::Carried(carried) => return (carried.as_bytes() == line).then_some(RowResult::Carried),
            Self::Embedded(text) => text,
        };
        let fields = LineFields::read(str::from_utf8(line).ok()?).ok()?;
        let written = of_the_text(&text.fields).map(|(field, value)| (field, escape_separators(value)));
        let same = written.eq(of_the_text(&fields).map(|(field, value)| (field, value.into())));
        let space: Option<String> = fields.parse("space", "").ok()?;
        let vector: Option<Vec<f32>> = fields.parse("embedding", "").ok()?;
        match (space, vector, fields.get("error")) {
            (Some(space), Some(vector), None) if same && space == to && vector.len() == dimension => {
                Some(RowResult::Embedded)
            }
            (None, None, Some(_)) if same => Some(RowResult::Failed),
            _ => None,
        }
    }
}

impl TextToEmbed {
    /// Writes the line with its new vector or error. The fields about the vector keep their places; new ones come last.
    pub(super) fn write(&self, outcome: &RowOutcome<'_>, lines: &mut Vec<u8>) -> Result<(), Error> {
        let mut write = || {
            let vector = serde_json::from_str(&serde_json::to_string(outcome)?)?;
            write_line(&mut *lines, &Merged { text: &self.fields, vector: &vector })
        };
        write().map_err(|error| {
            Error::new(ErrorKind::Internal, "a row can't be written").with_context("column", error.column())
        })?;
        lines.push(b'\n');
        Ok(())
    }
}

/// All fields that aren't about the vector.
fn of_the_text(fields: &LineFields) -> impl Iterator<Item = (&str, &str)> {
    let fields = fields.iter().filter(|(field, _)| !is_of_the_vector(field));
    fields.map(|(field, value)| (field, value.get()))
}

fn is_of_the_vector(field: &str) -> bool {
    RowOutcome::FIELDS.contains(&field)
}

impl Serialize for Merged<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        for (field, value) in self.text.iter() {
            if !is_of_the_vector(field) {
                object.serialize_entry(field, value)?;
            } else if let Some(value) = self.vector.get(field) {
                object.serialize_entry(field, value)?;
            }
        }
        for (field, value) in self.vector.iter() {
            if self.text.get(field).is_none() {
                object.serialize_entry(field, value)?;
            }
        }
        object.end()
    }
}

#[cfg(test)]
mod tests {
    use embed_core::{EmbedResponse, ModelInfo, RowInfo, Space, Variant};

    use super::*;

    fn plan() -> MigrationPlan {
        MigrationPlan {
            from: "a".to_owned(),
            to: "b/mean/plain/l2/2".to_owned(),
            dimension: 2,
            role: Role::Document,
        }
    }

    fn text(line: &str) -> TextToEmbed {
        match plan().read(line.into(), 1).unwrap() {
            MigrationRow::Embedded(text) => text,
            MigrationRow::Carried(_) => panic!("carried over: {line}"),
        }
    }

    fn error(line: &str) -> String {
        plan().read(line.into(), 1).err().unwrap().to_string()
    }

    fn response() -> EmbedResponse {
        let space = Space::builder("b", 2).build();
        let variant = Variant::new(space, [("digest", "1")]);
        let model = ModelInfo::builder("test", "b", variant).build();
        let mut response = EmbedResponse::builder(2, 2);
        response.put(0, &[0.6, 0.8], RowInfo::new(model));
        response.fail(1, Error::new(ErrorKind::InvalidInput, "no"));
        response.build()
    }

    fn written(line: &str, row: usize) -> String {
        let mut lines = Vec::new();
        text(line).write(&response().row(row).into(), &mut lines).unwrap();
        String::from_utf8(lines).unwrap()
    }

    #[test]
    fn the_fields_of_every_outcome_are_known() {
        let response = response();
        let fields = response.rows().flat_map(|row| {
            let fields: LineFields =
                serde_json::from_str(&serde_json::to_string(&RowOutcome::from(row)).unwrap()).unwrap();
            fields.iter().map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
        });
        // Fields that a service may leave out.
        let known = RowOutcome::FIELDS.into_iter().filter(|field| !["route", "tokens"].contains(field));
        assert_eq!(fields.collect::<Vec<_>>(), known.collect::<Vec<_>>());
    }

    #[test]
    fn what_is_not_about_the_vector_stays_as_written_and_in_its_place() {
        let line = r#"{"id": 1.50,"embedding":[1,2],"meta":{"b" : 1e3,"a":"\u00e9"},"space":"a","text":"x"}"#;
        assert_eq!(
            written(line, 0),
            "{\"id\":1.50,\"embedding\":[0.6,0.8],\"meta\":{\"b\" : 1e3,\"a\":\"\\u00e9\"},\
             \"space\":\"b/mean/plain/l2/2\",\"text\":\"x\",\"service\":\"test\",\"model\":\"b\",\
             \"dimension\":2,\"truncated\":false}\n"
        );
    }

    #[test]
    fn a_row_is_one_line_for_every_reader_and_is_known_again() {
        let line = "{\"space\":\"a\",\"text\":\"x\u{2028}y\u{85}\",\"n\":\"\u{2029}\"}";
        let row = written(line, 0);
        assert!(row.contains(r#""text":"x\u2028y\u0085","n":"\u2029""#), "{row}");
        assert_eq!(row.chars().filter(|c| ['\n', '\u{85}', '\u{2028}', '\u{2029}'].contains(c)).count(), 1);
        let again = plan().read(line.into(), 1).unwrap();
        assert_eq!(
            again.fate_in(row.trim_end().as_bytes(), "b/mean/plain/l2/2", 2),
            Some(RowResult::Embedded)
        );
    }

    #[test]
    fn a_row_says_its_role_under_every_name_and_the_last_of_two_values_counts() {
        let row = text(r#"{"space":"c","input_type":"query","text":"a","text":"b","space":"a"}"#);
        assert_eq!((&*row.text, row.role), ("b", Role::Query));
        let half = text(r#"{"space":"a","text":"cut \ud83d"}"#);
        assert_eq!(&*half.text, "cut \u{fffd}");
    }

    #[test]
    fn a_failed_row_has_an_error_and_no_space_and_is_embedded_the_next_time() {
        let failed = written(r#"{"space":"a","text":"x","embedding":[1],"truncated":true,"n":1}"#, 1);
        assert_eq!(
            failed,
            "{\"text\":\"x\",\"n\":1,\"error\":{\"kind\":\"invalid_input\",\"message\":\"no\"}}\n"
        );
        let fixed = written(&failed, 0);
        assert!(fixed.starts_with("{\"text\":\"x\",\"n\":1,\"space\":\"b/mean/plain/l2/2\""), "{fixed}");
        assert!(!fixed.contains("error"), "{fixed}");
    }

    #[test]
    fn what_was_written_is_known_again_and_nothing_else() {
        let line = r#"{"id":7,"space":"a","text":"x","embedding":[1]}"#;
        let fate = |of: &str, line: &str| {
            plan().read(of.trim_end().into(), 1).unwrap().fate_in(
                line.trim_end().as_bytes(),
                "b/mean/plain/l2/2",
                2,
            )
        };
        let (embedded, failed) = (written(line, 0), written(line, 1));
        assert_eq!(fate(line, &embedded), Some(RowResult::Embedded));
        assert_eq!(fate(line, &failed), Some(RowResult::Failed));
        assert_eq!(fate(&embedded, &embedded), Some(RowResult::Carried));
        for other in [
            line.replace("\"x\"", "\"y\""),
            line.replace('7', "8"),
            line.replace("7,", "7,\"more\":1,"),
            "{\"space\":\"a\",\"text\":\"x\"}".to_owned(),
        ] {
            assert_eq!(fate(&other, &embedded), None, "{other}");
        }
        for broken in
            [embedded.replace(",0.8", ""), embedded.replace("0.8", "null"), embedded[..40].to_owned()]
        {
            assert_eq!(fate(line, &broken), None, "{broken}");
        }
    }

    #[test]
    fn a_bad_row_says_what_is_wrong_and_not_what_is_in_it() {
        for (line, words) in [
            ("[\"secret\"]", "not a JSON object"),
            ("{\"text\":\"secret\", bad", "not a JSON object"),
            ("", "not a JSON object"),
            ("{\"text\":\"secret\"}", "names no `space`"),
            ("{\"text\":\"secret\",\"space\":null}", "names no `space`"),
            ("{\"text\":\"secret\",\"space\":5}", "`space` is not a string"),
            ("{\"text\":\"secret\",\"space\":\"c\"}", "neither of the two spaces"),
            ("{\"space\":\"a\"}", "no `text`"),
            ("{\"space\":\"a\",\"text\":[\"secret\"]}", "`text` is not a string"),
            ("{\"space\":\"a\",\"text\":\"\",\"role\":\"secret\"}", "neither query nor document"),
            ("{\"space\":\"a\",\"text\":\"\",\"prompt\":\"secret\"}", "neither query nor document"),
        ] {
            let error = error(line);
            assert!(error.contains(words) && !error.contains("secret"), "{error}");
        }
    }
}
