//! Options for vectors, under the names that various servers gave them. A field that would change a vector is honoured or
//! refused, never ignored; docs/gateway.md has the table.

use embed_core::{ModelInfo, Normalisation, Pooling, Role, Truncation};

use crate::api::fields::wrong_kind;
use crate::catalogue::Model;
use crate::failure::Failure;
use crate::json::{Fields, Number, Value};

/// The fields and their meanings. A dialect that has one of them itself takes it first.
const TABLE: [(&str, Takes); 54] = [
    // Cohere, Voyage, NVIDIA; Jina; Google, Nomic; Sentence Transformers, TEI; DashScope; MiniMax.
    ("input_type", Takes::Role),
    ("task", Takes::Role),
    ("task_type", Takes::Role),
    ("prompt_name", Takes::Role),
    ("prompt_type", Takes::Role),
    ("role", Takes::Role),
    ("text_type", Takes::Role),
    ("type", Takes::Role),
    ("is_query", Takes::IsQuery),
    // Text in front of each input: Sentence Transformers, Instructor, Infinity, Google.
    ("prompt", Takes::Instruction),
    ("prompt_template", Takes::Instruction),
    ("instruct", Takes::Instruction),
    ("instruction", Takes::Instruction),
    ("query_instruction", Takes::Instruction),
    ("text_instruction", Takes::Instruction),
    ("prefix", Takes::Instruction),
    ("title", Takes::Instruction),
    // OpenAI, TEI; DashScope; Voyage, Mistral, Cohere; Google; Sentence Transformers.
    ("dimensions", Takes::Dimension),
    ("dimension", Takes::Dimension),
    ("output_dimension", Takes::Dimension),
    ("output_dimensionality", Takes::Dimension),
    ("truncate_dim", Takes::Dimension),
    // Voyage; NVIDIA, Cohere, Jina, TEI.
    ("truncation", Takes::Truncation),
    ("truncate", Takes::Truncation),
    ("truncation_direction", Takes::Side),
    ("truncation_side", Takes::Side),
    // vLLM, Sentence Transformers.
    ("truncate_prompt_tokens", Takes::Limit),
    ("max_length", Takes::Limit),
    ("max_seq_length", Takes::Limit),
    ("max_tokens", Takes::Limit),
    ("max_input_length", Takes::Limit),
    // TEI; Jina; Sentence Transformers; llama.cpp.
    ("normalize", Takes::Normalise),
    ("normalized", Takes::Normalise),
    ("normalize_embeddings", Takes::Normalise),
    ("embd_normalize", Takes::Normalise),
    // NVIDIA, Jina; Cohere; Voyage, Mistral; vLLM; Sentence Transformers.
    ("embedding_type", Takes::Format),
    ("embedding_types", Takes::Format),
    ("output_dtype", Takes::Format),
    ("embed_dtype", Takes::Format),
    ("precision", Takes::Format),
    ("pooling", Takes::Pooling),
    ("pooling_type", Takes::Pooling),
    ("pooling_method", Takes::Pooling),
    // Jina, vLLM, FlagEmbedding, Infinity.
    ("late_chunking", Takes::Only(false)),
    ("return_multivector", Takes::Only(false)),
    ("return_sparse", Takes::Only(false)),
    ("return_colbert_vecs", Takes::Only(false)),
    ("return_token_embeddings", Takes::Only(false)),
    ("add_special_tokens", Takes::Only(true)),
    ("modality", Takes::Text),
    ("messages", Takes::Nothing),
    ("images", Takes::Nothing),
    ("adapter", Takes::Nothing),
    ("chat_template", Takes::Nothing),
];

/// The names of the fields.
pub(crate) const WISHES: [&str; TABLE.len()] = {
    let mut names = [""; TABLE.len()];
    let mut index = 0;
    while index < names.len() {
        names[index] = TABLE[index].0;
        index += 1;
    }
    names
};

#[derive(Debug, Clone, Copy)]
enum Takes {
    /// The role of the texts, in one of many words.
    Role,
    /// True for a query.
    IsQuery,
    /// Text in front of each input, which is honoured if it names a role.
    Instruction,
    /// The dimension of the vectors.
    Dimension,
    /// Whether a text that is too long is cut, and where.
    Truncation,
    /// The side that is cut off.
    Side,
    /// The most tokens of a text; it can't be lower than the model's limit.
    Limit,
    Normalise,
    /// The format of the numbers.
    Format,
    /// The pooling, which must be the model's.
    Pooling,
    /// Only this value.
    Only(bool),
    /// Only the word `text`.
    Text,
    /// No value: no model here supports it.
    Nothing,
}

/// The options of a request; `None` for those that it doesn't set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Wishes {
    pub(crate) role: Option<Role>,
    pub(crate) dimension: Option<i64>,
    pub(crate) truncation: Option<Truncation>,
    pub(crate) normalise: Option<bool>,
    /// The field that requests base64, if any.
    pub(crate) base64: Option<&'static str>,
    /// The side that is cut off, if the text is cut.
    side: Option<Truncation>,
    role_field: Option<&'static str>,
    dimension_field: Option<&'static str>,
    normalise_field: Option<&'static str>,
}

impl Wishes {
    /// Takes these fields out of a request to a model.
    pub(crate) fn take(fields: &mut Fields, model: &ModelInfo) -> Result<Self, Failure> {
        let mut wishes = Self::default();
        for &(field, takes) in &TABLE {
            // Most requests wish nothing.
            if !fields.has(field) {
                continue;
            }
            match fields.take(field) {
                Value::Null => {}
                value => wishes.add(field, takes, value, model)?,
            }
        }
        if let (Some(Truncation::End | Truncation::Start), Some(side)) = (wishes.truncation, wishes.side) {
            wishes.truncation = Some(side);
        }
        Ok(wishes)
    }

    /// The truncation, for a dialect that cuts texts by default.
    pub(crate) fn truncation_or_end(&self) -> Truncation {
        self.truncation.or(self.side).unwrap_or(Truncation::End)
    }

    /// The role of the fields or of the model's name, if they agree.
    pub(crate) fn role_beside(&self, name: Option<Role>) -> Result<Option<Role>, Failure> {
        match (self.role, name, self.role_field) {
            (Some(role), Some(suffix), Some(field)) if role != suffix => Err(refused(
                field,
                format!("`{field}` and the end of the model's name contradict each other"),
            )),
            (role, suffix, _) => Ok(role.or(suffix)),
        }
    }

    /// The dimension to cut the model's vectors to.
    pub(crate) fn dimension_of(&self, model: &Model) -> Result<Option<usize>, Failure> {
        let Some(asked) = self.dimension else { return Ok(None) };
        // If the model isn't known yet, the answer is checked.
        let most = model.info().map_or(usize::MAX, ModelInfo::dimension);
        let dimension = usize::try_from(asked).ok().filter(|dimension| (1..=most).contains(dimension));
        let field = self.dimension_field.unwrap_or("dimensions");
        let message = || format!("`{field}` must be 1 to {most} for this model");
        dimension.map(Some).ok_or_else(|| refused(field, message()))
    }

    /// Refuses raw vectors of a model whose vectors are always normalised.
    pub(crate) fn check_normalise(&self, model: &ModelInfo) -> Result<(), Failure> {
        if self.normalise == Some(false) && model.space().normalisation() == Normalisation::L2 {
            let field = self.normalise_field.unwrap_or("normalize");
            let message = format!(
                "`{field}` must ask for normalised vectors: this model's are normalised where they are made"
            );
            return Err(refused(field, message));
        }
        Ok(())
    }

    fn add(
        &mut self,
        field: &'static str,
        takes: Takes,
        value: Value,
        model: &ModelInfo,
    ) -> Result<(), Failure> {
        match takes {
            Takes::Role => {
                let word = text(field, value)?;
                // Some libraries send the model's task here, not the role of the text.
                let neutral =
                    ["embed", "embedding", "embeddings", "feature-extraction", "sentence-similarity"];
                if neutral.iter().any(|neutral| word.eq_ignore_ascii_case(neutral)) {
                    return Ok(());
                }
                let role = role_of(&word).ok_or_else(|| {
                    let message = format!(
                        "`{field}` must be query, document or passage, also with `search` or `retrieval` in front"
                    );
                    refused(field, message)
                })?;
                self.set_role(field, role)
            }
            Takes::IsQuery => {
                self.set_role(field, if flag(field, value)? { Role::Query } else { Role::Document })
            }
            Takes::Instruction => {
                let words = text(field, value)?;
                let words = words.trim();
                if words.is_empty() {
                    return Ok(());
                }
                let role = role_of(words.trim_end_matches(':')).ok_or_else(|| {
                    let message = format!(
                        "`{field}` would change the vectors, and no model here takes words of its own: say what \
                         texts are for (query or document), or put the words into the texts"
                    );
                    refused(field, message)
                })?;
                self.set_role(field, role)
            }
            Takes::Dimension => {
                let number = value.whole().map_err(|kind| wrong_number(field, kind))?;
                if self.dimension.is_some_and(|dimension| number != Some(dimension)) {
                    return Err(refused(field, format!("`{field}` and another field contradict each other")));
                }
                (self.dimension, self.dimension_field) = (number, Some(field));
                Ok(())
            }
            Takes::Truncation => self.set_truncation(field, value),
            Takes::Side => {
                self.side = Some(side_of(field, &text(field, value)?)?);
                Ok(())
            }
            Takes::Limit => {
                let limit = value.whole().map_err(|kind| wrong_number(field, kind))?;
                let reads = model.max_tokens().map_or(i64::MAX, |tokens| tokens as i64);
                if limit.is_some_and(|limit| limit != -1 && limit < reads) {
                    let message = format!(
                        "`{field}` can't be below what the model reads: cut the texts, or choose a truncation"
                    );
                    return Err(refused(field, message));
                }
                Ok(())
            }
            Takes::Normalise => {
                let normalise = match value {
                    // llama.cpp's codes: -1 for none, 2 for the Euclidean norm.
                    Value::Number(Number::Integer(2)) => true,
                    Value::Number(Number::Integer(-1)) => false,
                    value => flag(field, value)?,
                };
                if self.normalise != Some(false) {
                    (self.normalise, self.normalise_field) = (Some(normalise), Some(field));
                }
                Ok(())
            }
            Takes::Format => self.set_format(field, value),
            Takes::Pooling => {
                let pooling = match model.space().pooling() {
                    Pooling::Cls => "cls",
                    Pooling::LastToken => "last",
                    _ => "mean",
                };
                let word = text(field, value)?.to_ascii_lowercase();
                let same = word.split(['_', '-']).next() == Some(pooling);
                let message = || format!("`{field}` can't be chosen: the model's own is {pooling}");
                if same { Ok(()) } else { Err(refused(field, message())) }
            }
            Takes::Only(only) => {
                let message = || format!("`{field}` can only be {only}: no model here does otherwise");
                if flag(field, value)? == only { Ok(()) } else { Err(refused(field, message())) }
            }
            Takes::Text => match &*text(field, value)? {
                "text" => Ok(()),
                _ => Err(refused(field, format!("`{field}` can only be text"))),
            },
            Takes::Nothing => match value {
                Value::List(list) if list.texts.is_empty() && list.odd.is_none() && !list.too_many => Ok(()),
                Value::Text(text) if text.is_empty() => Ok(()),
                _ => Err(refused(field, format!("`{field}` is read by no model here: leave it out"))),
            },
        }
    }

    fn set_role(&mut self, field: &'static str, role: Role) -> Result<(), Failure> {
        if self.role.is_some_and(|earlier| earlier != role) {
            let other = self.role_field.unwrap_or(field);
            return Err(refused(field, format!("`{other}` and `{field}` contradict each other")));
        }
        (self.role, self.role_field) = (Some(role), Some(field));
        Ok(())
    }

    fn set_truncation(&mut self, field: &'static str, value: Value) -> Result<(), Failure> {
        let truncation = match value {
            Value::Bool(true) => Truncation::End,
            Value::Bool(false) => Truncation::Error,
            Value::Text(word) => match &*word.to_ascii_lowercase() {
                "none" | "error" => Truncation::Error,
                "end" | "right" => Truncation::End,
                "start" | "left" => Truncation::Start,
                "chunk-mean" => Truncation::ChunkMean,
                _ => {
                    let message = format!("`{field}` must be true, false, error, end, start or chunk-mean");
                    return Err(refused(field, message));
                }
            },
            other => return Err(wrong_kind(field, "true, false or a string", other.kind())),
        };
        if self.truncation.is_some_and(|earlier| earlier != truncation) {
            return Err(refused(field, format!("`truncation` and `{field}` contradict each other")));
        }
        self.truncation = Some(truncation);
        Ok(())
    }

    fn set_format(&mut self, field: &'static str, value: Value) -> Result<(), Failure> {
        let words = match value {
            Value::Text(word) => vec![word],
            Value::List(list) if list.odd.is_none() && !list.too_many => list.texts,
            other => return Err(wrong_kind(field, "a string or an array of strings", other.kind())),
        };
        for word in words {
            match &*word.to_ascii_lowercase() {
                "float" | "float32" | "fp32" => {}
                "base64" => self.base64 = Some(field),
                _ => {
                    let message = format!("`{field}` can only be float or base64: vectors are of float32");
                    return Err(refused(field, message));
                }
            }
        }
        Ok(())
    }
}

/// The side that is cut off, in the words of tokenizers.
fn side_of(field: &'static str, word: &str) -> Result<Truncation, Failure> {
    match &*word.to_ascii_lowercase() {
        "right" => Ok(Truncation::End),
        "left" => Ok(Truncation::Start),
        _ => Err(refused(field, format!("`{field}` must be \"left\" or \"right\""))),
    }
}

/// The role, by the last of the words, which servers separate with points, underscores, hyphens or spaces.
fn role_of(words: &str) -> Option<Role> {
    let words = words.to_ascii_lowercase();
    let mut words = words.split(['.', '_', '-', ' ']).rev();
    let role = match words.next()? {
        "query" | "queries" | "question" => Role::Query,
        "document" | "documents" | "doc" | "passage" | "passages" | "db" => Role::Document,
        _ => return None,
    };
    words
        .all(|word| matches!(word, "search" | "retrieval" | "text" | "web" | "code" | "nl2code"))
        .then_some(role)
}

fn text(field: &'static str, value: Value) -> Result<std::sync::Arc<str>, Failure> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(wrong_kind(field, "a string", other.kind())),
    }
}

fn flag(field: &'static str, value: Value) -> Result<bool, Failure> {
    match value {
        Value::Bool(flag) => Ok(flag),
        other => Err(wrong_kind(field, "true or false", other.kind())),
    }
}

/// The failure for a value that isn't a whole number.
pub(crate) fn wrong_number(field: &'static str, kind: crate::json::JsonKind) -> Failure {
    match kind {
        crate::json::JsonKind::Number => refused(field, format!("`{field}` must be a whole number")),
        kind => wrong_kind(field, "a whole number", kind),
    }
}

fn refused(field: &'static str, message: String) -> Failure {
    Failure::bad_request(message).with_param(field)
}
