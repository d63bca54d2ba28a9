//! A layer of your own: what puts a decorator around any embedder, which is an embedder again.
//!
//! This one lets so many calls through at a time and has the others wait for their turn, or until their deadline. It passes
//! on what it doesn't change: the model, the rows, the health.
//!
//! Run it: `cargo run -p embed-testkit --example own_layer`. Check it: `cargo test -p embed-testkit --examples`.

#![expect(clippy::print_stdout, reason = "an example shows what it found")]

use std::time::Instant;

use embed_core::{
    Deadline, EmbedRequest, EmbedResponse, Embedder, EmbedderExt, Error, ErrorKind, Health, Layer, ModelInfo,
    Result, Stack, async_trait, place,
};
use embed_testkit::Scripted;
use futures::future::try_join_all;
use tokio::sync::Semaphore;
use tokio::time::sleep_until;

/// Lets so many calls through at a time.
#[derive(Debug, Clone, Copy)]
struct Limit(usize);

/// An embedder that is asked by a few callers at a time.
#[derive(Debug)]
struct Limited<E> {
    inner: E,
    turns: Semaphore,
}

impl<E: Embedder> Layer<E> for Limit {
    type Embedder = Limited<E>;
    /// The places of a breaker or a cache matter, and a wrong order doesn't compile. A limit may stand anywhere.
    type Place = place::Anywhere;

    fn layer(self, inner: E) -> Limited<E> {
        Limited { inner, turns: Semaphore::new(self.0) }
    }
}

#[async_trait]
impl<E: Embedder> Embedder for Limited<E> {
    fn model(&self) -> &ModelInfo {
        self.inner.model()
    }

    /// Dropping the future gives the turn back, or the place in the queue.
    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let timer = |at: Instant| sleep_until(at.into());
        let turn = request.deadline().limit(timer, self.turns.acquire()).await;
        let turn =
            turn.ok_or_else(|| Deadline::missed("the deadline was over before it was this call's turn"))?;
        let _turn =
            turn.map_err(|closed| Error::new(ErrorKind::Internal, "no more turns").with_source(closed))?;
        self.inner.embed(request).await
    }

    async fn health(&self) -> Health {
        self.inner.health().await
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    // A double stands for the back end: put yours here.
    let back_end = Scripted::new("back-end", 8);
    let service = Stack::new(back_end.clone()).layer(Limit(2)).build();
    let texts: Vec<String> = (0..8).map(|number| format!("text {number}")).collect();
    let vectors = try_join_all(texts.iter().map(|text| service.encode_document(text))).await?;
    println!("{} vectors of {} by {} calls", vectors.len(), service.model().space(), back_end.calls());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use embed_core::Role;

    use super::*;

    #[tokio::test]
    async fn it_keeps_the_contract() {
        let service = Stack::new(Scripted::new("back-end", 8)).layer(Limit(2)).build();
        embed_testkit::contract::check(Arc::new(service)).await;
    }

    #[tokio::test(start_paused = true)]
    async fn it_lets_two_calls_through() {
        let back_end = Scripted::new("back-end", 8);
        let service = Stack::new(back_end.clone()).layer(Limit(2)).build();
        let request = || EmbedRequest::new(["text"], Role::Query);
        back_end.hold();
        let (first, second, ()) = tokio::join!(service.embed(request()), service.embed(request()), async {
            let deadline = (tokio::time::Instant::now() + Duration::from_secs(1)).into_std();
            let third = service.embed(request().with_deadline(deadline)).await;
            assert_eq!(third.unwrap_err().kind(), ErrorKind::Timeout);
            assert_eq!(back_end.calls(), 2, "the third one was never made");
            back_end.release();
        });
        assert!(first.is_ok() && second.is_ok());
        service.embed(request()).await.unwrap();
    }

    #[test]
    fn it_runs() {
        main().unwrap();
    }
}
