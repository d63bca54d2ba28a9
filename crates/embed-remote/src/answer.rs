//! From a request to its response: equal texts once, and each row in its place.

use embed_core::{EmbedRequest, EmbedResponse, Error, ErrorKind, ModelInfo, Retry, RowInfo};
use tokio::time::Instant;

use crate::backend::Backend;
use crate::batch::Distinct;
use crate::call::{Call, Row};
use crate::stats::add;

/// Embeds a request at the servers of a back end. A text's row is its vector or its own error, whatever happens to the
/// texts beside it.
///
/// # Errors
///
/// One that isn't about any text, if all rows failed.
///
/// # Cancellation
///
/// Dropping the future ends its requests.
pub async fn embed<B: Backend>(
    backend: &B,
    model: &ModelInfo,
    request: &EmbedRequest,
) -> Result<EmbedResponse, Error> {
    let stats = backend.stats();
    add(&stats.calls, 1);
    add(&stats.texts, request.texts().len());
    let distinct = Distinct::of(request.texts());
    add(&stats.duplicates, distinct.places.len() - distinct.texts.len());

    let configured = backend.settings().deadline.and_then(|after| Instant::now().checked_add(after));
    let deadline = request.deadline().or_earlier(configured.map(Instant::into_std).into());
    let texts = distinct.texts.iter().map(|text| &**text).collect();
    let call = Call::new(backend, texts, request, deadline);
    call.run().await;
    let rows = call.into_rows();

    if let Some(error) = call_error(backend, &rows) {
        return Err(error);
    }
    let mut response = EmbedResponse::builder(distinct.places.len(), model.dimension());
    for (index, place) in distinct.places.iter().enumerate() {
        match &rows[*place] {
            None => response.fail(index, too_late()),
            Some(Err(error)) => response.fail(index, error.clone()),
            Some(Ok(row)) => {
                let mut info = RowInfo::new(row.info.clone());
                if let Some(tokens) = row.tokens {
                    info = info.with_tokens(tokens);
                }
                info.truncated = row.truncated;
                response.put(index, &row.vector, info);
            }
        }
    }
    Ok(response.build())
}

/// The error of the whole call: every row failed, and none because of its text.
fn call_error<B: Backend>(backend: &B, rows: &[Option<Result<Row, Error>>]) -> Option<Error> {
    let mut error = None;
    for row in rows {
        match row {
            None => {
                error.get_or_insert_with(too_late);
            }
            Some(Err(failed)) if !backend.is_about_text(failed) => {
                error.get_or_insert_with(|| failed.clone());
            }
            Some(_) => return None,
        }
    }
    error
}

fn too_late() -> Error {
    Error::new(ErrorKind::Timeout, "the deadline was over before the text was embedded")
        .with_retry(Retry::Temporary { after: None })
}
