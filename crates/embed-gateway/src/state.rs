//! What all requests of a gateway share.

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

/// How long a health is taken for true: probes come without keys, and must not load what is behind.
const HEALTH_LASTS: Duration = Duration::from_secs(1);
/// How long a stack may take to tell its health.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(5);

/// What all requests of a gateway share.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) stack: Arc<dyn Embedder>,
    pub(crate) config: GatewayConfig,
    pub(crate) catalogue: Catalogue,
    pub(crate) admission: Arc<Admission>,
    pub(crate) bodies: Bodies,
    pub(crate) extensions: Extensions,
    pub(crate) ids: RequestIds,
    pub(crate) started: Instant,
    /// Shutdown has begun: not ready any more, and answers close their connections.
    pub(crate) draining: AtomicBool,
    /// Connections of the main listener.
    pub(crate) slots: Arc<Slots>,
    /// Pages that may call with a key, and without one.
    origins: [Origins; 2],
    /// They can be exchanged, and so can the certificate.
    keys: RwLock<Arc<[ApiKey]>>,
    #[cfg(feature = "tls")]
    tls: RwLock<Option<Arc<rustls::ServerConfig>>>,
    /// Requests that are still being answered are given up.
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
            catalogue: Catalogue::new(&config.models, SystemTime::now())?,
            admission: Admission::new(&config.admission, extensions.observer.clone()),
            bodies: Bodies::new(&config.limits),
            ids: RequestIds::new(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            slots: Slots::new(config.limits.connections, config.limits.share()),
            origins: [origins.clone(), origins.or_here()?],
            keys: RwLock::new(config.api_keys.as_slice().into()),
            #[cfg(feature = "tls")]
            tls: RwLock::new(config.tls.as_ref().map(crate::tls::server).transpose()?),
            end: watch::Sender::new(false),
            health: Mutex::new(None),
            stack,
            config,
            extensions,
        })
    }

    /// Who may call. Without any, everybody may.
    pub(crate) fn keys(&self) -> Arc<[ApiKey]> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn set_keys(&self, keys: &[ApiKey]) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = keys.into();
    }

    /// What takes TLS handshakes, if there are any.
    #[cfg(feature = "tls")]
    pub(crate) fn tls(&self) -> Option<tokio_rustls::TlsAcceptor> {
        self.tls.read().unwrap_or_else(PoisonError::into_inner).clone().map(Into::into)
    }

    #[cfg(feature = "tls")]
    pub(crate) fn set_tls(&self, server: Arc<rustls::ServerConfig>) {
        *self.tls.write().unwrap_or_else(PoisonError::into_inner) = Some(server);
    }

    /// Pages that may call where no key is asked for, or where one is.
    pub(crate) fn origins(&self, without_key: bool) -> &Origins {
        &self.origins[usize::from(without_key)]
    }

    /// Counts a refusal.
    pub(crate) fn refused(&self, limit: &'static str) {
        if let Some(observer) = &self.extensions.observer {
            observer.refused(limit);
        }
    }

    /// Gives up requests that are still being answered.
    pub(crate) fn end(&self) {
        self.end.send_replace(true);
    }

    /// Waits until requests are given up.
    pub(crate) async fn ended(&self) {
        // The sender is in here, so it isn't gone.
        let _ = self.end.subscribe().wait_for(|ended| *ended).await;
    }

    /// The health of the stack, at most a second old. Many who ask at once make one question.
    pub(crate) async fn health(&self) -> Health {
        let mut known = self.health.lock().await;
        if let Some((at, health)) = &*known
            && at.elapsed() < HEALTH_LASTS
        {
            return health.clone();
        }
        let asked = tokio::time::timeout(HEALTH_TIMEOUT, self.stack.health()).await;
        let health = asked.unwrap_or_else(|_| {
            Health::unavailable(Error::new(ErrorKind::Timeout, "the stack doesn't tell its health"))
        });
        *known = Some((Instant::now(), health.clone()));
        health
    }
}
