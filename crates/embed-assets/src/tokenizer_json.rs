//! Writes `tokenizer.json`, the file of Hugging Face's tokenizers, from a Unigram vocabulary.
//!
//! The conventions are those of XLM-RoBERTa: characters and sequences are replaced by SentencePiece's `nmt_nfkc` map,
//! runs of spaces become one, spaces become `▁` and one is put in front, Unigram pieces are sought in each
//! word, and `<s> … </s>` is put around. Nothing is cut or padded: that is up to the caller.

mod charsmap;
mod sequences;

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use embed_core::Error;
use serde::{Serialize, Serializer};

use crate::weights::{Vocabulary, broken};

/// The mark that SentencePiece writes for a space.
const METASPACE: &str = "▁";
/// The piece that masks a word in training.
const MASK: &str = "<mask>";

/// Characters that aren't replaced although the wheel's table says so: the zero-width joiner, which is part of emoji
/// sequences and Indic ligatures. SentencePiece's `nmt_nfkc` keeps it today, and so did the program that made this project's
/// reference rows; to follow the wheel instead, empty this list.
const KEPT: &[char] = &['\u{200D}'];

/// The bytes of `tokenizer.json`. The same vocabulary gives the same bytes.
///
/// # Errors
///
/// [`ErrorKind::Protocol`](embed_core::ErrorKind::Protocol) if a special token is outside of the vocabulary.
pub fn tokenizer_json(vocabulary: &Vocabulary) -> Result<Vec<u8>, Error> {
    let mut map = sequences::with_sequences(&vocabulary.normalisation);
    map.retain(|from, _| !KEPT.iter().any(|kept| from.contains(*kept)));
    let charsmap = charsmap::precompile(&map)?;
    let first = Special::new(vocabulary, vocabulary.bos)?;
    let last = Special::new(vocabulary, vocabulary.eos)?;
    let file = TokenizerFile {
        version: "1.0",
        truncation: None,
        padding: None,
        added_tokens: added_tokens(vocabulary)?,
        normalizer: Component::Sequence {
            normalizers: vec![
                Component::Precompiled { precompiled_charsmap: STANDARD.encode(charsmap) },
                Component::Replace { pattern: Pattern::Regex(" {2,}"), content: " " },
            ],
        },
        pre_tokenizer: METASPACE_COMPONENT,
        post_processor: Component::TemplateProcessing {
            single: vec![first.put(0), text("A", 0), last.put(0)],
            pair: vec![first.put(0), text("A", 0), last.put(0), last.put(0), text("B", 0), last.put(0)],
            special_tokens: [&first, &last].map(|token| (token.id, token.described())).into(),
        },
        decoder: METASPACE_COMPONENT,
        model: UnigramSection {
            r#type: "Unigram",
            unk_id: vocabulary.unk,
            vocab: &vocabulary.pieces,
            byte_fallback: false,
        },
    };
    serde_json::to_vec(&file).map_err(|error| broken("the tokenizer can't be written").with_source(error))
}

/// The whole file. It is made of structs and not of JSON values, because the order of a struct's fields is fixed.
#[derive(Serialize)]
struct TokenizerFile<'a> {
    version: &'static str,
    truncation: Option<()>,
    padding: Option<()>,
    added_tokens: Vec<AddedToken<'a>>,
    normalizer: Component<'a>,
    pre_tokenizer: Component<'a>,
    post_processor: Component<'a>,
    decoder: Component<'a>,
    model: UnigramSection<'a>,
}

/// A step of the tokenizer.
#[derive(Serialize)]
#[serde(tag = "type")]
enum Component<'a> {
    Sequence {
        normalizers: Vec<Self>,
    },
    Precompiled {
        precompiled_charsmap: String,
    },
    Replace {
        pattern: Pattern,
        content: &'static str,
    },
    Metaspace {
        replacement: &'static str,
        prepend_scheme: &'static str,
        split: bool,
    },
    TemplateProcessing {
        single: Vec<TemplatePiece<'a>>,
        pair: Vec<TemplatePiece<'a>>,
        special_tokens: BTreeMap<&'a str, SpecialTokenEntry<'a>>,
    },
}

const METASPACE_COMPONENT: Component<'static> =
    Component::Metaspace { replacement: METASPACE, prepend_scheme: "always", split: true };

#[derive(Serialize)]
enum Pattern {
    Regex(&'static str),
}

#[derive(Serialize)]
enum TemplatePiece<'a> {
    SpecialToken { id: &'a str, type_id: u32 },
    Sequence { id: &'static str, type_id: u32 },
}

fn text(id: &'static str, type_id: u32) -> TemplatePiece<'static> {
    TemplatePiece::Sequence { id, type_id }
}

#[derive(Serialize)]
struct SpecialTokenEntry<'a> {
    id: &'a str,
    ids: [u32; 1],
    tokens: [&'a str; 1],
}

/// A special token, which stands for no text.
struct Special<'a> {
    id: &'a str,
    number: u32,
}

impl<'a> Special<'a> {
    fn new(vocabulary: &'a Vocabulary, number: u32) -> Result<Self, Error> {
        let place = usize::try_from(number).ok();
        let piece = place.and_then(|place| vocabulary.pieces.get(place));
        let (id, _) = piece.ok_or_else(|| {
            broken("a special token lies outside of the vocabulary").with_context("id", number)
        })?;
        Ok(Self { id, number })
    }

    fn put(&self, type_id: u32) -> TemplatePiece<'a> {
        TemplatePiece::SpecialToken { id: self.id, type_id }
    }

    fn described(&self) -> SpecialTokenEntry<'a> {
        SpecialTokenEntry { id: self.id, ids: [self.number], tokens: [self.id] }
    }
}

#[derive(Serialize)]
struct AddedToken<'a> {
    id: u32,
    content: &'a str,
    single_word: bool,
    lstrip: bool,
    rstrip: bool,
    normalized: bool,
    special: bool,
}

fn added_tokens(vocabulary: &Vocabulary) -> Result<Vec<AddedToken<'_>>, Error> {
    let mask = vocabulary.pieces.iter().rposition(|(piece, _)| piece == MASK);
    let mask = mask.and_then(|place| u32::try_from(place).ok());
    let mut ids = vec![vocabulary.bos, vocabulary.pad, vocabulary.eos, vocabulary.unk];
    ids.extend(mask);
    ids.sort_unstable();
    ids.dedup();
    let tokens = ids.into_iter().map(|id| {
        Ok(AddedToken {
            id,
            content: Special::new(vocabulary, id)?.id,
            single_word: false,
            // The mask includes the space before it, as in the original tokenizer.
            lstrip: mask == Some(id),
            rstrip: false,
            normalized: false,
            special: true,
        })
    });
    tokens.collect()
}

#[derive(Serialize)]
struct UnigramSection<'a> {
    // First, because the library looks at it before it reads the long list.
    r#type: &'static str,
    unk_id: u32,
    #[serde(serialize_with = "widened")]
    vocab: &'a [(String, f32)],
    byte_fallback: bool,
}

/// The library adds scores as f64. Widening keeps each score exact; the shortest decimal of an f32 would be another f64,
/// and could tip the balance between two equally likely ways to cut a word.
fn widened<S: Serializer>(pieces: &[(String, f32)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(pieces.iter().map(|(piece, score)| (piece, f64::from(*score))))
}
