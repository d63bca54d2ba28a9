//! Tokenizers that the crate `tokenizers` runs: those of the English models, which are of the BERT family.
//!
//! A text is fed in pieces of a few KiB, because the library keeps 16 bytes of alignment and more for each byte. They are
//! cut where a BERT tokenizer cuts anyway: after ASCII white space, after ASCII punctuation, before a Chinese character.
//! A run of more than 8 KiB without any of these is cut, too; it is not a word, and its tokens are `[UNK]`.

use tokenizers::{PreTokenizerWrapper, Tokenizer};

use super::body::TokenBuffer;

/// The approximate size of a piece in bytes.
const PIECE: usize = 4096;
/// The most bytes of a run without a place to cut.
const LONGEST_RUN: usize = 8192;

pub(super) struct Library {
    tokenizer: Tokenizer,
    /// Whether words are independent at the places named above.
    is_bert: bool,
    pub(super) first: u32,
    pub(super) last: u32,
}

impl Library {
    /// Reads a `tokenizer.json`; `Ok(None)` if it doesn't put one special token at each end.
    pub(super) fn read(json: &[u8]) -> tokenizers::Result<Option<Self>> {
        let mut tokenizer = Tokenizer::from_bytes(json)?;
        // The request decides about truncation, and nothing is ever padded.
        tokenizer.with_truncation(None)?;
        tokenizer.with_padding(None);
        // A special token that is spelled in a text is plain text.
        tokenizer.set_encode_special_tokens(true);
        let is_bert = matches!(tokenizer.get_pre_tokenizer(), Some(PreTokenizerWrapper::BertPreTokenizer(_)));
        Ok(match *tokenizer.encode_fast("", true)?.get_ids() {
            [first, last] => Some(Self { tokenizer, is_bert, first, last }),
            _ => None,
        })
    }

    /// Reads a text from `at` to `until` or somewhat further.
    pub(super) fn read_on(
        &self,
        text: &str,
        at: &mut usize,
        until: usize,
        body: &mut TokenBuffer,
    ) -> tokenizers::Result<()> {
        while *at < until {
            let rest = &text[*at..];
            let piece = if self.is_bert { &rest[..piece_end(rest)] } else { rest };
            for &id in self.tokenizer.encode_fast(piece, false)?.get_ids() {
                body.push(id);
            }
            *at += piece.len();
        }
        Ok(())
    }
}

/// Where the first piece of a text ends.
fn piece_end(text: &str) -> usize {
    if text.len() <= PIECE {
        return text.len();
    }
    let cut = |(at, c): (usize, char)| match c {
        '\u{3400}'..='\u{4DBF}' | '\u{4E00}'..='\u{9FFF}' => Some(at),
        _ if c.is_ascii_whitespace() || c.is_ascii_punctuation() => Some(at + 1),
        _ => None,
    };
    let cut = |place| cut(place).filter(|&end| end > 0);
    let about = text.floor_char_boundary(PIECE);
    let longest = text.floor_char_boundary(LONGEST_RUN);
    let before = text[..about].char_indices().rev().find_map(cut);
    let after = || text[about..longest].char_indices().map(|(at, c)| (about + at, c)).find_map(cut);
    before.or_else(after).unwrap_or(longest)
}
