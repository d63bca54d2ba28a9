//! The shared state of all requests of a gateway.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use embed_core::{Embedder, Error, ErrorKind, Health, Result};
use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use crate::admission::Admission;
use crate::auth::ApiKey;
use crate::body::Bodies;
use crate::catalogue::Catalogue;
use crate::config::GatewayConfig;
use crate::connections::Slots;
use crate::context::RequestIds;
use crate::hooks::Extensions;
use crate::host::Origins;

/// How long a health result is reused, because probes need no key and must not load the stack.
const HEALTH_LASTS: Duration = Duration::from_secs(1);
/// How long the stack's health check may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// The shared state of all requests of a gateway.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) config: GatewayConfig,
    pub(crate) admission: Arc<Admission>,
    pub(crate) bodies: Bodies,
    pub(crate) extensions: Extensions,
    pub(crate) ids: RequestIds,
    pub(crate) started: Instant,
    /// Shutdown has begun: the gateway isn't ready, and answers close their connections.
    pub(crate) draining: AtomicBool,
    /// Connections of the main listener.
    pub(crate) slots: Arc<Slots>,
    /// Origins of web pages that may call if keys are required, and if not.
    origins: [Origins; 2],
    /// Replaceable at run time, like the keys and the certificate.
    catalogue: RwLock<Arc<Catalogue>>,
    keys: RwLock<Arc<[ApiKey]>>,
    #[cfg(feature = "tls")]
    tls: RwLock<Option<Arc<rustls::ServerConfig>>>,
    /// True once requests in flight are aborted.
    end: watch::Sender<bool>,
    health: Mutex<Option<(Instant, Health)>>,
}

impl State {
    pub(crate) fn new(
        stack: Arc<dyn Embedder>,
        config: GatewayConfig,
        extensions: Extensions,
    ) -> Result<Self> {
        config.check()?;
        let origins = Origins::new(config.cors_origins.iter().map(String::as_str))?;
        Ok(Self {
            admission: Admission::new(&config.admission, extensions.observer.clone()),
            bodies: Bodies::new(&config.limits),
            ids: RequestIds::new(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            slots: Slots::new(config.limits.connections, config.limits.share()),
            origins: [origins.clone(), origins.or_here()?],
            catalogue: RwLock::new(Arc::new(Catalogue::new(stack, &config.models, SystemTime::now())?)),
            keys: RwLock::new(config.api_keys.as_slice().into()),
            #[cfg(feature = "tls")]
            tls: RwLock::new(config.tls.as_ref().map(crate::tls::server).transpose()?),
            end: watch::Sender::new(false),
            health: Mutex::new(None),
            config,
            extensions,
        })
    }

    /// The models that callers can name, and what embeds their texts.
    pub(crate) fn catalogue(&self) -> Arc<Catalogue> {
        Arc::clone(&self.catalogue.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) async fn set_catalogue(&self, catalogue: Catalogue) {
        // What was known of the old stack's health says nothing of the new one's.
        let mut known = self.health.lock().await;
        *self.catalogue.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(catalogue);
        *known = None;
    }

    /// The API keys. Without any, no key is required.
    pub(crate) fn keys(&self) -> Arc<[ApiKey]> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_keys(&self, keys: &[ApiKey]) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }

    /// The TLS acceptor, if TLS is set up.
    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<tokio_rustls::TlsAcceptor> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone().map(Into::into)
    }

    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&self, server: Arc<rustls::ServerConfig>) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }

    /// Origins of web pages that may call without a key, or with one.
    pub(crate) fn origins(&self, without_key: bool) -> &Origins {
        &self.origins[usize::from(without_key)]
    }

    /// Counts a refusal.
    pub(crate) fn refused(&self, limit: &'static str) {
        if let Some(observer) = &self.extensions.observer {
            observer.refused(limit);
        }
    }

    /// Aborts requests in flight.
    pub(crate) fn end(&self) {
        self.end.send_replace(true);
    }

    /// Waits until requests are aborted.
    pub(crate) async fn ended(&self) {
        // The sender is a field, so it can't be dropped.
        let _ = self.end.subscribe().wait_for(|ended| *ended).await;
    }

    /// The health of the stack, at most a second old. Concurrent callers share one check.
    pub(crate) async fn health(&self) -> Health {
        let mut known = self.health.lock().await;
        if let Some((at, health)) = &*known
            && at.elapsed() < HEALTH_LASTS
        {
            return health.clone();
        }
        let catalogue = self.catalogue();
        let asked = tokio::time::timeout(HEALTH_TIMEOUT, catalogue.stack().health()).await;
        let health = asked.unwrap_or_else(|_| {
            Health::unavailable(Error::new(ErrorKind::Timeout, "the health check of the stack took too long"))
        });
        *known = Some((Instant::now(), health.clone()));
        health
    }
}
