//! What an HTTP gateway records as it happens: requests, refusals and queueing.

use std::sync::Arc;
use std::time::Instant;

use metrics::{Counter, Gauge};

use crate::names::{self, CANCELLED};
use crate::registry::{Registry, Samples};

/// The series of a gateway, looked up once. Cheap to clone.
#[derive(Clone)]
pub struct GatewayMetrics {
    series: Arc<GatewaySeries>,
}

struct GatewaySeries {
    dialects: Vec<DialectSeries>,
    refusals: Vec<(&'static str, Counter)>,
    queue_depth: Gauge,
    queue_wait: Samples,
}

struct DialectSeries {
    name: &'static str,
    in_flight: Gauge,
    latency: Samples,
    statuses: Vec<(&'static str, Counter)>,
}

/// An HTTP request in flight. Dropping it counts it as `cancelled`: the client hung up or the handler panicked.
#[must_use = "a request that is dropped counts as cancelled"]
pub struct RequestTimer {
    gateway: GatewayMetrics,
    dialect: usize,
    started: Instant,
    status: Option<u16>,
}

/// A place in the queue. Dropping it leaves the queue, because the request is served or its caller gave up.
#[must_use = "the place is given up when this is dropped"]
pub struct QueuePlace {
    gateway: GatewayMetrics,
    since: Instant,
}

impl GatewayMetrics {
    pub(crate) fn new(registry: &Arc<Registry>) -> Self {
        let [dialects, statuses] =
            [0, 1].map(|at| names::GATEWAY_REQUESTS.labels[at].values.fixed().iter().copied());
        let dialects = dialects
            .map(|name| DialectSeries {
                name,
                in_flight: registry.gauge(&names::GATEWAY_IN_FLIGHT, &[name]),
                latency: registry.samples(&names::GATEWAY_LATENCY, &[name]),
                statuses: statuses
                    .clone()
                    .map(|status| (status, registry.counter(&names::GATEWAY_REQUESTS, &[name, status])))
                    .collect(),
            })
            .collect();
        let reasons = names::GATEWAY_REFUSALS.labels[0].values.fixed().iter();
        let series = GatewaySeries {
            dialects,
            refusals: reasons
                .map(|reason| (*reason, registry.counter(&names::GATEWAY_REFUSALS, &[reason])))
                .collect(),
            queue_depth: registry.gauge(&names::QUEUE_DEPTH, &[]),
            queue_wait: registry.samples(&names::QUEUE_WAIT, &[]),
        };
        Self { series: Arc::new(series) }
    }

    /// Starts timing a request in a dialect (`openai`, `ollama`, `tei`, `native`).
    pub fn request(&self, dialect: &str) -> RequestTimer {
        let dialects = &self.series.dialects;
        let known = dialects.iter().position(|known| known.name == dialect);
        // `other` is the last of its set.
        let dialect = known.unwrap_or(dialects.len() - 1);
        dialects[dialect].in_flight.increment(1.0);
        RequestTimer { gateway: self.clone(), dialect, started: Instant::now(), status: None }
    }

    /// Counts a request or connection that was refused by the limit or rule of this name.
    pub fn refused(&self, reason: &str) {
        let known = self.series.refusals.iter().find(|(known, _)| *known == reason);
        // `other` is the last of its set.
        if let Some((_, counter)) = known.or(self.series.refusals.last()) {
            counter.increment(1);
        }
    }

    /// Puts a request into the queue.
    pub fn wait(&self) -> QueuePlace {
        self.series.queue_depth.increment(1.0);
        QueuePlace { gateway: self.clone(), since: Instant::now() }
    }
}

impl RequestTimer {
    /// Records that the answer was sent completely, with this HTTP status.
    pub fn answered(mut self, status: u16) {
        self.status = Some(status);
    }
}

impl Drop for RequestTimer {
    fn drop(&mut self) {
        let dialect = &self.gateway.series.dialects[self.dialect];
        dialect.in_flight.decrement(1.0);
        match self.status {
            Some(status) => {
                dialect.latency.record(self.started.elapsed().as_secs_f64());
                dialect.count(&status.to_string(), &format!("{}xx", status / 100));
            }
            None => dialect.count(CANCELLED, CANCELLED),
        }
    }
}

impl Drop for QueuePlace {
    fn drop(&mut self) {
        let series = &self.gateway.series;
        series.queue_depth.decrement(1.0);
        series.queue_wait.record(self.since.elapsed().as_secs_f64());
    }
}

impl DialectSeries {
    /// Counts a status by itself, or else under its class. An invalid status is a bug here and counts as 5xx.
    fn count(&self, status: &str, class: &str) {
        let find = |wanted: &str| self.statuses.iter().find(|(name, _)| *name == wanted);
        if let Some((_, counter)) = find(status).or_else(|| find(class)).or_else(|| find("5xx")) {
            counter.increment(1);
        }
    }
}

macro_rules! opaque_debug {
    ($($name:ident),+) => {$(
        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    )+};
}

opaque_debug!(GatewayMetrics, RequestTimer, QueuePlace);
