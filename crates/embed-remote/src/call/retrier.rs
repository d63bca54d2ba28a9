//! Requests of a call, each tried again as often as its failure allows.

use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use embed_core::{Deadline, EmbedOptions};
use tokio::time::{Instant, sleep};

use crate::backend::{Answered, Backend, Patience, Sending};
use crate::failure::{Again, Blame, Failure, Pause, Reason, Refusal};
use crate::settings::CallSettings;
use crate::stats::add;

/// What sends the requests of a call.
#[derive(Debug)]
pub(super) struct Retrier<'a, B> {
    backend: &'a B,
    options: &'a EmbedOptions,
    deadline: Deadline,
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

impl<'a, B: Backend> Retrier<'a, B> {
    pub(super) fn new(backend: &'a B, options: &'a EmbedOptions, deadline: Deadline) -> Self {
        Self { backend, options, deadline, outage: Mutex::default() }
    }

    pub(super) fn backend(&self) -> &'a B {
        self.backend
    }

    fn outage(&self) -> MutexGuard<'_, Option<Failure>> {
        self.outage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settings(&self) -> &'a CallSettings {
        self.backend.settings()
    }

    /// Sends one request, and again as often as the failure's rule and the settings allow.
    pub(super) async fn request(&self, texts: &[&str], suspicion: Suspicion) -> Result<Answered, Refusal> {
        let mut pauses = self.settings().pauses();
        let (mut retries, mut avoid, mut patience) = (0, None, Patience::Usual);
        let (mut outage_began, mut throttled_since) = (None, None);
        let outage = self.outage().clone();
        if let Some(failure) = outage
            && !self.backend.until_any().is_zero()
        {
            return Err(Refusal::Failed(failure));
        }
        loop {
            let attempt = match self
                .backend
                .embed(
                    Sending { texts, role: Some(self.options.role()), patience, trace: self.options.trace() },
                    avoid,
                )
                .await
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
                    Some(server) if self.backend.has_other(server) && retries < self.backend.servers() => {
                        (retries, avoid) = (retries + 1, Some(server));
                        continue;
                    }
                    _ => return Err(Refusal::Unfit(error)),
                },
            };
            if failure.again == Again::Throttled {
                let since = *throttled_since.get_or_insert_with(Instant::now);
                if self.is_worth_waiting(&failure, since) {
                    // The back end itself waits before it asks this server again, or asks another one.
                    add(&self.backend.stats().retries_busy, 1);
                    continue;
                }
                return Err(Refusal::Failed(failure));
            }
            let mut allowed = failure.retries(self.settings().tries) as usize;
            if failure.blame == Blame::Text {
                // Cutting it in two tells more than trying it whole again.
                allowed = match (texts.len(), suspicion) {
                    (1, Suspicion::None) => allowed,
                    (1, _) | (_, Suspicion::None) => allowed.min(1),
                    _ => 0,
                };
            }
            let asked_too_much = failure.after.is_some_and(|after| after > self.settings().longest_asked);
            let from_server = failure.blame == Blame::Server;
            // Whoever waits for a server that may never come back gives up in time to say so.
            let left = (from_server && failure.pause == Pause::BackOff).then(|| {
                let began = *outage_began.get_or_insert_with(Instant::now);
                self.settings().longest_outage.saturating_sub(began.elapsed())
            });
            let is_over = |left: Duration| left.is_zero() || failure.after.is_some_and(|after| after > left);
            let gone = from_server
                && (self.outage().is_some()
                    || self.backend.until_any() > left.unwrap_or(self.settings().longest_pause)
                    || left.is_some_and(is_over));
            if retries >= allowed || asked_too_much || gone {
                if from_server {
                    *self.outage() = Some(failure.clone());
                }
                return Err(Refusal::Failed(failure));
            }
            add(self.reason(&failure), 1);
            let other = attempt.server.filter(|_| failure.blame == Blame::Server);
            let pause = pauses.next().unwrap_or(self.settings().longest_pause);
            // Another server needs no pause.
            if !other.is_some_and(|server| self.backend.has_other(server)) {
                let pause = self.pause(&failure, pause);
                sleep(left.map_or(pause, |left| pause.min(left))).await;
            }
            if failure.reason == Reason::Silence {
                patience = Patience::More;
            }
            avoid = other.or(avoid);
            retries += 1;
        }
    }

    /// Whether a server that throttles may be asked again in time.
    fn is_worth_waiting(&self, failure: &Failure, since: Instant) -> bool {
        let after = failure.after.unwrap_or_default();
        let in_time = match self.deadline.instant() {
            Some(deadline) => Instant::now() + after < Instant::from_std(deadline),
            None => since.elapsed() + after < self.settings().longest_throttled,
        };
        in_time && after <= self.settings().longest_asked
    }

    fn pause(&self, failure: &Failure, pause: Duration) -> Duration {
        let pause = match failure.pause {
            Pause::BackOff => pause,
            Pause::Long => pause * 5,
            Pause::Short => pause / 2,
        };
        pause.max(failure.after.unwrap_or_default()).max(self.backend.until_any())
    }

    fn reason(&self, failure: &Failure) -> &AtomicU64 {
        let stats = self.backend.stats();
        match failure.reason {
            Reason::Crash => &stats.retries_crash,
            Reason::Rows => &stats.retries_rows,
            Reason::Busy => &stats.retries_busy,
            Reason::Connection | Reason::Silence => &stats.retries_connection,
            Reason::Other => &stats.retries_other,
        }
    }
}
