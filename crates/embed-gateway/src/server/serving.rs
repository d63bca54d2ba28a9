//! Serves a connection, and watches its bytes to know which phase it is in.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::http::{HeaderValue, Request, header};
use bytes::Bytes;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_io_timeout::TimeoutStream;
use tower::Service;

use crate::auth::Peer;
use crate::connections::Slot;
use crate::connections::{Busy, Connection};
use crate::state::State;

/// The shared state of a listener's connections.
#[derive(Debug)]
pub(crate) struct Served {
    pub(crate) router: Router,
    pub(crate) state: Arc<State>,
    /// Only this machine can reach the listener.
    pub(crate) local: bool,
    /// The listener for operators, without keys and TLS.
    pub(crate) admin: bool,
}

impl Served {
    /// Serves a connection until it ends.
    pub(crate) async fn connection(&self, stream: TcpStream, peer: SocketAddr, slot: Slot, watcher: Watcher) {
        // Answers are written as a whole, so Nagle's algorithm would only delay them.
        let _ = stream.set_nodelay(true);
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(self.state.config.limits.write_timeout));
        let stream = Box::pin(stream);
        #[cfg(feature = "tls")]
        if let (Some(acceptor), false) = (self.state.tls(), self.admin) {
            let connection = Arc::clone(&slot.connection);
            connection.starved();
            tokio::select! {
                shaken = acceptor.accept(stream) => match shaken {
                    Ok(stream) => self.http(stream, peer, slot, watcher).await,
                    Err(error) => tracing::debug!(%error, "the TLS handshake failed"),
                },
                () = connection.expired(&self.state.config.limits) => {
                    tracing::debug!("the TLS handshake took too long");
                }
            }
            return;
        }
        self.http(stream, peer, slot, watcher).await;
    }

    async fn http<S>(&self, stream: S, address: SocketAddr, slot: Slot, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let limits = &self.state.config.limits;
        let connection = Arc::clone(&slot.connection);
        let stream = Watched { stream, connection: Arc::clone(&connection) };
        let service = service_fn(|mut request: Request<Incoming>| {
            let busy = connection.busy();
            let peer =
                Peer { address, local: self.local, admin: self.admin, connection: Arc::clone(&connection) };
            request.extensions_mut().insert(peer);
            // A router is always ready, and a clone copies only a pointer.
            let answer = self.router.clone().call(request);
            let slot = &slot;
            async move {
                let mut answer = answer.await?;
                if slot.is_scarce() {
                    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
                }
                Ok::<_, Infallible>(answer.map(|body| BusyBody { body, _busy: busy }))
            }
        });
        // Hyper's timeout can't distinguish an idle connection from a head that doesn't end.
        let served = http1::Builder::new()
            .header_read_timeout(None)
            .max_header_size(limits.header_bytes)
            .serve_connection(TokioIo::new(stream), service);
        tokio::select! {
            ended = watcher.watch(served) => if let Err(error) = ended {
                tracing::debug!(%error, "a connection ended early");
            },
            () = connection.expired(limits) => tracing::debug!("a connection without a request was closed"),
        }
    }
}

/// The body of an answer, which keeps its connection in the phase `Busy`.
struct BusyBody {
    body: Body,
    _busy: Busy,
}

impl HttpBody for BusyBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A stream that reports its reads and writes to its connection.
struct Watched<S> {
    stream: S,
    connection: Arc<Connection>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if read.is_pending() {
            self.connection.starved();
        } else if buffer.filled().len() > before {
            self.connection.received();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called when everything has been written.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        if matches!(flushed, Poll::Ready(Ok(()))) {
            self.connection.flushed();
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
