//! The Unigram model of XLM-RoBERTa: normalises text like SentencePiece, and finds the pieces of each word with the largest
//! sum of scores.
//!
//! `tokenizers` has this model, too, and tests compare the two, id by id, where they should agree. Its trie takes 290 MB for
//! 250,000 pieces and half a second to build, more than all the rest of an embedder. Two things differ on purpose: text is
//! normalised as in the training of the models (`charsmap`; white space at the ends is ignored), and a special token that
//! is spelled in a text (`</s>`) is plain text.

use std::borrow::Cow;
use std::collections::HashMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};

use super::body::TokenBuffer;
use super::charsmap::Charsmap;
use super::lattice::{Lattice, PieceSearch};
use super::pieces::ScoredPieces;

/// The score of an unknown character is this much below the lowest one: `kUnkPenalty` of SentencePiece.
const UNKNOWN_PENALTY: f64 = 10.0;

/// A Unigram tokenizer with its normaliser and the ids that frame a text.
pub(super) struct Unigram {
    pub(super) charsmap: Charsmap,
    search: PieceSearch,
    pub(super) first: u32,
    pub(super) last: u32,
}

/// The parts of a `tokenizer.json` that this model needs.
#[derive(Deserialize)]
struct UnigramFile<'a> {
    #[serde(borrow)]
    added_tokens: Vec<Added<'a>>,
    normalizer: Option<Normaliser>,
    pre_tokenizer: PreTokenizerWrapper,
    #[serde(borrow)]
    post_processor: Template<'a>,
    #[serde(borrow)]
    model: &'a RawValue,
}

#[derive(Deserialize)]
struct Added<'a> {
    #[serde(borrow)]
    content: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Template<'a> {
    #[serde(borrow)]
    single: Vec<TemplatePiece<'a>>,
    #[serde(borrow)]
    special_tokens: HashMap<Cow<'a, str>, SpecialToken>,
}

#[derive(Deserialize)]
enum TemplatePiece<'a> {
    SpecialToken {
        #[serde(borrow)]
        id: Cow<'a, str>,
    },
    Sequence {},
}

#[derive(Deserialize)]
struct SpecialToken {
    ids: Vec<u32>,
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum Normaliser {
    Sequence {
        normalizers: Vec<Self>,
    },
    Precompiled {
        precompiled_charsmap: Option<String>,
    },
    Replace {
        pattern: Pattern,
    },
    Strip {},
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
enum Pattern {
    String(serde::de::IgnoredAny),
    Regex(String),
}

#[derive(Deserialize)]
struct UnigramModel<'a> {
    r#type: &'a str,
    unk_id: u32,
    vocab: ScoredPieces,
    #[serde(default)]
    byte_fallback: bool,
}

impl Unigram {
    /// Reads a `tokenizer.json`; `None` if it describes anything else than this.
    pub(super) fn read(json: &[u8]) -> Option<Self> {
        let file: UnigramFile<'_> = serde_json::from_slice(json).ok()?;
        if !cuts_at_spaces(&file.pre_tokenizer) {
            return None;
        }
        let charsmap = match file.normalizer {
            Some(normaliser) => normaliser.charsmap()?,
            None => Charsmap::identity(),
        };
        let model: UnigramModel<'_> = serde_json::from_str(file.model.get()).ok()?;
        if model.r#type != "Unigram" || model.byte_fallback || model.unk_id as usize >= model.vocab.len() {
            return None;
        }
        let special = |piece: &TemplatePiece<'_>| match piece {
            TemplatePiece::SpecialToken { id } => match file.post_processor.special_tokens.get(id)?.ids[..] {
                [id] => Some(id),
                _ => None,
            },
            TemplatePiece::Sequence {} => None,
        };
        let (first, last) = match &file.post_processor.single[..] {
            [first, TemplatePiece::Sequence {}, last] => (special(first)?, special(last)?),
            _ => return None,
        };
        let unknown = (model.unk_id, model.vocab.lowest_score() - UNKNOWN_PENALTY);
        let is_special = |piece: &str| file.added_tokens.iter().any(|added| added.content == piece);
        let search = PieceSearch { pieces: model.vocab.into_pieces(is_special), unknown };
        Some(Self { charsmap, search, first, last })
    }

    /// Reads a text from `at` to `until` or somewhat further.
    pub(super) fn read_on(
        &self,
        text: &str,
        at: &mut usize,
        until: usize,
        (word, body): (&mut Lattice, &mut TokenBuffer),
    ) {
        while *at < until {
            let (length, form) = self.charsmap.next(&text[*at..]);
            word.push(form, &self.search, body);
            *at += length;
        }
        if *at == text.len() {
            word.end(&self.search, body);
        }
    }
}

impl Normaliser {
    /// The character map of a normaliser. Its other steps may only fold and strip spaces, which [`Lattice`] does.
    fn charsmap(self) -> Option<Charsmap> {
        let parts = match self {
            Self::Sequence { normalizers } => normalizers,
            one => vec![one],
        };
        let mut map = None;
        for part in parts {
            match part {
                Self::Precompiled { precompiled_charsmap: Some(text) } if map.is_none() => {
                    map = Some(Charsmap::read(&STANDARD.decode(text).ok()?)?);
                }
                Self::Precompiled { precompiled_charsmap: None } | Self::Strip {} => {}
                Self::Replace { pattern: Pattern::Regex(pattern) } if pattern == " {2,}" => {}
                _ => return None,
            }
        }
        Some(map.unwrap_or_else(Charsmap::identity))
    }
}

/// Whether words begin at spaces and nowhere else.
fn cuts_at_spaces(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    let is_plain = |metaspace: &Metaspace| {
        metaspace.get_replacement() == '▁'
            && metaspace.get_prepend_scheme() == PrependScheme::Always
            && metaspace.get_split()
    };
    match pre_tokenizer {
        PreTokenizerWrapper::Metaspace(metaspace) => is_plain(metaspace),
        PreTokenizerWrapper::Sequence(parts) => match parts.as_ref() {
            [PreTokenizerWrapper::WhitespaceSplit(_), PreTokenizerWrapper::Metaspace(metaspace)] => {
                is_plain(metaspace)
            }
            _ => false,
        },
        _ => false,
    }
}
