//! Whether the words of a text are English.

use std::collections::HashMap;
use std::sync::LazyLock;

use foldhash::fast::FixedState;

use super::sample::{Sample, is_ignorable};

/// How a word counts for English. `words/README.md` has the sources of the lists.
#[derive(Debug, Clone, Copy)]
enum Class {
    /// An English function word that isn't spelled the same in other languages.
    Function,
    /// An English word.
    English,
    /// An English word that is spelled the same in other languages.
    Shared,
    /// A keyword or an abbreviation in source code, independent of the author's language. Ignored in other texts.
    Code,
}

static WORDS: LazyLock<HashMap<&'static [u8], Class, FixedState>> = LazyLock::new(|| {
    let lists = [
        (include_str!("words/english.txt"), Class::English),
        (include_str!("words/technical.txt"), Class::English),
        (include_str!("words/shared.txt"), Class::Shared),
        (include_str!("words/function.txt"), Class::Function),
        (include_str!("words/code.txt"), Class::Code),
    ];
    lists
        .into_iter()
        .flat_map(|(list, class)| list.lines().map(move |word| (word.as_bytes(), class)))
        .collect()
});

/// Loads the lists, so that the first text doesn't have to wait.
pub(super) fn load() {
    LazyLock::force(&WORDS);
}

/// Counts of a text's words by class.
#[derive(Debug, Default)]
pub(super) struct Tally {
    function: u32,
    english: u32,
    shared: u32,
    /// Words in no list that begin with a capital, mostly names.
    names: u32,
    unknown: u32,
    /// Short words that may be keywords or abbreviations in source code.
    code: u32,
    letters: usize,
    /// Signs that are rare in prose.
    signs: usize,
}

impl Tally {
    pub(super) fn of(sample: &Sample<'_>) -> Self {
        let mut tally = Self::default();
        for part in sample.for_words() {
            for token in part.split_ascii_whitespace().filter(|token| !is_address(token)) {
                tally.token(token);
            }
        }
        tally
    }

    /// Whether there are no words to count.
    pub(super) fn is_empty(&self) -> bool {
        self.function + self.english + self.shared + self.names + self.unknown + self.code == 0
    }

    /// Whether the signs indicate source code.
    pub(super) fn is_code(&self) -> bool {
        self.signs >= 4 && self.signs * 8 >= self.letters
    }

    /// Whether there is an English function word.
    pub(super) fn has_grammar(&self) -> bool {
        self.function > 0
    }

    /// The share of the evidence for English, from 0 to 1. The weights and the thresholds in
    /// [`is_english`](Self::is_english) were tuned on the training half of the texts in `docs/detection.md`.
    pub(super) fn share(&self) -> f32 {
        let unknown = if self.is_code() { self.unknown } else { self.unknown + self.code };
        let against = unknown as f32 + 0.35 * self.names as f32;
        let all = self.favour() + against;
        if all > 0.0 { self.favour() / all } else { 0.0 }
    }

    /// Whether the text is entirely English. Two English words tolerate no unknown one, four tolerate one, and shared
    /// words are enough only if there are four of them and nothing else. So the rule is stricter for short texts.
    pub(super) fn is_english(&self) -> bool {
        if self.is_code() {
            // Module names and concatenated words aren't a foreign language.
            return self.share() >= 0.65;
        }
        if self.function + self.english == 0 {
            return self.favour() >= 1.5 && self.share() >= 1.0;
        }
        self.share() >= 0.75
    }

    fn favour(&self) -> f32 {
        2.0 * self.function as f32 + self.english as f32 + 0.4 * self.shared as f32
    }

    /// Counts the words of a token without white space: `get_userName(x)` has three.
    fn token(&mut self, token: &str) {
        let mut word = Word::default();
        for c in token.chars() {
            match c {
                'a'..='z' => word.push(c as u8),
                'A'..='Z' => {
                    if word.ends_in_lower_case() {
                        self.word(&word);
                        word = Word::default();
                    }
                    word.push(c as u8);
                }
                '\'' | '’' => word.push(b'\''),
                _ if is_ignorable(c) => {}
                // `4th`, `x86` and `mp3` belong to no language; `café` and `π` are classified by their letters.
                _ if c.is_ascii_digit() || (!c.is_ascii() && c.is_alphanumeric()) => word.spoilt = true,
                '\u{300}'..='\u{36f}' => word.spoilt = true,
                _ => {
                    self.signs += usize::from(is_sign_of_code(c));
                    self.word(&word);
                    word = Word::default();
                }
            }
        }
        self.word(&word);
    }

    /// Counts a word, which may have apostrophes.
    fn word(&mut self, word: &Word) {
        if word.length == 0 || word.spoilt {
            return;
        }
        let letters = word.letters();
        let Some(at) = letters.iter().rposition(|&byte| byte == b'\'') else {
            return self.part(letters, word.capital);
        };
        let (stem, ending) = (&letters[..at], &letters[at + 1..]);
        match ending {
            // don't, I'm, we've
            b"t" if stem.ends_with(b"n") => self.function += 1,
            b"m" if stem == b"i" => self.function += 1,
            b"re" | b"ve" | b"ll" => self.function += 1,
            b"" | b"s" | b"d" | b"m" => self.part(stem, word.capital),
            // l'homme, O'Brien
            _ => {
                self.part(stem, word.capital);
                self.part(ending, word.capital);
            }
        }
    }

    fn part(&mut self, letters: &[u8], capital: bool) {
        // Single letters are words in too many languages.
        if letters.len() < 2 {
            return;
        }
        self.letters += letters.len();
        match WORDS.get(letters) {
            Some(Class::Function) => self.function += 1,
            Some(Class::English) => self.english += 1,
            Some(Class::Shared) => self.shared += 1,
            Some(Class::Code) => self.code += 1,
            None if capital => self.names += 1,
            None if letters.len() <= 4 => self.code += 1,
            None => self.unknown += 1,
        }
    }
}

/// A word while its token is parsed: letters A to Z in lower case, and apostrophes.
#[derive(Debug, Default)]
struct Word {
    bytes: [u8; 24],
    /// The length of the whole word, even if `bytes` is too short for it. A longer word is in no list.
    length: usize,
    capital: bool,
    last: u8,
    /// Whether it has a digit or another letter.
    spoilt: bool,
}

impl Word {
    fn push(&mut self, byte: u8) {
        if self.length == 0 {
            // A quotation mark, not an apostrophe.
            if byte == b'\'' {
                return;
            }
            self.capital = byte.is_ascii_uppercase();
        }
        if let Some(place) = self.bytes.get_mut(self.length) {
            *place = byte.to_ascii_lowercase();
        }
        self.length += 1;
        self.last = byte;
    }

    fn letters(&self) -> &[u8] {
        &self.bytes[..self.length.min(self.bytes.len())]
    }

    fn ends_in_lower_case(&self) -> bool {
        self.last.is_ascii_lowercase()
    }
}

/// Whether a token is a URL or an email address, which belong to no language.
fn is_address(token: &str) -> bool {
    let bytes = token.as_bytes();
    bytes.len() > 7
        && (bytes.starts_with(b"www.")
            || bytes.windows(3).any(|three| three == b"://")
            || bytes[1..].contains(&b'@'))
}

fn is_sign_of_code(c: char) -> bool {
    matches!(
        c,
        '{' | '}'
            | '('
            | ')'
            | '['
            | ']'
            | '<'
            | '>'
            | ';'
            | '='
            | '_'
            | '&'
            | '|'
            | '*'
            | '+'
            | '\\'
            | '#'
            | '$'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_is_in_one_list_and_can_be_found() {
        let lists = [
            include_str!("words/english.txt"),
            include_str!("words/technical.txt"),
            include_str!("words/shared.txt"),
            include_str!("words/function.txt"),
            include_str!("words/code.txt"),
        ];
        for list in lists {
            assert!(list.lines().is_sorted_by(|a, b| a < b), "not in order: {}", &list[..40]);
            for word in list.lines() {
                let fits = (2..=Word::default().bytes.len()).contains(&word.len());
                assert!(fits && word.bytes().all(|byte| byte.is_ascii_lowercase()), "{word} is never found");
            }
        }
        let lines: usize = lists.iter().map(|list| list.lines().count()).sum();
        assert_eq!(lines, WORDS.len(), "a word is in two lists");
    }

    #[test]
    fn apostrophes_join_and_part() {
        let tally = |text| Tally::of(&Sample::of(text).unwrap());
        assert_eq!(tally("don't I'm we'll").function, 3);
        // A single letter isn't a word; `l'homme` is one unknown word, `O'Brien's` is a name.
        assert_eq!((tally("l'homme").unknown, tally("O'Brien's").names), (1, 1));
        assert_eq!(tally("'quoted' “words”").english, 2);
    }
}
