//! One server: how it is asked, and what it showed of itself.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use embed_core::Retry;
use embed_remote::{
    Endpoint, Facts, Failure, Member, Norms, Patience, Refusal, Reply, Seen, Sending, Trouble, add,
    check_rows, read, rows_limit,
};
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use tokio::time::timeout;

use crate::config::OpenAiConfig;
use crate::failure::{TOO_MANY_TEXTS, TOO_MANY_TOKENS, failure, rule_of};
use crate::identity::Identity;
use crate::key::Key;
use crate::pace::{BackOff, Pacer, Reserved};
use crate::stats::Counters;
use crate::wire::{Answer, Body, said};

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint<Session>,
    pub(crate) config: Arc<OpenAiConfig>,
    pub(crate) counters: Arc<Counters>,
    key: Arc<Key>,
    pacer: Pacer,
    base64: AtomicBool,
    /// What one request may hold, as far as the server refused more.
    most_rows: AtomicUsize,
    /// Texts of the largest request that it took.
    taken_rows: AtomicUsize,
    most_bytes: AtomicUsize,
    /// What it called its model when its vectors were those of the identity.
    proven: Mutex<HashSet<String>>,
}

/// A server that has proved who it is.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) facts: Arc<Facts>,
    pub(crate) identity: Identity,
    /// What it called its model when it did.
    pub(crate) name: Option<String>,
}

/// The rows of an answer, and the model that gave them by its own account.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) reply: Reply,
    pub(crate) name: Option<String>,
}

/// An answer and its headers.
struct Received {
    answer: Answer,
    headers: HeaderMap,
}

impl Member for Server {
    type Session = Session;

    fn endpoint(&self) -> &Endpoint<Session> {
        &self.endpoint
    }

    fn is_throttled(&self) -> bool {
        self.pacer.is_full()
    }
}

impl Server {
    pub(crate) fn new(
        endpoint: Endpoint<Session>,
        config: Arc<OpenAiConfig>,
        counters: Arc<Counters>,
        key: Arc<Key>,
    ) -> Self {
        Self {
            endpoint,
            base64: AtomicBool::new(config.base64),
            most_rows: AtomicUsize::new(config.max_batch_rows),
            taken_rows: AtomicUsize::new(1),
            most_bytes: AtomicUsize::new(config.max_batch_bytes),
            proven: Mutex::default(),
            config,
            counters,
            key,
            pacer: Pacer::default(),
        }
    }

    /// The bytes and the texts that one request may hold.
    pub(crate) fn batch_limits(&self) -> (usize, usize) {
        let bytes = self.most_bytes.load(Ordering::Relaxed);
        let bytes = self.pacer.most_bytes().map_or(bytes, |most| bytes.min(most));
        (bytes, self.most_rows.load(Ordering::Relaxed))
    }

    /// What follows from a failure, said with the server's name.
    pub(crate) fn failure(&self, trouble: Trouble) -> Failure {
        let mut failure =
            failure(&trouble.seen, self.config.model.trim(), self.endpoint.last_session().is_some());
        failure.error = failure.error.with_context("server", self.endpoint.http().name());
        if let Some(source) = trouble.source {
            failure.error = failure.error.with_source(source);
        }
        failure
    }

    /// Its vectors under this name are those of the identity; `anew` if they are of another one than before.
    pub(crate) fn prove(&self, name: Option<&str>, anew: bool) {
        let mut proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        if anew {
            proven.clear();
        }
        proven.extend(name.map(str::to_owned));
    }

    /// Whether an answer of a model of this name is to be trusted. Behind some names stand several servers, each with a name
    /// of its own.
    pub(crate) fn is_proven(&self, name: Option<&str>) -> bool {
        let proven = self.proven.lock().unwrap_or_else(PoisonError::into_inner);
        name.is_none_or(|name| proven.contains(name))
    }

    /// Sends texts that one request may hold, at the server's pace, and checks the rows of the answer.
    pub(crate) async fn ask(&self, sending: Sending<'_>, dimension: Option<usize>) -> Result<Told, Refusal> {
        let mut refused = None;
        loop {
            let key = self.key.header().map_err(Refusal::Unfit)?;
            let base64 = self.base64.load(Ordering::Relaxed);
            let bytes = self.bytes(sending);
            let reserved = self.pass(bytes).await?;
            let received = self.send(sending, dimension, base64, key.as_ref()).await;
            let trouble = match received {
                Ok(Received { answer, headers }) => {
                    let tokens = answer.tokens();
                    self.taken_rows.fetch_max(sending.texts.len(), Ordering::Relaxed);
                    reserved.answered(&headers, bytes, tokens);
                    add(&self.counters.tokens, tokens.unwrap_or_default());
                    return self
                        .rows(answer, sending.texts.len(), dimension)
                        .map_err(|trouble| self.failure(trouble).into());
                }
                Err(trouble) => trouble,
            };
            if base64 && is_about_base64(&trouble) {
                if self.base64.swap(false, Ordering::Relaxed) {
                    add(&self.counters.without_base64, 1);
                }
                continue;
            }
            // The file of the key may have been exchanged a moment ago.
            if let (Seen::Answer { status: 401, .. }, Some(key), None) = (&trouble.seen, &key, &refused)
                && self.key.is_another(key)
            {
                refused = Some(());
                continue;
            }
            return Err(self.settle(trouble, reserved, sending.texts.len(), bytes).into());
        }
    }

    /// Waits for the server's pace.
    async fn pass(&self, bytes: usize) -> Result<Reserved<'_>, Refusal> {
        match self.pacer.pass(bytes, self.config.longest_asked).await {
            Ok((reserved, waited)) => {
                add(&self.counters.paced, usize::from(waited));
                Ok(reserved)
            }
            Err(after) => {
                let body = embed_remote::Body::default();
                let seen = Seen::Answer { status: 429, headers: Box::default(), body, after: Some(after) };
                Err(self.failure(seen.into()).into())
            }
        }
    }

    /// What a failed request says of the limits, and what it means.
    fn settle(&self, trouble: Trouble, reserved: Reserved<'_>, texts: usize, bytes: usize) -> Failure {
        let (headers, after) = match &trouble.seen {
            Seen::Answer { headers, after, .. } => (headers.clone(), *after),
            _ => (Box::default(), None),
        };
        let mut failure = self.failure(trouble);
        match rule_of(&failure.error) {
            Some("throttled") => {
                add(&self.counters.throttled, 1);
                let back_off = BackOff { first: self.config.first_pause, longest: self.config.longest_pause };
                let pause = reserved.refused(&headers, after, back_off);
                failure.after = Some(pause);
                failure.error = failure.error.with_retry(Retry::Temporary { after: Some(pause) });
                return failure;
            }
            // The next requests hold less.
            // One text is never too many: the words are another's, and what was learnt by them is wrong.
            Some(TOO_MANY_TEXTS | TOO_MANY_TOKENS) if texts == 1 => {
                self.most_rows.store(self.config.max_batch_rows, Ordering::Relaxed);
                self.most_bytes.store(self.config.max_batch_bytes, Ordering::Relaxed);
            }
            Some(TOO_MANY_TEXTS) => {
                // It may have become a server of another limit.
                let fewer = texts.saturating_sub(1).max(1);
                let taken = self.taken_rows.fetch_min(fewer, Ordering::Relaxed).min(fewer);
                self.most_rows.fetch_min((texts / 2).max(taken), Ordering::Relaxed);
            }
            Some(TOO_MANY_TOKENS) => {
                self.most_bytes.fetch_min((bytes / 2).max(1), Ordering::Relaxed);
            }
            _ => {}
        }
        reserved.limits(&headers);
        failure
    }

    fn bytes(&self, Sending { texts, role, .. }: Sending<'_>) -> usize {
        let prompt = self.config.prompts.of(role).len();
        texts.iter().map(|text| prompt + text.len()).sum()
    }

    async fn send(
        &self,
        sending: Sending<'_>,
        dimension: Option<usize>,
        base64: bool,
        key: Option<&HeaderValue>,
    ) -> Result<Received, Trouble> {
        let Sending { texts, role, patience, trace } = sending;
        let prompt = self.config.prompts.of(role);
        let input_types = self.config.input_types.as_ref().zip(role);
        let body = Body {
            model: self.config.model.trim(),
            input: texts.iter().map(|text| format!("{prompt}{text}")).collect(),
            encoding_format: base64.then_some("base64"),
            dimensions: self.config.dimensions,
            input_type: input_types.map(|((query, document), role)| match role {
                embed_core::Role::Query => &**query,
                embed_core::Role::Document => &**document,
            }),
        };
        let http = self.endpoint.http();
        let mut request = http.posting_for(trace, "/embeddings", &body);
        if let Some(key) = key {
            request = request.header(AUTHORIZATION, key);
        }
        add(&self.endpoint.stats().requests, 1);
        let answer = async {
            let response = http.send(request).await?;
            let headers = response.headers().clone();
            let answer = read(response, rows_limit(texts.len(), dimension)).await?;
            Ok(Received { answer, headers })
        };
        let patience = match patience {
            Patience::Usual => self.config.request_timeout,
            Patience::More => self.config.request_timeout.saturating_mul(4),
        };
        timeout(patience, answer).await.unwrap_or_else(|_| Err(Seen::Silence.into()))
    }

    fn rows(&self, answer: Answer, texts: usize, dimension: Option<usize>) -> Result<Told, Trouble> {
        let (tokens, name) = (answer.tokens(), answer.model.clone());
        let norms = if self.config.is_normalised() { Norms::Divided } else { Norms::Kept };
        let rows = answer.into_rows(texts).and_then(|rows| check_rows(&rows, texts, dimension, norms));
        let reply = rows.map_err(|fault| Trouble::from(Seen::Rows(fault)))?;
        Ok(Told { reply: Reply { tokens, ..reply }, name })
    }

    /// Whether the process answers at all: any answer of its own is one.
    pub(crate) async fn is_alive(&self, within: Duration) -> Result<(), Failure> {
        let http = self.endpoint.http();
        let request = http.getting("/models");
        let key = self.key.header().ok().flatten();
        let request = key.into_iter().fold(request, |request, key| request.header(AUTHORIZATION, key));
        match timeout(within, http.send(request)).await {
            Err(_) => Err(self.failure(Seen::Silence.into())),
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Trouble { seen: Seen::Answer { status, .. }, .. })) if !matches!(status, 502..=504) => {
                Ok(())
            }
            Ok(Err(trouble)) => Err(self.failure(trouble)),
        }
    }
}

/// Whether a refusal is about the form of the vectors.
fn is_about_base64(trouble: &Trouble) -> bool {
    match &trouble.seen {
        Seen::Answer { status: 400 | 404 | 415 | 422 | 500 | 501, body, .. } => {
            let said = said(&body.0);
            said.contains("encoding_format") || said.contains("encoding format") || said.contains("base64")
        }
        _ => false,
    }
}
