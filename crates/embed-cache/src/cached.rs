//! The decorator: an embedder that looks before it computes.

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

use crate::cache::{Read, Stored};
use crate::flight::{Claim, Flights, Outcome, RowPlace, Waiter};
use crate::guard::now;
use crate::value::{Facts, Value};
use crate::{Cache, CacheStats, Key, Namespace};

/// An embedder behind a [`Cache`].
///
/// Rows that a tier has are taken from it, checked as rows of a back end are, and say so in
/// [`RowInfo::tier`]. For the others the back end is called once, however many callers ask for them at once. Rows
/// that failed are never stored, nor are rows of another variant than [`model`](Embedder::model) names.
///
/// Put it next to the back end, inside of a router: a cache around a router would hand a vector of one route to a
/// request that goes by another.
///
/// # Cancellation
///
/// Dropping the future of a call leaves others that wait for the same rows unharmed: they go on where it stood. When
/// nobody waits any more, the back end's call is dropped too.
pub struct Cached<E> {
    shared: Arc<Inner<E>>,
    flights: Arc<Flights>,
}

struct Inner<E> {
    embedder: E,
    cache: Cache,
    namespace: Namespace,
    /// What is known of a row before it is read.
    info: RowInfo,
}

impl<E: Embedder> Cached<E> {
    /// An embedder behind a cache, which it may share with others.
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

    /// The embedder, taken out; `None` while a call is under way.
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

    /// Removes the rows of some texts from every tier: both roles, whole and however they were cut.
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
        // Rows of which a flight found out that others may not have them: they are looked for as they are cut.
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

    /// For each missing row, which flight brings it.
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

/// Waits for a flight. Its leader leaves the deadline to the back end, which may give the rows that it has by then.
async fn await_outcome(waiter: &Waiter, deadline: Deadline) -> Option<Arc<Outcome>> {
    let deadline = if waiter.leads { Deadline::NONE } else { deadline };
    deadline.limit(|at| sleep_until(at.into()), waiter.wait()).await
}

/// Whether a row wasn't had because the caller who asked for it first had less time than this one.
fn gave_up_early(outcome: &Outcome, row: usize, deadline: Deadline) -> bool {
    let now = now();
    let is_late = |error: &Error| error.kind() == ErrorKind::Timeout;
    outcome.deadline.is_over(now) && !deadline.is_over(now) && outcome.response.row(row).is_err_and(is_late)
}

fn late() -> Error {
    Deadline::missed("the deadline was over before another call had computed this text")
}

/// One flight: reads the tiers, calls the back end for the rest, stores what is new.
async fn run_flight<E: Embedder>(shared: Arc<Inner<E>>, request: EmbedRequest, claim: Claim) -> Arc<Outcome> {
    let Inner { embedder, cache, namespace, info } = &*shared;
    let claim = Arc::new(claim);
    let truncation = request.truncation();
    let keys: Vec<Key> = claim.keys.iter().map(Key::whole).collect();
    let mut kept = claim.keys.clone();
    let mut rows = EmbedResponse::builder(keys.len(), info.model.dimension());
    let mut read = Read::new(&keys, truncation, info, &mut rows);
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
                            Facts { tokens: answer.info().tokens, truncated: answer.info().truncated };
                        let is_whole = is_whole(answer.info(), truncation);
                        let key = if is_whole { keys[row].clone() } else { keys[row].cut(truncation) };
                        let value = Value::encode(&key, answer.vector(), facts, cache.element());
                        kept[row] = key.clone();
                        to_store.push(Stored { row, key, tier: usize::MAX, value });
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

/// Whether a row is surely of the whole text, so that it is the row of every truncation.
fn is_whole(row: &RowInfo, truncation: Truncation) -> bool {
    match truncation {
        Truncation::Error => true,
        // A mean of chunks doesn't count as cut; only its tokens tell whether there was more than one.
        Truncation::ChunkMean => {
            let fits = |most| row.tokens.is_some_and(|tokens| tokens.total <= most);
            !row.truncated && row.model.max_tokens().is_some_and(fits)
        }
        _ => !row.truncated,
    }
}

/// Calls the back end. What it must not do is an error of this call, since others wait for the same rows.
async fn call<E: Embedder>(embedder: &E, request: EmbedRequest, rows: usize) -> Result<EmbedResponse> {
    let answer = AssertUnwindSafe(embedder.embed(request)).catch_unwind().await;
    let response =
        answer.map_err(|_| Error::new(ErrorKind::Internal, "the service behind the cache panicked"))??;
    if response.len() == rows {
        return Ok(response);
    }
    Err(Error::new(
        ErrorKind::Protocol,
        "the service behind the cache gave another number of rows than it was asked",
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
        let mut read = Read::new(&keys, request.truncation(), info, &mut rows);
        cache.read_local(&mut read).await;
        let missing = read.into_missing();
        if missing.is_empty() {
            return Ok(rows.build());
        }
        // In a box, so that the future of a hit is small: one of more than a kilobyte is allocated the slow way.
        let compute: BoxFuture<'_, _> = Box::pin(self.compute(&request, &keys, &mut rows, missing));
        let error = compute.await;
        let response = rows.build();
        match error {
            Some(error) if response.failed() == response.len() => Err(error),
            _ => Ok(response),
        }
    }

    /// The embedder's own health; degraded if it is ready and a tier of the cache is not. A tier that is left alone is
    /// [tried](Cache::try_again) by it.
    async fn health(&self) -> Health {
        let (health, ()) = join(self.shared.embedder.health(), self.shared.cache.try_again()).await;
        match self.shared.cache.failing_tier() {
            Some((tier, fault)) if health.status() == HealthStatus::Ready => {
                let what = "a tier of the cache doesn't answer and is left alone for now";
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

/// The stack: `Cached(memory, redis → …)`.
impl<E: fmt::Display> fmt::Display for Cached<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cached({} → {})", self.shared.cache, self.shared.embedder)
    }
}
