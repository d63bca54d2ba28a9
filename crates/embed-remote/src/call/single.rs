//! Texts that go alone: because their count must be seen, or because they are too long and are cut here.

use std::ops::Range;
use std::sync::Arc;

use embed_core::vector::ChunkMean;
use embed_core::{Error, ErrorKind, TokenCount, Truncation};

use super::retrier::{Retrier, Suspicion};
use super::row::{Row, whole};
use crate::backend::{Answered, Backend, Counting, Facts};
use crate::seen::RowFault;
use crate::stats::add;
use crate::truncate::{Keep, Said, Search, most_tokens};

/// What a text alone gave.
struct Single {
    vector: Vec<f32>,
    tokens: Option<usize>,
    facts: Arc<Facts>,
}

/// A part of a text that is embedded in several.
struct Chunk {
    vector: Vec<f32>,
    /// Its tokens without the special ones, if they are known.
    tokens: Option<usize>,
    bytes: usize,
}

/// The vector of a text in chunks, and its tokens. If only some of the chunks are counted, all of them weigh their bytes:
/// bytes and tokens have no common measure.
fn mean(chunks: &[Chunk]) -> Result<(Vec<f32>, Option<usize>), Error> {
    let tokens: Option<usize> = chunks.iter().map(|chunk| chunk.tokens).sum();
    let tokens = tokens.filter(|tokens| *tokens > 0);
    let mut mean = ChunkMean::default();
    for chunk in chunks {
        let weight = tokens.and(chunk.tokens).unwrap_or(chunk.bytes);
        mean.add(&chunk.vector, weight)?;
    }
    Ok((mean.finish(), tokens))
}

/// What embeds such texts.
#[derive(Debug)]
pub(super) struct Singles<'a, B> {
    retrier: &'a Retrier<'a, B>,
    backend: &'a B,
    truncation: Truncation,
}

impl<B> Clone for Singles<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Singles<'_, B> {}

impl<'a, B: Backend> Singles<'a, B> {
    pub(super) fn new(retrier: &'a Retrier<'a, B>, truncation: Truncation) -> Self {
        Self { retrier, backend: retrier.backend(), truncation }
    }

    /// Where a server neither refuses what is too long nor counts, only a text's bytes prove that it fits.
    fn must_be_proven(&self, text: &str) -> Result<(), Error> {
        let Some(facts) = self.backend.facts() else {
            return Ok(());
        };
        match facts.limit {
            Some(limit)
                if facts.counting == Counting::Unknown
                    && !facts.refuses_long
                    && most_tokens(text) + facts.specials > limit =>
            {
                Err(Error::new(
                    ErrorKind::InputTooLong,
                    "the server may cut the text without a word; shorten it, ask for a truncation, or update the \
                     server",
                )
                .with_context("bytes", text.len())
                .with_context("limit", limit))
            }
            _ => Ok(()),
        }
    }

    /// One text, which must not be cut: where the server forgets the special tokens when it checks the
    /// length, the count tells.
    pub(super) async fn alone(&self, text: &str) -> Result<Row, Error> {
        let single = self.single(text).await?;
        Row::new(single.vector, single.tokens.map(whole), false, &single.facts)
    }

    async fn single(&self, text: &str) -> Result<Single, Error> {
        self.must_be_proven(text)?;
        let Answered { reply, facts } = match self.retrier.request(&[text], Suspicion::None).await {
            Ok(answered) => answered,
            Err(refusal) => return Err(refusal.into_error().with_context("bytes", text.len())),
        };
        let failed = |fault: RowFault| {
            let failure = self.backend.rows_failure(fault, &facts);
            failure.exhausted().with_context("row has", fault.describe())
        };
        let tokens = reply.tokens.and_then(|tokens| facts.count(tokens));
        let row = reply.rows.into_iter().next();
        let vector = match row {
            Some(Ok(vector)) => vector,
            Some(Err(fault)) => {
                add(&self.backend.stats().bad_rows, 1);
                return Err(failed(fault));
            }
            None => return Err(failed(RowFault::None)),
        };
        if let (Some(tokens), Some(limit)) = (tokens, facts.limit)
            && tokens > limit
        {
            return Err(Error::new(
                ErrorKind::InputTooLong,
                "the text is longer than the model reads; shorten it, or ask for a truncation",
            )
            .with_context("tokens", tokens)
            .with_context("limit", limit));
        }
        Ok(Single { vector, tokens, facts })
    }

    /// One text that may be too long, whole if it fits, else cut or in chunks as the request says.
    pub(super) async fn fitted(&self, text: &str) -> Result<Row, Error> {
        let limit = self.backend.facts().and_then(|facts| facts.limit);
        // A text that may fit is tried whole; nobody writes twelve bytes in every token.
        if limit.is_none_or(|limit| text.len() <= limit * 12) {
            match self.single(text).await {
                Ok(single) => {
                    return Row::new(single.vector, single.tokens.map(whole), false, &single.facts);
                }
                Err(error) if error.kind() == ErrorKind::InputTooLong => {}
                Err(error) => return Err(error),
            }
        }
        self.too_long(text).await
    }

    /// One text that is too long as a whole, cut or in chunks as the request says.
    pub(super) async fn too_long(&self, text: &str) -> Result<Row, Error> {
        let facts = self.backend.facts();
        let specials = facts.as_ref().map_or(2, |facts| facts.specials);
        let limit = facts.and_then(|facts| facts.limit);
        // A server that doesn't tell the limit showed it by refusing; the search finds it.
        let limit = limit.unwrap_or(512);
        match self.truncation {
            Truncation::Start => self.cut(text, Keep::End, limit, specials).await,
            Truncation::ChunkMean => self.chunks(text, limit, specials).await,
            _ => self.cut(text, Keep::Start, limit, specials).await,
        }
    }

    async fn cut(&self, text: &str, keep: Keep, limit: usize, specials: usize) -> Result<Row, Error> {
        let (piece, single) = self.longest(text, keep, limit, specials).await?;
        let tokens = single.tokens.map(|used| {
            // A server counts no tokens that it doesn't read, so the rest is taken to be as dense.
            let part = piece.len() as f64 / text.len() as f64;
            let total = (used.saturating_sub(specials) as f64 / part).round() as usize + specials;
            TokenCount { used, total: total.max(limit + 1) }
        });
        Row::new(single.vector, tokens, true, &single.facts)
    }

    /// Consecutive chunks, each as long as the model reads, and the mean of their vectors.
    async fn chunks(&self, text: &str, limit: usize, specials: usize) -> Result<Row, Error> {
        let (mut rest, mut chunks) = (text, Vec::new());
        let mut last = None;
        while !rest.trim().is_empty() {
            let (piece, single) = if most_tokens(rest) + specials <= limit {
                (0..rest.len(), self.single(rest).await?)
            } else {
                match self.longest_or_all(rest, limit, specials).await? {
                    Some(found) => found,
                    None => break,
                }
            };
            let tokens = single.tokens.map(|tokens| tokens.saturating_sub(specials));
            chunks.push(Chunk { vector: single.vector, tokens, bytes: piece.len() });
            rest = &rest[piece.end..];
            last = Some(single.facts);
        }
        let facts = last.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the text is empty"))?;
        let (mean, tokens) = mean(&chunks)?;
        Row::new(mean, tokens.map(|tokens| whole(tokens + specials)), false, &facts)
    }

    /// The next chunk: the rest if it fits, else the longest piece of it that does.
    async fn longest_or_all(
        &self,
        rest: &str,
        limit: usize,
        specials: usize,
    ) -> Result<Option<(Range<usize>, Single)>, Error> {
        if rest.len() <= limit * 4 {
            match self.single(rest).await {
                Ok(single) => return Ok(Some((0..rest.len(), single))),
                Err(error) if error.kind() == ErrorKind::InputTooLong => {}
                Err(error) => return Err(error),
            }
        }
        self.longest(rest, Keep::Start, limit, specials).await.map(Some)
    }

    async fn longest(
        &self,
        text: &str,
        keep: Keep,
        limit: usize,
        specials: usize,
    ) -> Result<(Range<usize>, Single), Error> {
        let mut search = Search::new(text, keep, limit, specials);
        let (mut best, mut refused) = (None, None);
        while let Some(piece) = search.piece() {
            if text[piece.clone()].trim().is_empty() {
                // Nothing but spaces fits, and has no vector.
                search.said(Said::Fits(Some(0)));
                continue;
            }
            match self.single(&text[piece.clone()]).await {
                Ok(single) => {
                    search.said(Said::Fits(single.tokens));
                    best = Some((piece, single));
                }
                Err(error) if error.kind() == ErrorKind::InputTooLong => {
                    search.said(Said::TooLong);
                    refused = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        let none = || Error::new(ErrorKind::InvalidInput, "no part of the text can be embedded");
        best.ok_or_else(|| refused.unwrap_or_else(none))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chunk(vector: [f32; 2], tokens: Option<usize>, bytes: usize) -> Chunk {
        Chunk { vector: vector.to_vec(), tokens, bytes }
    }

    #[test]
    fn chunks_weigh_their_tokens_or_all_of_them_their_bytes() {
        let (x, y) = ([1.0, 0.0], [0.0, 1.0]);
        let counted = mean(&[chunk(x, Some(3), 1000), chunk(y, Some(4), 10)]).unwrap();
        assert_eq!(counted, (vec![0.6, 0.8], Some(7)));
        let uncounted = mean(&[chunk(x, None, 30), chunk(y, None, 40)]).unwrap();
        assert_eq!(uncounted, (vec![0.6, 0.8], None));
        let mixed = mean(&[chunk(x, Some(500), 30), chunk(y, None, 40)]).unwrap();
        assert_eq!(mixed, (vec![0.6, 0.8], None), "one that isn't counted doesn't outweigh the others");
        let no_tokens = mean(&[chunk(x, Some(0), 30), chunk(y, Some(0), 40)]).unwrap();
        assert_eq!(no_tokens, (vec![0.6, 0.8], None));
    }

    #[test]
    fn norms_of_a_servers_rows_do_not_weigh() {
        // The check of rows lets norms differ from 1 by a hundredth.
        let exact = mean(&[chunk([1.0, 0.0], Some(3), 9), chunk([0.0, 1.0], Some(4), 9)]).unwrap();
        let inexact = mean(&[chunk([0.991, 0.0], Some(3), 9), chunk([0.0, 1.009], Some(4), 9)]).unwrap();
        assert_eq!(inexact, exact);
    }

    #[test]
    fn a_chunk_without_tokens_has_no_say() {
        let spaces = mean(&[chunk([1.0, 0.0], Some(510), 9), chunk([0.0, 1.0], Some(0), 9)]).unwrap();
        assert_eq!(spaces, (vec![1.0, 0.0], Some(510)));
    }
}
