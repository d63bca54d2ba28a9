//! Requests of a call, each tried again as often as its failure allows.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backon::BackoffBuilder;
use embed_core::{ErrorKind, TraceContext};
use tokio::time::{Instant, sleep};

use crate::config::OllamaConfig;
use crate::failure::{Blame, Failure, Pause};
use crate::handshake::Refusal;
use crate::servers::{Answered, Fleet};
use crate::stats::add;
use crate::transport::server::Sending;
use crate::transport::wait::Patience;

/// What sends the requests of a call.
pub(super) struct Retrier<'a> {
    fleet: &'a Fleet,
    trace: &'a TraceContext,
    /// The failure of a request whose tries found no server. While it stands, others get one try each, and
    /// none if no server may be asked: a call of many requests must not wait for each of them in turn.
    outage: Mutex<Option<Failure>>,
}

/// Whether a piece holds a text that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Suspicion {
    /// Nothing is known: tries again are worth it.
    None,
    /// It is a part of a piece that failed.
    Partial,
    /// And the other part didn't: the text at fault is in here.
    Sure,
}

impl<'a> Retrier<'a> {
    pub(super) fn new(fleet: &'a Fleet, trace: &'a TraceContext) -> Self {
        Self { fleet, trace, outage: Mutex::default() }
    }

    pub(super) fn fleet(&self) -> &'a Fleet {
        self.fleet
    }

    fn outage(&self) -> MutexGuard<'_, Option<Failure>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn config(&self) -> &'a OllamaConfig {
        &self.fleet.config
    }

    /// Sends one request, and again as often as the failure's rule and the settings allow.
    pub(super) async fn request(&self, texts: &[&str], suspicion: Suspicion) -> Result<Answered, Refusal> {
        let mut pauses = self.pauses();
        let (mut retries, mut avoid, mut patience) = (0, None, Patience::Usual);
        let mut outage_began = None;
        let outage = self.outage().clone();
        if let Some(failure) = outage
            && !self.fleet.until_any().is_zero()
        {
            return Err(Refusal::Failed(failure));
        }
        loop {
            let attempt = match self.fleet.embed(Sending { texts, patience, trace: self.trace }, avoid).await
            {
                Ok(answered) => {
                    *self.outage() = None;
                    return Ok(answered);
                }
                Err(attempt) => attempt,
            };
            let failure = match attempt.refusal {
                Refusal::Failed(failure) => failure,
                // A server of other vectors: another one may do, this one won't.
                Refusal::Unfit(error) => match attempt.server {
                    Some(server) if self.fleet.has_other(server) && retries < self.fleet.servers.len() => {
                        (retries, avoid) = (retries + 1, Some(server));
                        continue;
                    }
                    _ => return Err(Refusal::Unfit(error)),
                },
            };
            let mut allowed = failure.retries(self.config().tries) as usize;
            if failure.rule.blame == Blame::Text {
                // Cutting it in two tells more than trying it whole again.
                allowed = match (texts.len(), suspicion) {
                    (1, Suspicion::None) => allowed,
                    (1, _) | (_, Suspicion::None) => allowed.min(1),
                    _ => 0,
                };
            }
            let asked_too_much = failure.after.is_some_and(|after| after > self.config().longest_asked);
            let from_server = failure.rule.blame == Blame::Server;
            // Whoever waits for a server that may never come back gives up in time to say so.
            let left = (from_server && failure.rule.pause == Pause::BackOff).then(|| {
                let began = *outage_began.get_or_insert_with(Instant::now);
                self.config().longest_outage.saturating_sub(began.elapsed())
            });
            let is_over = |left: Duration| left.is_zero() || failure.after.is_some_and(|after| after > left);
            let gone = from_server
                && (self.outage().is_some()
                    || self.fleet.until_any() > left.unwrap_or(self.config().longest_pause)
                    || left.is_some_and(is_over));
            if retries >= allowed || asked_too_much || gone {
                if from_server {
                    *self.outage() = Some(failure.clone());
                }
                return Err(Refusal::Failed(failure));
            }
            add(self.reason(&failure), 1);
            let other = attempt.server.filter(|_| failure.rule.blame == Blame::Server);
            let pause = pauses.next().unwrap_or(self.config().longest_pause);
            // Another server needs no pause.
            if !other.is_some_and(|server| self.fleet.has_other(server)) {
                let pause = self.pause(&failure, pause);
                sleep(left.map_or(pause, |left| pause.min(left))).await;
            }
            if failure.rule.name == "silence" {
                patience = Patience::More;
            }
            avoid = other.or(avoid);
            retries += 1;
        }
    }

    fn pause(&self, failure: &Failure, pause: Duration) -> Duration {
        let pause = match failure.rule.pause {
            Pause::BackOff => pause,
            Pause::Long => pause * 5,
            Pause::Short => pause / 2,
        };
        pause.max(failure.after.unwrap_or_default()).max(self.fleet.until_any())
    }

    /// From the first pause, each twice as long, with up to as much again by chance, so that clients which
    /// failed together don't come back together.
    pub(super) fn pauses(&self) -> impl Iterator<Item = Duration> + Send + use<> {
        let longest = self.config().longest_pause;
        backon::ExponentialBuilder::new()
            .with_min_delay(self.config().first_pause)
            .with_max_delay(longest)
            .with_factor(2.0)
            .with_max_times(self.config().tries as usize)
            .with_jitter()
            .build()
            .map(move |pause| pause.min(longest))
    }

    fn reason(&self, failure: &Failure) -> &AtomicU64 {
        let stats = &self.fleet.stats;
        match (failure.rule.name, failure.rule.kind) {
            ("crash-400" | "crash-500" | "crash-hidden", _) => &stats.retries_crash,
            ("rows" | "row-width", _) => &stats.retries_rows,
            (_, ErrorKind::Overloaded | ErrorKind::RateLimited) => &stats.retries_busy,
            ("refused" | "no-address" | "tls" | "broken" | "silence", _) => &stats.retries_connection,
            _ => &stats.retries_other,
        }
    }
}
