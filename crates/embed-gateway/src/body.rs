//! Reading a request's body within bytes, time, and what all bodies together may hold.

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Limits;
use crate::encoding;
use crate::failure::Failure;

/// What a body is counted in, since a semaphore counts in 32 bits.
const UNIT: usize = 1024;
/// Of a body that is too large this much is read and thrown away: a client that is still writing when the
/// connection closes sees a reset, and not why.
const DRAINED: usize = 64 << 20;

/// Reads bodies.
#[derive(Debug)]
pub(crate) struct Bodies {
    largest: usize,
    timeout: Duration,
    held: Arc<Semaphore>,
}

/// A body, and its share of what all may hold; keep it as long as anything made of the bytes.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) bytes: Bytes,
    pub(crate) share: Option<OwnedSemaphorePermit>,
}

impl Bodies {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            largest: limits.body_bytes,
            timeout: limits.body_timeout,
            held: Arc::new(Semaphore::new(limits.held_bytes / UNIT + 1)),
        }
    }

    /// Reads a body to its end.
    pub(crate) async fn read(&self, body: Body) -> Result<Received, Failure> {
        tokio::time::timeout(self.timeout, self.collect(body)).await.unwrap_or_else(|_| {
            Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the body took too long to arrive"))
        })
    }

    async fn collect(&self, mut body: Body) -> Result<Received, Failure> {
        if body.size_hint().lower() > self.largest as u64 {
            return Err(self.too_large(body, 0).await);
        }
        let mut received = Received { bytes: Bytes::new(), share: None };
        // Small bodies come in one frame, which is kept as it is.
        let mut buffer = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| encoding::broken(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = received.bytes.len() + buffer.len() + data.len();
            if length > self.largest {
                let (buffered, share) = (length, received.share.take());
                drop((buffer, received, data, share));
                return Err(self.too_large(body, buffered).await);
            }
            self.hold(&mut received.share, length)?;
            if received.bytes.is_empty() && buffer.is_empty() {
                received.bytes = data;
            } else {
                if buffer.is_empty() {
                    buffer.reserve(body.size_hint().lower() as usize + length);
                    buffer.extend_from_slice(&std::mem::take(&mut received.bytes));
                }
                buffer.extend_from_slice(&data);
            }
        }
        if !buffer.is_empty() {
            received.bytes = buffer.freeze();
        }
        Ok(received)
    }

    /// Lets the share grow to what so many bytes need.
    fn hold(&self, share: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Failure> {
        let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(bytes.div_ceil(UNIT).saturating_sub(held)).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.held).try_acquire_many_owned(more).map_err(|_| {
            let message = "the bodies of other requests take all the memory there is for them";
            let mut failure = Failure::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message);
            failure.retry_after = Some(Duration::from_secs(1));
            failure
        })?;
        match share {
            Some(share) => share.merge(more),
            None => *share = Some(more),
        }
        Ok(())
    }

    async fn too_large(&self, mut body: Body, mut seen: usize) -> Failure {
        while let (true, Some(Ok(frame))) = (seen <= DRAINED, body.frame().await) {
            seen += frame.data_ref().map_or(0, Bytes::len);
            // What is decoded comes without waiting.
            tokio::task::consume_budget().await;
        }
        Failure::too_large(format!(
            "the body is larger than {} bytes: send fewer texts at once",
            self.largest
        ))
    }
}
