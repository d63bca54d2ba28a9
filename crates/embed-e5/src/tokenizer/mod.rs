//! Text to token ids, and what to do when there are too many.

mod unigram;

use std::path::Path;
use std::{fmt, fs};

use embed_core::{Error, ErrorKind, Role, TokenCount, Truncation};
use tokenizers::Tokenizer;

use self::unigram::Unigram;
use crate::profile::prefix;

/// A model's tokenizer with the rules of the E5 family around it.
pub(crate) struct TextTokenizer {
    ids: Ids,
    frame: Frame,
    /// The tokens of `query:` and `passage:`. The tokenizer splits at white space, so they are the same
    /// before every text.
    prefixes: [usize; 2],
    /// The tokens of a space alone.
    blank: Vec<u32>,
    max_tokens: usize,
    max_text_bytes: usize,
}

/// From text to ids, without those that frame it.
enum Ids {
    /// The multilingual models.
    Unigram(Box<Unigram>),
    /// The English ones, and whatever else `tokenizers` reads.
    Any(Box<Tokenizer>),
}

/// What stands around the tokens of every text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Frame {
    first: u32,
    last: u32,
}

impl Ids {
    fn encode(&self, text: &str) -> Result<Vec<u32>, Error> {
        match self {
            Self::Unigram(unigram) => unigram.encode(text),
            Self::Any(tokenizer) => {
                tokenizer.encode_fast(text, false).map(|encoding| encoding.get_ids().to_vec())
            }
        }
        // The tokenizer's own message may quote the text, so it is dropped.
        .map_err(|_| Error::new(ErrorKind::Internal, "the tokenizer failed on a text"))
    }
}

/// The ids of one text, cut by the request's policy: one run of the model for each window.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenisedText {
    /// Each with its special tokens and prefix.
    pub(crate) windows: Vec<Window>,
    pub(crate) tokens: TokenCount,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) ids: Vec<i64>,
    /// Tokens of the text itself, which are what the window weighs in a mean.
    pub(crate) weight: usize,
}

impl TokenisedText {
    /// The ids, if one run takes them all.
    pub(crate) fn only_window(&self) -> Option<&[i64]> {
        match &*self.windows {
            [window] => Some(&window.ids),
            _ => None,
        }
    }
}

impl TextTokenizer {
    pub(crate) fn open(path: &Path, max_tokens: usize, max_text_bytes: usize) -> Result<Self, Error> {
        let broken = |what: &str| {
            Error::new(ErrorKind::Config, what)
                .with_context("file", path.display())
                .with_context("mend", "embed models verify")
        };
        let json =
            fs::read(path).map_err(|error| broken("the tokenizer can't be read").with_source(error))?;
        let (ids, frame) = match Unigram::read(&json) {
            Some(unigram) => {
                let frame = Frame { first: unigram.first, last: unigram.last };
                (Ids::Unigram(Box::new(unigram)), frame)
            }
            None => Self::any(&json, broken)?,
        };
        let length = |role| ids.encode(prefix(role).trim_end()).map(|ids| ids.len());
        let prefixes = [length(Role::Query)?, length(Role::Document)?];
        let blank = ids.encode(" ")?;
        Ok(Self { ids, frame, prefixes, blank, max_tokens, max_text_bytes })
    }

    fn any(json: &[u8], broken: impl Fn(&str) -> Error) -> Result<(Ids, Frame), Error> {
        let foreign = |error: tokenizers::Error| {
            broken("the tokenizer can't be read").with_source(std::io::Error::other(error))
        };
        let mut tokenizer = Tokenizer::from_bytes(json).map_err(foreign)?;
        // Cutting is a matter of the request, and nothing is ever padded.
        tokenizer.with_truncation(None).map_err(foreign)?;
        tokenizer.with_padding(None);
        let frame = match *tokenizer.encode_fast("", true).map_err(foreign)?.get_ids() {
            [first, last] => Frame { first, last },
            _ => return Err(broken("the tokenizer doesn't put one special token at each end")),
        };
        Ok((Ids::Any(Box::new(tokenizer)), frame))
    }

    /// The windows of a text. The prefix of the role comes before the text, in every window.
    pub(crate) fn tokenise(
        &self,
        text: &str,
        role: Role,
        truncation: Truncation,
    ) -> Result<TokenisedText, Error> {
        check_text(text, self.max_text_bytes)?;
        let prefixed = [prefix(role), text].concat();
        let ids = self.ids.encode(&prefixed)?;
        let (before, body) = ids.split_at_checked(self.prefixes[role as usize]).unwrap_or((&ids, &[]));
        if body.iter().all(|id| self.blank.contains(id)) {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the text has no character that the model reads",
            )
            .with_context("bytes", text.len()));
        }
        self.cut(before, body, truncation)
    }

    fn cut(&self, before: &[u32], body: &[u32], truncation: Truncation) -> Result<TokenisedText, Error> {
        let around = before.len() + 2;
        let room = self.max_tokens - around;
        let total = around + body.len();
        let window = |part: &[u32]| Window {
            ids: [self.frame.first]
                .iter()
                .chain(before)
                .chain(part)
                .chain([&self.frame.last])
                .map(|&id| i64::from(id))
                .collect(),
            weight: part.len(),
        };
        if body.len() <= room {
            let tokens = TokenCount { used: total, total };
            return Ok(TokenisedText { windows: vec![window(body)], tokens });
        }
        let cut_to = |part: &[u32]| TokenisedText {
            windows: vec![window(part)],
            tokens: TokenCount { used: around + part.len(), total },
        };
        match truncation {
            Truncation::End => Ok(cut_to(&body[..room])),
            Truncation::Start => Ok(cut_to(&body[body.len() - room..])),
            Truncation::ChunkMean => {
                // Chunks of even size, so that the last one isn't a few stray words.
                let size = body.len().div_ceil(body.len().div_ceil(room));
                let windows = body.chunks(size).map(window).collect();
                Ok(TokenisedText { windows, tokens: TokenCount { used: total, total } })
            }
            _ => Err(Error::new(
                ErrorKind::InputTooLong,
                "the text is longer than the model reads; shorten it or choose a truncation",
            )
            .with_context("tokens", total)
            .with_context("limit", self.max_tokens)),
        }
    }
}

/// Whether a caller put one of the family's prefixes in front by hand.
pub(crate) fn starts_with_prefix(text: &str) -> bool {
    [Role::Query, Role::Document].iter().any(|&role| text.starts_with(prefix(role)))
}

fn check_text(text: &str, max_bytes: usize) -> Result<(), Error> {
    let invalid = |what: &str| Err(Error::new(ErrorKind::InvalidInput, what));
    if text.is_empty() {
        invalid("the text is empty")
    } else if text.len() > max_bytes {
        Err(Error::new(ErrorKind::InputTooLong, "the text is too large; split it into passages")
            .with_context("bytes", text.len())
            .with_context("limit", max_bytes))
    } else if text.contains('\0') {
        invalid("the text has a NUL character, which no text has; is it binary data?")
    } else if text.trim().is_empty() {
        invalid("the text is nothing but white space")
    } else {
        Ok(())
    }
}

impl fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TextTokenizer").field("max_tokens", &self.max_tokens).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use embed_testkit::data::{e5_small_reference, mixed_texts};

    use super::*;
    use crate::assets::{DataHome, ModelFiles};
    use crate::{Precision, Profile};

    fn tokenizer() -> Option<TextTokenizer> {
        let home = DataHome::from_env().unwrap();
        let files = ModelFiles::open(&home, &Profile::all()[0], Precision::Int8);
        let files = embed_testkit::require("multilingual-e5-small (int8)", files)?;
        Some(TextTokenizer::open(&files.tokenizer, 512, 1 << 20).unwrap())
    }

    #[test]
    fn ids_are_those_of_the_reference() {
        let Some(tokenizer) = tokenizer() else { return };
        let mut compared = 0;
        for row in e5_small_reference() {
            let role: Role = row.role.parse().unwrap();
            let tokenised = tokenizer.tokenise(&row.text, role, Truncation::End).unwrap();
            assert_eq!(tokenised.tokens.used, row.tokens);
            let [window] = &tokenised.windows[..] else { panic!("one window") };
            if let Some(ids) = row.token_ids {
                let ids: Vec<_> = ids.into_iter().map(i64::from).collect();
                assert_eq!(window.ids, ids, "role {role}, {} bytes", row.text.len());
                compared += 1;
            }
        }
        assert_eq!(compared, 41);
    }

    #[test]
    fn ids_are_those_of_the_library() {
        let Some(tokenizer) = tokenizer() else { return };
        let home = DataHome::from_env().unwrap();
        let files = ModelFiles::open(&home, &Profile::all()[0], Precision::Int8).unwrap();
        let library = Tokenizer::from_file(files.tokenizer).unwrap();
        let odd = [
            "",
            " ",
            "  two  spaces  ",
            "▁▁mark▁in▁text",
            "tab\tand\nline",
            "①②③ ﬁ ㌔ ｶﾞ",
            "\u{10ffff}\u{e000}x\u{e000}",
            "👨‍👩‍👧 👍🏽",
            "नमस्ते दुनिया",
            "สวัสดีชาวโลก",
            "مرحبا بالعالم",
            "a\u{301}\u{323} e\u{301}",
            "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
        ];
        let texts = mixed_texts(400).into_iter().chain(odd.map(str::to_owned));
        for text in texts {
            let theirs = library.encode_fast(text.as_str(), false).unwrap();
            assert_eq!(tokenizer.ids.encode(&text).unwrap(), theirs.get_ids(), "{text:?}");
        }
    }

    #[test]
    fn a_text_that_spells_a_special_token_is_text() {
        let Some(tokenizer) = tokenizer() else { return };
        let tokenised = tokenizer.tokenise("a </s> b <s>", Role::Query, Truncation::Error).unwrap();
        let ids = &tokenised.windows[0].ids;
        let specials = ids.iter().filter(|&&id| id == 0 || id == 2).count();
        assert_eq!(specials, 2, "{ids:?}");
    }

    #[test]
    fn no_window_is_too_long_and_none_loses_a_token() {
        let Some(tokenizer) = tokenizer() else { return };
        let long = mixed_texts(300).join(" ");
        let check = |policy, role| tokenizer.tokenise(&long, role, policy).unwrap();
        let (end, start) = (check(Truncation::End, Role::Query), check(Truncation::Start, Role::Query));
        for cut in [&end, &start] {
            assert_eq!(cut.windows[0].ids.len(), 512);
            assert_eq!(cut.tokens.used, 512);
        }
        assert_eq!(end.windows[0].ids[..4], start.windows[0].ids[..4], "the prefix stays at the front");
        assert_ne!(end.windows[0].ids[4..], start.windows[0].ids[4..]);

        let chunks = check(Truncation::ChunkMean, Role::Document);
        assert!(chunks.windows.iter().all(|window| window.ids.len() <= 512));
        let body: usize = chunks.windows.iter().map(|window| window.weight).sum();
        let around = chunks.windows[0].ids.len() - chunks.windows[0].weight;
        assert_eq!(body + around, chunks.tokens.total);
        let sizes = chunks.windows.iter().map(|window| window.weight);
        assert!(sizes.clone().min() > sizes.max().map(|most| most / 2), "chunks are of even size");
    }

    #[test]
    fn what_is_no_text_is_refused_in_words() {
        let Some(tokenizer) = tokenizer() else { return };
        // The last is a zero-width space and a control character: the normaliser leaves nothing of them.
        for text in ["", " ", "\t\u{3000}\n", "a\0", "\u{200b}\u{1}"] {
            let error = tokenizer.tokenise(text, Role::Query, Truncation::Error).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{text:?}");
        }
    }
}
