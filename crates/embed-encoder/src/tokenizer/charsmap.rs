//! SentencePiece's normaliser: replaces the longest match of its character map at every position.
//!
//! The map (`precompiled_charsmap`) is read as it is: the u32 length of a trie in bytes, the trie as a double array of u32
//! units (of the library `darts-clone`), and the replacements, each ended by a zero byte. In a unit, bits 0 to 7 are the
//! label (the byte that leads there), bit 8 says that a key ends there, bit 9 that the offset is in units of 256, bits 10
//! to 30 are the offset; the unit of a value has bit 31 and 31 bits of value, where the replacement begins.
//!
//! The crate `tokenizers` applies the same map grapheme by grapheme, and only to graphemes below six bytes, so it misses
//! sequences that the models were trained with. It also keeps 16 bytes of alignment for each byte of the text.

const LEAF: u32 = 1 << 8;
const VALUE: u32 = 1 << 31;

/// The most bytes without a replacement that are returned at once.
const LONGEST_RUN: usize = 256;

/// A character map.
#[derive(Debug)]
pub(super) struct Charsmap {
    units: Vec<u32>,
    replacements: String,
    /// ASCII characters, except the space, that are not replaced if an ASCII character follows.
    plain: [bool; 256],
}

impl Charsmap {
    /// The map that replaces nothing.
    pub(super) fn identity() -> Self {
        Self::new(Vec::new(), String::new())
    }

    /// Reads a `precompiled_charsmap`; `None` if it isn't one.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (trie, replacements) = rest.split_at_checked(length)?;
        let (units, []) = trie.as_chunks::<4>() else { return None };
        let units = units.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
        Some(Self::new(units, String::from_utf8(replacements.to_vec()).ok()?))
    }

    fn new(units: Vec<u32>, replacements: String) -> Self {
        let mut map = Self { units, replacements, plain: [false; 256] };
        for first in b'!'..=b'~' {
            let stays = |second: u8| map.longest(&[first, second]).is_none();
            map.plain[usize::from(first)] = (0x01..0x80).all(stays);
        }
        map
    }

    /// How many bytes at the front of a text are consumed, and their replacement. The text must not be empty.
    pub(super) fn next<'a>(&'a self, text: &'a str) -> (usize, &'a str) {
        let bytes = text.as_bytes();
        let run = bytes.iter().take(LONGEST_RUN).take_while(|&&byte| self.plain[usize::from(byte)]).count();
        // The last one may be the first character of a sequence.
        let run =
            if bytes.get(run).is_some_and(|byte| !byte.is_ascii()) { run.saturating_sub(1) } else { run };
        if run > 0 {
            return (run, &text[..run]);
        }
        match self.longest(bytes) {
            // In a valid map, keys end at the end of a character.
            Some((length, form)) if text.is_char_boundary(length) => (length, form),
            _ => {
                let length = text.chars().next().map_or(bytes.len(), char::len_utf8);
                (length, &text[..length])
            }
        }
    }

    /// The longest key that the text begins with, and its replacement.
    fn longest(&self, text: &[u8]) -> Option<(usize, &str)> {
        let offset = |unit: u32| ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize;
        let mut place = offset(*self.units.first()?);
        let mut longest = None;
        for (at, &byte) in text.iter().enumerate() {
            place ^= usize::from(byte);
            let Some(&unit) = self.units.get(place) else { break };
            // The label zero marks a value.
            if byte == 0 || unit & (VALUE | 0xFF) != u32::from(byte) {
                break;
            }
            place ^= offset(unit);
            if unit & LEAF != 0 {
                longest = self.units.get(place).map(|value| (at + 1, (value & !VALUE) as usize));
            }
        }
        let (length, place) = longest?;
        let replacement = self.replacements.get(place..)?;
        Some((length, &replacement[..replacement.find('\0')?]))
    }
}
