//! Compressed bodies, decoded while they are read, so that the size limit applies to the decoded body.

use std::error::Error as StdError;
use std::io;

use async_compression::tokio::bufread::{GzipDecoder, ZlibDecoder};
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use futures::TryStreamExt;
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

use crate::failure::Failure;

/// The supported encodings, as in a header.
pub(crate) const ACCEPTED: &str = "gzip, deflate";

/// How many bytes are decoded at a time.
const PIECE: usize = 16 << 10;

#[derive(Debug, Clone, Copy)]
enum Coding {
    Gzip,
    /// With zlib's wrapper, as in the standard.
    Deflate,
}

#[derive(Debug, thiserror::Error)]
#[error("the body isn't what its content-encoding says")]
struct BadEncoding(#[source] io::Error);

/// The request with its decoded body.
pub(crate) fn decoded(mut request: Request) -> Result<Request, Failure> {
    let Some(coding) = Coding::of(request.headers())? else { return Ok(request) };
    request.headers_mut().remove(header::CONTENT_ENCODING);
    request.headers_mut().remove(header::CONTENT_LENGTH);
    Ok(request.map(|body| {
        let compressed = StreamReader::new(body.into_data_stream().map_err(io::Error::other));
        match coding {
            Coding::Gzip => {
                let mut decoder = GzipDecoder::new(compressed);
                // Log shippers and `cat` concatenate them.
                decoder.multiple_members(true);
                streamed(decoder)
            }
            Coding::Deflate => streamed(ZlibDecoder::new(compressed)),
        }
    }))
}

/// The failure for a body that couldn't be read to its end.
pub(crate) fn broken(error: &axum::Error) -> Failure {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<BadEncoding>() {
            return Failure::bad_request("the body isn't what its `content-encoding` says, or is cut off");
        }
        cause = error.source();
    }
    Failure::bad_request("the body broke off")
}

fn streamed(decoder: impl AsyncRead + Send + 'static) -> Body {
    let pieces = ReaderStream::with_capacity(decoder, PIECE);
    Body::from_stream(pieces.map_err(|error| -> axum::BoxError {
        // The connection's error passed through the decoder unchanged.
        if error.get_ref().is_some_and(|inner| inner.is::<axum::Error>()) {
            error.into()
        } else {
            BadEncoding(error).into()
        }
    }))
}

impl Coding {
    fn of(headers: &HeaderMap) -> Result<Option<Self>, Failure> {
        let mut found = None;
        for value in headers.get_all(header::CONTENT_ENCODING) {
            for name in value.to_str().unwrap_or("?").split(',').map(str::trim) {
                let coding = match &*name.to_ascii_lowercase() {
                    "" | "identity" => continue,
                    "gzip" | "x-gzip" => Self::Gzip,
                    "deflate" => Self::Deflate,
                    _ => {
                        return Err(unsupported(
                            "a body may be compressed with gzip or deflate, and with nothing else",
                        ));
                    }
                };
                if found.replace(coding).is_some() {
                    return Err(unsupported("a body may be compressed once, and not twice"));
                }
            }
        }
        Ok(found)
    }
}

fn unsupported(message: &str) -> Failure {
    Failure::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding", message)
}
