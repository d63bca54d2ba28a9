//! A handle to a running gateway: its statistics, and what can be replaced while it runs.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use embed_core::{Embedder, Result};

use crate::auth::ApiKey;
use crate::catalogue::Catalogue;
use crate::config::GatewayConfig;
use crate::error::wrong;
use crate::models::ModelEntry;
use crate::state::State;

/// A handle to a running gateway.
#[derive(Debug, Clone)]
pub struct GatewayWatch(pub(crate) Arc<State>);

/// The statistics of a gateway since it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct GatewayStats {
    /// Open connections.
    pub connections: usize,
    /// The most connections that may be open.
    pub connection_limit: usize,
    /// Pieces of requests in flight at the stack.
    pub in_flight: usize,
    /// Pieces of requests that wait for their turn.
    pub waiting: usize,
    /// Requests that were admitted.
    pub accepted: u64,
    /// Requests that were refused because of overload.
    pub refused: u64,
    /// Whether shutdown has begun.
    pub draining: bool,
}

impl GatewayWatch {
    /// The current statistics.
    #[must_use]
    pub fn stats(&self) -> GatewayStats {
        let traffic = self.0.admission.traffic();
        GatewayStats {
            connections: self.0.slots.open(),
            connection_limit: self.0.slots.limit(),
            in_flight: traffic.in_flight,
            waiting: traffic.waiting,
            accepted: traffic.accepted,
            refused: traffic.refused,
            draining: self.0.draining.load(Ordering::Relaxed),
        }
    }

    /// Replaces the API keys and the certificate by those of these settings. Requests in flight go on; new connections get
    /// the new certificate.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) for an empty key, for a change between some keys and none
    /// (which could be a mistake), and for files of TLS that can't be used. Nothing changes then.
    pub fn reload(&self, config: &GatewayConfig) -> Result<()> {
        let state = &self.0;
        if config.api_keys.iter().any(ApiKey::is_empty)
            || config.api_keys.is_empty() != state.keys().is_empty()
        {
            let what = "must not become empty or stop being so while the gateway runs: that takes a restart";
            return Err(wrong("api_keys", what));
        }
        #[cfg(feature = "tls")]
        match (&config.tls, state.tls().is_some()) {
            (Some(tls), true) => state.set_tls(crate::tls::server(tls)?),
            (None, false) => {}
            _ => return Err(wrong("tls", "can't be turned on or off while the gateway runs")),
        }
        state.set_keys(&config.api_keys);
        Ok(())
    }

    /// Puts another stack and its models in the place of those that there are. Requests that have found their model by then
    /// are answered by the old stack; it is dropped with the last of them.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](embed_core::ErrorKind::Config) for models that no gateway can have, such as two of one name.
    /// Nothing changes then.
    ///
    /// # Cancellation
    ///
    /// If the future is dropped, the exchange is made or nothing changes.
    pub async fn exchange(&self, stack: Arc<dyn Embedder>, models: &[ModelEntry]) -> Result<()> {
        self.0.set_catalogue(Catalogue::new(stack, models, SystemTime::now())?).await;
        Ok(())
    }

    /// Makes the gateway unready, which is the first step of a shutdown in [`Server::run`](crate::Server::run).
    pub fn begin_draining(&self) {
        self.0.draining.store(true, Ordering::Relaxed);
    }
}
