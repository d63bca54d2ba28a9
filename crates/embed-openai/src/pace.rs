//! The pace at which a server is asked: below the limits that it tells, and not at all while it asks to be left alone.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use reqwest::header::HeaderMap;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::limits::{Said, said};

/// What one server's requests wait for.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    state: Mutex<State>,
    /// Held by the request that waits; the others stand behind it, so that a large one has its turn.
    turn: tokio::sync::Mutex<()>,
    /// A request ended, and what was set aside for it is free.
    ended: Notify,
}

#[derive(Debug)]
struct State {
    requests: Option<Bucket>,
    tokens: Option<Bucket>,
    /// Until when the server asked to be left alone.
    blocked: Option<Instant>,
    /// When that was said.
    struck: Option<Instant>,
    /// Refusals in a row.
    strikes: u32,
    /// Requests on their way.
    in_flight: usize,
    /// How many there may be: fewer after a refusal that says nothing of limits, for a server may only take so many at a
    /// time, and slowly more with each answer.
    most: f64,
    /// The limits come back all at once, and not bit by bit: seen by a refusal before.
    windowed: bool,
    /// Tokens in a byte, as the answers so far have it.
    density: f64,
}

/// One limit: what was left when the server said so, and what requests have set aside since.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    limit: Option<f64>,
    at: Instant,
    reset: Duration,
    reserved: f64,
}

/// What is set aside for a request that is on its way.
#[derive(Debug)]
pub(crate) struct Reserved<'a> {
    pacer: &'a Pacer,
    tokens: f64,
    began: Instant,
}

/// How long to wait after a refusal that says nothing of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackOff {
    pub(crate) first: Duration,
    pub(crate) longest: Duration,
}

/// A token has about four bytes in English and fewer elsewhere.
const DENSITY: f64 = 1.0 / 3.0;
/// What is set aside is more than what is expected, since texts differ.
const MARGIN: f64 = 1.1;
/// By how much there may be more requests at a time after as many answers: slowly, since each step too far is a refusal.
const GROWTH: f64 = 0.25;
/// The shortest pause of any kind.
const SHORTEST: Duration = Duration::from_millis(20);
/// Between two looks while other requests are on their way.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Default for State {
    fn default() -> Self {
        Self {
            requests: None,
            tokens: None,
            blocked: None,
            struck: None,
            strikes: 0,
            in_flight: 0,
            most: f64::INFINITY,
            windowed: false,
            density: DENSITY,
        }
    }
}

impl Pacer {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request of so many bytes may be sent; whether it had to.
    ///
    /// # Errors
    ///
    /// How long it would take, if that is longer than `longest`.
    pub(crate) async fn pass(
        &self,
        bytes: usize,
        longest: Duration,
    ) -> Result<(Reserved<'_>, bool), Duration> {
        let _turn = self.turn.lock().await;
        let mut waited = false;
        loop {
            let now = Instant::now();
            let until = {
                let mut state = self.state();
                let tokens = state.estimate(bytes);
                match state.reserve(tokens, now) {
                    Ok(()) => return Ok((Reserved { pacer: self, tokens, began: now }, waited)),
                    Err(until) => until.max(now + SHORTEST),
                }
            };
            if until - now > longest.max(LOOK_AGAIN) {
                return Err(until - now);
            }
            waited = true;
            // Either is a reason to look again.
            let _ = timeout_at(until, self.ended.notified()).await;
        }
    }

    /// Whether a request would have to wait.
    pub(crate) fn is_full(&self) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        state.refill(now);
        let short =
            |bucket: &Option<Bucket>| bucket.is_some_and(|bucket| bucket.free(now, state.windowed) < 1.0);
        let blocked = state.blocked.is_some_and(|until| now < until);
        blocked || state.is_crowded() || short(&state.requests) || short(&state.tokens)
    }

    /// The bytes of text that surely go into one request below the limit of tokens, if there is one.
    pub(crate) fn most_bytes(&self) -> Option<usize> {
        let state = self.state();
        let limit = state.tokens?.limit?;
        Some(((limit / MARGIN / state.density) as usize).max(1))
    }
}

impl Reserved<'_> {
    /// An answer came: what it says of the limits, and how many tokens so many bytes were.
    pub(crate) fn answered(self, headers: &HeaderMap, bytes: usize, tokens: Option<usize>) {
        let mut state = self.pacer.state();
        state.strikes = 0;
        state.most += GROWTH / state.most;
        if let Some(tokens) = tokens.filter(|_| bytes > 0) {
            let density = tokens as f64 / bytes as f64;
            // Denser texts count at once, lighter ones bit by bit.
            state.density = density.max(state.density * 0.8 + density * 0.2);
        }
        drop(state);
        self.limits(headers);
    }

    /// The server refused because it is asked too often: how long it is left alone.
    pub(crate) fn refused(self, headers: &HeaderMap, after: Option<Duration>, back_off: BackOff) -> Duration {
        let (pacer, tokens, began) = (self.pacer, self.tokens, self.began);
        let in_flight = pacer.state().in_flight;
        self.limits(headers);
        let now = Instant::now();
        let mut state = pacer.state();
        // One that was sent before the server last said so says nothing new.
        if state.struck.is_none_or(|struck| began > struck) {
            state.strikes += 1;
            state.struck = Some(now);
            state.windowed |= state.requests.is_some() || state.tokens.is_some();
            if after.is_none() && !state.windowed {
                state.most = (in_flight as f64 / 2.0).max(1.0);
            }
        }
        let short = |bucket: Option<Bucket>, need: f64| bucket.filter(|bucket| bucket.left < need);
        let buckets = [short(state.requests, 1.0), short(state.tokens, tokens)];
        let reset = buckets.into_iter().flatten().map(|bucket| bucket.reset).max();
        let doubled = back_off.first.saturating_mul(1 << state.strikes.saturating_sub(1).min(16));
        let pause = after.or(reset).unwrap_or(doubled.min(back_off.longest)).max(SHORTEST);
        let until = now.checked_add(pause).unwrap_or(now + back_off.longest);
        state.blocked = Some(state.blocked.map_or(until, |blocked| blocked.max(until)));
        pause
    }

    /// What headers say of the limits.
    pub(crate) fn limits(self, headers: &HeaderMap) {
        let pacer = self.pacer;
        // What is left counts this request already.
        drop(self);
        let now = Instant::now();
        let mut state = pacer.state();
        let windowed = state.windowed;
        state.requests = Bucket::next(state.requests, said(headers, "requests"), now, windowed);
        state.tokens = Bucket::next(state.tokens, said(headers, "tokens"), now, windowed);
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        let mut state = self.pacer.state();
        state.in_flight -= 1;
        let State { requests, tokens, .. } = &mut *state;
        for (bucket, reserved) in [(requests, 1.0), (tokens, self.tokens)] {
            if let Some(bucket) = bucket {
                bucket.reserved = (bucket.reserved - reserved).max(0.0);
            }
        }
        drop(state);
        self.pacer.ended.notify_one();
    }
}

impl State {
    fn estimate(&self, bytes: usize) -> f64 {
        (bytes as f64 * self.density * MARGIN).ceil() + 1.0
    }

    fn is_crowded(&self) -> bool {
        self.in_flight as f64 >= self.most.floor()
    }

    /// Forgets limits of which it isn't known what is left after their reset.
    fn refill(&mut self, now: Instant) {
        for bucket in [&mut self.requests, &mut self.tokens] {
            if bucket.is_some_and(|bucket| bucket.limit.is_none() && now >= bucket.at + bucket.reset) {
                *bucket = None;
            }
        }
    }

    /// Sets aside what a request needs, or says when to look again.
    fn reserve(&mut self, tokens: f64, now: Instant) -> Result<(), Instant> {
        if let Some(until) = self.blocked.filter(|until| now < *until) {
            return Err(until);
        }
        if self.is_crowded() {
            // Sooner, as soon as a request ends.
            return Err(now + LOOK_AGAIN);
        }
        self.refill(now);
        let windowed = self.windowed;
        let until =
            |bucket: Option<Bucket>, need: f64| bucket.and_then(|bucket| bucket.until(need, now, windowed));
        if let Some(until) = until(self.requests, 1.0).max(until(self.tokens, tokens)) {
            return Err(until);
        }
        for (bucket, need) in [(&mut self.requests, 1.0), (&mut self.tokens, tokens)] {
            if let Some(bucket) = bucket {
                bucket.reserved += need;
            }
        }
        self.in_flight += 1;
        Ok(())
    }
}

impl Bucket {
    /// The bucket after what a server said; without a word it stays. Answers overtake each other, so that what is left only
    /// grows as it comes back.
    fn next(bucket: Option<Self>, said: Option<Said>, now: Instant, windowed: bool) -> Option<Self> {
        let Some(Said { remaining, limit, reset: Some(reset) }) = said else {
            return bucket;
        };
        let before = bucket.filter(|bucket| now < bucket.at + bucket.reset);
        let left = before.map_or(remaining, |bucket| bucket.left_at(now, windowed).min(remaining));
        let reserved = bucket.map_or(0.0, |bucket| bucket.reserved);
        Some(Self { left, limit, at: now, reset, reserved })
    }

    /// What is left, as far as it came back.
    fn left_at(&self, now: Instant, windowed: bool) -> f64 {
        let passed = now.saturating_duration_since(self.at);
        match self.limit {
            Some(limit) if passed >= self.reset => limit,
            Some(limit) if !windowed && limit > self.left => {
                self.left + (limit - self.left) * passed.as_secs_f64() / self.reset.as_secs_f64()
            }
            _ => self.left,
        }
    }

    fn free(&self, now: Instant, windowed: bool) -> f64 {
        self.left_at(now, windowed) - self.reserved
    }

    /// When so much is there, if it isn't now.
    fn until(&self, need: f64, now: Instant, windowed: bool) -> Option<Instant> {
        // More than there is at most is asked for when all of it is there.
        let need = self.limit.map_or(need, |limit| need.min(limit));
        if self.free(now, windowed) >= need {
            return None;
        }
        let full = self.at + self.reset;
        let Some(limit) = self.limit.filter(|limit| !windowed && *limit > self.left) else {
            return Some(full);
        };
        let part = (need + self.reserved - self.left) / (limit - self.left);
        Some(self.at + self.reset.mul_f64(part.clamp(0.0, 1.0)) + Duration::from_millis(1))
    }
}

#[cfg(test)]
mod tests {
    use embed_testkit::VirtualTime;

    use super::*;

    const BACK_OFF: BackOff = BackOff { first: Duration::from_secs(1), longest: Duration::from_secs(8) };
    const HOUR: Duration = Duration::from_secs(3600);

    fn headers(of: &str, remaining: u32, limit: u32, reset: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (what, value) in
            [("remaining", remaining.to_string()), ("limit", limit.to_string()), ("reset", reset.to_owned())]
        {
            let name: reqwest::header::HeaderName = format!("x-ratelimit-{what}-{of}").parse().unwrap();
            headers.insert(name, value.parse().unwrap());
        }
        headers
    }

    async fn pass(pacer: &Pacer, bytes: usize) -> Reserved<'_> {
        pacer.pass(bytes, HOUR).await.unwrap().0
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_bit_by_bit_is_waited_for_bit_by_bit() {
        let pacer = Pacer::default();
        pass(&pacer, 3).await.answered(&headers("requests", 0, 60, "60s"), 3, None);
        assert!(pacer.is_full());
        let time = VirtualTime::start().await;
        let reserved = pass(&pacer, 3).await;
        assert!((1000..1100).contains(&time.passed().as_millis()), "{:?}", time.passed());
        drop(reserved);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_at_once_is_waited_for_after_one_refusal() {
        let pacer = Pacer::default();
        let none = headers("requests", 0, 60, "60s");
        assert_eq!(pass(&pacer, 3).await.refused(&none, None, BACK_OFF), Duration::from_secs(60));
        let time = VirtualTime::start().await;
        pass(&pacer, 3).await.answered(&headers("requests", 1, 60, "60s"), 3, None);
        assert_eq!(time.passed().as_secs(), 60);
        let held = pass(&pacer, 3).await;
        assert_eq!(time.passed().as_secs(), 60);
        let next = pass(&pacer, 3).await;
        assert_eq!(time.passed().as_secs(), 120, "the one on its way counts");
        drop((held, next));
    }

    #[tokio::test(start_paused = true)]
    async fn tokens_are_set_aside_by_the_bytes_that_they_had() {
        let pacer = Pacer::default();
        pass(&pacer, 100).await.answered(&headers("tokens", 100, 100, "10s"), 100, Some(50));
        assert_eq!(pacer.most_bytes(), Some(181));
        let first = pass(&pacer, 100).await;
        let time = VirtualTime::start().await;
        let ended = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            drop(first);
        };
        futures::future::join(pass(&pacer, 100), ended).await;
        assert_eq!(time.passed().as_secs(), 2, "what was set aside is free again");
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_says_nothing_is_left_alone_longer_each_time() {
        let pacer = Pacer::default();
        let none = HeaderMap::new();
        let pauses: Vec<u64> = {
            let mut pauses = Vec::new();
            for _ in 0..5 {
                pauses.push(pass(&pacer, 3).await.refused(&none, None, BACK_OFF).as_secs());
            }
            pauses
        };
        assert_eq!(pauses, [1, 2, 4, 8, 8]);
        // Refused together, they count once, and then fewer are sent together.
        let pacer = Pacer::default();
        let (first, second) = (pass(&pacer, 3).await, pass(&pacer, 3).await);
        assert_eq!(first.refused(&none, None, BACK_OFF).as_secs(), 1);
        assert_eq!(second.refused(&none, None, BACK_OFF).as_secs(), 1);
        let held = pass(&pacer, 3).await;
        assert!(pacer.is_full());
        drop(held);
        let asked = pass(&pacer, 3).await.refused(&none, Some(Duration::from_secs(30)), BACK_OFF);
        assert_eq!(asked.as_secs(), 30);
        assert!(pacer.pass(3, Duration::from_secs(5)).await.unwrap_err() > Duration::from_secs(29));
    }
}
