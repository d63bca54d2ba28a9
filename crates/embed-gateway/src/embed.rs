//! From a request's texts to its rows: splitting into pieces, admission, embedding, checks.

use std::convert::identity;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use embed_core::{EmbedRequest, EmbedResponse, Error, ErrorKind};
use futures::stream::{self, StreamExt, TryStreamExt};

use crate::admission::Permit;
use crate::answer::{Answer, AnswerRecord};
use crate::context::Context;
use crate::failure::Failure;
use crate::limits::AdmissionConfig;
use crate::request::GatewayRequest;
use crate::state::State;

/// Embeds the texts of a request.
///
/// Dropping the future leaves the queue, releases permits and drops the calls of the stack.
pub(crate) async fn embed_texts(
    state: &State,
    mut request: GatewayRequest,
    context: &Context,
) -> Result<Answer, Failure> {
    let texts = std::mem::take(&mut request.texts);
    let rows = texts.len();
    let bytes = texts.iter().map(|text| text.len()).sum();
    let single = rows == 1;
    let mut pieces = cut_up(state, texts, &request, context);
    let Some(last) = pieces.pop() else {
        return Answer::collect(&request, Vec::new(), AnswerRecord::new(&request, 0, 0), Duration::ZERO);
    };
    let mut permit = Some(state.admission.enter(context.caller, context.deadline).await?);
    let waited = context.started.elapsed();
    let responses = if pieces.is_empty() {
        // Most requests are one piece and don't need the stream.
        embed_piece(state, last, permit, &request, context).await.map(|response| vec![response])
    } else {
        pieces.push(last);
        let calls =
            pieces.into_iter().map(|piece| embed_piece(state, piece, permit.take(), &request, context));
        stream::iter(calls).buffered(state.config.admission.pieces_at_once).try_collect().await
    };
    let responses = responses.map_err(|failure| if single { failure.without_row() } else { failure })?;
    Answer::collect(&request, responses, AnswerRecord::new(&request, rows, bytes), waited)
}

/// The request in pieces of about the same work.
fn cut_up(state: &State, texts: Vec<Arc<str>>, request: &GatewayRequest, context: &Context) -> Vec<Piece> {
    let limits = &state.config.admission;
    let mut options = context.options(request.role, request.truncation);
    if let Some(route) = &request.model.entry.route {
        options = options.with_route(Arc::clone(route));
    }
    let cuts = cut(&texts, limits);
    let mut texts = texts.into_iter();
    let piece = |cut: Range<usize>| Piece {
        start: cut.start,
        request: EmbedRequest::new(texts.by_ref().take(cut.len()), &options),
    };
    cuts.into_iter().map(piece).collect()
}

async fn embed_piece(
    state: &State,
    piece: Piece,
    permit: Option<Permit>,
    request: &GatewayRequest,
    context: &Context,
) -> Result<EmbedResponse, Failure> {
    let rows = piece.request.texts().len();
    let call = async {
        let permit = state.admission.turn(permit, context.caller, context.deadline).await?;
        let answered = request.model.stack.embed(piece.request).await;
        // A failed call also counts as done, unlike a cancelled one.
        permit.done();
        answered
    };
    // The stack enforces deadlines too; this is for a stack that hangs.
    let response = match context.limit(call).await.and_then(identity) {
        Ok(response) if response.len() == rows => response,
        Ok(response) => {
            let error = Error::new(ErrorKind::Protocol, "the stack didn't return one row per text");
            return Err(error.with_context("asked", rows).with_context("got", response.len()).into());
        }
        Err(error) if request.partial && !matches!(error.kind(), ErrorKind::Timeout) => failed(rows, &error),
        Err(error) => return Err(error.into()),
    };
    if !request.partial
        && let Some((row, error)) = response.errors().next()
    {
        return Err(Failure::of_row(error.clone(), piece.start + row));
    }
    Ok(response)
}

/// The ranges of the pieces, in order; a piece ends at a number of texts or of bytes.
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
    /// The index of its first text in the request.
    start: usize,
}

/// A response in which every row is this error.
fn failed(rows: usize, error: &Error) -> EmbedResponse {
    let mut response = EmbedResponse::builder(rows, 0);
    (0..rows).for_each(|row| response.fail(row, error.clone()));
    response.build()
}
