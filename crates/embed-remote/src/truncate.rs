//! What is known of a text's length without a tokenizer, and the search for a piece that fits.

use std::ops::Range;

/// More tokens than the text can possibly have, special tokens left out.
///
/// Tokenizers make at most one token of each byte of the text as it reads it. It may
/// read more than was written: a compatibility form such as U+FDFA becomes 18 letters when it is
/// normalised. Those count for what they may become.
#[must_use]
pub fn most_tokens(text: &str) -> usize {
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
pub enum Keep {
    /// Its beginning.
    Start,
    /// Its end.
    End,
}

/// What a server said of a piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// It doesn't fit.
    TooLong,
    /// It fits, with so many tokens, special ones included, if the server counts them.
    Fits(Option<usize>),
}

/// Looks for the longest piece of a text that the model reads whole. It depends on the text and on the
/// server's answers alone, so that a text is always cut in the same place.
#[derive(Debug)]
pub struct Search<'a> {
    text: &'a str,
    keep: Keep,
    limit: usize,
    specials: usize,
    /// Bytes that fit.
    fits: usize,
    /// Bytes that don't.
    too_long: usize,
    steps: usize,
    /// The last guess was made from a count, so that what is too long is so by little.
    counted: bool,
    next: Option<usize>,
}

/// A piece that leaves no more than this many tokens free is the longest: its next word may need so many.
const FREE: usize = 1;
/// Each step is a request; more of them would gain less than a word.
const MOST_STEPS: usize = 12;

impl<'a> Search<'a> {
    /// A search in a text that is too long as a whole.
    #[must_use]
    pub fn new(text: &'a str, keep: Keep, limit: usize, specials: usize) -> Self {
        // English has four to five bytes in a token, other languages fewer.
        let first = (limit * 4).min(text.len().saturating_sub(1)).max(1);
        Self {
            text,
            keep,
            limit,
            specials,
            fits: 0,
            too_long: text.len(),
            steps: 0,
            counted: false,
            next: Some(first),
        }
    }

    /// The next piece to try; `None` if the best one is found, or none fits.
    #[must_use]
    pub fn piece(&self) -> Option<Range<usize>> {
        self.next.map(|bytes| piece(self.text, self.keep, bytes))
    }

    /// Takes in what the server said of the piece.
    pub fn said(&mut self, said: Said) {
        let Some(tried) = self.next.take() else { return };
        self.steps += 1;
        let guess = match said {
            Said::TooLong => {
                self.too_long = tried;
                // A refusal costs a server a hundredth of what embedding costs it: come down in small steps.
                match self.fits {
                    0 => tried / 4 * 3,
                    _ if self.counted => self.halfway().max(tried - tried / 128),
                    _ => self.halfway(),
                }
            }
            Said::Fits(tokens) => {
                self.fits = tried;
                self.counted = tokens.is_some();
                match tokens {
                    Some(tokens) if tokens + FREE >= self.limit => return,
                    Some(tokens) => {
                        // As many bytes in a token as the piece has had so far, and some more: see above.
                        let free = self.limit.saturating_sub(tokens);
                        let bytes = (tried / tokens.saturating_sub(self.specials).max(1)).max(1);
                        let guess = tried.saturating_add(bytes.saturating_mul(free + free / 8));
                        if guess < self.too_long { guess } else { self.halfway() }
                    }
                    None => self.halfway(),
                }
            }
        };
        self.next = self.other(guess);
    }

    /// Of the sizes between what fits and what doesn't, the one next to a guess whose piece is yet unknown: cut
    /// between words, several sizes are one piece.
    fn other(&mut self, mut guess: usize) -> Option<usize> {
        while self.fits + 1 < self.too_long {
            let size = guess.clamp(self.fits + 1, self.too_long - 1);
            let piece_of = |size| piece(self.text, self.keep, size);
            if self.fits == 0 {
                return Some(size);
            }
            if self.steps == MOST_STEPS {
                return None;
            }
            if piece_of(size) != piece_of(self.fits) {
                return Some(size);
            }
            self.fits = size;
            guess = self.halfway();
        }
        None
    }

    fn halfway(&self) -> usize {
        self.fits.midpoint(self.too_long)
    }
}

/// About so many bytes of one side of a text, ended between characters, and between words if there is a
/// space not far away.
#[must_use]
pub fn piece(text: &str, keep: Keep, bytes: usize) -> Range<usize> {
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

    /// The piece, and how many requests were embedded and refused.
    fn found(text: &str, keep: Keep, limit: usize, counted: bool) -> (Range<usize>, usize, usize) {
        let mut search = Search::new(text, keep, limit, 2);
        let (mut best, mut embedded, mut refused) = (0..0, 0, 0);
        while let Some(piece) = search.piece() {
            let tokens = words(&text[piece.clone()]);
            if tokens > limit {
                refused += 1;
                search.said(Said::TooLong);
            } else {
                embedded += 1;
                best = piece;
                search.said(Said::Fits(counted.then_some(tokens)));
            }
        }
        (best, embedded, refused)
    }

    #[test]
    fn the_piece_is_as_long_as_can_be_after_few_requests() {
        for words_of_text in ["freedom and dignity ", "a ", "富士山 ", "internationalisation of words "] {
            let text = words_of_text.repeat(1500);
            for keep in [Keep::Start, Keep::End] {
                let (piece, embedded, refused) = found(&text, keep, 512, true);
                let tokens = words(&text[piece]);
                assert!((509..=512).contains(&tokens), "{words_of_text}: {tokens} tokens");
                assert!(
                    embedded <= 4 && refused <= 10,
                    "{words_of_text}: {embedded} embedded, {refused} refused"
                );
                let (piece, embedded, refused) = found(&text, keep, 512, false);
                let tokens = words(&text[piece]);
                assert!((490..=512).contains(&tokens), "{words_of_text}: {tokens} tokens, uncounted");
                assert!(embedded + refused <= 14, "{words_of_text}: {embedded} embedded, {refused} refused");
            }
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
            let (_, embedded, refused) = found(&text, Keep::Start, limit, true);
            prop_assert!(embedded + refused < 30);
        }
    }
}
