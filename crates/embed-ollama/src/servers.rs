//! Several servers behind one client: the one with the least to do is asked, one that fails is left out
//! until it is back, and one whose vectors are others is refused.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use embed_core::{Error, ErrorKind, Health};
use futures::future::join_all;
use tokio::time::Instant;

use crate::batch::Reply;
use crate::config::{OllamaConfig, Upgrade};
use crate::failure::{Failure, Seen};
use crate::handshake::{Handshake, Refusal, server_info};
use crate::identity::{Drift, Identity, PROBES};
use crate::profile::Profile;
use crate::stats::{Counters, add};
use crate::transport::http::Http;
use crate::transport::server::{InFlight, Sending, Server, Session};

#[derive(Debug)]
pub(crate) struct Fleet {
    pub(crate) servers: Vec<Arc<Server>>,
    pub(crate) config: Arc<OllamaConfig>,
    pub(crate) stats: Arc<Counters>,
    /// Who the servers must be: the first that answered, or the identity that was expected.
    reference: Mutex<Option<Identity>>,
    /// Where the next search begins, so that equal servers take turns.
    turn: AtomicUsize,
}

/// A request that failed at a server, which the next try may leave out.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) refusal: Refusal,
    pub(crate) server: Option<usize>,
}

/// An answer and the session that it was given in.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) reply: Reply,
    pub(crate) session: Arc<Session>,
}

/// How long who asks for the health waits for a trial.
const TRIAL_PATIENCE: Duration = Duration::from_secs(1);

/// How often a server may become another one within one request.
const MOST_CHANGES: usize = 3;

impl Fleet {
    /// The handshake with every server. One is enough to begin; one that has other vectors than the first is an error.
    pub(crate) async fn connect(config: OllamaConfig) -> Result<(Self, Arc<Session>), Error> {
        let checked = config.check()?;
        let (config, stats) = (Arc::new(config), Arc::new(Counters::default()));
        let mut servers = Vec::with_capacity(checked.servers.len());
        for url in &checked.servers {
            let http = Http::new(url, &config, &checked)?;
            servers.push(Arc::new(Server::new(http, Arc::clone(&config), Arc::clone(&stats))));
        }
        let fleet = Self {
            reference: Mutex::new(config.expected.clone()),
            turn: AtomicUsize::new(0),
            servers,
            config,
            stats,
        };
        let handshakes = join_all(fleet.servers.iter().map(|server| fleet.first_handshake(server))).await;
        let (mut first, mut failure) = (None, None);
        for (server, handshake) in fleet.servers.iter().zip(handshakes) {
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

    async fn handshake(&self, server: &Arc<Server>) -> Result<Handshake, Refusal> {
        let in_flight = server.begin().ok_or_else(|| self.unavailable(server))?;
        let handshake = async { Handshake::with(server, server_info(server).await?).await }.await;
        match &handshake {
            Err(Refusal::Failed(failure)) => in_flight.settle::<()>(&Err(failure.clone())),
            _ => in_flight.settle(&Ok(())),
        }
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
                    if self.config.upgrade == Upgrade::NewVariant && !self.others_serve(server) =>
                {
                    add(&self.stats.new_variants, 1);
                    handshake.identity.in_space_of(known)
                }
                drift => {
                    add(&self.stats.refused_servers, 1);
                    server.forget();
                    return Err(Refusal::Unfit(self.moved(server, known, &handshake.identity, drift)));
                }
            },
        };
        let session = Arc::new(Session {
            info: identity.model_info(countable_limit, self.config.dimensions),
            limit: handshake.limit,
            specials: handshake.specials,
            dialect: handshake.dialect,
            identity: identity.clone(),
        });
        *reference = Some(identity);
        server.set_session(&session);
        Ok(session)
    }

    fn others_serve(&self, server: &Arc<Server>) -> bool {
        self.servers.iter().any(|other| !Arc::ptr_eq(other, server) && other.session().is_some())
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
            .with_context("server", server.http.name())
            .with_context("lowest cosine", cosine)
            .with_context("was", format!("{} on {}", short(known.digest()), known.server_version()))
            .with_context("is", format!("{} on {}", short(is.digest()), is.server_version()))
    }

    /// Sends texts to the server with the least to do.
    pub(crate) async fn embed(
        &self,
        sending: Sending<'_>,
        avoid: Option<usize>,
    ) -> Result<Answered, Attempt> {
        let (index, in_flight) = self.pick(avoid).map_err(|refusal| Attempt { refusal, server: None })?;
        let result = self.embed_at(&in_flight.server, sending).await;
        self.settle(in_flight, &result);
        result.map_err(|refusal| Attempt { refusal, server: Some(index) })
    }

    /// Tells a server's breaker how a request went.
    fn settle(&self, in_flight: InFlight, result: &Result<Answered, Refusal>) {
        match result {
            Err(Refusal::Failed(failure)) => in_flight.settle::<()>(&Err(failure.clone())),
            Ok(_) => in_flight.settle(&Ok(())),
            // A server that is refused for its vectors is no better a second later.
            Err(Refusal::Unfit(_)) => {
                let failure = in_flight.server.failure(Seen::Connect.into(), Profile::J);
                in_flight.settle::<()>(&Err(failure));
            }
        }
    }

    async fn embed_at(&self, server: &Arc<Server>, sending: Sending<'_>) -> Result<Answered, Refusal> {
        let mut changes = 0;
        loop {
            let session = self.session(server).await?;
            let answered = self.embed_as(server, session, sending).await?;
            // The rows may have come over a new connection: then the server must still be who it was.
            if !server.is_verified() {
                self.verify(server).await?;
            }
            let now = server.session();
            if now.is_some_and(|now| Arc::ptr_eq(&now, &answered.session)) {
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
            add(&self.stats.requests, 1);
            let reply = server.ask(dialect, sending, dimension).await?;
            return Ok(Answered { reply, session });
        }
        // This server mixes rows up: one text in a request, one request at a time.
        let mut all = Reply { rows: Vec::with_capacity(texts.len()), tokens: None, shared: 0 };
        for text in texts {
            add(&self.stats.requests, 1);
            let reply = server.ask(dialect, Sending { texts: &[*text], ..sending }, dimension).await?;
            all.rows.extend(reply.rows);
        }
        Ok(Answered { reply: all, session })
    }

    /// Asks a server that was reconnected to who it is, and ends the session if it is another one.
    async fn verify(&self, server: &Arc<Server>) -> Result<(), Refusal> {
        let _handshake = server.handshake.lock().await;
        if server.is_verified() {
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
        if let Some(session) = server.session() {
            return Ok(session);
        }
        let _handshake = server.handshake.lock().await;
        if let Some(session) = server.session() {
            return Ok(session);
        }
        let info = server_info(server).await?;
        if let Some(former) = server.former()
            && server.is_still(&info)
        {
            server.set_session(&former);
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

    fn pick(&self, avoid: Option<usize>) -> Result<(usize, InFlight), Refusal> {
        let count = self.servers.len();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let mut order: Vec<usize> = (0..count).map(|step| (turn + step) % count).collect();
        // The sort is stable, so equal servers take turns.
        order.sort_by_key(|&index| {
            let server = &self.servers[index];
            (avoid == Some(index), server.is_ejected(), server.outstanding())
        });
        // A server that is due for a trial gets one call, even while others serve: else it never returns.
        if let Some(due) = order.iter().position(|&index| {
            let server = &self.servers[index];
            server.is_ejected() && server.lets_through() && avoid != Some(index)
        }) {
            let due = order.remove(due);
            order.insert(0, due);
        }
        for index in order {
            if let Some(in_flight) = self.servers[index].begin() {
                return Ok((index, in_flight));
            }
        }
        Err(self.unavailable(&self.servers[turn]))
    }

    /// Whether another server than this one could be asked now.
    pub(crate) fn has_other(&self, avoid: usize) -> bool {
        self.servers.iter().enumerate().any(|(index, server)| index != avoid && server.lets_through())
    }

    /// How long until a server may be asked again, if none may be now.
    pub(crate) fn until_any(&self) -> Duration {
        if self.servers.iter().any(|server| server.lets_through()) {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let next = self.servers.iter().filter_map(|server| server.next_trial()).min();
        next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    /// A session of any server, for planning.
    pub(crate) fn any_session(&self) -> Option<Arc<Session>> {
        let current = self.servers.iter().find_map(|server| server.session());
        current.or_else(|| self.servers.iter().find_map(|server| server.former()))
    }

    /// Whether the servers answer. One that is left out is tried by a text each time that its pause is over, so that it
    /// is back without any caller; its answer is waited for, but not for long.
    pub(crate) async fn health(self: &Arc<Self>) -> Health {
        let answers = join_all(self.servers.iter().map(|server| self.health_of(server))).await;
        let all = answers.len();
        let mut failures: Vec<_> = answers.into_iter().filter_map(Result::err).collect();
        match (failures.len(), failures.pop()) {
            (failed, Some(failure)) if failed == all => Health::unavailable(failure.error),
            (failed, Some(failure)) => {
                Health::degraded(failure.error.with_context("servers gone", failed).with_context("of", all))
            }
            (_, None) => Health::ready(),
        }
    }

    async fn health_of(self: &Arc<Self>, server: &Arc<Server>) -> Result<(), Failure> {
        server.is_alive().await?;
        if server.is_ejected()
            && let Some(in_flight) = server.begin()
        {
            let fleet = Arc::clone(self);
            // A task of its own: it may take longer than anybody waits, and then begin again and again.
            let trial = tokio::spawn(async move {
                let answered = fleet.embed_at(&in_flight.server, Sending::of_client(&PROBES[..1])).await;
                fleet.settle(in_flight, &answered);
            });
            let _ = tokio::time::timeout(TRIAL_PATIENCE, trial).await;
        }
        if server.is_ejected() {
            return Err(server.failure(Seen::LeftOut.into(), Profile::J));
        }
        Ok(())
    }
}
