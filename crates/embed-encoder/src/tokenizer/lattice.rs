//! Viterbi's algorithm over the characters of a word, incrementally.
//!
//! It finds the segmentation of a word with the largest sum of scores, and of two with equal sums the one that was found
//! first, like `EncodeOptimized` of SentencePiece. A word may be as long as a text, so text that was searched is dropped,
//! and the tokens that all open segmentations agree on are emitted. Only a word on which they don't agree (one letter a
//! million times) takes memory for each of its characters: eight bytes. Sums are counted from the start of the word, so the
//! result is that of a search over the whole word.

use super::body::TokenBuffer;
use super::pieces::PieceTable;

/// What SentencePiece puts in front of every word.
const METASPACE: char = '▁';

/// How many steps are kept before checking what all segmentations agree on.
const AGREE_AFTER: usize = 2048;

/// How many bytes of a word are collected before they are searched. Most words are searched once, at their end.
const SEARCH_AFTER: usize = 512;

/// The pieces that words are searched for.
pub(super) struct PieceSearch {
    pub(super) pieces: PieceTable,
    /// Id and score of a character that is in no piece.
    pub(super) unknown: (u32, f64),
}

/// The word that is being read, if any. Places are counted in characters after the last one that was emitted.
#[derive(Default)]
pub(super) struct Lattice {
    /// The rest of the word, of which `searched` bytes are done.
    text: String,
    searched: usize,
    /// The place that the search has reached.
    place: usize,
    /// The last step of the best way to each place; empty if there is no word.
    steps: Vec<LatticeStep>,
    /// The sum of the best way to each place from `sums_from` on.
    sums: Vec<f64>,
    sums_from: usize,
    agree_after: usize,
    last: Option<u32>,
    way: Vec<u32>,
}

#[derive(Clone, Copy)]
struct LatticeStep {
    id: u32,
    /// 0 while no way reaches the place.
    characters: u32,
}

const NO_STEP: LatticeStep = LatticeStep { id: 0, characters: 0 };

impl Lattice {
    /// Reads more normalised text, in which spaces separate words.
    pub(super) fn push(&mut self, text: &str, search: &PieceSearch, body: &mut TokenBuffer) {
        let mut parts = text.split(' ');
        let first = parts.next().unwrap_or_default();
        self.push_word(first, search, body);
        for part in parts {
            self.end(search, body);
            self.push_word(part, search, body);
        }
    }

    fn push_word(&mut self, part: &str, search: &PieceSearch, body: &mut TokenBuffer) {
        if part.is_empty() {
            return;
        }
        if self.steps.is_empty() {
            self.steps.push(NO_STEP);
            self.sums.push(0.0);
            self.agree_after = AGREE_AFTER;
            self.text.push(METASPACE);
        }
        self.text += part;
        if self.text.len() - self.searched > SEARCH_AFTER {
            // Pieces that begin before this end within the text.
            self.search(search, search.pieces.longest() * 4);
            self.drop_searched();
            if self.steps.len() > self.agree_after {
                let place = self.agreed();
                self.give_out(place, search, body);
                self.agree_after = AGREE_AFTER.max(self.steps.len() * 2);
            }
        }
    }

    /// Ends the word, if there is one.
    pub(super) fn end(&mut self, search: &PieceSearch, body: &mut TokenBuffer) {
        if self.steps.is_empty() {
            return;
        }
        self.search(search, 0);
        self.give_out(self.place, search, body);
        self.text.clear();
        self.steps.clear();
        self.sums.clear();
        (self.searched, self.place, self.sums_from, self.last) = (0, 0, 0, None);
    }

    /// Takes every step that begins before the last `before` bytes.
    fn search(&mut self, search: &PieceSearch, before: usize) {
        let Self { text, searched, place, steps, sums, sums_from, .. } = self;
        while let rest = &text[*searched..]
            && rest.len() > before
            && let Some(first) = rest.chars().next()
        {
            let so_far = sums[*place - *sums_from];
            let mut reach = |characters: usize, id: u32, score: f64| {
                let end = *place + characters;
                if end >= steps.len() {
                    steps.resize(end + 1, NO_STEP);
                    sums.resize(end + 1 - *sums_from, f64::NEG_INFINITY);
                }
                let (step, sum) = (&mut steps[end], &mut sums[end - *sums_from]);
                if step.characters == 0 || so_far + score > *sum {
                    *sum = so_far + score;
                    *step = LatticeStep { id, characters: characters as u32 };
                }
            };
            let mut known = false;
            search.pieces.prefixes(rest, |characters, id, score| {
                reach(characters, id, score);
                known |= characters == 1;
            });
            if !known {
                let (id, score) = search.unknown;
                reach(1, id, score);
            }
            *searched += first.len_utf8();
            *place += 1;
        }
    }

    fn drop_searched(&mut self) {
        self.text.drain(..self.searched);
        self.searched = 0;
        self.sums.drain(..self.place - self.sums_from);
        self.sums_from = self.place;
    }

    /// The last place that all open ways pass.
    fn agreed(&self) -> usize {
        let reached = |place: &usize| *place == self.place || self.steps[*place].characters > 0;
        let mut places: Vec<_> = (self.place..self.steps.len()).filter(reached).collect();
        while let [.., _, last] = places[..] {
            places.pop();
            let from = last - self.steps[last].characters as usize;
            if let Err(at) = places.binary_search(&from) {
                places.insert(at, from);
            }
        }
        places.first().copied().unwrap_or_default()
    }

    /// Emits the best way to a place, whose sum was dropped or isn't needed any more.
    fn give_out(&mut self, to: usize, search: &PieceSearch, body: &mut TokenBuffer) {
        let mut place = to;
        while place > 0 {
            let step = self.steps[place];
            self.way.push(step.id);
            place -= step.characters as usize;
        }
        for id in self.way.drain(..).rev() {
            // A run of unknown characters is one unknown token.
            if id != search.unknown.0 || self.last != Some(id) {
                body.push(id);
            }
            self.last = Some(id);
        }
        self.steps.drain(..to);
        self.place -= to;
        self.sums_from = self.sums_from.saturating_sub(to);
    }
}
