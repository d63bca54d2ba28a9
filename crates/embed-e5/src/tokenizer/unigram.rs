//! The Unigram model of XLM-RoBERTa: the pieces of a word with the largest sum of scores.
//!
//! `tokenizers` has this model too, and the tests hold this one to it, id by id. Its trie takes 290 MB for
//! 250,000 pieces and half a second to build, more than all the rest of an embedder; a hash table of the
//! pieces takes a tenth of both, and is as fast, since a piece has few characters. One thing is different on
//! purpose: a text that spells a special token (`</s>`) is text.

use std::borrow::Cow;
use std::collections::HashMap;

use foldhash::fast::FixedState;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{NormalizedString, Normalizer};

/// What stands for a space at the start of a word.
const METASPACE: char = '▁';

/// How much less than the worst piece an unknown character scores: `kUnkPenalty` of SentencePiece.
const UNKNOWN_PENALTY: f64 = 10.0;

/// A Unigram tokenizer with its normaliser and the ids that frame a text.
pub(crate) struct Unigram {
    normaliser: Option<NormalizerWrapper>,
    words: Words,
    pieces: HashMap<Box<str>, Piece, FixedState>,
    longest_piece: usize,
    unknown: Piece,
    pub(crate) first: u32,
    pub(crate) last: u32,
}

#[derive(Clone, Copy)]
struct Piece {
    id: u32,
    score: f64,
}

/// How a text is cut into words before the pieces are looked for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Words {
    /// At every space.
    Spaces,
    /// At every run of white space, which is dropped.
    WhiteSpace,
}

/// The parts of a `tokenizer.json` that this model needs.
#[derive(Deserialize)]
struct File<'a> {
    #[serde(borrow)]
    added_tokens: Vec<Added<'a>>,
    normalizer: Option<NormalizerWrapper>,
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
struct Model<'a> {
    r#type: &'a str,
    unk_id: usize,
    #[serde(borrow)]
    vocab: Vec<(Cow<'a, str>, f64)>,
    #[serde(default)]
    byte_fallback: bool,
}

/// The best way to a place in a word.
#[derive(Clone, Copy)]
struct Step {
    score: f64,
    from: usize,
    id: u32,
}

impl Unigram {
    /// Reads a `tokenizer.json`; `None` if it describes anything else than this.
    pub(crate) fn read(json: &[u8]) -> Option<Self> {
        let file: File<'_> = serde_json::from_slice(json).ok()?;
        let model: Model<'_> = serde_json::from_str(file.model.get()).ok()?;
        if model.r#type != "Unigram" || model.byte_fallback {
            return None;
        }
        let words = Words::of(&file.pre_tokenizer)?;
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
        let worst = model.vocab.iter().map(|(_, score)| *score).fold(f64::INFINITY, f64::min);
        let unknown = Piece { id: u32::try_from(model.unk_id).ok()?, score: worst - UNKNOWN_PENALTY };
        let longest_piece = model.vocab.iter().map(|(piece, _)| piece.len()).max()?;
        let is_special = |piece: &str| file.added_tokens.iter().any(|added| added.content == piece);
        let pieces = (0..)
            .zip(model.vocab)
            .filter(|(_, (piece, _))| !is_special(piece))
            .map(|(id, (piece, score))| (piece.into(), Piece { id, score }))
            .collect();
        Some(Self { normaliser: file.normalizer, words, pieces, longest_piece, unknown, first, last })
    }

    /// The ids of a text, without those that frame it.
    pub(crate) fn encode(&self, text: &str) -> tokenizers::Result<Vec<u32>> {
        let mut normalised = NormalizedString::from(text);
        if let Some(normaliser) = &self.normaliser {
            normaliser.normalize(&mut normalised)?;
        }
        let marked = self.words.mark(normalised.get());
        let mut ids = Vec::with_capacity(marked.len() / 3);
        let mut steps = Vec::new();
        let mut rest = marked.as_str();
        while let Some(first) = rest.chars().next() {
            let end = rest[first.len_utf8()..].find(METASPACE).map_or(rest.len(), |at| at + first.len_utf8());
            self.encode_word(&rest[..end], &mut steps, &mut ids);
            rest = &rest[end..];
        }
        Ok(ids)
    }

    /// Viterbi's algorithm over the places between the characters, as `EncodeOptimized` of SentencePiece:
    /// of two ways with equal scores, the one that was found first.
    fn encode_word(&self, word: &str, steps: &mut Vec<Option<Step>>, ids: &mut Vec<u32>) {
        steps.clear();
        steps.resize(word.len() + 1, None);
        for (start, c) in word.char_indices() {
            let so_far = steps[start].map_or(0.0, |step| step.score);
            let mut reach = |end: usize, piece: Piece| {
                let score = so_far + piece.score;
                if steps[end].is_none_or(|best| score > best.score) {
                    steps[end] = Some(Step { score, from: start, id: piece.id });
                }
            };
            let after = start + c.len_utf8();
            let mut end = after;
            let mut known = false;
            while end - start <= self.longest_piece {
                if let Some(piece) = self.pieces.get(&word[start..end]) {
                    reach(end, *piece);
                    known |= end == after;
                }
                match word[end..].chars().next() {
                    Some(next) => end += next.len_utf8(),
                    None => break,
                }
            }
            if !known {
                reach(after, self.unknown);
            }
        }
        let begin = ids.len();
        let mut place = word.len();
        while let Some(step) = steps[place].filter(|_| place > 0) {
            // A run of unknown characters is one unknown token.
            if step.id != self.unknown.id || ids[begin..].last() != Some(&step.id) {
                ids.push(step.id);
            }
            place = step.from;
        }
        ids[begin..].reverse();
    }
}

impl Words {
    fn of(pre_tokenizer: &PreTokenizerWrapper) -> Option<Self> {
        let is_plain = |metaspace: &Metaspace| {
            metaspace.get_replacement() == METASPACE
                && metaspace.get_prepend_scheme() == PrependScheme::Always
                && metaspace.get_split()
        };
        match pre_tokenizer {
            PreTokenizerWrapper::Metaspace(metaspace) if is_plain(metaspace) => Some(Self::Spaces),
            PreTokenizerWrapper::Sequence(parts) => match parts.as_ref() {
                [PreTokenizerWrapper::WhitespaceSplit(_), PreTokenizerWrapper::Metaspace(metaspace)]
                    if is_plain(metaspace) =>
                {
                    Some(Self::WhiteSpace)
                }
                _ => None,
            },
            _ => None,
        }
    }

    /// The text with a mark at the start of every word.
    fn mark(self, text: &str) -> String {
        let mark = |part: &str| {
            let marked = part.starts_with(METASPACE);
            if marked { part.to_owned() } else { format!("{METASPACE}{part}") }
        };
        match self {
            Self::Spaces if text.is_empty() => String::new(),
            Self::Spaces => mark(&text.replace(' ', &METASPACE.to_string())),
            Self::WhiteSpace => text.split_whitespace().map(mark).collect(),
        }
    }
}
