//! The health of a router, from that of its routes.

use embed_core::{Error, ErrorKind, Health, HealthStatus};
use futures::future::join_all;

use super::routes::Routes;
use super::upstream::{RolloutSide, Upstream};

/// Ready if all routes are ready, unavailable if all are unavailable, otherwise degraded. A candidate counts while it
/// serves.
pub(super) async fn health_of(routes: &Routes) -> Health {
    let counts = |upstream: &&Upstream| match &upstream.side {
        Some((RolloutSide::Candidate, rollout)) => rollout.serves(),
        _ => true,
    };
    let upstreams: Vec<_> = routes.upstreams.iter().filter(counts).collect();
    let states = join_all(upstreams.iter().map(|upstream| upstream.health())).await;
    let names = |wanted: HealthStatus| {
        let of_status = upstreams.iter().zip(&states).filter(|(_, health)| health.status() == wanted);
        of_status.map(|(upstream, _)| &*upstream.name).collect::<Vec<_>>()
    };
    let (down, degraded) = (names(HealthStatus::Unavailable), names(HealthStatus::Degraded));
    if down.is_empty() && degraded.is_empty() {
        return Health::ready();
    }
    let mut error = Error::new(ErrorKind::Unavailable, "some routes are unhealthy").temporary();
    for (state, routes) in [("down", &down), ("degraded", &degraded)] {
        if !routes.is_empty() {
            error = error.with_context(state, routes.join(", "));
        }
    }
    let worst = states.iter().max_by_key(|health| health.status());
    if let Some(reason) = worst.and_then(Health::reason) {
        error = error.with_source(reason.clone());
    }
    if down.len() == upstreams.len() { Health::unavailable(error) } else { Health::degraded(error) }
}
