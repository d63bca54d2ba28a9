//! A service that wasn't there when the program began, and is looked for until it is.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, ModelInfo, Result, Retry, async_trait,
};
use futures::FutureExt;
use futures::future::BoxFuture;

use crate::guard::now;

/// The pauses between two tries to connect: they double from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How long who asks for the health waits for a try that has begun.
const PATIENCE: Duration = Duration::from_secs(1);

type Connect = Box<dyn Fn() -> BoxFuture<'static, Result<Arc<dyn Embedder>>> + Send + Sync>;

/// The place of a service that is looked for. Each try runs as a task of its own, one at a time, whenever somebody asks
/// for the service or for its health and the pause since the last one is over.
///
/// Clones are one place.
#[derive(Clone)]
pub(crate) struct Late {
    shared: Arc<Shared>,
}

struct Shared {
    /// What is known of the model before anybody has met it.
    described: ModelInfo,
    connect: Connect,
    connected: OnceLock<Arc<dyn Embedder>>,
    search: Mutex<Search>,
}

struct Search {
    /// Why the last try failed.
    reason: Error,
    next: Instant,
    pause: Duration,
    under_way: bool,
}

/// A try, which counts as failed if its task dies.
struct Try(Late);

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
        let search = Search { reason, next: now() + FIRST_PAUSE, pause: FIRST_PAUSE, under_way: false };
        let shared = Shared {
            described,
            connect: Box::new(connect),
            connected: OnceLock::new(),
            search: Mutex::new(search),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The place of what is made of the service when it is there.
    pub(crate) fn map(
        self,
        make: impl Fn(Arc<dyn Embedder>) -> Arc<dyn Embedder> + Clone + Send + Sync + 'static,
    ) -> Self {
        Self::new(self.shared.described.clone(), self.reason(), move || {
            let (connecting, make) = ((self.shared.connect)(), make.clone());
            async move { connecting.await.map(make) }
        })
    }

    /// The service, once it is there.
    pub(crate) fn connected(&self) -> Option<&Arc<dyn Embedder>> {
        self.shared.connected.get()
    }

    /// The service; an error while it isn't there, and then a try begins if one is due.
    pub(crate) fn embedder(&self) -> Result<&Arc<dyn Embedder>> {
        if let Some(connected) = self.connected() {
            return Ok(connected);
        }
        drop(self.look());
        Err(self.absence())
    }

    /// Waits for a try, if one is due, but not for long; the service, if it is there then.
    pub(crate) async fn find(&self) -> Result<&Arc<dyn Embedder>> {
        if self.connected().is_none()
            && let Some(look) = self.look()
        {
            let _ = tokio::time::timeout(PATIENCE, look).await;
        }
        self.embedder()
    }

    /// Begins a try, if one is due.
    fn look(&self) -> Option<tokio::task::JoinHandle<()>> {
        {
            let mut search = self.search();
            if search.under_way || now() < search.next {
                return None;
            }
            search.under_way = true;
        }
        let this = Try(self.clone());
        Some(tokio::spawn(async move {
            let late = &*this.0.shared;
            match (late.connect)().await {
                // Nobody else sets it: there is one try at a time.
                Ok(connected) => drop(late.connected.set(connected)),
                Err(reason) => this.0.search().reason = reason,
            }
        }))
    }

    /// Why the last try failed.
    pub(crate) fn reason(&self) -> Error {
        self.search().reason.clone()
    }

    fn absence(&self) -> Error {
        let search = self.search();
        let after = search.next.saturating_duration_since(now());
        let message = "the service of this route wasn't there when this program began, and hasn't been found since; it \
                       is looked for and used as soon as it answers";
        // A server that lacks the model is there, and whoever looks after it has something else to do.
        let kind = match search.reason.kind() {
            ErrorKind::ModelNotFound => ErrorKind::ModelNotFound,
            _ => ErrorKind::Unavailable,
        };
        Error::new(kind, message)
            .with_retry(Retry::Temporary { after: Some(after) })
            .with_source(search.reason.clone())
    }

    fn search(&self) -> MutexGuard<'_, Search> {
        self.shared.search.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Try {
    fn drop(&mut self) {
        let mut search = self.0.search();
        search.under_way = false;
        search.next = now() + search.pause;
        search.pause = (search.pause * 2).min(LONGEST_PAUSE);
    }
}

/// For those who hold it from the start: the trials of a rollout.
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
