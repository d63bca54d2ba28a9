//! No input from outside creates a series.

use embed_core::EmbedderExt;
use embed_metrics::{
    BreakerFigures, BreakerState, CacheFigures, Metered, MetricsConfig, RouteFigures, RouterFigures,
    TierFigures,
};
use embed_testkit::Scripted;
use proptest::prelude::*;

use crate::{Page, metrics, model};

#[tokio::test]
async fn an_unknown_model_is_other() {
    let metrics = metrics();
    for (service, name) in [("ollama", "nomic-embed-text"), ("tei", "all-minilm"), ("other", "other")] {
        let service =
            Metered::new(Metered::backend(Scripted::of_model(model(service, name)), &metrics), &metrics);
        service.encode_query("text").await.unwrap();
    }
    let page = Page::of(&metrics);
    for view in ["embedding_rows_total", "backend_rows_total"] {
        assert_eq!(page.get(view, r#"service="ollama",model="other""#), 1.0);
        assert_eq!(page.get(view, r#"service="other",model="other""#), 2.0);
        assert_eq!(page.get(view, r#"service="ollama",model="all-minilm""#), 0.0);
    }
}

#[test]
fn values_that_are_given_twice_make_one_series() {
    let config = MetricsConfig::default()
        .with_model("e5", "small")
        .with_model("e5", "small")
        .with_model("other", "other")
        .with_tiers(["memory", "memory", "other"]);
    let metrics = embed_metrics::Metrics::new(config).unwrap();
    assert_eq!(metrics.render().matches("tmws_cache_hits_total{").count(), 2);
    assert_eq!(metrics.render().matches("tmws_embedding_rows_total{").count(), 3);
}

proptest! {
    #[test]
    fn no_name_makes_a_series(names in prop::collection::vec("\\PC{0,12}", 8), count in 1_u64..1000) {
        let metrics = metrics();
        // Of this reading the one that is known.
        let mut before: Vec<_> = Page::of(&metrics).0.into_keys().collect();
        before.push(r#"tmws_cache_entries{tier="other"}"#.to_owned());
        before.sort();
        let name = |at: usize| names[at].as_str();
        metrics.observe_cache(&CacheFigures {
            tiers: vec![TierFigures {
                tier: name(0),
                hits: count,
                misses: vec![(name(1), count)],
                unstored: vec![(name(2), count)],
                entries: Some(count),
                ..TierFigures::default()
            }],
            ..CacheFigures::default()
        });
        metrics.observe_router(&RouterFigures {
            routes: vec![RouteFigures { route: name(3), texts: vec![(name(4), count)], ..RouteFigures::default() }],
            ..RouterFigures::default()
        });
        metrics.observe_breakers(&[BreakerFigures { part: name(5), state: BreakerState::Open, openings: count }]);
        metrics.gateway().request(name(6)).answered(count as u16);
        let after = Page::of(&metrics);
        prop_assert_eq!(before, after.0.keys().cloned().collect::<Vec<_>>());
        prop_assert_eq!(after.get("cache_hits_total", r#"tier="other""#), count as f64);
    }
}
