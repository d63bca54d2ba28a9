//! The pieces of a vocabulary, and how to find those that a text begins with.

use std::borrow::Cow;
use std::fmt;

use hashbrown::HashTable;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

/// The number of hashes with marks, two for each: whether a piece begins with a text of this hash, and whether that is a
/// piece. 250,000 pieces have some 600,000 beginnings, so one mark in seven is a collision, which only costs a lookup.
const MARK_BITS: u32 = 22;
const BEGINS: u64 = 1;
const IS_PIECE: u64 = 2;

/// The pieces with a hash table. It takes a tenth of the memory and of the build time of a trie; a search reads one mark
/// for each character and ends where no piece continues.
pub(super) struct PieceTable {
    vocabulary: ScoredPieces,
    table: HashTable<u32>,
    marks: Vec<u64>,
    longest: usize,
}

/// The vocabulary of a `tokenizer.json` in one string: pieces with their scores; the index is the id.
#[derive(Default)]
pub(super) struct ScoredPieces {
    text: String,
    ends: Vec<u32>,
    scores: Vec<f64>,
}

/// A hash that grows with a text, character by character.
#[derive(Clone, Copy, Default)]
struct Hash(u64);

impl Hash {
    fn with(self, next: char) -> Self {
        Self((self.0.rotate_left(5) ^ u64::from(next)).wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    fn of(text: &str) -> Self {
        text.chars().fold(Self::default(), Self::with)
    }

    /// The position of its marks: the index of the word, and the shift.
    fn mark(self) -> (usize, u32) {
        let mark = self.0 >> (u64::BITS - MARK_BITS);
        ((mark >> 5) as usize, (mark as u32 & 31) * 2)
    }

    /// A hash with all bits mixed, for the table.
    fn mixed(self) -> u64 {
        self.0 ^ self.0.rotate_left(32)
    }
}

impl ScoredPieces {
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    pub(super) fn lowest_score(&self) -> f64 {
        self.scores.iter().copied().fold(f64::INFINITY, f64::min)
    }

    /// The pieces, of which those for which `hidden` is true are never found in a text.
    pub(super) fn into_pieces(self, hidden: impl Fn(&str) -> bool) -> PieceTable {
        let mut marks = vec![0; 1 << (MARK_BITS - 5)];
        let mut table = HashTable::with_capacity(self.len());
        let mut longest = 0;
        for (id, piece) in (0..).zip(self.pieces()).filter(|(_, piece)| !piece.is_empty() && !hidden(piece)) {
            let mut hash = Hash::default();
            for (length, character) in piece.chars().enumerate() {
                if length > 0 {
                    let (word, shift) = hash.mark();
                    marks[word] |= BEGINS << shift;
                }
                hash = hash.with(character);
                longest = longest.max(length + 1);
            }
            let (word, shift) = hash.mark();
            marks[word] |= IS_PIECE << shift;
            table.insert_unique(hash.mixed(), id, |&id| Hash::of(self.piece(id)).mixed());
        }
        PieceTable { vocabulary: self, table, marks, longest }
    }

    fn pieces(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |&end| {
            let piece = &self.text[start..end as usize];
            start = end as usize;
            piece
        })
    }

    fn piece(&self, id: u32) -> &str {
        let id = id as usize;
        let start = id.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..self.ends[id] as usize]
    }
}

impl PieceTable {
    /// The characters of the longest piece.
    pub(super) fn longest(&self) -> usize {
        self.longest
    }

    /// Calls `found` with each piece that the text begins with, from the shortest: its number of characters, its id and its
    /// score.
    pub(super) fn prefixes(&self, text: &str, mut found: impl FnMut(usize, u32, f64)) {
        let mut hash = Hash::default();
        for (before, (at, character)) in text.char_indices().enumerate() {
            hash = hash.with(character);
            let (word, shift) = hash.mark();
            let marks = self.marks[word] >> shift;
            if marks & IS_PIECE != 0 {
                let beginning = &text[..at + character.len_utf8()];
                let is_it = |&id: &u32| self.vocabulary.piece(id) == beginning;
                if let Some(&id) = self.table.find(hash.mixed(), is_it) {
                    found(before + 1, id, self.vocabulary.scores[id as usize]);
                }
            }
            if marks & BEGINS == 0 {
                break;
            }
        }
    }
}

impl<'de> Deserialize<'de> for ScoredPieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScoredPiecesVisitor;
        impl<'de> Visitor<'de> for ScoredPiecesVisitor {
            type Value = ScoredPieces;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("pieces with their scores")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<ScoredPieces, A::Error> {
                let mut vocabulary = ScoredPieces::default();
                while let Some((piece, score)) = sequence.next_element::<(Cow<'de, str>, f64)>()? {
                    vocabulary.text += &piece;
                    let end = u32::try_from(vocabulary.text.len()).map_err(A::Error::custom)?;
                    vocabulary.ends.push(end);
                    vocabulary.scores.push(score);
                }
                Ok(vocabulary)
            }
        }
        deserializer.deserialize_seq(ScoredPiecesVisitor)
    }
}
