//! Connects the pieces of the stack to the gateway: routes and plans, state, metrics.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use embed_cache::{Cache, CacheStats, TierReport};
#[cfg(feature = "otlp")]
use embed_core::TraceContext;
use embed_core::{Coverage, EmbedRequest, Embedder, Error, Role, async_trait};
use embed_gateway::{
    CacheStatus, Explainer, Explanation, GatewayWatch, ObservedRequest, Observer, Plan, Planner, RouteStatus,
    StackStatus,
};
use embed_metrics::{
    BreakerFigures, BreakerState, CacheFigures, E5Figures, GatewayFigures, OllamaFigures, RequestTimer,
    RolloutFigures, RouteFigures, RouterFigures, SideFigures, TierFigures,
};
use embed_router::{Agreement, CallStatus, RolloutStatus, RouterStats};
use tokio::task::JoinHandle;
use tokio::time;
use tracing_appender::non_blocking::ErrorCounter;

use super::live::Live;
use super::stack::ServedStack;
use crate::settings::BackendSpec;

/// How often the health of services is checked. The check also retries services that are left out because they failed, so
/// that an outage ends without any caller.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// How often the contents of tiers are counted, which takes three commands on a shared Redis.
const LOOK_AT_TIERS: Duration = Duration::from_secs(30);

/// Says where texts go.
#[derive(Debug)]
pub(super) struct Explains(pub(super) Live);

impl Explainer for Explains {
    fn explain(&self, text: &str, role: Role, partition: Option<&str>) -> Explanation {
        let mut request = EmbedRequest::new([text], role);
        if let Some(partition) = partition {
            request = request.with_partition(partition);
        }
        let decision = self.0.stack().router.decide(&request).ok().and_then(|mut decisions| decisions.pop());
        let Some(decision) = decision else {
            return Explanation::new("und", 0.0, "none");
        };
        let explanation = match decision.detection {
            Some(found) => Explanation::new(found.language, found.confidence, found.rule),
            None => Explanation::new("und", 0.0, "pinned"),
        };
        let space = decision.space.as_ref().map_or("", |space| space.id());
        explanation.with_route(&*decision.route, space)
    }
}

/// Makes plans.
#[derive(Debug)]
pub(super) struct Plans(pub(super) Live);

#[async_trait]
impl Planner for Plans {
    async fn plan(&self, request: EmbedRequest, coverage: Coverage) -> Result<Vec<Plan>, Error> {
        let plans = self.0.stack().router.plan(request, coverage).await?;
        Ok(plans
            .into_iter()
            .map(|plan| Plan::new(plan.items.into_iter().map(|item| item.outcome).collect()))
            .collect())
    }
}

/// Counts requests, and those that wait.
#[derive(Debug)]
pub(super) struct Observes(pub(super) Live);

impl Observer for Observes {
    fn request(&self, dialect: &'static str) -> Box<dyn ObservedRequest> {
        Box::new(Observed(self.0.stack().requests.request(dialect)))
    }

    fn wait(&self) -> Box<dyn Any + Send> {
        Box::new(self.0.stack().requests.wait())
    }

    fn refused(&self, limit: &'static str) {
        self.0.stack().requests.refused(limit);
    }

    #[cfg(feature = "otlp")]
    fn continue_trace(&self, span: &tracing::Span, caller: &TraceContext) -> Option<TraceContext> {
        super::traces::continue_from(span, caller)
    }
}

struct Observed(RequestTimer);

impl ObservedRequest for Observed {
    fn answered(self: Box<Self>, status: u16) {
        self.0.answered(status);
    }
}

/// Checks the stack regularly, so that a request for its state doesn't wait.
pub(super) struct Watch {
    live: Live,
    gateway: Arc<OnceLock<GatewayWatch>>,
    dropped: ErrorCounter,
    tasks: Vec<JoinHandle<()>>,
}

impl Watch {
    /// `dropped` counts the lines of the log that were dropped.
    pub(super) fn start(live: &Live, dropped: ErrorCounter) -> Self {
        let mut tasks = vec![tokio::spawn(look(live.clone()))];
        if let Some(cache) = live.stack().cache.clone() {
            tasks.push(tokio::spawn(look_at_tiers(cache)));
        }
        Self { live: live.clone(), gateway: Arc::default(), dropped, tasks }
    }

    /// Adds this gateway to the metrics.
    pub(super) fn follow(&self, gateway: GatewayWatch) {
        let _ = self.gateway.set(gateway);
    }

    /// The state of routes and tiers.
    pub(super) fn status(&self) -> impl Fn() -> StackStatus + Send + Sync + 'static {
        let live = self.live.clone();
        move || {
            let stack = live.stack();
            let routes = stack.router.stats().routes;
            let routes = routes.iter().map(|route| {
                let state = match route.breaker {
                    embed_router::BreakerState::Closed => "ready",
                    _ => "unavailable",
                };
                let space = route.space.as_deref().unwrap_or_default();
                let status =
                    RouteStatus::new(&*route.name, space.split('/').next().unwrap_or_default(), space, state);
                match route.breaker {
                    embed_router::BreakerState::Absent => {
                        status.with_reason("it hasn't been there since the gateway began, and is looked for")
                    }
                    embed_router::BreakerState::Open => {
                        status.with_reason("its last calls failed; it is tried every few seconds")
                    }
                    _ => status,
                }
            });
            let tiers = stack.cache.as_ref().map(Cache::counted).unwrap_or_default().tiers;
            let caches = tiers.iter().map(|tier| {
                let fails = tier.read_fault.is_some() || tier.write_fault.is_some();
                let state = match (tier.is_open, fails) {
                    (true, _) => "unavailable",
                    (false, true) => "degraded",
                    (false, false) => "ready",
                };
                let status =
                    CacheStatus::new(&*tier.name, state).with_counts(tier.hits, tier.misses.values().sum());
                let bytes = tier.holds.and_then(|holds| holds.bytes);
                bytes.map_or(status.clone(), |bytes| status.with_bytes(bytes))
            });
            StackStatus::new(routes.collect(), caches.collect())
        }
    }

    /// The metrics in Prometheus's format.
    pub(super) fn metrics(&self) -> impl Fn() -> String + Send + Sync + 'static {
        let live = self.live.clone();
        let (gateway, dropped) = (Arc::clone(&self.gateway), self.dropped.clone());
        move || {
            let stack = live.stack();
            let cache = stack.cache.as_ref().map(Cache::counted).unwrap_or_default();
            observe(&stack, &cache);
            stack.metrics.observe_process();
            let stats = gateway.get().map(GatewayWatch::stats);
            stack.metrics.observe_gateway(&GatewayFigures {
                connections: stats.map_or(0, |stats| stats.connections as u64),
                connection_limit: stats.map_or(0, |stats| stats.connection_limit as u64),
                draining: stats.is_some_and(|stats| stats.draining),
                dropped_lines: dropped.dropped_lines() as u64,
            });
            stack.metrics.render()
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

async fn look(live: Live) {
    let mut ticks = time::interval(LOOK);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    let mut reported = BTreeMap::new();
    loop {
        ticks.tick().await;
        let stack = live.stack();
        // The meter around a back end records its health when it is checked.
        stack.router.health().await;
        if let Some(cache) = &stack.cache {
            report_faults(&cache.counted(), &mut reported);
        }
    }
}

async fn look_at_tiers(cache: Cache) {
    let mut ticks = time::interval(LOOK_AT_TIERS);
    ticks.set_missed_tick_behavior(time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        cache.stats().await;
    }
}

/// Logs once why a tier fails, and once that it works again.
fn report_faults(cache: &CacheStats, reported: &mut BTreeMap<Arc<str>, String>) {
    for tier in &cache.tiers {
        let fault = tier.read_fault.as_ref().or(tier.write_fault.as_ref());
        match fault {
            Some(fault) if reported.get(&tier.name) != Some(fault) => {
                tracing::warn!(tier = &*tier.name, reason = %fault, "a tier of the cache fails");
                reported.insert(Arc::clone(&tier.name), fault.clone());
            }
            None if reported.remove(&tier.name).is_some() => {
                tracing::info!(tier = &*tier.name, "a tier of the cache works again");
            }
            _ => {}
        }
    }
}

/// Passes all counts to the metrics.
fn observe(stack: &ServedStack, cache: &CacheStats) {
    let metrics = &stack.metrics;
    let router = stack.router.stats();
    metrics.observe_cache(&CacheFigures {
        tiers: cache.tiers.iter().map(tier).collect(),
        computed: cache.computed,
        joined: cache.joined,
        unfit: cache.unfit,
    });
    metrics.observe_router(&of_router(&router));
    metrics.observe_breakers(&breakers(&router, cache));
    if let Some(figures) = of_ollama(stack) {
        metrics.observe_ollama(&figures);
    }
    let encoders = stack.encoders().map(|encoder| (encoder.threads() as u64, encoder.stats().prefixed_texts));
    let encoders =
        encoders.reduce(|(threads, texts), (more, prefixed)| (threads.max(more), texts + prefixed));
    if let Some((threads, prefixed_texts)) = encoders {
        metrics.observe_e5(&E5Figures { threads, prefixed_texts });
    }
}

fn tier(report: &TierReport) -> TierFigures<'_> {
    let holds = report.holds.unwrap_or_default();
    TierFigures {
        tier: &report.name,
        hits: report.hits,
        misses: report.misses.iter().map(|(reason, count)| (*reason, *count)).collect(),
        stored: report.stored,
        unstored: report.unstored.iter().map(|(reason, count)| (*reason, *count)).collect(),
        entries: holds.entries,
        bytes: holds.bytes,
        limit: holds.limit,
        evicted: holds.evicted,
        expired: holds.expired,
    }
}

fn of_router(stats: &RouterStats) -> RouterFigures<'_> {
    RouterFigures {
        routes: stats
            .routes
            .iter()
            .map(|route| RouteFigures {
                route: &route.name,
                texts: route.rows_by_rule.iter().map(|(rule, rows)| (&**rule, *rows)).collect(),
                calls: route.calls,
                failed_calls: route.failed_calls,
                refused_calls: route.refused_calls,
            })
            .collect(),
        unread: stats.unread,
        failovers_same_space: stats.failovers,
        failovers_other_space: stats.cross_space,
        rollout: stats.rollout.as_ref().map(|rollout| of_rollout(rollout, stats.moved)),
    }
}

fn of_rollout(status: &RolloutStatus, moved: u64) -> RolloutFigures {
    let agreement = status.shadow.agreement;
    let (compared, cosine, overlap) = match agreement {
        Some(Agreement::Cosine { texts, mean, lowest }) => (texts, Some((mean, lowest)), None),
        Some(Agreement::Overlap { texts, mean, .. }) => (texts, None, Some(mean)),
        _ => (0, None, None),
    };
    RolloutFigures {
        share: f64::from(status.percentage) / 100.0,
        stopped: status.stopped.is_some(),
        moved,
        current: side(&status.current),
        candidate: side(&status.candidate),
        sampled: status.shadow.sampled,
        dropped: status.shadow.dropped,
        compared,
        cosine,
        overlap,
    }
}

fn side(calls: &CallStatus) -> SideFigures {
    SideFigures {
        calls: calls.calls,
        failed: calls.failed,
        error_ratio: calls.error_rate,
        percentiles: [calls.p50_ms, calls.p95_ms, calls.p99_ms]
            .map(|ms| Duration::from_secs_f64(ms.max(0.0) / 1e3)),
    }
}

fn breakers<'a>(router: &'a RouterStats, cache: &'a CacheStats) -> Vec<BreakerFigures<'a>> {
    let routes = router.routes.iter().map(|route| BreakerFigures {
        part: &route.name,
        state: match route.breaker {
            embed_router::BreakerState::Closed => BreakerState::Closed,
            embed_router::BreakerState::Absent => BreakerState::Absent,
            _ => BreakerState::Open,
        },
        openings: route.openings,
    });
    let tiers = cache.tiers.iter().map(|tier| BreakerFigures {
        part: &tier.name,
        state: if tier.is_open { BreakerState::Open } else { BreakerState::Closed },
        openings: tier.openings,
    });
    routes.chain(tiers).collect()
}

/// What the clients of Ollama have done, together.
fn of_ollama(stack: &ServedStack) -> Option<OllamaFigures> {
    let clients = stack.models.iter().filter_map(|model| {
        let BackendSpec::Ollama(config) = &model.spec.backend else { return None };
        let stats = model.ollama()?.stats();
        Some(OllamaFigures {
            pool_size: config.pool_size as u64,
            requests: stats.requests,
            loads: stats.loads,
            long_waits: stats.long_waits,
            retries_connection: stats.retries_connection,
            retries_crash: stats.retries_crash,
            retries_busy: stats.retries_busy,
            retries_rows: stats.retries_rows,
            retries_other: stats.retries_other,
            bisections: stats.bisections,
            duplicates: stats.duplicates,
            failed_texts: stats.failed_texts,
            bad_rows: stats.bad_rows,
            shared_vectors: stats.shared_vectors,
            identity_checks: stats.identity_checks,
            refused_servers: stats.refused_servers,
            new_variants: stats.new_variants,
            ejections: stats.ejections,
            returns: stats.returns,
            unknown_versions: stats.unknown_versions,
        })
    });
    clients.reduce(|all, more| all + more)
}
