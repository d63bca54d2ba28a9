//! How tokens are written in the vocabulary, and the text that they stand for.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fs;
use std::ops::Range;
use std::sync::OnceLock;

use embed_core::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::assets::ModelFiles;
use crate::spans::{Writing, spans};
use crate::tokenizer::TokenisedText;

/// A token that the model reads.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Token {
    /// Its number in the vocabulary.
    pub id: u32,
    /// How the vocabulary writes it: `▁river`, where `▁` is the space before a word, or `##er` within one.
    pub piece: String,
    /// Whether it frames the text: the first and the last one.
    pub special: bool,
    /// The characters of the text that it stands for, in Unicode scalar values; `None` for special tokens, for those of the
    /// prefix, and if they can't be determined.
    pub span: Option<Range<usize>>,
}

/// How a vocabulary writes its tokens. Embedding doesn't need it, so it is read when it is first needed.
pub(crate) struct TokenNames {
    /// While this lives, the file stays where it is.
    files: Option<ModelFiles>,
    read: OnceLock<std::result::Result<WrittenPieces, Error>>,
}

struct WrittenPieces {
    /// By id.
    pieces: Vec<Box<str>>,
    special: HashSet<u32>,
    writing: Writing,
}

/// The parts of a `tokenizer.json` that say how tokens are written.
#[derive(Deserialize)]
struct VocabularyFile<'a> {
    #[serde(borrow)]
    added_tokens: Vec<Added<'a>>,
    #[serde(borrow)]
    model: VocabularyModel<'a>,
}

#[derive(Deserialize)]
struct Added<'a> {
    id: u32,
    #[serde(borrow)]
    content: Cow<'a, str>,
    special: bool,
}

#[derive(Deserialize)]
struct VocabularyModel<'a> {
    r#type: &'a str,
    #[serde(borrow)]
    vocab: &'a RawValue,
}

impl TokenNames {
    pub(crate) fn new(files: ModelFiles) -> Self {
        Self { files: Some(files), read: OnceLock::new() }
    }

    /// The tokens of a text in order, over all of its windows.
    pub(crate) fn tokens(&self, text: &str, tokenised: &TokenisedText) -> Result<Vec<Token>> {
        let pieces = self.pieces()?;
        let mut ids = Vec::with_capacity(tokenised.tokens.total);
        let mut last = None;
        let mut before = 0;
        for window in &tokenised.windows {
            let (end, inner) = window.ids.split_last().ok_or_else(broken)?;
            // Each window begins with the same frame and prefix.
            before = inner.len().saturating_sub(window.weight);
            ids.extend_from_slice(&inner[if ids.is_empty() { 0 } else { before }..]);
            last = Some(*end);
        }
        ids.extend(last);
        let end = ids.len().saturating_sub(1);
        let token = |(index, &id): (usize, &u32)| {
            let piece = pieces.pieces.get(id as usize).ok_or_else(broken)?;
            Ok(Token { id, piece: piece.to_string(), special: index == 0 || index == end, span: None })
        };
        let mut tokens = ids.iter().enumerate().map(token).collect::<Result<Vec<_>>>()?;
        let of_text = before..end.max(before);
        let written: Vec<&str> = tokens[of_text.clone()].iter().map(|token| &*token.piece).collect();
        let found = spans(text, &written, pieces.writing);
        for (token, span) in tokens[of_text].iter_mut().zip(found) {
            token.span = span;
        }
        Ok(tokens)
    }

    /// The text of tokens.
    pub(crate) fn text(&self, ids: &[u32], skip_special: bool) -> Result<String> {
        let vocabulary = self.pieces()?;
        let mut text = String::new();
        for id in ids {
            if skip_special && vocabulary.special.contains(id) {
                continue;
            }
            let piece = vocabulary.pieces.get(*id as usize).ok_or_else(|| {
                Error::new(ErrorKind::InvalidInput, "no token of the model has this id")
                    .with_context("id", id)
                    .with_context("tokens", vocabulary.pieces.len())
            })?;
            match (vocabulary.writing, piece.strip_prefix("##")) {
                (Writing::Metaspace, _) => text.push_str(&piece.replace('▁', " ")),
                (Writing::Hashes, Some(rest)) => text.push_str(rest),
                (Writing::Hashes, None) => {
                    if !text.is_empty() {
                        text.push(' ');
                    }
                    text.push_str(piece);
                }
            }
        }
        Ok(text.strip_prefix(' ').map(str::to_owned).unwrap_or(text))
    }

    fn pieces(&self) -> Result<&WrittenPieces> {
        let read = self.read.get_or_init(|| {
            let files = self.files.as_ref().ok_or_else(broken)?;
            let json = fs::read(&files.tokenizer).map_err(|error| broken().with_source(error))?;
            WrittenPieces::read(&json).ok_or_else(broken)
        });
        read.as_ref().map_err(Clone::clone)
    }
}

impl WrittenPieces {
    fn read(json: &[u8]) -> Option<Self> {
        let file: VocabularyFile<'_> = serde_json::from_slice(json).ok()?;
        let (mut pieces, writing) = match file.model.r#type {
            "Unigram" => {
                let scored: Vec<(Cow<'_, str>, f64)> = serde_json::from_str(file.model.vocab.get()).ok()?;
                (scored.into_iter().map(|(piece, _)| Box::from(&*piece)).collect(), Writing::Metaspace)
            }
            _ => {
                let ids: HashMap<Cow<'_, str>, u32> = serde_json::from_str(file.model.vocab.get()).ok()?;
                let mut pieces: Vec<Box<str>> = vec!["".into(); ids.len()];
                for (piece, id) in ids {
                    *pieces.get_mut(id as usize)? = Box::from(&*piece);
                }
                (pieces, Writing::Hashes)
            }
        };
        let mut special = HashSet::new();
        for added in file.added_tokens {
            let id = added.id as usize;
            if id == pieces.len() {
                pieces.push(Box::from(&*added.content));
            }
            if added.special {
                special.insert(added.id);
            }
        }
        Some(Self { pieces, special, writing })
    }
}

fn broken() -> Error {
    Error::new(ErrorKind::Config, "the tokenizer's file doesn't say how its tokens are written")
        .with_context("fix", "embed models verify")
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = r###"{"added_tokens":[{"id":0,"content":"[CLS]","special":true}],
        "model":{"type":"WordPiece","vocab":{"[CLS]":0,"riv":1,"##er":2,"a":3}}}"###;
    const PIECES: &str = r#"{"added_tokens":[{"id":0,"content":"<s>","special":true},{"id":3,"content":"<mask>","special":true}],
        "model":{"type":"Unigram","vocab":[["<s>",0.0],["▁river",-1.5],["s",-2]]}}"#;

    fn vocabulary(json: &str) -> TokenNames {
        let read = OnceLock::from(Ok(WrittenPieces::read(json.as_bytes()).unwrap()));
        TokenNames { files: None, read }
    }

    #[test]
    fn tokens_become_a_text_again() {
        for (json, ids, skip, text) in [
            (WORDS, vec![0, 3, 1, 2], true, "a river"),
            (WORDS, vec![0, 3], false, "[CLS] a"),
            (PIECES, vec![0, 1, 2, 1], true, "rivers river"),
            (PIECES, vec![1, 3], false, "river<mask>"),
            (PIECES, vec![], true, ""),
        ] {
            assert_eq!(vocabulary(json).text(&ids, skip).unwrap(), text);
        }
        let error = vocabulary(PIECES).text(&[4], true).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
    }
}
