//! A service that was unavailable when the program started, to which it keeps connecting.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, Result, Retry, async_trait,
};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::guard::now;

/// The backoff between attempts to connect: it doubles from the first pause to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long a health check waits for an attempt.
const PATIENCE: Duration = Duration::from_secs(1);

type Connect = Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Embedder>>> + Send + Sync>;

/// A service that may connect later. Attempts run one at a time in separate tasks; one begins when the service or its
/// health is requested and the pause since the last attempt is over.
///
/// Clones share their state.
#[derive(Clone)]
pub(crate) struct Late {
    shared: Arc<Shared>,
}

struct Shared {
    /// The description of the model until the service has connected.
    described: ModelInfo,
    connect: Connect,
    connected: OnceLock<Arc<dyn Embedder>>,
    search: Mutex<ConnectState>,
}

struct ConnectState {
    /// Why the last attempt failed.
    reason: Error,
    next: Instant,
    pause: Duration,
    under_way: bool,
}

/// An attempt to connect, which counts as failed if its task panics.
struct ConnectAttempt(Late);

impl Late {
    pub(crate) fn new<C, F, E>(described: ModelInfo, reason: Error, connect: C) -> Self
    where
        C: Fn() -> F + Send + Sync + 'static,
        F: Future<Output = Result<E>> + Send + 'static,
        E: Embedder,
    {
        let connect = move || {
            let connecting = connect();
            async move { Ok(Arc::new(connecting.await?) as Arc<dyn Embedder>) }.boxed()
        };
        let search = ConnectState { reason, next: now() + FIRST_PAUSE, pause: FIRST_PAUSE, under_way: false };
        let shared = Shared {
            described,
            connect: Box::new(connect),
            connected: OnceLock::new(),
            search: Mutex::new(search),
        };
        Self { shared: Arc::new(shared) }
    }

    /// Wraps the service in layers once it has connected.
    pub(crate) fn map(
        self,
        make: impl Fn(Arc<dyn Embedder>) -> Arc<dyn Embedder> + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::new(self.shared.described.clone(), self.reason(), move || {
            let (connecting, make) = ((self.shared.connect)(), make.clone());
            async move { connecting.await.map(make) }
        })
    }

    /// The service, once it has connected.
    pub(crate) fn connected(&self) -> Option<&Arc<dyn Embedder>> {
        self.shared.connected.get()
    }

    /// The service; otherwise an error, and an attempt begins if one is due.
    pub(crate) fn embedder(&self) -> Result<&Arc<dyn Embedder>> {
        if let Some(connected) = self.connected() {
            return Ok(connected);
        }
        drop(self.begin_attempt());
        Err(self.absence())
    }

    /// Begins an attempt, if one is due, and waits for it briefly; the service, if it has connected by then.
    pub(crate) async fn find(&self) -> Result<&Arc<dyn Embedder>> {
        if self.connected().is_none()
            && let Some(attempt) = self.begin_attempt()
        {
            let _ = tokio::time::timeout(PATIENCE, attempt).await;
        }
        self.embedder()
    }

    /// Begins an attempt, if one is due.
    fn begin_attempt(&self) -> Option<tokio::task::JoinHandle<()>> {
        {
            let mut search = self.search();
            if search.under_way || now() < search.next {
                return None;
            }
            search.under_way = true;
        }
        let this = ConnectAttempt(self.clone());
        Some(tokio::spawn(async move {
            let late = &*this.0.shared;
            match (late.connect)().await {
                // It isn't set yet, since attempts run one at a time.
                Ok(connected) => drop(late.connected.set(connected)),
                Err(reason) => this.0.search().reason = reason,
            }
        }))
    }

    /// Why the last attempt failed.
    pub(crate) fn reason(&self) -> Error {
        self.search().reason.clone()
    }

    fn absence(&self) -> Error {
        let search = self.search();
        let after = search.next.saturating_duration_since(now());
        let message = "the service of this route was unavailable when this program started, and hasn't been found since; \
                       it is looked for, and used as soon as it answers";
        // A server that lacks the model is available, but its operator must do something about it.
        let kind = match search.reason.kind() {
            ErrorKind::ModelNotFound => ErrorKind::ModelNotFound,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, message)
            .with_retry(Retry::Temporary { after: Some(after) })
            .with_source(search.reason.clone())
    }

    fn search(&self) -> MutexGuard<'_, ConnectState> {
        self.shared.search.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for ConnectAttempt {
    fn drop(&mut self) {
        let mut search = self.0.search();
        search.under_way = false;
        search.next = now() + search.pause;
        search.pause = (search.pause * 2).min(LONGEST_PAUSE);
    }
}

/// Used by the trials of a rollout, which hold it from the start.
#[async_trait]
impl Embedder for Late {
    fn model(&self) -> &ModelInfo {
        self.connected().map_or(&self.shared.described, |connected| connected.model())
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        self.embedder()?.embed(request).await
    }

    async fn health(&self) -> Health {
        match self.find().await {
            Ok(embedder) => embedder.health().await,
            Err(error) => Health::unavailable(error),
        }
    }
}

impl fmt::Debug for Late {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Late").field("connected", &self.connected().is_some()).finish_non_exhaustive()
    }
}
