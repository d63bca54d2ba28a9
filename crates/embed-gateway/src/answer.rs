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
    /// The rows of the pieces, if they may go out together: found out in one pass over them.
    pub(crate) fn collect(
        request: &GatewayRequest,
        pieces: Vec<EmbedResponse>,
        mut record: Record,
        waited: Duration,
    ) -> Result<Self, Failure> {
        let promised = request.model.space();
        let (mut truncated, mut dimension) = (0, 0);
        // The first vector's space, and whether it is that of all.
        let mut space: Option<&Space> = None;
        let mut is_one_space = true;
        for row in pieces.iter().flat_map(EmbedResponse::rows).flatten() {
            let (info, width) = (row.info(), row.vector().len());
            if let Some(promised) = promised.filter(|promised| *promised != row.space()) {
                return Err(Error::new(ErrorKind::SpaceMismatch, "the stack answered in another space")
                    .with_context("promised", promised)
                    .with_context("got", row.space())
                    .into());
            }
            if request.dimension.is_some_and(|dimension| dimension > width) {
                return Err(
                    Failure::bad_request("a vector hasn't that many dimensions").with_param("dimensions")
                );
            }
            is_one_space &= *space.get_or_insert(row.space()) == row.space();
            truncated += usize::from(info.truncated);
            dimension = dimension.max(width);
            record.tokens = record.tokens.zip(info.tokens).map(|(sum, tokens)| sum + tokens.used);
            record.hits += usize::from(info.tier.is_some());
        }
        if !is_one_space && !request.rows_say_space {
            let message = "the texts lie in several vector spaces, which this dialect can't say: name one model, \
                           or use /v1/embeddings or /embed/plan";
            return Err(Failure::new(StatusCode::BAD_REQUEST, "several_spaces", message));
        }
        // A partial answer without any row tells why.
        if space.is_none()
            && let Some((_, error)) = pieces.iter().flat_map(EmbedResponse::errors).next()
            && !is_of_text(error)
        {
            return Err(error.clone().into());
        }
        let space = match request.dimension {
            None if promised.is_some() => request.model.space_header.clone(),
            dimension => space.filter(|_| is_one_space).and_then(|space| {
                let space = dimension.map_or_else(|| space.clone(), |width| space.with_dimension(width));
                HeaderValue::from_str(space.id()).ok()
            }),
        };
        let dimension = request.dimension.unwrap_or(dimension);
        Ok(Self { pieces, dimension, truncated, waited, record, space })
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
