//! The listeners: connections with bounds on everything, and an end that loses no accepted request.

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

/// Connections of the listener for operators: a few scrapers and probes.
const ADMIN_CONNECTIONS: usize = 64;

/// A gateway with its listeners, ready to run: everything about its settings that can fail has been tried.
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
        let main = Listener::new(router, &state, listener, slots, false)?;
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
        self.admin = Some(Listener::new(self.admin_router.clone(), &self.state, listener, slots, true)?);
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
