//! The listener: connections with bounds on everything, and an end that loses no accepted request.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Request, header};
use embed_core::{Error, ErrorKind, Result};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tower::Service;

use crate::auth::Peer;
use crate::state::State;

/// A failed accept is mostly a lack of file descriptors, which time mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How a gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that were cut because the limit was over; 0 if every accepted request was answered.
    pub cut: usize,
}

/// Serves until `shutdown` is done, and drains.
pub(crate) async fn serve(
    router: Router,
    state: Arc<State>,
    listener: TcpListener,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<Drained> {
    let address = listener.local_addr().map_err(no_address)?;
    let config = &state.config;
    let local = address.ip().to_canonical().is_loopback();
    if !local && config.api_keys.is_empty() && !config.allow_public_without_key {
        let message = "other machines reach this address, and no API key is set: set one, listen on 127.0.0.1, \
                       or set allow_public_without_key if something in front keeps strangers out";
        return Err(Error::new(ErrorKind::Config, message).with_context("address", address));
    }
    state.local_only.store(local && config.api_keys.is_empty(), Ordering::Relaxed);
    let mut server = Server {
        door: Arc::new(Door {
            #[cfg(feature = "tls")]
            tls: config.tls.as_ref().map(crate::tls::acceptor).transpose()?,
            router,
            state: Arc::clone(&state),
        }),
        slots: Arc::new(Semaphore::new(config.limits.connections)),
        graceful: GracefulShutdown::new(),
        tasks: JoinSet::new(),
    };

    tracing::info!(%address, "listening");
    server.accept(&listener, shutdown).await;
    state.draining.store(true, Ordering::Relaxed);
    tracing::info!(connections = server.tasks.len(), "draining");
    server.accept(&listener, tokio::time::sleep(config.readiness_delay)).await;
    drop(listener);
    let Server { graceful, mut tasks, .. } = server;
    let ended = tokio::time::timeout(config.drain_limit, async {
        graceful.shutdown().await;
        while tasks.join_next().await.is_some() {}
    });
    let cut = if ended.await.is_ok() { 0 } else { tasks.len() };
    tracing::info!(cut, "drained");
    Ok(Drained { cut })
}

struct Server {
    door: Arc<Door>,
    /// One for each connection that there may be.
    slots: Arc<Semaphore>,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
}

/// What a connection needs.
struct Door {
    #[cfg(feature = "tls")]
    tls: Option<tokio_rustls::TlsAcceptor>,
    router: Router,
    state: Arc<State>,
}

impl Server {
    /// Accepts connections until `end` is done.
    async fn accept(&mut self, listener: &TcpListener, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        let slots = Arc::clone(&self.slots);
        loop {
            let accepted = tokio::select! {
                // Otherwise a busy listener could put the end off.
                biased;
                () = &mut end => return,
                Some(_) = self.tasks.join_next() => continue,
                accepted = next(&slots, listener) => accepted,
            };
            let Some((stream, peer, slot)) = accepted else { continue };
            let (door, watcher) = (Arc::clone(&self.door), self.graceful.watcher());
            self.tasks.spawn(async move {
                let _slot = slot;
                door.connection(stream, peer, watcher).await;
            });
        }
    }
}

/// The next connection, when there is room for it; until then it waits in the listener's backlog.
async fn next(
    slots: &Arc<Semaphore>,
    listener: &TcpListener,
) -> Option<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let slot = Arc::clone(slots).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, slot)),
        Err(error) => {
            tracing::warn!(%error, "no connection could be accepted");
            tokio::time::sleep(ACCEPT_PAUSE).await;
            None
        }
    }
}

impl Door {
    async fn connection(&self, stream: TcpStream, peer: SocketAddr, watcher: Watcher) {
        let _counted = Counted::new(&self.state);
        // Answers are small and whole: waiting for more to send only delays them.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.state.config.limits.write_timeout));
        let stream = Box::pin(stream);
        #[cfg(feature = "tls")]
        if let Some(acceptor) = &self.tls {
            let handshake =
                tokio::time::timeout(self.state.config.limits.header_timeout, acceptor.accept(stream));
            match handshake.await {
                Ok(Ok(stream)) => self.http(stream, peer, watcher).await,
                Ok(Err(error)) => tracing::debug!(%error, "the TLS handshake failed"),
                Err(_) => tracing::debug!("the TLS handshake took too long"),
            }
            return;
        }
        self.http(stream, peer, watcher).await;
    }

    /// Whether idle connections would soon keep new callers out, who then aren't even refused.
    fn is_nearly_full(&self) -> bool {
        let most = self.state.config.limits.connections;
        self.state.connections.load(Ordering::Relaxed) > most - most / 8
    }

    async fn http<S>(&self, stream: S, peer: SocketAddr, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = &self.state.config.limits;
        let router = self.router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Peer(peer));
            // A router is always ready, and its clone is one pointer.
            let answer = router.clone().call(request);
            async move {
                let mut answer = answer.await?;
                if self.is_nearly_full() {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer)
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_timeout)
            .max_header_size(limits.header_bytes)
            .serve_connection(TokioIo::new(stream), service);
        if let Err(error) = watcher.watch(connection).await {
            tracing::debug!(%error, "a connection ended early");
        }
    }
}

/// A connection in the count, until it is dropped.
struct Counted<'a>(&'a State);

impl<'a> Counted<'a> {
    fn new(state: &'a State) -> Self {
        state.connections.fetch_add(1, Ordering::Relaxed);
        Self(state)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

fn no_address(error: std::io::Error) -> Error {
    Error::new(ErrorKind::Config, "the listener has no address").with_source(error)
}
