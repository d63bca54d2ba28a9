//! Collects the ids of a text and cuts them into windows by the request's truncation.

use std::collections::VecDeque;

use embed_core::{Error, ErrorKind, TokenCount, Truncation};

/// The ids of one text, cut into windows by the request's truncation. Each window is one run of the model.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TokenisedText {
    /// Each with its special tokens and prefix.
    pub(crate) windows: Vec<Window>,
    pub(crate) tokens: TokenCount,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) ids: Vec<u32>,
    /// Tokens of the text itself: the weight of the window in a mean.
    pub(crate) weight: usize,
}

/// The ids of a text without the frame: those that its windows will need, and how many there are in total.
pub(super) struct TokenBuffer {
    truncation: Truncation,
    /// How many fit into one window.
    room: usize,
    kept: VecDeque<u32>,
    total: usize,
}

/// The frame around the ids of a text, in every window.
pub(super) struct Around<'a> {
    pub(super) first: u32,
    /// The prefix of the role.
    pub(super) before: &'a [u32],
    pub(super) last: u32,
}

impl Around<'_> {
    pub(super) fn len(&self) -> usize {
        self.before.len() + 2
    }
}

impl TokenBuffer {
    pub(super) fn new(truncation: Truncation, room: usize) -> Self {
        Self { truncation, room, kept: VecDeque::new(), total: 0 }
    }

    pub(super) fn push(&mut self, id: u32) {
        self.total += 1;
        match self.truncation {
            Truncation::ChunkMean => self.kept.push_back(id),
            Truncation::Start => {
                if self.kept.len() == self.room {
                    self.kept.pop_front();
                }
                self.kept.push_back(id);
            }
            _ if self.kept.len() < self.room => self.kept.push_back(id),
            _ => {}
        }
    }

    /// All ids, if the truncation keeps all.
    pub(super) fn into_ids(self) -> Vec<u32> {
        self.kept.into()
    }

    /// The windows of the whole text.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::InvalidInput`] if there are no ids, [`ErrorKind::InputTooLong`] if there are too many and the request
    /// chose no truncation.
    pub(super) fn into_windows(self, around: &Around<'_>) -> Result<TokenisedText, Error> {
        let Self { truncation, room, kept, total } = self;
        if total == 0 {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "the text has no character that the model reads; send one with letters or signs",
            ));
        }
        let is_cut = total > room;
        let kept = Vec::from(kept);
        let total = around.len() + total;
        let window = |part: &[u32]| {
            let mut ids = Vec::with_capacity(around.len() + part.len());
            ids.push(around.first);
            ids.extend_from_slice(around.before);
            ids.extend_from_slice(part);
            ids.push(around.last);
            Window { ids, weight: part.len() }
        };
        let whole = TokenCount { used: total, total };
        match truncation {
            _ if !is_cut => Ok(TokenisedText { windows: vec![window(&kept)], tokens: whole }),
            Truncation::End | Truncation::Start => Ok(TokenisedText {
                windows: vec![window(&kept)],
                tokens: TokenCount { used: around.len() + kept.len(), total },
            }),
            Truncation::ChunkMean => {
                // Chunks of equal size, so that the last one isn't only a few words.
                let size = kept.len().div_ceil(kept.len().div_ceil(room));
                Ok(TokenisedText { windows: kept.chunks(size).map(window).collect(), tokens: whole })
            }
            _ => Err(Error::new(
                ErrorKind::InputTooLong,
                "the text is longer than the model reads; shorten it or choose a truncation",
            )
            .with_context("tokens", total)
            .with_context("limit", around.len() + room)),
        }
    }
}
