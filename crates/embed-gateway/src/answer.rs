//! The rows of an answer, with the data for its headers and the log.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, StatusCode};
use embed_core::{EmbedResponse, Error, ErrorKind, Space};

use crate::catalogue::Model;
use crate::failure::Failure;
use crate::request::GatewayRequest;

/// The space of the vectors, if they have one in common.
pub(crate) const SPACE: HeaderName = HeaderName::from_static("x-embed-space");
/// How many texts were cut, if any.
pub(crate) const TRUNCATED: HeaderName = HeaderName::from_static("x-embed-truncated");

/// Raw vectors were requested, but the model's are always normalised.
pub(crate) const NORMALISED: HeaderName = HeaderName::from_static("x-embed-normalized");

/// The rows in the order of the request, in one response for each piece.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) pieces: Vec<EmbedResponse>,
    /// The highest dimension of the vectors.
    pub(crate) dimension: usize,
    /// Texts that were cut.
    pub(crate) truncated: usize,
    /// The time from the request's arrival to its first turn.
    pub(crate) waited: Duration,
    pub(crate) record: AnswerRecord,
    space: Option<HeaderValue>,
}

/// What is logged of an answer.
#[derive(Debug, Clone)]
pub(crate) struct AnswerRecord {
    pub(crate) model: Arc<Model>,
    pub(crate) rows: usize,
    /// The size of all texts.
    pub(crate) bytes: usize,
    /// Rows read from a cache.
    pub(crate) hits: usize,
    /// Tokens of all texts, if every row has a count.
    pub(crate) tokens: Option<usize>,
}

impl Answer {
    /// Collects the pieces, and checks in one pass that their rows may be in one answer.
    pub(crate) fn collect(
        request: &GatewayRequest,
        pieces: Vec<EmbedResponse>,
        mut record: AnswerRecord,
        waited: Duration,
    ) -> Result<Self, Failure> {
        let promised = request.model.space();
        let (mut truncated, mut dimension) = (0, 0);
        // The first vector's space, and whether all vectors have it.
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
        // If a partial answer has no row at all, it is an error with the reason.
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

    /// The headers of the answer.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, HeaderValue)> + use<> {
        let truncated = (self.truncated > 0).then(|| (TRUNCATED, HeaderValue::from(self.truncated)));
        self.space.clone().map(|space| (SPACE, space)).into_iter().chain(truncated)
    }
}

/// Whether the error is the text's fault.
fn is_of_text(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::InvalidInput | ErrorKind::InputTooLong)
}

impl AnswerRecord {
    pub(crate) fn new(request: &GatewayRequest, rows: usize, bytes: usize) -> Self {
        Self { model: Arc::clone(&request.model), rows, bytes, hits: 0, tokens: Some(0) }
    }
}
