//! Several servers behind one client, all of which have to give the same vectors.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use embed_core::{Error, ErrorKind, Health};
use embed_remote::{
    Answered, Attempt, Backend, Blame, CallSettings, Counters as RemoteCounters, Drift, Endpoint, Facts,
    Failure, Http, InFlight, PROBES, Pool, Refusal, Reply, RowFault, Seen, Sending, Upgrade, add, health,
    try_again,
};
use futures::future::join_all;

use crate::config::OllamaConfig;
use crate::failure::{failure, is_about_text};
use crate::handshake::{Handshake, server_info};
use crate::identity::Identity;
use crate::profile::Profile;
use crate::server::{Server, Session};
use crate::stats::{Counters, OllamaStats};

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) pool: Pool<Server>,
    pub(crate) config: Arc<OllamaConfig>,
    settings: CallSettings,
    remote: Arc<RemoteCounters>,
    counters: Arc<Counters>,
    /// Who the servers must be: the first that answered, or the identity that was expected.
    reference: Mutex<Option<Identity>>,
}

/// How often a server may become another one within one request.
const MOST_CHANGES: usize = 3;

impl Fleet {
    /// The handshake with every server. One is enough to begin; one that has other vectors than the first is an error.
    pub(crate) async fn connect(config: OllamaConfig) -> Result<(Self, Arc<Session>), Error> {
        let checked = config.check()?;
        let (config, remote) = (Arc::new(config), Arc::new(RemoteCounters::default()));
        let counters = Arc::new(Counters::default());
        let mut servers = Vec::with_capacity(checked.servers.len());
        for url in &checked.servers {
            let http = Http::new(url, &config.http_settings(&checked))?;
            let endpoint = Endpoint::new(http, config.pool_size, config.breaker, Arc::clone(&remote));
            servers.push(Arc::new(Server::new(endpoint, Arc::clone(&config), Arc::clone(&counters))));
        }
        let fleet = Self {
            reference: Mutex::new(config.expected.clone()),
            pool: Pool::new(servers),
            settings: config.call_settings(),
            config,
            remote,
            counters,
        };
        let handshakes = join_all(fleet.servers().iter().map(|server| fleet.first_handshake(server))).await;
        let (mut first, mut failure) = (None, None);
        for (server, handshake) in fleet.servers().iter().zip(handshakes) {
            // In the order of the settings, so that the first one decides, whoever is faster.
            let session = match handshake {
                Ok(handshake) => fleet.take_into_service(server, handshake).map_err(Refusal::into_error)?,
                Err(Refusal::Unfit(error)) => return Err(error),
                Err(refusal) => {
                    failure.get_or_insert(refusal);
                    continue;
                }
            };
            first.get_or_insert(session);
        }
        match (first, failure) {
            (Some(session), _) => Ok((fleet, session)),
            (None, Some(refusal)) => Err(refusal.into_error()),
            (None, None) => Err(Error::new(ErrorKind::Internal, "there is no server to connect to")),
        }
    }

    /// The first handshake, tried as often as a request is.
    async fn first_handshake(&self, server: &Arc<Server>) -> Result<Handshake, Refusal> {
        let mut tries = 1;
        let mut pause = self.config.first_pause;
        loop {
            let refusal = match self.handshake(server).await {
                Ok(handshake) => return Ok(handshake),
                Err(refusal) => refusal,
            };
            match &refusal {
                Refusal::Failed(failure) if tries <= failure.retries(self.config.tries) => {
                    tokio::time::sleep(failure.after.unwrap_or(pause).min(self.config.longest_pause)).await;
                    tries += 1;
                    pause = (pause * 2).min(self.config.longest_pause);
                }
                _ => return Err(refusal),
            }
        }
    }

    pub(crate) fn servers(&self) -> &[Arc<Server>] {
        self.pool.servers()
    }

    /// What was done so far.
    pub(crate) fn stats(&self) -> OllamaStats {
        self.counters.read(self.remote.read())
    }

    async fn handshake(&self, server: &Arc<Server>) -> Result<Handshake, Refusal> {
        let in_flight = InFlight::begin(server).ok_or_else(|| self.unavailable(server))?;
        let handshake = async { Handshake::with(server, server_info(server).await?).await }.await;
        in_flight
            .settle(matches!(&handshake, Err(Refusal::Failed(failure)) if failure.blame == Blame::Server));
        handshake
    }

    fn unavailable(&self, server: &Server) -> Refusal {
        server.failure(Seen::Connect.into(), Profile::J).into()
    }

    fn reference(&self) -> MutexGuard<'_, Option<Identity>> {
        self.reference.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who the servers are.
    pub(crate) fn identity(&self) -> Option<Identity> {
        self.reference().clone()
    }

    /// Takes a server into service if its vectors are those of the others.
    fn take_into_service(&self, server: &Arc<Server>, handshake: Handshake) -> Result<Arc<Session>, Refusal> {
        let mut reference = self.reference();
        let countable_limit = handshake.countable_limit();
        let identity = match reference.as_ref() {
            None => handshake.identity,
            Some(known) => match known.drift_to(&handshake.identity) {
                // The same numbers: the same variant, whatever name, digest or version it has now.
                Drift::None => known.clone(),
                Drift::Moved(_)
                    if self.config.upgrade == Upgrade::NewVariant && !self.pool.others_serve(server) =>
                {
                    add(&self.remote.new_variants, 1);
                    handshake.identity.in_space_of(known)
                }
                drift => {
                    add(&self.remote.refused_servers, 1);
                    server.forget();
                    return Err(Refusal::Unfit(self.moved(server, known, &handshake.identity, drift)));
                }
            },
        };
        let session = Arc::new(Session {
            facts: Arc::new(Facts {
                info: identity.model_info(countable_limit, self.config.dimensions),
                limit: handshake.limit,
                specials: handshake.specials,
                batches: handshake.dialect.traits.batches,
                refuses_long: handshake.dialect.traits.exact_length_check,
                counting: handshake.dialect.traits.counting,
                fits_alone: true,
            }),
            dialect: handshake.dialect,
            identity: identity.clone(),
        });
        *reference = Some(identity);
        server.endpoint.set_session(&session);
        Ok(session)
    }

    fn moved(&self, server: &Server, known: &Identity, is: &Identity, drift: Drift) -> Error {
        let (what, cosine) = match drift {
            Drift::Foreign(cosine) => {
                ("the server's vectors have nothing to do with the ones before: it is another model", cosine)
            }
            Drift::Moved(cosine) => (
                "the server's vectors have moved: embed anew, or set `upgrade` to take them as a new variant",
                cosine,
            ),
            Drift::None => ("the server is refused", 1.0),
        };
        let short = |digest: &str| digest.get(..16).unwrap_or(digest).to_owned();
        Error::new(ErrorKind::SpaceMismatch, what)
            .with_context("server", server.http().name())
            .with_context("lowest cosine", cosine)
            .with_context("was", format!("{} on {}", short(known.digest()), known.server_version()))
            .with_context("is", format!("{} on {}", short(is.digest()), is.server_version()))
    }

    async fn embed_at(&self, server: &Arc<Server>, sending: Sending<'_>) -> Result<Answered, Refusal> {
        let mut changes = 0;
        loop {
            let session = self.session(server).await?;
            let answered = self.embed_as(server, session, sending).await?;
            // The rows may have come over a new connection: then the server must still be who it was.
            if !server.endpoint.is_verified() {
                self.verify(server).await?;
            }
            let now = server.endpoint.session();
            if now.is_some_and(|now| Arc::ptr_eq(&now.facts, &answered.facts)) {
                return Ok(answered);
            }
            changes += 1;
            if changes > MOST_CHANGES {
                return Err(server.failure(Seen::Broken.into(), Profile::J).into());
            }
        }
    }

    async fn embed_as(
        &self,
        server: &Arc<Server>,
        session: Arc<Session>,
        sending: Sending<'_>,
    ) -> Result<Answered, Refusal> {
        let texts = sending.texts;
        let dialect = &session.dialect;
        server.warm(dialect).await?;
        let _permit = server.permit(dialect, self.weight(texts)).await;
        let dimension = Some(session.identity.dimension());
        if dialect.traits.batches || texts.len() == 1 {
            add(&self.remote.requests, 1);
            let reply = server.ask(dialect, sending, dimension).await?;
            return Ok(Answered { reply, facts: Arc::clone(&session.facts) });
        }
        // This server mixes rows up: one text in a request, one request at a time.
        let mut all = Reply { rows: Vec::with_capacity(texts.len()), tokens: None, shared: 0 };
        for text in texts {
            add(&self.remote.requests, 1);
            let reply = server.ask(dialect, Sending { texts: &[*text], ..sending }, dimension).await?;
            all.rows.extend(reply.rows);
        }
        Ok(Answered { reply: all, facts: Arc::clone(&session.facts) })
    }

    /// Asks a server that was reconnected to who it is, and ends the session if it is another one.
    async fn verify(&self, server: &Arc<Server>) -> Result<(), Refusal> {
        let _handshake = server.endpoint.handshake().await;
        if server.endpoint.is_verified() {
            return Ok(());
        }
        let info = server_info(server).await?;
        if !server.is_still(&info) {
            server.end_session();
        }
        Ok(())
    }

    /// The session of a server, found out anew after a reconnect: the same version and digest are the same
    /// server, anything else is proven by its vectors.
    async fn session(&self, server: &Arc<Server>) -> Result<Arc<Session>, Refusal> {
        if let Some(session) = server.endpoint.session() {
            return Ok(session);
        }
        let _handshake = server.endpoint.handshake().await;
        if let Some(session) = server.endpoint.session() {
            return Ok(session);
        }
        let info = server_info(server).await?;
        if let Some(former) = server.endpoint.last_session()
            && server.is_still(&info)
        {
            server.endpoint.set_session(&former);
            return Ok(former);
        }
        let handshake = Handshake::with(server, info).await?;
        self.take_into_service(server, handshake)
    }

    /// Half of the pool for a full batch: a server works through the texts of a model one by one, so two
    /// full batches keep it busy, and more only make the last one wait beyond its timeout.
    fn weight(&self, texts: &[&str]) -> usize {
        let bytes: usize = texts.iter().map(|text| text.len()).sum();
        let part = |is: usize, most: usize| is as f64 / most as f64;
        let full = part(bytes, self.config.max_batch_bytes)
            .max(part(texts.len() - 1, self.config.max_batch_rows))
            .min(1.0);
        (self.config.pool_size as f64 / 2.0 * full).ceil() as usize
    }

    /// Whether the servers answer. One that is left out is tried by a text each time that its pause is over, so that it
    /// is back without any caller; its answer is waited for, but not for long.
    pub(crate) async fn health(self: &Arc<Self>) -> Health {
        health(join_all(self.servers().iter().map(|server| self.health_of(server))).await)
    }

    async fn health_of(self: &Arc<Self>, server: &Arc<Server>) -> Result<(), Failure> {
        server.is_alive().await?;
        try_again(server, |server| {
            let fleet = Arc::clone(self);
            async move { fleet.embed_at(&server, Sending::of_client(&PROBES[..1])).await }
        })
        .await;
        if server.endpoint.is_ejected() {
            return Err(server.failure(Seen::LeftOut.into(), Profile::J));
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

    async fn embed(&self, sending: Sending<'_>, avoid: Option<usize>) -> Result<Answered, Attempt> {
        let (index, in_flight) = self.pool.pick(avoid).map_err(|server| {
            let none = || Error::new(ErrorKind::Internal, "there is no server to ask");
            let refusal = server.map_or_else(|| Refusal::Unfit(none()), |server| self.unavailable(server));
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
        // What wrong rows mean is the same in all profiles.
        failure(&Seen::Rows(fault), Profile::J, &self.config.model)
    }

    fn is_about_text(&self, error: &Error) -> bool {
        is_about_text(error)
    }
}
