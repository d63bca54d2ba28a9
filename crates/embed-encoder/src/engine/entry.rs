//! A call in the schedule: its texts and windows that no worker has, and which of them is next.

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::job::{EngineCall, Piece, TextSlot, Untokenised};

/// Tokens of a run of several windows. More gain nothing: products are fastest from a hundred rows on, and the data
/// between them should stay in the core's private cache.
pub(super) const TOKENS_OF_A_RUN: usize = 192;
/// A text of more bytes is not tokenised in advance: it usually has more than a hundred tokens and fills a run alone.
const SHORT_BYTES: usize = 1024;
/// Bytes of a long text that are tokenised at a time.
pub(super) const BYTES_OF_A_STEP: usize = 16 << 10;
/// Bytes that take as long to tokenise as one token takes in the model.
pub(super) const BYTES_OF_A_TOKEN: usize = 512;
/// The memory that a waiting text takes in addition to its bytes.
const BYTES_BESIDE_A_TEXT: usize = 64;

pub(super) struct ScheduledCall<S> {
    pub(super) call: Arc<EngineCall>,
    /// The virtual time up to which it was served.
    pub(super) served: u64,
    /// Texts that aren't begun, the shortest first, so that the next one is at the end.
    raw: Vec<usize>,
    /// Long texts between two steps.
    pub(super) begun: VecDeque<Untokenised<S>>,
    /// Windows of long texts, and those that run alone.
    pub(super) long: VecDeque<Piece>,
    /// Short texts by their tokens; of those with equally many, the first ones of the call come first.
    pub(super) short: BTreeMap<(usize, Reverse<u64>), Piece>,
    pub(super) short_tokens: usize,
    shorts_so_far: u64,
    /// Bytes of the texts that aren't tokenised.
    pub(super) bytes: usize,
}

/// The next work of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum NextWork {
    Window(usize),
    Step,
    Short(usize),
    RawShort(usize),
}

impl<S> ScheduledCall<S> {
    /// A call of which nothing is begun, served up to this virtual time.
    pub(super) fn new(call: Arc<EngineCall>, served: u64) -> Self {
        let mut raw: Vec<_> = (0..call.texts.len()).rev().collect();
        raw.sort_by_key(|&place| call.texts[place].len());
        let bytes = bytes_of_call(&call);
        Self {
            call,
            served,
            raw,
            begun: VecDeque::new(),
            long: VecDeque::new(),
            short: BTreeMap::new(),
            short_tokens: 0,
            shorts_so_far: 0,
            bytes,
        }
    }

    /// Whether it has anything that no worker has.
    pub(super) fn waits(&self) -> bool {
        !(self.raw.is_empty() && self.begun.is_empty() && self.long.is_empty() && self.short.is_empty())
    }

    /// What is next.
    pub(super) fn head(&self) -> Option<NextWork> {
        if let Some(piece) = self.long.front() {
            return Some(NextWork::Window(piece.tokens()));
        }
        if !self.begun.is_empty() {
            return Some(NextWork::Step);
        }
        let raw = self.raw.last().map(|&place| self.call.texts[place].len());
        if raw.is_some_and(|bytes| bytes > SHORT_BYTES) {
            return Some(NextWork::Step);
        }
        let ready = self.short.last_key_value().map(|(&(tokens, _), _)| NextWork::Short(tokens));
        ready.or(raw.map(NextWork::RawShort))
    }

    /// Texts and windows that no worker has.
    pub(super) fn texts(&self) -> usize {
        self.raw.len() + self.begun.len() + self.long.len() + self.short.len()
    }

    /// The next text that isn't begun, and its bytes. There must be one.
    pub(super) fn take_raw(&mut self) -> (Untokenised<S>, usize) {
        let place = self.raw.pop().unwrap_or_default();
        let slot = TextSlot::new(&self.call, place);
        let bytes = bytes_of(slot.text());
        self.bytes -= bytes;
        (Untokenised { slot, state: None }, bytes)
    }

    /// Whether the next text can be tokenised in advance.
    pub(super) fn has_raw_short(&self) -> bool {
        self.raw.last().is_some_and(|&place| self.call.texts[place].len() <= SHORT_BYTES)
    }

    /// How many texts can be tokenised in advance. The longest is at the end, so it is all of them or none.
    pub(super) fn raw_shorts(&self) -> usize {
        if self.has_raw_short() { self.raw.len() } else { 0 }
    }

    /// Adds a window.
    pub(super) fn add(&mut self, piece: Piece) {
        let tokens = piece.tokens();
        if tokens >= TOKENS_OF_A_RUN || !piece.is_whole_text() {
            self.long.push_back(piece);
        } else {
            self.short_tokens += tokens;
            self.shorts_so_far += 1;
            self.short.insert((tokens, Reverse(self.shorts_so_far)), piece);
        }
    }

    /// Drops windows at the front if another window of the same text failed. Their text is answered already, so no caller is
    /// woken. Returns whether there were any.
    pub(super) fn drop_void(&mut self) -> bool {
        let before = self.long.len();
        while self.long.front().is_some_and(Piece::is_void) {
            self.long.pop_front();
        }
        self.long.len() < before
    }

    /// The next window, or, if `room` is limited, the longest one that fits.
    pub(super) fn take_piece(&mut self, room: Option<usize>) -> Option<Piece> {
        let fits = |piece: &Piece| room.is_none_or(|room| !piece.solo && piece.tokens() <= room);
        if self.long.front().is_some_and(fits) {
            return self.long.pop_front();
        }
        if room.is_none() && !self.long.is_empty() {
            return None;
        }
        let most = (room.unwrap_or(usize::MAX), Reverse(0));
        let key = *self.short.range(..=most).next_back()?.0;
        let piece = self.short.remove(&key)?;
        self.short_tokens -= piece.tokens();
        Some(piece)
    }
}

impl NextWork {
    /// Its approximate cost in tokens.
    pub(super) fn cost(self) -> u64 {
        let tokens = match self {
            Self::Window(tokens) | Self::Short(tokens) => tokens,
            Self::Step => BYTES_OF_A_STEP / BYTES_OF_A_TOKEN,
            Self::RawShort(bytes) => bytes / 4 + 1,
        };
        tokens as u64
    }
}

/// The memory that the texts of a call take while they wait.
pub(super) fn bytes_of_call(call: &EngineCall) -> usize {
    call.texts.iter().map(|text| bytes_of(text)).sum()
}

/// The memory that a waiting text takes.
pub(super) fn bytes_of(text: &str) -> usize {
    text.len() + BYTES_BESIDE_A_TEXT
}
