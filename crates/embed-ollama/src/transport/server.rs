//! One server: its connections and permits, what is known of it, and whether it is asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use embed_core::{Breaker, ModelInfo, Pass, TraceContext};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, timeout};

use super::http::{Http, Limit, Trouble, rows_limit};
use super::wait::{self, Patience};
use crate::batch::{Reply, check_rows};
use crate::config::{KeepAlive, ModelOptions, OllamaConfig};
use crate::failure::{Blame, Failure, Seen};
use crate::identity::{Identity, PROBES};
use crate::profile::{Profile, Traits};
use crate::stats::{Counters, add};
use crate::wire::{EmbedAnswer, EmbedBody, EmbeddingsAnswer, EmbeddingsBody};

#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) http: Http,
    pub(crate) config: Arc<OllamaConfig>,
    pub(crate) stats: Arc<Counters>,
    permits: Arc<Semaphore>,
    outstanding: AtomicUsize,
    /// The connections up to which the server is known to be who it was.
    verified: AtomicUsize,
    state: Mutex<ServerState>,
    /// Held by the one call that finds out who the server is.
    pub(crate) handshake: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct ServerState {
    breaker: Breaker,
    session: Option<Arc<Session>>,
    /// The session before the connection was lost.
    former: Option<Arc<Session>>,
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
        add(&server.stats.loads, 1);
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

/// Texts on their way to a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sending<'a> {
    pub(crate) texts: &'a [&'a str],
    pub(crate) patience: Patience,
    /// Of the caller whose texts they are.
    pub(crate) trace: &'a TraceContext,
}

impl<'a> Sending<'a> {
    /// Texts that no caller sent.
    pub(crate) fn of_client(texts: &'a [&'a str]) -> Self {
        static NO_TRACE: TraceContext = TraceContext::new();
        Self { texts, patience: Patience::Usual, trace: &NO_TRACE }
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
    /// What its rows are; the same for all servers in service at one time.
    pub(crate) info: ModelInfo,
    /// Tokens that the model reads at most, the special ones included.
    pub(crate) limit: Option<usize>,
    /// Special tokens that are put around a text.
    pub(crate) specials: usize,
}

impl Server {
    pub(crate) fn new(http: Http, config: Arc<OllamaConfig>, stats: Arc<Counters>) -> Self {
        Self {
            http,
            permits: Arc::new(Semaphore::new(config.pool_size)),
            outstanding: AtomicUsize::new(0),
            verified: AtomicUsize::new(0),
            state: Mutex::new(ServerState {
                breaker: Breaker::new(config.breaker),
                session: None,
                former: None,
                info: None,
                warm_until: None,
                load: None,
            }),
            handshake: tokio::sync::Mutex::new(()),
            config,
            stats,
        }
    }

    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.outstanding.load(Ordering::Relaxed)
    }

    /// Requests that could begin at once.
    pub(crate) fn free_permits(&self) -> usize {
        self.permits.available_permits()
    }

    pub(crate) fn session(&self) -> Option<Arc<Session>> {
        self.state().session.clone()
    }

    pub(crate) fn former(&self) -> Option<Arc<Session>> {
        self.state().former.clone()
    }

    pub(crate) fn set_session(&self, session: &Arc<Session>) {
        let mut state = self.state();
        state.session = Some(Arc::clone(session));
        state.former = Some(Arc::clone(session));
    }

    /// Refused for its vectors: it must prove itself again, whatever its version and digest.
    pub(crate) fn forget(&self) {
        let mut state = self.state();
        state.session = None;
        state.former = None;
        state.info = None;
    }

    pub(crate) fn set_verified(&self, connects: usize) {
        self.verified.fetch_max(connects, Ordering::SeqCst);
    }

    /// Whether no connection was made since the server was asked who it is.
    pub(crate) fn is_verified(&self) -> bool {
        self.http.connects() == self.verified.load(Ordering::SeqCst)
    }

    /// The server is another one than it was: the next call begins with a handshake, with nothing loaded.
    pub(crate) fn end_session(&self) {
        let mut state = self.state();
        state.session = None;
        state.warm_until = None;
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

    pub(crate) fn lets_through(&self) -> bool {
        self.state().breaker.lets_through(now())
    }

    pub(crate) fn is_ejected(&self) -> bool {
        self.state().breaker.is_open()
    }

    pub(crate) fn next_trial(&self) -> Option<Instant> {
        self.state().breaker.next_trial().map(Instant::from_std)
    }

    /// Whether the model is surely loaded.
    pub(crate) fn is_warm(&self) -> bool {
        self.state().warm_until.is_some_and(|until| Instant::now() < until)
    }

    /// Begins a call at this server, if the breaker lets it through.
    pub(crate) fn begin(self: &Arc<Self>) -> Option<InFlight> {
        let pass = self.state().breaker.pass(now())?;
        self.outstanding.fetch_add(1, Ordering::Relaxed);
        Some(InFlight { server: Arc::clone(self), pass, settled: false })
    }

    /// What follows from a failure, said with the server's name.
    pub(crate) fn failure(&self, trouble: Trouble, profile: Profile) -> Failure {
        let mut failure = Failure::of(&trouble.seen, profile, &self.config.model);
        failure.error = failure.error.with_context("server", self.http.name());
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
        let pool = self.config.pool_size;
        let permits = if dialect.traits.batches { weight.clamp(1, pool) } else { pool };
        // The semaphore is never closed and the pool is at most 10,000.
        let permits = u32::try_from(permits).unwrap_or(u32::MAX);
        Arc::clone(&self.permits).acquire_many_owned(permits).await.ok()
    }

    /// Sends texts that one request may hold, and checks the rows of the answer.
    pub(crate) async fn ask(
        &self,
        dialect: &Dialect,
        sending: Sending<'_>,
        dimension: Option<usize>,
    ) -> Result<Reply, Failure> {
        let answer = wait::wait(
            &self.http,
            &self.config,
            &self.stats,
            sending.patience,
            self.request(dialect, sending, dimension),
        )
        .await;
        let profile = dialect.traits.profile;
        let raw = profile == Profile::Legacy;
        let reply = answer
            .and_then(|answer| {
                check_rows(answer.embeddings, sending.texts.len(), dimension, raw, answer.prompt_eval_count)
                    .map_err(|fault| Seen::Rows(fault).into())
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
            let answer: EmbeddingsAnswer = self.http.post_for(trace, "/api/embeddings", &body, limit).await?;
            return Ok(EmbedAnswer { embeddings: answer.embedding.into(), prompt_eval_count: None });
        }
        let body = EmbedBody { model, input: texts, truncate: false, keep_alive, options };
        self.http.post_for(trace, "/api/embed", &body, limit).await
    }

    /// Whether the process answers at all.
    pub(crate) async fn is_alive(&self) -> Result<(), Failure> {
        let profile = self.former().map_or(Profile::J, |session| session.dialect.traits.profile);
        let version = self.http.get::<crate::wire::VersionAnswer>("/api/version", Limit::SMALL);
        match timeout(self.config.connect_timeout, version).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(trouble)) => Err(self.failure(trouble, profile)),
            Err(_) => Err(self.failure(Seen::Silence.into(), profile)),
        }
    }
}

/// The time of the runtime, which a test may have stopped, as a breaker takes it.
fn now() -> std::time::Instant {
    Instant::now().into_std()
}

/// A call that a server works on: counted as long as this lives, and known to the breaker however it ends.
#[derive(Debug)]
pub(crate) struct InFlight {
    pub(crate) server: Arc<Server>,
    pass: Pass,
    settled: bool,
}

impl InFlight {
    /// Tells the breaker how it went.
    pub(crate) fn settle<T>(mut self, result: &Result<T, Failure>) {
        self.settled = true;
        let mut state = self.server.state();
        let stats = &self.server.stats;
        match result {
            Err(failure) if failure.rule.blame == Blame::Server => {
                // Who answers next may be another one, with nothing loaded.
                state.session = None;
                state.warm_until = None;
                if state.breaker.failed(now(), self.pass) {
                    add(&stats.ejections, 1);
                }
            }
            _ => {
                if state.breaker.succeeded(self.pass) {
                    add(&stats.returns, 1);
                }
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.server.outstanding.fetch_sub(1, Ordering::Relaxed);
        if !self.settled {
            self.server.state().breaker.abandoned(self.pass);
        }
    }
}
