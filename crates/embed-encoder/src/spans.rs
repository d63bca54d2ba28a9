//! Maps tokens to the characters of a text. Tokens are written like the normalised text, so the text is normalised, too,
//! and both are read in parallel.

use std::ops::Range;

use icu_normalizer::properties::CanonicalCombiningClassMapBorrowed;
use icu_normalizer::{ComposingNormalizerBorrowed, DecomposingNormalizerBorrowed};

/// How far ahead the next token is searched after one that stands for characters that the vocabulary lacks.
const AHEAD: usize = 64;

/// How a tokenizer writes its tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Writing {
    /// Compatibility forms composed; `▁` is a space.
    Metaspace,
    /// In lower case without marks; a token that continues a word begins with `##`.
    Hashes,
}

/// The characters that each token of a text stands for, counted in Unicode scalar values, as in Python; `None` if they
/// can't be determined.
pub(crate) fn spans(text: &str, tokens: &[&str], writing: Writing) -> Vec<Option<Range<usize>>> {
    let read = normalised(text, writing);
    let mut at = 0;
    let mut spans = Vec::with_capacity(tokens.len());
    for token in tokens {
        let written = match writing {
            Writing::Metaspace => token.trim_start_matches('▁'),
            Writing::Hashes => token.strip_prefix("##").unwrap_or(token),
        };
        let found = if written.is_empty() {
            // A space alone is where the next token begins.
            read.get(at).map(|(_, source)| (at, source.start..source.start))
        } else {
            find(&read, at, written)
        };
        if let Some((end, _)) = found {
            at = end;
        }
        spans.push(found.map(|(_, span)| span));
    }
    spans
}

/// Where the characters of a token occur next, and which characters of the text they came from.
fn find(read: &[(char, Range<usize>)], at: usize, written: &str) -> Option<(usize, Range<usize>)> {
    let length = written.chars().count();
    let last = read.len().checked_sub(length)?.min(at + AHEAD);
    (at..=last).find_map(|from| {
        let piece = &read[from..from + length];
        let same = piece.iter().map(|(character, _)| *character).eq(written.chars());
        let span = same.then(|| piece.first().zip(piece.last())).flatten();
        span.map(|((_, first), (_, last))| (from + length, first.start..last.end))
    })
}

/// The normalised characters of a text without white space, each with the characters that it came from.
fn normalised(text: &str, writing: Writing) -> Vec<(char, Range<usize>)> {
    let characters: Vec<char> = text.chars().collect();
    let mut read = Vec::with_capacity(characters.len());
    let mut start = 0;
    while start < characters.len() {
        let follows = |character: &&char| joins(**character);
        let end = start + 1 + characters[start + 1..].iter().take_while(follows).count();
        let cluster: String = characters[start..end].iter().collect();
        let seen = match writing {
            Writing::Metaspace => ComposingNormalizerBorrowed::new_nfkc().normalize(&cluster).into_owned(),
            Writing::Hashes => {
                let parts = DecomposingNormalizerBorrowed::new_nfd().normalize(&cluster).to_lowercase();
                parts.chars().filter(|character| !is_mark(*character)).collect()
            }
        };
        let shown = seen.chars().filter(|character| !character.is_whitespace() && !character.is_control());
        read.extend(shown.map(|character| (character, start..end)));
        start = end;
    }
    read
}

/// Whether a character is composed with the one before it.
fn joins(character: char) -> bool {
    // Vowels and finals of Hangul, and the voiced marks of half-width kana.
    matches!(character, '\u{1160}'..='\u{11ff}' | '\u{ff9e}' | '\u{ff9f}') || is_mark(character)
}

fn is_mark(character: char) -> bool {
    CanonicalCombiningClassMapBorrowed::new().get_u8(character) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(text: &str, tokens: &[&str], writing: Writing) -> Vec<Option<String>> {
        let characters: Vec<char> = text.chars().collect();
        let piece = |span: Range<usize>| characters[span].iter().collect();
        spans(text, tokens, writing).into_iter().map(|span| span.map(piece)).collect()
    }

    #[test]
    fn tokens_stand_for_the_characters_that_they_came_from() {
        let metaspace: [(&str, &[&str], &[&str]); 5] = [
            ("a  river bank", &["▁a", "▁river", "▁ban", "k"], &["a", "river", "ban", "k"]),
            ("Ｆｕｌｌ ﬁne", &["▁Full", "▁fi", "ne"], &["Ｆｕｌｌ", "ﬁ", "ne"]),
            ("cafe\u{301} ﾃﾞｰﾀ", &["▁café", "▁", "デ", "ータ"], &["cafe\u{301}", "", "ﾃﾞ", "ｰﾀ"]),
            ("日本語です", &["▁", "日本", "語", "です"], &["", "日本", "語", "です"]),
            ("x \u{e000} y", &["▁x", "▁y"], &["x", "y"]),
        ];
        for (text, tokens, expected) in metaspace {
            let expected: Vec<_> = expected.iter().map(|piece| Some((*piece).to_owned())).collect();
            assert_eq!(pieces(text, tokens, Writing::Metaspace), expected, "{text}");
        }
        let hashes = pieces("Río rivers", &["rio", "river", "##s"], Writing::Hashes);
        assert_eq!(hashes, ["Río", "river", "s"].map(|piece| Some(piece.to_owned())));
    }

    #[test]
    fn what_cannot_be_told_is_left_out() {
        assert_eq!(pieces("x \u{e000} y", &["▁x", "<unk>", "▁y"], Writing::Metaspace)[1], None);
        assert_eq!(spans("", &["▁x"], Writing::Metaspace), [None]);
    }
}
