//! Reads request bodies within limits of size, time, and total memory.

mod encoding;

pub(crate) use encoding::{ACCEPTED, decoded};

use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::http::StatusCode;
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::failure::Failure;
use crate::limits::Limits;

/// The unit of a body's size, since a semaphore counts in 32 bits.
const UNIT: usize = 1024;
/// How much of a body that is too large is read and discarded. A client that is still writing when the connection closes
/// would see a reset instead of the answer.
const DRAINED: usize = 64 << 20;

/// Reads bodies.
#[derive(Debug)]
pub(crate) struct Bodies {
    largest: usize,
    timeout: Duration,
    held: Arc<Semaphore>,
}

/// A body and its share of the total; keep the share as long as anything made from the bytes.
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
        let announced = body.size_hint().lower();
        if announced > self.largest as u64 {
            return Err(self.drained(body, 0).await);
        }
        let mut received = Received { bytes: Bytes::new(), share: None };
        // Small bodies come in one frame, which isn't copied.
        let mut buffer = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| encoding::broken(&error))?;
            let Ok(data) = frame.into_data() else { continue };
            let length = received.bytes.len() + buffer.len() + data.len();
            if length > self.largest {
                let share = received.share.take();
                drop((buffer, received, data, share));
                return Err(self.drained(body, length).await);
            }
            if received.bytes.is_empty() && buffer.is_empty() {
                self.hold(&mut received.share, length)?;
                received.bytes = data;
                continue;
            }
            if length > buffer.capacity() {
                // Room for twice as much, not for the announced length, which may never come.
                let room = (2 * length).min(usize::try_from(announced).unwrap_or(length).max(length));
                self.hold(&mut received.share, room)?;
                buffer.reserve_exact(room - buffer.len());
            }
            buffer.extend_from_slice(&std::mem::take(&mut received.bytes));
            buffer.extend_from_slice(&data);
        }
        if !buffer.is_empty() {
            received.bytes = buffer.into();
        }
        Ok(received)
    }

    /// Grows the share to this many bytes.
    fn hold(&self, share: &mut Option<OwnedSemaphorePermit>, bytes: usize) -> Result<(), Failure> {
        let held = share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = u32::try_from(bytes.div_ceil(UNIT).saturating_sub(held)).unwrap_or(u32::MAX);
        let more = Arc::clone(&self.held).try_acquire_many_owned(more).map_err(|_| {
            let message = "the bodies of other requests take all the memory there is for them";
            let mut failure =
                Failure::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message).with_limit("held_bytes");
            failure.retry_after = Some(Duration::from_secs(1));
            failure
        })?;
        match share {
            Some(share) => share.merge(more),
            None => *share = Some(more),
        }
        Ok(())
    }

    /// Discards the rest of the body for a while, so that a client that writes before it reads gets the answer.
    async fn drained(&self, mut body: Body, mut seen: usize) -> Failure {
        while let (true, Some(Ok(frame))) = (seen <= DRAINED, body.frame().await) {
            seen += frame.data_ref().map_or(0, Bytes::len);
            // Decoding never waits, so yield now and then.
            tokio::task::consume_budget().await;
        }
        self.too_large()
    }

    /// The refusal of a body by its size.
    pub(crate) fn too_large(&self) -> Failure {
        let message = format!("the body is larger than {} bytes: send fewer texts at once", self.largest);
        Failure::too_large(message).with_limit("body_bytes")
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use futures::stream::{self, StreamExt};
    use http_body_util::StreamBody;
    use hyper::body::{Frame, SizeHint};

    use super::*;

    /// A body that announces more than it sends.
    struct Announced(Body, u64);

    impl axum::body::HttpBody for Announced {
        type Data = Bytes;
        type Error = axum::Error;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
            std::pin::Pin::new(&mut self.0).poll_frame(context)
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.1)
        }
    }

    /// Memory is allocated only for received bytes, and is counted.
    #[test]
    fn announced_bytes_take_no_memory_before_they_come() {
        let bodies = Bodies::new(&Limits::default());
        let free = bodies.held.available_permits();
        let frame = || Ok::<_, std::io::Error>(Frame::data(Bytes::from_static(&[b' '; 1000])));
        let sent =
            Body::new(StreamBody::new(stream::iter((0..10).map(move |_| frame())).chain(stream::pending())));
        let mut reading = Box::pin(bodies.collect(Body::new(Announced(sent, 30 << 20))));
        let taken = allocation_counter::measure(|| assert!(reading.as_mut().now_or_never().is_none()));
        assert!(taken.bytes_max < 64 << 10, "{taken:?}");
        let held = (free - bodies.held.available_permits()) * UNIT;
        assert!((10_000..64 << 10).contains(&held), "{held}");
    }

    #[test]
    fn frames_of_a_body_are_joined() {
        let bodies = Bodies::new(&Limits::default());
        let frames = ["{\"a\":", "", "1", ",\"b\":", "[2,3]", "}"].map(Ok::<_, std::io::Error>);
        let read = bodies.collect(Body::from_stream(stream::iter(frames))).now_or_never().unwrap().unwrap();
        assert_eq!(&read.bytes[..], br#"{"a":1,"b":[2,3]}"#);
    }
}
