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

use crate::batch::pieces;
use crate::config::OllamaConfig;
use crate::failure::{Blame, Failure, Seen};
use crate::handshake::Refusal;
use crate::servers::{Answered, Fleet};
use crate::stats::add;
use crate::transport::server::Session;
use crate::truncate::most_tokens;
use retrier::{Retrier, Suspicion};
use row::{count, whole};
use single::Singles;

pub(crate) use row::Row;

/// The texts of a call, and the rows that are there so far.
pub(crate) struct Call<'a> {
    fleet: &'a Fleet,
    retrier: Retrier<'a>,
    texts: Vec<&'a str>,
    truncation: Truncation,
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

impl<'a> Call<'a> {
    /// A call for the different texts of a request.
    pub(crate) fn new(fleet: &'a Fleet, texts: Vec<&'a str>, request: &'a EmbedRequest) -> Self {
        let rows = texts.iter().map(|_| None).collect();
        Self {
            fleet,
            retrier: Retrier::new(fleet, request.trace()),
            texts,
            truncation: request.truncation(),
            rows: Mutex::new(rows),
        }
    }

    /// Embeds all texts, or as many as there is time for before the deadline.
    pub(crate) async fn run(&self, deadline: Deadline) {
        // Of a call that comes too late nothing is sent.
        if !deadline.is_over(Instant::now().into_std()) {
            deadline.limit(|at| sleep_until(at.into()), self.embed_all()).await;
        }
    }

    /// The rows; `None` where there was no time.
    pub(crate) fn into_rows(self) -> Vec<Option<Result<Row, Error>>> {
        self.rows.into_inner().unwrap_or_else(PoisonError::into_inner)
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
        let singles = Singles::new(&self.retrier, self.truncation);
        for (index, fitted) in others {
            let text = self.texts[index];
            work.push(Box::pin(async move {
                let row = if fitted { singles.fitted(text).await } else { singles.alone(text).await };
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
        let left_good = self.solve(piece, Suspicion::Partial).await;
        let rest = if left_good { Suspicion::Sure } else { Suspicion::Partial };
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
                    self.put(index, Row::new(vector, count.map(whole), false, &session));
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
                sleep(self.retrier.pauses().next().unwrap_or_default()).await;
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
}
