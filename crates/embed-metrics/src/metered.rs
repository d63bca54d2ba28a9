//! The decorator that records calls.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use embed_core::{
    EmbedRequest, EmbedResponse, Embedder, Error, ErrorKind, Health, HealthStatus, Layer, ModelInfo, Result,
    RowInfo, async_trait, place,
};
use metrics::{Counter, Gauge};
use tracing::Instrument;

use crate::Metrics;
use crate::names::{self, CANCELLED, Metric, OTHER};
use crate::registry::{Registry, Samples};

/// An [`Embedder`] that records every call of the embedder inside it.
///
/// [`new`](Self::new) is for the outermost place of a stack and records what callers see; [`backend`](Self::backend)
/// is for the place directly around a back end and records what the cache lets through:
/// `Metered::new(Router(route → Cached(Metered::backend(back end))))`. There is only one outermost place: a second
/// `Metered::new` would count every call twice.
///
/// Each call is also a `tracing` span with an event at its end: the model that answered, the space, sizes, latency and
/// cache hits, never a text. The level is `INFO` for callers' calls (`WARN` if the call failed) and `DEBUG` for back
/// ends'.
///
/// # Cancellation
///
/// Dropping the future of a call drops the inner call, counts its texts as errors of the kind `cancelled`, and ends its
/// in-flight count. The same holds for a call that panics.
pub struct Metered<E> {
    inner: E,
    meter: Meter,
}

/// The layer that puts [`Metered::backend`] around a back end.
#[derive(Debug, Clone)]
pub struct BackendMeter(pub Metrics);

/// The layer that puts [`Metered::new`] around everything else.
#[derive(Debug, Clone)]
pub struct CallerMeter(pub Metrics);

impl<E: Embedder> Metered<E> {
    /// Records what callers see, as the metrics `embedding_…`.
    #[must_use]
    pub fn new(inner: E, metrics: &Metrics) -> Self {
        let meter = Meter::new(metrics.registry(), &CALLERS, inner.model());
        Self { inner, meter }
    }

    /// Records what a back end does, as the metrics `backend_…`, and the health that it reports.
    #[must_use]
    pub fn backend(inner: E, metrics: &Metrics) -> Self {
        let meter = Meter::new(metrics.registry(), &BACKEND, inner.model());
        Self { inner, meter }
    }
}

impl<E: Embedder> Layer<E> for BackendMeter {
    type Embedder = Metered<E>;
    type Place = place::BackendMeter;

    fn layer(self, inner: E) -> Metered<E> {
        Metered::backend(inner, &self.0)
    }
}

impl<E: Embedder> Layer<E> for CallerMeter {
    type Embedder = Metered<E>;
    type Place = place::CallerMeter;

    fn layer(self, inner: E) -> Metered<E> {
        Metered::new(inner, &self.0)
    }
}

impl<E> Metered<E> {
    /// The embedder inside.
    #[must_use]
    pub fn inner(&self) -> &E {
        &self.inner
    }

    /// The embedder inside, by value.
    #[must_use]
    pub fn into_inner(self) -> E {
        self.inner
    }
}

#[async_trait]
impl<E: Embedder> Embedder for Metered<E> {
    fn model(&self) -> &ModelInfo {
        self.inner.model()
    }

    async fn embed(&self, request: EmbedRequest) -> Result<EmbedResponse> {
        let texts = request.texts().len();
        let text_length: usize = request.texts().iter().map(|text| text.len()).sum();
        let span = if self.meter.view.outermost {
            tracing::info_span!("embed", texts, text_length)
        } else {
            tracing::debug_span!("backend", texts, text_length)
        };
        let call = self.meter.begin(texts);
        let outcome = self.inner.embed(request).instrument(span.clone()).await;
        span.in_scope(|| call.end(&outcome));
        outcome
    }

    async fn health(&self) -> Health {
        let health = self.inner.health().await;
        self.meter.set_health(health.status());
        health
    }
}

impl<E: fmt::Display> fmt::Display for Metered<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Metered({})", self.inner)
    }
}

impl<E: fmt::Debug> fmt::Debug for Metered<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metered").field("inner", &self.inner).finish_non_exhaustive()
    }
}

/// The metrics that a place in the stack records.
struct View {
    outermost: bool,
    requests: &'static Metric,
    latency: &'static Metric,
    rows: &'static Metric,
    tokens: &'static Metric,
    truncations: &'static Metric,
    batch: &'static Metric,
    in_flight: &'static Metric,
    errors: &'static Metric,
}

static CALLERS: View = View {
    outermost: true,
    requests: &names::EMBEDDING_REQUESTS,
    latency: &names::EMBEDDING_LATENCY,
    rows: &names::EMBEDDING_ROWS,
    tokens: &names::EMBEDDING_TOKENS,
    truncations: &names::EMBEDDING_TRUNCATIONS,
    batch: &names::EMBEDDING_BATCH,
    in_flight: &names::EMBEDDING_IN_FLIGHT,
    errors: &names::EMBEDDING_ERRORS,
};

static BACKEND: View = View {
    outermost: false,
    requests: &names::BACKEND_REQUESTS,
    latency: &names::BACKEND_LATENCY,
    rows: &names::BACKEND_ROWS,
    tokens: &names::BACKEND_TOKENS,
    truncations: &names::BACKEND_TRUNCATIONS,
    batch: &names::BACKEND_BATCH,
    in_flight: &names::BACKEND_IN_FLIGHT,
    errors: &names::BACKEND_ERRORS,
};

/// The series of one place in the stack, looked up once, so that a call only adds to them.
struct Meter {
    view: &'static View,
    batch: Samples,
    in_flight: Gauge,
    errors: Vec<(&'static str, Counter)>,
    /// Counted for callers only, not again for the back end.
    space_mismatches: Counter,
    health: Vec<(&'static str, Gauge)>,
    models: Vec<ModelMeter>,
    /// The index of the service's (default) model.
    described: usize,
}

/// The series of one model.
struct ModelMeter {
    service: String,
    model: String,
    requests: Counter,
    latency: Samples,
    rows: Counter,
    tokens: Counter,
    truncations: Counter,
    cache_hits: Counter,
}

impl Meter {
    fn new(registry: &Arc<Registry>, view: &'static View, model: &ModelInfo) -> Self {
        let model_labels = [model.service(), model.name()];
        // Metrics of a back end have its labels; those of all callers have none.
        let place = if view.outermost { &[][..] } else { &model_labels[..] };
        let models: Vec<_> = registry
            .models()
            .map(|(service, model)| ModelMeter {
                requests: registry.counter(view.requests, &[service, model]),
                latency: registry.samples(view.latency, &[service, model]),
                rows: registry.counter(view.rows, &[service, model]),
                tokens: registry.counter(view.tokens, &[service, model]),
                truncations: registry.counter(view.truncations, &[service, model]),
                cache_hits: if view.outermost {
                    registry.counter(&names::EMBEDDING_CACHE_HITS, &[service])
                } else {
                    Counter::noop()
                },
                service: service.to_owned(),
                model: model.to_owned(),
            })
            .collect();
        let described = index_of(&models, model);
        let errors = last_set(view.errors)
            .map(|kind| (kind, registry.counter(view.errors, &[place, &[kind]].concat())))
            .collect();
        let health = if view.outermost {
            Vec::new()
        } else {
            last_set(&names::BACKEND_HEALTH)
                .map(|status| {
                    let labels = [model.service(), model.name(), status];
                    (status, registry.gauge(&names::BACKEND_HEALTH, &labels))
                })
                .collect()
        };
        let space_mismatches =
            if view.outermost { registry.counter(&names::SPACE_MISMATCHES, &[]) } else { Counter::noop() };
        Self {
            view,
            space_mismatches,
            batch: registry.samples(view.batch, place),
            in_flight: registry.gauge(view.in_flight, place),
            errors,
            health,
            models,
            described,
        }
    }

    fn begin(&self, texts: usize) -> MeteredCall<'_> {
        self.in_flight.increment(1.0);
        MeteredCall { meter: self, texts, started: Instant::now(), ended: false }
    }

    fn set_health(&self, status: HealthStatus) {
        for (name, gauge) in &self.health {
            gauge.set(f64::from(u8::from(*name == status.as_str())));
        }
    }

    fn fail(&self, kind: &str, texts: usize) {
        if kind == ErrorKind::SpaceMismatch.as_str() {
            self.space_mismatches.increment(texts as u64);
        }
        let known = self.errors.iter().find(|(name, _)| *name == kind);
        let counter = known.or_else(|| self.errors.iter().find(|(name, _)| *name == OTHER));
        if let Some((_, counter)) = counter {
            counter.increment(texts as u64);
        }
    }

    /// The share of a model in a call. Rows of one model share its description, so most comparisons only compare
    /// pointers.
    fn share<'s, 'r>(&self, shares: &'s mut Vec<Share<'r>>, model: &'r ModelInfo) -> &'s mut Share<'r> {
        let at = shares.iter().position(|share| share.model == model).unwrap_or_else(|| {
            let meter = index_of(&self.models, model);
            shares.push(Share { model, meter, rows: 0, tokens: 0, truncations: 0, cache_hits: 0 });
            shares.len() - 1
        });
        &mut shares[at]
    }
}

/// A call in flight. Dropping it records the call as cancelled, unless it has ended.
struct MeteredCall<'m> {
    meter: &'m Meter,
    texts: usize,
    started: Instant,
    ended: bool,
}

/// What one model contributed to a call.
struct Share<'r> {
    model: &'r ModelInfo,
    meter: usize,
    rows: u64,
    tokens: u64,
    truncations: u64,
    cache_hits: u64,
}

impl MeteredCall<'_> {
    fn end(mut self, outcome: &Result<EmbedResponse>) {
        self.ended = true;
        let latency = self.started.elapsed();
        self.meter.batch.record(self.texts as f64);
        match outcome {
            Ok(response) => self.answered(response, latency),
            Err(error) => self.failed(error, latency),
        }
    }

    fn answered(&self, response: &EmbedResponse, latency: Duration) {
        let meter = self.meter;
        let mut shares: Vec<Share<'_>> = Vec::with_capacity(1);
        let mut failed = 0_usize;
        for row in response.rows() {
            match row {
                Ok(row) => meter.share(&mut shares, &row.info().model).add(row.info()),
                Err(error) => {
                    failed += 1;
                    meter.fail(error.kind().as_str(), 1);
                }
            }
        }
        if shares.is_empty() {
            meter.models[meter.described].call(latency);
        }
        for (at, share) in shares.iter().enumerate() {
            let model = &meter.models[share.meter];
            // Two variants of a model, or two unknown models, have the same series and count as one call.
            if shares[..at].iter().all(|before| before.meter != share.meter) {
                model.call(latency);
            }
            for (counter, count) in [
                (&model.rows, share.rows),
                (&model.tokens, share.tokens),
                (&model.truncations, share.truncations),
                (&model.cache_hits, share.cache_hits),
            ] {
                // Most counts are zero, and adding zero atomically costs as much as any other addition.
                if count > 0 {
                    counter.increment(count);
                }
            }
        }
        let (service, model) = match shares.as_slice() {
            [only] => (only.model.service(), only.model.name()),
            [] => ("none", "none"),
            _ => ("several", "several"),
        };
        let cache_hits = || shares.iter().map(|share| share.cache_hits).sum::<u64>();
        let space = || match shares.as_slice() {
            [only] => only.model.space().id(),
            _ => response.space().map_or("several", embed_core::Space::id),
        };
        let latency_ms = latency.as_secs_f64() * 1e3;
        if meter.view.outermost {
            tracing::info!(
                service,
                model,
                space = space(),
                cache_hits = cache_hits(),
                failed,
                latency_ms,
                "embedded"
            );
        } else {
            tracing::debug!(service, model, space = space(), failed, latency_ms, "embedded");
        }
    }

    fn failed(&self, error: &Error, latency: Duration) {
        let meter = self.meter;
        meter.models[meter.described].call(latency);
        meter.fail(error.kind().as_str(), self.texts);
        let latency_ms = latency.as_secs_f64() * 1e3;
        let kind = error.kind().as_str();
        if meter.view.outermost {
            tracing::warn!(kind, %error, latency_ms, "not embedded");
        } else {
            let ModelMeter { service, model, .. } = &meter.models[meter.described];
            tracing::debug!(service, model, kind, %error, latency_ms, "not embedded");
        }
    }
}

impl Drop for MeteredCall<'_> {
    fn drop(&mut self) {
        self.meter.in_flight.decrement(1.0);
        if !self.ended {
            self.meter.models[self.meter.described].requests.increment(1);
            self.meter.fail(CANCELLED, self.texts);
        }
    }
}

impl Share<'_> {
    fn add(&mut self, row: &RowInfo) {
        self.rows += 1;
        self.tokens += row.tokens.map_or(0, |tokens| tokens.used as u64);
        self.truncations += u64::from(row.truncated);
        self.cache_hits += u64::from(row.tier.is_some());
    }
}

impl ModelMeter {
    fn call(&self, latency: Duration) {
        self.requests.increment(1);
        self.latency.record(latency.as_secs_f64());
    }
}

/// The index of a model's series, else of `other` models of its service, else of `other` services.
fn index_of(models: &[ModelMeter], model: &ModelInfo) -> usize {
    let find = |service: &str, name: &str| {
        models.iter().position(|known| known.service == service && known.model == name)
    };
    find(model.service(), model.name())
        .or_else(|| find(model.service(), OTHER))
        .or_else(|| find(OTHER, OTHER))
        // The registry always has `other` of `other`.
        .unwrap_or_default()
}

/// The values of a metric's last label, whose set is fixed.
fn last_set(metric: &Metric) -> impl Iterator<Item = &'static str> {
    metric.labels.last().map_or(&[][..], |label| label.values.fixed()).iter().copied()
}
