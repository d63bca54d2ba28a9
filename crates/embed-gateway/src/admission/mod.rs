//! Who is let to the stack, who waits, and who is told to come back later.

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

/// How many times all permits have come back until an observation of how fast they do so has lost most of its weight:
/// one round is too short, since calls that began together end together.
const ROUNDS: usize = 2;
/// What is expected to take this long may take longer: other work on the machine, which refusing is too, or larger
/// texts before it. Measured at ten times the capacity on two cores, calls took up to 1.5 times as long as expected.
const MARGIN: f64 = 1.6;
/// `Retry-After` is in whole seconds, and nobody should stay away for longer than this.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// The fact of a refusal that says which limit it met, and what it can say.
pub(crate) const LIMIT: &str = "limit";
pub(crate) const ADMISSION: [&str; 3] = ["queue", "deadline", "displaced"];

/// The way to the stack: so many pieces of requests at once, so many requests waiting, fair between callers.
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

/// How fast permits come back while none is free: what the stack can do at most, whether its calls go side by side or
/// one after the other. How long a call takes would not tell that: a stack with a queue of its own takes the longer,
/// the more calls it has.
#[derive(Debug)]
struct Pace {
    /// Mean seconds from one permit that comes back to the next.
    interval: f64,
    /// Observations, up to those that the mean is made of.
    seen: usize,
    most: usize,
    /// When the last one came back, or was taken, if none has been free since.
    since: Option<Instant>,
}

/// What a waiter is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Granted,
    Displaced,
}

/// The right to one call of the stack, given back on drop; [`done`](Self::done) says that it wasn't given up.
#[derive(Debug)]
pub(crate) struct Permit {
    admission: Arc<Admission>,
    /// The call came to its end; it wasn't given up.
    done: bool,
}

/// What the admission has seen.
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

    /// Lets a new request in, or refuses it: at once if the queue is full or if its turn would come after its
    /// deadline, later if it is displaced by a caller who has fewer waiting.
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
            // Its own call is done when as many more have come back as are at the stack.
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

    /// The permit of a piece: the one that the request was let in with, which is the first piece's, or a further one.
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

    /// Lets a further piece of a request in that was let in before: it waits its turn, but is never refused.
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
        // Nothing in here panics half-way, so a poisoned lock holds a whole state.
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

    /// Calls that were given up come back at once and say nothing of the pace. If they counted, a stack that is too
    /// slow for its callers would seem to be fast.
    fn give_back(&mut self, done: bool) {
        if done {
            self.pace.came_back();
        }
        while let Some(wake) = self.queue.give_back() {
            // A waiter that is gone takes itself out under the same lock, so this is its last moment.
            if wake.send(Turn::Granted).is_ok() {
                return;
            }
        }
        self.pace.since = None;
    }
}

impl Pace {
    /// How long it takes until so many permits have come back; nothing as long as that isn't known.
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
    /// Gives it back after a call that came to its end.
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
            Err(_) => {
                Err(Error::new(ErrorKind::Timeout, "the deadline was over before the request's turn came")
                    .temporary()
                    .with_context(LIMIT, "deadline"))
            }
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.admission.lock();
        // A turn that was granted and never taken goes to the next one.
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
        // The second one's turn comes, and it goes away before it takes it.
        drop(first);
        drop(second);
        let permit = third.await.unwrap();
        assert_eq!((door.traffic().in_flight, door.traffic().waiting), (1, 0));
        drop(permit);
        assert_eq!(door.traffic().in_flight, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_would_come_too_late_is_refused_at_once() {
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
        // Four permits, and a stack that does one call after the other, each in a second.
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
        // The fifth in line is done after five seconds at the door and four at the stack, with the margin 14.4 s.
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
