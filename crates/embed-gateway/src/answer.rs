//! The rows of an answer, what they have in common, and what its headers and the log say of it.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode};
use embed_core::{EmbedResponse, Error, ErrorKind, Space};

use crate::catalogue::Model;
use crate::failure::Failure;
use crate::request::GatewayRequest;

/// The space of the vectors, where it is one.
pub(crate) const SPACE: HeaderName = HeaderName::from_static("x-embed-space");
/// How many texts were cut, where any was.
pub(crate) const TRUNCATED: HeaderName = HeaderName::from_static("x-embed-truncated");

/// Raw vectors were asked for, and the model's are normalised where they are made.
pub(crate) const NORMALISED: HeaderName = HeaderName::from_static("x-embed-normalized");

/// The rows, in the order asked, in one response for each piece.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) pieces: Vec<EmbedResponse>,
    /// Numbers in a vector, at most.
    pub(crate) dimension: usize,
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
    pub(crate) model: Arc<Model>,
    pub(crate) rows: usize,
    /// Of all texts together.
    pub(crate) bytes: usize,
    /// Rows that came out of a cache.
    pub(crate) hits: usize,
    /// Tokens of all texts, if every row knows its own.
    pub(crate) tokens: Option<usize>,
}

impl Answer {
    pub(crate) fn collect(
        request: &GatewayRequest,
        pieces: Vec<EmbedResponse>,
        mut record: Record,
        waited: Duration,
    ) -> Self {
        let (mut truncated, mut dimension) = (0, 0);
        for row in pieces.iter().flat_map(EmbedResponse::rows).flatten() {
            let info = row.info();
            truncated += usize::from(info.truncated);
            dimension = dimension.max(row.vector().len());
            record.tokens = record.tokens.zip(info.tokens).map(|(sum, tokens)| sum + tokens.used);
            record.hits += usize::from(info.tier.is_some());
        }
        Self {
            pieces,
            dimension: request.dimension.unwrap_or(dimension),
            truncated,
            waited,
            record,
            space: None,
        }
        .with_space(request)
    }

    /// Sets the header that names the space, if the vectors have one together.
    fn with_space(mut self, request: &GatewayRequest) -> Self {
        self.space = match request.dimension {
            None if request.model.space().is_some() => request.model.space_header.clone(),
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
    pub(crate) fn check(&self, request: &GatewayRequest) -> Result<(), Failure> {
        let promised = request.model.space();
        let mut any = self.rows() == 0;
        for row in self.pieces.iter().flat_map(EmbedResponse::rows).flatten() {
            any = true;
            if let Some(promised) = promised.filter(|promised| *promised != row.space()) {
                return Err(Error::new(ErrorKind::SpaceMismatch, "the stack answered in another space")
                    .with_context("promised", promised)
                    .with_context("got", row.space())
                    .into());
            }
            if request.dimension.is_some_and(|dimension| dimension > row.vector().len()) {
                return Err(
                    Failure::bad_request("a vector hasn't that many dimensions").with_param("dimensions")
                );
            }
        }
        if promised.is_none()
            && !request.rows_say_space
            && any
            && self.rows() > 1
            && self.only_space().is_none()
        {
            let message = "the texts lie in several vector spaces, which this dialect can't say: name one model, \
                           or use /v1/embeddings or /embed/plan";
            return Err(Failure::new(StatusCode::BAD_REQUEST, "several_spaces", message));
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
        let truncated = (self.truncated > 0).then(|| (TRUNCATED, HeaderValue::from(self.truncated)));
        self.space.clone().map(|space| (SPACE, space)).into_iter().chain(truncated)
    }
}

/// Whether it is the text's own fault.
fn is_of_text(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::InputTooLong)
}

impl Record {
    pub(crate) fn new(request: &GatewayRequest, rows: usize, bytes: usize) -> Self {
        Self { model: Arc::clone(&request.model), rows, bytes, hits: 0, tokens: Some(0) }
    }
}
