//! Statistics of a router.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use embed_core::Space;
use serde::Serialize;

use crate::rollout::RolloutStatus;

/// What a router has done since it was built. A dropped call is included in the counts of texts, but not in those of
/// calls.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct RouterStats {
    /// The routes, in the order given to the router.
    pub routes: Vec<RouteStats>,
    /// Texts of requests that named their route.
    pub forced: u64,
    /// Texts of pinned partitions.
    pub pinned: u64,
    /// Texts that a rollout sent to its candidate.
    pub moved: u64,
    /// Texts sent to a model that doesn't support their language, because the policy says so.
    pub unread: u64,
    /// Rows that a fallback route answered instead of the chosen one.
    pub failovers: u64,
    /// Those of them that were answered in another space.
    pub cross_space: u64,
    /// The rollout, if there is one.
    pub rollout: Option<RolloutStatus>,
}

/// What one route has done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RouteStats {
    /// Its name.
    pub name: Arc<str>,
    /// The id of its space; `None` if it is absent.
    pub space: Option<String>,
    /// Its breaker.
    pub breaker: BreakerState,
    /// Texts sent to it, by the detector's rule that decided, `forced` or `pinned`.
    pub rows_by_rule: BTreeMap<Cow<'static, str>, u64>,
    /// Calls of its service.
    pub calls: u64,
    /// Calls that failed because of the service, as a whole or in a row.
    pub failed_calls: u64,
    /// Calls that its open breaker refused, including calls that a cache in front of the breaker answered in part.
    pub refused_calls: u64,
    /// How often its breaker opened.
    pub openings: u64,
}

/// The state of a route's breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum BreakerState {
    /// The route is called.
    Closed,
    /// It failed too often, and isn't called until a trial succeeds.
    Open,
    /// Its service was unavailable when the router was built, and hasn't connected since.
    Absent,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) forced: AtomicU64,
    pub(crate) pinned: AtomicU64,
    pub(crate) moved: AtomicU64,
    pub(crate) unread: AtomicU64,
    pub(crate) failovers: AtomicU64,
    pub(crate) cross_space: AtomicU64,
}

#[derive(Debug, Default)]
pub(crate) struct RouteCounters {
    pub(crate) calls: AtomicU64,
    pub(crate) failed_calls: AtomicU64,
    pub(crate) refused_calls: AtomicU64,
}

impl Counters {
    pub(crate) fn read(&self, routes: Vec<RouteStats>, rollout: Option<RolloutStatus>) -> RouterStats {
        RouterStats {
            routes,
            forced: get(&self.forced),
            pinned: get(&self.pinned),
            moved: get(&self.moved),
            unread: get(&self.unread),
            failovers: get(&self.failovers),
            cross_space: get(&self.cross_space),
            rollout,
        }
    }
}

impl RouteCounters {
    pub(crate) fn read(
        &self,
        name: &Arc<str>,
        space: Option<&Space>,
        breaker: BreakerState,
        openings: u64,
        rows_by_rule: BTreeMap<Cow<'static, str>, u64>,
    ) -> RouteStats {
        RouteStats {
            name: Arc::clone(name),
            space: space.map(|space| space.id().to_owned()),
            breaker,
            rows_by_rule,
            calls: get(&self.calls),
            failed_calls: get(&self.failed_calls),
            refused_calls: get(&self.refused_calls),
            openings,
        }
    }
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

pub(crate) fn add(counter: &AtomicU64, count: usize) {
    counter.fetch_add(count as u64, Ordering::Relaxed);
}
