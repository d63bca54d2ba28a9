//! Texts that go alone: because their count must be seen, or because they are too long and are cut here.

use std::ops::Range;
use std::sync::Arc;

use embed_core::{Error, ErrorKind, TokenCount, Truncation, vector};

use super::{Call, Row, Suspicion, count, whole};
use crate::failure::{Failure, RowFault, Seen};
use crate::profile::Counting;
use crate::servers::Answered;
use crate::stats::add;
use crate::transport::server::Session;
use crate::truncate::{Keep, Said, Search, most_tokens};

/// What a text alone gave.
struct Single {
    vector: Vec<f32>,
    tokens: Option<usize>,
    session: Arc<Session>,
}

impl Call<'_> {
    /// Where a server neither refuses what is too long nor counts, only a text's bytes prove that it fits.
    fn must_be_proven(&self, text: &str) -> Result<(), Error> {
        let Some(session) = self.fleet.any_session() else {
            return Ok(());
        };
        let traits = &session.dialect.traits;
        match session.limit {
            Some(limit)
                if traits.counting == Counting::Unknown
                    && !traits.exact_length_check
                    && most_tokens(text) + session.specials > limit =>
            {
                Err(Error::new(
                    ErrorKind::InputTooLong,
                    "this version of Ollama may cut the text without a word; shorten it, ask for a truncation, or \
                     update Ollama",
                )
                .with_context("bytes", text.len())
                .with_context("limit", limit))
            }
            _ => Ok(()),
        }
    }

    /// One text, which must not be cut: where the server forgets the special tokens when it checks the
    /// length, the count tells.
    pub(super) async fn alone(&self, index: usize) -> Result<Row, Error> {
        let single = self.single(self.texts[index]).await?;
        self.row(single.vector, single.tokens.map(whole), false, &single.session)
    }

    async fn single(&self, text: &str) -> Result<Single, Error> {
        self.must_be_proven(text)?;
        let Answered { reply, session } = match self.request(&[text], Suspicion::None).await {
            Ok(answered) => answered,
            Err(refusal) => return Err(refusal.into_error().with_context("bytes", text.len())),
        };
        let profile = session.dialect.traits.profile;
        let failed = |fault| {
            let failure = Failure::of(&Seen::Rows(fault), profile, &self.config().model);
            failure.exhausted().with_context("row has", fault.describe())
        };
        let tokens = reply.tokens.and_then(|tokens| count(&session, tokens));
        let row = reply.rows.into_iter().next();
        let vector = match row {
            Some(Ok(vector)) => vector,
            Some(Err(fault)) => {
                add(&self.fleet.stats.bad_rows, 1);
                return Err(failed(fault));
            }
            None => return Err(failed(RowFault::None)),
        };
        if let (Some(tokens), Some(limit)) = (tokens, session.limit)
            && tokens > limit
        {
            return Err(Error::new(
                ErrorKind::InputTooLong,
                "the text is longer than the model reads; shorten it, or ask for a truncation",
            )
            .with_context("tokens", tokens)
            .with_context("limit", limit));
        }
        Ok(Single { vector, tokens, session })
    }

    /// One text that may be too long, whole if it fits, else cut or in chunks as the request says.
    pub(super) async fn fitted(&self, index: usize) -> Result<Row, Error> {
        let text = self.texts[index];
        let session = self.fleet.any_session();
        let specials = session.as_ref().map_or(2, |session| session.specials);
        let limit = session.and_then(|session| session.limit);
        // A text that may fit is tried whole; nobody writes twelve bytes in every token.
        if limit.is_none_or(|limit| text.len() <= limit * 12) {
            match self.single(text).await {
                Ok(single) => {
                    return self.row(single.vector, single.tokens.map(whole), false, &single.session);
                }
                Err(error) if error.kind() == ErrorKind::InputTooLong => {}
                Err(error) => return Err(error),
            }
        }
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
        self.row(single.vector, tokens, true, &single.session)
    }

    /// Consecutive chunks, and the mean of their vectors, each weighted by its tokens.
    async fn chunks(&self, text: &str, limit: usize, specials: usize) -> Result<Row, Error> {
        let (mut rest, mut sum, mut tokens) = (text, Vec::<f64>::new(), Some(specials));
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
            let own = single.tokens.map(|tokens| tokens.saturating_sub(specials));
            tokens = tokens.zip(own).map(|(sum, own)| sum + own);
            let weight = own.unwrap_or(piece.len()).max(1) as f64;
            sum.resize(single.vector.len(), 0.0);
            for (sum, value) in sum.iter_mut().zip(&single.vector) {
                *sum += f64::from(*value) * weight;
            }
            rest = &rest[piece.end..];
            last = Some(single.session);
        }
        let session = last.ok_or_else(|| Error::new(ErrorKind::InvalidInput, "the text is empty"))?;
        let mut mean: Vec<f32> = sum.iter().map(|value| *value as f32).collect();
        vector::normalise(&mut mean);
        self.row(mean, tokens.map(whole), false, &session)
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
