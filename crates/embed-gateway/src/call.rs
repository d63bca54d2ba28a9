//! From a request's texts to its rows: cut into pieces, let in, embedded, checked.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue};
use embed_core::{EmbedRequest, EmbedResponse, Error, ErrorKind, Result, Role, Space, Truncation};
use futures::stream::{self, StreamExt, TryStreamExt};
use tokio::sync::OwnedSemaphorePermit;

use crate::admission::Permit;
use crate::config::AdmissionConfig;
use crate::failure::Failure;
use crate::front::Context;
use crate::models::Offer;
use crate::render;
use crate::state::State;

/// What a dialect's request comes down to.
#[derive(Debug)]
pub(crate) struct Ask {
    pub(crate) offer: Arc<Offer>,
    pub(crate) texts: Vec<Arc<str>>,
    pub(crate) role: Role,
    pub(crate) truncation: Truncation,
    /// Numbers that a vector is cut to.
    pub(crate) dimension: Option<usize>,
    /// Failed texts are rows of the answer, and not its end.
    pub(crate) partial: bool,
    /// The dialect can say of each row which space it is of.
    pub(crate) rows_say_space: bool,
    /// The body's share of what all bodies may hold.
    pub(crate) share: Option<OwnedSemaphorePermit>,
}

/// The rows, in the order asked, in one response for each piece.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) pieces: Vec<EmbedResponse>,
    /// Numbers in a vector, at most.
    pub(crate) dimension: usize,
    /// Of all texts together; `None` if what is behind doesn't count them.
    pub(crate) tokens: Option<usize>,
    /// Texts that were cut.
    pub(crate) truncated: usize,
    /// From the request's arrival to its first turn.
    pub(crate) waited: Duration,
    pub(crate) record: Record,
    space: Option<HeaderValue>,
}

/// What the log says of an answer.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) offer: Arc<Offer>,
    pub(crate) rows: usize,
    /// Of all texts together.
    pub(crate) bytes: usize,
    /// Rows that came out of a cache.
    pub(crate) hits: usize,
    /// Tokens of all texts, if every row knows its own.
    pub(crate) tokens: Option<usize>,
}

impl Ask {
    /// A request as most are: for documents, nothing cut, all or nothing.
    pub(crate) fn new(offer: Arc<Offer>, texts: Vec<Arc<str>>) -> Self {
        Self {
            role: offer.entry.role,
            offer,
            texts,
            truncation: Truncation::Error,
            dimension: None,
            partial: false,
            rows_say_space: false,
            share: None,
        }
    }
}

impl State {
    /// Embeds the texts of a request.
    ///
    /// Dropping the future leaves the queue, gives permits back and drops the calls of the stack.
    pub(crate) async fn embed(&self, mut ask: Ask, context: &Context) -> Result<Answer, Failure> {
        let texts = std::mem::take(&mut ask.texts);
        let rows = texts.len();
        let bytes = texts.iter().map(|text| text.len()).sum();
        let single = rows == 1;
        let mut pieces = self.pieces(texts, &ask, context);
        let Some(last) = pieces.pop() else {
            return Ok(Answer::collect(&ask, Vec::new(), Record::new(&ask, 0, 0), Duration::ZERO));
        };
        let mut permit = Some(self.admission.enter(context.caller, context.deadline).await?);
        let waited = context.started.elapsed();
        let responses = if pieces.is_empty() {
            // Most requests are one piece, and need no machinery for several.
            self.piece(last, permit, &ask, context).await.map(|response| vec![response])
        } else {
            pieces.push(last);
            let calls = pieces.into_iter().map(|piece| self.piece(piece, permit.take(), &ask, context));
            stream::iter(calls).buffered(self.config.admission.pieces_at_once).try_collect().await
        };
        let responses = responses.map_err(|failure| if single { failure.without_row() } else { failure })?;
        let answer = Answer::collect(&ask, responses, Record::new(&ask, rows, bytes), waited);
        answer.check(&ask)?;
        Ok(answer)
    }

    /// The request in pieces that are about as much work each.
    fn pieces(&self, texts: Vec<Arc<str>>, ask: &Ask, context: &Context) -> Vec<Piece> {
        let limits = &self.config.admission;
        let mut template = EmbedRequest::new(Vec::<Arc<str>>::new(), ask.role)
            .with_truncation(ask.truncation)
            .with_deadline(context.deadline.into_std())
            .with_trace(context.trace.clone());
        if let Some(partition) = &context.partition {
            template = template.with_partition(Arc::clone(partition));
        }
        if let Some(route) = &ask.offer.entry.route {
            template = template.with_route(Arc::clone(route));
        }
        let cuts = cut(&texts, limits);
        let mut texts = texts.into_iter();
        let piece = |cut: Range<usize>| Piece {
            start: cut.start,
            request: template.with_texts(texts.by_ref().take(cut.len())),
        };
        cuts.into_iter().map(piece).collect()
    }

    async fn piece(
        &self,
        piece: Piece,
        permit: Option<Permit>,
        ask: &Ask,
        context: &Context,
    ) -> Result<EmbedResponse, Failure> {
        let rows = piece.request.texts().len();
        let call = async {
            let permit = match permit {
                Some(permit) => permit,
                None => self.admission.resume(context.caller, context.deadline).await?,
            };
            let answered = self.stack.embed(piece.request).await;
            // An error is an end, too: the call wasn't given up.
            permit.done();
            answered
        };
        // The stack keeps deadlines, too; this is for a stack that is stuck.
        let answered = tokio::time::timeout_at(context.deadline, call).await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Timeout, "the deadline was over before the answer").temporary())
        });
        let response = match answered {
            Ok(response) if response.len() == rows => response,
            Ok(response) => {
                let error = Error::new(ErrorKind::Protocol, "the stack answered another number of rows");
                return Err(error.with_context("asked", rows).with_context("got", response.len()).into());
            }
            Err(error) if ask.partial && !matches!(error.kind(), ErrorKind::Timeout) => failed(rows, &error),
            Err(error) => return Err(error.into()),
        };
        if !ask.partial
            && let Some((row, error)) = response.errors().next()
        {
            return Err(Failure::of_row(error.clone(), piece.start + row));
        }
        Ok(response)
    }
}

/// Where texts are cut into pieces, in order: so many texts, or so many bytes of them.
pub(crate) fn cut(texts: &[Arc<str>], limits: &AdmissionConfig) -> Vec<Range<usize>> {
    let mut cuts = Vec::with_capacity(texts.len().div_ceil(limits.piece_rows));
    let (mut start, mut bytes) = (0, 0);
    for (index, text) in texts.iter().enumerate() {
        let full = index - start >= limits.piece_rows || bytes + text.len() > limits.piece_bytes;
        if full && index > start {
            cuts.push(start..index);
            (start, bytes) = (index, 0);
        }
        bytes += text.len();
    }
    if start < texts.len() {
        cuts.push(start..texts.len());
    }
    cuts
}

struct Piece {
    request: EmbedRequest,
    /// Index of its first text in the request.
    start: usize,
}

/// A response in which every row is this error.
fn failed(rows: usize, error: &Error) -> EmbedResponse {
    let mut response = EmbedResponse::builder(rows, 0);
    (0..rows).for_each(|row| response.fail(row, error.clone()));
    response.build()
}

impl Failure {
    /// The failure of one text.
    pub(crate) fn of_row(error: Error, row: usize) -> Self {
        Self::from(error).with_row(row)
    }

    /// The same for a request that has only one text.
    fn without_row(mut self) -> Self {
        self.row = None;
        self
    }
}

impl Answer {
    fn collect(ask: &Ask, pieces: Vec<EmbedResponse>, mut record: Record, waited: Duration) -> Self {
        let (mut tokens, mut truncated, mut dimension) = (Some(0), 0, 0);
        for row in pieces.iter().flat_map(EmbedResponse::rows).flatten() {
            let info = row.info();
            tokens = tokens.zip(info.tokens).map(|(sum, tokens)| sum + tokens.used);
            truncated += usize::from(info.truncated);
            dimension = dimension.max(row.vector().len());
            record.tokens = record.tokens.zip(info.tokens).map(|(sum, tokens)| sum + tokens.used);
            record.hits += usize::from(info.tier.is_some());
        }
        Self {
            pieces,
            dimension: ask.dimension.unwrap_or(dimension),
            tokens,
            truncated,
            waited,
            record,
            space: None,
        }
        .with_space(ask)
    }

    /// Sets the header that names the space, if the vectors have one together.
    fn with_space(mut self, ask: &Ask) -> Self {
        self.space = match ask.dimension {
            None if ask.offer.space().is_some() => ask.offer.space_header.clone(),
            dimension => self.only_space().and_then(|space| {
                let space = dimension.map_or_else(|| space.clone(), |width| space.with_dimension(width));
                HeaderValue::from_str(space.id()).ok()
            }),
        };
        self
    }

    /// The space of all rows, if they have one together.
    fn only_space(&self) -> Option<&Space> {
        let mut spaces = self.pieces.iter().flat_map(EmbedResponse::rows).flatten().map(|row| row.space());
        let first = spaces.next()?;
        spaces.all(|space| space == first).then_some(first)
    }

    /// Whether the rows may go out together.
    fn check(&self, ask: &Ask) -> Result<(), Failure> {
        let promised = ask.offer.space();
        let mut any = self.rows() == 0;
        for row in self.pieces.iter().flat_map(EmbedResponse::rows).flatten() {
            any = true;
            if let Some(promised) = promised.filter(|promised| *promised != row.space()) {
                return Err(Error::new(ErrorKind::SpaceMismatch, "the stack answered in another space")
                    .with_context("promised", promised)
                    .with_context("got", row.space())
                    .into());
            }
            if ask.dimension.is_some_and(|dimension| dimension > row.vector().len()) {
                return Err(
                    Failure::bad_request("a vector hasn't that many dimensions").with_param("dimensions")
                );
            }
        }
        if promised.is_none() && !ask.rows_say_space && any && self.rows() > 1 && self.only_space().is_none()
        {
            let message = "the texts lie in several vector spaces, which this dialect can't say: name one model, \
                           or use /v1/embeddings or /embed/plan";
            return Err(Failure::new(axum::http::StatusCode::BAD_REQUEST, "several_spaces", message));
        }
        // A partial answer without any row tells why.
        match self.pieces.iter().flat_map(EmbedResponse::errors).next() {
            Some((_, error)) if !any && !is_of_text(error) => Err(error.clone().into()),
            _ => Ok(()),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.record.rows
    }

    /// What the answer says in headers.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let truncated = (self.truncated > 0).then(|| (render::TRUNCATED, HeaderValue::from(self.truncated)));
        self.space.clone().map(|space| (render::SPACE, space)).into_iter().chain(truncated)
    }
}

/// Whether it is the text's own fault.
fn is_of_text(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::InputTooLong)
}

impl Record {
    fn new(ask: &Ask, rows: usize, bytes: usize) -> Self {
        Self { offer: Arc::clone(&ask.offer), rows, bytes, hits: 0, tokens: Some(0) }
    }
}
