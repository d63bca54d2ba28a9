//! Renders answers: floats and base64 directly into the output, piece by piece.

use std::borrow::Cow;

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use embed_core::{EmbeddingRef, Error, Normalisation, Result, vector};

use crate::answer::Answer;

/// The number of rows above which an answer is streamed, so that it isn't in memory twice.
const ROWS_AT_ONCE: usize = 256;
/// The approximate size of a float in JSON; enough for base64 too.
const FLOAT_BYTES: usize = 13;

/// How a dialect writes an answer.
pub(crate) trait Shape: Send + 'static {
    fn head(&mut self, out: &mut Vec<u8>);
    fn row(&mut self, out: &mut Vec<u8>, index: usize, row: Result<EmbeddingRef<'_>, &Error>);
    fn tail(&mut self, out: &mut Vec<u8>);
}

/// The last changes of a vector before it is written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Finish {
    /// Cut to this dimension and normalised again.
    pub(crate) dimension: Option<usize>,
    /// Normalised, if its space isn't normalised.
    pub(crate) normalise: bool,
}

/// The answer as a response: one body if it is small, else a stream with one part per piece.
pub(crate) fn respond<S: Shape>(answer: Answer, mut shape: S) -> Response {
    let headers = answer.headers();
    let record = answer.record.clone();
    let row_bytes = answer.dimension * FLOAT_BYTES + 64;
    let body = if answer.rows() <= ROWS_AT_ONCE {
        let mut out = Vec::with_capacity(answer.rows() * row_bytes + 256);
        shape.head(&mut out);
        let mut index = 0;
        for piece in &answer.pieces {
            for row in piece.rows() {
                shape.row(&mut out, index, row);
                index += 1;
            }
        }
        shape.tail(&mut out);
        Body::from(out)
    } else {
        Body::from_stream(futures::stream::iter(parts(answer, shape, row_bytes)))
    };
    let mut response = Response::new(body);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response.headers_mut().extend(headers);
    response.extensions_mut().insert(record);
    response
}

/// The parts of a large answer. Each piece is dropped once it is written.
fn parts<S: Shape>(
    answer: Answer,
    mut shape: S,
    row_bytes: usize,
) -> impl Iterator<Item = Result<Bytes, std::convert::Infallible>> + Send + 'static {
    let mut index = 0;
    let mut pieces = answer.pieces.into_iter();
    let mut begun = false;
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        let mut out = Vec::new();
        if !begun {
            begun = true;
            shape.head(&mut out);
        }
        match pieces.next() {
            Some(piece) => {
                out.reserve(piece.len() * row_bytes);
                for row in piece.rows() {
                    shape.row(&mut out, index, row);
                    index += 1;
                }
            }
            None => {
                ended = true;
                shape.tail(&mut out);
            }
        }
        Some(Ok(out.into()))
    })
}

/// Writes the separator before every row but the first.
pub(crate) fn comma(out: &mut Vec<u8>, index: usize) {
    if index > 0 {
        out.push(b',');
    }
}

impl Finish {
    /// The numbers to write.
    pub(crate) fn apply<'a>(&self, row: EmbeddingRef<'a>) -> Result<Cow<'a, [f32]>> {
        if let Some(dimension) = self.dimension.filter(|dimension| *dimension != row.vector().len()) {
            return vector::truncate_dimensions(row.vector(), dimension).map(Cow::Owned);
        }
        if self.normalise && row.space().normalisation() != Normalisation::L2 {
            let mut values = row.vector().to_vec();
            vector::normalise(&mut values);
            return Ok(Cow::Owned(values));
        }
        Ok(Cow::Borrowed(row.vector()))
    }
}

/// Writes numbers as a JSON array, each in the shortest form that reads back as the same `f32`. They are finite, which
/// responses have checked.
pub(crate) fn floats(out: &mut Vec<u8>, values: &[f32]) {
    let mut digits = ryu::Buffer::new();
    out.push(b'[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(digits.format_finite(*value).as_bytes());
    }
    out.push(b']');
}

/// Writes numbers as base64 of little-endian `f32`, in quotes.
pub(crate) fn base64(out: &mut Vec<u8>, values: &[f32]) {
    /// Floats at a time: 192 bytes, which base64 turns into 256 characters without padding.
    const BLOCK: usize = 48;
    out.push(b'"');
    for block in values.chunks(BLOCK) {
        let mut bytes = [0_u8; BLOCK * 4];
        for (four, value) in bytes.chunks_exact_mut(4).zip(block) {
            four.copy_from_slice(&value.to_le_bytes());
        }
        let mut characters = [0_u8; BLOCK * 4 / 3 * 4];
        // The buffer is large enough for the longest block.
        let length = STANDARD.encode_slice(&bytes[..block.len() * 4], &mut characters).unwrap_or(0);
        out.extend_from_slice(&characters[..length]);
    }
    out.push(b'"');
}

/// Writes a string as JSON.
pub(crate) fn string(out: &mut Vec<u8>, text: &str) {
    let _ = serde_json::to_writer(out, text);
}

/// Writes a whole number.
pub(crate) fn integer(out: &mut Vec<u8>, value: impl serde::Serialize) {
    let _ = serde_json::to_writer(out, &value);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_forms_read_back_as_the_same_numbers(values in prop::collection::vec(-1e3_f32..1e3, 0..200)) {
            let mut json = Vec::new();
            floats(&mut json, &values);
            prop_assert_eq!(&serde_json::from_slice::<Vec<f32>>(&json).unwrap(), &values);

            let mut quoted = Vec::new();
            base64(&mut quoted, &values);
            let bytes = STANDARD.decode(&quoted[1..quoted.len() - 1]).unwrap();
            let back: Vec<f32> =
                bytes.chunks_exact(4).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect();
            prop_assert_eq!(back, values);
        }
    }
}
