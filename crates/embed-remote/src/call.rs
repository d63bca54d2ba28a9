//! One call: which text goes how, and the search for the text that is at fault.

mod retrier;
mod row;
mod single;

use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};

use embed_core::{Deadline, EmbedRequest, Error, ErrorKind, Truncation};
use futures::{StreamExt, stream};
use tokio::time::{Instant, sleep, sleep_until};

use crate::backend::{Answered, Backend, Facts};
use crate::batch::pieces;
use crate::failure::{Blame, Refusal};
use crate::settings::CallSettings;
use crate::stats::add;
use crate::truncate::most_tokens;
use retrier::{Retrier, Suspicion};
use row::whole;
use single::Singles;

pub use row::Row;

/// The texts of a call, and the rows that are there so far.
#[derive(Debug)]
pub struct Call<'a, B> {
    backend: &'a B,
    retrier: Retrier<'a, B>,
    texts: Vec<&'a str>,
    truncation: Truncation,
    deadline: Deadline,
    rows: Mutex<Vec<Option<Result<Row, Error>>>>,
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

impl<'a, B: Backend> Call<'a, B> {
    /// A call for the different texts of a request.
    pub fn new(backend: &'a B, texts: Vec<&'a str>, request: &'a EmbedRequest, deadline: Deadline) -> Self {
        let rows = texts.iter().map(|_| None).collect();
        Self {
            backend,
            retrier: Retrier::new(backend, request.options(), deadline),
            texts,
            truncation: request.truncation(),
            deadline,
            rows: Mutex::new(rows),
        }
    }

    /// Embeds all texts, or as many as there is time for before the deadline.
    pub async fn run(&self) {
        // Of a call that comes too late nothing is sent.
        if !self.deadline.is_over(Instant::now().into_std()) {
            self.deadline.limit(|at| sleep_until(at.into()), self.embed_all()).await;
        }
    }

    /// The rows; `None` where there was no time.
    pub fn into_rows(self) -> Vec<Option<Result<Row, Error>>> {
        self.rows.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> &CallSettings {
        self.backend.settings()
    }

    fn put(&self, index: usize, row: Result<Row, Error>) {
        if row.is_err() {
            add(&self.backend.stats().failed_texts, 1);
        }
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)[index] = Some(row);
    }

    async fn embed_all(&self) {
        let facts = self.backend.facts();
        let (mut together, mut others) = (Vec::new(), Vec::new());
        for (index, text) in self.texts.iter().enumerate() {
            match self.way(text, facts.as_deref()) {
                Ok(Way::Together) => together.push(index),
                Ok(Way::Alone) => others.push((index, false)),
                Ok(Way::Fitted) => others.push((index, true)),
                Err(error) => self.put(index, Err(error)),
            }
        }
        let (max_bytes, most_rows) = self.backend.batch_limits();
        // Long ones last, so that a request of long texts holds few and one of short ones many.
        let max_rows = match facts.as_deref() {
            _ if self.settings().count_tokens => 1,
            Some(facts) if !facts.batches => 1,
            _ => most_rows,
        };
        let sizes: Vec<_> = together.iter().map(|&index| self.texts[index].len()).collect();
        let batches = pieces(&sizes, max_bytes, max_rows).into_iter().map(|piece| together[piece].to_vec());
        let mut work: Vec<Pin<Box<dyn Future<Output = ()> + Send + '_>>> = Vec::new();
        for batch in batches {
            work.push(Box::pin(async move {
                self.solve(batch, Suspicion::None).await;
            }));
        }
        let singles = self.singles();
        for (index, fitted) in others {
            let text = self.texts[index];
            work.push(Box::pin(async move {
                let row = if fitted { singles.fitted(text).await } else { singles.alone(text).await };
                self.put(index, row);
            }));
        }
        let at_once = self.settings().pool_size * self.backend.servers();
        stream::iter(work).buffer_unordered(at_once).collect::<()>().await;
    }

    /// Decides by the length in bytes, which proves that a text fits, how it is sent.
    fn way(&self, text: &str, facts: Option<&Facts>) -> Result<Way, Error> {
        if text.trim().is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "the text is empty"));
        }
        if self.truncation == Truncation::Error && text.len() > self.settings().max_text_bytes {
            return Err(Error::new(
                ErrorKind::InputTooLong,
                "the text is longer than the setting max_text_bytes allows; split it, or ask for a truncation",
            )
            .with_context("bytes", text.len())
            .with_context("max_text_bytes", self.settings().max_text_bytes));
        }
        let Some(facts) = facts else {
            return Ok(Way::Together);
        };
        let fits = facts.limit.is_some_and(|limit| most_tokens(text) + facts.specials <= limit);
        Ok(match self.truncation {
            _ if fits => Way::Together,
            Truncation::Error if facts.limit.is_none() || facts.refuses_long => Way::Together,
            Truncation::Error => Way::Alone,
            _ if !facts.fits_alone => Way::Together,
            _ => Way::Fitted,
        })
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
            match self.retrier.request(&texts, suspicion).await {
                Ok(answered) => self.accept(piece, answered, suspicion).await,
                Err(Refusal::Failed(failure)) if failure.blame == Blame::Text && piece.len() > 1 => {
                    self.halve(piece).await
                }
                Err(Refusal::Failed(failure)) if failure.blame == Blame::Size && piece.len() > 1 => {
                    self.split(piece).await
                }
                Err(refusal) => {
                    let error = refusal.into_error();
                    if let [index] = *piece
                        && error.kind() == ErrorKind::InputTooLong
                        && self.truncation != Truncation::Error
                    {
                        let row = self.singles().too_long(self.texts[index]).await;
                        self.put(index, row);
                        return false;
                    }
                    for index in piece {
                        self.put(index, Err(error.clone()));
                    }
                    false
                }
            }
        })
    }

    fn singles(&self) -> Singles<'_, B> {
        Singles::new(&self.retrier, self.truncation)
    }

    /// Cuts a piece in two of which no text is suspected.
    async fn split(&self, mut piece: Vec<usize>) -> bool {
        add(&self.backend.stats().splits, 1);
        let right = piece.split_off(piece.len() / 2);
        let left_good = self.solve(piece, Suspicion::None).await;
        self.solve(right, Suspicion::None).await && left_good
    }

    async fn halve(&self, mut piece: Vec<usize>) -> bool {
        add(&self.backend.stats().bisections, 1);
        let right = piece.split_off(piece.len() / 2);
        let left_good = self.solve(piece, Suspicion::Partial).await;
        let rest = if left_good { Suspicion::Sure } else { Suspicion::Partial };
        self.solve(right, rest).await && left_good
    }

    /// Keeps the rows that are vectors. The others are asked for once more, together and then alone.
    async fn accept(&self, piece: Vec<usize>, answered: Answered, suspicion: Suspicion) -> bool {
        let Answered { reply, facts } = answered;
        add(&self.backend.stats().shared_vectors, reply.shared);
        let alone = piece.len() == 1;
        let mut bad = Vec::new();
        for (index, row) in piece.iter().copied().zip(reply.rows) {
            match row {
                Ok(vector) => {
                    let count = reply.tokens.filter(|_| alone).and_then(|tokens| facts.count(tokens));
                    self.put(index, Row::new(vector, count.map(whole), false, &facts));
                }
                Err(fault) => bad.push((index, fault)),
            }
        }
        if bad.is_empty() {
            return true;
        }
        add(&self.backend.stats().bad_rows, bad.len());
        let again: Vec<usize> = bad.iter().map(|(index, _)| *index).collect();
        match suspicion {
            Suspicion::None => {
                add(&self.backend.stats().retries_rows, 1);
                sleep(self.settings().pauses().next().unwrap_or_default()).await;
                self.solve(again, Suspicion::Partial).await
            }
            _ if !alone => {
                let mut good = true;
                for index in again {
                    good &= self.solve(vec![index], Suspicion::Sure).await;
                }
                good
            }
            _ => {
                for (index, fault) in bad {
                    let failure = self.backend.rows_failure(fault, &facts);
                    let error = failure.exhausted().with_context("row has", fault.describe());
                    self.put(index, Err(error));
                }
                false
            }
        }
    }
}
