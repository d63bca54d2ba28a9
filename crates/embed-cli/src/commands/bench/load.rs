//! Callers that send one request after the other, and the counts of their requests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use embed_core::{EmbedOptions, EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Result};
use futures::future::join_all;
use hdrhistogram::Histogram;
use tokio::time;

use super::texts::BenchTexts;
use crate::io::row_progress::RowProgress;
use crate::signals::wait_for_signal;

/// The load: its target, how much, and for how long.
pub(super) struct BenchLoad {
    pub(super) embedder: Arc<dyn Embedder>,
    pub(super) texts: BenchTexts,
    pub(super) callers: usize,
    pub(super) batch: usize,
    pub(super) options: EmbedOptions,
    pub(super) warm_up: Duration,
    pub(super) duration: Duration,
    pub(super) quiet: bool,
}

/// What was counted of requests that began after the warm-up.
#[derive(Debug)]
pub(super) struct LoadMeasurement {
    /// In microseconds.
    pub(super) latency: Histogram<u64>,
    pub(super) requests: u64,
    /// Texts that have a vector.
    pub(super) texts: u64,
    /// `None` if a service doesn't report the tokens of a text.
    pub(super) tokens: Option<u64>,
    pub(super) hits: u64,
    /// Texts by the service that gave the vector.
    pub(super) by_service: BTreeMap<Arc<str>, u64>,
    /// Texts that have none, by the kind of the error.
    pub(super) failed: BTreeMap<&'static str, u64>,
    pub(super) elapsed: Duration,
}

/// How often the live view is redrawn.
const TICK: Duration = Duration::from_millis(250);

/// The pause after a failed request, so that a caller doesn't repeat it as fast as it can.
const AFTER_FAILURE: Duration = Duration::from_millis(10);

impl BenchLoad {
    /// Runs until the time is over or an interrupt comes; returns what was counted by then.
    pub(super) async fn run(&self) -> Result<LoadMeasurement> {
        let progress = RowProgress::new(None, self.quiet, true);
        let counts: Vec<_> = (0..self.callers).map(|_| Mutex::new(LoadMeasurement::new())).collect();
        let stop = AtomicBool::new(false);
        let begin = Instant::now() + self.warm_up;
        let callers =
            join_all((0..self.callers).map(|caller| self.call(caller, begin, &counts[caller], &stop)));
        let mut callers = std::pin::pin!(callers);
        let mut interrupted = std::pin::pin!(wait_for_signal());
        let mut ticks = time::interval(TICK);
        loop {
            tokio::select! {
                _ = &mut callers => break,
                _ = &mut interrupted, if !stop.load(Ordering::Relaxed) => stop.store(true, Ordering::Relaxed),
                _ = ticks.tick() => self.show(&progress, begin, &counts),
            }
        }
        progress.clear();
        let elapsed = Instant::now().saturating_duration_since(begin);
        let measured = LoadMeasurement { elapsed, ..LoadMeasurement::of_all(&counts) };
        if measured.requests == 0 {
            return Err(Error::new(ErrorKind::Timeout, "no request was counted; run it for longer"));
        }
        Ok(measured)
    }

    async fn call(&self, caller: usize, begin: Instant, counts: &Mutex<LoadMeasurement>, stop: &AtomicBool) {
        let mut draws = self.texts.draws(caller);
        let end = begin + self.duration;
        while !stop.load(Ordering::Relaxed) {
            let sent = Instant::now();
            if sent >= end {
                break;
            }
            let request = EmbedRequest::new(draws.by_ref().take(self.batch), &self.options);
            let answer = self.embedder.embed(request).await;
            if sent >= begin {
                lock(counts).count(&answer, sent.elapsed(), self.batch as u64);
            }
            if answer.is_err() {
                time::sleep(AFTER_FAILURE).await;
            } else {
                // Answers from memory never wait, so the view and the other callers must get a turn here.
                tokio::task::coop::consume_budget().await;
            }
        }
    }

    fn show(&self, progress: &RowProgress, begin: Instant, counts: &[Mutex<LoadMeasurement>]) {
        let now = Instant::now();
        if now < begin {
            progress.show(0, "warming up".to_owned());
            return;
        }
        let so_far = LoadMeasurement::of_all(counts);
        let elapsed = now.saturating_duration_since(begin).as_secs_f64();
        let message = format!(
            "{:.0} texts/s, p50 {:.2} ms, p99 {:.2} ms, {:.0} % from the cache, {} failed, {:.0} s left",
            so_far.texts as f64 / elapsed.max(1e-3),
            so_far.quantile_ms(0.5),
            so_far.quantile_ms(0.99),
            so_far.hit_rate() * 100.0,
            so_far.failures(),
            (self.duration.as_secs_f64() - elapsed).max(0.0),
        );
        progress.show(0, message);
    }
}

impl LoadMeasurement {
    fn new() -> Self {
        // Three digits: a percentile is off by a thousandth at most. The histogram grows as needed.
        let latency = Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are allowed"));
        Self {
            latency,
            requests: 0,
            texts: 0,
            tokens: Some(0),
            hits: 0,
            by_service: BTreeMap::new(),
            failed: BTreeMap::new(),
            elapsed: Duration::ZERO,
        }
    }

    /// What all callers have counted.
    fn of_all(counts: &[Mutex<Self>]) -> Self {
        let mut sum = Self::new();
        for counts in counts {
            sum.add(&lock(counts));
        }
        sum
    }

    fn count(&mut self, answer: &Result<EmbedResponse>, time: Duration, batch: u64) {
        self.requests += 1;
        // A histogram that grows accepts every number.
        let _ = self.latency.record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
        match answer {
            Ok(response) => {
                for row in response.rows() {
                    match row {
                        Ok(row) => {
                            let info = row.info();
                            self.texts += 1;
                            let used = info.tokens.map(|tokens| tokens.used as u64);
                            self.tokens = self.tokens.zip(used).map(|(sum, used)| sum + used);
                            self.hits += u64::from(info.tier.is_some());
                            let service = info.model.service();
                            match self.by_service.get_mut(service) {
                                Some(count) => *count += 1,
                                None => drop(self.by_service.insert(service.into(), 1)),
                            }
                        }
                        Err(error) => *self.failed.entry(error.kind().as_str()).or_default() += 1,
                    }
                }
            }
            Err(error) => *self.failed.entry(error.kind().as_str()).or_default() += batch,
        }
    }

    fn add(&mut self, other: &Self) {
        // Both grow as needed.
        let _ = self.latency.add(&other.latency);
        self.requests += other.requests;
        self.texts += other.texts;
        self.tokens = self.tokens.zip(other.tokens).map(|(sum, more)| sum + more);
        self.hits += other.hits;
        for (service, count) in &other.by_service {
            *self.by_service.entry(Arc::clone(service)).or_default() += count;
        }
        for (kind, count) in &other.failed {
            *self.failed.entry(kind).or_default() += count;
        }
    }

    /// Whether every text has a vector.
    pub(super) fn is_whole(&self) -> bool {
        self.failed.is_empty()
    }

    pub(super) fn failures(&self) -> u64 {
        self.failed.values().sum()
    }

    /// The share of vectors that came from a cache.
    pub(super) fn hit_rate(&self) -> f64 {
        if self.texts == 0 { 0.0 } else { self.hits as f64 / self.texts as f64 }
    }

    pub(super) fn quantile_ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }
}

fn lock(counts: &Mutex<LoadMeasurement>) -> MutexGuard<'_, LoadMeasurement> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}
