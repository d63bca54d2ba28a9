//! One call: which text goes how, tries again, and the search for the text that is at fault.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::BackoffBuilder;
use embed_core::{Error, ErrorKind, ModelInfo, TokenCount, Truncation, vector};
use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::batch::pieces;
use crate::config::OllamaConfig;
use crate::failure::{Blame, Failure, Pause, Seen};
use crate::meeting::Refusal;
use crate::profile::Counting;
use crate::servers::{Answered, Fleet};
use crate::stats::add;
use crate::transport::server::Session;
use crate::transport::wait::Patience;
use crate::truncate::{Keep, Said, Search, most_tokens};

/// The texts of a call, and the rows that are there so far.
pub(crate) struct Call<'a> {
    fleet: &'a Fleet,
    texts: Vec<&'a str>,
    truncation: Truncation,
    rows: Mutex<Vec<Option<Result<Row, Error>>>>,
    /// The failure of a request whose tries found no server. While it stands, others get one try each, and
    /// none if no server may be asked: a call of many requests must not wait for each of them in turn.
    outage: Mutex<Option<Failure>>,
}

/// A row that is done.
#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) vector: Vec<f32>,
    pub(crate) tokens: Option<TokenCount>,
    pub(crate) truncated: bool,
    pub(crate) info: ModelInfo,
}

/// How a text is sent.
enum Way {
    /// With others: it can't be too long, or the server surely says so.
    Together,
    /// Alone, so that the count of its tokens shows whether the server cut it in silence.
    Alone,
    /// Alone, whole or in pieces, as the truncation says.
    Fitted,
}

/// What a text alone gave.
struct Single {
    vector: Vec<f32>,
    tokens: Option<usize>,
    session: std::sync::Arc<Session>,
}

/// Whether a piece holds a text that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suspicion {
    /// Nothing is known: tries again are worth it.
    None,
    /// It is a part of a piece that failed.
    Part,
    /// And the other part didn't: the text at fault is in here.
    Sure,
}

impl<'a> Call<'a> {
    pub(crate) fn new(fleet: &'a Fleet, texts: Vec<&'a str>, truncation: Truncation) -> Self {
        let rows = texts.iter().map(|_| None).collect();
        Self { fleet, texts, truncation, rows: Mutex::new(rows), outage: Mutex::default() }
    }

    /// Embeds all texts, or as many as can be had before the deadline.
    pub(crate) async fn run(&self, deadline: Option<Instant>) {
        match deadline {
            None => self.embed_all().await,
            Some(deadline) => tokio::select! {
                biased;
                // First, so that a deadline in the past sends nothing.
                () = sleep_until(deadline) => {}
                () = self.embed_all() => {}
            },
        }
    }

    /// The rows; `None` where there was no time.
    pub(crate) fn into_rows(self) -> Vec<Option<Result<Row, Error>>> {
        self.rows.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn outage(&self) -> MutexGuard<'_, Option<Failure>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> &OllamaConfig {
        &self.fleet.config
    }

    fn put(&self, index: usize, row: Result<Row, Error>) {
        if row.is_err() {
            add(&self.fleet.stats.failed_texts, 1);
        }
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(row);
    }

    async fn embed_all(&self) {
        let session = self.fleet.any_session();
        let (mut together, mut others) = (Vec::new(), Vec::new());
        for (index, text) in self.texts.iter().enumerate() {
            match self.way(text, session.as_deref()) {
                Ok(Way::Together) => together.push(index),
                Ok(Way::Alone) => others.push((index, false)),
                Ok(Way::Fitted) => others.push((index, true)),
                Err(error) => self.put(index, Err(error)),
            }
        }
        // Long ones last, so that a request of long texts holds few and one of short ones many.
        let max_rows = match session.as_deref() {
            _ if self.config().count_tokens => 1,
            Some(session) if !session.dialect.traits.batches => 1,
            _ => self.config().max_batch_rows,
        };
        let sizes: Vec<_> = together.iter().map(|&index| self.texts[index].len()).collect();
        let batches = pieces(&sizes, self.config().max_batch_bytes, max_rows)
            .into_iter()
            .map(|piece| together[piece].to_vec());
        let mut work: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::new();
        for batch in batches {
            work.push(Box::pin(async move {
                self.solve(batch, Suspicion::None).await;
            }));
        }
        for (index, fitted) in others {
            work.push(Box::pin(async move {
                let row = if fitted { self.fitted(index).await } else { self.alone(index).await };
                self.put(index, row);
            }));
        }
        let at_once = self.config().pool_size * self.fleet.servers.len();
        stream::iter(work).buffer_unordered(at_once).collect::<()>().await;
    }

    /// Decides by the length in bytes, which proves that a text fits, how it is sent.
    fn way(&self, text: &str, session: Option<&Session>) -> Result<Way, Error> {
        if text.trim().is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "the text is empty"));
        }
        if self.truncation == Truncation::Error && text.len() > self.config().max_text_bytes {
            return Err(Error::new(
                ErrorKind::InputTooLong,
                "the text is longer than the setting max_text_bytes allows; split it, or ask for a truncation",
            )
            .with_context("bytes", text.len())
            .with_context("max_text_bytes", self.config().max_text_bytes));
        }
        let Some(session) = session else {
            return Ok(Way::Together);
        };
        let fits = session.limit.is_some_and(|limit| most_tokens(text) + session.specials <= limit);
        Ok(match self.truncation {
            _ if fits => Way::Together,
            Truncation::Error if session.limit.is_none() || session.dialect.traits.exact_length_check => {
                Way::Together
            }
            Truncation::Error => Way::Alone,
            _ => Way::Fitted,
        })
    }

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

    /// Embeds the texts of a piece and puts their rows in place. Cuts the piece in two where one of its
    /// texts may be at fault. Whether all went well.
    fn solve(
        &self,
        piece: Vec<usize>,
        suspicion: Suspicion,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move {
            if suspicion == Suspicion::Sure && piece.len() > 1 {
                // It is known how this piece ends: it isn't sent whole.
                return self.halve(piece).await;
            }
            let texts: Vec<&str> = piece.iter().map(|&index| self.texts[index]).collect();
            match self.request(&texts, suspicion).await {
                Ok(answered) => self.accept(piece, answered, suspicion).await,
                Err(Refusal::Failed(failure)) if failure.rule.blame == Blame::Text && piece.len() > 1 => {
                    self.halve(piece).await
                }
                Err(refusal) => {
                    let error = refusal.into_error();
                    for index in piece {
                        self.put(index, Err(error.clone()));
                    }
                    false
                }
            }
        })
    }

    async fn halve(&self, mut piece: Vec<usize>) -> bool {
        add(&self.fleet.stats.bisections, 1);
        let right = piece.split_off(piece.len() / 2);
        let left_good = self.solve(piece, Suspicion::Part).await;
        let rest = if left_good { Suspicion::Sure } else { Suspicion::Part };
        self.solve(right, rest).await && left_good
    }

    /// Keeps the rows that are vectors. The others are asked for once more, together and then alone.
    async fn accept(&self, piece: Vec<usize>, answered: Answered, suspicion: Suspicion) -> bool {
        let Answered { reply, session } = answered;
        add(&self.fleet.stats.shared_vectors, reply.shared);
        let alone = piece.len() == 1;
        let mut bad = Vec::new();
        for (index, row) in piece.iter().copied().zip(reply.rows) {
            match row {
                Ok(vector) => {
                    let count = reply.tokens.filter(|_| alone).and_then(|tokens| count(&session, tokens));
                    self.put(index, self.row(vector, count.map(whole), false, &session));
                }
                Err(fault) => bad.push((index, fault)),
            }
        }
        if bad.is_empty() {
            return true;
        }
        add(&self.fleet.stats.bad_rows, bad.len());
        let again: Vec<usize> = bad.iter().map(|(index, _)| *index).collect();
        match suspicion {
            Suspicion::None => {
                add(&self.fleet.stats.retries_rows, 1);
                sleep(self.pauses().next().unwrap_or_default()).await;
                self.solve(again, Suspicion::Part).await
            }
            _ if !alone => {
                let mut good = true;
                for index in again {
                    good &= self.solve(vec![index], Suspicion::Sure).await;
                }
                good
            }
            _ => {
                let profile = session.dialect.traits.profile;
                for (index, fault) in bad {
                    let failure = Failure::of(&Seen::Rows(fault), profile, &self.config().model);
                    let error = failure.exhausted().with_context("row has", fault.describe());
                    self.put(index, Err(error));
                }
                false
            }
        }
    }

    /// A row of a vector that the model gave, cut to the dimensions that are asked for.
    fn row(
        &self,
        vector: Vec<f32>,
        tokens: Option<TokenCount>,
        truncated: bool,
        session: &Session,
    ) -> Result<Row, Error> {
        let info = session.info.clone();
        let vector = if info.dimension() < vector.len() {
            vector::truncate_dimensions(&vector, info.dimension())?
        } else {
            vector
        };
        Ok(Row { vector, tokens, truncated, info })
    }

    /// One text, which must not be cut: where the server forgets the special tokens when it checks the
    /// length, the count tells.
    async fn alone(&self, index: usize) -> Result<Row, Error> {
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
            None => return Err(failed(crate::failure::RowFault::None)),
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
    async fn fitted(&self, index: usize) -> Result<Row, Error> {
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
    ) -> Result<Option<(std::ops::Range<usize>, Single)>, Error> {
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
    ) -> Result<(std::ops::Range<usize>, Single), Error> {
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

    /// Sends one request, and again as often as the failure's rule and the settings allow.
    async fn request(&self, texts: &[&str], suspicion: Suspicion) -> Result<Answered, Refusal> {
        let mut pauses = self.pauses();
        let (mut retries, mut avoid, mut patience) = (0, None, Patience::Usual);
        let outage = self.outage().clone();
        if let Some(failure) = outage
            && !self.fleet.until_any().is_zero()
        {
            return Err(Refusal::Failed(failure));
        }
        loop {
            let attempt = match self.fleet.embed(texts, avoid, patience).await {
                Ok(answered) => {
                    *self.outage() = None;
                    return Ok(answered);
                }
                Err(attempt) => attempt,
            };
            let failure = match attempt.refusal {
                Refusal::Failed(failure) => failure,
                // A server of other vectors: another one may do, this one won't.
                Refusal::Unfit(error) => match attempt.server {
                    Some(server) if self.fleet.has_other(server) && retries < self.fleet.servers.len() => {
                        (retries, avoid) = (retries + 1, Some(server));
                        continue;
                    }
                    _ => return Err(Refusal::Unfit(error)),
                },
            };
            let mut allowed = failure.retries(self.config().tries) as usize;
            if failure.rule.blame == Blame::Text {
                // Cutting it in two tells more than trying it whole again.
                allowed = match (texts.len(), suspicion) {
                    (1, Suspicion::None) => allowed,
                    (1, _) | (_, Suspicion::None) => allowed.min(1),
                    _ => 0,
                };
            }
            let asked_too_much = failure.after.is_some_and(|after| after > self.config().longest_asked);
            let from_server = failure.rule.blame == Blame::Server;
            let gone = from_server
                && (self.outage().is_some() || self.fleet.until_any() > self.config().longest_pause);
            if retries >= allowed || asked_too_much || gone {
                if from_server {
                    *self.outage() = Some(failure.clone());
                }
                return Err(Refusal::Failed(failure));
            }
            add(self.reason(&failure), 1);
            let other = attempt.server.filter(|_| failure.rule.blame == Blame::Server);
            let pause = pauses.next().unwrap_or(self.config().longest_pause);
            // Another server needs no pause.
            if !other.is_some_and(|server| self.fleet.has_other(server)) {
                sleep(self.pause(&failure, pause)).await;
            }
            if failure.rule.name == "silence" {
                patience = Patience::More;
            }
            avoid = other.or(avoid);
            retries += 1;
        }
    }

    fn pause(&self, failure: &Failure, pause: Duration) -> Duration {
        let pause = match failure.rule.pause {
            Pause::BackOff => pause,
            Pause::Long => pause * 5,
            Pause::Short => pause / 2,
        };
        pause.max(failure.after.unwrap_or_default()).max(self.fleet.until_any())
    }

    /// From the first pause, each twice as long, with up to as much again by chance, so that clients which
    /// failed together don't come back together.
    fn pauses(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let longest = self.config().longest_pause;
        backon::ExponentialBuilder::new()
            .with_min_delay(self.config().first_pause)
            .with_max_delay(longest)
            .with_factor(2.0)
            .with_max_times(self.config().tries as usize)
            .with_jitter()
            .build()
            .map(move |pause| pause.min(longest))
    }

    fn reason(&self, failure: &Failure) -> &AtomicU64 {
        let stats = &self.fleet.stats;
        match (failure.rule.name, failure.rule.kind) {
            ("crash-400" | "crash-500" | "crash-hidden", _) => &stats.retries_crash,
            ("rows" | "row-width", _) => &stats.retries_rows,
            (_, ErrorKind::Overloaded | ErrorKind::RateLimited) => &stats.retries_busy,
            ("refused" | "no-address" | "tls" | "broken" | "silence", _) => &stats.retries_connection,
            _ => &stats.retries_other,
        }
    }
}

/// Tokens with the special ones, out of what the server counts.
fn count(session: &Session, tokens: usize) -> Option<usize> {
    match session.dialect.traits.counting {
        Counting::Unknown => None,
        Counting::TextOnly => Some(tokens + session.specials),
        Counting::WithSpecials => Some(tokens),
    }
}

fn whole(tokens: usize) -> TokenCount {
    TokenCount { used: tokens, total: tokens }
}
