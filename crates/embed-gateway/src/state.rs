//! What all requests of a gateway share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::{Duration, SystemTime};

use embed_core::{Embedder, Error, ErrorKind, Health, Result};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::admission::Admission;
use crate::body::Bodies;
use crate::config::GatewayConfig;
use crate::extend::Extensions;
use crate::front::RequestIds;
use crate::models::Catalogue;

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
    /// Only this machine reaches the socket, and no key is asked for: then the `Host` header is checked.
    pub(crate) local_only: AtomicBool,
    pub(crate) connections: AtomicUsize,
    health: Mutex<Option<(Instant, Health)>>,
}

impl State {
    pub(crate) fn new(
        stack: Arc<dyn Embedder>,
        config: GatewayConfig,
        extensions: Extensions,
    ) -> Result<Self> {
        config.check()?;
        Ok(Self {
            catalogue: Catalogue::new(&config.models, SystemTime::now())?,
            admission: Admission::new(&config.admission, extensions.observer.clone()),
            bodies: Bodies::new(&config.limits),
            ids: RequestIds::new(),
            started: Instant::now(),
            draining: AtomicBool::new(false),
            local_only: AtomicBool::new(false),
            connections: AtomicUsize::new(0),
            health: Mutex::new(None),
            stack,
            config,
            extensions,
        })
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
