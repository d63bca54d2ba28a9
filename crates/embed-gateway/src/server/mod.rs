//! The listeners, with limits on connections and a graceful shutdown.

mod listener;
mod serving;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use embed_core::{Error, ErrorKind, Result};
use listener::Listener;
use tokio::net::TcpListener;

use crate::connections::Slots;
use crate::error::public_without_key;
use crate::state::State;
use crate::watch::GatewayWatch;

/// The most connections of the listener for operators, which has a few scrapers and probes.
const ADMIN_CONNECTIONS: usize = 64;

/// A gateway with its listeners, ready to run: all settings that can fail have been checked.
pub struct Server {
    state: Arc<State>,
    main: Listener,
    admin: Option<Listener>,
    kill: Pin<Box<dyn Future<Output = ()> + Send>>,
    admin_router: Router,
}

/// How a gateway ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that were cut at the time limit; 0 if every accepted request was answered.
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
        let main = Listener::new(router, &state, listener, slots, false)?;
        if !main.served.local && state.keys().is_empty() && !state.config.allow_public_without_key {
            return Err(public_without_key(main.address));
        }
        Ok(Self { state, main, admin: None, kill: Box::pin(std::future::pending()), admin_router })
    }

    /// Also serves probes, metrics and the status on a separate listener. Its connections are counted separately, so that
    /// operators can connect even if the main listener is full. It needs no key and has no TLS, so use an address that
    /// strangers can't reach.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] if the listener has no address.
    pub fn with_admin(mut self, listener: TcpListener) -> Result<Self> {
        let slots = Slots::new(ADMIN_CONNECTIONS, ADMIN_CONNECTIONS);
        self.admin = Some(Listener::new(self.admin_router.clone(), &self.state, listener, slots, true)?);
        Ok(self)
    }

    /// Ends the drain when `kill` is done: requests still in flight get a 503.
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

    /// Serves until `shutdown` is done, then drains: readiness ends first; after
    /// [`readiness_delay`](crate::GatewayConfig::readiness_delay) the listener closes; then it waits for the accepted
    /// requests, at most for [`drain_limit`](crate::GatewayConfig::drain_limit). Requests that aren't answered by then
    /// get a 503. The listener for operators stays open until the end.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Internal`] if the listener for operators ends by itself.
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
            cut = main.serve(&state, shutdown, &mut kill) => Ok(Drained { cut }),
            () = admin => Err(Error::new(ErrorKind::Internal, "the listener for operators ended")),
        }
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
