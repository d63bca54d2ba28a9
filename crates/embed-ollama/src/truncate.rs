//! What is known of a text's length without a tokenizer, and the search for a piece that fits.

use std::ops::Range;

/// More tokens than the text can possibly have, special tokens left out.
///
/// Every tokenizer that Ollama runs makes at most one token of each byte of the text as it reads it. It may
/// read more than was written: a compatibility form such as U+FDFA becomes 18 letters when it is
/// normalised. Those count for what they may become.
pub(crate) fn most_tokens(text: &str) -> usize {
    text.chars()
        .map(|char| match char {
            '\0'..='\x7f' => 1,
            // Fractions, numbers in circles, squared words, ligatures and presentation forms.
            '\u{bc}'..='\u{be}'
            | '\u{2034}'..='\u{205f}'
            | '\u{2070}'..='\u{218f}'
            | '\u{222c}'..='\u{2230}'
            | '\u{2460}'..='\u{24ff}'
            | '\u{2a00}'..='\u{2aff}'
            | '\u{3200}'..='\u{33ff}'
            | '\u{fb00}'..='\u{fdff}'
            | '\u{1d000}'..='\u{1f2ff}' => 36,
            '\u{f900}'..='\u{faff}' => 4,
            char => char.len_utf8(),
        })
        .sum()
}

/// Which side of a text is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    Start,
    End,
}

/// What a server said of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    TooLong,
    /// It fits, with so many tokens, special ones included, if the server counts them.
    Fits(Option<usize>),
}

/// Looks for the longest piece of a text that the model reads whole. It depends on the text and on the
/// server's answers alone, so that a text is always cut in the same place.
#[derive(Debug)]
pub(crate) struct Search<'a> {
    text: &'a str,
    keep: Keep,
    limit: usize,
    specials: usize,
    /// Bytes that fit.
    fits: usize,
    /// Bytes that don't.
    too_long: usize,
    steps: usize,
    next: Option<usize>,
}

/// A piece that fills the model to this part is good enough.
const FULL: f64 = 0.9;
const MOST_STEPS: usize = 8;

impl<'a> Search<'a> {
    /// A search in a text that is too long as a whole.
    pub(crate) fn new(text: &'a str, keep: Keep, limit: usize, specials: usize) -> Self {
        // English has four to five bytes in a token, other languages fewer.
        let first = (limit * 4).min(text.len().saturating_sub(1)).max(1);
        Self { text, keep, limit, specials, fits: 0, too_long: text.len(), steps: 0, next: Some(first) }
    }

    /// The next piece to try; `None` if the best one is found, or none fits.
    pub(crate) fn piece(&self) -> Option<Range<usize>> {
        self.next.map(|bytes| piece(self.text, self.keep, bytes))
    }

    /// Takes in what the server said of the piece.
    pub(crate) fn said(&mut self, said: Said) {
        let Some(tried) = self.next.take() else { return };
        self.steps += 1;
        let guess = match said {
            Said::TooLong => {
                self.too_long = tried;
                if self.fits == 0 { tried / 2 } else { self.fits.midpoint(self.too_long) }
            }
            Said::Fits(tokens) => {
                self.fits = tried;
                let room = self.limit.saturating_sub(self.specials).max(1) as f64;
                match tokens {
                    Some(tokens) if tokens as f64 >= self.limit as f64 * FULL => return,
                    Some(tokens) => {
                        let text_tokens = tokens.saturating_sub(self.specials).max(1) as f64;
                        (tried as f64 * room / text_tokens * 0.97) as usize
                    }
                    None => self.fits.midpoint(self.too_long),
                }
            }
        };
        let (low, high) = (self.fits + 1, self.too_long.saturating_sub(1));
        // A piece is needed in any case; a better one only as long as it is worth its request.
        let worth = self.fits == 0 || (self.steps < MOST_STEPS && self.too_long - self.fits > self.limit / 8);
        if low <= high && worth {
            self.next = Some(guess.clamp(low, high));
        }
    }
}

/// About so many bytes of one side of a text, ended between characters, and between words if there is a
/// space not far away.
pub(crate) fn piece(text: &str, keep: Keep, bytes: usize) -> Range<usize> {
    let bytes = bytes.min(text.len());
    if bytes == text.len() {
        return 0..text.len();
    }
    let near = bytes / 8;
    match keep {
        Keep::Start => {
            let end = text.floor_char_boundary(bytes).max(first_char(text));
            let from = text.floor_char_boundary(end.saturating_sub(near));
            let end = text[from..end].rfind(char::is_whitespace).map_or(end, |space| from + space);
            0..if end == 0 { text.floor_char_boundary(bytes).max(first_char(text)) } else { end }
        }
        Keep::End => {
            let last = text.char_indices().next_back().map_or(0, |(at, _)| at);
            let start = text.ceil_char_boundary(text.len() - bytes).min(last);
            let to = text.ceil_char_boundary((start + near).min(text.len()));
            let start = text[start..to].find(char::is_whitespace).map_or(start, |space| start + space);
            start.min(last)..text.len()
        }
    }
}

fn first_char(text: &str) -> usize {
    text.chars().next().map_or(0, char::len_utf8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_text_has_more_tokens_than_bytes_unless_it_is_unfolded() {
        assert_eq!(most_tokens("query"), 5);
        assert_eq!(most_tokens("富士"), 6);
        assert_eq!(most_tokens("\u{fdfa}"), 36);
    }

    /// A model whose tokens are words.
    fn words(text: &str) -> usize {
        text.split_whitespace().count() + 2
    }

    fn found(text: &str, keep: Keep, limit: usize, counted: bool) -> (Range<usize>, usize) {
        let mut search = Search::new(text, keep, limit, 2);
        let (mut best, mut steps) = (0..0, 0);
        while let Some(piece) = search.piece() {
            steps += 1;
            let tokens = words(&text[piece.clone()]);
            if tokens > limit {
                search.said(Said::TooLong);
            } else {
                best = piece;
                search.said(Said::Fits(counted.then_some(tokens)));
            }
        }
        (best, steps)
    }

    #[test]
    fn the_piece_is_nearly_as_long_as_can_be_after_few_requests() {
        let text = "freedom and dignity ".repeat(500);
        for keep in [Keep::Start, Keep::End] {
            let (piece, steps) = found(&text, keep, 512, true);
            let tokens = words(&text[piece]);
            assert!((460..=512).contains(&tokens), "{tokens} tokens");
            assert!(steps <= 4, "{steps} requests");
            let (piece, steps) = found(&text, keep, 512, false);
            assert!(words(&text[piece]) > 400);
            assert!(steps <= 14, "{steps} requests");
        }
    }

    proptest! {
        #[test]
        fn a_piece_is_a_real_part_of_its_side(text in "[a-c富 é]{1,60}", bytes in 1_usize..80) {
            for keep in [Keep::Start, Keep::End] {
                let piece = piece(&text, keep, bytes);
                prop_assert!(!piece.is_empty());
                prop_assert!(text.is_char_boundary(piece.start) && text.is_char_boundary(piece.end));
                match keep {
                    Keep::Start => prop_assert_eq!(piece.start, 0),
                    Keep::End => prop_assert_eq!(piece.end, text.len()),
                }
            }
        }

        #[test]
        fn a_search_ends(text in "[a-c ]{1,400}", limit in 3_usize..40) {
            let (_, steps) = found(&text, Keep::Start, limit, true);
            prop_assert!(steps < 30);
        }
    }
}
