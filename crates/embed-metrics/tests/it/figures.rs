//! Figures copied from other crates.

use std::time::Duration;

use embed_metrics::{
    BreakerFigures, BreakerState, CacheFigures, OllamaFigures, RolloutFigures, RouterFigures, TierFigures,
};

use crate::{Page, metrics};

#[test]
fn counters_follow_what_was_counted() {
    let metrics = metrics();
    for requests in [3, 5] {
        metrics.observe_ollama(&OllamaFigures { pool_size: 10, requests, ..OllamaFigures::default() });
        assert_eq!(Page::of(&metrics).get("ollama_requests_total", ""), requests as f64);
    }
    assert_eq!(Page::of(&metrics).get("ollama_pool_size", ""), 10.0);
}

#[test]
fn figures_of_one_series_are_summed() {
    let metrics = metrics();
    let tier = |tier, hits, bytes| TierFigures {
        tier,
        hits,
        bytes: Some(bytes),
        misses: vec![("absent", 2), ("gremlins", 3), ("moths", 4)],
        ..TierFigures::default()
    };
    let tiers = vec![tier("memory", 7, 100), tier("disk", 1, 10), tier("tape", 2, 20)];
    metrics.observe_cache(&CacheFigures { tiers, joined: 6, ..CacheFigures::default() });
    let page = Page::of(&metrics);
    assert_eq!(page.get("cache_hits_total", r#"tier="memory""#), 7.0);
    assert_eq!(page.get("cache_hits_total", r#"tier="other""#), 3.0);
    assert_eq!(page.get("cache_bytes", r#"tier="other""#), 30.0);
    assert_eq!(page.get("cache_misses_total", r#"tier="memory",reason="absent""#), 2.0);
    assert_eq!(page.get("cache_misses_total", r#"tier="memory",reason="other""#), 7.0);
    assert_eq!(page.get("cache_joined_total", ""), 6.0);
}

#[test]
fn a_breaker_is_in_one_state() {
    let metrics = metrics();
    let is = |part, state| BreakerFigures { part, state, openings: 1 };
    let shown =
        |state: &str| Page::of(&metrics).get("breakers", &format!(r#"part="route_ollama",state="{state}""#));
    metrics.observe_breakers(&[
        is("route_ollama", BreakerState::Open),
        is("route_ollama", BreakerState::Closed),
        is("tier_redis", BreakerState::Closed),
    ]);
    assert_eq!([shown("open"), shown("closed")], [1.0, 1.0]);
    metrics.observe_breakers(&[
        is("route_ollama", BreakerState::Closed),
        is("route_ollama", BreakerState::Closed),
    ]);
    assert_eq!([shown("open"), shown("closed")], [0.0, 2.0], "a breaker missing from the list disappears");
    assert_eq!(Page::of(&metrics).get("breaker_openings_total", r#"part="route_ollama""#), 2.0);
}

#[test]
fn a_rollout_shows_both_sides() {
    let metrics = metrics();
    metrics.observe_router(&RouterFigures::default());
    let mut rollout =
        RolloutFigures { share: 0.1, stopped: true, cosine: Some((0.99, 0.8)), ..Default::default() };
    rollout.candidate.calls = 10;
    rollout.candidate.failed = 4;
    rollout.candidate.percentiles = [1, 2, 3].map(Duration::from_secs);
    metrics.observe_router(&RouterFigures { rollout: Some(rollout), ..RouterFigures::default() });
    let page = Page::of(&metrics);
    assert_eq!(page.get("rollout_share_ratio", ""), 0.1);
    assert_eq!(page.get("rollout_stopped", ""), 1.0);
    assert_eq!(page.get("rollout_calls", r#"side="candidate",result="answered""#), 6.0);
    assert_eq!(page.get("rollout_text_seconds", r#"side="candidate",percentile="p95""#), 2.0);
    assert_eq!(page.get("shadow_cosine", r#"of="lowest""#), 0.8);
}

#[test]
fn unknown_readings_are_left_out() {
    let metrics = metrics();
    let series = |name: &str| {
        let text = metrics.render();
        text.lines().filter(|line| line.starts_with(&format!("tmws_{name}"))).count()
    };
    let readings = [
        "cache_entries",
        "cache_bytes",
        "cache_limit_bytes",
        "backend_health",
        "shadow_cosine",
        "rollout_text_seconds",
    ];
    assert_eq!(readings.map(series), [0; 6], "before the first observation");
    let observe = |entries, limit| {
        let redis = TierFigures { tier: "redis", entries, limit, ..TierFigures::default() };
        metrics.observe_cache(&CacheFigures { tiers: vec![redis], ..CacheFigures::default() });
    };
    observe(Some(0), None);
    assert_eq!(Page::of(&metrics).get("cache_entries", r#"tier="redis""#), 0.0, "a known 0 is shown");
    assert_eq!((series("cache_entries"), series("cache_limit_bytes")), (1, 0));
    observe(None, None);
    assert_eq!(series("cache_entries"), 0, "unknown again");
    metrics.observe_router(&RouterFigures { rollout: Some(RolloutFigures::default()), ..Default::default() });
    assert_eq!((series("rollout_text_seconds"), series("shadow_cosine")), (0, 0), "no calls, no times");
}
