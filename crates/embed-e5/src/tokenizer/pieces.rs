//! The pieces of a vocabulary, and the way from the characters of a word to them.

use std::borrow::Cow;
use std::fmt;

use hashbrown::HashTable;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};

/// Marks by hash, two for each: whether something begins with what has this hash, and whether it is a piece.
/// 250,000 pieces have some 600,000 beginnings, so that one mark in seven is another's, which costs a look and no more.
const MARK_BITS: u32 = 22;
const BEGINS: u64 = 1;
const IS_PIECE: u64 = 2;

/// The pieces with a table over their hashes. It takes a tenth of the memory of a trie, and of the time to build one; a
/// search reads one mark for each character and ends where no piece goes on.
pub(super) struct PieceTable {
    vocabulary: ScoredPieces,
    table: HashTable<u32>,
    marks: Vec<u64>,
    longest: usize,
}

/// The vocabulary of a `tokenizer.json`, in one string: pieces with their scores, the place is the id.
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

    /// The place of its marks: which word, and how far they are shifted.
    fn mark(self) -> (usize, u32) {
        let mark = self.0 >> (u64::BITS - MARK_BITS);
        ((mark >> 5) as usize, (mark as u32 & 31) * 2)
    }

    /// All bits, as the table needs them.
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

    /// The pieces, of which no text finds those for which `hidden` is true.
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

    /// Calls `found` with each piece that the text begins with, from the shortest: how many characters it has, its id
    /// and its score.
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
