//! The listeners: connections with bounds on everything, and an end that loses no accepted request.

use std::fmt;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use embed_core::{Error, ErrorKind, Result};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::caller::Caller;
use crate::error::public_without_key;
use crate::serving::Served;
use crate::slots::{NoSlot, Slot, Slots};
use crate::state::State;
use crate::watch::GatewayWatch;

/// A failed accept is mostly a lack of file descriptors, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// For how long connections may take their last answers when the end doesn't wait for requests any more.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// Connections of the listener for operators: a few scrapers and probes.
pub(crate) const ADMIN_CONNECTIONS: usize = 64;

/// What a connection is told that its address has no slot for.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\nretry-after: 1\r\n\
    connection: close\r\ncontent-length: 37\r\n\r\ntoo many connections of this address\n";

/// A gateway with its listeners, ready to run: everything about its settings that can fail has been tried.
pub struct Server {
    state: Arc<State>,
    main: Listening,
    admin: Option<Listening>,
    kill: Pin<Box<dyn Future<Output = ()> + Send>>,
    admin_router: Router,
}

/// How a gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that were cut because the limit was over; 0 if every accepted request was answered.
    pub cut: usize,
}

impl Server {
    pub(crate) fn new(
        router: Router,
        admin_router: Router,
        state: Arc<State>,
        listener: TcpListener,
    ) -> Result<Self> {
        let slots = Arc::clone(&state.slots);
        let main = Listening::new(router, &state, listener, slots, false)?;
        if !main.served.local && state.keys().is_empty() && !state.config.allow_public_without_key {
            return Err(public_without_key(main.address));
        }
        Ok(Self { state, main, admin: None, kill: Box::pin(std::future::pending()), admin_router })
    }

    /// Serves probes, metrics and the state on a listener of their own, too. Its connections are counted by
    /// themselves, so that whoever fills the other listener doesn't keep operators out. Nobody is asked for a key
    /// there, and there is no TLS: it belongs to an address that strangers don't reach.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the listener has no address.
    pub fn with_admin(mut self, listener: TcpListener) -> Result<Self> {
        let slots = Slots::new(ADMIN_CONNECTIONS, ADMIN_CONNECTIONS);
        self.admin = Some(Listening::new(self.admin_router.clone(), &self.state, listener, slots, true)?);
        Ok(self)
    }

    /// Ends the drain when `kill` is done: requests that are still being answered get a 503.
    #[must_use]
    pub fn with_kill(mut self, kill: impl Future<Output = ()> + Send + 'static) -> Self {
        self.kill = Box::pin(kill);
        self
    }

    /// A view into the gateway.
    #[must_use]
    pub fn watch(&self) -> GatewayWatch {
        GatewayWatch(Arc::clone(&self.state))
    }

    /// Serves until `shutdown` is done, and drains: readiness goes first, then, after
    /// [`readiness_delay`](crate::GatewayConfig::readiness_delay), the listener, and then it waits for the requests
    /// that were accepted, for [`drain_limit`](crate::GatewayConfig::drain_limit) at most. Requests that aren't
    /// answered by then get a 503. The listener for operators is there to the end.
    ///
    /// # Errors
    ///
    /// None for now: what can fail has been tried.
    ///
    /// # Cancellation
    ///
    /// Dropping the future closes all connections at once.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<Drained> {
        let Self { state, main, admin, mut kill, .. } = self;
        let admin = async {
            match admin {
                Some(mut admin) => {
                    tracing::info!(address = %admin.address, "listening for operators");
                    admin.accept(std::future::pending()).await;
                }
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            drained = main.serve(&state, shutdown, &mut kill) => Ok(drained),
            () = admin => Err(Error::new(ErrorKind::Internal, "the listener for operators ended")),
        }
    }
}

/// A listener and its connections.
struct Listening {
    served: Arc<Served>,
    address: SocketAddr,
    listener: TcpListener,
    slots: Arc<Slots>,
    graceful: GracefulShutdown,
    tasks: JoinSet<()>,
    /// It was accepted, and there is no slot for it yet.
    waiting: Option<(TcpStream, SocketAddr)>,
}

impl Listening {
    fn new(
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

    async fn serve(
        mut self,
        state: &State,
        shutdown: impl Future<Output = ()>,
        kill: &mut (impl Future<Output = ()> + Unpin),
    ) -> Drained {
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
            // Whoever still waits is told so, and can go elsewhere.
            state.end();
            let _ = tokio::time::timeout(LAST_ANSWERS, ending).await;
        }
        tracing::info!(cut, "drained");
        Drained { cut }
    }

    /// Accepts connections until `end` is done.
    async fn accept(&mut self, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        let Self { served, listener, slots, graceful, tasks, waiting, .. } = self;
        loop {
            let (stream, peer, slot) = tokio::select! {
                // Otherwise a busy listener could put the end off.
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

/// The next connection, when there is room for it; until then it and those in the listener's backlog wait.
///
/// Dropping the future leaves the connection that waits in `waiting`.
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
                    tracing::warn!(%error, "no connection could be accepted");
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
                    tell(stream, state);
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

/// Tells why the connection is closed. With TLS that would take a handshake.
fn tell(stream: TcpStream, state: &State) {
    #[cfg(feature = "tls")]
    if state.tls().is_some() {
        return;
    }
    let _ = state;
    if let Ok(mut stream) = stream.into_std() {
        // It fits into the socket's buffer, and doesn't block.
        let _ = stream.write_all(TOO_MANY);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("address", &self.main.address)
            .field("admin", &self.admin.as_ref().map(|admin| admin.address))
            .finish_non_exhaustive()
    }
}
