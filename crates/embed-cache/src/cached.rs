//! The decorator: an embedder behind a cache.

use std::collections::HashMap;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use embed_core::{
    Deadline, EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, HealthStatus, Layer,
    ModelInfo, ResponseBuilder, Result, Role, RowInfo, Truncation, async_trait, place,
};
use futures::FutureExt;
use futures::future::{BoxFuture, join, join_all};
use tokio::time::sleep_until;

use crate::cache::{Lookup, RowToStore};
use crate::flight::{Claim, Flights, Outcome, RowPlace, Waiter};
use crate::guard::now;
use crate::value::{Value, ValueInfo};
use crate::{Cache, CacheStats, Key, Namespace};

/// An embedder behind a [`Cache`].
///
/// Rows found in a tier are checked like rows of a back end, and [`RowInfo::tier`] names the tier. For the others the
/// back end is called once, however many callers request them at the same time. Failed rows are never stored, nor are
/// rows of a variant other than that of [`model`](Embedder::model).
///
/// Put it next to the back end, inside of a router: a cache around a router would return a vector of one route for a
/// request that uses another.
///
/// # Cancellation
///
/// Dropping the future of a call doesn't affect other callers that wait for the same rows: one of them takes over. When
/// no caller is left, the back end's call is dropped too.
pub struct Cached<E> {
    shared: Arc<Inner<E>>,
    flights: Arc<Flights>,
}

struct Inner<E> {
    embedder: E,
    cache: Cache,
    namespace: Namespace,
    /// The info of a row before it is read.
    info: RowInfo,
}

impl<E: Embedder> Cached<E> {
    /// Puts an embedder behind a cache, which several embedders may share.
    #[must_use]
    pub fn new(embedder: E, cache: Cache) -> Self {
        let namespace = Namespace::new(embedder.model().variant());
        let info = RowInfo::new(embedder.model().clone());
        let flights = Arc::default();
        cache.register(&flights);
        Self { shared: Arc::new(Inner { embedder, cache, namespace, info }), flights }
    }

    /// The embedder behind the cache.
    #[must_use]
    pub fn inner(&self) -> &E {
        &self.shared.embedder
    }

    /// The embedder by value; `None` while a call is in flight.
    #[must_use]
    pub fn into_inner(self) -> Option<E> {
        Arc::into_inner(self.shared).map(|shared| shared.embedder)
    }

    /// The cache.
    #[must_use]
    pub fn cache(&self) -> &Cache {
        &self.shared.cache
    }

    /// What the cache has done, for all embedders that share it.
    pub async fn stats(&self) -> CacheStats {
        self.shared.cache.stats().await
    }

    /// Removes all rows of this embedder's variant from every tier.
    ///
    /// # Errors
    ///
    /// As [`Cache::clear`].
    pub async fn clear_cache(&self) -> Result<()> {
        self.shared.cache.clear(Some(&self.shared.namespace)).await
    }

    /// Removes the rows of some texts from every tier: both roles, whole or cut in any way.
    ///
    /// # Errors
    ///
    /// As [`Cache::remove`].
    pub async fn invalidate<T: AsRef<str>>(&self, texts: &[T]) -> Result<()> {
        let mut keys = Vec::new();
        for text in texts {
            for role in [Role::Query, Role::Document] {
                for truncation in Truncation::ALL {
                    keys.push(Key::new(&self.shared.namespace, role, truncation, text.as_ref()));
                }
            }
        }
        self.shared.cache.remove(&keys).await
    }

    /// Fills the rows that no local tier has.
    async fn compute(
        &self,
        request: &EmbedRequest,
        keys: &[Key],
        rows: &mut ResponseBuilder,
        mut missing: Vec<usize>,
    ) -> Option<Error> {
        let mut error = None;
        // Set when a flight's row was of a cut text and this request cuts in another way: look those up by cut keys.
        let mut cut_keys: Option<Vec<Key>> = None;
        while !missing.is_empty() {
            let (waiters, places) = self.join(request, cut_keys.as_deref().unwrap_or(keys), &missing);
            let outcome =
                join_all(waiters.iter().map(|waiter| await_outcome(waiter, request.deadline()))).await;
            let mut again = Vec::new();
            for (&row, place) in missing.iter().zip(places) {
                let Some(outcome) = &outcome[place.waiter] else {
                    rows.fail(row, late());
                    error = Some(late());
                    continue;
                };
                if !waiters[place.waiter].leads {
                    if gave_up_early(outcome, place.row, request.deadline()) {
                        again.push(row);
                        continue;
                    }
                    if !outcome.suits(place.row, request.truncation()) {
                        cut_keys.get_or_insert_with(|| {
                            keys.iter().map(|key| key.cut(request.truncation())).collect()
                        });
                        again.push(row);
                        continue;
                    }
                }
                rows.share_row(row, &outcome.response, place.row);
                error = outcome.error.clone().or(error);
            }
            missing = again;
        }
        error
    }

    /// Joins or begins the flights of the missing rows.
    fn join(&self, request: &EmbedRequest, keys: &[Key], missing: &[usize]) -> (Vec<Waiter>, Vec<RowPlace>) {
        let mut positions = HashMap::with_capacity(missing.len());
        let mut unique: Vec<usize> = Vec::with_capacity(missing.len());
        let of_row: Vec<usize> = missing
            .iter()
            .map(|&row| {
                *positions.entry(&keys[row]).or_insert_with(|| {
                    unique.push(row);
                    unique.len() - 1
                })
            })
            .collect();
        let unique_keys: Vec<&Key> = unique.iter().map(|&row| &keys[row]).collect();
        let mut led = 0;
        let (waiters, places) = self.flights.join(&unique_keys, request.truncation(), |claim, positions| {
            led = positions.len();
            let texts = positions.into_iter().map(|position| Arc::clone(&request.texts()[unique[position]]));
            let request = request.with_texts(texts);
            run_flight(Arc::clone(&self.shared), request, claim).boxed()
        });
        self.shared.cache.counts().joined.add(missing.len() - led);
        (waiters, of_row.into_iter().map(|position| places[position]).collect())
    }
}

/// Waits for a flight. For its leader the back end enforces the deadline, since it may return the rows done by then.
async fn await_outcome(waiter: &Waiter, deadline: Deadline) -> Option<Arc<Outcome>> {
    let deadline = if waiter.leads { Deadline::NONE } else { deadline };
    deadline.limit(|at| sleep_until(at.into()), waiter.wait()).await
}

/// Whether a row failed only because the flight's leader had an earlier deadline than this caller.
fn gave_up_early(outcome: &Outcome, row: usize, deadline: Deadline) -> bool {
    let now = now();
    let is_late = |error: &Error| error.kind() == ErrorKind::Timeout;
    outcome.deadline.is_over(now) && !deadline.is_over(now) && outcome.response.row(row).is_err_and(is_late)
}

fn late() -> Error {
    Deadline::missed("the deadline passed while another call was computing this text")
}

/// One flight: reads the tiers, calls the back end for the rest, stores new rows.
async fn run_flight<E: Embedder>(shared: Arc<Inner<E>>, request: EmbedRequest, claim: Claim) -> Arc<Outcome> {
    let Inner { embedder, cache, namespace, info } = &*shared;
    let claim = Arc::new(claim);
    let truncation = request.truncation();
    let keys: Vec<Key> = claim.keys.iter().map(Key::whole).collect();
    let mut kept = claim.keys.clone();
    let mut rows = EmbedResponse::builder(keys.len(), info.model.dimension());
    let mut read = Lookup::new(&keys, truncation, info, &mut rows);
    let mut to_store = cache.read_all(&mut read).await;
    let missing = read.into_missing();
    for stored in &to_store {
        kept[stored.row] = stored.key.clone();
    }
    let mut call_error = None;
    if !missing.is_empty() {
        cache.counts().computed.add(missing.len());
        let asked = request.with_texts(missing.iter().map(|&row| Arc::clone(&request.texts()[row])));
        match call(embedder, asked, missing.len()).await {
            Ok(response) => {
                let response = Arc::new(response);
                for (at, &row) in missing.iter().enumerate() {
                    let answer = response.row(at);
                    let variant = answer.map(|answer| answer.info().model.variant().id());
                    if let (Ok(answer), Ok(true)) = (answer, variant.map(|id| id == namespace.variant())) {
                        let facts =
                            ValueInfo { tokens: answer.info().tokens, truncated: answer.info().truncated };
                        let is_whole = is_whole(answer.info(), truncation);
                        let key = if is_whole { keys[row].clone() } else { keys[row].cut(truncation) };
                        let value = Value::encode(&key, answer.vector(), facts, cache.element());
                        kept[row] = key.clone();
                        to_store.push(RowToStore { row, key, tier: usize::MAX, value });
                    } else {
                        cache.counts().unfit.add(1);
                    }
                    rows.share_row(row, &response, at);
                }
            }
            Err(error) => {
                cache.counts().unfit.add(missing.len());
                missing.iter().for_each(|&row| rows.fail(row, error.clone()));
                call_error = Some(error);
            }
        }
    }
    cache.store_local(&to_store, &claim.wanted()).await;
    let (response, deadline) = (Arc::new(rows.build()), request.deadline());
    let outcome = Arc::new(Outcome { response, truncation, kept, error: call_error, deadline });
    let mut forgotten = Vec::new();
    claim.finish(&outcome, |wanted| {
        cache.store_behind(&claim, &to_store, wanted);
        let lost = outcome.kept.iter().zip(wanted).filter(|(_, wanted)| !**wanted);
        forgotten = lost.map(|(key, _)| key.clone()).collect();
    });
    if !forgotten.is_empty() {
        cache.unstore_local(&forgotten).await;
    }
    outcome
}

/// Whether a row is certainly of the whole text, so that it is valid for every truncation.
fn is_whole(row: &RowInfo, truncation: Truncation) -> bool {
    match truncation {
        Truncation::Error => true,
        // A mean of chunks doesn't count as cut; only the tokens tell whether there was more than one chunk.
        Truncation::ChunkMean => {
            let fits = |most| row.tokens.is_some_and(|tokens| tokens.total <= most);
            !row.truncated && row.model.max_tokens().is_some_and(fits)
        }
        _ => !row.truncated,
    }
}

/// Calls the back end. A panic or an invalid response is an error of the call, since other callers wait for the rows.
async fn call<E: Embedder>(embedder: &E, request: EmbedRequest, rows: usize) -> Result<EmbedResponse> {
    let answer = AssertUnwindSafe(embedder.embed(request)).catch_unwind().await;
    let response =
        answer.map_err(|_| Error::new(ErrorKind::Internal, "the service behind the cache panicked"))??;
    if response.len() == rows {
        return Ok(response);
    }
    Err(Error::new(
        ErrorKind::Protocol,
        "the service behind the cache didn't return exactly one row for each text",
    )
    .with_context("asked", rows)
    .with_context("rows", response.len()))
}

#[async_trait]
impl<E: Embedder> Embedder for Cached<E> {
    fn model(&self) -> &ModelInfo {
        self.shared.embedder.model()
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let Inner { cache, namespace, info, .. } = &*self.shared;
        let key = |text: &Arc<str>| Key::new(namespace, request.role(), Truncation::Error, text);
        let keys: Vec<Key> = request.texts().iter().map(key).collect();
        let mut rows = EmbedResponse::builder(keys.len(), info.model.dimension());
        let mut read = Lookup::new(&keys, request.truncation(), info, &mut rows);
        cache.read_local(&mut read).await;
        let missing = read.into_missing();
        if missing.is_empty() {
            return Ok(rows.build());
        }
        // Boxed, so that the future of a hit is small: allocating more than a kilobyte is slower.
        let compute: BoxFuture<'_, _> = Box::pin(self.compute(&request, &keys, &mut rows, missing));
        let error = compute.await;
        let response = rows.build();
        match error {
            Some(error) if response.failed() == response.len() => Err(error),
            _ => Ok(response),
        }
    }

    /// The embedder's health; degraded if it is ready but a tier of the cache isn't. Also makes the
    /// [trials](Cache::try_again) of tiers that are due.
    async fn health(&self) -> Health {
        let (health, ()) = join(self.shared.embedder.health(), self.shared.cache.try_again()).await;
        match self.shared.cache.failing_tier() {
            Some((tier, fault)) if health.status() == HealthStatus::Ready => {
                let what = "a tier of the cache doesn't answer, so its breaker is open";
                let error = Error::new(ErrorKind::Unavailable, what).with_context("tier", tier).temporary();
                Health::degraded(fault.map_or(error.clone(), |fault| error.with_source(fault)))
            }
            _ => health,
        }
    }
}

impl<E: Embedder> Layer<E> for Cache {
    type Embedder = Cached<E>;
    type Place = place::Cache;

    fn layer(self, inner: E) -> Cached<E> {
        Cached::new(inner, self)
    }
}

impl<E: fmt::Debug> fmt::Debug for Cached<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cached")
            .field("inner", &self.shared.embedder)
            .field("cache", &self.shared.cache)
            .finish_non_exhaustive()
    }
}

/// Shows the stack: `Cached(memory, redis → …)`.
impl<E: fmt::Display> fmt::Display for Cached<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cached({} → {})", self.shared.cache, self.shared.embedder)
    }
}
