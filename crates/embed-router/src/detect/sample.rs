//! The parts of a text that are inspected: a bounded number of bytes, always the same ones.

/// A sample of a text. Models read the beginning of a text (all-minilm 256 tokens, E5 512, some 1,000 and 2,000
/// characters of English), so the beginning has the largest part; middle and end reveal a change of language, although
/// they don't change the vector.
#[derive(Debug)]
pub(super) struct Sample<'t> {
    text: &'t str,
}

impl<'t> Sample<'t> {
    /// The sample of a text without surrounding white space; `None` if there is nothing else.
    pub(super) fn of(text: &'t str) -> Option<Self> {
        let text = text.trim_matches(|c: char| c.is_whitespace() || is_ignorable(c));
        (!text.is_empty()).then_some(Self { text })
    }

    /// The parts in which every non-ASCII character is inspected. Skipping ASCII is nearly free, so these may be long.
    pub(super) fn for_scripts(&self) -> [&'t str; 3] {
        self.parts(4096, 1024)
    }

    /// The parts whose words are looked up.
    pub(super) fn for_words(&self) -> [&'t str; 3] {
        self.parts(1024, 448)
    }

    /// The part for whatlang, whose confidence is as high with this much text as with a page.
    pub(super) fn beginning(&self) -> &'t str {
        &self.text[..self.text.floor_char_boundary(512)]
    }

    /// This many bytes of the beginning, and `further` bytes each of the middle and the end; the whole text if it isn't
    /// longer than all three together.
    fn parts(&self, beginning: usize, further: usize) -> [&'t str; 3] {
        let text = self.text;
        if text.len() <= beginning + 2 * further {
            return [text, "", ""];
        }
        let middle = (text.len() - further) / 2;
        let part =
            |from: usize, to: usize| &text[text.floor_char_boundary(from)..text.floor_char_boundary(to)];
        // The middle doesn't overlap the end, because the text is longer than all three.
        [
            part(0, beginning),
            part(middle.max(beginning), middle.max(beginning) + further),
            part(text.len() - further, text.len()),
        ]
    }
}

/// Whether a character is invisible and dropped by tokenizers: zero-width characters, soft hyphens, direction marks,
/// variation selectors.
pub(super) fn is_ignorable(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}'
        | '\u{e0100}'..='\u{e01ef}')
}
