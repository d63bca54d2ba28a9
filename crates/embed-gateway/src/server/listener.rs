//! A listener: accepts connections up to a limit, and drains without losing an accepted request.

use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use embed_core::{Error, ErrorKind, Result};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::serving::Served;
use crate::caller::Caller;
use crate::connections::{NoSlot, Slot, Slots};
use crate::state::State;

/// Accepting mostly fails for lack of file descriptors, which is temporary.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How long connections may take to receive their last answers once the drain has ended.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// The answer to a connection whose address has used up its share.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 37\r\n\r\ntoo many connections of this address\n";

/// A listener and its connections.
pub(super) struct Listener {
    pub(super) served: Arc<Served>,
    pub(super) address: SocketAddr,
    listener: TcpListener,
    slots: Arc<Slots>,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
    /// An accepted connection for which there is no slot yet.
    waiting: Option<(TcpStream, SocketAddr)>,
}

impl Listener {
    pub(super) fn new(
        router: Router,
        state: &Arc<State>,
        listener: TcpListener,
        slots: Arc<Slots>,
        admin: bool,
    ) -> Result<Self> {
        let address = listener.local_addr().map_err(|error| {
            Error::new(ErrorKind::Config, "the listener has no address").with_source(error)
        })?;
        let local = address.ip().to_canonical().is_loopback();
        let served = Arc::new(Served { router, state: Arc::clone(state), local, admin });
        let (graceful, tasks) = (GracefulShutdown::new(), JoinSet::new());
        Ok(Self { served, address, listener, slots, graceful, tasks, waiting: None })
    }

    /// Serves until `shutdown` is done, then drains; returns how many connections were cut.
    pub(super) async fn serve(
        mut self,
        state: &State,
        shutdown: impl Future<Output = ()>,
        kill: &mut (impl Future<Output = ()> + Unpin),
    ) -> usize {
        let config = &state.config;
        tracing::info!(address = %self.address, "listening");
        self.accept(shutdown).await;
        state.draining.store(true, Ordering::Relaxed);
        tracing::info!(connections = self.tasks.len(), "draining");
        let killed = tokio::select! {
            () = self.accept(tokio::time::sleep(config.readiness_delay)) => false,
            () = &mut *kill => true,
        };
        let Self { listener, slots, graceful, mut tasks, .. } = self;
        drop(listener);
        let mut ending = std::pin::pin!(async {
            graceful.shutdown().await;
            while tasks.join_next().await.is_some() {}
        });
        let ended = tokio::select! {
            biased;
            () = std::future::ready(()), if killed => false,
            () = &mut ending => true,
            () = tokio::time::sleep(config.drain_limit) => false,
            () = kill => false,
        };
        let cut = if ended { 0 } else { slots.open() };
        if !ended {
            // Waiting clients get an answer, so that they can go elsewhere.
            state.end();
            let _ = tokio::time::timeout(LAST_ANSWERS, ending).await;
        }
        tracing::info!(cut, "drained");
        cut
    }

    /// Accepts connections until `end` is done.
    pub(super) async fn accept(&mut self, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        let Self { served, listener, slots, graceful, tasks, waiting, .. } = self;
        loop {
            let (stream, peer, slot) = tokio::select! {
                // Otherwise a busy listener could delay the end.
                biased;
                () = &mut end => return,
                Some(_) = tasks.join_next() => continue,
                accepted = next(listener, slots, &served.state, waiting) => accepted,
            };
            let (served, watcher) = (Arc::clone(served), graceful.watcher());
            tasks.spawn(async move { served.connection(stream, peer, slot, watcher).await });
        }
    }
}

/// The next connection, once there is a slot for it; until then it waits, as do those in the listener's backlog.
///
/// If the future is dropped, the waiting connection stays in `waiting`.
async fn next(
    listener: &TcpListener,
    slots: &Arc<Slots>,
    state: &State,
    waiting: &mut Option<(TcpStream, SocketAddr)>,
) -> (TcpStream, SocketAddr, Slot) {
    loop {
        let Some((_, peer)) = waiting else {
            match listener.accept().await {
                Ok(accepted) => *waiting = Some(accepted),
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
            continue;
        };
        match slots.take(Caller::of_address(peer.ip())) {
            Err(NoSlot::All) => slots.freed().await,
            Err(NoSlot::Share) => {
                state.refused("address");
                if let Some((stream, peer)) = waiting.take() {
                    tracing::debug!(peer = %peer.ip(), "the address has too many connections");
                    refuse(stream, state);
                }
            }
            Ok(slot) => {
                if let Some((stream, peer)) = waiting.take() {
                    return (stream, peer, slot);
                }
            }
        }
    }
}

/// Sends why the connection is closed, except with TLS, which would need a handshake.
fn refuse(stream: TcpStream, state: &State) {
    #[cfg(feature = "tls")]
    if state.tls().is_some() {
        return;
    }
    let _ = state;
    if let Ok(mut stream) = stream.into_std() {
        // It fits into the socket's buffer, so it doesn't block.
        let _ = stream.write_all(TOO_MANY);
    }
}
