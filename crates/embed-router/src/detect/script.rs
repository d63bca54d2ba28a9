//! The scripts of a text's letters.

use super::sample::Sample;

/// A script, as far as it indicates a language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Script {
    /// Hiragana and katakana, with Han if there is any.
    Kana,
    /// Han without kana.
    Han,
    Hangul,
    /// Any other script but Latin: an index into [`OTHERS`].
    Other(usize),
    /// A script that isn't in the table.
    Unlisted,
}

impl Script {
    /// The rule for texts in this script.
    pub(super) fn rule(self) -> &'static str {
        match self {
            Self::Kana => "kana",
            Self::Han => "han",
            Self::Hangul => "hangul",
            Self::Other(index) => OTHERS[index].rule,
            Self::Unlisted => "other-script",
        }
    }

    /// The language, if (nearly) all texts in the script are in one language.
    pub(super) fn language(self) -> &'static str {
        match self {
            Self::Kana => "ja",
            Self::Han => "zh",
            Self::Hangul => "ko",
            Self::Other(index) => OTHERS[index].language,
            Self::Unlisted => "und",
        }
    }
}

/// The rules of all scripts.
pub(super) fn rules() -> impl Iterator<Item = &'static str> {
    let named = [Script::Kana, Script::Han, Script::Hangul, Script::Unlisted].map(Script::rule);
    named.into_iter().chain(OTHERS.iter().map(|other| other.rule))
}

/// Counts of a text's letters by script.
#[derive(Debug, Default)]
pub(super) struct Scan {
    /// Latin letters outside A to Z, and combining marks.
    pub(super) diacritics: u32,
    /// Variants of Latin letters: full-width, mathematical, circled, ligatures. The tokenizer of an English model doesn't
    /// know them.
    pub(super) variants: u32,
    pub(super) hiragana: u32,
    katakana: u32,
    han: u32,
    hangul: u32,
    others: [u16; OTHERS.len()],
    /// The index of the script in `others` that was counted last.
    last: usize,
    unlisted: u32,
    /// Letters of all scripts but Latin.
    total: u32,
    /// Letters A to Z, counted only if there are others to compare with.
    latin: u32,
}

impl Scan {
    /// Counts every non-ASCII character, until no more of them could change the result.
    pub(super) fn of(sample: &Sample<'_>) -> Self {
        let mut scan = Self::default();
        let mut seen = [""; 3];
        let mut ascii = false;
        for (part, seen) in sample.for_scripts().into_iter().zip(&mut seen) {
            let mut chars = part.chars();
            while !scan.is_settled()
                && let Some(c) = chars.next()
            {
                if c.is_ascii() {
                    let rest = chars.as_str();
                    chars = rest[ascii_length(rest.as_bytes())..].chars();
                    ascii = true;
                } else {
                    scan.count(c);
                }
            }
            *seen = &part[..part.len() - chars.as_str().len()];
        }
        if ascii && scan.total > 0 {
            let letters = |part: &str| part.bytes().filter(u8::is_ascii_alphabetic).count();
            scan.latin = seen.into_iter().map(letters).sum::<usize>() as u32;
        }
        scan
    }

    /// Whether the rest can't change the kind: with so many letters of other scripts the beginning decides, and a text
    /// with so many diacritics isn't English.
    fn is_settled(&self) -> bool {
        self.total >= 128 || self.diacritics >= 32
    }

    /// The script of most non-Latin letters, if there are any. With any kana, Han counts as Japanese.
    pub(super) fn main(&self) -> Option<Script> {
        if self.total == 0 {
            return None;
        }
        let kana = self.hiragana + self.katakana;
        let han = if kana > 0 { (Script::Kana, kana + self.han) } else { (Script::Han, self.han) };
        let last = (Script::Other(self.last), u32::from(self.others[self.last]));
        let mut main = han;
        for candidate in [(Script::Hangul, self.hangul), last, (Script::Unlisted, self.unlisted)] {
            if candidate.1 > main.1 {
                main = candidate;
            }
        }
        // Hardly any text has several scripts besides Latin.
        if main.1 < self.total {
            for (index, &count) in self.others.iter().enumerate() {
                if u32::from(count) > main.1 {
                    main = (Script::Other(index), u32::from(count));
                }
            }
        }
        Some(main.0)
    }

    /// Whether the letters A to Z outweigh the others. A word of Chinese or Japanese has about two letters, an English
    /// one five.
    pub(super) fn is_mostly_latin(&self) -> bool {
        let dense = self.hiragana + self.katakana + self.han + self.hangul;
        2 * self.latin > 5 * dense + 2 * (self.total - dense)
    }

    /// The confidence of a script's language.
    pub(super) fn confidence(&self, script: Script) -> f32 {
        match script {
            // A few Chinese characters may well be Japanese or Korean ones.
            Script::Han => (0.5 + 0.05 * self.han as f32).min(1.0),
            _ if script.language() == "und" => 0.0,
            _ => 1.0,
        }
    }

    fn count(&mut self, c: char) {
        match c {
            '一'..='鿿' => self.han += 1,
            'ぁ'..='ゖ' | '\u{3099}'..='\u{309a}' | 'ゝ'..='ゟ' => self.hiragana += 1,
            // Half-width ones included. The long vowel mark and the middle dot aren't, because other languages use them
            // too.
            'ァ'..='ヺ' | 'ヽ'..='ヿ' | 'ㇰ'..='ㇿ' | 'ｦ'..='ｯ' | 'ｱ'..='ﾟ' | '\u{1aff0}'..='\u{1b16f}' =>
            {
                self.katakana += 1;
            }
            '々'..='〇' | '㐀'..='䶿' | '⺀'..='⿟' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}' =>
            {
                self.han += 1;
            }
            '가'..='힣' | 'ᄀ'..='ᇿ' | 'ㄱ'..='ㆎ' | 'ꥠ'..='ꥼ' | 'ힰ'..='ퟻ' | 'ﾠ'..='ￜ' => {
                self.hangul += 1
            }
            '\u{300}'..='\u{36f}' | '\u{1ab0}'..='\u{1aff}' | '\u{1dc0}'..='\u{1dff}' => {
                self.diacritics += 1;
                return;
            }
            // The micro sign and the ordinals aren't letters here, whatever Unicode calls them. The usual punctuation is
            // listed to avoid the search through all tables.
            '\u{80}'..='\u{bf}'
            | '×'
            | '÷'
            | '\u{2000}'..='\u{206f}'
            | '\u{3000}'..='\u{3020}'
            | '・'
            | 'ー'
            | '\u{ff01}'..='\u{ff20}' => return,
            '\u{c0}'..='\u{2af}' | '\u{1e00}'..='\u{1eff}' => {
                self.diacritics += 1;
                return;
            }
            _ => {
                // The next letter is mostly of the same script.
                let known = OTHERS[self.last].holds(c).then_some(self.last);
                if let Some(index) = known.or_else(|| OTHERS.iter().position(|other| other.holds(c))) {
                    self.others[index] += 1;
                    self.last = index;
                } else if !c.is_alphabetic() {
                    return;
                } else if is_latin_variant(c) {
                    self.variants += 1;
                    return;
                } else if is_rare_latin(c) {
                    self.diacritics += 1;
                    return;
                } else {
                    self.unlisted += 1;
                }
            }
        }
        self.total += 1;
    }
}

/// Variants of the letters A to Z.
fn is_latin_variant(letter: char) -> bool {
    matches!(letter,
        '\u{2071}'..='\u{209c}' | '\u{2100}'..='\u{218f}' | '\u{24b6}'..='\u{24e9}' | '\u{fb00}'..='\u{fb06}'
        | '\u{ff21}'..='\u{ff5a}' | '\u{1d400}'..='\u{1d7ff}' | '\u{1f130}'..='\u{1f189}')
}

/// Rare Latin letters, and modifier letters.
fn is_rare_latin(letter: char) -> bool {
    matches!(letter,
        '\u{2b0}'..='\u{2ff}' | '\u{1d00}'..='\u{1dbf}' | '\u{2c60}'..='\u{2c7f}' | '\u{a720}'..='\u{a7ff}'
        | '\u{ab30}'..='\u{ab6f}')
}

/// The length of the ASCII prefix.
fn ascii_length(bytes: &[u8]) -> usize {
    const STRIDE: usize = 32;
    let strides = bytes.chunks(STRIDE).take_while(|chunk| chunk.is_ascii()).count();
    let from = (strides * STRIDE).min(bytes.len());
    from + bytes[from..].iter().take_while(|byte| byte.is_ascii()).count()
}

/// The blocks of a script and its language.
struct OtherScript {
    rule: &'static str,
    language: &'static str,
    blocks: &'static [(char, char)],
}

impl OtherScript {
    fn holds(&self, c: char) -> bool {
        self.blocks.iter().any(|&(first, last)| (first..=last).contains(&c))
    }
}

const fn other(rule: &'static str, language: &'static str, blocks: &'static [(char, char)]) -> OtherScript {
    OtherScript { rule, language, blocks }
}

/// Scripts by the letters and marks in their blocks (Unicode 16), the most used ones first. Signs that are also used in
/// other texts, such as `฿`, are left out. A language is given if the script is used for hardly any other.
static OTHERS: [OtherScript; 30] = [
    other("cyrillic", "und", &[('\u{400}', '\u{52f}'), ('\u{1c80}', '\u{1c8f}'), ('\u{a640}', '\u{a69f}')]),
    other(
        "arabic",
        "und",
        &[
            ('\u{620}', '\u{65f}'),
            ('\u{66e}', '\u{6ef}'),
            ('\u{6fa}', '\u{6ff}'),
            ('\u{750}', '\u{77f}'),
            ('\u{860}', '\u{8ff}'),
            ('\u{fb50}', '\u{fdff}'),
            ('\u{fe70}', '\u{fefc}'),
        ],
    ),
    other("devanagari", "und", &[('\u{900}', '\u{963}'), ('\u{971}', '\u{97f}'), ('\u{a8e0}', '\u{a8ff}')]),
    other(
        "greek",
        "el",
        &[('\u{370}', '\u{37d}'), ('\u{37f}', '\u{386}'), ('\u{388}', '\u{3ff}'), ('\u{1f00}', '\u{1fff}')],
    ),
    other("hebrew", "he", &[('\u{591}', '\u{5f2}'), ('\u{fb1d}', '\u{fb4f}')]),
    other("thai", "th", &[('\u{e01}', '\u{e3a}'), ('\u{e40}', '\u{e4e}')]),
    other("bengali", "und", &[('\u{980}', '\u{9e3}'), ('\u{9f0}', '\u{9f1}')]),
    other("gurmukhi", "pa", &[('\u{a00}', '\u{a7f}')]),
    other("gujarati", "gu", &[('\u{a80}', '\u{aff}')]),
    other("oriya", "or", &[('\u{b00}', '\u{b7f}')]),
    other("tamil", "ta", &[('\u{b80}', '\u{bff}')]),
    other("telugu", "te", &[('\u{c00}', '\u{c7f}')]),
    other("kannada", "kn", &[('\u{c80}', '\u{cff}')]),
    other("malayalam", "ml", &[('\u{d00}', '\u{d7f}')]),
    other("sinhala", "si", &[('\u{d80}', '\u{dff}')]),
    other("lao", "lo", &[('\u{e80}', '\u{eff}')]),
    other("tibetan", "und", &[('\u{f00}', '\u{fff}')]),
    other("myanmar", "und", &[('\u{1000}', '\u{109f}'), ('\u{a9e0}', '\u{a9ff}'), ('\u{aa60}', '\u{aa7f}')]),
    other("georgian", "ka", &[('\u{10a0}', '\u{10ff}'), ('\u{1c90}', '\u{1cbf}'), ('\u{2d00}', '\u{2d2f}')]),
    other("armenian", "hy", &[('\u{531}', '\u{556}'), ('\u{560}', '\u{588}'), ('\u{fb13}', '\u{fb17}')]),
    other("ethiopic", "und", &[('\u{1200}', '\u{139f}'), ('\u{2d80}', '\u{2ddf}'), ('\u{ab00}', '\u{ab2f}')]),
    other("khmer", "km", &[('\u{1780}', '\u{17d3}')]),
    other("mongolian", "mn", &[('\u{1820}', '\u{18aa}')]),
    other("cherokee", "chr", &[('\u{13a0}', '\u{13ff}'), ('\u{ab70}', '\u{abbf}')]),
    other("canadian-syllabics", "und", &[('\u{1400}', '\u{167f}'), ('\u{18b0}', '\u{18ff}')]),
    other("tifinagh", "und", &[('\u{2d30}', '\u{2d7f}')]),
    other("bopomofo", "zh", &[('\u{3105}', '\u{312f}'), ('\u{31a0}', '\u{31bf}')]),
    other("yi", "ii", &[('\u{a000}', '\u{a4cf}')]),
    other("syriac", "syr", &[('\u{710}', '\u{74f}')]),
    other("thaana", "dv", &[('\u{780}', '\u{7bf}')]),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_letter_has_two_scripts() {
        let mut blocks: Vec<_> = OTHERS.iter().flat_map(|other| other.blocks).collect();
        blocks.sort();
        assert!(blocks.iter().all(|(first, last)| first <= last));
        assert!(blocks.is_sorted_by(|earlier, later| earlier.1 < later.0));
    }

    #[test]
    fn ascii_is_skipped_to_the_byte() {
        for length in 0..100 {
            assert_eq!(ascii_length(format!("{}é and on", "a".repeat(length)).as_bytes()), length);
            assert_eq!(ascii_length("a".repeat(length).as_bytes()), length);
        }
    }
}
