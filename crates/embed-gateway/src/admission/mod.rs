//! Admission control: which requests get to the stack, which wait, and which are refused.

mod queue;

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use embed_core::{Error, ErrorKind, Retry};
use tokio::sync::oneshot;
use tokio::time::Instant;

use queue::Queue;

use crate::caller::Caller;
use crate::hooks::Observer;
use crate::limits::AdmissionConfig;

/// The window of the mean interval, in rounds of all permits being released. One round is too short, since calls that
/// began together end together.
const ROUNDS: usize = 2;
/// Safety factor for expected times, because other work on the machine (refusing requests too) or larger texts ahead may
/// take longer. Measured at ten times the capacity on two cores, calls took up to 1.5 times as long as expected.
const MARGIN: f64 = 1.6;
/// The longest `Retry-After`.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The context of a refusal that names its limit, and the possible values.
pub(crate) const LIMIT: &str = "limit";
pub(crate) const ADMISSION: [&str; 3] = ["queue", "deadline", "displaced"];

/// Admits pieces of requests to the stack, with limits on concurrency and queue, fair between callers.
#[derive(Debug)]
pub(crate) struct Admission {
    permits: usize,
    observer: Option<Arc<dyn Observer>>,
    state: Mutex<AdmissionState>,
}

#[derive(Debug)]
struct AdmissionState {
    queue: Queue<Caller, oneshot::Sender<Turn>>,
    pace: Pace,
    accepted: u64,
    refused: u64,
}

/// How fast permits are released while none is free: the throughput of the stack, whether it runs calls concurrently or
/// one after the other. The duration of calls wouldn't tell that: in a stack with a queue it grows with the number of
/// calls.
#[derive(Debug)]
struct Pace {
    /// Mean seconds between two released permits.
    interval: f64,
    /// The number of observations, up to the window of the mean.
    seen: usize,
    most: usize,
    /// When the last permit was released, or taken, if none has been free since.
    since: Option<Instant>,
}

/// The outcome of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Granted,
    Displaced,
}

/// A permit for one call of the stack, released on drop; [`done`](Self::done) marks the call as completed.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    /// Whether the call was completed, not cancelled.
    done: bool,
}

/// The statistics of the admission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) in_flight: usize,
    pub(crate) waiting: usize,
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
}

impl Admission {
    pub(crate) fn new(config: &AdmissionConfig, observer: Option<Arc<dyn Observer>>) -> Arc<Self> {
        let state = AdmissionState {
            queue: Queue::new(config.concurrency, config.queue),
            pace: Pace { interval: 0.0, seen: 0, most: ROUNDS * config.concurrency, since: None },
            accepted: 0,
            refused: 0,
        };
        Arc::new(Self { permits: config.concurrency, observer, state: Mutex::new(state) })
    }

    /// Admits a new request or refuses it: at once if the queue is full or it would miss its deadline, later if it is
    /// displaced by a caller with fewer waiting requests.
    ///
    /// Dropping the future leaves the queue.
    pub(crate) async fn enter(self: &Arc<Self>, caller: Caller, deadline: Instant) -> Result<Permit, Error> {
        let place = {
            let mut state = self.lock();
            if state.take() {
                state.accepted += 1;
                return Ok(self.permit());
            }
            let turn = state.queue.ahead(caller) + 1;
            let wait = state.pace.of(turn);
            // Its own call is done once another permit has been released for each call at the stack.
            if Instant::now() + state.pace.of(turn + self.permits).mul_f64(MARGIN) > deadline {
                state.refused += 1;
                return Err(overloaded("the request would wait past its deadline", wait)
                    .with_context(LIMIT, "deadline"));
            }
            let (wake, turn) = oneshot::channel();
            let Some(place) = state.queue.wait(caller, true, wake) else {
                state.refused += 1;
                let wait = state.pace.of(state.queue.waiting());
                return Err(overloaded("too many requests wait already", wait).with_context(LIMIT, "queue"));
            };
            if let Some(displaced) = place.displaced {
                state.refused += 1;
                let _ = displaced.send(Turn::Displaced);
            }
            Waiting::new(self, caller, place.ticket, turn)
        };
        let permit = place.wait(deadline).await?;
        self.lock().accepted += 1;
        Ok(permit)
    }

    /// The permit of a piece: the one with which the request was admitted, for its first piece, or a further one.
    pub(crate) async fn turn(
        self: &Arc<Self>,
        first: Option<Permit>,
        caller: Caller,
        deadline: Instant,
    ) -> Result<Permit, Error> {
        match first {
            Some(permit) => Ok(permit),
            None => self.resume(caller, deadline).await,
        }
    }

    /// Admits a further piece of an admitted request: it waits for its turn, but is never refused.
    pub(crate) async fn resume(self: &Arc<Self>, caller: Caller, deadline: Instant) -> Result<Permit, Error> {
        let place = {
            let mut state = self.lock();
            if state.take() {
                return Ok(self.permit());
            }
            let (wake, turn) = oneshot::channel();
            let ticket = state.queue.wait(caller, false, wake).map_or(0, |place| place.ticket);
            Waiting::new(self, caller, ticket, turn)
        };
        place.wait(deadline).await
    }

    pub(crate) fn traffic(&self) -> Traffic {
        let state = self.lock();
        Traffic {
            in_flight: self.permits - state.queue.free(),
            waiting: state.queue.waiting(),
            accepted: state.accepted,
            refused: state.refused,
        }
    }

    fn permit(self: &Arc<Self>) -> Permit {
        Permit { admission: Arc::clone(self), done: false }
    }

    fn lock(&self) -> MutexGuard<'_, AdmissionState> {
        // Nothing panics while the lock is held, so the state is consistent even if the lock is poisoned.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AdmissionState {
    /// Takes a permit if one is free.
    fn take(&mut self) -> bool {
        let taken = self.queue.take();
        if taken && self.queue.free() == 0 {
            self.pace.since = Some(Instant::now());
        }
        taken
    }

    /// Releases a permit. Cancelled calls don't count for the pace, or a stack that is too slow for its callers would seem
    /// fast.
    fn give_back(&mut self, done: bool) {
        if done {
            self.pace.came_back();
        }
        while let Some(wake) = self.queue.give_back() {
            // Sending fails only if the waiter is just being dropped, which removes itself under the same lock.
            if wake.send(Turn::Granted).is_ok() {
                return;
            }
        }
        self.pace.since = None;
    }
}

impl Pace {
    /// The expected time until this many permits have been released; zero while that is unknown.
    fn of(&self, permits: usize) -> Duration {
        Duration::from_secs_f64(self.interval * permits as f64)
    }

    fn came_back(&mut self) {
        let Some(since) = self.since else { return };
        let now = Instant::now();
        self.since = Some(now);
        self.seen = self.most.min(self.seen + 1);
        self.interval += ((now - since).as_secs_f64() - self.interval) / self.seen as f64;
    }
}

impl Permit {
    /// Releases the permit after a completed call.
    pub(crate) fn done(mut self) {
        self.done = true;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.lock().give_back(self.done);
    }
}

/// A place in the queue, left on drop.
struct Waiting<'a> {
    admission: &'a Arc<Admission>,
    caller: Caller,
    ticket: u64,
    turn: oneshot::Receiver<Turn>,
    _observed: Option<Box<dyn Any + Send>>,
}

impl<'a> Waiting<'a> {
    fn new(
        admission: &'a Arc<Admission>,
        caller: Caller,
        ticket: u64,
        turn: oneshot::Receiver<Turn>,
    ) -> Self {
        let observed = admission.observer.as_ref().map(|observer| observer.wait());
        Self { admission, caller, ticket, turn, _observed: observed }
    }

    async fn wait(mut self, deadline: Instant) -> Result<Permit, Error> {
        match tokio::time::timeout_at(deadline, &mut self.turn).await {
            Ok(Ok(Turn::Granted)) => Ok(self.admission.permit()),
            Ok(Ok(Turn::Displaced)) => {
                Err(Error::new(ErrorKind::RateLimited, "you have more requests waiting than others have")
                    .with_retry(Retry::Temporary { after: Some(Duration::from_secs(1)) })
                    .with_context(LIMIT, "displaced"))
            }
            Ok(Err(_)) => Err(Error::new(ErrorKind::Internal, "the queue lost a request")),
            Err(_) => Err(Error::new(ErrorKind::Timeout, "the deadline passed before the request's turn")
                .temporary()
                .with_context(LIMIT, "deadline")),
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        // A granted turn that wasn't taken goes to the next waiter.
        if !state.queue.leave(self.caller, self.ticket) && self.turn.try_recv() == Ok(Turn::Granted) {
            state.give_back(false);
        }
    }
}

fn overloaded(message: &str, wait: Duration) -> Error {
    let after = wait.clamp(Duration::from_secs(1), LONGEST_PAUSE);
    Error::new(ErrorKind::Overloaded, message).with_retry(Retry::Temporary { after: Some(after) })
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use futures::FutureExt;

    use super::*;

    fn caller(number: u16) -> Caller {
        Caller::Key(number)
    }

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(3600)
    }

    fn door(concurrency: usize, queue: usize) -> Arc<Admission> {
        Admission::new(&AdmissionConfig { concurrency, queue, ..AdmissionConfig::default() }, None)
    }

    #[tokio::test(start_paused = true)]
    async fn a_waiter_that_goes_away_leaves_nothing_behind() {
        let door = door(1, 8);
        let first = door.enter(caller(0), far()).await.unwrap();
        let mut second = Box::pin(door.enter(caller(1), far()));
        assert!(second.as_mut().now_or_never().is_none());
        let mut third = Box::pin(door.enter(caller(2), far()));
        assert!(third.as_mut().now_or_never().is_none());
        assert_eq!(door.traffic().waiting, 2);
        // The second one is granted its turn, and is dropped before it takes it.
        drop(first);
        drop(second);
        let permit = third.await.unwrap();
        assert_eq!((door.traffic().in_flight, door.traffic().waiting), (1, 0));
        drop(permit);
        assert_eq!(door.traffic().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_would_be_late_is_refused_at_once() {
        let door = door(1, 100);
        let permit = door.enter(caller(0), far()).await.unwrap();
        tokio::time::advance(Duration::from_secs(10)).await;
        permit.done();
        let _held = door.enter(caller(0), far()).await.unwrap();
        let soon = Instant::now() + Duration::from_secs(15);
        let error = door.enter(caller(1), soon).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Overloaded);
        assert_eq!(error.retry(), Retry::Temporary { after: Some(Duration::from_secs(10)) });
        assert_eq!(door.traffic().refused, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_pace_of_a_stack_with_a_queue_of_its_own_is_known() {
        // Four permits, and a stack that runs one call after the other, each in a second.
        let door = door(4, 100);
        let mut held: VecDeque<_> = VecDeque::new();
        for _ in 0..4 {
            held.push_back(door.enter(caller(0), far()).await.unwrap());
        }
        for _ in 0..8 {
            let mut next = Box::pin(door.enter(caller(0), far()));
            assert!(next.as_mut().now_or_never().is_none());
            tokio::time::advance(Duration::from_secs(1)).await;
            held.pop_front().unwrap().done();
            held.push_back(next.await.unwrap());
        }
        // The fifth in line is done after five seconds in the queue and four in the stack, with the margin 14.4 s.
        let enter = |seconds: f64| door.enter(caller(0), Instant::now() + Duration::from_secs_f64(seconds));
        let mut line: Vec<_> = (0..4).map(|_| Box::pin(enter(60.0))).collect();
        line.iter_mut().for_each(|waiter| assert!(waiter.as_mut().now_or_never().is_none()));
        let error = enter(14.3).await.unwrap_err();
        assert_eq!(error.retry(), Retry::Temporary { after: Some(Duration::from_secs(5)) });
        assert!(Box::pin(enter(14.5)).now_or_never().is_none(), "it waits");
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_in_the_queue_is_a_timeout() {
        let door = door(1, 8);
        let _held = door.enter(caller(0), far()).await.unwrap();
        let error = door.enter(caller(1), Instant::now() + Duration::from_secs(2)).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Timeout);
        assert_eq!(door.traffic().waiting, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_displaced_and_a_running_request_goes_on() {
        let door = door(1, 2);
        let held = door.enter(caller(0), far()).await.unwrap();
        let mut piece = Box::pin(door.resume(caller(0), far()));
        assert!(piece.as_mut().now_or_never().is_none());
        let mut flood: Vec<_> = (0..2).map(|_| Box::pin(door.enter(caller(0), far()))).collect();
        for waiter in &mut flood {
            assert!(waiter.as_mut().now_or_never().is_none());
        }
        let mut other = Box::pin(door.enter(caller(1), far()));
        assert!(other.as_mut().now_or_never().is_none());
        assert_eq!(flood.pop().unwrap().await.unwrap_err().kind(), ErrorKind::RateLimited);
        drop(held);
        drop(piece.await.unwrap());
        drop(other.await.unwrap());
        drop(flood.pop().unwrap().await.unwrap());
        assert_eq!(door.traffic(), Traffic { in_flight: 0, waiting: 0, accepted: 3, refused: 1 });
    }
}
