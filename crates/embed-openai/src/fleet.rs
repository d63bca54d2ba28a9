//! Several servers behind one client, all of which have to give the same vectors.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use embed_core::{Error, ErrorKind, Health, ModelInfo};
use embed_remote::{
    Again, Answered, Attempt, Backend, Blame, CallSettings, Counters as RemoteCounters, Drift, Endpoint,
    Facts, Failure, Http, InFlight, PROBES, Pool, Refusal, RowFault, Seen, Sending, Upgrade, add, health,
    try_again,
};
use futures::future::join_all;
use tokio::time::sleep;

use crate::config::OpenAiConfig;
use crate::failure::{failure, is_about_text};
use crate::handshake::Handshake;
use crate::identity::Identity;
use crate::key::Key;
use crate::server::{Server, Session};
use crate::space::model_info;
use crate::stats::{Counters, OpenAiStats};

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) pool: Pool<Server>,
    config: Arc<OpenAiConfig>,
    settings: CallSettings,
    remote: Arc<RemoteCounters>,
    counters: Arc<Counters>,
    /// Who the servers must be: the first that answered, or the identity that was expected.
    reference: Mutex<Option<Identity>>,
}

/// How often a server may become another one within one request.
const MOST_CHANGES: usize = 5;

impl Fleet {
    /// The handshake with every server. One is enough to begin, and none where the width is declared; one that has other
    /// vectors than the first is an error.
    pub(crate) async fn connect(config: OpenAiConfig) -> Result<(Self, ModelInfo), Error> {
        let checked = config.check()?;
        let key = Arc::new(Key::of(&config)?);
        let (config, remote) = (Arc::new(config), Arc::new(RemoteCounters::default()));
        let counters = Arc::new(Counters::default());
        let mut servers = Vec::with_capacity(checked.servers.len());
        for url in &checked.servers {
            let http = Http::new(url, &checked.http)?;
            let endpoint = Endpoint::new(http, config.pool_size, config.breaker, Arc::clone(&remote));
            let (config, counters) = (Arc::clone(&config), Arc::clone(&counters));
            servers.push(Arc::new(Server::new(endpoint, config, counters, Arc::clone(&key))));
        }
        let fleet = Self {
            reference: Mutex::new(config.expected.clone()),
            pool: Pool::new(servers),
            settings: config.call_settings(),
            config,
            remote,
            counters,
        };
        let handshakes =
            join_all(fleet.pool.servers().iter().map(|server| fleet.first_handshake(server))).await;
        let (mut first, mut failure) = (None, None);
        for (server, handshake) in fleet.pool.servers().iter().zip(handshakes) {
            // In the order of the settings, so that the first one decides, whoever is faster.
            let session = match handshake {
                Ok(handshake) => fleet.take_into_service(server, handshake).await,
                Err(refusal) => Err(refusal),
            };
            match session {
                Ok(session) => {
                    first.get_or_insert(session);
                }
                Err(Refusal::Unfit(error)) => return Err(error),
                Err(refusal) => {
                    failure.get_or_insert(refusal);
                }
            }
        }
        let info = match (first, failure, fleet.config.dimension) {
            (Some(session), _, _) => session.facts.info.clone(),
            (None, Some(Refusal::Failed(failure)), Some(width)) if failure.again != Again::Never => {
                let generation = fleet.reference().as_ref().map_or(0, Identity::generation);
                model_info(&fleet.config, width, generation)
            }
            (None, Some(refusal), _) => return Err(refusal.into_error()),
            (None, None, _) => return Err(no_server()),
        };
        Ok((fleet, info))
    }

    /// The first handshake, tried as often as a request is.
    async fn first_handshake(&self, server: &Arc<Server>) -> Result<Handshake, Refusal> {
        let mut pauses = self.settings.pauses();
        let mut tries = 1;
        loop {
            let refusal = match self.handshake(server).await {
                Ok(handshake) => return Ok(handshake),
                Err(refusal) => refusal,
            };
            match &refusal {
                // The server itself is left alone for as long as it asks.
                Refusal::Failed(failure)
                    if failure.again == Again::Throttled
                        && tries < self.config.tries
                        && failure.after.unwrap_or_default() <= self.config.longest_asked => {}
                Refusal::Failed(failure) if tries <= failure.retries(self.config.tries) => {
                    let pause = pauses.next().unwrap_or(self.config.longest_pause);
                    sleep(failure.after.unwrap_or(pause).min(self.config.longest_pause)).await;
                }
                _ => return Err(refusal),
            }
            tries += 1;
        }
    }

    async fn handshake(&self, server: &Arc<Server>) -> Result<Handshake, Refusal> {
        let in_flight = InFlight::begin(server).ok_or_else(|| left_out(server))?;
        let handshake = Handshake::with(server).await;
        in_flight
            .settle(matches!(&handshake, Err(Refusal::Failed(failure)) if failure.blame == Blame::Server));
        handshake
    }

    fn reference(&self) -> MutexGuard<'_, Option<Identity>> {
        self.reference.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who the servers are.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.reference().clone()
    }

    /// What was done so far.
    pub(crate) fn stats(&self) -> OpenAiStats {
        self.counters.read(self.remote.read())
    }

    /// Takes a server into service if its vectors are those of the others.
    async fn take_into_service(
        &self,
        server: &Arc<Server>,
        handshake: Handshake,
    ) -> Result<Arc<Session>, Refusal> {
        let identity = self.identity_of(server, &handshake)?;
        // The same server as before, as far as anybody can tell: its facts are known.
        let former = server.endpoint.last_session().filter(|former| former.identity == identity);
        let facts = match &former {
            Some(former) => Arc::clone(&former.facts),
            None => handshake.facts(server, &identity).await?,
        };
        server.prove(handshake.name.as_deref(), former.is_none());
        let session = Arc::new(Session { facts, identity, name: handshake.name });
        server.endpoint.set_session(&session);
        Ok(session)
    }

    /// Whom the server is taken for, if it may serve.
    fn identity_of(&self, server: &Arc<Server>, handshake: &Handshake) -> Result<Identity, Refusal> {
        let mut reference = self.reference();
        let is = &handshake.identity;
        let identity = match reference.as_ref() {
            None => is.clone(),
            Some(known) => match known.drift_to(is, self.config.tolerance) {
                // The same numbers: the same variant, whatever its name.
                Drift::None => known.clone(),
                Drift::Moved(_)
                    if self.config.upgrade == Upgrade::NewVariant && !self.pool.others_serve(server) =>
                {
                    add(&self.remote.new_variants, 1);
                    is.clone().after(known)
                }
                drift => {
                    add(&self.remote.refused_servers, 1);
                    server.endpoint.forget();
                    return Err(Refusal::Unfit(moved(server, known, is, drift)));
                }
            },
        };
        *reference = Some(identity.clone());
        Ok(identity)
    }

    async fn embed_at(&self, server: &Arc<Server>, sending: Sending<'_>) -> Result<Answered, Refusal> {
        for _ in 0..MOST_CHANGES {
            let session = self.session(server).await?;
            let told = {
                let _permit = server.endpoint.permits(1).await;
                server.ask(sending, Some(session.identity.dimension())).await?
            };
            if !server.is_proven(told.name.as_deref()) {
                // Another model by its own account: its vectors tell.
                server.endpoint.end_session();
                continue;
            }
            // The rows may have come over a new connection: then the server must still be who it was.
            let now = self.session(server).await?;
            if Arc::ptr_eq(&now.facts, &session.facts) {
                return Ok(Answered { reply: told.reply, facts: Arc::clone(&session.facts) });
            }
        }
        Err(Refusal::Unfit(
            Error::new(
                ErrorKind::SpaceMismatch,
                "the server answers with another model each time; see to it that this name always means one model",
            )
            .with_context("server", server.endpoint.http().name()),
        ))
    }

    /// The session of a server, which proves who it is where there is none, or a new connection.
    async fn session(&self, server: &Arc<Server>) -> Result<Arc<Session>, Refusal> {
        let current = || {
            let is_known = !self.config.verify_reconnects || server.endpoint.is_verified();
            server.endpoint.session().filter(|_| is_known)
        };
        if let Some(session) = current() {
            return Ok(session);
        }
        let _handshake = server.endpoint.handshake().await;
        if let Some(session) = current() {
            return Ok(session);
        }
        let handshake = Handshake::with(server).await?;
        self.take_into_service(server, handshake).await
    }

    /// Whether the servers answer. One that is left out is tried by a text each time that its pause is over, so that it
    /// is back without any caller; its answer is waited for, but not for long.
    pub(crate) async fn health(self: &Arc<Self>) -> Health {
        health(join_all(self.pool.servers().iter().map(|server| self.health_of(server))).await)
    }

    async fn health_of(self: &Arc<Self>, server: &Arc<Server>) -> Result<(), Failure> {
        server.is_alive(self.config.connect_timeout).await?;
        try_again(server, |server| {
            let fleet = Arc::clone(self);
            async move { fleet.embed_at(&server, Sending::of_client(&PROBES[..1])).await }
        })
        .await;
        if server.endpoint.is_ejected() {
            return Err(server.failure(Seen::LeftOut.into()));
        }
        Ok(())
    }
}

impl Backend for Fleet {
    fn settings(&self) -> &CallSettings {
        &self.settings
    }

    fn stats(&self) -> &RemoteCounters {
        &self.remote
    }

    fn servers(&self) -> usize {
        self.pool.servers().len()
    }

    fn facts(&self) -> Option<Arc<Facts>> {
        Some(Arc::clone(&self.pool.any_session()?.facts))
    }

    /// Any server may be asked, so what all of them take.
    fn batch_limits(&self) -> (usize, usize) {
        let all = self.pool.servers().iter().map(|server| server.batch_limits());
        let least = |(a, b): (usize, usize), (c, d): (usize, usize)| (a.min(c), b.min(d));
        all.reduce(least).unwrap_or((self.config.max_batch_bytes, self.config.max_batch_rows))
    }

    async fn embed(&self, sending: Sending<'_>, avoid: Option<usize>) -> Result<Answered, Attempt> {
        let (index, in_flight) = self.pool.pick(avoid).map_err(|server| {
            let refusal = server.map_or_else(|| Refusal::Unfit(no_server()), left_out);
            Attempt { refusal, server: None }
        })?;
        let result = self.embed_at(in_flight.server(), sending).await;
        in_flight.settle_by(&result);
        result.map_err(|refusal| Attempt { refusal, server: Some(index) })
    }

    fn has_other(&self, avoid: usize) -> bool {
        self.pool.has_other(avoid)
    }

    fn until_any(&self) -> Duration {
        self.pool.until_any()
    }

    fn rows_failure(&self, fault: RowFault, _: &Facts) -> Failure {
        failure(&Seen::Rows(fault), self.config.model.trim(), true)
    }

    fn is_about_text(&self, error: &Error) -> bool {
        is_about_text(error)
    }
}

fn no_server() -> Error {
    Error::new(ErrorKind::Config, "there is no server to ask; name one in `servers`")
}

fn left_out(server: &Arc<Server>) -> Refusal {
    server.failure(Seen::LeftOut.into()).into()
}

fn moved(server: &Server, known: &Identity, is: &Identity, drift: Drift) -> Error {
    let (what, cosine) = match drift {
        Drift::Foreign(cosine) => (
            "the server's vectors have nothing to do with the ones before: it is another model; name the model that it was",
            cosine,
        ),
        Drift::Moved(cosine) => (
            "the server's vectors have moved: embed anew, or set `upgrade` to take them as a new variant",
            cosine,
        ),
        Drift::None => ("the server is refused; look at its log", 1.0),
    };
    Error::new(ErrorKind::SpaceMismatch, what)
        .with_context("server", server.endpoint.http().name())
        .with_context("lowest cosine", cosine)
        .with_context("was", known.model())
        .with_context("is", is.model())
}
