//! One server: what is known of it, and the load of its model.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embed_remote::{
    Endpoint, Facts, Failure, Http, Limit, Member, Norms, PROBES, Reply, Seen, Sending, Trouble, add,
    check_rows, read, rows_limit,
};
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout};

use crate::config::{KeepAlive, ModelOptions, OllamaConfig};
use crate::failure::failure;
use crate::identity::Identity;
use crate::profile::{Profile, Traits};
use crate::stats::Counters;
use crate::wait::{Waiting, wait};
use crate::wire::{EmbedAnswer, EmbedBody, EmbeddingsAnswer, EmbeddingsBody};

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) endpoint: Endpoint<Session>,
    pub(crate) config: Arc<OllamaConfig>,
    pub(crate) counters: Arc<Counters>,
    state: Mutex<ServerState>,
}

#[derive(Debug, Default)]
struct ServerState {
    /// What it said of itself at the handshake.
    info: Option<ServerInfo>,
    /// Until when the model is surely loaded.
    warm_until: Option<Instant>,
    /// The load that is going on.
    load: Option<watch::Receiver<Option<Result<(), Failure>>>>,
}

/// A load that is going on. However its task ends, the next caller may begin another one.
#[derive(Debug)]
struct Load {
    server: Arc<Server>,
    done: watch::Sender<Option<Result<(), Failure>>>,
}

/// How often a caller begins or joins a load: more than once if its task died.
const MOST_LOADS: usize = 2;

impl Load {
    async fn run(self, dialect: Dialect) {
        let server = &self.server;
        let permit = server.permit(&dialect, 1).await;
        add(&server.counters.loads, 1);
        // A text and not an empty input, which old servers answer without loading.
        let result = server.ask(&dialect, Sending::of_client(&PROBES[..1]), None).await.map(drop);
        drop(permit);
        server.state().load = None;
        // Everybody may have gone.
        let _ = self.done.send(Some(result));
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let mut state = self.server.state();
        // Unless the next one has begun already.
        if state.load.as_ref().is_some_and(|load| load.same_channel(&self.done.subscribe())) {
            state.load = None;
        }
    }
}

/// What a server says of itself before any text is embedded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ServerInfo {
    pub(crate) version: String,
    /// Of the model's manifest.
    pub(crate) digest: String,
}

/// How a server is spoken to.
#[derive(Debug, Clone)]
pub(crate) struct Dialect {
    pub(crate) traits: Traits,
    pub(crate) options: ModelOptions,
}

/// A server after its handshake: who it is and how it is spoken to.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) dialect: Dialect,
    pub(crate) identity: Identity,
    pub(crate) facts: Arc<Facts>,
}

impl Member for Server {
    type Session = Session;

    fn endpoint(&self) -> &Endpoint<Session> {
        &self.endpoint
    }

    /// Who answers next may be another one, with nothing loaded.
    fn on_failure(&self) {
        self.state().warm_until = None;
    }
}

impl Server {
    pub(crate) fn new(
        endpoint: Endpoint<Session>,
        config: Arc<OllamaConfig>,
        counters: Arc<Counters>,
    ) -> Self {
        Self { endpoint, config, counters, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn http(&self) -> &Http {
        self.endpoint.http()
    }

    /// Refused for its vectors: it must prove itself again, whatever its version and digest.
    pub(crate) fn forget(&self) {
        self.state().info = None;
        self.endpoint.forget();
    }

    /// The server is another one than it was: the next call begins with a handshake, with nothing loaded.
    pub(crate) fn end_session(&self) {
        self.state().warm_until = None;
        self.endpoint.end_session();
    }

    pub(crate) fn set_info(&self, info: ServerInfo) {
        self.state().info = Some(info);
    }

    /// What the server said of itself at the handshake.
    pub(crate) fn info(&self) -> Option<ServerInfo> {
        self.state().info.clone()
    }

    /// Whether it still says what it said at the handshake.
    pub(crate) fn is_still(&self, info: &ServerInfo) -> bool {
        self.state().info.as_ref() == Some(info)
    }

    /// Whether the model is surely loaded.
    pub(crate) fn is_warm(&self) -> bool {
        self.state().warm_until.is_some_and(|until| Instant::now() < until)
    }

    /// What follows from a failure, said with the server's name.
    pub(crate) fn failure(&self, trouble: Trouble, profile: Profile) -> Failure {
        let mut failure = failure(&trouble.seen, profile, &self.config.model);
        failure.error = failure.error.with_context("server", self.http().name());
        if let Some(source) = trouble.source {
            failure.error = failure.error.with_source(source);
        }
        failure
    }

    /// Makes sure that the model is loaded. The load runs on its own: a caller that goes away, or whose
    /// deadline is over, doesn't abort it, since the next one would have to begin anew.
    pub(crate) async fn warm(self: &Arc<Self>, dialect: &Dialect) -> Result<(), Failure> {
        if KeepAlive::lasts(self.config.keep_alive).is_zero() {
            // It would be unloaded again before the request comes, which loads it itself.
            return Ok(());
        }
        for _ in 0..MOST_LOADS {
            let (mut load, begin) = {
                let mut state = self.state();
                if state.warm_until.is_some_and(|until| Instant::now() < until) {
                    return Ok(());
                }
                match &state.load {
                    Some(load) => (load.clone(), None),
                    None => {
                        let (done, load) = watch::channel(None);
                        state.load = Some(load.clone());
                        (load, Some(Load { server: Arc::clone(self), done }))
                    }
                }
            };
            if let Some(begin) = begin {
                tokio::spawn(begin.run(dialect.clone()));
            }
            if let Ok(result) = load.wait_for(Option::is_some).await
                && let Some(result) = &*result
            {
                return result.clone();
            }
            // The task died, with the runtime that it was in or by a panic: the next one begins anew.
        }
        Err(self.failure(Seen::Broken.into(), dialect.traits.profile))
    }

    /// Waits for the permits of a request that is so much of a full batch. Servers that mix results up
    /// under concurrency get one request at a time.
    pub(crate) async fn permit(&self, dialect: &Dialect, weight: usize) -> Option<OwnedSemaphorePermit> {
        let permits = if dialect.traits.batches { weight } else { self.config.pool_size };
        self.endpoint.permits(permits).await
    }

    /// Sends texts that one request may hold, and checks the rows of the answer.
    pub(crate) async fn ask(
        &self,
        dialect: &Dialect,
        sending: Sending<'_>,
        dimension: Option<usize>,
    ) -> Result<Reply, Failure> {
        let waiting = Waiting { http: self.http(), config: &self.config, counters: &self.counters };
        let answer = wait(waiting, sending.patience, self.request(dialect, sending, dimension)).await;
        let profile = dialect.traits.profile;
        // Vectors of the legacy route are raw.
        let norms = if profile == Profile::Legacy { Norms::Divided } else { Norms::One };
        let reply = answer
            .and_then(|answer| {
                let reply = check_rows(&answer.embeddings, sending.texts.len(), dimension, norms)
                    .map_err(|fault| Trouble::from(Seen::Rows(fault)))?;
                Ok(Reply { tokens: answer.prompt_eval_count, ..reply })
            })
            .map_err(|trouble| self.failure(trouble, profile))?;
        self.state().warm_until = Some(Instant::now() + KeepAlive::lasts(self.config.keep_alive));
        Ok(reply)
    }

    async fn request(
        &self,
        dialect: &Dialect,
        Sending { texts, trace, .. }: Sending<'_>,
        dimension: Option<usize>,
    ) -> Result<EmbedAnswer, Trouble> {
        let limit = rows_limit(texts.len(), dimension);
        let (model, options) = (self.config.model.trim(), &dialect.options);
        let keep_alive = self.config.keep_alive.map(KeepAlive::seconds);
        if dialect.traits.profile == Profile::Legacy {
            let body = EmbeddingsBody { model, prompt: texts.first().unwrap_or(&""), keep_alive, options };
            let request = self.http().posting_for(trace, "/api/embeddings", &body);
            let answer: EmbeddingsAnswer = read(self.http().send(request).await?, limit).await?;
            return Ok(EmbedAnswer { embeddings: answer.embedding.into(), prompt_eval_count: None });
        }
        let body = EmbedBody { model, input: texts, truncate: false, keep_alive, options };
        read(self.http().send(self.http().posting_for(trace, "/api/embed", &body)).await?, limit).await
    }

    /// Whether the process answers at all.
    pub(crate) async fn is_alive(&self) -> Result<(), Failure> {
        let session = self.endpoint.last_session();
        let profile = session.map_or(Profile::J, |session| session.dialect.traits.profile);
        let version = self.http().get::<crate::wire::VersionAnswer>("/api/version", Limit::SMALL);
        match timeout(self.config.connect_timeout, version).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(trouble)) => Err(self.failure(trouble, profile)),
            Err(_) => Err(self.failure(Seen::Silence.into(), profile)),
        }
    }
}
