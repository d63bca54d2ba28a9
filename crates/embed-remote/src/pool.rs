//! Several servers behind one client: the one with the least to do is asked, and one that fails is left out until it is
//! back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use embed_core::{Health, Pass};
use tokio::time::{Instant, timeout};

use crate::endpoint::Member;
use crate::failure::{Blame, Failure, Refusal};

/// How long who asks for the health waits for a trial.
const TRIAL_PATIENCE: Duration = Duration::from_secs(1);

/// The servers, in the order of the settings.
#[derive(Debug)]
pub struct Pool<T> {
    servers: Vec<Arc<T>>,
    /// Where the next search begins, so that equal servers take turns.
    turn: AtomicUsize,
}

/// A call that a server works on: counted as long as this lives, and known to the breaker however it ends.
#[derive(Debug)]
pub struct InFlight<T: Member> {
    server: Arc<T>,
    pass: Pass,
    settled: bool,
}

impl<T: Member> Pool<T> {
    /// A pool of these servers.
    #[must_use]
    pub fn new(servers: Vec<Arc<T>>) -> Self {
        Self { servers, turn: AtomicUsize::new(0) }
    }

    /// All of them.
    #[must_use]
    pub fn servers(&self) -> &[Arc<T>] {
        &self.servers
    }

    /// Begins a call at the server with the least to do; if none may be asked, the one whose turn it is.
    ///
    /// # Errors
    ///
    /// A server to blame, if all are left out. `None` of an empty pool.
    pub fn pick(&self, avoid: Option<usize>) -> Result<(usize, InFlight<T>), Option<&Arc<T>>> {
        let count = self.servers.len();
        if count == 0 {
            return Err(None);
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % count;
        let mut order: Vec<usize> = (0..count).map(|step| (turn + step) % count).collect();
        // The sort is stable, so equal servers take turns.
        order.sort_by_key(|&index| {
            let server = &self.servers[index];
            let endpoint = server.endpoint();
            (avoid == Some(index), endpoint.is_ejected(), server.is_throttled(), endpoint.outstanding())
        });
        // A server that is due for a trial gets one call, even while others serve: else it never returns.
        if let Some(due) = order.iter().position(|&index| {
            let endpoint = self.servers[index].endpoint();
            endpoint.is_ejected() && endpoint.lets_through() && avoid != Some(index)
        }) {
            let due = order.remove(due);
            order.insert(0, due);
        }
        for index in order {
            if let Some(in_flight) = InFlight::begin(&self.servers[index]) {
                return Ok((index, in_flight));
            }
        }
        Err(Some(&self.servers[turn]))
    }

    /// Whether another server than this one could be asked now.
    #[must_use]
    pub fn has_other(&self, avoid: usize) -> bool {
        let mut others = self.servers.iter().enumerate().filter(|(index, _)| *index != avoid);
        others.any(|(_, server)| server.endpoint().lets_through())
    }

    /// How long until a server may be asked again, if none may be now.
    #[must_use]
    pub fn until_any(&self) -> Duration {
        if self.servers.iter().any(|server| server.endpoint().lets_through()) {
            return Duration::ZERO;
        }
        let now = Instant::now();
        let next = self.servers.iter().filter_map(|server| server.endpoint().next_trial()).min();
        next.map_or(Duration::ZERO, |next| next.saturating_duration_since(now))
    }

    /// The session of any server, for planning.
    #[must_use]
    pub fn any_session(&self) -> Option<Arc<T::Session>> {
        let current = self.servers.iter().find_map(|server| server.endpoint().session());
        current.or_else(|| self.servers.iter().find_map(|server| server.endpoint().last_session()))
    }

    /// Whether another server than this one has a session.
    #[must_use]
    pub fn others_serve(&self, server: &Arc<T>) -> bool {
        let mut others = self.servers.iter().filter(|other| !Arc::ptr_eq(other, server));
        others.any(|other| other.endpoint().session().is_some())
    }
}

/// Tries a server that is left out by `call`, each time that its pause is over, so that it is back without any caller. The
/// answer is waited for, but not for long: the call is a task of its own, since it may take longer than anybody waits, and would
/// then begin again and again.
pub async fn try_again<T, A, F>(server: &Arc<T>, call: impl FnOnce(Arc<T>) -> F)
where
    T: Member + 'static,
    A: Send,
    F: Future<Output = Result<A, Refusal>> + Send + 'static,
{
    if server.endpoint().is_ejected()
        && let Some(in_flight) = InFlight::begin(server)
    {
        let call = call(Arc::clone(server));
        let trial = tokio::spawn(async move {
            let answered = call.await;
            in_flight.settle_by(&answered);
        });
        let _ = timeout(TRIAL_PATIENCE, trial).await;
    }
}

/// The health of servers behind one client, from that of each.
pub fn health(answers: impl IntoIterator<Item = Result<(), Failure>>) -> Health {
    let answers: Vec<_> = answers.into_iter().collect();
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

impl<T: Member> InFlight<T> {
    /// Begins a call at this server, if its breaker lets it through.
    #[must_use]
    pub fn begin(server: &Arc<T>) -> Option<Self> {
        let pass = server.endpoint().begin()?;
        Some(Self { server: Arc::clone(server), pass, settled: false })
    }

    /// The server.
    #[must_use]
    pub fn server(&self) -> &Arc<T> {
        &self.server
    }

    /// Tells the breaker how a request went.
    pub fn settle_by<A>(self, result: &Result<A, Refusal>) {
        self.settle(match result {
            Err(Refusal::Failed(failure)) => failure.blame == Blame::Server,
            Ok(_) => false,
            // A server that is refused for its vectors is no better a second later.
            Err(Refusal::Unfit(_)) => true,
        });
    }

    /// Tells the breaker how it went: whether the server is to blame for a failure.
    pub fn settle(mut self, servers_fault: bool) {
        self.settled = true;
        if servers_fault {
            self.server.on_failure();
            self.server.endpoint().failed(self.pass);
        } else {
            self.server.endpoint().succeeded(self.pass);
        }
    }
}

impl<T: Member> Drop for InFlight<T> {
    fn drop(&mut self) {
        self.server.endpoint().end();
        if !self.settled {
            self.server.endpoint().abandoned(self.pass);
        }
    }
}
