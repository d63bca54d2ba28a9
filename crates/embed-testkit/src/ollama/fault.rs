//! Faults on demand.

use axum::body::Body;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, Response, StatusCode};
use futures::{StreamExt, stream};
use std::io;

use super::errors::crash;
use super::version::Since;

/// Rows as they are written: a row may be `null`, and so may a number.
pub(super) type JsonRows = Vec<Option<Vec<Option<f32>>>>;

/// What goes wrong with one request to embed.
#[derive(Debug, Clone, PartialEq)]
pub enum Fault {
    /// Nothing: this request is answered.
    None,
    /// A status with a JSON error of this text.
    Error(u16, String),
    /// A status with this body and content type, and `Retry-After` in seconds if there is one.
    Answer {
        /// The status.
        status: u16,
        /// The body.
        body: String,
        /// `Content-Type`.
        content_type: &'static str,
        /// `Retry-After`.
        retry_after: Option<u64>,
    },
    /// A redirect to this address.
    Redirect(String),
    /// The answer is right and ends after this many bytes.
    Cut(usize),
    /// The request is read and nothing ever comes back.
    Silence,
    /// The answer has rows that are wrong.
    Rows(RowsFault),
}

/// What is wrong with the rows of an answer; the number is the index of the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsFault {
    /// It is `null`.
    Null(usize),
    /// One of its numbers is `null`, which is how NaN is written.
    NotFinite(usize),
    /// It is all zeros.
    Zero(usize),
    /// It lacks a number.
    Narrow(usize),
    /// It is twice as long as it should be.
    Long(usize),
    /// It isn't there.
    Missing(usize),
    /// There is one more, at the end.
    Extra,
    /// There are none.
    None,
    /// All rows are equal to the first.
    Same,
}

impl Fault {
    /// A failure of the runner as this version reports it.
    #[must_use]
    pub fn crash(version: &str) -> Self {
        let (status, body) = crash(Since::of(version));
        Self::Answer {
            status,
            body: body.to_string(),
            content_type: "application/json; charset=utf-8",
            retry_after: None,
        }
    }

    /// The answer that this fault gives, if it needs no rows.
    pub(crate) fn answer(&self) -> Option<Response<Body>> {
        let with = |status: u16, body: String, content_type: &'static str| {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = StatusCode::from_u16(status).expect("a scripted status is one");
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
            response
        };
        match self {
            Self::Error(status, text) => {
                let body = serde_json::json!({ "error": text }).to_string();
                Some(with(*status, body, "application/json; charset=utf-8"))
            }
            Self::Answer { status, body, content_type, retry_after } => {
                let mut response = with(*status, body.clone(), content_type);
                if let Some(after) = retry_after {
                    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(*after));
                }
                Some(response)
            }
            Self::Redirect(to) => {
                let mut response = with(301, String::new(), "text/html; charset=utf-8");
                let to = HeaderValue::from_str(to).expect("a scripted address is ASCII");
                response.headers_mut().insert("location", to);
                Some(response)
            }
            Self::None | Self::Cut(_) | Self::Silence | Self::Rows(_) => None,
        }
    }

    /// Applies the fault to an answer.
    pub(crate) fn spoil(&self, body: String) -> Body {
        match self {
            Self::Cut(after) => {
                let first: String = body.chars().take(*after).collect();
                // It sends what it has when the stream is pending once, and drops it on an error.
                let cut = stream::once(async {
                    tokio::task::yield_now().await;
                    Err(io::Error::other("scripted cut"))
                });
                Body::from_stream(stream::once(async { Ok(first) }).chain(cut))
            }
            _ => Body::from(body),
        }
    }
}

impl RowsFault {
    /// Damages rows.
    pub(super) fn spoil(self, rows: &mut JsonRows) {
        let row = |rows: &mut JsonRows, at: usize, change: &dyn Fn(&mut Vec<Option<f32>>)| {
            if let Some(Some(row)) = rows.get_mut(at) {
                change(row);
            }
        };
        match self {
            Self::Null(at) => {
                if let Some(row) = rows.get_mut(at) {
                    *row = None;
                }
            }
            Self::NotFinite(at) => row(rows, at, &|row| row[1] = None),
            Self::Zero(at) => row(rows, at, &|row| row.fill(Some(0.0))),
            Self::Narrow(at) => row(rows, at, &|row| row.truncate(row.len() - 1)),
            Self::Long(at) => row(rows, at, &|row| {
                for value in row.iter_mut().flatten() {
                    *value *= 2.0;
                }
            }),
            Self::Missing(at) => {
                if at < rows.len() {
                    rows.remove(at);
                }
            }
            Self::Extra => rows.extend(rows.first().cloned()),
            Self::None => rows.clear(),
            Self::Same => {
                if let Some(first) = rows.first().cloned() {
                    rows.fill(first);
                }
            }
        }
    }
}
